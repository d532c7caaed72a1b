// SPDX-License-Identifier: GPL-2.0

//! Decodes pieces of trace with `record.rs`, for comparison with `perf_records.c`.
//!
//! A piece in standard input is its size and its alignment, of 4 bytes each, and the trace. Each
//! result is 16 bytes and a record: a kind (1: a record, 0: malformed, 2: the end of the piece) and
//! where the next record may begin. At the end the first fields have the results of `count`.

// Not all of the driver's file is used.
#![allow(dead_code)]

#[path = "../../../record.rs"]
mod record;

use record::{count, Record, Records};
use std::io::{stdin, stdout, BufWriter, Read, Result, Write};

fn print(out: &mut impl Write, kind: u64, at: usize, record: &Record) -> Result<()> {
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&(at as u64).to_le_bytes())?;
    // SAFETY: The record has no padding, so that all of its bytes are initialised.
    let bytes = unsafe {
        std::slice::from_raw_parts((record as *const Record).cast::<u8>(), size_of::<Record>())
    };
    out.write_all(bytes)
}

fn main() -> Result<()> {
    let mut out = BufWriter::new(stdout().lock());
    let mut input = vec![];
    stdin().lock().read_to_end(&mut input)?;
    let mut rest = &input[..];
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let [size, align] =
            [0, 4].map(|at| u32::from_le_bytes(header[at..at + 4].try_into().unwrap()));
        let (bytes, after) = after.split_at(size as usize);
        rest = after;

        let mut records = Records::new(bytes, align as usize);
        while let Some(found) = records.next() {
            let record = found.unwrap_or_default();
            print(&mut out, found.is_ok().into(), records.consumed(), &record)?;
        }
        let (whole, malformed) = count(bytes, align as usize);
        let sums = Record {
            pc: whole as u64,
            branch_target: malformed as u64,
            ..Record::default()
        };
        print(&mut out, 2, records.consumed(), &sums)?;
    }
    out.flush()
}
