// SPDX-License-Identifier: GPL-2.0

//! The states of a unit: each is left once, for one that can follow it, on its own CPU.

use crate::{
    event::Image,
    percpu::run_on,
    perf::{
        AuxHandle,
        Held, //
    },
    pmu::Spe,
    state::{
        Armed,
        Cpu,
        Interrupted,
        Off,
        Sampling,
        Slot,
        SpePmu,
        Unit, //
    },
};

fn correct(off: Off<Spe>, event: Held<Spe>, image: &Image, cpu: &Cpu) -> Off<Spe> {
    let sampling = match off.arm(event, image, cpu) {
        Ok(armed) => armed.sample(true),
        Err(off) => return off,
    };
    match sampling.interrupt(cpu) {
        Interrupted::NotOurs(sampling) | Interrupted::Resumed(sampling) => sampling.stop(cpu),
        Interrupted::Stopped(off) => off,
    }
}

/// Sampling without a session, or room to write to.
#[cfg(misuse = "sample_unarmed")]
fn misuse(off: Off<Spe>, image: &Image) -> Sampling<Spe> {
    off.sample(true) //~ E0599 no method named `sample` found
}

/// A second session while one is open.
#[cfg(misuse = "arm_twice")]
fn misuse(off: Off<Spe>, event: Held<Spe>, image: &Image, cpu: &Cpu) {
    let _first = off.arm(event, image, cpu);
    let _second = off.arm(event, image, cpu); //~ E0382 use of moved value: `off`
}

/// As above.
#[cfg(misuse = "arm_armed")]
fn misuse(armed: Armed<Spe>, event: Held<Spe>, image: &Image, cpu: &Cpu) {
    let _second = armed.arm(event, image, cpu); //~ E0599 no method named `arm` found
}

/// As above.
#[cfg(misuse = "arm_sampling")]
fn misuse(sampling: Sampling<Spe>, event: Held<Spe>, image: &Image, cpu: &Cpu) {
    let _second = sampling.arm(event, image, cpu); //~ E0599 no method named `arm` found
}

/// An event's registers set for another one.
#[cfg(misuse = "sample_other_image")]
fn misuse(armed: Armed<Spe>, image: &Image) -> Sampling<Spe> {
    armed.sample(image, true) //~ E0061 this method takes 1 argument but 2 arguments were supplied
}

/// The unit taken for off when it is armed.
#[cfg(misuse = "off_after_arm")]
fn misuse(off: Off<Spe>, event: Held<Spe>, image: &Image, cpu: &Cpu) -> bool {
    let _armed = off.arm(event, image, cpu);
    off.interrupt(cpu) //~ E0382 borrow of moved value: `off`
}

/// One session sampled into twice.
#[cfg(misuse = "sample_twice")]
fn misuse(armed: Armed<Spe>) {
    let _first = armed.sample(true);
    let _second = armed.sample(true); //~ E0382 use of moved value: `armed`
}

/// A session ended twice.
#[cfg(misuse = "stop_twice")]
fn misuse(sampling: Sampling<Spe>, cpu: &Cpu) {
    let _first = sampling.stop(cpu);
    let _second = sampling.stop(cpu); //~ E0382 use of moved value: `sampling`
}

/// A session ended that the interrupt has ended.
#[cfg(misuse = "stop_after_interrupt")]
fn misuse(sampling: Sampling<Spe>, cpu: &Cpu) {
    let _interrupted = sampling.interrupt(cpu);
    let _off = sampling.stop(cpu); //~ E0382 use of moved value: `sampling`
}

/// A request for service handled twice.
#[cfg(misuse = "interrupt_twice")]
fn misuse(sampling: Sampling<Spe>, cpu: &Cpu) {
    let _first = sampling.interrupt(cpu);
    let _second = sampling.interrupt(cpu); //~ E0382 use of moved value: `sampling`
}

/// The unit taken to go on when the interrupt has left it off.
#[cfg(misuse = "interrupt_always_resumes")]
fn misuse(sampling: Sampling<Spe>, cpu: &Cpu) -> Sampling<Spe> {
    match sampling.interrupt(cpu) {
        //~^ E0004 `Interrupted::Stopped(_)` not covered
        Interrupted::NotOurs(sampling) | Interrupted::Resumed(sampling) => sampling,
    }
}

/// The unit taken to be armed when there was no session.
#[cfg(misuse = "arm_never_fails")]
fn misuse(off: Off<Spe>, event: Held<Spe>, image: &Image, cpu: &Cpu) -> Sampling<Spe> {
    off.arm(event, image, cpu).sample(true) //~ E0599 no method named `sample` found
}

/// What a start has come to, lost: nobody could use the unit any more.
#[cfg(misuse = "drop_result_of_arm")]
fn misuse(off: Off<Spe>, event: Held<Spe>, image: &Image, cpu: &Cpu) {
    off.arm(event, image, cpu); //~ unused_must_use Result` that must be used
}

/// Nobody could stop the unit any more.
#[cfg(misuse = "drop_sampling")]
fn misuse(armed: Armed<Spe>, image: &Image) {
    armed.sample(true); //~ unused_must_use Sampling` that must be used
}

/// As above.
#[cfg(misuse = "drop_interrupted")]
fn misuse(sampling: Sampling<Spe>, cpu: &Cpu) {
    sampling.interrupt(cpu); //~ unused_must_use Interrupted` that must be used
}

/// Nobody could start the unit any more.
#[cfg(misuse = "drop_off")]
fn misuse(sampling: Sampling<Spe>, cpu: &Cpu) {
    sampling.stop(cpu); //~ unused_must_use Off` that must be used
}

/// A unit said to be off that nobody has turned off.
#[cfg(misuse = "forge_off")]
fn misuse(handle: AuxHandle<Spe>) -> Off<Spe> {
    Off { handle } //~ E0451 field `handle` of struct
}

/// A unit turned off under whoever uses it.
#[cfg(misuse = "reset")]
fn misuse(handle: AuxHandle<Spe>, cpu: &Cpu) -> Off<Spe> {
    Off::reset(handle, cpu) //~ E0624 associated function `reset` is private
}

/// As above.
#[cfg(misuse = "turn_off")]
fn misuse(cpu: &Cpu) {
    cpu.turn_off(); //~ E0624 method `turn_off` is private
}

/// Sampling at one's own discretion.
#[cfg(misuse = "settle")]
fn misuse(cpu: &Cpu, event: Held<Spe>) {
    cpu.settle(event); //~ E0624 method `settle` is private
}

/// A unit that is armed for one event handed to another.
#[cfg(misuse = "forge_armed")]
fn misuse(armed: Armed<Spe>, event: Held<Spe>) -> Armed<Spe> {
    Armed {
        event,   //~ E0451 field `event` of struct
        ..armed  //~ E0451 of struct
    }
}

/// A unit said to sample something else than it does.
#[cfg(misuse = "forge_sampling")]
fn misuse(sampling: Sampling<Spe>, image: &Image) -> Sampling<Spe> {
    Sampling {
        pmscr: image.pmscr, //~ E0451 field `pmscr` of struct
        ..sampling          //~ E0451 of struct
    }
}

/// The session of one PMU's event for the event of another.
#[cfg(misuse = "event_of_another_pmu")]
fn misuse<'a, T: SpePmu, U: SpePmu>(
    off: Off<T>,
    event: Held<U>,
    image: &'a Image,
    cpu: &Cpu,
) -> Result<Armed<'a, T>, Off<T>> {
    off.arm(event, image, cpu) //~ E0308 mismatched types
}

/// Two owners of one unit.
#[cfg(misuse = "clone_off")]
fn misuse(off: &Off<Spe>) -> Off<Spe> {
    off.clone() //~ E0308 mismatched types
}

/// Two owners of one session.
#[cfg(misuse = "clone_armed")]
fn misuse<'a>(armed: &Armed<'a, Spe>) -> Armed<'a, Spe> {
    armed.clone() //~ E0308 mismatched types
}

/// As above.
#[cfg(misuse = "clone_sampling")]
fn misuse(sampling: &Sampling<Spe>) -> Sampling<Spe> {
    sampling.clone() //~ E0308 mismatched types
}

/// The state of this CPU's unit taken for that of another.
#[cfg(misuse = "off_elsewhere")]
fn misuse(off: Off<Spe>, cpu: &Cpu, id: u32) {
    let _ours = run_on(id, move || off.interrupt(cpu)); //~ E0277 cannot be sent between threads safely
}

/// As above.
#[cfg(misuse = "armed_elsewhere")]
fn misuse(armed: Armed<Spe>, id: u32) {
    let _nothing = run_on(id, move || drop(armed.sample(true))); //~ E0277 cannot be sent between threads safely
}

/// As above.
#[cfg(misuse = "sampling_elsewhere")]
fn misuse(sampling: Sampling<Spe>, cpu: &Cpu, id: u32) {
    let _nothing = run_on(id, move || drop(sampling.stop(cpu))); //~ E0277 cannot be sent between threads safely
}

/// As above, the other way round.
#[cfg(misuse = "off_from_elsewhere")]
fn misuse(find: fn() -> Off<Spe>, id: u32) {
    let _off = run_on(id, find); //~ E0277 cannot be sent between threads safely
}

/// The place of one CPU's unit used by another CPU.
#[cfg(misuse = "slot_elsewhere")]
fn misuse(slot: &Slot<Spe>, id: u32) {
    let _nothing = run_on(id, || slot.online()); //~ E0277 cannot be shared between threads safely
}

/// The state taken out of its place, past the transitions.
#[cfg(misuse = "take_unit")]
fn misuse(slot: &Slot<Spe>) {
    slot.update(|unit| (unit, None, ())); //~ E0624 method `update` is private
}

/// As above.
#[cfg(misuse = "replace_unit")]
fn misuse(slot: &Slot<Spe>) {
    slot.unit.set(Unit::Offline); //~ E0616 field `unit` of struct
}

/// What perf is told said by somebody other than the state.
#[cfg(misuse = "put_unit")]
fn misuse(slot: &Slot<Spe>, event: Held<Spe>) -> bool {
    slot.put(Unit::Offline, Some(event)) //~ E0624 method `put` is private
}

/// What an NMI resumes with changed by somebody other than the state.
#[cfg(misuse = "resume_with")]
fn misuse(cpu: &Cpu) -> u64 {
    cpu.resume_with.into_inner() //~ E0616 field `resume_with` of struct
}

/// The unit pointed at a buffer past the transitions.
#[cfg(misuse = "begin")]
fn misuse(handle: AuxHandle<Spe>, event: Held<Spe>, cpu: &Cpu) {
    let _session = crate::state::begin(handle, event, cpu); //~ E0603 function `begin` is private
}
