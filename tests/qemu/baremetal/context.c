// SPDX-License-Identifier: GPL-2.0
/* What only the right controls put into a record: contexts, physical addresses; and which address that is. */

#include "operations.h"

#define ID1 0x11223344
#define ID2 0x55667788

static const u64 hcrs[] = { HCR_BASE, HCR_BASE | HCR_E2H, HCR_BASE | HCR_E2H | HCR_TGE };

/* Every level, owner and kind of host in which something is sampled, from 0 on; false after the last. */
static bool situation(int i, struct setup *s)
{
	int el = i / 6, owner = i / 3 % 2 + 1;
	u64 hcr = hcrs[i % 3];

	*s = sampling(el);
	s->owner = owner;
	s->hcr = hcr;
	if (el >= home || owner < el || (owner == 2 && !has_el2()))
		s->el = -1;
	if (hcr & HCR_E2H && (!has_el2() || !feature(mrs(id_aa64mmfr1_el1), 8)))
		s->el = -1;
	if (hcr & HCR_TGE && (el == 1 || owner == 1))
		s->el = -1;
	if (hcr & HCR_TGE && el == 0)
		s->pmscr2 |= PMSCR_E0HSPE;
	return i < 18;
}

static bool sample_load(struct setup *s, const char *what)
{
	s->limit = BUFFER + 2 * PAGE;
	profile(s, code_ldr_x, (u64)DATA, 3, 0, 0);
	return expect_eq(outcome.n, 1, "%s: EL%d, owner EL%d, HCR_EL2 %x: records", what, (u64)s->el, (u64)s->owner, s->hcr);
}

TEST(contexts, "context: CONTEXTIDR_EL1 and CONTEXTIDR_EL2 are recorded where CX of their PMSCR says so")
{
	struct setup s;

	if (!complete())
		return;
	msr(contextidr_el1, ID1);
	if (has_el2())
		msr(S3_4_C13_C0_1, ID2);	/* CONTEXTIDR_EL2 */
	for (int i = 0; situation(i, &s); i++) {
		for (int cx = 0; s.el >= 0 && cx < 4; cx++) {
			bool one = cx & 1 && s.el != 2 && !(s.hcr & HCR_TGE), two = cx & 2 && has_el2();
			const struct record *r = &outcome.record[0];
			struct setup t = s;

			t.pmscr1 |= cx & 1 ? PMSCR_CX : 0;
			t.pmscr2 |= cx & 2 ? PMSCR_CX : 0;
			if (!sample_load(&t, "contexts"))
				continue;
			expect(has(r, CONTEXT1) == one, "EL%d, owner EL%d, HCR_EL2 %x, PMSCR %x %x: CONTEXTIDR_EL1",
			       (u64)t.el, (u64)t.owner, t.hcr, t.pmscr1, t.pmscr2);
			expect(has(r, CONTEXT2) == two, "EL%d, owner EL%d, HCR_EL2 %x, PMSCR %x %x: CONTEXTIDR_EL2",
			       (u64)t.el, (u64)t.owner, t.hcr, t.pmscr1, t.pmscr2);
			if (has(r, CONTEXT1))
				expect_eq(r->value[CONTEXT1], ID1, "CONTEXTIDR_EL1");
			if (has(r, CONTEXT2))
				expect_eq(r->value[CONTEXT2], ID2, "CONTEXTIDR_EL2");
		}
	}
}

TEST(pa_control, "context: physical addresses are recorded where PA of the owner's PMSCR, and EL2, permit it")
{
	struct setup s;

	if (!complete())
		return;
	for (int i = 0; situation(i, &s); i++) {
		for (int pa = 0; s.el >= 0 && pa < 4; pa++) {
			bool one = pa & 1, two = pa & 2, want = has_el2() ? two && (s.owner == 2 || one) : one;
			struct setup t = s;

			t.pmscr1 = (s.pmscr1 & ~PMSCR_PA) | (one ? PMSCR_PA : 0);
			t.pmscr2 = (s.pmscr2 & ~PMSCR_PA) | (two ? PMSCR_PA : 0);
			if (sample_load(&t, "PA"))
				expect(has(&outcome.record[0], PA) == want, "EL%d, owner EL%d, HCR_EL2 %x, PMSCR %x %x: PA",
				       (u64)t.el, (u64)t.owner, t.hcr, t.pmscr1, t.pmscr2);
		}
	}
}

/* A load at an address that is mapped to another one */
static void check_address(struct setup *s, u64 va, u64 pa, const char *what)
{
	const struct record *r = &outcome.record[0];

	s->limit = BUFFER + 2 * PAGE;
	profile(s, code_ldr_x, va, 3, 0, 0);
	if (!expect_eq(outcome.n, 1, "%s: records", what))
		return;
	expect_eq(r->value[VA], va, "%s: VA", what);
	expect(has(r, PA), "%s: no PA", what);
	expect_eq(r->value[PA], pa | BIT(63), "%s: PA", what);
}

TEST(pa, "context: PA is where both stages of translation lead to")
{
	u64 page = (u64)arena + 12 * PAGE, *s2;

	if (!complete())
		return;
	for (int el = 0; el <= 2 && el < home; el++) {
		struct setup s = sampling(el);

		check_address(&s, WINDOW_DATA, (u64)DATA, "stage 1");
		check_address(&s, WINDOW_DATA + 0xab8, (u64)DATA + 0xab8, "stage 1, elsewhere in the page");
		if (!has_el2() || el == 2)
			continue;
		/* Its intermediate address is in the first page of the arena, which is elsewhere now. */
		s2 = stage2_entry((u64)arena);
		*s2 = page | PTE_S2;
		tlb_flush();
		s.hcr |= HCR_VM;
		check_address(&s, WINDOW_DATA, page + 0x100, "stages 1 and 2");
		*s2 = (u64)arena | PTE_S2;
		tlb_flush();
	}
}

TEST(no_pa, "context: a load that faults has its VA, but no PA, and is not retired")
{
	const struct record *r = &outcome.record[0];
	u64 nowhere = WINDOW + 100 * PAGE;

	if (!complete())
		return;
	for (int el = 0; el <= 2 && el < home; el++) {
		struct setup s = sampling(el);

		traps_expected();
		profile(&s, code_ldr_x, nowhere, 3, 0, 0);
		traps_over();
		expect_eq(trap.count, 1, "exceptions");
		if (!expect_eq(outcome.n, 1, "EL%d: records", (u64)el))
			continue;
		expect_eq(r->value[PC], code_address((u64)at_ldr_x, el, false), "EL%d: PC", (u64)el);
		expect_eq(r->value[EVENTS] & (EV_EXCEPTION | EV_RETIRED), EV_EXCEPTION, "EL%d: events", (u64)el);
		expect_eq(r->value[VA], nowhere, "EL%d: VA", (u64)el);
		expect(!has(r, PA), "EL%d: PA", (u64)el);
		expect(!has(r, SOURCE), "EL%d: data source", (u64)el);
	}
}
