// SPDX-License-Identifier: GPL-2.0

//! The system registers of the Statistical Profiling Extension, and the barriers that order them.
//!
//! Names, positions and access are those of the Arm ARM (DDI 0487), section D24.7 "Statistical
//! Profiling Extension registers". In a kernel that runs at EL2 (VHE), the architecture redirects
//! the `_EL1` accesses to the EL2 registers. This is the only file with inline assembly.
//! `kernel::bitfield!` is not used because the host tests have no kernel crate.

use core::marker::PhantomData;

pub(crate) trait Register: Copy {
    fn from_bits(bits: u64) -> Self;

    fn bits(self) -> u64;

    /// Returns the value of `field`, shifted down to bit 0.
    fn get(self, field: RegisterField<Self>) -> u64 {
        self.bits().wrapping_shr(field.low) & field.max
    }

    fn has(self, field: RegisterField<Self>) -> bool {
        self.get(field) != 0
    }

    /// Returns this value with `field` replaced by the low bits of `value`.
    fn with(self, field: RegisterField<Self>, value: u64) -> Self {
        let mask = field.max.wrapping_shl(field.low);
        Self::from_bits(self.bits() & !mask | value.wrapping_shl(field.low) & mask)
    }
}

/// A field of the register `R`, whose lowest bit is `low`.
///
/// # Invariants
///
/// `max` is the largest value that fits, all ones. The field does not reach beyond bit 63.
#[derive(Clone, Copy)]
pub(crate) struct RegisterField<R> {
    low: u32,
    max: u64,
    register: PhantomData<R>,
}

impl<R> RegisterField<R> {
    /// Creates a field. Used in constants only: wrong bits fail the build.
    const fn new(high: u32, low: u32) -> Self {
        assert!(low <= high && high < 64);
        // INVARIANT: Checked above.
        Self {
            low,
            max: u64::MAX >> (63 - high + low),
            register: PhantomData,
        }
    }
}

/// Declares registers: name, encoding, access, and fields as `NAME: high, low`.
///
/// The access is `read`, `write` (which includes reading), or `write unsafe` for the registers that
/// control writes to memory. `scripts/check-sysreg` compares all with the kernel's description.
macro_rules! registers {
    ($(
        $(#[$doc:meta])*
        $name:ident ($encoding:literal, $($access:ident)+) {
            $($(#[$field_doc:meta])* $field:ident: $high:literal, $low:literal;)*
        }
    )*) => {$(
        $(#[$doc])*
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) struct $name(u64);

        // The table lists all fields, whether used or not.
        #[allow(dead_code, non_upper_case_globals)]
        impl $name {
            $(
                $(#[$field_doc])*
                pub(crate) const $field: RegisterField<Self> = RegisterField::new($high, $low);
            )*
        }

        impl Register for $name {
            fn from_bits(bits: u64) -> Self {
                Self(bits)
            }

            fn bits(self) -> u64 {
                self.0
            }
        }

        #[cfg(target_arch = "aarch64")]
        #[allow(dead_code)]
        impl $name {
            registers!(@read $encoding);
            registers!(@$($access)+, $encoding);
        }
    )*};

    (@read $encoding:literal) => {
        pub(crate) fn read() -> Self {
            let bits: u64;
            // SAFETY: A read touches neither memory nor flags. The probe reads ID registers before
            // it reads any other; an undefined or trapped read would be taken as an exception and
            // corrupt nothing. Not `pure`: the hardware changes the registers, so that reads must
            // not be merged.
            unsafe {
                core::arch::asm!(
                    concat!("mrs {}, ", $encoding),
                    out(reg) bits,
                    options(nomem, nostack, preserves_flags),
                )
            };
            Self(bits)
        }
    };

    (@read, $encoding:literal) => {};

    (@write, $encoding:literal) => {
        registers!(@accessors $encoding);
    };

    (@write unsafe, $encoding:literal) => {
        registers!(
            @accessors $encoding,
            ///
            /// # Safety
            ///
            /// The unit writes records from `PMBPTR_EL1` up to `PMBLIMITR_EL1.LIMIT` while
            /// `PMBLIMITR_EL1.E` is set, `FM` does not discard and `PMBSR_EL1.S` is not set. Memory
            /// that this makes it write to must stay mapped and belong to the hardware until the
            /// unit is disabled and drained.
            unsafe
        );
    };

    (@accessors $encoding:literal $(, $(#[$safety:meta])* $unsafety:ident)?) => {
        /// Writes the register of this CPU, effective at the next context synchronisation event.
        $($(#[$safety])*)?
        pub(crate) $($unsafety)? fn write(self) {
            // SAFETY: A register with a safe `write` decides what is sampled, and not where it is
            // written; for the others the caller vouches for the memory. Not `nomem`: the compiler
            // must keep these writes in order with the accesses to the buffer.
            unsafe {
                core::arch::asm!(
                    concat!("msr ", $encoding, ", {}"),
                    in(reg) self.0,
                    options(nostack, preserves_flags),
                )
            };
        }

        $($(#[$safety])*)?
        pub(crate) $($unsafety)? fn clear() {
            // SAFETY: As for `write`.
            unsafe {
                core::arch::asm!(
                    concat!("msr ", $encoding, ", xzr"),
                    options(nostack, preserves_flags),
                )
            };
        }
    };
}

registers! {
    /// AArch64 Debug Feature Register 0. `PMSVer` is 0 without SPE, 1 for SPEv1p0, 2 for SPEv1p1.
    ID_AA64DFR0_EL1("S3_0_C0_C5_0", read) {
        PMSVer: 35, 32;
    }

    /// Sampling Control Register: where to sample, and what to add to a record: timestamps (`TS`),
    /// physical addresses (`PA`), CONTEXTIDR (`CX`).
    PMSCR_EL1("S3_0_C9_C9_0", write) {
        /// Clock of the timestamps: 0 virtual, 1 physical (if EL2 permits).
        PCT: 7, 6;
        TS: 5, 5;
        PA: 4, 4;
        CX: 3, 3;
        /// Sample at EL1 (at EL2 when the kernel runs there).
        E1SPE: 1, 1;
        E0SPE: 0, 0;
    }

    /// Sampling Inverted Event Filter Register: drops records with any of these events.
    PMSNEVFR_EL1("S3_0_C9_C9_1", write) {}

    /// Sampling Interval Counter Register: operations until the next sample.
    PMSICR_EL1("S3_0_C9_C9_2", write) {}

    /// Sampling Interval Reload Register; `RND` adds a random number of operations each time.
    PMSIRR_EL1("S3_0_C9_C9_3", write) {
        /// The interval in units of 256 operations; zero is not permitted.
        INTERVAL: 31, 8;
        RND: 0, 0;
    }

    /// Sampling Filter Control Register. `FE`, `FnE`, `FL` and `FDS` enable the filters of
    /// [`PMSEVFR_EL1`], [`PMSNEVFR_EL1`], [`PMSLATFR_EL1`] and [`PMSDSFR_EL1`]; `FT` enables those
    /// by type: branches (`B`), loads and stores (`LD`, `ST`: also atomics that load or store), and
    /// so on. With the mask of a type (`Bm`; SPEv1p4, `PMSIDR_EL1.EFT`), its value must match.
    PMSFCR_EL1("S3_0_C9_C9_4", write) {
        SIMDm: 52, 52;
        FPm: 51, 51;
        STm: 50, 50;
        LDm: 49, 49;
        Bm: 48, 48;
        SIMD: 20, 20;
        FP: 19, 19;
        ST: 18, 18;
        LD: 17, 17;
        B: 16, 16;
        FDS: 4, 4;
        FnE: 3, 3;
        FL: 2, 2;
        FT: 1, 1;
        FE: 0, 0;
    }

    /// Sampling Event Filter Register: keeps only records with all of these events.
    PMSEVFR_EL1("S3_0_C9_C9_5", write) {}

    /// Sampling Latency Filter Register: the least total latency of a kept record, in cycles.
    PMSLATFR_EL1("S3_0_C9_C9_6", write) {
        MINLAT: 15, 0;
    }

    /// Sampling Profiling ID Register. Records can have the streaming SVE mode (`SME`), an
    /// alternate clock (`ALTCLK`), the number of floating-point operations (`FPF`), call and return
    /// branches (`CRR`) and the previous branch target (`PBT`). `caps.rs` has the other features.
    PMSIDR_EL1("S3_0_C9_C9_7", read) {
        SME: 32, 32;
        ALTCLK: 31, 28;
        FPF: 27, 27;
        EFT: 26, 26;
        CRR: 25, 25;
        PBT: 24, 24;
        FORMAT: 23, 20;
        /// Size of the counters in a record: 2 for 12 bits, 3 for 16 bits, saturating.
        COUNTSIZE: 19, 16;
        /// log2 of the largest record in bytes.
        MAXSIZE: 15, 12;
        INTERVAL: 11, 8;
        FDS: 7, 7;
        FnE: 6, 6;
        ERND: 5, 5;
        LDS: 4, 4;
        ARCHINST: 3, 3;
        FL: 2, 2;
        FT: 1, 1;
        FE: 0, 0;
    }

    /// Profiling Buffer Limit Address Register: bits 63 to 12 of the end of the buffer.
    PMBLIMITR_EL1("S3_0_C9_C10_0", write unsafe) {
        LIMIT: 63, 12;
        /// 0 writes records until the buffer is full, 2 discards them (SPEv1p2).
        FM: 2, 1;
        E: 0, 0;
    }

    /// Profiling Buffer Write Pointer Register.
    PMBPTR_EL1("S3_0_C9_C10_1", write unsafe) {}

    /// Profiling Buffer Status Register: why the unit asks for service; see `syndrome.rs`.
    PMBSR_EL1("S3_0_C9_C10_3", write unsafe) {
        EC: 31, 26;
        /// Data lost: the last record is not complete.
        DL: 19, 19;
        EA: 18, 18;
        /// Service: the unit is stopped and its interrupt asserted while this is set.
        S: 17, 17;
        /// Collision: some samples were dropped because an earlier one was still in flight.
        COLL: 16, 16;
        /// Buffer status code, when `EC` is 0.
        BSC: 5, 0; // part of MSS: Arm ARM D24.7, PMBSR_EL1, buffer management events
    }

    /// Sampling Data Source Filter Register: bit n keeps records whose data source is n.
    PMSDSFR_EL1("S3_0_C9_C10_4", write) {}

    /// Profiling Buffer ID Register.
    PMBIDR_EL1("S3_0_C9_C10_7", read) {
        /// A higher exception level owns the buffer, and it cannot be programmed from here.
        P: 4, 4;
        /// log2 of the alignment of [`PMBPTR_EL1`] in bytes.
        ALIGN: 3, 0;
    }
}

pub(crate) const FM_DISCARD: u64 = 0b10;

/// Makes earlier writes of system registers take effect for later operations, and orders later
/// reads after an earlier [`psb_csync_dsb`] (ISB; Arm ARM D17.9 "Synchronization and Statistical
/// Profiling", and "Synchronization requirements for AArch64 System registers"). A read of a
/// register that the same CPU has just written needs none.
#[cfg(target_arch = "aarch64")]
pub(crate) fn isb() {
    // SAFETY: A barrier affects order only. Not `nomem`: it must order memory accesses, too.
    unsafe { core::arch::asm!("isb", options(nostack, preserves_flags)) };
}

/// Waits until the records of all operations sampled so far, and the unit's own updates of its
/// registers, were written (PSB CSYNC, DSB NSH; Arm ARM D17.9 "Synchronization and Statistical
/// Profiling"). An [`isb`] must follow before registers that the unit updates are read.
#[cfg(target_arch = "aarch64")]
pub(crate) fn psb_csync_dsb() {
    // SAFETY: As for `isb`. PSB CSYNC is a hint (number 17), valid on every CPU.
    unsafe { core::arch::asm!("hint #17", "dsb nsh", options(nostack, preserves_flags)) };
}
