// SPDX-License-Identifier: GPL-2.0
/*
 * hostile still|racing|snapshot SEED: a reader of the AUX area that writes a wrong tail: a few bytes more,
 * backwards, beyond the head, any 64-bit number. The buffer is new. It is compared, byte by byte, before
 * and after each round of sampling.
 *
 * still: the tail is wrong before each round and stays so. racing: a thread on another CPU writes wrong
 * tails all the time. snapshot: as still, with a buffer that is overwritten: the tail has no meaning.
 *
 * Prints for each round "round NUMBER HEAD TAIL HEAD", the head before and after; then the number of bytes
 * that were not zero before the first, that changed without being reported, and that were reported without
 * space; and the number of bytes at the end, with a true tail. The interval in round n is (n + 1) * 256
 * operations, which identifies the rounds in the registers.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "spe_group.h"

#define ROUNDS 64

/* The state of each thread. */
static uint64_t main_random, race_random;

/* Returns a number below limit, or any 64-bit number if that is 0 (xorshift64). */
static uint64_t below(uint64_t *random, uint64_t limit)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return limit ? *random % limit : *random;
}

static uint64_t random_tail(uint64_t *random, uint64_t head, uint64_t tail)
{
	switch (below(random, 9)) {
	case 0:	/* the truth */
		return head;
	case 1:	/* a few bytes read */
		return tail + below(random, 100);
	case 2:	/* a little space, to an odd place */
		return head + 1 + below(random, 2 * page_size()) - aux_size();
	case 3:	/* about half, to an odd place */
		return head - below(random, aux_size());
	case 4:	/* backwards */
		return tail - 1 - below(random, 2 * aux_size());
	case 5:	/* beyond the head */
		return head + 1 + below(random, 2 * aux_size());
	case 6:	/* around the size */
		return head - aux_size() + below(random, 3) - 1;
	case 7:	/* around the end of all numbers */
		return below(random, 3) - 1;
	default:
		return below(random, 0);
	}
}

/* Returns the space that perf offers: it keeps one byte free. */
static uint64_t space(uint64_t head, uint64_t tail)
{
	return head - tail < aux_size() ? aux_size() - 1 - (head - tail) : 0;
}

/* Marks the bytes that perf's new records report as written. */
static void mark_reported(const struct group *group, uint64_t *at, bool snapshot, unsigned char *reported)
{
	const unsigned char *data = (unsigned char *)group->page + group->page->data_offset;
	uint64_t head = __atomic_load_n(&group->page->data_head, __ATOMIC_ACQUIRE);

	memset(reported, 0, aux_size());
	while (*at < head) {
		const struct perf_event_header *header = (const void *)(data + *at);
		const uint64_t *aux = (const void *)(header + 1);

		if (header->type == PERF_RECORD_AUX) {
			/* In snapshot mode the offset is that of the end. */
			uint64_t from = snapshot ? aux[0] - aux[1] : aux[0];

			for (uint64_t n = 0; n < aux[1]; n++)
				reported[(from + n) % aux_size()] = 1;
		}
		*at += header->size;
	}
}

/* Makes so many records at least, and up to twice as many, if there is space for them. */
static void work(uint64_t records, uint64_t period)
{
	/* A turn is at least four operations. */
	uint64_t turns = records * period / 4;
	volatile uint64_t sum = 0;

	for (uint64_t n = 0; n < turns; n++)
		sum += n;
}

static void set_round(const struct group *group, unsigned int round)
{
	uint64_t period = 256 * (round + 1);

	if (ioctl(group->spe, PERF_EVENT_IOC_PERIOD, &period))
		fail("period");
}

static atomic_bool racing;

/* Writes wrong tails as long as `racing` is set. */
static void *race(void *argument)
{
	struct group *group = argument;

	run_on(1);
	while (racing)
		set_aux_tail(group, random_tail(&race_random, aux_head(group), group->page->aux_tail));
	return NULL;
}

int main(int argc, char **argv)
{
	struct perf_event_attr attr = { .type = pmu_type(), .sample_period = PERIOD };
	struct choice choice = { .cpu = -1 };
	struct trace trace = { 0 };
	uint64_t records = 0, stale = 0, changed = 0, beyond = 0;
	unsigned char *before, *reported;
	struct group group = { 0 };
	pthread_t racer;
	bool snapshot;

	if (argc != 3) {
		fprintf(stderr, "usage: hostile still|racing|snapshot SEED\n");
		return 2;
	}
	racing = !strcmp(argv[1], "racing");
	snapshot = !strcmp(argv[1], "snapshot");
	main_random = strtoull(argv[2], NULL, 0) * 0x9e3779b97f4a7c15 | 1;
	race_random = ~main_random;
	run_on(0);

	group.leader = group.spe = open_event(&attr, &choice, -1);
	map_data(&group);
	group.aux = mmap(NULL, aux_size(), snapshot ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, group.spe,
			 group.page->aux_offset);
	before = malloc(aux_size());
	reported = malloc(aux_size());
	if (group.aux == MAP_FAILED || !before || !reported)
		fail("memory");
	for (size_t at = 0; at < aux_size(); at++)
		stale += group.aux[at] != 0;
	if (racing && (errno = pthread_create(&racer, NULL, race, &group)))
		fail("pthread_create");

	for (unsigned int round = 0; round < ROUNDS; round++) {
		uint64_t head = aux_head(&group), tail, now;

		set_round(&group, round);
		tail = random_tail(&main_random, head, group.page->aux_tail);
		if (!racing)
			set_aux_tail(&group, tail);
		memcpy(before, group.aux, aux_size());
		enable(&group);
		work(below(&main_random, aux_size() / RECORD), 256 * (round + 1));
		disable(&group);

		now = aux_head(&group);
		printf("round %u %llu %llu %llu\n", round, (unsigned long long)head, (unsigned long long)tail,
		       (unsigned long long)now);
		mark_reported(&group, &records, snapshot, reported);
		/* Padding is between the heads as well, and is zero. */
		for (uint64_t at = head; !snapshot && at < now && at - head < aux_size(); at++)
			reported[at % aux_size()] = 1;
		for (size_t at = 0; at < aux_size(); at++)
			changed += group.aux[at] != before[at] && !reported[at] && !(snapshot && !group.aux[at]);
		if (!racing && !snapshot && now - head > space(head, tail))
			beyond += now - head - space(head, tail);
	}
	if (atomic_exchange(&racing, false))
		pthread_join(racer, NULL);

	/*
	 * All is well again with a true tail. A start that had found no space has set pending_disable in the event,
	 * by which perf disables it when it is next scheduled out: here.
	 */
	trace.end = aux_head(&group);
	trace.at = group.page->data_head;
	set_aux_tail(&group, trace.end);
	set_round(&group, ROUNDS);
	enable(&group);
	disable(&group);
	enable(&group);
	work(aux_size() / RECORD / 2, 256 * (ROUNDS + 1));
	disable(&group);
	follow(&group, &trace);
	printf("stale %llu\nchanged %llu\nbeyond %llu\nafter %llu\nflags %llx\nafter_wrong %llu\n", (unsigned long long)stale,
	       (unsigned long long)changed, (unsigned long long)beyond, (unsigned long long)trace.bytes,
	       (unsigned long long)trace.flags, (unsigned long long)(snapshot ? 0 : trace.wrong));
	return 0;
}
