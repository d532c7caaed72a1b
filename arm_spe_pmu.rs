// SPDX-License-Identifier: GPL-2.0

//! Driver for the Arm Statistical Profiling Extension (SPE), for `perf record -e arm_spe//`.
//!
//! This file has the module, probe and remove. The other files, leaves first:
//!
//! | file | contents |
//! | --- | --- |
//! | `version.rs` | shims for older kernels |
//! | `helpers.rs`, `helpers.c` | macros and inline functions of C |
//! | `sysreg.rs` | registers and barriers; the only inline assembly |
//! | `caps.rs` | the ID registers, decoded |
//! | `syndrome.rs` | `PMBSR_EL1`, decoded |
//! | `event.rs` | the user ABI: `perf_event_attr` to register values |
//! | `buffer_limit.rs` | where in the AUX buffer the unit may write |
//! | `record.rs` | the records that the unit writes, decoded |
//! | `counters.rs` | counters of what happened on a CPU |
//! | `percpu.rs` | per-CPU data; functions that run on a given CPU |
//! | `perf_quirks.rs` | work-arounds for faults of perf's core |
//! | `perf/` | a safe interface to perf for PMUs with an AUX buffer |
//! | `live_buffer.rs` | the buffers of live events, and the way of the records out of them |
//! | `aux_buffer.rs` | the mapping of the AUX buffer; the AUX transaction |
//! | `unit.rs` | the register sequences of one unit |
//! | `state.rs` | the state machine of one unit; `state_check.rs` checks it (`make DEBUG=1`) |
//! | `late_probe.rs` | probing again when a CPU comes online |
//! | `device.rs` | the units of one device, compared with each other |
//! | `irq.rs` | the interrupt |
//! | `live.rs`, `live.c`, `arm_spe_trace.h` | live events: records as trace events |
//! | `hotplug.rs` | CPU hotplug |
//! | `cpu_pm.rs` | CPUs that lose their power in idle or in suspend |
//! | `pmu.rs` | the callbacks of perf |
//! | `debugfs.rs`, `sysfs.rs` | the files |
//!
//! `docs/design.md` has the state machine, the guarantees, and the differences to the C driver.

// A state or a transaction must not be dropped by accident.
#![deny(unused_must_use)]

mod aux_buffer;
mod bindings;
mod buffer_limit;
mod caps;
mod counters;
mod cpu_pm;
mod debugfs;
mod device;
mod event;
mod helpers;
mod hotplug;
mod irq;
mod late_probe;
mod live;
mod live_buffer;
mod percpu;
mod perf;
mod perf_quirks;
mod pmu;
mod record;
mod state;
mod syndrome;
mod sysfs;
mod sysreg;
mod unit;
mod version;

// perf's AUX transactions. In a kernel with KUnit, cases replace them for events of their own.
#[cfg(not(CONFIG_KUNIT = "y"))]
use bindings as perf_core;
#[cfg(CONFIG_KUNIT = "y")]
use state::tests::ring as perf_core;

use crate::{
    device::{
        PmuNumber,
        Units, //
    },
    irq::Handler,
    percpu::NotInNmi,
    perf::Registration,
    pmu::SpePmu,
    sysreg::ID_AA64DFR0_EL1, //
};
use kernel::{
    bindings as c,
    device::{
        Core,
        Device, //
    },
    driver,
    of,
    platform,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};

/// The name of the driver, its interrupt and its hotplug state; that of the C driver.
const NAME: &CStr = c"arm_spe_pmu";

/// A device that is bound. The fields are dropped in their order: the PMU, then its units, which
/// CPU PM need not restore any more, then their interrupt.
#[pin_data]
struct SpeDevice {
    #[pin]
    pmu: Registration<SpePmu>,
    #[pin]
    ready: hotplug::Instance,
    #[pin]
    power: cpu_pm::Notifier,
    handler: Handler,
    files: debugfs::Files,
    number: PmuNumber,
}

impl platform::Driver for SpeDevice {
    type IdInfo = ();
    type Data<'bound> = Self;
    const OF_ID_TABLE: Option<of::IdTable<Self::IdInfo>> = Some(&OF_TABLE);

    fn probe<'bound>(
        pdev: &'bound platform::Device<Core<'_>>,
        _id_info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let dev: &Device = pdev.as_ref();
            refuse_unmapped_kernel(dev)?;

            let units = Arc::new(Units::find(pdev)?, GFP_KERNEL)?;
            log(dev, &units);
            let number = PmuNumber::take()?;
            let number_of_pmu = number.get();
            let name = CString::try_from_fmt(fmt!("arm_spe_{}", number_of_pmu))?;
            Ok(try_pin_init!(Self {
                // First, and so released last after an error: the files have the number, too.
                number,
                files: debugfs::Files::new(units.clone(), &name),
                handler: Handler::request(units.clone(), NAME)?,
                power <- cpu_pm::Notifier::new(units.clone()),
                ready <- hotplug::Instance::new(units.clone()),
                // SAFETY: All PMUs of this module have the same types.
                pmu <- unsafe {
                    Registration::new(
                        SpePmu { units },
                        number_of_pmu,
                        name,
                        pdev.as_ref(),
                        &sysfs::GROUPS,
                    )
                },
            }))
        })
    }
}

/// Returns `ENODEV`, with a message, if all CPUs are online and none has a unit.
fn refuse_without_unit() -> Result {
    // A CPU that is offline may have a unit.
    let has_unit = |_: NotInNmi<'_>| caps::version(ID_AA64DFR0_EL1::read()).is_ok();
    if percpu::possible_cpus().any(|cpu| percpu::run_on(cpu, has_unit).unwrap_or(true)) {
        return Ok(());
    }
    pr_err!("no CPU has the Statistical Profiling Extension (ID_AA64DFR0_EL1.PMSVer is 0)\n");
    Err(ENODEV)
}

/// Returns `EPERM`, with a message, if the kernel is unmapped while user space runs (KPTI): the
/// unit would fault on its first write to the buffer.
fn refuse_unmapped_kernel(dev: &Device) -> Result {
    static WARNED: Atomic<bool> = Atomic::new(false);

    if !helpers::kernel_unmapped_at_el0() {
        return Ok(());
    }
    if !WARNED.xchg(true, Relaxed) {
        dev_warn!(
            dev,
            "profiling buffer inaccessible. Try passing \"kpti=off\" on the kernel command line\n"
        );
    }
    Err(EPERM)
}

/// Logs the message of the C driver.
fn log(dev: &Device, units: &Units) {
    let caps = units.caps();
    // SAFETY: The format takes: the version, the number of bits and the pointer of a mask, two
    // sizes, and 64 bits. The C function is used because only C prints CPU lists.
    unsafe {
        c::_dev_info(
            perf::device_ptr(dev),
            c"probed SPEv1.%llu for CPUs %*pbl [max_record_sz %llu, align %llu, features 0x%llx]\n"
                .as_char_ptr(),
            caps.version,
            kernel::cpu::nr_cpu_ids(),
            units.cpus().as_raw(),
            caps.sampling.max_record,
            caps.align,
            caps.sampling.features.0,
        )
    };
}

version::of_table!(
    OF_TABLE,
    <SpeDevice as platform::Driver>::IdInfo,
    [(
        of::DeviceId::new(c"arm,statistical-profiling-extension-v1"),
        ()
    )]
);

/// The name of the platform device that the kernel creates on ACPI machines.
#[export_name = "__mod_device_table__0__kmod_arm_spe_pmu__platform__PLATFORM_TABLE"]
static PLATFORM_TABLE: PlatformTable = PlatformTable([
    c::platform_device_id {
        name: {
            let mut name = [0; 24];
            let mut n = 0;
            while n < bindings::ARMV8_SPE_PDEV_NAME.len() {
                name[n] = bindings::ARMV8_SPE_PDEV_NAME[n];
                n += 1;
            }
            name
        },
        driver_data: 0,
    },
    pin_init::zeroed(),
]);

#[repr(transparent)]
struct PlatformTable([c::platform_device_id; 2]);

// SAFETY: The table is not written to.
unsafe impl Sync for PlatformTable {}

/// Wraps the kernel crate's platform adapter and adds the `id_table` that it lacks.
struct Adapter;

type Platform = platform::Adapter<SpeDevice>;

// SAFETY: All items are those of the kernel crate's adapter.
unsafe impl driver::DriverLayout for Adapter {
    type DriverType = <Platform as driver::DriverLayout>::DriverType;
    type DriverData<'bound> = <Platform as driver::DriverLayout>::DriverData<'bound>;
    const DEVICE_DRIVER_OFFSET: usize = <Platform as driver::DriverLayout>::DEVICE_DRIVER_OFFSET;
}

impl Adapter {
    /// Turns the units off before the machine goes down or another kernel starts (kexec), which
    /// would not know of them.
    ///
    /// # Safety
    ///
    /// Must be called by the platform bus with a device that is bound.
    unsafe extern "C" fn shutdown(pdev: *mut c::platform_device) {
        // SAFETY: device_shutdown() holds the lock of the device, so that it stays bound. Its data
        // is what `probe` has made.
        let device = unsafe {
            let data = c::dev_get_drvdata(&raw const (*pdev).dev);
            <Pin<KBox<SpeDevice>> as ForeignOwnable>::borrow(data)
        };
        device.ready.retire();
    }
}

// SAFETY: Registered and unregistered by the kernel crate's adapter.
unsafe impl driver::RegistrationOps for Adapter {
    unsafe fn register(
        driver: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: The driver is not registered yet; the table is static; its last entry is empty.
        unsafe {
            (*driver.get()).id_table = PLATFORM_TABLE.0.as_ptr();
            // As in the C driver: a device is unbound only when the module is unloaded, which fails
            // while there are events.
            (*driver.get()).driver.suppress_bind_attrs = true;
            (*driver.get()).shutdown = Some(Self::shutdown);
        }
        // SAFETY: A probe alone makes requests, when the driver is registered. `unregister` stops
        // this first.
        unsafe { late_probe::start(&raw mut (*driver.get()).driver)? };
        // SAFETY: By the safety requirements.
        unsafe { Platform::register(driver, name, module) }.inspect_err(|_| late_probe::stop())
    }

    unsafe fn unregister(driver: &Opaque<Self::DriverType>) {
        late_probe::stop();
        // SAFETY: By the safety requirements.
        unsafe { Platform::unregister(driver) };
        // Each AUX buffer, which may outlive its events, has a reference to the module.
        pmu::free_deferred_buffers_at_unload();
    }
}

/// The module. The fields are dropped in their order: the devices before the hotplug callbacks.
#[pin_data]
struct SpeModule {
    #[pin]
    driver: driver::Registration<Adapter>,
    hotplug: hotplug::Callbacks,
}

impl kernel::InPlaceModule for SpeModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            refuse_without_unit()?;
            pr_info!("Rust driver for the Arm Statistical Profiling Extension\n");
            Ok(try_pin_init!(Self {
                hotplug: hotplug::Callbacks::register(NAME)?,
                driver <- driver::Registration::new(NAME, module),
            }))
        })
    }
}

module! {
    type: SpeModule,
    name: "arm_spe_pmu",
    authors: ["The arm_spe_pmu developers"],
    description: "Perf driver for the Arm Statistical Profiling Extension, in Rust",
    license: "GPL v2",
}
