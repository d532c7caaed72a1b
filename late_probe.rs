// SPDX-License-Identifier: GPL-2.0

//! Probes devices again whose CPUs were all offline, when a CPU comes online.

use crate::helpers::{
    cancel_probe_later,
    probe_later,
    set_driver_to_probe, //
};
use kernel::{
    bindings::{
        __cpuhp_remove_state,
        __cpuhp_setup_state,
        cpuhp_state,
        cpuhp_state_CPUHP_AP_ONLINE_DYN,
        device_driver, //
    },
    error::to_result,
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

/// A device waits for a CPU.
static REQUESTED: Atomic<bool> = Atomic::new(false);

/// The number of the dynamic hotplug state.
static STATE: Atomic<i32> = Atomic::new(0);

/// Requests that devices without a driver are probed when the next CPU comes online. The caller
/// must try the CPU that it waits for once more afterwards.
pub(crate) fn request() {
    // Pairs with `online()`: either that sees the request, or the caller sees the CPU.
    REQUESTED.xchg(true, Full);
}

/// Starts serving requests.
///
/// # Safety
///
/// `driver` must be registered from the first [`request`] on, until [`stop`] has returned.
pub(crate) unsafe fn start(driver: *mut device_driver) -> Result {
    set_driver_to_probe(driver);
    // SAFETY: A callback for a state without instances. `stop` removes it before the module.
    let state = unsafe {
        __cpuhp_setup_state(
            cpuhp_state_CPUHP_AP_ONLINE_DYN,
            c"arm_spe_pmu:probe".as_char_ptr(),
            false,
            Some(online),
            None,
            false,
        )
    };
    // A dynamic state's number is returned.
    to_result(state.min(0))?;
    STATE.store(state, Relaxed);
    Ok(())
}

/// Stops serving requests, after [`start`] has succeeded. May sleep.
pub(crate) fn stop() {
    // SAFETY: `start` has set it up.
    unsafe { __cpuhp_remove_state(STATE.load(Relaxed) as cpuhp_state, false) };
    cancel_probe_later();
}

/// Serves a request, if there is one. Called by CPU hotplug.
extern "C" fn online(_cpu: c_uint) -> c_int {
    if REQUESTED.xchg(false, Full) {
        // SAFETY: `start` has set the driver before it set up this callback. By its contract that
        // is registered, as there is a request, until `stop` has cancelled this.
        unsafe { probe_later() };
    }
    0
}
