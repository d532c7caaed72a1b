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

fn correct<'a>(off: Off<'a, Spe>, event: Held<Spe>, image: &'a Image) -> Off<'a, Spe> {
    let sampling = match off.arm(event, image) {
        Ok(armed) => armed.sample(true),
        Err(off) => return off,
    };
    match sampling.interrupt() {
        Interrupted::NotOurs(sampling) | Interrupted::Resumed(sampling) => sampling.stop(),
        Interrupted::Stopped(off) => off,
    }
}

/// Sampling without a session, or room to write to.
#[cfg(misuse = "sample_unarmed")]
fn misuse(off: Off<Spe>) -> Sampling<Spe> {
    off.sample(true) //~ E0599 no method named `sample` found
}

/// A second session while one is open.
#[cfg(misuse = "arm_twice")]
fn misuse(off: Off<Spe>, event: Held<Spe>, image: &Image) {
    let _first = off.arm(event, image);
    let _second = off.arm(event, image); //~ E0382 use of moved value: `off`
}

/// As above.
#[cfg(misuse = "arm_armed")]
fn misuse(armed: Armed<Spe>, event: Held<Spe>, image: &Image) {
    let _second = armed.arm(event, image); //~ E0599 no method named `arm` found
}

/// As above.
#[cfg(misuse = "arm_sampling")]
fn misuse(sampling: Sampling<Spe>, event: Held<Spe>, image: &Image) {
    let _second = sampling.arm(event, image); //~ E0599 no method named `arm` found
}

/// An event's registers set for another one.
#[cfg(misuse = "sample_other_image")]
fn misuse<'a>(armed: Armed<'a, Spe>, image: &Image) -> Sampling<'a, Spe> {
    armed.sample(image, true) //~ E0061 this method takes 1 argument but 2 arguments were supplied
}

/// The unit taken for off when it is armed.
#[cfg(misuse = "off_after_arm")]
fn misuse(off: Off<Spe>, event: Held<Spe>, image: &Image) -> bool {
    let _armed = off.arm(event, image);
    off.interrupt() //~ E0382 borrow of moved value: `off`
}

/// One session sampled into twice.
#[cfg(misuse = "sample_twice")]
fn misuse(armed: Armed<Spe>) {
    let _first = armed.sample(true);
    let _second = armed.sample(true); //~ E0382 use of moved value: `armed`
}

/// A session ended twice.
#[cfg(misuse = "stop_twice")]
fn misuse(sampling: Sampling<Spe>) {
    let _first = sampling.stop();
    let _second = sampling.stop(); //~ E0382 use of moved value: `sampling`
}

/// A session ended that the interrupt has ended.
#[cfg(misuse = "stop_after_interrupt")]
fn misuse(sampling: Sampling<Spe>) {
    let _interrupted = sampling.interrupt();
    let _off = sampling.stop(); //~ E0382 use of moved value: `sampling`
}

/// A request for service handled twice.
#[cfg(misuse = "interrupt_twice")]
fn misuse(sampling: Sampling<Spe>) {
    let _first = sampling.interrupt();
    let _second = sampling.interrupt(); //~ E0382 use of moved value: `sampling`
}

/// The unit taken to go on when the interrupt has left it off.
#[cfg(misuse = "interrupt_always_resumes")]
fn misuse(sampling: Sampling<Spe>) -> Sampling<Spe> {
    match sampling.interrupt() {
        //~^ E0004 `Interrupted::Stopped(_)` not covered
        Interrupted::NotOurs(sampling) | Interrupted::Resumed(sampling) => sampling,
    }
}

/// The unit taken to be armed when there was no session.
#[cfg(misuse = "arm_never_fails")]
fn misuse<'a>(off: Off<'a, Spe>, event: Held<Spe>, image: &'a Image) -> Sampling<'a, Spe> {
    off.arm(event, image).sample(true) //~ E0599 no method named `sample` found
}

/// What a start has come to, lost: nobody could use the unit any more.
#[cfg(misuse = "drop_result_of_arm")]
fn misuse(off: Off<Spe>, event: Held<Spe>, image: &Image) {
    off.arm(event, image); //~ unused_must_use Result` that must be used
}

/// Nobody could stop the unit any more.
#[cfg(misuse = "drop_sampling")]
fn misuse(armed: Armed<Spe>, image: &Image) {
    armed.sample(true); //~ unused_must_use Sampling` that must be used
}

/// As above.
#[cfg(misuse = "drop_interrupted")]
fn misuse(sampling: Sampling<Spe>) {
    sampling.interrupt(); //~ unused_must_use Interrupted` that must be used
}

/// Nobody could start the unit any more.
#[cfg(misuse = "drop_off")]
fn misuse(sampling: Sampling<Spe>) {
    sampling.stop(); //~ unused_must_use Off` that must be used
}

/// A unit said to be off that nobody has turned off.
#[cfg(misuse = "forge_off")]
fn misuse(slot: &Slot<Spe>) -> Off<Spe> {
    Off { slot } //~ E0451 field `slot` of struct
}

/// A unit turned off under whoever uses it.
#[cfg(misuse = "reset")]
fn misuse(slot: &Slot<Spe>) -> Off<Spe> {
    // SAFETY: None: this is refused whoever answers for it.
    unsafe { Off::reset(slot) } //~ E0624 associated function `reset` is private
}

/// As above.
#[cfg(misuse = "turn_off")]
fn misuse(cpu: &Cpu) {
    cpu.turn_off(); //~ E0624 method `turn_off` is private
}

/// Sampling at one's own discretion.
#[cfg(misuse = "settle")]
fn misuse(cpu: &Cpu, event: Held<Spe>, image: &Image) {
    cpu.settle(event, image.pmscr); //~ E0624 method `settle` is private
}

/// A unit that is armed for one event handed to another.
#[cfg(misuse = "forge_armed")]
fn misuse<'a>(armed: Armed<'a, Spe>, event: Held<Spe>) -> Armed<'a, Spe> {
    Armed {
        event,   //~ E0451 field `event` of struct
        ..armed  //~ E0451 of struct
    }
}

/// A unit said to sample for another event than it does.
#[cfg(misuse = "forge_sampling")]
fn misuse<'a>(sampling: Sampling<'a, Spe>, event: Held<Spe>) -> Sampling<'a, Spe> {
    Sampling {
        event,      //~ E0451 field `event` of struct
        ..sampling  //~ E0451 of struct
    }
}

/// The session of one PMU's event for the event of another.
#[cfg(misuse = "event_of_another_pmu")]
fn misuse<'a, T: SpePmu, U: SpePmu>(
    off: Off<'a, T>,
    event: Held<U>,
    image: &'a Image,
) -> Result<Armed<'a, T>, Off<'a, T>> {
    off.arm(event, image) //~ E0308 mismatched types
}

/// Two owners of one unit.
#[cfg(misuse = "clone_off")]
fn misuse<'a>(off: &Off<'a, Spe>) -> Off<'a, Spe> {
    off.clone() //~ E0308 mismatched types
}

/// Two owners of one session.
#[cfg(misuse = "clone_armed")]
fn misuse<'a>(armed: &Armed<'a, Spe>) -> Armed<'a, Spe> {
    armed.clone() //~ E0308 mismatched types
}

/// As above.
#[cfg(misuse = "clone_sampling")]
fn misuse<'a>(sampling: &Sampling<'a, Spe>) -> Sampling<'a, Spe> {
    sampling.clone() //~ E0308 mismatched types
}

/// The state of this CPU's unit taken for that of another.
#[cfg(misuse = "off_elsewhere")]
fn misuse(off: Off<Spe>, id: u32) {
    let _ours = run_on(id, move || off.interrupt()); //~ E0277 cannot be shared between threads safely
}

/// As above.
#[cfg(misuse = "armed_elsewhere")]
fn misuse(armed: Armed<Spe>, id: u32) {
    let _nothing = run_on(id, move || drop(armed.sample(true))); //~ E0277 between threads safely
}

/// As above.
#[cfg(misuse = "sampling_elsewhere")]
fn misuse(sampling: Sampling<Spe>, id: u32) {
    let _nothing = run_on(id, move || drop(sampling.stop())); //~ E0277 between threads safely
}

/// As above, the other way round.
#[cfg(misuse = "off_from_elsewhere")]
fn misuse(find: fn() -> Off<'static, Spe>, id: u32) {
    let _off = run_on(id, find); //~ E0277 cannot be shared between threads safely
}

/// The place of one CPU's unit used by another CPU.
#[cfg(misuse = "slot_elsewhere")]
fn misuse(slot: &Slot<Spe>, mark: crate::perf::Mark, id: u32) {
    let _nothing = run_on(id, || slot.online(mark)); //~ E0277 cannot be shared between threads safely
}

/// The state taken out of its place, past the transitions.
#[cfg(misuse = "take_unit")]
fn misuse(slot: &Slot<Spe>) -> Option<Unit<Spe>> {
    slot.take() //~ E0624 method `take` is private
}

/// As above.
#[cfg(misuse = "update_unit")]
fn misuse(slot: &Slot<Spe>) {
    slot.update(|unit| (unit, None)); //~ E0624 method `update` is private
}

/// As above.
#[cfg(misuse = "replace_unit")]
fn misuse(slot: &Slot<Spe>) {
    slot.event.set(None); //~ E0616 field `event` of struct
}

/// What perf is told said by somebody other than the state.
#[cfg(misuse = "put_unit")]
fn misuse(slot: &Slot<Spe>, event: Held<Spe>) -> bool {
    slot.put(None, Some(event)) //~ E0624 method `put` is private
}

/// The session of a unit taken from it.
#[cfg(misuse = "take_session")]
fn misuse(sampling: Sampling<Spe>) {
    let _parts = sampling.part(); //~ E0624 method `part` is private
}

/// What an NMI resumes with changed by somebody other than the state.
#[cfg(misuse = "resume_with")]
fn misuse(cpu: &Cpu) -> u64 {
    cpu.resume_with.into_inner() //~ E0616 field `resume_with` of struct
}

/// The unit pointed at a buffer past the transitions.
#[cfg(misuse = "begin")]
fn misuse(handle: AuxHandle<Spe>, event: Held<Spe>, slot: &Slot<Spe>) {
    let _begun = crate::state::begin(handle, event, slot); //~ E0603 function `begin` is private
}
