// SPDX-License-Identifier: GPL-2.0
/*
 * mixed ROUNDS: executes every kind of operation of user space: integer and floating-point arithmetic,
 * vectors, loads and stores of all sizes, pairs, misaligned and across pages, atomics and exclusives,
 * acquire and release, prefetches, block copies, branches of each kind, system calls.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define N 256

static uint64_t seed = 88172645463325252ULL;
static uint64_t keys[N];
static double matrix[3][16][16];
static float floats[2][N];
static int16_t shorts[2][N];
static _Alignas(4096) unsigned char bytes[2][3 * 4096];
static atomic_ulong words[8];
static _Atomic unsigned char small_words[8];
static uint64_t exclusive;

static uint64_t xorshift(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Indirect calls, unpredictable branches, conditional selects. */
static uint64_t sort(void)
{
	for (int i = 0; i < N; i++)
		keys[i] = xorshift();
	qsort(keys, N, sizeof(keys[0]), by_value);
	return keys[N / 2];
}

/* Scalar floating-point. */
static double multiply(void)
{
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < 16; j++) {
			double sum = 0;

			for (int k = 0; k < 16; k++)
				sum += matrix[0][i][k] * matrix[1][k][j];
			matrix[2][i][j] = sum > 1e9 ? 1 : sum + i;
		}
	memcpy(matrix[0], matrix[2], sizeof(matrix[0]));
	return matrix[2][3][5];
}

/* Vectors, as the compiler makes them. */
__attribute__((optimize("O3"))) static int vectors(void)
{
	int sum = 0;

	for (int i = 0; i < N; i++)
		floats[0][i] = floats[0][i] * 0.5f + floats[1][i];
	for (int i = 0; i < N; i++)
		sum += shorts[0][i] * shorts[1][i];
	for (int i = 0; i < N; i++)
		shorts[0][i] ^= sum;
	return sum;
}

/* The same with predicates, if the CPU has SVE. */
__attribute__((optimize("O3"), target("+sve"))) static float scalable(int n)
{
	float sum = 0;

	for (int i = 0; i < n; i++)
		floats[0][i] = floats[0][i] * 0.25f + floats[1][i];
	for (int i = 0; i < n; i++)
		if (shorts[0][i] > 0)
			shorts[1][i] += shorts[0][i];
	for (int i = 0; i < 8; i++)
		sum += floats[0][i * 17];
	return sum;
}

/* All sizes, signed and unsigned, at any alignment, also across a page. */
static uint64_t unaligned(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < 64; i++) {
		unsigned char *p = bytes[0] + 4096 - 32 + i;
		uint64_t d;
		int32_t w;
		int16_t h;

		memcpy(&d, p, sizeof(d));
		memcpy(&w, p + 1, sizeof(w));
		memcpy(&h, p + 3, sizeof(h));
		sum += d + w + h + (signed char)p[5];
		memcpy(p + 64, &sum, sizeof(sum));
		memcpy(p + 77, &w, sizeof(h));
		p[79] = w;
		__builtin_prefetch(p + 512);
	}
	return sum;
}

static uint64_t atomics(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < 64; i++) {
		atomic_ulong *w = &words[i % 8];
		unsigned long old = sum;

		sum += atomic_fetch_add(w, 1);
		sum ^= atomic_exchange_explicit(w, sum, memory_order_relaxed);
		atomic_compare_exchange_strong(w, &old, i);
		atomic_fetch_or_explicit(w, i, memory_order_release);
		atomic_fetch_xor(&small_words[i % 8], i);
		atomic_store_explicit(w, old, memory_order_release);
		sum += atomic_load_explicit(w, memory_order_acquire);
		__asm__ volatile("1: ldaxr %0, [%1]; add %0, %0, #1; stlxr w3, %0, [%1]; cbnz w3, 1b"
				 : "=&r"(old) : "r"(&exclusive) : "w3", "memory");
		__asm__ volatile("stadd %0, [%1]" : : "r"(sum), "r"(w) : "memory");
	}
	return sum;
}

/* Copies forward, backward and overlapping, sets to zero and to another value. */
static size_t blocks(void)
{
	size_t n = xorshift() % 3000, length;

	memset(bytes[1], 0, sizeof(bytes[1]));
	memset(bytes[1], 'x', n);
	length = strlen((char *)bytes[1]);
	memcpy(bytes[0] + 11, bytes[1], n);
	memmove(bytes[0] + 40, bytes[0] + 11, n);
	memmove(bytes[0] + 3, bytes[0] + 40, n);
	return length + !memcmp(bytes[0], bytes[1], n);
}

/* Calls and returns, and a jump table. */
__attribute__((noinline)) static uint64_t tree(unsigned int depth, uint64_t value)
{
	switch (value & 7) {
	case 0: value += 3; break;
	case 1: value = value << 1 ^ depth; break;
	case 2: value ^= value >> 9; break;
	case 3: value -= 11; break;
	case 4: value *= 5; break;
	case 5: value = ~value; break;
	case 6: value /= depth + 1; break;
	default: value = __builtin_bswap64(value); break;
	}
	if (!depth)
		return value;
	return tree(depth - 1, value + 1) ^ tree(depth - 1, value >> 3);
}

/* Skips an undefined instruction. */
static void refused(int number, siginfo_t *info, void *context)
{
	ucontext_t *interrupted = context;

	(void)number;
	(void)info;
	interrupted->uc_mcontext.pc += 4;
}

/* Reads a register that user space may not read, in the middle of other code. */
static uint64_t forbidden(uint64_t value)
{
	uint64_t cycles = 0;

	__asm__ volatile("add %1, %1, #1; mrs %0, pmccntr_el0; eor %1, %1, %1, lsl #7; add %1, %1, %0"
			 : "+r"(cycles), "+r"(value));
	return value;
}

int main(int argc, char **argv)
{
	unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 0) : 100;
	int sve = !!(getauxval(AT_HWCAP) & HWCAP_SVE);
	uint64_t sum = 0;

	struct sigaction handler = { .sa_sigaction = refused, .sa_flags = SA_SIGINFO };

	sigaction(SIGILL, &handler, NULL);
	for (int i = 0; i < N; i++) {
		floats[1][i] = xorshift() % 1000 / 7.0f;
		shorts[0][i] = xorshift();
		shorts[1][i] = xorshift();
		matrix[0][i / 16][i % 16] = 1.0 / (i + 1);
		matrix[1][i / 16][i % 16] = 1.0 / (i + 3);
	}
	for (unsigned long i = 0; i < rounds; i++) {
		sum += sort();
		sum += multiply();
		for (int j = 0; j < 10; j++) {
			sum += vectors();
			if (sve)
				sum += scalable(N - 5);
			sum += unaligned();
			sum += atomics();
		}
		sum += blocks();
		sum += tree(8, xorshift());
		sum += forbidden(sum);
		sum += syscall(SYS_getppid);
	}
	printf("%lu rounds: %llx\n", rounds, (unsigned long long)sum);
	return 0;
}
