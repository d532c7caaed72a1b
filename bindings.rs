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

/// Says what an interrupt handler has done. bindgen would make an integer of it, and with CFI the
/// kernel calls only what returns a type of this name.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) enum irqreturn {
    IRQ_NONE,
    IRQ_HANDLED,
}
pub(crate) type irqreturn_t = irqreturn;

include!(concat!(env!("ARM_SPE_PMU_OBJ"), "/bindings_generated.rs"));
