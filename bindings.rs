// SPDX-License-Identifier: GPL-2.0

//! Bindings generated from `bindings_helper.h`: the C interfaces that `kernel::bindings` lacks.

#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]

include!(concat!(env!("ARM_SPE_PMU_OBJ"), "/bindings_generated.rs"));
