// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of `helpers.c`, and what is a macro in C.

use crate::bindings;
use kernel::{
    bindings::{
        device_driver,
        jiffies as bindings_jiffies,
        module,
        EOPNOTSUPP, //
    },
    prelude::*,
    types::Opaque, //
};

#[allow(improper_ctypes)]
extern "C" {
    static __this_module: Opaque<module>;
}

/// `THIS_MODULE`.
pub(crate) const THIS_MODULE: *mut module = (&raw const __this_module).cast_mut().cast();

/// Returns the ticks of the clock since boot.
pub(crate) fn jiffies() -> u64 {
    // SAFETY: A static variable that C writes as a whole word.
    (unsafe { (&raw const bindings_jiffies).read_volatile() }) as u64
}

/// Returns `EOPNOTSUPP`, which the kernel crate has not always had.
pub(crate) fn not_supported() -> Error {
    Error::from_errno(-(EOPNOTSUPP as i32))
}

/// Returns whether the current code may sleep; `false` without `CONFIG_PREEMPT_COUNT`.
pub(crate) fn preemptible() -> bool {
    // SAFETY: Has no requirements.
    unsafe { bindings::spe_helper_preemptible() }
}

pub(crate) fn in_nmi() -> bool {
    // SAFETY: Has no requirements.
    unsafe { bindings::spe_helper_in_nmi() }
}

/// Returns whether the current task may observe the whole system (`CAP_PERFMON`).
pub(crate) fn perfmon_capable() -> bool {
    // SAFETY: Has no requirements.
    unsafe { bindings::spe_helper_perfmon_capable() }
}

pub(crate) fn in_init_pid_ns() -> bool {
    // SAFETY: Has no requirements.
    unsafe { bindings::spe_helper_in_init_pid_ns() }
}

/// Returns whether the kernel is unmapped while user space runs (KPTI).
pub(crate) fn kernel_unmapped_at_el0() -> bool {
    // SAFETY: Has no requirements.
    unsafe { bindings::spe_helper_kernel_unmapped_at_el0() }
}

/// Returns whether the rate limit for messages of this kind allows another one; there are
/// `SPE_MESSAGES` kinds. May be called in any context.
pub(crate) fn may_log(kind: u32) -> bool {
    // SAFETY: Has no requirements.
    unsafe { bindings::spe_helper_may_log(kind) }
}

/// Calls `arm_spe_free_deferred_buffers()` in a task, soon. May be called in an NMI.
pub(crate) fn free_later() {
    // SAFETY: Has no requirements.
    unsafe { bindings::spe_helper_free_later() }
}

/// Cancels the work of [`free_later`], or waits for it. May sleep. No [`free_later`] may follow.
pub(crate) fn cancel_free_later() {
    // SAFETY: The caller may sleep.
    unsafe { bindings::spe_helper_free_later_cancel() }
}

/// Sets the driver of [`probe_later`].
pub(crate) fn set_driver_to_probe(driver: *mut device_driver) {
    // SAFETY: Only stores the pointer.
    unsafe { bindings::spe_helper_set_driver_to_probe(driver) }
}

/// Probes the devices without a driver in a task, soon.
///
/// # Safety
///
/// [`set_driver_to_probe`] must have been called, and that driver be registered, until
/// [`cancel_probe_later`] has returned.
pub(crate) unsafe fn probe_later() {
    // SAFETY: By the safety requirement.
    unsafe { bindings::spe_helper_probe_later() }
}

/// Cancels that, or waits until it is done. May sleep.
pub(crate) fn cancel_probe_later() {
    // SAFETY: The caller may sleep.
    unsafe { bindings::spe_helper_probe_later_cancel() }
}
