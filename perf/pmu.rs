// SPDX-License-Identifier: GPL-2.0

//! `struct pmu`: its registration and its callbacks.

use super::{
    Event,
    NewEvent, //
};
use crate::{
    bindings,
    helpers::THIS_MODULE,
    percpu::NotInNmi,
    perf_quirks::{
        pin_module,
        OwnerTag, //
    },
    version::LocalInterruptDisabled, //
};
use core::ptr::{
    null_mut,
    NonNull, //
};
use kernel::{
    bindings::{
        attribute_group,
        module_put,
        perf_event_task_context_perf_sw_context, //
    },
    device::{
        Bound,
        Device, //
    },
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    str::CString,
    types::Opaque, //
};

/// The types of the driver data of events and AUX buffers.
pub(crate) trait PmuTypes: 'static {
    /// Per-event driver data: the validated request.
    type EventData: Send + Sync + 'static;

    /// Driver data of an AUX buffer, aligned to [`OwnerTag::ALIGN`].
    type Aux: Send + Sync + 'static;
}

/// A performance monitoring unit.
///
/// perf calls [`Self::add`], [`Self::del`], [`Self::start`] and [`Self::stop`] with interrupts
/// disabled, on the CPU that the event runs on, and never one inside another. A probe of a trace
/// event that they cause may call [`Self::read`], and an NMI that interrupts them also
/// [`Self::update_sampling`].
///
/// # Safety
///
/// [`Event::activate`] may be called only for the event that is passed to [`Self::add`] or
/// [`Self::start`]. What it returns must be dropped, and the AUX transaction that was begun with it
/// ended, before [`Self::del`] of that event returns, or an [`Self::add`] that fails: perf does not
/// call [`Self::del`] after that.
pub(crate) unsafe trait Pmu: Send + Sync + Sized + 'static {
    type Types: PmuTypes;

    /// `PERF_PMU_CAP_*`.
    const CAPABILITIES: u32;

    /// Validates a new event. May sleep.
    fn event_init(&self, event: &NewEvent<'_, Self::Types>) -> Result<KBox<EventData<Self>>>;

    /// Frees what [`Self::event_init`] made. May sleep.
    fn event_destroy(&self, data: KBox<EventData<Self>>);

    /// Adds `event` to this CPU and, with `start`, starts it. If that fails the event must not run:
    /// perf then removes its whole group.
    fn add(&self, event: &Event<Self::Types>, start: bool, context: NotInNmi<'_>) -> Result;

    /// Stops `event` and removes it from this CPU.
    fn del(&self, event: &Event<Self::Types>, context: NotInNmi<'_>);

    /// Starts `event` with [`Event::period_left`], or lets it run again if it is throttled.
    fn start(&self, event: &Event<Self::Types>, context: NotInNmi<'_>);

    /// Stops `event` and hands its data to perf (`PERF_EF_UPDATE`).
    fn stop(&self, event: &Event<Self::Types>, context: NotInNmi<'_>);

    /// Stops or continues sampling for `event`, which may be inactive, after
    /// [`Event::is_paused`] or [`Event::is_stopped`] has changed. May be called in an NMI.
    fn update_sampling(&self, event: &Event<Self::Types>, irq: &LocalInterruptDisabled);

    /// Brings [`Event::add_count`] up to date for `event`, which runs on this CPU. May be called in
    /// the middle of another callback, or in an NMI.
    fn read(&self, event: &Event<Self::Types>, irq: &LocalInterruptDisabled);

    /// Makes an AUX buffer of `pages` for `event`, which is bound to `cpu` or to none. `overwrite`:
    /// no reader frees space. May sleep. perf reports any error as `ENOMEM`.
    fn setup_aux(
        &self,
        event: &Event<Self::Types>,
        cpu: Option<u32>,
        pages: &[AuxPage],
        overwrite: bool,
    ) -> Result<KBox<Aux<Self>>>;

    /// Frees what [`Self::setup_aux`] made. May be called in an NMI.
    fn free_aux(aux: KBox<Aux<Self>>);
}

/// The address of a page of an AUX buffer.
///
/// # Invariants
///
/// The page is in the linear map, and belongs to the AUX buffer that is being made.
#[repr(transparent)]
pub(crate) struct AuxPage(NonNull<c_void>);

type EventData<T> = <<T as Pmu>::Types as PmuTypes>::EventData;
type Aux<T> = <<T as Pmu>::Types as PmuTypes>::Aux;

/// The part of a [`Registration`] that does not depend on the driver.
#[repr(C)]
#[pin_data]
pub(crate) struct TaggedPmu {
    /// The first field, by which callbacks find the others.
    #[pin]
    pub(crate) pmu: Opaque<bindings::pmu>,
    pub(crate) tag: OwnerTag,
}

/// A registered PMU. Dropping it removes the remaining events and unregisters it.
///
/// # Invariants
///
/// The PMU is registered, and its callbacks are those of this type.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T: Pmu> {
    /// The first field, by which callbacks find the others.
    #[pin]
    tagged: TaggedPmu,
    driver: T,
    name: CString,
}

// SAFETY: perf may use the PMU from any thread, and `T` is `Send`.
unsafe impl<T: Pmu> Send for Registration<T> {}

// SAFETY: A shared reference gives access to `T` alone, which is `Sync`.
unsafe impl<T: Pmu> Sync for Registration<T> {}

impl<T: Pmu> Registration<T> {
    const PMU: bindings::pmu = bindings::pmu {
        capabilities: T::CAPABILITIES as c_int,
        // The context of software events is switched with the task, as that of the CPU's own PMU.
        task_ctx_nr: perf_event_task_context_perf_sw_context as c_int,
        event_init: Some(Self::event_init),
        add: Some(Self::add),
        del: Some(Self::del),
        start: Some(Self::start),
        stop: Some(Self::stop),
        read: Some(Self::read),
        setup_aux: Some(Self::setup_aux),
        free_aux: Some(Self::free_aux),
        ..pin_init::zeroed()
    };

    /// Registers `driver` as the PMU `name` below `parent`, with the sysfs attributes `groups`.
    ///
    /// # Safety
    ///
    /// `number` must be less than 32. No other PMU of this module, and no buffer of one that is
    /// gone, may have it, unless [`PmuTypes::Aux`] is the same type.
    pub(crate) unsafe fn new<'a>(
        driver: T,
        number: u32,
        name: CString,
        parent: &'a Device<Bound>,
        groups: &'static Groups,
    ) -> impl PinInit<Self, Error> + 'a {
        let text = name.as_char_ptr();
        // INVARIANT: Made only if `perf_pmu_register()` succeeded.
        try_pin_init!(Self {
            driver,
            name,
            // Last: `perf_pmu_register()` makes the sysfs files, whose functions use the driver.
            // Other CPUs may open events before it returns.
            tagged <- try_pin_init!(TaggedPmu {
                tag: OwnerTag::new(number),
                pmu <- Opaque::try_ffi_init(move |pmu: *mut bindings::pmu| {
                    // SAFETY: `pmu` may be written to. It is pinned and complete when it is
                    // registered. perf keeps `text`, memory of `name`, which is dropped after
                    // unregistering.
                    unsafe {
                        pmu.write(Self::PMU);
                        (*pmu).module = THIS_MODULE;
                        (*pmu).parent = device_ptr(parent);
                        (*pmu).attr_groups = groups.0.as_ptr().cast_mut().cast();
                        to_result(bindings::perf_pmu_register(pmu, text, -1))
                    }
                }),
            }),
        })
    }

    /// # Safety
    ///
    /// `pmu` must be that of a registration of this type, registered or just being registered,
    /// during `'a`.
    unsafe fn driver<'a>(pmu: *const bindings::pmu) -> &'a T {
        // SAFETY: By the safety requirement. The PMU is the first field of the first field.
        unsafe { &(*pmu.cast::<Self>()).driver }
    }

    /// Returns the driver of the PMU whose device is `dev`.
    ///
    /// # Safety
    ///
    /// `dev` must be the device of a PMU of this type, registered or just being registered, during
    /// `'a`.
    pub(crate) unsafe fn from_device<'a>(dev: *mut kernel::bindings::device) -> &'a T {
        // SAFETY: The driver data of the device is the PMU.
        unsafe { Self::driver((*dev).driver_data.cast()) }
    }

    /// Returns the driver and the event of a callback, which runs with interrupts disabled.
    ///
    /// # Safety
    ///
    /// perf must have passed `event` to a callback of this PMU other than `event_init`, which runs
    /// during `'a`, with interrupts disabled.
    unsafe fn arguments<'a>(
        event: *mut bindings::perf_event,
    ) -> (&'a T, &'a Event<T::Types>, &'a LocalInterruptDisabled) {
        // SAFETY: By the safety requirements. Unregistering waits for callbacks that run.
        unsafe {
            (
                Self::driver((*event).pmu),
                Event::from_raw(event),
                LocalInterruptDisabled::assume_disabled(),
            )
        }
    }

    /// # Safety
    ///
    /// Must be called by perf, with an event of this PMU or what belongs to one, as all callbacks.
    unsafe extern "C" fn event_init(event: *mut bindings::perf_event) -> c_int {
        // SAFETY: perf passes a valid event whose `pmu` it has set to this PMU.
        let (requested, own) = unsafe { ((*event).attr.type_, (*(*event).pmu).type_) };
        // perf offers an event of an unknown type to each PMU in turn.
        if requested != own as u32 {
            return ENOENT.to_errno();
        }
        // SAFETY: perf holds a reference to the PMU, which is this one, and has not published the
        // event yet.
        let (pmu, new) = unsafe { (Self::driver((*event).pmu), NewEvent::from_raw(event)) };
        from_result(|| {
            let data = KBox::into_raw(pmu.event_init(&new)?).cast();
            // SAFETY: As above, nothing else uses the fields yet. `destroy` frees the box.
            unsafe {
                (*event).pmu_private = data;
                (*event).destroy = Some(Self::destroy);
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// As for [`Self::event_init`].
    unsafe extern "C" fn destroy(event: *mut bindings::perf_event) {
        // SAFETY: perf calls this once, at the end of an event that `event_init` has accepted.
        let (pmu, data) = unsafe {
            let data = core::mem::replace(&mut (*event).pmu_private, null_mut());
            let pmu = Self::driver((*event).pmu);
            (pmu, KBox::from_raw(data.cast::<EventData<T>>()))
        };
        pmu.event_destroy(data);
    }

    /// # Safety
    ///
    /// As for [`Self::event_init`].
    unsafe extern "C" fn add(event: *mut bindings::perf_event, flags: c_int) -> c_int {
        // SAFETY: perf calls this with interrupts disabled, and not in an NMI.
        let (pmu, event, context) = unsafe {
            let (pmu, event, irq) = Self::arguments(event);
            (pmu, event, NotInNmi::assume(irq))
        };
        match pmu.add(event, has(flags, bindings::PERF_EF_START), context) {
            Ok(()) => 0,
            Err(err) => err.to_errno(),
        }
    }

    /// # Safety
    ///
    /// As for [`Self::event_init`].
    unsafe extern "C" fn del(event: *mut bindings::perf_event, _flags: c_int) {
        // SAFETY: As in `add`.
        let (pmu, event, context) = unsafe {
            let (pmu, event, irq) = Self::arguments(event);
            (pmu, event, NotInNmi::assume(irq))
        };
        pmu.del(event, context);
    }

    /// # Safety
    ///
    /// As for [`Self::event_init`].
    unsafe extern "C" fn start(event: *mut bindings::perf_event, flags: c_int) {
        // SAFETY: perf calls this with interrupts disabled.
        let (pmu, event, irq) = unsafe { Self::arguments(event) };
        if has(flags, bindings::PERF_EF_RESUME) {
            return pmu.update_sampling(event, irq);
        }
        // SAFETY: perf resumes events in NMIs, but does not start them there.
        pmu.start(event, unsafe { NotInNmi::assume(irq) });
    }

    /// # Safety
    ///
    /// As for [`Self::event_init`].
    unsafe extern "C" fn stop(event: *mut bindings::perf_event, flags: c_int) {
        // SAFETY: As in `start`.
        let (pmu, event, irq) = unsafe { Self::arguments(event) };
        if has(flags, bindings::PERF_EF_UPDATE) {
            // SAFETY: In an NMI perf only pauses (`perf_event_aux_pause()`) and throttles
            // (`perf_event_throttle()`), both without this flag.
            return pmu.stop(event, unsafe { NotInNmi::assume(irq) });
        }
        if !has(flags, bindings::PERF_EF_PAUSE) {
            event.throttle();
        }
        pmu.update_sampling(event, irq);
    }

    /// # Safety
    ///
    /// As for [`Self::event_init`].
    unsafe extern "C" fn read(event: *mut bindings::perf_event) {
        // SAFETY: perf calls this with interrupts disabled.
        let (pmu, event, irq) = unsafe { Self::arguments(event) };
        pmu.read(event, irq);
    }

    /// # Safety
    ///
    /// As for [`Self::event_init`].
    unsafe extern "C" fn setup_aux(
        event: *mut bindings::perf_event,
        pages: *mut *mut c_void,
        nr_pages: c_int,
        overwrite: bool,
    ) -> *mut c_void {
        let nr_pages = usize::try_from(nr_pages).unwrap_or(0);
        // SAFETY: perf passes an event of this PMU, whose `cpu` is constant, and that many pages,
        // which it keeps until `free_aux`. None is null, as `AuxPage` demands.
        let (pmu, event, cpu, pages) = unsafe {
            (
                Self::driver((*event).pmu),
                Event::<T::Types>::from_raw(event),
                u32::try_from((*event).cpu).ok(),
                core::slice::from_raw_parts(pages.cast(), nr_pages),
            )
        };
        let Ok(aux) = pmu.setup_aux(event, cpu, pages, overwrite) else {
            return null_mut();
        };
        pin_module();
        event.owner_tag().tag(NonNull::from(KBox::leak(aux)))
    }

    /// # Safety
    ///
    /// As for [`Self::event_init`].
    unsafe extern "C" fn free_aux(aux: *mut c_void) {
        // `module_put()` may drop the last reference to the module. It comes last, so that it is
        // compiled to a jump and no code of the module runs after it (`make test T=hot_path`).
        //
        // SAFETY: perf passes what `setup_aux` returned, once, after the last transaction.
        // `pin_module()` took the reference.
        unsafe {
            T::free_aux(KBox::from_raw(OwnerTag::strip(aux)));
            module_put(THIS_MODULE);
        }
    }
}

#[pinned_drop]
impl<T: Pmu> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the invariants the PMU is registered.
        unsafe { bindings::perf_pmu_unregister(self.tagged.pmu.get()) };
    }
}

fn has(flags: c_int, flag: u32) -> bool {
    flags as u32 & flag != 0
}

/// The sysfs attributes of a PMU.
///
/// # Invariants
///
/// The last entry is `None`, which is a null pointer for C.
pub(crate) struct Groups(&'static [Option<&'static attribute_group>]);

// SAFETY: The groups are not written to.
unsafe impl Sync for Groups {}

impl Groups {
    pub(crate) const fn new(groups: &'static [Option<&'static attribute_group>]) -> Self {
        assert!(matches!(groups, [.., None]));
        Self(groups)
    }
}

pub(crate) fn device_ptr(device: &Device) -> *mut kernel::bindings::device {
    core::ptr::from_ref(device).cast_mut().cast()
}
