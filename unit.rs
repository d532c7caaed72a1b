// SPDX-License-Identifier: GPL-2.0

//! The register sequences of one profiling unit.
//!
//! The order is that of the Arm ARM (DDI 0487), D17.9 on synchronisation, and of its known issues
//! (R24557): `PMBPTR_EL1` and `PMBSR_EL1` are written while the buffer is disabled, and an ISB
//! comes before it is enabled.

use crate::{
    aux_buffer::{
        Span,
        Spe,
        Transaction, //
    },
    live_buffer::LiveBuffer,
    percpu::NotInNmi,
    perf::{
        ActiveEvent,
        AuxHandle,
        Event, //
    },
    syndrome::BSC_FULL,
    sysreg::{
        isb,
        psb_csync_dsb,
        Register,
        FM_DISCARD,
        PMBLIMITR_EL1,
        PMBPTR_EL1,
        PMBSR_EL1,
        PMSCR_EL1,
        PMSICR_EL1, //
    }, //
};
use kernel::{
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::NotThreadSafe, //
};

/// Decides whether the unit samples (`PMSCR_EL1`).
///
/// An NMI may pause, resume or throttle the event in the middle of any other code of this driver.
/// It writes `PMSCR_EL1` and one word of the event's state.
pub(crate) struct Gate {
    /// The address of the event that may be sampled for; 0 if there is none.
    event: Atomic<usize>,
    /// A [`Disabled`] or an [`Enabled`] exists.
    in_use: Atomic<bool>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            event: Atomic::new(0),
            in_use: Atomic::new(false),
        }
    }

    /// Lets the unit sample for `event` while it is neither paused nor stopped.
    pub(crate) fn open(&self, event: &ActiveEvent<Spe>) {
        self.event.store(event.address(), Relaxed);
        Self::write(event);
    }

    /// Stops sampling for good.
    pub(crate) fn close(&self) {
        self.event.store(0, Relaxed);
        // An NMI from here on leaves the register alone.
        PMSCR_EL1::clear();
    }

    /// Writes `PMSCR_EL1` after the state of `event` has changed. Returns whether the gate is open
    /// for it.
    pub(crate) fn update(&self, event: &Event<Spe>) -> bool {
        if !self.is_open_for(event.address()) {
            return false;
        }
        Self::write(event);
        // No operation after this is sampled with the old value (D17.9).
        isb();
        true
    }

    /// Clears `PMSCR_EL1` and `PMBSR_EL1` of a unit that is in use, if its buffer is disabled. A
    /// reset leaves them UNKNOWN, and clears `PMBLIMITR_EL1.E`. Interrupts must be disabled.
    pub(crate) fn renew(&self) {
        // A CPU whose unit is not in use may have none of the registers.
        if !self.in_use.load(Relaxed) || PMBLIMITR_EL1::read().has(PMBLIMITR_EL1::E) {
            return;
        }
        PMSCR_EL1::clear();
        // SAFETY: The buffer is disabled, as was just read. What interrupts this, if anything does,
        // is an NMI, and that writes PMSCR_EL1 alone.
        unsafe { PMBSR_EL1::clear() };
        isb();
    }

    /// Returns whether the gate is open for the event at `address`, or closed for 0.
    pub(crate) fn is_open_for(&self, address: usize) -> bool {
        self.event.load(Relaxed) == address
    }

    fn write(event: &Event<Spe>) {
        loop {
            let wanted = Self::wanted(event);
            wanted.write();
            // An NMI that has changed the state wrote the register as well: write it again.
            if Self::wanted(event) == wanted {
                break;
            }
        }
    }

    /// Returns what `PMSCR_EL1` is to be while the gate is open for `event`.
    pub(crate) fn wanted(event: &Event<Spe>) -> PMSCR_EL1 {
        if event.is_paused() || event.is_stopped() {
            PMSCR_EL1::default()
        } else {
            event.data().config.pmscr
        }
    }
}

/// The destination of records.
#[must_use]
pub(crate) enum Output {
    Buffer(Transaction),
    // Three variants would need a tag: a start would have 223 instructions, not 204.
    NoTransaction(NoTransaction),
}

/// The destination of records of which perf knows nothing.
#[must_use]
pub(crate) enum NoTransaction {
    /// The driver reads them itself, while the event is active.
    Live(AuxHandle<Spe>, LiveBuffer),
    /// `PMBLIMITR_EL1.FM` discards them.
    Discard(AuxHandle<Spe>),
}

impl Output {
    /// Returns where the unit may write; `None` if records are discarded.
    fn span(&self) -> Option<Span> {
        match self {
            Self::Buffer(transaction) => Some(transaction.span()),
            Self::NoTransaction(NoTransaction::Live(_, buffer)) => {
                let (start, limit) = buffer.bounds();
                Some(Span { start, limit })
            }
            Self::NoTransaction(NoTransaction::Discard(_)) => None,
        }
    }
}

/// Proof that the buffer of this CPU is disabled.
///
/// # Invariants
///
/// `PMBLIMITR_EL1.E` is 0. There is one value of this type or of [`Enabled`] per gate.
#[must_use]
pub(crate) struct Disabled(NotThreadSafe);

impl Disabled {
    /// Disables the unit of this CPU from any state. Returns `None` if it is in use already. `gate`
    /// must be that of this CPU, here and in all functions below.
    pub(crate) fn acquire(gate: &Gate, _: NotInNmi<'_>) -> Option<Self> {
        if gate.in_use.xchg(true, Relaxed) {
            return None;
        }
        // INVARIANT: `gate` is that of this CPU, so that no other token exists. The buffer is
        // disabled below.
        let disabled = Self(NotThreadSafe);
        stop_sampling(gate);
        psb_csync_dsb();
        // SAFETY: A disabled buffer is not written to, and no record is in flight.
        unsafe { PMBLIMITR_EL1::clear() };
        isb();
        disabled.end_service();
        // SAFETY: The buffer is disabled.
        unsafe { PMBPTR_EL1::clear() };
        Some(disabled)
    }

    /// Releases the unit for a later [`Self::acquire`].
    pub(crate) fn release(self, gate: &Gate) {
        self.end_service();
        gate.in_use.store(false, Relaxed);
    }

    /// Returns the `bytes` that the unit has written to the buffer of a live event.
    ///
    /// # Safety
    ///
    /// The event must be active as long as the result is used.
    pub(crate) unsafe fn written<'a>(&'a self, buffer: &'a LiveBuffer, bytes: u64) -> &'a [u8] {
        // SAFETY: As `self` proves, the unit does not write. The rest is required of the caller.
        unsafe { buffer.written(bytes) }
    }

    /// Ends a request for service, and returns it.
    pub(crate) fn end_service(&self) -> PMBSR_EL1 {
        let pmbsr = PMBSR_EL1::read();
        if pmbsr.bits() != 0 {
            // SAFETY: The buffer is disabled, as `self` proves.
            unsafe { PMBSR_EL1::clear() };
            // The interrupt is deasserted before the caller enables interrupts.
            isb();
        }
        pmbsr
    }
}

/// An output that the unit writes to. Its transaction cannot be ended until the buffer is disabled.
///
/// # Invariants
///
/// `PMBPTR_EL1` (if there is a buffer) and `PMBLIMITR_EL1` of this CPU describe the output.
#[must_use]
pub(crate) struct Enabled(Output);

impl Enabled {
    pub(crate) fn new(disabled: Disabled, output: Output) -> Self {
        let start = output.span().map_or(0, |span| span.start);
        // SAFETY: The start is in the span.
        unsafe { Self::from_pointer(disabled, output, start) }
    }

    /// # Safety
    ///
    /// If the output is a buffer, `pointer` must be in its span, or `PMBSR_EL1.S` be set.
    unsafe fn from_pointer(_: Disabled, output: Output, pointer: u64) -> Self {
        let limit = match output.span() {
            Some(span) => {
                // SAFETY: The buffer is disabled, as the token proves.
                unsafe { PMBPTR_EL1::from_bits(pointer).write() };
                PMBLIMITR_EL1::from_bits(span.limit)
            }
            None => PMBLIMITR_EL1::default().with(PMBLIMITR_EL1::FM, FM_DISCARD),
        };
        // The pointer must be in place before the buffer is enabled (R24557), and so must a write
        // to PMBSR_EL1.
        isb();
        // SAFETY: The span is mapped and belongs to the transaction, which cannot be ended before
        // `disable`: the returned value has it. If that is dropped, perf keeps the buffer. A live
        // buffer stays while its event is active. By the safety requirement, nothing is written
        // outside of the span.
        unsafe { limit.with(PMBLIMITR_EL1::E, 1).write() };
        // INVARIANT: Just written.
        Self(output)
    }

    /// Returns where the unit may write; `None` if records are discarded.
    #[cfg(ARM_SPE_DEBUG)]
    pub(crate) fn span(&self) -> Option<Span> {
        self.0.span()
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.0, Output::NoTransaction(NoTransaction::Live(..)))
    }

    pub(crate) fn stop(self, gate: &Gate) -> Stopped {
        stop_sampling(gate);
        let (pmbsr, pointer) = synchronise();
        // INVARIANT: Just stopped.
        Stopped {
            output: self.0,
            pmbsr,
            pointer,
        }
    }

    /// Returns the stopped output if the unit asks for service (`PMBSR_EL1.S`).
    pub(crate) fn service(self) -> Result<Stopped, Self> {
        let (pmbsr, pointer) = synchronise();
        if !pmbsr.has(PMBSR_EL1::S) {
            return Err(self);
        }
        // INVARIANT: The unit does not sample while PMBSR_EL1.S is set.
        Ok(Stopped {
            output: self.0,
            pmbsr,
            pointer,
        })
    }
}

/// An output whose buffer is enabled, of a unit that has stopped.
///
/// # Invariants
///
/// The unit does not sample, and all records are written.
#[must_use]
pub(crate) struct Stopped {
    output: Output,
    pmbsr: PMBSR_EL1,
    /// `PMBPTR_EL1`.
    pointer: u64,
}

impl Stopped {
    pub(crate) fn pmbsr(&self) -> PMBSR_EL1 {
        self.pmbsr
    }

    /// Returns the number of bytes that were written; `None` if the write pointer is out of range.
    pub(crate) fn written(&self) -> Option<u64> {
        match self.output.span() {
            Some(span) => span.written(self.pointer),
            None => Some(0),
        }
    }

    /// Returns whether the unit can go on at its write pointer.
    fn may_write(&self) -> bool {
        self.output
            .span()
            .is_none_or(|span| span.written(self.pointer).is_some() && self.pointer < span.limit)
    }

    /// Disables the buffer and ends the request for service.
    pub(crate) fn disable(self) -> (Disabled, Output) {
        // SAFETY: A disabled buffer is not written to; by the invariants no record is in flight.
        unsafe { PMBLIMITR_EL1::clear() };
        isb();
        if self.pmbsr.bits() != 0 {
            // SAFETY: The buffer is disabled.
            unsafe { PMBSR_EL1::clear() };
        }
        // INVARIANT: Just disabled.
        (Disabled(NotThreadSafe), self.output)
    }
}

/// An output of a unit that is off because its CPU may lose its power, with the registers that the
/// unit changes.
///
/// # Invariants
///
/// If the output is a buffer, the unit may write at `pointer`, or `pmbsr.S` is set.
#[must_use]
pub(crate) struct Saved {
    unit: Disabled,
    output: Output,
    pmbsr: PMBSR_EL1,
    pointer: u64,
    counter: u64,
}

impl Saved {
    /// Stops the unit, and saves what it has to continue with. If it asks for service, its
    /// interrupt stays pending, and keeps the CPU from sleeping for long.
    pub(crate) fn save(output: Enabled, gate: &Gate) -> Self {
        let stopped = output.stop(gate);
        let counter = counter();
        let (mut pmbsr, pointer) = (stopped.pmbsr, stopped.pointer);
        if !pmbsr.has(PMBSR_EL1::S) && !stopped.may_write() {
            // The interrupt handler ends the transaction, and reports a stray pointer.
            pmbsr = pmbsr.with(PMBSR_EL1::S, 1).with(PMBSR_EL1::BSC, BSC_FULL);
        }
        let (unit, output) = stopped.disable();
        if pmbsr.has(PMBSR_EL1::S) {
            // SAFETY: The buffer is disabled, as the token proves.
            unsafe { pmbsr.write() };
        }
        isb();
        // INVARIANT: Checked above.
        Self {
            unit,
            output,
            pmbsr,
            pointer,
            counter,
        }
    }

    /// Writes all registers and lets the unit sample for `event`, whether it has lost them or not.
    /// A request for service is pending again.
    pub(crate) fn restore(self, gate: &Gate, event: &ActiveEvent<Spe>, period: u64) -> Enabled {
        // Before the buffer is enabled: a reset may leave any value here, and with it sample what
        // the event must not see.
        PMSCR_EL1::clear();
        write_filters(event, period);
        // SAFETY: The buffer is disabled: the token proves it, and a reset clears PMBLIMITR_EL1.E.
        unsafe { self.pmbsr.write() };
        // SAFETY: By the invariants.
        let output = unsafe { Enabled::from_pointer(self.unit, self.output, self.pointer) };
        sample_from(gate, event, self.counter);
        output
    }
}

/// Waits until the records of all operations so far are written. Returns `PMBSR_EL1` and
/// `PMBPTR_EL1`.
fn synchronise() -> (PMBSR_EL1, u64) {
    psb_csync_dsb();
    // Updates of registers by the unit are visible after this.
    isb();
    (PMBSR_EL1::read(), PMBPTR_EL1::read().bits())
}

/// Starts sampling for `event`, with a `period` that [`crate::event::period`] returned.
pub(crate) fn start(
    gate: &Gate,
    disabled: Disabled,
    event: &ActiveEvent<Spe>,
    output: Output,
    period: u64,
) -> Enabled {
    write_filters(event, period);
    let output = Enabled::new(disabled, output);
    sample_from(gate, event, event.period_left());
    output
}

/// Lets the unit sample for `event`; the first time after `counter` operations.
fn sample_from(gate: &Gate, event: &ActiveEvent<Spe>, counter: u64) {
    PMSICR_EL1::from_bits(counter).write();
    continue_sampling(gate, event);
}

/// Lets the unit sample for `event` again.
pub(crate) fn continue_sampling(gate: &Gate, event: &ActiveEvent<Spe>) {
    // All registers must be in place before an operation is sampled (D17.9).
    isb();
    gate.open(event);
}

/// Stops sampling, and waits until no operation is sampled any more.
pub(crate) fn stop_sampling(gate: &Gate) {
    gate.close();
    isb();
}

/// Writes the filters and the interval. An ISB has to follow before `PMSICR_EL1` is written:
/// [`Enabled::from_pointer`] has one.
fn write_filters(event: &ActiveEvent<Spe>, period: u64) {
    let config = &event.data().config;
    config.pmsfcr.write();
    if config.has_value_filters {
        // A register whose filter PMSFCR_EL1 does not enable is ignored.
        config.pmsevfr.write();
        if let Some(pmsnevfr) = config.pmsnevfr {
            pmsnevfr.write();
        }
        if let Some(pmsdsfr) = config.pmsdsfr {
            pmsdsfr.write();
        }
        config.pmslatfr.write();
    }
    config.interval(period).write();
}

/// Returns the operations until the next sample, with the random number (`ECOUNT`) above them.
pub(crate) fn counter() -> u64 {
    PMSICR_EL1::read().bits()
}
