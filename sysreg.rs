// SPDX-License-Identifier: GPL-2.0

//! The system registers of the Statistical Profiling Extension, and the barriers that order them.
//!
//! Every register is one type that wraps its 64 bits; its fields are constants of that type, so
//! that a field of one register cannot be taken for a field of another. Names, positions and access
//! are those of the Arm ARM (DDI 0487), section D24.7 "Statistical Profiling Extension registers".
//! A kernel that runs at EL2 (VHE) uses the same names: the architecture redirects the `_EL1`
//! accesses to the EL2 registers.
//!
//! This is the only file with inline assembly. The types are plain values and compile for any
//! target; the accesses exist where the registers do. `kernel::bitfield!` is not used so that the
//! logic on top of these types can be tested on the build machine, where there is no kernel crate.

use core::marker::PhantomData;

/// A 64-bit system register, seen as a value.
pub(crate) trait Register: Copy {
    /// Returns the register that holds `bits`.
    fn from_bits(bits: u64) -> Self;

    /// Returns the bits of this value.
    fn bits(self) -> u64;

    /// Returns the value of `field`, shifted down to bit 0.
    #[inline]
    fn get(self, field: Field<Self>) -> u64 {
        self.bits().wrapping_shr(field.low) & field.max
    }

    /// Returns whether any bit of `field` is set.
    #[inline]
    fn has(self, field: Field<Self>) -> bool {
        self.get(field) != 0
    }

    /// Returns this value with `field` replaced by the low bits of `value`.
    #[inline]
    fn with(self, field: Field<Self>, value: u64) -> Self {
        let mask = field.mask();
        Self::from_bits(self.bits() & !mask | value.wrapping_shl(field.low) & mask)
    }
}

/// A field of the register `R`.
///
/// # Invariants
///
/// `max` is the largest value that fits the field, all ones, and `low` the position of its lowest
/// bit; both together do not reach beyond bit 63.
pub(crate) struct Field<R> {
    /// The position of the lowest bit.
    low: u32,
    /// The largest value, which is the mask of the field when it is shifted down to bit 0.
    max: u64,
    /// The register, in the type alone.
    register: PhantomData<R>,
}

impl<R> Clone for Field<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Field<R> {}

impl<R> Field<R> {
    /// Used in constants only, where a wrong pair of bits fails the build.
    const fn new(high: u32, low: u32) -> Self {
        assert!(low <= high && high < 64);
        // INVARIANT: just checked.
        Self {
            low,
            max: u64::MAX >> (63 - high + low),
            register: PhantomData,
        }
    }

    /// The bits of the field, all ones.
    #[inline]
    pub(crate) const fn mask(self) -> u64 {
        self.max.wrapping_shl(self.low)
    }
}

/// Declares registers: name, encoding, access, and fields as `NAME: high, low`.
///
/// `scripts/check-sysreg` compares them with the kernel's description, by these names.
///
/// The access is one of `read`, `write` (which includes reading) and `write unsafe`, for the
/// registers that tell the hardware where in memory to write.
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
                pub(crate) const $field: Field<Self> = Field::new($high, $low);
            )*

            /// Returns the register that holds `bits`, as a constant.
            pub(crate) const fn new(bits: u64) -> Self {
                Self(bits)
            }
        }

        impl Register for $name {
            #[inline]
            fn from_bits(bits: u64) -> Self {
                Self(bits)
            }

            #[inline]
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
        /// Reads the register of this CPU.
        #[inline]
        pub(crate) fn read() -> Self {
            let bits: u64;
            // SAFETY: Reading one of these registers touches neither memory nor flags. Should it be
            // undefined or trapped, which the probe rules out before it reads anything but ID
            // registers, the exception is taken as any other; it does not corrupt anything. The
            // statement is not `pure`: the hardware changes the registers by itself, so that no two
            // reads may be merged.
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
        /// Writes the register of this CPU. It takes effect at the next context synchronisation
        /// event.
        #[inline]
        pub(crate) fn write(self) {
            // SAFETY: The register decides what is sampled and not where samples are written, so
            // that no value of it makes the hardware touch memory that a session did not hand it.
            // `nomem` is left out: the compiler must keep these writes in order with the accesses
            // to the buffer.
            unsafe {
                core::arch::asm!(
                    concat!("msr ", $encoding, ", {}"),
                    in(reg) self.0,
                    options(nostack, preserves_flags),
                )
            };
        }

        /// Writes 0 to the register of this CPU.
        #[inline]
        pub(crate) fn clear() {
            // SAFETY: As for `write`, of which this is a case: 0 samples nothing.
            unsafe {
                core::arch::asm!(
                    concat!("msr ", $encoding, ", xzr"),
                    options(nostack, preserves_flags),
                )
            };
        }
    };

    (@write unsafe, $encoding:literal) => {
        /// Writes the register of this CPU. It takes effect at the next context synchronisation
        /// event.
        ///
        /// # Safety
        ///
        /// The unit writes records to the memory from `PMBPTR_EL1` up to `PMBLIMITR_EL1.LIMIT`
        /// while `PMBLIMITR_EL1.E` is set, `FM` does not discard them and `PMBSR_EL1.S` is not set.
        /// Whatever part of that the caller turns on must stay mapped and belong to the hardware
        /// until the unit was turned off and drained.
        #[inline]
        pub(crate) unsafe fn write(self) {
            // SAFETY: The caller answers for the memory; apart from that the same holds as for the
            // other registers.
            unsafe {
                core::arch::asm!(
                    concat!("msr ", $encoding, ", {}"),
                    in(reg) self.0,
                    options(nostack, preserves_flags),
                )
            };
        }

        /// Writes 0 to the register of this CPU.
        ///
        /// # Safety
        ///
        /// As [`Self::write`].
        #[inline]
        pub(crate) unsafe fn clear() {
            // SAFETY: The caller answers for the memory, as for that of `write`.
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
    /// AArch64 Debug Feature Register 0: its SPE field only.
    ID_AA64DFR0_EL1("S3_0_C0_C5_0", read) {
        /// Version of the extension: 0 none, 1 SPEv1p0, 2 SPEv1p1, and so on.
        PMSVer: 35, 32;
    }

    /// Sampling Control Register: where to sample, and what to add to a record.
    PMSCR_EL1("S3_0_C9_C9_0", write) {
        /// Which clock the timestamps come from: 0 virtual, 1 physical (if EL2 permits).
        PCT: 7, 6;
        /// Timestamps in the records.
        TS: 5, 5;
        /// Physical addresses in the records.
        PA: 4, 4;
        /// CONTEXTIDR in the records.
        CX: 3, 3;
        /// Sample at EL1 (at EL2 when the kernel runs there).
        E1SPE: 1, 1;
        /// Sample at EL0.
        E0SPE: 0, 0;
    }

    /// Sampling Inverted Event Filter Register: records with any of these events are dropped (if
    /// `PMSFCR_EL1.FnE`).
    PMSNEVFR_EL1("S3_0_C9_C9_1", write) {}

    /// Sampling Interval Counter Register: operations until the next sample.
    PMSICR_EL1("S3_0_C9_C9_2", write) {}

    /// Sampling Interval Reload Register.
    PMSIRR_EL1("S3_0_C9_C9_3", write) {
        /// The interval in units of 256 operations; zero is not permitted.
        INTERVAL: 31, 8;
        /// Add a random number of operations to each interval.
        RND: 0, 0;
    }

    /// Sampling Filter Control Register: which filters apply.
    PMSFCR_EL1("S3_0_C9_C9_4", write) {
        /// Mask of [`Self::SIMD`]: the value must match (SPEv1p4, `PMSIDR_EL1.EFT`), as for the
        /// four below.
        SIMDm: 52, 52;
        /// Mask of [`Self::FP`].
        FPm: 51, 51;
        /// Mask of [`Self::ST`].
        STm: 50, 50;
        /// Mask of [`Self::LD`].
        LDm: 49, 49;
        /// Mask of [`Self::B`].
        Bm: 48, 48;
        /// Keep SIMD operations.
        SIMD: 20, 20;
        /// Keep floating-point operations.
        FP: 19, 19;
        /// Keep stores, and atomics that store.
        ST: 18, 18;
        /// Keep loads, and atomics that load.
        LD: 17, 17;
        /// Keep branches.
        B: 16, 16;
        /// Filter by data source ([`PMSDSFR_EL1`]).
        FDS: 4, 4;
        /// Filter by events, inverted ([`PMSNEVFR_EL1`]).
        FnE: 3, 3;
        /// Filter by latency ([`PMSLATFR_EL1`]).
        FL: 2, 2;
        /// Filter by type of operation (the fields above).
        FT: 1, 1;
        /// Filter by events ([`PMSEVFR_EL1`]).
        FE: 0, 0;
    }

    /// Sampling Event Filter Register: only records with all of these events are kept (if
    /// `PMSFCR_EL1.FE`).
    PMSEVFR_EL1("S3_0_C9_C9_5", write) {}

    /// Sampling Latency Filter Register.
    PMSLATFR_EL1("S3_0_C9_C9_6", write) {
        /// The least total latency of a record that is kept, in cycles (if `PMSFCR_EL1.FL`).
        MINLAT: 15, 0;
    }

    /// Sampling Profiling ID Register.
    PMSIDR_EL1("S3_0_C9_C9_7", read) {
        /// Streaming SVE mode is in the records.
        SME: 32, 32;
        /// Records can have an alternate clock.
        ALTCLK: 31, 28;
        /// Records have the number of floating-point operations.
        FPF: 27, 27;
        /// Type filters have masks and know SIMD and floating point.
        EFT: 26, 26;
        /// Records tell call and return branches apart.
        CRR: 25, 25;
        /// Records have the previous branch target.
        PBT: 24, 24;
        /// Format of the records.
        FORMAT: 23, 20;
        /// Size of the counters in a record: 2 for 12 bits, 3 for 16 bits, saturating.
        COUNTSIZE: 19, 16;
        /// log2 of the largest record in bytes.
        MAXSIZE: 15, 12;
        /// Code of the recommended minimal interval.
        INTERVAL: 11, 8;
        /// Filtering by data source.
        FDS: 7, 7;
        /// Inverted event filtering.
        FnE: 6, 6;
        /// The random number is added after the interval, and not within it.
        ERND: 5, 5;
        /// Records have data sources.
        LDS: 4, 4;
        /// Every architectural instruction is sampled, and not micro-operations.
        ARCHINST: 3, 3;
        /// Latency filtering.
        FL: 2, 2;
        /// Type filtering.
        FT: 1, 1;
        /// Event filtering.
        FE: 0, 0;
    }

    /// Profiling Buffer Limit Address Register.
    PMBLIMITR_EL1("S3_0_C9_C10_0", write unsafe) {
        /// Bits 63 to 12 of the address at which the buffer ends.
        LIMIT: 63, 12;
        /// What to do with records: 0 write them until the buffer is full, 2 discard them
        /// (SPEv1p2).
        FM: 2, 1;
        /// The buffer is enabled.
        E: 0, 0;
    }

    /// Profiling Buffer Write Pointer Register.
    PMBPTR_EL1("S3_0_C9_C10_1", write unsafe) {}

    /// Profiling Buffer Status Register: why the unit asks for service.
    PMBSR_EL1("S3_0_C9_C10_3", write unsafe) {
        /// Event class: 0 buffer management, 0x24 and 0x25 stage 1 and 2 faults, and more.
        EC: 31, 26;
        /// Data lost: the last record is not complete.
        DL: 19, 19;
        /// External abort.
        EA: 18, 18;
        /// Service: the unit is stopped and the interrupt asserted while this is set.
        S: 17, 17;
        /// Collision: some samples were dropped because an earlier one was still in flight.
        COLL: 16, 16;
        /// Buffer status code, when `EC` is 0: 1 buffer full.
        BSC: 5, 0; // part of MSS: Arm ARM D24.7, PMBSR_EL1, buffer management events
    }

    /// Sampling Data Source Filter Register: bit n set keeps records whose data source is n (if
    /// `PMSFCR_EL1.FDS`).
    PMSDSFR_EL1("S3_0_C9_C10_4", write) {}

    /// Profiling Buffer ID Register.
    PMBIDR_EL1("S3_0_C9_C10_7", read) {
        /// The buffer is owned by a higher exception level, and not programmable from here.
        P: 4, 4;
        /// log2 of the alignment of [`PMBPTR_EL1`] in bytes.
        ALIGN: 3, 0;
    }
}

/// `PMBLIMITR_EL1.FM`: discard every record.
pub(crate) const FM_DISCARD: u64 = 0b10;

/// Makes earlier writes of system registers take effect for later operations, and orders later
/// reads after an earlier [`psb_csync_dsb`] (ISB; Arm ARM D17.9 "Synchronization and Statistical
/// Profiling", and "Synchronization requirements for AArch64 System registers"). A read of a
/// register that the same CPU has just written needs none.
#[cfg(target_arch = "aarch64")]
#[inline]
pub(crate) fn isb() {
    // SAFETY: A barrier has no effect but on order. Not `nomem`: the compiler must not move memory
    // accesses across it.
    unsafe { core::arch::asm!("isb", options(nostack, preserves_flags)) };
}

/// Waits until every record of an operation sampled so far was written to memory, and the unit's
/// own updates of its registers were made (PSB CSYNC, DSB NSH; Arm ARM D17.9 "Synchronization and
/// Statistical Profiling"). An [`isb`] must follow before registers that the unit updates are read.
#[cfg(target_arch = "aarch64")]
#[inline]
pub(crate) fn psb_csync_dsb() {
    // SAFETY: As for `isb`. PSB CSYNC is a hint (number 17), valid on every CPU.
    unsafe { core::arch::asm!("hint #17", "dsb nsh", options(nostack, preserves_flags)) };
}
