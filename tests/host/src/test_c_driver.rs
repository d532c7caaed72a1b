// SPDX-License-Identifier: GPL-2.0

//! `buffer_limit.rs` compared with the kernel's C driver, in every state of a small buffer.
//!
//! The model of the C driver does what `arm_spe_pmu_next_off()` and
//! `arm_spe_pmu_next_snapshot_off()` of Linux 7.3 do. In a buffer that a reader drains, both
//! drivers write to the same bytes, pad the same bytes and give up in the same states. There are
//! three intended differences:
//!
//! - For a wakeup exactly at the head, the C driver stops at the next boundary, and gives up if the
//!   head is at a boundary. Such a wakeup is due already: there is nothing to stop for. perf never
//!   asks for one, as it moves the wakeup on before the head gets there.
//! - When it gives up, the C driver pads the free space. What a slow reader frees then never adds
//!   up to a page.
//! - In a snapshot buffer the C driver uses the head as it is. `PMBPTR_EL1` must be aligned, so
//!   this driver pads.

use crate::buffer_limit::{Limit, Snapshot};
use crate::ring::Ring;
use crate::rules::{small_shapes, Shape};
use std::ops::Range;

/// The offsets that the unit may write to.
type Span = Range<u64>;

/// Begins a transaction as this driver does.
fn ours(shape: Shape, ring: &mut Ring) -> Option<Span> {
    let mut free = ring.begin()?;
    loop {
        match shape.layout().limit(free) {
            Limit::At(limit) => return Some(free.head % shape.size..limit),
            Limit::AfterPadding(pad) => ring.skip(&mut free, pad),
            Limit::NoSpace => {
                ring.end(0, true);
                return None;
            }
        }
    }
}

/// Begins a transaction as the C driver does.
fn theirs(shape: Shape, ring: &mut Ring) -> Option<Span> {
    let mut free = ring.begin()?;
    // A second attempt follows a limit that is too close.
    for attempt in 0..2 {
        let head = free.head % shape.size;
        let unaligned = (head.next_multiple_of(shape.align) - head).min(free.size);
        if unaligned > 0 {
            ring.skip(&mut free, unaligned);
        }
        let head = free.head % shape.size;

        let mut limit = 0;
        if free.size > 0 {
            let unread = (free.head + free.size) % shape.size;
            let wakeup = free.wakeup % shape.size;
            limit = shape.size;
            if head < unread {
                limit = unread - unread % shape.page;
            }
            if free.wakeup.wrapping_sub(free.head) < free.size && head <= wakeup {
                limit = limit.min(wakeup.next_multiple_of(shape.page));
            }
        }
        if limit <= head {
            let rest = free.size;
            if rest > 0 {
                ring.skip(&mut free, rest);
            }
            ring.end(0, true);
            return None;
        }
        if limit - head >= shape.record || attempt == 1 {
            return Some(head..limit);
        }
        ring.skip(&mut free, limit - head);
    }
    unreachable!()
}

/// Returns all states of perf's positions: each head in four times the size of the buffer, each
/// tail, each watermark.
fn states(shape: Shape) -> impl Iterator<Item = Ring> {
    let size = shape.size;
    (0..4 * size).flat_map(move |head| {
        (0..size).flat_map(move |unread| {
            (1..=2 * size).map(move |watermark| Ring {
                head,
                woken: head - head % watermark,
                tail: head.wrapping_sub(unread),
                ..Ring::new(size, watermark)
            })
        })
    })
}

#[test]
fn drained_buffers_are_used_in_the_same_way() {
    let (mut begun, mut none) = (0_u64, 0_u64);
    for shape in small_shapes() {
        for state in states(shape) {
            let (mut left, mut right) = (state.clone(), state.clone());
            let found = ours(shape, &mut left);
            assert_eq!(found, theirs(shape, &mut right), "{state:?} of {shape:?}");
            if found.is_some() {
                // The padding, and when the reader was woken.
                assert_eq!(left, right, "{state:?} of {shape:?}");
                begun += 1;
            } else {
                // The second difference.
                assert!(left.head <= right.head, "{state:?} of {shape:?}");
                none += 1;
            }
        }
    }
    println!("{begun} transactions, and {none} states without space, as in the C driver");
}

/// The first difference.
#[test]
fn a_wakeup_at_the_head() {
    let shape = Shape {
        size: 64,
        page: 16,
        align: 1,
        record: 4,
    };
    for (head, ours_to, theirs_to) in [(16, Some(64), None), (20, Some(64), Some(32))] {
        let state = Ring {
            head,
            tail: head,
            woken: head - 8,
            ..Ring::new(64, 8)
        };
        let begin = |driver: fn(Shape, &mut Ring) -> Option<Span>| {
            driver(shape, &mut state.clone()).map(|span| span.end)
        };
        assert_eq!((begin(ours), begin(theirs)), (ours_to, theirs_to));
    }
}

/// The second difference: a reader frees a byte at a time, and the driver tries each time.
#[test]
fn space_adds_up() {
    for shape in small_shapes() {
        for head in shape.size..2 * shape.size {
            let tries = |driver: fn(Shape, &mut Ring) -> Option<Span>| {
                let mut ring = Ring {
                    head,
                    tail: head - (shape.size - 1),
                    ..Ring::new(shape.size, 1 << 32)
                };
                (1..shape.size).find(|_| {
                    ring.tail += 1;
                    driver(shape, &mut ring).is_some()
                })
            };
            let enough = shape.page + shape.slot();
            let needed = tries(ours);
            assert!(needed.is_some_and(|tries| tries <= enough), "{needed:?}");
            assert!(tries(theirs).is_none_or(|tries| Some(tries) >= needed));
        }
    }
}

/// Returns the part of a snapshot buffer that the C driver writes next, from the offset `at` on.
fn their_snapshot(shape: Shape, at: u64) -> Snapshot {
    let half = shape.size / 2;
    let head = at % shape.size;
    let limit = if head < half { half } else { shape.size };
    let space = limit - head;
    if space >= shape.record {
        return Snapshot {
            pad: 0,
            head,
            limit,
        };
    }
    let head = limit % shape.size;
    Snapshot {
        pad: space,
        head,
        limit: head + half,
    }
}

/// Including the third difference.
#[test]
fn snapshot_buffers_are_used_in_the_same_way() {
    for shape in small_shapes() {
        for at in 0..=shape.size {
            let aligned = at.next_multiple_of(shape.align);
            let found = shape.layout().snapshot(at);
            let mut expected = their_snapshot(shape, aligned);
            expected.pad += aligned - at;
            assert_eq!(found, expected, "{at} of {shape:?}");
        }
    }
}
