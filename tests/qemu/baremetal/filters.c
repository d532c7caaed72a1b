// SPDX-License-Identifier: GPL-2.0
/* Which records each filter lets through, for operations of all sorts. */

#include "operations.h"

#define RTC 0x09010000ull
#define SOURCE_DEVICE 0xe

/* One of each sort */
static const int chosen[] = {
	OPERATION_ldr_x, OPERATION_str_x, OPERATION_ldp, OPERATION_ldadd, OPERATION_stadd, OPERATION_cas, OPERATION_swp,
	OPERATION_ldr_q, OPERATION_str_q, OPERATION_nop, OPERATION_fadd, OPERATION_add_v, OPERATION_fadd_v,
	OPERATION_b, OPERATION_b_taken, OPERATION_b_not, OPERATION_ret, OPERATION_udf,
};

/* Samples the operation under a filter. True if there is a record. */
static bool passes(const struct operation *o, struct setup *s)
{
	s->pmsicr = count_of(o);
	s->limit = BUFFER + 2 * PAGE;
	traps_expected();
	profile(s, o->code, (u64)DATA, 3, 0, 0);
	traps_over();
	expect_eq(outcome.pmbsr, 0, "%s: PMBSR_EL1", o->name);
	return outcome.n;
}

#define for_each_chosen(o)							\
	for (size_t i_ = 0; i_ < ARRAY_SIZE(chosen); i_++)			\
		for (const struct operation *o = &operations[chosen[i_]];	\
		     o && machine_has(o->need); o = NULL)

/* The record without a filter. The first run fills the TLB. */
static struct record *unfiltered(const struct operation *o)
{
	struct setup s = sampling(0);

	passes(o, &s);
	return expect(passes(o, &s), "%s: no record without a filter", o->name) ? &outcome.record[0] : NULL;
}

TEST(event, "filters: FE takes what has all the events, FnE what has none of them")
{
	if (!complete())
		return;
	if (!(pmsidr & (PMSIDR_FE | PMSIDR_FNE)))
		return skip("no FE or FnE");
	for_each_chosen(o) {
		struct record *r = unfiltered(o);
		u64 events;

		if (!r)
			continue;
		events = r->value[EVENTS];
		for (u64 rest = events_mask(); rest; rest &= rest - 1) {
			u64 bit = rest & -rest;
			struct setup s = sampling(0);

			if (pmsidr & PMSIDR_FE) {
				s.pmsfcr = PMSFCR_FE;
				s.pmsevfr = bit;
				expect(passes(o, &s) == !!(events & bit), "%s has events %x: PMSEVFR_EL1 = %x", o->name, events,
				       bit);
				/* Together with one that each of them has: all are wanted. */
				s.pmsevfr = bit | (events & EV_RETIRED);
				expect(passes(o, &s) == !!(events & bit), "%s has events %x: PMSEVFR_EL1 = %x", o->name, events,
				       s.pmsevfr);
				s.pmsfcr = 0;
				expect(passes(o, &s), "%s: PMSEVFR_EL1 acts without FE", o->name);
			}
			if (pmsidr & PMSIDR_FNE) {
				s = sampling(0);
				s.pmsfcr = PMSFCR_FNE;
				s.pmsnevfr = bit;
				expect(passes(o, &s) == !(events & bit), "%s has events %x: PMSNEVFR_EL1 = %x", o->name, events,
				       bit);
				/* Together with one that most of them have: none is wanted. */
				s.pmsnevfr = bit | EV_RETIRED;
				expect(passes(o, &s) == !(events & s.pmsnevfr), "%s has events %x: PMSNEVFR_EL1 = %x", o->name,
				       events, s.pmsnevfr);
				s.pmsfcr = 0;
				expect(passes(o, &s), "%s: PMSNEVFR_EL1 acts without FnE", o->name);
			}
		}
	}
}

TEST(no_event, "filters: FE and FnE with no event selected let everything through")
{
	if (!version)
		return skip("no SPE");
	for_each_chosen(o) {
		struct setup s = sampling(0);

		s.pmsfcr = PMSFCR_FE | PMSFCR_FNE;
		expect(passes(o, &s), "%s is filtered", o->name);
	}
}

TEST(type, "filters: FT takes what is of any selected type, and everything if none is selected")
{
	if (!version || !(pmsidr & PMSIDR_FT))
		return skip("no FT");
	for_each_chosen(o) {
		for (u64 types = 0; types < 8; types++) {
			struct setup s = sampling(0);
			u64 want = types << 16;

			s.pmsfcr = PMSFCR_FT | want;
			expect(passes(o, &s) == (!want || o->flags & want), "%s: types %x", o->name, want);
			s.pmsfcr = want;
			expect(passes(o, &s), "%s: types %x act without FT", o->name, want);
		}
	}
}

TEST(ext_type, "filters: with EFT, masked types have to be as selected, of the others any will do")
{
	if (!version || !(pmsidr & PMSIDR_FT) || !(pmsidr & PMSIDR_EFT))
		return skip("no EFT");
	for_each_chosen(o) {
		for (u64 types = 0; types < 32; types++) {
			for (u64 masks = 0; masks < 32; masks++) {
				struct setup s = sampling(0);
				u64 want = types << 16, mask = masks << 16, any = want & ~mask;
				bool pass = !((o->flags ^ want) & mask) && (!any || o->flags & any);

				s.pmsfcr = PMSFCR_FT | want | TYPE_MASK(mask);
				expect(passes(o, &s) == pass, "%s: types %x, masks %x", o->name, want, mask);
			}
		}
	}
}

TEST(latency, "filters: FL takes what has at least the minimum latency")
{
	if (!complete())
		return;
	if (!(pmsidr & PMSIDR_FL))
		return skip("no FL");
	for_each_chosen(o) {
		struct record *r = unfiltered(o);
		struct setup s = sampling(0);
		u64 total;

		if (!r || !expect(has(r, TOTAL), "%s: no total latency", o->name))
			continue;
		total = r->value[TOTAL];
		s.pmsfcr = PMSFCR_FL;
		for (u64 least = 0; least < total + 4; least++) {
			s.pmslatfr = least;
			expect(passes(o, &s) == (total >= least), "%s: latency %d, minimum %d", o->name, total, least);
		}
		s.pmslatfr = counter_max();
		expect(!passes(o, &s), "%s: latency %d, minimum %d", o->name, total, s.pmslatfr);
		s.pmsfcr = 0;
		expect(passes(o, &s), "%s: PMSLATFR_EL1 acts without FL", o->name);
	}
}

TEST(data_source, "filters: FDS takes loads from the selected sources, and what has no source")
{
	if (!complete())
		return;
	if (!(pmsidr & PMSIDR_FDS))
		return skip("no FDS");
	for_each_chosen(o) {
		struct record *r = unfiltered(o);
		struct setup s = sampling(0);
		bool source;
		u64 bit;

		if (!r)
			continue;
		source = has(r, SOURCE);
		bit = source ? BIT(r->value[SOURCE] & 63) : 1;
		s.pmsfcr = PMSFCR_FDS;
		s.pmsdsfr = bit;
		expect(passes(o, &s), "%s: its source is selected", o->name);
		s.pmsdsfr = ~bit;
		expect(passes(o, &s) == !source, "%s: all sources but %x are selected", o->name, bit);
		s.pmsdsfr = 0;
		expect(passes(o, &s) == !source, "%s: no source is selected", o->name);
	}
}

TEST(source_of_device, "filters: a load from a device has a source of its own, which FDS tells from all others")
{
	struct setup s = sampling(0);

	if (!complete())
		return;
	if (!(pmsidr & PMSIDR_LDS))
		return skip("no LDS");
	profile(&s, code_ldr_w, RTC, 0, 0, 0);
	if (!expect_eq(outcome.n, 1, "records"))
		return;
	expect_eq(outcome.record[0].value[SOURCE], SOURCE_DEVICE, "source");
	expect(!(outcome.record[0].value[EVENTS] & EV_L1D), "it accesses the cache");
	for (int bit = 0; bit < 64 && pmsidr & PMSIDR_FDS; bit++) {
		s.pmsfcr = PMSFCR_FDS;
		s.pmsdsfr = BIT(bit);
		profile(&s, code_ldr_w, RTC, 0, 0, 0);
		expect_eq(outcome.n, bit == SOURCE_DEVICE, "PMSDSFR_EL1 %x: records", s.pmsdsfr);
	}
}

TEST(all, "filters: all that are enabled have to be passed")
{
	struct operation const *o = &operations[OPERATION_ldr_x];
	static const u64 all = PMSFCR_FE | PMSFCR_FT | PMSFCR_FL;
	struct setup good = sampling(0), s;

	if (!version || (pmsidr & all) != all)
		return skip("not all of FE, FT and FL");
	unfiltered(o);
	good.pmsfcr = all | TYPE_LD;
	good.pmsevfr = EV_RETIRED;
	good.pmslatfr = 1;
	expect(passes(o, &good), "it fits all");
	s = good;
	s.pmsevfr = EV_MISPREDICTED;
	expect(!passes(o, &s), "it has not the event");
	s = good;
	s.pmsfcr = all | TYPE_B;
	expect(!passes(o, &s), "it has not the type");
	s = good;
	s.pmslatfr = counter_max();
	expect(!passes(o, &s), "it has not the latency");
}

TEST(goes_on, "filters: what is filtered takes no room, stops nothing, and the interval goes on")
{
	struct setup s = sampling(0);

	if (!version || !(pmsidr & PMSIDR_FT))
		return skip("no FT");
	s.pmsfcr = PMSFCR_FT | TYPE_B;
	s.pmsicr = 1;
	s.pmsirr = 4 << 8;
	profile(&s, code_ldr_x, (u64)DATA, 3, 0, 0);
	expect_eq(outcome.n, 0, "records");
	expect_eq(outcome.pmbptr, s.pmbptr, "PMBPTR_EL1");
	expect_eq(outcome.pmbsr, 0, "PMBSR_EL1");
	expect_eq(outcome.pmsicr, 4 * 256 - 1, "COUNT after the sampled operation and two more");
}
