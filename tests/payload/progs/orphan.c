// SPDX-License-Identifier: GPL-2.0
/* Enables an event that pauses an SPE event after the latter was closed. */
#include <time.h>

#include "spe_group.h"

int main(void)
{
	const struct choice choice = { .cpu = -1 };
	struct perf_event_attr spe = { .type = pmu_type(), .sample_period = PERIOD };
	struct perf_event_attr timer = {
		.type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_TASK_CLOCK, .sample_period = 1000000, .aux_action = 2,
	};
	int leader = open_event(&spe, &choice, -1);
	int pauser = open_event(&timer, &choice, leader);
	clock_t began;

	close(leader);
	if (ioctl(pauser, PERF_EVENT_IOC_ENABLE, 0))
		fail("enable");
	/* Waits for its overflow, after a millisecond of this task's time. */
	for (began = clock(); clock() - began < CLOCKS_PER_SEC / 10;)
		;
	return 0;
}
