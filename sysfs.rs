// SPDX-License-Identifier: GPL-2.0

//! The files below `/sys/bus/event_source/devices/arm_spe_N/`: `cpumask`, `caps/` and `format/`.

use crate::{
    event::{
        Field,
        FORMAT, //
    },
    features::Features,
    perf::{
        Groups,
        Registration, //
    },
    pmu::Spe, //
};
use core::ptr;
use kernel::{
    bindings::{
        attribute,
        attribute_group,
        attribute_group__bindgen_ty_1,
        attribute_group__bindgen_ty_2,
        device,
        device_attribute,
        device_attribute__bindgen_ty_1,
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

/// The pointer that C wants, also in constants.
const fn char_ptr(text: &'static CStr) -> *const c_char {
    text.to_bytes_with_nul().as_ptr()
}

/// For everybody.
const READABLE: umode_t = 0o444;

/// A file that everybody may read, and what it is about.
#[repr(C)]
struct File<A> {
    /// What sysfs knows of it. It is the first field: [`Self::about`] finds the other through it.
    attribute: device_attribute,
    /// What [`Show`] needs to know.
    about: A,
}

// SAFETY: Files are constants that nobody writes to. (The kernel may write to the lock class of an
// attribute, under its own lock.)
unsafe impl<A: Sync> Sync for File<A> {}

/// The function that writes a file's contents to a page.
type Show = unsafe extern "C" fn(*mut device, *mut device_attribute, *mut c_char) -> isize;

impl<A> File<A> {
    /// The file `name`, whose contents `show` writes.
    const fn new(name: &'static CStr, show: Show, about: A) -> Self {
        let mut attribute: device_attribute = pin_init::zeroed();
        attribute.attr.name = char_ptr(name);
        attribute.attr.mode = READABLE;
        attribute.__bindgen_anon_1 = device_attribute__bindgen_ty_1 { show: Some(show) };
        Self { attribute, about }
    }

    /// What the file of `attribute` is about.
    ///
    /// # Safety
    ///
    /// `attribute` must be that of a `File<A>` that lives for ever.
    unsafe fn about(attribute: *mut device_attribute) -> &'static A {
        // SAFETY: By the requirements of this function; it is the first field.
        unsafe { &(*attribute.cast::<Self>()).about }
    }
}

/// The PMU behind a device of `arm_spe_N`.
///
/// # Safety
///
/// `dev` must be the device that perf made for our PMU.
unsafe fn spe<'a>(dev: *mut device) -> &'a Spe {
    // SAFETY: By the requirements of this function. The files go before the PMU does.
    unsafe { Registration::<Spe>::from_device(dev) }
}

/// A file of `caps/`.
struct Cap {
    /// Where its value comes from.
    value: fn(&Spe) -> u64,
    /// [`DECIMAL`] or [`HEX`].
    format: &'static CStr,
}

/// The format of a number.
const DECIMAL: &CStr = c"%llu\n";
/// The format of a set of bits.
const HEX: &CStr = c"0x%llx\n";

/// The files of `caps/`: what the hardware can do, whatever an event asks for.
static CAPS: [File<Cap>; 5] = {
    const fn cap(name: &'static CStr, format: &'static CStr, value: fn(&Spe) -> u64) -> File<Cap> {
        File::new(name, show_cap, Cap { value, format })
    }
    [
        // Whether architectural instructions are sampled (1) or micro-operations (0).
        cap(c"arch_inst", DECIMAL, |spe| {
            spe.traits
                .sampling
                .features
                .contain(Features::ARCH_INST)
                .into()
        }),
        // Whether the random number is added after the interval (1) or within it (0).
        cap(c"ernd", DECIMAL, |spe| {
            spe.traits.sampling.features.contain(Features::ERND).into()
        }),
        // The width of the counters in a record, in bits.
        cap(c"count_size", DECIMAL, |spe| {
            spe.traits.sampling.count_size.value
        }),
        // The recommended minimal interval, in operations.
        cap(c"min_interval", DECIMAL, |spe| {
            spe.traits.sampling.min_interval.value
        }),
        // The events that `event_filter` may ask for.
        cap(c"event_filter", HEX, |spe| spe.traits.event_filter),
    ]
};

/// Shows a [`Cap`].
///
/// # Safety
///
/// To be called by sysfs, for a file of our PMU that was made with this function.
unsafe extern "C" fn show_cap(
    dev: *mut device,
    attribute: *mut device_attribute,
    page: *mut c_char,
) -> isize {
    // SAFETY: By the requirements of this function.
    let (spe, cap) = unsafe { (spe(dev), File::<Cap>::about(attribute)) };
    // SAFETY: sysfs passes a page to write to; the format takes one 64-bit integer.
    let len = unsafe { sysfs_emit(page, char_ptr(cap.format), (cap.value)(spe)) };
    len as isize
}

/// The files of `format/`, one for each entry of [`FORMAT`].
static FORMATS: [File<&'static Field>; FORMAT.len()] = {
    let mut files = [const { File::new(c"", show_format, &FORMAT[0]) }; FORMAT.len()];
    let mut n = 0;
    while n < FORMAT.len() {
        files[n] = File::new(FORMAT[n].name, show_format, &FORMAT[n]);
        n += 1;
    }
    files
};

/// Shows where in `perf_event_attr` a field is: `config:0`, `config2:0-11`.
///
/// # Safety
///
/// As [`show_cap`].
unsafe extern "C" fn show_format(
    _dev: *mut device,
    attribute: *mut device_attribute,
    page: *mut c_char,
) -> isize {
    // SAFETY: By the requirements of this function.
    let field = unsafe { File::<&'static Field>::about(attribute) };
    let word = char_ptr(field.word.name());
    // SAFETY: sysfs passes a page to write to; the formats take what follows them.
    let len = unsafe {
        if field.low == field.high {
            sysfs_emit(page, char_ptr(c"%s:%u\n"), word, field.low)
        } else {
            sysfs_emit(page, char_ptr(c"%s:%u-%u\n"), word, field.low, field.high)
        }
    };
    len as isize
}

/// Hides the fields that the hardware knows nothing of.
///
/// # Safety
///
/// As [`show_cap`].
unsafe extern "C" fn format_is_visible(
    kobj: *mut kobject,
    attribute: *mut attribute,
    _index: c_int,
) -> umode_t {
    // SAFETY: sysfs passes the kernel object of the device, and one of `FORMATS`.
    let (spe, field) = unsafe {
        (
            spe(container_of!(kobj, device, kobj)),
            File::<&'static Field>::about(container_of!(attribute, device_attribute, attr)),
        )
    };
    if spe.traits.sampling.features.contain(field.needs) {
        // As all files of a [`File`].
        READABLE
    } else {
        0
    }
}

/// The file that says which CPUs have a unit.
static CPUMASK: [File<()>; 1] = [File::new(c"cpumask", show_cpumask, ())];

/// Shows the CPUs that have a unit as a list: `0-3,6`.
///
/// # Safety
///
/// As [`show_cap`].
unsafe extern "C" fn show_cpumask(
    dev: *mut device,
    _attribute: *mut device_attribute,
    page: *mut c_char,
) -> isize {
    // SAFETY: By the requirements of this function.
    let cpus = unsafe { spe(dev) }.units.cpus().as_raw();
    // SAFETY: sysfs passes a page to write to; the format takes the number of bits and a pointer to
    // them.
    let len = unsafe {
        sysfs_emit(
            page,
            char_ptr(c"%*pbl\n"),
            kernel::cpu::nr_cpu_ids() as c_uint,
            cpus,
        )
    };
    len as isize
}

/// Something that C wants a pointer to.
#[repr(transparent)]
struct Shared<T>(T);

// SAFETY: The pointers within are to files, which nobody writes to.
unsafe impl<T> Sync for Shared<T> {}

/// A group of files; `attributes` ends with a null pointer.
const fn group<const N: usize>(
    name: *const c_char,
    attributes: &'static Shared<[*mut attribute; N]>,
) -> attribute_group {
    let mut group: attribute_group = pin_init::zeroed();
    group.name = name;
    group.__bindgen_anon_2 = attribute_group__bindgen_ty_2 {
        attrs: (&raw const attributes.0).cast_mut().cast(),
    };
    group
}

/// Pointers to the attributes of `files`, and a null pointer.
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

/// The attribute of [`CPUMASK`].
static CPUMASK_LIST: Shared<[*mut attribute; CPUMASK.len() + 1]> = list(&CPUMASK);
/// The group without a name: `cpumask` is beside the directories.
static CPUMASK_GROUP: Shared<attribute_group> = Shared(group(ptr::null(), &CPUMASK_LIST));

/// The attributes of [`CAPS`].
static CAPS_LIST: Shared<[*mut attribute; CAPS.len() + 1]> = list(&CAPS);
/// The directory `caps/`.
static CAPS_GROUP: Shared<attribute_group> = Shared(group(char_ptr(c"caps"), &CAPS_LIST));

/// The attributes of [`FORMATS`].
static FORMATS_LIST: Shared<[*mut attribute; FORMATS.len() + 1]> = list(&FORMATS);
/// The directory `format/`, without the fields that [`format_is_visible`] hides.
static FORMATS_GROUP: Shared<attribute_group> = Shared({
    let mut group = group(char_ptr(c"format"), &FORMATS_LIST);
    group.__bindgen_anon_1 = attribute_group__bindgen_ty_1 {
        is_visible: Some(format_is_visible),
    };
    group
});

/// The groups, ended by a null pointer.
static GROUP_LIST: Shared<[*const attribute_group; 4]> = Shared([
    &raw const CPUMASK_GROUP.0,
    &raw const CAPS_GROUP.0,
    &raw const FORMATS_GROUP.0,
    ptr::null(),
]);

/// All of the above.
// SAFETY: The list ends with a null pointer, and everything in it is static.
pub(crate) static GROUPS: Groups = unsafe { Groups::new(&GROUP_LIST.0) };
