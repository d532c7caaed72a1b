// SPDX-License-Identifier: GPL-2.0

//! A model of perf's side of an AUX buffer that a reader drains: `perf_aux_output_begin()`,
//! `_skip()` and `_end()` of `kernel/events/ring_buffer.c`, as far as they count bytes.

use crate::offset::Window;

/// The counters of a buffer. Indices run freely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    pub(crate) size: u64,
    /// The reader is woken each time that the head passes a multiple of this.
    pub(crate) watermark: u64,
    /// What was handed to the reader ends here.
    pub(crate) head: u64,
    /// The last multiple of the watermark that the reader was woken for.
    pub(crate) woken: u64,
    /// What the reader says that it has read up to. It is in memory that user space writes to: any
    /// value.
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

    /// Begins a session, if there is space. A byte is always kept free, so that a full buffer
    /// differs from an empty one; a tail that cannot be leaves no space.
    pub(crate) fn begin(&mut self) -> Option<Window> {
        let unread = self.head.wrapping_sub(self.tail);
        let space = (self.size - 1).saturating_sub(unread);
        if space == 0 {
            self.wakeups += 1;
            return None;
        }
        Some(Window {
            head: self.head,
            space,
            wakeup: self.woken.wrapping_add(self.watermark),
        })
    }

    /// Gives `bytes` of the window to the reader, within a session.
    pub(crate) fn skip(&mut self, window: &mut Window, bytes: u64) {
        assert!(bytes <= window.space, "perf refuses to skip so much");
        self.head = self.head.wrapping_add(bytes);
        if self.wake() {
            window.wakeup = self.woken.wrapping_add(self.watermark);
        }
        window.head = self.head;
        window.space -= bytes;
    }

    /// Ends a session in which `bytes` were written since the last skip.
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
