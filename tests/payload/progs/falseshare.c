// SPDX-License-Identifier: GPL-2.0
/*
 * falseshare ROUNDS: two threads, each of which counts in a variable of its own. Both variables are in one cache line.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static struct {
	volatile uint64_t hits, misses;
} statistics __attribute__((aligned(64)));
static unsigned long steps;

static void *count_hits(void *unused)
{
	for (unsigned long i = 0; i < steps; i++)
		statistics.hits++;
	return unused;
}

static void *count_misses(void *unused)
{
	for (unsigned long i = 0; i < steps; i++)
		statistics.misses++;
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	steps = (argc > 1 ? strtoul(argv[1], NULL, 0) : 100) * 10000;
	if (pthread_create(&thread, NULL, count_misses, NULL)) {
		perror("pthread_create");
		return 1;
	}
	count_hits(NULL);
	pthread_join(thread, NULL);
	printf("%lu hits, %lu misses\n", (unsigned long)statistics.hits, (unsigned long)statistics.misses);
	return 0;
}
