// SPDX-License-Identifier: GPL-2.0
/*
 * identical live|area PERIOD COMMAND...: samples COMMAND in user space, from its first instruction on, on CPU 0 and
 * without other tasks: as a live event, or in an AUX area, which is written to /tmp/area. It is the same for COMMAND
 * but for that.
 */
#include <sys/wait.h>

#include "spe_group.h"

#define LIVE (1ULL << 63)
#define PA_ENABLE (1ULL << 1)
#define SIZE (64UL << 20)

int main(int argc, char **argv)
{
	bool live = argc > 3 && !strcmp(argv[1], "live");
	struct perf_event_attr attr = {
		.type = pmu_type(), .config = PA_ENABLE | (live ? LIVE : 0), .enable_on_exec = 1,
	};
	struct choice choice = { .cpu = -1 };
	struct group group = { 0 };
	int ready[2], status;
	char byte;

	if (argc <= 3)
		return 2;
	attr.sample_period = strtoul(argv[2], NULL, 0);
	take_cpu(0);
	if (pipe(ready))
		fail("pipe");
	choice.pid = fork();
	if (choice.pid < 0)
		fail("fork");
	if (!choice.pid) {
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 0)
			fail("read");
		execvp(argv[3], argv + 3);
		fail(argv[3]);
	}
	group.leader = group.spe = open_event(&attr, &choice, -1);
	if (!live) {
		map_data(&group);
		group.page->aux_size = SIZE;
		group.aux = map(group.spe, SIZE, group.page->aux_offset);
	}
	close(ready[1]);
	if (waitpid(choice.pid, &status, 0) < 0 || status)
		fail("the command");
	if (!live) {
		FILE *area = fopen("/tmp/area", "w");

		if (!area || fwrite(group.aux, aux_head(&group), 1, area) != 1 || fclose(area))
			fail("/tmp/area");
	}
	return 0;
}
