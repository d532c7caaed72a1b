// SPDX-License-Identifier: GPL-2.0
/* Translation tables with a 4 KiB granule and 39-bit addresses; see runtime.h for what is where. */

#include "runtime.h"

#define TABLE(name) static u64 name[512] __attribute__((aligned(4096)))

static u64 root[4][512] __attribute__((aligned(4096)));	/* by regime */
static u64 window2[4][512] __attribute__((aligned(4096)));
static u64 window3[4][512] __attribute__((aligned(4096)));
TABLE(ram);
TABLE(s2_root);
TABLE(s2_ram);
TABLE(s2_arena);

#define BLOCK (PTE_VALID | PTE_USER | PTE_AF)
#define ATTR_DEVICE (1 << 2)
#define RAM_BASE 0x40000000ull

#define MAIR 0x04ffull	/* 0: normal, write-back; 1: device */
/* 39 bits, write-back, inner shareable, 4 KiB */
#define TCR (25 | 1 << 8 | 1 << 10 | 3 << 12)
/* Right for EL2 with and without E2H: the physical size in both places, the upper half off */
#define TCR_EL2 (TCR | 2 << 16 | 1 << 23 | 2ull << 30 | 2ull << 32)
/* TTBR0 only; tags and addresses up to 40 bits */
#define TCR_EL1 (TCR | 1 << 23 | 2ull << 30 | 2ull << 32)
#define TCR_EL3 (TCR | 2 << 16 | 1 << 23 | 1ull << 31)
/* As without virtual memory, but with it, with caches, SPAN, allocation tags, authentication of pointers, MOPS */
#define SCTLR (0x30d00800ull | BIT(0) | BIT(2) | BIT(12) | BIT(14) | BIT(15) | BIT(16) | BIT(18) | BIT(26) \
	       | BIT(27) | BIT(31) | BIT(33) | BIT(42) | BIT(43))
#define VTCR (25 | 1 << 6 | 1 << 8 | 1 << 10 | 3 << 12 | 2 << 16 | 1ull << 31)

void mmu_init(void)
{
	for (int el = 1; el < 4; el++) {
		root[el][0] = BLOCK | ATTR_DEVICE | PTE_XN;
		root[el][1] = (u64)ram | 3;
		root[el][FIELD(WINDOW, 38, 30)] = (u64)window2[el] | 3;
		window2[el][0] = (u64)window3[el] | 3;
	}
	for (u64 i = 0; i < 512; i++) {
		u64 pa = RAM_BASE + (i << 21);

		/* With FEAT_RME, EL3 executes from the Root space only, which this bit (NSE) stands for at EL3. */
		ram[i] = pa | BLOCK | PTE_INNER | (i == 1 ? PTE_READ_ONLY | PTE_NG : PTE_XN);
		s2_ram[i] = (pa | PTE_S2) & ~2ull;
		s2_arena[i] = ((u64)arena + (i << 12)) | PTE_S2;
	}
	/* Addresses of the arena have a page each. */
	s2_ram[((u64)arena - RAM_BASE) >> 21] = (u64)s2_arena | 3;
	s2_root[0] = PTE_VALID | 1 << 2 | 3 << 6 | PTE_AF;
	s2_root[1] = (u64)s2_ram | 3;
	dsb();
}

#define REGIME(el, tcr)	do {				\
	msr(mair_el##el, MAIR);				\
	msr(tcr_el##el, tcr);				\
	msr(ttbr0_el##el, root[el]);			\
	isb();						\
} while (0)

void mmu_on(void)
{
	REGIME(1, TCR_EL1);
	msr(ttbr1_el1, 0);
	if (has_el2()) {
		REGIME(2, TCR_EL2);
		msr(vtcr_el2, VTCR);
		msr(vttbr_el2, s2_root);
	}
	if (has_el3())
		REGIME(3, TCR_EL3);
	tlb_flush();
	msr(sctlr_el1, SCTLR);
	if (has_el2())
		msr(sctlr_el2, SCTLR);
	if (has_el3())
		msr(sctlr_el3, SCTLR);
	isb();
}

void upper_half_on(bool on)
{
	/* T1SZ and the other fields for TTBR1_EL2, of which EPD1 is 0 then */
	msr(tcr_el2, on ? TCR | (u64)TCR << 16 | 2ull << 30 | 2ull << 32 : TCR_EL2);
	msr(S3_4_C2_C0_1, on ? root[2] : 0);
	tlb_flush();
}

void tlb_flush(void)
{
	dsb();
	if (has_el3())
		asm volatile("tlbi alle3" : : : "memory");
	if (has_el2())
		asm volatile("tlbi alle2\n\ttlbi alle1" : : : "memory");
	else
		asm volatile("tlbi vmalle1" : : : "memory");
	asm volatile("ic iallu" : : : "memory");
	dsb();
	isb();
}

u64 *window_entry(int regime, int page)
{
	return &window3[regime][page];
}

u64 *window_block(int regime, int block)
{
	return &window2[regime][block];
}

u64 window_map(int regime, int page, u64 pa, u64 attributes)
{
	*window_entry(regime, page) = pa | attributes;
	tlb_flush();
	return WINDOW + page * PAGE;
}

u64 *stage2_entry(u64 ipa)
{
	return &s2_arena[(ipa - (u64)arena) >> 12];
}

/* --- Other granules --- */

/* Of up to 64 KiB: the first one is a table of level 2, the next two of level 3. */
static u64 wide[3][8192] __attribute__((aligned(0x10000)));

bool granule_exists(int shift)
{
	u64 mmfr0 = mrs(id_aa64mmfr0_el1);

	return shift == 14 ? feature(mmfr0, 20) : FIELD(mmfr0, 27, 24) == 0;
}

void granule_use(int shift, const u64 *pas, int count)
{
	static u64 level1[8] __attribute__((aligned(64)));
	int below = 2 * shift - 3;	/* address bits below level 2 */

	if (shift == 12) {
		REGIME(1, TCR_EL1);
		tlb_flush();
		return;
	}
	fill(wide, 0, sizeof(wide));
	for (u64 i = 0; i < 1u << (shift - 3); i++) {
		u64 pa = RAM_BASE + (i << shift);
		bool code = pa >> 21 == (RAM_BASE >> 21) + 1;

		wide[1][i] = pa | PTE_PAGE | PTE_USER | PTE_AF | PTE_INNER | (code ? PTE_READ_ONLY : PTE_XN);
	}
	for (int i = 0; i < count; i++)
		wide[2][i] = pas[i] | PTE_DATA;
	wide[0][RAM_BASE >> below] = (u64)wide[1] | 3;
	wide[0][WINDOW >> below] = (u64)wide[2] | 3;
	/* With 64 KiB, 39 bits begin at level 2. */
	level1[0] = (u64)wide[0] | 3;
	REGIME(1, TCR_EL1 | (shift == 14 ? 2 : 1) << 14);
	msr(ttbr0_el1, shift == 14 ? level1 : wide[0]);
	tlb_flush();
}
