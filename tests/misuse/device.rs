// SPDX-License-Identifier: GPL-2.0

//! The units of a device, their interrupt and their hotplug callbacks: made as a whole, and undone
//! by being dropped.

use crate::{
    hotplug,
    irq::{
        Handler,
        Units, //
    },
    pmu::Spe, //
};
use kernel::{
    device::Bound,
    platform,
    prelude::*,
    sync::Arc, //
};

fn correct(device: &platform::Device<Bound>) -> Result<Handler<Spe>> {
    let units = Arc::new(Units::find(device)?, GFP_KERNEL)?;
    Handler::request(units, c"name")
}

/// The interrupt of a device that may be gone.
#[cfg(misuse = "unbound_device")]
fn misuse(device: &platform::Device) -> Result<Units<Spe>> {
    Units::find(device) //~ E0308 mismatched types
}

/// Units whose interrupt is that of another device.
#[cfg(misuse = "change_interrupt")]
fn misuse(units: &mut Units<Spe>) {
    units.irq = 21; //~ E0616 field `irq` of struct
}

/// The unit of a CPU that the task may leave.
#[cfg(misuse = "slot_without_promise")]
fn misuse(units: &Units<Spe>) {
    units.slot().online(units.mark()); //~ E0133 call to unsafe function
}

/// An interrupt freed that was never requested.
#[cfg(misuse = "forge_handler")]
fn misuse(units: Arc<Units<Spe>>) -> Handler<Spe> {
    Handler(units) //~ E0423 cannot initialize a tuple struct which contains private fields
}

/// The handler called by somebody other than the interrupt.
#[cfg(misuse = "call_handler")]
fn misuse(slot: *mut kernel::ffi::c_void) {
    // SAFETY: None: this is refused whoever answers for it.
    unsafe { Handler::<Spe>::handle(0, slot) }; //~ E0624 associated function `handle` is private
}

/// Callbacks removed that were never registered.
#[cfg(misuse = "forge_callbacks")]
fn misuse() -> hotplug::Callbacks<Spe> {
    hotplug::Callbacks(core::marker::PhantomData) //~ E0603 tuple struct constructor `Callbacks` is private
}

/// A device taken off that the hotplug machine does not know.
#[cfg(misuse = "forge_instance")]
fn misuse(units: Arc<Units<Spe>>) -> hotplug::Instance<Spe> {
    hotplug::Instance {
        node: kernel::types::Opaque::uninit(), //~ E0451 field `node` of struct
        units,                                 //~ E0451 field `units` of struct
    }
}

/// An instance away from where the hotplug machine finds it.
#[cfg(misuse = "move_instance")]
fn misuse(one: Pin<&mut hotplug::Instance<Spe>>, other: Pin<&mut hotplug::Instance<Spe>>) {
    core::mem::swap(one.get_mut(), other.get_mut()); //~ E0277 cannot be unpinned
}
