// SPDX-License-Identifier: GPL-2.0

//! What happened on a CPU, counted, so that a user in the field can see why samples are missing:
//! `/sys/kernel/debug/arm_spe_N/cpuM`, a line for each counter.

use crate::{
    irq::Units,
    percpu::possible_cpus,
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
        for cpu in possible_cpus() {
            // Without memory for a name there is no file: nothing else suffers from that.
            if let (Some(counters), Ok(name)) = (
                units.counters(cpu),
                CString::try_from_fmt(fmt!("cpu{}", cpu)),
            ) {
                dir.read_only_file(&name, counters);
            }
        }
    })
}

/// A count of things that happened on one CPU.
///
/// Only that CPU counts, and only while it has the state of its unit in hands, so that nothing comes
/// in between; other CPUs may look at any time.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Counts `n` more.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// How many it were so far.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares the counters, in the order in which they are shown.
macro_rules! counters {
    ($($(#[doc = $doc:literal])* $(#[cfg($cfg:meta)])? $name:ident,)*) => {
        /// The counters of one CPU, since the module was loaded.
        #[derive(Default)]
        pub(crate) struct Counters {
            $($(#[doc = $doc])* $(#[cfg($cfg)])? pub(crate) $name: Count,)*
        }

        impl Writer for Counters {
            fn write(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                let counters = [$($(#[cfg($cfg)])? (stringify!($name), &self.$name),)*];
                for (name, count) in counters {
                    writeln!(to, "{} {}", name, count.get())?;
                }
                Ok(())
            }
        }
    };
}

counters! {
    /// Stretches of sampling into a buffer that were begun, and came or will come to an end.
    sessions,
    /// Bytes that the unit wrote.
    bytes,
    /// Interrupts because the buffer, as much of it as was free, was full: the usual ones.
    full,
    /// Sessions that perf was told have data missing (`PERF_AUX_FLAG_TRUNCATED`).
    truncated,
    /// Sessions whose last record is not complete (`PERF_AUX_FLAG_PARTIAL`, `PMBSR_EL1.DL`).
    partial,
    /// Sessions in which samples collided (`PERF_AUX_FLAG_COLLISION`, `PMBSR_EL1.COLL`): a longer
    /// period is asked for.
    collision,
    /// Faults of stage 1 of the translation on a write to the buffer.
    fault_stage1,
    /// Faults of stage 2, which belongs to a hypervisor.
    fault_stage2,
    /// External aborts: the memory refused a write.
    external_abort,
    /// Buffer management events that this driver does not know (`PMBSR_EL1.BSC`).
    unknown_status,
    /// Event classes that this driver does not know (`PMBSR_EL1.EC`).
    unknown_class,
    /// Sessions after which `PMBPTR_EL1` was outside of their part of the buffer.
    stray_pointer,
    /// Interrupts that the unit says it did not ask for.
    spurious,
    /// Starts, also those after a full buffer, that failed because no AUX buffer was mapped.
    start_not_mapped,
    /// Starts that failed because the reader of the buffer had not made any room.
    start_full,
    /// Starts that failed because the hardware could not use the room that there was.
    start_no_room,
    /// Starts that failed because the unit samples for another event.
    start_busy,
    /// Starts that failed because the unit's CPU is going offline.
    start_offline,
    /// Returns of callbacks and interrupt handlers after which [`crate::check`] looked.
    #[cfg(ARM_SPE_DEBUG)]
    transitions,
    /// Of these, how many did not find things as they have to be.
    #[cfg(ARM_SPE_DEBUG)]
    mismatches,
}
