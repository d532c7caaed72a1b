// SPDX-License-Identifier: GPL-2.0

//! The user ABI: `perf_event_attr`, and the register values that it is translated to. An event is
//! validated once, when it is opened; a start only writes the result.
//!
//! # Register fields
//!
//! Each field of each register that the driver writes, and what sets it: a field of `format/`
//! (`perf record -e arm_spe/NAME=VALUE/`), a field of `perf_event_attr`, or the use of the event.
//!
//! | register field | set by |
//! | --- | --- |
//! | [`PMSCR_EL1::E0SPE`], [`PMSCR_EL1::E1SPE`] | `exclude_user`, `exclude_kernel`, inverted; 0 while the event is paused or stopped |
//! | [`PMSCR_EL1::CX`] | the rights and the PID namespace of the opener, see [`EventConfig::enable_context`] |
//! | [`PMSCR_EL1::TS`] | `ts_enable`: timestamps |
//! | [`PMSCR_EL1::PA`] | `pa_enable`: physical addresses; needs the right to profile the kernel |
//! | [`PMSCR_EL1::PCT`] | `pct_enable`: physical time; the lower bit, the upper one is 0; needs the right to profile the kernel |
//! | [`PMSFCR_EL1::FT`] | one of the ten type filters, which are those of the next two lines, is not 0 |
//! | [`PMSFCR_EL1::B`], [`PMSFCR_EL1::LD`], [`PMSFCR_EL1::ST`], [`PMSFCR_EL1::SIMD`], [`PMSFCR_EL1::FP`] | `branch_filter`, `load_filter`, `store_filter`, `simd_filter`, `float_filter`: keep these operations |
//! | [`PMSFCR_EL1::Bm`], [`PMSFCR_EL1::LDm`], [`PMSFCR_EL1::STm`], [`PMSFCR_EL1::SIMDm`], [`PMSFCR_EL1::FPm`] | `branch_filter_mask`, `load_filter_mask`, `store_filter_mask`, `simd_filter_mask`, `float_filter_mask` |
//! | [`PMSEVFR_EL1`], [`PMSFCR_EL1::FE`] | `event_filter`: keep records that have all of these events; FE unless 0 |
//! | [`PMSNEVFR_EL1`], [`PMSFCR_EL1::FnE`] | `inv_event_filter`: drop records that have any of these events; FnE unless 0 |
//! | [`PMSDSFR_EL1`], [`PMSFCR_EL1::FDS`] | `inv_data_src_filter`: drop records whose data source is one of these; inverted, so that 0 keeps all; FDS unless 0 |
//! | [`PMSLATFR_EL1::MINLAT`], [`PMSFCR_EL1::FL`] | `min_latency`: the least total latency in cycles; the lower 12 bits, the upper ones are 0; FL unless 0 |
//! | [`PMSIRR_EL1::INTERVAL`] | `sample_period`, see [`period`]; `PERF_EVENT_IOC_PERIOD` |
//! | [`PMSIRR_EL1::RND`] | `jitter`: random intervals |
//! | [`PMSICR_EL1`](crate::sysreg::PMSICR_EL1) | `sample_period`, see [`first_period`]; later what was left at the last stop |
//! | [`PMBPTR_EL1`](crate::sysreg::PMBPTR_EL1) | the AUX buffer (`perf record -m ,SIZE`) and its head |
//! | [`PMBLIMITR_EL1::LIMIT`](crate::sysreg::PMBLIMITR_EL1::LIMIT) | `aux_tail`; `aux_watermark`; `perf record --snapshot` |
//! | [`PMBPTR_EL1`](crate::sysreg::PMBPTR_EL1) of a live event | `live`: the records are decoded by the driver, see `live.rs`; `batch`: the records until the interrupt, 0 for as many as the buffer holds |
//! | [`PMSIRR_EL1::INTERVAL`] of a live event without `sample_period` | `interval`, or else [`LIVE_INTERVAL`]: `perf stat` sets no period |
//! | [`PMBLIMITR_EL1::FM`](crate::sysreg::PMBLIMITR_EL1::FM) | `discard`: no records; the events of the CPU's PMU still count samples |
//! | [`PMBLIMITR_EL1::E`](crate::sysreg::PMBLIMITR_EL1::E) | start and stop of the event |
//! | [`PMBSR_EL1`](crate::sysreg::PMBSR_EL1) | none: it is cleared after a request for service |
//!
//! # Other fields of `perf_event_attr`
//!
//! | fields | effect |
//! | --- | --- |
//! | `exclude_idle`, `exclude_host`, `sigtrap` | refused (`EOPNOTSUPP`): the unit cannot exclude the idle task or the host, and there are no samples that could raise a signal |
//! | `freq` | refused (`EINVAL`): the period would be adapted by counting samples |
//! | `exclude_hv`, `exclude_guest` | always true: the unit samples neither |
//! | `aux_start_paused` | the event starts paused; other events have `aux_pause` and `aux_resume` |
//! | `sample_type`, `branch_sample_type`, `sample_regs_user`, `sample_regs_intr`, `sample_stack_user`, `sample_max_stack`, `exclude_callchain_*`, `defer_callchain`, `precise_ip`, `wakeup_events`, `sig_data`, `bp_type` | none: they describe samples or breakpoints, and the event has only AUX data |
//! | `aux_output`, `aux_sample_size`, `aux_action` of other kinds | refused by perf's core |
//! | `type`, `size`, `disabled`, `enable_on_exec`, `remove_on_exec`, `pinned`, `exclusive`, `inherit`, `inherit_stat`, `inherit_thread`, `read_format`, `aux_watermark`, `watermark`, `wakeup_watermark`, `write_backward`, `sample_id_all`, `use_clockid`, `clockid` | perf's core acts on them, for any PMU |
//! | `mmap`, `mmap_data`, `mmap2`, `build_id`, `comm`, `comm_exec`, `task`, `context_switch`, `namespaces`, `cgroup`, `ksymbol`, `bpf_event`, `text_poke`, `defer_output` | perf's own records, written by perf's core for any PMU |
//!
//! Bits of `config` to `config4` without a field are ignored, as in the C driver.
//! `make test T=attributes` checks each field.

use crate::{
    caps::Features,
    sysreg::{
        Register,
        RegisterField,
        PMSCR_EL1,
        PMSDSFR_EL1,
        PMSEVFR_EL1,
        PMSFCR_EL1,
        PMSIRR_EL1,
        PMSLATFR_EL1,
        PMSNEVFR_EL1, //
    }, //
};

use core::ffi::CStr;

/// A word of `perf_event_attr` that has fields of the user ABI.
#[derive(Clone, Copy)]
pub(crate) enum AttrWord {
    Config,
    Config1,
    Config2,
    Config3,
    Config4,
}

impl AttrWord {
    pub(crate) fn name(self) -> &'static CStr {
        match self {
            Self::Config => c"config",
            Self::Config1 => c"config1",
            Self::Config2 => c"config2",
            Self::Config3 => c"config3",
            Self::Config4 => c"config4",
        }
    }
}

/// A field of the user ABI, published if the unit has the features that it `needs`.
///
/// # Invariants
///
/// `low <= high < 64`, and `max` is the largest value that fits, all ones.
pub(crate) struct Field {
    pub(crate) name: &'static CStr,
    pub(crate) word: AttrWord,
    pub(crate) low: u32,
    pub(crate) high: u32,
    pub(crate) needs: Features,
    max: u64,
}

impl Field {
    /// Creates a field. Used in constants only: wrong `bits` fail the build.
    const fn new(name: &'static CStr, word: AttrWord, bits: (u32, u32), needs: Features) -> Self {
        let (low, high) = bits;
        assert!(low <= high && high < 64);
        // INVARIANT: Checked above.
        Self {
            name,
            word,
            low,
            high,
            needs,
            max: u64::MAX >> (63 - high + low),
        }
    }

    fn of(&self, attr: &EventAttr) -> u64 {
        let word = match self.word {
            AttrWord::Config => attr.config,
            AttrWord::Config1 => attr.config1,
            AttrWord::Config2 => attr.config2,
            AttrWord::Config3 => attr.config3,
            AttrWord::Config4 => attr.config4,
        };
        word.wrapping_shr(self.low) & self.max
    }
}

macro_rules! format {
    ($(
        $field:ident = $name:literal, $word:ident: $low:literal - $high:literal, $needs:ident;
    )*) => {
        $(
            const $field: Field = Field::new($name, AttrWord::$word, ($low, $high), Features::$needs);
        )*

        /// The fields of the user ABI, as `format/` publishes them.
        pub(crate) static FORMAT: [Field; [$($name),*].len()] = [$($field),*];
    };
}

format! {
    TS_ENABLE = c"ts_enable", Config: 0 - 0, NONE;
    PA_ENABLE = c"pa_enable", Config: 1 - 1, NONE;
    PCT_ENABLE = c"pct_enable", Config: 2 - 2, NONE;
    JITTER = c"jitter", Config: 16 - 16, NONE;
    BRANCH_FILTER = c"branch_filter", Config: 32 - 32, NONE;
    BRANCH_FILTER_MASK = c"branch_filter_mask", Config: 36 - 36, EXTENDED_TYPE_FILTER;
    LOAD_FILTER = c"load_filter", Config: 33 - 33, NONE;
    LOAD_FILTER_MASK = c"load_filter_mask", Config: 37 - 37, EXTENDED_TYPE_FILTER;
    STORE_FILTER = c"store_filter", Config: 34 - 34, NONE;
    STORE_FILTER_MASK = c"store_filter_mask", Config: 38 - 38, EXTENDED_TYPE_FILTER;
    SIMD_FILTER = c"simd_filter", Config: 39 - 39, EXTENDED_TYPE_FILTER;
    SIMD_FILTER_MASK = c"simd_filter_mask", Config: 40 - 40, EXTENDED_TYPE_FILTER;
    FLOAT_FILTER = c"float_filter", Config: 41 - 41, EXTENDED_TYPE_FILTER;
    FLOAT_FILTER_MASK = c"float_filter_mask", Config: 42 - 42, EXTENDED_TYPE_FILTER;
    EVENT_FILTER = c"event_filter", Config1: 0 - 63, NONE;
    INV_EVENT_FILTER = c"inv_event_filter", Config3: 0 - 63, INVERTED_EVENT_FILTER;
    INV_DATA_SRC_FILTER = c"inv_data_src_filter", Config4: 0 - 63, DATA_SOURCE_FILTER;
    MIN_LATENCY = c"min_latency", Config2: 0 - 11, NONE;
    DISCARD = c"discard", Config: 35 - 35, DISCARD;
    LIVE = c"live", Config: 63 - 63, NONE;
    BATCH = c"batch", Config2: 16 - 31, NONE;
    INTERVAL = c"interval", Config2: 32 - 63, NONE;
}

/// The filters by type of operation, which need [`Features::TYPE_FILTER`] as well.
static TYPE_FILTERS: [(Field, RegisterField<PMSFCR_EL1>); 10] = [
    (LOAD_FILTER, PMSFCR_EL1::LD),
    (LOAD_FILTER_MASK, PMSFCR_EL1::LDm),
    (STORE_FILTER, PMSFCR_EL1::ST),
    (STORE_FILTER_MASK, PMSFCR_EL1::STm),
    (BRANCH_FILTER, PMSFCR_EL1::B),
    (BRANCH_FILTER_MASK, PMSFCR_EL1::Bm),
    (SIMD_FILTER, PMSFCR_EL1::SIMD),
    (SIMD_FILTER_MASK, PMSFCR_EL1::SIMDm),
    (FLOAT_FILTER, PMSFCR_EL1::FP),
    (FLOAT_FILTER_MASK, PMSFCR_EL1::FPm),
];

/// The fields of `perf_event_attr` that the driver reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventAttr {
    pub(crate) config: u64,
    pub(crate) config1: u64,
    pub(crate) config2: u64,
    pub(crate) config3: u64,
    pub(crate) config4: u64,
    pub(crate) exclude_user: bool,
    pub(crate) exclude_kernel: bool,
    pub(crate) exclude_idle: bool,
    pub(crate) exclude_host: bool,
    pub(crate) sigtrap: bool,
    pub(crate) freq: bool,
}

/// The reason why an event is refused: `EOPNOTSUPP`, `EINVAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    NotSupported,
    Malformed,
}

/// The register values of an event; `None` for a register that the unit does not have.
///
/// # Invariants
///
/// The unit has every feature that the values use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventConfig {
    pub(crate) pmscr: PMSCR_EL1,
    pub(crate) pmsfcr: PMSFCR_EL1,
    pub(crate) pmsevfr: PMSEVFR_EL1,
    pub(crate) pmsnevfr: Option<PMSNEVFR_EL1>,
    pub(crate) pmsdsfr: Option<PMSDSFR_EL1>,
    pub(crate) pmslatfr: PMSLATFR_EL1,
    /// Without the interval, see [`EventConfig::interval`].
    pmsirr: PMSIRR_EL1,
    /// A filter is enabled that has a register of its own.
    pub(crate) has_value_filters: bool,
    pub(crate) discard: bool,
    pub(crate) live: Option<Live>,
}

/// The request of a live event, whose records the driver decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    /// Records until the interrupt; 0: as many as the buffer holds.
    pub(crate) batch: u64,
    /// The period in operations of an event without `sample_period`.
    pub(crate) interval: u64,
}

/// The default of [`Live::interval`].
const LIVE_INTERVAL: u64 = 4096;

impl EventConfig {
    /// Validates `attr` for a unit with `features`, and with the events `supported` (the bits of
    /// `PMSEVFR_EL1` that can be set).
    pub(crate) fn new(
        attr: &EventAttr,
        features: Features,
        supported: u64,
    ) -> Result<Self, Invalid> {
        let require = |asked: bool, needs: Features| {
            if asked && !features.contains(needs) {
                return Err(Invalid::NotSupported);
            }
            Ok(())
        };

        let events = EVENT_FILTER.of(attr);
        let no_events = INV_EVENT_FILTER.of(attr);
        let no_sources = INV_DATA_SRC_FILTER.of(attr);
        let latency = MIN_LATENCY.of(attr);
        let discard = DISCARD.of(attr) != 0;
        let live = (LIVE.of(attr) != 0).then(|| Live {
            batch: BATCH.of(attr),
            interval: match INTERVAL.of(attr) {
                0 => LIVE_INTERVAL,
                interval => interval,
            },
        });

        if (events | no_events) & !supported != 0 {
            return Err(Invalid::NotSupported);
        }
        require(no_sources != 0, Features::DATA_SOURCE_FILTER)?;
        if attr.exclude_idle {
            return Err(Invalid::NotSupported);
        }
        if attr.freq || (discard && live.is_some()) {
            return Err(Invalid::Malformed);
        }
        require(events != 0, Features::EVENT_FILTER)?;
        require(no_events != 0, Features::INVERTED_EVENT_FILTER)?;
        require(latency != 0, Features::LATENCY_FILTER)?;
        require(discard, Features::DISCARD)?;
        if attr.exclude_host || attr.sigtrap {
            return Err(Invalid::NotSupported);
        }

        let mut pmsfcr = PMSFCR_EL1::default()
            .with(PMSFCR_EL1::FE, (events != 0).into())
            .with(PMSFCR_EL1::FnE, (no_events != 0).into())
            .with(PMSFCR_EL1::FDS, (no_sources != 0).into())
            .with(PMSFCR_EL1::FL, (latency != 0).into());
        for (field, bits) in &TYPE_FILTERS {
            if field.of(attr) != 0 {
                require(true, Features::TYPE_FILTER)?;
                require(true, field.needs)?;
                pmsfcr = pmsfcr.with(PMSFCR_EL1::FT, 1).with(*bits, 1);
            }
        }

        let pmscr = PMSCR_EL1::default()
            .with(PMSCR_EL1::TS, TS_ENABLE.of(attr))
            .with(PMSCR_EL1::PA, PA_ENABLE.of(attr))
            .with(PMSCR_EL1::PCT, PCT_ENABLE.of(attr))
            .with(PMSCR_EL1::E0SPE, (!attr.exclude_user).into())
            .with(PMSCR_EL1::E1SPE, (!attr.exclude_kernel).into());

        // INVARIANT: The features were required above.
        Ok(Self {
            pmscr,
            pmsfcr,
            pmsevfr: PMSEVFR_EL1::from_bits(events),
            pmsnevfr: features
                .contains(Features::INVERTED_EVENT_FILTER)
                .then(|| PMSNEVFR_EL1::from_bits(no_events)),
            pmsdsfr: features
                .contains(Features::DATA_SOURCE_FILTER)
                .then(|| PMSDSFR_EL1::from_bits(!no_sources)),
            pmslatfr: PMSLATFR_EL1::default().with(PMSLATFR_EL1::MINLAT, latency),
            pmsirr: PMSIRR_EL1::default().with(PMSIRR_EL1::RND, JITTER.of(attr)),
            has_value_filters: events | no_events | no_sources | latency != 0,
            discard,
            live,
        })
    }

    /// Returns whether the event needs the right to profile the kernel: for physical addresses, and
    /// for the physical counter, which reveals the clock offset of a virtual machine.
    pub(crate) fn is_privileged(&self) -> bool {
        self.pmscr.has(PMSCR_EL1::PA) || self.pmscr.has(PMSCR_EL1::PCT)
    }

    /// Returns whether the kernel is sampled.
    pub(crate) fn samples_kernel(&self) -> bool {
        self.pmscr.has(PMSCR_EL1::E1SPE)
    }

    /// Adds CONTEXTIDR_EL1, the PID with `CONFIG_PID_IN_CONTEXTIDR`, to the records: for an opener
    /// with the right to profile the kernel, in the initial PID namespace.
    pub(crate) fn enable_context(&mut self) {
        self.pmscr = self.pmscr.with(PMSCR_EL1::CX, 1);
    }

    /// Returns `PMSIRR_EL1` for a `period` that [`period`] returned.
    pub(crate) fn interval(&self, period: u64) -> PMSIRR_EL1 {
        PMSIRR_EL1::from_bits(period | self.pmsirr.bits())
    }
}

/// Returns the period in operations for a requested one: a multiple of 256 from 256 to 2^32 - 256.
/// Zero is not permitted (Arm ARM D24.7.12, PMSIRR_EL1). The interval of `PMSIDR_EL1` is no limit.
pub(crate) fn period(asked: u64) -> u64 {
    let interval = |n| PMSIRR_EL1::default().with(PMSIRR_EL1::INTERVAL, n).bits();
    let all = interval(u64::MAX);
    asked.clamp(interval(1), all) & all
}

/// Returns the operations until the first sample for a requested period. A value that the counter
/// can hold is not rounded; a larger one must not reach the fields above the counter.
pub(crate) fn first_period(asked: u64) -> u64 {
    match u32::try_from(asked) {
        Ok(asked) => asked.into(),
        Err(_) => period(asked),
    }
}

#[cfg_attr(not(test), kernel::macros::kunit_tests(arm_spe_event))]
mod tests {
    use super::*;

    const ALL: Features = Features(0x3ff);

    /// For a unit with all features.
    fn decode(attr: EventAttr) -> Result<EventConfig, Invalid> {
        EventConfig::new(&attr, ALL, u64::MAX)
    }

    /// For a unit with all features but `lacking`.
    fn without(lacking: Features, attr: EventAttr) -> Option<Invalid> {
        EventConfig::new(&attr, Features(ALL.0 & !lacking.0), u64::MAX).err()
    }

    fn with_config(config: u64) -> EventAttr {
        EventAttr {
            config,
            ..EventAttr::default()
        }
    }

    /// Bits of `config` and bits of registers, as in the manual.
    #[test]
    fn bits_of_config() -> Result<(), Invalid> {
        for (config, pmscr, pmsfcr, pmsirr) in [
            (1 << 0, 1 << 5, 0, 0),            // ts_enable: TS
            (1 << 1, 1 << 4, 0, 0),            // pa_enable: PA
            (1 << 2, 1 << 6, 0, 0),            // pct_enable: PCT
            (1 << 16, 0, 0, 1 << 0),           // jitter: RND
            (1 << 32, 0, 1 << 16 | 1 << 1, 0), // branch_filter: B, FT
            (1 << 33, 0, 1 << 17 | 1 << 1, 0), // load_filter: LD, FT
            (1 << 34, 0, 1 << 18 | 1 << 1, 0), // store_filter: ST, FT
            (1 << 35, 0, 0, 0),                // discard
            (1 << 36, 0, 1 << 48 | 1 << 1, 0), // branch_filter_mask: Bm, FT
            (1 << 37, 0, 1 << 49 | 1 << 1, 0), // load_filter_mask: LDm, FT
            (1 << 38, 0, 1 << 50 | 1 << 1, 0), // store_filter_mask: STm, FT
            (1 << 39, 0, 1 << 20 | 1 << 1, 0), // simd_filter: SIMD, FT
            (1 << 40, 0, 1 << 52 | 1 << 1, 0), // simd_filter_mask: SIMDm, FT
            (1 << 41, 0, 1 << 19 | 1 << 1, 0), // float_filter: FP, FT
            (1 << 42, 0, 1 << 51 | 1 << 1, 0), // float_filter_mask: FPm, FT
            (1 << 3, 0, 0, 0),                 // no field
            (1 << 62, 0, 0, 0),
            (1 << 63, 0, 0, 0), // live
        ] {
            let decoded = decode(with_config(config))?;
            // E0SPE and E1SPE, as nothing is excluded.
            assert_eq!((config, decoded.pmscr.bits()), (config, 3 | pmscr));
            assert_eq!((config, decoded.pmsfcr.bits()), (config, pmsfcr));
            assert_eq!((config, decoded.pmsirr.bits()), (config, pmsirr));
            assert_eq!((config, decoded.discard), (config, config == 1 << 35));
            let live = (config == 1 << 63).then_some(Live {
                batch: 0,
                interval: 4096,
            });
            assert_eq!((config, decoded.live), (config, live));
        }
        Ok(())
    }

    #[test]
    fn words_beyond_config() -> Result<(), Invalid> {
        let config = decode(EventAttr {
            config1: 0x8000_0000_0000_0001,
            config2: 0xffff,
            config3: 2,
            config4: 0xf0,
            ..EventAttr::default()
        })?;
        assert_eq!(config.pmsevfr.bits(), 0x8000_0000_0000_0001);
        assert_eq!(config.pmslatfr.bits(), 0xfff);
        assert_eq!(config.pmsnevfr.map(Register::bits), Some(2));
        assert_eq!(config.pmsdsfr.map(Register::bits), Some(!0xf0));

        for (config1, config2, config3, config4, pmsfcr) in [
            (1 << 63, 0, 0, 0, 1 << 0), // FE
            (0, 1 << 11, 0, 0, 1 << 2), // FL
            (0, 1 << 12, 0, 0, 0),      // no field
            (0, 0, 1 << 63, 0, 1 << 3), // FnE
            (0, 0, 0, 1 << 63, 1 << 4), // FDS
        ] {
            let attr = EventAttr {
                config1,
                config2,
                config3,
                config4,
                ..EventAttr::default()
            };
            assert_eq!((attr, decode(attr)?.pmsfcr.bits()), (attr, pmsfcr));
        }
        Ok(())
    }

    #[test]
    fn where_to_sample() -> Result<(), Invalid> {
        for (exclude_user, exclude_kernel, pmscr) in [
            (false, false, 3),
            (true, false, 2),
            (false, true, 1),
            (true, true, 0),
        ] {
            let attr = EventAttr {
                exclude_user,
                exclude_kernel,
                ..EventAttr::default()
            };
            assert_eq!((attr, decode(attr)?.pmscr.bits()), (attr, pmscr));
        }
        Ok(())
    }

    #[test]
    fn required_features() {
        let refused = Some(Invalid::NotSupported);
        for (config, extended) in [
            (1 << 32, None),
            (1 << 33, None),
            (1 << 34, None),
            (1 << 36, refused),
            (1 << 37, refused),
            (1 << 38, refused),
            (1 << 39, refused),
            (1 << 40, refused),
            (1 << 41, refused),
            (1 << 42, refused),
        ] {
            let attr = with_config(config);
            let found = without(Features::TYPE_FILTER, attr);
            assert_eq!((config, found), (config, refused));
            let found = without(Features::EXTENDED_TYPE_FILTER, attr);
            assert_eq!((config, found), (config, extended));
        }
        let none = EventAttr::default();
        for (feature, attr) in [
            (Features::DISCARD, with_config(1 << 35)),
            (Features::EVENT_FILTER, EventAttr { config1: 1, ..none }),
            (Features::LATENCY_FILTER, EventAttr { config2: 1, ..none }),
            (
                Features::INVERTED_EVENT_FILTER,
                EventAttr { config3: 1, ..none },
            ),
            (
                Features::DATA_SOURCE_FILTER,
                EventAttr { config4: 1, ..none },
            ),
        ] {
            assert_eq!((attr, without(feature, attr)), (attr, refused));
            // And no other feature is needed.
            let others = Features(ALL.0 & !feature.0);
            assert_eq!((attr, without(others, attr)), (attr, None));
        }
        assert_eq!(without(ALL, none), None);
    }

    #[test]
    fn absent_registers() -> Result<(), Invalid> {
        let others =
            Features(ALL.0 & !Features::INVERTED_EVENT_FILTER.0 & !Features::DATA_SOURCE_FILTER.0);
        for (features, pmsnevfr, pmsdsfr) in [
            (others, None, None),
            (Features::INVERTED_EVENT_FILTER, Some(0), None),
            (Features::DATA_SOURCE_FILTER, None, Some(u64::MAX)),
        ] {
            let config = EventConfig::new(&EventAttr::default(), features, 0)?;
            let found = config.pmsnevfr.map(Register::bits);
            assert_eq!((features, found), (features, pmsnevfr));
            let found = config.pmsdsfr.map(Register::bits);
            assert_eq!((features, found), (features, pmsdsfr));
        }
        Ok(())
    }

    #[test]
    fn unknown_events() {
        let refused = Some(Invalid::NotSupported);
        for (config1, config3, expected) in [
            (0xa, 0, None),
            (0xb, 0, refused),
            (0, 0xa, None),
            (0, 0x4, refused),
            (0x8, 0x2, None),
        ] {
            let attr = EventAttr {
                config1,
                config3,
                ..EventAttr::default()
            };
            let found = EventConfig::new(&attr, ALL, 0xa).err();
            assert_eq!((attr, found), (attr, expected));
        }
    }

    #[test]
    fn what_no_unit_supports() {
        for attr in [
            EventAttr {
                exclude_host: true,
                ..EventAttr::default()
            },
            EventAttr {
                sigtrap: true,
                ..EventAttr::default()
            },
        ] {
            assert_eq!(
                (attr, decode(attr).err()),
                (attr, Some(Invalid::NotSupported))
            );
        }
        for (exclude_idle, freq, expected) in [
            (false, true, Invalid::Malformed),
            (true, false, Invalid::NotSupported),
            // In the order of the C driver.
            (true, true, Invalid::NotSupported),
        ] {
            let attr = EventAttr {
                exclude_idle,
                freq,
                ..EventAttr::default()
            };
            assert_eq!((attr, decode(attr).err()), (attr, Some(expected)));
        }
    }

    #[test]
    fn privileges() -> Result<(), Invalid> {
        for (config, privileged) in [
            (1 << 0, false),
            (1 << 1, true),
            (1 << 2, true),
            (1 << 16, false),
        ] {
            let decoded = decode(with_config(config))?;
            assert_eq!((config, decoded.is_privileged()), (config, privileged));
        }
        let mut config = decode(EventAttr::default())?;
        config.enable_context();
        assert_eq!(config.pmscr.bits(), 3 | 1 << 3);
        Ok(())
    }

    /// The user ABI as sysfs publishes it.
    #[test]
    fn format() {
        let expected = [
            (c"ts_enable", c"config", 0, 0, 0),
            (c"pa_enable", c"config", 1, 1, 0),
            (c"pct_enable", c"config", 2, 2, 0),
            (c"jitter", c"config", 16, 16, 0),
            (c"branch_filter", c"config", 32, 32, 0),
            (c"branch_filter_mask", c"config", 36, 36, 1 << 8),
            (c"load_filter", c"config", 33, 33, 0),
            (c"load_filter_mask", c"config", 37, 37, 1 << 8),
            (c"store_filter", c"config", 34, 34, 0),
            (c"store_filter_mask", c"config", 38, 38, 1 << 8),
            (c"simd_filter", c"config", 39, 39, 1 << 8),
            (c"simd_filter_mask", c"config", 40, 40, 1 << 8),
            (c"float_filter", c"config", 41, 41, 1 << 8),
            (c"float_filter_mask", c"config", 42, 42, 1 << 8),
            (c"event_filter", c"config1", 0, 63, 0),
            (c"inv_event_filter", c"config3", 0, 63, 1 << 6),
            (c"inv_data_src_filter", c"config4", 0, 63, 1 << 9),
            (c"min_latency", c"config2", 0, 11, 0),
            (c"discard", c"config", 35, 35, 1 << 7),
            (c"live", c"config", 63, 63, 0),
            (c"batch", c"config2", 16, 31, 0),
            (c"interval", c"config2", 32, 63, 0),
        ];
        assert_eq!(FORMAT.len(), expected.len());
        for (field, expected) in FORMAT.iter().zip(expected) {
            let found = (
                field.name,
                field.word.name(),
                field.low,
                field.high,
                field.needs.0,
            );
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn live_events() -> Result<(), Invalid> {
        for (config2, batch, interval) in [
            (0, 0, 4096),
            (0x0001_0fff, 1, 4096),
            (0x0000_0100_ffff_0000, 0xffff, 0x100),
            (0xffff_ffff_0000_0000, 0, 0xffff_ffff),
        ] {
            let found = decode(EventAttr {
                config: 1 << 63,
                config2,
                ..EventAttr::default()
            })?;
            let expected = Some(Live { batch, interval });
            assert_eq!((config2, found.live), (config2, expected));
            // Without `live` these are no fields.
            let found = decode(EventAttr {
                config2: config2 & !0xfff,
                ..EventAttr::default()
            })?;
            assert_eq!((config2, found), (config2, decode(EventAttr::default())?));
        }
        assert_eq!(
            decode(with_config(1 << 63 | 1 << 35)),
            Err(Invalid::Malformed)
        );
        Ok(())
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
            assert_eq!((asked, period(asked)), (asked, used));
        }
    }

    #[test]
    fn first_periods() {
        for (asked, used) in [
            (0, 0),
            (1, 1),
            (1000, 1000),
            (0xffff_ffff, 0xffff_ffff),
            (1 << 32, 0xffff_ff00),
            (u64::MAX, 0xffff_ff00),
        ] {
            assert_eq!((asked, first_period(asked)), (asked, used));
        }
    }

    #[test]
    fn reloads() -> Result<(), Invalid> {
        for (config, period, pmsirr) in [
            (0, 1024, 0x400),
            (1 << 16, 1024, 0x401),
            (1 << 16, 0xffff_ff00, 0xffff_ff01),
        ] {
            let decoded = decode(with_config(config))?;
            let found = decoded.interval(period).bits();
            assert_eq!((config, period, found), (config, period, pmsirr));
        }
        Ok(())
    }
}
