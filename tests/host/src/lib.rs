// SPDX-License-Identifier: GPL-2.0

//! The rooms of the driver that know nothing of the kernel, compiled for the build machine.
//!
//! Each brings its tables of cases with it; a kernel with KUnit runs the same ones when it loads the
//! module. Here are the tests that only a build machine can run: of properties that hold whatever
//! comes in.

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
