// SPDX-License-Identifier: GPL-2.0

//! CPU power management (`linux/cpu_pm.h`): a CPU that loses its power, in idle or in a suspended
//! machine, loses the registers of its unit. They are saved before and restored afterwards, within
//! the same AUX transaction.
//!
//! CPUs that are unplugged, such as all but the first in suspend-to-RAM, are the subject of
//! `hotplug.rs`. The notifier runs with a lock that all CPUs share (`linux/cpu_pm.h`), and waits
//! for the records of its CPU.

use crate::{
    bindings::{
        cpu_pm_event_CPU_PM_ENTER,
        cpu_pm_event_CPU_PM_ENTER_FAILED,
        cpu_pm_event_CPU_PM_EXIT,
        spe_helper_cpu_pm_register_notifier,
        spe_helper_cpu_pm_unregister_notifier, //
    },
    device::Units,
    percpu::NotInNmi,
    version::LocalInterruptDisabled, //
};
use kernel::{
    bindings::{
        notifier_block,
        NOTIFY_DONE,
        NOTIFY_OK, //
    },
    error::to_result,
    ffi::{
        c_int,
        c_uint,
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// Saves and restores the units of one device until this is dropped.
///
/// # Invariants
///
/// `block` is registered.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub(crate) struct Notifier {
    /// The first field, by which the callback finds the other.
    #[pin]
    block: Opaque<notifier_block>,
    units: Arc<Units>,
}

// SAFETY: The block is used by the C functions only, which take a lock or are readers under RCU.
unsafe impl Send for Notifier {}

// SAFETY: As for `Send`.
unsafe impl Sync for Notifier {}

impl Notifier {
    pub(crate) fn new(units: Arc<Units>) -> impl PinInit<Self, Error> {
        // INVARIANT: Made only if the block was registered.
        try_pin_init!(Self {
            units,
            // Last: the callback uses the units.
            block <- Opaque::try_ffi_init(|block: *mut notifier_block| {
                // SAFETY: `block` may be written to. It is pinned until it is unregistered.
                unsafe {
                    block.write(notifier_block {
                        notifier_call: Some(Self::notify),
                        ..Default::default()
                    });
                    to_result(spe_helper_cpu_pm_register_notifier(block))
                }
            }),
        })
    }

    /// # Safety
    ///
    /// Must be called by CPU PM with the block of a notifier.
    unsafe extern "C" fn notify(
        block: *mut notifier_block,
        event: c_ulong,
        _: *mut c_void,
    ) -> c_int {
        // SAFETY: The block is the first field of the notifier. CPU PM calls on the CPU that it is
        // about, with interrupts disabled; an NMI does not use it.
        let (slot, cpu) = unsafe {
            let context = NotInNmi::assume(LocalInterruptDisabled::assume_disabled());
            (*block.cast::<Self>()).units.this_cpu(context)
        };
        #[allow(non_upper_case_globals)] // as bindgen names them
        match event as c_uint {
            cpu_pm_event_CPU_PM_ENTER => slot.sleep(cpu),
            cpu_pm_event_CPU_PM_ENTER_FAILED | cpu_pm_event_CPU_PM_EXIT => slot.wake(cpu),
            // Clusters have no units.
            _ => return NOTIFY_DONE as c_int,
        }
        NOTIFY_OK as c_int
    }
}

#[pinned_drop]
impl PinnedDrop for Notifier {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the invariants. This waits until no callback runs.
        unsafe { spe_helper_cpu_pm_unregister_notifier(self.block.get()) };
    }
}
