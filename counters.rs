// SPDX-License-Identifier: GPL-2.0

//! Counters of what happened on a CPU; `debugfs.rs` shows them.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// Declares the counters, in the order in which they are shown.
macro_rules! counters {
    ($($(#[doc = $doc:literal])* $(#[cfg($cfg:meta)])? $counter:ident = $name:literal,)*) => {
        #[derive(Clone, Copy)]
        pub(crate) enum Counter {
            $($(#[doc = $doc])* $(#[cfg($cfg)])? $counter,)*
        }

        static NAMES: &[&CStr] = &[$($(#[cfg($cfg)])? $name,)*];

        const COUNTERS: usize = [$($(#[cfg($cfg)])? Counter::$counter,)*].len();
    };
}

counters! {
    Transactions = c"aux_transactions",
    Bytes = c"bytes",
    /// Buffer full events (`PMBSR_EL1.BSC`).
    Full = c"full",
    /// Transactions and failed starts that were flagged `PERF_AUX_FLAG_TRUNCATED`.
    Truncated = c"truncated",
    /// Transactions with an incomplete last record (`PERF_AUX_FLAG_PARTIAL`, `PMBSR_EL1.DL`).
    Partial = c"partial",
    /// Transactions with `PERF_AUX_FLAG_COLLISION` (`PMBSR_EL1.COLL`): the period is too short.
    Collision = c"collision",
    // Translation faults and external aborts on writes to the buffer.
    FaultStage1 = c"fault_stage1",
    FaultStage2 = c"fault_stage2",
    ExternalAbort = c"external_abort",
    // Buffer management events with an unknown `PMBSR_EL1.BSC`, and events with an unknown `EC`.
    UnknownStatus = c"unknown_status",
    UnknownClass = c"unknown_class",
    /// Transactions at whose end `PMBPTR_EL1` was outside of them.
    StrayPointer = c"stray_pointer",
    /// Interrupts without `PMBSR_EL1.S`.
    Spurious = c"spurious",
    /// Starts and restarts that failed because perf handed out no AUX buffer of this PMU.
    StartNotMapped = c"start_not_mapped",
    /// Starts and restarts that failed because the reader had not freed any space.
    StartFull = c"start_full",
    /// Starts and restarts that failed because the free space was too small for the unit.
    StartNoSpace = c"start_no_space",
    /// Starts that failed because the unit samples for another event.
    StartBusy = c"start_busy",
    /// Starts that failed because the unit's CPU was coming online or going offline, or because its
    /// unit is not used.
    StartOffline = c"start_offline",
    /// Times that the CPU went to sleep, and might have lost its power, while the unit sampled.
    Sleeps = c"sleeps",
    /// Records of live events.
    LiveRecords = c"live_records",
    /// Records of live events that could not be decoded.
    LiveMalformed = c"live_malformed",
    /// Buffers of live events that were given their full size, whatever `batch` is, because there
    /// were too many interrupts in this tick.
    LiveLimited = c"live_limited",
    /// Transitions that `state_check.rs` checked.
    #[cfg(ARM_SPE_DEBUG)]
    Transitions = c"transitions",
    // Pauses and resumptions of the event that was being sampled.
    #[cfg(ARM_SPE_DEBUG)]
    Pauses = c"pauses",
    #[cfg(ARM_SPE_DEBUG)]
    Resumes = c"resumes",
    /// Transitions after which an invariant did not hold.
    #[cfg(ARM_SPE_DEBUG)]
    Mismatches = c"mismatches",
}

/// The counters of one CPU since the module was loaded.
pub(crate) struct Counters([Atomic<i64>; COUNTERS]);

impl Counters {
    pub(crate) fn new() -> Self {
        Self([const { Atomic::new(0) }; COUNTERS])
    }

    pub(crate) fn add(&self, counter: Counter, n: u64) {
        if let Some(count) = self.0.get(counter as usize) {
            count.add(n as i64, Relaxed);
        }
    }

    pub(crate) fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.0
            .get(counter as usize)
            .map_or(0, |count| count.load(Relaxed) as u64)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static CStr, u64)> + '_ {
        let counts = self.0.iter().map(|count| count.load(Relaxed) as u64);
        NAMES.iter().copied().zip(counts)
    }
}
