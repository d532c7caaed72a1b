// SPDX-License-Identifier: GPL-2.0

//! `buffer_limit.rs` compared with the rules.

use crate::buffer_limit::{FreeSpace, Limit, Snapshot};
use crate::rules::{any_shape, place, real_shapes, small_shapes, Place, Shape};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Asks for the limit and pads until there is one, as a transaction does.
fn found_place(shape: Shape, free: FreeSpace) -> Option<Place> {
    let mut left = free;
    for _ in 0..3 {
        match shape.layout().limit(left) {
            Limit::At(limit) => {
                let from = left.head % shape.size;
                let space = limit.checked_sub(from).expect("a limit after the head");
                assert!(limit <= shape.size, "inside the buffer");
                assert!(space <= left.size, "before unread data");
                assert_eq!(limit % shape.page, 0, "at a boundary");
                assert_eq!(from % shape.align, 0, "from an aligned byte");
                let pad = free.size - left.size;
                return Some(Place { pad, space });
            }
            Limit::AfterPadding(pad) => {
                assert!(0 < pad && pad <= left.size, "some progress");
                left.head = left.head.wrapping_add(pad);
                left.size -= pad;
            }
            Limit::NoSpace => return None,
        }
    }
    panic!("no end to padding");
}

fn check(shape: Shape, free: FreeSpace) {
    assert_eq!(
        found_place(shape, free),
        place(shape, free),
        "{free:?} of {shape:?}"
    );
}

/// Each head, each amount of space, and each wakeup from one buffer size before the head to two
/// after it; with positions that begin at 0 and positions that overflow.
#[test]
fn all_free_space_of_small_buffers() {
    let mut cases = 0_u64;
    for shape in small_shapes() {
        let size = shape.size;
        for head in (0..size).chain((1..=size).map(u64::wrapping_neg)) {
            for space in 0..size {
                for ahead in 0..=3 * size {
                    let free = FreeSpace {
                        head,
                        size: space,
                        wakeup: head.wrapping_sub(size).wrapping_add(ahead),
                    };
                    check(shape, free);
                    cases += 1;
                }
            }
        }
    }
    println!("{cases} cases of free space, all of small buffers");
}

/// In buffers of 2 and 4 pages of each real page size: each combination of the offsets at which the
/// result changes, for the head, for unread data and for the wakeup.
#[test]
fn corners_of_real_buffers() {
    let mut cases = 0_u64;
    for shape in real_shapes(2).chain(real_shapes(4)) {
        // Those around each boundary.
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
                    let free = FreeSpace {
                        head,
                        size: space,
                        wakeup,
                    };
                    check(shape, free);
                    cases += 1;
                }
            }
        }
    }
    println!("{cases} cases of free space, all corners of real buffers");
}

fn any_free_space() -> impl Strategy<Value = (Shape, FreeSpace)> {
    any_shape().prop_flat_map(|shape| {
        let head = prop_oneof![0..4 * shape.size, (u64::MAX - 2 * shape.size)..=u64::MAX];
        let free = (head, 1..shape.size, 0..2 * shape.size);
        let free = free.prop_map(|(head, size, ahead)| FreeSpace {
            head,
            size,
            wakeup: head.wrapping_add(ahead),
        });
        (Just(shape), free)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn free_space_of_real_buffers((shape, free) in any_free_space()) {
        check(shape, free);
    }
}

/// Checks the rules of a snapshot buffer: the unit stops at the middle and at the end, begins at a
/// multiple of the alignment, and skips the rest of a half that has no space for a record.
fn check_snapshot(shape: Shape, at: u64) {
    let half = shape.size / 2;
    let found = shape.layout().snapshot(at);
    let at = at % shape.size;
    let stop = (at + 1).next_multiple_of(half);
    let mut from = at.next_multiple_of(shape.align);
    if from + shape.slot() > stop {
        from = stop;
    }
    let expected = Snapshot {
        pad: from - at,
        head: from % shape.size,
        limit: (from + 1).next_multiple_of(half) - from + from % shape.size,
    };
    assert_eq!(found, expected, "{at} of {shape:?}");
}

/// Each head of small buffers, and of buffers of 2 pages of each real page size.
#[test]
fn all_snapshot_buffers() {
    let mut cases = 0_u64;
    for shape in small_shapes().chain(real_shapes(2)) {
        for at in 0..=shape.size {
            check_snapshot(shape, at);
            cases += 1;
        }
    }
    println!("{cases} heads of snapshot buffers, which is all");
}
