// SPDX-License-Identifier: GPL-2.0
/*
 * Makes a random walk through the operations on an SPE event: enabling and disabling it, reading its buffer
 * in time, late, hardly, or with wrong tails, unmapping the buffer, other periods and modes, and a software
 * event that pauses and resumes it. The kernel switches to another task that does the same.
 *
 * transitions SEED STEPS CPU [PERIOD]: the same seed makes the same steps. PERIOD is the minimum.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PMU "/sys/bus/event_source/devices/arm_spe_0/"
#define DATA_PAGES 2

/* perf_event_attr.aux_action */
#define AUX_START_PAUSED 1
#define AUX_PAUSE 2
#define AUX_RESUME 4

/* config: jitter, discard. */
#define JITTER (1ULL << 16)
#define DISCARD (1ULL << 35)

struct walker {
	uint64_t random;
	uint64_t shortest;
	uint32_t type;
	size_t page_size;
	/* The SPE event, and those that pause and resume it; -1: none. */
	int event;
	int pauser;
	int resumer;
	struct perf_event_mmap_page *page;
	unsigned char *aux;
	size_t aux_size;
	/* The last request was to enable the event. */
	bool enabled;
};

static void fail(const char *what)
{
	fprintf(stderr, "transitions: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Returns a number below limit (xorshift64). */
static uint64_t below(struct walker *walker, uint64_t limit)
{
	walker->random ^= walker->random << 13;
	walker->random ^= walker->random >> 7;
	walker->random ^= walker->random << 17;
	return walker->random % limit;
}

static uint64_t at_least(uint64_t least, uint64_t number)
{
	return number < least ? least : number;
}

static uint32_t pmu_type(void)
{
	FILE *file = fopen(PMU "type", "r");
	uint32_t type;

	if (!file || fscanf(file, "%u", &type) != 1)
		fail(PMU "type");
	fclose(file);
	return type;
}

static int open_event(struct perf_event_attr *attr, int group)
{
	attr->size = sizeof(*attr);
	return syscall(SYS_perf_event_open, attr, 0, -1, group, 0);
}

/* Opens a software event that pauses or resumes the SPE event at each overflow. */
static int open_action(struct walker *walker, uint64_t config, uint64_t period, uint32_t action)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .config = config, .sample_period = period, .aux_action = action,
	};
	int fd = open_event(&attr, walker->event);

	if (fd < 0)
		fail("perf_event_open of an event that pauses");
	return fd;
}

static void unmap_aux(struct walker *walker)
{
	if (walker->aux)
		munmap(walker->aux, walker->aux_size);
	walker->aux = NULL;
}

static void map_aux(struct walker *walker)
{
	/* A read-only mapping is overwritten. */
	int protection = PROT_READ | (below(walker, 4) ? PROT_WRITE : 0);
	void *aux;

	if (walker->aux || !walker->page)
		return;
	walker->aux_size = walker->page_size << (1 + below(walker, 3));
	walker->page->aux_offset = (1 + DATA_PAGES) * walker->page_size;
	walker->page->aux_size = walker->aux_size;
	aux = mmap(NULL, walker->aux_size, protection, MAP_SHARED, walker->event, walker->page->aux_offset);
	if (aux != MAP_FAILED)
		walker->aux = aux;
}

static void close_all(struct walker *walker)
{
	unmap_aux(walker);
	if (walker->page)
		munmap(walker->page, (1 + DATA_PAGES) * walker->page_size);
	walker->page = NULL;
	if (walker->resumer >= 0)
		close(walker->resumer);
	if (walker->pauser >= 0)
		close(walker->pauser);
	if (walker->event >= 0)
		close(walker->event);
	walker->event = walker->pauser = walker->resumer = -1;
}

static void open_all(struct walker *walker)
{
	struct perf_event_attr attr = { .type = walker->type, .disabled = 1, .exclude_hv = 1 };
	void *page;

	close_all(walker);
	attr.config = below(walker, 8) ? 0 : DISCARD;
	attr.config |= below(walker, 2) ? JITTER : 0;
	attr.sample_period = at_least(walker->shortest, 256 << below(walker, 5));
	attr.exclude_user = !below(walker, 4);
	attr.exclude_kernel = !below(walker, 4);
	attr.aux_watermark = below(walker, 2) ? 1 << below(walker, 14) : 0;
	attr.aux_action = below(walker, 4) ? 0 : AUX_START_PAUSED;
	walker->event = open_event(&attr, -1);
	if (walker->event < 0)
		fail("perf_event_open");
	if (!below(walker, 2)) {
		walker->pauser = open_action(walker, PERF_COUNT_SW_PAGE_FAULTS, 1, AUX_PAUSE);
		walker->resumer = open_action(walker, PERF_COUNT_SW_CPU_CLOCK, 20000, AUX_RESUME);
	}
	page = mmap(NULL, (1 + DATA_PAGES) * walker->page_size, PROT_READ | PROT_WRITE, MAP_SHARED, walker->event, 0);
	if (page != MAP_FAILED)
		walker->page = page;
	map_aux(walker);
}

/* Executes code to sample, with some page faults. */
static void work(struct walker *walker)
{
	volatile uint64_t sum = 0;
	uint64_t count = below(walker, 3) ? 200 : 40000;

	for (uint64_t n = 0; n < count; n++)
		sum += n;
	if (!below(walker, 4)) {
		volatile char *fault = mmap(NULL, walker->page_size, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (fault != MAP_FAILED) {
			*fault = 1;
			munmap((void *)fault, walker->page_size);
		}
	}
}

/* Moves the tail, as the reader. */
static void move_tail(struct walker *walker)
{
	uint64_t head, tail;

	if (!walker->page)
		return;
	head = __atomic_load_n(&walker->page->aux_head, __ATOMIC_ACQUIRE);
	tail = walker->page->aux_tail;
	switch (below(walker, 5)) {
	case 0:	/* all of it */
		tail = head;
		break;
	case 1:	/* a few bytes */
		tail += below(walker, 100);
		break;
	case 2:	/* so that little is free */
		tail = head + 1 + below(walker, 200) - walker->aux_size;
		break;
	case 3:	/* about half */
		tail = head - walker->aux_size / 2 + below(walker, 100);
		break;
	case 4:	/* nonsense */
		tail = below(walker, UINT64_MAX);
		break;
	}
	__atomic_store_n(&walker->page->aux_tail, tail, __ATOMIC_RELEASE);
}

static void set_enabled(struct walker *walker, bool enable)
{
	walker->enabled = enable;
	ioctl(walker->event, enable ? PERF_EVENT_IOC_ENABLE : PERF_EVENT_IOC_DISABLE,
	      below(walker, 2) ? PERF_IOC_FLAG_GROUP : 0);
}

static void step(struct walker *walker)
{
	uint64_t period;

	/* Opening and mapping take long, and are rare. */
	switch (below(walker, 512)) {
	case 0:
		open_all(walker);
		break;
	case 1 ... 2:
		unmap_aux(walker);
		break;
	case 3 ... 20:
		map_aux(walker);
		break;
	case 21 ... 40:
		work(walker);
		break;
	case 41 ... 60:
		sched_yield();
		break;
	case 61 ... 120:
		move_tail(walker);
		break;
	case 121 ... 125:
		period = below(walker, 3) ? 256 + below(walker, 5000) : 1 + below(walker, UINT64_MAX >> 2);
		period = at_least(walker->shortest, period);
		ioctl(walker->event, PERF_EVENT_IOC_PERIOD, &period);
		break;
	case 126 ... 160:
		set_enabled(walker, below(walker, 2));
		break;
	default:
		set_enabled(walker, !walker->enabled);
		break;
	}
}

static void walk(uint64_t seed, uint64_t steps, uint64_t shortest)
{
	struct walker walker = {
		.random = seed * 0x9e3779b97f4a7c15 | 1, .shortest = shortest, .type = pmu_type(),
		.page_size = sysconf(_SC_PAGESIZE), .event = -1, .pauser = -1, .resumer = -1,
	};

	open_all(&walker);
	while (steps--)
		step(&walker);
	close_all(&walker);
}

int main(int argc, char **argv)
{
	uint64_t seed, steps, shortest;
	cpu_set_t cpus;
	int status;
	pid_t child;

	if (argc != 4 && argc != 5) {
		fprintf(stderr, "usage: transitions SEED STEPS CPU [PERIOD]\n");
		return 2;
	}
	seed = strtoull(argv[1], NULL, 0);
	steps = strtoull(argv[2], NULL, 0);
	shortest = argc == 5 ? strtoull(argv[4], NULL, 0) : 1;
	CPU_ZERO(&cpus);
	CPU_SET(atoi(argv[3]), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		fail("sched_setaffinity");

	child = fork();
	if (child < 0)
		fail("fork");
	walk(2 * seed + !child, steps, shortest);
	if (!child)
		return 0;
	if (waitpid(child, &status, 0) < 0)
		fail("waitpid");
	return status != 0;
}
