// SPDX-License-Identifier: GPL-2.0
/*
 * The unit, step by step on the word of the other end of the console: what is injected from outside can be looked at
 * between any two operations.
 *
 *   s  samples one operation, from where PMBPTR_EL1 is, and stops
 *   S  the same with room for no other record behind it
 *   m  samples as many as the sled has, 257 operations apart
 *   f  samples an operation that the filter does not let through
 *   d  samples in discard mode
 *   l  looks only
 *   c  writes PMBSR_EL1 as 0
 *   b  puts PMBPTR_EL1 at the beginning of the buffer
 *   q  quits
 *
 * Each is answered by a line of numbers: the interrupt before PMBSR_EL1 was read and after; PMBSR_EL1; PMBPTR_EL1, as an
 * offset in the buffer; how many bytes of the buffer are not as they were.
 */

#include "operations.h"

static u8 heard(void)
{
	volatile u32 *uart = (void *)0x09000000;

	while (uart[0x18 / 4] & BIT(4))
		;	/* nothing has come */
	return uart[0];
}

/* GICR_ISPENDR0 of the first CPU: INTID 21 */
static bool pending(void)
{
	return *(volatile u32 *)(0x080a0000 + 0x10000 + 0x200) & BIT(21);
}

static void look(void)
{
	u8 *buffer = buffer_of(1);
	u64 before = pending(), pmbsr = spe_read(PMBSR_EL1), after = pending(), written = 0;

	for (u64 at = 0; at < BUFFER_SIZE; at++)
		written += buffer[at] != POISON;
	fill(buffer, POISON, BUFFER_SIZE);
	say("%d %d %x %x %d\n", before, after, pmbsr, spe_read(PMBPTR_EL1) - BUFFER, written);
}

static void sample(struct setup s, const void *code)
{
	s.pmbptr = spe_read(PMBPTR_EL1);
	s.pmbsr = spe_read(PMBSR_EL1);
	unit_program(&s);
	run_at(0, HCR_BASE, code, 0, 0, 0, 0);
	spe_write(PMSCR_EL1, 0);
	psb_csync();
	spe_write(PMBLIMITR_EL1, 0);
}

void obey(void)
{
	struct setup one = sampling(0), last = sampling(0), many = sampling(0);
	struct setup filter = sampling(0), discard = sampling(0);

	last.limit = BUFFER + PAGE;
	many.pmsicr = 0;
	many.pmsirr = 1 << 8;
	filter.pmsfcr = PMSFCR_FT | TYPE_B;
	discard.fill_mode = 2;
	map_buffer(1);
	fill(buffer_of(1), POISON, BUFFER_SIZE);
	spe_write(PMBPTR_EL1, BUFFER);
	say("ready\n");
	for (;;) {
		switch (heard()) {
		case 's':
			sample(one, code_nop);
			break;
		case 'S':
			spe_write(PMBPTR_EL1, BUFFER + PAGE - max_size());
			sample(last, code_nop);
			break;
		case 'm':
			sample(many, sled);
			break;
		case 'f':
			sample(filter, code_nop);
			break;
		case 'd':
			sample(discard, code_nop);
			break;
		case 'c':
			spe_write(PMBSR_EL1, 0);
			break;
		case 'b':
			spe_write(PMBPTR_EL1, BUFFER);
			break;
		case 'q':
			return;
		}
		look();
	}
}
