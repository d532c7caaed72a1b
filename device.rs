// SPDX-License-Identifier: GPL-2.0

//! The profiling units of one device: their CPUs, their interrupt, and the data of each CPU.

use crate::{
    counters::Counters,
    percpu::{
        contains,
        run_on,
        NotInNmi,
        PerCpu, //
    },
    state::{
        Cpu,
        Slot, //
    },
    version::LocalInterruptDisabled, //
};
use kernel::{
    bindings::{
        self,
        disable_percpu_irq,
        enable_percpu_irq,
        irq_check_status_bit,
        platform_get_irq_affinity, //
    },
    cpumask::{
        Cpumask,
        CpumaskVar, //
    },
    device::{
        Bound,
        Device, //
    },
    ffi::c_uint,
    platform,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

pub(crate) type UnitData = PerCpu<Slot, Cpu>;

pub(crate) struct Units {
    /// The CPUs that have a unit.
    cpus: CpumaskVar,
    irq: c_uint,
    data: UnitData,
}

// SAFETY: The mask is not changed any more; the other fields are `Send`.
unsafe impl Send for Units {}

// SAFETY: The mask is not changed any more; the other fields are `Sync`.
unsafe impl Sync for Units {}

impl Units {
    /// Finds the interrupt of `pdev` and the CPUs that share it. Returns `ENXIO` if there is none,
    /// `EINVAL` if it is not a PPI.
    pub(crate) fn find(pdev: &platform::Device<Bound>) -> Result<Self> {
        let dev: &Device = pdev.as_ref();
        let mut affinity: *const bindings::cpumask = core::ptr::null();
        // SAFETY: `platform::Device` wraps the C device transparently.
        let irq = unsafe {
            platform_get_irq_affinity(
                core::ptr::from_ref(pdev).cast_mut().cast(),
                0,
                &mut affinity,
            )
        };
        let irq = c_uint::try_from(irq).map_err(|_| ENXIO)?;
        // SAFETY: Has no requirements.
        if !unsafe { irq_check_status_bit(irq, bindings::IRQ_PER_CPU) } {
            dev_err!(dev, "expected PPI but got SPI ({})\n", irq);
            return Err(EINVAL);
        }
        // SAFETY: The call above succeeded: the mask lives as long as the interrupt.
        let affinity = unsafe { Cpumask::from_raw(affinity) };
        Ok(Self {
            cpus: CpumaskVar::try_clone(affinity)?,
            irq,
            data: PerCpu::new(|| (Slot::new(), Cpu::new()))?,
        })
    }

    pub(crate) fn cpus(&self) -> &Cpumask {
        &self.cpus
    }

    pub(crate) fn supports_cpu(&self, cpu: u32) -> bool {
        contains(&self.cpus, cpu)
    }

    pub(crate) fn irq(&self) -> c_uint {
        self.irq
    }

    pub(crate) fn data(&self) -> &UnitData {
        &self.data
    }

    pub(crate) fn this_cpu<'a>(&'a self, context: NotInNmi<'a>) -> (&'a Slot, &'a Cpu) {
        self.data.get(context)
    }

    /// Returns what an NMI may use of the unit of this CPU.
    pub(crate) fn this_cpu_in_nmi<'a>(&'a self, irq: &'a LocalInterruptDisabled) -> &'a Cpu {
        self.data.get_shared(irq)
    }

    pub(crate) fn counters(&self) -> impl Iterator<Item = (u32, &Counters)> {
        self.data
            .all_shared()
            .filter(|&(cpu, _)| self.supports_cpu(cpu))
            .map(|(id, cpu)| (id, &cpu.counters))
    }

    /// Calls `function` on a CPU with the state of its unit.
    pub(crate) fn run_on<R: Send>(
        &self,
        cpu: u32,
        function: impl FnOnce(&Slot, &Cpu, NotInNmi<'_>) -> R + Send,
    ) -> Result<R> {
        run_on(cpu, |context| {
            let (slot, cpu) = self.this_cpu(context);
            function(slot, cpu, context)
        })
    }

    pub(crate) fn enable_interrupt(&self) {
        // SAFETY: Has no requirements; without a handler, nothing happens.
        unsafe { enable_percpu_irq(self.irq, bindings::IRQ_TYPE_NONE) };
    }

    pub(crate) fn disable_interrupt(&self) {
        // SAFETY: Has no requirements.
        unsafe { disable_percpu_irq(self.irq) };
    }
}

/// The number of a PMU, released on drop.
pub(crate) struct PmuNumber(u32);

/// The numbers in use, one bit for each.
static NUMBERS: Atomic<u32> = Atomic::new(0);

impl PmuNumber {
    /// Takes the lowest free number. Returns `ENOSPC` if 32 are in use.
    pub(crate) fn take() -> Result<Self> {
        let mut used = NUMBERS.load(Relaxed);
        loop {
            let number = used.trailing_ones();
            let bit = 1_u32.checked_shl(number).ok_or(ENOSPC)?;
            match NUMBERS.cmpxchg(used, used | bit, Relaxed) {
                Ok(_) => return Ok(Self(number)),
                Err(now) => used = now,
            }
        }
    }

    pub(crate) fn get(&self) -> u32 {
        self.0
    }
}

impl Drop for PmuNumber {
    fn drop(&mut self) {
        let bit = 1_u32.wrapping_shl(self.0);
        let mut used = NUMBERS.load(Relaxed);
        while let Err(now) = NUMBERS.cmpxchg(used, used & !bit, Relaxed) {
            used = now;
        }
    }
}
