// SPDX-License-Identifier: GPL-2.0

//! The PMU: what perf asks for, passed on to the rooms that do it.

use crate::{
    aux_buffer::Buffer,
    bindings,
    event::{
        self,
        Attr,
        Image,
        Refusal, //
    },
    features::Sampling,
    irq::Units,
    perf::{
        self,
        Event,
        Flags,
        Held,
        Mark,
        Perf,
        Pmu,
        State, //
    },
    state::Slot,
    version::not_supported, //
};
use core::ptr::NonNull;
use kernel::{
    ffi::c_void,
    prelude::*,
    sync::Arc, //
};

/// What was found out about the units of a device. They are all alike.
pub(crate) struct Traits {
    /// The version of the extension: SPEv1p`version`.
    pub(crate) version: u64,
    /// The alignment of the write pointer in bytes.
    pub(crate) align: u64,
    /// What `PMSIDR_EL1` says.
    pub(crate) sampling: Sampling,
    /// The events that can be filtered for: the bits of `PMSEVFR_EL1` that can be set.
    pub(crate) event_filter: u64,
}

/// The PMU of the units of one device.
pub(crate) struct Spe {
    /// The units.
    pub(crate) units: Arc<Units<Spe>>,
    /// What they can do.
    pub(crate) traits: Traits,
}

/// How an event starts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// It is added, and begins a new interval.
    Add,
    /// It begins a new interval.
    Reload,
    /// The interval goes on that it was stopped in.
    GoOn,
}

impl Spe {
    /// The unit of this CPU, which `event` is put on.
    #[inline]
    fn put_here(&self, event: &Event<Self>) -> &Slot<Self> {
        // SAFETY: In a callback of perf: on the event's CPU, interrupts off. The slots are there as
        // long as the PMU, and so longer than its events; `add` and `del` clear it.
        unsafe {
            let slot = self.units.slot_of(event.on_cpu());
            event.set_local(slot);
            slot
        }
    }

    /// `event`, which is on this CPU, to be kept while it is.
    #[inline]
    fn hold(event: &Event<Self>) -> Held<Self> {
        // SAFETY: Copies are in the slot and in transitions. A transition is over when its callback
        // returns; `del` stops the unit if it samples for the event, which empties the slot.
        unsafe { Held::new(event) }
    }

    /// The unit of this CPU, which `event` was put on; `None` if it was not.
    #[inline]
    fn of(event: &Event<Self>) -> Option<&Slot<Self>> {
        // SAFETY: Called by `del`, `start` and `stop` alone, which perf calls on the CPU that it
        // has added the event to; null otherwise.
        unsafe { event.local() }
    }

    /// Starts `event` on the unit `slot`.
    fn run(slot: &Slot<Self>, event: &Event<Self>, how: How) -> Result {
        let runs = event
            .data()
            .is_some_and(|image| slot.start(Self::hold(event), image, how != How::GoOn));
        match runs {
            true => Ok(()),
            false => Err(Self::refuse(event, how)),
        }
    }

    /// Adds `event` without starting it.
    #[cold]
    #[inline(never)]
    fn add_stopped(&self, event: &Event<Self>) -> Result {
        match self.units.cover(event.on_cpu()) {
            true => Ok(()),
            false => Err(Self::refuse(event, How::Add)),
        }
    }

    /// What it comes to if `event` does not run.
    #[cold]
    #[inline(never)]
    fn refuse(event: &Event<Self>, how: How) -> Error {
        if how == How::Add {
            event.clear_local();
        }
        EINVAL
    }

    /// Pauses the event that runs on this CPU, or lets it resume.
    #[inline]
    fn pause(&self, paused: bool) {
        // SAFETY: In a callback of perf, on the event's CPU, perhaps in an NMI.
        unsafe { self.units.slot() }.pause(paused);
    }
}

impl Pmu for Spe {
    type EventData = Image;
    type Aux = Buffer;
    type Local = Slot<Self>;
    type Output = Perf;

    // One event at a time; it writes an instruction trace, and other events can pause it.
    const CAPABILITIES: u32 = bindings::PERF_PMU_CAP_EXCLUSIVE
        | bindings::PERF_PMU_CAP_ITRACE
        | bindings::PERF_PMU_CAP_AUX_PAUSE;

    fn event_init(
        &self,
        event: &Event<Self>,
        attr: &bindings::perf_event_attr,
    ) -> Result<KBox<Image>> {
        if event.cpu().is_some_and(|cpu| !self.units.cover(cpu)) {
            return Err(ENOENT);
        }

        let [config, config1, config2, config3, config4] = perf::config(attr);
        let attr = Attr {
            config,
            config1,
            config2,
            config3,
            config4,
            exclude_user: attr.exclude_user() != 0,
            exclude_kernel: attr.exclude_kernel() != 0,
            exclude_idle: attr.exclude_idle() != 0,
            freq: attr.freq() != 0,
        };
        let image = Image::decode(
            &attr,
            self.traits.sampling.features,
            self.traits.event_filter,
        );
        let mut image = image.map_err(|refusal| match refusal {
            Refusal::NotSupported => not_supported(),
            Refusal::Invalid => EINVAL,
        })?;

        // This is asked of the task that opens the event, and not of the one that happens to run
        // when it starts. Nor of one that forks, for which perf makes an event like its parent's:
        // without the right it could not fork.
        if let Some(opened) = event.parent().and_then(Event::data) {
            image.pmscr = opened.pmscr;
        } else {
            let may_profile_kernel = perf::allow_kernel();
            if cfg!(CONFIG_PID_IN_CONTEXTIDR) && may_profile_kernel.is_ok() {
                image.allow_context();
            }
            if image.is_privileged() {
                may_profile_kernel?;
            }
        }

        event.set_state(State::Stopped);
        event.set_period_left(event::first_interval(event.sample_period()));
        Ok(KBox::new(image, GFP_KERNEL)?)
    }

    #[inline]
    fn add(&self, event: &Event<Self>, flags: Flags) -> Result {
        let slot = self.put_here(event);
        if flags.contain(Flags::START) {
            // On a CPU without a unit it does not run either.
            return Self::run(slot, event, How::Add);
        }
        self.add_stopped(event)
    }

    #[inline]
    fn del(&self, event: &Event<Self>, _flags: Flags) {
        if let Some(slot) = Self::of(event) {
            // An NMI that stops the event from here on comes late.
            event.clear_local();
            slot.stop(Self::hold(event));
        }
    }

    #[inline]
    fn start(&self, event: &Event<Self>, flags: Flags) {
        if flags.contain(Flags::RESUME) {
            self.pause(false);
            return;
        }
        if let Some(slot) = Self::of(event) {
            let how = match flags.contain(Flags::RELOAD) {
                true => How::Reload,
                false => How::GoOn,
            };
            let _perf_was_told = Self::run(slot, event, how);
        }
    }

    /// The session is ended in any case, also without `PERF_EF_UPDATE`: the next start begins a new
    /// one.
    #[inline]
    fn stop(&self, event: &Event<Self>, flags: Flags) {
        if flags.contain(Flags::PAUSE) {
            self.pause(true);
            return;
        }
        if let Some(slot) = Self::of(event) {
            slot.stop_rarely(Self::hold(event));
        }
    }

    fn setup_aux(
        &self,
        _event: &Event<Self>,
        pages: &[NonNull<c_void>],
        overwrite: bool,
    ) -> Result<KBox<Buffer>> {
        Buffer::free_retired();
        let buffer = Buffer::map(
            pages,
            self.traits.align,
            self.traits.sampling.max_record,
            overwrite,
        )?;
        Ok(KBox::new(buffer, GFP_KERNEL)?)
    }

    #[inline]
    fn free_aux(buffer: KBox<Buffer>) {
        Buffer::retire(buffer);
    }

    fn mark(&self) -> Mark {
        self.units.mark()
    }
}
