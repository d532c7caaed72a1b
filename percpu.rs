// SPDX-License-Identifier: GPL-2.0

//! Per-CPU data (`linux/percpu.h`), and functions that run on a given CPU (`linux/smp.h`).

use crate::{
    bindings,
    version::LocalInterruptDisabled, //
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
        smp_call_func_t,
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

/// Proof that no other code on this CPU uses its data, but for what the current code calls.
///
/// # Invariants
///
/// During `'a` interrupts are disabled, and the code does not run in an NMI.
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

#[repr(C)] // `local` first: the address of `shared` takes an addition, that of `local` none
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
    base: NonNull<Data<L, S>>,
}

// SAFETY: `local` is made without captures, used on its own CPU only, and not dropped.
unsafe impl<L, S: Send> Send for PerCpu<L, S> {}

// SAFETY: As for `Send`.
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
        // INVARIANT: Filled in before it is returned.
        let this = Self {
            base: NonNull::new(base.cast()).ok_or(ENOMEM)?,
        };
        for (_, data) in this.all() {
            let (local, shared) = init();
            // SAFETY: The memory of a possible CPU, to which there is no reference yet.
            unsafe { data.write(Data { local, shared }) };
        }
        Ok(this)
    }

    /// Returns the cookie, to which C functions add the offset of a CPU.
    pub(crate) fn as_raw(&self) -> *mut c_void {
        self.base.as_ptr().cast()
    }

    /// # Safety
    ///
    /// `cookie` must be [`Self::as_raw`] as C has translated it for this CPU, and the allocation
    /// must live during `'a`.
    pub(crate) unsafe fn from_handler<'a>(cookie: *mut c_void, _: NotInNmi<'a>) -> (&'a L, &'a S) {
        // SAFETY: By the safety requirements; by the token `local` is used on this CPU alone.
        let data = unsafe { &*cookie.cast::<Data<L, S>>() };
        (&data.local, &data.shared)
    }

    pub(crate) fn get<'a>(&'a self, _: NotInNmi<'a>) -> (&'a L, &'a S) {
        // SAFETY: There is a value for each CPU. The code stays on this one during `'a`, and the
        // token says that `local` is used on this CPU alone.
        let data = unsafe { &*self.this_cpu() };
        (&data.local, &data.shared)
    }

    pub(crate) fn get_shared<'a>(&'a self, _: &'a LocalInterruptDisabled) -> &'a S {
        // SAFETY: There is a value for each CPU.
        unsafe { &(*self.this_cpu()).shared }
    }

    pub(crate) fn all_shared(&self) -> impl Iterator<Item = (u32, &S)> {
        self.all().map(|(cpu, data)| {
            // SAFETY: There is a value for each possible CPU.
            (cpu, unsafe { &(*data).shared })
        })
    }

    /// Returns the address of this CPU's data.
    fn this_cpu(&self) -> *const Data<L, S> {
        // SAFETY: `base` is the cookie of a per-CPU allocation.
        unsafe { bindings::spe_helper_this_cpu_ptr(self.as_raw()) }
            .cast_const()
            .cast()
    }

    /// Returns the number of each possible CPU and the address of its data.
    fn all(&self) -> impl Iterator<Item = (u32, *mut Data<L, S>)> {
        let base = self.as_raw();
        possible_cpus().map(move |cpu| {
            // SAFETY: `base` is the cookie of a per-CPU allocation, and the CPU possible.
            let data = unsafe { bindings::spe_helper_per_cpu_ptr(base, cpu) };
            (cpu, data.cast())
        })
    }
}

impl<L, S> Drop for PerCpu<L, S> {
    fn drop(&mut self) {
        // The values are not dropped: `local` could be dropped on its own CPU only.
        const { assert!(!core::mem::needs_drop::<S>()) };
        // SAFETY: By the invariants. The allocation is not used any more.
        unsafe { free_percpu(self.as_raw()) };
    }
}

/// Returns the numbers of the CPUs that may ever exist.
pub(crate) fn possible_cpus() -> impl Iterator<Item = u32> {
    // SAFETY: The mask is static and does not change after boot.
    let possible = unsafe { Cpumask::from_raw(&raw const __cpu_possible_mask) };
    (0..nr_cpu_ids()).filter(|&id| contains(possible, id))
}

pub(crate) fn contains(mask: &Cpumask, id: u32) -> bool {
    CpuId::from_u32(id).is_some_and(|cpu| mask.test(cpu))
}

struct Call<F, R> {
    function: ManuallyDrop<F>,
    result: Option<R>,
}

impl<F: FnOnce(NotInNmi<'_>) -> R, R> Call<F, R> {
    /// # Safety
    ///
    /// Must be called once, with interrupts disabled and not in an NMI. `call` must be a `Self`
    /// without another user.
    unsafe extern "C" fn run(call: *mut c_void) {
        // SAFETY: By the safety requirements: the function is taken once.
        let (call, function, context) = unsafe {
            let call = &mut *call.cast::<Self>();
            let function = ManuallyDrop::take(&mut call.function);
            let irq = LocalInterruptDisabled::assume_disabled();
            (call, function, NotInNmi::assume(irq))
        };
        call.result = Some(function(context));
    }
}

/// Runs `function` on the CPU number `id` with interrupts disabled, and waits for it; `ENXIO` if
/// that CPU is not online.
pub(crate) fn run_on<F, R>(id: u32, function: F) -> Result<R>
where
    F: FnOnce(NotInNmi<'_>) -> R + Send,
    R: Send,
{
    let mut call = Call {
        function: ManuallyDrop::new(function),
        result: None,
    };
    let run: smp_call_func_t = Some(Call::<F, R>::run);
    // SAFETY: `run` is called once, with interrupts disabled and not in an NMI, as IPIs are. `call`
    // is not moved, and is not used here until the helper has waited for that.
    to_result(unsafe { bindings::spe_helper_call_on(id as c_int, run, (&raw mut call).cast()) })?;
    call.result.ok_or(ENXIO)
}
