// SPDX-License-Identifier: GPL-2.0
/*
 * Counts sampled loads and stores by physical page, with a live event on each CPU that is online.
 * debugfs shows the hottest pages in hot_pages: page frame number and count. docs/live-kernel.md
 * says what a probe of the trace event may do.
 */
#include <linux/atomic.h>
#include <linux/debugfs.h>
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/perf_event.h>
#include <linux/pfn.h>
#include <linux/seq_file.h>
#include <linux/sort.h>

#include "../arm_spe_trace.h"

/* Fields of config, as in /sys/bus/event_source/devices/arm_spe_0/format. */
#define PA_ENABLE	BIT_ULL(1)
#define LOAD_FILTER	BIT_ULL(33)
#define STORE_FILTER	BIT_ULL(34)
#define LIVE		BIT_ULL(63)

#define SLOT_BITS	12
#define SLOTS		BIT(SLOT_BITS)
/* So many slots are looked at for a page. */
#define TRIES		8
#define SHOWN		10

static unsigned int type;
module_param(type, uint, 0444);
MODULE_PARM_DESC(type, "the PMU's type: /sys/bus/event_source/devices/arm_spe_0/type");

static unsigned int period = 4096;
module_param(period, uint, 0444);
MODULE_PARM_DESC(period, "operations from one sample to the next");

static struct slot {
	/* The page frame number plus 1, or 0. */
	atomic64_t page;
	atomic64_t count;
} slots[SLOTS];

/* Accesses to pages that have no slot. */
static atomic64_t others;

static DEFINE_PER_CPU(struct perf_event *, events);
static struct dentry *file;

/* Called with interrupts disabled: takes no lock. */
static void on_record(void *unused, u64 id, u64 period, const struct arm_spe_record *record)
{
	struct perf_event *event = this_cpu_read(events);
	u64 page = PHYS_PFN(record->data_pa) + 1;
	u32 first = hash_64(page, SLOT_BITS);

	/* There may be other live events. */
	if (!event || event->id != id || !(record->present & ARM_SPE_RECORD_DATA_PA))
		return;
	for (u32 i = 0; i < TRIES; i++) {
		struct slot *slot = &slots[(first + i) % SLOTS];
		s64 old = atomic64_read(&slot->page);

		if (!old)
			old = atomic64_cmpxchg(&slot->page, 0, page);
		if (!old || old == page) {
			atomic64_inc(&slot->count);
			return;
		}
	}
	atomic64_inc(&others);
}

static int by_count(const void *a, const void *b)
{
	u64 first = atomic64_read(&((const struct slot *)a)->count);
	u64 second = atomic64_read(&((const struct slot *)b)->count);

	return (first < second) - (first > second);
}

static int hot_pages_show(struct seq_file *seq, void *unused)
{
	struct slot *sorted = kvmemdup(slots, sizeof(slots), GFP_KERNEL);

	if (!sorted)
		return -ENOMEM;
	sort(sorted, SLOTS, sizeof(*sorted), by_count, NULL);
	for (int i = 0; i < SHOWN && atomic64_read(&sorted[i].count); i++)
		seq_printf(seq, "%#llx %lld\n", atomic64_read(&sorted[i].page) - 1,
			   atomic64_read(&sorted[i].count));
	seq_printf(seq, "others %lld\n", atomic64_read(&others));
	kvfree(sorted);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(hot_pages);

static void hot_pages_stop(void)
{
	int cpu;

	/* This gives out the records that are left. */
	for_each_possible_cpu(cpu)
		if (per_cpu(events, cpu))
			perf_event_release_kernel(per_cpu(events, cpu));
	unregister_trace_arm_spe_record(on_record, NULL);
	/* on_record() may still run on another CPU. */
	tracepoint_synchronize_unregister();
}

static int hot_pages_start(void)
{
	struct perf_event_attr attr = {
		.type = type,
		.size = sizeof(attr),
		.config = LIVE | PA_ENABLE | LOAD_FILTER | STORE_FILTER,
		.sample_period = period,
		.disabled = 1,
	};
	int cpu;

	/* Without cpus_read_lock(), which a live event may take. */
	for_each_online_cpu(cpu) {
		struct perf_event *event =
			perf_event_create_kernel_counter(&attr, cpu, NULL, NULL, NULL);

		if (IS_ERR(event))
			return PTR_ERR(event);
		per_cpu(events, cpu) = event;
		perf_event_enable(event);
	}
	return 0;
}

static int __init hot_pages_init(void)
{
	int err = register_trace_arm_spe_record(on_record, NULL);

	if (err)
		return err;
	err = hot_pages_start();
	if (err) {
		hot_pages_stop();
		return err;
	}
	file = debugfs_create_file("hot_pages", 0400, NULL, NULL, &hot_pages_fops);
	return 0;
}

static void __exit hot_pages_exit(void)
{
	debugfs_remove(file);
	hot_pages_stop();
}

module_init(hot_pages_init);
module_exit(hot_pages_exit);
MODULE_DESCRIPTION("The hottest pages, as the Statistical Profiling Extension sees them");
MODULE_LICENSE("GPL");
