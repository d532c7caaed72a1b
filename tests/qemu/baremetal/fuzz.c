// SPDX-License-Identifier: GPL-2.0
/*
 * Whatever software writes to the registers, only the buffer that they name is written to.
 *
 * An iteration is a row of random steps: a register is written at some level, code is run at some level, a
 * page of the window is mapped anew, traps and owners change. The unit may be on all the time. Every buffer
 * that was named meanwhile is noted as far as it is memory. After the row, no other byte of the pool, which
 * is all that the window ever maps, may have changed; nor, at the end, any of what surrounds it, or the code.
 *
 * Pointers lead into the window and to where there is no memory, but never to where memory is mapped flat: a
 * buffer there is rightly written to.
 */

#include "operations.h"

#define POOL (arena + 0x80000)
#define POOL_PAGES 64
#define MAPPED 32		/* pages of the window */
#define GUARD 0x40000		/* bytes on both sides of the pool */
#define STEPS 24
#define PATTERN 0x5a


/* --- Random choices --- */

static u64 state;

static u64 random(void)
{
	/* xorshift64* */
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1d;
}

static u64 below(u64 n)
{
	return (random() >> 16) % n;
}

static bool chance(u64 percent)
{
	return below(100) < percent;
}

static u64 random_address(void)
{
	static const u64 strange[] = {
		0, 1, 0x09000000, HOLE, WINDOW - PAGE, WINDOW + MAPPED * PAGE, 1ull << 39, 1ull << 48, BITS(63, 48),
		~0ull, BITS(63, 12), BIT(63), BIT(55), BITS(55, 12)
	};
	u64 address;

	switch (below(8)) {
	case 0:
		address = strange[below(ARRAY_SIZE(strange))];
		break;
	case 1:
		address = random() >> below(40);
		break;
	default:
		address = WINDOW + below(MAPPED) * PAGE + (chance(50) ? below(PAGE) : PAGE - below(2 * max_size() + 1));
		break;
	}
	if (chance(70))
		address &= -align();
	if (address >= 0x30000000 && address < 0x50000000)
		address += WINDOW;
	return address;
}

static u64 random_value(enum reg reg)
{
	switch (reg) {
	case PMBPTR_EL1:
		return random_address();
	case PMBLIMITR_EL1:
		/* Mostly on, and often behind the pointer */
		return ((chance(60) ? spe_read(PMBPTR_EL1) + below(4) * PAGE : random_address()) & BITS(63, 12)) |
		       (chance(85) ? PMBLIMITR_E : 0) | (chance(10) ? random() & 0xffe : 0);
	case PMBSR_EL1:
		return chance(70) ? 0 : random();
	case PMSICR_EL1:
		return chance(70) ? below(300) | (chance(20) ? random() & BITS(63, 56) : 0) : random();
	case PMSIRR_EL1:
		return (below(3) << 8 | below(2)) | (chance(10) ? random() : 0);
	case PMSCR_EL1:
	case PMSCR_EL12:
	case PMSCR_EL2:
		return random() | (chance(80) ? 3 : 0);
	case PMSFCR_EL1:
		return chance(60) ? 0 : random();
	case PMSLATFR_EL1:
		return chance(80) ? below(30) : random();
	default:
		return random() & random();
	}
}

/* --- What may be written to --- */

static u64 allowed[POOL_PAGES][PAGE / 64];	/* a bit for each byte */

static void allow_bytes(u64 pa, u64 first, u64 end)
{
	u64 page = (pa - (u64)POOL) / PAGE;

	if (pa < (u64)POOL || page >= POOL_PAGES)
		return;
	for (u64 byte = first; byte < end; byte++) {
		if (!(byte & 63) && byte + 64 <= end) {
			allowed[page][byte / 64] = ~0ull;
			byte += 63;
		} else {
			allowed[page][byte / 64] |= BIT(byte & 63);
		}
	}
}

/* The part of a range that lies in the page at va, which is mapped to pa */
static void allow_page(u64 va, u64 pa, u64 pointer, u64 limit)
{
	u64 first = pointer > va ? pointer - va : 0, end = limit - va;

	if (limit > va && first < PAGE)
		allow_bytes(pa & BITS(47, 12), first, end < PAGE ? end : PAGE);
}

/* A buffer, in all regimes. Records may begin at the pointer rounded down. */
static void allow_buffer(u64 pointer, u64 limit)
{
	pointer &= -align();
	limit &= BITS(63, 12);
	for (u64 page = 0; page < MAPPED; page++) {
		for (int regime = 1; regime <= 2; regime++)
			allow_page(WINDOW + page * PAGE, *window_entry(regime, page), pointer, limit);
	}
}

/* The home level may be sampled as well, so that there can be a record as soon as one of these is written. */
static void allow_written(enum reg reg, u64 value)
{
	if (reg == PMBPTR_EL1)
		allow_buffer(value, spe_read(PMBLIMITR_EL1));
	else if (reg == PMBLIMITR_EL1)
		allow_buffer(spe_read(PMBPTR_EL1), value);
}

static u64 changed_bytes;

/* Looks at the whole pool, and makes it as it was. False if a byte changed that may not. */
static bool pool_is_good(void)
{
	static const u64 eight = 0x0101010101010101 * PATTERN;
	bool good = true;

	for (u64 at = 0; at < POOL_PAGES * PAGE; at += 8) {
		u64 *word = (u64 *)(POOL + at);
		u8 may = allowed[at / PAGE][at % PAGE / 64] >> (at & 63);

		if (*word == eight)
			continue;
		for (int byte = 0; byte < 8; byte++) {
			if (POOL[at + byte] == PATTERN)
				continue;
			changed_bytes++;
			if (!(may >> byte & 1))
				good = expect(false, "byte %x of the pool is %x", at + byte, (u64)POOL[at + byte]);
		}
		*word = eight;
	}
	fill(allowed, 0, sizeof(allowed));
	return good;
}

/* --- Steps --- */

static u64 random_entry(void)
{
	static const u64 bad[] = { 0, HOLE | PTE_DATA, 0x09010000 | PTE_DATA };
	u64 page = (u64)POOL + below(POOL_PAGES) * PAGE;

	switch (below(8)) {
	case 0:
		return bad[below(ARRAY_SIZE(bad))];
	case 1:
		return page | PTE_DATA | PTE_READ_ONLY;
	case 2:
		return (page | PTE_DATA) & ~(u64)PTE_AF;
	default:
		return page | PTE_DATA;
	}
}

static void map_something(void)
{
	*window_entry(1 + below(2), below(MAPPED)) = random_entry();
	if (has_el2()) {
		u64 *entry = stage2_entry((u64)POOL + below(POOL_PAGES) * PAGE);

		*entry ^= chance(50) ? PTE_VALID : BIT(7);
		if (chance(80))
			*entry |= PTE_VALID | BIT(7);
	}
	tlb_flush();
}

static u64 random_hcr(int el)
{
	u64 hcr = HCR_BASE;

	if (!has_el2())
		return hcr;
	hcr |= chance(30) ? HCR_VM : 0;
	if (feature(mrs(id_aa64mmfr1_el1), 8))
		hcr |= chance(30) ? HCR_E2H : 0;
	hcr |= el != 1 && chance(30) ? HCR_TGE : 0;
	return hcr;
}

/* Any level that there is in the current Security state */
static int random_level(void)
{
	int el = below(home + 1);

	return el == 2 && has_el3() && !(mrs(scr_el3) & SCR_NS) ? 1 : el;
}

static void run_something(void)
{
	int el = random_level();
	u64 hcr = random_hcr(el);

	traps_expected();
	if (chance(60)) {
		const struct operation *o = &operations[below(OPERATION_COUNT)];

		if (machine_has(o->need))
			run_at(el == home ? 0 : el, hcr, o->code, (u64)DATA + below(16), 3, 0, 0);
	} else {
		run_at(el == home ? 0 : el, hcr, sled + 4 * (SLED - below(700)), 0, 0, 0, 0);
	}
	traps_over();
}

static u64 writes;

static void write_something(void)
{
	enum reg reg = below(REG_COUNT);
	int el = random_level();
	u64 value;

	if (chance(40))
		reg = chance(50) ? PMBPTR_EL1 : PMBLIMITR_EL1;
	value = random_value(reg);
	allow_written(reg, value);
	try_write(el, random_hcr(el), reg, value);
}

static void change_owner(void)
{
	if (has_el2()) {
		msr(mdcr_el2, MDCR_EL2_E2PB(below(4)) | (chance(10) ? MDCR_EL2_TPMS : 0));
		if (feature(mrs(id_aa64mmfr0_el1), 56) && chance(10))
			msr(S3_4_C3_C1_5, random());
		else if (feature(mrs(id_aa64mmfr0_el1), 56))
			msr(S3_4_C3_C1_5, BIT(62));
	}
	if (has_el3()) {
		msr(mdcr_el3, MDCR_EL3_NSPB(chance(80) ? 3 : below(4)) | MDCR_EL3_ENPMS3);
		/* EL1 and EL0 of the Secure state have no stage 2 here, and the same tables. */
		msr(scr_el3, chance(90) ? SCR_BASE : SCR_BASE & ~SCR_NS);
	}
	isb();
}

/* Most of the time a random unit is off. This turns it on. */
static void arm(void)
{
	u64 pointer = random_value(PMBPTR_EL1), limit;

	spe_write(PMBSR_EL1, 0);
	allow_written(PMBPTR_EL1, pointer);
	spe_write(PMBPTR_EL1, pointer);
	limit = random_value(PMBLIMITR_EL1) | PMBLIMITR_E;
	allow_written(PMBLIMITR_EL1, limit);
	spe_write(PMBLIMITR_EL1, limit);
	spe_write(PMSFCR_EL1, 0);
	spe_write(PMSICR_EL1, below(20));
	spe_write(PMSCR_EL1, random() | 3);
	if (has_el2())
		spe_write(PMSCR_EL2, random() | 3);
	writes += has_el2() ? 7 : 6;
}

static void step(void)
{
	u64 what = below(100), pointer = spe_read(PMBPTR_EL1), limit = spe_read(PMBLIMITR_EL1);

	/* Before and after: what is written with the old tables, and with the new ones */
	allow_buffer(pointer, limit);
	if (what < 10)
		arm();
	else if (what < 45)
		write_something();
	else if (what < 85)
		run_something();
	else if (what < 95)
		map_something();
	else
		change_owner();
	psb_csync();
	allow_buffer(pointer, limit);
	allow_buffer(spe_read(PMBPTR_EL1), spe_read(PMBLIMITR_EL1));
}

/* --- */

static u64 sum_of_code(void)
{
	u64 sum = 0;

	for (const u64 *word = (u64 *)0x40200000; word < (u64 *)0x40280000; word++)
		sum = sum * 31 + *word;
	return sum;
}

static bool guards_are_good(void)
{
	for (u64 at = 0; at < GUARD; at++) {
		if (POOL[-1 - at] != PATTERN || POOL[POOL_PAGES * PAGE + at] != PATTERN)
			return expect(false, "a byte %x from the pool has changed", at);
	}
	return true;
}

void fuzz(u64 iterations)
{
	u64 sum = sum_of_code(), events = 0, done, limit;
	bool good = true;

	state = param("seed") * 0x9e3779b97f4a7c15 + 1;
	fill(POOL - GUARD, PATTERN, POOL_PAGES * PAGE + 2 * GUARD);
	say("KTAP version 1\n1..1\n");
	for (u64 i = 0; i < MAPPED; i++) {
		*window_entry(1, i) = random_entry();
		*window_entry(2, i) = random_entry();
	}
	tlb_flush();
	for (done = 0; done < iterations && good; done++) {
		for (int i = 0; i < STEPS; i++)
			step();
		/* This code may be sampled itself, but not while it looks. */
		limit = spe_read(PMBLIMITR_EL1);
		spe_write(PMBLIMITR_EL1, 0);
		psb_csync();
		events += FIELD(spe_read(PMBSR_EL1), 17, 17);
		good = pool_is_good() && ((done & 255) || guards_are_good());
		allow_written(PMBLIMITR_EL1, limit);
		spe_write(PMBLIMITR_EL1, limit);
		if (done % 1000 == 999)
			say("# fuzz: %d of %d: %d register writes, %d events, %d bytes written\n", done + 1, iterations, writes, events,
			    changed_bytes);
	}
	spe_write(PMBLIMITR_EL1, 0);
	good = guards_are_good() && good;
	good = expect_eq(sum_of_code(), sum, "the sum of the code") && good;
	good = expect(events && changed_bytes, "nothing was written") && good;
	say("# fuzz: %d of %d: %d register writes, %d events, %d bytes written\n", done, iterations, writes, events, changed_bytes);
	say("%s 1 - fuzz: only buffers were written to\n", good ? "ok" : "not ok");
	quit(!good);
}
