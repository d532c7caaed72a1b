// SPDX-License-Identifier: GPL-2.0

//! One value for each CPU, and functions that run on a certain CPU.

use crate::version::WAIT;
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    cpumask::Cpumask,
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*, //
};

/// One `T` for each CPU that may ever exist.
///
/// # Invariants
///
/// `base` is the cookie of a per-CPU allocation that holds a valid `T` for each possible CPU.
pub(crate) struct PerCpu<T: 'static> {
    /// The cookie: no address, until the offset of a CPU is added.
    base: NonNull<T>,
}

// SAFETY: Each value is only used on its own CPU, see `PerCpu::get`, but it is made and dropped on
// another one.
unsafe impl<T: Send> Send for PerCpu<T> {}

// SAFETY: As above.
unsafe impl<T: Send> Sync for PerCpu<T> {}

impl<T: Zeroable> PerCpu<T> {
    /// Allocates a value for each possible CPU, all of it zero. May sleep.
    pub(crate) fn new() -> Result<Self> {
        // Nothing will be dropped.
        const { assert!(!core::mem::needs_drop::<T>() && size_of::<T>() <= 4096) };
        // SAFETY: `T` fits into any page, as the allocator asks, and its alignment is a power of
        // two. The memory is zeroed.
        let base = unsafe {
            bindings::pcpu_alloc_noprof(
                size_of::<T>(),
                align_of::<T>(),
                false,
                bindings::GFP_KERNEL,
            )
        };
        // INVARIANT: just allocated; zero is a valid `T`.
        Ok(Self {
            base: NonNull::new(base.cast()).ok_or(ENOMEM)?,
        })
    }
}

impl<T> PerCpu<T> {
    /// The cookie, for C functions that find the value of their CPU by it.
    pub(crate) fn as_raw(&self) -> *mut c_void {
        self.base.as_ptr().cast()
    }

    /// The number of each possible CPU, and where its value is.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u32, NonNull<T>)> + '_ {
        possible_cpus().map(|cpu| {
            // SAFETY: By the invariants there is a value for each possible CPU.
            let value = unsafe { NonNull::new_unchecked(slot(self.base, cpu)) };
            (cpu, value)
        })
    }

    /// The value of the current CPU.
    ///
    /// # Safety
    ///
    /// The reference must not be used after the task may have moved to another CPU.
    #[inline]
    pub(crate) unsafe fn get(&self) -> &T {
        // SAFETY: By the requirements of this function: the task does not move.
        unsafe { self.get_of(CpuId::current().as_u32()) }
    }

    /// The value of the current CPU, whose number is `cpu`.
    ///
    /// # Safety
    ///
    /// `cpu` must be the number of the current CPU. The reference must not be used after the task
    /// may have moved to another one.
    #[inline]
    pub(crate) unsafe fn get_of(&self, cpu: u32) -> &T {
        // SAFETY: By the invariants there is a value for each CPU; by the requirements of this
        // function no other CPU uses this one at the same time.
        unsafe { &*slot(self.base, cpu) }
    }
}

impl<T> Drop for PerCpu<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariants this is a per-CPU allocation.
        unsafe { bindings::free_percpu(self.as_raw()) };
    }
}

/// Where the value of `cpu` is.
///
/// # Safety
///
/// `cpu` must be a possible CPU, and `base` the cookie of a per-CPU allocation.
#[inline]
unsafe fn slot<T>(base: NonNull<T>, cpu: u32) -> *mut T {
    // SAFETY: The array has an entry for each possible CPU and does not change after boot. It is
    // read through a raw pointer: the index is smaller than `nr_cpu_ids`.
    let offset = unsafe {
        (&raw const bindings::__per_cpu_offset)
            .cast::<usize>()
            .add(cpu as usize)
            .read()
    };
    base.as_ptr().wrapping_byte_add(offset)
}

/// The numbers of the CPUs that may ever exist.
pub(crate) fn possible_cpus() -> impl Iterator<Item = u32> {
    // SAFETY: The mask is valid for ever and does not change after boot.
    let possible = unsafe { Cpumask::from_raw(&raw const bindings::__cpu_possible_mask) };
    (0..nr_cpu_ids()).filter(|&id| contains(possible, id))
}

/// Whether `mask` has the CPU number `id`.
#[inline]
pub(crate) fn contains(mask: &Cpumask, id: u32) -> bool {
    CpuId::from_u32(id).is_some_and(|cpu| mask.test(cpu))
}

/// A function to run elsewhere, and room for what it returns.
struct Call<F, R> {
    /// The function, until it is run.
    function: ManuallyDrop<F>,
    /// What it has returned; `None` until it has.
    result: Option<R>,
}

impl<F: FnOnce() -> R, R> Call<F, R> {
    /// A call that is still to be made.
    fn new(function: F) -> Self {
        Self {
            function: ManuallyDrop::new(function),
            result: None,
        }
    }

    /// # Safety
    ///
    /// `call` must point to a `Self` that nobody else uses at the moment. To be called once.
    unsafe extern "C" fn run(call: *mut c_void) {
        // SAFETY: By the requirements of this function, also that the function is taken once.
        let (call, function) = unsafe {
            let call = &mut *call.cast::<Self>();
            let function = ManuallyDrop::take(&mut call.function);
            (call, function)
        };
        call.result = Some(function());
    }
}

/// Runs `function` on a CPU of `mask` that is online, with interrupts off, and waits for it.
pub(crate) fn run_on_any<F: FnOnce() -> R + Send, R: Send>(
    mask: &Cpumask,
    function: F,
) -> Result<R> {
    let mut call = Call::new(function);
    // SAFETY: `call` outlives the call, since this waits for it.
    to_result(unsafe {
        bindings::smp_call_function_any(
            mask.as_raw(),
            Some(Call::<F, R>::run),
            (&raw mut call).cast(),
            c_int::from(true),
        )
    })?;
    call.result.ok_or(ENXIO)
}

/// Runs `function` on the CPU number `id`, with interrupts off, and waits for it.
pub(crate) fn run_on<F: FnOnce() -> R + Send, R: Send>(id: u32, function: F) -> Result<R> {
    let mut call = Call::new(function);
    // SAFETY: `call` outlives the call, since this waits for it.
    to_result(unsafe {
        bindings::smp_call_function_single(
            id as c_int,
            Some(Call::<F, R>::run),
            (&raw mut call).cast(),
            WAIT,
        )
    })?;
    call.result.ok_or(ENXIO)
}
