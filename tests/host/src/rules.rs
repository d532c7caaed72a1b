// SPDX-License-Identifier: GPL-2.0

//! The place at which a unit may write, by the rules alone.
//!
//! The result is found by walking from one page boundary to the next, which has nothing in common
//! with the computation in `buffer_limit.rs`:
//!
//! - the unit begins at a multiple of the alignment and stops at a page boundary;
//! - it stops before unread data, at the end of the buffer, and at the first boundary at which the
//!   reader is due to be woken, whichever comes first;
//! - there is space for a record; if there is not, the unit begins at that boundary instead.

use crate::buffer_limit::{BufferLayout, FreeSpace};
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
    pub(crate) fn layout(self) -> BufferLayout {
        BufferLayout::new(self.size, self.page, self.align, self.record).expect("a valid shape")
    }

    /// The space that a record takes, including alignment.
    pub(crate) fn slot(self) -> u64 {
        self.record.max(self.align)
    }
}

/// Shapes small enough for an exhaustive test: 2 and 4 pages of 16 bytes.
pub(crate) fn small_shapes() -> impl Iterator<Item = Shape> {
    combinations(&[32, 64], &[16], &[1, 2, 4, 8], &[1, 2, 4, 8])
}

/// Shapes of `pages` pages of each real page size, with all alignments and record sizes.
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

/// Any real shape, of up to 128 pages.
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
    /// The bytes between the head and the first byte.
    pub(crate) pad: u64,
    /// The bytes from there to the limit.
    pub(crate) space: u64,
}

/// Returns the place that the rules give in `free`, if they give one.
pub(crate) fn place(shape: Shape, free: FreeSpace) -> Option<Place> {
    // Offsets from the start of the buffer that do not wrap at its end.
    let head = free.head % shape.size;
    let unread = head + free.size;
    let ahead = free.wakeup.wrapping_sub(free.head) as i64;
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
        let space = limit? - from;
        if space >= shape.slot() {
            let pad = from - head;
            return Some(Place { pad, space });
        }
        from += space;
    }
}
