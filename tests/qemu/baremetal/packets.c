// SPDX-License-Identifier: GPL-2.0
/* What a record says of each kind of instruction. */

#include "operations.h"

#define X_CODE(id, need, before, insn, ...)		\
	asm(".pushsection .text\n"			\
	    ".arch armv8.8-a+sve+memtag+mops+pauth\n"	\
	    ".balign 32\n"				\
	    ".globl code_" #id ", at_" #id ", label_" #id "\n"	\
	    "code_" #id ": " before "\n"		\
	    "at_" #id ": " insn "\n"			\
	    "	nop\n"					\
	    "label_" #id ": 1: svc #0\n"		\
	    ".popsection\n");
OPERATIONS(X_CODE)

#define X_OPERATION(id, its_need, before, insn, its_class, its_payload, its_va, its_flags)		\
	{ insn, code_##id, at_##id, label_##id, its_need, CLASS_##its_class, its_payload, its_va, its_flags },
const struct operation operations[OPERATION_COUNT] = { OPERATIONS(X_OPERATION) };

bool machine_has(enum need need)
{
	u64 isar0 = mrs(id_aa64isar0_el1), isar1 = mrs(id_aa64isar1_el1), mmfr1 = mrs(id_aa64mmfr1_el1);
	u64 pfr0 = mrs(id_aa64pfr0_el1), pfr1 = mrs(id_aa64pfr1_el1), isar2 = mrs(S3_0_C0_C6_2);

	switch (need) {
	case NEED_LSE:
		return FIELD(isar0, 23, 20) >= 2;
	case NEED_LOR:
		return feature(mmfr1, 16);
	case NEED_LRCPC:
		return FIELD(isar1, 23, 20) >= 1;
	case NEED_LRCPC2:
		return FIELD(isar1, 23, 20) >= 2;
	case NEED_PAUTH:
		return feature(isar1, 4) || feature(isar1, 8) || feature(isar2, 12);
	case NEED_MTE:
		return FIELD(pfr1, 11, 8) >= 2;
	case NEED_SVE:
		return feature(pfr0, 32);
	case NEED_FLAGM:
		return feature(mrs(id_aa64isar0_el1), 52);
	case NEED_MOPS:
		return version >= V1P3 && feature(isar2, 16);
	default:
		return true;
	}
}

/* --- What is expected --- */

static u8 payload_of(const struct operation *o)
{
	u8 payload = o->payload;

	if (o->class == CLASS_BRANCH && !(pmsidr & PMSIDR_CRR))
		payload &= ~0x18;
	if (o->class == CLASS_OTHER && o->need != NEED_SVE && !(pmsidr & PMSIDR_FPF))
		payload &= ~0x06;
	if (o->class == CLASS_LDST && o->flags & PREFETCH && version < V1P1)
		payload = 0;	/* "unspecified registers" are not there yet */
	if (o->class == CLASS_LDST && o->need == NEED_SVE && o->flags & LD && version < V1P2)
		payload &= ~0x04;	/* that a load is predicated is not told yet */
	return payload;
}

static u64 va_of(const struct operation *o)
{
	return o->va == LABEL_VA ? (u64)o->label : (u64)DATA + o->va;
}

/* Events of which it is known whether they are there */
static void expected_events(const struct operation *o, u64 *there, u64 *absent)
{
	/* What completes with a synchronous exception has retired as well. */
	*there = EV_RETIRED | (o->flags & FAULTS ? EV_EXCEPTION : 0);
	*absent = o->flags & FAULTS ? 0 : EV_EXCEPTION;
	if (o->class == CLASS_LDST && !(o->flags & PREFETCH) && !(o->flags & EMPTY))
		*there |= EV_TLB | EV_L1D;
	else if (o->class != CLASS_LDST)
		*absent |= EV_TLB | EV_WALK | EV_L1D | EV_L1D_REFILL | EV_LLC | EV_LLC_MISS;
	if (o->flags & NOT_TAKEN)
		*there |= EV_NOT_TAKEN;
	else if (o->flags & TAKEN || o->class != CLASS_BRANCH)
		*absent |= EV_NOT_TAKEN;
	/* Forward branches are predicted as not taken; only conditional ones are ever mispredicted. */
	if (o->flags & TAKEN && o->payload & 1)
		*there |= EV_MISPREDICTED;
	else if (o->flags & NOT_TAKEN || o->class != CLASS_BRANCH || !(o->payload & 1))
		*absent |= EV_MISPREDICTED;
	*absent |= EV_MISALIGNED;
	*(o->flags & PARTIAL ? there : absent) |= EV_PARTIAL;
	*(o->flags & EMPTY ? there : absent) |= EV_EMPTY;
	if (!param("cache"))
		*absent |= EV_L1D_REFILL | EV_LLC | EV_LLC_MISS;
}

/* The cycles of the model, see the table in README.md */
static void check_latency(const struct operation *o, const struct record *r)
{
	u64 total = 2, xlat = 1, events = r->value[EVENTS];
	u64 walk = param("walk-latency") ? param("walk-latency") : 20;

	if (o->class == CLASS_LDST) {
		total = 1 + (o->flags & ATOMIC ? 8 : o->flags & LD ? 4 : 2);
		if (events & EV_WALK)
			xlat = walk;
		total += xlat;
		/* What the first level has not costs more, and what the last level has not, more again. */
		if (events & EV_L1D_REFILL)
			total += 10;
		if (events & EV_LLC_MISS)
			total += param("miss-latency") ? param("miss-latency") : 100;
	} else if (o->class == CLASS_BRANCH) {
		total = events & EV_MISPREDICTED ? 12 : 2;
	} else if (o->flags & (FP | SIMD)) {
		total = 5;
	}
	total = total < counter_max() ? total : counter_max();
	xlat = xlat < counter_max() ? xlat : counter_max();
	expect_eq(r->value[TOTAL], total, "%s: total latency", o->name);
	expect_eq(r->value[ISSUE], 1, "%s: issue latency", o->name);
	if (o->class == CLASS_LDST)
		expect_eq(r->value[XLAT], xlat, "%s: translation latency", o->name);
}

static void check_packets(const struct operation *o, const struct record *r)
{
	bool ldst = o->class == CLASS_LDST, faults = o->flags & FAULTS;
	u32 want = BIT(PC) | BIT(TOTAL) | BIT(ISSUE) | BIT(EVENTS) | BIT(OP), open = 0;

	want |= ldst ? BIT(XLAT) : 0;
	want |= o->flags & TAKEN && !faults ? BIT(TARGET) : 0;
	if (ldst && o->va == NO_VA)
		open |= BIT(VA) | BIT(PA) | BIT(SOURCE);
	else if (ldst)
		want |= BIT(VA) | BIT(PA);
	if (ldst && o->flags & LD && pmsidr & PMSIDR_LDS)
		want |= BIT(SOURCE);
	if (o->flags & PREFETCH)
		open |= BIT(SOURCE) | BIT(PA);
	if (o->class == CLASS_BRANCH && !(o->flags & (TAKEN | NOT_TAKEN)))
		open |= BIT(TARGET);
	if (param("prev-branch"))
		open |= BIT(PREVIOUS);
	expect_eq(r->has & ~open, want & ~open, "%s: packets", o->name);
}

static void check_operation(int el, const struct operation *o)
{
	struct setup s = sampling(el);
	const struct record *r = &outcome.record[0];
	u64 there, absent;

	s.pmsicr = count_of(o);
	if (o->flags & FAULTS)
		traps_expected();
	profile(&s, o->code, (u64)DATA, 3, 0, 0);
	traps_over();
	if (!expect_eq(outcome.pmbsr, 0, "%s: PMBSR_EL1", o->name) ||
	    !expect_eq(outcome.n, 1, "%s at EL%d: records", o->name, (u64)el))
		return;
	expect_eq(r->value[PC], code_address((u64)o->at, el, false), "%s: PC", o->name);
	expect_eq(r->class, o->class, "%s: class", o->name);
	expect_eq(r->value[OP], payload_of(o), "%s: operation type", o->name);
	expected_events(o, &there, &absent);
	expect_eq(r->value[EVENTS] & (there | absent), there, "%s: events", o->name);
	if (has(r, TARGET) && o->flags & TAKEN)
		expect_eq(r->value[TARGET], code_address((u64)o->label, el, false), "%s: target", o->name);
	if (has(r, VA) && o->va != NO_VA)
		expect_eq(r->value[VA], va_of(o), "%s: VA", o->name);
	if (has(r, PA) && o->va != NO_VA)
		expect_eq(r->value[PA], va_of(o) | BIT(63), "%s: PA", o->name);
	if (has(r, SOURCE) && !param("cache"))
		expect_eq(r->value[SOURCE], 0, "%s: data source", o->name);
	check_latency(o, r);
	check_packets(o, r);
}

static void check_operations(int el, bool sve)
{
	if (!complete())
		return;
	if (el >= home)
		return skip("no level above to sample this one from");
	if (sve && (version < V1P1 || !machine_has(NEED_SVE)))
		return skip("no SPEv1p1 or no SVE");
	for (size_t i = 0; i < OPERATION_COUNT; i++) {
		const struct operation *o = &operations[i];

		if (machine_has(o->need) && sve == (o->need == NEED_SVE))
			check_operation(el, o);
	}
}

TEST(el0, "packets: each kind of operation at EL0") { check_operations(0, false); }
TEST(el1, "packets: each kind of operation at EL1") { check_operations(1, false); }
TEST(el2, "packets: each kind of operation at EL2") { check_operations(2, false); }
TEST(sve0, "packets: SVE operations at EL0") { check_operations(0, true); }
TEST(sve1, "packets: SVE operations at EL1") { check_operations(1, true); }

TEST(sve_v1p0, "packets: v1p0 does not know SVE")
{
	static const struct { const char *name, *code; u8 payload; } cases[] = {
		{ "ldr", code_sve_ldr, 0x04 }, { "str", code_sve_str, 0x05 }, { "add", code_sve_add, 0x00 },
	};
	struct setup s = sampling(0);

	if (!complete())
		return;
	if (version >= V1P1 || !machine_has(NEED_SVE))
		return skip("SPEv1p1, or no SVE");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		profile(&s, cases[i].code, (u64)DATA, 3, 0, 0);
		if (expect_eq(outcome.n, 1, "%s: records", cases[i].name))
			expect_eq(outcome.record[0].value[OP], cases[i].payload, "%s: operation type", cases[i].name);
	}
}
