// SPDX-License-Identifier: GPL-2.0
/* How records are put into the buffer: where it ends, what happens then, and its interrupt. */

#include "operations.h"

/* Enough operations to fill what the tests give, sampled as often as can be */
asm(".pushsection .text\n"
    "many: mov x9, #60000\n"
    "1:	nop\n	nop\n	nop\n	subs x9, x9, #1\n	b.ne 1b\n	svc #0\n"
    ".popsection");
extern const char many[];

static struct setup often(void)
{
	struct setup s = sampling(0);

	s.pmsirr = 1 << 8;
	return s;
}

TEST(full, "buffer: full as soon as there is no room for one more record, and nothing behind the limit")
{
	if (!version)
		return skip("no SPE");
	for (u64 pages = 1; pages <= 2; pages++) {
		struct setup s = often();
		u64 last;

		s.limit = BUFFER + pages * PAGE;
		profile(&s, many, 0, 0, 0, 0);
		expect_eq(outcome.pmbsr & ~PMBSR_COLL, PMBSR_FULL, "%d pages: PMBSR_EL1", pages);
		if (!expect(outcome.n > 0, "%d pages: no record", pages))
			continue;
		last = outcome.record[outcome.n - 1].size;
		last = (last + align() - 1) & ~(align() - 1);
		expect(outcome.pmbptr > s.limit - max_size() && outcome.pmbptr <= s.limit, "%d pages: PMBPTR_EL1 %x", pages,
		       outcome.pmbptr);
		expect(outcome.pmbptr - last <= s.limit - max_size(), "%d pages: there was no room for the last record", pages);
	}
}

TEST(exactly, "buffer: one record where there is room for exactly one")
{
	struct setup s = often();

	if (!version)
		return skip("no SPE");
	s.limit = BUFFER + PAGE;
	s.pmbptr = s.limit - max_size();
	profile(&s, many, 0, 0, 0, 0);
	expect_eq(outcome.n, 1, "records");
	expect_eq(outcome.pmbsr & ~PMBSR_COLL, PMBSR_FULL, "PMBSR_EL1");

	/* Room for two, of which the first leaves enough for the second: nothing is full after the first. */
	if (max_size() * 2 > PAGE)
		return;
	s.pmsirr = BITS(31, 8);
	s.pmbptr = s.limit - 2 * max_size();
	profile(&s, many, 0, 0, 0, 0);
	expect_eq(outcome.n, 1, "records with room for two");
	expect_eq(outcome.pmbsr, 0, "PMBSR_EL1 with room for two");
}

TEST(dropped, "buffer: a record for which there is no room is dropped, and buffer full is reported")
{
	u64 pointers[] = { BUFFER + PAGE, BUFFER + PAGE + align(), BUFFER + 2 * PAGE, BUFFER + PAGE - max_size() + align() };

	if (!version)
		return skip("no SPE");
	for (size_t i = 0; i < ARRAY_SIZE(pointers); i++) {
		struct setup s = sampling(0);

		s.limit = BUFFER + PAGE;
		s.pmbptr = pointers[i];
		profile(&s, many, 0, 0, 0, 0);
		expect_eq(outcome.n, 0, "PMBPTR_EL1 %x: records", s.pmbptr);
		expect_eq(outcome.pmbptr, s.pmbptr, "PMBPTR_EL1 afterwards");
		expect_eq(outcome.pmbsr, PMBSR_FULL, "PMBPTR_EL1 %x: PMBSR_EL1", s.pmbptr);
	}
	struct setup s = sampling(0);

	s.limit = 0;
	profile(&s, many, 0, 0, 0, 0);
	expect_eq(outcome.n, 0, "limit 0: records");
	expect_eq(outcome.pmbsr, PMBSR_FULL, "limit 0: PMBSR_EL1");
}

TEST(rounded, "buffer: where PMBPTR_EL1 is not aligned, a record begins below it")
{
	struct setup s = sampling(0);

	if (!version || align() == 1)
		return skip("no SPE, or records are not aligned");
	map_buffer(1);
	fill(buffer_of(1), POISON, PAGE);
	s.pmbptr = BUFFER + align() / 2;
	profile_mapped(&s, code_nop, 0, 0, 0, 0);
	expect_eq(outcome.pmbptr & (align() - 1), 0, "PMBPTR_EL1 %x", outcome.pmbptr);
	read_records(&outcome, buffer_of(1), outcome.pmbptr - BUFFER);
	expect_eq(outcome.n, 1, "records");
}

TEST(stops, "buffer: nothing more is counted or sampled after buffer full")
{
	struct setup s = sampling(0);

	if (!version || param("inflight"))
		return skip("no SPE, or the end of an operation is later than its beginning");
	s.limit = BUFFER + PAGE;
	s.pmbptr = s.limit;
	s.pmsicr = 5;
	s.pmsirr = 1 << 8;
	profile(&s, many, 0, 0, 0, 0);
	expect_eq(outcome.pmbsr, PMBSR_FULL, "PMBSR_EL1");
	/* COUNT is 0 at the sample. The operations that follow before the unit has stopped are few. */
	expect(outcome.pmsicr == 0 || (outcome.pmsicr > 256 - 32 && outcome.pmsicr <= 256), "PMSICR_EL1 %x", outcome.pmsicr);
}

/*
 * Blocks of code, each of which leads directly to the next: A, B and, as x0 says, C or D. What a block is followed by is known
 * once it has been, so that this must not have run before.
 */
asm(".pushsection .text\n"
    ".balign 256\n"
    "blocks: .rept 8\n	nop\n	.endr\n	b 1f\n"
    "1:	.rept 8\n	nop\n	.endr\n	cbnz x0, 2f\n"
    "	.rept 8\n	nop\n	.endr\n	svc #0\n"
    "2:	.rept 8\n	nop\n	.endr\n	svc #0\n"
    ".popsection");
extern const char blocks[];

TEST(chained, "buffer: what runs just after the buffer was full is counted when it runs with room, and not when the unit is off")
{
	struct setup s = sampling(0);

	if (!version || param("inflight"))
		return skip("no SPE, or the end of an operation is later than its beginning");
	s.limit = BUFFER + PAGE;
	s.pmbptr = s.limit - max_size();
	s.pmsicr = 4;
	profile(&s, blocks, 0, 0, 0, 0);
	expect_eq(outcome.pmbsr, PMBSR_FULL, "PMBSR_EL1 after a sample in A");

	s = sampling(0);
	s.pmsicr = 100;
	profile(&s, blocks, 1, 0, 0, 0);
	expect_eq(outcome.pmsicr, 100 - 27, "PMSICR_EL1 after A, B and D");
	s.pmscr1 = 0;
	profile(&s, blocks, 1, 0, 0, 0);
	expect_eq(outcome.pmsicr, 100, "PMSICR_EL1 after A, B and D without the unit");
}

TEST(discard, "buffer: with FM = 2, records are discarded and the buffer is never full")
{
	static const u64 limits[] = { BUFFER, BUFFER + PAGE, WINDOW + 100 * PAGE };

	if (!version)
		return skip("no SPE");
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		struct setup s = often();

		s.limit = limits[i];
		s.fill_mode = 2;
		if (version < V1P2) {
			/* FM is not there: ignored */
			s.limit = BUFFER + 2 * PAGE;
			s.pmsirr = BITS(31, 8);
			profile(&s, many, 0, 0, 0, 0);
			expect_eq(outcome.n, 1, "records, where there is no discard mode");
			continue;
		}
		profile(&s, many, 0, 0, 0, 0);
		expect_eq(outcome.pmbptr, s.pmbptr, "limit %x: PMBPTR_EL1", s.limit);
		expect_eq(outcome.pmbsr & ~PMBSR_COLL, 0, "limit %x: PMBSR_EL1", s.limit);
		expect(outcome.pmsicr > 0 && outcome.pmsicr <= 256, "limit %x: PMSICR_EL1 %x", s.limit, outcome.pmsicr);
	}
}

TEST(small, "buffer: with everything collected, no record is larger than PMSIDR_EL1.MaxSize")
{
	static const int chosen[] = { OPERATION_ldr_x, OPERATION_ldr_q, OPERATION_b_taken, OPERATION_svc, OPERATION_ldadd };

	if (!version)
		return skip("no SPE");
	for (int el = 0; el <= 2 && el < home; el++) {
		for (size_t i = 0; i < ARRAY_SIZE(chosen); i++) {
			const struct operation *o = &operations[chosen[i]];
			struct setup s = sampling(el);

			s.pmsicr = count_of(o);
			s.pmscr1 |= PMSCR_CX | PMSCR_TS;
			s.pmscr2 |= PMSCR_CX | PMSCR_TS;
			traps_expected();
			profile(&s, o->code, (u64)DATA, 3, 0, 0);
			traps_over();
			if (expect_eq(outcome.n, 1, "%s: records", o->name))
				expect_eq(outcome.record[0].value[PC], code_address((u64)o->at, el, false), "%s: PC", o->name);
		}
	}
}

/* x1 is the buffer. The first operation is sampled; the barrier makes its record be there. */
asm(".pushsection .text\n"
    "sync_code: ldr x2, [x0]\n"
    "	hint #17\n	dsb nsh\n"
    "	ldrb w0, [x1]\n	svc #0\n"
    ".popsection");
extern const char sync_code[];

TEST(csync, "buffer: after PSB CSYNC, the record of an operation before it can be read")
{
	if (!version)
		return skip("no SPE");
	for (int el = 0; el <= 2 && el < home; el++) {
		struct setup s = sampling(el);

		profile(&s, sync_code, (u64)DATA, BUFFER, 0, 0);
		expect_eq(outcome.n, 1, "EL%d: records", (u64)el);
		expect_eq(outcome.x0, 0xb0, "EL%d: first byte of the buffer after PSB CSYNC", (u64)el);
	}
}

/* GICR_ISPENDR0 of the first CPU: INTID 21, the profiling interrupt */
static bool pending(void)
{
	return *(volatile u32 *)(0x080a0000 + 0x10000 + 0x200) & BIT(21);
}

TEST(interrupt, "buffer: PPI 21 is pending exactly while PMBSR_EL1.S is 1")
{
	struct setup s = sampling(0);

	if (!version)
		return skip("no SPE");
	expect(!pending(), "pending without reason");
	map_buffer(1);
	s.limit = BUFFER + PAGE;
	s.pmbptr = s.limit;
	unit_program(&s);
	expect(!pending(), "pending before anything was sampled");
	run_at(0, HCR_BASE, code_nop, 0, 0, 0, 0);
	psb_csync();
	expect_eq(spe_read(PMBSR_EL1), PMBSR_FULL, "PMBSR_EL1");
	expect(pending(), "not pending after buffer full");
	spe_write(PMBLIMITR_EL1, 0);
	expect(pending(), "not pending any more after E = 0");
	spe_write(PMBSR_EL1, PMBSR_FULL | PMBSR_COLL);
	expect(pending(), "not pending after S was written as 1");
	spe_write(PMBSR_EL1, 1);
	expect(!pending(), "pending after S was written as 0");
	spe_write(PMBSR_EL1, PMBSR_S);
	expect(pending(), "not pending after software has set S");
	unit_stop(&outcome);
	expect(!pending(), "pending after S was written as 0 again");
	/* A collision is not an event. */
	spe_write(PMBSR_EL1, PMBSR_COLL | PMBSR_DL | PMBSR_EA);
	expect(!pending(), "pending with COLL, DL and EA alone");
	spe_write(PMBSR_EL1, 0);
}

TEST(keeps, "buffer: an event leaves COLL as it is, and replaces what was in EC and MSS")
{
	struct setup s = sampling(0);

	if (!version)
		return skip("no SPE");
	s.limit = BUFFER + PAGE;
	s.pmbptr = s.limit;
	s.pmbsr = PMBSR_COLL | PMBSR_EC(0x24) | 0x0f;
	profile(&s, many, 0, 0, 0, 0);
	expect_eq(outcome.pmbsr, PMBSR_FULL | PMBSR_COLL, "PMBSR_EL1");
}
