// SPDX-License-Identifier: GPL-2.0

//! Long runs of a whole machine, byte by byte: perf's ring, a unit that samples, a driver that asks
//! `offset.rs` where to write, and a reader. At random, so that a failure shrinks to a short run.

use crate::offset::{Circle, Next, Window};
use crate::ring::Ring;
use crate::rules::{any_shape, Shape};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use std::fmt::{self, Display, Formatter};

/// Of each kind.
const RUNS: u32 = 300;

/// Of a run, at most.
const STEPS: usize = 3_000;

/// A byte of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Byte {
    /// Read, or never written.
    Free,
    Padding,
    /// Of a record; the bytes of all records are numbered.
    Data(u64),
}

/// The unit, while it may write.
#[derive(Debug)]
struct Unit {
    /// Offset of the first byte that it was given.
    start: u64,
    /// Offset of the next byte that it writes.
    pointer: u64,
    /// Offset after the last byte that it was given.
    limit: u64,
}

impl Unit {
    /// Writes a record to `memory`: the bytes from `number` on. If there is no room for the largest
    /// record, none is written and the pointer stays where the last one ended; the interrupt comes.
    fn sample(&mut self, shape: Shape, memory: &mut [Byte], number: u64, length: u64) -> bool {
        let from = self.pointer.next_multiple_of(shape.align);
        if self.limit - from < shape.record {
            return false;
        }
        memory[self.pointer as usize..from as usize].fill(Byte::Padding);
        for n in 0..length {
            memory[(from + n) as usize] = Byte::Data(number + n);
        }
        self.pointer = from + length;
        true
    }
}

/// What happened, in all runs together.
#[derive(Default)]
struct Tally {
    sessions: u64,
    records: u64,
    wakeups: u64,
    /// Sessions that had space and no room.
    refusals: u64,
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            sessions,
            records,
            wakeups,
            refusals,
        } = self;
        write!(
            f,
            "{RUNS} runs, {sessions} sessions, {records} records, {wakeups} wakeups, \
             no room {refusals} times"
        )
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A record, of any size that the unit writes.
    Sample(u64),
    /// The event is scheduled out.
    Stop,
    /// The event is scheduled in, or enabled again.
    Start,
    /// The reader reads at most so many bytes.
    Read(u64),
    /// The reader says that it has read up to here, counted from the head.
    Claim(i64),
}

/// A machine with a buffer that is drained.
struct Machine<'a> {
    shape: Shape,
    ring: Ring,
    memory: Vec<Byte>,
    unit: Option<Unit>,
    /// Bytes of records that were written, and that were read.
    written: u64,
    read: u64,
    /// Whether the tail is where the reader has read up to.
    honest: bool,
    tally: &'a RefCell<Tally>,
}

impl<'a> Machine<'a> {
    fn new(shape: Shape, watermark: u64, tally: &'a RefCell<Tally>) -> Self {
        Self {
            shape,
            ring: Ring::new(shape.size, watermark),
            memory: vec![Byte::Free; shape.size as usize],
            unit: None,
            written: 0,
            read: 0,
            honest: true,
            tally,
        }
    }

    /// The driver begins a session. Checks that where the unit may write is as it has to be.
    fn begin(&mut self) {
        let Shape {
            size, page, align, ..
        } = self.shape;
        let Some(mut window) = self.ring.begin() else {
            return;
        };
        let before = window;
        loop {
            let start = window.head % size;
            match self.shape.geometry().next(window) {
                Next::Write { limit } => return self.give(window, limit),
                Next::Pad(pad) => {
                    assert!(pad > 0, "progress");
                    self.pad(start, pad);
                    self.ring.skip(&mut window, pad);
                }
                Next::NoRoom => {
                    self.ring.end(0, true);
                    self.tally.borrow_mut().refusals += 1;
                    // Honest: before the last boundary that could be reached, no record has room.
                    let unread = before.head + before.space;
                    let last = unread - unread % page;
                    let from = before.head.next_multiple_of(align);
                    assert!(last < from + self.shape.slot(), "there was room");
                    return;
                }
            }
        }
    }

    /// The unit is to write in `window` up to `limit`.
    fn give(&mut self, window: Window, limit: u64) {
        let Shape {
            size, page, align, ..
        } = self.shape;
        let start = window.head % size;
        assert!(start < limit && limit <= size, "inside the buffer");
        let room = limit - start;
        assert!(room <= window.space, "before unread data");
        if self.honest {
            let given = &self.memory[start as usize..limit as usize];
            assert!(given.iter().all(|byte| *byte == Byte::Free));
        }
        assert_eq!(start % align, 0, "from an aligned byte");
        assert_eq!(limit % page, 0, "up to a boundary");
        assert!(room >= self.shape.slot(), "a record at least");
        assert!(
            window.head + room <= window.wakeup.next_multiple_of(page),
            "no further than the boundary after the wakeup"
        );
        self.tally.borrow_mut().sessions += 1;
        self.unit = Some(Unit {
            start,
            pointer: start,
            limit,
        });
    }

    /// The interrupt handler: ends the AUX transaction and begins the next one.
    fn interrupt(&mut self) {
        self.end();
        self.begin();
    }

    fn pad(&mut self, at: u64, bytes: u64) {
        for n in 0..bytes {
            let byte = &mut self.memory[((at + n) % self.shape.size) as usize];
            assert!(
                !self.honest || *byte == Byte::Free,
                "padding of unread data"
            );
            *byte = Byte::Padding;
        }
    }

    fn end(&mut self) {
        if let Some(unit) = self.unit.take() {
            self.ring.end(unit.pointer - unit.start, false);
        }
    }

    /// Takes a sample; the interrupt handler makes room, if there is any. Without, the sample is
    /// dropped.
    fn sample(&mut self, length: u64) {
        for _ in 0..2 {
            let Some(unit) = &mut self.unit else { return };
            if unit.sample(self.shape, &mut self.memory, self.written, length) {
                self.written += length;
                self.tally.borrow_mut().records += 1;
                return;
            }
            self.interrupt();
        }
        panic!("no room for a record in a new session");
    }

    /// Reads at most `bytes`, and checks that records come complete and in order.
    fn read(&mut self, bytes: u64) {
        for _ in 0..bytes {
            if self.ring.tail == self.ring.head {
                break;
            }
            let byte = &mut self.memory[(self.ring.tail % self.shape.size) as usize];
            match *byte {
                Byte::Free => panic!("handed out, and not written"),
                Byte::Padding => {}
                Byte::Data(number) => {
                    assert_eq!(number, self.read, "nothing is lost but padding");
                    self.read += 1;
                }
            }
            *byte = Byte::Free;
            self.ring.tail += 1;
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Sample(any) => self.sample(1 + any % self.shape.record),
            Step::Stop => self.end(),
            Step::Start => {
                if self.unit.is_none() {
                    let empty = self.ring.tail == self.ring.head;
                    self.begin();
                    assert!(self.unit.is_some() || !empty, "an empty buffer has room");
                }
            }
            Step::Read(bytes) => self.read(bytes),
            Step::Claim(distance) => {
                self.honest = false;
                self.ring.tail = self.ring.head.wrapping_add_signed(distance);
            }
        }
    }

    /// Stops, reads what is left, and accounts for every byte.
    fn finish(mut self) {
        self.end();
        if self.honest {
            self.read(u64::MAX);
            assert_eq!(self.read, self.written, "nothing is lost but padding");
        }
        self.tally.borrow_mut().wakeups += self.ring.wakeups;
    }
}

/// Up to 16 pages: of 16 to 64 bytes, so that there are many rounds, or of those that there are.
fn shapes() -> impl Strategy<Value = Shape> {
    let small = (1_u32..=4, 4_u32..=6).prop_flat_map(|(pages, page)| {
        prop_oneof![(0..page, 0..page), (0_u32..=1, 0_u32..=1)].prop_map(move |(align, record)| {
            Shape {
                size: 1 << (page + pages),
                page: 1 << page,
                align: 1 << align,
                record: 1 << record,
            }
        })
    });
    let real = any_shape().prop_map(|shape| Shape {
        size: shape.size.min(16 * shape.page),
        ..shape
    });
    prop_oneof![3 => small, 1 => real]
}

/// Runs `run` many times, with inputs of `strategy`.
fn repeat<S: Strategy>(name: &str, strategy: S, run: impl Fn(S::Value, &RefCell<Tally>)) -> Tally {
    let tally = RefCell::default();
    let config = Config {
        cases: RUNS,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&strategy, |input| {
            run(input, &tally);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let tally = tally.into_inner();
    println!("{name}: {tally}");
    tally
}

/// Less than a record, a page, half the buffer, more than the buffer.
fn any_watermark(shape: Shape) -> impl Strategy<Value = u64> {
    prop_oneof![
        1..=shape.record,
        Just(shape.page),
        Just(shape.size / 2),
        1..=2 * shape.size,
    ]
}

/// What the unit and the scheduler do, of which nobody asks the reader.
fn without_reader() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => any::<u64>().prop_map(Step::Sample),
        1 => Just(Step::Stop),
        2 => Just(Step::Start),
    ]
}

/// Runs of many steps, in which a reader does now and then what `reader` says.
fn drained<R: Strategy<Value = Step> + 'static>(name: &str, reader: fn(Shape) -> R) {
    let strategy = shapes().prop_flat_map(move |shape| {
        let step = prop_oneof![3 => without_reader(), 1 => reader(shape)];
        (Just(shape), any_watermark(shape), vec(step, 0..STEPS))
    });
    repeat(name, strategy, |(shape, watermark, steps), tally| {
        let mut machine = Machine::new(shape, watermark, tally);
        for step in steps {
            machine.step(step);
        }
        machine.finish();
    });
}

#[test]
fn drained_a_few_bytes_at_a_time() {
    drained("a few bytes at a time", |_| (0_u64..8).prop_map(Step::Read));
}

#[test]
fn drained_in_pieces_of_any_size() {
    drained("pieces of any size", |shape| {
        (0..=shape.size).prop_map(Step::Read)
    });
}

/// Long after there is no room any more.
#[test]
fn drained_late() {
    drained("late", |shape| {
        prop_oneof![
            99 => without_reader(),
            1 => Just(Step::Read(shape.size)),
        ]
    });
}

#[test]
fn never_drained() {
    drained("never", |_| without_reader());
}

/// The reader writes anything into `aux_tail`: anywhere near the head, and anywhere at all.
#[test]
fn a_reader_that_lies() {
    drained("a reader that lies", |shape| {
        let near = 2 * shape.size as i64;
        prop_oneof![
            // Nearly the truth: there is room.
            (-near / 16..=0).prop_map(Step::Claim),
            (-near..near).prop_map(Step::Claim),
            any::<i64>().prop_map(Step::Claim),
        ]
    });
}

/// A reader that reads all as soon as it is woken, and never else. With four pages or more and a
/// watermark of up to half the buffer, as perf has it by default, no sample is dropped. (Of two
/// pages, the byte that is kept free takes one away.)
#[test]
fn drained_when_woken() {
    let strategy = shapes()
        .prop_filter("four pages", |shape| shape.size >= 4 * shape.page)
        .prop_flat_map(|shape| {
            let watermark = 1..=shape.size / 2;
            (Just(shape), watermark, vec(without_reader(), 0..STEPS))
        });
    let tally = repeat(
        "when woken",
        strategy,
        |(shape, watermark, steps), tally| {
            let mut machine = Machine::new(shape, watermark, tally);
            let mut woken = 0;
            for step in steps {
                machine.step(step);
                if machine.ring.wakeups > woken {
                    woken = machine.ring.wakeups;
                    machine.read(u64::MAX);
                }
            }
            machine.finish();
        },
    );
    assert_eq!(tally.refusals, 0);
}

/// The machine with a buffer that is overwritten. A snapshot of the buffer, from the oldest byte at
/// the head to the newest one before it, has the last records without a gap; at the worst of times,
/// when the unit is about to write up to the limit, half of the buffer is left of it.
#[test]
fn overwritten_in_circles() {
    let strategy = shapes().prop_flat_map(|shape| (Just(shape), vec(without_reader(), 0..STEPS)));
    repeat("in circles", strategy, |(shape, steps), tally| {
        let mut memory = vec![Byte::Free; shape.size as usize];
        let mut unit: Option<Unit> = None;
        let (mut head, mut written) = (0, 0);
        for step in steps {
            let mut full = false;
            if let (Step::Sample(any), Some(unit)) = (step, &mut unit) {
                let length = 1 + any % shape.record;
                full = !unit.sample(shape, &mut memory, written, length);
                if !full {
                    written += length;
                    tally.borrow_mut().records += 1;
                }
            }
            if full || matches!(step, Step::Stop) {
                if let Some(unit) = unit.take() {
                    head = unit.pointer;
                    check_snapshot(&memory, head as usize, written);
                }
            }
            if unit.is_none() && (full || matches!(step, Step::Start)) {
                let from = head % shape.size;
                let Circle { pad, head, limit } = shape.geometry().circle(head);
                memory[from as usize..(from + pad) as usize].fill(Byte::Padding);
                assert!(limit - head <= shape.size / 2, "half is left");
                assert!(limit - head >= shape.slot(), "a record at least");
                tally.borrow_mut().sessions += 1;
                unit = Some(Unit {
                    start: head,
                    pointer: head,
                    limit,
                });
            }
        }
    });
}

/// The numbers of the bytes go up one by one to the last one that was written.
fn check_snapshot(memory: &[Byte], head: usize, written: u64) {
    let (newer, older) = memory.split_at(head);
    let mut numbers = older.iter().chain(newer).filter_map(|byte| match byte {
        Byte::Data(number) => Some(*number),
        _ => None,
    });
    if let Some(oldest) = numbers.next() {
        assert!(numbers.eq(oldest + 1..written), "a gap");
    }
}
