// SPDX-License-Identifier: GPL-2.0

//! The profiling units of one device: their CPUs, their interrupt, and the data of each CPU.

use crate::{
    caps::{
        self,
        Caps,
        Reading,
        Unusable, //
    },
    counters::Counters,
    late_probe,
    live_buffer::LiveUsers,
    percpu::{
        contains,
        possible_cpus,
        run_on,
        NotInNmi,
        PerCpu, //
    },
    state::{
        Cpu,
        Slot, //
    },
    sysreg::{
        Register,
        ID_AA64DFR0_EL1,
        PMBIDR_EL1,
        PMSEVFR_EL1,
        PMSIDR_EL1, //
    },
    version::LocalInterruptDisabled, //
};
use kernel::{
    bindings::{
        self,
        cpumask_clear_cpu,
        cpumask_set_cpu,
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
    ffi::{
        c_int,
        c_uint, //
    },
    platform,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    }, //
};

pub(crate) type UnitData = PerCpu<Slot, Cpu>;

pub(crate) struct Units {
    /// The CPUs of the device.
    cpus: CpumaskVar,
    /// Those whose unit can be used. CPUs that have not been online yet are included.
    usable: CpumaskVar,
    /// The least capabilities of each unit that is used.
    caps: Caps,
    dev: ARef<Device>,
    irq: c_uint,
    data: UnitData,
    live: Pin<KBox<Mutex<LiveUsers>>>,
}

// SAFETY: `cpus` is not changed, `usable` by atomic functions alone; the other fields are `Send`.
unsafe impl Send for Units {}

// SAFETY: `cpus` is not changed, `usable` by atomic functions alone; the other fields are `Sync`.
unsafe impl Sync for Units {}

impl Units {
    /// Finds the interrupt of `pdev` and the CPUs that share it, and reads what their units can do.
    ///
    /// Returns `ENXIO` if there is no interrupt, none of the CPUs is online, or none of their units
    /// can be used; `EINVAL` if the interrupt is not a PPI.
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
            caps: read_caps(dev, affinity)?,
            dev: dev.into(),
            cpus: CpumaskVar::try_clone(affinity)?,
            usable: CpumaskVar::try_clone(affinity)?,
            irq,
            live: LiveUsers::new()?,
            data: PerCpu::new(|| (Slot::new(), Cpu::new()))?,
        })
    }

    pub(crate) fn cpus(&self) -> &Cpumask {
        &self.cpus
    }

    pub(crate) fn has_cpu(&self, cpu: u32) -> bool {
        contains(&self.cpus, cpu)
    }

    /// Returns the CPUs that events can run on.
    pub(crate) fn usable(&self) -> &Cpumask {
        &self.usable
    }

    pub(crate) fn is_usable(&self, cpu: u32) -> bool {
        contains(&self.usable, cpu)
    }

    pub(crate) fn caps(&self) -> &Caps {
        &self.caps
    }

    pub(crate) fn live(&self) -> &Mutex<LiveUsers> {
        &self.live
    }

    /// Returns an error unless the unit of this CPU can do what [`Self::caps`] says.
    pub(crate) fn examine(&self, _: NotInNmi<'_>) -> Result<(), Unusable> {
        self.caps.check(&read_ids()?)
    }

    /// Notes whether the unit of a CPU of the device can be used. Logs the reason if it cannot, the
    /// first time.
    pub(crate) fn set_usable(&self, cpu: u32, examined: Result<(), Unusable>) {
        if let (Err(why), true) = (examined, self.is_usable(cpu)) {
            log_unusable(&self.dev, cpu, why);
            dev_err!(self.dev, "the unit of CPU {} is not used\n", cpu);
        }
        // SAFETY: The functions are atomic, and the CPU is possible.
        unsafe {
            match examined {
                Ok(()) => cpumask_set_cpu(cpu, self.usable.as_raw()),
                Err(_) => cpumask_clear_cpu(cpu as c_int, self.usable.as_raw()),
            }
        }
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
            .filter(|&(cpu, _)| self.has_cpu(cpu))
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

/// Returns the capabilities of the first usable unit of the CPUs that are online. The others are
/// compared with it when their CPU comes online ([`Units::examine`]).
fn read_caps(dev: &Device, cpus: &Cpumask) -> Result<Caps> {
    let Some((cpu, caps)) = first_unit(cpus) else {
        dev_info!(dev, "no CPU with this unit is online; to be probed again\n");
        return Err(ENXIO);
    };
    let caps = caps.map_err(|why| {
        log_unusable(dev, cpu, why);
        ENXIO
    })?;
    warn_reserved(dev, "Interval", caps.sampling.min_interval, 8);
    warn_reserved(dev, "CountSize", caps.sampling.count_size, 2);
    Ok(caps)
}

/// Returns the first CPU of `cpus` that is online and has a usable unit, or else the last one that
/// is online. If there are CPUs offline, their device is probed again when one comes online.
fn first_unit(cpus: &Cpumask) -> Option<(u32, Result<Caps, Unusable>)> {
    let read = |cpu| run_on(cpu, |_| read_ids());
    let mut last = None;
    for cpu in possible_cpus().filter(|&cpu| contains(cpus, cpu)) {
        let caps = read(cpu).or_else(|_| {
            late_probe::request();
            // It may have come online before the request.
            read(cpu)
        });
        if let Ok(caps) = caps {
            last = Some((cpu, caps));
            if caps.is_ok() {
                break;
            }
        }
    }
    last
}

/// Logs why the unit of a CPU cannot be used; in the words of the C driver, if it has any.
fn log_unusable(dev: &Device, cpu: u32, why: Unusable) {
    match why {
        Unusable::Owned => dev_err!(dev, "profiling buffer owned by higher exception level\n"),
        Unusable::Code { field, code } => {
            dev_err!(dev, "unsupported {} [{}] on CPU {}\n", field, code, cpu)
        }
        Unusable::Unlike { what, first, this } => {
            dev_err!(
                dev,
                "CPU {}: {} {:#x} instead of {:#x}\n",
                cpu,
                what,
                this,
                first
            )
        }
    }
}

/// Reads the ID registers of this CPU, each after those that say that it can be read.
fn read_ids() -> Result<Caps, Unusable> {
    let version = caps::version(ID_AA64DFR0_EL1::read())?;
    let align = caps::alignment(PMBIDR_EL1::read())?;
    let pmsidr = PMSIDR_EL1::read();
    let sampling = caps::sampling(pmsidr, version)?;

    // Bits of unsupported events are RES0.
    let before = PMSEVFR_EL1::read();
    PMSEVFR_EL1::from_bits(u64::MAX).write();
    let event_filter = PMSEVFR_EL1::read().bits();
    before.write();

    Ok(Caps {
        version,
        align,
        pmsidr,
        sampling,
        event_filter,
    })
}

/// Warns if `field` of `PMSIDR_EL1` holds a reserved code, which is taken for the code `assumed`.
fn warn_reserved(dev: &Device, field: &str, reading: Reading, assumed: u64) {
    if let Some(code) = reading.reserved {
        dev_warn!(
            dev,
            "unknown PMSIDR_EL1.{} [{}]; assuming {}\n",
            field,
            code,
            assumed
        );
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
