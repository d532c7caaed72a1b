// SPDX-License-Identifier: GPL-2.0

//! AUX transactions: the time between `perf_aux_output_begin()` and `perf_aux_output_end()`.

use super::{
    ActiveEvent,
    PmuTypes, //
};
use crate::bindings::{
    self,
    perf_output_handle, //
};
use core::{
    marker::PhantomData,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};
use kernel::{
    error::to_result,
    ffi::c_ulong,
    prelude::*, //
};

#[cfg(CONFIG_KUNIT = "y")]
pub(crate) mod stub;

/// The state of a piece of AUX data: `PERF_AUX_FLAG_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AuxFlags(u32);

impl AuxFlags {
    pub(crate) const NONE: Self = Self(0);
    /// Data is missing at the end. perf disables an event that runs.
    pub(crate) const TRUNCATED: Self = Self(bindings::PERF_AUX_FLAG_TRUNCATED);
    /// The last record is incomplete.
    pub(crate) const PARTIAL: Self = Self(bindings::PERF_AUX_FLAG_PARTIAL);
    /// Samples were dropped because earlier ones were in flight.
    pub(crate) const COLLISION: Self = Self(bindings::PERF_AUX_FLAG_COLLISION);

    /// Returns whether all of `other` is set.
    pub(crate) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOrAssign for AuxFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// The reason why perf did not hand out a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoBuffer {
    /// None is mapped, or it is being unmapped, or it is that of another PMU.
    NotMapped,
    /// The reader has not freed any space. perf has woken it, and disables an event that runs.
    Full,
}

/// The place for a transaction: a `struct perf_output_handle` that is in none.
///
/// It has no `Drop`, as it is used where memory must not be freed: see [`Self::free`].
#[must_use]
pub(crate) struct AuxHandle<T: PmuTypes>(NonNull<perf_output_handle>, PhantomData<T>);

// SAFETY: The memory belongs to the value.
unsafe impl<T: PmuTypes> Send for AuxHandle<T> {}

impl<T: PmuTypes> AuxHandle<T> {
    /// Allocates a handle. May sleep.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: Integers and pointers, for which zero is a value.
        let handle = KBox::new(unsafe { core::mem::zeroed() }, GFP_KERNEL)?;
        Ok(Self(NonNull::from(KBox::leak(handle)), PhantomData))
    }

    /// Frees the handle.
    pub(crate) fn free(self) {
        // SAFETY: The pointer is that of the box that `new` leaked.
        drop(unsafe { KBox::from_raw(self.0.as_ptr()) });
    }

    fn as_mut(&mut self) -> &mut perf_output_handle {
        // SAFETY: The memory belongs to the value.
        unsafe { self.0.as_mut() }
    }

    /// Begins a transaction (`perf_aux_output_begin()`).
    pub(crate) fn begin(
        mut self,
        event: &ActiveEvent<T>,
    ) -> Result<AuxTransaction<T>, (Self, NoBuffer)> {
        let handle = self.as_mut();
        handle.rb = null_mut();
        // SAFETY: The handle is in no transaction, and the event runs on this CPU.
        let aux = unsafe { output_begin(handle, event.as_raw()) };
        if let Some(aux) = event.owner_tag().untag(aux) {
            // INVARIANT: Only `setup_aux` of this PMU makes pointers with this tag.
            return Ok(AuxTransaction { handle: self, aux });
        }
        if !aux.is_null() {
            // SAFETY: The transaction is open. It takes no space of the other PMU's buffer.
            unsafe { output_end(handle, 0) };
            return Err((self, NoBuffer::NotMapped));
        }
        // perf sets `rb` as soon as it has found a buffer.
        let why = match handle.rb.is_null() {
            true => NoBuffer::NotMapped,
            false => NoBuffer::Full,
        };
        Err((self, why))
    }
}

/// An AUX transaction: the right to write to a part of an event's AUX buffer.
///
/// A transaction that is dropped instead of ended keeps its references: the buffer stays mapped and
/// cannot be used again.
///
/// # Invariants
///
/// The handle is that of an open transaction. `aux` is what [`super::Pmu::setup_aux`] made for its
/// buffer, to which the transaction holds a reference.
#[must_use]
pub(crate) struct AuxTransaction<T: PmuTypes> {
    handle: AuxHandle<T>,
    aux: NonNull<T::Aux>,
}

impl<T: PmuTypes> AuxTransaction<T> {
    fn handle(&self) -> &perf_output_handle {
        // SAFETY: The memory belongs to the value.
        unsafe { self.handle.0.as_ref() }
    }

    /// Returns what the driver keeps with the buffer.
    pub(crate) fn aux(&self) -> &T::Aux {
        // SAFETY: By the invariants the transaction holds a reference to the buffer.
        unsafe { self.aux.as_ref() }
    }

    /// Returns the position to write at: a free-running count of bytes, or in a buffer that is
    /// overwritten what [`Self::set_head`] was last given.
    pub(crate) fn head(&self) -> u64 {
        // SAFETY: In an AUX handle the member of the union is `head`.
        unsafe { self.handle().__bindgen_anon_2.head as u64 }
    }

    /// Returns the number of bytes that may be written; 0 in a buffer that is overwritten.
    pub(crate) fn size(&self) -> u64 {
        self.handle().size as u64
    }

    /// Returns the position after which the reader wants to be woken. Meaningless in a buffer that
    /// is overwritten.
    pub(crate) fn wakeup(&self) -> u64 {
        self.handle().wakeup as u64
    }

    /// Gives `bytes` back to perf as if they had been written (`perf_aux_output_skip()`).
    ///
    /// Returns `ENOSPC`, and changes nothing, if there are less.
    pub(crate) fn skip(&mut self, bytes: u64) -> Result {
        // SAFETY: By the invariants.
        to_result(unsafe { output_skip(self.handle.as_mut(), bytes as c_ulong) })
    }

    /// Sets the offset at which a buffer that is overwritten is written.
    pub(crate) fn set_head(&mut self, head: u64) {
        self.handle.as_mut().__bindgen_anon_2.head = head as c_ulong;
    }

    /// Adds `flags` to the data.
    pub(crate) fn flag(&mut self, flags: AuxFlags) {
        // SAFETY: By the invariants. The flags are none of those that perf sets itself.
        unsafe { bindings::perf_aux_output_flag(self.handle.as_mut(), flags.0.into()) };
    }

    /// Ends the transaction after `bytes` were written (`perf_aux_output_end()`).
    pub(crate) fn end(mut self, bytes: u64) -> AuxHandle<T> {
        // SAFETY: By the invariants; the handle is in no transaction afterwards.
        unsafe { output_end(self.handle.as_mut(), bytes as c_ulong) };
        self.handle
    }
}

/// Calls `perf_aux_output_begin()`, or its stub for events that have no PMU: those of KUnit.
///
/// # Safety
///
/// `handle` must be in no transaction, `event` be valid and on this CPU.
unsafe fn output_begin(
    handle: &mut perf_output_handle,
    event: *mut bindings::perf_event,
) -> *mut kernel::ffi::c_void {
    #[cfg(CONFIG_KUNIT = "y")]
    // SAFETY: The event is valid.
    if unsafe { (*event).pmu.is_null() } {
        // SAFETY: By the safety requirements.
        return unsafe { stub::begin(handle, event) };
    }
    // SAFETY: By the safety requirements.
    unsafe { bindings::perf_aux_output_begin(handle, event) }
}

/// # Safety
///
/// `handle` must be in a transaction.
unsafe fn output_skip(handle: &mut perf_output_handle, bytes: c_ulong) -> kernel::ffi::c_int {
    #[cfg(CONFIG_KUNIT = "y")]
    // SAFETY: The event of an open transaction is valid.
    if unsafe { (*handle.event).pmu.is_null() } {
        // SAFETY: By the safety requirement.
        return unsafe { stub::skip(handle, bytes) };
    }
    // SAFETY: By the safety requirement.
    unsafe { bindings::perf_aux_output_skip(handle, bytes) }
}

/// # Safety
///
/// `handle` must be in a transaction, which ends.
unsafe fn output_end(handle: &mut perf_output_handle, bytes: c_ulong) {
    #[cfg(CONFIG_KUNIT = "y")]
    // SAFETY: The event of an open transaction is valid.
    if unsafe { (*handle.event).pmu.is_null() } {
        // SAFETY: By the safety requirement.
        return unsafe { stub::end(handle, bytes) };
    }
    // SAFETY: By the safety requirement.
    unsafe { bindings::perf_aux_output_end(handle, bytes) }
}
