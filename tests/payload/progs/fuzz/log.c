// SPDX-License-Identifier: GPL-2.0
/*
 * The log of what is about to be done, the check of how each call has ended, and the counters.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

int log_fd;

void fail(const char *what)
{
	fprintf(stderr, "fuzz: %s: %s\n", what, strerror(errno));
	exit(2);
}

void count(uint64_t *counter, uint64_t more)
{
	__atomic_fetch_add(counter, more, __ATOMIC_RELAXED);
}

/* Writes what is about to be done. One call of write(2): lines do not mix. */
void note(const char *format, ...)
{
	struct timespec now;
	char line[300];
	va_list arguments;
	int size;

	clock_gettime(CLOCK_MONOTONIC, &now);
	size = snprintf(line, sizeof(line), "[%5ld.%06ld] %d %u%s.%lu.%u %s; %s ", now.tv_sec,
			now.tv_nsec / 1000, getpid(), self.worker, self.child ? "'" : "",
			self.round, self.step, self.error ? strerrorname_np(self.error) : "ok",
			thing->name);
	va_start(arguments, format);
	size += vsnprintf(line + size, sizeof(line) - size - 1, format, arguments);
	va_end(arguments);
	if ((size_t)size > sizeof(line) - 2)
		size = sizeof(line) - 2;
	line[size++] = '\n';
	if (TEMP_FAILURE_RETRY(write(log_fd, line, size)) < 0)
		fail("the log");
}

void wrong(const char *format, ...)
{
	char line[300];
	va_list arguments;
	int size = snprintf(line, sizeof(line), "WRONG %u%s.%lu.%u %s: ", self.worker,
			    self.child ? "'" : "", self.round, self.step, thing->name);

	va_start(arguments, format);
	vsnprintf(line + size, sizeof(line) - size, format, arguments);
	va_end(arguments);
	printf("%s\n", line);
	fflush(stdout);
	note("%s", line);
	count(&shared->wrong, 1);
}

/*
 * Checks how a system call has ended: `result` has to be success or an error that is in `allowed`.
 * Returns whether it succeeded.
 */
bool ended(long result, errors allowed)
{
	self.error = result < 0 ? errno : 0;
	count(&shared->tried[thing_number], 1);
	count(&shared->ended[self.error % 128], 1);
	if (!self.error)
		count(&shared->done[thing_number], 1);
	if (!(allowed & E(self.error)))
		wrong("%s", self.error ? strerrorname_np(self.error) : "success");
	return !self.error;
}
