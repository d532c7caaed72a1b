// SPDX-License-Identifier: GPL-2.0

#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/pid_namespace.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/topology.h>
#include <linux/vmalloc.h>
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

bool spe_helper_kernel_unmapped_at_el0(void)
{
	return arm64_kernel_unmapped_at_el0();
}

bool spe_helper_in_init_pid_ns(void)
{
	return task_is_in_init_pid_ns(current);
}
