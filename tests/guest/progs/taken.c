// SPDX-License-Identifier: GPL-2.0
/*
 * A buffer is taken from events that perf does not stop for that.
 *
 * The output of an event that inherits is redirected to the buffer of another one, and, when a child of it writes there,
 * away again; then that buffer is unmapped. perf stops the event itself, but not its children: the last reference to the buffer
 * goes with the session of the child, in the interrupt handler.
 *
 * Prints how many bytes the child had written by then. Ends when it has worked on for a while.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "spe_group.h"

#define CPU 1
#define SIZE (256 * 1024)
/* So much is written, in sixteen million operations, before the interrupt comes: there is time to take the buffer until then. */
#define WATERMARK (SIZE / 16)
#define OPERATIONS (64 * PERIOD)
/* Operations in which the child fills that, twice. */
#define WORK (2UL * WATERMARK / RECORD * OPERATIONS)

static volatile sig_atomic_t taken;

static void is_taken(int signal)
{
	taken = signal;
}

static void run_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		fail("sched_setaffinity");
}

static void work_until_taken(void)
{
	const struct sched_param first = { .sched_priority = 1 };

	run_on(CPU);
	/* Its session would end if it had to make way for somebody. */
	if (sched_setscheduler(0, SCHED_FIFO, &first))
		fail("sched_setscheduler");
	signal(SIGUSR1, is_taken);
	while (!taken)
		;
	/* A turn is four operations at the least. */
	for (volatile unsigned long n = 0; n < WORK / 4; n++)
		;
	_exit(0);
}

/* A task that does nothing, or that forks one that works when it is told to; the number of that one comes back. */
static pid_t task(const int go[2], const int back[2])
{
	pid_t worker, pid = fork();
	char byte;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!go)
		for (;;)
			pause();
	if (read(go[0], &byte, 1) != 1)
		fail("read");
	worker = fork();
	if (!worker)
		work_until_taken();
	if (write(back[1], &worker, sizeof(worker)) != sizeof(worker))
		fail("write");
	wait(NULL);
	_exit(0);
}

int main(void)
{
	struct perf_event_attr attr = {
		.type = pmu_type(), .sample_period = OPERATIONS, .aux_watermark = WATERMARK,
	};
	struct perf_event_attr dummy = { .type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_DUMMY };
	struct group owner = { 0 };
	int go[2], back[2];
	pid_t idle, parent, worker;
	uint64_t head;
	int guest;
	void *aux;

	/* Where the child works nobody else is to. */
	run_on(!CPU);
	if (pipe(go) || pipe(back))
		fail("pipe");
	idle = task(NULL, NULL);
	parent = task(go, back);
	owner.spe = owner.leader = open_event(&attr, &(struct choice){ .pid = idle, .cpu = CPU }, -1);
	map_data(&owner);
	owner.page->aux_size = SIZE;
	aux = map(owner.spe, SIZE, owner.page->aux_offset);
	/* The child does not get all events of its parent: else perf might give it the parent's own ones, in exchange for its. */
	open_event(&dummy, &(struct choice){ .pid = parent, .cpu = -1 }, -1);
	guest = open_event(&attr, &(struct choice){ .pid = parent, .cpu = CPU, .inherit = true }, -1);
	if (ioctl(guest, PERF_EVENT_IOC_SET_OUTPUT, owner.spe))
		fail("set output");
	if (ioctl(guest, PERF_EVENT_IOC_ENABLE, 0))
		fail("enable");

	if (write(go[1], "", 1) != 1)
		fail("write");
	if (read(back[0], &worker, sizeof(worker)) != sizeof(worker))
		fail("read");
	/* It writes. From now on it has all the room that there is. */
	while (!aux_head(&owner))
		;
	head = aux_head(&owner);
	set_aux_tail(&owner, head);
	if (ioctl(guest, PERF_EVENT_IOC_SET_OUTPUT, -1L))
		fail("set output");
	if (munmap(aux, SIZE))
		fail("munmap");
	kill(worker, SIGUSR1);
	waitpid(parent, NULL, 0);
	kill(idle, SIGKILL);
	printf("bytes %llu\n", (unsigned long long)head);
	return 0;
}
