// SPDX-License-Identifier: GPL-2.0

//! KUnit: the state machine on the registers of a real unit, or an emulated one. perf's place is
//! taken by a [`Ring`], which hands out whatever room a case wants.
//!
//! A case runs on one CPU with interrupts off, as callbacks do. What happens to the interrupt of
//! the driver that is loaded in the meantime does not matter: each case leaves the unit quiet.

use super::*;
use crate::{
    event::Attr,
    features,
    percpu::run_on,
    perf::{
        jiffies,
        Event,
        Flags,
        Output as Perf,
        Pmu,
        LIMITED, //
    },
    sysreg::{
        ID_AA64DFR0_EL1,
        PMBIDR_EL1,
        PMSEVFR_EL1,
        PMSFCR_EL1,
        PMSIDR_EL1,
        PMSIRR_EL1,
        PMSLATFR_EL1, //
    }, //
};
use core::{
    mem::MaybeUninit,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};
use kernel::{
    ffi::{
        c_ulong,
        c_void, //
    },
    page::PAGE_SIZE, //
};

/// A PMU that perf never hears of.
struct Fake;

impl Pmu for Fake {
    type EventData = Image;
    type Aux = Buffer;
    type Local = ();
    type Output = Ring;
    const CAPABILITIES: u32 = 0;

    fn event_init(
        &self,
        _: &Event<Self>,
        _: &crate::bindings::perf_event_attr,
    ) -> Result<KBox<Image>> {
        Err(ENODEV)
    }
    fn add(&self, _: &Event<Self>, _: Flags) -> Result {
        Err(ENODEV)
    }
    fn del(&self, _: &Event<Self>, _: Flags) {}
    fn start(&self, _: &Event<Self>, _: Flags) {}
    fn stop(&self, _: &Event<Self>, _: Flags) {}
    fn setup_aux(&self, _: &Event<Self>, _: &[NonNull<c_void>], _: bool) -> Result<KBox<Buffer>> {
        Err(ENODEV)
    }
    fn free_aux(_: KBox<Buffer>) {}
    fn mark(&self) -> Mark {
        Mark::new::<Buffer>(0)
    }
}

type Handle = crate::bindings::perf_output_handle;
type RawEvent = crate::bindings::perf_event;

/// What comes in the middle of a transition, as an NMI might: while perf hands out a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nmi {
    None,
    /// The event is throttled.
    Throttle,
    /// As when the event is deleted.
    Stop,
    Pause,
}

/// In perf's place: a buffer, and what is said of it. An event finds it where perf keeps its own.
struct Ring {
    buffer: Buffer,
    /// Whether it is overwritten.
    circular: bool,
    /// What is handed out next.
    head: Cell<u64>,
    space: Cell<u64>,
    mapped: Cell<bool>,
    /// How far from the head the reader wants to be woken.
    wakeup: Cell<u64>,
    nmi: Cell<Nmi>,
    slot: Cell<*const Slot<Fake>>,
    /// What the buffer is marked with.
    mark: Cell<usize>,
    /// How often it was asked for.
    asked: Cell<u64>,
    /// Whether a session is open.
    open: Cell<bool>,
    /// How many sessions were begun, and ended.
    begun: Cell<u64>,
    ended: Cell<u64>,
    /// What the last one was ended with.
    bytes: Cell<u64>,
    flags: Cell<u64>,
    /// Whether the unit could write while one was ended.
    wrote: Cell<bool>,
}

impl Perf for Ring {
    unsafe fn begin(handle: *mut Handle, event: *mut RawEvent) -> *mut c_void {
        // SAFETY: `Bench` has put a ring into the event.
        let ring = unsafe { &*(*event).rb.cast::<Ring>() };
        // SAFETY: The event is that of a bench.
        let held = unsafe { Held::new(Event::<Fake>::from_raw(event)) };
        // SAFETY: `Bench` has set the slot.
        let slot = unsafe { &*ring.slot.get() };
        match ring.nmi.replace(Nmi::None) {
            Nmi::None => (),
            Nmi::Throttle => slot.stop_rarely(held),
            Nmi::Stop => slot.stop(held),
            Nmi::Pause => {
                held.set_paused(true);
                slot.pause(true);
            }
        }
        ring.asked.set(ring.asked.get() + 1);
        if !ring.mapped.get() || ring.open.get() {
            return null_mut();
        }
        // SAFETY: The handle may be written to.
        unsafe { (*handle).rb = (*event).rb };
        if ring.space.get() == 0 {
            return null_mut();
        }
        // SAFETY: As above.
        unsafe {
            (*handle).event = event;
            (*handle).__bindgen_anon_2.head = ring.head.get() as c_ulong;
            (*handle).size = ring.space.get() as c_ulong;
            (*handle).wakeup = ring.head.get().wrapping_add(ring.wakeup.get()) as c_ulong;
            *(*handle).__bindgen_anon_1.aux_flags = 0;
        }
        ring.open.set(true);
        ring.begun.set(ring.begun.get() + 1);
        let buffer = (&raw const ring.buffer).cast_mut();
        buffer.wrapping_byte_add(ring.mark.get()).cast()
    }

    unsafe fn skip(handle: *mut Handle, bytes: c_ulong) {
        // SAFETY: In a session, `begin` has set the pointer.
        let ring = unsafe { &*(*handle).rb.cast::<Ring>() };
        ring.head.set(ring.head.get() + bytes as u64);
        ring.space.set(ring.space.get() - bytes as u64);
        // SAFETY: The handle may be written to.
        unsafe {
            (*handle).__bindgen_anon_2.head = ring.head.get() as c_ulong;
            (*handle).size = ring.space.get() as c_ulong;
        }
    }

    unsafe fn end(handle: *mut Handle, bytes: c_ulong) {
        // SAFETY: As in `skip`.
        let ring = unsafe { &*(*handle).rb.cast::<Ring>() };
        ring.open.set(false);
        ring.ended.set(ring.ended.get() + 1);
        ring.bytes.set(bytes as u64);
        // SAFETY: As in `begin`.
        ring.flags
            .set(unsafe { *(*handle).__bindgen_anon_1.aux_flags });
        // SAFETY: As in `begin`.
        let set = unsafe { (*handle).__bindgen_anon_2.head } as u64;
        let written = ring.head.get() + bytes as u64;
        ring.head.set(if ring.circular { set } else { written });
        // A case may have taken the room away meanwhile.
        ring.space
            .set(ring.space.get().saturating_sub(bytes as u64));
        ring.wrote.set(
            PMBLIMITR_EL1::read().has(PMBLIMITR_EL1::E) && !PMBSR_EL1::read().has(PMBSR_EL1::S),
        );
    }
}

/// A page of memory, where pages are.
#[repr(align(4096))]
struct Page([u8; PAGE_SIZE]);

/// The buffer of a bench, in pages.
const PAGES: usize = 4;
const SIZE: u64 = (PAGES * PAGE_SIZE) as u64;

/// A place for the state of the unit of CPU 0, two events, and a ring that they share.
struct Bench {
    slot: KBox<Slot<Fake>>,
    events: [KBox<MaybeUninit<RawEvent>>; 2],
    ring: KBox<Ring>,
    /// A ring of the other kind, which no event has in the beginning.
    other: KBox<Ring>,
    image: Image,
    memory: KVec<Page>,
}

/// What went wrong, in words.
type Outcome = core::result::Result<(), &'static str>;

/// Gives up with the condition, in words, if it does not hold.
macro_rules! hold {
    ($condition:expr) => {
        if !$condition {
            return Err(stringify!($condition));
        }
    };
}

/// Moves a bench to the CPU that it is run on.
struct Moved<'a>(&'a Bench, fn(&Bench) -> Outcome);

// SAFETY: Whoever sends it waits for the result and does nothing else meanwhile.
unsafe impl Send for Moved<'_> {}

impl Moved<'_> {
    /// Makes the unit the bench's for as long as the case takes.
    fn run(self) -> Outcome {
        let Self(bench, case) = self;
        bench.slot.online(Fake.mark());
        let outcome = case(bench);
        bench.slot.offline();
        outcome
    }
}

impl Bench {
    fn new(attr: &Attr, circular: bool) -> Result<Self> {
        let mut memory = KVec::with_capacity(PAGES, GFP_KERNEL)?;
        for _ in 0..PAGES {
            memory.push_within_capacity(Page([0; PAGE_SIZE]))?;
        }
        let mut pages = [NonNull::dangling(); PAGES];
        for (pointer, page) in pages.iter_mut().zip(&memory) {
            *pointer = NonNull::from(page).cast();
        }
        let (align, sampling) = run_on(0, || {
            let version = features::version(ID_AA64DFR0_EL1::read()).ok()?;
            let align = features::alignment(PMBIDR_EL1::read()).ok()?;
            Some((align, features::sampling(PMSIDR_EL1::read(), version).ok()?))
        })?
        .ok_or(ENODEV)?;
        let ring = |circular| -> Result<KBox<Ring>> {
            let ring = Ring {
                buffer: Buffer::map(&pages, align, sampling.max_record, circular)?,
                circular,
                head: Cell::new(0),
                space: Cell::new(SIZE - 1),
                mapped: Cell::new(true),
                wakeup: Cell::new(1 << 30),
                nmi: Cell::new(Nmi::None),
                slot: Cell::new(core::ptr::null()),
                mark: Cell::new(1),
                asked: Cell::new(0),
                open: Cell::new(false),
                begun: Cell::new(0),
                ended: Cell::new(0),
                bytes: Cell::new(0),
                flags: Cell::new(0),
                wrote: Cell::new(false),
            };
            Ok(KBox::new(ring, GFP_KERNEL)?)
        };
        let image = Image::decode(attr, sampling.features, u64::MAX).map_err(|_| EINVAL)?;
        let bench = Self {
            slot: KBox::new(pin_init::zeroed(), GFP_KERNEL)?,
            events: [
                KBox::new(MaybeUninit::zeroed(), GFP_KERNEL)?,
                KBox::new(MaybeUninit::zeroed(), GFP_KERNEL)?,
            ],
            ring: ring(circular)?,
            other: ring(!circular)?,
            image,
            memory,
        };
        bench.ring.slot.set(&*bench.slot);
        bench.other.slot.set(&*bench.slot);
        for n in 0..2 {
            // SAFETY: Nobody else uses the event. A ring is not what C thinks it is, but `Ring` is
            // the only one who looks.
            unsafe { (*bench.raw(n)).rb = (&raw const *bench.ring).cast_mut().cast() };
            bench.event(n).set_sample_period(256);
            bench.event(n).set_state(State::Stopped);
        }
        Ok(bench)
    }

    fn raw(&self, n: usize) -> *mut RawEvent {
        self.events[n].as_ptr().cast_mut()
    }

    fn event(&self, n: usize) -> Held<Fake> {
        // SAFETY: An event may be all zero as far as this driver looks at it. It lives as long as
        // the bench, which outlives the unit's work.
        unsafe { Held::new(Event::from_raw(self.raw(n))) }
    }

    fn start(&self, n: usize) -> bool {
        self.slot.start(self.event(n), &self.image, true)
    }

    fn stop(&self, n: usize) {
        self.slot.stop(self.event(n));
    }

    /// What perf was told of an event, and what the unit does.
    fn is_off(&self) -> bool {
        self.event(0).state() == State::Stopped
            && !PMBLIMITR_EL1::read().has(PMBLIMITR_EL1::E)
            && PMSCR_EL1::read().bits() == 0
            && !self.ring.open.get()
    }

    fn counted(&self, counter: Counter) -> u64 {
        self.slot.cpu.counters.get(counter)
    }

    fn is_sampling(&self) -> bool {
        self.event(0).state() == State::Running
            && PMBLIMITR_EL1::read().has(PMBLIMITR_EL1::E)
            && PMSCR_EL1::read() == self.image.pmscr
            && self.ring.open.get() != self.image.discard
    }
}

/// Runs `case` on CPU 0. Returns whether it held; if not, the log has the reason.
fn run(case: fn(&Bench) -> Outcome) -> bool {
    run_with(&kernel_only(), false, case)
}

/// As [`run`], for an event with other attributes or a circular buffer.
fn run_with(attr: &Attr, circular: bool, case: fn(&Bench) -> Outcome) -> bool {
    let outcome = Bench::new(attr, circular).and_then(|bench| {
        let moved = Moved(&bench, case);
        run_on(0, move || moved.run())
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

/// A few operations for each of `times`.
fn spin(times: u32) {
    for n in 0..times {
        core::hint::black_box(n);
    }
}

/// Operations to sample, until `enough`; gives up after some time. Returns whether it was enough.
fn work(enough: impl Fn() -> bool) -> bool {
    for _ in 0..20_000 {
        spin(100);
        if enough() {
            return true;
        }
    }
    false
}

/// Samples until the unit asks for service.
fn work_until_service() -> bool {
    work(|| {
        drain();
        isb();
        PMBSR_EL1::read().has(PMBSR_EL1::S)
    })
}

/// All registers that a start writes.
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
    drain();
    isb();
    PMBPTR_EL1::read().bits()
}

/// Where the unit is, as event 0 sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Offline,
    Off,
    Sampling,
    Paused,
    /// Sampling for event 1.
    Other,
}

/// What happens to it.
#[derive(Clone, Copy)]
enum Does {
    Start,
    /// As `Start`, with no room in the buffer.
    StartFull,
    Stop,
    /// An interrupt that nobody asked for.
    Spurious,
    /// An interrupt because the buffer is full, with another part of it to go on in.
    Full,
    /// As `Full`, with no other part.
    FullUp,
    Fault,
    Pause,
    Resume,
    Online,
    Offline,
}

impl Bench {
    /// Where the unit is, which the registers and what perf was told have to agree with.
    fn at(&self) -> Option<At> {
        let at = match self.slot.event.get() {
            Some(sampled) if sampled != self.event(0) => At::Other,
            Some(_) if self.event(0).is_paused() => At::Paused,
            Some(_) => At::Sampling,
            None if self.slot.ready.get() => At::Off,
            None => At::Offline,
        };
        let running = self.event(0).state() == State::Running;
        let (enabled, pmscr) = (PMBLIMITR_EL1::read(), PMSCR_EL1::read());
        let enabled = enabled.has(PMBLIMITR_EL1::E);
        let expected = match at {
            At::Offline | At::Off => !running && !enabled && pmscr.bits() == 0,
            At::Sampling => running && enabled && pmscr == self.image.pmscr,
            At::Paused => running && enabled && pmscr.bits() == 0,
            At::Other => !running && enabled && pmscr == self.image.pmscr,
        };
        expected.then_some(at)
    }

    /// Brings the unit, which is off, to `at`.
    fn go(&self, at: At) {
        // Each case has a jiffy of its own.
        for n in 0..2 {
            self.event(n).set_asked_in_vain(0);
        }
        match at {
            At::Offline => self.slot.offline(),
            At::Off => (),
            At::Sampling => drop(self.start(0)),
            At::Paused => {
                self.event(0).set_paused(true);
                self.start(0);
            }
            At::Other => drop(self.start(1)),
        }
    }

    /// As if the hardware had asked for service with `pmbsr`.
    fn interrupt(&self, pmbsr: u64) {
        let pmbsr = PMBSR_EL1::from_bits(pmbsr).with(PMBSR_EL1::S, 1);
        // SAFETY: Nothing that was turned off is turned on.
        unsafe { pmbsr.write() };
        isb();
        self.slot.interrupt();
    }

    fn happen(&self, does: Does) {
        let pause = |paused| {
            self.event(0).set_paused(paused);
            self.slot.pause(paused);
        };
        match does {
            Does::Start => drop(self.start(0)),
            Does::StartFull => {
                self.ring.space.set(0);
                self.start(0);
            }
            Does::Stop => self.stop(0),
            Does::Spurious => drop(self.slot.interrupt()),
            Does::Full => self.interrupt(1),
            Does::FullUp => {
                self.ring.space.set(0);
                self.interrupt(1);
            }
            Does::Fault => self.interrupt(0x24 << 26),
            Does::Pause => pause(true),
            Does::Resume => pause(false),
            Does::Online => self.slot.online(Fake.mark()),
            Does::Offline => self.slot.offline(),
        }
    }
}

/// From where, what happens, to where.
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
                    return Err("the unit is where the table says");
                }
                // Off again, whatever came to pass.
                bench.event(0).set_paused(false);
                bench.stop(0);
                bench.stop(1);
                bench.slot.online(Fake.mark());
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
            hold!(bench.slot.interrupt());
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
        for circular in [true, false] {
            assert!(run_with(&kernel_only(), circular, |bench| {
                bench.ring.space.set(2 * PAGE_SIZE as u64);
                hold!(bench.start(0));
                hold!(work_until_service());
                // SAFETY: As in `Bench::new`.
                unsafe { (*bench.raw(0)).rb = (&raw const *bench.other).cast_mut().cast() };
                hold!(bench.slot.interrupt());
                hold!(!bench.ring.open.get() && bench.other.open.get());
                hold!(bench.event(0).state() == State::Running);
                hold!(PMSCR_EL1::read() == bench.image.pmscr);
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

    /// While perf ends a transaction and begins the next one, the unit cannot write, however much
    /// of the buffer is free: another CPU may have a transaction of the same buffer then.
    #[test]
    fn writes_only_inside_a_transaction() {
        assert!(run(|bench| {
            bench.ring.wakeup.set(PAGE_SIZE as u64);
            for round in 1..=2 {
                if round == 1 {
                    hold!(bench.start(0));
                }
                hold!(work_until_service());
                bench.ring.wrote.set(true);
                hold!(bench.slot.interrupt());
                hold!(bench.ring.ended.get() == round && !bench.ring.wrote.get());
                hold!(bench.is_sampling());
            }
            bench.stop(0);
            hold!(bench.is_off() && !bench.ring.wrote.get());
            hold!(bench.counted(Counter::Bytes) == bench.ring.head.get());
            Ok(())
        }));
    }

    /// The handler cannot begin again: off, and said so, when it returns.
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
        hold!(bench.slot.interrupt());
        hold!(bench.is_off());
        hold!(!PMBSR_EL1::read().has(PMBSR_EL1::S));
        hold!(!bench.slot.interrupt());
        Ok(())
    }

    /// The unit asks for service while the event is being stopped: that is for this event, and
    /// nobody is asked again.
    #[test]
    fn stopped_before_the_interrupt() {
        assert!(run(|bench| {
            bench.ring.space.set(PAGE_SIZE as u64);
            hold!(bench.start(0));
            hold!(work_until_service());
            bench.stop(0);
            hold!(bench.is_off());
            hold!(bench.ring.bytes.get() > 0);
            hold!(!bench.slot.interrupt());
            Ok(())
        }));
    }

    /// No register is written when there is no room.
    #[test]
    fn no_room() {
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

    /// perf hands out what another PMU has made: its insides are not looked at.
    #[test]
    fn another_pmus_buffer() {
        assert!(run(|bench| {
            // Pointers that C has allocated, and another PMU's mark.
            for (index, mark) in [(0, 0), (0, 8), (0, 3), (3, 8), (7, 8), (31, 56)] {
                bench.slot.offline();
                bench.slot.online(Mark::new::<Buffer>(index));
                bench.ring.mark.set(mark);
                start_fails(bench, SIZE - 1, true)?;
                hold!(bench.ring.begun.get() > 0 && bench.ring.bytes.get() == 0);
            }
            hold!(bench.counted(Counter::StartNotMapped) == 6);
            bench.slot.offline();
            bench.slot.online(Fake.mark());
            bench.ring.mark.set(1);
            hold!(bench.start(0));
            bench.stop(0);
            Ok(())
        }));
    }

    /// perf is told once that there is no room, until there was some.
    #[test]
    fn starved() {
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
            hold!(bench.counted(Counter::StartNoRoom) == 4);
            hold!(bench.counted(Counter::Truncated) == 2);
            Ok(())
        }));
    }

    /// On PREEMPT_RT perf is not asked twice in a jiffy if it has no room at all.
    #[test]
    fn asked_in_vain() {
        assert!(run(|bench| {
            bench.ring.space.set(0);
            loop {
                let before = jiffies();
                bench.event(0).set_asked_in_vain(0);
                bench.ring.asked.set(0);
                hold!(!bench.start(0) && !bench.start(0));
                // Else a new jiffy began.
                if jiffies() == before {
                    break;
                }
            }
            hold!(bench.ring.asked.get() == if LIMITED { 1 } else { 2 });
            hold!(bench.counted(Counter::StartFull) >= 2);
            bench.ring.space.set(SIZE - 1);
            bench.event(0).set_asked_in_vain(jiffies().wrapping_sub(1));
            hold!(bench.start(0));
            // An event that ran may start as soon as there is room again.
            bench.happen(Does::FullUp);
            hold!(bench.is_off());
            bench.ring.space.set(SIZE - 1);
            hold!(bench.start(0));
            bench.stop(0);
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

    /// The unit's write pointer is moved to where nothing is mapped: a fault, and a pointer that is
    /// not believed.
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
            hold!(bench.slot.interrupt());
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

    /// What the hardware may say is wrong: the event ends, perf and the counters are told.
    #[test]
    fn what_the_hardware_says() {
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
                let (before, told) = (bench.counted(counter), bench.counted(Counter::Truncated));
                bench.ring.head.set(0);
                bench.ring.space.set(SIZE - 1);
                hold!(bench.start(0));
                bench.interrupt(pmbsr);
                hold!(bench.is_off());
                hold!(bench.ring.flags.get() & TRUNCATED != 0);
                hold!(bench.counted(counter) == before + 1);
                hold!(bench.counted(Counter::Truncated) == told + 1);
            }
            hold!(bench.start(0));
            hold!(!bench.slot.interrupt());
            hold!(bench.counted(Counter::Spurious) == 1);
            bench.stop(0);
            Ok(())
        }));
    }

    /// A write pointer outside of the buffer is not believed, though nothing else is wrong.
    #[test]
    fn a_stray_pointer() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            bench.event(0).set_paused(true);
            bench.slot.pause(true);
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
            hold!(bench.event(1).state() == State::Stopped);
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
            hold!(PMSCR_EL1::read().bits() == 0 && event.state() == State::Running);
            event.set_paused(false);
            bench.slot.pause(false);
            hold!(bench.is_sampling());
            event.set_paused(true);
            bench.slot.pause(true);
            let at = pointer();
            hold!(!work(|| pointer() != at));
            bench.stop(0);
            hold!(bench.is_off());
            // Neither has an effect on a unit that is off.
            bench.slot.pause(false);
            bench.slot.pause(true);
            hold!(bench.is_off());
            Ok(())
        }));
    }

    /// Stopped and paused in the middle of a start, as by an NMI.
    #[test]
    fn interrupted_by_an_nmi() {
        assert!(run(|bench| {
            for (nmi, times) in [(Nmi::Throttle, 1), (Nmi::Stop, 2)] {
                bench.ring.nmi.set(nmi);
                bench.start(0);
                hold!(bench.is_off());
                hold!(bench.ring.begun.get() == times && bench.ring.ended.get() == times);
            }

            bench.ring.nmi.set(Nmi::Pause);
            hold!(bench.start(0));
            hold!(PMSCR_EL1::read().bits() == 0);
            hold!(bench.event(0).state() == State::Running);
            bench.event(0).set_paused(false);
            bench.slot.pause(false);
            hold!(bench.is_sampling());
            bench.stop(0);
            hold!(bench.is_off());
            Ok(())
        }));
    }

    /// As above, in the middle of the interrupt handler.
    #[test]
    fn handler_interrupted_by_an_nmi() {
        assert!(run(|bench| {
            for nmi in [Nmi::Throttle, Nmi::Stop, Nmi::Pause] {
                bench.ring.head.set(0);
                bench.ring.wakeup.set(PAGE_SIZE as u64);
                bench.ring.space.set(PAGE_SIZE as u64);
                hold!(bench.start(0));
                hold!(work_until_service());
                bench.ring.space.set(SIZE / 2);
                bench.ring.nmi.set(nmi);
                hold!(bench.slot.interrupt());
                hold!(!bench.ring.wrote.get());
                match nmi {
                    Nmi::Pause => {
                        hold!(PMSCR_EL1::read().bits() == 0);
                        hold!(bench.event(0).state() == State::Running);
                    }
                    _ => hold!(bench.is_off()),
                }
                bench.event(0).set_paused(false);
                bench.slot.pause(false);
                bench.stop(0);
                hold!(bench.is_off());
            }
            Ok(())
        }));
    }

    /// Samples collided, without a request for service: this event's reader is told, and no
    /// other's.
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

    /// What the unit says while it is off is not told to the next event's reader, and does not keep
    /// that event from being sampled.
    #[test]
    fn said_while_off() {
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
            // A unit that is full of nothing goes on.
            bench.interrupt(1);
            hold!(bench.is_sampling() && PMBSR_EL1::read().bits() == 0);
            bench.stop(0);
            hold!(bench.is_off() && bench.ring.begun.get() == 0);
            Ok(())
        }));
    }

    /// A buffer that is overwritten goes on for ever, by halves.
    #[test]
    fn goes_round() {
        assert!(run_with(&kernel_only(), true, |bench| {
            hold!(bench.start(0));
            for _ in 0..4 {
                hold!(work_until_service());
                let (end, limit) = (pointer(), PMBLIMITR_EL1::read());
                bench.ring.space.set(SIZE);
                hold!(bench.slot.interrupt());
                hold!(bench.is_sampling());
                // The other half, from where the first ended.
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
    fn the_cpu_goes_and_comes() {
        assert!(run(|bench| {
            hold!(bench.start(0));
            bench.slot.offline();
            hold!(bench.is_off() && bench.ring.ended.get() == 1);
            hold!(!bench.start(0));
            hold!(
                bench.counted(Counter::StartOffline) == 1 && bench.counted(Counter::StartBusy) == 0
            );
            hold!(bench.is_off());
            bench.stop(0);
            bench.slot.online(Fake.mark());
            hold!(bench.start(0));
            hold!(bench.is_sampling());
            bench.stop(0);
            Ok(())
        }));
    }

    /// What may be wrong, done on purpose behind the back of the types.
    #[cfg(ARM_SPE_DEBUG)]
    #[test]
    fn mismatches_are_seen() {
        // Nothing is executed in user space: the unit samples nothing.
        let attr = Attr {
            exclude_kernel: true,
            ..Attr::default()
        };
        assert!(run_with(&attr, false, |bench| {
            let (slot, event) = (&bench.slot, bench.event(0));
            let pmscr = &bench.image.pmscr;
            let resume_with = &slot.cpu.resume_with;

            hold!(!wrong(bench, "nothing"));
            hold!(bench.start(0));
            let (limit, pointer) = (PMBLIMITR_EL1::read(), PMBPTR_EL1::read());
            hold!(!wrong(bench, "nothing"));
            PMSCR_EL1::clear();
            hold!(wrong(bench, "no sampling"));
            pmscr.write();
            event.set_paused(true);
            hold!(wrong(bench, "not paused"));
            event.set_paused(false);
            // Most transitions say what the state is before it is looked at; this one says nothing.
            event.set_state(State::Stopped);
            slot.pause(false);
            hold!(bench.counted(Counter::Mismatches) == 3);
            event.set_state(State::Running);

            // SAFETY: The unit may write nowhere.
            unsafe { PMBLIMITR_EL1::clear() };
            hold!(wrong(bench, "no buffer"));
            // SAFETY: The unit may write to less than it could. From here on it is as it was, but
            // for where it would write if it sampled something.
            unsafe {
                let less = limit.get(PMBLIMITR_EL1::LIMIT) - 1;
                limit.with(PMBLIMITR_EL1::LIMIT, less).write();
            }
            hold!(wrong(bench, "less room"));
            // SAFETY: As above.
            unsafe {
                PMBLIMITR_EL1::clear();
                PMBPTR_EL1::from_bits(pointer.bits() - 0x1000).write();
                limit.write();
            }
            hold!(wrong(bench, "the pointer"));
            // SAFETY: As above.
            unsafe {
                PMBLIMITR_EL1::clear();
                pointer.write();
                limit.write();
            }
            hold!(!wrong(bench, "nothing"));
            bench.stop(0);
            hold!(!wrong(bench, "nothing"));

            pmscr.write();
            hold!(wrong(bench, "sampling while off"));
            PMSCR_EL1::clear();
            // SAFETY: The unit samples nothing.
            unsafe { limit.write() };
            hold!(wrong(bench, "a buffer while off"));
            // SAFETY: As it was.
            unsafe { PMBLIMITR_EL1::clear() };
            resume_with.store(pmscr.bits(), Ordering::Relaxed);
            hold!(wrong(bench, "to resume while off"));
            resume_with.store(0, Ordering::Relaxed);
            hold!(!wrong(bench, "nothing"));
            Ok(())
        }));
    }

    /// Whether a transition that changes nothing finds something wrong: an event is stopped that
    /// does not run.
    #[cfg(ARM_SPE_DEBUG)]
    fn wrong(bench: &Bench, _what: &str) -> bool {
        let before = bench.counted(Counter::Mismatches);
        isb();
        bench.stop(1);
        bench.counted(Counter::Mismatches) != before
    }
}
