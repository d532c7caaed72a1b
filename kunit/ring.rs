// SPDX-License-Identifier: GPL-2.0

//! `perf_aux_output_*()` for a kernel with KUnit: perf's functions, or for the events of a case,
//! the only ones without a context, a [`Ring`] in the place of perf's ring buffer.

use crate::{
    aux_buffer::{
        Buffer,
        Spe, //
    },
    bindings::{
        self,
        perf_event,
        perf_output_handle, //
    },
    perf::Event,
    perf_quirks::Deferrable,
    state::Cpu,
    sysreg::{
        Register,
        PMBLIMITR_EL1, //
    }, //
};
use core::{
    cell::Cell,
    ptr::null_mut, //
};
use kernel::{
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*, //
};

/// An NMI in the middle of a transition, while perf hands out a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Nmi {
    None,
    Throttle,
    Pause,
}

/// An AUX buffer and what perf says of it. `rb` of a case's events points to it.
pub(crate) struct Ring {
    pub(super) buffer: Deferrable<Buffer>,
    /// The buffer is overwritten.
    pub(super) snapshot: bool,
    /// The position at which the next transaction begins.
    pub(super) head: Cell<u64>,
    pub(super) space: Cell<u64>,
    pub(super) mapped: Cell<bool>,
    /// The distance from the head at which the reader wants to be woken.
    pub(super) wakeup: Cell<u64>,
    pub(super) nmi: Cell<Nmi>,
    pub(super) cpu: Cell<*const Cpu>,
    /// The tag of the pointer to the buffer.
    pub(super) tag: Cell<usize>,
    /// The number of calls of `begin`.
    pub(super) asked: Cell<u64>,
    /// A transaction is open.
    pub(super) open: Cell<bool>,
    /// The number of transactions that were begun, and ended.
    pub(super) begun: Cell<u64>,
    pub(super) ended: Cell<u64>,
    /// The arguments of the last `end`.
    pub(super) bytes: Cell<u64>,
    pub(super) flags: Cell<u64>,
    /// The number of times that the event was to be disabled.
    pub(super) disabled: Cell<u64>,
    /// The buffer of the unit was enabled while a transaction was begun or ended.
    pub(super) enabled: Cell<bool>,
}

impl Ring {
    fn note_enabled(&self) {
        if PMBLIMITR_EL1::read().has(PMBLIMITR_EL1::E) {
            self.enabled.set(true);
        }
    }
}

/// Changes to an event that perf makes.
pub(super) trait Perf {
    /// Does what perf does before it calls `update_sampling` to pause or resume.
    fn set_paused(&self, paused: bool);
}

impl Perf for Event<Spe> {
    fn set_paused(&self, paused: bool) {
        let event = (&raw const *self).cast_mut().cast::<perf_event>();
        // SAFETY: `Event` is a transparent wrapper. The member of the union is that of events with
        // an AUX buffer.
        unsafe {
            let aux = (&raw mut (*event).hw.__bindgen_anon_1)
                .cast::<bindings::hw_perf_event__bindgen_ty_1__bindgen_ty_2>();
            (&raw mut (*aux).aux_paused).write_volatile(paused.into());
        }
    }
}

/// Returns whether `event` is one of a case. perf sets the context of an event before it adds it to
/// a CPU, and does not clear it.
///
/// # Safety
///
/// `event` must be valid, and have been added to a CPU unless it is one of a case.
unsafe fn is_of_a_case(event: *mut perf_event) -> bool {
    // SAFETY: By the safety requirement.
    unsafe { (*event).ctx.is_null() }
}

/// # Safety
///
/// `handle` must be in no transaction, and `event` be on this CPU. The `rb` and the `cpu` of a
/// case's event must be valid.
pub(crate) unsafe fn perf_aux_output_begin(
    handle: &mut perf_output_handle,
    event: *mut perf_event,
) -> *mut c_void {
    // SAFETY: By the safety requirements.
    if !unsafe { is_of_a_case(event) } {
        // SAFETY: By the safety requirements.
        return unsafe { bindings::perf_aux_output_begin(handle, event) };
    }
    // SAFETY: `Bench::new` has initialised the event with a ring, and its `cpu` with a box that it
    // keeps as long as the ring. All that changes in a ring is in cells.
    let (ring, held, cpu) = unsafe {
        let ring = &*(*event).rb.cast::<Ring>();
        (ring, Event::<Spe>::from_raw(event), &*ring.cpu.get())
    };
    handle.event = null_mut();
    match ring.nmi.replace(Nmi::None) {
        Nmi::None => (),
        Nmi::Throttle => {
            held.throttle();
            cpu.gate.update(held);
        }
        Nmi::Pause => {
            held.set_paused(true);
            cpu.gate.update(held);
        }
    }
    ring.note_enabled();
    ring.asked.set(ring.asked.get() + 1);
    if !ring.mapped.get() || ring.open.get() {
        return null_mut();
    }
    // SAFETY: The event is one of a case; nothing writes to `rb` in the meantime.
    handle.rb = unsafe { (*event).rb };
    if ring.space.get() == 0 {
        return null_mut();
    }
    handle.event = event;
    handle.__bindgen_anon_2.head = ring.head.get() as c_ulong;
    handle.size = if ring.snapshot {
        0
    } else {
        ring.space.get() as c_ulong
    };
    handle.wakeup = ring.head.get().wrapping_add(ring.wakeup.get()) as c_ulong;
    // SAFETY: Each member of the union is an integer or an array of them, for which each value that
    // is there is valid.
    unsafe { *handle.__bindgen_anon_1.aux_flags = 0 };
    ring.open.set(true);
    ring.begun.set(ring.begun.get() + 1);
    let buffer = (&raw const ring.buffer).cast_mut();
    buffer.wrapping_byte_add(ring.tag.get()).cast()
}

/// # Safety
///
/// `handle` must be in a transaction.
pub(crate) unsafe fn perf_aux_output_skip(
    handle: &mut perf_output_handle,
    bytes: c_ulong,
) -> c_int {
    // SAFETY: By the safety requirement.
    if !unsafe { is_of_a_case(handle.event) } {
        // SAFETY: By the safety requirement.
        return unsafe { bindings::perf_aux_output_skip(handle, bytes) };
    }
    // SAFETY: `begin` has set it to a ring of a bench, which outlives its transactions.
    let ring = unsafe { &*handle.rb.cast::<Ring>() };
    let Some(space) = ring.space.get().checked_sub(bytes as u64) else {
        return ENOSPC.to_errno();
    };
    ring.head.set(ring.head.get() + bytes as u64);
    ring.space.set(space);
    handle.__bindgen_anon_2.head = ring.head.get() as c_ulong;
    handle.size = ring.space.get() as c_ulong;
    0
}

/// # Safety
///
/// `handle` must be in a transaction, which ends.
pub(crate) unsafe fn perf_aux_output_end(handle: &mut perf_output_handle, bytes: c_ulong) {
    // SAFETY: By the safety requirement.
    if !unsafe { is_of_a_case(handle.event) } {
        // SAFETY: By the safety requirement.
        return unsafe { bindings::perf_aux_output_end(handle, bytes) };
    }
    // SAFETY: `begin` has set it to a ring of a bench, which outlives its transactions.
    let ring = unsafe { &*handle.rb.cast::<Ring>() };
    handle.event = null_mut();
    ring.note_enabled();
    ring.open.set(false);
    ring.ended.set(ring.ended.get() + 1);
    ring.bytes.set(bytes as u64);
    // SAFETY: Each member of the unions is an integer, for which each value is valid.
    let (flags, head) = unsafe {
        (
            *handle.__bindgen_anon_1.aux_flags,
            handle.__bindgen_anon_2.head,
        )
    };
    ring.flags.set(flags);
    let written = ring.head.get() + bytes as u64;
    ring.head
        .set(if ring.snapshot { head as u64 } else { written });
    // A case may have taken the space away.
    ring.space
        .set(ring.space.get().saturating_sub(bytes as u64));
}

/// # Safety
///
/// `event` must be active.
pub(crate) unsafe fn spe_helper_disable_later(event: *mut perf_event) {
    // SAFETY: By the safety requirement.
    if !unsafe { is_of_a_case(event) } {
        // SAFETY: By the safety requirement.
        return unsafe { bindings::spe_helper_disable_later(event) };
    }
    // SAFETY: `Bench::new` has initialised the event with a ring.
    let ring = unsafe { &*(*event).rb.cast::<Ring>() };
    ring.disabled.set(ring.disabled.get() + 1);
}
