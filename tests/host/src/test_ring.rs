// SPDX-License-Identifier: GPL-2.0

//! Long random runs, byte by byte, of perf's ring buffer, a unit that samples, a driver that asks
//! `buffer_limit.rs` where to write, and a reader. A failure shrinks to a short run.

use crate::buffer_limit::{FreeSpace, Limit, Snapshot};
use crate::ring::Ring;
use crate::rules::{any_shape, Shape};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use std::fmt::{self, Display, Formatter};

/// The runs of each test.
const RUNS: u32 = 300;

/// The most steps of a run.
const STEPS: usize = 3_000;

/// A byte of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Byte {
    /// Read, or never written.
    Free,
    Padding,
    /// Part of a record. The bytes of all records are numbered.
    Data(u64),
}

/// A unit whose buffer is enabled.
#[derive(Debug)]
struct Unit {
    /// The offset that it wrote from first.
    start: u64,
    /// The offset that it writes to next.
    pointer: u64,
    /// The offset that it writes up to.
    limit: u64,
}

impl Unit {
    /// Writes a record of the bytes from `number` on to `memory`. Returns `false`, for the buffer
    /// full interrupt, if there is no space for the largest record. Nothing is written then, and
    /// the pointer stays at the end of the last record.
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

/// The totals of all runs.
#[derive(Default)]
struct Tally {
    transactions: u64,
    records: u64,
    wakeups: u64,
    /// Transactions whose free space was too small.
    no_space: u64,
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            transactions,
            records,
            wakeups,
            no_space,
        } = self;
        write!(
            f,
            "{RUNS} runs, {transactions} transactions, {records} records, {wakeups} wakeups, \
             no space {no_space} times"
        )
    }
}

/// A step of a run.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A record, of any size that the unit writes.
    Sample(u64),
    /// The event is scheduled out.
    Stop,
    /// The event is scheduled in, or enabled again.
    Start,
    /// The reader reads at most this many bytes.
    Read(u64),
    /// The reader sets the tail to this distance from the head.
    SetTail(i64),
}

/// A machine with a buffer that is drained.
struct Machine<'a> {
    shape: Shape,
    ring: Ring,
    memory: Vec<Byte>,
    unit: Option<Unit>,
    /// The bytes of records that were written and that were read.
    written: u64,
    read: u64,
    /// The tail is the position that the reader has read up to.
    valid_tail: bool,
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
            valid_tail: true,
            tally,
        }
    }

    /// The driver begins a transaction. Checks where the unit may write.
    fn begin(&mut self) {
        let Shape {
            size, page, align, ..
        } = self.shape;
        let Some(mut free) = self.ring.begin() else {
            return;
        };
        let before = free;
        loop {
            let start = free.head % size;
            match self.shape.layout().limit(free) {
                Limit::At(limit) => return self.enable(free, limit),
                Limit::AfterPadding(pad) => {
                    assert!(pad > 0, "progress");
                    self.pad(start, pad);
                    self.ring.skip(&mut free, pad);
                }
                Limit::NoSpace => {
                    self.ring.end(0, true);
                    self.tally.borrow_mut().no_space += 1;
                    // There is no space for a record before the last possible limit.
                    let unread = before.head + before.size;
                    let last = unread - unread % page;
                    let from = before.head.next_multiple_of(align);
                    assert!(last < from + self.shape.slot(), "there was space");
                    return;
                }
            }
        }
    }

    /// Enables the unit to write from the start of `free` up to `limit`.
    fn enable(&mut self, free: FreeSpace, limit: u64) {
        let Shape {
            size, page, align, ..
        } = self.shape;
        let start = free.head % size;
        assert!(start < limit && limit <= size, "inside the buffer");
        let space = limit - start;
        assert!(space <= free.size, "before unread data");
        if self.valid_tail {
            let span = &self.memory[start as usize..limit as usize];
            assert!(span.iter().all(|byte| *byte == Byte::Free));
        }
        assert_eq!(start % align, 0, "from an aligned byte");
        assert_eq!(limit % page, 0, "up to a boundary");
        assert!(space >= self.shape.slot(), "space for a record");
        assert!(
            free.head + space <= free.wakeup.next_multiple_of(page),
            "no further than the boundary after the wakeup"
        );
        self.tally.borrow_mut().transactions += 1;
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
                !self.valid_tail || *byte == Byte::Free,
                "padding over unread data"
            );
            *byte = Byte::Padding;
        }
    }

    fn end(&mut self) {
        if let Some(unit) = self.unit.take() {
            self.ring.end(unit.pointer - unit.start, false);
        }
    }

    /// Takes a sample, after an interrupt if the buffer is full. The sample is dropped if there is
    /// no space then.
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
        panic!("no space for a record in a new transaction");
    }

    /// Reads at most `bytes`, and checks that records come complete and in order.
    fn read(&mut self, bytes: u64) {
        for _ in 0..bytes {
            if self.ring.tail == self.ring.head {
                break;
            }
            let byte = &mut self.memory[(self.ring.tail % self.shape.size) as usize];
            match *byte {
                Byte::Free => panic!("data that was not written"),
                Byte::Padding => {}
                Byte::Data(number) => {
                    assert_eq!(number, self.read, "the next byte of the records");
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
                    assert!(self.unit.is_some() || !empty, "space in an empty buffer");
                }
            }
            Step::Read(bytes) => self.read(bytes),
            Step::SetTail(distance) => {
                self.valid_tail = false;
                self.ring.tail = self.ring.head.wrapping_add_signed(distance);
            }
        }
    }

    /// Stops, reads the rest, and compares the bytes read with those written.
    fn finish(mut self) {
        self.end();
        if self.valid_tail {
            self.read(u64::MAX);
            assert_eq!(self.read, self.written, "all bytes of the records");
        }
        self.tally.borrow_mut().wakeups += self.ring.wakeups;
    }
}

/// Buffers of up to 16 pages, of 16 to 64 bytes, so that the head wraps often, or of real sizes.
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

/// Steps of the unit and the scheduler.
fn without_reader() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => any::<u64>().prop_map(Step::Sample),
        1 => Just(Step::Stop),
        2 => Just(Step::Start),
    ]
}

/// Runs in which one step in four is one of `reader`.
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

/// Seldom, so that the buffer is full most of the time.
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

/// The reader writes any value to `aux_tail`, half of the time near the head.
#[test]
fn drained_with_any_tail() {
    drained("any tail", |shape| {
        let near = 2 * shape.size as i64;
        prop_oneof![
            // Almost all has been read: there is space.
            (-near / 16..=0).prop_map(Step::SetTail),
            (-near..near).prop_map(Step::SetTail),
            any::<i64>().prop_map(Step::SetTail),
        ]
    });
}

/// The reader reads all data when it is woken, and only then. No sample is dropped in a buffer of
/// four pages or more with a watermark of up to half the buffer, perf's default. (In a buffer of
/// two pages, the byte that is kept free makes one of them unusable.)
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
    assert_eq!(tally.no_space, 0);
}

/// A snapshot buffer. A snapshot, from the oldest byte at the head to the newest one before it, has
/// the last records without a gap, and at any time at least half a buffer of them.
#[test]
fn snapshots() {
    let strategy = shapes().prop_flat_map(|shape| (Just(shape), vec(without_reader(), 0..STEPS)));
    repeat("snapshots", strategy, |(shape, steps), tally| {
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
                let Snapshot { pad, head, limit } = shape.layout().snapshot(head);
                memory[from as usize..(from + pad) as usize].fill(Byte::Padding);
                assert!(limit - head <= shape.size / 2, "half of the buffer is kept");
                assert!(limit - head >= shape.slot(), "space for a record");
                tally.borrow_mut().transactions += 1;
                unit = Some(Unit {
                    start: head,
                    pointer: head,
                    limit,
                });
            }
        }
    });
}

/// Checks that the bytes are numbered without a gap up to the last one that was written.
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
