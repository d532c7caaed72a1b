// SPDX-License-Identifier: GPL-2.0

//! Where a unit may write, by the rules alone.
//!
//! Found by walking from one page boundary to the next, so that it has nothing in common with the
//! way in which `offset.rs` computes it:
//!
//! - the unit begins at a multiple of the alignment and stops at a page boundary;
//! - it stops before unread data, at the end of the buffer, and at the first boundary at which the
//!   reader is due to be woken, whichever comes first;
//! - there is room for a record; where there is none, it begins at that boundary instead.

use crate::offset::{Geometry, Window};
use proptest::prelude::*;

/// A buffer and the unit that writes to it, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) size: u64,
    pub(crate) page: u64,
    pub(crate) align: u64,
    pub(crate) record: u64,
}

impl Shape {
    pub(crate) fn geometry(self) -> Geometry {
        Geometry::new(self.size, self.page, self.align, self.record).expect("a valid shape")
    }

    /// The room that a record takes, alignment included.
    pub(crate) fn slot(self) -> u64 {
        self.record.max(self.align)
    }
}

/// Shapes that are small enough to go through everything: of 2 and 4 pages of 16 bytes.
pub(crate) fn small_shapes() -> impl Iterator<Item = Shape> {
    combinations(&[32, 64], &[16], &[1, 2, 4, 8], &[1, 2, 4, 8])
}

/// Shapes of `pages` pages of the sizes that there are, with all alignments and records.
pub(crate) fn real_shapes(pages: u64) -> impl Iterator<Item = Shape> {
    let powers: Vec<u64> = (0..=11).map(|power| 1 << power).collect();
    [4096, 16384, 65536]
        .into_iter()
        .flat_map(move |page| combinations(&[pages * page], &[page], &powers, &powers[4..]))
}

fn combinations(
    sizes: &[u64],
    pages: &[u64],
    aligns: &[u64],
    records: &[u64],
) -> impl Iterator<Item = Shape> {
    let mut shapes = Vec::new();
    for &size in sizes {
        for &page in pages {
            for &align in aligns {
                shapes.extend(records.iter().map(|&record| Shape {
                    size,
                    page,
                    align,
                    record,
                }));
            }
        }
    }
    shapes.into_iter()
}

/// Any shape that there may be, up to 128 pages.
pub(crate) fn any_shape() -> impl Strategy<Value = Shape> {
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

/// A place to write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// From the head of the window to the first byte.
    pub(crate) pad: u64,
    /// From there to the limit.
    pub(crate) room: u64,
}

/// The place that the rules give in `window`, if they give one.
pub(crate) fn place(shape: Shape, window: Window) -> Option<Place> {
    // Positions on a line that begins with the round of the head.
    let head = window.head % shape.size;
    let unread = head + window.space;
    let ahead = window.wakeup.wrapping_sub(window.head) as i64;
    let wakeup = u64::try_from(ahead).ok().map(|ahead| head + ahead);

    let mut from = head.next_multiple_of(shape.align);
    loop {
        let mut limit = None;
        let mut boundary = (from + 1).next_multiple_of(shape.page);
        while boundary <= unread {
            limit = Some(boundary);
            let due = wakeup.is_some_and(|wakeup| from < wakeup && wakeup <= boundary);
            if due || boundary % shape.size == 0 {
                break;
            }
            boundary += shape.page;
        }
        let room = limit? - from;
        if room >= shape.slot() {
            let pad = from - head;
            return Some(Place { pad, room });
        }
        from += room;
    }
}
