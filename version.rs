// SPDX-License-Identifier: GPL-2.0

//! Shims for older kernels: the rest of the driver sees the Rust interfaces of Linux 7.3.

use kernel::{
    bindings,
    prelude::*, //
};

#[cfg(not(LINUX_7_2))]
mod current {
    use super::*;

    pub(crate) use kernel::interrupt::LocalInterruptDisabled;

    pub(crate) const IRQ_HANDLED: bindings::irqreturn_t = bindings::irqreturn::IRQ_HANDLED;
    pub(crate) const IRQ_NONE: bindings::irqreturn_t = bindings::irqreturn::IRQ_NONE;

    /// For `smp_call_function_single()`: wait until the function has returned.
    pub(crate) const WAIT: bool = true;

    pub(crate) fn not_supported() -> Error {
        EOPNOTSUPP
    }

    pub(crate) fn this_module() -> &'static ThisModule {
        kernel::module::this_module::<crate::SpeModule>()
    }

    macro_rules! of_table {
        ($name:ident, $info:ty, $($table:tt)*) => {
            kernel::of_device_table!($name, $info, $($table)*);
        };
    }
    pub(crate) use of_table;
}
#[cfg(not(LINUX_7_2))]
pub(crate) use current::*;

#[cfg(LINUX_7_2)]
mod linux_7_2 {
    use super::*;
    use kernel::{
        ffi::c_int,
        types::NotThreadSafe, //
    };

    /// # Invariants
    ///
    /// Interrupts are disabled on this CPU as long as a value or a reference exists.
    pub(crate) struct LocalInterruptDisabled(NotThreadSafe);

    impl LocalInterruptDisabled {
        /// # Safety
        ///
        /// Interrupts must be disabled during `'a`.
        pub(crate) unsafe fn assume_disabled<'a>() -> &'a Self {
            // INVARIANT: By the safety requirement.
            const { &Self(NotThreadSafe) }
        }
    }

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
