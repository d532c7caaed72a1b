// SPDX-License-Identifier: GPL-2.0

//! KUnit: the state machine on the registers of a real or an emulated unit. A [`Ring`] replaces
//! perf's ring buffer, and hands out whatever space a case wants. This is what the cases in
//! `cases.rs` and `power.rs` are made of.
//!
//! A case runs on one CPU with interrupts disabled, as callbacks do, and turns the unit off at the
//! end. The suites run when the module is loaded; run again from debugfs, they end a recording.

use super::*;
use crate::{
    aux_buffer::{
        Buffer,
        Destination,
        EventData,
        WithoutTransaction, //
    },
    caps,
    event::{
        EventAttr,
        EventConfig, //
    },
    live_buffer::{
        Batch,
        Buffers,
        LiveEvent, //
    },
    percpu::{
        run_on,
        NotInNmi, //
    },
    perf::{
        pmu::TaggedPmu,
        AuxPage,
        Event, //
    },
    perf_quirks::{
        Deferrable,
        Deferred,
        NoSpace,
        OwnerTag, //
    },
    sysreg::{
        isb,
        psb_csync_dsb,
        FM_DISCARD,
        ID_AA64DFR0_EL1,
        PMBIDR_EL1,
        PMSCR_EL1,
        PMSEVFR_EL1,
        PMSFCR_EL1,
        PMSICR_EL1,
        PMSIDR_EL1,
        PMSIRR_EL1,
        PMSLATFR_EL1, //
    },
    version::LocalInterruptDisabled, //
};
use core::{
    mem::MaybeUninit,
    pin::Pin,
    ptr::NonNull,
    slice::from_raw_parts, //
};
use kernel::{
    bindings::{
        self,
        alloc_pages_exact_noprof,
        free_pages_exact,
        __GFP_ZERO, //
    },
    cpu::CpuId,
    cpumask::CpumaskVar,
    ffi::c_void,
    page::PAGE_SIZE,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    types::Opaque, //
};
use ring::{
    Nmi,
    Perf,
    Ring, //
};

type RawEvent = crate::bindings::perf_event;

struct Page([u8; PAGE_SIZE]);

/// Zeroed pages, each with a reference of its own, as perf's AUX pages are.
struct Pages(NonNull<[Page; PAGES]>);

impl Pages {
    fn new() -> Result<Self> {
        // SAFETY: Safe to call from a task, which may sleep here: `Bench::new` runs in KUnit's
        // thread.
        let pages =
            unsafe { alloc_pages_exact_noprof(SIZE as usize, bindings::GFP_KERNEL | __GFP_ZERO) };
        NonNull::new(pages.cast()).map(Self).ok_or(ENOMEM)
    }
}

impl core::ops::Deref for Pages {
    type Target = [Page; PAGES];

    fn deref(&self) -> &[Page; PAGES] {
        // SAFETY: `new` has allocated as many bytes, for which each value is valid. A case reads
        // them while the unit is off.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: `new` has allocated them. A mapping that is left has its own references.
        unsafe { free_pages_exact(self.0.as_ptr().cast(), SIZE as usize) };
    }
}

/// The buffer of a bench, in pages.
const PAGES: usize = 4;
const SIZE: u64 = (PAGES * PAGE_SIZE) as u64;

/// The state of the unit of CPU 0, two events, and a ring that they share.
struct Bench {
    slot: KBox<Slot>,
    cpu: KBox<Cpu>,
    /// The handle of the slot while that is offline.
    handle: Cell<Option<AuxHandle<Spe>>>,
    events: [KBox<MaybeUninit<RawEvent>>; 2],
    data: [KBox<EventData>; 2],
    pmu: Pin<KBox<TaggedPmu>>,
    ring: KBox<Ring>,
    /// A ring of the other kind, which no event has in the beginning.
    other: KBox<Ring>,
    config: EventConfig,
    memory: Pages,
}

/// The condition that did not hold.
type Outcome = core::result::Result<(), &'static str>;

/// Returns with the condition if it does not hold.
macro_rules! hold {
    ($condition:expr) => {
        if !$condition {
            return Err(stringify!($condition));
        }
    };
}

/// Moves a bench to the CPU that the case runs on.
struct Moved<'a>(&'a Bench, fn(&Bench) -> Outcome);

// SAFETY: `run_on` waits until the closure has returned, so that the bench is used by one CPU at a
// time and outlives the use.
unsafe impl Send for Moved<'_> {}

impl Moved<'_> {
    fn run(self) -> Outcome {
        let Self(bench, case) = self;
        bench.online();
        let outcome = case(bench);
        bench.offline();
        outcome
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.free();
        }
    }
}

impl Bench {
    fn new(attr: &EventAttr, snapshot: bool) -> Result<Self> {
        let memory = Pages::new()?;
        let addresses = memory
            .each_ref()
            .map(|page| (&raw const *page).cast::<c_void>());
        // SAFETY: alloc_pages_exact() gives whole pages of the linear map, each with a reference of
        // its own, and the bench frees them after the buffers (fields are dropped in their order).
        // `AuxPage` is transparent.
        let pages = unsafe { from_raw_parts(addresses.as_ptr().cast::<AuxPage>(), PAGES) };
        let (align, sampling) = run_on(0, |_| {
            let version = caps::version(ID_AA64DFR0_EL1::read()).ok()?;
            let align = caps::alignment(PMBIDR_EL1::read()).ok()?;
            Some((align, caps::sampling(PMSIDR_EL1::read(), version).ok()?))
        })?
        .ok_or(ENODEV)?;
        let ring = |snapshot| -> Result<KBox<Ring>> {
            let buffer = Buffer::map(pages, align, sampling.max_record, snapshot)?;
            let ring = Ring {
                buffer: Deferrable::new(buffer),
                snapshot,
                head: Cell::new(0),
                space: Cell::new(SIZE - 1),
                mapped: Cell::new(true),
                wakeup: Cell::new(1 << 30),
                nmi: Cell::new(Nmi::None),
                cpu: Cell::new(core::ptr::null()),
                tag: Cell::new(1),
                asked: Cell::new(0),
                open: Cell::new(false),
                begun: Cell::new(0),
                ended: Cell::new(0),
                bytes: Cell::new(0),
                flags: Cell::new(0),
                disabled: Cell::new(0),
                enabled: Cell::new(false),
            };
            Ok(KBox::new(ring, GFP_KERNEL)?)
        };
        let config = EventConfig::new(attr, sampling.features, u64::MAX).map_err(|_| EINVAL)?;
        let mut cpus = CpumaskVar::new_zero(GFP_KERNEL)?;
        cpus.set(CpuId::from_u32(0).ok_or(EINVAL)?);
        let buffers = Arc::new(Buffers::new(&cpus)?, GFP_KERNEL)?;
        let data = || -> Result<KBox<EventData>> {
            let no_space = NoSpace::new(false);
            let destination = match config.live {
                Some(request) => {
                    let batch = Batch::new(request, align.max(sampling.max_record), true)?;
                    let live = LiveEvent::new(buffers.clone(), batch, align);
                    Destination::NoTransaction(WithoutTransaction::Live(live))
                }
                None if config.discard => Destination::NoTransaction(WithoutTransaction::Discard),
                None => Destination::Aux,
            };
            let data = EventData {
                config,
                no_space,
                destination,
            };
            Ok(KBox::new(data, GFP_KERNEL)?)
        };
        let bench = Self {
            slot: KBox::new(Slot::new(), GFP_KERNEL)?,
            cpu: KBox::new(Cpu::new(), GFP_KERNEL)?,
            handle: Cell::new(Some(AuxHandle::new()?)),
            events: [
                KBox::new(MaybeUninit::zeroed(), GFP_KERNEL)?,
                KBox::new(MaybeUninit::zeroed(), GFP_KERNEL)?,
            ],
            data: [data()?, data()?],
            pmu: KBox::pin(
                TaggedPmu {
                    pmu: Opaque::uninit(),
                    tag: OwnerTag::new(0),
                },
                GFP_KERNEL,
            )?,
            ring: ring(snapshot)?,
            other: ring(!snapshot)?,
            config,
            memory,
        };
        bench.ring.cpu.set(&*bench.cpu);
        bench.other.cpu.set(&*bench.cpu);
        for n in 0..2 {
            // SAFETY: The event has no other user. `rb` and `pmu` are not what C takes them for,
            // but C does not get the event.
            unsafe {
                (*bench.raw(n)).pmu = (&raw const *bench.pmu).cast_mut().cast();
                (*bench.raw(n)).rb = (&raw const *bench.ring).cast_mut().cast();
                (*bench.raw(n)).pmu_private = (&raw const *bench.data[n]).cast_mut().cast();
            }
            bench.event(n).set_sample_period(256);
            drop(bench.event(n).activate());
        }
        Ok(bench)
    }

    fn raw(&self, n: usize) -> *mut RawEvent {
        self.events[n].as_ptr().cast_mut()
    }

    fn event(&self, n: usize) -> &Event<Spe> {
        // SAFETY: Zero is a value of each field that the driver uses, but for those that `new` has
        // set. The event lives as long as the bench.
        unsafe { Event::from_raw(self.raw(n)) }
    }

    fn online(&self) {
        // SAFETY: `run_on` calls a case with interrupts disabled and not in an NMI, for which it
        // gives a token that the case has no use for.
        let context = unsafe { NotInNmi::assume(LocalInterruptDisabled::assume_disabled()) };
        let mut handle = self.handle.take();
        self.slot.online(&mut handle, &self.cpu, context);
        self.handle.set(handle);
    }

    fn offline(&self) {
        if let Some(handle) = self.slot.offline(&self.cpu) {
            self.handle.set(Some(handle));
        }
    }

    fn start(&self, n: usize) -> bool {
        self.slot.start(self.event(n), &self.cpu)
    }

    fn stop(&self, n: usize) {
        self.slot.stop(self.event(n), &self.cpu);
    }

    /// Handles an interrupt.
    fn serve(&self) -> bool {
        self.slot.interrupt(&self.cpu)
    }

    fn pause(&self, paused: bool) {
        self.event(0).set_paused(paused);
        self.cpu.gate.update(self.event(0));
    }

    fn throttle(&self) {
        self.event(0).throttle();
        self.cpu.gate.update(self.event(0));
    }

    /// Calls `look` with the state.
    fn with_state<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        let state = self.slot.state.replace(State::Offline);
        let result = look(&state);
        self.slot.state.set(state);
        result
    }

    /// Returns whether the unit, perf and event 0 agree that nothing is sampled.
    fn is_off(&self) -> bool {
        self.event(0).is_stopped()
            && !PMBLIMITR_EL1::read().has(PMBLIMITR_EL1::E)
            && PMSCR_EL1::read().bits() == 0
            && !self.ring.open.get()
    }

    fn counted(&self, counter: Counter) -> u64 {
        self.cpu.counters.get(counter)
    }

    fn is_sampling(&self) -> bool {
        !self.event(0).is_stopped()
            && PMBLIMITR_EL1::read().has(PMBLIMITR_EL1::E)
            && PMSCR_EL1::read() == self.config.pmscr
            && self.ring.open.get() == matches!(self.data[0].destination, Destination::Aux)
    }
}

/// Runs `case` on CPU 0. Returns whether it held, and logs the reason if not.
fn run(case: fn(&Bench) -> Outcome) -> bool {
    run_with(&kernel_only(), false, case)
}

/// As [`run`], for an event with other attributes or a snapshot buffer.
fn run_with(attr: &EventAttr, snapshot: bool, case: fn(&Bench) -> Outcome) -> bool {
    let outcome = Bench::new(attr, snapshot).and_then(|bench| {
        let moved = Moved(&bench, case);
        run_on(0, move |_| moved.run())
    });
    match outcome {
        Ok(Ok(())) => true,
        Ok(Err(what)) => {
            pr_err!("    # does not hold: {}\n", what);
            false
        }
        Err(error) => {
            pr_err!("    # cannot run: {:?}\n", error);
            false
        }
    }
}

fn kernel_only() -> EventAttr {
    EventAttr {
        exclude_user: true,
        ..EventAttr::default()
    }
}

/// Executes a few operations `times` times.
fn spin(times: u32) {
    for n in 0..times {
        core::hint::black_box(n);
    }
}

/// Executes operations until `enough`, or for some time. Returns whether it was enough.
fn work(enough: impl Fn() -> bool) -> bool {
    for _ in 0..20_000 {
        spin(100);
        if enough() {
            return true;
        }
    }
    false
}

/// Executes operations until the unit asks for service.
fn work_until_service() -> bool {
    work(|| {
        psb_csync_dsb();
        isb();
        PMBSR_EL1::read().has(PMBSR_EL1::S)
    })
}

/// Returns all registers that a start writes.
fn registers() -> [u64; 9] {
    [
        PMSFCR_EL1::read().bits(),
        PMSEVFR_EL1::read().bits(),
        PMSLATFR_EL1::read().bits(),
        PMSIRR_EL1::read().bits(),
        PMSICR_EL1::read().bits(),
        PMSCR_EL1::read().bits(),
        PMBPTR_EL1::read().bits(),
        PMBLIMITR_EL1::read().bits(),
        PMBSR_EL1::read().bits(),
    ]
}

fn pointer() -> u64 {
    psb_csync_dsb();
    isb();
    PMBPTR_EL1::read().bits()
}

/// The state of the unit, as event 0 sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Offline,
    Off,
    Sampling,
    Paused,
    Throttled,
    /// Sampling for event 1.
    Other,
    /// The CPU may have lost its power.
    Asleep,
}

/// A transition.
#[derive(Clone, Copy)]
enum Does {
    Start,
    /// As `Start`, with no space in the buffer.
    StartFull,
    Stop,
    /// An interrupt without a request.
    Spurious,
    /// An interrupt because the buffer is full, with space for the next transaction.
    Full,
    /// As `Full`, without space.
    FullUp,
    Fault,
    Pause,
    Resume,
    Throttle,
    Online,
    Offline,
    Sleep,
    /// The CPU is back, and has lost its power if it was asleep.
    Wake,
}

impl Bench {
    /// Returns the state, if the registers and `hw.state` agree with it.
    fn at(&self) -> Option<At> {
        let event = self.event(0);
        let at = self.with_state(|state| match state {
            State::Sampling(sampling) if !sampling.is_for(event) => At::Other,
            State::Sampling(_) if event.is_paused() => At::Paused,
            State::Sampling(_) if event.is_stopped() => At::Throttled,
            State::Sampling(_) => At::Sampling,
            State::Off(_) => At::Off,
            State::Offline if self.slot.is_asleep.get() => At::Asleep,
            State::Offline => At::Offline,
        });
        let running = !event.is_stopped();
        let (enabled, pmscr) = (PMBLIMITR_EL1::read(), PMSCR_EL1::read());
        let enabled = enabled.has(PMBLIMITR_EL1::E);
        let expected = match at {
            At::Offline | At::Off => !running && !enabled && pmscr.bits() == 0,
            At::Sampling => running && enabled && pmscr == self.config.pmscr,
            At::Paused => running && enabled && pmscr.bits() == 0,
            At::Throttled => !running && enabled && pmscr.bits() == 0,
            At::Other => !running && enabled && pmscr == self.config.pmscr,
            At::Asleep => !enabled && pmscr.bits() == 0,
        };
        expected.then_some(at)
    }

    /// Brings the unit, which is off, to `at`.
    fn go(&self, at: At) {
        for data in &self.data {
            data.no_space.reset();
        }
        match at {
            At::Offline => self.offline(),
            At::Off => (),
            At::Sampling => drop(self.start(0)),
            At::Paused => {
                self.event(0).set_paused(true);
                self.start(0);
            }
            At::Throttled => {
                self.start(0);
                self.throttle();
            }
            At::Other => drop(self.start(1)),
            At::Asleep => {
                self.start(0);
                self.slot.sleep(&self.cpu);
            }
        }
    }

    /// Brings the unit back from the loss of its power, if it is off.
    fn wake(&self) {
        if matches!(self.at(), Some(At::Off | At::Asleep)) {
            lose_power();
        }
        self.slot.wake(&self.cpu);
    }

    /// Handles an interrupt with `pmbsr`.
    fn interrupt(&self, pmbsr: u64) {
        let pmbsr = PMBSR_EL1::from_bits(pmbsr).with(PMBSR_EL1::S, 1);
        // SAFETY: `S` only stops the unit. The value that the driver sees is a syndrome, for which
        // each value has to be handled.
        unsafe { pmbsr.write() };
        isb();
        self.serve();
    }

    fn happen(&self, does: Does) {
        match does {
            Does::Start => drop(self.start(0)),
            Does::StartFull => {
                self.ring.space.set(0);
                self.start(0);
            }
            Does::Stop => self.stop(0),
            Does::Spurious => drop(self.serve()),
            Does::Full => self.interrupt(1),
            Does::FullUp => {
                self.ring.space.set(0);
                self.interrupt(1);
            }
            Does::Fault => self.interrupt(0x24 << 26),
            Does::Pause => self.pause(true),
            Does::Resume => self.pause(false),
            Does::Throttle => self.throttle(),
            Does::Online => self.online(),
            Does::Offline => self.offline(),
            Does::Sleep => self.slot.sleep(&self.cpu),
            Does::Wake => self.wake(),
        }
    }
}

/// Gives the registers of the unit, which is off, the values that they may have after a reset.
fn lose_power() {
    const ANY: u64 = 0x6b5f_3a97_c1d2_e48f;

    PMSFCR_EL1::from_bits(ANY).write();
    PMSEVFR_EL1::from_bits(ANY).write();
    PMSLATFR_EL1::from_bits(ANY).write();
    PMSIRR_EL1::from_bits(ANY).write();
    // The next operation is sampled, if one is.
    PMSICR_EL1::from_bits(1).write();
    // SAFETY: The buffer is disabled: nothing is written, wherever the pointer is.
    unsafe {
        PMBPTR_EL1::from_bits(ANY).write();
        PMBSR_EL1::from_bits(ANY).with(PMBSR_EL1::S, 1).write();
    }
    PMSCR_EL1::from_bits(ANY).write();
    isb();
}

/// The state before, the transition, the state after.
#[rustfmt::skip]
const TRANSITIONS: &[(At, Does, At)] = &[
    (At::Offline, Does::Start, At::Offline),
    (At::Offline, Does::StartFull, At::Offline),
    (At::Offline, Does::Stop, At::Offline),
    (At::Offline, Does::Spurious, At::Offline),
    (At::Offline, Does::Full, At::Offline),
    (At::Offline, Does::FullUp, At::Offline),
    (At::Offline, Does::Fault, At::Offline),
    (At::Offline, Does::Pause, At::Offline),
    (At::Offline, Does::Resume, At::Offline),
    (At::Offline, Does::Throttle, At::Offline),
    (At::Offline, Does::Online, At::Off),
    (At::Offline, Does::Offline, At::Offline),

    (At::Off, Does::Start, At::Sampling),
    (At::Off, Does::StartFull, At::Off),
    (At::Off, Does::Stop, At::Off),
    (At::Off, Does::Spurious, At::Off),
    (At::Off, Does::Full, At::Off),
    (At::Off, Does::FullUp, At::Off),
    (At::Off, Does::Fault, At::Off),
    (At::Off, Does::Pause, At::Off),
    (At::Off, Does::Resume, At::Off),
    (At::Off, Does::Throttle, At::Off),
    (At::Off, Does::Online, At::Off),
    (At::Off, Does::Offline, At::Offline),

    (At::Sampling, Does::Start, At::Sampling),
    (At::Sampling, Does::StartFull, At::Sampling),
    (At::Sampling, Does::Stop, At::Off),
    (At::Sampling, Does::Spurious, At::Sampling),
    (At::Sampling, Does::Full, At::Sampling),
    (At::Sampling, Does::FullUp, At::Off),
    (At::Sampling, Does::Fault, At::Off),
    (At::Sampling, Does::Pause, At::Paused),
    (At::Sampling, Does::Resume, At::Sampling),
    (At::Sampling, Does::Throttle, At::Throttled),
    (At::Sampling, Does::Online, At::Sampling),
    (At::Sampling, Does::Offline, At::Offline),

    (At::Paused, Does::Start, At::Paused),
    (At::Paused, Does::StartFull, At::Paused),
    (At::Paused, Does::Stop, At::Off),
    (At::Paused, Does::Spurious, At::Paused),
    (At::Paused, Does::Full, At::Paused),
    (At::Paused, Does::FullUp, At::Off),
    (At::Paused, Does::Fault, At::Off),
    (At::Paused, Does::Pause, At::Paused),
    (At::Paused, Does::Resume, At::Sampling),
    (At::Paused, Does::Online, At::Paused),
    (At::Paused, Does::Offline, At::Offline),

    (At::Throttled, Does::Start, At::Sampling),
    (At::Throttled, Does::StartFull, At::Sampling),
    (At::Throttled, Does::Stop, At::Off),
    (At::Throttled, Does::Spurious, At::Throttled),
    (At::Throttled, Does::Full, At::Throttled),
    (At::Throttled, Does::FullUp, At::Off),
    (At::Throttled, Does::Fault, At::Off),
    (At::Throttled, Does::Throttle, At::Throttled),
    (At::Throttled, Does::Resume, At::Throttled),
    (At::Throttled, Does::Online, At::Throttled),
    (At::Throttled, Does::Offline, At::Offline),

    (At::Other, Does::Start, At::Other),
    (At::Other, Does::StartFull, At::Other),
    (At::Other, Does::Stop, At::Other),
    (At::Other, Does::Spurious, At::Other),
    (At::Other, Does::Full, At::Other),
    (At::Other, Does::FullUp, At::Off),
    (At::Other, Does::Fault, At::Off),
    (At::Other, Does::Online, At::Other),
    (At::Other, Does::Offline, At::Offline),

    (At::Offline, Does::Sleep, At::Offline),
    (At::Offline, Does::Wake, At::Offline),
    (At::Off, Does::Sleep, At::Off),
    (At::Off, Does::Wake, At::Off),
    (At::Sampling, Does::Sleep, At::Asleep),
    (At::Sampling, Does::Wake, At::Sampling),
    (At::Paused, Does::Sleep, At::Asleep),
    (At::Throttled, Does::Sleep, At::Asleep),
    (At::Other, Does::Sleep, At::Asleep),

    (At::Asleep, Does::Wake, At::Sampling),
    (At::Asleep, Does::Sleep, At::Asleep),
    (At::Asleep, Does::Start, At::Sampling),
    (At::Asleep, Does::StartFull, At::Sampling),
    (At::Asleep, Does::Stop, At::Off),
    (At::Asleep, Does::Spurious, At::Sampling),
    (At::Asleep, Does::Pause, At::Asleep),
    (At::Asleep, Does::Resume, At::Asleep),
    (At::Asleep, Does::Throttle, At::Asleep),
    (At::Asleep, Does::Online, At::Asleep),
    (At::Asleep, Does::Offline, At::Offline),
];

const COLLISION: u64 = crate::bindings::PERF_AUX_FLAG_COLLISION as u64;
const TRUNCATED: u64 = crate::bindings::PERF_AUX_FLAG_TRUNCATED as u64;

// After the macro.
mod cases;
mod live;
mod power;
pub(crate) mod ring;
