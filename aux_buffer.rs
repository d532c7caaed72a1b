// SPDX-License-Identifier: GPL-2.0

//! The AUX buffer: its mapping, and its transactions. `buffer_limit.rs` has the arithmetic.

use crate::{
    bindings,
    buffer_limit::{
        BufferLayout,
        FreeSpace,
        Limit,
        Snapshot, //
    },
    event::EventConfig,
    live_buffer::LiveEvent,
    perf::{
        ActiveEvent,
        AuxFlags,
        AuxHandle,
        AuxPage,
        AuxTransaction,
        NoBuffer,
        PmuTypes, //
    },
    perf_quirks::{
        Deferrable,
        NoSpace, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    alloc::{
        allocator::Kmalloc,
        Allocator,
        NumaNode, //
    },
    ffi::c_uint,
    page::PAGE_SIZE,
    prelude::*, //
};

pub(crate) struct EventData {
    pub(crate) config: EventConfig,
    pub(crate) no_space: NoSpace,
    pub(crate) destination: Destination,
}

/// Where the records of an event go.
pub(crate) enum Destination {
    Aux,
    // Not two more variants: a start would tell them apart in two steps.
    NoTransaction(WithoutTransaction),
}

/// Where they go if perf knows nothing of them.
pub(crate) enum WithoutTransaction {
    Discard,
    Live(LiveEvent),
}

impl Destination {
    pub(crate) fn live(&self) -> Option<&LiveEvent> {
        match self {
            Self::NoTransaction(WithoutTransaction::Live(live)) => Some(live),
            _ => None,
        }
    }
}

/// The types of an SPE PMU.
pub(crate) struct Spe;

impl PmuTypes for Spe {
    type EventData = EventData;
    type Aux = Deferrable<Buffer>;
}

/// An AUX buffer, mapped to contiguous addresses.
///
/// # Invariants
///
/// The bytes of `layout` are mapped at `base`, writable and followed by a guard page. Only the
/// unit, this driver's padding and readers in user space access them.
pub(crate) struct Buffer {
    base: NonNull<u8>,
    layout: BufferLayout,
    /// Old data is overwritten (snapshot mode).
    snapshot: bool,
}

// SAFETY: The pointer is to memory that the buffer owns.
unsafe impl Send for Buffer {}

// SAFETY: Of what a shared reference can be used for, only `zero()` writes to the memory: within a
// transaction, by a pointer. No reference to the memory is made.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Maps `pages` for a unit that writes records of up to `record` bytes at multiples of `align`.
    /// May sleep.
    ///
    /// Returns `EINVAL` for a single page: head and limit would soon share it, and a snapshot
    /// buffer is written by halves.
    pub(crate) fn map(pages: &[AuxPage], align: u64, record: u64, snapshot: bool) -> Result<Self> {
        let size = pages.len().checked_mul(PAGE_SIZE).ok_or(EINVAL)? as u64;
        let layout = BufferLayout::new(size, PAGE_SIZE as u64, align, record).ok_or(EINVAL)?;

        // SAFETY: `AuxPage` is transparent: an address of a page in the linear map.
        let base =
            unsafe { bindings::spe_helper_vmap(pages.as_ptr().cast(), pages.len() as c_uint) };
        // INVARIANT: The pages are mapped. perf leaves them to the driver until `free_aux`, and the
        // mapping has references to them, so that they are not used for anything else afterwards.
        Ok(Self {
            base: NonNull::new(base.cast()).ok_or(ENOMEM)?,
            layout,
            snapshot,
        })
    }

    fn address(&self, offset: u64) -> u64 {
        (self.base.as_ptr() as u64).wrapping_add(offset)
    }

    /// Zeroes `bytes` from `offset` on; what is outside of the buffer is left alone.
    fn zero(&self, offset: u64, bytes: u64) {
        let bytes = bytes.min(self.layout.size().saturating_sub(offset));
        // SAFETY: The range is clamped to the buffer. Transactions call this for free space that
        // the unit has not been given. Nothing reads the bytes but user space; a transaction of
        // another CPU may write to the same place (`docs/upstream.md`), which mixes the data.
        unsafe {
            self.base
                .as_ptr()
                .add(offset as usize)
                .write_bytes(0, bytes as usize)
        };
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: `map` made the mapping. No transaction is left: each holds a reference.
        unsafe { bindings::vfree(self.base.as_ptr().cast()) };
    }
}

/// Allocates a box for `value` on the NUMA node of the CPU number `cpu`, or on any node.
pub(crate) fn box_on_node<V>(value: V, cpu: Option<u32>) -> Result<KBox<V>> {
    let node = cpu.and_then(|cpu| {
        // SAFETY: perf binds events to possible CPUs only.
        NumaNode::new(unsafe { bindings::spe_helper_cpu_to_node(cpu as i32) }).ok()
    });
    let layout = core::alloc::Layout::new::<V>();
    let place = Kmalloc::alloc(layout, GFP_KERNEL, node.unwrap_or(NumaNode::NO_NODE))?.cast::<V>();
    // SAFETY: `Kmalloc` is the allocator of `KBox`, and the layout that of `V`.
    unsafe {
        place.write(value);
        Ok(KBox::from_raw(place.as_ptr()))
    }
}

/// The addresses that the unit may write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    /// The address after the last byte; a page boundary.
    pub(crate) limit: u64,
}

impl Span {
    /// Returns the bytes that are written when the unit's pointer is `pointer`; `None` if that is
    /// out of range.
    pub(crate) fn written(self, pointer: u64) -> Option<u64> {
        let bytes = pointer.checked_sub(self.start)?;
        (pointer <= self.limit).then_some(bytes)
    }
}

/// An AUX transaction of the unit.
///
/// # Invariants
///
/// `span` is within the buffer of the transaction.
#[must_use]
pub(crate) struct Transaction {
    aux: AuxTransaction<Spe>,
    span: Span,
}

/// The reason why no transaction was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BeginError {
    /// perf did not hand out a buffer.
    NoBuffer(NoBuffer),
    /// The free space is too small for the unit.
    NoSpace {
        /// Data was reported missing (`PERF_AUX_FLAG_TRUNCATED`).
        truncated: bool,
    },
}

impl Transaction {
    #[inline(always)] // a start: 231 instructions otherwise, not 202
    pub(crate) fn begin(
        handle: AuxHandle<Spe>,
        event: &ActiveEvent<Spe>,
    ) -> Result<Self, (AuxHandle<Spe>, BeginError)> {
        let no_space = &event.data().no_space;
        let mut aux = match handle.begin(event) {
            Ok(aux) => aux,
            Err((handle, why)) => return Err((handle, BeginError::NoBuffer(why))),
        };

        if aux.aux().snapshot {
            no_space.reset();
            return Ok(Self::begin_snapshot(aux));
        }
        loop {
            let free = FreeSpace {
                head: aux.head(),
                size: aux.size(),
                wakeup: aux.wakeup(),
            };
            let buffer = aux.aux();
            let head = buffer.layout.offset(free.head);
            match buffer.layout.limit(free) {
                Limit::At(limit) => {
                    no_space.reset();
                    return Ok(Self::new(aux, head, limit));
                }
                Limit::AfterPadding(bytes) => {
                    buffer.zero(head, bytes);
                    if aux.skip(bytes).is_err() {
                        break;
                    }
                }
                Limit::NoSpace => break,
            }
        }
        let truncated = no_space.report();
        if truncated {
            aux.flag(AuxFlags::TRUNCATED);
        }
        Err((aux.end(0), BeginError::NoSpace { truncated }))
    }

    fn begin_snapshot(mut aux: AuxTransaction<Spe>) -> Self {
        let buffer = aux.aux();
        let Snapshot { pad, head, limit } = buffer.layout.snapshot(aux.head());
        if pad > 0 {
            buffer.zero(buffer.layout.offset(aux.head()), pad);
        }
        aux.set_head(head);
        Self::new(aux, head, limit)
    }

    /// Creates a transaction from `start` to `limit`, offsets that the buffer's layout returned.
    fn new(aux: AuxTransaction<Spe>, start: u64, limit: u64) -> Self {
        let (start, limit) = (aux.aux().address(start), aux.aux().address(limit));
        // INVARIANT: By the requirement.
        Self {
            aux,
            span: Span { start, limit },
        }
    }

    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// Ends the transaction after `bytes` were written, with `flags` for the data.
    pub(crate) fn end(mut self, bytes: u64, flags: AuxFlags) -> AuxHandle<Spe> {
        if flags != AuxFlags::NONE {
            self.aux.flag(flags);
        }
        if self.aux.aux().snapshot {
            let head = self.aux.head().wrapping_add(bytes);
            self.aux.set_head(head);
        }
        self.aux.end(bytes)
    }
}
