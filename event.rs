// SPDX-License-Identifier: GPL-2.0

//! What an event asks for: the fields of `perf_event_attr` that this PMU gives a meaning, and the
//! registers that they become.
//!
//! Pure. An event is judged once, when it is opened; what comes out is the image of the registers,
//! which the start of sampling only writes.
//!
//! # Who sets which register field
//!
//! Every field of every register that the driver writes, and the user's knob for it: a field of
//! [`FORMAT`] (`perf record -e arm_spe/NAME=VALUE/`; a file of `format/` in sysfs), another field
//! of `perf_event_attr`, or what else a user of perf decides on.
//!
//! | register field | knob |
//! | --- | --- |
//! | [`PMSCR_EL1::E0SPE`] | `exclude_user`, inverted; 0 while the event is paused or stopped |
//! | [`PMSCR_EL1::E1SPE`] | `exclude_kernel`, inverted; 0 while the event is paused or stopped |
//! | [`PMSCR_EL1::CX`] | none: who opens the event, see [`Image::allow_context`] |
//! | [`PMSCR_EL1::PA`] | `pa_enable` |
//! | [`PMSCR_EL1::TS`] | `ts_enable` |
//! | [`PMSCR_EL1::PCT`] | `pct_enable`: its lower bit; the upper one is 0 |
//! | [`PMSFCR_EL1::FE`] | `event_filter` is not 0 |
//! | [`PMSFCR_EL1::FT`] | one of the ten fields that filter by type is not 0 |
//! | [`PMSFCR_EL1::FL`] | `min_latency` is not 0 |
//! | [`PMSFCR_EL1::FnE`] | `inv_event_filter` is not 0 |
//! | [`PMSFCR_EL1::FDS`] | `inv_data_src_filter` is not 0 |
//! | [`PMSFCR_EL1::B`], [`PMSFCR_EL1::Bm`] | `branch_filter`, `branch_filter_mask` |
//! | [`PMSFCR_EL1::LD`], [`PMSFCR_EL1::LDm`] | `load_filter`, `load_filter_mask` |
//! | [`PMSFCR_EL1::ST`], [`PMSFCR_EL1::STm`] | `store_filter`, `store_filter_mask` |
//! | [`PMSFCR_EL1::FP`], [`PMSFCR_EL1::FPm`] | `float_filter`, `float_filter_mask` |
//! | [`PMSFCR_EL1::SIMD`], [`PMSFCR_EL1::SIMDm`] | `simd_filter`, `simd_filter_mask` |
//! | [`PMSEVFR_EL1`] | `event_filter` |
//! | [`PMSNEVFR_EL1`] | `inv_event_filter` |
//! | [`PMSDSFR_EL1`] | `inv_data_src_filter`, inverted |
//! | [`PMSLATFR_EL1::MINLAT`] | `min_latency`: its lower 12 bits; the upper ones are 0 |
//! | [`PMSIRR_EL1::INTERVAL`] | `sample_period`, see [`period`]; `PERF_EVENT_IOC_PERIOD` |
//! | [`PMSIRR_EL1::RND`] | `jitter` |
//! | [`PMSICR_EL1`] | `sample_period`, see [`first_interval`]; later what a stop left of it |
//! | [`PMBPTR_EL1`] | the AUX buffer (`perf record -m ,SIZE`), and how far it is written |
//! | [`PMBLIMITR_EL1::LIMIT`] | how far it is read; `aux_watermark`; `perf record --snapshot` |
//! | [`PMBLIMITR_EL1::FM`] | `discard` |
//! | [`PMBLIMITR_EL1::E`] | the start of the event, and its stop |
//! | [`PMBSR_EL1`] | none: 0 tells the unit that its request was served |
//!
//! An event is paused by others or by itself: `aux_pause`, `aux_resume`, `aux_start_paused`
//! (`perf record -e arm_spe/aux-action=start-paused/`). `exclude_idle` and `freq` have no register:
//! events with either are refused.
//!
//! [`PMBLIMITR_EL1::E`]: crate::sysreg::PMBLIMITR_EL1::E
//! [`PMBLIMITR_EL1::FM`]: crate::sysreg::PMBLIMITR_EL1::FM
//! [`PMBLIMITR_EL1::LIMIT`]: crate::sysreg::PMBLIMITR_EL1::LIMIT
//! [`PMBPTR_EL1`]: crate::sysreg::PMBPTR_EL1
//! [`PMBSR_EL1`]: crate::sysreg::PMBSR_EL1
//! [`PMSICR_EL1`]: crate::sysreg::PMSICR_EL1

use crate::{
    features::Features,
    sysreg::{
        Field as Bits,
        Register,
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

/// A word of `perf_event_attr` that the fields of the user ABI live in.
#[derive(Clone, Copy)]
pub(crate) enum Word {
    /// `config`.
    Config,
    /// `config1`.
    Config1,
    /// `config2`.
    Config2,
    /// `config3`.
    Config3,
    /// `config4`.
    Config4,
}

impl Word {
    /// Its name in the files of `format/`.
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

/// A field of the user ABI.
///
/// # Invariants
///
/// `low <= high < 64`, and `max` is the largest value that fits, all ones.
pub(crate) struct Field {
    /// Its name: `perf record -e arm_spe/NAME=VALUE/`, and the name of its file in `format/`.
    pub(crate) name: &'static CStr,
    /// The word that it is in.
    pub(crate) word: Word,
    /// The lowest bit.
    pub(crate) low: u32,
    /// The highest bit.
    pub(crate) high: u32,
    /// What the hardware must have for the field to be published.
    pub(crate) needs: Features,
    /// The largest value.
    max: u64,
}

impl Field {
    /// The field in `bits`, the lowest and the highest, of `word`. Only used in constants, where a
    /// wrong pair fails the build.
    const fn new(name: &'static CStr, word: Word, bits: (u32, u32), needs: Features) -> Self {
        let (low, high) = bits;
        assert!(low <= high && high < 64);
        // INVARIANT: just checked.
        Self {
            name,
            word,
            low,
            high,
            needs,
            max: u64::MAX >> (63 - high + low),
        }
    }

    /// The value that `attr` gives this field.
    fn of(&self, attr: &Attr) -> u64 {
        let word = match self.word {
            Word::Config => attr.config,
            Word::Config1 => attr.config1,
            Word::Config2 => attr.config2,
            Word::Config3 => attr.config3,
            Word::Config4 => attr.config4,
        };
        word.wrapping_shr(self.low) & self.max
    }
}

/// Declares the fields, each as a constant, and the table of them all.
macro_rules! format {
    ($(
        $(#[$doc:meta])*
        $field:ident = $name:literal, $word:ident: $low:literal - $high:literal, $needs:ident;
    )*) => {
        $(
            $(#[$doc])*
            const $field: Field = Field::new($name, Word::$word, ($low, $high), Features::$needs);
        )*

        /// The user ABI of this PMU.
        pub(crate) static FORMAT: [Field; [$($name),*].len()] = [$($field),*];
    };
}

format! {
    /// Timestamps: `PMSCR_EL1.TS`.
    TS_ENABLE = c"ts_enable", Config: 0 - 0, NONE;
    /// Physical addresses: `PMSCR_EL1.PA`. Needs the right to profile the kernel.
    PA_ENABLE = c"pa_enable", Config: 1 - 1, NONE;
    /// Physical time: `PMSCR_EL1.PCT`. Needs the right to profile the kernel.
    PCT_ENABLE = c"pct_enable", Config: 2 - 2, NONE;
    /// Random intervals: `PMSIRR_EL1.RND`.
    JITTER = c"jitter", Config: 16 - 16, NONE;
    /// Keep branches: `PMSFCR_EL1.B`, and `FT` unless zero, as for all filters by type.
    BRANCH_FILTER = c"branch_filter", Config: 32 - 32, NONE;
    /// `PMSFCR_EL1.Bm`.
    BRANCH_FILTER_MASK = c"branch_filter_mask", Config: 36 - 36, EXTENDED_TYPE_FILTER;
    /// Keep loads: `PMSFCR_EL1.LD`.
    LOAD_FILTER = c"load_filter", Config: 33 - 33, NONE;
    /// `PMSFCR_EL1.LDm`.
    LOAD_FILTER_MASK = c"load_filter_mask", Config: 37 - 37, EXTENDED_TYPE_FILTER;
    /// Keep stores: `PMSFCR_EL1.ST`.
    STORE_FILTER = c"store_filter", Config: 34 - 34, NONE;
    /// `PMSFCR_EL1.STm`.
    STORE_FILTER_MASK = c"store_filter_mask", Config: 38 - 38, EXTENDED_TYPE_FILTER;
    /// Keep SIMD operations: `PMSFCR_EL1.SIMD`.
    SIMD_FILTER = c"simd_filter", Config: 39 - 39, EXTENDED_TYPE_FILTER;
    /// `PMSFCR_EL1.SIMDm`.
    SIMD_FILTER_MASK = c"simd_filter_mask", Config: 40 - 40, EXTENDED_TYPE_FILTER;
    /// Keep floating-point operations: `PMSFCR_EL1.FP`.
    FLOAT_FILTER = c"float_filter", Config: 41 - 41, EXTENDED_TYPE_FILTER;
    /// `PMSFCR_EL1.FPm`.
    FLOAT_FILTER_MASK = c"float_filter_mask", Config: 42 - 42, EXTENDED_TYPE_FILTER;
    /// Keep records that have all of these events: `PMSEVFR_EL1`, and `PMSFCR_EL1.FE` unless zero.
    EVENT_FILTER = c"event_filter", Config1: 0 - 63, NONE;
    /// Drop records that have any of these events: `PMSNEVFR_EL1`, and `PMSFCR_EL1.FnE` unless
    /// zero.
    INV_EVENT_FILTER = c"inv_event_filter", Config3: 0 - 63, INVERTED_EVENT_FILTER;
    /// Drop records whose data source is one of these: the inverse of `PMSDSFR_EL1`, so that 0
    /// keeps all, and `PMSFCR_EL1.FDS` unless zero.
    INV_DATA_SRC_FILTER = c"inv_data_src_filter", Config4: 0 - 63, DATA_SOURCE_FILTER;
    /// The least total latency in cycles: `PMSLATFR_EL1.MINLAT`, and `PMSFCR_EL1.FL` unless zero.
    MIN_LATENCY = c"min_latency", Config2: 0 - 11, NONE;
    /// Throw the records away, and keep what sampling does to the PMU's own events:
    /// `PMBLIMITR_EL1.FM`.
    DISCARD = c"discard", Config: 35 - 35, DISCARD;
}

/// The filters by type of operation: user ABI, register field, and what the unit must have beside
/// [`Features::TYPE_FILTER`].
static TYPE_FILTERS: [(Field, Bits<PMSFCR_EL1>, Features); 10] = [
    (LOAD_FILTER, PMSFCR_EL1::LD, Features::NONE),
    (
        LOAD_FILTER_MASK,
        PMSFCR_EL1::LDm,
        Features::EXTENDED_TYPE_FILTER,
    ),
    (STORE_FILTER, PMSFCR_EL1::ST, Features::NONE),
    (
        STORE_FILTER_MASK,
        PMSFCR_EL1::STm,
        Features::EXTENDED_TYPE_FILTER,
    ),
    (BRANCH_FILTER, PMSFCR_EL1::B, Features::NONE),
    (
        BRANCH_FILTER_MASK,
        PMSFCR_EL1::Bm,
        Features::EXTENDED_TYPE_FILTER,
    ),
    (
        SIMD_FILTER,
        PMSFCR_EL1::SIMD,
        Features::EXTENDED_TYPE_FILTER,
    ),
    (
        SIMD_FILTER_MASK,
        PMSFCR_EL1::SIMDm,
        Features::EXTENDED_TYPE_FILTER,
    ),
    (FLOAT_FILTER, PMSFCR_EL1::FP, Features::EXTENDED_TYPE_FILTER),
    (
        FLOAT_FILTER_MASK,
        PMSFCR_EL1::FPm,
        Features::EXTENDED_TYPE_FILTER,
    ),
];

/// What is read of an event's `perf_event_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attr {
    /// A word of the fields in [`FORMAT`]. Bits that no field covers are ignored, as in all words.
    pub(crate) config: u64,
    /// Another word.
    pub(crate) config1: u64,
    /// Another word.
    pub(crate) config2: u64,
    /// Another word.
    pub(crate) config3: u64,
    /// Another word.
    pub(crate) config4: u64,
    /// Do not sample at EL0: [`PMSCR_EL1::E0SPE`], inverted.
    pub(crate) exclude_user: bool,
    /// Do not sample in the kernel: [`PMSCR_EL1::E1SPE`], inverted.
    pub(crate) exclude_kernel: bool,
    /// Do not sample in the idle task, which no register can express: refused.
    pub(crate) exclude_idle: bool,
    /// `sample_freq` was given instead of `sample_period`: refused.
    pub(crate) freq: bool,
}

/// Why an event is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This unit cannot do it: `EOPNOTSUPP`.
    NotSupported,
    /// No such unit can do it: `EINVAL`.
    Invalid,
}

/// The registers of a sampling unit, as an event wants them.
///
/// # Invariants
///
/// The unit that the image was made for has every feature that the image uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// Where to sample and what to record; without `CX`, see [`Image::allow_context`].
    pub(crate) pmscr: PMSCR_EL1,
    /// Which of the filters below apply.
    pub(crate) pmsfcr: PMSFCR_EL1,
    /// Events of which all must be there.
    pub(crate) pmsevfr: PMSEVFR_EL1,
    /// Events of which none may be there; `None` if the unit does not have the register.
    pub(crate) pmsnevfr: Option<PMSNEVFR_EL1>,
    /// Data sources; `None` if the unit does not have the register.
    pub(crate) pmsdsfr: Option<PMSDSFR_EL1>,
    /// Least latency.
    pub(crate) pmslatfr: PMSLATFR_EL1,
    /// `RND` alone. The interval may change while the event lives (`PERF_EVENT_IOC_PERIOD`), see
    /// [`interval`].
    pub(crate) pmsirr: PMSIRR_EL1,
    /// One of the filters applies that have registers of their own.
    pub(crate) filters_more: bool,
    /// Discard records instead of writing them.
    pub(crate) discard: bool,
}

impl Image {
    /// Judges what `attr` asks of a unit with `features` that knows the events `supported` (the
    /// bits of `PMSEVFR_EL1` that can be set).
    pub(crate) fn decode(attr: &Attr, features: Features, supported: u64) -> Result<Self, Refusal> {
        let require = |asked: bool, needs: Features| match !asked || features.contain(needs) {
            true => Ok(()),
            false => Err(Refusal::NotSupported),
        };

        let events = EVENT_FILTER.of(attr);
        let no_events = INV_EVENT_FILTER.of(attr);
        let no_sources = INV_DATA_SRC_FILTER.of(attr);
        let latency = MIN_LATENCY.of(attr);
        let discard = DISCARD.of(attr) != 0;

        if (events | no_events) & !supported != 0 {
            return Err(Refusal::NotSupported);
        }
        require(no_sources != 0, Features::DATA_SOURCE_FILTER)?;
        if attr.exclude_idle {
            return Err(Refusal::NotSupported);
        }
        // Frequency mode counts samples to adapt the period. Nobody can count them in the buffer.
        if attr.freq {
            return Err(Refusal::Invalid);
        }
        require(events != 0, Features::EVENT_FILTER)?;
        require(no_events != 0, Features::INVERTED_EVENT_FILTER)?;
        require(latency != 0, Features::LATENCY_FILTER)?;
        require(discard, Features::DISCARD)?;

        let mut pmsfcr = PMSFCR_EL1::default()
            .with(PMSFCR_EL1::FE, (events != 0).into())
            .with(PMSFCR_EL1::FnE, (no_events != 0).into())
            .with(PMSFCR_EL1::FDS, (no_sources != 0).into())
            .with(PMSFCR_EL1::FL, (latency != 0).into());
        for (field, bits, needs) in &TYPE_FILTERS {
            if field.of(attr) != 0 {
                require(true, Features::TYPE_FILTER)?;
                require(true, *needs)?;
                pmsfcr = pmsfcr.with(PMSFCR_EL1::FT, 1).with(*bits, 1);
            }
        }

        let pmscr = PMSCR_EL1::default()
            .with(PMSCR_EL1::TS, TS_ENABLE.of(attr))
            .with(PMSCR_EL1::PA, PA_ENABLE.of(attr))
            .with(PMSCR_EL1::PCT, PCT_ENABLE.of(attr))
            .with(PMSCR_EL1::E0SPE, (!attr.exclude_user).into())
            .with(PMSCR_EL1::E1SPE, (!attr.exclude_kernel).into());

        // INVARIANT: every feature that a field needs was required above; registers that exist only
        // with a feature are there only with the feature.
        Ok(Self {
            pmscr,
            pmsfcr,
            pmsevfr: PMSEVFR_EL1::from_bits(events),
            pmsnevfr: features
                .contain(Features::INVERTED_EVENT_FILTER)
                .then(|| PMSNEVFR_EL1::from_bits(no_events)),
            pmsdsfr: features
                .contain(Features::DATA_SOURCE_FILTER)
                .then(|| PMSDSFR_EL1::from_bits(!no_sources)),
            pmslatfr: PMSLATFR_EL1::default().with(PMSLATFR_EL1::MINLAT, latency),
            pmsirr: PMSIRR_EL1::default().with(PMSIRR_EL1::RND, JITTER.of(attr)),
            filters_more: events | no_events | no_sources | latency != 0,
            discard,
        })
    }

    /// Whether the records would tell what only those may see who may profile the kernel: physical
    /// addresses, or the physical counter, which shows how far a virtual machine's clock is set
    /// off.
    pub(crate) fn is_privileged(&self) -> bool {
        self.pmscr.has(PMSCR_EL1::PA) || self.pmscr.has(PMSCR_EL1::PCT)
    }

    /// Puts the context ID into the records: for an opener who may profile the kernel, where the
    /// kernel keeps the PID there (`CONFIG_PID_IN_CONTEXTIDR`).
    pub(crate) fn allow_context(&mut self) {
        self.pmscr = self.pmscr.with(PMSCR_EL1::CX, 1);
    }
}

/// Whether `asked` is a period that can be sampled with as it is.
#[inline]
pub(crate) fn is_period(asked: u64) -> bool {
    let all = PMSIRR_EL1::default()
        .with(PMSIRR_EL1::INTERVAL, u64::MAX)
        .bits();
    asked & !all == 0 && asked != 0
}

/// The period in operations that is sampled with when `asked` is asked for: a multiple of 256 from
/// 256 to 2^32 - 256.
///
/// `PMSIDR_EL1.Interval` is a recommendation and not a limit. Zero is not permitted (Arm ARM
/// D24.7.12, PMSIRR_EL1).
#[inline]
pub(crate) fn period(asked: u64) -> u64 {
    let (one, all) = (
        PMSIRR_EL1::default().with(PMSIRR_EL1::INTERVAL, 1).bits(),
        PMSIRR_EL1::default()
            .with(PMSIRR_EL1::INTERVAL, u64::MAX)
            .bits(),
    );
    asked.clamp(one, all) & all
}

/// The reload register for a `period` that [`period`] made, with the other fields of `image`.
#[inline]
pub(crate) fn interval(image: &Image, period: u64) -> PMSIRR_EL1 {
    PMSIRR_EL1::from_bits(period | image.pmsirr.bits())
}

/// The operations until the first sample when a period of `asked` is asked for. Anything that the
/// counter can hold is taken as it is; of anything larger, no bit may reach the fields above the
/// counter.
#[inline]
pub(crate) fn first_interval(asked: u64) -> u64 {
    match u32::try_from(asked) {
        Ok(asked) => asked.into(),
        Err(_) => period(asked),
    }
}

#[cfg_attr(not(test), kernel::macros::kunit_tests(arm_spe_event))]
mod tests {
    use super::*;

    const ALL: Features = Features(0x3ff);

    /// On a unit that can do everything.
    fn decode(attr: Attr) -> Result<Image, Refusal> {
        Image::decode(&attr, ALL, u64::MAX)
    }

    /// On a unit that can do everything but `lacking`.
    fn without(lacking: Features, attr: Attr) -> Option<Refusal> {
        Image::decode(&attr, Features(ALL.0 & !lacking.0), u64::MAX).err()
    }

    fn with_config(config: u64) -> Attr {
        Attr {
            config,
            ..Attr::default()
        }
    }

    /// One bit of `config` becomes one bit of a register, numbered as in the manual.
    #[test]
    fn bits_of_config() -> Result<(), Refusal> {
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
            (1 << 63, 0, 0, 0),
        ] {
            let image = decode(with_config(config))?;
            // E0SPE and E1SPE, as nothing is excluded.
            assert_eq!((config, image.pmscr.bits()), (config, 3 | pmscr));
            assert_eq!((config, image.pmsfcr.bits()), (config, pmsfcr));
            assert_eq!((config, image.pmsirr.bits()), (config, pmsirr));
            assert_eq!((config, image.discard), (config, config == 1 << 35));
        }
        Ok(())
    }

    #[test]
    fn words_beyond_config() -> Result<(), Refusal> {
        let image = decode(Attr {
            config1: 0x8000_0000_0000_0001,
            config2: 0xffff,
            config3: 2,
            config4: 0xf0,
            ..Attr::default()
        })?;
        assert_eq!(image.pmsevfr.bits(), 0x8000_0000_0000_0001);
        assert_eq!(image.pmslatfr.bits(), 0xfff);
        assert_eq!(image.pmsnevfr.map(Register::bits), Some(2));
        assert_eq!(image.pmsdsfr.map(Register::bits), Some(!0xf0));

        for (config1, config2, config3, config4, pmsfcr) in [
            (1 << 63, 0, 0, 0, 1 << 0), // FE
            (0, 1 << 11, 0, 0, 1 << 2), // FL
            (0, 1 << 12, 0, 0, 0),      // no field
            (0, 0, 1 << 63, 0, 1 << 3), // FnE
            (0, 0, 0, 1 << 63, 1 << 4), // FDS
        ] {
            let attr = Attr {
                config1,
                config2,
                config3,
                config4,
                ..Attr::default()
            };
            assert_eq!((attr, decode(attr)?.pmsfcr.bits()), (attr, pmsfcr));
        }
        Ok(())
    }

    #[test]
    fn where_to_sample() -> Result<(), Refusal> {
        for (exclude_user, exclude_kernel, pmscr) in [
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
            assert_eq!((attr, decode(attr)?.pmscr.bits()), (attr, pmscr));
        }
        Ok(())
    }

    /// What each field needs, and what a unit without that says to it.
    #[test]
    fn features_are_needed() {
        let refused = Some(Refusal::NotSupported);
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
        let none = Attr::default();
        for (feature, attr) in [
            (Features::DISCARD, with_config(1 << 35)),
            (Features::EVENT_FILTER, Attr { config1: 1, ..none }),
            (Features::LATENCY_FILTER, Attr { config2: 1, ..none }),
            (Features::INVERTED_EVENT_FILTER, Attr { config3: 1, ..none }),
            (Features::DATA_SOURCE_FILTER, Attr { config4: 1, ..none }),
        ] {
            assert_eq!((attr, without(feature, attr)), (attr, refused));
            // And no other feature is needed.
            let others = Features(ALL.0 & !feature.0);
            assert_eq!((attr, without(others, attr)), (attr, None));
        }
        assert_eq!(without(ALL, none), None);
    }

    #[test]
    fn registers_that_are_not_there_are_not_written() -> Result<(), Refusal> {
        let others =
            Features(ALL.0 & !Features::INVERTED_EVENT_FILTER.0 & !Features::DATA_SOURCE_FILTER.0);
        for (features, pmsnevfr, pmsdsfr) in [
            (others, None, None),
            (Features::INVERTED_EVENT_FILTER, Some(0), None),
            (Features::DATA_SOURCE_FILTER, None, Some(u64::MAX)),
        ] {
            let image = Image::decode(&Attr::default(), features, 0)?;
            let found = image.pmsnevfr.map(Register::bits);
            assert_eq!((features, found), (features, pmsnevfr));
            let found = image.pmsdsfr.map(Register::bits);
            assert_eq!((features, found), (features, pmsdsfr));
        }
        Ok(())
    }

    #[test]
    fn events_that_the_unit_does_not_know() {
        let refused = Some(Refusal::NotSupported);
        for (config1, config3, expected) in [
            (0xa, 0, None),
            (0xb, 0, refused),
            (0, 0xa, None),
            (0, 0x4, refused),
            (0x8, 0x2, None),
        ] {
            let attr = Attr {
                config1,
                config3,
                ..Attr::default()
            };
            let found = Image::decode(&attr, ALL, 0xa).err();
            assert_eq!((attr, found), (attr, expected));
        }
    }

    #[test]
    fn what_no_unit_can_do() {
        for (exclude_idle, freq, expected) in [
            (false, true, Refusal::Invalid),
            (true, false, Refusal::NotSupported),
            // In the order in which a caller of the C driver would find out.
            (true, true, Refusal::NotSupported),
        ] {
            let attr = Attr {
                exclude_idle,
                freq,
                ..Attr::default()
            };
            assert_eq!((attr, decode(attr).err()), (attr, Some(expected)));
        }
    }

    #[test]
    fn who_may() -> Result<(), Refusal> {
        for (config, privileged) in [
            (1 << 0, false),
            (1 << 1, true),
            (1 << 2, true),
            (1 << 16, false),
        ] {
            let image = decode(with_config(config))?;
            assert_eq!((config, image.is_privileged()), (config, privileged));
        }
        let mut image = decode(Attr::default())?;
        image.allow_context();
        assert_eq!(image.pmscr.bits(), 3 | 1 << 3);
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
            assert_eq!((asked, is_period(asked)), (asked, asked == used));
        }
    }

    #[test]
    fn first_intervals() {
        for (asked, used) in [
            (0, 0),
            (1, 1),
            (1000, 1000),
            (0xffff_ffff, 0xffff_ffff),
            (1 << 32, 0xffff_ff00),
            (u64::MAX, 0xffff_ff00),
        ] {
            assert_eq!((asked, first_interval(asked)), (asked, used));
        }
    }

    #[test]
    fn reloads() -> Result<(), Refusal> {
        for (config, period, pmsirr) in [
            (0, 1024, 0x400),
            (1 << 16, 1024, 0x401),
            (1 << 16, 0xffff_ff00, 0xffff_ff01),
        ] {
            let image = decode(with_config(config))?;
            let found = interval(&image, period).bits();
            assert_eq!((config, period, found), (config, period, pmsirr));
        }
        Ok(())
    }
}
