// SPDX-License-Identifier: GPL-2.0

//! The states of a unit: each is left once, for one that can follow it, on its own CPU.

use crate::{
    aux_buffer::Spe,
    percpu::{
        run_on,
        NotInNmi, //
    },
    perf::{
        ActiveEvent,
        AuxHandle,
        Event,
        PmuTypes, //
    },
    state::{
        Armed,
        Cpu,
        Off,
        Sampling,
        Slot, //
    },
    unit::{
        Disabled,
        Enabled,
        Output,
        Stopped, //
    }, //
};

fn correct(off: Off, event: &Event<Spe>, cpu: &Cpu) -> Off {
    let _ours = off.interrupt(cpu);
    match off.arm(event, cpu) {
        Ok(armed) => armed.sample(cpu).stop(cpu),
        Err(off) => off,
    }
}

fn correct_handle(
    slot: &Slot,
    handle: &mut Option<AuxHandle<Spe>>,
    cpu: &Cpu,
    context: NotInNmi<'_>,
) {
    slot.online(handle, cpu, context);
    if let Some(handle) = slot.offline(cpu) {
        handle.free();
    }
}

fn correct_slot(slot: &Slot, event: &Event<Spe>, cpu: &Cpu) -> bool {
    slot.start(event, cpu) && slot.interrupt(cpu)
}

/// Sampling without an output.
#[cfg(misuse = "sample_unarmed")]
fn misuse(off: Off, cpu: &Cpu) -> Sampling {
    off.sample(cpu) //~ E0599 no method named `sample` found
}

/// A second transaction while one is open.
#[cfg(misuse = "arm_twice")]
fn misuse(off: Off, event: &Event<Spe>, cpu: &Cpu) {
    let _first = off.arm(event, cpu);
    let _second = off.arm(event, cpu); //~ E0382 use of moved value: `off`
}

/// One output sampled into twice.
#[cfg(misuse = "sample_twice")]
fn misuse(armed: Armed, cpu: &Cpu) {
    let _first = armed.sample(cpu);
    let _second = armed.sample(cpu); //~ E0382 use of moved value: `armed`
}

/// Sampling stopped that has not begun.
#[cfg(misuse = "stop_armed")]
fn misuse(armed: Armed, cpu: &Cpu) -> Off {
    armed.stop(cpu) //~ E0599 no method named `stop` found
}

/// A transition outside of a slot: the state that follows an interrupt may be any.
#[cfg(misuse = "interrupt_without_slot")]
fn misuse(sampling: Sampling, cpu: &Cpu) {
    let _state = sampling.interrupt(cpu); //~ E0624 method `interrupt` is private
}

/// The unit used as armed when there was no output.
#[cfg(misuse = "arm_never_fails")]
fn misuse(off: Off, event: &Event<Spe>, cpu: &Cpu) -> Sampling {
    off.arm(event, cpu).sample(cpu) //~ E0599 no method named `sample` found
}

/// The unit could not be stopped any more.
#[cfg(misuse = "drop_sampling")]
fn misuse(armed: Armed, cpu: &Cpu) {
    armed.sample(cpu); //~ unused_must_use Sampling` that must be used
}

/// The transaction could not be ended any more.
#[cfg(misuse = "drop_armed")]
fn misuse(arm: fn() -> Armed) {
    arm(); //~ unused_must_use Armed` that must be used
}

/// The unit could not be started any more.
#[cfg(misuse = "drop_off")]
fn misuse(sampling: Sampling, cpu: &Cpu) {
    sampling.stop(cpu); //~ unused_must_use Off` that must be used
}

/// A unit said to be off that was not turned off.
#[cfg(misuse = "forge_off")]
fn misuse(unit: Disabled, handle: AuxHandle<Spe>) -> Off {
    Off {
        unit,   //~ E0451 field `unit` of struct
        handle, //~ E0451 field `handle` of struct
    }
}

/// A unit said to be armed that has no output.
#[cfg(misuse = "forge_armed")]
fn misuse(unit: Disabled, event: ActiveEvent<Spe>, output: Output) -> Armed {
    Armed {
        unit,   //~ E0451 field `unit` of struct
        event,  //~ E0451 field `event` of struct
        output, //~ E0451 field `output` of struct
    }
}

/// A unit said to sample that does not.
#[cfg(misuse = "forge_sampling")]
fn misuse(event: ActiveEvent<Spe>, output: Enabled) -> Sampling {
    Sampling {
        event,  //~ E0451 field `event` of struct
        output, //~ E0451 field `output` of struct
    }
}

/// The transaction of a unit that samples, taken from it.
#[cfg(misuse = "take_output")]
fn misuse(sampling: Sampling) {
    let _output = sampling.output; //~ E0616 field `output` of struct
}

/// The unit of one PMU started for an event of another.
#[cfg(misuse = "start_for_another_pmu")]
fn misuse<T: PmuTypes>(slot: &Slot, event: &Event<T>, cpu: &Cpu) -> bool {
    slot.start(event, cpu) //~ E0308 mismatched types
}

/// The state of this CPU's unit used for that of another.
#[cfg(misuse = "sampling_elsewhere")]
fn misuse(sampling: Sampling, cpu: &Cpu, id: u32) {
    let _result = run_on(id, move |_| drop(sampling.stop(cpu)));
    //~^ E0277 cannot be sent between threads safely
}

/// The slot of one CPU's unit used by another CPU.
#[cfg(misuse = "slot_elsewhere")]
fn misuse(slot: &Slot, cpu: &Cpu, id: u32) {
    let _result = run_on(id, |_| slot.interrupt(cpu));
    //~^ E0277 cannot be shared between threads safely
}

/// The token of a unit that is off, taken from it.
#[cfg(misuse = "take_token")]
fn misuse(off: Off) -> Disabled {
    off.unit //~ E0616 field `unit` of struct
}

/// The handle of a unit that goes offline, lost.
#[cfg(misuse = "lose_handle")]
fn misuse(slot: &Slot, cpu: &Cpu) {
    slot.offline(cpu); //~ unused_must_use that must be used
}

/// The state, past the transitions.
#[cfg(misuse = "take_state")]
fn misuse(slot: &Slot) {
    slot.state.take(); //~ E0616 field `state` of struct
}

/// As above.
#[cfg(misuse = "forge_slot")]
fn misuse(off: Off) {
    let _state = crate::state::State::Off(off); //~ E0603 enum `State` is private
}

/// A transaction ended past the transitions.
#[cfg(misuse = "finish")]
fn misuse(stopped: Stopped, event: &ActiveEvent<Spe>, cpu: &Cpu) -> (Off, bool) {
    crate::state::finish(stopped, event, cpu) //~ E0603 function `finish` is private
}
