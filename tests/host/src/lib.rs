// SPDX-License-Identifier: GPL-2.0

//! The rooms of the driver that know nothing of the kernel, compiled for the build machine.
//!
//! Each brings its tables of cases with it; a kernel with KUnit runs the same ones when it loads
//! the module. Here is what only a build machine has the time for:
//!
//! | file | against what | which inputs |
//! | --- | --- | --- |
//! | `test_offset.rs` | `rules.rs` | all of small buffers; all corners of real ones; random |
//! | `test_c_driver.rs` | a model of the C driver | all states of small buffers |
//! | `test_ring.rs` | `ring.rs`, a model of perf's buffer, and a unit and a reader | random runs |
//! | `test_event.rs`, `test_features.rs`, `test_syndrome.rs` | properties | random |

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

mod ring;
mod rules;

mod test_c_driver;
mod test_event;
mod test_features;
mod test_offset;
mod test_ring;
mod test_syndrome;
