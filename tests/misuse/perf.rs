// SPDX-License-Identifier: GPL-2.0

//! Events and PMUs: only perf makes them, and on their CPU; what was decided when an event was
//! opened stays decided.

use crate::{
    bindings,
    percpu::run_on,
    perf::{
        Event,
        Flags,
        Groups,
        Held,
        Pmu,
        Registration, //
    },
    pmu::Spe,
};
use kernel::prelude::*;

fn correct(spe: &Spe, event: &Event<Spe>) -> Result {
    spe.add(event, Flags::START)?;
    // SAFETY: Deleted after the last use.
    let held = unsafe { Held::new(event) };
    let same_event: &Event<Spe> = &held;
    spe.del(same_event, Flags::RELOAD);
    Ok(())
}

/// A callback with anything but an event of this PMU.
#[cfg(misuse = "raw_event")]
fn misuse(spe: &Spe, event: *mut bindings::perf_event) -> Result {
    spe.add(event, Flags::START) //~ E0308 mismatched types
}

/// As above.
#[cfg(misuse = "event_of_another_pmu")]
fn misuse<T: Pmu>(spe: &Spe, event: &Event<T>) -> Result {
    spe.add(event, Flags::START) //~ E0308 mismatched types
}

/// Any event of C taken for one of this PMU.
#[cfg(misuse = "adopt_event")]
fn misuse<'a>(event: *mut bindings::perf_event) -> &'a Event<Spe> {
    Event::from_raw(event) //~ E0133 call to unsafe function
}

/// An event away from where perf keeps it.
#[cfg(misuse = "move_event")]
fn misuse(event: &Event<Spe>) -> Event<Spe> {
    *event //~ E0507 cannot move out of `*event` which is behind a shared reference
}

/// An event used on a CPU that it is not on.
#[cfg(misuse = "event_elsewhere")]
fn misuse(event: &Event<Spe>, cpu: u32) {
    let _left = run_on(cpu, || event.period_left()); //~ E0277 cannot be shared between threads safely
}

/// As above.
#[cfg(misuse = "held_elsewhere")]
fn misuse(event: Held<Spe>, cpu: u32) {
    let _left = run_on(cpu, move || event.period_left()); //~ E0277 cannot be sent between threads safely
}

/// An event kept that nobody promises to forget in time.
#[cfg(misuse = "hold_without_promise")]
fn misuse(event: &Event<Spe>) -> Held<Spe> {
    Held::new(event) //~ E0133 call to unsafe function
}

/// As above.
#[cfg(misuse = "forge_held")]
fn misuse(event: &Event<Spe>) -> Held<Spe> {
    Held(event.into()) //~ E0423 cannot initialize a tuple struct which contains private fields
}

/// What was asked for changed while it is judged.
#[cfg(misuse = "change_attr")]
fn misuse(attr: &bindings::perf_event_attr) {
    attr.config = 2; //~ E0594 cannot assign to `attr.config`, which is behind a `&` reference
}

/// What was decided changed after the event was opened.
#[cfg(misuse = "change_image")]
fn misuse(event: &Event<Spe>) {
    if let Some(image) = event.data() {
        image.allow_context(); //~ E0596 cannot borrow `*image` as mutable
    }
}

/// What was decided used before it is.
#[cfg(misuse = "image_before_decision")]
fn misuse(event: &Event<Spe>) -> bool {
    event.data().discard //~ E0609 no field `discard` on type `Option<&Image>`
}

/// Flags that perf does not know.
#[cfg(misuse = "forge_flags")]
fn misuse(spe: &Spe, event: &Event<Spe>) {
    spe.stop(event, Flags(1 << 31)); //~ E0423 cannot initialize a tuple struct which contains private fields
}

/// As above.
#[cfg(misuse = "flags_from_raw")]
fn misuse(spe: &Spe, event: &Event<Spe>) {
    spe.stop(event, Flags::from_raw(-1)); //~ E0624 associated function `from_raw` is private
}

/// A callback of C called by somebody other than perf.
#[cfg(misuse = "call_callback")]
fn misuse(event: *mut bindings::perf_event) -> i32 {
    // SAFETY: None: this is refused whoever answers for it.
    unsafe { Registration::<Spe>::add(event, 0) } //~ E0624 associated function `add` is private
}

/// A PMU that perf knows nothing of.
#[cfg(misuse = "forge_registration")]
fn misuse(driver: Spe, name: kernel::str::CString) -> Registration<Spe> {
    Registration {
        pmu: kernel::types::Opaque::uninit(), //~ E0451 field `pmu` of struct
        driver,                               //~ E0451 field `driver` of struct
        name,                                 //~ E0451 field `name` of struct
    }
}

/// A PMU away from where perf finds it.
#[cfg(misuse = "move_registration")]
fn misuse(one: Pin<&mut Registration<Spe>>, other: Pin<&mut Registration<Spe>>) {
    core::mem::swap(one.get_mut(), other.get_mut()); //~ E0277 cannot be unpinned
}

/// Any device taken for one of this PMU.
#[cfg(misuse = "adopt_device")]
fn misuse<'a>(device: *mut kernel::bindings::device) -> &'a Spe {
    Registration::<Spe>::from_device(device) //~ E0133 call to unsafe function
}

/// What perf is told read back: the state is the one truth.
#[cfg(misuse = "state_of_perf")]
fn misuse(event: &Event<Spe>) {
    event.hw(); //~ E0624 method `hw` is private
}

/// Files of the PMU in a list that may not end.
#[cfg(misuse = "groups_without_promise")]
fn misuse() -> Groups {
    Groups::new(&[]) //~ E0133 call to unsafe function
}

/// As above.
#[cfg(misuse = "forge_groups")]
fn misuse() -> Groups {
    Groups(&[]) //~ E0423 cannot initialize a tuple struct which contains private fields
}
