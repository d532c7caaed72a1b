// SPDX-License-Identifier: GPL-2.0

//! What an event asks for: the fields of `perf_event_attr` that this PMU gives a meaning, and the
//! registers that they become.
//!
//! Pure. An event is judged once, when it is opened; what comes out is the image of the registers,
//! which the start of sampling only writes.
//!
//! | field of `perf_event_attr` | register field |
//! | --- | --- |
//! | [`FORMAT`], published in sysfs under `format/` | see there |
//! | `exclude_user`, `exclude_kernel` | `PMSCR_EL1.E0SPE`, `E1SPE`, inverted |
//! | `sample_period` | `PMSIRR_EL1.INTERVAL`, see [`period`] |

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
    Config,
    Config1,
    Config2,
    Config3,
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
    max: u64,
}

impl Field {
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
    /// Keep branches: `PMSFCR_EL1.B`, with `FT` as for all filters by type.
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
    /// The words of the fields in [`FORMAT`]. Bits that no field covers are ignored.
    pub(crate) config: u64,
    pub(crate) config1: u64,
    pub(crate) config2: u64,
    pub(crate) config3: u64,
    pub(crate) config4: u64,
    /// Do not sample at EL0.
    pub(crate) exclude_user: bool,
    /// Do not sample in the kernel.
    pub(crate) exclude_kernel: bool,
    /// Do not sample in the idle task.
    pub(crate) exclude_idle: bool,
    /// `sample_freq` was given instead of `sample_period`.
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
            discard,
        })
    }

    /// Whether the records would tell what only those may see who may profile the kernel: physical
    /// addresses, or the physical counter, which shows how far a virtual machine's clock is set
    /// off.
    pub(crate) fn is_privileged(&self) -> bool {
        self.pmscr.has(PMSCR_EL1::PA) || self.pmscr.has(PMSCR_EL1::PCT)
    }

    /// Puts the context ID into the records.
    pub(crate) fn allow_context(&mut self) {
        self.pmscr = self.pmscr.with(PMSCR_EL1::CX, 1);
    }
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
