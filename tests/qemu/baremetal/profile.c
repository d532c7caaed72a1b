// SPDX-License-Identifier: GPL-2.0
#include "profile.h"

int version;
u64 pmsidr;
struct outcome outcome;

/* Functions that access a register, to be run at any level. They touch nothing else. */
#define X_NAME(op1, crm, op2) "S3_" #op1 "_C9_C" #crm "_" #op2
#define X_CODE(name, op1, crm, op2, ...)		\
	asm(".pushsection .text\n"			\
	    "write_" #name ": msr " X_NAME(op1, crm, op2) ", x0\n"	\
	    "	ret\n"					\
	    "read_" #name ": mrs x0, " X_NAME(op1, crm, op2) "\n"	\
	    "	ret\n"					\
	    ".popsection\n");				\
	void write_##name(u64 value);			\
	u64 read_##name(void);
REGISTERS(X_CODE)

#define X_INFO(id, o1, m, o2, trap_group, fgt_bit, is_read_only)			\
	[id] = { .name = #id, .write = write_##id, .read = read_##id, .op1 = o1, .crm = m, .op2 = o2, \
		 .group = trap_group, .fgt = fgt_bit, .read_only = is_read_only },
const struct reg_info reg_info[REG_COUNT] = { REGISTERS(X_INFO) };

bool reg_exists(enum reg reg)
{
	switch (reg) {
	case PMSNEVFR_EL1:
		return pmsidr & PMSIDR_FNE;
	case PMSDSFR_EL1:
		return pmsidr & PMSIDR_FDS;
	case PMSCR_EL2:
		return version && has_el2();
	case PMSCR_EL12:
		return false;	/* only at EL2 with E2H */
	default:
		return version;
	}
}

struct access try_read(int el, u64 hcr, enum reg reg)
{
	struct access a;

	traps_expected();
	a.value = run_at(el, hcr, reg_info[reg].read, 0, 0, 0, 0);
	traps_over();
	a.trapped = trap.count;
	return a;
}

struct access try_write(int el, u64 hcr, enum reg reg, u64 value)
{
	struct access a = { .value = value };

	traps_expected();
	run_at(el, hcr, reg_info[reg].write, value, 0, 0, 0);
	traps_over();
	a.trapped = trap.count;
	return a;
}

u64 align(void)
{
	return version ? 1 << (spe_read(PMBIDR_EL1) & 0xf) : 1;
}

u64 max_size(void)
{
	return 1 << FIELD(pmsidr, 15, 12);
}

bool complete(void)
{
	bool enough = version && max_size() >= 64;

	if (!enough)
		skip("no SPE, or not every packet fits into a record");
	return enough;
}

u64 counter_max(void)
{
	return FIELD(pmsidr, 19, 16) == 2 ? 0xfff : 0xffff;
}

u64 events_mask(void)
{
	u64 mask = EV_RETIRED | EV_L1D_REFILL | EV_WALK | EV_MISPREDICTED;

	if (version >= V1P1) {
		mask |= EV_MISALIGNED;
		if (feature(mrs(id_aa64pfr0_el1), 32))	/* SVE */
			mask |= EV_PARTIAL | EV_EMPTY;
	}
	if (pmsidr & PMSIDR_FNE)
		mask |= EV_NOT_TAKEN;
	if (version >= V1P4)
		mask |= EV_L1D | EV_TLB | EV_LLC | EV_LLC_MISS | BIT(10) | BITS(23, 19);
	return mask;
}

/* --- Profiling --- */

u8 *buffer_of(int owner)
{
	return arena + BUFFER_SIZE * owner;
}

struct setup sampling(int el)
{
	struct setup s = {
		.el = el,
		.owner = el == 2 ? 2 : 1,
		.hcr = HCR_BASE,
		.pmsicr = 1,
		.pmsirr = BITS(31, 8),
		.pmbptr = BUFFER,
		.limit = BUFFER + BUFFER_SIZE,
	};

	s.pmscr1 = PMSCR_PA | (el == 0 ? PMSCR_E0SPE : el == 1 ? PMSCR_E1SPE : 0);
	s.pmscr2 = PMSCR_PA | (el == 2 ? PMSCR_E2SPE : 0);
	return s;
}

void map_buffer(int owner)
{
	for (u64 i = 0; i < BUFFER_SIZE / PAGE; i++)
		*window_entry(owner, BUFFER_PAGE + i) = ((u64)buffer_of(owner) + i * PAGE) | PTE_DATA;
	*window_entry(owner, (WINDOW_DATA - WINDOW) / PAGE) = (u64)arena | PTE_DATA;
	*window_entry(3 - owner, (WINDOW_DATA - WINDOW) / PAGE) = (u64)arena | PTE_DATA;
}

void unit_program(const struct setup *s)
{
	spe_write(PMBLIMITR_EL1, 0);
	spe_write(PMSCR_EL1, 0);
	spe_write(PMBSR_EL1, s->pmbsr);
	spe_write(PMBPTR_EL1, s->pmbptr);
	spe_write(PMSICR_EL1, s->pmsicr);
	spe_write(PMSIRR_EL1, s->pmsirr);
	spe_write(PMSFCR_EL1, s->pmsfcr);
	spe_write(PMSEVFR_EL1, s->pmsevfr);
	if (reg_exists(PMSNEVFR_EL1))
		spe_write(PMSNEVFR_EL1, s->pmsnevfr);
	spe_write(PMSLATFR_EL1, s->pmslatfr);
	if (reg_exists(PMSDSFR_EL1))
		spe_write(PMSDSFR_EL1, s->pmsdsfr);
	if (has_el2()) {
		msr(mdcr_el2, MDCR_EL2_E2PB(s->owner == 2 ? 0 : s->trapped ? 2 : 3));
		spe_write(PMSCR_EL2, s->pmscr2);
	}
	spe_write(PMBLIMITR_EL1, s->limit | PMBLIMITR_FM(s->fill_mode) | PMBLIMITR_E);
	spe_write(PMSCR_EL1, s->pmscr1);
}

void unit_stop(struct outcome *o)
{
	spe_write(PMSCR_EL1, 0);
	if (has_el2())
		spe_write(PMSCR_EL2, 0);
	psb_csync();
	isb();
	o->pmsicr = spe_read(PMSICR_EL1);
	spe_write(PMBLIMITR_EL1, 0);
	o->pmbsr = spe_read(PMBSR_EL1);
	o->pmbptr = spe_read(PMBPTR_EL1);
	spe_write(PMBSR_EL1, 0);
	if (has_el2()) {
		msr(mdcr_el2, MDCR_EL2_BASE);
		isb();
	}
}

/* Reads one record. Returns what its packets take, or 0 if they are not what a record consists of. */
static u64 decode(const u8 *at, u64 left, struct record *r)
{
	static const struct { u8 header, size; enum packet packet; } kinds[] = {
		{ 0xb0, 8, PC }, { 0xb1, 8, TARGET }, { 0xb2, 8, VA }, { 0xb3, 8, PA }, { 0xb4, 8, PREVIOUS },
		{ 0x98, 2, TOTAL }, { 0x99, 2, ISSUE }, { 0x9a, 2, XLAT }, { 0x52, 2, EVENTS }, { 0x62, 4, EVENTS },
		{ 0x48, 1, OP }, { 0x49, 1, OP }, { 0x4a, 1, OP }, { 0x64, 4, CONTEXT1 }, { 0x65, 4, CONTEXT2 },
		{ 0x43, 1, SOURCE }, { 0x71, 8, TIME },
	};
	const u8 *start = at, *end = at + left;

	*r = (struct record) {};
	while (at < end) {
		u8 header = *at++;
		size_t k;

		if (header == 0x01) {
			r->size = at - start;
			return r->size;
		}
		for (k = 0; k < ARRAY_SIZE(kinds) && kinds[k].header != header; k++)
			;
		if (!expect(k < ARRAY_SIZE(kinds) && !has(r, kinds[k].packet) && at + kinds[k].size <= end,
			    "packet %x at byte %d of a record is unknown, repeated or incomplete", (u64)header,
			    (u64)(at - 1 - start)))
			return 0;
		r->has |= BIT(kinds[k].packet);
		for (int i = 0; i < kinds[k].size; i++)
			r->value[kinds[k].packet] |= (u64)*at++ << (8 * i);
		if (kinds[k].packet == OP)
			r->class = header & 3;
		if (kinds[k].packet == EVENTS)
			r->events_size = kinds[k].size;
		if (kinds[k].packet == TIME) {
			r->size = at - start;
			return r->size;
		}
	}
	expect(false, "a record has no end");
	return 0;
}

/* The first byte from start to end that is not as it was filled */
static u64 first_other(const u8 *buffer, u8 byte, u64 start, u64 end)
{
	u64 at = start, eight = 0x0101010101010101 * byte;

	while (at < end) {
		if (!((u64)(buffer + at) & 7) && at + 8 <= end && *(const u64 *)(buffer + at) == eight)
			at += 8;
		else if (buffer[at] == byte)
			at++;
		else
			break;
	}
	return at;
}

void read_records(struct outcome *o, const u8 *buffer, u64 bytes)
{
	u64 at = 0;

	o->n = 0;
	while (at < bytes && o->n < MAX_RECORDS) {
		struct record *r = &o->record[o->n];
		u64 size = decode(buffer + at, bytes - at, r), end = at + ((size + align() - 1) & ~(align() - 1));

		if (!size)
			return;
		expect(size <= max_size(), "a record of %d bytes", size);
		expect(has(r, PC), "a record without PC");
		o->n++;
		at = first_other(buffer, 0, at + size, end);
		if (!expect(at == end, "padding at byte %d is not zero", at))
			return;
	}
}

void profile_mapped(const struct setup *s, const void *code, u64 a0, u64 a1, u64 a2, u64 a3)
{
	unit_program(s);
	outcome.x0 = run_at(s->el, s->hcr, code, a0, a1, a2, a3);
	unit_stop(&outcome);
}

void profile(const struct setup *s, const void *code, u64 a0, u64 a1, u64 a2, u64 a3)
{
	u8 *buffer = buffer_of(s->owner) + (s->pmbptr - BUFFER);
	u64 end = s->limit + PAGE, bytes, at;

	/* The buffer is watched from PMBPTR_EL1 on, up to the limit and a page behind it. */
	if (end < s->pmbptr || end > BUFFER + BUFFER_SIZE)
		end = BUFFER + BUFFER_SIZE;
	end -= s->pmbptr;

	map_buffer(s->owner);
	fill(buffer, POISON, end);
	profile_mapped(s, code, a0, a1, a2, a3);
	bytes = outcome.pmbptr - s->pmbptr;
	outcome.n = 0;
	if (!expect(bytes <= end, "PMBPTR_EL1 is %x", outcome.pmbptr))
		return;
	read_records(&outcome, buffer, bytes);
	at = first_other(buffer, POISON, bytes, end);
	expect(at == end, "byte %d of the buffer was written, where PMBPTR_EL1 is at byte %d", at, bytes);
}
