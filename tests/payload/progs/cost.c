// SPDX-License-Identifier: GPL-2.0
/*
 * cost WHAT [NUMBER [PAGES]]: makes perf call the callbacks of the driver, whose instructions
 * tests/qemu/plugin/cost.c counts. WHAT is
 *
 *   opens     an event is opened, its AUX buffer of PAGES mapped, unmapped and closed
 *   switches  an event of this task is enabled and disabled, as when the task is scheduled in and out
 *   fills     an event of this task fills a window of its AUX buffer of PAGES, which is drained
 *   wide      the same on all CPUs at the same time
 *   pauses    an event is paused and resumed
 *   live      a live event of this task has NUMBER records or some more, in batches of PAGES records
 *   idles     a live event of this CPU, without any record, sees this task sleep and wake up
 *   spe, dummy  COMMAND... is executed with an event of its task, of the PMU or a dummy event of perf itself
 *   mark      executes the plugin's mark, nothing else
 *   entries   makes the plugin read its entries
 *
 * which is repeated NUMBER times. Prints the number of windows for fills and wide.
 */
#include <sys/wait.h>
#include <time.h>

#include "spe_group.h"

#define OFTEN 256
#define SELDOM (1 << 28)
#define LIVE (1ULL << 63)

static size_t size;

static struct group open_alone(uint64_t period, uint32_t action, int cpu)
{
	struct perf_event_attr attr = { .type = pmu_type(), .sample_period = period, .aux_action = action };
	struct choice choice = { .pid = cpu < 0 ? 0 : -1, .cpu = cpu };
	struct group group;

	group.leader = group.spe = open_event(&attr, &choice, -1);
	return group;
}

static void map_both(struct group *group)
{
	map_data(group);
	group->page->aux_size = size;
	group->aux = map(group->spe, size, group->page->aux_offset);
}

static void opens(unsigned long number)
{
	while (number--) {
		struct group group = open_alone(SELDOM, 0, -1);

		map_both(&group);
		if (munmap(group.aux, size) || munmap(group.page, (1 + DATA_PAGES) * page_size()))
			fail("munmap");
		close(group.spe);
	}
}

static void switches(unsigned long number)
{
	struct group group = open_alone(SELDOM, 0, -1);

	map_both(&group);
	while (number--) {
		enable(&group);
		disable(&group);
	}
}

/* Runs until so many windows were filled. The head moves when a window is full. */
static void fill(struct group *group, unsigned long number)
{
	uint64_t tail = 0;
	unsigned long full = 0;

	enable(group);
	while (full < number) {
		uint64_t head = __atomic_load_n(&group->page->aux_head, __ATOMIC_ACQUIRE);

		if (head == tail)
			continue;
		full++;
		tail = head;
		__atomic_store_n(&group->page->data_tail, group->page->data_head, __ATOMIC_RELEASE);
		__atomic_store_n(&group->page->aux_tail, tail, __ATOMIC_RELEASE);
	}
	disable(group);
	printf("%lu\n", full);
}

static void fills(unsigned long number, int cpu)
{
	struct group group = open_alone(OFTEN, 0, cpu);

	map_both(&group);
	fill(&group, number);
}

static void wide(unsigned long number)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN), status;

	for (int cpu = 0; cpu < cpus; cpu++) {
		if (fork())
			continue;
		run_on(cpu);
		fills(number, cpu);
		exit(0);
	}
	for (int cpu = 0; cpu < cpus; cpu++)
		if (wait(&status) < 0 || status)
			fail("a CPU");
}

static void pauses(unsigned long number)
{
	struct group group = open_alone(SELDOM, AUX_START_PAUSED, -1);

	open_action(group.spe, "getppid", AUX_RESUME);
	open_action(group.spe, "getpgid", AUX_PAUSE);
	map_both(&group);
	enable(&group);
	while (number--) {
		getppid();
		getpgrp();
	}
	disable(&group);
}

static struct group open_live(uint64_t period, uint64_t batch, int cpu)
{
	struct perf_event_attr attr = {
		.type = pmu_type(), .config = LIVE, .config2 = batch << 16, .sample_period = period,
	};
	struct choice choice = { .pid = cpu < 0 ? 0 : -1, .cpu = cpu };
	struct group group;

	group.leader = group.spe = open_event(&attr, &choice, -1);
	return group;
}

/* Loads, branches and others, as most code has them. */
static void live(unsigned long number, uint64_t batch)
{
	/* With a batch of one record not so often that the driver limits the interrupts. */
	uint64_t period = batch > 1 ? OFTEN : 256 * OFTEN;
	struct group group = open_live(period, batch, -1);
	volatile uint64_t words[64] = { 0 };

	enable(&group);
	for (unsigned long i = 0; i < number * period / 8; i++)
		words[i % 64] += words[i / 64 % 64];
	disable(&group);
}

static void idles(unsigned long number)
{
	struct group group = open_live(SELDOM, 0, 0);
	const struct timespec moment = { .tv_nsec = 1000 };

	run_on(0);
	enable(&group);
	while (number--)
		nanosleep(&moment, NULL);
	disable(&group);
}

/* Executes a command with an event that its children do not inherit. */
static void with_event(bool spe, char **command)
{
	struct perf_event_attr attr = {
		.type = spe ? pmu_type() : PERF_TYPE_SOFTWARE, .config = spe ? 0 : PERF_COUNT_SW_DUMMY,
		.sample_period = spe ? SELDOM : 0, .enable_on_exec = 1,
	};
	struct choice choice = { .cpu = -1 };
	struct group group;
	int ready[2], status;
	char byte;

	if (pipe(ready))
		fail("pipe");
	choice.pid = fork();
	if (choice.pid < 0)
		fail("fork");
	if (!choice.pid) {
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 0)
			fail("read");
		execvp(command[0], command);
		fail(command[0]);
	}
	group.leader = group.spe = open_event(&attr, &choice, -1);
	if (spe)
		map_both(&group);
	close(ready[1]);
	if (waitpid(choice.pid, &status, 0) < 0 || status)
		fail("the command");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	unsigned long number = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;

	if (argc > 2 && (!strcmp(what, "spe") || !strcmp(what, "dummy"))) {
		size = 4 * page_size();
		with_event(what[0] == 's', argv + 2);
		return 0;
	}
	size = (argc > 3 ? strtoul(argv[3], NULL, 0) : 4) * page_size();
	if (!strcmp(what, "mark"))
		asm volatile("hint #92");
	else if (!strcmp(what, "entries"))
		asm volatile("hint #93");
	else if (!strcmp(what, "opens"))
		opens(number);
	else if (!strcmp(what, "switches"))
		switches(number);
	else if (!strcmp(what, "fills"))
		fills(number, -1);
	else if (!strcmp(what, "wide"))
		wide(number);
	else if (!strcmp(what, "pauses"))
		pauses(number);
	else if (!strcmp(what, "live"))
		live(number, size / page_size());
	else if (!strcmp(what, "idles"))
		idles(number);
	else
		return 2;
	return 0;
}
