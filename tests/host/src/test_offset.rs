// SPDX-License-Identifier: GPL-2.0

//! The offsets against a model that knows nothing of how they are computed: it looks at every byte
//! of a window and at every page boundary.

use crate::offset::{Circle, Geometry, Next, Window};
use proptest::prelude::*;

/// What a buffer and a unit look like, for tests.
#[derive(Clone, Copy, Debug)]
struct Shape {
    size: u64,
    page: u64,
    align: u64,
    record: u64,
}

impl Shape {
    fn geometry(self) -> Geometry {
        Geometry::new(self.size, self.page, self.align, self.record).expect("a valid shape")
    }

    /// The room that a record takes, alignment included.
    fn slot(self) -> u64 {
        self.record.max(self.align)
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    (1_u32..8, 0_u32..3, 0_u32..=11, 4_u32..=11).prop_map(|(pages, page, align, record)| {
        let page = 4096 << (2 * page);
        Shape {
            size: page << pages,
            page,
            align: 1 << align,
            record: 1 << record,
        }
    })
}

/// Windows as perf hands them out: one byte of the buffer is always kept free, and the wakeup is
/// wherever the reader's watermark puts it.
fn windows() -> impl Strategy<Value = (Shape, Window)> {
    shapes().prop_flat_map(|shape| {
        let heads = prop_oneof![0..4 * shape.size, (u64::MAX - 2 * shape.size)..=u64::MAX];
        (Just(shape), heads, 1..shape.size, 0..2 * shape.size).prop_map(
            |(shape, head, space, ahead)| {
                let window = Window {
                    head,
                    space,
                    wakeup: head.wrapping_add(ahead),
                };
                (shape, window)
            },
        )
    })
}

/// The limits that the rules allow: page boundaries after the head, on this round, with nothing
/// unread before them.
fn allowed_limits(shape: Shape, window: Window) -> Vec<u64> {
    let head = window.head % shape.size;
    (1..=shape.size / shape.page)
        .map(|page| page * shape.page)
        .filter(|&limit| limit > head && limit - head <= window.space)
        .collect()
}

/// Follows the decisions on a window to their end, checking each; `None` if there is no room, else
/// the window that was left and the limit.
fn follow(shape: Shape, mut window: Window) -> Option<(Window, u64)> {
    for _ in 0..4 {
        match shape.geometry().next(window) {
            Next::Write { limit } => return Some((window, limit)),
            Next::Pad(pad) => {
                assert!(0 < pad && pad <= window.space);
                window.head = window.head.wrapping_add(pad);
                window.space -= pad;
            }
            Next::NoRoom { pad } => {
                assert!(pad <= window.space);
                return None;
            }
        }
    }
    panic!("no end to padding");
}

fn check_window(shape: Shape, window: Window) {
    let Some((left, limit)) = follow(shape, window) else {
        // Honest: with all padding done, no boundary was in reach that leaves room for a record.
        let head = window.head.next_multiple_of_or_max(shape.align);
        let lost = head.wrapping_sub(window.head);
        if lost < window.space {
            let rest = Window {
                head,
                space: window.space - lost,
                ..window
            };
            let reach = allowed_limits(shape, rest);
            let offset = head % shape.size;
            assert!(
                reach.iter().all(|limit| limit - offset < shape.slot()),
                "{window:?} of {shape:?}: there was room up to {reach:?}"
            );
        }
        return;
    };
    let head = left.head % shape.size;
    assert_eq!(head % shape.align, 0, "the pointer is aligned");
    assert!(limit - head >= shape.slot(), "a record fits");
    assert!(
        allowed_limits(shape, left).contains(&limit),
        "limit {limit} from {head} with {} bytes of space",
        left.space
    );
}

trait NextMultiple {
    fn next_multiple_of_or_max(self, of: Self) -> Self;
}

impl NextMultiple for u64 {
    /// As `next_multiple_of`, on indices that wrap.
    fn next_multiple_of_or_max(self, of: Self) -> Self {
        self.wrapping_add(self.wrapping_neg() % of)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_window_is_used_as_the_rules_say((shape, window) in windows()) {
        check_window(shape, window);
    }

    #[test]
    fn a_wakeup_is_not_missed((shape, window) in windows()) {
        if let Some((left, limit)) = follow(shape, window) {
            let head = left.head % shape.size;
            let ahead = left.wakeup.wrapping_sub(left.head);
            // On this round, within the window: the unit stops at most a page after it.
            if ahead < left.space && head + ahead < shape.size {
                prop_assert!(limit <= (head + ahead).next_multiple_of(shape.page).max(head + shape.page));
            }
        }
    }

    #[test]
    fn a_circle_is_written_by_halves((shape, head) in shapes().prop_flat_map(
        |shape| (Just(shape), 0..=shape.size)))
    {
        let Circle { pad, head: from, limit } = shape.geometry().circle(head);
        let head = head % shape.size;
        prop_assert_eq!((head + pad) % shape.size, from);
        prop_assert!(pad < shape.slot() + shape.align, "no more is lost than a record's room");
        prop_assert_eq!(from % shape.align, 0);
        prop_assert!(limit == shape.size / 2 || limit == shape.size);
        prop_assert!(limit > from && limit - from >= shape.slot());
        prop_assert!(limit - from <= shape.size / 2);
        prop_assert_eq!(from / (shape.size / 2), (limit - 1) / (shape.size / 2), "within one half");
    }
}

/// Every head, every amount of space and several wakeups of a small buffer, in steps that keep all
/// the remainders that matter.
#[test]
fn small_buffers_exhaustively() {
    let shape = Shape {
        size: 2 * 4096,
        page: 4096,
        align: 256,
        record: 1024,
    };
    let interesting =
        |step: u64| (0..shape.size / step).flat_map(move |n| [n * step, n * step + 1]);
    for head in interesting(128) {
        for space in interesting(128).filter(|&space| space > 0) {
            for ahead in [1, 255, 4096, 8192, 12288] {
                check_window(
                    shape,
                    Window {
                        head,
                        space,
                        wakeup: head + ahead,
                    },
                );
            }
        }
    }
}
