// SPDX-License-Identifier: GPL-2.0

#include <linux/cpu_pm.h>
#include <linux/device.h>
#include <linux/irq_work.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/perf_event.h>
#include <linux/pid_namespace.h>
#include <linux/preempt.h>
#include <linux/ratelimit.h>
#include <linux/sched.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include <asm/mmu.h>

#include "helpers.h"

/* Maps the pages at the addresses @addrs, and keeps them from being freed until vfree(). */
void *spe_helper_vmap(void *const *addrs, unsigned int count)
{
	struct page **pages;
	unsigned int i;
	void *base;

	pages = kvmalloc_array(count, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return NULL;
	for (i = 0; i < count; i++) {
		pages[i] = virt_to_page(addrs[i]);
		get_page(pages[i]);
	}
	base = vmap(pages, count, VM_MAP | VM_MAP_PUT_PAGES, PAGE_KERNEL);
	if (!base) {
		while (i--)
			put_page(pages[i]);
		kvfree(pages);
	}
	return base;
}

bool spe_helper_in_nmi(void)
{
	return in_nmi();
}

bool spe_helper_perfmon_capable(void)
{
	return perfmon_capable();
}

bool spe_helper_preemptible(void)
{
	return preemptible();
}

int spe_helper_cpu_to_node(int cpu)
{
	return cpu_to_node(cpu);
}

void *spe_helper_this_cpu_ptr(void *base)
{
	return this_cpu_ptr((void __percpu *)base);
}

void *spe_helper_per_cpu_ptr(void *base, unsigned int cpu)
{
	return per_cpu_ptr((void __percpu *)base, cpu);
}

/* Calls @function on @cpu, and waits until it has returned. */
int spe_helper_call_on(int cpu, smp_call_func_t function, void *argument)
{
	return smp_call_function_single(cpu, function, argument, true);
}

bool spe_helper_kernel_unmapped_at_el0(void)
{
	return arm64_kernel_unmapped_at_el0();
}

bool spe_helper_in_init_pid_ns(void)
{
	return task_is_in_init_pid_ns(current);
}

/* Returns whether the rate limit for messages of this kind allows another one. */
bool spe_helper_may_log(unsigned int kind)
{
	static struct ratelimit_state limits[SPE_MESSAGES] = {
		[0 ... SPE_MESSAGES - 1] = RATELIMIT_STATE_INIT(limits, DEFAULT_RATELIMIT_INTERVAL,
								DEFAULT_RATELIMIT_BURST),
	};

	return kind < SPE_MESSAGES && __ratelimit(limits + kind);
}

/* Without CONFIG_CPU_PM they are inline, and do nothing. */
int spe_helper_cpu_pm_register_notifier(struct notifier_block *block)
{
	return cpu_pm_register_notifier(block);
}

void spe_helper_cpu_pm_unregister_notifier(struct notifier_block *block)
{
	cpu_pm_unregister_notifier(block);
}

static void free_in_task(struct work_struct *work)
{
	arm_spe_free_deferred_buffers();
}

static DECLARE_WORK(free_work, free_in_task);

static void queue_free_work(struct irq_work *work)
{
	schedule_work(&free_work);
}

static struct irq_work free_irq_work = IRQ_WORK_INIT(queue_free_work);

/* Has the deferred buffers freed in a task, soon. May be called in an NMI. */
void spe_helper_free_later(void)
{
	irq_work_queue(&free_irq_work);
}

/* Waits until that is done, or cancels it. Nothing may call spe_helper_free_later() any more. */
void spe_helper_free_later_cancel(void)
{
	irq_work_sync(&free_irq_work);
	cancel_work_sync(&free_work);
}

/* Has perf disable an event that runs on this CPU, soon: perf_event_disable_inatomic() is not exported. */
void spe_helper_disable_later(struct perf_event *event)
{
	event->pending_disable = 1;
	irq_work_queue(&event->pending_disable_irq);
}

static struct device_driver *driver_to_probe;

static void probe_again(struct work_struct *work)
{
	/* Errors are those of single devices, which the core logs. */
	WARN_ON(driver_attach(driver_to_probe));
}

static DECLARE_WORK(probe_work, probe_again);

void spe_helper_set_driver_to_probe(struct device_driver *driver)
{
	driver_to_probe = driver;
}

/* Has the devices that the driver matches probed, soon. */
void spe_helper_probe_later(void)
{
	schedule_work(&probe_work);
}

/* Waits until that is done, or cancels it. */
void spe_helper_probe_later_cancel(void)
{
	cancel_work_sync(&probe_work);
}
