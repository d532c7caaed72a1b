// SPDX-License-Identifier: GPL-2.0
/*
 * Readers of an AUX area. The sampled task is the reader, too.
 *
 * reader never: does not drain, but enables the group again.
 * reader late: drains all long after the area was full, and enables the group again.
 * reader drip: drains a few bytes several times when the area is full, and all of it in the end.
 * reader prompt WATERMARK: drains all whenever perf wakes it.
 */
#include <poll.h>

#include "spe_group.h"

/* A few bytes: less than a page, and not aligned. */
#define DRIP 333

/* Enough to drain a full area, and a large part of the later trace. */
#define DRIPS 64

/* Bytes of trace after which the reader ends: the area was full several times. */
#define ENOUGH (3 * aux_size())

/* The limit for its rounds. */
#define ROUNDS 1000

static unsigned char *unread;
static uint64_t noted;
static uint64_t spoilt;

/* Keeps the data up to the head. */
static void note_unread(const struct group *group, uint64_t head)
{
	memcpy(unread, group->aux, aux_size());
	noted = head;
}

/* Checks that the data from the tail on, which is unread, has not changed. */
static void check_unread(const struct group *group, uint64_t tail)
{
	for (; tail < noted; tail++)
		spoilt += *aux_at(group, tail) != unread[tail % aux_size()];
}

/* Enables the group again, which perf may have disabled, or which may wait for space. */
static void enable_again(const struct group *group)
{
	disable(group);
	enable(group);
}

static void never(struct group *group, struct trace *trace)
{
	enable(group);
	work_for(aux_size());
	note_unread(group, follow_to_head(group, trace));
	print_group("first_", group);
	for (int n = 0; n < 3; n++) {
		enable_again(group);
		work_for(aux_size());
	}
	check_unread(group, 0);
}

static void late(struct group *group, struct trace *trace)
{
	for (int round = 0; round < ROUNDS && trace->bytes < ENOUGH; round++) {
		enable_again(group);
		work_for(aux_size());
		set_aux_tail(group, follow_to_head(group, trace));
	}
}

static void drip(struct group *group, struct trace *trace)
{
	uint64_t tail = 0;

	for (int round = 0; round < DRIPS; round++) {
		uint64_t head;

		enable_again(group);
		work_for(page_size());
		head = follow_to_head(group, trace);
		check_unread(group, tail);
		note_unread(group, head);
		tail = tail + DRIP < head ? tail + DRIP : head;
		set_aux_tail(group, tail);
	}
	disable(group);
	print_group("first_", group);
	print_trace("first_", trace);
	set_aux_tail(group, follow_to_head(group, trace));
	enable(group);
	work_for(aux_size());
}

static void prompt(struct group *group, struct trace *trace)
{
	struct pollfd poller = { .fd = group->spe, .events = POLLIN };
	unsigned int wakeups = 0;

	enable(group);
	for (int round = 0; round < ROUNDS && trace->bytes < ENOUGH; round++) {
		work_for(page_size() / 4);
		if (poll(&poller, 1, 0) < 0)
			fail("poll");
		if (poller.revents) {
			wakeups++;
			set_aux_tail(group, follow_to_head(group, trace));
		}
	}
	printf("wakeups %u\n", wakeups);
}

int main(int argc, char **argv)
{
	struct choice choice = { .cpu = -1 };
	void (*reader)(struct group *, struct trace *);
	struct trace trace = { 0 };
	struct group group;

	if (argc == 2 && !strcmp(argv[1], "never")) {
		reader = never;
	} else if (argc == 2 && !strcmp(argv[1], "late")) {
		reader = late;
	} else if (argc == 2 && !strcmp(argv[1], "drip")) {
		reader = drip;
	} else if (argc == 3 && !strcmp(argv[1], "prompt")) {
		reader = prompt;
		choice.watermark = strtoul(argv[2], NULL, 0);
	} else {
		fprintf(stderr, "usage: reader never|late|drip|prompt WATERMARK\n");
		return 2;
	}

	unread = calloc(1, aux_size());
	if (!unread)
		fail("calloc");
	group = open_group(&choice);
	map_data(&group);
	map_aux(&group);
	reader(&group, &trace);
	disable(&group);
	follow_to_head(&group, &trace);
	print_group("", &group);
	print_trace("", &trace);
	printf("unread_spoilt %llu\n", (unsigned long long)spoilt);
	return 0;
}
