// SPDX-License-Identifier: GPL-2.0

//! A safe interface to perf for PMUs that write to an AUX buffer.
//!
//! A driver implements [`Pmu`] and keeps a [`Registration`]. [`Pmu::event_init`] validates an
//! event, and its result stays with it ([`Event::data`]). [`Event::activate`] marks the event as
//! running until the [`ActiveEvent`] is dropped. An [`AuxTransaction`] owns a part of the event's
//! AUX buffer until it is ended.
//!
//! # Examples
//!
//! A PMU that runs one event per CPU and writes nothing:
//!
//! ```ignore
//! use crate::{bindings::PERF_PMU_CAP_EXCLUSIVE, perf::*, version::LocalInterruptDisabled};
//! use crate::percpu::{NotInNmi, PerCpu};
//! use core::cell::Cell;
//! use kernel::prelude::*;
//!
//! enum State {
//!     Off(AuxHandle<Example>),
//!     Running(ActiveEvent<Example>, AuxTransaction<Example>),
//! }
//!
//! struct Example(PerCpu<Cell<Option<State>>, ()>);
//! #[repr(align(64))]
//! struct Aux;
//!
//! impl PmuTypes for Example {
//!     type EventData = ();
//!     type Aux = Aux;
//! }
//!
//! // SAFETY: Only `start` activates events, its own. `stop` ends the transaction and drops what it
//! // got: `del` calls it, and so does `add` before it fails.
//! unsafe impl Pmu for Example {
//!     type Types = Self;
//!     const CAPABILITIES: u32 = PERF_PMU_CAP_EXCLUSIVE;
//!
//!     fn event_init(&self, event: &NewEvent<'_, Self>) -> Result<KBox<()>> {
//!         match event.attr().exclude_idle() {
//!             true => Err(EINVAL),
//!             false => Ok(KBox::new((), GFP_KERNEL)?),
//!         }
//!     }
//!
//!     fn event_destroy(&self, _data: KBox<()>) {}
//!
//!     fn add(&self, event: &Event<Self>, start: bool, context: NotInNmi<'_>) -> Result {
//!         if start {
//!             self.start(event, context);
//!         }
//!         if start && event.is_stopped() {
//!             // It may run all the same: an NMI throttles at any time.
//!             self.stop(event, context);
//!             return Err(EINVAL);
//!         }
//!         Ok(())
//!     }
//!
//!     fn del(&self, event: &Event<Self>, context: NotInNmi<'_>) {
//!         self.stop(event, context);
//!     }
//!
//!     fn start(&self, event: &Event<Self>, context: NotInNmi<'_>) {
//!         let (state, ()) = self.0.get(context);
//!         state.set(match state.take() {
//!             Some(State::Off(handle)) => {
//!                 let event = event.activate();
//!                 match handle.begin(&event) {
//!                     Ok(transaction) => Some(State::Running(event, transaction)),
//!                     // Drops the event, which is stopped then.
//!                     Err((handle, _)) => Some(State::Off(handle)),
//!                 }
//!             }
//!             Some(State::Running(active, transaction)) => {
//!                 active.unthrottle();
//!                 Some(State::Running(active, transaction))
//!             }
//!             None => None,
//!         });
//!     }
//!
//!     fn stop(&self, _event: &Event<Self>, context: NotInNmi<'_>) {
//!         let (state, ()) = self.0.get(context);
//!         state.set(match state.take() {
//!             Some(State::Running(_event, transaction)) => Some(State::Off(transaction.end(0))),
//!             state => state,
//!         });
//!     }
//!
//!     fn update_sampling(&self, _event: &Event<Self>, _irq: &LocalInterruptDisabled) {}
//!
//!     fn read(&self, _event: &Event<Self>, _irq: &LocalInterruptDisabled) {}
//!
//!     fn setup_aux(
//!         &self,
//!         _event: &Event<Self>,
//!         _cpu: Option<u32>,
//!         _pages: &[AuxPage],
//!         _overwrite: bool,
//!     ) -> Result<KBox<Aux>> {
//!         Ok(KBox::new(Aux, GFP_KERNEL)?)
//!     }
//!
//!     fn free_aux(_: KBox<Aux>) {}
//! }
//! ```
//!
//! C header: `include/linux/perf_event.h`

mod aux;
mod event;
pub(crate) mod pmu;

pub(crate) use self::{
    aux::{
        AuxFlags,
        AuxHandle,
        AuxTransaction,
        NoBuffer, //
    },
    event::{
        ActiveEvent,
        Event,
        NewEvent, //
    },
    pmu::{
        device_ptr,
        AuxPage,
        Groups,
        Pmu,
        PmuTypes,
        Registration, //
    }, //
};

use crate::bindings;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// Returns `Ok` if the current task may profile the kernel (`perf_event_paranoid`, `CAP_PERFMON`).
pub(crate) fn allow_kernel() -> Result {
    // SAFETY: Has no requirements.
    to_result(unsafe { bindings::perf_allow_kernel() })
}
