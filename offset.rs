// SPDX-License-Identifier: GPL-2.0

//! Where in the AUX buffer the unit may write next.
//!
//! Pure. perf counts bytes with indices that run freely and hands out a [`Window`]; the hardware
//! writes records from an aligned pointer up to a limit on a page boundary, and needs room for the
//! largest record at any time. What cannot be used in between is padding: bytes that are zeroed and
//! given back to perf as if they had been written.

/// What does not change while a buffer exists. All in bytes, as the interrupt handler wants it.
///
/// # Invariants
///
/// With `page` for the lowest bit of `pages` and `align` for `unaligned + 1`: all are powers of two
/// (`pages` has the bits from there on), `align <= record <= 2048 < page`, `2 * page <= size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// The buffer.
    size: u64,
    /// The bits of an offset that tell on which page it is. The hardware's limit has no others.
    pages: u64,
    /// The bits of an offset that have to be 0 for the write pointer.
    unaligned: u64,
    /// The space that the largest record takes.
    record: u64,
}

/// What perf hands out. `head` and `wakeup` count bytes and run freely: a power of two further on,
/// the size of the buffer, is the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Where to write.
    pub(crate) head: u64,
    /// How many bytes may be written before unread data.
    pub(crate) space: u64,
    /// The index after which the reader wants to be woken.
    pub(crate) wakeup: u64,
}

/// What to do with a [`Window`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Let the hardware write up to this offset.
    Write {
        /// Bytes from the start of the buffer; a page boundary.
        limit: u64,
    },
    /// Pad so many bytes, more than none and not more than the window has, and ask again.
    Pad(u64),
    /// Nothing more can be written before the reader has caught up. The rest is kept for then: a
    /// reader that frees a few bytes at a time gets to a page.
    NoRoom,
}

/// Where to write in a buffer that is overwritten in circles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Circle {
    /// Bytes to pad at the head.
    pub(crate) pad: u64,
    /// The offset to write from after that.
    pub(crate) head: u64,
    /// The offset to write up to.
    pub(crate) limit: u64,
}

impl Geometry {
    /// A buffer of `size` bytes in pages of `page` bytes, for a unit that writes records of up to
    /// `record` bytes to multiples of `align`. `None` if these cannot go together.
    pub(crate) fn new(size: u64, page: u64, align: u64, record: u64) -> Option<Self> {
        // Counted from both ends: LLVM makes three instructions of that, and twelve of
        // `is_power_of_two`.
        let power = |n: u64| n.leading_zeros().wrapping_add(n.trailing_zeros()) == 63;
        let powers = power(size) && power(page) && power(align) && power(record);
        // A record that is smaller than the alignment takes the space of the alignment.
        let record = record.max(align);
        // INVARIANT: just checked; `record` is one of two powers of two.
        (powers && record <= 2048 && record < page && size / page >= 2).then_some(Self {
            size,
            pages: page.wrapping_neg(),
            unaligned: align.wrapping_sub(1),
            record,
        })
    }

    /// The size of the buffer in bytes.
    #[inline]
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The offset in the buffer that `index` falls on.
    #[inline]
    pub(crate) fn offset(&self, index: u64) -> u64 {
        index & self.size.wrapping_sub(1)
    }

    /// How many bytes `offset` is short of a multiple of the alignment.
    fn misaligned(&self, offset: u64) -> u64 {
        offset.wrapping_neg() & self.unaligned
    }

    /// `offset`, or the last page boundary before it.
    fn page_before(&self, offset: u64) -> u64 {
        offset & self.pages
    }

    /// The end of the page with the byte at `offset`.
    fn page_end(&self, offset: u64) -> u64 {
        // A page is `-pages`.
        offset.wrapping_sub(self.pages) & self.pages
    }

    /// Decides on a window of a buffer that a reader drains.
    ///
    /// Asking again after each [`Next::Pad`] comes to an end, because the window gets smaller.
    #[inline(always)]
    pub(crate) fn next(&self, window: Window) -> Next {
        match self.limit(window) {
            Ok(limit) => Next::Write { limit },
            Err(limit) => match self.pad(self.offset(window.head), window.space, limit) {
                Some(pad) => Next::Pad(pad),
                None => Next::NoRoom,
            },
        }
    }

    /// Up to where the hardware can write in `window`, from its head on: an offset; or that up to
    /// there is no room for a record.
    #[inline(always)]
    fn limit(&self, window: Window) -> Result<u64, u64> {
        let Window {
            head: index,
            space,
            wakeup,
        } = window;
        let head = self.offset(index);

        // Up to unread data, or to the end of the buffer.
        let room = space.min(self.size.wrapping_sub(head));
        let mut limit = self.page_before(head.wrapping_add(room));

        // A wakeup in there: stop at the end of the page with the last byte before it, if that is
        // nearer. (One at the head is due already.)
        let last = wakeup.wrapping_sub(index).wrapping_sub(1);
        if last < room {
            limit = limit.min(self.page_end(head.wrapping_add(last)));
        }

        if head & self.unaligned == 0 && limit >= head.wrapping_add(self.record) {
            return Ok(limit);
        }
        Err(limit)
    }

    /// How much to pad if no record can be written to `head`: there is no room up to `limit`, or
    /// none of `space` at all, or it is not aligned. `None`: that would not help.
    #[cold]
    #[inline(never)]
    fn pad(&self, head: u64, space: u64, limit: u64) -> Option<u64> {
        // The hardware may have left its pointer just after a record, and perf always keeps a byte
        // free: align.
        let pad = self.misaligned(head);
        if pad >= space {
            return None;
        }
        if pad > 0 {
            return Some(pad);
        }
        limit.checked_sub(head).filter(|&room| room > 0)
    }

    /// Decides on a buffer that nobody drains, at the offset `head`, which may be the end of the
    /// buffer.
    ///
    /// Records cannot be read backwards. So that whoever takes a snapshot at a bad moment still
    /// finds half a buffer of them, the limit is half way or the end, whichever comes next.
    #[inline]
    pub(crate) fn circle(&self, head: u64) -> Circle {
        let half = self.size / 2;
        let from = self.offset(head);
        let limit = if from < half { half } else { self.size };

        // None of this overflows: the limit is a multiple of the alignment after `from`, and at
        // most the size.
        let aligned = from.wrapping_add(self.misaligned(from));
        if limit.wrapping_sub(aligned) >= self.record {
            return Circle {
                pad: aligned.wrapping_sub(from),
                head: aligned,
                limit,
            };
        }

        // Too near to the limit: begin after it.
        let head = self.offset(limit);
        Circle {
            pad: limit.wrapping_sub(from),
            head,
            limit: head.wrapping_add(half),
        }
    }
}

#[cfg_attr(not(test), kernel::macros::kunit_tests(arm_spe_offset))]
mod tests {
    use super::*;

    /// Four pages of 4 KiB, for a unit that writes records of up to 256 bytes to multiples of 64.
    fn geometry() -> Option<Geometry> {
        Geometry::new(0x4000, 0x1000, 0x40, 0x100)
    }

    fn next_with_wakeup(head: u64, space: u64, wakeup: u64) -> Option<Next> {
        let window = Window {
            head,
            space,
            wakeup,
        };
        geometry().map(|geometry| geometry.next(window))
    }

    /// With a wakeup that is beyond every window.
    fn next(head: u64, space: u64) -> Option<Next> {
        next_with_wakeup(head, space, head.wrapping_add(0x8000))
    }

    /// The limit is the end of the round, or the boundary before unread data.
    #[test]
    fn limits() {
        for (head, space, limit) in [
            (0x0000, 0x3fff, 0x3000), // empty: the byte that is kept free is on the last page
            (0x1000, 0x3fff, 0x4000), // empty: that byte is on the next round
            (0x1000, 0x3001, 0x4000), // unread data begins after the start of the buffer
            (0x1000, 0x3000, 0x4000), // at the start
            (0x1000, 0x2fff, 0x3000), // before the end
            (0x1000, 0x1000, 0x2000),
            (0x1f00, 0x1000, 0x2000), // just room for a record
            (0x3f00, 0x1000, 0x4000),
        ] {
            let expected = Some(Next::Write { limit });
            assert_eq!((head, space, next(head, space)), (head, space, expected));
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
            let expected = Some(Next::Pad(pad));
            assert_eq!((head, space, next(head, space)), (head, space, expected));
        }
    }

    /// perf hands out no window without space, but padding may leave one.
    #[test]
    fn no_room() {
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
            let expected = Some(Next::NoRoom);
            assert_eq!((head, space, next(head, space)), (head, space, expected));
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
            (0x3000, 0x3000, 0x4800, 0x4000), // on the next round
        ] {
            let case = (head, space, wakeup);
            let found = next_with_wakeup(head, space, wakeup);
            assert_eq!((case, found), (case, Some(Next::Write { limit })));
        }
        // A boundary that is nearer than a record.
        assert_eq!(
            next_with_wakeup(0x0f40, 0x2000, 0x0f80),
            Some(Next::Pad(0xc0))
        );
    }

    /// Indices run freely, and over the end of 64 bits.
    #[test]
    fn indices() {
        for head in [0x1_d000, 0_u64.wrapping_sub(0x3000)] {
            assert_eq!(next(head, 0x2fff), Some(Next::Write { limit: 0x3000 }));
            assert_eq!(next(head, 0x3fff), Some(Next::Write { limit: 0x4000 }));
            assert_eq!(
                next_with_wakeup(head, 0x3fff, head.wrapping_add(0x0fff)),
                Some(Next::Write { limit: 0x2000 })
            );
            assert_eq!(
                next_with_wakeup(head, 0x3fff, head.wrapping_add(0x3800)),
                Some(Next::Write { limit: 0x4000 })
            );
        }
    }

    #[test]
    fn circles() {
        for (at, pad, head, limit) in [
            (0x0000, 0x00, 0x0000, 0x2000),
            (0x0001, 0x3f, 0x0040, 0x2000),
            (0x1f00, 0x00, 0x1f00, 0x2000), // just room for a record
            (0x1f01, 0xff, 0x2000, 0x4000), // room for one until it is aligned
            (0x1f40, 0xc0, 0x2000, 0x4000),
            (0x1fff, 0x01, 0x2000, 0x4000),
            (0x2000, 0x00, 0x2000, 0x4000),
            (0x3f00, 0x00, 0x3f00, 0x4000),
            (0x3f40, 0xc0, 0x0000, 0x2000),
            (0x4000, 0x00, 0x0000, 0x2000), // the end is the start
        ] {
            let expected = Some(Circle { pad, head, limit });
            let found = geometry().map(|geometry| geometry.circle(at));
            assert_eq!((at, found), (at, expected));
        }
    }

    #[test]
    fn geometries() {
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
            let found = Geometry::new(size, page, align, record).is_some();
            assert_eq!((case, found), (case, good));
        }
    }
}
