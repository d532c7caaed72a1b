// SPDX-License-Identifier: GPL-2.0
/* With FEAT_RME: whose buffer it is in the Realm Security state, and buffers behind granule protection checks. */

#include "operations.h"

#define SCR_NSE BIT(62)
#define MDCR_EL3_NSPBE BIT(11)
#define ADDRESS_NSE BIT(60)

static bool has_rme(void)
{
	return version && has_el3() && feature(mrs(id_aa64pfr0_el1), 52);
}

static const struct state {
	const char *name;
	u64 scr;		/* SCR_EL3.{NSE, NS} */
	u64 owns;		/* MDCR_EL3.{NSPBE, NSPB<1>} */
	bool secure;
	u64 nse;
} states[] = {
	{ "Secure", 0, 0, true, 0 },
	{ "Non-secure", SCR_NS, 1, false, 0 },
	{ "Realm", SCR_NSE | SCR_NS, 3, false, ADDRESS_NSE },
};

static void check_state(const struct state *state, u64 nspb)
{
	struct setup s = sampling(1);
	bool sampled = nspb >> 1 == state->owns;

	s.pmscr1 |= PMSCR_PA;
	msr(scr_el3, (SCR_BASE & ~SCR_NS) | state->scr);
	msr(mdcr_el3, MDCR_EL3_NSPB(nspb & 3) | (nspb & 4 ? MDCR_EL3_NSPBE : 0) | MDCR_EL3_ENPMS3);
	tlb_flush();
	profile(&s, code_str_x, (u64)DATA, 3, 0, 0);
	msr(scr_el3, SCR_BASE);
	msr(mdcr_el3, MDCR_EL3_BASE);
	tlb_flush();
	if (!expect_eq(outcome.n, sampled, "%s, NSPBE and NSPB %x: records", state->name, nspb) || !sampled)
		return;
	expect_eq(outcome.record[0].value[PC] & (BIT(63) | ADDRESS_NSE), (state->secure ? 0 : BIT(63)) | state->nse,
		  "%s: NS and NSE of the PC", state->name);
	if (!complete())
		return;
	if (expect(has(&outcome.record[0], PA), "%s: no PA", state->name))
		expect_eq(outcome.record[0].value[PA] & (BIT(63) | ADDRESS_NSE),
			  (state->secure ? 0 : BIT(63)) | state->nse, "%s: NS and NSE of the PA", state->name);
}

TEST(owner, "realms: MDCR_EL3.NSPBE and NSPB give the buffer to one of three Security states")
{
	if (!has_rme())
		return skip("no SPE or RME");
	for (const struct state *state = states; state < states + ARRAY_SIZE(states); state++)
		for (u64 nspb = 0; nspb < 8; nspb++)
			check_state(state, nspb);
}

/* --- Granule protection checks --- */

#define GPCCR_EL3 S3_6_C2_C1_6
#define GPTBR_EL3 S3_6_C2_C1_4
#define GPCCR_PGS_64K (1ull << 14)
#define GPCCR_GPC BIT(16)
#define GPI_NONE 0x0ull
#define GPI_RESERVED 0x1ull
#define GPI_ALL 0xfull
#define GRANULE 0x44000000ull	/* RAM that nothing else uses */

/* A level 0 entry covers 1 GiB, a level 1 entry 16 granules of 64 KiB. */
static u64 level0[512] __attribute__((aligned(4096)));
static u64 level1[1024] __attribute__((aligned(8192)));

/* All may be accessed but the granule. */
static void protect(u64 gpi)
{
	for (size_t i = 0; i < 4; i++)
		level0[i] = GPI_ALL << 4 | 1;
	for (size_t i = 0; i < ARRAY_SIZE(level1); i++)
		level1[i] = ~0ull;
	level1[FIELD(GRANULE, 29, 20)] &= ~(0xfull << (4 * FIELD(GRANULE, 19, 16)));
	level1[FIELD(GRANULE, 29, 20)] |= gpi << (4 * FIELD(GRANULE, 19, 16));
	level0[1] = (u64)level1 | 3;
	dsb();
	msr(GPTBR_EL3, (u64)level0 >> 12);
	/* 32 bits of physical address, write-back, inner shareable */
	msr(GPCCR_EL3, 1 << 8 | 1 << 10 | 3 << 12 | GPCCR_PGS_64K | GPCCR_GPC);
	tlb_flush();
}

static void check_granule(int owner, u64 gpi, u64 pmbptr, u64 want, const char *what)
{
	struct setup s = sampling(owner - 1);

	s.owner = owner;
	s.pmsirr = 1 << 8;
	s.pmbptr = pmbptr;
	s.limit = (pmbptr & ~(PAGE - 1)) + PAGE;
	map_buffer(owner);
	*window_entry(owner, BUFFER_PAGE + 1) = GRANULE | PTE_DATA;
	*window_block(owner, 1) = GRANULE | 3;
	protect(gpi);
	profile_mapped(&s, code_ldr_x, (u64)DATA, 3, 0, 0);
	msr(GPCCR_EL3, 0);
	*window_block(owner, 1) = 0;
	map_buffer(owner);
	tlb_flush();
	if (want) {
		expect_eq(outcome.pmbsr, want, "EL%d, %s: PMBSR_EL1", (u64)owner, what);
		expect_eq(outcome.pmbptr, pmbptr, "EL%d, %s: PMBPTR_EL1", (u64)owner, what);
	} else {
		expect_eq(outcome.pmbsr & PMBSR_EC(0x3f), 0, "EL%d, %s: PMBSR_EL1", (u64)owner, what);
		expect(outcome.pmbptr > pmbptr, "EL%d, %s: no record", (u64)owner, what);
	}
}

TEST(granules, "realms: granule protection of the buffer and of its tables; a check that cannot be made has a class of its own")
{
	u64 fault = PMBSR_S | PMBSR_EC(0x24), page = BUFFER + PAGE;

	if (!has_rme())
		return skip("no SPE or RME");
	for (int owner = 1; owner <= 2; owner++) {
		check_granule(owner, GPI_ALL, page, 0, "all may access it");
		check_granule(owner, GPI_NONE, BUFFER, 0, "another granule");
		check_granule(owner, GPI_NONE, page, fault | 0x28, "nobody may access it");
		check_granule(owner, GPI_NONE, WINDOW + (1 << 21), fault | 0x27, "nobody may access its table");
		check_granule(owner, GPI_RESERVED, page, PMBSR_S | PMBSR_EC(0x1e), "nonsense in the granule protection table");
	}
}
