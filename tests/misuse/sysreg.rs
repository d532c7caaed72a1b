// SPDX-License-Identifier: GPL-2.0

//! The registers: each has fields of its own, and those that are read-only cannot be written.

use crate::sysreg::{
    Register,
    RegisterField,
    ID_AA64DFR0_EL1,
    PMBIDR_EL1,
    PMBLIMITR_EL1,
    PMBPTR_EL1,
    PMBSR_EL1,
    PMSCR_EL1,
    PMSFCR_EL1,
    PMSIDR_EL1, //
};

fn correct() {
    PMSFCR_EL1::default().with(PMSFCR_EL1::FE, 1).write();
    let limit = PMBLIMITR_EL1::read();
    // SAFETY: As it was.
    unsafe { limit.write() };
}

/// A field of one register written to another.
#[cfg(misuse = "with_field_of_another")]
fn misuse() -> PMSCR_EL1 {
    PMSCR_EL1::default().with(PMSFCR_EL1::FE, 1) //~ E0308 mismatched types
}

/// A field of one register read from another.
#[cfg(misuse = "get_field_of_another")]
fn misuse() -> bool {
    // Both registers have a field of this name, in different places.
    PMSIDR_EL1::read().has(PMSFCR_EL1::FDS) //~ E0308 mismatched types
}

/// A field that is in no register's table.
#[cfg(misuse = "forge_field")]
fn misuse() -> RegisterField<PMSCR_EL1> {
    RegisterField {
        low: 60,                             //~ E0451 field `low` of struct
        max: u64::MAX,                       //~ E0451 field `max` of struct
        register: core::marker::PhantomData, //~ E0451 field `register` of struct
    }
}

/// Where the unit writes, changed without a promise about the memory.
#[cfg(misuse = "pointer_without_promise")]
fn misuse() {
    PMBPTR_EL1::from_bits(0x1000).write(); //~ E0133 call to unsafe function
}

/// As above.
#[cfg(misuse = "limit_without_promise")]
fn misuse() {
    PMBLIMITR_EL1::default().with(PMBLIMITR_EL1::E, 1).write(); //~ E0133 call to unsafe function
}

/// Where the unit writes, reset without that promise.
#[cfg(misuse = "clear_without_promise")]
fn misuse() {
    PMBPTR_EL1::clear(); //~ E0133 call to unsafe function
}

/// The unit made to write again, without that promise.
#[cfg(misuse = "status_without_promise")]
fn misuse() {
    PMBSR_EL1::clear(); //~ E0133 call to unsafe function
}

/// A register written that is read-only.
#[cfg(misuse = "write_pmsidr")]
fn misuse() {
    PMSIDR_EL1::default().write(); //~ E0599 no method named `write` found
}
