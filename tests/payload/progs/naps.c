// SPDX-License-Identifier: GPL-2.0
/* naps ROUNDS: works, and sleeps ROUNDS times in between: its events stop and start again. */
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 100;
	const struct timespec moment = { .tv_nsec = 200000 };
	static volatile uint64_t words[512];

	for (unsigned long i = 0; i < rounds; i++) {
		for (unsigned long j = 0; j < 100 + i % 97; j++)
			words[j % 512] += words[i * j % 512];
		nanosleep(&moment, NULL);
	}
	return 0;
}
