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

/// What an interrupt handler returns. bindgen makes an integer of it. With CFI, the kernel checks
/// the name of this type as well when it calls a handler.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) enum irqreturn {
    IRQ_NONE,
    IRQ_HANDLED,
}
pub(crate) type irqreturn_t = irqreturn;

include!(concat!(env!("ARM_SPE_PMU_OBJ"), "/bindings_generated.rs"));
