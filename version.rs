// SPDX-License-Identifier: GPL-2.0

//! What differs between the versions of the kernel's Rust interfaces that this driver is built for.
//!
//! The rest of the driver sees Linux 7.3; for an older version, this makes the same of what that
//! has. `Kbuild` says which one it is.

use kernel::{
    bindings,
    prelude::*, //
};

/// Linux 7.3.
#[cfg(not(LINUX_7_2))]
mod current {
    use super::*;

    /// It was this driver's interrupt.
    pub(crate) const IRQ_HANDLED: bindings::irqreturn_t = bindings::irqreturn::IRQ_HANDLED;
    /// It was not.
    pub(crate) const IRQ_NONE: bindings::irqreturn_t = bindings::irqreturn::IRQ_NONE;

    /// For `smp_call_function_single()`: come back when the function has been called.
    pub(crate) const WAIT: bool = true;

    /// The error `EOPNOTSUPP`.
    pub(crate) fn not_supported() -> Error {
        EOPNOTSUPP
    }

    /// `THIS_MODULE`.
    pub(crate) fn this_module() -> &'static ThisModule {
        kernel::module::this_module::<crate::SpeModule>()
    }

    /// [`kernel::of_device_table`].
    macro_rules! of_table {
        ($name:ident, $info:ty, $($table:tt)*) => {
            kernel::of_device_table!($name, $info, $($table)*);
        };
    }
    pub(crate) use of_table;
}
#[cfg(not(LINUX_7_2))]
pub(crate) use current::*;

/// Linux 7.2. What is not described here is as above.
#[cfg(LINUX_7_2)]
mod linux_7_2 {
    use super::*;
    use kernel::ffi::c_int;

    pub(crate) const IRQ_HANDLED: bindings::irqreturn_t = bindings::irqreturn_IRQ_HANDLED;
    pub(crate) const IRQ_NONE: bindings::irqreturn_t = bindings::irqreturn_IRQ_NONE;

    pub(crate) const WAIT: c_int = 1;

    pub(crate) fn not_supported() -> Error {
        Error::from_errno(-(bindings::EOPNOTSUPP as c_int))
    }

    pub(crate) fn this_module() -> &'static ThisModule {
        &crate::THIS_MODULE
    }

    macro_rules! of_table {
        ($name:ident, $info:ty, $($table:tt)*) => {
            kernel::of_device_table!($name, MODULE_OF_TABLE, $info, $($table)*);
        };
    }
    pub(crate) use of_table;
}
#[cfg(LINUX_7_2)]
pub(crate) use linux_7_2::*;
