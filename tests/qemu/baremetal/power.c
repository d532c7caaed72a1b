// SPDX-License-Identifier: GPL-2.0
/* PSCI ends the power of a CPU, which starts again at the entry point: the registers are lost. */

#include "profile.h"
#include "psci.h"

#define ENTRY ((u64)psci_entry)
#define CONTEXT 0xc0de

#define GICD 0x08000000
#define GICR 0x080a0000		/* of the first CPU */
#define GICR_SGI (GICR + 0x10000)
#define mmio(address) (*(volatile u32 *)(address))

/* An interrupt that is pending, and masked, lets no CPU sleep. */
static void wakeup_on(void)
{
	mmio(GICD) = BIT(4) | 3;	/* CTLR: ARE, both groups */
	mmio(GICR + 0x14) = 0;		/* WAKER */
	mmio(GICR_SGI + 0x80) = BIT(0);		/* IGROUPR0 */
	mmio(GICR_SGI + 0x400) = 0;		/* IPRIORITYR0 */
	mmio(GICR_SGI + 0x100) = BIT(0);	/* ISENABLER0 */
	msr(S3_0_C12_C12_5, 7);		/* ICC_SRE_EL1 */
	msr(S3_0_C4_C6_0, 0xff);	/* ICC_PMR_EL1 */
	msr(S3_0_C12_C12_7, 1);		/* ICC_IGRPEN1_EL1 */
	isb();
	mmio(GICR_SGI + 0x200) = BIT(0);	/* ISPENDR0 */
	dsb();
}

static void wakeup_off(void)
{
	mmio(GICR_SGI + 0x280) = BIT(0);	/* ICPENDR0 */
	mmio(GICR_SGI + 0x180) = BIT(0);	/* ICENABLER0 */
	msr(S3_0_C12_C12_7, 0);
	isb();
}

static bool is_lost(enum reg reg)
{
	return reg_exists(reg) && !reg_info[reg].read_only;
}

static void clear_all(void)
{
	for (enum reg reg = 0; reg < REG_COUNT; reg++) {
		if (is_lost(reg))
			spe_write(reg, 0);
	}
}

TEST(features, "power: PSCI has SYSTEM_SUSPEND where it ends the power")
{
	if (has_el3())
		return skip("this level is above PSCI");
	expect_eq(psci(PSCI_FEATURES, PSCI_SYSTEM_SUSPEND, 0, 0), param("power-loss") ? 0 : PSCI_NOT_SUPPORTED,
		  "PSCI_FEATURES");
}

TEST(powerdown, "power: after powerdown the registers have any value, and nothing is enabled")
{
	u64 seen[REG_COUNT] = { 0 };

	if (!version || !param("power-loss"))
		return skip("no SPE, or PSCI does not end its power");
	wakeup_on();
	for (int round = 0; round < 16; round++) {
		clear_all();
		spe_write(PMBLIMITR_EL1, (BUFFER + PAGE) | PMBLIMITR_E);
		if (round % 2)
			expect_eq(psci(PSCI_CPU_SUSPEND, POWERDOWN, ENTRY, CONTEXT), CONTEXT, "CPU_SUSPEND");
		else
			expect_eq(psci(PSCI_SYSTEM_SUSPEND, ENTRY, CONTEXT, 0), CONTEXT, "SYSTEM_SUSPEND");
		expect_eq(spe_read(PMBLIMITR_EL1) & PMBLIMITR_E, 0, "PMBLIMITR_EL1.E");
		expect_eq(spe_read(PMBSR_EL1) & PMBSR_S, 0, "PMBSR_EL1.S");
		for (enum reg reg = 0; reg < REG_COUNT; reg++) {
			if (is_lost(reg))
				seen[reg] |= spe_read(reg);
		}
	}
	wakeup_off();
	clear_all();
	for (enum reg reg = 0; reg < REG_COUNT; reg++) {
		if (is_lost(reg))
			expect(seen[reg], "%s keeps its value", reg_info[reg].name);
	}
}

TEST(standby, "power: in standby the registers keep their values")
{
	if (!version || !param("power-loss"))
		return skip("no SPE, or PSCI does not end its power");
	wakeup_on();
	clear_all();
	spe_write(PMBPTR_EL1, BUFFER);
	expect_eq(psci(PSCI_CPU_SUSPEND, 0, ENTRY, CONTEXT), 0, "CPU_SUSPEND");
	expect_eq(spe_read(PMBPTR_EL1), BUFFER, "PMBPTR_EL1");
	expect_eq(spe_read(PMSCR_EL1), 0, "PMSCR_EL1");
	wakeup_off();
}
