/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The trace event of live events. Modules that attach a probe include this, see docs/live-kernel.md.
 */

#undef TRACE_SYSTEM
#define TRACE_SYSTEM arm_spe

#if !defined(ARM_SPE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define ARM_SPE_TRACE_H

#include <linux/tracepoint.h>

#include "arm_spe_record.h"

/*
 * A record of a live event. @id is that of PERF_EVENT_IOC_ID, @period the number of operations from one sample to the
 * next. Names that are keywords of Python or C++ would break scripts that `perf script -g` makes.
 */
TRACE_EVENT(arm_spe_record,
	TP_PROTO(u64 id, u64 period, const struct arm_spe_record *record),

	TP_ARGS(id, period, record),

	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, period)
		__field(u64, pc)
		__field(u64, branch_target)
		__field(u64, previous_target)
		__field(u64, data_va)
		__field(u64, data_pa)
		__field(u64, timestamp)
		__field(u64, events)
		__field(u64, data_source)
		__field(u32, present)
		__field(u32, contextidr)
		__field(u16, total_latency)
		__field(u16, issue_latency)
		__field(u16, translation_latency)
		__field(u16, other_counter)
		__field(u8, other_index)
		__field(u8, op_class)
		__field(u8, op_subclass)
		__field(u8, el)
		__field(u8, security)
		__field(u8, target_el)
		__field(u8, va_tag)
		__field(u8, pa_flags)
	),

	TP_fast_assign(
		__entry->id = id;
		__entry->period = period;
		__entry->pc = record->pc;
		__entry->branch_target = record->branch_target;
		__entry->previous_target = record->previous_target;
		__entry->data_va = record->data_va;
		__entry->data_pa = record->data_pa;
		__entry->timestamp = record->timestamp;
		__entry->events = record->events;
		__entry->data_source = record->data_source;
		__entry->present = record->present;
		__entry->contextidr = record->present & ARM_SPE_RECORD_CONTEXT_EL1 ?
				      record->context_el1 : record->context_el2;
		__entry->total_latency = record->total_latency;
		__entry->issue_latency = record->issue_latency;
		__entry->translation_latency = record->translation_latency;
		__entry->other_counter = record->other_counter;
		__entry->other_index = record->other_index;
		__entry->op_class = record->class;
		__entry->op_subclass = record->subclass;
		__entry->el = record->el;
		__entry->security = record->security;
		__entry->target_el = record->target_el;
		__entry->va_tag = record->va_tag;
		__entry->pa_flags = record->pa_flags;
	),

	TP_printk("id=%llu period=%llu pc=%#llx el=%u op=%s:%#x events=%#llx total=%u issue=%u xlat=%u va=%#llx pa=%#llx source=%#llx target=%#llx target_el=%u previous=%#llx contextidr=%u ts=%llu security=%u va_tag=%#x pa_flags=%#x other=%u:%u present=%#x",
		  __entry->id, __entry->period, __entry->pc, __entry->el,
		  __print_symbolic(__entry->op_class, { 0, "other" }, { 1, "load-store" }, { 2, "branch" }),
		  __entry->op_subclass, __entry->events,
		  __entry->total_latency, __entry->issue_latency, __entry->translation_latency, __entry->data_va,
		  __entry->data_pa, __entry->data_source, __entry->branch_target, __entry->target_el,
		  __entry->previous_target, __entry->contextidr, __entry->timestamp, __entry->security,
		  __entry->va_tag, __entry->pa_flags, __entry->other_index, __entry->other_counter,
		  __entry->present)
);

#endif /* ARM_SPE_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE arm_spe_trace
#include <trace/define_trace.h>
