// SPDX-License-Identifier: GPL-2.0

//! Checks after every transition, in a debug build (`make DEBUG=1`), that the state, the registers
//! and `hw.state` agree. The counters `transitions` and `mismatches` have the result.

use super::{
    Cpu,
    State, //
};
use crate::{
    counters::Counter,
    sysreg::{
        Register,
        PMBLIMITR_EL1,
        PMBPTR_EL1,
        PMBSR_EL1,
        PMSCR_EL1, //
    },
    unit::Gate, //
};
use kernel::prelude::*;

/// Checks the unit of this CPU.
pub(super) fn check(state: &State, cpu: &Cpu) {
    let result = match state {
        State::Sampling(sampling) => sampling.check(cpu),
        State::Off(_) => check_off(cpu),
        // The CPU may have no unit, and no such registers.
        State::Offline => Ok(()),
    };
    cpu.counters.count(Counter::Transitions);
    if let Err(what) = result {
        cpu.counters.count(Counter::Mismatches);
        pr_err!(
            "Mismatch: {} [PMSCR={:#x}, PMBSR={:#x}, PMBPTR={:#x}, PMBLIMITR={:#x}]\n",
            what,
            PMSCR_EL1::read().bits(),
            PMBSR_EL1::read().bits(),
            PMBPTR_EL1::read().bits(),
            PMBLIMITR_EL1::read().bits(),
        );
    }
}

/// Returns the error `what` unless `condition` holds.
fn ensure(condition: bool, what: &'static str) -> Result<(), &'static str> {
    condition.then_some(()).ok_or(what)
}

fn check_off(cpu: &Cpu) -> Result<(), &'static str> {
    ensure(
        !PMBLIMITR_EL1::read().has(PMBLIMITR_EL1::E),
        "PMBLIMITR_EL1.E is set while the unit is off",
    )?;
    ensure(
        PMSCR_EL1::read().bits() == 0,
        "PMSCR_EL1 is not 0 while the unit is off",
    )?;
    ensure(
        cpu.gate.is_open_for(0),
        "the gate is open while the unit is off",
    )
}

impl super::Sampling {
    fn check(&self, cpu: &Cpu) -> Result<(), &'static str> {
        let Self { event, output } = self;
        ensure(
            cpu.gate.is_open_for(event.address()),
            "the gate is closed while the unit samples",
        )?;

        // An NMI may pause, resume or throttle in between: read again.
        let (wanted, pmscr) = loop {
            let wanted = Gate::wanted(event);
            let pmscr = PMSCR_EL1::read();
            if Gate::wanted(event) == wanted {
                break (wanted, pmscr);
            }
        };
        ensure(pmscr == wanted, "PMSCR_EL1 is not what the event wants")?;
        let config = &event.data().config;
        ensure(
            event.is_paused() || event.is_stopped() || wanted == config.pmscr,
            "hw.state says stopped while the unit samples",
        )?;

        let limit = PMBLIMITR_EL1::read();
        ensure(
            limit.has(PMBLIMITR_EL1::E),
            "PMBLIMITR_EL1.E is not set while the unit samples",
        )?;
        let Some(span) = output.span() else {
            return ensure(
                limit.has(PMBLIMITR_EL1::FM),
                "PMBLIMITR_EL1.FM does not discard",
            );
        };
        ensure(
            limit.get(PMBLIMITR_EL1::LIMIT) << 12 == span.limit,
            "PMBLIMITR_EL1.LIMIT is not that of the transaction",
        )?;
        ensure(
            PMBSR_EL1::read().has(PMBSR_EL1::S)
                || span.written(PMBPTR_EL1::read().bits()).is_some(),
            "PMBPTR_EL1 is outside of the transaction",
        )
    }
}
