// SPDX-License-Identifier: GPL-2.0
/*
 * Fuzzes perf_event_open(2) around the SPE PMU, and looks at the answers. This file has the rounds,
 * the steps of each, and the table of what can be done in a step.
 *
 * fuzz [share] SEED START ROUNDS LOG PERIOD: WORKERS tasks each do STEPS random things in every round,
 * beginning with the round number START. A round begins with nothing open, and with random numbers
 * that are made of the seed, the number of the round and that of the worker: any round can be had
 * again by its number. What is about to be done is written to LOG first, a line for each thing: the
 * time (about that of the kernel log), worker.round.step, how the thing before has ended, what.
 * PERIOD: the shortest period. With "share", sharing.c has what is done.
 *
 * Mostly, what is asked for makes sense and is changed a little, so that events do open and sample.
 * What has to happen is checked by the program itself, without asking the driver:
 *
 * - Each call ends with one of the errors that there is a cause for; one without a cause succeeds.
 * - Data that was not read yet, from aux_tail to aux_head, stays as it is for as long as user space
 *   has kept to the rules in moving aux_tail.
 * - Behind aux_head, a buffer that was not once around yet holds zeroes while nothing samples into
 *   it.
 *
 * A violation is a line that begins with WRONG, and exit status 1. The last lines are what was
 * counted.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"

#define PMU "/sys/bus/event_source/devices/arm_spe_0/"
#define TRACEPOINTS "/sys/kernel/tracing/events/"

#define WORKERS 3
#define STEPS 300

struct self self;
struct shared *shared;
size_t page_size;
const struct thing *thing;
unsigned int thing_number;

static uint64_t seed;

static const struct thing things[] = {
	{ "open-spe", 50, do_open_spe }, { "open-other", 30, do_open_other },
	{ "close", 12, do_close }, { "map", 40, do_map }, { "map-second", 12, do_map_second },
	{ "unmap", 15, do_unmap }, { "unmap-part", 5, do_unmap_part },
	{ "protect", 4, do_protect }, { "tail", 80, do_tail }, { "data-tail", 15, do_data_tail },
	{ "scribble", 3, do_scribble }, { "look", 40, do_look }, { "enable", 80, do_enable },
	{ "disable", 60, do_disable }, { "period", 15, do_period },
	{ "set-output", 8, do_set_output }, { "set-filter", 4, do_set_filter },
	{ "modify", 4, do_modify }, { "ioctl", 25, do_ioctl }, { "read", 20, do_read },
	{ "work", 80, do_work }, { "target", 20, do_target }, { "kill", 6, do_kill },
	{ "affinity", 20, do_affinity }, { "prctl", 8, do_prctl }, { "fork", 6, do_fork },
	{ "plug", 2, do_plug },
};

#define KINDS (sizeof(things) / sizeof(*things))
_Static_assert(KINDS <= THINGS, "each thing is counted");

void step(void)
{
	unsigned int all = 0, number = 0, at;

	for (unsigned int n = 0; n < KINDS; n++)
		all += things[n].weight;
	at = below(all);
	while (at >= things[number].weight)
		at -= things[number++].weight;
	if (chance(60) && !any_open())
		number = 0;
	thing = &things[number];
	thing_number = number;
	thing->run();
	self.step++;
}

static void run_round(uint64_t round)
{
	static const int modes[] = { TASKS, CPUWIDE, TASKS, TASKS, MIXED, TASKS, CPUWIDE, TASKS };

	self.round = round;
	self.random = mix(mix(seed) ^ mix(round) << 1 ^ self.worker << 8);
	/* The same for all workers: events of tasks and of CPUs exclude each other. */
	self.mode = modes[mix(seed ^ round) % 8];
	self.error = 0;
	for (self.step = 0; self.step < STEPS;)
		step();
	for (struct event *event = self.events; event < self.events + EVENTS; event++)
		clear_event(event);
	for (unsigned int n = 0; n < TARGETS; n++)
		end_target(&self.targets[n]);
	run_on(0, (1 << CPUS) - 1);
}

static uint64_t number_in(const char *path, const char *format)
{
	FILE *file = fopen(path, "r");
	uint64_t number = 0;

	if (!file || fscanf(file, format, &number) != 1)
		fail(path);
	fclose(file);
	return number;
}

static void prepare(void)
{
	char path[200];

	page_size = sysconf(_SC_PAGESIZE);
	spe_type = number_in(PMU "type", "%lu");
	/* Older kernels do not publish it. */
	supported = access(PMU "caps/event_filter", F_OK) ?
		    UINT64_MAX : number_in(PMU "caps/event_filter", "%lx");
	tracepoints[0] = number_in(TRACEPOINTS "sched/sched_switch/id", "%lu");
	tracepoints[1] = number_in(TRACEPOINTS "raw_syscalls/sys_enter/id", "%lu");
	tracepoints[2] = tracepoints[0];
	/* The C driver has no live events. */
	if (!access(PMU "format/live", F_OK)) {
		tracepoints[2] = number_in(TRACEPOINTS "arm_spe/arm_spe_record/id", "%lu");
		live_records = 16384 / number_in(PMU "caps/max_record_size", "%lu");
	}
	for (unsigned int n = 0; n < FIELDS; n++) {
		snprintf(path, sizeof(path), PMU "format/%s", fields[n].name);
		published[n] = !access(path, F_OK);
	}
	for (struct event *event = self.events; event < self.events + EVENTS; event++)
		event->fd = -1;
	signal(SIGTRAP, ignore_signal);
	signal(SIGIO, ignore_signal);
}

static void print_counts(uint64_t rounds)
{
	printf("rounds %lu\n", rounds);
	for (unsigned int n = 0; n < KINDS; n++)
		printf("%s %lu %lu\n", things[n].name, shared->tried[n], shared->done[n]);
	for (unsigned int n = 1; n < 128; n++)
		if (shared->ended[n])
			printf("%s %lu\n", strerrorname_np(n), shared->ended[n]);
	printf("opened_spe %lu\nopened_live %lu\nopened_other %lu\naux_maps %lu\naux_bytes %lu\ndata_bytes %lu\n"
	       "looks %lu\nwrong %lu\n",
	       shared->opened_spe, shared->opened_live, shared->opened_other, shared->aux_maps, shared->aux_bytes,
	       shared->data_bytes, shared->looks, shared->wrong);
}

int main(int argc, char **argv)
{
	pthread_barrierattr_t attributes;
	uint64_t start, rounds;
	pid_t workers[WORKERS];
	int status, bad = 0;
	bool shares;

	page_size = sysconf(_SC_PAGESIZE);
	if (argc == 3 && !strcmp(argv[1], "target"))
		target(atoi(argv[2]));
	if (argc == 9 && !strcmp(argv[1], "family")) {
		spe_type = number_in(PMU "type", "%lu");
		family(argv + 2);
	}
	shares = argc > 1 && !strcmp(argv[1], "share");
	argv += shares;
	if (argc != 6 + shares) {
		fprintf(stderr, "usage: fuzz [share] SEED START ROUNDS LOG PERIOD\n");
		return 2;
	}
	seed = strtoull(argv[1], NULL, 0);
	start = strtoull(argv[2], NULL, 0);
	rounds = strtoull(argv[3], NULL, 0);
	least_period = strtoull(argv[5], NULL, 0);
	log_fd = open(argv[4], O_WRONLY | O_CLOEXEC);
	if (log_fd < 0)
		fail(argv[4]);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		fail("mmap");
	pthread_barrierattr_init(&attributes);
	pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &attributes, WORKERS);
	prepare();
	if (shares) {
		share_rounds(seed, start, rounds);
		return 0;
	}
	fflush(stdout);

	for (unsigned int n = 0; n < WORKERS; n++) {
		workers[n] = fork();
		if (workers[n] < 0)
			fail("fork");
		if (workers[n])
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		self.worker = n;
		thing = things;
		for (uint64_t round = start; round < start + rounds; round++) {
			if (pthread_barrier_wait(&shared->barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
				online();
			pthread_barrier_wait(&shared->barrier);
			run_round(round);
		}
		_exit(0);
	}
	for (unsigned int n = 0; n < WORKERS; n++) {
		pid_t pid = wait(&status);

		/* The other workers wait for one that ended early. */
		if (pid > 0 && status && !bad++) {
			printf("WRONG a worker has ended with status %#x\n", status);
			for (unsigned int other = 0; other < WORKERS; other++)
				kill(workers[other], SIGKILL);
		}
	}
	online();
	print_counts(rounds);
	return bad || shared->wrong;
}
