// SPDX-License-Identifier: GPL-2.0

//! Looks, in a debug build (`make DEBUG=1`), at the end of every transition, and after each pause
//! and resume, whether what the types say, what perf was told and what the registers say is the
//! same.
//!
//! The counters `transitions` and `mismatches` of the CPU tell the result; the log tells of the
//! first mismatches.

use super::{
    ratelimit,
    Ordering,
    Records,
    Register,
    Session,
    Slot,
    SpePmu,
    PMBLIMITR_EL1,
    PMBPTR_EL1,
    PMBSR_EL1,
    PMSCR_EL1, //
};
use crate::{
    counters::Counter,
    perf::{
        Held,
        State, //
    }, //
};
use kernel::prelude::*;

/// Looks at the unit of this CPU, and at `event`, which the transition was about, if it was about
/// one. The slot is busy: what comes in an NMI meanwhile is done after this.
pub(super) fn check<T: SpePmu>(slot: &Slot<T>, event: Option<Held<T>>) {
    let sampled = slot.event.get();
    let wrong = match sampled {
        Some(event) => wrong_while_sampling(slot, event),
        None if slot.ready.get() => wrong_while_off(),
        // A CPU may be without a unit: it has no such registers.
        None => None,
    }
    .or_else(|| {
        let wanted = match (event, sampled) {
            (Some(event), Some(sampled)) if sampled == event => State::Running,
            _ => State::Stopped,
        };
        (event?.state() != wanted).then_some("hw.state is not that of the unit")
    })
    .or_else(|| {
        let resume_with = slot.cpu.resume_with.load(Ordering::Relaxed);
        (sampled.is_none() && resume_with != 0).then_some("the unit is off and could be resumed")
    });
    slot.cpu.counters.count(Counter::Transitions);
    if let Some(wrong) = wrong {
        slot.cpu.counters.count(Counter::Mismatches);
        complain(wrong);
    }
}

/// What the registers say that they should not, while nothing is sampled.
fn wrong_while_off() -> Option<&'static str> {
    if PMBLIMITR_EL1::read().has(PMBLIMITR_EL1::E) {
        return Some("PMBLIMITR_EL1.E is set while the unit is off");
    }
    (PMSCR_EL1::read().bits() != 0).then_some("PMSCR_EL1 is not 0 while the unit is off")
}

/// What the registers and perf say that they should not, while something is sampled.
fn wrong_while_sampling<T: SpePmu>(slot: &Slot<T>, event: Held<T>) -> Option<&'static str> {
    let resume_with = slot.cpu.resume_with.load(Ordering::Relaxed);
    if event.state() != State::Running {
        return Some("hw.state says stopped while the unit samples");
    }

    // An NMI may pause or resume between the looks: then they do not belong together.
    let (paused, pmscr) = loop {
        let paused = event.is_paused();
        let pmscr = PMSCR_EL1::read();
        if event.is_paused() == paused {
            break (paused, pmscr);
        }
    };
    // Which the image of the event says; in the suites perf has none.
    if event
        .data()
        .is_some_and(|image| image.pmscr.bits() != resume_with)
    {
        return Some("resume_with is not what the event wants");
    }
    match (paused, pmscr) {
        (true, pmscr) if pmscr.bits() != 0 => return Some("PMSCR_EL1 is not 0 while paused"),
        (false, pmscr) if pmscr.bits() != resume_with => {
            return Some("PMSCR_EL1 is not what the event wants")
        }
        _ => (),
    }

    let limit = PMBLIMITR_EL1::read();
    if !limit.has(PMBLIMITR_EL1::E) {
        return Some("PMBLIMITR_EL1.E is not set while the unit samples");
    }
    if matches!(slot.records.get(), Records::Discarded) {
        return (!limit.has(PMBLIMITR_EL1::FM)).then_some("PMBLIMITR_EL1.FM does not discard");
    }
    // SAFETY: The value of the transition was spent, which has left its session open; and none can
    // be made while the slot is busy.
    let session = unsafe { Session::<T>::resume(&slot.place) };
    let span = session.span();
    session.leave_open();
    let pointer = PMBPTR_EL1::read().bits();
    if limit.get(PMBLIMITR_EL1::LIMIT) << 12 != span.limit {
        Some("PMBLIMITR_EL1.LIMIT is not that of the session")
    } else if !(span.start..=span.limit).contains(&pointer) {
        Some("PMBPTR_EL1 is outside of the session")
    } else {
        None
    }
}

/// Logs a mismatch, unless there were many.
#[cold]
fn complain(wrong: &str) {
    if ratelimit() {
        pr_err!(
            "Mismatch: {} [PMSCR={:#x}, PMBSR={:#x}, PMBPTR={:#x}, PMBLIMITR={:#x}]\n",
            wrong,
            PMSCR_EL1::read().bits(),
            PMBSR_EL1::read().bits(),
            PMBPTR_EL1::read().bits(),
            PMBLIMITR_EL1::read().bits(),
        );
    }
}
