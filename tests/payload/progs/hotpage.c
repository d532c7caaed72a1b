// SPDX-License-Identifier: GPL-2.0
/*
 * hotpage ROUNDS: accesses one page eight times as often as 64 others together. Prints its page frame number (for root).
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define OTHERS 64

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 100;
	size_t page = sysconf(_SC_PAGESIZE);
	volatile uint64_t *hot = mmap(NULL, (1 + OTHERS) * page, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry;

	if (hot == MAP_FAILED || pagemap < 0 ||
	    pread(pagemap, &entry, sizeof(entry), (uintptr_t)hot / page * sizeof(entry)) != sizeof(entry)) {
		perror("hotpage");
		return 1;
	}
	for (unsigned long i = 0; i < rounds * 10000; i++) {
		hot[(1 + i % OTHERS) * page / sizeof(*hot)] = i;
		for (int j = 0; j < 8; j++)
			(void)hot[i % 64 + j];
	}
	printf("%#llx\n", (unsigned long long)(entry & ((1ULL << 55) - 1)));
	return 0;
}
