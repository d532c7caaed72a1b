// SPDX-License-Identifier: GPL-2.0

//! The interrupt of the profiling units: a PPI, with the same number on each CPU.

use crate::{
    bindings::{
        irqreturn,
        irqreturn_t,
        request_percpu_irq_affinity, //
    },
    device::{
        UnitData,
        Units, //
    },
    percpu::NotInNmi,
    version::LocalInterruptDisabled, //
};
use kernel::{
    bindings::free_percpu_irq,
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    sync::Arc, //
};

/// The interrupt of the units of a device, freed on drop. It must be disabled on all CPUs by then.
///
/// # Invariants
///
/// The interrupt was requested with the units' per-CPU data as the cookie.
pub(crate) struct Handler(Arc<Units>);

impl Handler {
    /// Requests the interrupt. It is enabled later, CPU by CPU ([`Units::enable_interrupt`]).
    pub(crate) fn request(units: Arc<Units>, name: &'static CStr) -> Result<Self> {
        // SAFETY: What is passed lives until the interrupt is freed.
        to_result(unsafe {
            request_percpu_irq_affinity(
                units.irq(),
                Some(Self::handle),
                name.as_char_ptr(),
                units.cpus().as_raw(),
                units.data().as_raw(),
            )
        })?;
        // INVARIANT: Just requested.
        Ok(Self(units))
    }

    /// # Safety
    ///
    /// Must be called as the handler that `request` registered.
    unsafe extern "C" fn handle(_irq: c_int, cookie: *mut c_void) -> irqreturn_t {
        // SAFETY: Handlers run with interrupts disabled; this one is not requested as an NMI. The
        // cookie is that of the units, which live until the interrupt is freed.
        let (slot, cpu) = unsafe {
            let context = NotInNmi::assume(LocalInterruptDisabled::assume_disabled());
            UnitData::from_handler(cookie, context)
        };
        if slot.interrupt(cpu) {
            irqreturn::IRQ_HANDLED
        } else {
            irqreturn::IRQ_NONE
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // SAFETY: By the invariants this handler was requested with that cookie. The interrupt is
        // disabled on all CPUs: `hotplug::Instance` was dropped before.
        unsafe { free_percpu_irq(self.0.irq(), self.0.data().as_raw()) };
    }
}
