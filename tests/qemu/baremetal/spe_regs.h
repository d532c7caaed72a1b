/* SPDX-License-Identifier: GPL-2.0 */
/* The registers of FEAT_SPE, and what else of the architecture names it. */
#ifndef SPE_REGS_H
#define SPE_REGS_H

/*
 * name, op1, CRm, op2 (op0 is 3 and CRn 9), the group of its trap, its bit in HDFGRTR_EL2 and HDFGWTR_EL2 (-1: none), read
 * only
 */
#define REGISTERS(X)						\
	X(PMSCR_EL1, 0, 9, 0, TRAP_PMS, 26, false)		\
	X(PMSNEVFR_EL1, 0, 9, 1, TRAP_PMS, 62, false)	\
	X(PMSICR_EL1, 0, 9, 2, TRAP_PMS, 29, false)	\
	X(PMSIRR_EL1, 0, 9, 3, TRAP_PMS, 31, false)	\
	X(PMSFCR_EL1, 0, 9, 4, TRAP_PMS, 28, false)	\
	X(PMSEVFR_EL1, 0, 9, 5, TRAP_PMS, 27, false)	\
	X(PMSLATFR_EL1, 0, 9, 6, TRAP_PMS, 32, false)	\
	X(PMSIDR_EL1, 0, 9, 7, TRAP_PMS, 30, true)		\
	X(PMBLIMITR_EL1, 0, 10, 0, TRAP_PMB, 23, false)	\
	X(PMBPTR_EL1, 0, 10, 1, TRAP_PMB, 24, false)		\
	X(PMBSR_EL1, 0, 10, 3, TRAP_PMB, 25, false)		\
	X(PMSDSFR_EL1, 0, 10, 4, TRAP_PMS, -1, false)	\
	X(PMBIDR_EL1, 0, 10, 7, TRAP_NONE, 63, true)	\
	X(PMSCR_EL2, 4, 9, 0, TRAP_PMS, -1, false)		\
	X(PMSCR_EL12, 5, 9, 0, TRAP_PMS, -1, false)

#define X_ENUM(name, ...) name,
enum reg { REGISTERS(X_ENUM) REG_COUNT };
enum group { TRAP_PMS, TRAP_PMB, TRAP_NONE };

#define PMSCR_E0SPE BIT(0)
#define PMSCR_E1SPE BIT(1)
#define PMSCR_E0HSPE BIT(0)
#define PMSCR_E2SPE BIT(1)
#define PMSCR_CX BIT(3)
#define PMSCR_PA BIT(4)
#define PMSCR_TS BIT(5)
#define PMSCR_PCT(n) ((u64)(n) << 6)

#define PMSFCR_FE BIT(0)
#define PMSFCR_FT BIT(1)
#define PMSFCR_FL BIT(2)
#define PMSFCR_FNE BIT(3)
#define PMSFCR_FDS BIT(4)
#define TYPE_B BIT(16)
#define TYPE_LD BIT(17)
#define TYPE_ST BIT(18)
#define TYPE_FP BIT(19)
#define TYPE_SIMD BIT(20)
#define TYPE_MASK(types) ((types) << 32)

#define PMSIDR_FE BIT(0)
#define PMSIDR_FT BIT(1)
#define PMSIDR_FL BIT(2)
#define PMSIDR_LDS BIT(4)
#define PMSIDR_ERND BIT(5)
#define PMSIDR_FNE BIT(6)
#define PMSIDR_FDS BIT(7)
#define PMSIDR_CRR BIT(25)
#define PMSIDR_EFT BIT(26)
#define PMSIDR_FPF BIT(27)

#define PMBLIMITR_E BIT(0)
#define PMBLIMITR_FM(n) ((u64)(n) << 1)

#define PMBSR_MSS BITS(15, 0)
#define PMBSR_COLL BIT(16)
#define PMBSR_S BIT(17)
#define PMBSR_EA BIT(18)
#define PMBSR_DL BIT(19)
#define PMBSR_EC(n) ((u64)(n) << 26)
#define PMBSR_FULL (PMBSR_S | 1)

#define PMBIDR_P BIT(4)
#define PMBIDR_F BIT(5)

#define MDCR_EL2_TPMS BIT(14)
#define MDCR_EL2_E2PB(n) ((u64)(n) << 12)
#define MDCR_EL2_BASE MDCR_EL2_E2PB(3)
#define MDCR_EL3_NSPB(n) ((u64)(n) << 12)
#define MDCR_EL3_ENPMS3 BIT(42)
#define MDCR_EL3_BASE (MDCR_EL3_NSPB(3) | MDCR_EL3_ENPMS3)

/* Events */
#define EV_EXCEPTION BIT(0)
#define EV_RETIRED BIT(1)
#define EV_L1D BIT(2)
#define EV_L1D_REFILL BIT(3)
#define EV_TLB BIT(4)
#define EV_WALK BIT(5)
#define EV_NOT_TAKEN BIT(6)
#define EV_MISPREDICTED BIT(7)
#define EV_LLC BIT(8)
#define EV_LLC_MISS BIT(9)
#define EV_MISALIGNED BIT(11)
#define EV_PARTIAL BIT(17)
#define EV_EMPTY BIT(18)

#endif
