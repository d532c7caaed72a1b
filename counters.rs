// SPDX-License-Identifier: GPL-2.0

//! What happened on a CPU, counted, so that a user in the field can see why samples are missing:
//! `/sys/kernel/debug/arm_spe_N/cpuM`, a line for each counter.

use crate::{
    irq::Units,
    state::SpePmu, //
};
use core::{
    convert::Infallible,
    sync::atomic::{
        AtomicU64,
        Ordering, //
    },
};
use kernel::{
    debugfs::{
        Scope,
        Writer, //
    },
    fmt,
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// The files of a device, which go when this is dropped.
pub(crate) type Files<T> = Scope<Arc<Units<T>>>;

/// Makes the files of the PMU `name`, one for each CPU of `units`.
pub(crate) fn files<'a, T: SpePmu>(
    units: Arc<Units<T>>,
    name: &'a CStr,
) -> impl PinInit<Files<T>, Infallible> + 'a {
    Scope::dir(units, name, |units, dir| {
        for (cpu, counters) in units.counters() {
            // Without memory for a name there is no file: nothing else suffers from that.
            if let Ok(name) = CString::try_from_fmt(fmt!("cpu{}", cpu)) {
                dir.read_only_file(&name, counters);
            }
        }
    })
}

/// Declares the counters, in the order in which they are shown.
macro_rules! counters {
    ($($(#[doc = $doc:literal])* $(#[cfg($cfg:meta)])? $counter:ident = $name:literal,)*) => {
        /// Something that is counted.
        #[derive(Clone, Copy)]
        pub(crate) enum Counter {
            $($(#[doc = $doc])* $(#[cfg($cfg)])? $counter,)*
        }

        /// What they are called in the files.
        static NAMES: &[&str] = &[$($(#[cfg($cfg)])? $name,)*];

        /// How many there are.
        const COUNTERS: usize = [$($(#[cfg($cfg)])? Counter::$counter,)*].len();
    };
}

counters! {
    /// Stretches of sampling into a buffer that were begun, and came or will come to an end.
    Sessions = "sessions",
    /// Bytes that the unit wrote.
    Bytes = "bytes",
    /// Requests for service because the buffer, as much of it as was free, was full: the usual ones.
    Full = "full",
    /// How often perf was told that data is missing (`PERF_AUX_FLAG_TRUNCATED`), by a session or by
    /// a start that failed because there was no room.
    Truncated = "truncated",
    /// Sessions whose last record is not complete (`PERF_AUX_FLAG_PARTIAL`, `PMBSR_EL1.DL`).
    Partial = "partial",
    /// Sessions in which samples collided (`PERF_AUX_FLAG_COLLISION`, `PMBSR_EL1.COLL`): a longer
    /// period is asked for.
    Collision = "collision",
    /// Faults of stage 1 of the translation on a write to the buffer.
    FaultStage1 = "fault_stage1",
    /// Faults of stage 2, which belongs to a hypervisor.
    FaultStage2 = "fault_stage2",
    /// External aborts: the memory refused a write.
    ExternalAbort = "external_abort",
    /// Buffer management events that this driver does not know (`PMBSR_EL1.BSC`).
    UnknownStatus = "unknown_status",
    /// Event classes that this driver does not know (`PMBSR_EL1.EC`).
    UnknownClass = "unknown_class",
    /// Sessions after which `PMBPTR_EL1` was outside of their part of the buffer.
    StrayPointer = "stray_pointer",
    /// Interrupts that the unit says it did not ask for.
    Spurious = "spurious",
    /// Starts, also those after a full buffer, that failed because no AUX buffer was mapped.
    StartNotMapped = "start_not_mapped",
    /// Starts that failed because the reader of the buffer had not made any room.
    StartFull = "start_full",
    /// Starts that failed because the hardware could not use the room that there was.
    StartNoRoom = "start_no_room",
    /// Starts that failed because the unit samples for another event.
    StartBusy = "start_busy",
    /// Starts that failed because the unit's CPU is going offline.
    StartOffline = "start_offline",
    /// Returns of callbacks and interrupt handlers after which `check.rs` looked.
    #[cfg(ARM_SPE_DEBUG)]
    Transitions = "transitions",
    /// How often the event that samples was paused.
    #[cfg(ARM_SPE_DEBUG)]
    Pauses = "pauses",
    /// How often it was resumed.
    #[cfg(ARM_SPE_DEBUG)]
    Resumes = "resumes",
    /// Of the transitions, how many did not find things as they have to be.
    #[cfg(ARM_SPE_DEBUG)]
    Mismatches = "mismatches",
}

/// The counters of one CPU, since the module was loaded.
///
/// Only that CPU counts, and only while it has the state of its unit in hands, so that nothing
/// comes in between; other CPUs may look at any time.
pub(crate) struct Counters([AtomicU64; COUNTERS]);

impl Counters {
    /// Counts `n` more.
    #[inline]
    pub(crate) fn add(&self, counter: Counter, n: u64) {
        if let Some(count) = self.0.get(counter as usize) {
            count.store(
                count.load(Ordering::Relaxed).wrapping_add(n),
                Ordering::Relaxed,
            );
        }
    }

    /// How many it were so far.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.0
            .get(counter as usize)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Counts one more.
    #[inline]
    pub(crate) fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }
}

impl Writer for Counters {
    fn write(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in NAMES.iter().zip(&self.0) {
            writeln!(to, "{} {}", name, count.load(Ordering::Relaxed))?;
        }
        Ok(())
    }
}
