// SPDX-License-Identifier: GPL-2.0
/*
 * steps [BEFORE AFTER]: goes through what perf can ask of the driver once an event is open and its buffer
 * mapped, in an order that never changes, and prints what came of it, which does not change either.
 *
 * BEFORE is a command to run when all is open and mapped, AFTER one to run before all is closed.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/wait.h>

#include "spe_group.h"

#define DISCARD (1ULL << 35)

/* perf_event_attr.aux_action */
#define AUX_START_PAUSED 1
#define AUX_PAUSE 2
#define AUX_RESUME 4

#define ROUNDS 12

struct step {
	const char *name;
	void (*run)(struct step *step);
	/* How the event is opened, and the buffer mapped. */
	uint64_t config;
	uint32_t action;
	uint32_t watermark;
	bool circular;
	/* What is free of the buffer in the beginning, if not all. */
	uint64_t room;

	struct group group;
	struct trace trace;
	/* Of the program counters in all records (FNV-1a). */
	uint64_t hash;
};

static void mix(struct step *step, const unsigned char *record)
{
	/* The first packet of a record is the program counter: a header and eight bytes. */
	for (int n = 0; n < 9; n++)
		step->hash = (step->hash ^ record[n]) * 0x100000001b3;
}

/* Reads what has come, and makes room. */
static void take(struct step *step)
{
	uint64_t at = step->trace.end;
	uint64_t head = follow_to_head(&step->group, &step->trace);

	for (; at < head; at += RECORD)
		mix(step, aux_at(&step->group, at));
	set_aux_tail(&step->group, head);
}

static void count(struct step *step)
{
	uint64_t counts[3];

	if (read(step->group.spe, counts, sizeof(counts)) < 0)
		fail("read");
}

/* The buffer fills, and is drained in time. */
static void drained(struct step *step)
{
	enable(&step->group);
	for (int n = 0; n < ROUNDS; n++) {
		work_for(page_size());
		count(step);
		take(step);
	}
	disable(&step->group);
	take(step);
}

/* There is little room, and nobody makes any. */
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
	for (uint64_t at = 0; at < aux_size(); at += RECORD)
		mix(step, step->group.aux + at);
	step->trace.end = aux_head(&step->group);
}

/* System calls of no other use pause and resume. */
static void paused(struct step *step)
{
	enable(&step->group);
	for (int n = 0; n < ROUNDS; n++) {
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
	enable(&step->group);
	for (int n = 0; n < ROUNDS; n++) {
		uint64_t period = PERIOD << n % 3;

		if (ioctl(step->group.spe, PERF_EVENT_IOC_PERIOD, &period))
			fail("period");
		work_for(page_size() / 4);
		take(step);
	}
	disable(&step->group);
	take(step);
}

/* Another task has its turn, again and again. */
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
	enable(&step->group);
	for (int n = 0; n < 10 * ROUNDS; n++) {
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
	{ .name = "no_room", .run = cramped, .room = 63 },
	{ .name = "little_room", .run = cramped, .room = 4096 },
	{ .name = "odd_room", .run = cramped, .room = 4159 },
	{ .name = "circular", .run = in_circles, .circular = true },
	{ .name = "discard", .run = cramped, .config = DISCARD },
	{ .name = "paused", .run = paused, .action = AUX_START_PAUSED },
	{ .name = "period", .run = at_other_periods },
	{ .name = "switched", .run = switched },
};

static void open_action(struct step *step, const char *call, uint32_t action)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .sample_period = 1, .aux_action = action,
	};
	char name[200];
	FILE *file;

	snprintf(name, sizeof(name), "/sys/kernel/tracing/events/syscalls/sys_enter_%s/id", call);
	file = fopen(name, "r");
	if (!file || fscanf(file, "%llu", &attr.config) != 1)
		fail(name);
	fclose(file);
	if (syscall(SYS_perf_event_open, &attr, 0, -1, step->group.spe, 0) < 0)
		fail(name);
}

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
		open_action(step, "getppid", AUX_RESUME);
		open_action(step, "getpgid", AUX_PAUSE);
	}
	map_data(group);
	if (step->circular)
		group->aux = mmap(NULL, aux_size(), PROT_READ, MAP_SHARED, group->spe, group->page->aux_offset);
	else
		map_aux(group);
	if (group->aux == MAP_FAILED)
		fail("mmap of a circular buffer");
	if (step->room)
		set_aux_tail(group, step->room + 1 - aux_size());
}

static void print_step(const struct step *step)
{
	uint64_t counts[3];
	ssize_t size = read(step->group.spe, counts, sizeof(counts));

	if (size != 0 && size != sizeof(counts))
		fail("read");
	printf("%s_error %d\n", step->name, size == 0);
	printf("%s_ran %d\n", step->name, size && counts[2]);
	printf("%s_end %llu\n", step->name, (unsigned long long)step->trace.end);
	printf("%s_hash %#llx\n", step->name, (unsigned long long)step->hash);
	printf("%s_aux_bytes %llu\n", step->name, (unsigned long long)step->trace.bytes);
	printf("%s_aux_flags %#llx\n", step->name, (unsigned long long)step->trace.flags);
	printf("%s_aux_wrong %llu\n", step->name, (unsigned long long)step->trace.wrong);
}

int main(int argc, char **argv)
{
	/* Nothing but interrupts comes in between. */
	struct sched_param first = { .sched_priority = 1 };
	struct step *end = steps + sizeof(steps) / sizeof(*steps);

	if (argc != 1 && argc != 3) {
		fprintf(stderr, "usage: steps [BEFORE AFTER]\n");
		return 2;
	}
	if (sched_setscheduler(0, SCHED_FIFO, &first))
		fail("sched_setscheduler");
	for (struct step *step = steps; step < end; step++)
		open_step(step);
	if (argc == 3 && system(argv[1]))
		fail(argv[1]);
	for (struct step *step = steps; step < end; step++)
		step->run(step);
	if (argc == 3 && system(argv[2]))
		fail(argv[2]);
	for (struct step *step = steps; step < end; step++)
		print_step(step);
	return 0;
}
