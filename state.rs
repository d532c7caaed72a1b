// SPDX-License-Identifier: GPL-2.0

//! The profiling unit of one CPU, as a state machine in types. `docs/design.md` has the drawing.
//!
//! Each transition consumes the state that it leaves. Between two callbacks of perf the state is
//! kept in a [`Slot`] per CPU. A pseudo-NMI that pauses, resumes or throttles the event in the
//! middle of a transition uses [`Gate`] alone.

use crate::{
    aux_buffer::{
        BeginError,
        Destination,
        Spe,
        Transaction,
        WithoutTransaction, //
    },
    bindings::SPE_MESSAGES,
    counters::{
        Counter,
        Counters, //
    },
    event,
    helpers::may_log,
    live_buffer::Rate,
    percpu::NotInNmi,
    perf::{
        ActiveEvent,
        AuxFlags,
        AuxHandle,
        Event,
        NoBuffer, //
    },
    syndrome::{
        self,
        Reason, //
    },
    sysreg::{
        Register,
        PMBLIMITR_EL1,
        PMBPTR_EL1,
        PMBSR_EL1, //
    },
    unit::{
        self,
        Disabled,
        Enabled,
        Gate,
        NoTransaction,
        Output,
        Saved,
        Stopped, //
    }, //
};
use core::cell::Cell;
use kernel::prelude::*;

#[cfg(ARM_SPE_DEBUG)]
#[path = "state_check.rs"]
mod check;

#[cfg(CONFIG_KUNIT = "y")]
#[path = "kunit/state.rs"]
pub(crate) mod tests;

/// Per-CPU data that NMIs and other CPUs may use as well.
pub(crate) struct Cpu {
    pub(crate) gate: Gate,
    pub(crate) counters: Counters,
    pub(crate) live_rate: Rate,
}

impl Cpu {
    pub(crate) fn new() -> Self {
        Self {
            gate: Gate::new(),
            counters: Counters::new(),
            live_rate: Rate::new(),
        }
    }
}

/// The state of the unit of a CPU.
enum State {
    /// The CPU is offline or its unit is not used; it is asleep; or a transition is in progress.
    Offline,
    Off(Off),
    Sampling(Sampling),
}

/// The unit samples nothing and writes nothing.
///
/// # Invariants
///
/// On this CPU `PMSCR_EL1` enables no exception level (unless the CPU has lost its power, until CPU
/// PM says that it is back) and `PMBLIMITR_EL1.E` is 0. The handle is that of the CPU, so that it
/// has no AUX transaction.
#[must_use]
pub(crate) struct Off {
    unit: Disabled,
    handle: AuxHandle<Spe>,
}

/// The event has an output; the unit is still off.
///
/// # Invariants
///
/// The registers are as in [`Off`].
#[must_use]
pub(crate) struct Armed {
    unit: Disabled,
    event: ActiveEvent<Spe>,
    output: Output,
}

/// The unit samples for an event, unless that is paused or throttled.
///
/// # Invariants
///
/// The gate of this CPU is open for the event.
#[must_use]
pub(crate) struct Sampling {
    event: ActiveEvent<Spe>,
    output: Enabled,
}

/// The CPU may have lost its power while the unit sampled. The unit is off; for perf the event
/// runs, and its transaction is open.
///
/// # Invariants
///
/// The gate of this CPU is closed.
#[must_use]
pub(crate) struct Asleep {
    event: ActiveEvent<Spe>,
    output: Saved,
}

impl Off {
    /// Gets an output for `event`. Without one no register that controls sampling is written.
    pub(crate) fn arm(self, event: &Event<Spe>, cpu: &Cpu) -> Result<Armed, Self> {
        let no_space = &event.data().no_space;
        if no_space.is_recent() {
            cpu.counters.count(Counter::StartFull);
            return Err(self);
        }
        // A request from before would keep the unit from sampling.
        self.end_service(cpu);
        let Self { unit, handle } = self;
        let event = event.activate();
        match begin(handle, &event, cpu) {
            // INVARIANT: As in `self`.
            Ok(output) => Ok(Armed {
                unit,
                event,
                output,
            }),
            Err((handle, error)) => {
                if error == BeginError::NoBuffer(NoBuffer::Full) {
                    no_space.note();
                }
                // INVARIANT: As in `self`.
                Err(Self { unit, handle })
            }
        }
    }

    /// Handles an interrupt. Returns whether it was the unit's.
    pub(crate) fn interrupt(&self, cpu: &Cpu) -> bool {
        let ours = self.end_service(cpu);
        if !ours {
            cpu.counters.count(Counter::Spurious);
        }
        ours
    }

    /// Ends a request for service. Returns whether there was one.
    fn end_service(&self, cpu: &Cpu) -> bool {
        report(self.unit.end_service(), cpu).is_some()
    }
}

impl Armed {
    pub(crate) fn sample(self, cpu: &Cpu) -> Sampling {
        let Self {
            unit,
            event,
            output,
        } = self;
        let requested = event.sample_period();
        let period = event::period(requested);
        if period != requested {
            event.set_sample_period(period);
        }
        // INVARIANT: This opens the gate.
        let output = unit::start(&cpu.gate, unit, &event, output, period);
        Sampling { event, output }
    }
}

impl Sampling {
    fn is_live(&self) -> bool {
        self.output.is_live()
    }

    fn is_for(&self, event: &Event<Spe>) -> bool {
        self.event.address() == event.address()
    }

    /// Lets a throttled event run again.
    fn unthrottle(&self, cpu: &Cpu) {
        self.event.unthrottle();
        cpu.gate.update(&self.event);
    }

    /// Stops sampling and hands the records to perf. Ends a request for service as well, which must
    /// not be taken for the next event's.
    #[inline(always)] // `stop` and `del`: 105 instructions otherwise, not 95
    pub(crate) fn stop(self, cpu: &Cpu) -> Off {
        let Self { event, output } = self;
        let stopped = output.stop(&cpu.gate);
        event.set_period_left(unit::counter());
        let (off, _goes_on) = finish(stopped, &event, cpu);
        off
    }

    /// Emits the records of a live event that are in its buffer.
    fn flush(self, cpu: &Cpu) -> State {
        let Self { event, output } = self;
        let stopped = output.stop(&cpu.gate);
        match renew(stopped, &event, cpu) {
            Ok(output) => {
                // INVARIANT: This opens the gate.
                unit::continue_sampling(&cpu.gate, &event);
                State::Sampling(Self { event, output })
            }
            Err(off) => {
                event.set_period_left(unit::counter());
                State::Off(off)
            }
        }
    }

    /// Handles an interrupt. Returns whether it was the unit's.
    ///
    /// When the buffer is full and there is a new transaction, sampling continues. Otherwise the
    /// unit is off.
    fn interrupt(self, cpu: &Cpu) -> (State, bool) {
        let Self { event, output } = self;
        let stopped = match output.service() {
            Ok(stopped) => stopped,
            Err(output) => {
                cpu.counters.count(Counter::Spurious);
                // INVARIANT: The gate is still open.
                return (State::Sampling(Self { event, output }), false);
            }
        };
        match renew(stopped, &event, cpu) {
            // INVARIANT: The gate is still open.
            Ok(output) => (State::Sampling(Self { event, output }), true),
            Err(off) => {
                unit::stop_sampling(&cpu.gate);
                event.set_period_left(unit::counter());
                // INVARIANT: Sampling was stopped.
                (State::Off(off), true)
            }
        }
    }
}

impl Sampling {
    /// Turns the unit off for a CPU that may lose its power.
    fn sleep(self, cpu: &Cpu) -> Asleep {
        cpu.counters.count(Counter::Sleeps);
        // INVARIANT: This closes the gate.
        Asleep {
            event: self.event,
            output: Saved::save(self.output, &cpu.gate),
        }
    }
}

impl Asleep {
    /// Continues to sample.
    fn wake(self, cpu: &Cpu) -> Sampling {
        let Self { event, output } = self;
        let period = event::period(event.sample_period());
        // INVARIANT: This opens the gate.
        let output = output.restore(&cpu.gate, &event, period);
        Sampling { event, output }
    }
}

#[inline(always)] // a start: 236 instructions otherwise, not 202
fn begin(
    handle: AuxHandle<Spe>,
    event: &ActiveEvent<Spe>,
    cpu: &Cpu,
) -> Result<Output, (AuxHandle<Spe>, BeginError)> {
    if let Destination::NoTransaction(destination) = &event.data().destination {
        return begin_without(destination, handle, event, cpu).map(Output::NoTransaction);
    }
    let counters = &cpu.counters;
    match Transaction::begin(handle, event) {
        Ok(transaction) => {
            counters.count(Counter::Transactions);
            Ok(Output::Buffer(transaction))
        }
        Err((handle, error)) => {
            counters.count(match error {
                BeginError::NoBuffer(NoBuffer::NotMapped) => Counter::StartNotMapped,
                BeginError::NoBuffer(NoBuffer::Full) => Counter::StartFull,
                BeginError::NoSpace { .. } => Counter::StartNoSpace,
            });
            if error == (BeginError::NoSpace { truncated: true }) {
                counters.count(Counter::Truncated);
            }
            Err((handle, error))
        }
    }
}

fn begin_without(
    destination: &WithoutTransaction,
    handle: AuxHandle<Spe>,
    event: &ActiveEvent<Spe>,
    cpu: &Cpu,
) -> Result<NoTransaction, (AuxHandle<Spe>, BeginError)> {
    match destination {
        WithoutTransaction::Discard => Ok(NoTransaction::Discard(handle)),
        WithoutTransaction::Live(live) => {
            let period = event::period(event.sample_period());
            match live.buffer(period, &cpu.live_rate, &cpu.counters) {
                Some(buffer) => Ok(NoTransaction::Live(handle, buffer)),
                None => Err((handle, BeginError::NoBuffer(NoBuffer::NotMapped))),
            }
        }
    }
}

/// Ends the transaction and begins the next one. Returns an error if the event may not go on. The
/// gate may still be open.
#[inline(always)]
fn renew(stopped: Stopped, event: &ActiveEvent<Spe>, cpu: &Cpu) -> Result<Enabled, Off> {
    let (Off { unit, mut handle }, goes_on) = finish(stopped, event, cpu);
    if goes_on {
        handle = match begin(handle, event, cpu) {
            Ok(output) => return Ok(Enabled::new(unit, output)),
            Err((handle, _)) => handle,
        };
    }
    Err(Off { unit, handle })
}

/// Disables the buffer and ends the transaction. Returns whether the event may go on. The gate may
/// still be open.
#[inline(always)] // `stop` and `del`: 117 instructions otherwise, not 95
fn finish(stopped: Stopped, event: &ActiveEvent<Spe>, cpu: &Cpu) -> (Off, bool) {
    let pmbsr = stopped.pmbsr();
    let mut flags = match pmbsr.bits() {
        0 => AuxFlags::NONE,
        _ => examine(pmbsr, cpu),
    };
    let bytes = stopped.written().unwrap_or_else(|| {
        flags |= AuxFlags::TRUNCATED;
        cpu.counters.count(Counter::StrayPointer);
        log(None, pmbsr);
        0
    });
    if flags != AuxFlags::NONE {
        count_flags(flags, cpu);
    }
    let goes_on = !flags.contains(AuxFlags::TRUNCATED);
    let (unit, output) = stopped.disable();
    let handle = match output {
        Output::Buffer(transaction) => {
            cpu.counters.add(Counter::Bytes, bytes);
            transaction.end(bytes, flags)
        }
        Output::NoTransaction(output) => {
            // perf learns of the others at the end of their transaction.
            if !goes_on {
                event.disable_later();
            }
            match output {
                NoTransaction::Live(handle, buffer) => {
                    if pmbsr.has(PMBSR_EL1::S) {
                        cpu.live_rate.count();
                    }
                    // SAFETY: The event is active until its handle is back.
                    emit(unsafe { unit.written(&buffer, bytes) }, event, cpu);
                    handle
                }
                NoTransaction::Discard(handle) => handle,
            }
        }
    };
    (Off { unit, handle }, goes_on)
}

/// Emits the records of a live event.
#[inline(never)] // other events: 32 more bytes of stack otherwise
fn emit(bytes: &[u8], event: &ActiveEvent<Spe>, cpu: &Cpu) {
    if let Some(live) = event.data().destination.live() {
        event.add_count(live.emit(bytes, event.id(), &cpu.counters));
    }
}

/// Counts and logs what `pmbsr` reports. Returns the flags for the data: with `TRUNCATED` unless
/// the event may go on.
fn examine(pmbsr: PMBSR_EL1, cpu: &Cpu) -> AuxFlags {
    let mut flags = AuxFlags::NONE;
    if let Some(reason) = report(pmbsr, cpu) {
        if pmbsr.has(PMBSR_EL1::DL) {
            flags |= AuxFlags::PARTIAL;
        }
        if reason != Reason::Full || pmbsr.has(PMBSR_EL1::DL) {
            flags |= AuxFlags::TRUNCATED;
        }
    }
    // Reported without a request for service, too.
    if pmbsr.has(PMBSR_EL1::COLL) {
        flags |= AuxFlags::COLLISION;
    }
    flags
}

fn count_flags(flags: AuxFlags, cpu: &Cpu) {
    for (flag, counter) in [
        (AuxFlags::TRUNCATED, Counter::Truncated),
        (AuxFlags::PARTIAL, Counter::Partial),
        (AuxFlags::COLLISION, Counter::Collision),
    ] {
        if flags.contains(flag) {
            cpu.counters.count(counter);
        }
    }
}

/// Counts a request for service, logs it unless the buffer is full, and returns its reason.
fn report(pmbsr: PMBSR_EL1, cpu: &Cpu) -> Option<Reason> {
    let reason = syndrome::decode(pmbsr)?;
    cpu.counters.count(match reason {
        Reason::Full => Counter::Full,
        Reason::FaultStage1 => Counter::FaultStage1,
        Reason::FaultStage2 => Counter::FaultStage2,
        Reason::ExternalAbort => Counter::ExternalAbort,
        Reason::UnknownStatus => Counter::UnknownStatus,
        Reason::UnknownClass => Counter::UnknownClass,
    });
    if reason != Reason::Full {
        log(Some(reason), pmbsr);
    }
    Some(reason)
}

/// Logs an error of the hardware: a request for service, or else a stray write pointer. Each kind
/// of error has a rate limit of its own.
fn log(reason: Option<Reason>, pmbsr: PMBSR_EL1) {
    const { assert!(Reason::UnknownClass as u32 + 3 == SPE_MESSAGES) };
    if may_log(reason.map_or(SPE_MESSAGES - 2, |reason| reason as u32)) {
        pr_err!(
            "{} on CPU {} [PMBSR={:#018x}, PMBPTR={:#018x}, PMBLIMITR={:#018x}]\n",
            reason.map_or("Stray write pointer", Reason::text),
            kernel::cpu::CpuId::current().as_u32(),
            pmbsr.bits(),
            PMBPTR_EL1::read().bits(),
            PMBLIMITR_EL1::read().bits(),
        );
    }
}

/// The state of the unit of one CPU, between two callbacks. To be used on that CPU, with interrupts
/// disabled and not in an NMI.
pub(crate) struct Slot {
    state: Cell<State>,
    /// The saved unit while the CPU may be off. A variant of [`State`] for it would enlarge what
    /// each transition moves.
    asleep: Cell<Option<Asleep>>,
    /// `asleep` is not empty.
    is_asleep: Cell<bool>,
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self {
            state: Cell::new(State::Offline),
            asleep: Cell::new(None),
            is_asleep: Cell::new(false),
        }
    }

    /// Applies `transition`, and returns its result. Restores a saved unit before: the kernel does
    /// not always say when the CPU is back (`docs/upstream.md`).
    fn update<R>(&self, cpu: &Cpu, transition: impl FnOnce(State) -> (State, R)) -> R {
        if self.is_asleep.get() {
            self.awake(cpu);
        }
        let (state, result) = transition(self.state.replace(State::Offline));
        #[cfg(ARM_SPE_DEBUG)]
        check::check(&state, cpu);
        // What this replaces is the placeholder from above.
        core::mem::forget(self.state.replace(state));
        result
    }

    /// Restores a saved unit.
    fn awake(&self, cpu: &Cpu) {
        self.is_asleep.set(false);
        if let Some(asleep) = self.asleep.take() {
            let state = State::Sampling(asleep.wake(cpu));
            // What this replaces is the placeholder.
            core::mem::forget(self.state.replace(state));
        }
    }

    /// Prepares the unit of a CPU that comes online, which takes `handle`.
    pub(crate) fn online(
        &self,
        handle: &mut Option<AuxHandle<Spe>>,
        cpu: &Cpu,
        context: NotInNmi<'_>,
    ) {
        let Some(unit) = Disabled::acquire(&cpu.gate, context) else {
            return;
        };
        match handle.take() {
            // INVARIANT: The token proves that the unit is off.
            Some(handle) => self.update(cpu, |_| (State::Off(Off { unit, handle }), ())),
            None => unit.release(&cpu.gate),
        }
    }

    /// Turns off the unit of a CPU that is going offline. Returns its handle.
    #[must_use]
    pub(crate) fn offline(&self, cpu: &Cpu) -> Option<AuxHandle<Spe>> {
        self.update(cpu, |state| {
            let Off { unit, handle } = match state {
                State::Offline => return (State::Offline, None),
                State::Off(off) => off,
                State::Sampling(sampling) => sampling.stop(cpu),
            };
            unit.release(&cpu.gate);
            (State::Offline, Some(handle))
        })
    }

    /// Starts `event`, or lets it run again if it is throttled. Returns whether it runs.
    pub(crate) fn start(&self, event: &Event<Spe>, cpu: &Cpu) -> bool {
        self.update(cpu, |state| match state {
            State::Off(off) => match off.arm(event, cpu) {
                Ok(armed) => (State::Sampling(armed.sample(cpu)), true),
                Err(off) => (State::Off(off), false),
            },
            State::Sampling(sampling) if sampling.is_for(event) => {
                sampling.unthrottle(cpu);
                (State::Sampling(sampling), true)
            }
            State::Sampling(other) => {
                cpu.counters.count(Counter::StartBusy);
                (State::Sampling(other), false)
            }
            State::Offline => {
                cpu.counters.count(Counter::StartOffline);
                (State::Offline, false)
            }
        })
    }

    /// Prepares the unit for its CPU's loss of power.
    pub(crate) fn sleep(&self, cpu: &Cpu) {
        // The gate is open while the unit samples. If it does not, there is nothing to save.
        if !cpu.gate.is_open_for(0) {
            self.fall_asleep(cpu);
        }
    }

    #[inline(never)] // an idle entry and exit without an event: 75 instructions otherwise, not 63
    fn fall_asleep(&self, cpu: &Cpu) {
        self.update(cpu, |state| match state {
            State::Sampling(sampling) => {
                self.asleep.set(Some(sampling.sleep(cpu)));
                self.is_asleep.set(true);
                (State::Offline, ())
            }
            state => (state, ()),
        });
    }

    /// Restores the unit of a CPU that has, or might have, lost its power.
    pub(crate) fn wake(&self, cpu: &Cpu) {
        if self.is_asleep.get() {
            // This restores the unit before.
            self.update(cpu, |state| (state, ()));
        } else {
            cpu.gate.renew();
        }
    }

    /// Stops `event` if the unit samples for it.
    pub(crate) fn stop(&self, event: &Event<Spe>, cpu: &Cpu) {
        self.update(cpu, |state| match state {
            State::Sampling(sampling) if sampling.is_for(event) => {
                (State::Off(sampling.stop(cpu)), ())
            }
            state => (state, ()),
        });
    }

    /// Emits the records of a live event that are in its buffer. Does nothing in a transition,
    /// which the trace event of a record may call this in.
    pub(crate) fn flush(&self, cpu: &Cpu) {
        self.update(cpu, |state| match state {
            State::Sampling(sampling) if sampling.is_live() => (sampling.flush(cpu), ()),
            state => (state, ()),
        });
    }

    /// Handles an interrupt. Returns whether it was the unit's.
    pub(crate) fn interrupt(&self, cpu: &Cpu) -> bool {
        self.update(cpu, |state| match state {
            State::Sampling(sampling) => sampling.interrupt(cpu),
            State::Off(off) => {
                let ours = off.interrupt(cpu);
                (State::Off(off), ours)
            }
            State::Offline => (State::Offline, false),
        })
    }
}
