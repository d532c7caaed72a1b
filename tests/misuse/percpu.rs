// SPDX-License-Identifier: GPL-2.0

//! Per-CPU data and the proof that it may be used: valid on one CPU, during one callback.

use crate::{
    aux_buffer::Spe,
    percpu::{
        run_on,
        NotInNmi,
        PerCpu, //
    },
    perf::ActiveEvent,
    version::LocalInterruptDisabled, //
};
use core::cell::Cell;
use kernel::prelude::*;

/// What one CPU has: the first is for that CPU alone, the second for all.
type Values = PerCpu<Cell<u32>, u32>;

fn correct(cpu: u32) -> Result<u32> {
    let values = Values::new(|| (Cell::new(1), 2))?;
    run_on(cpu, |context| {
        let (local, shared) = values.get(context);
        local.get().wrapping_add(*shared)
    })
}

fn correct_in_nmi(values: &Values, irq: &LocalInterruptDisabled) -> u32 {
    *values.get_shared(irq)
}

/// An event of this CPU given to another CPU, with the data that is made for it.
#[cfg(misuse = "capture_event")]
fn misuse(event: ActiveEvent<Spe>) {
    let mut event = Some(event);
    let _events = PerCpu::new(|| (event.take(), ())); //~ E0308 mismatched types
}

/// The data of a CPU that the task may leave.
#[cfg(misuse = "get_without_token")]
fn misuse(values: &Values) {
    let _data = values.get(); //~ E0061 this method takes 1 argument but 0 arguments were supplied
}

/// The data of this CPU alone, used in an NMI.
#[cfg(misuse = "get_in_nmi")]
fn misuse(values: &Values, irq: &LocalInterruptDisabled) {
    let _data = values.get(irq); //~ E0308 mismatched types
}

/// As above, by way of the pointer to all data.
#[cfg(misuse = "data_by_pointer")]
fn misuse(values: &Values) {
    let _data = values.this_cpu(); //~ E0624 method `this_cpu` is private
}

/// As above, as the interrupt handler gets it.
#[cfg(misuse = "data_of_handler")]
fn misuse<'a>(values: &Values, context: NotInNmi<'a>) -> (&'a Cell<u32>, &'a u32) {
    Values::from_handler(values.as_raw(), context) //~ E0133 call to unsafe function
}

/// Data that outlives what it is in.
#[cfg(misuse = "data_after_drop")]
fn misuse(values: Values, context: NotInNmi<'_>) -> u32 {
    let (local, _) = values.get(context);
    drop(values); //~ E0505 cannot move out of `values` because it is borrowed
    local.get()
}

/// Data used after the callback, when the task may be on another CPU.
#[cfg(misuse = "keep_data")]
fn misuse(values: &'static Values, context: NotInNmi<'_>, kept: &Cell<Option<&'static Cell<u32>>>) {
    let (local, _) = values.get(context); //~ E0521 borrowed data escapes outside of function
    kept.set(Some(local));
}

/// As above, from another CPU.
#[cfg(misuse = "keep_shared_data_of_another_cpu")]
fn misuse(values: &'static Values, cpu: u32) {
    let mut kept = None;
    let _result = run_on(cpu, |context| {
        kept = Some(values.get(context).1); //~ E0521 borrowed data escapes outside of closure
    });
    let _shared: Option<&u32> = kept;
}

/// A proof that nothing has proved.
#[cfg(misuse = "token_without_promise")]
fn misuse(irq: &LocalInterruptDisabled) -> NotInNmi<'_> {
    NotInNmi::assume(irq) //~ E0133 call to unsafe function
}

/// As above.
#[cfg(misuse = "forge_token")]
fn misuse(irq: &LocalInterruptDisabled) -> NotInNmi<'_> {
    NotInNmi(irq) //~ E0423 cannot initialize a tuple struct which contains private fields
}

/// As above.
#[cfg(misuse = "irq_without_promise")]
fn misuse<'a>() -> &'a LocalInterruptDisabled {
    LocalInterruptDisabled::assume_disabled() //~ E0133 call to unsafe function
}

/// A proof kept beyond the callback.
#[cfg(misuse = "keep_token")]
fn misuse(context: NotInNmi<'_>, kept: &Cell<Option<NotInNmi<'static>>>) {
    kept.set(Some(context)); //~ E0521 borrowed data escapes outside of function
}

/// As above, in a place outside of the callback.
#[cfg(misuse = "bring_token")]
fn misuse(cpu: u32) {
    let mut kept = None;
    let _result = run_on(cpu, |context| kept = Some(context));
    //~^ E0277 cannot be shared between threads safely
}

/// The proof of one CPU used on another.
#[cfg(misuse = "token_elsewhere")]
fn misuse(values: &Values, context: NotInNmi<'_>, cpu: u32) {
    let _value = run_on(cpu, |_| values.get(context).0.get());
    //~^ E0277 cannot be shared between threads safely
}

/// Something of this CPU alone, used on another.
#[cfg(misuse = "share_elsewhere")]
fn misuse(value: &Cell<u32>, cpu: u32) {
    let _value = run_on(cpu, |_| value.get()); //~ E0277 cannot be shared between threads safely
}

/// Something of another CPU alone, brought here.
#[cfg(misuse = "bring_from_elsewhere")]
fn misuse(find: fn() -> ActiveEvent<Spe>, cpu: u32) {
    let _event = run_on(cpu, |_| find()); //~ E0277 cannot be sent between threads safely
}

/// Shared data that is not for all CPUs.
#[cfg(misuse = "share_what_is_local")]
fn misuse(values: &PerCpu<(), Cell<u32>>, cpu: u32) {
    let _value = run_on(cpu, |context| values.get(context).1.get());
    //~^ E0277 cannot be shared between threads safely
}
