// SPDX-License-Identifier: GPL-2.0
/*
 * A buffer is unmapped while an event writes to it, which perf does not stop.
 *
 * The output of an event that is inherited is redirected to the buffer of another one and, while a child of it
 * samples into that, away again. Then the buffer is unmapped. perf stops the event itself, but not its
 * children: the last reference to the buffer is dropped at the end of the child's AUX transaction, in the
 * interrupt handler. The child does all that itself, so that nothing comes in between.
 *
 * Prints the number of bytes in the buffer by then. Ends when the child has worked for some more time.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "spe_group.h"

#define CPU 1
/* The shortest period: the path from the handler to the release of the buffer is short. */
#define OPERATIONS 256
#define SIZE (4 << 20)
/* The bytes, of four million operations, before the interrupt. */
#define WATERMARK (SIZE / 4)
/* Operations that fill that twice. */
#define WORK (2UL * WATERMARK / RECORD * OPERATIONS)

static void take(struct group *owner, int guest)
{
	uint64_t head;
	void *aux;

	/* Its transaction would end if it were scheduled out. */
	take_cpu(CPU);
	map_data(owner);
	owner->page->aux_size = SIZE;
	aux = map(owner->spe, SIZE, owner->page->aux_offset);
	if (ioctl(guest, PERF_EVENT_IOC_SET_OUTPUT, owner->spe))
		fail("set output");
	if (ioctl(guest, PERF_EVENT_IOC_ENABLE, 0))
		fail("enable");
	while (aux_head(owner) < WATERMARK)
		;
	head = aux_head(owner);
	set_aux_tail(owner, head);

	if (ioctl(guest, PERF_EVENT_IOC_SET_OUTPUT, -1L))
		fail("set output");
	if (munmap(aux, SIZE))
		fail("munmap");
	/* A turn is at least four operations. */
	for (volatile unsigned long n = 0; n < WORK / 4; n++)
		;
	printf("bytes %llu\n", (unsigned long long)head);
}

/* Forks the owner of the buffer, which does nothing. */
static pid_t idle(void)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

int main(void)
{
	struct perf_event_attr attr = {
		.type = pmu_type(), .sample_period = OPERATIONS, .aux_watermark = WATERMARK,
	};
	struct perf_event_attr dummy = { .type = PERF_TYPE_SOFTWARE, .config = PERF_COUNT_SW_DUMMY };
	struct group owner = { 0 };
	int guest, status;

	owner.spe = owner.leader = open_event(&attr, &(struct choice){ .pid = idle(), .cpu = CPU }, -1);
	/* Not all events of the parent are inherited: else perf might swap the contexts of parent and child. */
	open_event(&dummy, &(struct choice){ .cpu = -1 }, -1);
	guest = open_event(&attr, &(struct choice){ .cpu = CPU, .inherit = true, .kernel = true }, -1);
	if (!fork()) {
		take(&owner, guest);
		exit(0);
	}
	if (wait(&status) < 0 || status)
		fail("wait");
	return 0;
}
