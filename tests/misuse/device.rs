// SPDX-License-Identifier: GPL-2.0

//! The units of a device, their interrupt, hotplug callbacks and files: made as a whole, undone
//! when they are dropped, and each unit used on its CPU.

use crate::{
    aux_buffer::Spe,
    debugfs,
    device::{
        PmuNumber,
        Units, //
    },
    hotplug,
    irq::Handler,
    percpu::{
        run_on,
        NotInNmi, //
    },
    perf::{
        AuxHandle,
        Event, //
    },
    state::{
        Cpu,
        Slot, //
    },
    version::LocalInterruptDisabled, //
};
use kernel::{
    device::Bound,
    platform,
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc, //
    }, //
};

fn correct(device: &platform::Device<Bound>) -> Result<Handler> {
    let units = Arc::new(Units::find(device)?, GFP_KERNEL)?;
    let mut handle = Some(AuxHandle::new()?);
    units.run_on(0, |slot, cpu, context| {
        slot.online(&mut handle, cpu, context)
    })?;
    if let Some(unused) = handle {
        unused.free();
    }
    Handler::request(units, c"name")
}

fn correct_in_nmi(units: &Units, event: &Event<Spe>, irq: &LocalInterruptDisabled) -> bool {
    units.this_cpu_in_nmi(irq).gate.update(event)
}

/// The interrupt of a device that may be gone.
#[cfg(misuse = "unbound_device")]
fn misuse(device: &platform::Device) -> Result<Units> {
    Units::find(device) //~ E0308 mismatched types
}

/// Units whose interrupt is that of another device.
#[cfg(misuse = "change_interrupt")]
fn misuse(units: &mut Units) {
    units.irq = 21; //~ E0616 field `irq` of struct
}

/// The unit of a CPU that the task may leave.
#[cfg(misuse = "slot_without_token")]
fn misuse(units: &Units) {
    let _slot = units.this_cpu(); //~ E0061 this method takes 1 argument but 0 arguments
}

/// The state of a unit in an NMI.
#[cfg(misuse = "slot_in_nmi")]
fn misuse(units: &Units, irq: &LocalInterruptDisabled) {
    let _slot = units.this_cpu(irq); //~ E0308 mismatched types
}

/// The state of a unit used after the callback.
#[cfg(misuse = "keep_slot")]
fn misuse<'a>(units: &'a Units, context: NotInNmi<'_>) -> &'a Slot {
    units.this_cpu(context).0 //~ E0621 explicit lifetime required in the type of `context`
}

/// The state of another CPU's unit used on this one.
#[cfg(misuse = "bring_slot")]
fn misuse(units: &Units, cpu: u32) {
    let _slot = run_on(cpu, |context| units.this_cpu(context).0);
    //~^ E0277 cannot be shared between threads safely
}

/// What belongs to another CPU used after the callback.
#[cfg(misuse = "keep_cpu")]
fn misuse<'a>(units: &'a Units, cpu: u32, kept: &mut Option<&'a Cpu>) -> Result {
    units.run_on(cpu, |_, cpu, _| *kept = Some(cpu))
    //~^ E0521 borrowed data escapes outside of closure
}

/// A number that another PMU may have.
#[cfg(misuse = "forge_number")]
fn misuse() -> PmuNumber {
    PmuNumber(0) //~ E0423 cannot initialize a tuple struct which contains private fields
}

/// An interrupt freed that was never requested.
#[cfg(misuse = "forge_handler")]
fn misuse(units: Arc<Units>) -> Handler {
    Handler(units) //~ E0423 cannot initialize a tuple struct which contains private fields
}

/// The handler called by something other than the interrupt.
#[cfg(misuse = "call_handler")]
fn misuse(cookie: *mut kernel::ffi::c_void) {
    // SAFETY: None: the function is out of reach.
    unsafe { Handler::handle(0, cookie) }; //~ E0624 associated function `handle` is private
}

/// A device removed that hotplug does not know.
#[cfg(misuse = "forge_instance")]
fn misuse(units: Arc<Units>) -> hotplug::Instance {
    hotplug::Instance {
        node: kernel::types::Opaque::uninit(), //~ E0451 field `node` of struct
        units,                                 //~ E0451 field `units` of struct
        retired: Atomic::new(false),           //~ E0451 field `retired` of struct
    }
}

/// An instance away from where hotplug finds it.
#[cfg(misuse = "move_instance")]
fn misuse(one: Pin<&mut hotplug::Instance>, other: Pin<&mut hotplug::Instance>) {
    core::mem::swap(one.get_mut(), other.get_mut()); //~ E0277 cannot be unpinned
}
