// SPDX-License-Identifier: GPL-2.0

//! AUX transactions: the time between `perf_aux_output_begin()` and `perf_aux_output_end()`.

use super::{
    ActiveEvent,
    PmuTypes, //
};
use crate::{
    bindings::{
        self,
        perf_output_handle, //
    },
    perf_core, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
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

/// Flags of AUX data: `PERF_AUX_FLAG_*`.
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

    pub(crate) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOrAssign for AuxFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoBuffer {
    /// None is mapped, it is being unmapped, another CPU has a transaction of it, or another PMU
    /// made it. perf does not disable the event.
    NotMapped,
    /// The reader has not freed any space. perf has woken it, and disables an event that runs.
    Full,
}

/// A `struct perf_output_handle` that is in no transaction.
///
/// It has no `Drop`, as it is used where memory must not be freed: see [`Self::free`].
#[must_use]
pub(crate) struct AuxHandle<T: PmuTypes>(ManuallyDrop<KBox<perf_output_handle>>, PhantomData<T>);

// SAFETY: Outside of a transaction the pointers in the handle are not used.
unsafe impl<T: PmuTypes> Send for AuxHandle<T> {}

impl<T: PmuTypes> AuxHandle<T> {
    /// Allocates a handle. May sleep.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: Integers and pointers, for which zero is a value.
        let handle = KBox::new(unsafe { core::mem::zeroed() }, GFP_KERNEL)?;
        Ok(Self(ManuallyDrop::new(handle), PhantomData))
    }

    pub(crate) fn free(self) {
        drop(ManuallyDrop::into_inner(self.0));
    }

    /// Begins a transaction (`perf_aux_output_begin()`).
    pub(crate) fn begin(
        mut self,
        event: &ActiveEvent<T>,
    ) -> Result<AuxTransaction<T>, (Self, NoBuffer)> {
        let handle: &mut perf_output_handle = &mut self.0;
        handle.rb = null_mut();
        // SAFETY: The handle is in no transaction, and the event runs on this CPU.
        let aux = unsafe { perf_core::perf_aux_output_begin(handle, event.as_raw()) };
        if let Some(aux) = event.owner_tag().untag(aux) {
            // INVARIANT: Only `setup_aux` of this PMU makes pointers with this tag. By the contract
            // of `Pmu` the transaction is ended before the event is deleted.
            return Ok(AuxTransaction { handle: self, aux });
        }
        if !aux.is_null() {
            // SAFETY: The transaction is open. It takes no space of the other PMU's buffer.
            unsafe { perf_core::perf_aux_output_end(handle, 0) };
            return Err((self, NoBuffer::NotMapped));
        }
        // perf sets `rb` as soon as it has found a buffer.
        let why = if handle.rb.is_null() {
            NoBuffer::NotMapped
        } else {
            NoBuffer::Full
        };
        Err((self, why))
    }
}

/// An AUX transaction: the right to write to a part of an event's AUX buffer.
///
/// One that is dropped instead of ended keeps its references: the buffer stays mapped and unusable.
///
/// # Invariants
///
/// The handle is in an open transaction, of an event that was not deleted yet. `aux` is what
/// [`super::Pmu::setup_aux`] made for its buffer, to which the transaction holds a reference.
#[must_use]
pub(crate) struct AuxTransaction<T: PmuTypes> {
    handle: AuxHandle<T>,
    aux: NonNull<T::Aux>,
}

impl<T: PmuTypes> AuxTransaction<T> {
    pub(crate) fn aux(&self) -> &T::Aux {
        // SAFETY: By the invariants the transaction holds a reference to the buffer.
        unsafe { self.aux.as_ref() }
    }

    /// Returns the position to write at: a free-running count of bytes, or in a buffer that is
    /// overwritten what [`Self::set_head`] was last given.
    pub(crate) fn head(&self) -> u64 {
        // SAFETY: In an AUX handle the member of the union is `head`.
        unsafe { self.handle.0.__bindgen_anon_2.head as u64 }
    }

    /// Returns the number of bytes that may be written; 0 in a buffer that is overwritten.
    pub(crate) fn size(&self) -> u64 {
        self.handle.0.size as u64
    }

    /// Returns the position after which the reader of a buffer that it drains wants to be woken.
    pub(crate) fn wakeup(&self) -> u64 {
        self.handle.0.wakeup as u64
    }

    /// Gives `bytes` back to perf as if they had been written (`perf_aux_output_skip()`); `ENOSPC`
    /// if there are less.
    pub(crate) fn skip(&mut self, bytes: u64) -> Result {
        // SAFETY: By the invariants the handle is in an open transaction.
        to_result(unsafe {
            perf_core::perf_aux_output_skip(&mut **self.handle.0, bytes as c_ulong)
        })
    }

    /// Sets the position in a buffer that is overwritten.
    pub(crate) fn set_head(&mut self, head: u64) {
        self.handle.0.__bindgen_anon_2.head = head as c_ulong;
    }

    pub(crate) fn flag(&mut self, flags: AuxFlags) {
        // SAFETY: By the invariants the handle is in an open transaction. The flags are none of
        // those that perf sets itself.
        unsafe { bindings::perf_aux_output_flag(&mut **self.handle.0, flags.0.into()) };
    }

    /// Ends the transaction after `bytes` were written (`perf_aux_output_end()`).
    pub(crate) fn end(mut self, bytes: u64) -> AuxHandle<T> {
        // SAFETY: By the invariants the transaction is open and its event not deleted; it is spent
        // here.
        unsafe { perf_core::perf_aux_output_end(&mut **self.handle.0, bytes as c_ulong) };
        self.handle
    }
}
