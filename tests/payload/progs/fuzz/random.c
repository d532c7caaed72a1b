// SPDX-License-Identifier: GPL-2.0
/*
 * The random numbers of this process: self.random is the state. What is done depends on the order
 * of the calls.
 */
#include "fuzz.h"

uint64_t mix(uint64_t value)
{
	value += 0x9e3779b97f4a7c15;
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
	value = (value ^ value >> 27) * 0x94d049bb133111eb;
	return value ^ value >> 31;
}

uint64_t any(void)
{
	return mix(self.random++);
}

uint64_t below(uint64_t limit)
{
	return any() % limit;
}

bool chance(unsigned int percent)
{
	return below(100) < percent;
}

/* Returns a number that is interesting as such. */
uint64_t odd_number(void)
{
	switch (below(5)) {
	case 0: return below(3);
	case 1: return 1ULL << below(64);
	case 2: return (1ULL << below(64)) - 1;
	case 3: return -below(5000);
	default: return any();
	}
}
