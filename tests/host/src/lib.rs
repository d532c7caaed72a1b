// SPDX-License-Identifier: GPL-2.0

//! The rooms of the driver that know nothing of the kernel, compiled for the build machine, and
//! tests of them.

#![cfg(test)]
// Not everything that the driver uses is used by a test.
#![allow(dead_code)]

#[path = "../../../event.rs"]
mod event;
#[path = "../../../features.rs"]
mod features;
#[path = "../../../offset.rs"]
mod offset;
#[path = "../../../syndrome.rs"]
mod syndrome;
#[path = "../../../sysreg.rs"]
mod sysreg;

mod test_event;
mod test_features;
mod test_offset;
mod test_syndrome;
