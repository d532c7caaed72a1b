// SPDX-License-Identifier: GPL-2.0

//! The profiling units of one device: their CPUs, their interrupt (a PPI, the same number on each
//! CPU), and a place for the state of each.

use crate::{
    aux_buffer::Buffer,
    counters::Counters,
    percpu::{
        contains,
        run_on,
        PerCpu, //
    },
    perf::Mark,
    state::{
        Slot,
        SpePmu, //
    },
    version::{
        IRQ_HANDLED,
        IRQ_NONE, //
    }, //
};
use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use kernel::{
    bindings,
    cpumask::{
        Cpumask,
        CpumaskVar, //
    },
    device::{
        Bound,
        Device, //
    },
    error::to_result,
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    platform,
    prelude::*,
    sync::Arc, //
};

/// The units of one device.
pub(crate) struct Units<T: SpePmu> {
    /// The CPUs that have a unit.
    cpus: CpumaskVar,
    /// The number of the interrupt, which is the same on each of them.
    irq: c_uint,
    /// The state of each unit; unused for other CPUs.
    slots: PerCpu<Slot<T>>,
    /// What marks the buffers that these units write to.
    mark: Mark,
}

/// How many devices were looked at.
static FOUND: AtomicU32 = AtomicU32::new(0);

// SAFETY: The mask is not changed any more, a slot is used on its own CPU only, and the rest is
// plain.
unsafe impl<T: SpePmu> Send for Units<T> {}

// SAFETY: As above.
unsafe impl<T: SpePmu> Sync for Units<T> {}

impl<T: SpePmu> Units<T> {
    /// Finds the interrupt of `pdev` and the CPUs that share it.
    pub(crate) fn find(pdev: &platform::Device<Bound>) -> Result<Self> {
        let dev: &Device = pdev.as_ref();
        let mut affinity: *const bindings::cpumask = core::ptr::null();
        // SAFETY: `platform::Device` wraps the C device transparently.
        let irq = unsafe {
            bindings::platform_get_irq_affinity(
                core::ptr::from_ref(pdev).cast_mut().cast(),
                0,
                &mut affinity,
            )
        };
        let irq = c_uint::try_from(irq).map_err(|_| ENXIO)?;
        // SAFETY: Has no requirements.
        if !unsafe { bindings::irq_check_status_bit(irq, bindings::IRQ_PER_CPU) } {
            dev_err!(dev, "expected PPI but got SPI ({})\n", irq);
            return Err(EINVAL);
        }
        // SAFETY: The call succeeded, so that this is a mask, which lives as long as the interrupt.
        let affinity = unsafe { Cpumask::from_raw(affinity) };
        Ok(Self {
            cpus: CpumaskVar::try_clone(affinity)?,
            irq,
            slots: PerCpu::new()?,
            mark: Mark::new::<Buffer>(FOUND.fetch_add(1, Ordering::Relaxed)),
        })
    }

    /// The mark of the buffers that these units write to.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// The CPUs that have a unit of this device.
    pub(crate) fn cpus(&self) -> &Cpumask {
        &self.cpus
    }

    /// Whether the CPU number `cpu` has a unit of this device.
    #[inline]
    pub(crate) fn cover(&self, cpu: u32) -> bool {
        contains(&self.cpus, cpu)
    }

    /// The number of each CPU that has a unit of this device, and what happened on it.
    pub(crate) fn counters(&self) -> impl Iterator<Item = (u32, &Counters)> {
        let ours = |&(cpu, _): &(u32, _)| self.cover(cpu);
        self.slots.all().filter(ours).map(|(cpu, slot)| {
            // SAFETY: The slot lives as long as `self`. Of what is in it only the CPU in question
            // may touch, the counters are for everybody: no reference to the rest is made.
            (cpu, unsafe { &(*slot.as_ptr()).cpu.counters })
        })
    }

    /// The place of the unit of this CPU.
    ///
    /// # Safety
    ///
    /// As [`PerCpu::get`].
    #[inline]
    pub(crate) unsafe fn slot(&self) -> &Slot<T> {
        // SAFETY: By the requirements of this function.
        unsafe { self.slots.get() }
    }

    /// The same, for the CPU number `cpu`, which has to be this one.
    ///
    /// # Safety
    ///
    /// As [`PerCpu::get_of`].
    #[inline]
    pub(crate) unsafe fn slot_of(&self, cpu: u32) -> &Slot<T> {
        // SAFETY: By the requirements of this function.
        unsafe { self.slots.get_of(cpu) }
    }

    /// Calls `function` with the place of the unit of the CPU number `cpu`, there, with interrupts
    /// off.
    pub(crate) fn run_on(&self, cpu: u32, function: impl FnOnce(&Slot<T>) + Send) -> Result {
        // SAFETY: On the CPU, which does not change while this runs.
        run_on(cpu, || function(unsafe { self.slot() }))
    }

    /// Enables the interrupt on this CPU.
    pub(crate) fn enable_interrupt(&self) {
        // SAFETY: Has no requirements; without a handler, nothing happens.
        unsafe { bindings::enable_percpu_irq(self.irq, bindings::IRQ_TYPE_NONE) };
    }

    /// Disables the interrupt on this CPU.
    pub(crate) fn disable_interrupt(&self) {
        // SAFETY: Has no requirements.
        unsafe { bindings::disable_percpu_irq(self.irq) };
    }
}

/// The handler is registered for all units of a device. Dropping this frees the interrupt, which
/// must be disabled on all CPUs by then.
///
/// # Invariants
///
/// The interrupt of the units was requested with the slots as its cookie.
pub(crate) struct Handler<T: SpePmu>(Arc<Units<T>>);

impl<T: SpePmu> Handler<T> {
    /// Registers the handler. The interrupt is enabled later, CPU by CPU.
    pub(crate) fn request(units: Arc<Units<T>>, name: &'static CStr) -> Result<Self> {
        // SAFETY: All that is passed lives until the interrupt is freed.
        to_result(unsafe {
            bindings::request_percpu_irq_affinity(
                units.irq,
                Some(Self::handle),
                name.as_char_ptr(),
                units.cpus.as_raw(),
                units.slots.as_raw(),
            )
        })?;
        // INVARIANT: just done.
        Ok(Self(units))
    }

    /// # Safety
    ///
    /// To be called as the handler that `request` registered.
    unsafe extern "C" fn handle(_irq: c_int, slot: *mut c_void) -> bindings::irqreturn_t {
        // SAFETY: The cookie was that of the slots; the handler gets the one of its CPU.
        let slot = unsafe { &*slot.cast::<Slot<T>>() };
        if slot.interrupt() {
            IRQ_HANDLED
        } else {
            IRQ_NONE
        }
    }
}

impl<T: SpePmu> Drop for Handler<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { bindings::free_percpu_irq(self.0.irq, self.0.slots.as_raw()) };
    }
}
