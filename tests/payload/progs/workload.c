// SPDX-License-Identifier: GPL-2.0
/*
 * workload ROUNDS: chases pointers, branches and executes atomics. chase() is the hot function by
 * construction: it has 13 of 16 steps of work.
 */
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define NODES (1 << 14)

struct node {
	struct node *next;
	uint64_t value;
	char to_next_cache_line[48];
};

static struct node nodes[NODES];
static atomic_ulong total;
static uint64_t seed = 88172645463325252ULL;

static uint64_t xorshift(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* Links all nodes in one cycle, in an order that no prefetcher predicts (Sattolo's shuffle). */
static void link_nodes(void)
{
	static uint32_t order[NODES];

	for (uint32_t i = 0; i < NODES; i++)
		order[i] = i;
	for (uint32_t i = NODES - 1; i > 0; i--) {
		uint32_t j = xorshift() % i, t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (uint32_t i = 0; i < NODES; i++) {
		nodes[order[i]].next = &nodes[order[(i + 1) % NODES]];
		nodes[i].value = xorshift();
	}
}

__attribute__((noinline)) uint64_t chase(uint32_t steps)
{
	struct node *node = nodes;
	uint64_t sum = 0;

	while (steps--) {
		sum += node->value;
		node->value = sum;
		node = node->next;
	}
	return sum;
}

__attribute__((noinline)) uint64_t branch(uint32_t steps)
{
	uint64_t taken = 0;

	while (steps--) {
		if (xorshift() & 1)
			taken++;
		else
			__asm__ volatile("" : "+r"(taken));
	}
	return taken;
}

__attribute__((noinline)) void count(uint32_t steps)
{
	while (steps--)
		atomic_fetch_add_explicit(&total, 1, memory_order_acq_rel);
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 100;
	uint64_t sum = 0;

	link_nodes();
	for (unsigned long i = 0; i < rounds; i++) {
		sum += chase(13 * 1024);
		sum += branch(1024);
		count(1024);
	}
	printf("%lu rounds: sum %llx, %lu atomics\n", rounds, (unsigned long long)sum,
	       atomic_load(&total));
	return 0;
}
