// SPDX-License-Identifier: GPL-2.0

//! Any value of `PMBSR_EL1`.

use crate::syndrome::{decode, Reason};
use crate::sysreg::{Register, PMBSR_EL1};
use proptest::prelude::*;

const S: u64 = 1 << 17;
const EA: u64 = 1 << 18;

fn reason(bits: u64) -> Option<Reason> {
    decode(PMBSR_EL1::from_bits(bits))
}

proptest! {
    /// There is a request for service if and only if S is set.
    #[test]
    fn requests_have_s(bits: u64) {
        prop_assert_eq!(reason(bits).is_some(), bits & S != 0);
    }

    /// A full buffer has the event class and the status of one, and no external abort.
    #[test]
    fn full_buffers(bits: u64) {
        if reason(bits | S) == Some(Reason::Full) {
            prop_assert_eq!(bits & (0x3f << 26 | EA | 0x3f), 1);
        }
    }
}
