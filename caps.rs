// SPDX-License-Identifier: GPL-2.0

//! The capabilities of a profiling unit, decoded from the ID registers. All values returned are in
//! range, whatever the registers hold.

use crate::sysreg::{
    Register,
    ID_AA64DFR0_EL1,
    PMBIDR_EL1,
    PMSIDR_EL1, //
};

/// The largest record and the largest alignment in bytes. Larger values are reserved.
const LARGEST: u64 = 2048;

/// A set of optional features. The bits are those that the C driver logs at probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features(pub(crate) u64);

impl Features {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const EVENT_FILTER: Self = Self(1 << 0);
    pub(crate) const TYPE_FILTER: Self = Self(1 << 1);
    pub(crate) const LATENCY_FILTER: Self = Self(1 << 2);
    /// Architectural instructions are sampled, and not micro-operations.
    pub(crate) const ARCH_INST: Self = Self(1 << 3);
    /// Records have data sources.
    pub(crate) const DATA_SOURCE: Self = Self(1 << 4);
    /// The random number is added after the interval, and not within it.
    pub(crate) const ERND: Self = Self(1 << 5);
    pub(crate) const INVERTED_EVENT_FILTER: Self = Self(1 << 6);
    /// `PMBLIMITR_EL1.FM` can discard (SPEv1p2).
    pub(crate) const DISCARD: Self = Self(1 << 7);
    /// Type filters have masks, and know SIMD and floating point.
    pub(crate) const EXTENDED_TYPE_FILTER: Self = Self(1 << 8);
    pub(crate) const DATA_SOURCE_FILTER: Self = Self(1 << 9);
    /// The features that an event can request; the others describe records.
    const REQUESTED: u64 = !(Self::ARCH_INST.0 | Self::DATA_SOURCE.0 | Self::ERND.0);

    pub(crate) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn add(&mut self, other: Self, present: bool) {
        if present {
            self.0 |= other.0;
        }
    }
}

/// The reason why a unit cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// `PMBIDR_EL1.P`: firmware or a hypervisor owns the buffer.
    Owned,
    /// A field, named with its register, holds an unusable code.
    Code { field: &'static str, code: u64 },
    /// The unit is not like that which was examined first, for which the PMU was registered.
    Unlike {
        what: &'static str,
        first: u64,
        this: u64,
    },
}

impl Unusable {
    pub(crate) fn code(field: &'static str, code: u64) -> Self {
        Self::Code { field, code }
    }
}

/// Returns `n` of SPEv1p`n`.
pub(crate) fn version(dfr0: ID_AA64DFR0_EL1) -> Result<u64, Unusable> {
    match dfr0.get(ID_AA64DFR0_EL1::PMSVer) {
        0 => Err(Unusable::code("ID_AA64DFR0_EL1.PMSVer", 0)),
        code => Ok(code.wrapping_sub(1)),
    }
}

/// Returns the alignment of the write pointer in bytes, a power of two up to 2048. Must be called
/// before `PMSIDR_EL1` is read, which may trap if a higher exception level owns the buffer.
pub(crate) fn alignment(pmbidr: PMBIDR_EL1) -> Result<u64, Unusable> {
    if pmbidr.has(PMBIDR_EL1::P) {
        return Err(Unusable::Owned);
    }
    let code = pmbidr.get(PMBIDR_EL1::ALIGN);
    match 1_u64.wrapping_shl(code as u32) {
        align if align <= LARGEST => Ok(align),
        _ => Err(Unusable::code("PMBIDR.Align", code)),
    }
}

/// The value of a register field, a default if the field holds a `reserved` code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) value: u64,
    pub(crate) reserved: Option<u64>,
}

/// The capabilities that `PMSIDR_EL1` describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SamplingCaps {
    pub(crate) features: Features,
    /// The recommended minimal interval in operations; no limit of the hardware.
    pub(crate) min_interval: Reading,
    /// The width of the counters in a record, in bits.
    pub(crate) count_size: Reading,
    /// The largest record in bytes, a power of two from 16 to 2048.
    pub(crate) max_record: u64,
}

/// The capabilities of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caps {
    /// `n` of SPEv1p`n`.
    pub(crate) version: u64,
    /// The alignment of the write pointer in bytes.
    pub(crate) align: u64,
    pub(crate) pmsidr: PMSIDR_EL1,
    pub(crate) sampling: SamplingCaps,
    /// The bits of `PMSEVFR_EL1` that can be set.
    pub(crate) event_filter: u64,
}

impl Caps {
    /// Returns an error unless `unit` can do all that events and AUX buffers of a PMU with these
    /// capabilities rely on. What only records show (data sources, counter sizes) may differ.
    pub(crate) fn check(&self, unit: &Self) -> Result<(), Unusable> {
        let unlike = |what, first, this| Err(Unusable::Unlike { what, first, this });
        let (promised, has) = (&self.sampling, &unit.sampling);

        if promised.features.0 & !has.features.0 & Features::REQUESTED != 0 {
            return unlike("features", promised.features.0, has.features.0);
        }
        if self.event_filter & !unit.event_filter != 0 {
            return unlike("events to filter", self.event_filter, unit.event_filter);
        }
        // The limits of a buffer are computed with these.
        if unit.align > self.align {
            return unlike("alignment", self.align, unit.align);
        }
        if has.max_record > promised.max_record {
            return unlike("record size", promised.max_record, has.max_record);
        }
        Ok(())
    }
}

/// Decodes `PMSIDR_EL1` of a unit of SPEv1p`version`.
pub(crate) fn sampling(pmsidr: PMSIDR_EL1, version: u64) -> Result<SamplingCaps, Unusable> {
    let mut features = Features::NONE;
    for (feature, field) in [
        (Features::EVENT_FILTER, PMSIDR_EL1::FE),
        (Features::INVERTED_EVENT_FILTER, PMSIDR_EL1::FnE),
        (Features::TYPE_FILTER, PMSIDR_EL1::FT),
        (Features::LATENCY_FILTER, PMSIDR_EL1::FL),
        (Features::ARCH_INST, PMSIDR_EL1::ARCHINST),
        (Features::DATA_SOURCE, PMSIDR_EL1::LDS),
        (Features::ERND, PMSIDR_EL1::ERND),
        (Features::EXTENDED_TYPE_FILTER, PMSIDR_EL1::EFT),
        (Features::DATA_SOURCE_FILTER, PMSIDR_EL1::FDS),
    ] {
        features.add(feature, pmsidr.has(field));
    }
    features.add(Features::DISCARD, version >= 2);

    let code = pmsidr.get(PMSIDR_EL1::MAXSIZE);
    let max_record = match 1_u64.wrapping_shl(code as u32) {
        size @ 16..=LARGEST => size,
        _ => return Err(Unusable::code("PMSIDR_EL1.MaxSize", code)),
    };

    Ok(SamplingCaps {
        features,
        min_interval: min_interval(pmsidr.get(PMSIDR_EL1::INTERVAL)),
        count_size: count_size(pmsidr.get(PMSIDR_EL1::COUNTSIZE)),
        max_record,
    })
}

/// Decodes `PMSIDR_EL1.Interval`. A reserved code is taken for the longest interval.
fn min_interval(code: u64) -> Reading {
    let (value, reserved) = match code {
        0 => (256, None),
        2 => (512, None),
        3 => (768, None),
        4 => (1024, None),
        5 => (1536, None),
        6 => (2048, None),
        7 => (3072, None),
        8 => (4096, None),
        _ => (4096, Some(code)),
    };
    Reading { value, reserved }
}

/// Decodes `PMSIDR_EL1.CountSize`. A reserved code is taken for the narrower counter.
fn count_size(code: u64) -> Reading {
    let (value, reserved) = match code {
        2 => (12, None),
        3 => (16, None),
        _ => (12, Some(code)),
    };
    Reading { value, reserved }
}

#[cfg_attr(not(test), kernel::macros::kunit_tests(arm_spe_caps))]
mod tests {
    use super::*;

    /// Decodes a `PMSIDR_EL1` with `bits`, and records of up to 64 bytes.
    fn read(bits: u64) -> Result<SamplingCaps, Unusable> {
        sampling(PMSIDR_EL1::from_bits(6 << 12 | bits), 0)
    }

    #[test]
    fn versions() {
        // The fields on either side are those of other extensions.
        for (bits, expected) in [
            (
                0xf0_f000_0000,
                Err(Unusable::code("ID_AA64DFR0_EL1.PMSVer", 0)),
            ),
            (0xf1_f000_0000, Ok(0)),
            (0xf6_f000_0000, Ok(5)),
            (0xff_f000_0000, Ok(14)),
        ] {
            let found = version(ID_AA64DFR0_EL1::from_bits(bits));
            assert_eq!((bits, found), (bits, expected));
        }
    }

    #[test]
    fn alignments() {
        for (bits, expected) in [
            (0, Ok(1)),
            (6, Ok(64)),
            (11, Ok(2048)),
            (12, Err(Unusable::code("PMBIDR.Align", 12))),
            (15, Err(Unusable::code("PMBIDR.Align", 15))),
            (1 << 5 | 6, Ok(64)), // PMBIDR_EL1.F, which is ignored
            // The owner is checked first: the other fields are meaningless then.
            (1 << 4 | 6, Err(Unusable::Owned)),
            (1 << 4 | 12, Err(Unusable::Owned)),
        ] {
            let found = alignment(PMBIDR_EL1::from_bits(bits));
            assert_eq!((bits, found), (bits, expected));
        }
    }

    /// The value is that of the technical reference manual.
    #[test]
    fn neoverse_n1() {
        let certain = |value| Reading {
            value,
            reserved: None,
        };
        let expected = SamplingCaps {
            features: Features(0x17),
            min_interval: certain(1024),
            count_size: certain(12),
            max_record: 64,
        };
        let found = sampling(PMSIDR_EL1::from_bits(0x0002_6417), 0);
        assert_eq!(found, Ok(expected));
    }

    /// Bits of the register, and of the log.
    #[test]
    fn features() {
        for (bit, feature, logged) in [
            (1 << 0, Features::EVENT_FILTER, 1 << 0),
            (1 << 1, Features::TYPE_FILTER, 1 << 1),
            (1 << 2, Features::LATENCY_FILTER, 1 << 2),
            (1 << 3, Features::ARCH_INST, 1 << 3),
            (1 << 4, Features::DATA_SOURCE, 1 << 4),
            (1 << 5, Features::ERND, 1 << 5),
            (1 << 6, Features::INVERTED_EVENT_FILTER, 1 << 6),
            (1 << 26, Features::EXTENDED_TYPE_FILTER, 1 << 8),
            (1 << 7, Features::DATA_SOURCE_FILTER, 1 << 9),
        ] {
            let found = read(bit).map(|sampling| sampling.features);
            assert_eq!((bit, found), (bit, Ok(feature)));
            assert_eq!((bit, feature.0), (bit, logged));
        }
        assert_eq!(
            read(0).map(|sampling| sampling.features),
            Ok(Features::NONE)
        );
    }

    #[test]
    fn discard_depends_on_the_version() {
        for (version, expected) in [
            (0, Features::NONE),
            (1, Features::NONE),
            (2, Features(1 << 7)),
            (5, Features(1 << 7)),
        ] {
            let found = sampling(PMSIDR_EL1::from_bits(6 << 12), version);
            let found = found.map(|sampling| sampling.features);
            assert_eq!((version, found), (version, Ok(expected)));
        }
        assert_eq!(Features::DISCARD, Features(1 << 7));
    }

    #[test]
    fn sets_of_features() {
        let both = Features(Features::ERND.0 | Features::DISCARD.0);
        for (set, other, expected) in [
            (both, Features::ERND, true),
            (both, both, true),
            (both, Features::NONE, true),
            (both, Features::ARCH_INST, false),
            (Features::ERND, both, false),
            (Features::NONE, Features::ERND, false),
        ] {
            let found = set.contains(other);
            assert_eq!((set, other, found), (set, other, expected));
        }
    }

    #[test]
    fn records() {
        for code in 0..16 {
            let found = sampling(PMSIDR_EL1::from_bits(code << 12), 0);
            let expected = match code {
                4 => Ok(16),
                5 => Ok(32),
                6 => Ok(64),
                7 => Ok(128),
                8 => Ok(256),
                9 => Ok(512),
                10 => Ok(1024),
                11 => Ok(2048),
                _ => Err(Unusable::code("PMSIDR_EL1.MaxSize", code)),
            };
            assert_eq!(
                (code, found.map(|found| found.max_record)),
                (code, expected)
            );
        }
    }

    #[test]
    fn intervals() {
        for (code, value, known) in [
            (0, 256, true),
            (1, 4096, false),
            (2, 512, true),
            (3, 768, true),
            (4, 1024, true),
            (5, 1536, true),
            (6, 2048, true),
            (7, 3072, true),
            (8, 4096, true),
            (9, 4096, false),
            (15, 4096, false),
        ] {
            let found = read(code << 8).map(|sampling| sampling.min_interval);
            let reserved = (!known).then_some(code);
            assert_eq!((code, found), (code, Ok(Reading { value, reserved })));
        }
    }

    #[test]
    fn counters() {
        for (code, value, known) in [
            (0, 12, false),
            (1, 12, false),
            (2, 12, true),
            (3, 16, true),
            (4, 12, false),
            (15, 12, false),
        ] {
            let found = read(code << 16).map(|sampling| sampling.count_size);
            let reserved = (!known).then_some(code);
            assert_eq!((code, found), (code, Ok(Reading { value, reserved })));
        }
    }

    /// A unit is refused for what events or buffers rely on, and for nothing else.
    #[test]
    fn units_that_are_unlike() {
        let unit = |pmsidr: u64, version, align, event_filter| {
            let pmsidr = PMSIDR_EL1::from_bits(pmsidr);
            Some(Caps {
                version,
                align,
                pmsidr,
                sampling: sampling(pmsidr, version).ok()?,
                event_filter,
            })
        };
        for (pmsidr, version, align, event_filter, expected) in [
            (0x0402_64e7, 3, 64, 0xff, None),
            (0x0403_64ff, 4, 32, 0xfff, None),            // more
            (0x0402_54e7, 3, 64, 0xff, None),             // smaller records
            (0x0402_64e6, 3, 64, 0xff, Some("features")), // FE
            (0x0402_64e5, 3, 64, 0xff, Some("features")), // FT
            (0x0402_64e3, 3, 64, 0xff, Some("features")), // FL
            (0x0402_64a7, 3, 64, 0xff, Some("features")), // FnE
            (0x0402_6467, 3, 64, 0xff, Some("features")), // FDS
            (0x0002_64e7, 3, 64, 0xff, Some("features")), // EFT
            (0x0402_64e7, 1, 64, 0xff, Some("features")), // no discarding
            (0x0402_64c7, 3, 64, 0xff, None),             // ERnd
            (0x0402_64e7, 3, 64, 0x7f, Some("events to filter")),
            (0x0402_64e7, 3, 128, 0xff, Some("alignment")),
            (0x0402_74e7, 3, 64, 0xff, Some("record size")),
        ] {
            let first = unit(0x0402_64e7, 3, 64, 0xff);
            let this = unit(pmsidr, version, align, event_filter);
            let found = first.zip(this).map(|(first, this)| first.check(&this));
            let what = match found {
                Some(Err(Unusable::Unlike { what, .. })) => Some(what),
                _ => None,
            };
            assert_eq!((pmsidr, version, what), (pmsidr, version, expected));
            assert_eq!(
                (pmsidr, found == Some(Ok(()))),
                (pmsidr, expected.is_none())
            );
        }
    }
}
