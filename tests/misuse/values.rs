// SPDX-License-Identifier: GPL-2.0

//! The pure logic: its values are made where they are checked, and each way in which they can come
//! out has to be dealt with.

use crate::{
    event::{
        Field,
        Word,
        FORMAT, //
    },
    features::{
        alignment,
        Features,
        Unusable, //
    },
    offset::{
        Geometry,
        Next,
        Window, //
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

fn correct(pmbidr: PMBIDR_EL1, pmbsr: PMBSR_EL1, window: Window) -> Result<u64, Unusable> {
    let align = alignment(pmbidr)?;
    let Some(geometry) = Geometry::new(0x10000, 0x1000, align, 64) else {
        return Ok(0);
    };
    Ok(match (geometry.next(window), decode(pmbsr)) {
        (_, Some(syndrome)) if syndrome.reason != Reason::Full => 0,
        (Next::Write { limit }, _) => limit,
        (Next::Pad(pad), _) => pad + FORMAT[0].low as u64,
        (Next::NoRoom, _) => 0,
    })
}

/// A buffer whose sizes nobody has checked.
#[cfg(misuse = "forge_geometry")]
fn misuse() -> Geometry {
    Geometry {
        size: 1,      //~ E0451 field `size` of struct
        pages: 3,     //~ E0451 field `pages` of struct
        unaligned: 5, //~ E0451 field `unaligned` of struct
        record: 100,  //~ E0451 field `record` of struct
    }
}

/// A buffer whose sizes may not go together.
#[cfg(misuse = "geometry_always_fits")]
fn misuse(window: Window) -> Next {
    Geometry::new(1, 3, 5, 100).next(window) //~ E0599 no method named `next` found
}

/// Room taken for granted.
#[cfg(misuse = "always_room")]
fn misuse(geometry: Geometry, window: Window) -> u64 {
    match geometry.next(window) {
        //~^ E0004 `Next::NoRoom` not covered
        Next::Write { limit } => limit,
        Next::Pad(pad) => pad,
    }
}

/// A field of the user ABI that sysfs does not publish.
#[cfg(misuse = "forge_format_field")]
fn misuse() -> Field {
    Field {
        name: c"secret",
        word: Word::Config,
        low: 3,
        high: 3,
        needs: Features::NONE,
        max: 1, //~ E0451 field `max` of struct
    }
}

/// A unit used that another exception level owns.
#[cfg(misuse = "always_usable")]
fn misuse(pmbidr: PMBIDR_EL1) -> u64 {
    alignment(pmbidr) //~ E0308 mismatched types
}

/// An interrupt taken for the unit's own without asking.
#[cfg(misuse = "always_asked_for_service")]
fn misuse(pmbsr: PMBSR_EL1) -> Reason {
    decode(pmbsr).reason //~ E0609 no field `reason` on type `Option<Syndrome>`
}
