// SPDX-License-Identifier: GPL-2.0

//! ID registers, real ones and absurd ones.

use crate::features::{alignment, sampling, version, Features, Unusable};
use crate::sysreg::{Register, ID_AA64DFR0_EL1, PMBIDR_EL1, PMSIDR_EL1};
use proptest::prelude::*;

#[test]
fn versions() {
    let read = |code: u64| version(ID_AA64DFR0_EL1::from_bits(code << 32 | 0xf << 36));
    assert_eq!(read(0), Err(Unusable::code("ID_AA64DFR0_EL1.PMSVer", 0)));
    assert_eq!(read(1), Ok(0));
    assert_eq!(read(6), Ok(5));
}

#[test]
fn buffers() {
    let read = |bits| alignment(PMBIDR_EL1::from_bits(bits));
    assert_eq!(read(0), Ok(1));
    assert_eq!(read(6), Ok(64));
    assert_eq!(read(11), Ok(2048));
    assert_eq!(read(12), Err(Unusable::code("PMBIDR.Align", 12)));
    assert_eq!(read(15), Err(Unusable::code("PMBIDR.Align", 15)));
    // The owner is asked first: the other fields mean nothing then.
    assert_eq!(read(1 << 4 | 12), Err(Unusable::Owned));
}

/// Neoverse N1: PMSIDR_EL1 as its technical reference manual gives it.
#[test]
fn neoverse_n1() {
    let found = sampling(PMSIDR_EL1::from_bits(0x0002_6417), 0).unwrap();
    assert_eq!(found.max_record, 64);
    assert_eq!(
        (found.min_interval.value, found.min_interval.reserved),
        (1024, None)
    );
    assert_eq!(
        (found.count_size.value, found.count_size.reserved),
        (12, None)
    );
    assert_eq!(found.features, Features(0x17));
}

#[test]
fn intervals_and_counters() {
    let read = |interval: u64, count: u64| {
        sampling(
            PMSIDR_EL1::from_bits(interval << 8 | 6 << 12 | count << 16),
            0,
        )
        .unwrap()
    };
    let known = [
        (0, 256),
        (2, 512),
        (3, 768),
        (4, 1024),
        (5, 1536),
        (6, 2048),
        (7, 3072),
        (8, 4096),
    ];
    for code in 0..16 {
        let found = read(code, 2).min_interval;
        match known.iter().find(|(known, _)| *known == code) {
            Some((_, value)) => assert_eq!((found.value, found.reserved), (*value, None)),
            None => assert_eq!((found.value, found.reserved), (4096, Some(code))),
        }
        let found = read(0, code).count_size;
        match code {
            2 | 3 => assert_eq!((found.value, found.reserved), (4 + 4 * code, None)),
            _ => assert_eq!((found.value, found.reserved), (12, Some(code))),
        }
    }
}

#[test]
fn discarding_came_with_the_version() {
    let has = |version| {
        let found = sampling(PMSIDR_EL1::from_bits(6 << 12), version).unwrap();
        found.features.contain(Features::DISCARD)
    };
    assert!(!has(0) && !has(1) && has(2) && has(5));
}

proptest! {
    /// Whatever the register holds: a refusal, or values that the rest can work with.
    #[test]
    fn absurd_registers(bits: u64, version in 0_u64..15) {
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
