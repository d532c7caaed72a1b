// SPDX-License-Identifier: GPL-2.0

//! The files below `/sys/bus/event_source/devices/arm_spe_N/`: `cpumask`, `caps/` and `format/`.

use crate::{
    caps::Caps,
    event::{
        Field,
        FORMAT, //
    },
    perf::{
        Groups,
        Registration, //
    },
    pmu::SpePmu,
    sysreg::{
        Register,
        PMSIDR_EL1, //
    }, //
};
use core::ptr;
use kernel::{
    bindings::{
        attribute,
        attribute_group,
        device,
        device_attribute,
        kobject,
        sysfs_emit,
        umode_t, //
    },
    container_of,
    ffi::{
        c_char,
        c_int,
        c_uint, //
    },
    prelude::*, //
};

/// Replaces `as_char_ptr()` in constants.
const fn char_ptr(text: &'static CStr) -> *const c_char {
    text.to_bytes_with_nul().as_ptr()
}

const READABLE: umode_t = 0o444;

/// A world-readable file, and what [`Show`] needs.
#[repr(C)]
struct File<A> {
    /// The first field, by which [`Self::about`] finds the other.
    attribute: device_attribute,
    about: A,
}

// SAFETY: The files are not written to; the kernel uses only the address of the lock class.
unsafe impl<A: Sync> Sync for File<A> {}

/// The function that writes a file's contents to a page.
type Show = unsafe extern "C" fn(*mut device, *mut device_attribute, *mut c_char) -> isize;

impl<A> File<A> {
    const fn new(name: &'static CStr, show: Show, about: A) -> Self {
        let mut attribute: device_attribute = pin_init::zeroed();
        attribute.attr.name = char_ptr(name);
        attribute.attr.mode = READABLE;
        // A field of a union, or with CFI of a structure.
        attribute.__bindgen_anon_1.show = Some(show);
        Self { attribute, about }
    }

    /// # Safety
    ///
    /// `attribute` must be that of a `File<A>` that is static.
    unsafe fn about(attribute: *mut device_attribute) -> &'static A {
        // SAFETY: By the safety requirements; it is the first field.
        unsafe { &(*attribute.cast::<Self>()).about }
    }
}

struct Cap {
    value: fn(&Caps) -> u64,
    format: &'static CStr,
}

const DECIMAL: &CStr = c"%llu\n";
const HEX: &CStr = c"0x%llx\n";

/// The files of `caps/`. The first five are those of the C driver.
static CAPS: [File<Cap>; 21] = {
    const fn cap(name: &'static CStr, format: &'static CStr, value: fn(&Caps) -> u64) -> File<Cap> {
        File::new(name, show_cap, Cap { value, format })
    }
    macro_rules! pmsidr {
        ($name:literal, $field:ident) => {
            cap($name, DECIMAL, |caps| caps.pmsidr.get(PMSIDR_EL1::$field))
        };
    }
    [
        // Architectural instructions are sampled (1), or micro-operations (0).
        pmsidr!(c"arch_inst", ARCHINST),
        // The random number is added after the interval (1), or within it (0).
        pmsidr!(c"ernd", ERND),
        // The width of the counters in a record, in bits.
        cap(c"count_size", DECIMAL, |caps| {
            caps.sampling.count_size.value
        }),
        // The recommended minimal interval, in operations.
        cap(c"min_interval", DECIMAL, |caps| {
            caps.sampling.min_interval.value
        }),
        // The events that `event_filter` accepts.
        cap(c"event_filter", HEX, |caps| caps.event_filter),
        // N of SPEv1pN.
        cap(c"version", DECIMAL, |caps| caps.version),
        // In bytes.
        cap(c"max_record_size", DECIMAL, |caps| caps.sampling.max_record),
        cap(c"align", DECIMAL, |caps| caps.align),
        pmsidr!(c"fe", FE),
        pmsidr!(c"ft", FT),
        pmsidr!(c"fl", FL),
        pmsidr!(c"lds", LDS),
        pmsidr!(c"fne", FnE),
        pmsidr!(c"fds", FDS),
        pmsidr!(c"format", FORMAT),
        pmsidr!(c"pbt", PBT),
        pmsidr!(c"crr", CRR),
        pmsidr!(c"eft", EFT),
        pmsidr!(c"fpf", FPF),
        pmsidr!(c"altclk", ALTCLK),
        pmsidr!(c"sme", SME),
    ]
};

/// # Safety
///
/// Must be called by sysfs, for a file of a PMU of this driver that was made with this function.
unsafe extern "C" fn show_cap(
    dev: *mut device,
    attribute: *mut device_attribute,
    page: *mut c_char,
) -> isize {
    // SAFETY: By the safety requirements. The files are removed before the PMU. sysfs passes a page
    // to write to; the format takes one 64-bit integer.
    let len = unsafe {
        let spe = Registration::<SpePmu>::from_device(dev);
        let cap = File::<Cap>::about(attribute);
        sysfs_emit(page, char_ptr(cap.format), (cap.value)(spe.units.caps()))
    };
    len as isize
}

/// The files of `format/`.
static FORMATS: [File<&'static Field>; FORMAT.len()] = {
    let mut files = [const { File::new(c"", show_format, &FORMAT[0]) }; FORMAT.len()];
    let mut n = 0;
    while n < FORMAT.len() {
        files[n] = File::new(FORMAT[n].name, show_format, &FORMAT[n]);
        n += 1;
    }
    files
};

/// Shows the place of a field in `perf_event_attr`: `config:0`, `config2:0-11`.
///
/// # Safety
///
/// As for [`show_cap`].
unsafe extern "C" fn show_format(
    _dev: *mut device,
    attribute: *mut device_attribute,
    page: *mut c_char,
) -> isize {
    // SAFETY: As in `show_cap`; the formats take what follows them.
    let len = unsafe {
        let field = File::<&'static Field>::about(attribute);
        let word = char_ptr(field.word.name());
        if field.low == field.high {
            sysfs_emit(page, char_ptr(c"%s:%u\n"), word, field.low)
        } else {
            sysfs_emit(page, char_ptr(c"%s:%u-%u\n"), word, field.low, field.high)
        }
    };
    len as isize
}

/// Hides the fields that the hardware does not implement.
///
/// # Safety
///
/// As for [`show_cap`].
unsafe extern "C" fn format_is_visible(
    kobj: *mut kobject,
    attribute: *mut attribute,
    _index: c_int,
) -> umode_t {
    // SAFETY: sysfs passes the kernel object of the device, and one of `FORMATS`.
    let (spe, field) = unsafe {
        (
            Registration::<SpePmu>::from_device(container_of!(kobj, device, kobj)),
            File::<&'static Field>::about(container_of!(attribute, device_attribute, attr)),
        )
    };
    if spe.units.caps().sampling.features.contains(field.needs) {
        READABLE
    } else {
        0
    }
}

static CPUMASK: [File<()>; 1] = [File::new(c"cpumask", show_cpumask, ())];

/// Shows the CPUs that events can run on: `0-3,6`.
///
/// # Safety
///
/// As for [`show_cap`].
unsafe extern "C" fn show_cpumask(
    dev: *mut device,
    _attribute: *mut device_attribute,
    page: *mut c_char,
) -> isize {
    // SAFETY: As in `show_cap`; the format takes the number of bits and a pointer to them.
    let len = unsafe {
        let spe = Registration::<SpePmu>::from_device(dev);
        sysfs_emit(
            page,
            char_ptr(c"%*pbl\n"),
            kernel::cpu::nr_cpu_ids() as c_uint,
            spe.units.usable().as_raw(),
        )
    };
    len as isize
}

/// Makes a value with raw pointers usable in a `static`.
#[repr(transparent)]
struct Shared<T>(T);

// SAFETY: The pointers within are to files, which are not written to.
unsafe impl<T> Sync for Shared<T> {}

/// Makes a group of files; `attributes` ends with a null pointer.
const fn group<const N: usize>(
    name: *const c_char,
    attributes: &'static Shared<[*mut attribute; N]>,
) -> attribute_group {
    let mut group: attribute_group = pin_init::zeroed();
    group.name = name;
    group.__bindgen_anon_2.attrs = (&raw const attributes.0).cast_mut().cast();
    group
}

/// Lists the attributes of `files`, and a null pointer.
const fn list<A, const N: usize>(files: &'static [File<A>]) -> Shared<[*mut attribute; N]> {
    assert!(N == files.len() + 1);
    let mut list = [ptr::null_mut(); N];
    let mut n = 0;
    while n < files.len() {
        list[n] = (&raw const files[n].attribute.attr).cast_mut();
        n += 1;
    }
    Shared(list)
}

static CPUMASK_LIST: Shared<[*mut attribute; CPUMASK.len() + 1]> = list(&CPUMASK);
/// The group without a name: `cpumask` is beside the directories.
static CPUMASK_GROUP: Shared<attribute_group> = Shared(group(ptr::null(), &CPUMASK_LIST));

static CAPS_LIST: Shared<[*mut attribute; CAPS.len() + 1]> = list(&CAPS);
static CAPS_GROUP: Shared<attribute_group> = Shared(group(char_ptr(c"caps"), &CAPS_LIST));

static FORMATS_LIST: Shared<[*mut attribute; FORMATS.len() + 1]> = list(&FORMATS);
static FORMATS_GROUP: Shared<attribute_group> = Shared({
    let mut group = group(char_ptr(c"format"), &FORMATS_LIST);
    group.__bindgen_anon_1.is_visible = Some(format_is_visible);
    group
});

/// The groups of a PMU.
pub(crate) static GROUPS: Groups = Groups::new(&[
    Some(&CPUMASK_GROUP.0),
    Some(&CAPS_GROUP.0),
    Some(&FORMATS_GROUP.0),
    None,
]);
