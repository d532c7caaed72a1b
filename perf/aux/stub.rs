// SPDX-License-Identifier: GPL-2.0

//! What KUnit cases call instead of `perf_aux_output_*()`: functions that their events name.

use crate::bindings::{
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

/// # Safety
///
/// `event` must be valid and its `rb` point to a [`Stub`], as in all functions below.
pub(super) unsafe fn begin(handle: &mut perf_output_handle, event: *mut perf_event) -> *mut c_void {
    // SAFETY: By the safety requirements.
    unsafe {
        let stub = (*event).rb.cast::<Stub>();
        ((*stub).begin)(stub, handle, event)
    }
}

/// # Safety
///
/// `begin` must have set `rb` of the handle.
pub(super) unsafe fn skip(handle: &mut perf_output_handle, bytes: c_ulong) -> c_int {
    // SAFETY: By the safety requirements.
    unsafe {
        let stub = handle.rb.cast::<Stub>();
        ((*stub).skip)(stub, handle, bytes)
    }
}

/// # Safety
///
/// As for [`skip`].
pub(super) unsafe fn end(handle: &mut perf_output_handle, bytes: c_ulong) {
    // SAFETY: By the safety requirements.
    unsafe {
        let stub = handle.rb.cast::<Stub>();
        ((*stub).end)(stub, handle, bytes)
    }
}
