// SPDX-License-Identifier: GPL-2.0
/* Where profiling is enabled: every combination of the controls that decide it. */

#include "operations.h"

/* Records of operations at the level itself; what the vectors do at EL1 may be sampled as well. */
static int records_at(int el)
{
	int n = 0;

	for (int i = 0; i < outcome.n; i++)
		n += FIELD(outcome.record[i].value[PC], 62, 61) == (u64)el;
	return n;
}

static bool enabled(const struct setup *s)
{
	bool tge = s->hcr & HCR_TGE;

	if (s->owner < s->el || (tge && s->owner == 1))
		return false;
	switch (s->el) {
	case 0:
		return tge ? s->pmscr2 & PMSCR_E0HSPE : s->pmscr1 & PMSCR_E0SPE;
	case 1:
		return s->pmscr1 & PMSCR_E1SPE;
	default:
		return s->pmscr2 & PMSCR_E2SPE;
	}
}

static void check_enabled(const struct setup *s)
{
	profile(s, code_nop, (u64)DATA, 3, 0, 0);
	expect(records_at(s->el) == enabled(s),
	       "EL%d, owner EL%d, E2H %d, TGE %d, PMSCR_EL1 %x, PMSCR_EL2 %x: %d records", (u64)s->el, (u64)s->owner,
	       FIELD(s->hcr, 34, 34), FIELD(s->hcr, 27, 27), s->pmscr1, s->pmscr2, (u64)records_at(s->el));
}

static void check_level(int el)
{
	static const u64 hcrs[] = { HCR_BASE, HCR_BASE | HCR_E2H, HCR_BASE | HCR_TGE, HCR_BASE | HCR_E2H | HCR_TGE };
	bool vhe = feature(mrs(id_aa64mmfr1_el1), 8);

	if (!version || el >= home)
		return skip("no SPE, or no level above to sample this one from");
	for (size_t i = 0; i < (has_el2() ? ARRAY_SIZE(hcrs) : 1); i++) {
		if ((hcrs[i] & HCR_E2H && !vhe) || (el == 1 && hcrs[i] & HCR_TGE))
			continue;
		for (int owner = 1; owner <= (has_el2() ? 2 : 1); owner++) {
			for (u64 controls = 0; controls < 16; controls++) {
				struct setup s = sampling(el);

				/* At home, the harness would be sampled. */
				if ((home == 2 && controls & 8) || (home == 1 && controls & 2))
					continue;
				s.owner = owner;
				s.hcr = hcrs[i];
				s.pmscr1 = controls & 3;
				s.pmscr2 = controls >> 2;
				s.limit = BUFFER + 2 * PAGE;
				check_enabled(&s);
			}
		}
	}
}

TEST(el0, "ownership: what enables profiling at EL0") { check_level(0); }
TEST(el1, "ownership: what enables profiling at EL1") { check_level(1); }
TEST(el2, "ownership: what enables profiling at EL2") { check_level(2); }

TEST(trapped, "ownership: a buffer of EL1 is EL1's also if its registers are trapped")
{
	struct setup s = sampling(1);

	if (!version || !has_el2())
		return skip("no SPE or EL2");
	s.trapped = true;
	profile(&s, code_nop, (u64)DATA, 3, 0, 0);
	expect_eq(records_at(1), 1, "records");
}

TEST(stopped, "ownership: neither PMBLIMITR_EL1.E = 0 nor PMBSR_EL1.S = 1 lets anything be sampled")
{
	struct setup s = sampling(0);

	if (!version)
		return skip("no SPE");
	s.pmbsr = PMBSR_S | PMBSR_EC(0x24) | 0x07;
	profile(&s, code_nop, (u64)DATA, 3, 0, 0);
	expect_eq(outcome.n, 0, "records with S = 1");
	expect_eq(outcome.pmbsr, s.pmbsr, "PMBSR_EL1");
	expect_eq(outcome.pmsicr, 1, "PMSICR_EL1");

	s.pmbsr = 0;
	unit_program(&s);
	spe_write(PMBLIMITR_EL1, s.limit);
	run_at(0, HCR_BASE, code_nop, (u64)DATA, 3, 0, 0);
	unit_stop(&outcome);
	expect_eq(outcome.pmbptr, s.pmbptr, "PMBPTR_EL1 with E = 0");
	expect_eq(outcome.pmsicr, 1, "PMSICR_EL1 with E = 0");
}

/* MOV R0, R0 and SVC #0 of A32, which ends it */
asm(".pushsection .text\n code_a32: .fill 16, 4, 0xe1a00000\n .inst 0xef000000\n .popsection");
extern const char code_a32[];

TEST(aarch32, "ownership: in AArch32 state nothing is sampled or counted")
{
	struct setup s = sampling(0);

	if (!version || FIELD(mrs(id_aa64pfr0_el1), 3, 0) != 2)
		return skip("no SPE, or no AArch32 at EL0");
	el0_state |= PSTATE_A32;
	profile(&s, code_a32, 0, 0, 0, 0);
	el0_state &= ~PSTATE_A32;
	expect_eq(outcome.n, 0, "records");
	expect_eq(outcome.pmsicr, s.pmsicr, "PMSICR_EL1");
	profile(&s, code_nop, (u64)DATA, 3, 0, 0);
	expect_eq(outcome.n, 1, "records of AArch64 state");
}

/* Secure state at EL0 and EL1, and Non-secure, under each value of NSPB. */
static void check_security(int el, bool secure, u64 nspb)
{
	struct setup s = sampling(el);
	bool sampled = nspb >> 1 == !secure;

	msr(scr_el3, secure ? SCR_BASE & ~SCR_NS : SCR_BASE);
	msr(mdcr_el3, MDCR_EL3_NSPB(nspb) | MDCR_EL3_ENPMS3);
	tlb_flush();
	profile(&s, code_nop, (u64)DATA, 3, 0, 0);
	msr(scr_el3, SCR_BASE);
	msr(mdcr_el3, MDCR_EL3_BASE);
	tlb_flush();
	if (expect_eq(outcome.n, sampled, "%s EL%d, NSPB %d: records", secure ? "Secure" : "Non-secure", (u64)el, nspb) &&
	    sampled)
		expect_eq(outcome.record[0].value[PC], code_address((u64)code_nop, el, secure), "PC");
}

TEST(security, "ownership: only the Security state that owns the buffer is sampled")
{
	if (!version || !has_el3())
		return skip("no SPE or EL3");
	for (u64 nspb = 0; nspb < 4; nspb++) {
		for (int el = 0; el <= 1; el++) {
			check_security(el, false, nspb);
			check_security(el, true, nspb);
		}
	}
}
