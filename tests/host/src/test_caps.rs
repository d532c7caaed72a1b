// SPDX-License-Identifier: GPL-2.0

//! Any ID register values.

use crate::caps::{sampling, Unusable};
use crate::sysreg::{Register, PMSIDR_EL1};
use proptest::prelude::*;

proptest! {
    /// The unit is refused, or all values are in range.
    #[test]
    fn values_are_in_range(bits: u64, version in 0_u64..15) {
        match sampling(PMSIDR_EL1::from_bits(bits), version) {
            Ok(found) => {
                prop_assert!(found.max_record.is_power_of_two());
                prop_assert!((16..=2048).contains(&found.max_record));
                prop_assert!((256..=4096).contains(&found.min_interval.value));
            }
            Err(why) => prop_assert_eq!(why, Unusable::code("PMSIDR_EL1.MaxSize", bits >> 12 & 0xf)),
        }
    }
}
