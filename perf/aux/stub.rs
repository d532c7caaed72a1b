// SPDX-License-Identifier: GPL-2.0

//! `perf_aux_output_*()` for a kernel with KUnit: perf's functions, or for an event without a PMU,
//! which only a case has, the functions that the event names.

use crate::bindings::{
    self,
    perf_event,
    perf_output_handle, //
};
use kernel::ffi::{
    c_int,
    c_ulong,
    c_void, //
};

/// Replaces perf's functions for the events whose `rb` points to it.
pub(crate) struct Stub {
    pub(crate) begin:
        unsafe fn(*const Stub, &mut perf_output_handle, *mut perf_event) -> *mut c_void,
    pub(crate) skip: unsafe fn(*const Stub, &mut perf_output_handle, c_ulong) -> c_int,
    pub(crate) end: unsafe fn(*const Stub, &mut perf_output_handle, c_ulong),
}

/// Returns whether `event` is one of a case.
///
/// # Safety
///
/// `event` must be valid, as in all functions below. If it has no PMU, its `rb` and that of a
/// handle in a transaction must point to a [`Stub`].
pub(in super::super) unsafe fn is_stubbed(event: *mut perf_event) -> bool {
    // SAFETY: By the safety requirement.
    unsafe { (*event).pmu.is_null() }
}

/// # Safety
///
/// `handle` must be in no transaction, `event` be on this CPU and as for [`is_stubbed`].
pub(super) unsafe fn perf_aux_output_begin(
    handle: &mut perf_output_handle,
    event: *mut perf_event,
) -> *mut c_void {
    // SAFETY: By the safety requirements.
    unsafe {
        if !is_stubbed(event) {
            return bindings::perf_aux_output_begin(handle, event);
        }
        let stub = (*event).rb.cast::<Stub>();
        ((*stub).begin)(stub, handle, event)
    }
}

/// # Safety
///
/// `handle` must be in a transaction of an event that is as for [`is_stubbed`].
pub(super) unsafe fn perf_aux_output_skip(
    handle: &mut perf_output_handle,
    bytes: c_ulong,
) -> c_int {
    // SAFETY: By the safety requirement.
    unsafe {
        if !is_stubbed(handle.event) {
            return bindings::perf_aux_output_skip(handle, bytes);
        }
        let stub = handle.rb.cast::<Stub>();
        ((*stub).skip)(stub, handle, bytes)
    }
}

/// # Safety
///
/// As for [`perf_aux_output_skip`]; the transaction ends.
pub(super) unsafe fn perf_aux_output_end(handle: &mut perf_output_handle, bytes: c_ulong) {
    // SAFETY: By the safety requirement.
    unsafe {
        if !is_stubbed(handle.event) {
            return bindings::perf_aux_output_end(handle, bytes);
        }
        let stub = handle.rb.cast::<Stub>();
        ((*stub).end)(stub, handle, bytes)
    }
}
