// SPDX-License-Identifier: GPL-2.0
/*
 * steps [FILE]...: makes perf call the driver in all ways once an event is open and its buffer mapped, always
 * in the same order, and prints the results, which are almost the same in each run.
 *
 * Writes 100 to each FILE when an event is open and its buffer mapped, and 0 before it is closed.
 */
#include <sys/wait.h>

#include "spe_group.h"

#define DISCARD (1ULL << 35)

#define ROUNDS 12

struct step {
	const char *name;
	void (*run)(struct step *step);
	/* Parameters of the event and the buffer. */
	uint64_t config;
	uint32_t action;
	uint32_t watermark;
	bool circular;
	/* The free space in the buffer at the start; 0: all. */
	uint64_t space;

	struct group group;
	int actions[2];
	struct trace trace;
};

/* Drains the buffer. */
static void take(struct step *step)
{
	set_aux_tail(&step->group, follow_to_head(&step->group, &step->trace));
}

static void count(struct step *step)
{
	uint64_t counts[3];

	if (read(step->group.spe, counts, sizeof(counts)) < 0)
		fail("read");
}

/*
 * The buffer is drained in time. The event is enabled in each round, here and below, because perf disables it
 * when the unit reports a fault.
 */
static void drained(struct step *step)
{
	for (int n = 0; n < ROUNDS; n++) {
		enable(&step->group);
		work_for(page_size());
		count(step);
		take(step);
	}
	disable(&step->group);
	take(step);
}

/* There is little space, and the buffer is not drained. */
static void cramped(struct step *step)
{
	for (int n = 0; n < 3; n++) {
		enable(&step->group);
		work_for(aux_size());
		disable(&step->group);
	}
	follow_to_head(&step->group, &step->trace);
}

static void in_circles(struct step *step)
{
	enable(&step->group);
	work_for(2 * aux_size());
	disable(&step->group);
	step->trace.end = aux_head(&step->group);
}

/* Two system calls pause and resume. */
static void paused(struct step *step)
{
	for (int n = 0; n < ROUNDS; n++) {
		enable(&step->group);
		getppid();
		work_for(page_size() / 8);
		getpgrp();
		work_for(page_size() / 8);
		take(step);
	}
	disable(&step->group);
	take(step);
}

static void at_other_periods(struct step *step)
{
	for (int n = 0; n < ROUNDS; n++) {
		uint64_t period = PERIOD << n % 3;

		enable(&step->group);
		if (ioctl(step->group.spe, PERF_EVENT_IOC_PERIOD, &period))
			fail("period");
		work_for(page_size() / 4);
		take(step);
	}
	disable(&step->group);
	take(step);
}

/* Another task is scheduled in many times. */
static void switched(struct step *step)
{
	int there[2], back[2], status;
	char byte = 0;
	pid_t child;

	if (pipe(there) || pipe(back))
		fail("pipe");
	child = fork();
	if (child < 0)
		fail("fork");
	if (!child) {
		close(there[1]);
		while (read(there[0], &byte, 1) == 1)
			if (write(back[1], &byte, 1) != 1)
				break;
		_exit(0);
	}
	for (int n = 0; n < 10 * ROUNDS; n++) {
		enable(&step->group);
		work_for(RECORD * 2);
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			fail("the other task");
		take(step);
	}
	disable(&step->group);
	take(step);
	close(there[1]);
	if (waitpid(child, &status, 0) < 0)
		fail("waitpid");
}

static struct step steps[] = {
	{ .name = "drained", .run = drained },
	{ .name = "watermark", .run = drained, .watermark = 100 },
	{ .name = "no_space", .run = cramped, .space = 63 },
	{ .name = "little_space", .run = cramped, .space = 4096 },
	{ .name = "odd_space", .run = cramped, .space = 4159 },
	{ .name = "circular", .run = in_circles, .circular = true },
	{ .name = "discard", .run = cramped, .config = DISCARD },
	{ .name = "paused", .run = paused, .action = AUX_START_PAUSED },
	{ .name = "period", .run = at_other_periods },
	{ .name = "switched", .run = switched },
};

static void open_step(struct step *step)
{
	struct perf_event_attr attr = {
		.type = pmu_type(), .config = step->config, .sample_period = PERIOD,
		.aux_watermark = step->watermark, .aux_action = step->action,
	};
	struct choice choice = { .cpu = -1 };
	struct group *group = &step->group;

	group->leader = group->spe = open_event(&attr, &choice, -1);
	if (step->action) {
		step->actions[0] = open_action(group->spe, "getppid", AUX_RESUME);
		step->actions[1] = open_action(group->spe, "getpgid", AUX_PAUSE);
	}
	map_data(group);
	if (step->circular)
		group->aux = mmap(NULL, aux_size(), PROT_READ, MAP_SHARED, group->spe, group->page->aux_offset);
	else
		map_aux(group);
	if (group->aux == MAP_FAILED)
		fail("mmap of a circular buffer");
	if (step->space)
		set_aux_tail(group, step->space + 1 - aux_size());
}

/* A task can have one event of the PMU at a time. */
static void close_step(struct step *step)
{
	if (munmap(step->group.aux, aux_size()) || munmap(step->group.page, (1 + DATA_PAGES) * page_size()))
		fail("munmap");
	for (int n = 0; step->action && n < 2; n++)
		close(step->actions[n]);
	close(step->group.spe);
}

static void print_step(const struct step *step)
{
	uint64_t counts[3];
	ssize_t size = read(step->group.spe, counts, sizeof(counts));

	if (size != 0 && size != sizeof(counts))
		fail("read");
	printf("%s_error %d\n", step->name, size == 0);
	printf("%s_ran %d\n", step->name, size && counts[2]);
	printf("%s_aux_end %llu\n", step->name, (unsigned long long)step->trace.end);
	printf("%s_aux_bytes %llu\n", step->name, (unsigned long long)step->trace.bytes);
	printf("%s_aux_flags %#llx\n", step->name, (unsigned long long)step->trace.flags);
	printf("%s_aux_wrong %llu\n", step->name, (unsigned long long)step->trace.wrong);
}

static void write_to(char **files, const char *text)
{
	for (; *files; files++) {
		FILE *file = fopen(*files, "w");

		if (!file || fputs(text, file) < 0 || fclose(file))
			fail(*files);
	}
}

int main(int argc, char **argv)
{
	/* Only interrupts preempt it. */
	struct sched_param first = { .sched_priority = 1 };
	struct step *end = steps + sizeof(steps) / sizeof(*steps);

	(void)argc;
	if (sched_setscheduler(0, SCHED_FIFO, &first))
		fail("sched_setscheduler");
	for (struct step *step = steps; step < end; step++) {
		open_step(step);
		write_to(argv + 1, "100");
		step->run(step);
		write_to(argv + 1, "0");
		print_step(step);
		close_step(step);
	}
	return 0;
}
