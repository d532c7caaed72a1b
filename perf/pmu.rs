// SPDX-License-Identifier: GPL-2.0

//! `struct pmu`: its registration and its callbacks.

use super::{
    Event,
    NewEvent, //
};
use crate::{
    bindings,
    percpu::NotInNmi,
    perf_quirks::{
        pin_module,
        OwnerTag, //
    },
    version::{
        this_module,
        LocalInterruptDisabled, //
    }, //
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
    device::Device,
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

/// The types of what a PMU keeps with its events and with their AUX buffers.
pub(crate) trait PmuTypes: 'static {
    /// What belongs to an event: the validated request.
    type EventData: Send + Sync + 'static;

    /// What belongs to an AUX buffer, aligned to [`OwnerTag::ALIGN`].
    type Aux: Send + Sync + 'static;
}

/// A performance monitoring unit.
///
/// perf calls [`Self::add`], [`Self::del`], [`Self::start`] and [`Self::stop`] with interrupts
/// disabled, on the CPU that the event runs on, and never one inside another. An NMI may interrupt
/// them, and then calls [`Self::update_sampling`] at most. The PMU does not count.
///
/// # Safety
///
/// [`Event::activate`] may be called only for the event that is passed to [`Self::add`] or
/// [`Self::start`], and what it returns must be dropped before [`Self::del`] of that event returns.
pub(crate) unsafe trait Pmu: Send + Sync + Sized + 'static {
    /// The types of its events and buffers.
    type Types: PmuTypes;

    /// What the PMU can do: `PERF_PMU_CAP_*`.
    const CAPABILITIES: u32;

    /// Validates a new event. May sleep.
    fn event_init(&self, event: &NewEvent<'_, Self::Types>) -> Result<KBox<EventData<Self>>>;

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

    /// Makes the AUX buffer of `event`, which is bound to the CPU number `cpu` if it is bound to
    /// one, out of `pages`: the addresses of single pages. `overwrite`: the buffer has no reader
    /// that frees space. May sleep.
    ///
    /// perf reports any error as `ENOMEM`.
    fn setup_aux(
        &self,
        cpu: Option<u32>,
        pages: &[NonNull<c_void>],
        overwrite: bool,
    ) -> Result<KBox<Aux<Self>>>;

    /// Frees what [`Self::setup_aux`] made. perf calls this when it drops the last
    /// reference, which may be in an NMI.
    fn free_aux(aux: KBox<Aux<Self>>);
}

/// What the PMU `T` keeps with an event.
pub(crate) type EventData<T> = <<T as Pmu>::Types as PmuTypes>::EventData;

/// What the PMU `T` keeps with an AUX buffer.
pub(crate) type Aux<T> = <<T as Pmu>::Types as PmuTypes>::Aux;

/// The part of a [`Registration`] that does not depend on the driver.
#[repr(C)]
#[pin_data]
pub(crate) struct TaggedPmu {
    /// The first field, by which callbacks find the others.
    #[pin]
    pmu: Opaque<bindings::pmu>,
    tag: OwnerTag,
}

impl TaggedPmu {
    /// # Safety
    ///
    /// `pmu` must be that of a [`Registration`].
    pub(super) unsafe fn tag(pmu: *const bindings::pmu) -> OwnerTag {
        // SAFETY: The PMU is the first field, and a `TaggedPmu` that of a registration.
        unsafe { (*pmu.cast::<Self>()).tag }
    }
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
    /// perf does not copy the name.
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
    /// `number`, less than 32, is that of no other PMU of this module.
    pub(crate) fn new<'a>(
        driver: T,
        number: u32,
        name: CString,
        parent: &'a Device,
        groups: &'static Groups,
    ) -> impl PinInit<Self, Error> + 'a {
        let init = move |slot: *mut Self| -> Result {
            // SAFETY: `slot` may be written to; nothing can see the fields yet.
            let pmu = unsafe {
                let tag = OwnerTag::new(number);
                (&raw mut (*slot).driver).write(driver);
                (&raw mut (*slot).name).write(name);
                (&raw mut (*slot).tagged.tag).write(tag);
                let pmu = Opaque::cast_into(&raw const (*slot).tagged.pmu);
                pmu.write(Self::PMU);
                (*pmu).module = this_module().as_ptr();
                (*pmu).parent = device_ptr(parent);
                (*pmu).attr_groups = groups.0.as_ptr().cast_mut();
                pmu
            };
            // SAFETY: The PMU is complete and pinned, as is the name, until it is unregistered.
            let registered = to_result(unsafe {
                bindings::perf_pmu_register(pmu, (*slot).name.as_char_ptr(), -1)
            });
            if registered.is_err() {
                // SAFETY: Both were initialised above. `slot` counts as not initialised after an
                // error.
                unsafe {
                    (&raw mut (*slot).driver).drop_in_place();
                    (&raw mut (*slot).name).drop_in_place();
                }
            }
            registered
        };
        // SAFETY: `init` initialises all fields, or none when it returns an error.
        // INVARIANT: `perf_pmu_register()` succeeded.
        unsafe { pin_init::pin_init_from_closure(init) }
    }

    /// Returns the driver of the PMU `pmu`.
    ///
    /// # Safety
    ///
    /// `pmu` must be registered by a registration of this type during `'a`.
    unsafe fn driver<'a>(pmu: *const bindings::pmu) -> &'a T {
        // SAFETY: The PMU is the first field of the first field.
        unsafe { &(*pmu.cast::<Self>()).driver }
    }

    /// Returns the driver of the PMU whose device is `dev`.
    ///
    /// # Safety
    ///
    /// `dev` must be the device of a registered PMU of this type during `'a`.
    pub(crate) unsafe fn from_device<'a>(dev: *mut kernel::bindings::device) -> &'a T {
        // SAFETY: The driver data of the device is the PMU.
        unsafe { Self::driver((*dev).driver_data.cast()) }
    }

    /// Returns the driver and the event of a callback.
    ///
    /// # Safety
    ///
    /// `event` must be an event of this PMU that [`Self::event_init`] has accepted, and stay valid
    /// during `'a`.
    unsafe fn arguments<'a>(event: *mut bindings::perf_event) -> (&'a T, &'a Event<T::Types>) {
        // SAFETY: By the safety requirements. A PMU outlives its events.
        unsafe { (Self::driver((*event).pmu), Event::from_raw(event)) }
    }

    /// # Safety
    ///
    /// Must be called by perf, with an event of this PMU or what belongs to one, as all callbacks.
    unsafe extern "C" fn event_init(event: *mut bindings::perf_event) -> c_int {
        // SAFETY: perf passes a valid event whose `pmu` it has set to this PMU.
        let (pmu, requested) = unsafe { ((*event).pmu, (*event).attr.type_) };
        // perf offers an event of an unknown type to each PMU in turn.
        //
        // SAFETY: The PMU is registered.
        if unsafe { (*pmu).type_ } as u32 != requested {
            return ENOENT.to_errno();
        }
        from_result(|| {
            // SAFETY: The PMU is of this type, and the event not published yet.
            let data = unsafe { Self::driver(pmu).event_init(&NewEvent::from_raw(event))? };
            // SAFETY: As above. `destroy` frees the box.
            unsafe {
                (*event).pmu_private = KBox::into_raw(data).cast();
                (*event).destroy = Some(Self::destroy);
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// As for [`Self::event_init`].
    unsafe extern "C" fn destroy(event: *mut bindings::perf_event) {
        // SAFETY: perf calls this once, at the end of an event for which `event_init` has set the
        // pointer.
        let data = unsafe {
            let data = (*event).pmu_private.cast::<EventData<T>>();
            (*event).pmu_private = null_mut();
            KBox::from_raw(data)
        };
        drop(data);
    }

    /// # Safety
    ///
    /// As for [`Self::event_init`].
    unsafe extern "C" fn add(event: *mut bindings::perf_event, flags: c_int) -> c_int {
        // SAFETY: perf passes a valid event of this PMU, as to all callbacks below, with interrupts
        // disabled and not in an NMI.
        let ((pmu, event), context) = unsafe { (Self::arguments(event), not_in_nmi()) };
        let start = has(flags, bindings::PERF_EF_START);
        match pmu.add(event, start, context) {
            Ok(()) => 0,
            Err(err) => err.to_errno(),
        }
    }

    /// # Safety
    ///
    /// As for [`Self::event_init`].
    unsafe extern "C" fn del(event: *mut bindings::perf_event, _flags: c_int) {
        // SAFETY: As in `add`.
        let ((pmu, event), context) = unsafe { (Self::arguments(event), not_in_nmi()) };
        pmu.del(event, context);
    }

    /// # Safety
    ///
    /// As for [`Self::event_init`].
    unsafe extern "C" fn start(event: *mut bindings::perf_event, flags: c_int) {
        // SAFETY: As in `add`.
        let (pmu, event) = unsafe { Self::arguments(event) };
        if has(flags, bindings::PERF_EF_RESUME) {
            // SAFETY: Interrupts are disabled.
            let irq = unsafe { LocalInterruptDisabled::assume_disabled() };
            return pmu.update_sampling(event, irq);
        }
        // SAFETY: perf resumes events in NMIs, but does not start them there.
        let context = unsafe { not_in_nmi() };
        pmu.start(event, context);
    }

    /// # Safety
    ///
    /// As for [`Self::event_init`].
    unsafe extern "C" fn stop(event: *mut bindings::perf_event, flags: c_int) {
        // SAFETY: As in `add`.
        let (pmu, event) = unsafe { Self::arguments(event) };
        if has(flags, bindings::PERF_EF_UPDATE) {
            // SAFETY: In an NMI perf pauses and throttles (`perf_event_throttle()`), both without
            // this flag.
            let context = unsafe { not_in_nmi() };
            return pmu.stop(event, context);
        }
        if !has(flags, bindings::PERF_EF_PAUSE) {
            event.throttle();
        }
        // SAFETY: Interrupts are disabled.
        let irq = unsafe { LocalInterruptDisabled::assume_disabled() };
        pmu.update_sampling(event, irq);
    }

    extern "C" fn read(_event: *mut bindings::perf_event) {}

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
        // SAFETY: perf passes an array of that many pages, none of which is null, and a valid
        // event whose `cpu` does not change.
        let ((pmu, event), cpu, pages) = unsafe {
            (
                Self::arguments(event),
                u32::try_from((*event).cpu).ok(),
                core::slice::from_raw_parts(pages.cast(), nr_pages),
            )
        };
        let Ok(aux) = pmu.setup_aux(cpu, pages, overwrite) else {
            return null_mut();
        };
        pin_module();
        event.owner_tag().tag(NonNull::from(KBox::leak(aux)))
    }

    /// # Safety
    ///
    /// As for [`Self::event_init`].
    unsafe extern "C" fn free_aux(aux: *mut c_void) {
        // SAFETY: perf passes what `setup_aux` returned, once, after the last transaction.
        T::free_aux(unsafe { KBox::from_raw(OwnerTag::strip(aux)) });
        // This may be the last reference to the module. The call must be the last thing, so that
        // it is compiled to a jump and no code of the module runs after it (`make test T=hot_path`
        // checks that).
        //
        // SAFETY: `setup_aux` took the reference (`pin_module()`).
        unsafe { module_put(this_module().as_ptr()) };
    }
}

#[pinned_drop]
impl<T: Pmu> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the invariants the PMU is registered.
        unsafe { bindings::perf_pmu_unregister(self.tagged.pmu.get()) };
    }
}

/// Returns whether the flags of a callback have `flag` (`PERF_EF_*`).
fn has(flags: c_int, flag: u32) -> bool {
    flags as u32 & flag != 0
}

/// # Safety
///
/// Interrupts must be disabled during `'a`, and this must not be called in an NMI.
unsafe fn not_in_nmi<'a>() -> NotInNmi<'a> {
    // SAFETY: By the safety requirements.
    unsafe { NotInNmi::assume(LocalInterruptDisabled::assume_disabled()) }
}

/// The sysfs attributes of a PMU: pointers to groups, ended by a null pointer.
///
/// # Invariants
///
/// The last pointer is null; the others, and what they point to, are static.
pub(crate) struct Groups(&'static [*const attribute_group]);

// SAFETY: What the pointers point to is not written to.
unsafe impl Sync for Groups {}

impl Groups {
    /// # Safety
    ///
    /// `groups` must keep the invariants of the type.
    pub(crate) const unsafe fn new(groups: &'static [*const attribute_group]) -> Self {
        // INVARIANT: By the safety requirement.
        Self(groups)
    }
}

/// Returns the C device that `device` wraps.
pub(crate) fn device_ptr(device: &Device) -> *mut kernel::bindings::device {
    core::ptr::from_ref(device).cast_mut().cast()
}
