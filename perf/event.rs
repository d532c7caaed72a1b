// SPDX-License-Identifier: GPL-2.0

//! `struct perf_event`.

use super::{
    pmu::TaggedPmu,
    PmuTypes, //
};
use crate::{
    bindings,
    perf_quirks::OwnerTag, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::types::Opaque;

/// `hw_perf_event.state` of an event that does not run, and whose count is up to date.
const STOPPED: i32 = (bindings::PERF_HES_STOPPED | bindings::PERF_HES_UPTODATE) as i32;

/// An event of a PMU whose types are `T`.
///
/// # Invariants
///
/// The pointer to the inner value is a valid `struct perf_event` of a PMU that a
/// [`super::Registration`] with these types registered. Its `pmu_private` comes from a
/// `KBox<T::EventData>`.
#[repr(transparent)]
pub(crate) struct Event<T: PmuTypes>(Opaque<bindings::perf_event>, PhantomData<T>);

impl<T: PmuTypes> Event<T> {
    /// # Safety
    ///
    /// `ptr` must keep the invariants of [`Event`] during `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::perf_event) -> &'a Self {
        // SAFETY: `Event` is a transparent wrapper.
        // INVARIANT: By the safety requirement.
        unsafe { &*ptr.cast() }
    }

    pub(super) fn as_raw(&self) -> *mut bindings::perf_event {
        self.0.get()
    }

    /// Returns the tag of the AUX buffers that this event may write to.
    pub(super) fn owner_tag(&self) -> OwnerTag {
        // SAFETY: The event is valid.
        let pmu = unsafe { (*self.as_raw()).pmu };
        // Only an event of a KUnit case has no PMU.
        if cfg!(CONFIG_KUNIT = "y") && pmu.is_null() {
            return OwnerTag::new(0);
        }
        // SAFETY: By the invariants `pmu` is registered. Unregistering waits for all events.
        unsafe { TaggedPmu::tag(pmu) }
    }

    /// Returns what [`super::Pmu::event_init`] made for this event.
    pub(crate) fn data(&self) -> &T::EventData {
        // SAFETY: By the invariants; the box lives as long as the event.
        unsafe { &*(*self.as_raw()).pmu_private.cast::<T::EventData>() }
    }

    /// Returns the address of this event, to tell events apart.
    pub(crate) fn address(&self) -> usize {
        self.as_raw().addr()
    }

    /// `hw_perf_event.state`.
    fn state(&self) -> Word<'_, i32> {
        // SAFETY: The event is valid.
        Word(unsafe { &raw mut (*self.as_raw()).hw.state }, PhantomData)
    }

    /// `hw_perf_event.aux_paused`.
    fn aux_paused(&self) -> Word<'_, u32> {
        // SAFETY: The event is valid. The member of the union is that of events with an AUX buffer.
        let paused = unsafe {
            let hw = (&raw mut (*self.as_raw()).hw.__bindgen_anon_1)
                .cast::<bindings::hw_perf_event__bindgen_ty_1__bindgen_ty_2>();
            &raw mut (*hw).aux_paused
        };
        Word(paused, PhantomData)
    }

    /// Returns whether the event is stopped (`PERF_HES_STOPPED`).
    pub(crate) fn is_stopped(&self) -> bool {
        self.state().read() & bindings::PERF_HES_STOPPED as i32 != 0
    }

    /// Returns whether another event has paused this one, or it is to start paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.aux_paused().read() != 0
    }

    /// Does what perf does before it calls [`super::Pmu::update_sampling`] to pause or resume.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn set_paused(&self, paused: bool) {
        self.aux_paused().write(paused.into());
    }

    /// Sets `PERF_HES_STOPPED` of an event that is throttled. May interrupt [`ActiveEvent`]'s
    /// functions as an NMI.
    pub(crate) fn throttle(&self) {
        let state = self.state().read();
        self.state()
            .write(state | bindings::PERF_HES_STOPPED as i32);
    }

    /// Returns the sampling period, which `PERF_EVENT_IOC_PERIOD` changes.
    pub(crate) fn sample_period(&self) -> u64 {
        // SAFETY: The event is valid, and perf changes the field on this CPU with
        // interrupts disabled, or while the event is inactive.
        unsafe { (*self.as_raw()).hw.sample_period }
    }

    /// Tells perf the period that is used instead of the requested one.
    pub(crate) fn set_sample_period(&self, period: u64) {
        // SAFETY: As for `sample_period()`.
        unsafe { (*self.as_raw()).hw.sample_period = period };
    }

    fn period_left_ptr(&self) -> *mut u64 {
        // SAFETY: The event is valid. The member of the union is that of sampling events, and
        // `local64_t` wraps a 64-bit integer.
        unsafe {
            let sampling = (&raw mut (*self.as_raw()).hw.__bindgen_anon_2.__bindgen_anon_1)
                .cast::<bindings::hw_perf_event__bindgen_ty_2__bindgen_ty_1>();
            (&raw mut (*sampling).period_left).cast()
        }
    }

    /// Returns what is left of the current period.
    pub(crate) fn period_left(&self) -> u64 {
        // SAFETY: The pointer is valid. perf changes the field on this CPU with interrupts
        // disabled, or while the event is inactive.
        unsafe { self.period_left_ptr().read() }
    }

    /// Stores what is left of the current period.
    pub(crate) fn set_period_left(&self, left: u64) {
        // SAFETY: As for `period_left()`.
        unsafe { self.period_left_ptr().write(left) };
    }

    /// Marks the event as running until the value that is returned is dropped.
    ///
    /// To be called on the CPU that the event was added to.
    pub(crate) fn activate(&self) -> ActiveEvent<T> {
        self.state().write(0);
        // INVARIANT: By the contract of `Pmu` the value does not outlive the event.
        ActiveEvent(NonNull::from(self))
    }
}

/// A field of an event that perf and the PMU write as a whole, on the CPU of the event, also in an
/// NMI (`READ_ONCE()`, `WRITE_ONCE()`).
///
/// # Invariants
///
/// The pointer is to a field of a valid event.
struct Word<'a, V>(*mut V, PhantomData<&'a V>);

impl<V: Copy> Word<'_, V> {
    fn read(&self) -> V {
        // SAFETY: By the invariants.
        unsafe { self.0.read_volatile() }
    }

    fn write(&self, value: V) {
        // SAFETY: By the invariants.
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
    /// Lets a throttled event run again.
    pub(crate) fn unthrottle(&self) {
        self.state().write(0);
    }
}

impl<T: PmuTypes> core::ops::Deref for ActiveEvent<T> {
    type Target = Event<T>;

    fn deref(&self) -> &Event<T> {
        // SAFETY: By the invariants the event is valid.
        unsafe { self.0.as_ref() }
    }
}

impl<T: PmuTypes> Drop for ActiveEvent<T> {
    fn drop(&mut self) {
        self.state().write(STOPPED);
    }
}

/// An event that is being opened.
///
/// # Invariants
///
/// As for [`Event`], but for `pmu_private`, which is null. perf has not published the event yet, so
/// that nothing else writes to it.
pub(crate) struct NewEvent<'a, T: PmuTypes>(&'a Opaque<bindings::perf_event>, PhantomData<T>);

impl<'a, T: PmuTypes> NewEvent<'a, T> {
    /// # Safety
    ///
    /// `ptr` must keep the invariants of [`NewEvent`] during `'a`.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::perf_event) -> Self {
        // SAFETY: `Opaque` is a transparent wrapper, and the pointer valid.
        // INVARIANT: By the safety requirement.
        let event = Self(unsafe { &*ptr.cast() }, PhantomData);
        // SAFETY: The event is valid.
        unsafe { (*ptr).hw.state = STOPPED };
        event
    }

    fn get(&self) -> &bindings::perf_event {
        // SAFETY: The event is valid, and by the invariants not written to.
        unsafe { &*self.0.get() }
    }

    /// Returns what the event is opened with.
    pub(crate) fn attr(&self) -> Attr<'_> {
        Attr(&self.get().attr)
    }

    /// Returns the CPU that the event is bound to; `None` if it follows its task.
    pub(crate) fn cpu(&self) -> Option<u32> {
        u32::try_from(self.get().cpu).ok()
    }

    /// Returns the event that this one is inherited from, if it is.
    pub(crate) fn parent(&self) -> Option<&Event<T>> {
        // SAFETY: A child has the PMU of its parent, which `event_init()` has accepted. The context
        // of the parent is locked during the call, so that the parent stays.
        unsafe { self.get().parent.cast::<Event<T>>().as_ref() }
    }

    /// Returns the sampling period.
    pub(crate) fn sample_period(&self) -> u64 {
        self.get().hw.sample_period
    }

    /// Stores the length of the first period.
    pub(crate) fn set_period_left(&self, left: u64) {
        // SAFETY: The event is valid. No other reference to the event exists here.
        unsafe { Event::<T>::from_raw(self.0.get()) }.set_period_left(left);
    }
}

/// `struct perf_event_attr`.
pub(crate) struct Attr<'a>(&'a bindings::perf_event_attr);

/// Declares getters of flags.
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

    /// Returns `config`, `config1` and so on to `config4`.
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
