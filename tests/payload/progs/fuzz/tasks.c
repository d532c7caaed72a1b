// SPDX-License-Identifier: GPL-2.0
/*
 * What tasks and CPUs do: work that is sampled, targets (tasks to profile), forks, moves to another
 * CPU, CPUs that go off- and online.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"

#define ONLINE "/sys/devices/system/cpu/cpu%u/online"

/* Things that a forked child does. */
#define CHILD_STEPS 10

/* Does something to sample: arithmetic, memory, system calls, page faults. */
void work(unsigned int turns)
{
	volatile uint64_t sum = 0;
	volatile char *fault;

	for (unsigned int n = 0; n < turns; n++) {
		sum += n;
		if (n % 5000 == 0)
			getppid();
	}
	fault = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fault != MAP_FAILED) {
		*fault = 1;
		munmap((void *)fault, page_size);
	}
}

void run_on(pid_t pid, uint64_t mask)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	for (unsigned int cpu = 0; cpu < CPUS; cpu++)
		if (mask >> cpu & 1)
			CPU_SET(cpu, &cpus);
	sched_setaffinity(pid, sizeof(cpus), &cpus);
}

/* Handles the signals that perf sends if an event asks for it. */
void ignore_signal(int signal)
{
	(void)signal;
}

static void *thread(void *unused)
{
	work(20000);
	return unused;
}

/* Runs a target for all of its life. */
void target(unsigned int kind)
{
	char text[2] = { '0' + kind };
	pthread_t id;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGTRAP, ignore_signal);
	signal(SIGIO, ignore_signal);
	for (unsigned int n = 0; n < 1000; n++) {
		work(30000);
		switch (kind) {
		case 0:
			break;
		case 1:		/* forks */
			if (!fork()) {
				work(10000);
				_exit(0);
			}
			TEMP_FAILURE_RETRY(waitpid(-1, NULL, 0));
			break;
		case 2:		/* becomes itself anew */
			if (n % 8 == 7)
				execl("/proc/self/exe", "fuzz", "target", text, NULL);
			break;
		case 3:		/* threads */
			if (!pthread_create(&id, NULL, thread, NULL))
				pthread_join(id, NULL);
			break;
		case 4:		/* moves */
			run_on(0, 1 << n % CPUS);
			break;
		case 5:		/* sleeps */
			usleep(2000);
			break;
		case 6:		/* ends soon */
			if (n == 5)
				_exit(0);
			break;
		}
	}
	_exit(0);
}

void end_target(pid_t *pid)
{
	if (*pid) {
		kill(*pid, SIGKILL);
		TEMP_FAILURE_RETRY(waitpid(*pid, NULL, 0));
	}
	*pid = 0;
}

void do_work(void)
{
	note(" ");
	work(chance(30) ? 200 : 60000);
	if (chance(20))
		sched_yield();
	ended(0, E(0));
}

void do_target(void)
{
	pid_t *slot = &self.targets[below(TARGETS)];
	unsigned int kind = below(7);
	char text[2] = { '0' + kind };

	if (self.child)
		return;
	note("kind %u", kind);
	end_target(slot);
	*slot = fork();
	if (!*slot) {
		/* With the address space of the worker, or as a program of its own. */
		if (chance(50))
			target(kind);
		execl("/proc/self/exe", "fuzz", "target", text, NULL);
		_exit(2);
	}
	ended(*slot, E(0));
}

void do_kill(void)
{
	pid_t *slot = &self.targets[below(TARGETS)];

	if (!*slot || self.child)
		return;
	note("pid %d", *slot);
	end_target(slot);
	ended(0, E(0));
}

void do_affinity(void)
{
	uint64_t mask = 1 + below((1 << CPUS) - 1);
	pid_t pid = chance(50) ? 0 : self.targets[below(TARGETS)];

	note("pid %d, mask %#lx", pid, mask);
	run_on(pid, mask);
	ended(0, E(0));
}

void do_prctl(void)
{
	bool on = chance(60);

	note("%s", on ? "on" : "off");
	ended(prctl(on ? PR_TASK_PERF_EVENTS_ENABLE : PR_TASK_PERF_EVENTS_DISABLE), E(0));
}

/*
 * Forks a child with the same file descriptors, but without the mappings. It does things with them
 * at the same time, or execs.
 */
void do_fork(void)
{
	pid_t *slot = &self.targets[below(TARGETS)];

	if (self.child)
		return;
	for (struct event *event = self.events; event < self.events + EVENTS; event++)
		event->shared = true;
	note(" ");
	end_target(slot);
	*slot = fork();
	if (*slot) {
		ended(*slot, E(0));
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	self.child = true;
	self.random = any() ^ 1;
	memset(self.targets, 0, sizeof(self.targets));
	for (struct event *event = self.events; event < self.events + EVENTS; event++) {
		event->page = NULL;
		event->aux = NULL;
		event->second = NULL;
	}
	for (unsigned int n = below(2 * CHILD_STEPS); n; n--)
		step();
	if (chance(50))
		execl("/proc/self/exe", "fuzz", "target", "6", NULL);
	_exit(0);
}

/* Takes a CPU off- or online; one at a time, so that there is always a CPU. */
void do_plug(void)
{
	unsigned int cpu = below(CPUS);
	bool on = chance(60);
	char path[100];
	int fd;

	if (__atomic_test_and_set(&shared->plugging, __ATOMIC_ACQUIRE))
		return;
	note("CPU %u %s", cpu, on ? "on" : "off");
	snprintf(path, sizeof(path), ONLINE, cpu);
	fd = open(path, O_WRONLY);
	if (fd >= 0) {
		ended(write(fd, on ? "1" : "0", 1), E(0) | E(EBUSY) | E(EINVAL) | E(EPERM));
		close(fd);
	}
	__atomic_clear(&shared->plugging, __ATOMIC_RELEASE);
}

void online(void)
{
	char path[100];

	for (unsigned int cpu = 0; cpu < CPUS; cpu++) {
		int fd;

		snprintf(path, sizeof(path), ONLINE, cpu);
		fd = open(path, O_WRONLY);
		if (fd >= 0 && write(fd, "1", 1) < 0 && errno != EINVAL)
			fail(path);
		close(fd);
	}
}
