// SPDX-License-Identifier: GPL-2.0

//! Any `perf_event_attr`.

use crate::caps::Features;
use crate::event::{first_period, period, EventAttr, EventConfig, Invalid, FORMAT};
use crate::sysreg::Register;
use proptest::prelude::*;

const ALL: Features = Features(0x3ff);

fn config(attr: EventAttr) -> Result<EventConfig, Invalid> {
    EventConfig::new(&attr, ALL, u64::MAX)
}

/// No two fields share a bit or a name.
#[test]
fn fields_are_disjoint() {
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
    fn periods_fit_the_register(asked: u64) {
        let used = period(asked);
        prop_assert!((256..1 << 32).contains(&used) && used % 256 == 0);
        prop_assert_eq!(period(used), used);
        if (256..1 << 32).contains(&asked) {
            prop_assert!(used <= asked && asked - used < 256);
        }
    }

    /// No requested period reaches the bits above the counter.
    #[test]
    fn first_periods_fit_the_counter(asked: u64) {
        let first = first_period(asked);
        prop_assert!(first < 1 << 32);
        prop_assert!(asked >= 1 << 32 || first == asked);
    }

    /// A filter is refused if and only if it has an event that the unit does not support.
    #[test]
    fn unsupported_events_are_refused(config1: u64, config3: u64, supported: u64) {
        let attr = EventAttr { config1, config3, ..EventAttr::default() };
        let expected = match (config1 | config3) & !supported {
            0 => None,
            _ => Some(Invalid::NotSupported),
        };
        prop_assert_eq!(EventConfig::new(&attr, ALL, supported).err(), expected);
    }

    /// No reserved bit of a register is set, for any attributes and period.
    #[test]
    fn no_reserved_bits(
        words: [u64; 5],
        exclude_user: bool,
        exclude_kernel: bool,
        context: bool,
        asked: u64,
    ) {
        let [config, config1, config2, config3, config4] = words;
        // `live`, which `discard` excludes.
        let config = config & !(1 << 63);
        let mut found = EventConfig::new(
            &EventAttr {
                config,
                config1,
                config2,
                config3,
                config4,
                exclude_user,
                exclude_kernel,
                ..EventAttr::default()
            },
            ALL,
            u64::MAX,
        )
        .unwrap();
        if context {
            found.enable_context();
        }
        prop_assert_eq!(found.pmscr.bits() & !0xfb, 0);
        prop_assert_eq!(found.pmsfcr.bits() & !0x001f_0000_001f_001f, 0);
        prop_assert_eq!(found.pmslatfr.bits() & !0xffff, 0);
        prop_assert_eq!(found.interval(period(asked)).bits() & !0xffff_ff01, 0);
    }

    /// An event that needs samples, or asks not to sample the host or the idle task, is refused.
    /// The answer to an event with several faults is that of the C driver where it has one.
    #[test]
    fn refused_attributes(
        config2 in 0_u64..4,
        exclude_idle: bool,
        exclude_host: bool,
        sigtrap: bool,
        freq: bool,
    ) {
        let attr = EventAttr { config2, exclude_idle, exclude_host, sigtrap, freq, ..EventAttr::default() };
        let no_latency_filter = Features(ALL.0 & !Features::LATENCY_FILTER.0);
        for (features, lacks_filter) in [(ALL, false), (no_latency_filter, config2 != 0)] {
            let expected = if exclude_idle {
                Some(Invalid::NotSupported)
            } else if freq {
                Some(Invalid::Malformed)
            } else if lacks_filter || exclude_host || sigtrap {
                Some(Invalid::NotSupported)
            } else {
                None
            };
            prop_assert_eq!(EventConfig::new(&attr, features, u64::MAX).err(), expected);
        }
    }
}
