// SPDX-License-Identifier: GPL-2.0

//! Per-CPU data, and functions that run on a given CPU.
//!
//! C headers: `include/linux/percpu.h`, `include/linux/smp.h`

use crate::{
    bindings,
    version::{
        LocalInterruptDisabled,
        WAIT, //
    }, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    bindings::{
        __cpu_possible_mask, //
        free_percpu,
        pcpu_alloc_noprof,
        smp_call_function_any,
        smp_call_function_single,
        GFP_KERNEL,
    },
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

/// Proof that the current code is the only one on its CPU to use per-CPU data: interrupts are
/// disabled, and it does not run in an NMI.
///
/// # Invariants
///
/// That is so during `'a`.
#[derive(Clone, Copy)]
pub(crate) struct NotInNmi<'a>(PhantomData<&'a LocalInterruptDisabled>);

impl<'a> NotInNmi<'a> {
    /// # Safety
    ///
    /// Must not be called in an NMI.
    pub(crate) unsafe fn assume(_: &'a LocalInterruptDisabled) -> Self {
        // INVARIANT: By the safety requirement.
        Self(PhantomData)
    }
}

/// The data of one CPU.
struct Data<L, S> {
    local: L,
    shared: S,
}

/// Data of each possible CPU: `L` is used on that CPU alone, `S` from anywhere.
///
/// # Invariants
///
/// `base` is the cookie of a per-CPU allocation that holds a valid value for each possible CPU.
pub(crate) struct PerCpu<L: 'static, S: 'static> {
    /// No address until the offset of a CPU is added.
    base: NonNull<Data<L, S>>,
}

// SAFETY: `local` is made by a function without captures, used on its own CPU only (`get`), and not
// dropped.
unsafe impl<L, S: Send> Send for PerCpu<L, S> {}

// SAFETY: As for `Send`; `shared` may be used from anywhere.
unsafe impl<L, S: Sync> Sync for PerCpu<L, S> {}

impl<L, S> PerCpu<L, S> {
    /// Allocates the data of all possible CPUs and fills it in with `init`, which cannot capture
    /// values of one CPU. May sleep.
    pub(crate) fn new(init: fn() -> (L, S)) -> Result<Self> {
        const { assert!(size_of::<Data<L, S>>() <= 4096) };
        // SAFETY: The size is less than a page, and the alignment a power of two.
        let base = unsafe {
            pcpu_alloc_noprof(
                size_of::<Data<L, S>>(),
                align_of::<Data<L, S>>(),
                false,
                GFP_KERNEL,
            )
        };
        let base = NonNull::new(base.cast::<Data<L, S>>()).ok_or(ENOMEM)?;
        for cpu in possible_cpus() {
            let (local, shared) = init();
            // SAFETY: The memory of a possible CPU, to which there is no reference yet.
            unsafe { per_cpu_ptr(base, cpu).write(Data { local, shared }) };
        }
        // INVARIANT: Just written.
        Ok(Self { base })
    }

    /// Returns the cookie, for C functions that find the data of their CPU by it.
    pub(crate) fn as_raw(&self) -> *mut c_void {
        self.base.as_ptr().cast()
    }

    /// Returns the data that the interrupt handler of a per-CPU interrupt gets.
    ///
    /// # Safety
    ///
    /// `cookie` must be [`Self::as_raw`] as C has translated it for this CPU, and the allocation
    /// must live during `'a`.
    pub(crate) unsafe fn from_handler<'a>(cookie: *mut c_void, _: NotInNmi<'a>) -> (&'a L, &'a S) {
        // SAFETY: By the safety requirements; the token says that `local` has no other user.
        let data = unsafe { &*cookie.cast::<Data<L, S>>() };
        (&data.local, &data.shared)
    }

    /// Returns the data of this CPU.
    pub(crate) fn get<'a>(&'a self, _: NotInNmi<'a>) -> (&'a L, &'a S) {
        // SAFETY: There is a value for each CPU. The code stays on this one during `'a`, and the
        // token says that `local` has no other user.
        let data = unsafe { &*self.this_cpu_ptr() };
        (&data.local, &data.shared)
    }

    /// Returns the shared data of this CPU.
    pub(crate) fn get_shared<'a>(&'a self, _: &'a LocalInterruptDisabled) -> &'a S {
        // SAFETY: There is a value for each CPU.
        unsafe { &(*self.this_cpu_ptr()).shared }
    }

    /// Returns the number of each possible CPU and its shared data.
    pub(crate) fn all_shared(&self) -> impl Iterator<Item = (u32, &S)> {
        possible_cpus().map(|cpu| {
            // SAFETY: There is a value for each possible CPU.
            (cpu, unsafe { &(*per_cpu_ptr(self.base, cpu)).shared })
        })
    }

    fn this_cpu_ptr(&self) -> *const Data<L, S> {
        // SAFETY: `base` is the cookie of a per-CPU allocation.
        unsafe { bindings::spe_helper_this_cpu_ptr(self.as_raw()) }
            .cast_const()
            .cast()
    }
}

impl<L, S> Drop for PerCpu<L, S> {
    fn drop(&mut self) {
        // The values are not dropped: `local` could be dropped on its own CPU only.
        const { assert!(!core::mem::needs_drop::<S>()) };
        // SAFETY: The allocation is not used any more.
        unsafe { free_percpu(self.as_raw()) };
    }
}

/// Returns where the data of `cpu` is.
///
/// # Safety
///
/// `base` must be the cookie of a per-CPU allocation, and `cpu` a possible CPU.
unsafe fn per_cpu_ptr<T>(base: NonNull<T>, cpu: u32) -> *mut T {
    // SAFETY: By the safety requirements.
    unsafe { bindings::spe_helper_per_cpu_ptr(base.as_ptr().cast(), cpu) }.cast()
}

/// Returns the numbers of the CPUs that may ever exist.
pub(crate) fn possible_cpus() -> impl Iterator<Item = u32> {
    // SAFETY: The mask is static and does not change after boot.
    let possible = unsafe { Cpumask::from_raw(&raw const __cpu_possible_mask) };
    (0..nr_cpu_ids()).filter(|&id| contains(possible, id))
}

/// Returns whether `mask` has the CPU number `id`.
pub(crate) fn contains(mask: &Cpumask, id: u32) -> bool {
    CpuId::from_u32(id).is_some_and(|cpu| mask.test(cpu))
}

/// A function to run on another CPU, and its result.
struct Call<F, R> {
    function: ManuallyDrop<F>,
    result: Option<R>,
}

impl<F: FnOnce(NotInNmi<'_>) -> R, R> Call<F, R> {
    fn new(function: F) -> Self {
        Self {
            function: ManuallyDrop::new(function),
            result: None,
        }
    }

    /// # Safety
    ///
    /// Must be called once, with interrupts disabled and not in an NMI, with a pointer to a `Self`
    /// that has no other user.
    unsafe extern "C" fn run(call: *mut c_void) {
        // SAFETY: By the safety requirements, also that the function is taken once.
        let (call, function, context) = unsafe {
            let call = &mut *call.cast::<Self>();
            let function = ManuallyDrop::take(&mut call.function);
            let irq = LocalInterruptDisabled::assume_disabled();
            (call, function, NotInNmi::assume(irq))
        };
        call.result = Some(function(context));
    }
}

/// Runs `function` on an online CPU of `mask` with interrupts disabled, and waits for it.
///
/// Returns `ENXIO` if none is online.
pub(crate) fn run_on_any<F, R>(mask: &Cpumask, function: F) -> Result<R>
where
    F: FnOnce(NotInNmi<'_>) -> R + Send,
    R: Send,
{
    let mut call = Call::new(function);
    // SAFETY: `call` outlives the call, which this waits for.
    to_result(unsafe {
        smp_call_function_any(
            mask.as_raw(),
            Some(Call::<F, R>::run),
            (&raw mut call).cast(),
            c_int::from(true),
        )
    })?;
    call.result.ok_or(ENXIO)
}

/// Runs `function` on the CPU number `id` with interrupts disabled, and waits for it.
///
/// Returns `ENXIO` if that CPU is not online.
pub(crate) fn run_on<F, R>(id: u32, function: F) -> Result<R>
where
    F: FnOnce(NotInNmi<'_>) -> R + Send,
    R: Send,
{
    let mut call = Call::new(function);
    // SAFETY: `call` outlives the call, which this waits for.
    to_result(unsafe {
        smp_call_function_single(
            id as c_int,
            Some(Call::<F, R>::run),
            (&raw mut call).cast(),
            WAIT,
        )
    })?;
    call.result.ok_or(ENXIO)
}
