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
CODE(unprivileged, "msr pan, #1\n ldtr x2, [x0]\n msr pan, #0");
CODE(unmask, "msr daifclr, #2\n nop");
CODE(timed, "mrs x5, cntvct_el0\n .rept 600\n ldar x3, [x0]\n .endr\n mrs x6, cntvct_el0\n sub x0, x6, x5");
CODE(previous_stays, "b 1f\n nop\n 1: nop\n cbnz xzr, 2f\n ldr x2, [x0]\n 2: nop");
/* x1 bytes lie between the lines of a set. The tenth and the last operation load the first line again. */
CODE(same_set, "ldr x2, [x0]\n ldr x2, [x0, x1]\n add x0, x0, x1, lsl #1\n ldr x2, [x0]\n ldr x2, [x0, x1]\n"
	       "sub x0, x0, x1, lsl #1\n nop\n nop\n nop\n ldr x2, [x0]\n"
	       "add x0, x0, x1\n ldr x2, [x0]\n ldr x2, [x0, x1]\n add x0, x0, x1, lsl #1\n ldr x2, [x0]\n"
	       "ldr x2, [x0, x1]\n sub x0, x0, x1, lsl #1\n sub x0, x0, x1\n ldr x2, [x0]");
CODE(zero_block, "dc zva, x0");
CODE(literal, "nop\n ldr w2, .-4");
CODE(to_el0, "adr x2, 1f\n msr elr_el1, x2\n mov x2, #0x3c0\n msr spsr_el1, x2\n eret\n 1: nop");
CODE(linked, "add x30, x0, #8\n ldr x3, [x30]\n bl 1f\n 1: nop");
CODE(leaves, "adr x2, 1f\n msr elr_el1, x2\n mov x2, #0x3c0\n msr spsr_el1, x2\n cmp xzr, xzr\n csel x3, x4, x5, eq\n"
	     "mov sp, x0\n ldr x3, [sp, #8]\n eret\n 1: nop");
CODE(linked_to, "adr x4, 1f\n add x30, x0, #8\n ldr x3, [x30]\n blr x4\n 1: nop");
CODE(other_stack, "mov x2, #0\n mov sp, x0\n ldr x3, [sp, #8]\n msr spsel, x2\n msr spsel, #1");
CODE(copy, "add x2, x0, #512\n mov x3, x0\n mov x4, #64\n cpyfp [x2]!, [x3]!, x4!\n cpyfm [x2]!, [x3]!, x4!\n"
	   "cpyfe [x2]!, [x3]!, x4!");

static const struct record *sample_at(int el, const char *code, u64 n, u64 data, u64 x1)
{
	struct setup s = sampling(el);

	s.pmsicr = n;
	s.limit = BUFFER + 2 * PAGE;
	profile(&s, code, data, x1, 0, 0);
	return expect_eq(outcome.n, 1, "records") ? &outcome.record[0] : NULL;
}

static const struct record *sample(const char *code, u64 n, u64 data, u64 x1)
{
	return sample_at(0, code, n, data, x1);
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

/* Instructions that write the register of an address: what they are, how many there are, the register, DATA + what */
#define ADDRESS_WRITERS(X)								\
	X(add,      ALWAYS,   "add x0, x0, #8",                       1, "x0", 8)	\
	X(post,     ALWAYS,   "ldr x2, [x0], #16",                    1, "x0", 16)	\
	X(pre,      ALWAYS,   "str x2, [x0, #16]!",                   1, "x0", 16)	\
	X(post_q,   ALWAYS,   "ldr q0, [x0], #32",                    1, "x0", 32)	\
	X(post_ld1, ALWAYS,   "ld1 {v0.16b}, [x0], #16",              1, "x0", 16)	\
	X(pair,     ALWAYS,   "ldp x2, x3, [x0], #16",                1, "x0", 16)	\
	X(pair_pre, ALWAYS,   "stp x2, x3, [x0, #-16]!",              1, "x0", -16)	\
	X(pair_q,   ALWAYS,   "ldp q0, q1, [x0], #32",                1, "x0", 32)	\
	X(load,     ALWAYS,   "str x0, [x0]\n ldr x5, [x0]",          2, "x5", 0)	\
	X(loads,    ALWAYS,   "str x0, [x0, #8]\n ldp x2, x5, [x0]",  2, "x5", 0)	\
	X(loads_2,  ALWAYS,   "str x0, [x0]\n ldp x5, x2, [x0]",      2, "x5", 0)	\
	X(acquire,  ALWAYS,   "str x0, [x0]\n ldar x5, [x0]",         2, "x5", 0)	\
	X(swap,     NEED_LSE, "str x0, [x0]\n swp x1, x5, [x0]",      2, "x5", 0)	\
	X(mrs,      ALWAYS,   "msr tpidr_el0, x0\n mrs x5, tpidr_el0", 2, "x5", 0)	\
	X(copy,     NEED_MOPS, "mov x6, x0\n mov x5, x0\n mov x7, #0\n cpyfp [x5]!, [x6]!, x7!\n cpyfm [x5]!, [x6]!, x7!\n" \
			       "cpyfe [x5]!, [x6]!, x7!", 6, "x5", 0)

#define X_ADDRESS(id, need, writer, count, reg, ...) \
	CODE(address_##id, writer "\n ldr x3, [" reg "]\n add " reg ", " reg ", #8\n");	\
	CODE(index_##id, writer "\n sub x4, x0, x0\n ldr x3, [x4, " reg "]\n add " reg ", " reg ", #8\n");
ADDRESS_WRITERS(X_ADDRESS)

TEST(addresses, "events: an address is that of the registers as the operation finds them, whatever writes them")
{
#define X_ADDRESS_CASE(id, need, writer, count, reg, offset) \
		{ #id, need, address_##id, index_##id, count, offset },
	static const struct { const char *name; enum need need; const char *base, *index; u64 before; int offset; } cases[] = {
		ADDRESS_WRITERS(X_ADDRESS_CASE)
	};

	if (!complete())
		return;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		u64 va = (u64)DATA + cases[i].offset;
		const struct record *r;

		if (!machine_has(cases[i].need))
			continue;
		r = sample(cases[i].base, cases[i].before + 1, (u64)DATA, 3);
		if (r)
			expect_eq(r->value[VA], va, "%s: VA by its base", cases[i].name);
		r = sample(cases[i].index, cases[i].before + 2, (u64)DATA, 3);
		if (r)
			expect_eq(r->value[VA], va, "%s: VA by its index", cases[i].name);
	}
}

TEST(linked, "events: an address in X30 is not what BL or BLR leaves there")
{
	const struct record *r;

	if (!complete())
		return;
	r = sample(linked, 2, (u64)DATA, 0);
	if (r)
		expect_eq(r->value[VA], (u64)DATA + 8, "VA before BL");
	r = sample(linked_to, 3, (u64)DATA, 0);
	if (r)
		expect_eq(r->value[VA], (u64)DATA + 8, "VA before BLR");
}

TEST(leaves, "events: flags and SP are those before ERET, and SP that before MSR SPSel")
{
	const struct record *r;

	if (!complete())
		return;
	if (home == 1)
		return skip("no level above EL1");
	r = sample_at(1, leaves, 6, (u64)DATA, 0);
	if (r)
		expect_eq(r->value[EVENTS] & EV_NOT_TAKEN, 0, "events of CSEL before ERET");
	r = sample_at(1, leaves, 8, (u64)DATA, 0);
	if (r)
		expect_eq(r->value[VA], (u64)DATA + 8, "VA before ERET");
	r = sample_at(1, other_stack, 3, (u64)DATA, 0);
	if (r)
		expect_eq(r->value[VA], (u64)DATA + 8, "VA before MSR SPSel");
}

TEST(literal, "events: literal data may lie before the instruction")
{
	const struct record *r;

	if (!complete())
		return;
	r = sample(literal, 2, (u64)DATA, 0);
	if (r)
		expect_eq(r->value[VA], (u64)literal, "VA");
}

TEST(eret, "events: the target of ERET is at the Exception level that it goes to")
{
	const struct record *r;

	if (!complete())
		return;
	if (home == 1)
		return skip("no level above EL1");
	r = sample_at(1, to_el0, 5, (u64)DATA, 0);
	if (!r)
		return;
	expect_eq(r->value[PC], code_address((u64)to_el0 + 16, 1, false), "PC");
	expect_eq(r->value[TARGET], code_address((u64)to_el0 + 20, 0, false), "target");
}

TEST(unprivileged, "events: LDTR at EL1 accesses what EL0 may access, and EL1 itself may not")
{
	struct setup s = sampling(1);

	if (!complete())
		return;
	if (home == 1)
		return skip("no level above EL1");
	s.pmscr1 |= PMSCR_PA;
	s.pmsicr = 2;
	profile(&s, unprivileged, (u64)DATA, 0, 0, 0);
	if (expect_eq(outcome.n, 1, "records") && expect(has(&outcome.record[0], PA), "no PA"))
		expect_eq(outcome.record[0].value[PA], (u64)DATA | BIT(63), "PA");
}

TEST(interrupt, "events: an interrupt behind an operation is no exception of it")
{
	struct setup s = sampling(1);

	if (!complete())
		return;
	if (home == 1)
		return skip("no level above EL1");
	s.hcr |= HCR_IMO | HCR_VI;
	traps_expected();
	profile(&s, unmask, (u64)DATA, 0, 0, 0);
	traps_over();
	expect(trap.count == 1 && trap.irq, "%d exceptions, not an interrupt", (u64)trap.count);
	if (!expect_eq(outcome.n, 1, "records"))
		return;
	expect_eq(outcome.record[0].value[PC], code_address((u64)unmask, 1, false), "PC");
	expect_eq(outcome.record[0].value[EVENTS] & (EV_EXCEPTION | EV_RETIRED), EV_RETIRED, "events");
}

TEST(icount, "events: with -icount, time goes on as it does without sampling")
{
	struct setup s = sampling(1);
	u64 sampled;

	if (!complete())
		return;
	if (home == 1 || !param("icount"))
		return skip("time does not follow the instructions, or no level above EL1");
	s.pmsirr = 1 << 8;
	profile(&s, timed, (u64)DATA, 0, 0, 0);
	expect_eq(outcome.n, 3, "records");
	sampled = outcome.x0;
	s.pmscr1 = 0;
	profile(&s, timed, (u64)DATA, 0, 0, 0);
	expect_eq(outcome.n, 0, "records without sampling");
	expect_eq(sampled, outcome.x0, "ticks while sampling");
}

TEST(previous_branch, "events: the target of the last taken branch, if the implementation has it")
{
	static const struct { const char *code; u64 n, target; } cases[] = {
		{ previous, 2, 8 }, { previous, 3, 8 }, { previous, 5, 24 }, { previous_stays, 4, 8 },
	};

	if (!complete())
		return;
	if (!param("prev-branch"))
		return skip("no previous branch targets");
	/* What led to the first operation was not profiled. */
	sample(previous, 1, (u64)DATA, 0);
	expect(!has(&outcome.record[0], PREVIOUS), "the first operation has one");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct record *r = sample(cases[i].code, cases[i].n, (u64)DATA, 0);

		if (r && expect(has(r, PREVIOUS), "case %d: no packet", i))
			expect_eq(r->value[PREVIOUS], code_address((u64)cases[i].code + cases[i].target, 0, false), "case %d",
				  i);
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

/*
 * Instructions that write the flags: what comes before, the instruction, and a condition that holds after it and
 * not before. The branch ends QEMU's translated block, so that the flags differ from those at the start of the next.
 */
#define FLAG_WRITERS(X)									\
	X(adds_imm,  ALWAYS,    "cmp xzr, xzr",  "cmn x1, #1",               "ne")	\
	X(subs_imm,  ALWAYS,    "msr nzcv, xzr", "subs wzr, w1, #4",         "mi")	\
	X(ands_imm,  ALWAYS,    "msr nzcv, xzr", "tst xzr, #1",              "eq")	\
	X(ands_reg,  ALWAYS,    "msr nzcv, xzr", "tst xzr, x1",              "eq")	\
	X(bics_reg,  ALWAYS,    "msr nzcv, xzr", "bics xzr, x1, x1",         "eq")	\
	X(adds_reg,  ALWAYS,    "msr nzcv, xzr", "cmn xzr, xzr",             "eq")	\
	X(subs_ext,  ALWAYS,    "msr nzcv, xzr", "subs xzr, x1, w1, uxtw",   "eq")	\
	X(adcs,      ALWAYS,    "msr nzcv, xzr", "adcs xzr, xzr, xzr",       "eq")	\
	X(ccmp,      ALWAYS,    "msr nzcv, xzr", "ccmp x1, #3, #0, al",      "eq")	\
	X(ccmn,      ALWAYS,    "msr nzcv, xzr", "ccmn x1, #0, #1, eq",      "vs")	\
	X(rmif,      NEED_FLAGM, "msr nzcv, xzr", "rmif x1, #0, #2",         "cs")	\
	X(setf8,     NEED_FLAGM, "msr nzcv, xzr", "setf8 wzr",               "eq")	\
	X(cfinv,     NEED_FLAGM, "msr nzcv, xzr", "cfinv",                   "cs")	\
	X(msr_nzcv,  ALWAYS,    "cmp xzr, xzr",  "msr nzcv, xzr",            "ne")	\
	X(fcmp,      ALWAYS,    "msr nzcv, xzr", "fcmp d0, d0",              "cs")	\
	X(fcmpe,     ALWAYS,    "msr nzcv, xzr", "fcmpe s0, #0.0",           "cs")	\
	X(fccmp,     ALWAYS,    "msr nzcv, xzr", "fccmp d0, d0, #1, eq",     "vs")	\
	X(subps,     NEED_MTE,  "msr nzcv, xzr", "subps xzr, x1, x1",        "eq")	\
	X(setp,      NEED_MOPS, "cmp xzr, xzr",  ".inst 0x19df0440",         "ne") /* setp [x0]!, x2!, xzr */	\
	X(ptrues,    NEED_SVE,  "cmp xzr, xzr",  "ptrues p0.b",              "mi")

/* The flags change before the fourth operation, after it, and both. */
#define X_CODE(id, need, before, writer, cond)									\
	CODE(flags_before_##id, before "\n b 1f\n 1: " writer "\n csel x3, x4, x5, " cond "\n nop");		\
	CODE(flags_after_##id, before "\n b 1f\n 1: nop\n csel x3, x4, x5, " cond "\n " writer);		\
	CODE(flags_around_##id, before "\n b 1f\n 1: " writer "\n csel x3, x4, x5, " cond "\n " before);
FLAG_WRITERS(X_CODE)

TEST(flags, "events: a conditional operation goes by the flags as it finds them, whatever writes them")
{
#define X_CASE(id, need, ...) { #id, need, flags_before_##id, flags_after_##id, flags_around_##id },
	static const struct { const char *name; enum need need; const char *before, *after, *around; } cases[] = {
		FLAG_WRITERS(X_CASE)
	};

	if (!complete())
		return;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct { const char *name, *code; bool holds; } orders[] = {
			{ "before", cases[i].before, true }, { "after", cases[i].after, false },
			{ "before, and undone after", cases[i].around, true },
		};

		if (!machine_has(cases[i].need))
			continue;
		for (size_t k = 0; k < ARRAY_SIZE(orders); k++) {
			const struct record *r = sample(orders[k].code, 4, (u64)DATA, 3);

			if (r)
				expect_eq(r->value[EVENTS] & EV_NOT_TAKEN, orders[k].holds ? 0 : EV_NOT_TAKEN,
					  "%s %s: events", cases[i].name, orders[k].name);
		}
	}
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

TEST(cache_lru, "events: with a cache, of the four lines of a set the one that was used last stays longest")
{
	u64 events = EV_L1D | EV_L1D_REFILL | EV_LLC | EV_LLC_MISS, stride = (32 << 10) / 4;
	const struct record *r;

	if (!complete())
		return;
	if (!param("cache"))
		return skip("no cache");
	r = sample(same_set, 10, (u64)arena, stride);
	if (r)
		expect_eq(r->value[EVENTS] & events, EV_L1D, "after three others: events");
	r = sample(same_set, 19, (u64)arena, stride);
	if (r)
		expect_eq(r->value[EVENTS] & events, EV_L1D | EV_L1D_REFILL | EV_LLC, "after four others: events");
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
