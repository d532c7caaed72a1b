// SPDX-License-Identifier: GPL-2.0

//! Live events (`live=1`): the driver decodes the records and emits them as the trace event
//! `arm_spe:arm_spe_record`. `record.rs` decodes them, `live.c` has the trace event.
//!
//! The unit writes to a buffer of the driver's own (`live_buffer.rs`). The records of a CPU are
//! emitted when its buffer is full, when the event stops or is read, and before another task
//! runs: the task of the trace event is that of the record.

use crate::{
    bindings,
    device::Units,
    event::Live,
    live_buffer::{
        Batch,
        Buffers,
        LiveEvent, //
    },
    percpu::NotInNmi,
    version::LocalInterruptDisabled, //
};
use kernel::{
    error::to_result,
    ffi::c_void,
    prelude::*,
    sync::Arc, //
};

impl Units {
    /// Prepares a live event, for which [`Self::close_live`] must be called in the end. The first
    /// one allocates the buffers. `kernel` says whether the kernel is sampled. May sleep.
    ///
    /// Returns `EINVAL` if the batch is larger than a buffer, and `ENOMEM`.
    #[inline(never)] // `event_init` of other events: 576 bytes of stack otherwise
    pub(crate) fn open_live(&self, request: Live, kernel: bool) -> Result<LiveEvent> {
        let caps = self.caps();
        let batch = Batch::new(request, caps.align.max(caps.sampling.max_record), kernel)?;
        let mut users = self.live().lock();
        let buffers = match &users.buffers {
            Some(buffers) => buffers.clone(),
            None => {
                let buffers = Arc::new(Buffers::new(self.cpus())?, GFP_KERNEL)?;
                // SAFETY: The units live until the last live event has ended this.
                to_result(unsafe { bindings::spe_live_watch(self.as_cookie()) })?;
                users.buffers = Some(buffers.clone());
                buffers
            }
        };
        users.count = users.count.saturating_add(1);
        Ok(LiveEvent::new(buffers, batch, caps.align))
    }

    /// Ends the use of the buffers by a live event. The last one frees them. May sleep.
    pub(crate) fn close_live(&self) {
        let mut users = self.live().lock();
        users.count = users.count.saturating_sub(1);
        if users.count == 0 && users.buffers.take().is_some() {
            // SAFETY: `open_live` has begun this.
            unsafe { bindings::spe_live_unwatch(self.as_cookie()) };
        }
    }

    fn as_cookie(&self) -> *mut c_void {
        core::ptr::from_ref(self).cast_mut().cast()
    }
}

/// Emits the records of the task that leaves this CPU.
///
/// # Safety
///
/// `units` must be what was passed to `spe_live_watch()`. Interrupts must be disabled, and the
/// caller not be in an NMI.
#[no_mangle]
unsafe extern "C" fn arm_spe_live_switch(units: *mut c_void) {
    // SAFETY: By the safety requirements. `spe_live_unwatch()` waits for callers.
    let (units, context) = unsafe {
        let irq = LocalInterruptDisabled::assume_disabled();
        (&*units.cast::<Units>(), NotInNmi::assume(irq))
    };
    let (slot, cpu) = units.this_cpu(context);
    slot.flush(cpu);
}
