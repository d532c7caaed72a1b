// SPDX-License-Identifier: GPL-2.0
/*
 * A buffer is unmapped while an event writes to it, whose AUX transaction then ends in an NMI.
 *
 * As in taken.c, the output of an event that is inherited is redirected away from a buffer, and the buffer
 * is unmapped, while a child of the event samples into it. Here that is done on another CPU. A counter of
 * cycles in the kernel is in the event's group. It overflows once, when the child, which was in user space
 * until then, has been in the kernel for long enough. The system has to allow 100 interrupts of it a second,
 * one a tick, so that perf throttles the group at once, which ends the child's transaction. The counter's
 * interrupt has to be an NMI.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "spe_group.h"

#define CPU 1
#define OPERATIONS 65536
#define SIZE (256 * page_size())
#define SECOND 1000000000ULL
/* Cycles in the kernel, of a nanosecond each: more than until the buffer is unmapped. */
#define CYCLES (SECOND / 2)

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * SECOND + time.tv_nsec;
}

static pid_t idle(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

static void child(volatile int *phase)
{
	take_cpu(CPU);
	*phase = 1;
	while (*phase < 2)
		;
	for (uint64_t end = now() + 2 * SECOND; now() < end;)
		syscall(SYS_getppid);
	exit(0);
}

int main(void)
{
	struct perf_event_attr attr = { .type = pmu_type(), .sample_period = OPERATIONS };
	struct perf_event_attr cycles = {
		.type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_CPU_CYCLES, .sample_period = CYCLES, .exclude_user = 1,
	};
	struct perf_event_attr dummy = { .type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_DUMMY };
	struct choice here = { .cpu = CPU, .inherit = true, .kernel = true };
	volatile int *phase = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct group owner = { .spe = open_event(&attr, &(struct choice){ .pid = idle(), .cpu = CPU }, -1) };
	int guest = open_event(&attr, &here, -1), status;
	pid_t pid;
	void *aux;

	open_event(&cycles, &here, guest);
	/* As in taken.c: not all events of the parent are inherited. */
	open_event(&dummy, &(struct choice){ .cpu = -1 }, -1);
	pid = fork();
	if (!pid)
		child(phase);
	run_on(0);
	map_data(&owner);
	owner.page->aux_size = SIZE;
	aux = map(owner.spe, SIZE, owner.page->aux_offset);
	if (ioctl(guest, PERF_EVENT_IOC_SET_OUTPUT, owner.spe))
		fail("set output");
	while (!*phase)
		;
	/* This begins the child's AUX transaction. */
	if (ioctl(guest, PERF_EVENT_IOC_ENABLE, 0) || ioctl(guest, PERF_EVENT_IOC_SET_OUTPUT, -1L))
		fail("set output");
	if (munmap(aux, SIZE))
		fail("munmap");
	*phase = 2;
	if (waitpid(pid, &status, 0) != pid || status)
		fail("wait");
	return 0;
}
