// SPDX-License-Identifier: GPL-2.0
/*
 * A hypervisor for one guest, which has all of the machine. Accesses to the registers of the buffer are trapped,
 * and one rule of DEN0154 is checked: PMBPTR_EL1 and PMBSR_EL1 are not written while the buffer is enabled. Each
 * trap is a context synchronisation event, so that a missing ISB is not noticed.
 *
 * On request, the page behind that of the write pointer is removed from stage 2 when the guest enables the buffer, until
 * the guest disables it, or accesses the page itself. Some records come before the fault: perf record enables an event
 * again only when it has read data.
 *
 * For QEMU only: with the MMU of EL2 off, its tables are written without cache maintenance, and memory is zero at
 * the start.
 */

#include "../baremetal/arch.h"

#define CPUS 8

/* Read by the test, as 64-bit words in this order. */
struct counters {
	u64 cpus;		/* that were started */
	u64 accesses;		/* to the registers of the buffer */
	u64 enabled;		/* writes that enabled the buffer */
	u64 violations;		/* writes of PMBPTR_EL1 or PMBSR_EL1 while it was enabled */
	u64 faults;		/* pages that were removed from stage 2 */
	u64 guest_faults;	/* of the guest itself at such a page */
	u64 unexpected;		/* exceptions that nothing here handles; the CPU stays there */
	u64 esr, elr, far;	/* of the last one */
};

struct counters counters __attribute__((section(".bss.counters")));

/* The number of writes that enable the buffer from one fault to the next; 0: there are none. */
extern const volatile u32 fault_interval;
extern const char vectors[], start_secondary[];

u64 stacks[CPUS][512] __attribute__((aligned(16)));

static void count(u64 *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static unsigned int this_cpu(void)
{
	return mrs(mpidr_el1) & 0xff;
}

static _Noreturn void give_up(u64 esr)
{
	counters.esr = esr;
	counters.elr = mrs(elr_el2);
	counters.far = mrs(far_el2);
	count(&counters.unexpected);
	for (;;)
		asm volatile("wfi");
}

_Noreturn void unexpected_vector(u64 index)
{
	give_up(index << 32 | mrs(esr_el2));
}

/* --- Stage 2: all of memory as it is, RAM by pages --- */

#define GIB 1024
#define RAM 0x40000000ull
#define RAM_GIB 2
#define TABLES (RAM_GIB * 512)
#define PAGES (TABLES * 512)
#define PAGE 4096

#define S2_BLOCK 1ull
#define S2_TABLE 3ull	/* or a page */
#define S2_ATTRIBUTES (0xfull << 2 | 3ull << 6 | 3ull << 8 | BIT(10))	/* normal memory, all access, shareable, AF */
#define S2_ADDRESS BITS(47, 12)

/* 40 bits: two tables of the first level next to each other. */
static u64 level1[GIB] __attribute__((aligned(8192)));
static u64 level2[TABLES] __attribute__((aligned(4096)));
static u64 level3[PAGES] __attribute__((aligned(4096)));
static int lock;

/* Of each CPU, the entry of the page that is missing, and its value. */
static u64 *missing[CPUS], was[CPUS];

void make_stage2(void)
{
	for (u64 n = 0; n < GIB; n++)
		level1[n] = n << 30 | S2_ATTRIBUTES | S2_BLOCK;
	for (u64 n = 0; n < RAM_GIB; n++)
		level1[(RAM >> 30) + n] = (u64)&level2[n << 9] | S2_TABLE;
	for (u64 n = 0; n < TABLES; n++)
		level2[n] = (u64)&level3[n << 9] | S2_TABLE;
	for (u64 n = 0; n < PAGES; n++)
		level3[n] = (RAM + (n << 12)) | S2_ATTRIBUTES | S2_TABLE;
	dsb();
}

static void flush(void)
{
	dsb();
	asm volatile("tlbi vmalls12e1is" : : : "memory");
	dsb();
	isb();
}

static void acquire(void)
{
	while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
		;
}

static void release(void)
{
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

/* Maps the page again that a CPU's unit is to fault on. */
static void restore_page(unsigned int cpu)
{
	if (!missing[cpu])
		return;
	*missing[cpu] = was[cpu];
	missing[cpu] = 0;
	flush();
}

/* Removes the page at a virtual address of the guest, for this CPU's unit to fault on. */
static void remove_page(u64 address)
{
	u64 saved = mrs(par_el1), par, page;
	unsigned int cpu = this_cpu();

	asm volatile("at s1e1w, %0" : : "r"(address) : "memory");
	isb();
	par = mrs(par_el1);
	msr(par_el1, saved);
	page = ((par & S2_ADDRESS) - RAM) >> 12;
	if (par & 1 || page >= PAGES)
		return;
	acquire();
	if (level3[page] & 1) {
		missing[cpu] = &level3[page];
		was[cpu] = level3[page];
		level3[page] = 0;
		flush();
		count(&counters.faults);
	}
	release();
}

/* Maps a page again that the guest has accessed. Another CPU may have done so. */
static void guest_fault(void)
{
	u64 address = FIELD(mrs(hpfar_el2), 43, 4) << 12;

	acquire();
	for (unsigned int cpu = 0; cpu < CPUS; cpu++)
		if (missing[cpu] && (was[cpu] & S2_ADDRESS) == address)
			restore_page(cpu);
	release();
	count(&counters.guest_faults);
}

/* --- The unit --- */

#define PMBLIMITR_EL1 s3_0_c9_c10_0
#define PMBPTR_EL1 s3_0_c9_c10_1
#define PMBSR_EL1 s3_0_c9_c10_3
#define PMSCR_EL2 s3_4_c9_c9_0

#define PMBLIMITR_E BIT(0)
#define PMBLIMITR_LIMIT BITS(63, 12)
/* How a trapped access names a register of the buffer, without its direction and its general-purpose register. */
#define ISS(op2) (3 << 20 | (op2) << 17 | 9 << 10 | 10 << 1)

static void write_limit(u64 value)
{
	acquire();
	restore_page(this_cpu());
	release();
	if (value & PMBLIMITR_E) {
		u64 enabled = __atomic_add_fetch(&counters.enabled, 1, __ATOMIC_RELAXED);

		u64 page = mrs(PMBPTR_EL1) + PAGE;

		if (fault_interval && enabled % fault_interval == 0 && page < (value & PMBLIMITR_LIMIT))
			remove_page(page);
	}
	msr(PMBLIMITR_EL1, value);
}

/* Does an access to a register of the buffer. Returns whether it is one. */
static bool access(u32 iss, u64 *registers)
{
	u32 reg = iss & ~(BITS(9, 5) | 1), rt = FIELD(iss, 9, 5);
	bool is_read = iss & 1;
	u64 value = rt == 31 ? 0 : registers[rt];

	if (!is_read && reg != ISS(0) && mrs(PMBLIMITR_EL1) & PMBLIMITR_E)
		count(&counters.violations);
	switch (reg) {
	case ISS(0):
		if (is_read)
			value = mrs(PMBLIMITR_EL1);
		else
			write_limit(value);
		break;
	case ISS(1):
		if (is_read)
			value = mrs(PMBPTR_EL1);
		else
			msr(PMBPTR_EL1, value);
		break;
	case ISS(3):
		if (is_read)
			value = mrs(PMBSR_EL1);
		else
			msr(PMBSR_EL1, value);
		break;
	default:
		return false;
	}
	if (is_read && rt != 31)
		registers[rt] = value;
	isb();
	count(&counters.accesses);
	return true;
}

/* --- Exceptions of the guest --- */

#define EC_SMC64 0x17
#define EC_SYSREG 0x18
#define EC_DATA_ABORT 0x24
#define DFSC_TRANSLATION_3 7

#define PSCI_CPU_ON 0xc4000003

struct cpu_on {
	u64 entry, context;
};

static struct cpu_on pending[CPUS];

static u64 smc(u64 function, u64 a, u64 b, u64 c)
{
	register u64 x0 asm("x0") = function;
	register u64 x1 asm("x1") = a;
	register u64 x2 asm("x2") = b;
	register u64 x3 asm("x3") = c;

	asm volatile("smc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
		     : : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17", "memory");
	return x0;
}

/* Forwards a call. CPUs that it starts come here first. */
static void firmware(u64 *registers)
{
	u64 entry = registers[2], context = registers[3];

	if ((u32)registers[0] == PSCI_CPU_ON && registers[1] < CPUS) {
		struct cpu_on *cpu = &pending[registers[1]];

		cpu->entry = entry;
		cpu->context = context;
		dsb();
		entry = (u64)start_secondary;
		context = (u64)cpu;
	}
	registers[0] = smc(registers[0], registers[1], entry, context);
}

void trap(u64 *registers)
{
	u64 esr = mrs(esr_el2);

	switch (FIELD(esr, 31, 26)) {
	case EC_SYSREG:
		if (!access(esr & BITS(21, 0), registers))
			give_up(esr);
		break;
	case EC_SMC64:
		firmware(registers);
		break;
	case EC_DATA_ABORT:
		if (FIELD(esr, 5, 0) != DFSC_TRANSLATION_3)
			give_up(esr);
		guest_fault();
		return;
	default:
		give_up(esr);
	}
	msr(elr_el2, mrs(elr_el2) + 4);
}

/* --- A CPU --- */

#define HCR_VM BIT(0)
#define HCR_TSC BIT(19)
#define HCR_RW BIT(31)
#define HCR_OTHERS (BIT(40) | BIT(41) | BIT(47) | BIT(53) | BIT(56))	/* APK, API, FIEN, EnSCXT, ATA: not trapped */
#define HCRX_ALL_ENABLED (BITS(2, 0) | BIT(11) | BIT(14) | BIT(15) | BIT(17) | BITS(24, 20) | BIT(26))
#define MDCR_E2PB_TRAPPED (2ull << 12)
#define CPTR_RES1 0x32ffull
#define CNTHCTL_TIMERS 3
#define SRE_ALL 0xf
#define PMSCR_EL2_ALLOWED (BIT(4) | BIT(6))	/* physical addresses, physical time */
/* 40 bits, from the first level, shareable and cacheable, pages of 4 KiB; 40 bits of physical address. */
#define VTCR (24 | 1 << 6 | 1 << 8 | 1 << 10 | 3 << 12 | 2 << 16 | BIT(31))

void set_up_cpu(void)
{
	msr(vbar_el2, vectors);
	msr(vtcr_el2, VTCR);
	msr(vttbr_el2, level1);
	msr(hcr_el2, HCR_VM | HCR_TSC | HCR_RW | HCR_OTHERS);
	msr(s3_4_c1_c2_2, HCRX_ALL_ENABLED);
	msr(mdcr_el2, MDCR_E2PB_TRAPPED | FIELD(mrs(pmcr_el0), 15, 11));
	msr(cptr_el2, CPTR_RES1);
	msr(hstr_el2, 0);
	/* Fine-grained traps whose bits enable an access. */
	msr(s3_4_c1_c1_4, BIT(50) | BITS(63, 52));	/* HFGRTR_EL2 */
	msr(s3_4_c1_c1_5, BIT(50) | BITS(63, 52));	/* HFGWTR_EL2 */
	msr(s3_4_c1_c1_6, BITS(59, 55));		/* HFGITR_EL2 */
	msr(s3_4_c3_c1_4, BITS(62, 59));		/* HDFGRTR_EL2 */
	msr(s3_4_c3_c1_5, BITS(62, 60));		/* HDFGWTR_EL2 */
	msr(cnthctl_el2, CNTHCTL_TIMERS);
	msr(cntvoff_el2, 0);
	msr(s3_4_c12_c9_5, SRE_ALL);			/* ICC_SRE_EL2 */
	msr(vpidr_el2, mrs(midr_el1));
	msr(vmpidr_el2, mrs(mpidr_el1));
	msr(PMSCR_EL2, PMSCR_EL2_ALLOWED);
	flush();
	count(&counters.cpus);
}
