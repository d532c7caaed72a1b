// SPDX-License-Identifier: GPL-2.0

//! What becomes of `perf_event_attr`, whatever it holds.

use crate::event::{first_interval, period, Attr, Image, Refusal, FORMAT};
use crate::features::Features;
use crate::sysreg::Register;
use proptest::prelude::*;

const ALL: Features = Features(0x3ff);

fn decode(attr: Attr) -> Result<Image, Refusal> {
    Image::decode(&attr, ALL, u64::MAX)
}

/// No two fields share a bit, and the names are all different.
#[test]
fn the_format_is_sound() {
    for (n, a) in FORMAT.iter().enumerate() {
        for b in &FORMAT[n + 1..] {
            assert_ne!(a.name, b.name);
            let apart = a.high < b.low || b.high < a.low;
            assert!(
                apart || a.word.name() != b.word.name(),
                "{:?} {:?}",
                a.name,
                b.name
            );
        }
    }
}

proptest! {
    #[test]
    fn a_period_fits_the_register(asked: u64) {
        let used = period(asked);
        prop_assert!((256..1 << 32).contains(&used) && used % 256 == 0);
        prop_assert_eq!(period(used), used);
        if (256..1 << 32).contains(&asked) {
            prop_assert!(used <= asked && asked - used < 256);
        }
    }

    /// Nothing that user space asks for gets into the bits above the counter.
    #[test]
    fn a_first_interval_fits_the_counter(asked: u64) {
        let first = first_interval(asked);
        prop_assert!(first < 1 << 32);
        prop_assert!(asked >= 1 << 32 || first == asked);
    }

    /// Events that the unit does not know cannot be asked for.
    #[test]
    fn events_that_are_known(config1: u64, config3: u64, supported: u64) {
        let attr = Attr { config1, config3, ..Attr::default() };
        let known = (config1 | config3) & !supported == 0;
        prop_assert_eq!(Image::decode(&attr, ALL, supported).is_ok(), known);
    }

    /// Whatever is asked for: PMSCR_EL1 and PMSFCR_EL1 get no bit that is reserved.
    #[test]
    fn no_reserved_bits(config: u64, config2: u64) {
        let image = decode(Attr { config, config2, ..Attr::default() }).unwrap();
        prop_assert_eq!(image.pmscr.bits() & !0xfb, 0);
        prop_assert_eq!(image.pmsfcr.bits() & !0x001f_0000_001f_001f, 0);
        prop_assert_eq!(image.pmslatfr.bits() & !0xffff, 0);
    }
}
