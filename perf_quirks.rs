// SPDX-License-Identifier: GPL-2.0

//! Work-arounds for faults of perf's core. `docs/upstream.md` describes the faults.
//!
//! | item | fault of the core | test | can go when |
//! | --- | --- | --- | --- |
//! | [`OwnerTag`] | `PERF_EVENT_IOC_SET_OUTPUT` by way of a software event hands one PMU the AUX buffer of another | KUnit `another_pmus_buffer`; `security` | `perf_aux_output_begin()` compares the PMUs |
//! | [`Deferred`] | `free_aux()` is called in interrupts, and with them disabled, where a mapping cannot be removed | `debug_kernel`: a buffer that is taken | perf calls `free_aux()` in a task only |
//! | [`NoSpace`] | an event without space in its buffer is tried at each context switch, with a record and a wakeup each time | KUnit `reports_no_space_once`; `realtime` | perf leaves the event off until `aux_tail` moves |
//! | [`pin_module`] | an AUX buffer can outlive the events of the PMU that made it (that no code of the module runs after the reference is given back is not guaranteed by the language: `scripts/hot-path` checks it, by `make` in a checkout, not by DKMS) | `reload`, `hot_path` | the ring buffer holds a reference to the PMU's module |

use crate::{
    helpers::{
        free_later,
        jiffies,
        preemptible,
        THIS_MODULE, //
    }, //
};
use core::ptr::{
    null_mut,
    NonNull, //
};
use kernel::{
    bindings::__module_get,
    ffi::c_void,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    }, //
};

/// Marks the AUX buffers of one PMU, in the low bits of the pointer. perf hands the pointer to any
/// event whose output goes to the buffer, which may be an event of another PMU.
///
/// # Invariants
///
/// The tag is odd and less than [`OwnerTag::ALIGN`]. Subtracting it from the pointer of a C driver,
/// which is even, or from one with another tag never gives an aligned address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnerTag(usize);

impl OwnerTag {
    /// The least alignment of what is tagged.
    pub(crate) const ALIGN: usize = 64;

    /// Returns the tag number `index`, which must be less than 32.
    pub(crate) fn new(index: u32) -> Self {
        // INVARIANT: Odd, and 63 at most.
        Self(2 * (index as usize % 32) + 1)
    }

    pub(crate) fn tag<T>(self, pointer: NonNull<T>) -> *mut c_void {
        const { assert!(align_of::<T>() >= Self::ALIGN) };
        pointer.as_ptr().wrapping_byte_add(self.0).cast()
    }

    /// Returns the pointer behind `tagged` if the tag is this one.
    pub(crate) fn untag<T>(self, tagged: *mut c_void) -> Option<NonNull<T>> {
        let pointer = tagged.wrapping_byte_sub(self.0).cast::<T>();
        NonNull::new(pointer).filter(|pointer| pointer.is_aligned())
    }

    /// Returns the pointer behind `tagged`, whatever its tag is.
    pub(crate) fn strip<T>(tagged: *mut c_void) -> *mut T {
        tagged.map_addr(|tagged| tagged & !(Self::ALIGN - 1)).cast()
    }
}

/// A value that can be put into a list of [`Deferred`] values without an allocation.
#[repr(align(64))] // leaves bits for an `OwnerTag`
pub(crate) struct Deferrable<T> {
    value: T,
    next: *mut Self,
}

// SAFETY: `next` is null, or written and read by `Deferred` alone, which owns the box then.
unsafe impl<T: Send> Send for Deferrable<T> {}

// SAFETY: As for `Send`.
unsafe impl<T: Sync> Sync for Deferrable<T> {}

impl<T> Deferrable<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value,
            next: null_mut(),
        }
    }
}

impl<T> core::ops::Deref for Deferrable<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A list of boxes to be freed where the kernel may sleep.
///
/// # Invariants
///
/// The head, as each `next`, is null or a box that the list owns.
pub(crate) struct Deferred<T: Send>(Atomic<*mut Deferrable<T>>);

impl<T: Send> Deferred<T> {
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(null_mut()))
    }

    /// Frees `entry` at once where the caller may sleep, or else by [`free_later`]. May be called
    /// in an NMI.
    // Inlined, `head` would be on the stack of `free_aux()`, whose last call would not be a jump.
    #[inline(never)] // named in scripts/hot-path
    pub(crate) fn free(&self, entry: KBox<Deferrable<T>>) {
        let entry = KBox::into_raw(entry);
        let mut head = self.0.load(Relaxed);
        loop {
            // SAFETY: The list has not got the box yet.
            unsafe { (*entry).next = head };
            // INVARIANT: The box was in no list.
            match self.0.cmpxchg(head, entry, Release) {
                Ok(_) => break,
                Err(other) => head = other,
            }
        }
        if preemptible() {
            self.free_all();
        } else {
            free_later();
        }
    }

    /// Frees all boxes of the list. May sleep.
    // scripts/hot-path names it: `free()` may call it where it may sleep, and nothing else may.
    #[inline(never)]
    pub(crate) fn free_all(&self) {
        let mut head = self.0.xchg(null_mut(), Acquire);
        while !head.is_null() {
            // SAFETY: By the invariants, of a list that nothing else can reach since the exchange.
            let entry = unsafe { KBox::from_raw(head) };
            head = entry.next;
        }
    }
}

/// Limits the cost of starts that fail for lack of space.
///
/// perf starts an event again whenever its task is scheduled, each time with a record of truncation
/// and a wakeup. On PREEMPT_RT a thread wakes the reader and preempts the task, which makes no
/// progress.
pub(crate) struct NoSpace {
    /// Perf is asked once per jiffy at most.
    limited: bool,
    /// The last jiffy in which perf had no space at all, if [`Self::ASKED`] is set.
    jiffy: Atomic<u64>,
    /// Truncation was reported since the event last ran.
    reported: Atomic<bool>,
}

impl NoSpace {
    const ASKED: u64 = 1 << 63;

    /// Creates the state of an event. The starts of a `pinned` one are not limited: perf puts it
    /// into the error state when it cannot be scheduled.
    pub(crate) fn new(pinned: bool) -> Self {
        Self {
            limited: cfg!(CONFIG_PREEMPT_RT) && !pinned,
            jiffy: Atomic::new(0),
            reported: Atomic::new(false),
        }
    }

    /// Returns whether perf had no space already in this jiffy.
    pub(crate) fn is_recent(&self) -> bool {
        self.limited && self.jiffy.load(Relaxed) == Self::ASKED | jiffies()
    }

    /// Notes that perf had no space at all when the event was to start.
    pub(crate) fn note(&self) {
        if self.limited {
            self.jiffy.store(Self::ASKED | jiffies(), Relaxed);
        }
    }

    /// Returns whether truncation is to be reported: `true` once until [`Self::reset`].
    pub(crate) fn report(&self) -> bool {
        !self.reported.xchg(true, Relaxed)
    }

    /// Notes that the event has space.
    #[inline(always)] // a start: 221 instructions otherwise
    pub(crate) fn reset(&self) {
        if self.limited {
            self.jiffy.store(0, Relaxed);
        }
        self.reported.store(false, Relaxed);
    }
}

/// Takes a reference to this module for an AUX buffer, which `free_aux()` gives back.
pub(crate) fn pin_module() {
    // SAFETY: The event that the buffer is made for holds a reference to this module, so that
    // another one can be added.
    unsafe { __module_get(THIS_MODULE) };
}
