// SPDX-License-Identifier: GPL-2.0
#include "profile.h"

int version;
u64 pmsidr;

/* Functions that access a register, to be run at any level. They touch nothing else. */
#define X_NAME(op1, crm, op2) "S3_" #op1 "_C9_C" #crm "_" #op2
#define X_CODE(name, op1, crm, op2, ...)		\
	asm(".pushsection .text\n"			\
	    "write_" #name ": msr " X_NAME(op1, crm, op2) ", x0\n"	\
	    "	ret\n"					\
	    "read_" #name ": mrs x0, " X_NAME(op1, crm, op2) "\n"	\
	    "	ret\n"					\
	    ".popsection\n");				\
	void write_##name(u64 value);			\
	u64 read_##name(void);
REGISTERS(X_CODE)

#define X_INFO(id, o1, m, o2, trap_group, fgt_bit, is_read_only)			\
	[id] = { .name = #id, .write = write_##id, .read = read_##id, .op1 = o1, .crm = m, .op2 = o2, \
		 .group = trap_group, .fgt = fgt_bit, .read_only = is_read_only },
const struct reg_info reg_info[REG_COUNT] = { REGISTERS(X_INFO) };

bool reg_exists(enum reg reg)
{
	switch (reg) {
	case PMSNEVFR_EL1:
		return pmsidr & PMSIDR_FNE;
	case PMSDSFR_EL1:
		return pmsidr & PMSIDR_FDS;
	case PMSCR_EL2:
		return version && has_el2();
	case PMSCR_EL12:
		return false;	/* only at EL2 with E2H */
	default:
		return version;
	}
}

struct access try_read(int el, u64 hcr, enum reg reg)
{
	struct access a;

	traps_expected();
	a.value = run_at(el, hcr, reg_info[reg].read, 0, 0, 0, 0);
	traps_over();
	a.trapped = trap.count;
	return a;
}

struct access try_write(int el, u64 hcr, enum reg reg, u64 value)
{
	struct access a = { .value = value };

	traps_expected();
	run_at(el, hcr, reg_info[reg].write, value, 0, 0, 0);
	traps_over();
	a.trapped = trap.count;
	return a;
}

u64 align(void)
{
	return 1 << (spe_read(PMBIDR_EL1) & 0xf);
}

u64 max_size(void)
{
	return 1 << FIELD(pmsidr, 15, 12);
}

