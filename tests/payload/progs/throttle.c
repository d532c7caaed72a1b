// SPDX-License-Identifier: GPL-2.0
/*
 * throttle: the counter in the group overflows more often than the system allows (which has to be set to
 * 1000 times a second). perf throttles it, and with it the whole group, until the next tick, many times.
 * The sampled task drains the AUX area all the time.
 */
#include "spe_group.h"

/* Cycles from one sample to the next: beyond the limit, but not before something was sampled. */
#define OFTEN 250000

/* The throttles to wait for, and the limit for the rounds. */
#define THROTTLES 3
#define ROUNDS 20000

int main(void)
{
	struct choice choice = { .cpu = -1, .cycles_period = OFTEN, .watermark = page_size() };
	struct group group = open_group(&choice);
	struct trace trace = { 0 };
	uint64_t before = 0;

	map_data(&group);
	map_aux(&group);
	if (ioctl(group.cycles, PERF_EVENT_IOC_SET_OUTPUT, group.spe))
		fail("set output");

	enable(&group);
	for (int round = 0; round < ROUNDS; round++) {
		work_for(page_size() / 4);
		set_aux_tail(&group, follow_to_head(&group, &trace));
		if (trace.throttles < THROTTLES)
			before = trace.bytes;
		else if (trace.bytes > before)
			break;
	}
	disable(&group);
	follow_to_head(&group, &trace);
	print_group("", &group);
	print_trace("", &trace);
	printf("throttled %d\n", trace.throttles > 0);
	printf("bytes_after %llu\n", (unsigned long long)(trace.bytes - before));
	return 0;
}
