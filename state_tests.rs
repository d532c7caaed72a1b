// SPDX-License-Identifier: GPL-2.0

//! KUnit: the state machine on the registers of a real or an emulated unit. A [`Ring`] replaces
//! perf's ring buffer, and hands out whatever space a case wants.
//!
//! A case runs on one CPU with interrupts disabled, as callbacks do. It turns the unit off at the
//! end, so that the interrupt of the loaded driver is not affected.

use super::*;
use crate::{
    aux_buffer::{
        Buffer,
        EventData, //
    },
    caps,
    event::{
        Attr,
        EventConfig, //
    },
    percpu::{
        run_on,
        NotInNmi, //
    },
    perf::{
        stub::Stub,
        AuxPage,
        Event, //
    },
    perf_quirks::{
        Deferrable,
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
    ptr::{
        null_mut,
        NonNull, //
    }, //
};
use kernel::{
    bindings::{
        self,
        alloc_pages_exact_noprof,
        free_pages_exact,
        __GFP_ZERO, //
    },
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    page::PAGE_SIZE, //
};

type Handle = crate::bindings::perf_output_handle;
type RawEvent = crate::bindings::perf_event;

/// What an NMI does in the middle of a transition, while perf hands out a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nmi {
    None,
    Throttle,
    Pause,
}

/// A buffer and what perf says of it. `rb` of the events points to it.
#[repr(C)]
struct Ring {
    stub: Stub,
    buffer: Deferrable<Buffer>,
    /// The buffer is overwritten.
    snapshot: bool,
    /// Where the next transaction begins.
    head: Cell<u64>,
    space: Cell<u64>,
    mapped: Cell<bool>,
    /// How far from the head the reader wants to be woken.
    wakeup: Cell<u64>,
    nmi: Cell<Nmi>,
    cpu: Cell<*const Cpu>,
    /// The tag of the pointer to the buffer.
    tag: Cell<usize>,
    /// How often perf was asked for a buffer.
    asked: Cell<u64>,
    /// A transaction is open.
    open: Cell<bool>,
    /// How many transactions were begun, and ended.
    begun: Cell<u64>,
    ended: Cell<u64>,
    /// What the last one was ended with.
    bytes: Cell<u64>,
    flags: Cell<u64>,
    /// The buffer of the unit was enabled while a transaction was begun or ended.
    enabled: Cell<bool>,
}

impl Ring {
    /// # Safety
    ///
    /// `stub` must point to the first field of a ring that lives during `'a`.
    unsafe fn from_stub<'a>(stub: *const Stub) -> &'a Self {
        // SAFETY: By the safety requirement.
        unsafe { &*stub.cast::<Self>() }
    }

    fn note_enabled(&self) {
        if PMBLIMITR_EL1::read().has(PMBLIMITR_EL1::E) {
            self.enabled.set(true);
        }
    }
}

unsafe fn begin(stub: *const Stub, handle: &mut Handle, event: *mut RawEvent) -> *mut c_void {
    // SAFETY: The stub is that of a ring, the event that of a bench, which has set `cpu`.
    let (ring, held, cpu) = unsafe {
        let ring = Ring::from_stub(stub);
        (ring, Event::<Spe>::from_raw(event), &*ring.cpu.get())
    };
    match ring.nmi.replace(Nmi::None) {
        Nmi::None => (),
        Nmi::Throttle => {
            held.throttle();
            cpu.gate.update(held);
        }
        Nmi::Pause => {
            held.set_paused(true);
            cpu.gate.update(held);
        }
    }
    ring.note_enabled();
    ring.asked.set(ring.asked.get() + 1);
    if !ring.mapped.get() || ring.open.get() {
        return null_mut();
    }
    // SAFETY: The event is valid.
    handle.rb = unsafe { (*event).rb };
    if ring.space.get() == 0 {
        return null_mut();
    }
    handle.event = event;
    handle.__bindgen_anon_2.head = ring.head.get() as c_ulong;
    handle.size = ring.space.get() as c_ulong;
    handle.wakeup = ring.head.get().wrapping_add(ring.wakeup.get()) as c_ulong;
    // SAFETY: The members of the union are integers.
    unsafe { *handle.__bindgen_anon_1.aux_flags = 0 };
    ring.open.set(true);
    ring.begun.set(ring.begun.get() + 1);
    let buffer = (&raw const ring.buffer).cast_mut();
    buffer.wrapping_byte_add(ring.tag.get()).cast()
}

unsafe fn skip(stub: *const Stub, handle: &mut Handle, bytes: c_ulong) -> c_int {
    // SAFETY: The stub is that of a ring.
    let ring = unsafe { Ring::from_stub(stub) };
    ring.head.set(ring.head.get() + bytes as u64);
    ring.space.set(ring.space.get() - bytes as u64);
    handle.__bindgen_anon_2.head = ring.head.get() as c_ulong;
    handle.size = ring.space.get() as c_ulong;
    0
}

unsafe fn end(stub: *const Stub, handle: &mut Handle, bytes: c_ulong) {
    // SAFETY: The stub is that of a ring.
    let ring = unsafe { Ring::from_stub(stub) };
    ring.note_enabled();
    ring.open.set(false);
    ring.ended.set(ring.ended.get() + 1);
    ring.bytes.set(bytes as u64);
    // SAFETY: The members of the unions are integers.
    let (flags, head) = unsafe {
        (
            *handle.__bindgen_anon_1.aux_flags,
            handle.__bindgen_anon_2.head,
        )
    };
    ring.flags.set(flags);
    let written = ring.head.get() + bytes as u64;
    ring.head
        .set(if ring.snapshot { head as u64 } else { written });
    // A case may have taken the space away in the meantime.
    ring.space
        .set(ring.space.get().saturating_sub(bytes as u64));
}

struct Page([u8; PAGE_SIZE]);

/// Zeroed pages, each with a reference of its own, as perf's AUX pages are.
struct Pages(NonNull<[Page; PAGES]>);

impl Pages {
    fn new() -> Result<Self> {
        // SAFETY: Has no requirements.
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

// SAFETY: The sender waits for the result and does nothing else until then.
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
    fn new(attr: &Attr, snapshot: bool) -> Result<Self> {
        let memory = Pages::new()?;
        // SAFETY: Pages of the linear map, which the bench keeps as long as the buffers.
        let pages = memory
            .each_ref()
            .map(|page| unsafe { AuxPage::new(NonNull::from(page).cast()) });
        let (align, sampling) = run_on(0, |_| {
            let version = caps::version(ID_AA64DFR0_EL1::read()).ok()?;
            let align = caps::alignment(PMBIDR_EL1::read()).ok()?;
            Some((align, caps::sampling(PMSIDR_EL1::read(), version).ok()?))
        })?
        .ok_or(ENODEV)?;
        let ring = |snapshot| -> Result<KBox<Ring>> {
            let buffer = Buffer::map(&pages, align, sampling.max_record, snapshot)?;
            let ring = Ring {
                stub: Stub { begin, skip, end },
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
                enabled: Cell::new(false),
            };
            Ok(KBox::new(ring, GFP_KERNEL)?)
        };
        let config = EventConfig::new(attr, sampling.features, u64::MAX).map_err(|_| EINVAL)?;
        let data = || -> Result<KBox<EventData>> {
            let no_space = NoSpace::new(false);
            Ok(KBox::new(EventData { config, no_space }, GFP_KERNEL)?)
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
            ring: ring(snapshot)?,
            other: ring(!snapshot)?,
            config,
            memory,
        };
        bench.ring.cpu.set(&*bench.cpu);
        bench.other.cpu.set(&*bench.cpu);
        for n in 0..2 {
            // SAFETY: The event has no other user. A ring is not what C takes it for, but only the
            // stub uses it.
            unsafe {
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
        // SAFETY: Cases run with interrupts disabled, and not in an NMI.
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
        let state = self.slot.0.replace(State::Offline);
        let result = look(&state);
        self.slot.0.set(state);
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
            && self.ring.open.get() != self.config.discard
    }
}

/// Runs `case` on CPU 0. Returns whether it held, and logs the reason if not.
fn run(case: fn(&Bench) -> Outcome) -> bool {
    run_with(&kernel_only(), false, case)
}

/// As [`run`], for an event with other attributes or a snapshot buffer.
fn run_with(attr: &Attr, snapshot: bool, case: fn(&Bench) -> Outcome) -> bool {
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

fn kernel_only() -> Attr {
    Attr {
        exclude_user: true,
        ..Attr::default()
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
        }
    }

    /// Handles an interrupt with `pmbsr`.
    fn interrupt(&self, pmbsr: u64) {
        let pmbsr = PMBSR_EL1::from_bits(pmbsr).with(PMBSR_EL1::S, 1);
        // SAFETY: Nothing that was turned off is turned on.
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
        }
    }
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
];

const COLLISION: u64 = crate::bindings::PERF_AUX_FLAG_COLLISION as u64;
const TRUNCATED: u64 = crate::bindings::PERF_AUX_FLAG_TRUNCATED as u64;

#[kunit_tests(arm_spe_state)]
mod tests {
    use super::*;

    #[test]
    fn transitions() {
        assert!(run(|bench| {
            for (number, &(from, does, to)) in TRANSITIONS.iter().enumerate() {
                bench.ring.head.set(0);
                bench.ring.space.set(SIZE - 1);
                bench.go(from);
                hold!(bench.at() == Some(from));
                bench.happen(does);
                if bench.at() != Some(to) {
                    pr_err!("    # transition number {} of the table\n", number);
                    return Err("the state is that of the table");
                }
                // Off again.
                bench.event(0).set_paused(false);
                bench.stop(0);
                bench.stop(1);
                bench.online();
                hold!(bench.at() == Some(At::Off) && !bench.ring.open.get());
            }
            Ok(())
        }));
    }

    #[test]
    fn samples_between_start_and_stop() {
        assert!(run(|bench| {
            hold!(bench.is_off());
            hold!(bench.start(0));
            hold!(bench.is_sampling());
            let start = pointer();
            hold!(work(|| pointer() > start + 1024));
            bench.stop(0);
            hold!(bench.is_off());
            hold!(bench.ring.bytes.get() >= 1024);
            hold!(bench.ring.flags.get() == 0);
            // All of it is records, and nothing was written after it.
            let (first, last) = (&bench.memory[0], &bench.memory[PAGES - 1]);
            hold!(first.0[0] != 0);
            hold!(last.0.iter().all(|&byte| byte == 0));
            Ok(())
        }));
    }

    /// A period that is not over goes on when the event does.
    #[test]
    fn a_period_goes_on() {
        assert!(run(|bench| {
            bench.event(0).set_sample_period(1 << 20);
            bench.event(0).set_period_left(1 << 20);
            hold!(bench.start(0));
            spin(10_000);
            bench.stop(0);
            let left = bench.event(0).period_left() & u64::from(u32::MAX);
            hold!(left < 1 << 20);
            hold!(bench.start(0));
            bench.stop(0);
            hold!(bench.event(0).period_left() & u64::from(u32::MAX) <= left);
            Ok(())
        }));
    }

    #[test]
    fn a_full_buffer_is_handed_over() {
        assert!(run(|bench| {
            bench.ring.space.set(2 * PAGE_SIZE as u64);
            hold!(bench.start(0));
            hold!(work_until_service());
            // More was read meanwhile.
            bench.ring.space.set(SIZE - 1);
            hold!(bench.serve());
            hold!(bench.is_sampling());
            hold!(!PMBSR_EL1::read().has(PMBSR_EL1::S));
            hold!(bench.ring.ended.get() == 1 && bench.ring.begun.get() == 2);
            hold!(bench.ring.bytes.get() > PAGE_SIZE as u64);
            hold!(bench.ring.flags.get() == 0);
            let start = pointer();
            hold!(work(|| pointer() > start));
            bench.stop(0);
            hold!(bench.is_off());
            Ok(())
        }));
    }

    /// The event got another ring (`PERF_EVENT_IOC_SET_OUTPUT`), of the other kind: the handler
    /// continues there, with the head kept as that kind wants it.
    #[test]
    fn goes_on_in_another_ring() {
        for snapshot in [true, false] {
            assert!(run_with(&kernel_only(), snapshot, |bench| {
                bench.ring.space.set(2 * PAGE_SIZE as u64);
                hold!(bench.start(0));
                hold!(work_until_service());
                // SAFETY: As in `Bench::new`.
                unsafe { (*bench.raw(0)).rb = (&raw const *bench.other).cast_mut().cast() };
                hold!(bench.serve());
                hold!(!bench.ring.open.get() && bench.other.open.get());
                hold!(!bench.event(0).is_stopped());
                hold!(PMSCR_EL1::read() == bench.config.pmscr);
                hold!(bench.other.flags.get() == 0);
                let start = pointer();
                hold!(work(|| pointer() > start));
                bench.stop(0);
                hold!(!bench.other.open.get() && bench.other.bytes.get() > 0);
                hold!(bench.other.head.get() == bench.other.bytes.get());
                Ok(())
            }));
        }
    }

    /// While perf begins or ends a transaction, the buffer is disabled, however much of it is free:
    /// another CPU may have a transaction of the same buffer then.
    #[test]
    fn writes_only_inside_a_transaction() {
        assert!(run(|bench| {
            bench.ring.wakeup.set(PAGE_SIZE as u64);
            hold!(bench.start(0));
            for round in 1..=2 {
                hold!(work_until_service());
                hold!(bench.serve());
                hold!(bench.ring.ended.get() == round && bench.is_sampling());
            }
            bench.stop(0);
            hold!(bench.is_off() && !bench.ring.enabled.get());
            hold!(bench.counted(Counter::Bytes) == bench.ring.head.get());
            Ok(())
        }));
    }

    /// The handler cannot begin another transaction: the unit is off when it returns.
    #[test]
    fn a_full_buffer_without_more() {
        for mapped in [true, false] {
            let case = if mapped {
                |bench: &Bench| full_without_more(bench, true)
            } else {
                |bench: &Bench| full_without_more(bench, false)
            };
            assert!(run(case));
        }
    }

    fn full_without_more(bench: &Bench, mapped: bool) -> Outcome {
        bench.ring.space.set(PAGE_SIZE as u64);
        hold!(bench.start(0));
        hold!(work_until_service());
        bench.ring.mapped.set(mapped);
        hold!(bench.serve());
        hold!(bench.is_off());
        hold!(!PMBSR_EL1::read().has(PMBSR_EL1::S));
        hold!(!bench.serve());
        Ok(())
    }

    /// The unit asks for service while the event is being stopped: that ends with this event.
    #[test]
    fn stopped_before_the_interrupt() {
        assert!(run(|bench| {
            bench.ring.space.set(PAGE_SIZE as u64);
            hold!(bench.start(0));
            hold!(work_until_service());
            bench.stop(0);
            hold!(bench.is_off());
            hold!(bench.ring.bytes.get() > 0);
            hold!(!bench.serve());
            Ok(())
        }));
    }

    /// No register is written when there is no space.
    #[test]
    fn no_space() {
        for case in [
            |bench: &Bench| {
                start_fails(bench, 63, true)?;
                hold!(bench.ring.begun.get() > 0 && bench.ring.flags.get() & TRUNCATED != 0);
                Ok(())
            },
            |bench: &Bench| start_fails(bench, 0, true),
            |bench: &Bench| start_fails(bench, SIZE - 1, false),
        ] {
            assert!(run(case));
        }
    }

    /// perf hands out the buffer of another PMU: it is not used.
    #[test]
    fn another_pmus_buffer() {
        assert!(run(|bench| {
            // Pointers to allocations of C, and tags of other PMUs.
            let tags = [0, 8, 56, 3, 17, 63];
            for tag in tags {
                bench.ring.tag.set(tag);
                start_fails(bench, SIZE - 1, true)?;
                hold!(bench.ring.begun.get() > 0 && bench.ring.bytes.get() == 0);
            }
            hold!(bench.counted(Counter::StartNotMapped) == tags.len() as u64);
            bench.ring.tag.set(1);
            hold!(bench.start(0));
            bench.stop(0);
            Ok(())
        }));
    }

    /// A tag is recognised by the PMU that it belongs to alone.
    #[test]
    fn owner_tags() -> Result {
        let value = KBox::new(Deferrable::new(0), GFP_KERNEL)?;
        let pointer = NonNull::from(&*value);
        for owner in 0..32 {
            let tagged = OwnerTag::new(owner).tag(pointer);
            for other in 0..32 {
                let found = OwnerTag::new(other).untag(tagged);
                assert_eq!(found, (other == owner).then_some(pointer));
            }
            assert_eq!(OwnerTag::strip(tagged), pointer.as_ptr());
            for even in (0..64).step_by(2) {
                let foreign = pointer.as_ptr().wrapping_byte_add(even).cast();
                assert_eq!(OwnerTag::new(owner).untag::<Deferrable<i32>>(foreign), None);
            }
        }
        Ok(())
    }

    /// Truncation is reported once, until there was space again.
    #[test]
    fn reports_no_space_once() {
        assert!(run(|bench| {
            for _ in 0..2 {
                bench.ring.space.set(63);
                hold!(!bench.start(0));
                hold!(bench.ring.flags.get() & TRUNCATED != 0);
                hold!(!bench.start(0));
                hold!(bench.ring.flags.get() & TRUNCATED == 0);
                bench.ring.space.set(SIZE - 1);
                hold!(bench.start(0));
                bench.stop(0);
            }
            hold!(bench.counted(Counter::StartNoSpace) == 4);
            hold!(bench.counted(Counter::Truncated) == 2);
            Ok(())
        }));
    }

    fn jiffies() -> u64 {
        // SAFETY: A static variable, which C writes as a whole word.
        unsafe { (&raw const kernel::bindings::jiffies).read_volatile() as u64 }
    }

    /// On PREEMPT_RT perf is asked once per jiffy if it has no space at all.
    #[test]
    fn asks_once_per_jiffy() {
        assert!(run(|bench| {
            bench.ring.space.set(0);
            loop {
                let before = jiffies();
                bench.data[0].no_space.reset();
                bench.ring.asked.set(0);
                hold!(!bench.start(0) && !bench.start(0));
                // Otherwise a new jiffy began.
                if jiffies() == before {
                    break;
                }
            }
            let limited = cfg!(CONFIG_PREEMPT_RT);
            hold!(bench.ring.asked.get() == if limited { 1 } else { 2 });
            hold!(bench.counted(Counter::StartFull) >= 2);
            bench.data[0].no_space.reset();
            bench.ring.space.set(SIZE - 1);
            hold!(bench.start(0));
            // An event that ran may start as soon as there is space again.
            bench.happen(Does::FullUp);
            hold!(bench.is_off());
            bench.ring.space.set(SIZE - 1);
            hold!(bench.start(0));
            bench.stop(0);
            // A pinned event is never refused without asking.
            let pinned = NoSpace::new(true);
            pinned.note();
            hold!(!pinned.is_recent());
            Ok(())
        }));
    }

    fn start_fails(bench: &Bench, space: u64, mapped: bool) -> Outcome {
        PMSFCR_EL1::default().with(PMSFCR_EL1::FL, 1).write();
        PMSIRR_EL1::default().with(PMSIRR_EL1::INTERVAL, 77).write();
        isb();
        let before = registers();
        bench.ring.space.set(space);
        bench.ring.mapped.set(mapped);
        hold!(!bench.start(0));
        isb();
        hold!(bench.is_off());
        hold!(before == registers());
        hold!(bench.ring.begun.get() == bench.ring.ended.get());
        Ok(())
    }

    /// The write pointer is moved to an address that is not mapped: a fault, and a pointer out of
    /// range.
    #[test]
    fn a_fault() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            // SAFETY: Nothing is mapped at the end of the address space, where error pointers are.
            unsafe {
                PMBPTR_EL1::from_bits(u64::MAX << 20).write();
                PMBLIMITR_EL1::from_bits(u64::MAX << 19 | 1).write();
            }
            isb();
            hold!(work_until_service());
            hold!(bench.serve());
            hold!(bench.is_off());
            hold!(bench.ring.bytes.get() == 0);
            hold!(bench.ring.flags.get() & TRUNCATED != 0);
            hold!(
                bench.counted(Counter::FaultStage1) == 1 && bench.counted(Counter::Truncated) == 1
            );
            hold!(bench.counted(Counter::StrayPointer) == 1);
            // It works again.
            hold!(bench.start(0));
            let start = pointer();
            hold!(work(|| pointer() > start));
            bench.stop(0);
            hold!(bench.is_off() && bench.ring.bytes.get() > 0);
            Ok(())
        }));
    }

    /// Errors of the hardware end the event, are flagged and counted.
    #[test]
    fn hardware_errors() {
        assert!(run(|bench| {
            for (pmbsr, counter) in [
                (0x24 << 26, Counter::FaultStage1),
                (0x25 << 26, Counter::FaultStage2),
                (1 << 18, Counter::ExternalAbort),
                (1 << 18 | 1, Counter::ExternalAbort),
                (2, Counter::UnknownStatus),
                (0x3f << 26, Counter::UnknownClass),
                (1 << 19 | 1, Counter::Partial),
            ] {
                let (before, truncated) =
                    (bench.counted(counter), bench.counted(Counter::Truncated));
                bench.ring.head.set(0);
                bench.ring.space.set(SIZE - 1);
                hold!(bench.start(0));
                bench.interrupt(pmbsr);
                hold!(bench.is_off());
                hold!(bench.ring.flags.get() & TRUNCATED != 0);
                hold!(bench.counted(counter) == before + 1);
                hold!(bench.counted(Counter::Truncated) == truncated + 1);
            }
            hold!(bench.start(0));
            hold!(!bench.serve());
            hold!(bench.counted(Counter::Spurious) == 1);
            bench.stop(0);
            Ok(())
        }));
    }

    /// A write pointer out of range is an error of its own.
    #[test]
    fn a_stray_pointer() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            bench.pause(true);
            let stray = PMBPTR_EL1::read().bits().wrapping_add(1 << 40);
            // SAFETY: The unit samples nothing while it is paused.
            unsafe { PMBPTR_EL1::from_bits(stray).write() };
            isb();
            bench.stop(0);
            hold!(bench.is_off());
            hold!(bench.ring.bytes.get() == 0);
            hold!(bench.ring.flags.get() & TRUNCATED != 0);
            hold!(
                bench.counted(Counter::StrayPointer) == 1 && bench.counted(Counter::Truncated) == 1
            );
            Ok(())
        }));
    }

    #[test]
    fn one_event_at_a_time() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            hold!(!bench.start(1));
            hold!(
                bench.counted(Counter::StartBusy) == 1 && bench.counted(Counter::StartOffline) == 0
            );
            hold!(bench.event(1).is_stopped());
            hold!(bench.is_sampling());
            bench.stop(1);
            hold!(bench.is_sampling());
            // Once more is no other thing.
            hold!(bench.start(0));
            hold!(bench.is_sampling() && bench.ring.begun.get() == 1);
            bench.stop(0);
            bench.stop(0);
            hold!(bench.is_off() && bench.ring.ended.get() == 1);
            hold!(bench.start(1));
            bench.stop(1);
            Ok(())
        }));
    }

    #[test]
    fn pauses_and_resumes() {
        assert!(run(|bench| {
            let event = bench.event(0);
            event.set_paused(true);
            hold!(bench.start(0));
            hold!(PMSCR_EL1::read().bits() == 0 && !event.is_stopped());
            bench.pause(false);
            hold!(bench.is_sampling());
            bench.pause(true);
            let at = pointer();
            hold!(!work(|| pointer() != at));
            bench.stop(0);
            hold!(bench.is_off());
            // Neither has an effect on a unit that is off.
            bench.pause(false);
            bench.pause(true);
            hold!(bench.is_off());
            Ok(())
        }));
    }

    /// A throttled event keeps its transaction, and runs again after a start.
    #[test]
    fn throttled_and_started_again() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            for _ in 0..3 {
                bench.throttle();
                hold!(bench.at() == Some(At::Throttled));
                let at = pointer();
                hold!(!work(|| pointer() != at));
                hold!(bench.start(0));
                hold!(bench.is_sampling() && bench.ring.begun.get() == 1);
                hold!(work(|| pointer() > at));
            }
            bench.throttle();
            bench.stop(0);
            hold!(bench.is_off());
            hold!(bench.ring.ended.get() == 1 && bench.ring.bytes.get() > 0);
            Ok(())
        }));
    }

    /// An NMI in the middle of a start.
    #[test]
    fn start_interrupted_by_an_nmi() {
        assert!(run(|bench| {
            bench.ring.nmi.set(Nmi::Throttle);
            hold!(bench.start(0));
            hold!(bench.at() == Some(At::Throttled));
            hold!(bench.start(0));
            hold!(bench.is_sampling());
            bench.stop(0);

            bench.ring.nmi.set(Nmi::Pause);
            hold!(bench.start(0));
            hold!(bench.at() == Some(At::Paused));
            bench.pause(false);
            hold!(bench.is_sampling());
            bench.stop(0);
            hold!(bench.is_off() && bench.ring.begun.get() == bench.ring.ended.get());
            Ok(())
        }));
    }

    /// An NMI in the middle of the interrupt handler.
    #[test]
    fn handler_interrupted_by_an_nmi() {
        assert!(run(|bench| {
            for (nmi, at) in [(Nmi::Throttle, At::Throttled), (Nmi::Pause, At::Paused)] {
                bench.ring.head.set(0);
                bench.ring.wakeup.set(PAGE_SIZE as u64);
                bench.ring.space.set(PAGE_SIZE as u64);
                hold!(bench.start(0));
                hold!(work_until_service());
                bench.ring.space.set(SIZE / 2);
                bench.ring.nmi.set(nmi);
                hold!(bench.serve());
                hold!(!bench.ring.enabled.get() && bench.at() == Some(at));
                bench.event(0).set_paused(false);
                bench.stop(0);
                hold!(bench.is_off());
            }
            Ok(())
        }));
    }

    /// A collision without a request for service is flagged for this event only.
    #[test]
    fn a_collision() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            // SAFETY: Nothing that was turned off is turned on.
            unsafe { PMBSR_EL1::default().with(PMBSR_EL1::COLL, 1).write() };
            isb();
            bench.stop(0);
            hold!(bench.is_off());
            hold!(bench.ring.flags.get() == COLLISION);
            hold!(bench.counted(Counter::Collision) == 1 && bench.counted(Counter::Partial) == 0);
            hold!(bench.start(0));
            bench.stop(0);
            hold!(bench.ring.flags.get() == 0);
            Ok(())
        }));
    }

    /// What the unit reports while it is off is not flagged for the next event, and does not keep
    /// that event from being sampled.
    #[test]
    fn reports_while_off() {
        assert!(run(|bench| {
            for (pmbsr, counter) in [
                (
                    PMBSR_EL1::default().with(PMBSR_EL1::COLL, 1),
                    Counter::Collision,
                ),
                (
                    PMBSR_EL1::from_bits(0x24 << 26).with(PMBSR_EL1::S, 1),
                    Counter::Truncated,
                ),
            ] {
                // All was read.
                bench.ring.space.set(SIZE - 1);
                // SAFETY: Nothing that was turned off is turned on.
                unsafe { pmbsr.write() };
                hold!(bench.start(0));
                hold!(bench.is_sampling() && PMBSR_EL1::read().bits() == 0);
                hold!(work_until_service());
                bench.stop(0);
                hold!(bench.is_off() && bench.ring.flags.get() == 0);
                hold!(bench.counted(counter) == 0);
            }
            hold!(bench.counted(Counter::FaultStage1) == 1);
            Ok(())
        }));
    }

    #[test]
    fn discards() {
        let mut attr = kernel_only();
        attr.config |= 1 << 35;
        assert!(run_with(&attr, false, |bench| {
            hold!(bench.start(0));
            hold!(bench.is_sampling());
            hold!(PMBLIMITR_EL1::read().get(PMBLIMITR_EL1::FM) == FM_DISCARD);
            hold!(!work_until_service());
            // Discarding, a full buffer means nothing.
            bench.interrupt(1);
            hold!(bench.is_sampling() && PMBSR_EL1::read().bits() == 0);
            bench.stop(0);
            hold!(bench.is_off() && bench.ring.begun.get() == 0);
            Ok(())
        }));
    }

    /// A snapshot buffer is written by halves, without end.
    #[test]
    fn snapshots() {
        assert!(run_with(&kernel_only(), true, |bench| {
            hold!(bench.start(0));
            for _ in 0..4 {
                hold!(work_until_service());
                let (end, limit) = (pointer(), PMBLIMITR_EL1::read());
                bench.ring.space.set(SIZE);
                hold!(bench.serve());
                hold!(bench.is_sampling());
                // The other half, from where the first one ended.
                hold!(PMBLIMITR_EL1::read() != limit);
                let round = end
                    .wrapping_add(SIZE)
                    .wrapping_sub(PMBPTR_EL1::read().bits());
                hold!(round % SIZE < 0x1000 || round % SIZE > SIZE - 0x1000);
            }
            bench.stop(0);
            hold!(bench.is_off() && bench.ring.flags.get() == 0);
            Ok(())
        }));
    }

    #[test]
    fn offline_and_online() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            bench.offline();
            hold!(bench.is_off() && bench.ring.ended.get() == 1);
            hold!(!bench.start(0));
            hold!(
                bench.counted(Counter::StartOffline) == 1 && bench.counted(Counter::StartBusy) == 0
            );
            hold!(bench.is_off());
            bench.stop(0);
            bench.online();
            hold!(bench.start(0));
            hold!(bench.is_sampling());
            bench.stop(0);
            Ok(())
        }));
    }

    /// Each check of `state_check.rs` fails when registers or `hw.state` are changed behind its
    /// back.
    #[cfg(ARM_SPE_DEBUG)]
    #[test]
    fn mismatches_are_seen() {
        // Only user space would be sampled: the unit writes nothing here.
        let attr = Attr {
            exclude_kernel: true,
            ..Attr::default()
        };
        assert!(run_with(&attr, false, |bench| {
            let event = bench.event(0);
            let pmscr = &bench.config.pmscr;

            hold!(!wrong(bench));
            hold!(bench.start(0));
            let (limit, pointer) = (PMBLIMITR_EL1::read(), PMBPTR_EL1::read());
            hold!(!wrong(bench));
            PMSCR_EL1::clear();
            hold!(wrong(bench));
            pmscr.write();
            event.set_paused(true);
            hold!(wrong(bench));
            event.set_paused(false);
            event.throttle();
            hold!(wrong(bench));
            hold!(bench.start(0));
            hold!(!wrong(bench));

            // SAFETY: Disables the buffer.
            unsafe { PMBLIMITR_EL1::clear() };
            hold!(wrong(bench));
            // SAFETY: The unit may write to less than before. From here on the registers are as
            // before, but for where it would write if it sampled something.
            unsafe {
                let less = limit.get(PMBLIMITR_EL1::LIMIT) - 1;
                limit.with(PMBLIMITR_EL1::LIMIT, less).write();
            }
            hold!(wrong(bench));
            // SAFETY: As above.
            unsafe {
                PMBLIMITR_EL1::clear();
                PMBPTR_EL1::from_bits(pointer.bits() - 0x1000).write();
                limit.write();
            }
            hold!(wrong(bench));
            // SAFETY: As above.
            unsafe {
                PMBLIMITR_EL1::clear();
                pointer.write();
                limit.write();
            }
            hold!(!wrong(bench));
            bench.cpu.gate.close();
            pmscr.write();
            hold!(wrong(bench));
            bench.stop(0);
            hold!(!wrong(bench));

            pmscr.write();
            hold!(wrong(bench));
            PMSCR_EL1::clear();
            // SAFETY: The unit samples nothing.
            unsafe { limit.write() };
            hold!(wrong(bench));
            // SAFETY: Disables the buffer.
            unsafe { PMBLIMITR_EL1::clear() };
            let active = event.activate();
            bench.cpu.gate.open(&active);
            PMSCR_EL1::clear();
            hold!(wrong(bench));
            bench.cpu.gate.close();
            hold!(!wrong(bench));
            Ok(())
        }));
    }

    /// Returns whether a transition that changes nothing finds a mismatch: a stop of an event that
    /// does not run.
    #[cfg(ARM_SPE_DEBUG)]
    fn wrong(bench: &Bench) -> bool {
        let before = bench.counted(Counter::Mismatches);
        isb();
        bench.stop(1);
        bench.counted(Counter::Mismatches) != before
    }
}
