// SPDX-License-Identifier: GPL-2.0

//! The AUX buffer: its mapping, and the sessions in which the unit writes to it.
//!
//! A [`Buffer`] lives as long as user space keeps the AUX area mapped. A [`Session`] is one stretch
//! of sampling into it, from `perf_aux_output_begin()` to `perf_aux_output_end()`; the pure
//! arithmetic of where it may write is in [`crate::offset`].

use crate::{
    bindings,
    offset::{
        Circle,
        Geometry,
        Next,
        Window, //
    },
    perf::{
        AuxFlags,
        AuxHandle,
        AuxPlace,
        AuxSession,
        Held,
        NoBuffer,
        Pmu, //
    }, //
};
use core::{
    ptr::{
        null_mut,
        NonNull, //
    },
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};
use kernel::{
    bindings::NUMA_NO_NODE,
    ffi::{
        c_uint,
        c_void, //
    },
    page::PAGE_SIZE,
    prelude::*,
    task::Task, //
};

/// An AUX buffer, mapped so that the unit sees one range of addresses.
///
/// # Invariants
///
/// From `base` on, as many bytes as `geometry` says are mapped and writable, and nothing but the
/// unit, this driver's padding and readers in user space access them.
#[repr(align(64))] // leaves bits for a `Mark`
pub(crate) struct Buffer {
    /// The address of the first byte.
    base: NonNull<u8>,
    /// Its sizes.
    geometry: Geometry,
    /// Nobody drains it: it is overwritten.
    circular: bool,
    /// The next one in [`RETIRED`].
    next: AtomicPtr<Buffer>,
}

/// The buffers that [`Buffer::retire`] has put aside.
///
/// # Invariants
///
/// Null, or the pointer of a box in which `next` is again one of both: a list, which has each box
/// once, and owns it.
static RETIRED: AtomicPtr<Buffer> = AtomicPtr::new(null_mut());

// SAFETY: The pointer is to memory that the buffer owns, which is accessed by one session at a
// time.
unsafe impl Send for Buffer {}

// SAFETY: As above; a shared reference lets nobody access the memory.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Maps `pages` for a unit that writes records of up to `record` bytes to multiples of `align`.
    /// `circular`: a snapshot buffer, which is overwritten.
    ///
    /// There must be two pages at the least: with a single one, head and limit would soon share it.
    /// In a circular buffer the unit writes to one half at a time, so that it needs pages in
    /// each.
    pub(crate) fn map(
        pages: &[NonNull<c_void>],
        align: u64,
        record: u64,
        circular: bool,
    ) -> Result<Self> {
        let size = pages.len().checked_mul(PAGE_SIZE).ok_or(EINVAL)? as u64;
        let geometry = Geometry::new(size, PAGE_SIZE as u64, align, record).ok_or(EINVAL)?;

        // A large buffer has more pages than one allocation of contiguous memory can list.
        let mut list = KVVec::with_capacity(pages.len(), GFP_KERNEL)?;
        for page in pages {
            list.push_within_capacity(virt_to_page(*page))?;
        }
        // SAFETY: The list has as many valid page pointers. It is not needed once the mapping is
        // made.
        //
        // Of the functions that map pages, this is the one that knows by itself which attributes
        // normal memory of the kernel has on this machine. C spells them as a macro, which
        // no binding can reach. It leaves no guard page behind the buffer: a unit that overran its
        // limit would not fault there.
        let base =
            unsafe { bindings::vm_map_ram(list.as_mut_ptr(), list.len() as c_uint, NUMA_NO_NODE) };
        // INVARIANT: these pages are mapped now, one after another; perf leaves them to the driver
        // until `free_aux`.
        Ok(Self {
            base: NonNull::new(base.cast()).ok_or(ENOMEM)?,
            geometry,
            circular,
            next: AtomicPtr::new(null_mut()),
        })
    }

    /// The address of `offset`.
    #[inline]
    fn address(&self, offset: u64) -> u64 {
        (self.base.as_ptr() as u64).wrapping_add(offset)
    }

    /// Zeroes `bytes` from `offset` on; what would be outside of the buffer is left alone.
    #[inline]
    fn clear(&self, offset: u64, bytes: u64) {
        let bytes = bytes.min(self.geometry.size().saturating_sub(offset));
        // SAFETY: The range is within the buffer, which is mapped, and belongs to the session that
        // the caller holds.
        unsafe {
            self.base
                .as_ptr()
                .add(offset as usize)
                .write_bytes(0, bytes as usize)
        };
    }

    /// Frees a buffer that perf has no reference to any more, or puts it aside.
    ///
    /// perf drops a reference when a session ends, in the interrupt handler or where tasks are
    /// switched, and that may be the last one. Unmapping may sleep, and takes locks that are not
    /// for interrupts: such a buffer waits for the next one that is made or freed elsewhere, or for
    /// the end of the module. perf frees its pages at once; nobody uses the mapping any more.
    #[inline(never)] // `tests/env/hot-path` knows it by its name
    pub(crate) fn retire(buffer: KBox<Self>) {
        let buffer = KBox::leak(buffer);
        let mut next = RETIRED.load(Ordering::Relaxed);
        loop {
            *buffer.next.get_mut() = next;
            // INVARIANT: The pointer is that of the box, which was in no list yet.
            match RETIRED.compare_exchange_weak(next, buffer, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(other) => next = other,
            }
        }
        if may_sleep() {
            Self::free_retired();
        }
    }

    /// Frees the buffers that were put aside. May sleep.
    #[inline(never)]
    pub(crate) fn free_retired() {
        let mut first = RETIRED.swap(null_mut(), Ordering::Acquire);
        while !first.is_null() {
            // SAFETY: By the invariants of the list this is the pointer of a box that the list
            // owned. Since the swap nobody else can reach what was in the list, and each box of it
            // is taken once: the next one is read before this one is dropped.
            let buffer = unsafe { KBox::from_raw(first) };
            first = buffer.next.load(Ordering::Relaxed);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let pages = self.geometry.size() as usize / PAGE_SIZE;
        // SAFETY: By the invariants so many pages are mapped at `base`. No session is left, as each
        // holds a reference in perf, which gives a buffer back when there is none any more.
        unsafe { bindings::vm_unmap_ram(self.base.as_ptr().cast(), pages as c_uint) };
    }
}

/// Whether the caller may sleep, by what the kernel counts (`!in_atomic()`).
fn may_sleep() -> bool {
    let task = Task::current_raw();
    // SAFETY: The running task is there while it runs this. Its count is written on the CPU that it
    // runs on only; an interrupt leaves it as it was.
    unsafe { (*task).thread_info.__bindgen_anon_1.preempt.count == 0 }
}

/// The `struct page` of an address in the linear map (`virt_to_page()`, an inline function in C;
/// see `arch/arm64/include/asm/memory.h`).
fn virt_to_page(address: NonNull<c_void>) -> *mut kernel::bindings::page {
    // The top byte may be a tag (KASAN); in a kernel address it is all ones.
    let address = address.as_ptr() as usize | 0xff << 56;
    let index = address.wrapping_sub(bindings::PAGE_OFFSET as usize) / PAGE_SIZE;
    let page = index.wrapping_mul(bindings::STRUCT_PAGE_SIZE);
    (bindings::VMEMMAP_START as usize).wrapping_add(page) as *mut _
}

/// Where the unit may write: addresses.
///
/// # Invariants
///
/// `limit` is not before `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The address of the first byte.
    pub(crate) start: u64,
    /// The address after the last byte; a page boundary.
    pub(crate) limit: u64,
}

impl Span {
    /// How many bytes the unit has written here if its pointer is at `pointer`; `None` if that is
    /// somewhere else.
    #[inline]
    pub(crate) fn written(self, pointer: u64) -> Option<u64> {
        // One comparison for both ends: what is before the start is a very large number here.
        let bytes = pointer.wrapping_sub(self.start);
        (bytes <= self.limit.wrapping_sub(self.start)).then_some(bytes)
    }
}

/// A stretch of sampling into a buffer.
///
/// The session is owned by whoever may let the unit write, and spent once: [`Self::end`] consumes
/// it, and nothing that was derived from the buffer is left to be named.
///
/// # Invariants
///
/// The noted span of the session ([`AuxSession::span`]) is that of addresses within the buffer.
#[must_use]
pub(crate) struct Session<'a, T: Pmu<Aux = Buffer>>(AuxSession<'a, T>);

/// Why no session was begun. In each case the session, if there was one, is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSession {
    /// perf did not give a buffer.
    NoBuffer(NoBuffer),
    /// There is room, but none that the hardware could write to.
    NoRoom {
        /// Whether perf was told that data is missing. It is told once, until the event runs again:
        /// an event that cannot start is tried again whenever its task is scheduled, and each time
        /// perf would write a record and wake the reader (see also [`AuxHandle::begin`]).
        told: bool,
    },
}

impl<'a, T: Pmu<Aux = Buffer>> Session<'a, T> {
    /// The session that was left open with [`Self::leave_open`].
    ///
    /// # Safety
    ///
    /// [`Self::leave_open`] of a value of this type was the last thing that was done with `place`.
    #[inline]
    pub(crate) unsafe fn resume(place: &'a AuxPlace) -> Self {
        // SAFETY: By the requirements of this function: that has left the other one open.
        // INVARIANT: The span was noted by the session that was left open.
        Self(unsafe { AuxSession::resume(place) })
    }

    /// Leaves the session open, for whoever resumes it.
    #[inline]
    pub(crate) fn leave_open(self) {
        self.0.leave_open();
    }

    /// Begins a session of `event`. Returns it, and whether nobody drains the buffer.
    #[inline(always)]
    pub(crate) fn begin(
        handle: AuxHandle<'a, T>,
        event: Held<T>,
    ) -> Result<(Self, bool), (AuxHandle<'a, T>, NoSession)> {
        let mut aux = match handle.begin(event) {
            Ok(aux) => aux,
            Err((handle, why)) => return Err((handle, NoSession::NoBuffer(why))),
        };

        if aux.aux().circular {
            return Ok((Self::circle(aux), true));
        }
        loop {
            let window = Self::window(&aux);
            let start = aux.aux().geometry.offset(window.head);
            match aux.aux().geometry.next(window) {
                Next::Write { limit } => return Ok((Self::over(aux, start, limit), false)),
                Next::Pad(pad) => aux = Self::pad(aux, start, pad),
                Next::NoRoom => return Err(Self::starve(aux, event)),
            }
        }
    }

    /// What perf has handed out.
    #[inline(always)]
    fn window(aux: &AuxSession<'a, T>) -> Window {
        Window {
            head: aux.head(),
            space: aux.space(),
            wakeup: aux.wakeup(),
        }
    }

    /// The session that writes from one offset to the other. Both have to be in the buffer, where
    /// they come from its geometry.
    #[inline]
    fn over(mut aux: AuxSession<'a, T>, start: u64, limit: u64) -> Self {
        let (start, limit) = (aux.aux().address(start), aux.aux().address(limit));
        aux.set_span(start, limit);
        // INVARIANT: The callers pass what the geometry of this buffer says.
        Self(aux)
    }

    /// The session in a buffer that is overwritten.
    #[inline(never)]
    fn circle(mut aux: AuxSession<'a, T>) -> Self {
        let Circle { pad, head, limit } = aux.aux().geometry.circle(aux.head());
        if pad > 0 {
            let from = aux.aux().geometry.offset(aux.head());
            aux.aux().clear(from, pad);
        }
        aux.set_head(head);
        Self::over(aux, head, limit)
    }

    /// Gives `bytes` that cannot be written to back to perf, from the offset `head` on.
    #[cold]
    #[inline(never)]
    fn pad(mut aux: AuxSession<'a, T>, head: u64, bytes: u64) -> AuxSession<'a, T> {
        aux.aux().clear(head, bytes);
        aux.skip(bytes);
        aux
    }

    /// Ends what cannot be a session for want of room.
    #[cold]
    #[inline(never)]
    fn starve(mut aux: AuxSession<'a, T>, event: Held<T>) -> (AuxHandle<'a, T>, NoSession) {
        let told = event.starve();
        if told {
            aux.flag(AuxFlags::TRUNCATED);
        }
        (aux.end(0), NoSession::NoRoom { told })
    }

    /// Where the unit may write.
    #[inline]
    pub(crate) fn span(&self) -> Span {
        let (start, limit) = self.0.span();
        // INVARIANT: Noted by `over`, from a geometry as above.
        Span { start, limit }
    }

    /// Marks the data.
    #[inline]
    pub(crate) fn flag(&mut self, flags: AuxFlags) {
        self.0.flag(flags);
    }

    /// Ends the session after the unit has written so many bytes.
    pub(crate) fn end(mut self, bytes: u64) -> AuxHandle<'a, T> {
        if self.0.aux().circular {
            let head = self.0.head().wrapping_add(bytes);
            self.0.set_head(head);
        }
        self.end_drained(bytes)
    }

    /// The same, in a buffer that is not overwritten: perf knows its head.
    #[inline]
    pub(crate) fn end_drained(self, bytes: u64) -> AuxHandle<'a, T> {
        self.0.end(bytes)
    }
}
