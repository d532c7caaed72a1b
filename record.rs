// SPDX-License-Identifier: GPL-2.0

//! The records that a unit writes, decoded: what `perf report --dump-raw-trace` prints, in a
//! struct.
//!
//! Any bytes are accepted: a unit may stop within a record, and may be wrong. The format is that of
//! the Arm ARM (DDI 0487), chapter D18 "Statistical Profiling Extension Sample Record
//! Specification", up to SPE v1.5. The names of the packets are those of the sections there.
//!
//! # Packets
//!
//! A packet is a header of a byte, or of two bytes in the extended format, and a payload. Bits
//! \[5:4\] of the last byte of the header are the logarithm of the payload's size.
//!
//! | header | packet | payload |
//! | --- | --- | --- |
//! | `00000000` | Padding | none |
//! | `00000001` | End | none |
//! | `001000ii` and a second byte of another row | an Address or a Counter packet, with bits \[4:3\] of its index; others are skipped | |
//! | `001000nn 00000000` | Alignment, which Armv8.5 has removed | up to a multiple of 2 << `nn` |
//! | `01ss0010` | Events | 1, 2, 4 or 8 bytes |
//! | `01ss0011` | Data Source | 1, 2, 4 or 8 bytes |
//! | `011001ii` | Context | 4 bytes |
//! | `010010cc` | Operation Type | 1 byte |
//! | `01110001` | Timestamp | 8 bytes |
//! | `10110iii` | Address | 8 bytes |
//! | `10011iii` | Counter | 2 bytes |
//!
//! Headers from `01000000` on that are not in the table are skipped by the size of their payload.
//! Others have no size, so that the record cannot be read any further.
//!
//! A record ends with an End or a Timestamp packet. The next one begins at a multiple of the unit's
//! alignment.

/// The fields of a record, all 0 if its packet is absent. `arm_spe_record.h` has the same struct.
///
/// An address has 56 bits. Bits 63 to 56 are copies of bit 55, which selects the half of the
/// address space (Arm ARM, D8 "Address tagging"). If a record has a packet twice, the last one
/// counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Address packet, index 0: the address of the sampled instruction.
    pub(crate) pc: u64,
    /// Address packet, index 1: where the sampled branch, exception or return went.
    pub(crate) branch_target: u64,
    /// Address packet, index 4: the target of the taken branch before the sampled operation.
    pub(crate) previous_target: u64,
    /// Address packet, index 2: the virtual address of the access, without its tag.
    pub(crate) data_va: u64,
    /// Address packet, index 3: the physical address of the access, which is not extended by its
    /// sign.
    pub(crate) data_pa: u64,
    /// Timestamp packet: ticks of the counter that `PMSCR_EL1.PCT` selects.
    pub(crate) timestamp: u64,
    /// Events packet: a bit for each event, numbered as in `PMSEVFR_EL1`.
    pub(crate) events: u64,
    /// Data Source packet: a number that the CPU's manual explains.
    pub(crate) data_source: u64,
    /// Which packets there are, of [`Record::PC`] and the constants that follow it.
    pub(crate) present: u32,
    /// Bytes from the first packet to the last one.
    pub(crate) size: u32,
    /// Context packet, index 0: `CONTEXTIDR_EL1`.
    pub(crate) context_el1: u32,
    /// Context packet, index 1: `CONTEXTIDR_EL2`.
    pub(crate) context_el2: u32,
    /// Counter packet, index 0: cycles from dispatch to completion.
    pub(crate) total_latency: u16,
    /// Counter packet, index 1: cycles from dispatch to issue.
    pub(crate) issue_latency: u16,
    /// Counter packet, index 2: cycles for the translation of the address.
    pub(crate) translation_latency: u16,
    /// Counter packet with any other index, the last one.
    pub(crate) other_counter: u16,
    /// The index of `other_counter`, 3 to 31.
    pub(crate) other_index: u8,
    /// Operation Type packet, bits \[1:0\] of the header: 0 is other, 1 is load
    /// or store, 2 is branch.
    pub(crate) class: u8,
    /// Operation Type packet, the payload, whose bits depend on the class.
    pub(crate) subclass: u8,
    /// The exception level of `pc`, 0 to 3.
    pub(crate) el: u8,
    /// The security state of `pc`: bit 0 is NS and bit 1 is NSE, so that 0 is Secure, 1 is
    /// Non-secure, 2 is Root and 3 is Realm.
    pub(crate) security: u8,
    /// The exception level of `branch_target`, 0 to 3.
    pub(crate) target_el: u8,
    /// The top byte of `data_va`, as the unit has written it: a tag, if the access had one.
    pub(crate) va_tag: u8,
    /// The top byte of `data_pa`: bit 7 is NS, bit 6 is CH (the access was checked by its tag), bit
    /// 4 is NSE, bits 3 to 0 are PAT, the physical address tag.
    pub(crate) pa_flags: u8,
}

impl Record {
    pub(crate) const PC: u32 = 1 << 0;
    pub(crate) const BRANCH_TARGET: u32 = 1 << 1;
    pub(crate) const DATA_VA: u32 = 1 << 2;
    pub(crate) const DATA_PA: u32 = 1 << 3;
    pub(crate) const PREVIOUS_TARGET: u32 = 1 << 4;
    pub(crate) const TOTAL_LATENCY: u32 = 1 << 5;
    pub(crate) const ISSUE_LATENCY: u32 = 1 << 6;
    pub(crate) const TRANSLATION_LATENCY: u32 = 1 << 7;
    pub(crate) const OTHER_COUNTER: u32 = 1 << 8;
    pub(crate) const CONTEXT_EL1: u32 = 1 << 9;
    pub(crate) const CONTEXT_EL2: u32 = 1 << 10;
    pub(crate) const EVENTS: u32 = 1 << 11;
    pub(crate) const DATA_SOURCE: u32 = 1 << 12;
    pub(crate) const OPERATION: u32 = 1 << 13;
    pub(crate) const TIMESTAMP: u32 = 1 << 14;
    /// A packet that has no field here was skipped.
    pub(crate) const UNKNOWN: u32 = 1 << 15;
}

/// The packets of a record, by the number of their bit in [`Record::present`].
#[derive(Default)]
struct Packets {
    payload: [u64; 16],
    /// The last byte of the header; of an extended one of [`OTHER_COUNTER`] the index.
    header: [u8; 16],
    present: u32,
}

impl Packets {
    /// Adds a packet whose bit in [`Record::present`] has the number `number`.
    #[inline]
    fn put(&mut self, number: u8, header: u8, payload: u64) {
        let number = usize::from(number & 15);
        self.payload[number] = payload;
        self.header[number] = header;
        self.present |= 1 << number;
    }

    /// Adds a packet with an extended header; `high` has bits \[4:3\] of its index.
    fn add_extended(&mut self, high: u8, header: u8, payload: u64) {
        let number = match header {
            // No other packet has an extended header.
            0x98..=0x9f if high != 0 => OTHER_COUNTER,
            0x98..=0x9f => NUMBERS[usize::from(header)],
            0xb0..=0xb7 if high == 0 => NUMBERS[usize::from(header)],
            _ => UNKNOWN,
        };
        self.put(number, header, payload);
        if number == OTHER_COUNTER {
            self.header[usize::from(number)] = high << 3 | header & 7;
        }
    }

    /// Returns the payload of the packet whose bit is `flag`, or 0.
    #[inline]
    fn get(&self, flag: u32) -> u64 {
        self.payload[flag.trailing_zeros() as usize & 15]
    }

    /// Returns the last byte of its header, or 0.
    #[inline]
    fn header(&self, flag: u32) -> u8 {
        self.header[flag.trailing_zeros() as usize & 15]
    }

    /// Returns the record that has these packets, in `size` bytes.
    #[inline]
    fn record(&self, size: usize) -> Record {
        let (pc, target) = (self.get(Record::PC), self.get(Record::BRANCH_TARGET));
        let (va, pa) = (self.get(Record::DATA_VA), self.get(Record::DATA_PA));
        let other = self.header(Record::OTHER_COUNTER);
        Record {
            pc: address(pc),
            branch_target: address(target),
            previous_target: address(self.get(Record::PREVIOUS_TARGET)),
            data_va: address(va),
            data_pa: pa & !TOP,
            timestamp: self.get(Record::TIMESTAMP),
            events: self.get(Record::EVENTS),
            data_source: self.get(Record::DATA_SOURCE),
            present: self.present,
            size: size as u32,
            context_el1: self.get(Record::CONTEXT_EL1) as u32,
            context_el2: self.get(Record::CONTEXT_EL2) as u32,
            total_latency: self.get(Record::TOTAL_LATENCY) as u16,
            issue_latency: self.get(Record::ISSUE_LATENCY) as u16,
            translation_latency: self.get(Record::TRANSLATION_LATENCY) as u16,
            other_counter: self.get(Record::OTHER_COUNTER) as u16,
            other_index: if other >= 0x80 { other & 7 } else { other },
            class: self.header(Record::OPERATION) & 3,
            subclass: self.get(Record::OPERATION) as u8,
            el: (pc >> 61) as u8 & 3,
            security: (pc >> 63) as u8 | (pc >> 59) as u8 & 2,
            target_el: (target >> 61) as u8 & 3,
            va_tag: (va >> 56) as u8,
            pa_flags: (pa >> 56) as u8,
        }
    }
}

/// Bytes that are not a whole record: a packet without a size, or the end of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

const PADDING: u8 = 0x00;
const END: u8 = 0x01;
const TIMESTAMP: u8 = 0x71;

/// The size of the packet with each header, if that alone says it, and the packet ends no record.
/// Otherwise 0.
const SIZES: [u8; 256] = {
    let mut sizes = [0; 256];
    let mut header = 0x40;
    while header < sizes.len() {
        if header != TIMESTAMP as usize {
            sizes[header] = 1 + (1 << (header >> 4 & 3));
        }
        header += 1;
    }
    sizes
};

/// The number of the bit in [`Record::present`] of the packet with each header of [`SIZES`], and of
/// Timestamp.
const NUMBERS: [u8; 256] = {
    let mut numbers = [UNKNOWN; 256];
    let mut size = 0x40;
    while size < 0x80 {
        numbers[size | 2] = number(Record::EVENTS);
        numbers[size | 3] = number(Record::DATA_SOURCE);
        size += 0x10;
    }
    let mut class = 0x48;
    while class <= 0x4b {
        numbers[class] = number(Record::OPERATION);
        class += 1;
    }
    let mut counter = 0x98;
    while counter <= 0x9f {
        numbers[counter] = OTHER_COUNTER;
        counter += 1;
    }
    numbers[0x98] = number(Record::TOTAL_LATENCY);
    numbers[0x99] = number(Record::ISSUE_LATENCY);
    numbers[0x9a] = number(Record::TRANSLATION_LATENCY);
    numbers[0x64] = number(Record::CONTEXT_EL1);
    numbers[0x65] = number(Record::CONTEXT_EL2);
    numbers[0xb0] = number(Record::PC);
    numbers[0xb1] = number(Record::BRANCH_TARGET);
    numbers[0xb2] = number(Record::DATA_VA);
    numbers[0xb3] = number(Record::DATA_PA);
    numbers[0xb4] = number(Record::PREVIOUS_TARGET);
    numbers[TIMESTAMP as usize] = number(Record::TIMESTAMP);
    numbers
};

const UNKNOWN: u8 = number(Record::UNKNOWN);
const OTHER_COUNTER: u8 = number(Record::OTHER_COUNTER);

const fn number(flag: u32) -> u8 {
    flag.trailing_zeros() as u8
}

/// The bits of an address that say something else, but for a part of it.
const TOP: u64 = 0xff << 56;

/// Copies bit 55 to the bits above.
fn address(bits: u64) -> u64 {
    ((bits << 8) as i64 >> 8) as u64
}

/// Takes the packets of a record.
trait Sink {
    /// Adds a packet. `high` has bits \[4:3\] of the index if the header is an extended one.
    fn add(&mut self, high: Option<u8>, header: u8, payload: u64);
}

/// Ignores them.
impl Sink for () {
    #[inline]
    fn add(&mut self, _high: Option<u8>, _header: u8, _payload: u64) {}
}

impl Sink for Packets {
    #[inline]
    fn add(&mut self, high: Option<u8>, header: u8, payload: u64) {
        match high {
            None => self.put(NUMBERS[usize::from(header)], header, payload),
            Some(high) => self.add_extended(high, header, payload),
        }
    }
}

/// Iterates over the records in trace.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    align: usize,
    /// Where to look for the next record.
    at: usize,
}

impl<'a> Records<'a> {
    /// Returns the records in `bytes`, which begin at an address where a record may begin: a
    /// multiple of `align`, the alignment of the unit in bytes (`PMBIDR_EL1.Align`). For Alignment
    /// packets it has to be a multiple of 16 as well.
    pub(crate) fn new(bytes: &'a [u8], align: usize) -> Self {
        Self {
            bytes,
            align,
            at: 0,
        }
    }

    /// Returns the number of bytes that were looked at, at most all.
    #[cfg(test)]
    pub(crate) fn consumed(&self) -> usize {
        self.at.min(self.bytes.len())
    }

    /// Moves to the next record. Returns its size.
    #[inline]
    fn advance(&mut self, sink: &mut impl Sink) -> Option<Result<usize, Malformed>> {
        let rest = self.bytes.get(self.at..)?;
        let Some(padding) = rest.iter().position(|&byte| byte != PADDING) else {
            self.at = self.bytes.len();
            return None;
        };
        let start = self.at.wrapping_add(padding);
        let (at, found) = match self.end_of_record(start, sink) {
            Ok(end) => (end, Ok(end.wrapping_sub(start))),
            Err(bad) => (bad.wrapping_add(1), Err(Malformed)),
        };
        // The next multiple of a power of two; without one the end.
        self.at = (at.wrapping_sub(1) | self.align.wrapping_sub(1)).saturating_add(1);
        Some(found)
    }

    /// Returns where the record ends that begins at `at`, or where the packet is that has no size
    /// or is cut short. Passes its packets to `sink`.
    #[inline]
    fn end_of_record(&self, mut at: usize, sink: &mut impl Sink) -> Result<usize, usize> {
        let len = self.bytes.len();
        loop {
            let rest = self.bytes.get(at..).and_then(<[u8]>::split_first);
            let (&header, rest) = rest.ok_or(len)?;
            let payload = at.wrapping_add(1);
            let size = usize::from(SIZES[usize::from(header)]);
            if size != 0 {
                sink.add(None, header, value(header, rest));
                at = at.wrapping_add(size);
                continue;
            }
            match header {
                PADDING => at = payload,
                END => return Ok(payload),
                TIMESTAMP => {
                    sink.add(None, header, value(header, rest));
                    let end = payload.wrapping_add(8);
                    return if end <= len { Ok(end) } else { Err(len) };
                }
                0x20..=0x23 => match rest.split_first().ok_or(len)? {
                    (0, _) => {
                        let boundary = payload.checked_next_multiple_of(2 << (header & 3));
                        at = boundary.ok_or(len)?;
                    }
                    (&second @ 0x40.., rest) => {
                        sink.add(Some(header & 3), second, value(second, rest));
                        at = payload.wrapping_add(1 + (1 << (second >> 4 & 3)));
                    }
                    _ => return Err(at),
                },
                _ => return Err(at),
            }
        }
    }
}

/// Returns the value in the payload of a packet with `header`, at the beginning of `payload`; 0 if
/// that is cut short.
#[inline]
fn value(header: u8, payload: &[u8]) -> u64 {
    // Of as many bytes as there are: the kernel's Rust code loads unaligned words byte by byte.
    match (header >> 4 & 3, payload) {
        (1, &[a, b, ..]) => u64::from(u16::from_le_bytes([a, b])),
        (0, &[a, ..]) => u64::from(a),
        (2, &[a, b, c, d, ..]) => u64::from(u32::from_le_bytes([a, b, c, d])),
        (3, &[a, b, c, d, e, f, g, h, ..]) => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let mut packets = Packets::default();
        let found = self.advance(&mut packets)?;
        Some(found.map(|size| packets.record(size)))
    }
}

/// Returns the number of records, and of places where there is none. Both are those of [`Records`],
/// without the cost of decoding.
pub(crate) fn count(bytes: &[u8], align: usize) -> (usize, usize) {
    let mut records = Records::new(bytes, align);
    let (mut whole, mut malformed) = (0_usize, 0_usize);
    while let Some(found) = records.advance(&mut ()) {
        let count = match found {
            Ok(_) => &mut whole,
            Err(Malformed) => &mut malformed,
        };
        *count = count.wrapping_add(1);
    }
    (whole, malformed)
}

#[cfg_attr(not(test), kernel::macros::kunit_tests(arm_spe_record))]
mod tests {
    use super::*;

    fn none() -> Record {
        Record::default()
    }

    /// Checks that `bytes` are one record, `expected` but for its size.
    fn check(bytes: &[u8], expected: Record) {
        let size = bytes.len() as u32;
        let expected = Some(Ok(Record { size, ..expected }));
        let mut records = Records::new(bytes, 1);
        assert_eq!((bytes, records.next()), (bytes, expected));
        assert_eq!((bytes, records.next()), (bytes, None));
        assert_eq!((bytes, count(bytes, 1)), (bytes, (1, 0)));
    }

    #[test]
    #[rustfmt::skip]
    fn addresses() {
        for (header, bits, flag, expected) in [
            // User space, non-secure.
            (0xb0, 0x80_00_0000_0040_1000, Record::PC,
                Record { pc: 0x40_1000, security: 1, ..none() }),
            // A kernel at EL2, and one in a realm.
            (0xb0, 0xc0_ff_8000_1234_5678, Record::PC,
                Record { pc: 0xffff_8000_1234_5678, el: 2, security: 1, ..none() }),
            (0xb0, 0xb0_ff_8000_1234_5678, Record::PC,
                Record { pc: 0xffff_8000_1234_5678, el: 1, security: 3, ..none() }),
            // A kernel that executes in the lower half, and firmware.
            (0xb0, 0xa0_00_0000_4020_0000, Record::PC,
                Record { pc: 0x4020_0000, el: 1, security: 1, ..none() }),
            (0xb0, 0x70_00_0000_0000_8000, Record::PC,
                Record { pc: 0x8000, el: 3, security: 2, ..none() }),
            (0xb1, 0xa0_ff_8000_0000_0040, Record::BRANCH_TARGET,
                Record { branch_target: 0xffff_8000_0000_0040, target_el: 1, ..none() }),
            (0xb4, 0xa0_ff_8000_0000_0040, Record::PREVIOUS_TARGET,
                Record { previous_target: 0xffff_8000_0000_0040, ..none() }),
            (0xb2, 0xa5_7f_0000_0000_0008, Record::DATA_VA,
                Record { data_va: 0x007f_0000_0000_0008, va_tag: 0xa5, ..none() }),
            (0xb2, 0xa5_f0_0000_0000_0008, Record::DATA_VA,
                Record { data_va: 0xfff0_0000_0000_0008, va_tag: 0xa5, ..none() }),
            // The top bit of a physical address has no meaning of its own.
            (0xb3, 0xd3_8f_0000_0000_0000, Record::DATA_PA,
                Record { data_pa: 0x008f_0000_0000_0000, pa_flags: 0xd3, ..none() }),
            (0xb5, u64::MAX, Record::UNKNOWN, none()),
            (0xb7, u64::MAX, Record::UNKNOWN, none()),
        ] {
            let [a, b, c, d, e, f, g, h] = u64::to_le_bytes(bits);
            let expected = Record { present: flag, ..expected };
            check(&[header, a, b, c, d, e, f, g, h, END], expected);
            // The same in the extended format; the upper part of the index is not 0.
            check(&[0x20, header, a, b, c, d, e, f, g, h, END], expected);
            let unknown = Record { present: Record::UNKNOWN, ..none() };
            check(&[0x21, header, a, b, c, d, e, f, g, h, END], unknown);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn packets() {
        for (bytes, present, expected) in [
            (&[END][..], 0, none()),
            (&[0x98, 0x34, 0x12, END], Record::TOTAL_LATENCY,
                Record { total_latency: 0x1234, ..none() }),
            (&[0x99, 0xff, 0x0f, END], Record::ISSUE_LATENCY,
                Record { issue_latency: 0xfff, ..none() }),
            (&[0x9a, 1, 0, END], Record::TRANSLATION_LATENCY,
                Record { translation_latency: 1, ..none() }),
            (&[0x9b, 7, 0, END], Record::OTHER_COUNTER,
                Record { other_counter: 7, other_index: 3, ..none() }),
            (&[0x23, 0x9f, 7, 0, END], Record::OTHER_COUNTER,
                Record { other_counter: 7, other_index: 31, ..none() }),
            (&[0x64, 1, 2, 3, 4, END], Record::CONTEXT_EL1,
                Record { context_el1: 0x0403_0201, ..none() }),
            (&[0x65, 1, 2, 3, 4, END], Record::CONTEXT_EL2,
                Record { context_el2: 0x0403_0201, ..none() }),
            (&[0x66, 1, 2, 3, 4, END], Record::UNKNOWN, none()),
            (&[0x42, 0x12, END], Record::EVENTS, Record { events: 0x12, ..none() }),
            (&[0x52, 0x12, 3, END], Record::EVENTS, Record { events: 0x312, ..none() }),
            (&[0x62, 0, 0, 0, 4, END], Record::EVENTS, Record { events: 1 << 26, ..none() }),
            (&[0x72, 0, 0, 0, 0, 0, 0, 0, 0x80, END], Record::EVENTS,
                Record { events: 1 << 63, ..none() }),
            (&[0x43, 0xb, END], Record::DATA_SOURCE, Record { data_source: 0xb, ..none() }),
            (&[0x53, 0xb, 1, END], Record::DATA_SOURCE, Record { data_source: 0x10b, ..none() }),
            (&[0x63, 0, 0, 1, 0, END], Record::DATA_SOURCE,
                Record { data_source: 1 << 16, ..none() }),
            (&[0x73, 0, 0, 0, 0, 0, 0, 1, 0, END], Record::DATA_SOURCE,
                Record { data_source: 1 << 48, ..none() }),
            (&[0x48, 0x89, END], Record::OPERATION, Record { subclass: 0x89, ..none() }),
            (&[0x49, 1, END], Record::OPERATION,
                Record { class: 1, subclass: 1, ..none() }),
            (&[0x4a, 2, END], Record::OPERATION,
                Record { class: 2, subclass: 2, ..none() }),
            (&[0x4b, 0, END], Record::OPERATION, Record { class: 3, ..none() }),
            (&[TIMESTAMP, 8, 7, 6, 5, 4, 3, 2, 1], Record::TIMESTAMP,
                Record { timestamp: 0x0102_0304_0506_0708, ..none() }),
            // Not what they would be in the short format.
            (&[0x20, TIMESTAMP, 8, 7, 6, 5, 4, 3, 2, 1, END], Record::UNKNOWN, none()),
            (&[0x20, 0x42, 1, END], Record::UNKNOWN, none()),
            // Of other sizes than those that the manual has.
            (&[0xa0, 1, 2, 3, 4, END], Record::UNKNOWN, none()),
            (&[0x88, 1, END], Record::UNKNOWN, none()),
            (&[0xff, 1, 1, 1, 1, 1, 1, 1, 1, END], Record::UNKNOWN, none()),
            // The last one of two counts, and a packet is not over at padding.
            (&[0x42, 1, PADDING, PADDING, 0x42, 2, END], Record::EVENTS,
                Record { events: 2, ..none() }),
            // Up to multiples of 4 and 16.
            (&[0x48, 1, 0x21, 0, END], Record::OPERATION, Record { subclass: 1, ..none() }),
            (&[0x23, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, END], 0, none()),
        ] {
            check(bytes, Record { present, ..expected });
        }
    }

    /// What is counted as a record, and where the next one begins.
    #[test]
    fn framing() {
        for (bytes, align, expected) in [
            (&[][..], 4, (0, 0)),
            (&[0; 12], 4, (0, 0)),
            (&[END, 0, 0, 0, END], 4, (2, 0)),
            (&[END, 0, 0, 0, 0, 0, 0, 0, END], 4, (2, 0)), // an empty slot
            (&[END, 0, 0, 0, 0, 0, END, 0], 4, (2, 0)),    // a record with padding in front
            (&[END, END, END, END], 1, (4, 0)),
            (&[END, END, END, END], 4, (1, 0)), // no record begins after the first one
            (&[0x42, 1, 0x48, 2, END], 4, (1, 0)), // more than a slot
            (&[0x42, 1, 0x48], 4, (0, 1)),      // the end of the buffer
            (&[0x42, 1, 0x48, 2], 4, (0, 1)),
            (&[TIMESTAMP, 1, 1, 1, 1, 1, 1, 1], 1, (0, 1)),
            (&[0x20], 1, (0, 1)),
            (&[0x02, 0, 0, 0, END], 4, (1, 1)), // no size
            (&[0x24, 0, 0, 0, END], 4, (1, 1)),
            (&[0x20, 0x3f, 0, 0, END], 4, (1, 1)),
            (&[0x42, 1, 0x03, END, END], 4, (1, 1)), // in the middle of a record
            (&[0x42, 1, 0x42, 1, 0x03, END, 0, 0, END], 4, (1, 1)), // and in its second slot
            (&[0x02, 0x03, END], 1, (1, 2)),
            (&[END, END], 0, (1, 0)), // no alignment at all
            (&[END, END], usize::MAX, (1, 0)),
        ] {
            let case = (bytes, align);
            assert_eq!((case, count(bytes, align)), (case, expected));
            let mut found = (0, 0);
            for record in Records::new(bytes, align) {
                match record {
                    Ok(_) => found.0 += 1,
                    Err(Malformed) => found.1 += 1,
                }
            }
            assert_eq!((case, found), (case, expected));
        }
    }
}
