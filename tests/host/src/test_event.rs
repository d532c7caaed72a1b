// SPDX-License-Identifier: GPL-2.0

//! What becomes of `perf_event_attr`.

use crate::event::{first_interval, interval, period, Attr, Image, Refusal, FORMAT};
use crate::features::Features;
use crate::sysreg::Register;
use proptest::prelude::*;

const ALL: Features = Features(0x3ff);

fn decode(attr: Attr) -> Result<Image, Refusal> {
    Image::decode(&attr, ALL, u64::MAX)
}

fn config(config: u64) -> Attr {
    Attr {
        config,
        ..Attr::default()
    }
}

/// One bit of `config` becomes one bit of a register: which, as the manual numbers them.
#[test]
fn bits_of_config() {
    let none = decode(config(0)).unwrap();
    for (bit, pmscr, pmsfcr, pmsirr) in [
        (0, 1 << 5, 0, 0),
        (1, 1 << 4, 0, 0),
        (2, 1 << 6, 0, 0),
        (16, 0, 0, 1),
        (32, 0, 1 << 16 | 2, 0),
        (33, 0, 1 << 17 | 2, 0),
        (34, 0, 1 << 18 | 2, 0),
        (35, 0, 0, 0),
        (36, 0, 1 << 48 | 2, 0),
        (37, 0, 1 << 49 | 2, 0),
        (38, 0, 1 << 50 | 2, 0),
        (39, 0, 1 << 20 | 2, 0),
        (40, 0, 1 << 52 | 2, 0),
        (41, 0, 1 << 19 | 2, 0),
        (42, 0, 1 << 51 | 2, 0),
        (63, 0, 0, 0),
    ] {
        let image = decode(config(1 << bit)).unwrap();
        assert_eq!(image.pmscr.bits(), none.pmscr.bits() | pmscr, "bit {bit}");
        assert_eq!(image.pmsfcr.bits(), pmsfcr, "bit {bit}");
        assert_eq!(image.pmsirr.bits(), pmsirr, "bit {bit}");
        assert_eq!(image.discard, bit == 35);
    }
}

#[test]
fn words_beyond_config() {
    let image = decode(Attr {
        config1: 0x8000_0000_0000_0001,
        config2: 0xffff,
        config3: 2,
        config4: 0xf0,
        ..Attr::default()
    })
    .unwrap();
    assert_eq!(image.pmsevfr.bits(), 0x8000_0000_0000_0001);
    assert_eq!(image.pmslatfr.bits(), 0xfff);
    assert_eq!(image.pmsnevfr.unwrap().bits(), 2);
    assert_eq!(image.pmsdsfr.unwrap().bits(), !0xf0);
    // FE, FL, FnE, FDS.
    assert_eq!(image.pmsfcr.bits(), 1 | 4 | 8 | 16);
}

#[test]
fn where_to_sample() {
    for (exclude_user, exclude_kernel, bits) in [
        (false, false, 3),
        (true, false, 2),
        (false, true, 1),
        (true, true, 0),
    ] {
        let attr = Attr {
            exclude_user,
            exclude_kernel,
            ..Attr::default()
        };
        assert_eq!(decode(attr).unwrap().pmscr.bits() & 3, bits);
    }
}

/// What each field needs, and what a unit without that says to it.
#[test]
fn features_are_needed() {
    let without = |attr: Attr, lacking: Features| {
        Image::decode(&attr, Features(ALL.0 & !lacking.0), u64::MAX).err()
    };
    let refused = Some(Refusal::NotSupported);
    for bit in [32, 33, 34] {
        assert_eq!(without(config(1 << bit), Features::TYPE_FILTER), refused);
        assert_eq!(
            without(config(1 << bit), Features::EXTENDED_TYPE_FILTER),
            None
        );
    }
    for bit in [36, 37, 38, 39, 40, 41, 42] {
        assert_eq!(without(config(1 << bit), Features::TYPE_FILTER), refused);
        assert_eq!(
            without(config(1 << bit), Features::EXTENDED_TYPE_FILTER),
            refused
        );
    }
    assert_eq!(without(config(1 << 35), Features::DISCARD), refused);
    let none = Attr::default();
    assert_eq!(
        without(Attr { config1: 1, ..none }, Features::EVENT_FILTER),
        refused
    );
    assert_eq!(
        without(Attr { config2: 1, ..none }, Features::LATENCY_FILTER),
        refused
    );
    assert_eq!(
        without(Attr { config3: 1, ..none }, Features::INVERTED_EVENT_FILTER),
        refused
    );
    assert_eq!(
        without(Attr { config4: 1, ..none }, Features::DATA_SOURCE_FILTER),
        refused
    );
    assert_eq!(without(none, ALL), None);
}

#[test]
fn registers_that_are_not_there_are_not_written() {
    let image = Image::decode(&Attr::default(), Features::NONE, 0).unwrap();
    assert_eq!((image.pmsnevfr, image.pmsdsfr), (None, None));
}

#[test]
fn what_no_unit_can_do() {
    let none = Attr::default();
    assert_eq!(decode(Attr { freq: true, ..none }), Err(Refusal::Invalid));
    assert_eq!(
        decode(Attr {
            exclude_idle: true,
            ..none
        }),
        Err(Refusal::NotSupported)
    );
    // The order in which a C caller would find out.
    let both = Attr {
        exclude_idle: true,
        freq: true,
        ..none
    };
    assert_eq!(decode(both), Err(Refusal::NotSupported));
}

#[test]
fn who_may() {
    for (bit, privileged) in [(0, false), (1, true), (2, true), (16, false)] {
        assert_eq!(
            decode(config(1 << bit)).unwrap().is_privileged(),
            privileged
        );
    }
    let mut image = decode(config(0)).unwrap();
    image.allow_context();
    assert_eq!(image.pmscr.bits(), 8 | 3);
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

#[test]
fn periods() {
    for (asked, used) in [
        (0, 256),
        (1, 256),
        (255, 256),
        (256, 256),
        (257, 256),
        (511, 256),
        (512, 512),
        (1000, 768),
        (0xffff_ffff, 0xffff_ff00),
        (1 << 32, 0xffff_ff00),
        (u64::MAX, 0xffff_ff00),
    ] {
        assert_eq!(period(asked), used, "{asked}");
    }
    let image = decode(config(1 << 16)).unwrap();
    assert_eq!(interval(&image, 1024).bits(), 1024 | 1);
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
