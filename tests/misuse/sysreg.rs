// SPDX-License-Identifier: GPL-2.0

//! The registers: each has fields of its own, and only what can be written is.

use crate::sysreg::{
    Field,
    Register,
    ID_AA64DFR0_EL1,
    PMBIDR_EL1,
    PMBLIMITR_EL1,
    PMBPTR_EL1,
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

/// One register written with the value of another.
#[cfg(misuse = "register_for_another")]
fn misuse(image: &mut crate::event::Image) {
    image.pmsfcr = image.pmscr; //~ E0308 mismatched types
}

/// A field that is in no register's table.
#[cfg(misuse = "forge_field")]
fn misuse() -> Field<PMSCR_EL1> {
    Field {
        low: 60,                             //~ E0451 field `low` of struct
        max: u64::MAX,                       //~ E0451 field `max` of struct
        register: core::marker::PhantomData, //~ E0451 field `register` of struct
    }
}

/// As above.
#[cfg(misuse = "new_field")]
fn misuse() -> Field<PMSCR_EL1> {
    Field::new(63, 60) //~ E0624 associated function `new` is private
}

/// Where the unit writes changed by somebody who does not answer for the memory.
#[cfg(misuse = "pointer_without_promise")]
fn misuse() {
    PMBPTR_EL1::from_bits(0x1000).write(); //~ E0133 call to unsafe function
}

/// As above.
#[cfg(misuse = "limit_without_promise")]
fn misuse() {
    PMBLIMITR_EL1::default().with(PMBLIMITR_EL1::E, 1).write(); //~ E0133 call to unsafe function
}

/// A register written that only says what there is.
#[cfg(misuse = "write_pmsidr")]
fn misuse() {
    PMSIDR_EL1::default().write(); //~ E0599 no method named `write` found
}

/// As above.
#[cfg(misuse = "write_pmbidr")]
fn misuse() {
    PMBIDR_EL1::default().write(); //~ E0599 no method named `write` found
}

/// As above.
#[cfg(misuse = "write_dfr0")]
fn misuse() {
    ID_AA64DFR0_EL1::default().write(); //~ E0599 no method named `write` found
}
