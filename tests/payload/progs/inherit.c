// SPDX-License-Identifier: GPL-2.0
/* inherit CPU COMMAND: runs a shell command, whose processes inherit an SPE event that is bound to a CPU. */
#include "spe_group.h"

int main(int argc, char **argv)
{
	struct choice choice = { .inherit = true };
	struct perf_event_attr attr = { .type = pmu_type(), .sample_period = PERIOD };

	if (argc != 3) {
		fputs("usage: inherit CPU COMMAND\n", stderr);
		return 2;
	}
	choice.cpu = atoi(argv[1]);
	open_event(&attr, &choice, -1);
	return system(argv[2]) ? 1 : 0;
}
