// SPDX-License-Identifier: GPL-2.0

//! Values of each CPU: used on that CPU, by whoever promises to stay there.

use crate::{
    percpu::{
        run_on,
        PerCpu, //
    },
    perf::Held,
    pmu::Spe, //
};
use core::cell::Cell;
use kernel::prelude::*;

fn correct(cpu: u32) -> Result<u32> {
    let values = PerCpu::<u32>::new()?;
    // SAFETY: On the CPU while this runs.
    run_on(cpu, || *unsafe { values.get() })
}

/// The value of a CPU that the task may leave.
#[cfg(misuse = "get_without_promise")]
fn misuse(values: &PerCpu<u32>) -> u32 {
    *values.get() //~ E0133 call to unsafe function
}

/// A value that outlives what it is in.
#[cfg(misuse = "value_after_drop")]
fn misuse(values: PerCpu<Cell<u32>>) -> u32 {
    // SAFETY: None: this is refused whoever answers for it.
    let value = unsafe { values.get() };
    drop(values); //~ E0505 cannot move out of `values` because it is borrowed
    value.get()
}

/// Values of memory of one's own choice.
#[cfg(misuse = "forge_values")]
fn misuse(base: core::ptr::NonNull<u32>) -> PerCpu<u32> {
    PerCpu { base } //~ E0451 field `base` of struct
}

/// Values made on one CPU that must stay on it.
#[cfg(misuse = "values_that_cannot_move")]
fn misuse(values: &PerCpu<Held<Spe>>, cpu: u32) {
    let _nothing = run_on(cpu, || drop(values.as_raw())); //~ E0277 cannot be sent between threads safely
}

/// Values that are not valid as they are allocated.
#[cfg(misuse = "values_that_are_not_zero")]
fn misuse() -> Result<PerCpu<Held<Spe>>> {
    PerCpu::new() //~ E0277 Zeroable` is not satisfied
}

/// Something of this CPU alone, used on another.
#[cfg(misuse = "share_elsewhere")]
fn misuse(value: &Cell<u32>, cpu: u32) {
    let _value = run_on(cpu, || value.get()); //~ E0277 cannot be shared between threads safely
}

/// Something of another CPU alone, brought here.
#[cfg(misuse = "bring_from_elsewhere")]
fn misuse(find: fn() -> Held<Spe>, cpu: u32) {
    let _event = run_on(cpu, find); //~ E0277 cannot be sent between threads safely
}
