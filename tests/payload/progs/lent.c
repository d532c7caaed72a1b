// SPDX-License-Identifier: GPL-2.0
/*
 * The output of SPE events goes to the ring buffer of a software event: perf compares PMUs only if both
 * events can have an AUX area.
 *
 * lent other: an event of the second PMU makes the AUX area, and one of the first PMU samples into it, unless
 * its driver refuses.
 * lent module: the AUX area stays mapped, through the software event, after the event that made it was closed.
 * Prints whether the driver could be unloaded then, and after the area was unmapped.
 */
#include <fcntl.h>

#include "spe_group.h"

static int open_lender(struct group *group)
{
	struct perf_event_attr attr = { .type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_DUMMY };

	group->spe = open_event(&attr, &(struct choice){ .cpu = -1 }, -1);
	map_data(group);
	return group->spe;
}

static int open_borrower(int lender, uint32_t type)
{
	struct perf_event_attr attr = { .type = type, .sample_period = PERIOD };
	int fd = open_event(&attr, &(struct choice){ .cpu = -1 }, -1);

	if (ioctl(fd, PERF_EVENT_IOC_SET_OUTPUT, lender))
		fail("set output");
	return fd;
}

static void other(void)
{
	uint32_t second;
	FILE *file = fopen("/sys/bus/event_source/devices/arm_spe_1/type", "r");
	struct group group = { 0 };
	int lender = open_lender(&group);
	int event;

	if (!file || fscanf(file, "%u", &second) != 1)
		fail("arm_spe_1");
	fclose(file);
	group.aux = map(open_borrower(lender, second), aux_size(), group.page->aux_offset);
	event = open_borrower(lender, pmu_type());
	run_on(0);
	if (ioctl(event, PERF_EVENT_IOC_ENABLE, 0))
		fail("enable");
	work_for(2 * page_size());
	if (ioctl(event, PERF_EVENT_IOC_DISABLE, 0))
		fail("disable");
	printf("bytes %llu\n", (unsigned long long)aux_head(&group));
	for (size_t n = 0; n < aux_size(); n++)
		if (group.aux[n]) {
			printf("written\n");
			return;
		}
}

static bool unload(void)
{
	if (!syscall(SYS_delete_module, "arm_spe_pmu", O_NONBLOCK))
		return true;
	if (errno != EWOULDBLOCK)
		fail("delete_module");
	return false;
}

static void module(void)
{
	struct group group = { 0 };
	int lender = open_lender(&group);
	int event = open_borrower(lender, pmu_type());
	void *again;

	group.aux = map(event, aux_size(), group.page->aux_offset);
	again = map(lender, aux_size(), group.page->aux_offset);
	if (munmap(group.aux, aux_size()))
		fail("munmap");
	close(event);
	printf("mapped %d\n", unload());
	if (munmap(again, aux_size()))
		fail("munmap");
	printf("unmapped %d\n", unload());
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "other"))
		other();
	else if (argc == 2 && !strcmp(argv[1], "module"))
		module();
	else
		return 2;
	return 0;
}
