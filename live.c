// SPDX-License-Identifier: GPL-2.0

#include <linux/string.h>
#include <linux/tracepoint.h>
#include <trace/events/sched.h>

#include "live.h"

#define CREATE_TRACE_POINTS
#include "arm_spe_trace.h"

EXPORT_TRACEPOINT_SYMBOL_GPL(arm_spe_record);

/* Returns whether anything listens to the trace event. */
bool spe_live_is_traced(void)
{
	return trace_arm_spe_record_enabled();
}

void spe_live_trace(u64 id, u64 period, const struct arm_spe_record *record)
{
	trace_arm_spe_record(id, period, record);
}

static void on_switch(void *units, bool preempt, struct task_struct *prev,
		      struct task_struct *next, unsigned int prev_state)
{
	arm_spe_live_switch(units);
}

/* The tracepoint is not exported by name. */
static struct tracepoint *sched_switch;

static void find_sched_switch(struct tracepoint *tp, void *unused)
{
	if (!strcmp(tp->name, "sched_switch"))
		sched_switch = tp;
}

/* Calls arm_spe_live_switch() with @units before each switch of tasks, with interrupts disabled. */
int spe_live_watch(void *units)
{
	check_trace_callback_type_sched_switch(on_switch);
	for_each_kernel_tracepoint(find_sched_switch, NULL);
	if (!sched_switch)
		return -ENODEV;
	/* Before other probes, which then see the records of a task before it is switched. */
	return tracepoint_probe_register_prio(sched_switch, on_switch, units, INT_MAX);
}

/* Ends that, and waits for callers. */
void spe_live_unwatch(void *units)
{
	tracepoint_probe_unregister(sched_switch, on_switch, units);
	tracepoint_synchronize_unregister();
}
