// SPDX-License-Identifier: GPL-2.0

//! The buffers that the units write to for live events, and what is done with the records in them.
//! `live.rs` says when.

use crate::{
    bindings,
    counters::{
        Counter,
        Counters, //
    },
    event::Live,
    helpers::jiffies,
    percpu::contains,
    record::{
        self,
        Malformed,
        Record,
        Records, //
    },
    sysreg::{
        Register,
        PMSIRR_EL1, //
    }, //
};
use core::mem::offset_of;
use kernel::{
    bindings::CONFIG_HZ,
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    cpumask::Cpumask,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};

/// The size of a CPU's buffer in bytes. All of it may be decoded with interrupts disabled.
pub(crate) const SIZE: u64 = if PAGE_SIZE > 0x4000 {
    PAGE_SIZE as u64
} else {
    0x4000
};

/// The interrupts of a CPU per second beyond which the size of a batch is ignored: an interrupt for
/// each record could leave no time for anything else.
const MAX_INTERRUPTS: u64 = 50_000;

/// The operations between two interrupts when the kernel is sampled, at least, if a buffer has
/// space for their records. With fewer, the unit could fill a batch before the interrupt has
/// returned, and no other code would run on the CPU.
const MIN_OPERATIONS: u64 = 8192;

/// The buffers of all CPUs, by their number; `None` for CPUs that are not the device's.
///
/// # Invariants
///
/// The buffers are aligned to pages. There is a reference to the bytes of one only while the unit
/// of its CPU does not write.
pub(crate) struct Buffers(KVec<Option<VBox<[u8; SIZE as usize]>>>);

impl Buffers {
    /// Allocates a buffer for each of `cpus`. May sleep.
    pub(crate) fn new(cpus: &Cpumask) -> Result<Self> {
        let all = nr_cpu_ids();
        // Not `push()` and `from_elem()`, which could panic.
        let mut buffers = KVec::with_capacity(all as usize, GFP_KERNEL)?;
        for cpu in 0..all {
            let buffer = match contains(cpus, cpu) {
                true => Some(VBox::init(pin_init::init_zeroed(), GFP_KERNEL)?),
                false => None,
            };
            buffers.push_within_capacity(buffer).map_err(|_| ENOMEM)?;
        }
        // INVARIANT: `vmalloc()` returns whole pages.
        Ok(Self(buffers))
    }
}

/// The live events of a device.
pub(crate) struct LiveUsers {
    /// Their number.
    pub(crate) count: usize,
    /// While there are any.
    pub(crate) buffers: Option<Arc<Buffers>>,
}

impl LiveUsers {
    pub(crate) fn new() -> Result<Pin<KBox<Mutex<Self>>>> {
        let none = Self {
            count: 0,
            buffers: None,
        };
        KBox::pin_init(new_mutex!(none), GFP_KERNEL)
    }
}

/// The records of a live event until the unit interrupts.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    bytes: u64,
    /// The bytes that a record takes at most.
    record: u64,
    /// The operations until the interrupt, at least.
    operations: u64,
}

impl Batch {
    /// Returns `EINVAL` if a batch, of records that take up to `record` bytes, is larger than a
    /// buffer. `kernel` says whether the kernel is sampled.
    pub(crate) fn new(request: Live, record: u64, kernel: bool) -> Result<Self> {
        let bytes = match request.batch.saturating_mul(record) {
            0 => SIZE,
            bytes if bytes <= SIZE => bytes,
            _ => return Err(EINVAL),
        };
        Ok(Self {
            bytes,
            record,
            operations: if kernel { MIN_OPERATIONS } else { 0 },
        })
    }

    /// Returns the bytes that the unit may write, with a `period` in operations.
    fn bytes(self, period: u64) -> u64 {
        // Not `div_ceil()`, which could panic.
        let period = period.max(1);
        let records = self.operations.saturating_add(period.wrapping_sub(1)) / period;
        let least = records.saturating_mul(self.record);
        self.bytes.max(least).min(SIZE)
    }
}

/// What a live event needs to run.
pub(crate) struct LiveEvent {
    buffers: Arc<Buffers>,
    batch: Batch,
    /// The alignment of records.
    align: usize,
}

impl LiveEvent {
    pub(crate) fn new(buffers: Arc<Buffers>, batch: Batch, align: u64) -> Self {
        Self {
            buffers,
            batch,
            align: align as usize,
        }
    }

    /// Returns where the unit of this CPU is to write next: at the end of its buffer, so that it
    /// interrupts after a batch. The `period` is in operations.
    #[inline(never)] // other events: a start of 223 instructions otherwise, not 202
    pub(crate) fn buffer(
        &self,
        period: u64,
        rate: &Rate,
        counters: &Counters,
    ) -> Option<LiveBuffer> {
        let mut batch = self.batch.bytes(period);
        if batch < SIZE && rate.is_too_high() {
            counters.count(Counter::LiveLimited);
            batch = SIZE;
        }
        let buffer = self
            .buffers
            .0
            .get(CpuId::current().as_u32() as usize)?
            .as_ref()?;
        let start = buffer.len().checked_sub(batch as usize)?;
        // INVARIANT: By those of `Buffers`, and the batch is at most that size.
        let last = buffer.get(start..)?.as_ptr_range();
        Some(LiveBuffer {
            start: last.start as u64,
            limit: last.end as u64,
        })
    }

    /// Emits the records in `bytes`, and counts them. Returns their number.
    pub(crate) fn emit(&self, bytes: &[u8], id: u64, counters: &Counters) -> u64 {
        // SAFETY: Has no requirements.
        let (records, malformed) = if unsafe { bindings::spe_live_is_traced() } {
            trace(bytes, self.align, id)
        } else {
            record::count(bytes, self.align)
        };
        counters.add(Counter::Bytes, bytes.len() as u64);
        counters.add(Counter::LiveRecords, records as u64);
        counters.add(Counter::LiveMalformed, malformed as u64);
        records as u64
    }
}

/// Emits the records in `bytes`. Returns what [`record::count`] does.
fn trace(bytes: &[u8], align: usize, id: u64) -> (usize, usize) {
    // That of the event is another one already when `PERF_EVENT_IOC_PERIOD` stops it.
    let period = PMSIRR_EL1::read().with(PMSIRR_EL1::RND, 0).bits();
    let (mut records, mut malformed) = (0_usize, 0_usize);
    for found in Records::new(bytes, align) {
        match found {
            Ok(record) => {
                // SAFETY: The struct of C is the same (`same_layout`), and lives during the call.
                unsafe { bindings::spe_live_trace(id, period, (&raw const record).cast()) };
                records = records.wrapping_add(1);
            }
            Err(Malformed) => malformed = malformed.wrapping_add(1),
        }
    }
    (records, malformed)
}

/// Checks that the struct of `arm_spe_record.h` is [`Record`].
macro_rules! same_layout {
    ($($field:ident)*) => {
        const _: () = {
            assert!(size_of::<Record>() == size_of::<bindings::arm_spe_record>());
            $(assert!(
                offset_of!(Record, $field) == offset_of!(bindings::arm_spe_record, $field)
            );)*
        };
    };
}

same_layout! {
    pc branch_target previous_target data_va data_pa timestamp events data_source
    present size context_el1 context_el2
    total_latency issue_latency translation_latency other_counter other_index
    class subclass el security target_el va_tag pa_flags
}

/// The part of a CPU's buffer that its unit may write.
///
/// # Invariants
///
/// The bytes from `start` to `limit` are the last ones of the buffer, which stays as long as the
/// event that it was taken for.
pub(crate) struct LiveBuffer {
    start: u64,
    limit: u64,
}

impl LiveBuffer {
    /// Returns the first address, and the one after the last.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        (self.start, self.limit)
    }

    /// Returns the first `bytes`, or all if there are less.
    ///
    /// # Safety
    ///
    /// The event must be active, and the unit not write to the buffer, as long as the result is
    /// used.
    pub(crate) unsafe fn written(&self, bytes: u64) -> &[u8] {
        let bytes = bytes.min(self.limit.wrapping_sub(self.start));
        // SAFETY: By the invariants and the safety requirement. The bytes were zeroed when the
        // buffer was allocated; the units alone write to them.
        unsafe { core::slice::from_raw_parts(self.start as *const u8, bytes as usize) }
    }
}

/// The interrupts of a CPU in the current tick of the clock.
pub(crate) struct Rate {
    tick: Atomic<u64>,
    interrupts: Atomic<u64>,
}

impl Rate {
    pub(crate) fn new() -> Self {
        Self {
            tick: Atomic::new(0),
            interrupts: Atomic::new(0),
        }
    }

    /// Counts an interrupt.
    pub(crate) fn count(&self) {
        let now = jiffies();
        if self.tick.load(Relaxed) != now {
            self.tick.store(now, Relaxed);
            self.interrupts.store(0, Relaxed);
        }
        let interrupts = self.interrupts.load(Relaxed).wrapping_add(1);
        self.interrupts.store(interrupts, Relaxed);
    }

    /// Returns whether there are too many in this tick.
    fn is_too_high(&self) -> bool {
        self.tick.load(Relaxed) == jiffies()
            && self.interrupts.load(Relaxed) >= MAX_INTERRUPTS / u64::from(CONFIG_HZ)
    }
}
