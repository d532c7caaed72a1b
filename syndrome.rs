// SPDX-License-Identifier: GPL-2.0

//! Why the unit stopped: `PMBSR_EL1`, decoded.
//!
//! Pure. Only one reason is expected; everything else, known or not, ends the event.

use crate::sysreg::{
    Register,
    PMBSR_EL1, //
};

/// A request for service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Syndrome {
    /// What happened.
    pub(crate) reason: Reason,
    /// The last record is not complete, and others may be lost.
    pub(crate) data_lost: bool,
    /// Samples were dropped because an earlier one was in flight: a longer period is asked for.
    pub(crate) collision: bool,
}

/// The reason of a request for service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No room for another record.
    Full,
    /// Stage 1 of the translation does not let the unit write to the buffer.
    FaultStage1,
    /// Stage 2 of the translation, which is a hypervisor's, does not.
    FaultStage2,
    /// The memory refused a write.
    ExternalAbort,
    /// A buffer management event other than a full buffer.
    UnknownStatus,
    /// An event class that this driver does not know.
    UnknownClass,
}

impl Reason {
    /// What the log says of it.
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

/// `EC`: buffer management.
const EC_BUF: u64 = 0x00;
/// `EC`: stage 1 fault on a write to the buffer.
const EC_FAULT_S1: u64 = 0x24;
/// `EC`: stage 2 fault on a write to the buffer.
const EC_FAULT_S2: u64 = 0x25;
/// `BSC`: buffer full.
const BSC_FULL: u64 = 0x01;

/// What `pmbsr` asks for; `None` if it asks for nothing, and the interrupt was not the unit's.
pub(crate) fn decode(pmbsr: PMBSR_EL1) -> Option<Syndrome> {
    if !pmbsr.has(PMBSR_EL1::S) {
        return None;
    }
    let reason = match (pmbsr.get(PMBSR_EL1::EC), pmbsr.get(PMBSR_EL1::BSC)) {
        // An external abort is not a full buffer, whatever else is said of it.
        (EC_FAULT_S1 | EC_FAULT_S2, _) | (EC_BUF, BSC_FULL) if pmbsr.has(PMBSR_EL1::EA) => {
            Reason::ExternalAbort
        }
        (EC_BUF, BSC_FULL) => Reason::Full,
        (EC_FAULT_S1, _) => Reason::FaultStage1,
        (EC_FAULT_S2, _) => Reason::FaultStage2,
        (EC_BUF, _) => Reason::UnknownStatus,
        _ => Reason::UnknownClass,
    };
    Some(Syndrome {
        reason,
        data_lost: pmbsr.has(PMBSR_EL1::DL),
        collision: pmbsr.has(PMBSR_EL1::COLL),
    })
}
