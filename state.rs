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
//! cannot be written down. Between two callbacks of perf the state is kept in a [`Slot`], one for
//! each CPU. A transition makes a value of these types from it, and spends the value before it
//! ends.
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
//!   of a transition ([`Cpu::busy`]), that does it at its end, see [`Slot::release`]. There is one
//!   event on a CPU (`PERF_PMU_CAP_EXCLUSIVE`), so that it is the one.
//!
//! The order in which registers are written is that of the Arm ARM (DDI 0487), chapter D17 "The
//! Statistical Profiling Extension", in particular D17.9 on synchronisation.

use crate::{
    aux_buffer::{
        Buffer,
        NoSession,
        Session,
        Span, //
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
        Mark,
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
        PMSCR_EL1::clear();
        // Nothing is sampled after this, so that what the next barrier waits for is all there is:
        // only the records of operations before it are (D17.9).
        isb();
        // The buffer must not go before those are in it.
        drain();
        // SAFETY: Disables the buffer.
        unsafe { PMBLIMITR_EL1::clear() };
        // What the unit has last written to its registers can be read after this, and the buffer is
        // not its any more (D17.9).
        isb();
        let pmbsr = PMBSR_EL1::read();
        if pmbsr.bits() != 0 {
            // SAFETY: The buffer is disabled.
            unsafe { PMBSR_EL1::clear() };
        }
        pmbsr
    }

    /// Turns the unit off, whatever it was doing, and forgets what it wanted.
    #[inline]
    fn reset(&self) {
        self.turn_off();
        // SAFETY: The buffer is disabled.
        unsafe { PMBPTR_EL1::clear() };
        // The request for service has ended for certain before `startup` enables the interrupt.
        isb();
    }

    /// Lets the unit sample with `pmscr`, or not while `event` is paused. That may change while
    /// this runs, with the register written by whoever changes it: then this starts over, so that
    /// the last word is written last.
    #[inline(always)]
    fn settle<T: SpePmu>(&self, event: Held<T>, pmscr: PMSCR_EL1) {
        self.resume_with.store(pmscr.bits(), Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        if !event.is_paused() {
            pmscr.write();
            compiler_fence(Ordering::SeqCst);
            if !event.is_paused() {
                return;
            }
        }
        self.settle_paused(event, pmscr);
    }

    /// The same, for an event that is paused, or was a moment ago.
    #[cold]
    #[inline(never)]
    fn settle_paused<T: SpePmu>(&self, event: Held<T>, pmscr: PMSCR_EL1) {
        loop {
            let paused = event.is_paused();
            match paused {
                true => PMSCR_EL1::default().write(),
                false => pmscr.write(),
            }
            compiler_fence(Ordering::SeqCst);
            if event.is_paused() == paused {
                return;
            }
        }
    }
}

/// The unit is off: nothing is sampled, nothing is written, no session is open.
///
/// # Invariants
///
/// On this CPU `PMSCR_EL1` enables no exception level and `PMBLIMITR_EL1.E` is 0. The handle of the
/// slot is in no session. Of the values of this type and of the two below there is at most one for
/// a slot: it is made when that becomes busy ([`Slot::take`]), and spent before that ends
/// ([`Slot::put`], [`Slot::release`]).
#[must_use]
pub(crate) struct Off<'a, T: SpePmu> {
    /// Where the unit rests.
    slot: &'a Slot<T>,
}

/// The unit has room to write to, and samples nothing yet.
///
/// # Invariants
///
/// On this CPU `PMSCR_EL1` enables no exception level. `PMBPTR_EL1` and `PMBLIMITR_EL1` describe
/// the span of the session that the handle of the slot is in; or, if the image discards records,
/// discard them, and there is no session. See also [`Off`].
#[must_use]
pub(crate) struct Armed<'a, T: SpePmu> {
    /// Where the unit rests.
    slot: &'a Slot<T>,
    /// The event that the unit is to sample for.
    event: Held<T>,
    /// What it asks for.
    image: &'a Image,
}

/// The unit samples for an event.
///
/// # Invariants
///
/// On this CPU `PMSCR_EL1` is what the event wants, which [`Cpu::resume_with`] keeps, or 0 while
/// the event is paused; `PMBPTR_EL1` is within the span of the session that the handle of the slot
/// is in and `PMBLIMITR_EL1` at its end, or records are discarded and there is no session:
/// [`Slot::records`] says which. All that only as long as the hardware has not stopped by itself
/// (`PMBSR_EL1.S`). See also [`Off`].
#[must_use]
pub(crate) struct Sampling<'a, T: SpePmu> {
    /// Where the unit rests.
    slot: &'a Slot<T>,
    /// The event that the unit samples for.
    event: Held<T>,
}

/// What an interrupt came to.
#[must_use]
pub(crate) enum Interrupted<'a, T: SpePmu> {
    /// The unit did not ask for anything.
    NotOurs(Sampling<'a, T>),
    /// The buffer was full; the unit samples again.
    Resumed(Sampling<'a, T>),
    /// The unit is off.
    Stopped(Off<'a, T>),
}

impl<'a, T: SpePmu> Off<'a, T> {
    /// Makes the unit of this CPU ready, whatever it was doing.
    ///
    /// # Safety
    ///
    /// The slot must be busy, without a value for it, and its handle in no session.
    unsafe fn reset(slot: &'a Slot<T>) -> Self {
        slot.cpu.reset();
        // INVARIANT: just done; the rest by the requirements of this function.
        Self { slot }
    }

    /// The same, when nobody is to use it any more.
    fn retire(self) {
        self.slot.cpu.reset();
    }

    /// Begins a session of `event`, and tells the unit where to write.
    ///
    /// If there is no session the unit stays as it is: no register has been written, unless the
    /// unit had to be made quiet.
    #[inline(always)]
    pub(crate) fn arm(self, event: Held<T>, image: &'a Image) -> Result<Armed<'a, T>, Self> {
        let slot = self.slot;
        // What the unit has said since it was turned off, without an interrupt, is not about this
        // event; and while it waits for service it would not sample.
        if PMBSR_EL1::read().bits() != 0 {
            slot.quiet();
        }
        if image.discard {
            let limit = PMBLIMITR_EL1::default()
                .with(PMBLIMITR_EL1::FM, FM_DISCARD)
                .with(PMBLIMITR_EL1::E, 1);
            // SAFETY: Records are discarded: the unit writes nothing.
            unsafe { limit.write() };
            slot.records.set(Records::Discarded);
        } else {
            // SAFETY: By the invariants the handle is in no session, and this is the only value.
            let handle = unsafe { AuxHandle::new(&slot.place) };
            if !begin(handle, event, slot) {
                return Err(self);
            }
        }
        // INVARIANT: just done, or `begin` has told the unit.
        Ok(Armed { slot, event, image })
    }

    /// An interrupt while the unit is off. Returns whether the unit asked for it; if so, it is
    /// quiet now.
    pub(crate) fn interrupt(&self) -> bool {
        let ours = self.slot.quiet();
        if !ours {
            self.slot.cpu.counters.count(Counter::Spurious);
        }
        ours
    }
}

impl<'a, T: SpePmu> Armed<'a, T> {
    /// Programs what is to be sampled, and lets the unit sample. `reload`: begin a new interval of
    /// the event's period; otherwise the old one goes on.
    #[inline(always)]
    pub(crate) fn sample(self, reload: bool) -> Sampling<'a, T> {
        let Self { slot, event, image } = self;
        // Written each time: a CPU that was idle with its power off has lost what it was, and
        // nobody has kept it.
        image.pmsfcr.write();
        if image.filters_more {
            write_filters(image);
        }

        if reload {
            let asked = event.sample_period();
            let period = match event::is_period(asked) {
                true => asked,
                false => correct_period(event, asked),
            };
            event::interval(image, period).write();
            // A counter of zero is reloaded when sampling begins, which is after the barrier.
            PMSICR_EL1::from_bits(event.period_left()).write();
        }

        // All of the above, and where to write, must be in place before the first operation is
        // sampled, which the next write lets it be (D17.9).
        isb();
        slot.cpu.settle(event, image.pmscr);
        // INVARIANT: just done; the rest holds since `Armed`.
        Sampling { slot, event }
    }
}

impl<'a, T: SpePmu> Sampling<'a, T> {
    /// Whether the unit samples for `event`.
    #[inline]
    pub(crate) fn is_for(&self, event: &Held<T>) -> bool {
        self.event == *event
    }

    /// What this value is made of: its slot, its event, and where records go.
    #[inline(always)]
    fn part(self) -> (&'a Slot<T>, Held<T>, Output<'a, T>) {
        let Self { slot, event } = self;
        // SAFETY: By the invariants there is a session in these two cases, which `begin` has left
        // open; and the only value is spent.
        let session = || unsafe { Session::resume(&slot.place) };
        let output = match slot.records.get() {
            Records::Drained => Output::Drained(session()),
            Records::Overwritten => Output::Overwritten(session()),
            Records::Discarded => Output::Discarded,
        };
        (slot, event, output)
    }

    /// Leaves the unit as it is. Returns the event, for [`Slot::put`].
    #[inline]
    fn rest(self) -> Held<T> {
        self.event
    }

    /// Stops, and gives what was written to perf. If the unit has asked for service in the
    /// meantime, that ends with this session: on a context switch it must not fall to the next
    /// event.
    #[inline(always)]
    pub(crate) fn stop(self) -> Off<'a, T> {
        let pmbsr = self.slot.cpu.turn_off();
        keep_counter(self.event);
        let (slot, _, output) = self.part();
        let _in_no_session = match output {
            Output::Drained(session) if pmbsr.bits() == 0 => {
                let pointer = PMBPTR_EL1::read().bits();
                end(session, pointer, PMBSR_EL1::default(), &slot.cpu)
            }
            output => end_any(output, pmbsr, &slot.cpu),
        };
        // INVARIANT: turned off above.
        Off { slot }
    }

    /// [`Self::stop`], where it does not matter how long that takes, and the event.
    #[inline(never)]
    fn stop_rarely(self) -> (Off<'a, T>, Option<Held<T>>) {
        let event = self.event;
        (self.stop(), Some(event))
    }

    /// Handles an interrupt of the unit.
    ///
    /// Only a full buffer is expected: the session is ended and a new one begun, and sampling goes
    /// on. Anything else, and a failure to begin again, leaves the unit off before this
    /// returns.
    #[inline(always)]
    pub(crate) fn interrupt(self) -> Interrupted<'a, T> {
        let cpu = &self.slot.cpu;
        // Records and registers as of now: those that the unit writes are read after both barriers
        // (D17.9). The unit does not sample while PMBSR_EL1.S is set.
        drain();
        isb();
        let pmbsr = PMBSR_EL1::read();
        // First what it nearly always is.
        if pmbsr != syndrome::JUST_FULL && !pmbsr.has(PMBSR_EL1::S) {
            cpu.counters.count(Counter::Spurious);
            return Interrupted::NotOurs(self);
        }

        let (slot, event, output) = self.part();
        let ended = match output {
            Output::Drained(session) if pmbsr == syndrome::JUST_FULL => {
                cpu.counters.count(Counter::Full);
                let pointer = PMBPTR_EL1::read().bits();
                end(session, pointer, syndrome::JUST_FULL, cpu)
            }
            output => end_any(output, pmbsr, cpu),
        };
        let goes_on = match ended {
            Ended::Whole(handle) => begin(handle, event, slot),
            Ended::Discarding => true,
            Ended::ForGood => false,
        };
        if goes_on {
            // A new span must be in place before the unit goes on, which it may do at once (D17.9).
            isb();
            // SAFETY: The unit goes on with the span of the new session, if there is one.
            unsafe { PMBSR_EL1::clear() };
            // INVARIANT: `begin` has told the unit, or nothing is written; PMSCR_EL1 is as it was.
            return Interrupted::Resumed(Self { slot, event });
        }
        give_up(event, cpu);
        // INVARIANT: just done, and no session is left.
        Interrupted::Stopped(Off { slot })
    }
}

/// Tells the unit to write to `span`.
///
/// # Safety
///
/// The unit is off or waits for service. The span must be part of a mapped buffer, and nobody else
/// may use it until the unit is turned off, or has said that it has stopped.
#[inline(always)]
unsafe fn write_to(span: Span) {
    let limit = PMBLIMITR_EL1::from_bits(span.limit).with(PMBLIMITR_EL1::E, 1);
    // SAFETY: By the requirements of this function.
    unsafe {
        PMBPTR_EL1::from_bits(span.start).write();
        limit.write();
    }
}

/// Turns off a unit that has stopped, and whose session was ended.
#[cold]
#[inline(never)]
fn give_up<T: SpePmu>(event: Held<T>, cpu: &Cpu) {
    keep_counter(event);
    cpu.turn_off();
}

/// Begins a session of `event`, tells the unit, which is off or waits for service, where to write,
/// and leaves the session to `slot`. Returns whether there is one. If not, no register has been
/// written.
#[inline(always)]
fn begin<T: SpePmu>(handle: AuxHandle<'_, T>, event: Held<T>, slot: &Slot<T>) -> bool {
    match Session::begin(handle, event) {
        Ok((session, overwritten)) => {
            slot.cpu.counters.count(Counter::Sessions);
            // SAFETY: The span is part of a mapped buffer that belongs to the session. Whoever owns
            // that turns the unit off before the session is ended, or has been told by the unit
            // that it has stopped.
            unsafe { write_to(session.span()) };
            slot.records.set(match overwritten {
                true => Records::Overwritten,
                false => Records::Drained,
            });
            session.leave_open();
            true
        }
        Err((_in_no_session, why)) => {
            count_failure(why, &slot.cpu);
            false
        }
    }
}

/// Counts a start that failed.
#[cold]
#[inline(never)]
fn count_failure(why: NoSession, cpu: &Cpu) {
    cpu.counters.count(match why {
        NoSession::NoBuffer(NoBuffer::NotMapped) => Counter::StartNotMapped,
        NoSession::NoBuffer(NoBuffer::Full) => Counter::StartFull,
        NoSession::NoRoom { .. } => Counter::StartNoRoom,
    });
    if why == (NoSession::NoRoom { told: true }) {
        cpu.counters.count(Counter::Truncated);
    }
}

/// Where records go.
enum Output<'a, T: SpePmu> {
    /// Into a buffer that somebody drains.
    Drained(Session<'a, T>),
    /// Into a buffer that nobody drains.
    Overwritten(Session<'a, T>),
    /// Nowhere.
    Discarded,
}

/// What became of an [`Output`].
enum Ended<'a, T: SpePmu> {
    /// The session is ended, with all that the unit had to write.
    Whole(AuxHandle<'a, T>),
    /// There is no session, and nothing that the event would have to stop for.
    Discarding,
    /// There is no session any more, and the event cannot go on.
    ForGood,
}

/// Ends `session`, of a buffer that is drained, after the unit has stopped to write at `pointer`,
/// with `pmbsr`, which says nothing bad.
#[inline(always)]
fn end<'a, T: SpePmu>(
    session: Session<'a, T>,
    pointer: u64,
    pmbsr: PMBSR_EL1,
    cpu: &Cpu,
) -> Ended<'a, T> {
    match session.span().written(pointer) {
        Some(bytes) => {
            cpu.counters.add(Counter::Bytes, bytes);
            Ended::Whole(session.end_drained(bytes))
        }
        None => stray(session, pmbsr, cpu),
    }
}

/// Ends `output`, whatever it is and whatever `pmbsr` says of it.
#[cold]
#[inline(never)]
fn end_any<'a, T: SpePmu>(output: Output<'a, T>, pmbsr: PMBSR_EL1, cpu: &Cpu) -> Ended<'a, T> {
    let reason = look_into(pmbsr, cpu);
    let mut session = match output {
        Output::Drained(session) | Output::Overwritten(session) => session,
        // Nothing is written, so that nothing can be full; and perf, which has no session to look
        // at, would not know that the unit has stopped.
        Output::Discarded => {
            return match reason {
                None | Some(Reason::Full) => Ended::Discarding,
                Some(_) => Ended::ForGood,
            }
        }
    };
    // Not a reason to ask for service: it may be there without one.
    if pmbsr.has(PMBSR_EL1::COLL) {
        session.flag(AuxFlags::COLLISION);
        cpu.counters.count(Counter::Collision);
    }
    let lost = reason.is_some() && pmbsr.has(PMBSR_EL1::DL);
    if lost {
        session.flag(AuxFlags::PARTIAL);
        cpu.counters.count(Counter::Partial);
    }
    let Some(bytes) = session.span().written(PMBPTR_EL1::read().bits()) else {
        return stray(session, pmbsr, cpu);
    };
    cpu.counters.add(Counter::Bytes, bytes);
    // Whatever it was but a full buffer, samples are missing from there on.
    if lost || !matches!(reason, None | Some(Reason::Full)) {
        session.flag(AuxFlags::TRUNCATED);
        cpu.counters.count(Counter::Truncated);
        let _handle = session.end(bytes);
        return Ended::ForGood;
    }
    Ended::Whole(session.end(bytes))
}

/// What the log says if the write pointer is where it cannot be.
const STRAY: &str = "Stray write pointer";

/// Ends `session` after which the write pointer is outside of its part of the buffer. That is not
/// believed: nothing is taken as written, and perf is told that data is missing.
#[cold]
#[inline(never)]
fn stray<'a, T: SpePmu>(mut session: Session<'a, T>, pmbsr: PMBSR_EL1, cpu: &Cpu) -> Ended<'a, T> {
    session.flag(AuxFlags::TRUNCATED);
    cpu.counters.count(Counter::Truncated);
    cpu.counters.count(Counter::StrayPointer);
    let _handle = session.end(0);
    complain(STRAY, pmbsr);
    Ended::ForGood
}

/// Programs the filters that have registers of their own. Those that `PMSFCR_EL1` does not turn on
/// are not looked at by the unit.
#[cold]
#[inline(never)]
fn write_filters(image: &Image) {
    image.pmsevfr.write();
    if let Some(pmsnevfr) = image.pmsnevfr {
        pmsnevfr.write();
    }
    if let Some(pmsdsfr) = image.pmsdsfr {
        pmsdsfr.write();
    }
    image.pmslatfr.write();
}

/// The period to sample with if `asked` is none, which perf is told.
#[cold]
#[inline(never)]
fn correct_period<T: SpePmu>(event: Held<T>, asked: u64) -> u64 {
    let period = event::period(asked);
    event.set_sample_period(period);
    period
}

/// Keeps, for when the event goes on, the operations that were left until the next sample, with the
/// state of the random number above them (`ECOUNT`).
///
/// Nobody else uses `period_left`: events with a frequency instead of a period are refused.
#[inline]
fn keep_counter<T: SpePmu>(event: Held<T>) {
    event.set_period_left(PMSICR_EL1::read().bits());
}

/// Counts and logs what the unit asks for with `pmbsr`, if it asks for anything, and returns that.
#[cold]
#[inline(never)]
fn look_into(pmbsr: PMBSR_EL1, cpu: &Cpu) -> Option<Reason> {
    let Syndrome { reason, .. } = syndrome::decode(pmbsr)?;
    cpu.counters.count(match reason {
        Reason::Full => Counter::Full,
        Reason::FaultStage1 => Counter::FaultStage1,
        Reason::FaultStage2 => Counter::FaultStage2,
        Reason::ExternalAbort => Counter::ExternalAbort,
        Reason::UnknownStatus => Counter::UnknownStatus,
        Reason::UnknownClass => Counter::UnknownClass,
    });
    // A full buffer is part of every day's work.
    if reason != Reason::Full {
        complain(reason.text(), pmbsr);
    }
    Some(reason)
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

/// What the unit of a CPU is doing, in the hands of a transition.
pub(crate) enum Unit<'a, T: SpePmu> {
    /// The CPU is offline, or was never made ready.
    Offline,
    /// Off.
    Off(Off<'a, T>),
    /// Sampling.
    Sampling(Sampling<'a, T>),
}

/// Where records go: what is kept of an [`Output`].
#[derive(Clone, Copy)]
#[repr(u8)]
enum Records {
    /// [`Output::Drained`].
    Drained = 0,
    /// [`Output::Overwritten`].
    Overwritten,
    /// [`Output::Discarded`].
    Discarded,
}

/// The place where the unit of a CPU rests.
///
/// All functions are to be called on the CPU in question, with interrupts off: what a callback of
/// perf, an interrupt handler, and a function called by way of `smp_call_function_single()` have in
/// common. [`Self::pause`] and [`Self::stop_rarely`] may come in an NMI.
///
/// # Invariants
///
/// While it is not busy, the invariants of [`Sampling`] hold if there is an event; if not, those of
/// [`Off`], if it is ready.
pub(crate) struct Slot<T: SpePmu> {
    /// The event that the unit samples for, if it does.
    event: Cell<Option<Held<T>>>,
    /// Where records go while it does.
    records: Cell<Records>,
    /// The CPU is online.
    ready: Cell<bool>,
    /// The handle of this CPU, and its session.
    place: AuxPlace,
    /// What belongs to the CPU.
    pub(crate) cpu: Cpu,
}

// SAFETY: The state and the handle are used on one CPU only, by the transition that has set `busy`,
// except when the slot is made and dropped, without a unit; the rest is atomic.
unsafe impl<T: SpePmu> Send for Slot<T> {}

// SAFETY: Zeroes are no event (`Held` is a transparent wrapper of a `NonNull`), the first variant
// of `Records`, a CPU that is not online, a handle in no session, and counters
// and other integers.
unsafe impl<T: SpePmu> Zeroable for Slot<T> {}

impl<T: SpePmu> Slot<T> {
    /// Passes the state through `transition`, which returns the state to put back, and the event
    /// that it was about, if it was about one; unless the state is in the hands of another
    /// transition, which this interrupts.
    fn update<'a>(
        &'a self,
        transition: impl FnOnce(Unit<'a, T>) -> (Unit<'a, T>, Option<Held<T>>),
    ) {
        if let Some(unit) = self.take() {
            let (unit, event) = transition(unit);
            self.put_rarely(unit.rest(), event);
        }
    }

    /// Takes the state, for a transition, after which it is put back; `None` if it is in the hands
    /// of another one, which this interrupts.
    #[inline(always)]
    fn take(&self) -> Option<Unit<'_, T>> {
        if self.cpu.busy.load(Ordering::Relaxed) {
            return None;
        }
        self.cpu.busy.store(true, Ordering::Relaxed);
        // An NMI that comes before this point is done with its own transition by now; one that
        // comes later leaves the state alone.
        compiler_fence(Ordering::SeqCst);
        // INVARIANT: That of the slot; and it is busy from now on, until the value is put back.
        Some(match self.event.get() {
            Some(event) => Unit::Sampling(Sampling { slot: self, event }),
            None if self.ready.get() => Unit::Off(Off { slot: self }),
            None => Unit::Offline,
        })
    }

    /// Puts the state back: the unit samples for `sampled`, if that is an event ([`Unit::rest`],
    /// [`Sampling::rest`]). And tells perf what the unit does for `event`, if there is one: what
    /// perf knows is derived from the state here, and nowhere else. (An event that is new on this
    /// CPU begins as stopped.) Returns whether `event` runs.
    #[inline(always)]
    fn put(&self, sampled: Option<Held<T>>, event: Option<Held<T>>) -> bool {
        let runs = event.is_some_and(|event| {
            let runs = sampled == Some(event);
            event.set_state(if runs { State::Running } else { State::Stopped });
            runs
        });
        // INVARIANT: That of what is put back.
        self.event.set(sampled);
        self.release(event);
        runs
    }

    /// Ends a transition that was about `event`, if it was about one.
    #[inline(always)]
    fn release(&self, _event: Option<Held<T>>) {
        #[cfg(ARM_SPE_DEBUG)]
        check::check(self, _event);

        compiler_fence(Ordering::SeqCst);
        self.cpu.busy.store(false, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        if self.cpu.stop_later.load(Ordering::Relaxed) {
            self.stop_now();
        }
    }

    /// [`Self::put`], where it does not matter how long that takes.
    #[inline(never)]
    fn put_rarely(&self, sampled: Option<Held<T>>, event: Option<Held<T>>) -> bool {
        self.put(sampled, event)
    }

    /// Ends what the unit says while it is off. Returns whether it asked for service.
    #[cold]
    #[inline(never)]
    fn quiet(&self) -> bool {
        look_into(self.cpu.turn_off(), &self.cpu).is_some()
    }

    /// Pauses or resumes, if the unit samples. May interrupt all other functions, and be
    /// interrupted by [`Self::stop_rarely`].
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
        // Nothing after the event that pauses is sampled, and what comes after the one that resumes
        // is (D17.9).
        isb();
        #[cfg(ARM_SPE_DEBUG)]
        self.update(|unit| {
            self.cpu.counters.count(match paused {
                true => Counter::Pauses,
                false => Counter::Resumes,
            });
            (unit, None)
        });
    }

    /// The CPU comes: makes its unit ready, for buffers with `mark`.
    pub(crate) fn online(&self, mark: Mark) {
        self.update(|unit| match unit {
            Unit::Offline => {
                // SAFETY: `update` has made the slot busy, and `Offline` is no value for it. A
                // session is only begun by a unit that is off, and ended before the CPU goes: there
                // is none.
                let off = unsafe { Off::reset(self) };
                self.place.set_mark(mark);
                self.ready.set(true);
                (Unit::Off(off), None)
            }
            ready => (ready, None),
        });
    }

    /// The CPU goes: stops what its unit is doing.
    pub(crate) fn offline(&self) {
        self.update(|unit| {
            let (off, event) = match unit {
                Unit::Sampling(sampling) => sampling.stop_rarely(),
                Unit::Off(off) => (off, None),
                gone => return (gone, None),
            };
            off.retire();
            self.ready.set(false);
            (Unit::Offline, event)
        });
    }

    /// Starts `event`, unless the unit has no room to write to or is not there for it. Returns
    /// whether it runs, which perf is told as well ([`Event::set_state`]). `reload`: see
    /// [`Armed::sample`].
    ///
    /// [`Event::set_state`]: crate::perf::Event::set_state
    #[inline(always)]
    pub(crate) fn start(&self, event: Held<T>, image: &Image, reload: bool) -> bool {
        let sampled = match self.take() {
            Some(Unit::Off(off)) => match off.arm(event, image) {
                Ok(armed) => return self.put(Some(armed.sample(reload).rest()), Some(event)),
                Err(off) => Unit::Off(off).rest(),
            },
            Some(other) => self.count_start(other.rest(), event),
            None => return false,
        };
        self.put_rarely(sampled, Some(event))
    }

    /// Counts a start of `event` that cannot be: the unit is gone, or samples for `sampled`.
    #[cold]
    #[inline(never)]
    fn count_start(&self, sampled: Option<Held<T>>, event: Held<T>) -> Option<Held<T>> {
        match sampled {
            Some(sampled) if sampled == event => (),
            Some(_) => self.cpu.counters.count(Counter::StartBusy),
            None => self.cpu.counters.count(Counter::StartOffline),
        }
        sampled
    }

    /// Stops `event`, if the unit samples for it.
    #[inline(always)]
    pub(crate) fn stop(&self, event: Held<T>) {
        match self.take() {
            Some(Unit::Sampling(sampling)) if sampling.is_for(&event) => {
                let sampled = Unit::Off(sampling.stop()).rest();
                self.put(sampled, Some(event));
            }
            Some(other) => {
                self.put_rarely(other.rest(), Some(event));
            }
            None => self.cpu.stop_later.store(true, Ordering::Relaxed),
        }
    }

    /// Does what an NMI has asked for in the meantime.
    #[cold]
    #[inline(never)]
    fn stop_now(&self) {
        self.cpu.stop_later.store(false, Ordering::Relaxed);
        self.update(|unit| match unit {
            Unit::Sampling(sampling) => {
                let (off, event) = sampling.stop_rarely();
                (Unit::Off(off), event)
            }
            other => (other, None),
        });
    }

    /// Handles an interrupt. Returns whether it was the unit's.
    #[inline(always)]
    pub(crate) fn interrupt(&self) -> bool {
        let (sampled, event, ours) = match self.take() {
            Some(Unit::Sampling(sampling)) => {
                let event = Some(sampling.event);
                match sampling.interrupt() {
                    Interrupted::Resumed(sampling) => {
                        // As before, which perf knows.
                        self.release(Some(sampling.rest()));
                        return true;
                    }
                    Interrupted::NotOurs(sampling) => (Some(sampling.rest()), event, false),
                    Interrupted::Stopped(off) => (Unit::Off(off).rest(), event, true),
                }
            }
            Some(Unit::Off(off)) => {
                let ours = off.interrupt();
                (Unit::Off(off).rest(), None, ours)
            }
            Some(Unit::Offline) => (None, None, false),
            None => return false,
        };
        self.put_rarely(sampled, event);
        ours
    }

    /// [`Self::stop`], where it does not matter how long that takes. In an NMI, it may come to pass
    /// only before the callback that the NMI has interrupted returns. (Not made of one function
    /// with `stop`: that would cost those six instructions who pause, in whose callback this is
    /// called.)
    pub(crate) fn stop_rarely(&self, event: Held<T>) {
        let sampled = match self.take() {
            Some(Unit::Sampling(sampling)) if sampling.is_for(&event) => {
                let (off, _event) = sampling.stop_rarely();
                Unit::Off(off).rest()
            }
            Some(other) => other.rest(),
            None => {
                self.cpu.stop_later.store(true, Ordering::Relaxed);
                return;
            }
        };
        self.put_rarely(sampled, Some(event));
    }
}

impl<T: SpePmu> Unit<'_, T> {
    /// Leaves the unit as it is. Returns the event that it samples for, if it does, for
    /// [`Slot::put`].
    #[inline(always)]
    fn rest(self) -> Option<Held<T>> {
        match self {
            Self::Sampling(sampling) => Some(sampling.rest()),
            _ => None,
        }
    }
}
