// SPDX-License-Identifier: GPL-2.0
/*
 * A CPU that loses the registers of its profiling unit with its power, and gets others.
 *
 * Writing N to the parameter `naps` makes the CPU of the writer go through CPU PM (linux/cpu_pm.h) N times,
 * as idle states and suspend do. In between, with interrupts disabled, each register of the unit that is
 * UNKNOWN after a reset gets a random value, but for the newer filters; PMBLIMITR_EL1 is 0. `enabled` counts
 * the naps for which the buffer had been left enabled. With fail=M every Mth nap is refused by another notifier, after the driver's.
 */
#include <linux/cpu_pm.h>
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/smp.h>
#include <asm/sysreg.h>

static unsigned int enabled;
module_param(enabled, uint, 0444);
static unsigned int failed;
module_param(failed, uint, 0444);
static unsigned int fail;
module_param(fail, uint, 0644);

static DEFINE_PER_CPU(struct rnd_state, state);
static DEFINE_PER_CPU(unsigned int, entries);

static u64 any(void)
{
	struct rnd_state *rnd = this_cpu_ptr(&state);

	return (u64)prandom_u32_state(rnd) << 32 | prandom_u32_state(rnd);
}

static void lose_power(void)
{
	if (read_sysreg_s(SYS_PMBLIMITR_EL1) & PMBLIMITR_EL1_E)
		WRITE_ONCE(enabled, enabled + 1);
	write_sysreg_s(0, SYS_PMBLIMITR_EL1);
	isb();
	write_sysreg_s(any(), SYS_PMBPTR_EL1);
	write_sysreg_s(any(), SYS_PMBSR_EL1);
	write_sysreg_s(any(), SYS_PMSCR_EL1);
	write_sysreg_s(any(), SYS_PMSFCR_EL1);
	write_sysreg_s(any(), SYS_PMSEVFR_EL1);
	write_sysreg_s(any(), SYS_PMSLATFR_EL1);
	write_sysreg_s(any(), SYS_PMSIRR_EL1);
	/* The next operation is sampled, if one is. */
	write_sysreg_s(1, SYS_PMSICR_EL1);
	isb();
}

static void nap(void)
{
	unsigned long flags;

	local_irq_save(flags);
	if (cpu_pm_enter()) {
		WRITE_ONCE(failed, failed + 1);
	} else {
		lose_power();
		cpu_pm_exit();
	}
	local_irq_restore(flags);
}

static int set_naps(const char *text, const struct kernel_param *param)
{
	unsigned int count;
	int err = kstrtouint(text, 0, &count);

	if (err)
		return err;
	while (count--) {
		nap();
		/* The sampled code runs on. */
		usleep_range(20, 40);
	}
	return 0;
}

static const struct kernel_param_ops naps = { .set = set_naps };
module_param_cb(naps, &naps, NULL, 0200);

static int refuse(struct notifier_block *block, unsigned long event, void *unused)
{
	if (event != CPU_PM_ENTER || !fail || this_cpu_inc_return(entries) % fail)
		return NOTIFY_OK;
	return NOTIFY_BAD;
}

/* After the driver's, so that CPU PM has to tell that one. */
static struct notifier_block refusing = { .notifier_call = refuse, .priority = -1 };

static int __init powerless_init(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		prandom_seed_state(per_cpu_ptr(&state, cpu), cpu + 1);
	return cpu_pm_register_notifier(&refusing);
}

static void __exit powerless_exit(void)
{
	cpu_pm_unregister_notifier(&refusing);
}

module_init(powerless_init);
module_exit(powerless_exit);
MODULE_DESCRIPTION("CPUs that lose the registers of their profiling units");
MODULE_LICENSE("GPL");
