/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The unit, programmed and read from the home level: set up, run code at a lower level, look at the
 * records.
 */
#ifndef PROFILE_H
#define PROFILE_H

#include "runtime.h"
#include "spe_regs.h"

extern int version;	/* ID_AA64DFR0_EL1.PMSVer: 1 for SPEv1p0 to 6 for SPEv1p5; 0: no SPE */
extern u64 pmsidr;
#define V1P1 2
#define V1P2 3
#define V1P4 5

bool reg_exists(enum reg reg);		/* in this version, with these features, at this machine's levels */
extern const struct reg_info {
	const char *name;
	void (*write)(u64 value);
	u64 (*read)(void);
	u8 op1, crm, op2;
	enum group group;
	int fgt;
	bool read_only;
} reg_info[REG_COUNT];
static inline u64 spe_read(enum reg reg) { return reg_info[reg].read(); }
static inline void spe_write(enum reg reg, u64 value) { reg_info[reg].write(value); isb(); }

/* An access at some level, which may be trapped or UNDEFINED: `trap` tells then. */
struct access {
	bool trapped;
	u64 value;
};
struct access try_read(int el, u64 hcr, enum reg reg);
struct access try_write(int el, u64 hcr, enum reg reg, u64 value);

u64 align(void);	/* bytes: PMBIDR_EL1.Align */
u64 max_size(void);	/* bytes: PMSIDR_EL1.MaxSize */

#endif
