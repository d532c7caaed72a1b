// SPDX-License-Identifier: GPL-2.0

//! The pure logic: its values are made where they are checked, and each way in which they can come
//! out has to be dealt with.

use crate::{
    buffer_limit::{
        BufferLayout,
        FreeSpace,
        Limit, //
    },
    caps::{
        alignment,
        Features,
        Unusable, //
    },
    event::{
        AttrWord,
        EventAttr,
        EventConfig,
        Field,
        Invalid,
        FORMAT, //
    },
    syndrome::{
        decode,
        Reason, //
    },
    sysreg::{
        PMBIDR_EL1,
        PMBSR_EL1, //
    },
};

fn correct(pmbidr: PMBIDR_EL1, pmbsr: PMBSR_EL1, free: FreeSpace) -> Result<u64, Unusable> {
    let align = alignment(pmbidr)?;
    let Some(layout) = BufferLayout::new(0x10000, 0x1000, align, 64) else {
        return Ok(0);
    };
    Ok(match (layout.limit(free), decode(pmbsr)) {
        (_, Some(reason)) if reason != Reason::Full => 0,
        (Limit::At(limit), _) => limit,
        (Limit::AfterPadding(pad), _) => pad + FORMAT[0].low as u64,
        (Limit::NoSpace, _) => 0,
    })
}

fn correct_event(attr: &EventAttr) -> Result<EventConfig, Invalid> {
    EventConfig::new(attr, Features::NONE, 0)
}

/// A buffer whose sizes nothing has checked.
#[cfg(misuse = "forge_layout")]
fn misuse() -> BufferLayout {
    BufferLayout {
        size: 1,     //~ E0451 field `size` of struct
        page: 3,     //~ E0451 field `page` of struct
        align: 5,    //~ E0451 field `align` of struct
        record: 100, //~ E0451 field `record` of struct
    }
}

/// A buffer that is assumed to have space.
#[cfg(misuse = "always_space")]
fn misuse(layout: BufferLayout, free: FreeSpace) -> u64 {
    match layout.limit(free) {
        //~^ E0004 `Limit::NoSpace` not covered
        Limit::At(limit) => limit,
        Limit::AfterPadding(bytes) => bytes,
    }
}

/// A field of the user ABI that sysfs does not publish.
#[cfg(misuse = "forge_format_field")]
fn misuse() -> Field {
    Field {
        name: c"secret",
        word: AttrWord::Config,
        low: 3,
        high: 3,
        needs: Features::NONE,
        max: 1, //~ E0451 field `max` of struct
    }
}

/// Register values of an event that nothing has validated.
#[cfg(misuse = "forge_config")]
fn misuse(config: EventConfig) -> EventConfig {
    EventConfig {
        discard: true,
        ..config //~ E0451 field `pmsirr` of struct
    }
}

/// A register written that the unit may not have.
#[cfg(misuse = "always_has_pmsnevfr")]
fn misuse(config: &EventConfig) {
    config.pmsnevfr.write(); //~ E0599 no method named `write` found
}

/// A unit used that another exception level owns.
#[cfg(misuse = "always_usable")]
fn misuse(pmbidr: PMBIDR_EL1) -> u64 {
    alignment(pmbidr) //~ E0308 mismatched types
}

/// Another feature added to those of the unit.
#[cfg(misuse = "add_feature")]
fn misuse(features: &mut Features) {
    features.add(Features::DISCARD, true); //~ E0624 method `add` is private
}

/// An interrupt that is assumed to be the unit's.
#[cfg(misuse = "always_asked_for_service")]
fn misuse(pmbsr: PMBSR_EL1) -> &'static str {
    decode(pmbsr).text() //~ E0599 no method named `text` found
}
