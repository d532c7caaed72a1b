// SPDX-License-Identifier: GPL-2.0

//! The decisions of `offset.rs` beside those of the kernel's C driver, in every state that a small
//! buffer can be in.
//!
//! The model below does what `arm_spe_pmu_next_off()` and `arm_spe_pmu_next_snapshot_off()` of
//! Linux 7.3 do, in words of its own. Where a reader drains the buffer, both drivers write to the
//! same bytes, pad the same bytes and give up in the same states. There are three differences, all
//! deliberate:
//!
//! - A wakeup that is exactly at the head: the C driver stops at the next boundary, and gives up if
//!   the head is at a boundary itself. Such a wakeup is due already and nothing to stop for. perf
//!   never asks for one: it moves the wakeup on before the head gets there.
//! - When it gives up, the C driver pads what room there is. What a slow reader frees never adds up
//!   to a page then.
//! - In a circle the C driver takes the head as it is. `PMBPTR_EL1` has to be aligned; this driver
//!   pads.

use crate::offset::{Circle, Next};
use crate::ring::Ring;
use crate::rules::{small_shapes, Shape};
use std::ops::Range;

/// Where the unit may write, as offsets.
type Span = Range<u64>;

/// A session as this driver begins one.
fn ours(shape: Shape, ring: &mut Ring) -> Option<Span> {
    let mut window = ring.begin()?;
    loop {
        match shape.geometry().next(window) {
            Next::Write { limit } => return Some(window.head % shape.size..limit),
            Next::Pad(pad) => ring.skip(&mut window, pad),
            Next::NoRoom => {
                ring.end(0, true);
                return None;
            }
        }
    }
}

/// A session as the C driver begins one.
fn theirs(shape: Shape, ring: &mut Ring) -> Option<Span> {
    let mut window = ring.begin()?;
    // It looks at most twice; the second time after a limit that was too near.
    for attempt in 0..2 {
        let head = window.head % shape.size;
        let unaligned = (head.next_multiple_of(shape.align) - head).min(window.space);
        if unaligned > 0 {
            ring.skip(&mut window, unaligned);
        }
        let head = window.head % shape.size;

        let mut limit = 0;
        if window.space > 0 {
            let unread = (window.head + window.space) % shape.size;
            let wakeup = window.wakeup % shape.size;
            limit = shape.size;
            if head < unread {
                limit = unread - unread % shape.page;
            }
            if window.wakeup.wrapping_sub(window.head) < window.space && head <= wakeup {
                limit = limit.min(wakeup.next_multiple_of(shape.page));
            }
        }
        if limit <= head {
            let rest = window.space;
            if rest > 0 {
                ring.skip(&mut window, rest);
            }
            ring.end(0, true);
            return None;
        }
        if limit - head >= shape.record || attempt == 1 {
            return Some(head..limit);
        }
        ring.skip(&mut window, limit - head);
    }
    unreachable!()
}

/// Each state of perf's counters within a few rounds: each head, each tail, each watermark.
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
fn drained_buffers_are_used_alike() {
    let (mut begun, mut none) = (0_u64, 0_u64);
    for shape in small_shapes() {
        for state in states(shape) {
            let (mut left, mut right) = (state.clone(), state.clone());
            let found = ours(shape, &mut left);
            assert_eq!(found, theirs(shape, &mut right), "{state:?} of {shape:?}");
            if found.is_some() {
                // What was padded, and when the reader was woken.
                assert_eq!(left, right, "{state:?} of {shape:?}");
                begun += 1;
            } else {
                // The second difference.
                assert!(left.head <= right.head, "{state:?} of {shape:?}");
                none += 1;
            }
        }
    }
    println!("{begun} sessions and {none} refusals, as of the C driver");
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

/// The second difference: with a reader that frees a byte at a time, and a driver that tries each
/// time.
#[test]
fn room_adds_up() {
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

/// The C driver's limit in a circle, from the head as it is, and what it pads before.
fn their_circle(shape: Shape, at: u64) -> Circle {
    let half = shape.size / 2;
    let head = at % shape.size;
    let limit = if head < half { half } else { shape.size };
    let room = limit - head;
    if room >= shape.record {
        return Circle {
            pad: 0,
            head,
            limit,
        };
    }
    let head = limit % shape.size;
    Circle {
        pad: room,
        head,
        limit: head + half,
    }
}

/// With the third difference.
#[test]
fn circles_are_used_alike() {
    for shape in small_shapes() {
        for at in 0..=shape.size {
            let aligned = at.next_multiple_of(shape.align);
            let found = shape.geometry().circle(at);
            let mut expected = their_circle(shape, aligned);
            expected.pad += aligned - at;
            assert_eq!(found, expected, "{at} of {shape:?}");
        }
    }
}
