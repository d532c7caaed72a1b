// SPDX-License-Identifier: GPL-2.0
/* Timestamps: whether there is one, and of which counter. */

#include "operations.h"

/* Far apart, so that it is clear which one was subtracted */
#define VIRTUAL_OFFSET (1ull << 40)
#define PHYSICAL_OFFSET (1ull << 44)
#define CNTHCTL_ECV BIT(12)

enum kind { VIRTUAL, PHYSICAL, GUEST_PHYSICAL };
static const char *const kind_names[] = { "virtual", "physical", "guest physical" };

static enum kind expected_kind(const struct setup *s)
{
	u64 one = FIELD(s->pmscr1, 7, 6), two = FIELD(s->pmscr2, 7, 6);
	bool in_host = s->hcr & HCR_E2H && (s->el == 2 || (s->el == 0 && s->hcr & HCR_TGE));

	if (has_el2()) {
		if (two == 0)
			return in_host ? PHYSICAL : VIRTUAL;
		if (two == 1 && s->owner == 2)
			return PHYSICAL;
		if (two == 3)
			return s->owner == 1 && one == 0 ? VIRTUAL : GUEST_PHYSICAL;
	}
	return one == 0 ? VIRTUAL : one == 1 ? PHYSICAL : GUEST_PHYSICAL;
}

static u64 now(void)
{
	isb();
	return mrs(cntpct_el0);
}

static void check_time(struct setup *s, bool offset_applies)
{
	const struct record *r = &outcome.record[0];
	enum kind kind = expected_kind(s);
	u64 offset = 0, before, after;

	if (has_el2() && kind == VIRTUAL)
		offset = VIRTUAL_OFFSET;
	if (has_el2() && kind == GUEST_PHYSICAL && offset_applies)
		offset = PHYSICAL_OFFSET;
	s->limit = BUFFER + 2 * PAGE;
	before = now();
	profile(s, code_nop, 0, 0, 0, 0);
	after = now();
	if (!expect_eq(outcome.n, 1, "EL%d, owner EL%d: records", (u64)s->el, (u64)s->owner) ||
	    !expect(has(r, TIME), "EL%d, owner EL%d: no time", (u64)s->el, (u64)s->owner))
		return;
	expect(r->value[TIME] + offset >= before && r->value[TIME] + offset <= after,
	       "EL%d, owner EL%d, HCR_EL2 %x, PMSCR %x %x: %s time from %x to %x expected, got %x", (u64)s->el,
	       (u64)s->owner, s->hcr, s->pmscr1, s->pmscr2, kind_names[kind], before - offset, after - offset,
	       r->value[TIME]);
}

static void check_controls(u64 hcr, int el, int owner, bool offset_applies)
{
	static const u64 kinds[] = { 0, 1, 3 };
	size_t count = feature(mrs(id_aa64mmfr0_el1), 60) ? 3 : 2;	/* 3 with FEAT_ECV */

	for (size_t one = 0; one < count; one++) {
		for (size_t two = 0; two < (has_el2() ? count : 1); two++) {
			struct setup s = sampling(el);

			s.owner = owner;
			s.hcr = hcr;
			s.pmscr1 |= PMSCR_TS | PMSCR_PCT(kinds[one]);
			s.pmscr2 |= PMSCR_TS | PMSCR_PCT(kinds[two]);
			if (hcr & HCR_TGE && el == 0)
				s.pmscr2 |= PMSCR_E0HSPE;
			check_time(&s, offset_applies);
		}
	}
}

static void check_levels(bool offset_applies)
{
	for (int el = 0; el <= 2 && el < home; el++) {
		for (int owner = el == 2 ? 2 : 1; owner <= (has_el2() ? 2 : 1); owner++)
			check_controls(HCR_BASE, el, owner, offset_applies);
	}
	if (!has_el2() || !feature(mrs(id_aa64mmfr1_el1), 8))
		return;
	check_controls(HCR_BASE | HCR_E2H | HCR_TGE, 0, 2, offset_applies);
	check_controls(HCR_BASE | HCR_E2H, 0, 1, offset_applies);
	if (has_el3())
		check_controls(HCR_BASE | HCR_E2H, 2, 2, offset_applies);
}

TEST(kinds, "time: virtual, physical or guest physical, as both PCT say")
{
	bool poff = FIELD(mrs(id_aa64mmfr0_el1), 63, 60) == 2;
	u64 cnthctl = 0;

	if (!complete())
		return;
	if (has_el2()) {
		cnthctl = mrs(cnthctl_el2);
		msr(cntvoff_el2, VIRTUAL_OFFSET);
	}
	check_levels(false);
	if (has_el2() && poff) {
		msr(S3_4_C14_C0_6, PHYSICAL_OFFSET);	/* CNTPOFF_EL2 */
		check_levels(false);	/* it is not enabled */
		msr(cnthctl_el2, cnthctl | CNTHCTL_ECV);
		isb();
		check_levels(true);
		if (has_el3()) {
			msr(scr_el3, SCR_BASE & ~SCR_ECVEN);
			isb();
			check_levels(false);
			msr(scr_el3, SCR_BASE);
		}
		msr(S3_4_C14_C0_6, 0);
	}
	if (has_el2()) {
		msr(cnthctl_el2, cnthctl);
		msr(cntvoff_el2, 0);
		isb();
	}
}

TEST(present, "time: TS of the owner's PMSCR decides whether there is one")
{
	if (!complete())
		return;
	for (int owner = 1; owner <= (has_el2() ? 2 : 1); owner++) {
		for (int ts = 0; ts < 4; ts++) {
			struct setup s = sampling(0);

			s.owner = owner;
			s.limit = BUFFER + 2 * PAGE;
			s.pmscr1 |= ts & 1 ? PMSCR_TS : 0;
			s.pmscr2 |= ts & 2 ? PMSCR_TS : 0;
			profile(&s, code_nop, 0, 0, 0, 0);
			if (expect_eq(outcome.n, 1, "records"))
				expect(has(&outcome.record[0], TIME) == (ts >> (owner - 1) & 1),
				       "owner EL%d, TS %d and %d", (u64)owner, (u64)ts & 1, (u64)ts >> 1);
		}
	}
}
