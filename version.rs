// SPDX-License-Identifier: GPL-2.0

//! Shims for kernels whose Rust interfaces are older than those of Linux 7.3. Kbuild finds out what
//! the kernel has by compiling probes.

#[cfg(HAS_INTERRUPT_TOKEN)]
pub(crate) use kernel::interrupt::LocalInterruptDisabled;

#[cfg(not(HAS_INTERRUPT_TOKEN))]
mod interrupt {
    use kernel::types::NotThreadSafe;

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
}
#[cfg(not(HAS_INTERRUPT_TOKEN))]
pub(crate) use interrupt::LocalInterruptDisabled;

/// Declares a table of device tree IDs.
macro_rules! of_table {
    ($name:ident, $info:ty, $($table:tt)*) => {
        #[cfg(HAS_UNNAMED_MODULE_TABLES)]
        kernel::of_device_table!($name, $info, $($table)*);
        #[cfg(not(HAS_UNNAMED_MODULE_TABLES))]
        kernel::of_device_table!($name, MODULE_OF_TABLE, $info, $($table)*);
    };
}
pub(crate) use of_table;
