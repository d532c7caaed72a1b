// SPDX-License-Identifier: GPL-2.0

//! The part of the AUX buffer that the unit may write next: pure arithmetic.
//!
//! The unit writes records from an aligned pointer up to a limit on a page boundary, and stops when
//! the largest record would not fit. Space that it cannot use is padding: zeroed, and given back to
//! perf as if it had been written.

/// The sizes of a buffer and its pages, the alignment of the write pointer, and the space that the
/// largest record takes, in bytes.
///
/// # Invariants
///
/// All are powers of two, `align <= record <= 2048 < page` and `2 * page <= size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BufferLayout {
    size: u64,
    page: u64,
    align: u64,
    record: u64,
}

/// The space that perf hands out: `size` bytes from `head` on, before unread data. The reader is to
/// be woken after `wakeup`. Both positions are free-running: offsets modulo the size of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FreeSpace {
    pub(crate) head: u64,
    pub(crate) size: u64,
    pub(crate) wakeup: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Write up to this offset.
    At(u64),
    /// Pad this many bytes, at least one and at most the free space, and ask again.
    AfterPadding(u64),
    /// Wait until the reader frees space. The free space is not padded, so that a reader that frees
    /// a few bytes at a time makes a page in the end.
    NoSpace,
}

/// The part of a snapshot buffer to write next: `pad` bytes of padding, then `head` to `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) pad: u64,
    pub(crate) head: u64,
    pub(crate) limit: u64,
}

impl BufferLayout {
    /// Returns `None` if the sizes do not satisfy the invariants.
    pub(crate) fn new(size: u64, page: u64, align: u64, record: u64) -> Option<Self> {
        let powers = [size, page, align, record]
            .iter()
            .all(|n| n.is_power_of_two());
        // A record that is smaller than the alignment takes the space of the alignment.
        let record = record.max(align);
        // INVARIANT: Checked here; `record` is one of two powers of two.
        (powers && record <= 2048 && record < page && size / page >= 2).then_some(Self {
            size,
            page,
            align,
            record,
        })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn offset(&self, position: u64) -> u64 {
        position & self.size.wrapping_sub(1)
    }

    fn bytes_to_alignment(&self, offset: u64) -> u64 {
        offset.wrapping_neg() & self.align.wrapping_sub(1)
    }

    fn page_before(&self, offset: u64) -> u64 {
        offset & self.page.wrapping_neg()
    }

    /// Returns the limit in a buffer that a reader drains. Asking again after each
    /// [`Limit::AfterPadding`] terminates, as `free` shrinks each time.
    pub(crate) fn limit(&self, free: FreeSpace) -> Limit {
        let head = self.offset(free.head);
        let misaligned = self.bytes_to_alignment(head);
        if misaligned >= free.size {
            return Limit::NoSpace;
        }
        // The unit leaves its pointer after a record, and perf always keeps a byte free.
        if misaligned > 0 {
            return Limit::AfterPadding(misaligned);
        }

        // Stop before unread data, or at the end of the buffer.
        let space = free.size.min(self.size.wrapping_sub(head));
        let mut limit = self.page_before(head.wrapping_add(space));

        // Stop at the end of the page with the last byte before the wakeup, if that is nearer. A
        // wakeup at the head is due already.
        let last = free.wakeup.wrapping_sub(free.head).wrapping_sub(1);
        if last < space {
            let page_of_last = self.page_before(head.wrapping_add(last));
            limit = limit.min(page_of_last.wrapping_add(self.page));
        }

        match limit.checked_sub(head) {
            Some(bytes) if bytes >= self.record => Limit::At(limit),
            Some(bytes) if bytes > 0 => Limit::AfterPadding(bytes),
            _ => Limit::NoSpace,
        }
    }

    /// Returns the part of a snapshot buffer to write next; `head` may be the end of the buffer.
    /// Records cannot be read backwards: the limit is the middle or the end of the buffer, and a
    /// snapshot always finds half a buffer of complete records.
    pub(crate) fn snapshot(&self, head: u64) -> Snapshot {
        let half = self.size / 2;
        let from = self.offset(head);
        let limit = if from < half { half } else { self.size };

        // No overflow: the limit is a multiple of the alignment after `from`, and at most the size.
        let aligned = from.wrapping_add(self.bytes_to_alignment(from));
        if limit.wrapping_sub(aligned) >= self.record {
            return Snapshot {
                pad: aligned.wrapping_sub(from),
                head: aligned,
                limit,
            };
        }

        // Too close to the limit: begin after it.
        let head = self.offset(limit);
        Snapshot {
            pad: limit.wrapping_sub(from),
            head,
            limit: head.wrapping_add(half),
        }
    }
}

#[cfg_attr(not(test), kernel::macros::kunit_tests(arm_spe_buffer_limit))]
mod tests {
    use super::*;

    /// Four pages of 4 KiB, for a unit that writes records of up to 256 bytes to multiples of 64.
    fn layout() -> Option<BufferLayout> {
        BufferLayout::new(0x4000, 0x1000, 0x40, 0x100)
    }

    fn limit_with_wakeup(head: u64, size: u64, wakeup: u64) -> Option<Limit> {
        let free = FreeSpace { head, size, wakeup };
        layout().map(|layout| layout.limit(free))
    }

    /// A wakeup beyond all free space.
    fn limit_of(head: u64, size: u64) -> Option<Limit> {
        limit_with_wakeup(head, size, head.wrapping_add(0x8000))
    }

    /// The limit is the end of the buffer, or the boundary before unread data.
    #[test]
    fn limits() {
        for (head, space, limit) in [
            (0x0000, 0x3fff, 0x3000), // empty: the byte that is kept free is on the last page
            (0x1000, 0x3fff, 0x4000), // empty: that byte is after the end of the buffer
            (0x1000, 0x3001, 0x4000), // unread data begins after the start of the buffer
            (0x1000, 0x3000, 0x4000), // at the start
            (0x1000, 0x2fff, 0x3000), // before the end
            (0x1000, 0x1000, 0x2000),
            (0x1f00, 0x1000, 0x2000), // just enough for a record
            (0x3f00, 0x1000, 0x4000),
        ] {
            let expected = Some(Limit::At(limit));
            assert_eq!(
                (head, space, limit_of(head, space)),
                (head, space, expected)
            );
        }
    }

    #[test]
    fn padding() {
        for (head, space, pad) in [
            // To a multiple of the alignment.
            (0x1001, 0x2000, 0x3f),
            (0x103f, 0x2000, 0x01),
            (0x1001, 0x0040, 0x3f),
            (0x3fff, 0x0002, 0x01),
            // To a boundary that is nearer than a record.
            (0x1f40, 0x1000, 0xc0),
            (0x1f40, 0x00c0, 0xc0),
            (0x3f40, 0x1000, 0xc0),
        ] {
            let expected = Some(Limit::AfterPadding(pad));
            assert_eq!(
                (head, space, limit_of(head, space)),
                (head, space, expected)
            );
        }
    }

    /// perf hands out no transaction without space, but padding may leave none.
    #[test]
    fn no_space() {
        for (head, space) in [
            (0x1000, 0x0fff), // unread data on the page of the head
            (0x1040, 0x0100),
            (0x3000, 0x0001),
            (0x1f40, 0x00bf),
            (0x1001, 0x003f), // unread data before the next aligned byte
            (0x1001, 0x0001),
            (0x3fff, 0x0001),
            (0x1000, 0x0000),
        ] {
            let expected = Some(Limit::NoSpace);
            assert_eq!(
                (head, space, limit_of(head, space)),
                (head, space, expected)
            );
        }
    }

    #[test]
    fn wakeups() {
        for (head, space, wakeup, limit) in [
            (0x0040, 0x3f00, 0x0041, 0x1000),
            (0x0040, 0x3f00, 0x1000, 0x1000), // on a boundary
            (0x0040, 0x3f00, 0x1001, 0x2000), // just after it
            (0x0040, 0x3f00, 0x3001, 0x3000), // unread data is nearer
            (0x0040, 0x3f00, 0x3f40, 0x3000), // where unread data begins
            (0x0040, 0x3f00, 0x5000, 0x3000), // beyond
            (0x1040, 0x2000, 0x1000, 0x3000), // past
            (0x1000, 0x2000, 0x1000, 0x3000), // due
            (0x1040, 0x2000, 0x1040, 0x3000),
            (0x3000, 0x3000, 0x4800, 0x4000), // after the end of the buffer
        ] {
            let case = (head, space, wakeup);
            let found = limit_with_wakeup(head, space, wakeup);
            assert_eq!((case, found), (case, Some(Limit::At(limit))));
        }
        // A boundary that is nearer than a record.
        assert_eq!(
            limit_with_wakeup(0x0f40, 0x2000, 0x0f80),
            Some(Limit::AfterPadding(0xc0))
        );
    }

    /// Positions are free-running, also beyond 64 bits.
    #[test]
    fn positions() {
        for head in [0x1_d000, 0_u64.wrapping_sub(0x3000)] {
            assert_eq!(limit_of(head, 0x2fff), Some(Limit::At(0x3000)));
            assert_eq!(limit_of(head, 0x3fff), Some(Limit::At(0x4000)));
            assert_eq!(
                limit_with_wakeup(head, 0x3fff, head.wrapping_add(0x0fff)),
                Some(Limit::At(0x2000))
            );
            assert_eq!(
                limit_with_wakeup(head, 0x3fff, head.wrapping_add(0x3800)),
                Some(Limit::At(0x4000))
            );
        }
    }

    #[test]
    fn snapshots() {
        for (at, pad, head, limit) in [
            (0x0000, 0x00, 0x0000, 0x2000),
            (0x0001, 0x3f, 0x0040, 0x2000),
            (0x1f00, 0x00, 0x1f00, 0x2000), // just enough for a record
            (0x1f01, 0xff, 0x2000, 0x4000), // enough until it is aligned
            (0x1f40, 0xc0, 0x2000, 0x4000),
            (0x1fff, 0x01, 0x2000, 0x4000),
            (0x2000, 0x00, 0x2000, 0x4000),
            (0x3f00, 0x00, 0x3f00, 0x4000),
            (0x3f40, 0xc0, 0x0000, 0x2000),
            (0x4000, 0x00, 0x0000, 0x2000), // the end is the start
        ] {
            let expected = Some(Snapshot { pad, head, limit });
            let found = layout().map(|layout| layout.snapshot(at));
            assert_eq!((at, found), (at, expected));
        }
    }

    #[test]
    fn layouts() {
        // Size, page, alignment, record.
        for (size, page, align, record, good) in [
            (0x2000, 0x1000, 0x001, 0x010, true),
            (0x2000, 0x1000, 0x800, 0x800, true),
            (0x2000, 0x1000, 0x800, 0x010, true),
            (0x1000, 0x1000, 0x001, 0x040, false), // a single page
            (0x3000, 0x1000, 0x001, 0x040, false), // no power of two
            (0x2000, 0x0c00, 0x001, 0x040, false),
            (0x2000, 0x1000, 0x003, 0x040, false),
            (0x2000, 0x1000, 0x001, 0x030, false),
            (0x0000, 0x1000, 0x001, 0x040, false), // nothing
            (0x2000, 0x0000, 0x001, 0x040, false),
            (0x2000, 0x1000, 0x000, 0x040, false),
            (0x2000, 0x1000, 0x001, 0x000, false),
            (0x1000, 0x0800, 0x001, 0x800, false), // a record of a page
            (0x1000, 0x0800, 0x800, 0x040, false), // an alignment of a page
            (0x4000, 0x2000, 0x001, 0x1000, false), // a record that no unit writes
        ] {
            let case = (size, page, align, record);
            let found = BufferLayout::new(size, page, align, record).is_some();
            assert_eq!((case, found), (case, good));
        }
    }
}
