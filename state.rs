// SPDX-License-Identifier: GPL-2.0

//! The profiling unit of one CPU, as a state machine in types.
//!
//! ```text
//!            online             arm                sample                 pause
//!   Offline -----------> Off -----------> Armed --------------> Sampling <---------> Sampling, paused
//!    ^  ^      offline   | ^ ^     |                              | | ^    resume
//!    |  +----------------+ | +-----+ no session                   | | +-- interrupt: nothing to do,
//!    |                     |                                      | |     or a new session
//!    |                     +--------------------------------------+ | stop; interrupt: fault, or
//!    |                                                              | no session
//!    +--------------------------------------------------------------+ offline
//! ```
//!
//! | state | `PMBLIMITR_EL1.E` | `PMSCR_EL1.E0SPE`, `E1SPE` | session | `hw.state` |
//! | --- | --- | --- | --- | --- |
//! | [`Off`] | 0 | 0 | none | `PERF_HES_STOPPED` |
//! | [`Armed`] | 1 | 0 | one, unless discarding | not looked at |
//! | [`Sampling`] | 1 | as the event wants | one, unless discarding | 0 |
//! | the same, paused | 1 | 0 | one, unless discarding | 0 |
//!
//! Each transition consumes the state that it leaves. A state can only be had from a transition, so
//! that sampling without a session, ending one twice, or touching a buffer that was given back
//! cannot be written down. Between two callbacks of perf the state rests in a [`Unit`], one for
//! each CPU.
//!
//! # What may interrupt a transition
//!
//! Callbacks of perf and the interrupt handler run with interrupts off. Where the kernel's
//! interrupts are NMIs (`irqchip.gicv3_pseudo_nmi=1`) another event's NMI may still come in the
//! middle of any of them, and call
//!
//! - to pause or resume the event that samples (`aux-action=pause`, `resume`). perf first notes
//!   what is wanted in the event, then calls the PMU. Pausing touches nothing but `PMSCR_EL1`, and
//!   that only where a state samples: [`Cpu::resume_with`] is zero from before a unit is turned off
//!   until it samples again, and what comes then is left to the end of the transition, which looks
//!   at what is wanted, see [`Cpu::settle`].
//! - to stop the event (throttling, with the other events of a group). If the state is in the hands
//!   of a transition ([`Cpu::busy`]), that does it at its end, see [`Slot::put`]. There is one event
//!   on a CPU (`PERF_PMU_CAP_EXCLUSIVE`), so that it is the one.
//!
//! The order in which registers are written is that of the Arm ARM (DDI 0487), chapter D17 "The
//! Statistical Profiling Extension", in particular D17.9 on synchronisation.

use crate::{
    aux_buffer::{
        Buffer,
        NoSession,
        Session, //
    },
    counters::{
        Counter,
        Counters, //
    },
    event::{
        self,
        Image, //
    },
    perf::{
        AuxFlags,
        AuxHandle,
        AuxPlace,
        Held,
        NoBuffer,
        Pmu,
        State, //
    },
    syndrome::{
        self,
        Reason,
        Syndrome, //
    },
    sysreg::{
        drain,
        isb,
        Register,
        FM_DISCARD,
        PMBLIMITR_EL1,
        PMBPTR_EL1,
        PMBSR_EL1,
        PMSCR_EL1,
        PMSICR_EL1, //
    }, //
};
use core::{
    cell::Cell,
    sync::atomic::{
        compiler_fence,
        AtomicBool,
        AtomicU64,
        Ordering, //
    }, //
};
use kernel::prelude::*;

#[cfg(ARM_SPE_DEBUG)]
#[path = "check.rs"]
mod check;

#[cfg(CONFIG_KUNIT = "y")]
#[path = "state_tests.rs"]
mod tests;

/// A PMU whose events this machine runs.
pub(crate) trait SpePmu: Pmu<Aux = Buffer, EventData = Image> {}

impl<T: Pmu<Aux = Buffer, EventData = Image>> SpePmu for T {}

/// What belongs to a CPU, whatever its unit does.
pub(crate) struct Cpu {
    /// `PMSCR_EL1` of the event that the unit samples for; 0 if it does not sample.
    /// Only this CPU uses it: an atomic because an NMI may come at any time.
    resume_with: AtomicU64,
    /// A transition has the state in its hands.
    busy: AtomicBool,
    /// Somebody wanted the event stopped while the state was in the hands of a transition.
    stop_later: AtomicBool,
    /// What happened.
    pub(crate) counters: Counters,
}

impl Cpu {
    /// Stops sampling, waits until all records are written, disables the buffer, and ends a request
    /// for service. Returns what the unit had to say until then.
    #[inline]
    fn turn_off(&self) -> PMBSR_EL1 {
        self.resume_with.store(0, Ordering::Relaxed);
        // An NMI that resumes comes before this point, or leaves the register alone.
        compiler_fence(Ordering::SeqCst);
        PMSCR_EL1::default().write();
        isb();
        drain();
        // SAFETY: Disables the buffer.
        unsafe { PMBLIMITR_EL1::default().write() };
        // What the unit has last written to its registers can be read after this.
        isb();
        let pmbsr = PMBSR_EL1::read();
        if pmbsr.bits() != 0 {
            // SAFETY: The buffer is disabled.
            unsafe { PMBSR_EL1::default().write() };
        }
        pmbsr
    }

    /// Lets the unit sample with `resume_with`, or not while `event` is paused. What is wanted may
    /// change while this runs, with the register written by whoever changes it: then this starts
    /// over, so that the last word is written last.
    #[inline]
    fn settle<T: SpePmu>(&self, event: Held<T>) {
        loop {
            let wanted = || match event.is_paused() {
                true => 0,
                false => self.resume_with.load(Ordering::Relaxed),
            };
            let pmscr = wanted();
            PMSCR_EL1::from_bits(pmscr).write();
            compiler_fence(Ordering::SeqCst);
            if wanted() == pmscr {
                return;
            }
        }
    }
}

/// The unit is off: nothing is sampled, nothing is written, no session is open.
///
/// # Invariants
///
/// On this CPU `PMSCR_EL1` enables no exception level and `PMBLIMITR_EL1.E` is 0. There is one such
/// value or session for each CPU, because the handle is the only one.
#[must_use]
pub(crate) struct Off<T: SpePmu> {
    /// What a session can be begun with.
    handle: AuxHandle<T>,
}

/// The unit has room to write to, and samples nothing yet.
///
/// # Invariants
///
/// On this CPU `PMSCR_EL1` enables no exception level. `PMBPTR_EL1` and `PMBLIMITR_EL1` describe
/// the span of the session, or discard records if there is none.
#[must_use]
pub(crate) struct Armed<'a, T: SpePmu> {
    /// The event that the unit is to sample for.
    event: Held<T>,
    /// What it asks for.
    image: &'a Image,
    /// Where records will go.
    output: Output<T>,
}

/// The unit samples for an event.
///
/// # Invariants
///
/// On this CPU `PMSCR_EL1` is `pmscr`, or 0 while the event is paused; `PMBPTR_EL1` is within the
/// span of the session and `PMBLIMITR_EL1` at its end, or records are discarded if there is no
/// session. All that only as long as the hardware has not stopped by itself (`PMBSR_EL1.S`).
#[must_use]
pub(crate) struct Sampling<T: SpePmu> {
    /// The event that the unit samples for.
    event: Held<T>,
    /// Where records go.
    output: Output<T>,
    /// Where to sample and what to record, while the event is not paused.
    pmscr: PMSCR_EL1,
}

/// Where records go.
enum Output<T: SpePmu> {
    /// Into a buffer.
    Session(Session<T>),
    /// Nowhere.
    Discard(AuxHandle<T>),
}

/// What an interrupt came to.
#[must_use]
pub(crate) enum Interrupted<T: SpePmu> {
    /// The unit did not ask for anything.
    NotOurs(Sampling<T>),
    /// The buffer was full; the unit samples again.
    Resumed(Sampling<T>),
    /// The unit is off.
    Stopped(Off<T>),
}

impl<T: SpePmu> Off<T> {
    /// Turns the unit of this CPU off, whatever it was doing, and forgets what it wanted.
    ///
    /// No session is open: `handle` is the only one of this CPU.
    fn reset(handle: AuxHandle<T>, cpu: &Cpu) -> Self {
        cpu.turn_off();
        // SAFETY: The buffer is disabled.
        unsafe { PMBPTR_EL1::default().write() };
        isb();
        // INVARIANT: just done.
        Self { handle }
    }

    /// Begins a session of `event`, and tells the unit where to write.
    ///
    /// If there is no session the unit stays as it is: no register has been written, unless the unit
    /// had to be made quiet.
    #[inline]
    pub(crate) fn arm<'a>(
        self,
        event: Held<T>,
        image: &'a Image,
        cpu: &Cpu,
    ) -> Result<Armed<'a, T>, Self> {
        // What the unit has said since it was turned off, without an interrupt, is not about this
        // event; and while it waits for service it would not sample.
        if PMBSR_EL1::read().bits() != 0 {
            self.quiet(cpu);
        }
        if image.discard {
            let limit = PMBLIMITR_EL1::default()
                .with(PMBLIMITR_EL1::FM, FM_DISCARD)
                .with(PMBLIMITR_EL1::E, 1);
            // SAFETY: Records are discarded: the unit writes nothing.
            unsafe { limit.write() };
            let output = Output::Discard(self.handle);
            // INVARIANT: just done.
            return Ok(Armed {
                event,
                image,
                output,
            });
        }
        match begin(self.handle, event, cpu) {
            Ok(session) => Ok(Armed {
                event,
                image,
                // INVARIANT: `begin` has told the unit.
                output: Output::Session(session),
            }),
            Err(handle) => Err(Self { handle }),
        }
    }

    /// An interrupt while the unit is off. Returns whether the unit asked for it; if so, it is
    /// quiet now.
    pub(crate) fn interrupt(&self, cpu: &Cpu) -> bool {
        let ours = self.quiet(cpu);
        if !ours {
            cpu.counters.count(Counter::Spurious);
        }
        ours
    }

    /// Ends what the unit says while it is off. Returns whether it asked for service.
    #[cold]
    fn quiet(&self, cpu: &Cpu) -> bool {
        let pmbsr = cpu.turn_off();
        let syndrome = syndrome::decode(pmbsr);
        if let Some(syndrome) = &syndrome {
            report(syndrome, pmbsr, cpu);
        }
        syndrome.is_some()
    }
}

impl<T: SpePmu> Armed<'_, T> {
    /// Programs what is to be sampled. `reload`: begin a new interval of the event's period;
    /// otherwise the old one goes on.
    #[inline]
    pub(crate) fn sample(self, reload: bool) -> Sampling<T> {
        let image = self.image;
        image.pmsfcr.write();
        image.pmsevfr.write();
        if let Some(pmsnevfr) = image.pmsnevfr {
            pmsnevfr.write();
        }
        if let Some(pmsdsfr) = image.pmsdsfr {
            pmsdsfr.write();
        }
        image.pmslatfr.write();

        if reload {
            let period = event::period(self.event.sample_period());
            self.event.set_sample_period(period);
            event::interval(image, period).write();
            // A counter of zero is reloaded when sampling begins: from the register that was just
            // written, if that has taken effect.
            isb();
            PMSICR_EL1::from_bits(self.event.period_left()).write();
        }

        // All of the above, and where to write, must be in place before the first operation is
        // sampled.
        isb();
        // INVARIANT: `Slot::put` writes PMSCR_EL1 next; the rest holds since `Armed`.
        Sampling {
            event: self.event,
            output: self.output,
            pmscr: image.pmscr,
        }
    }
}

impl<T: SpePmu> Sampling<T> {
    /// Whether the unit samples for `event`.
    #[inline]
    pub(crate) fn is_for(&self, event: &Held<T>) -> bool {
        self.event == *event
    }

    /// Stops, and gives what was written to perf. If the unit has asked for service in the
    /// meantime, that ends with this session: on a context switch it must not fall to the next
    /// event.
    pub(crate) fn stop(self, cpu: &Cpu) -> Off<T> {
        let pmbsr = cpu.turn_off();
        let syndrome = syndrome::decode(pmbsr);
        if let Some(syndrome) = &syndrome {
            report(syndrome, pmbsr, cpu);
        }
        keep_counter(self.event);
        let handle = match self.output {
            Output::Session(session) => end(session, pmbsr, syndrome.as_ref(), cpu).0,
            Output::Discard(handle) => handle,
        };
        // INVARIANT: turned off above.
        Off { handle }
    }

    /// Handles an interrupt of the unit.
    ///
    /// Only a full buffer is expected: the session is ended and a new one begun, and sampling goes
    /// on. Anything else, and a failure to begin again, leaves the unit off before this
    /// returns.
    #[inline]
    pub(crate) fn interrupt(mut self, cpu: &Cpu) -> Interrupted<T> {
        // Records and registers as of now. The unit does not sample while PMBSR_EL1.S is set.
        drain();
        isb();
        let pmbsr = PMBSR_EL1::read();
        let Some(syndrome) = syndrome::decode(pmbsr) else {
            cpu.counters.count(Counter::Spurious);
            return Interrupted::NotOurs(self);
        };
        report(&syndrome, pmbsr, cpu);
        let full = syndrome.reason == Reason::Full && !syndrome.data_lost;

        let next = match self.output {
            Output::Session(session) => match end(session, pmbsr, Some(&syndrome), cpu) {
                (handle, true) if full => begin(handle, self.event, cpu).map(Output::Session),
                (handle, _) => Err(handle),
            },
            // Nothing is written, so that nothing can be full; and perf, which has no session to look
            // at, would not know that the unit has stopped.
            Output::Discard(handle) if syndrome.reason == Reason::Full => {
                Ok(Output::Discard(handle))
            }
            Output::Discard(handle) => Err(handle),
        };
        let handle = match next {
            Ok(output) => {
                // INVARIANT: `begin` has told the unit, or nothing is written; PMSCR_EL1 is as it was.
                self.output = output;
                // A new span must be in place before the unit goes on.
                isb();
                // SAFETY: The unit goes on with the span of the new session, if there is one.
                unsafe { PMBSR_EL1::default().write() };
                return Interrupted::Resumed(self);
            }
            Err(handle) => handle,
        };
        keep_counter(self.event);
        cpu.turn_off();
        // INVARIANT: just done.
        Interrupted::Stopped(Off { handle })
    }
}

/// Begins a session of `event`, and tells the unit, which is off or waits for service, where to
/// write. If there is no session no register has been written.
#[inline]
fn begin<T: SpePmu>(
    handle: AuxHandle<T>,
    event: Held<T>,
    cpu: &Cpu,
) -> Result<Session<T>, AuxHandle<T>> {
    match Session::begin(handle, event) {
        Ok(session) => {
            cpu.counters.count(Counter::Sessions);
            let span = session.span();
            let limit = PMBLIMITR_EL1::from_bits(span.limit).with(PMBLIMITR_EL1::E, 1);
            // SAFETY: The span is part of a mapped buffer that belongs to the session. Whoever owns
            // that turns the unit off before the session is ended, or has been told by the unit
            // that it has stopped.
            unsafe {
                PMBPTR_EL1::from_bits(span.start).write();
                limit.write();
            }
            Ok(session)
        }
        Err((handle, why)) => {
            let counter = match why {
                NoSession::NoBuffer(NoBuffer::NotMapped) => Counter::StartNotMapped,
                NoSession::NoBuffer(NoBuffer::Full) => Counter::StartFull,
                NoSession::NoRoom { .. } => Counter::StartNoRoom,
            };
            cpu.counters.count(counter);
            if why == (NoSession::NoRoom { told: true }) {
                cpu.counters.count(Counter::Truncated);
            }
            Err(handle)
        }
    }
}

/// Ends `session` of a unit that does not write any more, with what `pmbsr`, decoded if there was a
/// request for service, says of the data. Returns whether the event may go on.
fn end<T: SpePmu>(
    mut session: Session<T>,
    pmbsr: PMBSR_EL1,
    syndrome: Option<&Syndrome>,
    cpu: &Cpu,
) -> (AuxHandle<T>, bool) {
    let counters = &cpu.counters;
    let lost = syndrome.is_some_and(|syndrome| syndrome.data_lost);
    // Whatever it was but a full buffer, samples are missing from there on.
    let truncated = lost || syndrome.is_some_and(|syndrome| syndrome.reason != Reason::Full);
    if truncated {
        session.flag(AuxFlags::TRUNCATED);
    }
    if lost {
        session.flag(AuxFlags::PARTIAL);
        counters.count(Counter::Partial);
    }
    // Not a reason to ask for service: it may be there without one.
    if pmbsr.has(PMBSR_EL1::COLL) {
        session.flag(AuxFlags::COLLISION);
        counters.count(Counter::Collision);
    }
    let pointer = PMBPTR_EL1::read();
    let (handle, written) = session.end(pointer.bits());
    if truncated || written.is_none() {
        counters.count(Counter::Truncated);
    }
    match written {
        Some(bytes) => counters.add(Counter::Bytes, bytes),
        None => {
            counters.count(Counter::StrayPointer);
            complain("Stray write pointer", pmbsr);
        }
    }
    (handle, written.is_some())
}

/// Keeps, for when the event goes on, the operations that were left until the next sample, with the
/// state of the random number above them (`ECOUNT`).
///
/// Nobody else uses `period_left`: events with a frequency instead of a period are refused.
#[inline]
fn keep_counter<T: SpePmu>(event: Held<T>) {
    event.set_period_left(PMSICR_EL1::read().bits());
}

/// Counts a request for service, and logs it unless it is the one that is part of every day's work.
#[inline]
fn report(syndrome: &Syndrome, pmbsr: PMBSR_EL1, cpu: &Cpu) {
    cpu.counters.count(match syndrome.reason {
        Reason::Full => Counter::Full,
        Reason::FaultStage1 => Counter::FaultStage1,
        Reason::FaultStage2 => Counter::FaultStage2,
        Reason::ExternalAbort => Counter::ExternalAbort,
        Reason::UnknownStatus => Counter::UnknownStatus,
        Reason::UnknownClass => Counter::UnknownClass,
    });
    if syndrome.reason != Reason::Full {
        complain(syndrome.reason.text(), pmbsr);
    }
}

/// Logs what the unit did that it should not have done, unless there were many such messages.
#[cold]
#[inline(never)]
fn complain(what: &str, pmbsr: PMBSR_EL1) {
    if ratelimit() {
        pr_err!(
            "{} on CPU {} [PMBSR={:#018x}, PMBPTR={:#018x}, PMBLIMITR={:#018x}]\n",
            what,
            kernel::cpu::CpuId::current().as_u32(),
            pmbsr.bits(),
            PMBPTR_EL1::read().bits(),
            PMBLIMITR_EL1::read().bits(),
        );
    }
}

/// Whether another message may be logged.
fn ratelimit() -> bool {
    // SAFETY: The string is static, and all that the C function wants; it may be called in any
    // context, as it only tries to take its lock.
    unsafe { kernel::bindings::__printk_ratelimit(c"arm_spe_pmu".as_char_ptr()) != 0 }
}

/// What the unit of a CPU is doing, at rest between two callbacks.
#[repr(usize)]
pub(crate) enum Unit<T: SpePmu> {
    /// The CPU is offline, or was never made ready.
    Offline = 0,
    /// Off.
    Off(Off<T>),
    /// Sampling.
    Sampling(Sampling<T>),
}

/// The place where the unit of a CPU rests.
///
/// All functions are to be called on the CPU in question, with interrupts off: what a callback of
/// perf, an interrupt handler, and a function called by way of `smp_call_function_single()` have in
/// common. [`Self::pause`] and [`Self::stop`] may come in an NMI.
pub(crate) struct Slot<T: SpePmu> {
    /// The unit's state.
    unit: Cell<Unit<T>>,
    /// The place of the one handle of this CPU, which the state has.
    handle: AuxPlace,
    /// What belongs to the CPU.
    pub(crate) cpu: Cpu,
}

// SAFETY: The state and the handle are used on one CPU only, by the transition that has set `busy`,
// except when the slot is made and dropped, without a unit; the rest is atomic.
unsafe impl<T: SpePmu> Send for Slot<T> {}

// SAFETY: Zeroes are `Unit::Offline`, whose discriminant is 0, a handle in no session, and counters
// and other integers that are zero.
unsafe impl<T: SpePmu> Zeroable for Slot<T> {}

impl<T: SpePmu> Slot<T> {
    /// Passes the state through `transition`, which returns the state to put back, the event that it
    /// was about, if it was about one, and a result. Returns whether that event runs now, and the
    /// result; or `None` if the state is in the hands of another transition, which this interrupts.
    #[inline]
    fn update<R>(
        &self,
        transition: impl FnOnce(Unit<T>) -> (Unit<T>, Option<Held<T>>, R),
    ) -> Option<(bool, R)> {
        if self.cpu.busy.load(Ordering::Relaxed) {
            return None;
        }
        self.cpu.busy.store(true, Ordering::Relaxed);
        // An NMI that comes before this point is done with its own transition by now; one that comes
        // later leaves the state alone.
        compiler_fence(Ordering::SeqCst);
        let (unit, event, result) = transition(self.unit.replace(Unit::Offline));
        Some((self.put(unit, event), result))
    }

    /// Puts the state back, and tells perf what the unit does for `event`, if there is one: what
    /// perf knows is derived from the state here, and nowhere else. (An event that is new on this
    /// CPU begins as stopped.) Returns whether `event` runs.
    #[inline]
    fn put(&self, unit: Unit<T>, event: Option<Held<T>>) -> bool {
        let sampling = match &unit {
            Unit::Sampling(sampling) => Some((sampling.event, sampling.pmscr.bits())),
            _ => None,
        };
        let runs = event.is_some_and(|event| {
            let runs = sampling.is_some_and(|(sampled, _)| sampled == event);
            event.set_state(if runs { State::Running } else { State::Stopped });
            runs
        });
        self.unit.set(unit);
        if let Some((event, pmscr)) = sampling {
            // The same: it sampled before.
            if self.cpu.resume_with.load(Ordering::Relaxed) != pmscr {
                self.cpu.resume_with.store(pmscr, Ordering::Relaxed);
                compiler_fence(Ordering::SeqCst);
                self.cpu.settle(event);
            }
        }
        #[cfg(ARM_SPE_DEBUG)]
        check::check(self, event);

        compiler_fence(Ordering::SeqCst);
        self.cpu.busy.store(false, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        if self.cpu.stop_later.load(Ordering::Relaxed) {
            self.stop_now();
        }
        runs
    }

    /// Pauses or resumes, if the unit samples. May interrupt all other functions, and be interrupted
    /// by [`Self::stop`].
    #[inline]
    pub(crate) fn pause(&self, paused: bool) {
        let mut pmscr = self.cpu.resume_with.load(Ordering::Relaxed);
        if pmscr == 0 {
            return;
        }
        // If the unit is turned off meanwhile, this is to have no effect.
        loop {
            PMSCR_EL1::from_bits(if paused { 0 } else { pmscr }).write();
            compiler_fence(Ordering::SeqCst);
            let now = self.cpu.resume_with.load(Ordering::Relaxed);
            if now == pmscr {
                break;
            }
            pmscr = now;
        }
        // Nothing after the event that pauses is sampled.
        isb();
        #[cfg(ARM_SPE_DEBUG)]
        self.update(|unit| {
            self.cpu.counters.count(match paused {
                true => Counter::Pauses,
                false => Counter::Resumes,
            });
            (unit, None, ())
        });
    }

    /// The CPU comes: makes its unit ready.
    pub(crate) fn online(&self) {
        self.update(|unit| match unit {
            Unit::Offline => {
                // SAFETY: The place lives as long as the slot, which keeps the unit. Where there
                // was no unit, there was no handle.
                let handle = unsafe { AuxHandle::new(&self.handle) };
                (Unit::Off(Off::reset(handle, &self.cpu)), None, ())
            }
            ready => (ready, None, ()),
        });
    }

    /// The CPU goes: stops what its unit is doing.
    pub(crate) fn offline(&self) {
        self.update(|unit| {
            let (off, event) = match unit {
                Unit::Sampling(sampling) => {
                    let event = sampling.event;
                    (sampling.stop(&self.cpu), Some(event))
                }
                Unit::Off(off) => (off, None),
                gone => return (gone, None, ()),
            };
            // The handle is made anew when the CPU comes back.
            let _ = Off::reset(off.handle, &self.cpu);
            (Unit::Offline, event, ())
        });
    }

    /// Starts `event`, unless the unit has no room to write to or is not there for it. Returns
    /// whether it runs, which perf is told as well ([`Event::set_state`]). `reload`: see
    /// [`Armed::sample`].
    ///
    /// [`Event::set_state`]: crate::perf::Event::set_state
    #[inline]
    pub(crate) fn start(&self, event: Held<T>, image: &Image, reload: bool) -> bool {
        let counters = &self.cpu.counters;
        self.update(|unit| {
            let unit = match unit {
                Unit::Off(off) => match off.arm(event, image, &self.cpu) {
                    Ok(armed) => Unit::Sampling(armed.sample(reload)),
                    Err(off) => Unit::Off(off),
                },
                Unit::Sampling(sampling) => {
                    if !sampling.is_for(&event) {
                        counters.count(Counter::StartBusy);
                    }
                    Unit::Sampling(sampling)
                }
                gone => {
                    counters.count(Counter::StartOffline);
                    gone
                }
            };
            (unit, Some(event), ())
        })
        .is_some_and(|(runs, ())| runs)
    }

    /// Stops `event`, if the unit samples for it. In an NMI, that may come to pass only before the
    /// callback that the NMI has interrupted returns.
    #[inline]
    pub(crate) fn stop(&self, event: Held<T>) {
        let stopped = self.update(|unit| match unit {
            Unit::Sampling(sampling) if sampling.is_for(&event) => {
                (Unit::Off(sampling.stop(&self.cpu)), Some(event), ())
            }
            other => (other, Some(event), ()),
        });
        if stopped.is_none() {
            self.cpu.stop_later.store(true, Ordering::Relaxed);
        }
    }

    /// Does what an NMI has asked for in the meantime.
    #[cold]
    fn stop_now(&self) {
        self.cpu.stop_later.store(false, Ordering::Relaxed);
        self.update(|unit| match unit {
            Unit::Sampling(sampling) => {
                let event = sampling.event;
                (Unit::Off(sampling.stop(&self.cpu)), Some(event), ())
            }
            other => (other, None, ()),
        });
    }

    /// Handles an interrupt. Returns whether it was the unit's.
    #[inline]
    pub(crate) fn interrupt(&self) -> bool {
        self.update(|unit| match unit {
            Unit::Sampling(sampling) => {
                let event = Some(sampling.event);
                match sampling.interrupt(&self.cpu) {
                    Interrupted::NotOurs(sampling) => (Unit::Sampling(sampling), event, false),
                    Interrupted::Resumed(sampling) => (Unit::Sampling(sampling), event, true),
                    Interrupted::Stopped(off) => (Unit::Off(off), event, true),
                }
            }
            Unit::Off(off) => {
                let ours = off.interrupt(&self.cpu);
                (Unit::Off(off), None, ours)
            }
            other => (other, None, false),
        })
        .is_some_and(|(_, ours)| ours)
    }
}
