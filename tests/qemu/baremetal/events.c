// SPDX-License-Identifier: GPL-2.0
/* Events that depend on more than the instruction, and the latencies that go with them. */

#include "operations.h"

#define CODE(name, text) \
	asm(".pushsection .text\n" \
	    ".arch armv8.8-a+sve+memtag+mops+pauth\n" \
	    #name ": " text "\n svc #0\n .popsection\n"); \
	extern const char name[]

CODE(two_loads, "ldr x2, [x0]\n ldr x3, [x0]");
CODE(backward, "b 2f\n 1: b 3f\n 2: cbz x1, 1b\n 3: nop");
CODE(previous, "b 1f\n nop\n 1: nop\n nop\n b.al 2f\n nop\n 2: ldr x2, [x0]");
CODE(zero_block, "dc zva, x0");
CODE(copy, "add x2, x0, #512\n mov x3, x0\n mov x4, #64\n cpyfp [x2]!, [x3]!, x4!\n cpyfm [x2]!, [x3]!, x4!\n"
	   "cpyfe [x2]!, [x3]!, x4!");

static const struct record *sample(const char *code, u64 n, u64 data, u64 x1)
{
	struct setup s = sampling(0);

	s.pmsicr = n;
	s.limit = BUFFER + 2 * PAGE;
	profile(&s, code, data, x1, 0, 0);
	return expect_eq(outcome.n, 1, "records") ? &outcome.record[0] : NULL;
}

TEST(walk, "events: the first access after TLBI walks the tables, the next one hits the TLB")
{
	u64 walk = param("walk-latency") ? param("walk-latency") : 20;
	const struct record *r;

	if (!complete())
		return;
	if (walk > counter_max())
		walk = counter_max();
	for (int round = 0; round < 4; round++) {
		tlb_flush();
		r = sample(two_loads, 1, WINDOW_DATA, 0);
		if (r) {
			expect_eq(r->value[EVENTS] & (EV_TLB | EV_WALK), EV_TLB | EV_WALK, "first load: events");
			expect_eq(r->value[XLAT], walk, "first load: translation latency");
		}
		tlb_flush();
		r = sample(two_loads, 2, WINDOW_DATA, 0);
		if (r) {
			expect_eq(r->value[EVENTS] & (EV_TLB | EV_WALK), EV_TLB, "second load: events");
			expect_eq(r->value[XLAT], 1, "second load: translation latency");
		}
	}
}

TEST(saturation, "events: counters stop at the greatest number they can hold")
{
	const struct record *r;

	if (!complete())
		return;
	if (param("walk-latency") < 0xfff)
		return skip("a walk does not take long enough here");
	tlb_flush();
	r = sample(two_loads, 1, WINDOW_DATA, 0);
	if (r) {
		u64 walk = param("walk-latency"), total = walk + 5;

		expect_eq(r->value[XLAT], walk < counter_max() ? walk : counter_max(), "translation latency");
		expect_eq(r->value[TOTAL], total < counter_max() ? total : counter_max(), "total latency");
	}
}

TEST(misaligned, "events: misaligned is an access that is not a multiple of its size, from v1p1 on")
{
	static const struct { const char *code; u64 offset; bool misaligned; } cases[] = {
		{ code_ldr_x, 0, false }, { code_ldr_x, 1, true }, { code_ldr_x, 4, true }, { code_ldr_x, 8, false },
		{ code_str_x, 7, true }, { code_str_x, 16, false }, { code_ldrsh, 1, true }, { code_ldrsh, 2, false },
		{ code_ldrb, 1, false }, { code_strb, 2, false }, { code_ldr_w, 2, true }, { code_ldr_w, 4, false },
		{ code_ldr_q, 8, true }, { code_ldr_q, 16, false }, { code_str_q, 4, true }, { code_ldp, 4, true },
		{ code_ldp, 8, false }, { code_stp, 1, true }, { code_ldp_q, 8, true },
	};

	if (!complete())
		return;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct record *r = sample(cases[i].code, 1, (u64)DATA + cases[i].offset, 3);
		bool misaligned = cases[i].misaligned && version >= V1P1;

		if (r)
			expect_eq(r->value[EVENTS] & EV_MISALIGNED, misaligned ? EV_MISALIGNED : 0, "case %d: events", (u64)i);
	}
}

TEST(prediction, "events: a backward conditional branch is predicted as taken")
{
	const struct record *r;

	if (!complete())
		return;
	r = sample(backward, 2, (u64)DATA, 0);
	if (r) {
		expect_eq(r->value[EVENTS] & (EV_MISPREDICTED | EV_NOT_TAKEN), 0, "taken: events");
		expect_eq(r->value[TARGET], code_address((u64)backward + 4, 0, false), "taken: target");
		expect_eq(r->value[TOTAL], 2, "taken: total latency");
	}
	r = sample(backward, 2, (u64)DATA, 1);
	if (r) {
		expect_eq(r->value[EVENTS] & (EV_MISPREDICTED | EV_NOT_TAKEN), EV_MISPREDICTED | EV_NOT_TAKEN,
			  "not taken: events");
		expect(!has(r, TARGET), "not taken: target");
		expect_eq(r->value[TOTAL], 12, "not taken: total latency");
	}
}

TEST(previous_branch, "events: the target of the last taken branch, if the implementation has it")
{
	static const struct { u64 n, target; } cases[] = { { 2, 8 }, { 3, 8 }, { 5, 24 } };

	if (!complete())
		return;
	if (!param("prev-branch"))
		return skip("no previous branch targets");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct record *r = sample(previous, cases[i].n, (u64)DATA, 0);

		if (r && expect(has(r, PREVIOUS), "operation %d: no packet", cases[i].n))
			expect_eq(r->value[PREVIOUS], code_address((u64)previous + cases[i].target, 0, false), "operation %d",
				  cases[i].n);
	}
}

TEST(no_previous_branch, "events: no packet for the previous branch otherwise")
{
	const struct record *r;

	if (!complete())
		return;
	if (param("prev-branch"))
		return skip("there are previous branch targets");
	r = sample(previous, 3, (u64)DATA, 0);
	if (r)
		expect(!has(r, PREVIOUS), "there is one");
}

TEST(zva, "events: DC ZVA is a store, or another operation")
{
	const struct record *r;

	if (!complete())
		return;
	r = sample(zero_block, 1, (u64)DATA, 0);
	if (!r)
		return;
	expect_eq(r->value[PC], code_address((u64)zero_block, 0, false), "PC");
	if (r->class == CLASS_LDST) {
		expect(r->value[OP] & 1, "a load: %x", r->value[OP]);
		expect_eq(r->value[VA], (u64)DATA, "VA");
	} else {
		expect_eq(r->class, CLASS_OTHER, "class");
		expect_eq(r->value[OP], 0, "operation type");
	}
}

TEST(mops, "events: CPYFP, CPYFM and CPYFE are copies of memory")
{
	if (!complete())
		return;
	if (!machine_has(NEED_MOPS))
		return skip("no MOPS");
	for (u64 n = 4; n <= 6; n++) {
		const struct record *r = sample(copy, n, (u64)DATA, 0);

		if (r) {
			expect_eq(r->class, CLASS_LDST, "step %d: class", n - 3);
			expect_eq(r->value[OP] & 0xfe, 0x20, "step %d: operation type but for ST", n - 3);
		}
	}
}

TEST(cache, "events: with a cache, a load of a line that the load before it has brought hits the first level")
{
	const struct record *r;

	if (!complete())
		return;
	if (!param("cache"))
		return skip("no cache");
	r = sample(two_loads, 2, (u64)DATA, 0);
	if (r) {
		expect_eq(r->value[EVENTS] & (EV_L1D | EV_L1D_REFILL | EV_LLC | EV_LLC_MISS), EV_L1D, "events");
		if (has(r, SOURCE))
			expect_eq(r->value[SOURCE], 0, "data source");
	}
}

TEST(vector_length, "events: the effective vector length is that of the level")
{
	u64 zcr = has_el2() ? 1 : 0;
	const struct record *r;

	if (!complete())
		return;
	if (version < V1P1 || !machine_has(NEED_SVE))
		return skip("no SPEv1p1 or no SVE");
	for (u64 quads = 1; quads <= 16; quads *= 2) {
		if (has_el3())
			msr(S3_6_C1_C2_0, quads - 1);
		if (zcr)
			msr(S3_4_C1_C2_0, quads - 1);
		msr(S3_0_C1_C2_0, quads - 1);
		isb();
		if ((mrs(S3_0_C1_C2_0) & 0xf) != quads - 1)
			break;
		r = sample(code_sve_add, 1, (u64)DATA, 3);
		if (r) {
			u64 evl = 0;

			while (32ull << evl < quads * 128)
				evl++;
			expect_eq(FIELD(r->value[OP], 6, 4), evl, "vectors of %d bits", quads * 128);
		}
	}
	msr(S3_0_C1_C2_0, 0);
	if (zcr)
		msr(S3_4_C1_C2_0, 0);
	if (has_el3())
		msr(S3_6_C1_C2_0, 0);
	isb();
}
