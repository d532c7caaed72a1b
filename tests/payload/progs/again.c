// SPDX-License-Identifier: GPL-2.0
/*
 * again ROUNDS: enables a pinned event twice within a tick. The first time there is no byte free in the
 * AUX area, and perf puts the event into error state. Then all of it is read, and the event has to run.
 *
 * Prints the number of rounds within one tick, ROUNDS unless they are too rare, and the number of these
 * after which the event was in error state.
 */
#include <time.h>

#include "spe_group.h"

/* Returns the time of the last tick. */
static struct timespec last_tick(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC_COARSE, &now))
		fail("clock_gettime");
	return now;
}

static bool same(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static void next_tick(void)
{
	struct timespec first = last_tick(), now;

	do
		now = last_tick();
	while (same(&first, &now));
}

/* Returns whether the event is in error state: it has no count then, and read(2) reports the end of the file. */
static bool in_error(const struct group *group)
{
	uint64_t counts[3];
	ssize_t size = read(group->spe, counts, sizeof(counts));

	if (size != 0 && size != sizeof(counts))
		fail("read");
	return size == 0;
}

int main(int argc, char **argv)
{
	struct choice choice = { .cpu = -1, .pinned = true };
	unsigned long rounds, tried = 0, hit = 0, errors = 0;
	struct timespec before, after;
	struct group group;

	if (argc != 2) {
		fprintf(stderr, "usage: again ROUNDS\n");
		return 2;
	}
	rounds = strtoul(argv[1], NULL, 0);
	run_on(0);
	group = open_group(&choice);
	map_data(&group);
	map_aux(&group);

	while (hit < rounds && tried++ < 100 * rounds) {
		uint64_t head = aux_head(&group);
		bool error;

		/* perf keeps one byte free. */
		set_aux_tail(&group, head + 1 - aux_size());
		next_tick();
		before = last_tick();
		enable(&group);
		if (!in_error(&group)) {
			fprintf(stderr, "again: it has started without space\n");
			return 1;
		}
		set_aux_tail(&group, head);
		disable(&group);
		enable(&group);
		after = last_tick();
		error = in_error(&group);
		disable(&group);
		if (same(&before, &after)) {
			hit++;
			errors += error;
		}
	}
	printf("tried %lu\nsame_tick %lu\nerrors %lu\n", tried, hit, errors);
	return 0;
}
