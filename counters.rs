// SPDX-License-Identifier: GPL-2.0

//! What happened on a CPU, counted, so that a user in the field can see why samples are missing:
//! `/sys/kernel/debug/arm_spe_N/cpuM`, a line for each counter.

use crate::{
    irq::Units,
    state::SpePmu, //
};
use core::{
    ptr,
    sync::atomic::{
        AtomicU64,
        Ordering, //
    }, //
};
use kernel::{
    bindings::{
        debugfs_create_dir,
        debugfs_create_file_full,
        debugfs_remove,
        dentry,
        file,
        file_operations,
        inode,
        module,
        seq_file,
        seq_lseek,
        seq_printf,
        seq_read,
        single_open,
        single_release, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    str::CString,
    sync::Arc,
    types::Opaque, //
};

/// The files of a device, which go when this is dropped.
pub(crate) struct Files<T: SpePmu> {
    /// The directory; an error pointer if debugfs is off, which its functions accept.
    directory: *mut dentry,
    /// What the files tell of.
    _units: Arc<Units<T>>,
}

// SAFETY: debugfs may be used from any thread.
unsafe impl<T: SpePmu> Send for Files<T> {}

// SAFETY: There is nothing to do with a shared reference.
unsafe impl<T: SpePmu> Sync for Files<T> {}

impl<T: SpePmu> Files<T> {
    /// Makes the files of the PMU `name`, one for each CPU of `units`.
    pub(crate) fn new(units: Arc<Units<T>>, name: &CStr) -> Self {
        // SAFETY: A valid string, below the root of debugfs.
        let directory = unsafe { debugfs_create_dir(name.as_char_ptr(), ptr::null_mut()) };
        for (cpu, counters) in units.counters() {
            // Without memory for a name there is no file: nothing else suffers from that.
            if let Ok(name) = CString::try_from_fmt(fmt!("cpu{}", cpu)) {
                let counters = ptr::from_ref(counters).cast_mut().cast();
                // SAFETY: All that is passed outlives the file, but for the name, which is copied.
                unsafe {
                    debugfs_create_file_full(
                        name.as_char_ptr(),
                        0o400,
                        directory,
                        counters,
                        ptr::null(),
                        &raw const OPERATIONS.0,
                    )
                };
            }
        }
        Self {
            directory,
            _units: units,
        }
    }
}

impl<T: SpePmu> Drop for Files<T> {
    fn drop(&mut self) {
        // SAFETY: Made in `new`. This waits for those who read.
        unsafe { debugfs_remove(self.directory) };
    }
}

#[allow(improper_ctypes)]
extern "C" {
    /// This module, as the kernel knows it.
    static __this_module: Opaque<module>;
}

/// What can be done with a file. Unlike those of the kernel crate's own debugfs files, these keep
/// the module while they are open.
static OPERATIONS: Operations = Operations(file_operations {
    owner: (&raw const __this_module).cast_mut().cast(),
    open: Some(open),
    read: Some(seq_read),
    llseek: Some(seq_lseek),
    release: Some(single_release),
    ..pin_init::zeroed()
});

/// [`file_operations`] that nobody writes to.
struct Operations(file_operations);

// SAFETY: Nobody writes to them.
unsafe impl Sync for Operations {}

/// # Safety
///
/// To be called by debugfs, for a file that was made with [`Counters`].
unsafe extern "C" fn open(inode: *mut inode, file: *mut file) -> c_int {
    // SAFETY: debugfs passes both, with what the file was made with.
    unsafe { single_open(file, Some(show), (*inode).i_private) }
}

/// # Safety
///
/// To be called for a file that [`open`] has opened.
unsafe extern "C" fn show(seq: *mut seq_file, _: *mut c_void) -> c_int {
    // SAFETY: What `open` has passed: the counters, which outlive the file.
    let counters = unsafe { &*(*seq).private.cast::<Counters>() };
    // A loop, and not as many calls as there are counters.
    for (name, count) in core::hint::black_box(NAMES).iter().zip(&counters.0) {
        let count = count.load(Ordering::Relaxed);
        // SAFETY: The format takes a string and 64 bits.
        unsafe { seq_printf(seq, c"%s %llu\n".as_char_ptr(), name.as_char_ptr(), count) };
    }
    0
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
        static NAMES: &[&CStr] = &[$($(#[cfg($cfg)])? $name,)*];

        /// How many there are.
        const COUNTERS: usize = [$($(#[cfg($cfg)])? Counter::$counter,)*].len();
    };
}

counters! {
    /// Stretches of sampling into a buffer that were begun, and came or will come to an end.
    Sessions = c"sessions",
    /// Bytes that the unit wrote.
    Bytes = c"bytes",
    /// Requests for service because the buffer, as much of it as was free, was full: the usual
    /// ones.
    Full = c"full",
    /// How often perf was told that data is missing (`PERF_AUX_FLAG_TRUNCATED`), by a session or by
    /// a start that failed because there was no room.
    Truncated = c"truncated",
    /// Sessions whose last record is not complete (`PERF_AUX_FLAG_PARTIAL`, `PMBSR_EL1.DL`).
    Partial = c"partial",
    /// Sessions in which samples collided (`PERF_AUX_FLAG_COLLISION`, `PMBSR_EL1.COLL`): a longer
    /// period is asked for.
    Collision = c"collision",
    /// Faults of stage 1 of the translation on a write to the buffer.
    FaultStage1 = c"fault_stage1",
    /// Faults of stage 2, which belongs to a hypervisor.
    FaultStage2 = c"fault_stage2",
    /// External aborts: the memory refused a write.
    ExternalAbort = c"external_abort",
    /// Buffer management events that this driver does not know (`PMBSR_EL1.BSC`).
    UnknownStatus = c"unknown_status",
    /// Event classes that this driver does not know (`PMBSR_EL1.EC`).
    UnknownClass = c"unknown_class",
    /// Sessions after which `PMBPTR_EL1` was outside of their part of the buffer.
    StrayPointer = c"stray_pointer",
    /// Interrupts that the unit says it did not ask for.
    Spurious = c"spurious",
    /// Starts, also those after a full buffer, that failed because no AUX buffer was mapped.
    StartNotMapped = c"start_not_mapped",
    /// Starts that failed because the reader of the buffer had not made any room.
    StartFull = c"start_full",
    /// Starts that failed because the hardware could not use the room that there was.
    StartNoRoom = c"start_no_room",
    /// Starts that failed because the unit samples for another event.
    StartBusy = c"start_busy",
    /// Starts that failed because the unit's CPU is going offline.
    StartOffline = c"start_offline",
    /// Transitions, pauses and resumes after which `check.rs` looked.
    #[cfg(ARM_SPE_DEBUG)]
    Transitions = c"transitions",
    /// How often the event that samples was paused.
    #[cfg(ARM_SPE_DEBUG)]
    Pauses = c"pauses",
    /// How often it was resumed.
    #[cfg(ARM_SPE_DEBUG)]
    Resumes = c"resumes",
    /// Of the transitions, how many did not find things as they have to be.
    #[cfg(ARM_SPE_DEBUG)]
    Mismatches = c"mismatches",
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
