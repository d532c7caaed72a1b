// SPDX-License-Identifier: GPL-2.0
/*
 * Counts sampled loads and stores by physical page, with a live event on each CPU that is online.
 * debugfs has the counts in hot_pages: page frame number and count. docs/live-kernel.md says what a
 * probe of the trace event may do.
 */
#include <linux/debugfs.h>
#include <linux/hash.h>
#include <linux/module.h>
#include <linux/perf_event.h>
#include <linux/pfn.h>
#include <linux/seq_file.h>

#include "../arm_spe_trace.h"

/* Fields of config, as in /sys/bus/event_source/devices/arm_spe_0/format. */
#define PA_ENABLE	BIT_ULL(1)
#define LOAD_FILTER	BIT_ULL(33)
#define STORE_FILTER	BIT_ULL(34)
#define LIVE		BIT_ULL(63)

#define SLOT_BITS	16

static struct perf_event_attr attr = {
	.size = sizeof(attr),
	.config = LIVE | PA_ENABLE | LOAD_FILTER | STORE_FILTER,
	.sample_period = 4096,
};
module_param_named(type, attr.type, uint, 0444);
MODULE_PARM_DESC(type, "the PMU's type: /sys/bus/event_source/devices/arm_spe_0/type");
module_param_named(period, attr.sample_period, ullong, 0444);
MODULE_PARM_DESC(period, "operations from one sample to the next");

static DEFINE_PER_CPU(struct perf_event *, events);
static DEFINE_PER_CPU(u64, ids);
static struct dentry *file;

static struct slot {
	/* The page frame number plus 1, or 0. */
	atomic64_t page;
	atomic64_t count;
} slots[BIT(SLOT_BITS)];

/* Accesses to pages whose slot belongs to another page. */
static atomic64_t others;

/* Called with interrupts disabled: takes no lock. */
static void on_record(void *unused, u64 id, u64 period, const struct arm_spe_record *record)
{
	s64 page = PHYS_PFN(record->data_pa) + 1, old;
	struct slot *slot = &slots[hash_64(page, SLOT_BITS)];

	/* There may be other live events. */
	if (id != this_cpu_read(ids) || !(record->present & ARM_SPE_RECORD_DATA_PA))
		return;
	old = atomic64_cmpxchg(&slot->page, 0, page);
	atomic64_inc(!old || old == page ? &slot->count : &others);
}

static int hot_pages_show(struct seq_file *seq, void *unused)
{
	for (struct slot *slot = slots; slot < slots + ARRAY_SIZE(slots); slot++)
		if (atomic64_read(&slot->count))
			seq_printf(seq, "%#llx %lld\n", atomic64_read(&slot->page) - 1,
				   atomic64_read(&slot->count));
	seq_printf(seq, "others %lld\n", atomic64_read(&others));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(hot_pages);

static void hot_pages_exit(void)
{
	int cpu;

	debugfs_remove(file);
	/* This emits the records that are left. */
	for_each_possible_cpu(cpu)
		if (per_cpu(events, cpu))
			perf_event_release_kernel(per_cpu(events, cpu));
	unregister_trace_arm_spe_record(on_record, NULL);
	/* on_record() may still run on another CPU. */
	tracepoint_synchronize_unregister();
}

static int __init hot_pages_init(void)
{
	int cpu, err = register_trace_arm_spe_record(on_record, NULL);

	if (err)
		return err;
	/* Without cpus_read_lock(), which a live event may take. */
	for_each_online_cpu(cpu) {
		struct perf_event *event =
			perf_event_create_kernel_counter(&attr, cpu, NULL, NULL, NULL);

		/* CPUs without the unit, or that have gone offline. */
		if (event == ERR_PTR(-ENOENT) || event == ERR_PTR(-ENODEV))
			continue;
		if (IS_ERR(event)) {
			hot_pages_exit();
			return PTR_ERR(event);
		}
		per_cpu(events, cpu) = event;
		per_cpu(ids, cpu) = event->id;
	}
	file = debugfs_create_file("hot_pages", 0400, NULL, NULL, &hot_pages_fops);
	return 0;
}

module_init(hot_pages_init);
module_exit(hot_pages_exit);
MODULE_DESCRIPTION("Accesses by page, as the Statistical Profiling Extension sees them");
MODULE_LICENSE("GPL");
