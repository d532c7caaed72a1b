// SPDX-License-Identifier: GPL-2.0

//! `record.rs` with any bytes. `tests/scenarios/driver/record.py` compares it with perf's decoder.

use crate::record::{count, Malformed, Record, Records};
use proptest::prelude::*;

const END: u8 = 0x01;
const TIMESTAMP: u8 = 0x71;

/// A record with every packet but the Timestamp packet, in the order of no unit.
#[rustfmt::skip]
const FULL: &[u8] = &[
    0xb0, 0x00, 0x10, 0x40, 0x00, 0x00, 0x00, 0x00, 0x80,
    0xb1, 0x78, 0x56, 0x34, 0x12, 0x00, 0x80, 0xff, 0xa0,
    0xb2, 0x08, 0x00, 0xcd, 0xab, 0xff, 0xff, 0x00, 0x3c,
    0xb3, 0x08, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00, 0xc3,
    0xb4, 0x04, 0x10, 0x40, 0x00, 0x00, 0x00, 0x00, 0x80,
    0x98, 0x10, 0x00, 0x99, 0x02, 0x00, 0x9a, 0x03, 0x00, 0x21, 0x98, 0x04, 0x00,
    0x64, 0x39, 0x30, 0x00, 0x00, 0x65, 0x01, 0x00, 0x00, 0x00,
    0x62, 0x12, 0x00, 0x00, 0x01, 0x43, 0x0e, 0x49, 0x01,
];

/// Returns how often each kind of result occurs. All bytes have to be looked at.
fn results(bytes: &[u8], align: usize) -> (usize, usize) {
    let mut records = Records::new(bytes, align);
    let (mut whole, mut malformed, mut size) = (0, 0, 0);
    let mut before = 0;
    while let Some(found) = records.next() {
        match found {
            Ok(record) => {
                whole += 1;
                size += record.size as usize;
            }
            Err(Malformed) => malformed += 1,
        }
        assert!(records.consumed() > before, "some progress");
        before = records.consumed();
    }
    assert_eq!(records.consumed(), bytes.len());
    assert!(size <= bytes.len());
    (whole, malformed)
}

/// The size of a packet that begins with `header` and `second`: by the rows of the table in the
/// manual, and not by that of the driver.
fn size(header: u8, second: u8) -> Option<usize> {
    let payload = |header: u8| match header & 0x30 {
        0x00 => 1,
        0x10 => 2,
        0x20 => 4,
        _ => 8,
    };
    match header {
        0x00 | END => Some(1),
        0x20..=0x23 if second == 0 => Some(match header {
            0x20 => 2,
            0x21 => 4,
            0x22 => 8,
            _ => 16,
        }),
        0x20..=0x23 if second >= 0x40 => Some(2 + payload(second)),
        0x40.. => Some(1 + payload(header)),
        _ => None,
    }
}

/// Each header, and each second byte of those that have one, followed by a payload that would be
/// End packets, and by an End packet.
#[test]
fn all_headers() {
    for header in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            let Some(size) = size(header, second) else {
                let found = count(&[header, second, 0, 0, END], 4);
                assert_eq!(found, (1, 1), "{header:#x} {second:#x}");
                continue;
            };
            let mut packet = vec![END; size + 1];
            packet[0] = header;
            if (0x20..=0x23).contains(&header) {
                packet[1] = second;
            }
            let ends = header == END || header == TIMESTAMP;
            let size = if ends { size } else { size + 1 };
            let mut records = Records::new(&packet, 1);
            let found = records.next().map(|found| found.map(|record| record.size));
            // Padding before a record is not a part of it.
            let expected = if header == 0 { 1 } else { size as u32 };
            assert_eq!(found, Some(Ok(expected)), "{header:#x} {second:#x}");
            assert_eq!(records.consumed(), size, "{header:#x} {second:#x}");

            for end in 1..size {
                let found = count(&packet[..end], 1);
                let expected = if header == 0 { (0, 0) } else { (0, 1) };
                assert_eq!(found, expected, "{header:#x} {second:#x} of {end} bytes");
            }
        }
    }
}

/// A record that is cut after each of its bytes is malformed, and nothing else.
#[test]
fn truncated_records() {
    for last in [&[END][..], &[TIMESTAMP, 1, 1, 1, 1, 1, 1, 1, 1]] {
        let bytes = [FULL, last].concat();
        for align in [1, 2, 64, 2048] {
            assert_eq!(results(&bytes, align), (1, 0));
            for end in 1..bytes.len() {
                assert_eq!(results(&bytes[..end], align), (0, 1), "{end} bytes");
            }
        }
    }
}

/// All packets of a record are in it.
#[test]
fn a_full_record() {
    let bytes = [FULL, &[END]].concat();
    let record = Records::new(&bytes, 64).next();
    let expected = Record {
        pc: 0x40_1000,
        branch_target: 0xffff_8000_1234_5678,
        previous_target: 0x40_1004,
        data_va: 0xffff_abcd_0008,
        data_pa: 0x8000_0008,
        events: 0x0100_0012,
        data_source: 0xe,
        present: 0x3fff,
        size: bytes.len() as u32,
        context_el1: 12345,
        context_el2: 1,
        total_latency: 16,
        issue_latency: 2,
        translation_latency: 3,
        other_counter: 4,
        other_index: 8,
        class: 1,
        subclass: 1,
        el: 0,
        security: 1,
        target_el: 1,
        va_tag: 0x3c,
        pa_flags: 0xc3,
        timestamp: 0,
    };
    assert_eq!(record, Some(Ok(expected)));
}

/// Bytes, half of which are the first ones of packets.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(&[0, END, 0x20, 0x42, 0x48, 0x64, TIMESTAMP, 0x98, 0xb0][..]),
    ];
    prop::collection::vec(byte, 0..300)
}

fn any_align() -> impl Strategy<Value = usize> {
    (0..=11).prop_map(|bits| 1_usize << bits)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// There is no panic and no infinite loop, and `count` agrees.
    #[test]
    fn any_trace(bytes in any_bytes(), align in any_align()) {
        prop_assert_eq!(count(&bytes, align), results(&bytes, align));
    }

    /// Records after each other, with padding between them, are all found.
    #[test]
    fn whole_records(starts in prop::collection::vec(0..FULL.len(), 1..8), align in any_align()) {
        let mut bytes = vec![];
        for &start in &starts {
            // Any packet may come first.
            let packet = FULL.get(start..).filter(|rest| rest[0] == 0xb0 || rest[0] == 0x62);
            bytes.extend(packet.unwrap_or(&[]));
            bytes.push(END);
            bytes.resize(bytes.len().next_multiple_of(align), 0);
        }
        prop_assert_eq!(results(&bytes, align), (starts.len(), 0));
    }
}
