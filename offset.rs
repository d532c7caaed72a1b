// SPDX-License-Identifier: GPL-2.0

//! Where in the AUX buffer the unit may write next.
//!
//! Pure. perf counts bytes with indices that run freely and hands out a [`Window`]; the hardware
//! writes records from an aligned pointer up to a limit on a page boundary, and needs room for the
//! largest record at any time. What cannot be used in between is padding: bytes that are zeroed and
//! given back to perf as if they had been written.

/// What does not change while a buffer exists. All in bytes.
///
/// # Invariants
///
/// All are powers of two; `align <= record <= 2048 < page`, `2 * page <= size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    size: u64,
    page: u64,
    align: u64,
    record: u64,
}

/// What perf hands out: `head` is where to write, `space` how many bytes may be written before
/// unread data, `wakeup` the index after which the reader wants to be woken. `head` and `wakeup`
/// run freely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) head: u64,
    pub(crate) space: u64,
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
    /// Nothing more can be written before the reader has caught up. Pad so many bytes: they are of
    /// no use.
    NoRoom {
        /// Bytes to pad, perhaps none.
        pad: u64,
    },
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
        let power = |n: u64| n != 0 && n & n.wrapping_sub(1) == 0;
        let powers = power(size) && power(page) && power(align) && power(record);
        // A record that is smaller than the alignment takes the space of the alignment.
        let record = record.max(align);
        // INVARIANT: just checked; `record` is one of two powers of two.
        (powers && record <= 2048 && record < page && size / page >= 2).then_some(Self {
            size,
            page,
            align,
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
        offset.wrapping_neg() & self.align.wrapping_sub(1)
    }

    /// `offset`, or the next page boundary after it.
    fn page_after(&self, offset: u64) -> u64 {
        offset.wrapping_add(self.page.wrapping_sub(1)) & self.page.wrapping_neg()
    }

    /// Decides on a window of a buffer that a reader drains.
    ///
    /// Asking again after each [`Next::Pad`] comes to an end, because the window gets smaller.
    #[inline]
    pub(crate) fn next(&self, window: Window) -> Next {
        let Window {
            head: index,
            space,
            wakeup,
        } = window;
        let head = self.offset(index);

        // The hardware may have left its pointer just after a record, and perf always keeps a byte
        // free: align.
        let pad = self.misaligned(head);
        if pad >= space {
            return Next::NoRoom { pad: space };
        }
        if pad > 0 {
            return Next::Pad(pad);
        }

        // Unread data begins at `end`. If that is not after the head, it is on the next round, and
        // the limit is the end of the buffer.
        let end = self.offset(index.wrapping_add(space));
        let mut limit = if head < end {
            end & self.page.wrapping_neg()
        } else {
            self.size
        };

        // A wakeup within the window and on this round: stop at the page boundary after it, if that
        // is nearer. (A wakeup at the head is due already.)
        let wakeup_at = self.offset(wakeup);
        let stop = self.page_after(wakeup_at);
        if wakeup.wrapping_sub(index) < space && head <= wakeup_at && head < stop {
            limit = limit.min(stop);
        }

        match limit.checked_sub(head) {
            None | Some(0) => Next::NoRoom { pad: space },
            Some(room) if room < self.record => Next::Pad(room),
            Some(_) => Next::Write { limit },
        }
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
