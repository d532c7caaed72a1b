// SPDX-License-Identifier: GPL-2.0
/*
 * Chooses the perf_event_attr of an event, of the SPE PMU or another one, and says with which
 * errors the SPE PMU has to refuse it.
 */
#include "fuzz.h"

/* The fields that a unit may lack; what else is in the words is ignored. */
const struct field fields[] = {
	{ "discard", 0, 35, 35 }, { "branch_filter_mask", 0, 36, 36 },
	{ "load_filter_mask", 0, 37, 37 }, { "store_filter_mask", 0, 38, 38 },
	{ "simd_filter", 0, 39, 39 }, { "simd_filter_mask", 0, 40, 40 },
	{ "float_filter", 0, 41, 41 }, { "float_filter_mask", 0, 42, 42 },
	{ "inv_event_filter", 3, 0, 63 }, { "inv_data_src_filter", 4, 0, 63 },
};

_Static_assert(sizeof(fields) / sizeof(*fields) == FIELDS, "each field may be published");

uint32_t spe_type;
uint64_t supported;
bool published[FIELDS];
uint64_t tracepoints[3];

/* The records in the buffer of a live event; 0: the driver has none. */
uint64_t live_records;

#define DISCARD (1ULL << 35)
#define LIVE (1ULL << 63)

/*
 * The shortest period of SPE's events. Where an interrupt handler takes long enough, its own
 * operations could fill what is left of a small buffer again, and again, before it returns.
 */
uint64_t least_period;

/* Cycles, or nanoseconds. */
#define OTHER_PERIOD 500000

uint64_t spe_period(uint64_t period)
{
	/* 0 is a period, too: the driver takes the shortest one. */
	return least_period > 1 && period < least_period ? least_period : period;
}

/*
 * Returns a period for a counter or a clock of another PMU. One that ends before the task runs again leaves the
 * guest no other time: on PREEMPT_RT each overflow wakes a thread, and perf lifts a throttle when the task comes
 * back from that.
 */
uint64_t other_period(uint64_t period)
{
	return period && period < OTHER_PERIOD ? OTHER_PERIOD : period;
}

/* Returns whether an event counts what goes on all the time. */
bool counts_time(const struct perf_event_attr *attr)
{
	switch (attr->type) {
	case PERF_TYPE_SOFTWARE:
		return attr->config <= PERF_COUNT_SW_TASK_CLOCK;
	case PERF_TYPE_TRACEPOINT:
	case PERF_TYPE_BREAKPOINT:
		return false;
	default:
		return true;
	}
}

/* Makes an event of this PMU that opens, unless a field of the PMU is not as it should be. */
void make_spe(struct attr *attr)
{
	struct perf_event_attr *old = &attr->old;

	old->type = spe_type;
	/* jitter, pct_enable, pa_enable, ts_enable */
	old->config = any() & (1 << 16 | 7ULL);
	if (chance(10))
		old->config |= DISCARD;
	if (chance(20))
		old->config |= any() & 7ULL << 32;	/* filters by type */
	if (chance(10))
		old->config1 = any() & any() & any() & supported;
	if (chance(10))
		old->config2 = below(30);
	if (chance(10))
		old->config3 = any() & any() & supported;
	if (chance(8))
		old->config ^= 1ULL << below(64);
	if (chance(3))
		old->config1 = 1ULL << below(64);
	if (chance(3))
		old->config3 = 1ULL << below(64);
	if (chance(3))
		attr->config4 = 1ULL << below(64);
	old->sample_period = spe_period(chance(80) ? 256ULL << below(7) : odd_number() >> 1);
	if (live_records && chance(25)) {
		old->config |= LIVE;
		old->config2 |= (chance(80) ? below(4) : below(live_records + 10)) << 16 |
				spe_period(256ULL << below(7)) << 32;
		if (chance(50))
			old->sample_period = 0;
	}
	old->exclude_user = chance(20);
	old->exclude_kernel = chance(20);
	old->exclude_hv = chance(50);
	old->exclude_idle = chance(3);
	old->freq = chance(3);
	if (old->freq)
		old->sample_freq = 100;
	old->inherit = chance(30);
	old->pinned = chance(10);
	old->exclusive = chance(10);
	old->enable_on_exec = chance(10);
	old->aux_watermark = chance(50) ? 0 : chance(80) ? 1ULL << below(14) : odd_number();
}

/*
 * Makes an event that something happens with beside SPE's, and that perhaps pauses or resumes it.
 */
void make_other(struct attr *attr)
{
	struct perf_event_attr *old = &attr->old;

	switch (below(5)) {
	case 0:
		old->type = PERF_TYPE_HARDWARE;
		old->config = PERF_COUNT_HW_CPU_CYCLES;
		old->sample_period = chance(50) ? 0 : OTHER_PERIOD << below(4);
		break;
	case 1:
		old->type = PERF_TYPE_SOFTWARE;
		old->config = PERF_COUNT_SW_CPU_CLOCK + below(2);
		old->sample_period = OTHER_PERIOD << below(2);
		break;
	case 2 ... 3:
		old->type = PERF_TYPE_SOFTWARE;
		old->config = below(12);
		old->sample_period = 1 + below(20);
		break;
	case 4:
		old->type = PERF_TYPE_TRACEPOINT;
		old->config = tracepoints[below(3)];
		old->sample_period = 1 + below(20);
		break;
	}
	old->sample_type = chance(50) ? PERF_SAMPLE_IP | PERF_SAMPLE_TID :
					any() & any() & (PERF_SAMPLE_MAX - 1);
	old->aux_action = chance(60) ? 1 << below(3) : 0;
	old->inherit = chance(30);
}

/* Changes any field of perf_event_attr, whether that makes sense or not. */
void change_attr(struct attr *attr)
{
	uint32_t *word = (uint32_t *)attr + below(sizeof(*attr) / sizeof(uint32_t));

	if (chance(60))
		*word ^= 1U << below(32);
	else
		*word = odd_number();
}

static uint64_t word_of(const struct attr *attr, unsigned int word)
{
	const uint64_t words[] = {
		attr->old.config, attr->old.config1, attr->old.config2, attr->old.config3,
		attr->config4
	};

	return words[word];
}

/* Returns whether an SPE event has no AUX area. */
bool is_live(const struct attr *attr)
{
	return live_records && attr->old.config & LIVE;
}

/* Returns the errors of an SPE event that this PMU has to refuse; none: it has to take it. */
errors refusals(const struct attr *attr)
{
	errors refusals = 0;

	if (attr->old.freq || (is_live(attr) && (attr->old.config & DISCARD ||
						 (attr->old.config2 >> 16 & 0xffff) > live_records)))
		refusals |= E(EINVAL);
	if (attr->old.exclude_idle || ((attr->old.config1 | attr->old.config3) & ~supported))
		refusals |= E(EOPNOTSUPP);
	for (unsigned int n = 0; n < FIELDS; n++) {
		uint64_t above = 63 - fields[n].high;

		if (!published[n] &&
		    word_of(attr, fields[n].word) << above >> (above + fields[n].low))
			refusals |= E(EOPNOTSUPP);
	}
	return refusals;
}
