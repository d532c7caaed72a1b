// SPDX-License-Identifier: GPL-2.0

//! The decisions of `offset.rs`, each against what the rules say.

use crate::offset::{Circle, Next, Window};
use crate::rules::{any_shape, place, real_shapes, small_shapes, Place, Shape};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Follows the decisions on a window to their end, as a session does.
fn follow(shape: Shape, window: Window) -> Option<Place> {
    let mut left = window;
    for _ in 0..3 {
        match shape.geometry().next(left) {
            Next::Write { limit } => {
                let from = left.head % shape.size;
                let room = limit.checked_sub(from).expect("a limit after the head");
                assert!(limit <= shape.size, "inside the buffer");
                assert!(room <= left.space, "before unread data");
                assert_eq!(limit % shape.page, 0, "at a boundary");
                assert_eq!(from % shape.align, 0, "from an aligned byte");
                let pad = window.space - left.space;
                return Some(Place { pad, room });
            }
            Next::Pad(pad) => {
                assert!(0 < pad && pad <= left.space, "some progress");
                left.head = left.head.wrapping_add(pad);
                left.space -= pad;
            }
            Next::NoRoom => return None,
        }
    }
    panic!("no end to padding");
}

fn check(shape: Shape, window: Window) {
    assert_eq!(
        follow(shape, window),
        place(shape, window),
        "{window:?} of {shape:?}"
    );
}

/// Everything: each head, each amount of space, and each wakeup from a round before the head to two
/// rounds after it; with indices that begin at 0 and ones that overflow.
#[test]
fn every_window_of_small_buffers() {
    let mut windows = 0_u64;
    for shape in small_shapes() {
        let size = shape.size;
        for head in (0..size).chain((1..=size).map(u64::wrapping_neg)) {
            for space in 0..size {
                for ahead in 0..=3 * size {
                    let wakeup = head.wrapping_sub(size).wrapping_add(ahead);
                    let window = Window {
                        head,
                        space,
                        wakeup,
                    };
                    check(shape, window);
                    windows += 1;
                }
            }
        }
    }
    println!("{windows} windows of small buffers, which is all");
}

/// In buffers of 2 and of 4 pages of each size that there is: each combination of the places where
/// something changes, for the head, for unread data and for the wakeup.
#[test]
fn windows_where_something_changes() {
    let mut windows = 0_u64;
    for shape in real_shapes(2).chain(real_shapes(4)) {
        // Around each boundary; what lies between behaves alike.
        let slot = shape.slot();
        let mut places = BTreeSet::new();
        for boundary in (0..shape.size).step_by(shape.page as usize) {
            for distance in [0, 1, shape.align, slot - 1, slot, slot + 1] {
                places.insert((boundary + distance) % shape.size);
                places.insert(boundary.wrapping_sub(distance) % shape.size);
            }
        }

        for &head in &places {
            for &unread in &places {
                let space = unread.wrapping_sub(head) % shape.size;
                for wakeup in places.iter().flat_map(|&at| [at, at + shape.size]) {
                    let window = Window {
                        head,
                        space,
                        wakeup,
                    };
                    check(shape, window);
                    windows += 1;
                }
            }
        }
    }
    println!("{windows} windows of real buffers, where something changes");
}

/// At random.
fn any_window() -> impl Strategy<Value = (Shape, Window)> {
    any_shape().prop_flat_map(|shape| {
        let head = prop_oneof![0..4 * shape.size, (u64::MAX - 2 * shape.size)..=u64::MAX];
        let window = (head, 1..shape.size, 0..2 * shape.size);
        let window = window.prop_map(|(head, space, ahead)| Window {
            head,
            space,
            wakeup: head.wrapping_add(ahead),
        });
        (Just(shape), window)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_window_of_any_buffer((shape, window) in any_window()) {
        check(shape, window);
    }
}

/// A circle by the rules: the unit stops half way and at the end, begins at a multiple of the
/// alignment, and skips the rest of a half that has no room for a record.
fn check_circle(shape: Shape, at: u64) {
    let half = shape.size / 2;
    let found = shape.geometry().circle(at);
    let at = at % shape.size;
    let stop = (at + 1).next_multiple_of(half);
    let mut from = at.next_multiple_of(shape.align);
    if from + shape.slot() > stop {
        from = stop;
    }
    let expected = Circle {
        pad: from - at,
        head: from % shape.size,
        limit: (from + 1).next_multiple_of(half) - from + from % shape.size,
    };
    assert_eq!(found, expected, "{at} of {shape:?}");
}

/// Each head of small buffers, and of those of 2 pages of each size that there is.
#[test]
fn every_circle() {
    let mut circles = 0_u64;
    for shape in small_shapes().chain(real_shapes(2)) {
        for at in 0..=shape.size {
            check_circle(shape, at);
            circles += 1;
        }
    }
    println!("{circles} circles, which is all");
}
