// SPDX-License-Identifier: GPL-2.0

//! `PMBSR_EL1`, decoded. A full buffer is expected; everything else, known or not, ends the event.

use crate::sysreg::{
    Register,
    PMBSR_EL1, //
};

/// The reason of a request for service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Full,
    /// A translation fault on a write to the buffer.
    FaultStage1,
    FaultStage2,
    ExternalAbort,
    /// A buffer management event other than a full buffer.
    UnknownStatus,
    /// An event class (`EC`) that the driver does not know.
    UnknownClass,
}

impl Reason {
    /// Returns the text of the C driver's message.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Full => "Buffer full",
            Self::FaultStage1 | Self::FaultStage2 | Self::ExternalAbort => {
                "Unexpected buffer fault"
            }
            Self::UnknownStatus => "Unknown buffer status code",
            Self::UnknownClass => "Unknown error code",
        }
    }
}

/// Buffer management.
const EC_BUF: u64 = 0x00;
const EC_FAULT_S1: u64 = 0x24;
const EC_FAULT_S2: u64 = 0x25;
pub(crate) const BSC_FULL: u64 = 0x01;

/// Returns the reason of the request for service in `pmbsr`; `None` if there is none.
pub(crate) fn decode(pmbsr: PMBSR_EL1) -> Option<Reason> {
    if !pmbsr.has(PMBSR_EL1::S) {
        return None;
    }
    Some(
        match (pmbsr.get(PMBSR_EL1::EC), pmbsr.get(PMBSR_EL1::BSC)) {
            (EC_BUF | EC_FAULT_S1 | EC_FAULT_S2, _) if pmbsr.has(PMBSR_EL1::EA) => {
                Reason::ExternalAbort
            }
            (EC_BUF, BSC_FULL) => Reason::Full,
            (EC_FAULT_S1, _) => Reason::FaultStage1,
            (EC_FAULT_S2, _) => Reason::FaultStage2,
            (EC_BUF, _) => Reason::UnknownStatus,
            _ => Reason::UnknownClass,
        },
    )
}

#[cfg_attr(not(test), kernel::macros::kunit_tests(arm_spe_syndrome))]
mod tests {
    use super::*;

    /// Decodes `S` and `bits`.
    fn requested(bits: u64) -> Option<Reason> {
        decode(PMBSR_EL1::from_bits(1 << 17 | bits))
    }

    #[test]
    fn no_request() {
        for bits in [0, 1, 0x24 << 26, !(1 << 17)] {
            let found = decode(PMBSR_EL1::from_bits(bits));
            assert_eq!((bits, found), (bits, None));
        }
    }

    /// `EC` is at bit 26, `EA` is bit 18, `BSC` is at bit 0.
    #[test]
    fn reasons() {
        for (bits, expected) in [
            (0x01, Reason::Full),
            (0x00, Reason::UnknownStatus),
            (0x02, Reason::UnknownStatus),
            (0x21, Reason::UnknownStatus),
            (0x24 << 26, Reason::FaultStage1),
            (0x24 << 26 | 0x01, Reason::FaultStage1), // a fault status, and not a full buffer
            (0x25 << 26 | 0x21, Reason::FaultStage2),
            (0x1e << 26 | 0x01, Reason::UnknownClass), // granule protection
            (0x1f << 26 | 0x01, Reason::UnknownClass),
            (0x23 << 26 | 0x01, Reason::UnknownClass),
            (0x26 << 26 | 0x01, Reason::UnknownClass),
            (0x3f << 26 | 0x01, Reason::UnknownClass),
            // With an external abort.
            (1 << 18 | 0x01, Reason::ExternalAbort),
            (1 << 18, Reason::ExternalAbort),
            (0x24 << 26 | 1 << 18 | 0x10, Reason::ExternalAbort),
            (0x25 << 26 | 1 << 18 | 0x10, Reason::ExternalAbort),
            (0x1e << 26 | 1 << 18, Reason::UnknownClass),
        ] {
            let found = requested(bits);
            assert_eq!((bits, found), (bits, Some(expected)));
        }
    }

    /// The texts of the C driver.
    #[test]
    fn texts() {
        for (reason, text) in [
            (Reason::Full, "Buffer full"),
            (Reason::FaultStage1, "Unexpected buffer fault"),
            (Reason::FaultStage2, "Unexpected buffer fault"),
            (Reason::ExternalAbort, "Unexpected buffer fault"),
            (Reason::UnknownStatus, "Unknown buffer status code"),
            (Reason::UnknownClass, "Unknown error code"),
        ] {
            assert_eq!((reason, reason.text()), (reason, text));
        }
    }
}
