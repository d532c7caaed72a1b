// SPDX-License-Identifier: GPL-2.0

//! Driver for the Arm Statistical Profiling Extension (SPE), for `perf record -e arm_spe//`.
//!
//! The rooms, from the hardware up:
//!
//! | file | what is done there |
//! | --- | --- |
//! | `sysreg.rs` | the registers and barriers; the only inline assembly |
//! | `features.rs` | what the ID registers say; pure |
//! | `syndrome.rs` | why the unit stopped; pure |
//! | `event.rs` | the user ABI: `perf_event_attr` to registers; pure |
//! | `offset.rs` | where in the AUX buffer the unit may write; pure |
//! | `perf.rs` | a safe face for `struct pmu` and the AUX buffer |
//! | `percpu.rs` | a value for each CPU |
//! | `aux_buffer.rs` | the mapping of the AUX buffer, and sessions in it |
//! | `counters.rs` | what happened on a CPU, for debugfs |
//! | `state.rs` | the state machine of one unit; `check.rs` looks whether it is true (`make DEBUG=1`) |
//! | `irq.rs` | the units of a device, and their interrupt |
//! | `hotplug.rs` | CPUs that come and go |
//! | `pmu.rs` | the callbacks of perf |
//! | `sysfs.rs` | the files of the PMU |
//!
//! What the driver promises, and where that is kept:
//!
//! - One truth: what perf is told of an event (`hw.state`) is what the unit does, at the return of
//!   every callback and of the interrupt handler: `state.rs`, `Slot::put` and `Slot::release`.
//! - No silent failure: a start that fails comes back as an error, and no register has been
//!   written: `state.rs`, `Off::arm`; `pmu.rs`, `add`.
//! - A session is spent once: `perf.rs`, `AuxSession`; `aux_buffer.rs`, `Session`.
//! - Neither the callbacks from `add` to `read` nor the interrupt handler allocate or sleep:
//!   `tests/env/hot-path` sees to it in each build.
//! - An event is judged once, when it is opened: `event.rs`, `Image`.
//! - The hardware is never trusted: `syndrome.rs`, `features.rs`; `aux_buffer.rs`,
//!   `Session::written`.
//!
//! This file finds the devices.

// A state of the unit that is dropped can never be left.
#![deny(unused_must_use)]

mod aux_buffer;
mod bindings;
mod counters;
mod event;
mod features;
mod hotplug;
mod irq;
mod offset;
mod percpu;
mod perf;
mod pmu;
mod state;
mod syndrome;
mod sysfs;
mod sysreg;
mod version;

use crate::{
    aux_buffer::Buffer,
    features::{
        Reading,
        Unusable, //
    },
    irq::{
        Handler,
        Units, //
    },
    perf::Registration,
    pmu::{
        Spe,
        Traits, //
    },
    sysreg::{
        Register,
        ID_AA64DFR0_EL1,
        PMBIDR_EL1,
        PMSEVFR_EL1,
        PMSIDR_EL1, //
    }, //
};
use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    Ordering, //
};
use kernel::{
    bindings as c,
    cpu::CpuId,
    device::{
        Core,
        Device, //
    },
    driver,
    of,
    platform,
    prelude::*,
    str::CString,
    sync::Arc,
    types::Opaque, //
};

/// The name of the driver, its interrupt and its hotplug state; that of the C driver.
const NAME: &CStr = c"arm_spe_pmu";

/// The units of one device, ready for perf.
///
/// The fields are dropped in their order: first nobody can open events any more, then the units are
/// turned off, then the interrupt is freed.
#[pin_data]
struct SpeDevice {
    /// What perf opens events of.
    #[pin]
    pmu: Registration<Spe>,
    /// Turns the units on and off, with their CPUs and at the end.
    #[pin]
    ready: hotplug::Instance<Spe>,
    /// The interrupt.
    handler: Handler<Spe>,
    /// The counters, in debugfs.
    files: counters::Files<Spe>,
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
            let traits = examine(dev, &units)?;
            log(dev, &units, &traits);
            let name = name()?;
            Ok(try_pin_init!(Self {
                files: counters::Files::new(units.clone(), &name),
                handler: Handler::request(units.clone(), NAME)?,
                ready <- hotplug::Instance::new(units.clone()),
                pmu <- Registration::new(
                    Spe { units, traits },
                    name,
                    dev,
                    &sysfs::GROUPS,
                    version::this_module(),
                ),
            }))
        })
    }
}

/// On a machine without any unit there will never be a device; whoever loads the module by hand is
/// told so at once.
fn refuse_without_unit() -> Result {
    let has_unit = || features::version(ID_AA64DFR0_EL1::read()).is_ok();
    if percpu::possible_cpus().any(|cpu| percpu::run_on(cpu, has_unit) == Ok(true)) {
        return Ok(());
    }
    pr_err!(
        "no Statistical Profiling Extension on the CPUs that are online (ID_AA64DFR0_EL1.PMSVer is 0)\n"
    );
    Err(ENODEV)
}

/// A kernel that is unmapped while user space runs (KPTI) is no place to write to while that is
/// sampled: the unit would take a translation fault on the buffer at once.
fn refuse_unmapped_kernel(dev: &Device) -> Result {
    static WARNED: AtomicBool = AtomicBool::new(false);

    let cap = bindings::ARM64_UNMAP_KERNEL_AT_EL0 as usize;
    // SAFETY: The array holds a bit for each capability, and does not change once the machine has
    // booted.
    let word = unsafe {
        (&raw const c::system_cpucaps)
            .cast::<usize>()
            .add(cap / usize::BITS as usize)
            .read()
    };
    if word & 1 << (cap % usize::BITS as usize) == 0 {
        return Ok(());
    }
    if !WARNED.swap(true, Ordering::Relaxed) {
        dev_warn!(
            dev,
            "profiling buffer inaccessible. Try passing \"kpti=off\" on the kernel command line\n"
        );
    }
    Err(EPERM)
}

/// Asks the unit of one CPU what it can do; the others are taken to be alike.
fn examine(dev: &Device, units: &Units<Spe>) -> Result<Traits> {
    let (cpu, found) = percpu::run_on_any(units.cpus(), || (CpuId::current().as_u32(), read_ids()))
        .map_err(|_| ENXIO)?;
    match found {
        Ok(traits) => {
            warn_reserved(dev, "Interval", traits.sampling.min_interval, 8);
            warn_reserved(dev, "CountSize", traits.sampling.count_size, 2);
            Ok(traits)
        }
        Err(Unusable::Owned) => {
            dev_err!(dev, "profiling buffer owned by higher exception level\n");
            Err(ENXIO)
        }
        Err(Unusable::Code { field, code }) => {
            dev_err!(dev, "unsupported {} [{}] on CPU {}\n", field, code, cpu);
            Err(ENXIO)
        }
    }
}

/// Reads the ID registers of this CPU, each only after those that say that it is there.
fn read_ids() -> Result<Traits, Unusable> {
    let version = features::version(ID_AA64DFR0_EL1::read())?;
    let align = features::alignment(PMBIDR_EL1::read())?;
    let sampling = features::sampling(PMSIDR_EL1::read(), version)?;

    // Bits of events that the unit does not know cannot be set.
    PMSEVFR_EL1::from_bits(u64::MAX).write();
    let event_filter = PMSEVFR_EL1::read().bits();

    Ok(Traits {
        version,
        align,
        sampling,
        event_filter,
    })
}

/// Says in the log that `field` of `PMSIDR_EL1` holds a reserved code, if it does. `assumed` is the
/// code that it is taken for.
#[cold]
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

/// Says in the log what was found, in the words of the C driver.
#[inline]
fn log(dev: &Device, units: &Units<Spe>, traits: &Traits) {
    // SAFETY: The format takes: the version, the number of bits and the pointer of a mask, two
    // sizes, and 64 bits. The C function is used because only C prints CPU lists.
    unsafe {
        c::_dev_info(
            perf::device_ptr(dev),
            c"probed SPEv1.%llu for CPUs %*pbl [max_record_sz %llu, align %llu, features 0x%llx]\n"
                .as_char_ptr(),
            traits.version,
            kernel::cpu::nr_cpu_ids(),
            units.cpus().as_raw(),
            traits.sampling.max_record,
            traits.align,
            traits.sampling.features.0,
        )
    };
}

/// The name of the next PMU: `arm_spe_0`, `arm_spe_1`, and so on.
fn name() -> Result<CString> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let index = NEXT.fetch_add(1, Ordering::Relaxed);
    CString::try_from_fmt(fmt!("arm_spe_{}", index))
}

version::of_table!(
    OF_TABLE,
    <SpeDevice as platform::Driver>::IdInfo,
    [(
        of::DeviceId::new(c"arm,statistical-profiling-extension-v1"),
        ()
    )]
);

/// The names of platform devices: on ACPI machines the kernel makes one with this name.
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
    // Such an entry ends the table.
    pin_init::zeroed(),
]);

/// What `platform_driver.id_table` points to: an empty entry is the last.
#[repr(transparent)]
struct PlatformTable([c::platform_device_id; 2]);

// SAFETY: Nobody writes to the table.
unsafe impl Sync for PlatformTable {}

/// The platform adapter of the kernel crate, and what it leaves out: matching by the name of a
/// platform device.
struct Adapter;

/// The platform adapter of the kernel crate.
type Platform = platform::Adapter<SpeDevice>;

// SAFETY: All is that of the kernel crate's adapter.
unsafe impl driver::DriverLayout for Adapter {
    type DriverType = <Platform as driver::DriverLayout>::DriverType;
    type DriverData<'bound> = <Platform as driver::DriverLayout>::DriverData<'bound>;
    const DEVICE_DRIVER_OFFSET: usize = <Platform as driver::DriverLayout>::DEVICE_DRIVER_OFFSET;
}

// SAFETY: Registered and unregistered by the kernel crate's adapter.
unsafe impl driver::RegistrationOps for Adapter {
    #[inline]
    unsafe fn register(
        driver: &Opaque<Self::DriverType>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: The driver is not registered yet; the table is static, and ends with an empty
        // entry.
        unsafe {
            (*driver.get()).id_table = PLATFORM_TABLE.0.as_ptr();
            // As the C driver: a device is let go with the module, which waits for the events that
            // are open.
            (*driver.get()).driver.suppress_bind_attrs = true;
        }
        // SAFETY: By the requirements of this function.
        unsafe { Platform::register(driver, name, module) }
    }

    #[inline]
    unsafe fn unregister(driver: &Opaque<Self::DriverType>) {
        // SAFETY: By the requirements of this function.
        unsafe { Platform::unregister(driver) };
        // No event is left, and so no session that could put one aside.
        Buffer::free_retired();
    }
}

/// The module. The fields are dropped in their order: the devices go before the hotplug callbacks.
#[pin_data]
struct SpeModule {
    /// Finds the devices.
    #[pin]
    driver: driver::Registration<Adapter>,
    /// Tells of CPUs that come and go.
    hotplug: hotplug::Callbacks<Spe>,
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
