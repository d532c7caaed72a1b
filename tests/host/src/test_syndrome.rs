// SPDX-License-Identifier: GPL-2.0

//! Syndromes, whatever the register holds.

use crate::syndrome::{decode, Reason};
use crate::sysreg::{Register, PMBSR_EL1};
use proptest::prelude::*;

const S: u64 = 1 << 17;
const EA: u64 = 1 << 18;

fn reason(bits: u64) -> Option<Reason> {
    decode(PMBSR_EL1::from_bits(bits)).map(|syndrome| syndrome.reason)
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
