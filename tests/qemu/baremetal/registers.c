// SPDX-License-Identifier: GPL-2.0
/* What the registers are at reset, which bits they hold, and where they are UNDEFINED. */

#include "profile.h"

/* The first test: nothing has been written yet. */
TEST(reset, "registers: nothing is enabled at reset")
{
	if (!version)
		return skip("no SPE");
	expect_eq(spe_read(PMBLIMITR_EL1) & PMBLIMITR_E, 0, "PMBLIMITR_EL1.E");
	expect_eq(spe_read(PMBSR_EL1) & PMBSR_S, 0, "PMBSR_EL1.S");
	expect_eq(spe_read(PMSCR_EL1), 0, "PMSCR_EL1");
	if (has_el2())
		expect_eq(spe_read(PMSCR_EL2), 0, "PMSCR_EL2");
}

TEST(pmsidr, "registers: PMSVer, PMSIDR_EL1 and PMBIDR_EL1 agree with each other")
{
	static const u64 since_v1p4 = PMSIDR_FDS | PMSIDR_CRR | PMSIDR_EFT | PMSIDR_FPF;

	if (param("version"))
		expect_eq(version, param("version"), "ID_AA64DFR0_EL1.PMSVer");
	if (!version)
		return skip("no SPE");
	expect(version <= 6, "PMSVer is %d", (u64)version);
	if (version < V1P2)
		expect_eq(pmsidr & PMSIDR_FNE, 0, "PMSIDR_EL1.FnE before v1p2");
	if (version < V1P4)
		expect_eq(pmsidr & since_v1p4, 0, "fields of v1p4 before it");
	expect(FIELD(pmsidr, 15, 12) >= 4 && FIELD(pmsidr, 15, 12) <= 11, "PMSIDR_EL1.MaxSize in %x", pmsidr);
	expect(FIELD(pmsidr, 19, 16) == 2 || FIELD(pmsidr, 19, 16) == 3, "PMSIDR_EL1.CountSize in %x", pmsidr);
	expect(FIELD(pmsidr, 11, 8) <= 8 && FIELD(pmsidr, 11, 8) != 1, "PMSIDR_EL1.Interval in %x", pmsidr);
	expect_eq(pmsidr & ~(BITS(19, 0) | BITS(27, 25)), 0, "other bits of PMSIDR_EL1");
	expect(align() <= 2048, "PMBIDR_EL1.Align: %d bytes", align());
	expect_eq(spe_read(PMBIDR_EL1) & ~(u64)(0xf | PMBIDR_P | PMBIDR_F), 0, "other bits of PMBIDR_EL1");
}

static u64 pmsfcr_mask(void)
{
	u64 mask = 0;

	mask |= pmsidr & PMSIDR_FE ? PMSFCR_FE : 0;
	mask |= pmsidr & PMSIDR_FT ? PMSFCR_FT | TYPE_B | TYPE_LD | TYPE_ST : 0;
	mask |= pmsidr & PMSIDR_FL ? PMSFCR_FL : 0;
	mask |= pmsidr & PMSIDR_FNE ? PMSFCR_FNE : 0;
	mask |= pmsidr & PMSIDR_FDS ? PMSFCR_FDS : 0;
	if (pmsidr & PMSIDR_EFT)
		mask |= BITS(20, 16) | BITS(52, 48);
	return mask;
}

/* What a register holds. Its bits that are not tested are neither in holds nor in ignores. */
static bool bits(enum reg reg, u64 *holds, u64 *ignores)
{
	u64 unclear = 0;

	switch (reg) {
	case PMSCR_EL1:
	case PMSCR_EL2:
		*holds = PMSCR_E0SPE | PMSCR_E1SPE | PMSCR_CX | PMSCR_PA | PMSCR_TS | PMSCR_PCT(1);
		if (feature(mrs(id_aa64mmfr0_el1), 60))	/* ECV */
			*holds |= PMSCR_PCT(2);
		break;
	case PMSNEVFR_EL1:
		*holds = events_mask();
		break;
	case PMSICR_EL1:
		*holds = BITS(31, 0) | (pmsidr & PMSIDR_ERND ? BITS(63, 56) : 0);
		break;
	case PMSIRR_EL1:
		*holds = BITS(31, 8) | BIT(0);
		break;
	case PMSFCR_EL1:
		*holds = pmsfcr_mask();
		break;
	case PMSEVFR_EL1:
		if (!(pmsidr & PMSIDR_FE))
			return false;
		*holds = events_mask();
		break;
	case PMSLATFR_EL1:
		if (!(pmsidr & PMSIDR_FL))
			return false;
		*holds = FIELD(pmsidr, 19, 16) == 2 ? BITS(11, 0) : BITS(15, 0);
		break;
	case PMBLIMITR_EL1:
		*holds = BITS(63, 12) | PMBLIMITR_E;
		/* FM 1 and 3 are reserved */
		unclear = version >= V1P2 ? PMBLIMITR_FM(3) : 0;
		break;
	case PMBPTR_EL1:
		*holds = ~(align() - 1);
		unclear = align() - 1;
		break;
	case PMBSR_EL1:
		*holds = PMBSR_MSS | PMBSR_COLL | PMBSR_S | PMBSR_EA | PMBSR_DL | PMBSR_EC(0x3f);
		break;
	case PMSDSFR_EL1:
		*holds = ~0ull;
		break;
	default:
		return false;	/* read only, or not to be reached at this level */
	}
	*ignores = ~*holds & ~unclear;
	return true;
}

TEST(masks, "registers: each holds the bits that it has, and ignores all others")
{
	static const u64 patterns[] = { ~0ull, 0, 0xaaaaaaaaaaaaaaaa, 0x5555555555555555, 0 };

	if (!version)
		return skip("no SPE");
	for (enum reg reg = 0; reg < REG_COUNT; reg++) {
		u64 holds, ignores;

		if (!reg_exists(reg) || !bits(reg, &holds, &ignores))
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
			spe_write(reg, patterns[i]);
			expect_eq(spe_read(reg) & (holds | ignores), patterns[i] & holds, "%s after %x",
				  reg_info[reg].name, patterns[i]);
		}
	}
}

TEST(fill_mode, "registers: PMBLIMITR_EL1.FM is there from v1p2 on")
{
	if (!version)
		return skip("no SPE");
	spe_write(PMBLIMITR_EL1, PMBLIMITR_FM(2));
	expect_eq(spe_read(PMBLIMITR_EL1), version >= V1P2 ? PMBLIMITR_FM(2) : 0, "PMBLIMITR_EL1");
	spe_write(PMBLIMITR_EL1, 0);
}

static bool exists_at(int el, enum reg reg)
{
	if (el == 0 || !reg_exists(reg))
		return false;
	return reg != PMSCR_EL2 || el >= 2;
}

TEST(undefined, "registers: UNDEFINED at EL0, where absent, and on writes to what is read only")
{
	/* The levels that are sure not to be trapped are left as they are: nothing traps here. */
	for (int el = 0; el <= home; el++) {
		for (enum reg reg = 0; reg < REG_COUNT; reg++) {
			const char *name = reg_info[reg].name;
			bool exists = exists_at(el, reg);
			struct access a = try_read(el, HCR_BASE, reg);

			expect(a.trapped == !exists, "read of %s at EL%d: %s", name, (u64)el,
			       exists ? "UNDEFINED" : "not UNDEFINED");
			if (a.trapped) {
				expect_eq(ESR_EC(trap.esr), EC_UNDEFINED, "read of %s at EL%d: EC", name, (u64)el);
				expect_eq(trap.to, el ? el : 1, "read of %s at EL%d: to EL", name, (u64)el);
			}
			exists = exists && !reg_info[reg].read_only;
			a = try_write(el, HCR_BASE, reg, 0);
			expect(a.trapped == !exists, "write of %s at EL%d: %s", name, (u64)el,
			       exists ? "UNDEFINED" : "not UNDEFINED");
			if (a.trapped)
				expect_eq(ESR_EC(trap.esr), EC_UNDEFINED, "write of %s at EL%d: EC", name, (u64)el);
		}
	}
}

TEST(vhe, "registers: with E2H, PMSCR_EL1 at EL2 is PMSCR_EL2, and PMSCR_EL12 is PMSCR_EL1")
{
	static const u64 hcr = HCR_BASE | HCR_E2H;

	if (!version || !has_el2() || !feature(mrs(id_aa64mmfr1_el1), 8))
		return skip("no SPE, EL2 or VHE");
	spe_write(PMSCR_EL1, 0);
	spe_write(PMSCR_EL2, 0);
	expect(!try_write(2, hcr, PMSCR_EL1, PMSCR_CX).trapped, "PMSCR_EL1 is trapped");
	expect(!try_write(2, hcr, PMSCR_EL12, PMSCR_PA).trapped, "PMSCR_EL12 is trapped");
	expect_eq(spe_read(PMSCR_EL2), PMSCR_CX, "PMSCR_EL2 after a write of PMSCR_EL1 at EL2");
	expect_eq(spe_read(PMSCR_EL1), PMSCR_PA, "PMSCR_EL1 after a write of PMSCR_EL12 at EL2");
	expect_eq(try_read(2, hcr, PMSCR_EL1).value, PMSCR_CX, "PMSCR_EL1 read at EL2");
	expect_eq(try_read(2, hcr, PMSCR_EL2).value, PMSCR_CX, "PMSCR_EL2 read at EL2");
	expect_eq(try_read(2, hcr, PMSCR_EL12).value, PMSCR_PA, "PMSCR_EL12 read at EL2");
	expect_eq(try_read(1, hcr, PMSCR_EL1).value, PMSCR_PA, "PMSCR_EL1 read at EL1");
	expect(try_read(1, hcr, PMSCR_EL12).trapped, "PMSCR_EL12 is there at EL1");
	spe_write(PMSCR_EL1, 0);
	spe_write(PMSCR_EL2, 0);
}
