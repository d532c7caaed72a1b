// SPDX-License-Identifier: GPL-2.0
/*
 * AUX buffers that several tasks write to at once: "fuzz share" with the arguments of fuzz.
 *
 * In each round FAMILIES tasks do STEPS random things each. E is inherited, and removed on exec. It is opened,
 * children are forked, then exec: E leaves the context of the task, its children stay in theirs. So an owner of
 * a buffer, which would be refused beside E (PERF_PMU_CAP_EXCLUSIVE), can be opened, and the output of E, and of
 * all its children, redirected there. The children work, sleep, move, fork, exec and end; the task redirects,
 * enables, reads, unmaps and closes.
 *
 * How calls end is not checked here: the kernel, the driver and the unit are looked at. The last lines are what
 * was counted.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

#define FAMILIES 2
#define STEPS 150
#define CHILDREN 5
/* The shortest period of any unit. */
#define PERIOD 256

/* A page of a memfd, for all processes. */
static struct counts {
	uint64_t rounds, opened_spe, aux_maps, aux_bytes, redirected, unmapped, forks;
} *counts;

static const struct thing share_thing = { .name = "share" };

/* The owner of the buffer. */
static int owner = -1;
static struct perf_event_mmap_page *page;
static size_t page_bytes, aux_bytes;
static void *aux;

static int open_spe(bool inherit)
{
	struct perf_event_attr attr = {
		.type = spe_type, .size = sizeof(attr), .config = below(2), .disabled = chance(30),
		.sample_period = least_period << below(7), .aux_watermark = chance(50) ? 0 : 1 << below(14),
		.exclude_kernel = chance(50), .exclude_hv = 1, .inherit = inherit, .remove_on_exec = inherit,
	};
	int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);

	if (fd >= 0)
		count(&counts->opened_spe, 1);
	return fd;
}

/* --- The children --- */

static _Noreturn void child(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_TIMERSLACK, 1);
	for (;;) {
		const struct timespec moment = { .tv_nsec = below(50000) };

		work(below(20000));
		switch (below(40)) {
		case 0 ... 19:
			nanosleep(&moment, NULL);
			break;
		case 20 ... 24:
			run_on(0, 1 << below(CPUS));
			break;
		case 25:
			count(&counts->forks, 1);
			if (!fork()) {
				work(below(50000));
				_exit(0);
			}
			while (wait(NULL) < 0 && errno == EINTR)
				;
			break;
		case 26:
			if (chance(10))
				_exit(0);
			break;
		case 27:
			if (chance(10))
				execl("/proc/self/exe", "fuzz", "target", "6", NULL);
			break;
		}
	}
}

/* --- The task whose event they have inherited --- */

static void unmap_buffer(void)
{
	if (!aux)
		return;
	count(&counts->aux_bytes, page->aux_head);
	count(&counts->unmapped, 1);
	munmap(aux, aux_bytes);
	aux = NULL;
}

static void unmap_page(void)
{
	unmap_buffer();
	if (page)
		munmap(page, page_bytes);
	page = NULL;
}

static void close_owner(void)
{
	if (chance(50))
		unmap_page();
	if (owner >= 0)
		close(owner);
	owner = -1;
}

static void map_buffer(void)
{
	int protection = PROT_READ | (chance(85) ? PROT_WRITE : 0);

	if (aux || !page)
		return;
	aux_bytes = page_size << (1 + below(6));
	page->aux_offset = page_bytes;
	page->aux_size = aux_bytes;
	aux = mmap(NULL, aux_bytes, protection, MAP_SHARED, owner, page_bytes);
	if (aux == MAP_FAILED)
		aux = NULL;
	else
		count(&counts->aux_maps, 1);
}

static void map_page(void)
{
	if (page || owner < 0)
		return;
	page_bytes = (1 + (1 << below(4))) * page_size;
	page = mmap(NULL, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, owner, 0);
	if (page == MAP_FAILED)
		page = NULL;
}

static void redirect(int e, int to)
{
	if (!ioctl(e, PERF_EVENT_IOC_SET_OUTPUT, (long)to) && to >= 0)
		count(&counts->redirected, 1);
}

static void share(int e)
{
	/* The event of a mapping stays, and would be in the way. */
	if (owner < 0) {
		unmap_page();
		owner = open_spe(false);
	}
	map_page();
	map_buffer();
	redirect(e, owner);
	ioctl(e, PERF_EVENT_IOC_ENABLE, 0);
}

static void move_tail(void)
{
	uint64_t head;

	if (!page)
		return;
	head = __atomic_load_n(&page->aux_head, __ATOMIC_ACQUIRE);
	__atomic_store_n(&page->aux_tail, chance(90) ? head : head - below(2 * aux_bytes + 1), __ATOMIC_RELEASE);
}

static void plug(bool on)
{
	int fd = open("/sys/devices/system/cpu/cpu1/online", O_WRONLY | O_CLOEXEC);

	/* Another family may do that at the same time. */
	if (fd >= 0 && write(fd, on ? "1" : "0", 1) < 0 && errno != EBUSY && errno != EINVAL)
		fail("online");
	close(fd);
}

static void do_step(int e)
{
	uint64_t period = least_period << below(7);
	int which = chance(70) || owner < 0 ? e : owner;

	switch (below(100)) {
	case 0 ... 14:
		note("share");
		share(e);
		break;
	case 15 ... 44:
		note("tail");
		move_tail();
		work(below(30000));
		break;
	case 45 ... 59:
		note("enable");
		ioctl(which, PERF_EVENT_IOC_ENABLE, 0);
		break;
	case 60 ... 64:
		note("disable");
		ioctl(which, PERF_EVENT_IOC_DISABLE, 0);
		break;
	case 65 ... 69:
		note("period");
		ioctl(which, PERF_EVENT_IOC_PERIOD, &period);
		break;
	case 70 ... 77:
		note("unmap aux, redirected elsewhere first");
		redirect(e, -1);
		unmap_buffer();
		break;
	case 78 ... 81:
		note("unmap aux");
		unmap_buffer();
		break;
	case 82 ... 83:
		note("unmap");
		unmap_page();
		break;
	case 84 ... 86:
		note("redirect");
		/* Not the owner: perf's core warns when its AUX area is mapped then. */
		redirect(e, chance(50) ? owner : e);
		break;
	case 87 ... 89:
		note("close");
		close_owner();
		break;
	case 90:
		note("CPU 1");
		plug(chance(60));
		break;
	default:
		note("work");
		sched_yield();
		work(below(100000));
		break;
	}
}

static _Noreturn void after_exec(int e)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (self.step = 0; self.step < STEPS; self.step++)
		do_step(e);
	close_owner();
	unmap_page();
	plug(true);
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	_exit(0);
}

/* --- Rounds --- */

static _Noreturn void run_family(int counts_fd)
{
	uint64_t values[] = { self.random, self.round, self.worker, least_period, log_fd, counts_fd, 0 };
	char numbers[7][30];
	int e;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpgid(0, 0);
	e = open_spe(true);
	if (e < 0)
		fail("perf_event_open");
	for (unsigned int n = 2 + below(CHILDREN - 1); n; n--) {
		any();
		if (!fork())
			child();
	}
	values[6] = e;
	for (unsigned int n = 0; n < 7; n++)
		snprintf(numbers[n], sizeof(numbers[n]), "%lu", values[n]);
	execl("/proc/self/exe", "fuzz", "family", numbers[0], numbers[1], numbers[2], numbers[3], numbers[4],
	      numbers[5], numbers[6], NULL);
	_exit(1);
}

static void map_counts(int fd)
{
	thing = &share_thing;
	counts = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counts == MAP_FAILED)
		fail("mmap");
}

/* Goes on after exec, with the numbers that run_family() has passed. */
_Noreturn void family(char **numbers)
{
	self.random = strtoull(numbers[0], NULL, 0);
	self.round = strtoull(numbers[1], NULL, 0);
	self.worker = atoi(numbers[2]);
	least_period = strtoull(numbers[3], NULL, 0);
	log_fd = atoi(numbers[4]);
	map_counts(atoi(numbers[5]));
	after_exec(atoi(numbers[6]));
}

/* Does the rounds from start on, with the log open in all processes. */
void share_rounds(uint64_t seed, uint64_t start, uint64_t rounds)
{
	int counts_fd = memfd_create("counts", 0), status;

	if (counts_fd < 0 || ftruncate(counts_fd, page_size))
		fail("memfd");
	map_counts(counts_fd);
	/* Only one process can open the log. */
	if (fcntl(log_fd, F_SETFD, 0))
		fail("the log");
	if (least_period < PERIOD)
		least_period = PERIOD;
	for (self.round = start; self.round < start + rounds; self.round++) {
		for (self.worker = 0; self.worker < FAMILIES; self.worker++) {
			self.random = mix(mix(seed) ^ mix(self.round) << 1 ^ self.worker << 8);
			if (!fork())
				run_family(counts_fd);
		}
		for (unsigned int n = 0; n < FAMILIES; n++)
			if (wait(&status) < 0 || status)
				fail("a family failed");
		count(&counts->rounds, 1);
	}
	printf("rounds %lu\nopened_spe %lu\naux_maps %lu\naux_bytes %lu\nredirected %lu\nunmapped %lu\nforks %lu\n",
	       counts->rounds, counts->opened_spe, counts->aux_maps, counts->aux_bytes, counts->redirected,
	       counts->unmapped, counts->forks);
}
