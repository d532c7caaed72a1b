// SPDX-License-Identifier: GPL-2.0

//! The profiling unit of one CPU, as a state machine in types.
//!
//! ```text
//!            arm                sample
//!   Off -----------> Armed --------------> Sampling --+
//!    ^ ^     |                              | |   ^   | interrupt: nothing to do,
//!    | +-----+ no session                   | |   +---+ or a new session
//!    |                                stop  | | interrupt: fault, or no session
//!    +--------------------------------------+-+
//! ```
//!
//! | state | `PMBLIMITR_EL1.E` | `PMSCR_EL1.E0SPE`, `E1SPE` | session |
//! | --- | --- | --- | --- |
//! | [`Off`] | 0 | 0 | none |
//! | [`Armed`] | 1 | 0 | one, unless discarding |
//! | [`Sampling`] | 1 | as the event wants, or 0 while paused | one, unless discarding |
//!
//! Each transition consumes the state that it leaves. A state can only be had from a transition, so
//! that sampling without a session, ending one twice, or touching a buffer that was given back
//! cannot be written down. Between two callbacks of perf the state rests in a [`Unit`], one for
//! each CPU.
//!
//! # Pausing
//!
//! Another event may pause and resume one that samples (`aux-action=pause`, `resume`), from an
//! interrupt that may come in the middle of any transition, if it is an NMI. perf first notes what
//! is wanted in the event, then calls the PMU. Pausing touches nothing but `PMSCR_EL1`, and that
//! only while the state is at rest as [`Sampling`]: [`Slot::resume_with`] is zero at all other
//! times, and what comes then is left to the transition that was interrupted, which looks at what
//! is wanted after it has put the state back, see [`follow_pause`].
//!
//! The order in which registers are written is that of the Arm ARM (DDI 0487), chapter D17 "The
//! Statistical Profiling Extension", in particular D17.9 on synchronisation.

use crate::{
    aux_buffer::{
        Buffer,
        NoSession,
        Session, //
    },
    event::{
        self,
        Image, //
    },
    perf::{
        AuxFlags,
        Held,
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
        AtomicU64,
        Ordering, //
    }, //
};
use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};

/// A PMU whose events this machine runs.
pub(crate) trait SpePmu: Pmu<Aux = Buffer, EventData = Image> {}

impl<T: Pmu<Aux = Buffer, EventData = Image>> SpePmu for T {}

/// The unit is off: nothing is sampled, nothing is written, no session is open.
///
/// # Invariants
///
/// On this CPU `PMSCR_EL1` enables no exception level and `PMBLIMITR_EL1.E` is 0.
pub(crate) struct Off(NotThreadSafe);

/// The unit has room to write to, and samples nothing yet.
///
/// # Invariants
///
/// On this CPU `PMSCR_EL1` enables no exception level. `PMBPTR_EL1` and `PMBLIMITR_EL1` describe
/// the span of `session`, or discard records if there is none.
#[must_use]
pub(crate) struct Armed<T: SpePmu> {
    event: Held<T>,
    session: Option<Session<T>>,
}

/// The unit samples for an event.
///
/// # Invariants
///
/// On this CPU `PMSCR_EL1` is `pmscr`, or 0 while the event is paused, `PMBPTR_EL1` is within the span of `session` and
/// `PMBLIMITR_EL1` at its end; or records are discarded if there is no session. All that only as
/// long as the hardware has not stopped by itself (`PMBSR_EL1.S`).
#[must_use]
pub(crate) struct Sampling<T: SpePmu> {
    event: Held<T>,
    session: Option<Session<T>>,
    pmscr: PMSCR_EL1,
}

/// What an interrupt came to.
#[must_use]
pub(crate) enum Interrupted<T: SpePmu> {
    /// The unit did not ask for anything.
    NotOurs(Sampling<T>),
    /// The buffer was full; the unit samples again.
    Resumed(Sampling<T>),
    /// The unit is off.
    Stopped(Off, Held<T>),
}

impl Off {
    /// Turns the unit of this CPU off, whatever it was doing, and forgets what it wanted.
    ///
    /// # Safety
    ///
    /// No [`Armed`] or [`Sampling`] of this CPU may exist.
    unsafe fn reset() -> Self {
        // INVARIANT: turned off here.
        turn_off();
        // SAFETY: The buffer is disabled.
        unsafe { PMBPTR_EL1::default().write() };
        PMBSR_EL1::default().write();
        isb();
        Self(NotThreadSafe)
    }

    /// The operations that were left until the next sample, with the state of the random number
    /// above them (`ECOUNT`).
    #[inline]
    pub(crate) fn counter(&self) -> u64 {
        PMSICR_EL1::read().bits()
    }

    /// Begins a session of `event`, and tells the unit where to write.
    ///
    /// If there is no session the unit stays as it is: no register has been written.
    #[inline]
    pub(crate) fn arm<T: SpePmu>(
        self,
        event: Held<T>,
        image: &Image,
    ) -> Result<Armed<T>, (Self, NoSession)> {
        if image.discard {
            let limit = PMBLIMITR_EL1::default()
                .with(PMBLIMITR_EL1::FM, FM_DISCARD)
                .with(PMBLIMITR_EL1::E, 1);
            // SAFETY: Records are discarded: the unit writes nothing.
            unsafe { limit.write() };
            // INVARIANT: just done.
            return Ok(Armed {
                event,
                session: None,
            });
        }
        match Session::begin(event) {
            Ok(session) => {
                point(&session);
                // INVARIANT: `point` has done that.
                Ok(Armed {
                    event,
                    session: Some(session),
                })
            }
            Err(why) => Err((self, why)),
        }
    }

    /// An interrupt while the unit is off. Returns whether the unit asked for it; if so, it is
    /// quiet now.
    pub(crate) fn interrupt(&self) -> bool {
        let ours = PMBSR_EL1::read().has(PMBSR_EL1::S);
        if ours {
            PMBSR_EL1::default().write();
        }
        ours
    }
}

impl<T: SpePmu> Armed<T> {
    /// Programs what is to be sampled, and starts. `reload`: begin a new interval of the event's
    /// period; otherwise the old one goes on.
    #[inline]
    pub(crate) fn sample(self, image: &Image, reload: bool) -> Sampling<T> {
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
        // INVARIANT: the slot writes PMSCR_EL1 next; the rest holds since `Armed`.
        Sampling {
            event: self.event,
            session: self.session,
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
    #[inline]
    pub(crate) fn stop(self) -> Off {
        let off = turn_off();
        let pmbsr = PMBSR_EL1::read();
        let syndrome = syndrome::decode(pmbsr);
        if let Some(syndrome) = &syndrome {
            report(syndrome, pmbsr);
            PMBSR_EL1::default().write();
        }
        if let Some(session) = self.session {
            finish(session, syndrome.as_ref());
        }
        off
    }

    /// Handles an interrupt of the unit.
    ///
    /// Only a full buffer is expected: the session is ended and a new one begun, and sampling goes
    /// on. Anything else, and a failure to begin again, leaves the unit off before this
    /// returns.
    #[inline]
    pub(crate) fn interrupt(mut self) -> Interrupted<T> {
        // Records and registers as of now. The unit does not sample while PMBSR_EL1.S is set.
        drain();
        isb();
        let pmbsr = PMBSR_EL1::read();
        let Some(syndrome) = syndrome::decode(pmbsr) else {
            return Interrupted::NotOurs(self);
        };

        if syndrome.reason == Reason::Full && !syndrome.data_lost {
            if let Some(session) = self.session.take() {
                if finish(session, Some(&syndrome)) {
                    if let Ok(session) = Session::begin(self.event) {
                        point(&session);
                        // INVARIANT: `point` has done that; PMSCR_EL1 is as it was.
                        self.session = Some(session);
                        // The new span must be in place before the unit goes on.
                        isb();
                        PMBSR_EL1::default().write();
                        return Interrupted::Resumed(self);
                    }
                }
            }
        }
        let event = self.event;
        Interrupted::Stopped(self.abandon(&syndrome, pmbsr), event)
    }

    /// Turns off a unit that has asked for service, which ends with that.
    #[cold]
    fn abandon(self, syndrome: &Syndrome, pmbsr: PMBSR_EL1) -> Off {
        report(syndrome, pmbsr);
        let off = turn_off();
        if let Some(session) = self.session {
            finish(session, Some(syndrome));
        }
        PMBSR_EL1::default().write();
        off
    }
}

/// Tells the unit to write to the span of `session`.
#[inline]
fn point<T: SpePmu>(session: &Session<T>) {
    let span = session.span();
    let limit = PMBLIMITR_EL1::from_bits(span.limit).with(PMBLIMITR_EL1::E, 1);
    // SAFETY: The span is part of a mapped buffer that belongs to the session. Whoever owns that
    // turns the unit off before the session is ended, or has been told by the unit that it has
    // stopped.
    unsafe {
        PMBPTR_EL1::from_bits(span.start).write();
        limit.write();
    }
}

/// Stops sampling, waits until all records are written, and disables the buffer.
#[inline]
fn turn_off() -> Off {
    PMSCR_EL1::default().write();
    isb();
    drain();
    // SAFETY: Disables the buffer.
    unsafe { PMBLIMITR_EL1::default().write() };
    // The caller may read what the unit has last written to its registers.
    isb();
    // INVARIANT: just done.
    Off(NotThreadSafe)
}

/// Ends `session` of a unit that does not write any more, with what `syndrome` says of the data.
/// Returns whether the event may go on.
#[inline]
fn finish<T: SpePmu>(mut session: Session<T>, syndrome: Option<&Syndrome>) -> bool {
    if let Some(syndrome) = syndrome {
        // Whatever it was but a full buffer, samples are missing from there on.
        if syndrome.data_lost || syndrome.reason != Reason::Full {
            session.flag(AuxFlags::TRUNCATED);
        }
        if syndrome.data_lost {
            session.flag(AuxFlags::PARTIAL);
        }
        if syndrome.collision {
            session.flag(AuxFlags::COLLISION);
        }
    }
    let pointer = PMBPTR_EL1::read().bits();
    let span = session.span();
    let sane = session.end(pointer);
    if !sane {
        stray(pointer, span.start, span.limit);
    }
    sane
}

/// Logs a request for service, unless it is the one that is part of every day's work.
fn report(syndrome: &Syndrome, pmbsr: PMBSR_EL1) {
    if syndrome.reason != Reason::Full && ratelimit() {
        pr_err!(
            "{} on CPU {} [PMBSR={:#018x}, PMBPTR={:#018x}, PMBLIMITR={:#018x}]\n",
            syndrome.reason.text(),
            kernel::cpu::CpuId::current().as_u32(),
            pmbsr.bits(),
            PMBPTR_EL1::read().bits(),
            PMBLIMITR_EL1::read().bits(),
        );
    }
}

/// Logs a write pointer where it cannot be.
#[cold]
fn stray(pointer: u64, start: u64, limit: u64) {
    if ratelimit() {
        pr_err!(
            "Stray write pointer on CPU {} [PMBPTR={:#018x}, expected {:#018x} to {:#018x}]\n",
            kernel::cpu::CpuId::current().as_u32(),
            pointer,
            start,
            limit,
        );
    }
}

/// Whether another message may be logged.
fn ratelimit() -> bool {
    // SAFETY: Has no requirements but a valid string.
    unsafe { kernel::bindings::__printk_ratelimit(c"arm_spe_pmu".as_char_ptr()) != 0 }
}

/// What the unit of a CPU is doing, at rest between two callbacks.
pub(crate) enum Unit<T: SpePmu> {
    /// The CPU is offline, or was never made ready.
    Offline,
    /// A callback has taken the state out and not put it back yet.
    Busy,
    /// Off.
    Off(Off),
    /// Sampling.
    Sampling(Sampling<T>),
}

// SAFETY: Values other than `Offline` and `Busy` are made and used on one CPU only, by code that
// interrupts cannot interrupt; a `Unit` as such is moved between CPUs only when it is made and
// dropped, as `Offline`.
unsafe impl<T: SpePmu> Send for Unit<T> {}

/// The place where the unit of a CPU rests.
///
/// All functions are to be called on the CPU in question, with interrupts off: what a callback of
/// perf, an interrupt handler, and a function called by way of `smp_call_function_single()` have in
/// common.
pub(crate) struct Slot<T: SpePmu> {
    unit: Cell<Unit<T>>,
    /// `PMSCR_EL1` of the event that the unit samples for, while that state is at rest; else 0.
    /// Only this CPU uses it: an atomic because an NMI may read it at any time.
    resume_with: AtomicU64,
}

impl<T: SpePmu> Slot<T> {
    /// The place of a CPU that is not ready.
    pub(crate) fn new() -> Self {
        Self {
            unit: Cell::new(Unit::Offline),
            resume_with: AtomicU64::new(0),
        }
    }

    /// Takes the state out, passes it through `transition`, and puts what that returns back.
    #[inline]
    fn update<R>(&self, transition: impl FnOnce(Unit<T>) -> (Unit<T>, R)) -> R {
        self.resume_with.store(0, Ordering::Relaxed);
        // An NMI comes before or after this point, and so do the writes of registers that follow.
        compiler_fence(Ordering::SeqCst);
        let (unit, result) = transition(self.unit.replace(Unit::Busy));
        let sampling = match &unit {
            Unit::Sampling(sampling) => Some((sampling.event, sampling.pmscr)),
            _ => None,
        };
        self.unit.set(unit);
        if let Some((event, pmscr)) = sampling {
            compiler_fence(Ordering::SeqCst);
            self.resume_with.store(pmscr.bits(), Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
            follow_pause(event, pmscr);
        }
        result
    }

    /// Pauses or resumes, if the unit is at rest and samples. May interrupt all other functions.
    #[inline]
    pub(crate) fn pause(&self, paused: bool) {
        let pmscr = self.resume_with.load(Ordering::Relaxed);
        if pmscr != 0 {
            PMSCR_EL1::from_bits(if paused { 0 } else { pmscr }).write();
            // Nothing after the event that pauses is sampled.
            isb();
        }
    }

    /// The CPU comes: makes its unit ready.
    pub(crate) fn online(&self) {
        // SAFETY: A unit that was not ready is not in use.
        self.update(|_| (Unit::Off(unsafe { Off::reset() }), ()));
    }

    /// The CPU goes: stops what its unit is doing.
    pub(crate) fn offline(&self) {
        self.update(|unit| {
            if let Unit::Sampling(sampling) = unit {
                let event = sampling.event;
                publish(event, Some(&sampling.stop()));
            }
            // SAFETY: What was sampling has been stopped.
            unsafe { Off::reset() };
            (Unit::Offline, ())
        });
    }

    /// Starts `event`, unless the unit has no room to write to or is not there for it;
    /// [`Event::set_state`] and the result tell whether it runs. `reload`: see
    /// [`Armed::sample`].
    ///
    /// [`Event::set_state`]: crate::perf::Event::set_state
    #[inline]
    pub(crate) fn start(&self, event: Held<T>, image: &Image, reload: bool) -> bool {
        self.update(|unit| match unit {
            Unit::Off(off) => match off.arm(event, image) {
                Ok(armed) => {
                    publish(event, None);
                    (Unit::Sampling(armed.sample(image, reload)), true)
                }
                Err((off, _)) => {
                    event.set_state(State::Stopped { up_to_date: false });
                    (Unit::Off(off), false)
                }
            },
            Unit::Sampling(sampling) if sampling.is_for(&event) => (Unit::Sampling(sampling), true),
            other => {
                event.set_state(State::Stopped { up_to_date: false });
                (other, false)
            }
        })
    }

    /// Stops `event`, if the unit runs it.
    #[inline]
    pub(crate) fn stop(&self, event: Held<T>) {
        self.update(|unit| match unit {
            Unit::Sampling(sampling) if sampling.is_for(&event) => {
                let off = sampling.stop();
                publish(event, Some(&off));
                (Unit::Off(off), ())
            }
            other => (other, ()),
        });
    }

    /// Handles an interrupt. Returns whether it was the unit's.
    #[inline]
    pub(crate) fn interrupt(&self) -> bool {
        self.update(|unit| match unit {
            Unit::Sampling(sampling) => match sampling.interrupt() {
                Interrupted::NotOurs(sampling) => (Unit::Sampling(sampling), false),
                Interrupted::Resumed(sampling) => (Unit::Sampling(sampling), true),
                Interrupted::Stopped(off, event) => {
                    publish(event, Some(&off));
                    (Unit::Off(off), true)
                }
            },
            Unit::Off(off) => {
                let ours = off.interrupt();
                (Unit::Off(off), ours)
            }
            other => (other, false),
        })
    }
}

/// Lets the unit sample, or not, as the event is resumed or paused. What is wanted may change while
/// this runs, with the register written by whoever changes it: then this starts over, so that the
/// last word is written last.
#[inline]
fn follow_pause<T: SpePmu>(event: Held<T>, pmscr: PMSCR_EL1) {
    loop {
        let paused = event.is_paused();
        PMSCR_EL1::from_bits(if paused { 0 } else { pmscr.bits() }).write();
        if event.is_paused() == paused {
            return;
        }
    }
}

/// Tells perf what the unit does for `event`: it is `off`, or samples. What perf knows is derived
/// from the state here, and nowhere else.
#[inline]
fn publish<T: SpePmu>(event: Held<T>, off: Option<&Off>) {
    match off {
        None => event.set_state(State::Running),
        Some(off) => {
            // Nobody else uses `period_left`: events with a frequency instead of a period are
            // refused.
            event.set_period_left(off.counter());
            event.set_state(State::Stopped { up_to_date: true });
        }
    }
}
