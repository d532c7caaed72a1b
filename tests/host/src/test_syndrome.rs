// SPDX-License-Identifier: GPL-2.0

//! Syndromes, as the Arm ARM describes PMBSR_EL1.

use crate::syndrome::{decode, Reason, Syndrome};
use crate::sysreg::{Register, PMBSR_EL1};
use proptest::prelude::*;

const S: u64 = 1 << 17;
const DL: u64 = 1 << 19;
const EA: u64 = 1 << 18;
const COLL: u64 = 1 << 16;

fn reason(bits: u64) -> Option<Reason> {
    decode(PMBSR_EL1::from_bits(bits)).map(|syndrome| syndrome.reason)
}

#[test]
fn reasons() {
    for (bits, expected) in [
        (S | 1, Reason::Full),
        (S | EA | 1, Reason::ExternalAbort),
        (S | 0x24 << 26, Reason::FaultStage1),
        (S | 0x25 << 26 | 0x21, Reason::FaultStage2),
        (S, Reason::UnknownStatus),
        (S | 2, Reason::UnknownStatus),
        (S | 0x1e << 26, Reason::UnknownClass),
        (S | 0x1f << 26, Reason::UnknownClass),
        (S | 0x3f << 26 | 1, Reason::UnknownClass),
    ] {
        assert_eq!(reason(bits), Some(expected), "{bits:#x}");
    }
}

#[test]
fn loss_and_collision_go_with_any_reason() {
    let full = |data_lost, collision| {
        Some(Syndrome {
            reason: Reason::Full,
            data_lost,
            collision,
        })
    };
    assert_eq!(decode(PMBSR_EL1::from_bits(S | 1)), full(false, false));
    assert_eq!(decode(PMBSR_EL1::from_bits(S | DL | 1)), full(true, false));
    assert_eq!(
        decode(PMBSR_EL1::from_bits(S | COLL | 1)),
        full(false, true)
    );
}

proptest! {
    /// Nothing is asked for without S, and something is with it, whatever else is set.
    #[test]
    fn s_decides(bits: u64) {
        prop_assert_eq!(reason(bits).is_some(), bits & S != 0);
    }

    /// Full is only what says so and nothing worse.
    #[test]
    fn full_is_nothing_else(bits: u64) {
        if reason(bits | S) == Some(Reason::Full) {
            prop_assert_eq!(bits & (0x3f << 26 | EA | 0x3f), 1);
        }
    }
}
