// SPDX-License-Identifier: GPL-2.0

//! Safe wrappers of `helpers.c`.

use crate::bindings;

/// Returns whether the current code may sleep; `false` without `CONFIG_PREEMPT_COUNT`.
pub(crate) fn preemptible() -> bool {
    // SAFETY: Has no requirements.
    unsafe { bindings::spe_helper_preemptible() }
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
