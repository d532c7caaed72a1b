// SPDX-License-Identifier: GPL-2.0
/* A buffer that cannot be written: what PMBSR_EL1 and PMBPTR_EL1 say, in each regime, of each kind of fault. */

#include "operations.h"

#define PAGE_1 (BUFFER + PAGE)
#define RTC 0x09010000ull	/* a device */

/* Whose buffer it is, and in which translation regime */
static const struct place {
	const char *name;
	int el, owner;
	u64 hcr;
} places[] = {
	{ "EL1&0", 0, 1, HCR_BASE },
	{ "EL2", 0, 2, HCR_BASE },
	{ "EL2&0", 1, 2, HCR_BASE | HCR_E2H },
	{ "EL2&0 of a host", 0, 2, HCR_BASE | HCR_E2H | HCR_TGE },
};

/* False if the machine does not have it */
static bool use_place(const struct place *p, struct setup *s)
{
	if (p->owner == 2 && !has_el2())
		return false;
	if (p->hcr & HCR_E2H && !feature(mrs(id_aa64mmfr1_el1), 8))
		return false;
	*s = sampling(p->el);
	s->owner = p->owner;
	s->hcr = p->hcr;
	s->pmscr2 |= p->hcr & HCR_TGE ? PMSCR_E0HSPE : 0;
	return true;
}

#define for_each_place(p, s)							\
	for (const struct place *p = places; p < places + ARRAY_SIZE(places); p++) \
		if (use_place(p, &s))

/* The buffer as it should be, but for an entry; and nothing in it */
static void prepare(int owner)
{
	map_buffer(owner);
	fill(buffer_of(owner), POISON, 4 * PAGE);
}

static void repair(int owner)
{
	for (int block = 1; block < 4; block++)
		*window_block(owner, block) = 0;
	map_buffer(owner);
	tlb_flush();
}

static u64 syndrome(u64 ec, u64 fsc)
{
	return PMBSR_S | PMBSR_EC(ec) | fsc;
}

/*
 * A record that cannot be written at pmbptr. No instruction takes an exception for it, the pointer stays, and
 * profiling has ended.
 */
static void check_fault(struct setup *s, u64 want, const char *place, const char *what)
{
	s->pmsirr = 1 << 8;
	s->limit = (s->pmbptr & ~(PAGE - 1)) + 2 * PAGE;
	profile_mapped(s, code_ldr_x, (u64)DATA, 3, 0, 0);
	expect_eq(outcome.pmbsr, want, "%s, %s: PMBSR_EL1", place, what);
	expect_eq(outcome.pmbptr, s->pmbptr, "%s, %s: PMBPTR_EL1", place, what);
}

TEST(page, "faults: stage 1, by the entry of a page")
{
	static const struct { const char *name; u64 set, clear, ec, fsc; } cases[] = {
		{ "translation", 0, PTE_VALID, 0x24, 0x07 },
		{ "access flag", 0, PTE_AF, 0x24, 0x0b },
		{ "permission", PTE_READ_ONLY, 0, 0x24, 0x0f },
		{ "address size", BIT(41), 0, 0x24, 0x03 },
	};
	struct setup s;

	if (!version)
		return skip("no SPE");
	for_each_place(p, s) {
		for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
			u64 *entry = window_entry(p->owner, BUFFER_PAGE + 1);

			prepare(p->owner);
			*entry = (*entry | cases[i].set) & ~cases[i].clear;
			tlb_flush();
			s.pmbptr = PAGE_1;
			check_fault(&s, syndrome(cases[i].ec, cases[i].fsc), p->name, cases[i].name);
			repair(p->owner);
		}
	}
}

TEST(levels, "faults: stage 1, at other levels of the tables")
{
	struct setup s;

	if (!version)
		return skip("no SPE");
	for_each_place(p, s) {
		u64 block = (u64)arena | PTE_VALID | PTE_USER | PTE_INNER | PTE_XN;

		prepare(p->owner);
		*window_block(p->owner, 2) = block;			/* no access flag */
		*window_block(p->owner, 3) = block | PTE_AF | PTE_READ_ONLY;
		tlb_flush();
		s.pmbptr = WINDOW + (1 << 21);
		check_fault(&s, syndrome(0x24, 0x06), p->name, "translation, level 2");
		s.pmbptr = WINDOW + (2 << 21);
		check_fault(&s, syndrome(0x24, 0x0a), p->name, "access flag, level 2");
		s.pmbptr = WINDOW + (3 << 21);
		check_fault(&s, syndrome(0x24, 0x0e), p->name, "permission, level 2");
		s.pmbptr = WINDOW + (1 << 30);
		check_fault(&s, syndrome(0x24, 0x05), p->name, "translation, level 1");
		s.pmbptr = 1ull << 40;
		check_fault(&s, syndrome(0x24, 0x04), p->name, "translation, an address out of range");
		repair(p->owner);
	}
}

TEST(external, "faults: External aborts, where there is no memory")
{
	struct setup s;

	if (!version)
		return skip("no SPE");
	for_each_place(p, s) {
		u64 *entry = window_entry(p->owner, BUFFER_PAGE + 1);

		prepare(p->owner);
		s.pmbptr = PAGE_1;
		*entry = HOLE | PTE_DATA;
		tlb_flush();
		check_fault(&s, syndrome(0x24, 0x10) | PMBSR_EA, p->name, "nothing");
		*entry = RTC | PTE_DATA;
		tlb_flush();
		check_fault(&s, syndrome(0x24, 0x10) | PMBSR_EA, p->name, "a device");
		*window_block(p->owner, 1) = HOLE | 3;
		tlb_flush();
		s.pmbptr = WINDOW + (1 << 21);
		check_fault(&s, syndrome(0x24, 0x17) | PMBSR_EA, p->name, "a table that is not there");
		repair(p->owner);
	}
}

TEST(stage2, "faults: stage 2")
{
	static const struct { const char *name; u64 clear, ec, fsc; } cases[] = {
		{ "translation", PTE_VALID, 0x25, 0x07 },
		{ "access flag", PTE_AF, 0x25, 0x0b },
		{ "permission", BIT(7), 0x25, 0x0f },	/* no writes */
	};
	struct setup s = sampling(0);
	u64 *entry = stage2_entry((u64)buffer_of(1) + PAGE), good = *entry;

	if (!version || !has_el2())
		return skip("no SPE or EL2");
	s.hcr |= HCR_VM;
	s.pmbptr = PAGE_1;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		prepare(1);
		*entry = good & ~cases[i].clear;
		tlb_flush();
		check_fault(&s, syndrome(cases[i].ec, cases[i].fsc), "stage 2", cases[i].name);
	}
	*entry = HOLE | PTE_S2;
	tlb_flush();
	check_fault(&s, syndrome(0x24, 0x10) | PMBSR_EA, "stage 2", "nothing");

	/* Stage 1 comes first. */
	*entry = 0;
	*window_entry(1, BUFFER_PAGE + 1) = 0;
	tlb_flush();
	check_fault(&s, syndrome(0x24, 0x07), "stage 2", "a fault at both stages");
	*entry = good;
	repair(1);

	/* The tables of stage 1 go through stage 2 as well. */
	prepare(1);
	*window_block(1, 1) = ((u64)buffer_of(1) + PAGE) | 3;
	*entry = 0;
	tlb_flush();
	s.pmbptr = WINDOW + (1 << 21);
	check_fault(&s, syndrome(0x25, 0x07), "stage 2", "of a table of stage 1");
	*entry = good;
	repair(1);
	s.pmbptr = PAGE_1;
	profile(&s, code_ldr_x, (u64)DATA, 3, 0, 0);
	expect_eq(outcome.pmbsr, 0, "without a fault: PMBSR_EL1");
	expect_eq(outcome.n, 1, "without a fault: records");

	/* EL2's buffer does not go through stage 2. */
	s = sampling(1);
	s.owner = 2;
	s.hcr |= HCR_VM;
	*stage2_entry((u64)buffer_of(2)) = 0;
	tlb_flush();
	profile(&s, code_ldr_x, (u64)DATA, 3, 0, 0);
	expect_eq(outcome.pmbsr, 0, "EL2's buffer: PMBSR_EL1");
	expect_eq(outcome.n, 1, "EL2's buffer: records");
	*stage2_entry((u64)buffer_of(2)) = (u64)buffer_of(2) | PTE_S2;
	tlb_flush();
}

TEST(upper, "faults: EL2's buffer may be in the upper half of the addresses of EL2&0, and is not there without E2H")
{
	struct setup s = sampling(1);

	if (!version || !has_el3() || !feature(mrs(id_aa64mmfr1_el1), 8))
		return skip("no SPE, no E2H, or the regime of EL2 is the one that this code runs in");
	s.owner = 2;
	s.pmbptr = UPPER_HALF + BUFFER;
	prepare(2);
	upper_half_on(true);
	check_fault(&s, syndrome(0x24, 0x04), "EL2", "an address of the upper half");
	s.hcr |= HCR_E2H;
	profile_mapped(&s, code_ldr_x, (u64)DATA, 3, 0, 0);
	upper_half_on(false);
	expect_eq(outcome.pmbsr, 0, "PMBSR_EL1");
	read_records(&outcome, buffer_of(2), outcome.pmbptr - UPPER_HALF - BUFFER);
	expect(outcome.n > 0, "no record");
	repair(2);
}

/* --- Records across pages --- */

/* Records can begin in one page and end in the next: that of a load is larger than the alignment. */
static bool crossing(void)
{
	return align() <= 32 && align() < max_size();
}

/* Puts PMBPTR_EL1 as near to the end of a page as can be. */
static void before_end(struct setup *s, u64 end)
{
	s->pmbptr = end - align();
	s->limit = end + PAGE * 16;
}

/* What is in two pages that are not next to each other, as if they were */
static void check_joined(const u8 *tail, const u8 *head, const char *what)
{
	u8 *joined = arena + PAGE;
	u64 bytes = max_size() + align();

	fill(joined, POISON, PAGE);
	memcpy(joined, tail, align());
	memcpy(joined + align(), head, bytes - align());
	bytes = (outcome.pmbptr & 0xfff) + align();
	read_records(&outcome, joined, bytes);
	if (expect_eq(outcome.n, 1, "%s: records", what))
		expect_eq(outcome.record[0].value[PC], code_address((u64)code_ldr_x, outcome.record[0].value[PC] >> 61 & 3,
								     false), "%s: PC", what);
}

TEST(across, "faults: a record across pages is written to both, wherever they are")
{
	struct setup s;

	if (!version || !crossing())
		return skip("no SPE, or records are aligned to their size");
	for_each_place(p, s) {
		prepare(p->owner);
		*window_entry(p->owner, BUFFER_PAGE) = (u64)(buffer_of(p->owner) + 3 * PAGE) | PTE_DATA;
		tlb_flush();
		before_end(&s, PAGE_1);
		profile_mapped(&s, code_ldr_x, (u64)DATA, 3, 0, 0);
		expect_eq(outcome.pmbsr, 0, "%s: PMBSR_EL1", p->name);
		if (expect(outcome.pmbptr > PAGE_1, "%s: PMBPTR_EL1 %x", p->name, outcome.pmbptr))
			check_joined(buffer_of(p->owner) + 4 * PAGE - align(), buffer_of(p->owner) + PAGE, p->name);
		repair(p->owner);
	}
}

TEST(partial, "faults: a record with a fault in its second page is partial: DL, and PMBPTR_EL1 at the fault")
{
	struct setup s;

	if (!version || !crossing())
		return skip("no SPE, or records are aligned to their size");
	for_each_place(p, s) {
		u8 *buffer = buffer_of(p->owner);

		prepare(p->owner);
		*window_entry(p->owner, BUFFER_PAGE + 1) = 0;
		tlb_flush();
		before_end(&s, PAGE_1);
		profile_mapped(&s, code_ldr_x, (u64)DATA, 3, 0, 0);
		expect_eq(outcome.pmbsr, syndrome(0x24, 0x07) | PMBSR_DL, "%s: PMBSR_EL1", p->name);
		expect_eq(outcome.pmbptr, PAGE_1, "%s: PMBPTR_EL1", p->name);
		expect_eq(buffer[PAGE - align()], 0xb0, "%s: first byte of the record", p->name);
		expect_eq(buffer[PAGE], POISON, "%s: the page that is not mapped", p->name);
		repair(p->owner);
	}
}

/* --- Other granules --- */

static void check_granule(int shift)
{
	u64 size = 1ull << shift, pas[] = { (u64)buffer_of(1), (u64)buffer_of(2) };
	struct setup s = sampling(0);

	/* Two pages that are next to each other only in the window; buffers of others are unused now. */
	if (shift == 16)
		pas[1] = (u64)buffer_of(3);
	fill(buffer_of(1), POISON, 3 * BUFFER_SIZE);
	granule_use(shift, pas, 2);
	before_end(&s, WINDOW + size);
	profile_mapped(&s, code_ldr_x, (u64)DATA, 3, 0, 0);
	expect_eq(outcome.pmbsr, 0, "%d KiB: PMBSR_EL1", size >> 10);
	if (crossing() && expect(outcome.pmbptr > WINDOW + size, "%d KiB: PMBPTR_EL1 %x", size >> 10, outcome.pmbptr))
		check_joined((u8 *)pas[0] + size - align(), (u8 *)pas[1], "granule");

	granule_use(shift, pas, 1);
	before_end(&s, WINDOW + size);
	s.pmbptr += crossing() ? 0 : align();
	profile_mapped(&s, code_ldr_x, (u64)DATA, 3, 0, 0);
	expect_eq(outcome.pmbsr, syndrome(0x24, 0x07) | (crossing() ? PMBSR_DL : 0), "%d KiB: PMBSR_EL1", size >> 10);
	expect_eq(outcome.pmbptr, WINDOW + size, "%d KiB: PMBPTR_EL1", size >> 10);

	/* Nothing there at level 2 */
	s.pmbptr = WINDOW + (1ull << 30);
	check_fault(&s, syndrome(0x24, 0x06), "granule", "translation, level 2");
	granule_use(12, NULL, 0);
}

TEST(granules, "faults: with granules of 16 and 64 KiB, pages end where they end")
{
	if (!version || !has_el2())
		return skip("no SPE, or the regime of EL1 is the one that this code runs in");
	for (int shift = 14; shift <= 16; shift += 2) {
		if (granule_exists(shift))
			check_granule(shift);
	}
}
