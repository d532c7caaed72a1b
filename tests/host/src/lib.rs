// SPDX-License-Identifier: GPL-2.0

//! The pure files of the driver, which use nothing of the kernel, compiled for the build machine.
//!
//! Each has a table of cases of its own, which is also a KUnit suite. The tests here need the speed
//! of the build machine:
//!
//! | file | compares the driver with | inputs |
//! | --- | --- | --- |
//! | `test_buffer_limit.rs` | `rules.rs` | all of small buffers; all corners of real ones; random |
//! | `test_c_driver.rs` | a model of the C driver | all states of small buffers |
//! | `test_ring.rs` | `ring.rs`, a model of perf's buffer, with a unit and a reader | random runs |
//! | `test_record.rs` | the sizes of the manual | all headers, all truncations; random |
//! | `test_event.rs`, `test_caps.rs`, `test_syndrome.rs` | properties | random |

#![cfg(test)]
// No test uses all of the driver.
#![allow(dead_code)]

#[path = "../../../buffer_limit.rs"]
mod buffer_limit;
#[path = "../../../caps.rs"]
mod caps;
#[path = "../../../event.rs"]
mod event;
#[path = "../../../record.rs"]
mod record;
#[path = "../../../syndrome.rs"]
mod syndrome;
#[path = "../../../sysreg.rs"]
mod sysreg;

mod ring;
mod rules;

mod test_buffer_limit;
mod test_c_driver;
mod test_caps;
mod test_event;
mod test_record;
mod test_ring;
mod test_syndrome;
