// SPDX-License-Identifier: GPL-2.0
/* Which accesses each control traps, from where, to where; and PMBIDR_EL1.P, which announces it. */

#include "profile.h"

/* Set by each test: what is trapped now. */
typedef bool trapped_fn(enum reg reg, bool write, u64 context);

static u64 expected_iss(enum reg reg, bool write)
{
	const struct reg_info *info = &reg_info[reg];

	/* Rt is X0 */
	return 3 << 20 | (u64)info->op2 << 17 | (u64)info->op1 << 14 | 9 << 10 | (u64)info->crm << 1 | !write;
}

static void check_access(int el, int to, enum reg reg, bool write, bool trapped, const char *what, u64 value)
{
	struct access a = write ? try_write(el, HCR_BASE, reg, 0) : try_read(el, HCR_BASE, reg);
	const char *name = reg_info[reg].name, *access = write ? "write" : "read";

	if (!expect(a.trapped == trapped, "%s=%x: %s of %s at EL%d is %s", what, value, access, name, (u64)el,
		    a.trapped ? "trapped" : "not trapped") || !a.trapped)
		return;
	expect_eq(trap.to, to, "%s=%x: %s of %s at EL%d: to EL", what, value, access, name, (u64)el);
	expect_eq(ESR_EC(trap.esr), EC_SYSREG, "%s=%x: %s of %s at EL%d: EC", what, value, access, name, (u64)el);
	expect_eq(trap.esr & BITS(24, 0), expected_iss(reg, write), "%s=%x: %s of %s at EL%d: ISS", what, value,
		  access, name, (u64)el);
}

/* Every access at a level, under the control `what` with a value. */
static void check_all(int el, int to, trapped_fn *trapped, u64 context, const char *what, u64 value)
{
	for (enum reg reg = 0; reg < REG_COUNT; reg++) {
		if (!reg_exists(reg) || (reg == PMSCR_EL2 && el < 2))
			continue;
		check_access(el, to, reg, false, trapped(reg, false, context), what, value);
		if (!reg_info[reg].read_only)
			check_access(el, to, reg, true, trapped(reg, true, context), what, value);
	}
}

static bool none(enum reg reg, bool write, u64 context)
{
	return false;
}

static bool in_group(enum reg reg, bool write, u64 groups)
{
	return groups >> reg_info[reg].group & 1;
}

TEST(tpms, "traps: MDCR_EL2.TPMS traps the sampling registers at EL1, and only them")
{
	if (!version || !has_el2())
		return skip("no SPE or EL2");
	msr(mdcr_el2, MDCR_EL2_BASE | MDCR_EL2_TPMS);
	isb();
	check_all(1, 2, in_group, BIT(TRAP_PMS), "TPMS", 1);
	check_all(2, 0, none, 0, "TPMS", 1);
	expect(try_read(0, HCR_BASE, PMSCR_EL1).trapped && trap.to == 1 && ESR_EC(trap.esr) == EC_UNDEFINED,
	       "at EL0 it is not UNDEFINED: to EL%d, ESR %x", (u64)trap.to, trap.esr);
	msr(mdcr_el2, MDCR_EL2_BASE);
	isb();
	check_all(1, 0, none, 0, "TPMS", 0);
}

TEST(e2pb, "traps: MDCR_EL2.E2PB traps the buffer registers at EL1, and only them")
{
	if (!version || !has_el2())
		return skip("no SPE or EL2");
	for (u64 e2pb = 0; e2pb < 4; e2pb++) {
		if (e2pb == 1)
			continue;	/* reserved */
		msr(mdcr_el2, MDCR_EL2_E2PB(e2pb));
		isb();
		check_all(1, 2, in_group, e2pb & 1 ? 0 : BIT(TRAP_PMB), "E2PB", e2pb);
		check_all(2, 0, none, 0, "E2PB", e2pb);
	}
	msr(mdcr_el2, MDCR_EL2_BASE);
	isb();
}

#define FGT_READ S3_4_C3_C1_4	/* HDFGRTR_EL2 */
#define FGT_WRITE S3_4_C3_C1_5	/* HDFGWTR_EL2 */
#define FGT_NONE BIT(62)	/* nPMSNEVFR_EL1, which traps if it is 0 */

/* context: the register, and in bit 8 if it is writes that are trapped */
static bool fine_grained(enum reg reg, bool write, u64 context)
{
	return reg == (context & 0xff) && write == context >> 8;
}

TEST(fgt, "traps: each bit of HDFGRTR_EL2 and HDFGWTR_EL2 traps its register")
{
	if (!version || !has_el2() || !feature(mrs(id_aa64mmfr0_el1), 56))
		return skip("no SPE, EL2 or FGT");
	for (u64 reg = 0; reg < REG_COUNT; reg++) {
		u64 bit = BIT(reg_info[reg].fgt);

		if (reg_info[reg].fgt < 0 || !reg_exists(reg))
			continue;
		msr(FGT_READ, FGT_NONE ^ bit);
		isb();
		check_all(1, 2, fine_grained, reg, "HDFGRTR_EL2", FGT_NONE ^ bit);
		check_all(2, 0, none, 0, "HDFGRTR_EL2", FGT_NONE ^ bit);
		msr(FGT_READ, FGT_NONE);
		if (!reg_info[reg].read_only) {
			msr(FGT_WRITE, FGT_NONE ^ bit);
			isb();
			check_all(1, 2, fine_grained, reg | 0x100, "HDFGWTR_EL2", FGT_NONE ^ bit);
			msr(FGT_WRITE, FGT_NONE);
		}
	}
	isb();
}

struct state {
	const char *name;
	u64 scr;
	u64 owner_nspb;		/* the value that lets this state use the unit */
	bool el2;
};

static const struct state states[] = {
	{ "Non-secure: NSPB", SCR_BASE, 3, true },
	{ "Secure: NSPB", SCR_BASE & ~SCR_NS, 1, false },
	{ "Secure, EL2 enabled: NSPB", (SCR_BASE & ~SCR_NS) | SCR_EEL2, 1, true },
};

TEST(nspb, "traps: MDCR_EL3.NSPB traps the state that may not use the unit, or both")
{
	if (!version || !has_el3())
		return skip("no SPE or EL3");
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		const struct state *s = &states[i];

		if (s->scr & SCR_EEL2 && !feature(mrs(id_aa64pfr0_el1), 36))
			continue;
		msr(scr_el3, s->scr);
		for (u64 nspb = 0; nspb < 4; nspb++) {
			u64 groups = nspb == s->owner_nspb ? 0 : BIT(TRAP_PMS) | BIT(TRAP_PMB);

			msr(mdcr_el3, MDCR_EL3_NSPB(nspb) | MDCR_EL3_ENPMS3);
			isb();
			check_all(1, 3, in_group, groups, s->name, nspb);
			if (s->el2)
				check_all(2, 3, in_group, groups, s->name, nspb);
			check_all(3, 0, none, 0, s->name, nspb);
		}
	}
	msr(scr_el3, SCR_BASE);
	msr(mdcr_el3, MDCR_EL3_BASE);
	isb();
}

TEST(order, "traps: EL2 comes before EL3")
{
	if (!version || !has_el3())
		return skip("no SPE or EL3");
	msr(mdcr_el3, MDCR_EL3_NSPB(0));
	msr(mdcr_el2, MDCR_EL2_TPMS);
	isb();
	check_access(1, 2, PMSCR_EL1, true, true, "NSPB=0, TPMS", 1);
	check_access(1, 2, PMBSR_EL1, false, true, "NSPB=0, E2PB", 0);
	check_access(2, 3, PMSCR_EL1, true, true, "NSPB=0, TPMS", 1);
	msr(mdcr_el2, MDCR_EL2_BASE);
	msr(mdcr_el3, MDCR_EL3_BASE);
	isb();
}

static bool is_pmsdsfr(enum reg reg, bool write, u64 context)
{
	return reg == PMSDSFR_EL1;
}

TEST(enpms3, "traps: MDCR_EL3.EnPMS3 traps PMSDSFR_EL1")
{
	if (!version || !has_el3() || !(pmsidr & PMSIDR_FDS))
		return skip("no EL3 or PMSDSFR_EL1");
	msr(mdcr_el3, MDCR_EL3_NSPB(3));
	isb();
	for (int el = 1; el <= 2; el++)
		check_all(el, 3, is_pmsdsfr, 0, "EnPMS3", 0);
	check_all(3, 0, none, 0, "EnPMS3", 0);
	msr(mdcr_el3, MDCR_EL3_BASE);
	isb();
}

static void check_p(int el, bool p, const char *when, u64 value)
{
	/* With spe-owned=on, firmware keeps the buffer. */
	p |= el < 3 && param("owned");
	expect_eq(try_read(el, HCR_BASE, PMBIDR_EL1).value & PMBIDR_P, p ? PMBIDR_P : 0, "%s=%x: PMBIDR_EL1.P at EL%d",
		  when, value, (u64)el);
}

TEST(pmbidr_p, "traps: PMBIDR_EL1.P tells who may not program the buffer")
{
	if (!version)
		return skip("no SPE");
	check_p(1, false, "E2PB", 3);
	if (has_el2()) {
		check_p(2, false, "E2PB", 3);
		msr(mdcr_el2, MDCR_EL2_E2PB(0));
		isb();
		check_p(1, true, "E2PB", 0);
		check_p(2, false, "E2PB", 0);
		msr(mdcr_el2, MDCR_EL2_BASE);
	}
	if (has_el3()) {
		for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
			const struct state *s = &states[i];

			if (s->scr & SCR_EEL2 && !feature(mrs(id_aa64pfr0_el1), 36))
				continue;
			msr(scr_el3, s->scr);
			for (u64 nspb = 0; nspb < 4; nspb++) {
				/* Bit 1: Non-secure state owns it */
				bool other = nspb >> 1 != (s->owner_nspb == 3);

				msr(mdcr_el3, MDCR_EL3_NSPB(nspb) | MDCR_EL3_ENPMS3);
				isb();
				check_p(1, other, s->name, nspb);
				if (s->el2)
					check_p(2, other, s->name, nspb);
				check_p(3, false, s->name, nspb);
			}
		}
		msr(scr_el3, SCR_BASE);
		msr(mdcr_el3, MDCR_EL3_BASE);
	}
	isb();
}
