// SPDX-License-Identifier: GPL-2.0

//! `struct perf_event`.

use super::{
    pmu::TaggedPmu,
    PmuTypes, //
};
use crate::{
    bindings,
    perf_core,
    perf_quirks::OwnerTag, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    types::Opaque, //
};

/// `hw_perf_event.state` of an event that does not run.
const STOPPED: i32 = (bindings::PERF_HES_STOPPED | bindings::PERF_HES_UPTODATE) as i32;

/// An event of a PMU whose types are `T`.
///
/// # Invariants
///
/// The pointer to the inner value is a valid `struct perf_event` of a PMU that a
/// [`super::Registration`] with these types registered, or of a [`TaggedPmu`] that nothing else
/// uses and that outlives it (KUnit). Its `pmu_private` comes from a `KBox<T::EventData>`.
#[repr(transparent)]
pub(crate) struct Event<T: PmuTypes>(Opaque<bindings::perf_event>, PhantomData<T>);

impl<T: PmuTypes> Event<T> {
    /// # Safety
    ///
    /// `ptr` must keep the invariants of [`Event`] during `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::perf_event) -> &'a Self {
        // SAFETY: By the safety requirement; `Event` is a transparent wrapper.
        unsafe { &*ptr.cast() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::perf_event {
        self.0.get()
    }

    pub(super) fn owner_tag(&self) -> OwnerTag {
        // SAFETY: By the invariants `pmu` is the first field of a `TaggedPmu`. Unregistering one
        // detaches the remaining events first, and perf calls no callback for them afterwards.
        unsafe { (*(*self.as_raw()).pmu.cast::<TaggedPmu>()).tag }
    }

    /// Returns what [`super::Pmu::event_init`] made for this event.
    pub(crate) fn data(&self) -> &T::EventData {
        // SAFETY: By the invariants; the box lives as long as the event.
        unsafe { &*(*self.as_raw()).pmu_private.cast::<T::EventData>() }
    }

    /// Returns the identity of this event.
    pub(crate) fn address(&self) -> usize {
        self.as_raw().addr()
    }

    fn hw(&self) -> Hw<'_> {
        // SAFETY: The event is valid. The members of the unions are those of events with an AUX
        // buffer, and of sampling events; `local64_t` wraps a 64-bit integer.
        // INVARIANT: All pointers are to fields of the event.
        unsafe {
            let hw = &raw mut (*self.as_raw()).hw;
            let aux = (&raw mut (*hw).__bindgen_anon_1)
                .cast::<bindings::hw_perf_event__bindgen_ty_1__bindgen_ty_2>();
            let sampling = (&raw mut (*hw).__bindgen_anon_2)
                .cast::<bindings::hw_perf_event__bindgen_ty_2__bindgen_ty_1>();
            Hw {
                state: HwField(&raw mut (*hw).state, PhantomData),
                aux_paused: HwField(&raw mut (*aux).aux_paused, PhantomData),
                sample_period: HwField(&raw mut (*hw).sample_period, PhantomData),
                period_left: HwField((&raw mut (*sampling).period_left).cast(), PhantomData),
            }
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.hw().state.read() & bindings::PERF_HES_STOPPED as i32 != 0
    }

    /// Returns whether another event has paused this one, or it is to start paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.hw().aux_paused.read() != 0
    }

    /// Sets `PERF_HES_STOPPED` of an event that is throttled. May interrupt [`ActiveEvent`]'s
    /// functions as an NMI.
    pub(crate) fn throttle(&self) {
        let state = self.hw().state;
        state.write(state.read() | bindings::PERF_HES_STOPPED as i32);
    }

    /// Returns the sampling period, which `PERF_EVENT_IOC_PERIOD` changes.
    pub(crate) fn sample_period(&self) -> u64 {
        self.hw().sample_period.read()
    }

    /// Sets the period in effect, which may differ from the requested one.
    pub(crate) fn set_sample_period(&self, period: u64) {
        self.hw().sample_period.write(period);
    }

    pub(crate) fn period_left(&self) -> u64 {
        self.hw().period_left.read()
    }

    pub(crate) fn set_period_left(&self, left: u64) {
        self.hw().period_left.write(left);
    }

    /// Adds to the event's count. May interrupt itself as an NMI.
    pub(crate) fn add_count(&self, n: u64) {
        // SAFETY: The event is valid, and its count an atomic integer (`local64_t`).
        let count = unsafe { Atomic::from_ptr((&raw mut (*self.as_raw()).count).cast::<i64>()) };
        count.add(n as i64, Relaxed);
    }

    /// Returns what `PERF_EVENT_IOC_ID` does, for the event that this one was inherited from, if it
    /// was.
    pub(crate) fn id(&self) -> u64 {
        // SAFETY: The event is valid, and it has a reference to its parent.
        unsafe {
            let event = self.as_raw();
            (*event)
                .parent
                .as_ref()
                .map_or((*event).id, |parent| parent.id)
        }
    }

    /// Has perf disable the event, soon. For an event that runs on this CPU.
    pub(crate) fn disable_later(&self) {
        // SAFETY: The event is valid, and active.
        unsafe { perf_core::spe_helper_disable_later(self.as_raw()) };
    }

    /// Marks the event as running until the value that is returned is dropped.
    ///
    /// This is safe to call: perf passes an event to the callbacks of its PMU alone, and
    /// `unsafe impl Pmu` promises which of them call this and how long they keep the value.
    pub(crate) fn activate(&self) -> ActiveEvent<T> {
        self.hw().state.write(0);
        // INVARIANT: By the contract of `Pmu` the value does not outlive the event.
        ActiveEvent(NonNull::from(self))
    }
}

/// The fields of `hw_perf_event` that perf and the PMU write.
struct Hw<'a> {
    state: HwField<'a, i32>,
    aux_paused: HwField<'a, u32>,
    sample_period: HwField<'a, u64>,
    period_left: HwField<'a, u64>,
}

/// A field that is read and written as a whole (`READ_ONCE()`, `WRITE_ONCE()`): while the event is
/// inactive, or on its CPU with interrupts disabled or in an NMI.
///
/// # Invariants
///
/// The pointer is to a field of a valid event.
struct HwField<'a, V>(*mut V, PhantomData<&'a V>);

impl<V: Copy> HwField<'_, V> {
    fn read(&self) -> V {
        // SAFETY: The field is valid during the borrow of the event. perf and the PMU only write it
        // as a whole.
        unsafe { self.0.read_volatile() }
    }

    fn write(&self, value: V) {
        // SAFETY: As in `read()`. There are no references to the field.
        unsafe { self.0.write_volatile(value) }
    }
}

/// An event that runs on this CPU: `PERF_HES_STOPPED` is clear unless it is throttled, and set when
/// this is dropped.
///
/// # Invariants
///
/// The event was added to this CPU and not deleted yet.
#[must_use]
pub(crate) struct ActiveEvent<T: PmuTypes>(NonNull<Event<T>>);

impl<T: PmuTypes> ActiveEvent<T> {
    pub(crate) fn unthrottle(&self) {
        self.hw().state.write(0);
    }
}

impl<T: PmuTypes> core::ops::Deref for ActiveEvent<T> {
    type Target = Event<T>;

    fn deref(&self) -> &Event<T> {
        // SAFETY: By the invariants the event was not deleted, before which perf does not free it.
        unsafe { self.0.as_ref() }
    }
}

impl<T: PmuTypes> Drop for ActiveEvent<T> {
    fn drop(&mut self) {
        self.hw().state.write(STOPPED);
    }
}

/// An event that is being opened.
///
/// # Invariants
///
/// There is no [`Event::data`] yet. perf has not published the event: nothing else writes to it.
pub(crate) struct NewEvent<'a, T: PmuTypes> {
    event: &'a Event<T>,
    attr: &'a bindings::perf_event_attr,
    cpu: i32,
    parent: Option<&'a Event<T>>,
}

impl<'a, T: PmuTypes> NewEvent<'a, T> {
    /// # Safety
    ///
    /// `ptr` must keep the invariants of [`NewEvent`], and otherwise of [`Event`], during `'a`.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::perf_event) -> Self {
        // SAFETY: By the safety requirement. A parent has the same PMU, and was accepted by
        // `event_init()`. It stays during the call: perf has locked the context of the event that
        // is inherited, which is the parent or has a reference to it.
        // INVARIANT: By the safety requirement.
        let new = unsafe {
            Self {
                event: Event::from_raw(ptr),
                attr: &(*ptr).attr,
                cpu: (*ptr).cpu,
                parent: (*ptr).parent.cast::<Event<T>>().as_ref(),
            }
        };
        new.event.hw().state.write(STOPPED);
        new
    }

    pub(crate) fn attr(&self) -> Attr<'_> {
        Attr(self.attr)
    }

    /// Returns the CPU that the event is bound to; `None` if it follows its task.
    pub(crate) fn cpu(&self) -> Option<u32> {
        u32::try_from(self.cpu).ok()
    }

    pub(crate) fn parent(&self) -> Option<&Event<T>> {
        self.parent
    }

    pub(crate) fn sample_period(&self) -> u64 {
        self.event.sample_period()
    }

    /// Sets the sampling period.
    pub(crate) fn set_sample_period(&self, period: u64) {
        self.event.set_sample_period(period);
    }

    /// Stores the length of the first period.
    pub(crate) fn set_period_left(&self, left: u64) {
        self.event.set_period_left(left);
    }
}

/// `struct perf_event_attr`.
pub(crate) struct Attr<'a>(&'a bindings::perf_event_attr);

macro_rules! flags {
    ($($flag:ident)*) => {$(
        #[doc = concat!("Returns `", stringify!($flag), "`.")]
        pub(crate) fn $flag(&self) -> bool {
            self.0.$flag() != 0
        }
    )*};
}

impl Attr<'_> {
    flags! {
        exclude_user exclude_kernel exclude_idle exclude_host freq pinned sigtrap
    }

    /// Returns `config` and `config1` to `config4`.
    pub(crate) fn config(&self) -> [u64; 5] {
        // SAFETY: The members of both unions are 64-bit integers.
        let (config1, config2) = unsafe {
            (
                *self.0.__bindgen_anon_3.config1,
                *self.0.__bindgen_anon_4.config2,
            )
        };
        let attr = self.0;
        [attr.config, config1, config2, attr.config3, attr.config4]
    }
}
