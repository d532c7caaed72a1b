// SPDX-License-Identifier: GPL-2.0

//! A model of perf's side of an AUX buffer that a reader drains: the byte counts that
//! `perf_aux_output_begin()`, `_skip()` and `_end()` of `kernel/events/ring_buffer.c` keep.

use crate::buffer_limit::FreeSpace;

/// The positions of a buffer, which are free-running byte counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    pub(crate) size: u64,
    /// The reader is woken each time that the head passes a multiple of this.
    pub(crate) watermark: u64,
    /// The end of the data.
    pub(crate) head: u64,
    /// The last multiple of the watermark that the reader was woken for.
    pub(crate) woken: u64,
    /// The position that the reader has read up to. User space writes it: it may be any value.
    pub(crate) tail: u64,
    /// How often the reader was woken.
    pub(crate) wakeups: u64,
}

impl Ring {
    pub(crate) fn new(size: u64, watermark: u64) -> Self {
        Self {
            size,
            watermark,
            head: 0,
            woken: 0,
            tail: 0,
            wakeups: 0,
        }
    }

    /// Begins a transaction, if there is space. A byte is always kept free, so that a full buffer
    /// differs from an empty one. An impossible tail leaves no space.
    pub(crate) fn begin(&mut self) -> Option<FreeSpace> {
        let unread = self.head.wrapping_sub(self.tail);
        let size = (self.size - 1).saturating_sub(unread);
        if size == 0 {
            self.wakeups += 1;
            return None;
        }
        Some(FreeSpace {
            head: self.head,
            size,
            wakeup: self.woken.wrapping_add(self.watermark),
        })
    }

    /// Hands `bytes` of the free space to the reader, within a transaction.
    pub(crate) fn skip(&mut self, free: &mut FreeSpace, bytes: u64) {
        assert!(bytes <= free.size, "perf refuses to skip so much");
        self.head = self.head.wrapping_add(bytes);
        if self.wake() {
            free.wakeup = self.woken.wrapping_add(self.watermark);
        }
        free.head = self.head;
        free.size -= bytes;
    }

    /// Ends a transaction in which `bytes` were written since the last skip.
    pub(crate) fn end(&mut self, bytes: u64, truncated: bool) {
        self.head = self.head.wrapping_add(bytes);
        if !self.wake() && truncated {
            self.wakeups += 1;
        }
    }

    fn wake(&mut self) -> bool {
        let due = self.head.wrapping_sub(self.woken) >= self.watermark;
        if due {
            self.woken = self.head - self.head % self.watermark;
            self.wakeups += 1;
        }
        due
    }
}
