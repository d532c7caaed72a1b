// SPDX-License-Identifier: GPL-2.0

//! A safe face for performance monitoring units that write to perf's AUX buffer.
//!
//! A driver implements [`Pmu`] and keeps a [`Registration`]. What an event asks for is worked out
//! once, in [`Pmu::event_init`], and stays with the event as its [`Pmu::EventData`]. Between
//! [`AuxHandle::begin`] and [`AuxSession::end`] the driver owns a part of the event's AUX buffer;
//! the types make sure that what was begun is ended once, and that one handle has one session.
//!
//! C header: `include/linux/perf_event.h`

use crate::{
    bindings,
    version::this_module, //
};
use core::{
    cell::{
        Cell,
        UnsafeCell, //
    },
    marker::PhantomData,
    ptr::NonNull,
    sync::atomic::{
        AtomicU32,
        AtomicU64,
        Ordering, //
    }, //
};
use kernel::{
    bindings::{
        __module_get,
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
        c_ulong,
        c_void, //
    },
    prelude::*,
    str::CString,
    types::Opaque, //
};

/// A performance monitoring unit.
///
/// perf calls [`Self::add`], [`Self::del`], [`Self::start`] and [`Self::stop`] with interrupts off,
/// on the CPU that the event runs on. There is no count to be read.
pub(crate) trait Pmu: Send + Sync + Sized + 'static {
    /// What the driver keeps with each event: what it asks for, worked out.
    type EventData: Send + Sync + 'static;

    /// What the driver keeps with an AUX buffer.
    type Aux: Send + Sync + 'static;

    /// What the driver keeps for each CPU.
    type Local: 'static;

    /// Who hands out AUX buffers: [`Perf`], or in tests somebody in its place.
    type Output: Output;

    /// What the PMU can do: `PERF_PMU_CAP_*`.
    const CAPABILITIES: u32;

    /// Judges a new event of this PMU, which wants to be opened with `attr`. May sleep.
    fn event_init(
        &self,
        event: &Event<Self>,
        attr: &bindings::perf_event_attr,
    ) -> Result<KBox<Self::EventData>>;

    /// Puts `event` on this CPU, and starts it if `flags` have [`Flags::START`]. If that fails the
    /// event must not run: perf then takes its whole group off again.
    fn add(&self, event: &Event<Self>, flags: Flags) -> Result;

    /// Takes `event` off this CPU, with the effect of [`Self::stop`], and forgets it.
    fn del(&self, event: &Event<Self>, flags: Flags);

    /// Starts `event`. Cannot fail; [`Event::set_state`] tells perf whether it runs. With
    /// [`Flags::RESUME`]: only lets an event that was paused go on.
    fn start(&self, event: &Event<Self>, flags: Flags);

    /// Stops `event`. With [`Flags::PAUSE`]: only lets it pause.
    fn stop(&self, event: &Event<Self>, flags: Flags);

    /// Makes the AUX buffer of `event` out of `pages`, the kernel's addresses of single pages, as
    /// many as perf was asked for (a power of two). `overwrite`: nobody drains the buffer. May
    /// sleep.
    ///
    /// perf reports any failure as `ENOMEM`.
    fn setup_aux(
        &self,
        event: &Event<Self>,
        pages: &[NonNull<c_void>],
        overwrite: bool,
    ) -> Result<KBox<Self::Aux>>;

    /// Frees what [`Self::setup_aux`] has made. May not sleep: perf calls this where its last
    /// reference to the buffer goes, which may be where a session ends.
    fn free_aux(aux: KBox<Self::Aux>);

    /// What marks the AUX buffers of this PMU, see [`AuxPlace::set_mark`].
    fn mark(&self) -> Mark;
}

/// What a pointer to an AUX buffer is marked with, in the bits that its alignment leaves: not 0.
///
/// perf keeps the pointer with the ring buffer, and hands it to any event whose output goes there.
/// Those may be events of other PMUs (`PERF_EVENT_IOC_SET_OUTPUT` compares PMUs only if both events
/// can have an AUX buffer, and a software event, which has none, can be in the middle), whose
/// buffers are of another kind, or for another unit.
///
/// # Invariants
///
/// The mark is odd and less than 64. What other PMUs hand to perf are pointers to allocations of C,
/// at even addresses: to none of them a mark can be added to give an aligned address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(usize);

impl Mark {
    /// The mark of the PMU number `index`, for buffers of the type `T`. After 32 PMUs they repeat;
    /// there is one PMU for each kind of CPU in a machine.
    pub(crate) fn new<T>(index: u32) -> Self {
        const { assert!(align_of::<T>() >= 64) };
        // INVARIANT: Odd, and 63 at most.
        Self(2 * (index as usize % 32) + 1)
    }
}

/// The flags of a callback: `PERF_EF_*`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    /// Start the event when it is added.
    pub(crate) const START: Self = Self(bindings::PERF_EF_START);
    /// Program the period again when it is started.
    pub(crate) const RELOAD: Self = Self(bindings::PERF_EF_RELOAD);

    /// Let the AUX event pause, and nothing else. May interrupt all other callbacks but of its
    /// kind.
    pub(crate) const PAUSE: Self = Self(bindings::PERF_EF_PAUSE);
    /// Let the AUX event resume, and nothing else; as [`Self::PAUSE`].
    pub(crate) const RESUME: Self = Self(bindings::PERF_EF_RESUME);

    /// Whether all of `other` is set.
    #[inline]
    pub(crate) fn contain(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags that perf passes to a callback.
    #[inline]
    fn from_raw(flags: c_int) -> Self {
        Self(flags as u32)
    }
}

/// What perf is told of an event: `hw_perf_event.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It runs.
    Running,
    /// It does not run (`PERF_HES_STOPPED`), and there is nothing left that perf would have to
    /// read (`PERF_HES_UPTODATE`).
    Stopped,
}

/// An event of the PMU `T`.
///
/// # Invariants
///
/// The pointer to the inner value is a valid `struct perf_event` of a PMU that a
/// [`Registration<T>`] registered. Its `pmu_private` is null or comes from a `KBox<T::EventData>`,
/// and is never changed once set.
#[repr(transparent)]
pub(crate) struct Event<T: Pmu>(Opaque<bindings::perf_event>, PhantomData<T>);

impl<T: Pmu> Event<T> {
    /// The event that C calls `ptr`.
    ///
    /// # Safety
    ///
    /// `ptr` must keep the invariants of [`Event`] during `'a`.
    #[inline]
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::perf_event) -> &'a Self {
        // SAFETY: `Event` is a transparent wrapper.
        // INVARIANT: by the safety requirements of this function.
        unsafe { &*ptr.cast() }
    }

    /// What C calls this event.
    #[inline]
    fn as_raw(&self) -> *mut bindings::perf_event {
        self.0.get()
    }

    /// The PMU of this event.
    #[inline]
    pub(crate) fn pmu(&self) -> &T {
        // SAFETY: By the invariants `pmu` points into a `Registration<T>`, which outlives its
        // events: unregistering waits for them.
        unsafe { &(*Registration::<T>::from_pmu((*self.as_raw()).pmu)).driver }
    }

    /// What [`Pmu::event_init`] made for this event; `None` while that runs.
    #[inline]
    pub(crate) fn data(&self) -> Option<&T::EventData> {
        // SAFETY: By the invariants the pointer is null or that of a box that lives as long as the
        // event.
        unsafe { (*self.as_raw()).pmu_private.cast::<T::EventData>().as_ref() }
    }

    /// The event that this one was inherited from, if it was: the one that was opened.
    pub(crate) fn parent(&self) -> Option<&Self> {
        // SAFETY: The event is valid, and `parent` does not change after it was made. A child is an
        // event with its parent's attributes, so of the same PMU. The parent outlives the borrow:
        // perf makes a child with the parent's context locked (`inherit_event()`), and the child
        // has a reference to the parent then until it is freed itself.
        unsafe { (*self.as_raw()).parent.cast::<Self>().as_ref() }
    }

    /// Keeps `local`, that of this CPU, which the event is added to.
    ///
    /// # Safety
    ///
    /// `local` must be there until [`Self::clear_local`], which must come to pass on this CPU,
    /// before [`Pmu::add`] returns a failure or [`Pmu::del`] returns.
    #[inline]
    pub(crate) unsafe fn set_local(&self, local: &T::Local) {
        let local = core::ptr::from_ref(local);
        self.hw().aux_config.store(local as u64, Ordering::Relaxed);
    }

    /// The event leaves this CPU.
    #[inline]
    pub(crate) fn clear_local(&self) {
        self.hw().aux_config.store(0, Ordering::Relaxed);
    }

    /// What [`Self::set_local`] has kept, while the event is on a CPU.
    ///
    /// # Safety
    ///
    /// To be called on that CPU, in a callback of perf.
    #[inline]
    pub(crate) unsafe fn local(&self) -> Option<&T::Local> {
        // SAFETY: By the requirements of `set_local`, or null; it cannot be cleared meanwhile.
        unsafe { (self.hw().aux_config.load(Ordering::Relaxed) as *const T::Local).as_ref() }
    }

    /// The CPU that the event is on, while it is on one: from before [`Pmu::add`] until after
    /// [`Pmu::del`] (`event_sched_in()`, `event_sched_out()`).
    #[inline]
    pub(crate) fn on_cpu(&self) -> u32 {
        // SAFETY: The event is valid, and the field is not written but as a whole.
        let cpu = unsafe { AtomicU32::from_ptr((&raw mut (*self.as_raw()).oncpu).cast()) };
        cpu.load(Ordering::Relaxed)
    }

    /// The CPU that the event is bound to; `None` if it goes where its task goes.
    #[inline]
    pub(crate) fn cpu(&self) -> Option<u32> {
        // SAFETY: The event is valid.
        u32::try_from(unsafe { (*self.as_raw()).cpu }).ok()
    }

    /// The fields of `hw_perf_event` that this driver shares with perf.
    #[inline]
    fn hw(&self) -> Hw<'_> {
        // SAFETY: The event is valid. The members of the unions are those of events that sample and
        // have an AUX buffer; `local64_t` wraps a 64-bit integer. None is written but as a whole.
        unsafe {
            let hw = &raw mut (*self.as_raw()).hw;
            let aux = (&raw mut (*hw).__bindgen_anon_1)
                .cast::<bindings::hw_perf_event__bindgen_ty_1__bindgen_ty_2>();
            let sampling = (&raw mut (*hw).__bindgen_anon_2.__bindgen_anon_1)
                .cast::<bindings::hw_perf_event__bindgen_ty_2__bindgen_ty_1>();
            Hw {
                sample_period: AtomicU64::from_ptr(&raw mut (*hw).sample_period),
                period_left: AtomicU64::from_ptr((&raw mut (*sampling).period_left).cast()),
                aux_config: AtomicU64::from_ptr(&raw mut (*aux).aux_config),
                aux_paused: AtomicU32::from_ptr(&raw mut (*aux).aux_paused),
                state: AtomicU32::from_ptr((&raw mut (*hw).state).cast()),
                freq_time_stamp: AtomicU64::from_ptr(&raw mut (*hw).freq_time_stamp),
            }
        }
    }

    /// The period that was asked for. `PERF_EVENT_IOC_PERIOD` changes it, while the event is
    /// stopped.
    #[inline]
    pub(crate) fn sample_period(&self) -> u64 {
        self.hw().sample_period.load(Ordering::Relaxed)
    }

    /// Tells perf the period that is really used.
    #[inline]
    pub(crate) fn set_sample_period(&self, period: u64) {
        self.hw().sample_period.store(period, Ordering::Relaxed);
    }

    /// What is left of the current period.
    #[inline]
    pub(crate) fn period_left(&self) -> u64 {
        self.hw().period_left.load(Ordering::Relaxed)
    }

    /// Keeps what is left of the current period.
    #[inline]
    pub(crate) fn set_period_left(&self, left: u64) {
        self.hw().period_left.store(left, Ordering::Relaxed);
    }

    /// Whether another event has paused this one, or it is to begin paused.
    #[inline]
    pub(crate) fn is_paused(&self) -> bool {
        self.hw().aux_paused.load(Ordering::Relaxed) != 0
    }

    /// What perf does before it calls the PMU to pause or resume.
    #[cfg(CONFIG_KUNIT = "y")]
    pub(crate) fn set_paused(&self, paused: bool) {
        self.hw().aux_paused.store(paused.into(), Ordering::Relaxed);
    }

    /// Tells perf whether the event runs.
    #[inline]
    pub(crate) fn set_state(&self, state: State) {
        let bits = match state {
            State::Running => {
                self.set_hunger(0);
                0
            }
            State::Stopped => bindings::PERF_HES_STOPPED | bindings::PERF_HES_UPTODATE,
        };
        self.hw().state.store(bits, Ordering::Relaxed);
    }

    /// What came of the starts since the event ran last: 0, or [`TOLD`], and the jiffy in which
    /// perf was asked for room and had none at all.
    #[inline]
    fn hunger(&self) -> u64 {
        self.hw().freq_time_stamp.load(Ordering::Relaxed)
    }

    /// Keeps that.
    #[inline]
    fn set_hunger(&self, hunger: u64) {
        self.hw().freq_time_stamp.store(hunger, Ordering::Relaxed);
    }

    /// Notes that there is no room for the event. Returns whether that is news: it is until the
    /// event runs again.
    pub(crate) fn starve(&self) -> bool {
        let hunger = self.hunger();
        self.set_hunger(hunger | TOLD);
        hunger & TOLD == 0
    }

    /// Whether perf was asked for room in this jiffy, and had none at all.
    #[inline]
    fn has_asked_in_vain(&self) -> bool {
        let hunger = self.hunger();
        hunger != 0 && hunger & !TOLD == jiffies() & !TOLD
    }

    /// Keeps the jiffy in which that was so.
    #[cold]
    #[inline(never)]
    pub(crate) fn set_asked_in_vain(&self, jiffy: u64) {
        self.set_hunger(self.hunger() & TOLD | jiffy & !TOLD);
    }

    /// What perf was told last.
    pub(crate) fn state(&self) -> State {
        match self.hw().state.load(Ordering::Relaxed) & bindings::PERF_HES_STOPPED {
            0 => State::Running,
            _ => State::Stopped,
        }
    }
}

/// Whether perf is asked for room once a jiffy at most. On PREEMPT_RT the reader that perf wakes is
/// a thread that preempts the task, which is scheduled again then, and asks again.
pub(crate) const LIMITED: bool = cfg!(CONFIG_PREEMPT_RT);

/// perf was told that there is no room.
const TOLD: u64 = 1 << 63;

/// The current jiffy.
#[inline]
pub(crate) fn jiffies() -> u64 {
    // SAFETY: The variable is there as long as the kernel is. Others write to it meanwhile, a word
    // at a time, so that a volatile read, as C's are, finds one of the values that it has had.
    unsafe { (&raw const kernel::bindings::jiffies).read_volatile() as u64 }
}

/// `perf_event_attr.config` to `config4`.
pub(crate) fn config(attr: &bindings::perf_event_attr) -> [u64; 5] {
    // SAFETY: The members of each union are integers of 64 bits, for which any bits are a value,
    // and the reference says that all of them can be read.
    let (config1, config2) = unsafe {
        (
            *attr.__bindgen_anon_3.config1,
            *attr.__bindgen_anon_4.config2,
        )
    };
    [attr.config, config1, config2, attr.config3, attr.config4]
}

/// What perf and the callbacks of the PMU both read and write, the callbacks also in an NMI.
struct Hw<'a> {
    /// The period.
    sample_period: &'a AtomicU64,
    /// What is left of it.
    period_left: &'a AtomicU64,
    /// The PMU's own.
    aux_config: &'a AtomicU64,
    /// Whether the event is paused.
    aux_paused: &'a AtomicU32,
    /// Whether it runs: `PERF_HES_*`.
    state: &'a AtomicU32,
    /// perf's own with events that have a frequency. Those are refused.
    freq_time_stamp: &'a AtomicU64,
}

/// An event that was added to this CPU and not deleted yet.
///
/// # Invariants
///
/// The pointer is that of a valid [`Event`]: whoever holds it gives it up before [`Pmu::del`] of
/// the event returns.
#[repr(transparent)]
pub(crate) struct Held<T: Pmu>(NonNull<Event<T>>);

impl<T: Pmu> Clone for Held<T> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Pmu> Copy for Held<T> {}

impl<T: Pmu> PartialEq for Held<T> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Pmu> Held<T> {
    /// # Safety
    ///
    /// No copy of what is returned may be used after [`Pmu::del`] of `event` has returned.
    #[inline]
    pub(crate) unsafe fn new(event: &Event<T>) -> Self {
        // INVARIANT: by the safety requirements of this function.
        Self(NonNull::from(event))
    }
}

impl<T: Pmu> core::ops::Deref for Held<T> {
    type Target = Event<T>;

    #[inline]
    fn deref(&self) -> &Event<T> {
        // SAFETY: By the invariants the event is valid.
        unsafe { self.0.as_ref() }
    }
}

/// Whether the current task may profile the kernel (`perf_event_paranoid`, `CAP_PERFMON`).
pub(crate) fn allow_kernel() -> Result {
    // SAFETY: Has no requirements.
    to_result(unsafe { bindings::perf_allow_kernel() })
}

/// What a piece of AUX data suffers from: `PERF_AUX_FLAG_*`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct AuxFlags(u32);

impl AuxFlags {
    /// Data is missing at the end. perf stops the event.
    pub(crate) const TRUNCATED: Self = Self(bindings::PERF_AUX_FLAG_TRUNCATED);
    /// The last piece is not complete.
    pub(crate) const PARTIAL: Self = Self(bindings::PERF_AUX_FLAG_PARTIAL);
    /// Samples were dropped because others were in flight.
    pub(crate) const COLLISION: Self = Self(bindings::PERF_AUX_FLAG_COLLISION);
}

/// The functions that hand out AUX buffers and take them back (`perf_aux_output_*()`), as they are
/// in C.
pub(crate) trait Output {
    /// # Safety
    ///
    /// `handle` must be valid and in no session, `event` a valid event on this CPU.
    unsafe fn begin(
        handle: *mut bindings::perf_output_handle,
        event: *mut bindings::perf_event,
    ) -> *mut c_void;

    /// # Safety
    ///
    /// `handle` must be in a session.
    unsafe fn skip(handle: *mut bindings::perf_output_handle, bytes: c_ulong);

    /// # Safety
    ///
    /// `handle` must be in a session, which ends.
    unsafe fn end(handle: *mut bindings::perf_output_handle, bytes: c_ulong);
}

/// perf itself.
pub(crate) struct Perf;

impl Output for Perf {
    #[inline]
    unsafe fn begin(
        handle: *mut bindings::perf_output_handle,
        event: *mut bindings::perf_event,
    ) -> *mut c_void {
        // SAFETY: By the requirements of this function, as in those below.
        unsafe { bindings::perf_aux_output_begin(handle, event) }
    }

    #[inline]
    unsafe fn skip(handle: *mut bindings::perf_output_handle, bytes: c_ulong) {
        // It fails if there is less room than that, which callers know.
        //
        // SAFETY: See `begin`.
        unsafe { bindings::perf_aux_output_skip(handle, bytes) };
    }

    #[inline]
    unsafe fn end(handle: *mut bindings::perf_output_handle, bytes: c_ulong) {
        // SAFETY: See `begin`.
        unsafe { bindings::perf_aux_output_end(handle, bytes) };
    }
}

/// Room for a handle, and for what belongs to its session; all of it may be zero. perf keeps no
/// pointer to it, but the driver uses it in place: what is passed around is a pointer to it.
pub(crate) struct AuxPlace {
    /// What perf fills in.
    handle: UnsafeCell<bindings::perf_output_handle>,
    /// What the driver keeps with the buffer.
    aux: Cell<*mut c_void>,
    /// The mark of the buffers that may be written to; 0 as long as it was not set.
    mark: Cell<usize>,
    /// See [`AuxSession::span`].
    span: Cell<(u64, u64)>,
}

impl AuxPlace {
    /// Says whose buffers sessions of this place are for. To be done before the first one.
    pub(crate) fn set_mark(&self, mark: Mark) {
        self.mark.set(mark.0);
    }
}

/// A handle that is in no session.
///
/// # Invariants
///
/// Nobody else uses the [`AuxPlace`], and its handle is in no session.
#[must_use]
pub(crate) struct AuxHandle<'a, T: Pmu>(&'a AuxPlace, PhantomData<T>);

/// Why perf did not hand out a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoBuffer {
    /// None is mapped, or it is just being unmapped.
    NotMapped,
    /// Its reader has not made any room; perf has been told to stop the event.
    Full,
}

impl<'a, T: Pmu> AuxHandle<'a, T> {
    /// # Safety
    ///
    /// The handle of `place` must be in no session, and there may be no other value for it.
    #[inline]
    pub(crate) unsafe fn new(place: &'a AuxPlace) -> Self {
        // INVARIANT: By the requirements of this function.
        Self(place, PhantomData)
    }

    /// Asks perf for room to write to.
    ///
    /// If there is none at all, perf wakes the reader, each time, and an event that cannot start is
    /// tried again whenever its task is scheduled. On PREEMPT_RT a thread does the waking
    /// (`irq_work`), which preempts the task as soon as it is scheduled: it would not get any
    /// further. So perf is not asked again in the same jiffy, unless the event ran: then perf has
    /// disabled it by now.
    #[inline(always)]
    pub(crate) fn begin(self, event: Held<T>) -> Result<AuxSession<'a, T>, (Self, NoBuffer)> {
        if LIMITED && event.has_asked_in_vain() {
            return Err((self, NoBuffer::Full));
        }
        let handle = self.0.handle.get();
        // SAFETY: By the invariants the handle is valid, not in a session and used by nobody else.
        // The event is valid and on this CPU. perf sets `rb` as soon as it has found a buffer. The
        // session that it has begun then is known to nobody else, so that `no_buffer` may end it.
        let ours = unsafe {
            (*handle).rb = core::ptr::null_mut();
            let aux = T::Output::begin(handle, event.as_raw());
            let ours = aux.wrapping_byte_sub(self.0.mark.get());
            if !ours.cast::<T::Aux>().is_aligned() {
                return Err((self, Self::no_buffer(handle, event, aux)));
            }
            ours
        };
        self.0.aux.set(ours);
        // INVARIANT: `setup_aux` of this PMU made that: by the invariants of `Mark` what others
        // make would not be aligned now, nor would null be.
        Ok(AuxSession(self))
    }

    /// Why there is no buffer for `event`. Ends the session with another PMU's.
    ///
    /// # Safety
    ///
    /// `aux` must be what perf has just returned for `handle`, which nobody else uses: null, or the
    /// handle is in a session, and stays in none.
    #[cold]
    #[inline(never)]
    unsafe fn no_buffer(
        handle: *mut bindings::perf_output_handle,
        event: Held<T>,
        aux: *mut c_void,
    ) -> NoBuffer {
        // SAFETY: By the requirements of this function the handle is valid, and in a session if
        // `aux` is not null. A session of no bytes takes nothing from the buffer, whose insides
        // were not looked at.
        let found = unsafe {
            if !aux.is_null() {
                T::Output::end(handle, 0);
                return NoBuffer::NotMapped;
            }
            !(*handle).rb.is_null()
        };
        if !found {
            return NoBuffer::NotMapped;
        }
        if LIMITED && event.state() == State::Stopped {
            event.set_asked_in_vain(jiffies());
        }
        NoBuffer::Full
    }
}

/// The right to write to a part of an event's AUX buffer. The session is ended before the event is
/// deleted: it is made from a [`Held`] event, and goes where that goes.
///
/// A session that is neither ended nor resumed would keep the buffer for ever. Ending it when it is
/// dropped would be worse: perf would take back what the hardware may still write to.
///
/// # Invariants
///
/// The handle is in a session. The AUX buffer behind it was made by [`Pmu::setup_aux`] of `T`, and
/// `aux` of the place points to it.
#[must_use]
pub(crate) struct AuxSession<'a, T: Pmu>(AuxHandle<'a, T>);

impl<'a, T: Pmu> AuxSession<'a, T> {
    /// The session that was left open with [`Self::leave_open`].
    ///
    /// # Safety
    ///
    /// [`Self::leave_open`] of a value of this type was the last thing that was done with `place`.
    #[inline]
    pub(crate) unsafe fn resume(place: &'a AuxPlace) -> Self {
        // INVARIANT: By the requirements of this function.
        Self(AuxHandle(place, PhantomData))
    }

    /// Leaves the session open, for whoever resumes it.
    #[inline]
    pub(crate) fn leave_open(self) {}

    /// What C calls the handle.
    #[inline]
    fn as_raw(&self) -> *mut bindings::perf_output_handle {
        self.0 .0.handle.get()
    }

    /// What perf has filled in.
    #[inline]
    fn handle(&self) -> &bindings::perf_output_handle {
        // SAFETY: The pointer is valid and nobody else uses it; perf writes to it only in calls
        // that the session makes through `&mut self`.
        unsafe { &*self.as_raw() }
    }

    /// What the driver keeps with the buffer.
    #[inline]
    pub(crate) fn aux(&self) -> &T::Aux {
        // SAFETY: By the invariants the session holds a reference to the buffer.
        unsafe { &*self.0 .0.aux.get().cast() }
    }

    /// The part of the buffer that the hardware may write to, from one address to the other, as the
    /// driver has noted it for this session.
    #[inline]
    pub(crate) fn span(&self) -> (u64, u64) {
        self.0 .0.span.get()
    }

    /// Notes the part of the buffer that the hardware may write to.
    #[inline]
    pub(crate) fn set_span(&mut self, start: u64, limit: u64) {
        self.0 .0.span.set((start, limit));
    }

    /// The index to write at, running freely. In a buffer that is overwritten: what was last set.
    #[inline]
    pub(crate) fn head(&self) -> u64 {
        // SAFETY: In an AUX handle the member of the union is `head`, a plain integer.
        unsafe { self.handle().__bindgen_anon_2.head as u64 }
    }

    /// How many bytes may be written; 0 in a buffer that is overwritten.
    #[inline]
    pub(crate) fn space(&self) -> u64 {
        self.handle().size as u64
    }

    /// The index after which the reader wants to be woken. Of no meaning in a buffer that is
    /// overwritten.
    #[inline]
    pub(crate) fn wakeup(&self) -> u64 {
        self.handle().wakeup as u64
    }

    /// Gives `bytes` of the room, which must be there, back to perf as if they had been written.
    /// More than there is room for: nothing happens, and perf has room as before.
    #[inline]
    pub(crate) fn skip(&mut self, bytes: u64) {
        // SAFETY: By the invariants the handle is in a session.
        unsafe { T::Output::skip(self.as_raw(), bytes as c_ulong) };
    }

    /// Sets the offset at which a buffer that is overwritten is written.
    #[inline]
    pub(crate) fn set_head(&mut self, head: u64) {
        // SAFETY: The pointer is valid and nobody else uses it.
        unsafe { (*self.as_raw()).__bindgen_anon_2.head = head as c_ulong };
    }

    /// Marks the data.
    #[inline]
    pub(crate) fn flag(&mut self, flags: AuxFlags) {
        // SAFETY: By the invariants the handle is in a session. The flags of the type are none that
        // perf sets itself.
        unsafe { bindings::perf_aux_output_flag(self.as_raw(), flags.0.into()) };
    }

    /// Ends the session after `bytes` were written.
    #[inline]
    pub(crate) fn end(self, bytes: u64) -> AuxHandle<'a, T> {
        // SAFETY: By the invariants the handle is in a session. It is not any more after this.
        unsafe { T::Output::end(self.as_raw(), bytes as c_ulong) };
        self.0
    }
}

/// A registered PMU. Dropping it unregisters the PMU, after its last event was taken off.
///
/// # Invariants
///
/// `pmu` is registered, and its callbacks are those of this type.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T: Pmu> {
    /// What perf keeps a pointer to. It is the first field: callbacks find the others through it.
    #[pin]
    pmu: Opaque<bindings::pmu>,
    /// The driver, which the callbacks call.
    driver: T,
    /// The name of the PMU, which perf does not copy.
    name: CString,
}

// SAFETY: perf may use the PMU from any thread; of `T` that is required.
unsafe impl<T: Pmu> Send for Registration<T> {}

// SAFETY: As above; there is nothing to do with a shared reference but to reach `T`.
unsafe impl<T: Pmu> Sync for Registration<T> {}

impl<T: Pmu> Registration<T> {
    /// What is the same for all PMUs of the type.
    const PMU: bindings::pmu = bindings::pmu {
        capabilities: T::CAPABILITIES as c_int,
        // The context of software events: the only one besides that of the CPU's own PMU that is
        // switched with the task, which profiling a task needs.
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

    /// Registers `driver` as the PMU `name`, below `parent`, with the sysfs attributes in `groups`.
    pub(crate) fn new<'a>(
        driver: T,
        name: CString,
        parent: &'a Device,
        groups: &'static Groups,
        module: &'static ThisModule,
    ) -> impl PinInit<Self, Error> + 'a {
        let init = move |slot: *mut Self| -> Result {
            // SAFETY: `slot` may be written to. The fields are written one by one before anything
            // can see them.
            let pmu = unsafe {
                (&raw mut (*slot).driver).write(driver);
                (&raw mut (*slot).name).write(name);
                let pmu = Opaque::cast_into(&raw const (*slot).pmu);
                pmu.write(Self::PMU);
                (*pmu).module = module.as_ptr();
                (*pmu).parent = device_ptr(parent);
                (*pmu).attr_groups = groups.0.as_ptr().cast_mut();
                pmu
            };
            // SAFETY: The PMU is complete and stays where it is, as does the name: the registration
            // is pinned, and unregistered before it is dropped.
            let registered = to_result(unsafe {
                bindings::perf_pmu_register(pmu, (*slot).name.as_char_ptr(), -1)
            });
            if registered.is_err() {
                // SAFETY: Both were initialised above, and `slot` counts as not initialised when an
                // error is returned.
                unsafe {
                    (&raw mut (*slot).driver).drop_in_place();
                    (&raw mut (*slot).name).drop_in_place();
                }
            }
            registered
        };
        // SAFETY: `init` initialises all fields, or drops those it has initialised and returns an
        // error. The value does not move afterwards.
        // INVARIANT: `perf_pmu_register()` succeeded.
        unsafe { pin_init::pin_init_from_closure(init) }
    }

    /// The registration that `pmu` is the first field of.
    #[inline]
    fn from_pmu(pmu: *const bindings::pmu) -> *const Self {
        // The registration is `repr(C)`, and `Opaque` a transparent wrapper.
        pmu.cast()
    }

    /// The PMU behind the device that perf made for it.
    ///
    /// # Safety
    ///
    /// `dev` must be the device of a registered PMU of this type, and be so during `'a`.
    pub(crate) unsafe fn from_device<'a>(dev: *mut kernel::bindings::device) -> &'a T {
        // SAFETY: perf keeps the pointer to the PMU as the driver data of the device.
        unsafe { &(*Self::from_pmu((*dev).driver_data.cast())).driver }
    }

    /// # Safety
    ///
    /// To be called by perf, with an event of this PMU or what belongs to one.
    unsafe extern "C" fn event_init(event: *mut bindings::perf_event) -> c_int {
        // SAFETY: perf passes a valid event whose `pmu` it has set to this PMU; `pmu_private` is
        // null in a new event. The PMU has its type by now. `perf_event_alloc()` is still making
        // the event: no file and no context has it, so that nobody writes to its attributes before
        // this returns, and the reference does not outlast that.
        let (this, attr, ours) = unsafe {
            (
                Event::<T>::from_raw(event),
                &(*event).attr,
                (*(*event).pmu).type_,
            )
        };
        // perf offers an event of an unknown type to each PMU in turn.
        if attr.type_ != ours as u32 {
            return ENOENT.to_errno();
        }
        from_result(|| {
            let data = this.pmu().event_init(this, attr)?;
            // SAFETY: Nobody else sees the event yet.
            // INVARIANT: The pointer comes from a box, which `destroy` frees.
            unsafe {
                (*event).pmu_private = KBox::into_raw(data).cast();
                (*event).destroy = Some(Self::destroy);
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// As [`Self::event_init`].
    unsafe extern "C" fn destroy(event: *mut bindings::perf_event) {
        // SAFETY: perf calls this once, at the end of an event whose `event_init` has set the
        // pointer.
        let data = unsafe {
            let data = KBox::<T::EventData>::from_raw((*event).pmu_private.cast());
            // INVARIANT: `pmu_private` is null again before the box is freed.
            (*event).pmu_private = core::ptr::null_mut();
            data
        };
        drop(data);
    }

    /// # Safety
    ///
    /// As [`Self::event_init`].
    unsafe extern "C" fn add(event: *mut bindings::perf_event, flags: c_int) -> c_int {
        // SAFETY: perf passes a valid event of this PMU, as in all callbacks below.
        let event = unsafe { Event::<T>::from_raw(event) };
        match event.pmu().add(event, Flags::from_raw(flags)) {
            Ok(()) => 0,
            Err(err) => err.to_errno(),
        }
    }

    /// # Safety
    ///
    /// As [`Self::event_init`].
    unsafe extern "C" fn del(event: *mut bindings::perf_event, flags: c_int) {
        // SAFETY: See `add`.
        let event = unsafe { Event::<T>::from_raw(event) };
        event.pmu().del(event, Flags::from_raw(flags));
    }

    /// # Safety
    ///
    /// As [`Self::event_init`].
    unsafe extern "C" fn start(event: *mut bindings::perf_event, flags: c_int) {
        // SAFETY: See `add`.
        let event = unsafe { Event::<T>::from_raw(event) };
        event.pmu().start(event, Flags::from_raw(flags));
    }

    /// # Safety
    ///
    /// As [`Self::event_init`].
    unsafe extern "C" fn stop(event: *mut bindings::perf_event, flags: c_int) {
        // SAFETY: See `add`.
        let event = unsafe { Event::<T>::from_raw(event) };
        event.pmu().stop(event, Flags::from_raw(flags));
    }

    /// There is no count.
    extern "C" fn read(_event: *mut bindings::perf_event) {}

    /// # Safety
    ///
    /// As [`Self::event_init`].
    unsafe extern "C" fn setup_aux(
        event: *mut bindings::perf_event,
        pages: *mut *mut c_void,
        nr_pages: c_int,
        overwrite: bool,
    ) -> *mut c_void {
        // SAFETY: See `add`.
        let event = unsafe { Event::<T>::from_raw(event) };
        let nr_pages = usize::try_from(nr_pages).unwrap_or(0);
        // SAFETY: perf passes an array of that many pages, none of which is null.
        let pages = unsafe { core::slice::from_raw_parts(pages.cast(), nr_pages) };
        let Ok(aux) = event.pmu().setup_aux(event, pages, overwrite) else {
            return core::ptr::null_mut();
        };
        // A buffer may outlive the events of this PMU: user space can map it again through another
        // event whose output goes there.
        //
        // SAFETY: This is the module whose function is executed. perf's core took a reference to it
        // before it called `event_init`, and keeps it as long as there is the event, which is
        // mapped here: there is one that another one can be added to.
        unsafe { __module_get(this_module().as_ptr()) };
        let mark = event.pmu().mark();
        KBox::into_raw(aux).wrapping_byte_add(mark.0).cast()
    }

    /// # Safety
    ///
    /// As [`Self::event_init`].
    unsafe extern "C" fn free_aux(aux: *mut c_void) {
        let aux = aux.map_addr(|marked| marked & !(align_of::<T::Aux>() - 1));
        // SAFETY: perf passes what `setup_aux` returned, once, after the last session: without the
        // mark, the pointer of a box. `setup_aux` took a reference to the module as well, which
        // nobody else gives back. It may be the last one, and the module go at once: that is the
        // last thing done here, so that the compiler makes a jump of the call, and nothing of the
        // module is executed after it (`make test T=hot_path` looks).
        unsafe {
            T::free_aux(KBox::from_raw(aux.cast()));
            module_put(this_module().as_ptr());
        }
    }
}

#[pinned_drop]
impl<T: Pmu> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the invariants the PMU is registered.
        unsafe { bindings::perf_pmu_unregister(self.pmu.get()) };
    }
}

/// The sysfs attributes of a PMU: pointers to groups, ended by a null pointer.
///
/// # Invariants
///
/// The last pointer is null, the others are valid for ever, as is everything that they point to.
pub(crate) struct Groups(&'static [*const attribute_group]);

// SAFETY: Nobody writes to what the pointers point to.
unsafe impl Sync for Groups {}

impl Groups {
    /// # Safety
    ///
    /// `groups` must keep the invariants of the type.
    pub(crate) const unsafe fn new(groups: &'static [*const attribute_group]) -> Self {
        // INVARIANT: by the safety requirements of this function.
        Self(groups)
    }
}

/// The pointer to the C device that `device` wraps.
pub(crate) fn device_ptr(device: &Device) -> *mut kernel::bindings::device {
    core::ptr::from_ref(device).cast_mut().cast()
}
