// SPDX-License-Identifier: GPL-2.0
/*
 * Fuzzes perf_event_open(2) around the SPE PMU, and looks at the answers.
 *
 * fuzz SEED START ROUNDS LOG PERIOD: WORKERS tasks each do STEPS random things in every round, beginning with
 * the round number START. A round begins with nothing open, and with random numbers that are made of the
 * seed, the number of the round and that of the worker: any round can be had again by its number. What
 * is about to be done is written to LOG first, a line for each thing: the time (about that of the kernel
 * log), worker.round.step, how the thing before has ended, what. PERIOD: the shortest period.
 *
 * Mostly, what is asked for makes sense and is changed a little, so that events do open and sample. What
 * has to happen is judged here, without asking the driver:
 *
 * - Each call ends with one of the errors that there is a cause for; one without a cause succeeds.
 * - Data that was not read yet, from aux_tail to aux_head, stays as it is for as long as user space has
 *   kept to the rules in moving aux_tail.
 * - Behind aux_head, a buffer that was not once around yet holds zeroes while nothing samples into it.
 *
 * A violation is a line that begins with WRONG, and exit status 1. The last lines are what was counted.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
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

#define PMU "/sys/bus/event_source/devices/arm_spe_0/"
#define TRACEPOINTS "/sys/kernel/tracing/events/"
#define ONLINE "/sys/devices/system/cpu/cpu%u/online"

#define WORKERS 3
#define STEPS 300
#define EVENTS 6
#define TARGETS 3
#define CPUS 2

/* Things that a forked child does. */
#define CHILD_STEPS 10

/* perf_event_attr.aux_action */
#define AUX_START_PAUSED 1
#define AUX_PAUSE 2
#define AUX_RESUME 4

/* A set of errors; that of 0 is success. */
typedef unsigned __int128 errors;
#define E(error) ((errors)1 << (error))

/* What perf_event_open(2) can end with, for one reason or another. */
#define OPEN_ERRORS (E(E2BIG) | E(EACCES) | E(EBADF) | E(EBUSY) | E(EFAULT) | E(EINTR) | E(EINVAL) | E(ENODEV) | \
		     E(ENOENT) | E(ENOSPC) | E(ENOSYS) | E(EOPNOTSUPP) | E(EOVERFLOW) | E(EPERM) | E(ESRCH))
#define MMAP_ERRORS (E(EACCES) | E(EAGAIN) | E(EBUSY) | E(EINVAL) | E(ENODEV) | E(ENOMEM) | E(EOPNOTSUPP) | E(EPERM))

/* The attributes of a kernel that is newer than the headers. */
struct attr {
	struct perf_event_attr old;
	uint64_t config4;
};

_Static_assert(offsetof(struct attr, config4) == 136, "config4 follows PERF_ATTR_SIZE_VER8");

/* The fields of the PMU that a unit may lack, as files of format/; what else is in the words is ignored. */
static const struct field {
	const char *name;
	unsigned int word, low, high;
} fields[] = {
	{ "discard", 0, 35, 35 }, { "branch_filter_mask", 0, 36, 36 }, { "load_filter_mask", 0, 37, 37 },
	{ "store_filter_mask", 0, 38, 38 }, { "simd_filter", 0, 39, 39 }, { "simd_filter_mask", 0, 40, 40 },
	{ "float_filter", 0, 41, 41 }, { "float_filter_mask", 0, 42, 42 }, { "inv_event_filter", 3, 0, 63 },
	{ "inv_data_src_filter", 4, 0, 63 },
};

#define FIELDS (sizeof(fields) / sizeof(*fields))

struct event {
	int fd;			/* -1: none, but what follows may still be mapped */
	bool spe, sampling, inherit;
	pid_t pid;
	int cpu;
	bool shared;		/* others may do with it what they like, too */
	bool redirected;	/* it has, or has had, the buffer of another event, or gave one its own */
	bool scribbled;		/* what the kernel writes to the first page was overwritten */
	struct perf_event_mmap_page *page;
	size_t page_size;
	unsigned char *aux;
	size_t aux_size;
	bool circular;
	void *second;		/* another mapping of one of the two */
	size_t second_size;
	bool trusted;		/* no session has more room than aux_tail says */
	uint64_t born;		/* aux_head when the AUX area was mapped */
	uint64_t tail, head;	/* what was not read yet when it was last looked at, and its sum */
	uint64_t sum;
};

/* This process. */
static struct {
	unsigned int worker;
	bool child;
	uint64_t round;
	unsigned int step;
	int error;		/* of the thing before */
	enum { TASKS, CPUWIDE, MIXED } mode;
	uint64_t random;
	struct event events[EVENTS];
	pid_t targets[TARGETS];	/* 0: none */
} self;

/* What can be done. */
struct thing {
	const char *name;
	unsigned int weight;
	void (*run)(void);
};

#define THINGS 32

/* All processes. */
static struct shared {
	pthread_barrier_t barrier;
	bool plugging;
	uint64_t tried[THINGS], done[THINGS], ended[128];
	uint64_t opened_spe, opened_other, aux_maps, aux_bytes, data_bytes, looks, wrong;
} *shared;

static uint64_t seed;
static int log_fd;
static size_t page_size;
static uint32_t spe_type;
static uint64_t supported;	/* bits of PMSEVFR_EL1 */
static bool published[FIELDS];
static uint64_t tracepoints[2];
static const struct thing *thing;	/* that is being done */
static unsigned int thing_number;

static void fail(const char *what)
{
	fprintf(stderr, "fuzz: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* Random numbers. */

static uint64_t mix(uint64_t value)
{
	value += 0x9e3779b97f4a7c15;
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
	value = (value ^ value >> 27) * 0x94d049bb133111eb;
	return value ^ value >> 31;
}

static uint64_t any(void)
{
	return mix(self.random++);
}

static uint64_t below(uint64_t limit)
{
	return any() % limit;
}

static bool chance(unsigned int percent)
{
	return below(100) < percent;
}

/* A number that is interesting as such. */
static uint64_t odd_number(void)
{
	switch (below(5)) {
	case 0: return below(3);
	case 1: return 1ULL << below(64);
	case 2: return (1ULL << below(64)) - 1;
	case 3: return -below(5000);
	default: return any();
	}
}

/* The log, and the verdicts. */

static void count(uint64_t *counter, uint64_t more)
{
	__atomic_fetch_add(counter, more, __ATOMIC_RELAXED);
}

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what is about to be done. One call of write(2): lines do not mix. */
static void note(const char *format, ...)
{
	struct timespec now;
	char line[300];
	va_list arguments;
	int size;

	clock_gettime(CLOCK_MONOTONIC, &now);
	size = snprintf(line, sizeof(line), "[%5ld.%06ld] %d %u%s.%lu.%u %s; %s ", now.tv_sec, now.tv_nsec / 1000, getpid(),
			self.worker, self.child ? "'" : "", self.round, self.step,
			self.error ? strerrorname_np(self.error) : "ok", thing->name);
	va_start(arguments, format);
	size += vsnprintf(line + size, sizeof(line) - size - 1, format, arguments);
	va_end(arguments);
	if ((size_t)size > sizeof(line) - 2)
		size = sizeof(line) - 2;
	line[size++] = '\n';
	if (TEMP_FAILURE_RETRY(write(log_fd, line, size)) < 0)
		fail("the log");
}

static void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void wrong(const char *format, ...)
{
	char line[300];
	va_list arguments;
	int size = snprintf(line, sizeof(line), "WRONG %u%s.%lu.%u %s: ", self.worker, self.child ? "'" : "",
			    self.round, self.step, thing->name);

	va_start(arguments, format);
	vsnprintf(line + size, sizeof(line) - size, format, arguments);
	va_end(arguments);
	printf("%s\n", line);
	fflush(stdout);
	note("%s", line);
	count(&shared->wrong, 1);
}

/* A system call has ended with `result`: is that one of those it may end with? Returns whether it succeeded. */
static bool ended(long result, errors allowed)
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

/* The AUX area. */

static uint64_t load(const __u64 *where)
{
	return __atomic_load_n(where, __ATOMIC_ACQUIRE);
}

static uint64_t sum_of(const struct event *event, uint64_t from, uint64_t to)
{
	uint64_t sum = 0;

	for (; from < to; from++)
		sum = sum * 31 + event->aux[from & (event->aux_size - 1)];
	return sum;
}

/* Nobody has changed what was not read yet; goes on with what is not read by now. */
static void look(struct event *event)
{
	uint64_t head;

	if (!event->aux || event->circular || event->scribbled)
		return;
	head = load(&event->page->aux_head);
	count(&shared->aux_bytes, head - event->head);
	if (event->trusted) {
		count(&shared->looks, 1);
		if (sum_of(event, event->tail, event->head) != event->sum)
			wrong("unread data between %#lx and %#lx has changed", event->tail, event->head);
		if (head < event->head || head - event->tail > event->aux_size) {
			wrong("aux_head is %#lx, after %#lx, with aux_tail at %#lx", head, event->head, event->tail);
			event->trusted = false;
			return;
		}
		event->sum = sum_of(event, event->tail, head);
	}
	event->head = head;
}

static void set_tail(struct event *event, uint64_t tail)
{
	event->tail = tail;
	__atomic_store_n(&event->page->aux_tail, tail, __ATOMIC_RELEASE);
	event->sum = event->trusted ? sum_of(event, tail, event->head) : 0;
}

/* The event was disabled: all that was written is before aux_head, and a next session goes by aux_tail as it is. */
static void look_while_disabled(struct event *event)
{
	look(event);
	if (!event->aux || event->circular || event->scribbled || event->redirected || event->shared)
		return;
	for (uint64_t at = event->head; at < event->born + event->aux_size; at++)
		if (event->aux[at & (event->aux_size - 1)]) {
			wrong("there is something at %#lx, behind aux_head at %#lx", at, event->head);
			break;
		}
	if (!event->trusted && event->head - event->tail <= event->aux_size) {
		event->trusted = true;
		event->sum = sum_of(event, event->tail, event->head);
	}
}

static void unmap(void *at, size_t size)
{
	if (munmap(at, size))
		wrong("munmap: %s", strerrorname_np(errno));
}

static void unmap_aux(struct event *event)
{
	look(event);
	if (event->aux)
		unmap(event->aux, event->aux_size);
	event->aux = NULL;
}

static void unmap_ring(struct event *event)
{
	/* What is in the AUX area cannot be told without the page. */
	unmap_aux(event);
	if (event->page) {
		if (!event->scribbled)
			count(&shared->data_bytes, load(&event->page->data_head));
		unmap(event->page, event->page_size);
	}
	event->page = NULL;
}

static void unmap_second(struct event *event)
{
	if (event->second)
		unmap(event->second, event->second_size);
	event->second = NULL;
}

static void close_event(struct event *event)
{
	if (event->fd >= 0)
		close(event->fd);
	event->fd = -1;
}

static void clear(struct event *event)
{
	if (chance(50))
		close_event(event);
	unmap_second(event);
	unmap_ring(event);
	close_event(event);
	*event = (struct event){ .fd = -1 };
}

/* Any event, if chance is for it; else one that is open, of this PMU, or has an AUX area, if there is one. */
static struct event *pick(void)
{
	struct event *best = &self.events[below(EVENTS)];
	unsigned int first = below(EVENTS), most = 0;

	if (chance(15))
		return best;
	for (unsigned int n = 0; n < EVENTS; n++) {
		struct event *event = &self.events[(first + n) % EVENTS];
		unsigned int value = event->fd < 0 ? 0 : 1 + event->spe + !!event->aux;

		if (value > most) {
			best = event;
			most = value;
		}
	}
	return best;
}

static bool any_open(void)
{
	for (unsigned int n = 0; n < EVENTS; n++)
		if (self.events[n].fd >= 0)
			return true;
	return false;
}

/* An event with an AUX area, or NULL. */
static struct event *pick_aux(void)
{
	unsigned int first = below(EVENTS);

	for (unsigned int n = 0; n < EVENTS; n++)
		if (self.events[(first + n) % EVENTS].aux)
			return &self.events[(first + n) % EVENTS];
	return NULL;
}

static void map_ring(struct event *event)
{
	size_t size = (1 + (chance(90) ? 1 << below(5) : 0)) * page_size;
	bool clean = event->fd >= 0 && !event->page && !event->second && !event->redirected && !event->shared &&
		     !(event->inherit && event->cpu < 0);
	void *page;

	if (event->page)
		return;
	note("fd %d, %zu bytes", event->fd, size);
	page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, event->fd, 0);
	if (ended(page == MAP_FAILED ? -1 : 0, E(0) | (clean ? 0 : MMAP_ERRORS | E(EBADF)))) {
		event->page = page;
		event->page_size = size;
	}
}

static void map_aux(struct event *event)
{
	size_t size = page_size << (chance(90) ? 1 + below(4) : below(10));
	bool circular = chance(20);
	errors allowed;
	void *aux;

	if (!event->page || event->aux)
		return;
	if (!event->spe)
		allowed = MMAP_ERRORS | E(EBADF);
	else if (event->fd < 0 || event->second || event->redirected || event->shared)
		allowed = E(0) | MMAP_ERRORS | E(EBADF);
	else
		allowed = size >= 2 * page_size ? E(0) : E(ENOMEM);	/* what perf makes of any refusal */
	note("fd %d, %zu bytes%s", event->fd, size, circular ? ", circular" : "");
	event->page->aux_offset = event->page_size;
	event->page->aux_size = size;
	event->born = event->head = load(&event->page->aux_head);
	aux = mmap(NULL, size, circular ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, event->fd, event->page_size);
	if (!ended(aux == MAP_FAILED ? -1 : 0, allowed))
		return;
	event->aux = aux;
	event->aux_size = size;
	event->circular = circular;
	event->tail = event->page->aux_tail;
	/* Somebody who is still there may have had room that is not known here. */
	event->trusted = !event->second && event->head - event->tail <= size;
	event->sum = event->trusted ? sum_of(event, event->tail, event->head) : 0;
	if (event->second)
		event->redirected = true;
	count(&shared->aux_maps, 1);
}

/* Opening. */

/*
 * The shortest period of SPE's events. Where an interrupt handler takes long enough, its own operations could fill what
 * is left of a small buffer again, and again, before it returns.
 */
static uint64_t least_period;

static uint64_t spe_period(uint64_t period)
{
	/* 0 is a period, too: the driver takes the shortest one. */
	return least_period > 1 && period < least_period ? least_period : period;
}

static void enable(struct event *event)
{
	unsigned long argument = below(2);

	note("fd %d, %lu", event->fd, argument);
	ended(ioctl(event->fd, PERF_EVENT_IOC_ENABLE, argument),
	      E(0) | E(ENODEV) | (event->fd < 0 ? E(EBADF) : 0));
}

/* An event of this PMU that opens, unless a field of the PMU is not as it should be. */
static void make_spe(struct attr *attr)
{
	struct perf_event_attr *old = &attr->old;

	old->type = spe_type;
	old->config = any() & (1 << 16 | 7ULL);		/* jitter, pct_enable, pa_enable, ts_enable */
	if (chance(10))
		old->config |= 1ULL << 35;		/* discard */
	if (chance(20))
		old->config |= any() & 7ULL << 32;	/* filters by type */
	if (chance(10))
		old->config1 = any() & any() & any() & supported;
	if (chance(10))
		old->config2 = below(30);
	if (chance(10))
		old->config3 = any() & any() & supported;
	if (chance(8))
		old->config ^= 1ULL << below(64);
	if (chance(3))
		old->config1 = 1ULL << below(64);
	if (chance(3))
		old->config3 = 1ULL << below(64);
	if (chance(3))
		attr->config4 = 1ULL << below(64);
	old->sample_period = spe_period(chance(80) ? 256ULL << below(7) : odd_number() >> 1);
	old->exclude_user = chance(20);
	old->exclude_kernel = chance(20);
	old->exclude_hv = chance(50);
	old->exclude_idle = chance(3);
	old->freq = chance(3);
	if (old->freq)
		old->sample_freq = 100;
	old->inherit = chance(30);
	old->pinned = chance(10);
	old->exclusive = chance(10);
	old->enable_on_exec = chance(10);
	old->aux_watermark = chance(50) ? 0 : chance(80) ? 1ULL << below(14) : odd_number();
}

/* An event that something happens with beside SPE's, and that perhaps pauses or resumes it. */
static void make_other(struct attr *attr)
{
	struct perf_event_attr *old = &attr->old;

	switch (below(5)) {
	case 0:
		old->type = PERF_TYPE_HARDWARE;
		old->config = PERF_COUNT_HW_CPU_CYCLES;
		old->sample_period = chance(50) ? 0 : 20000 << below(8);
		break;
	case 1:
		old->type = PERF_TYPE_SOFTWARE;
		old->config = PERF_COUNT_SW_CPU_CLOCK + below(2);
		old->sample_period = 50000 << below(5);
		break;
	case 2 ... 3:
		old->type = PERF_TYPE_SOFTWARE;
		old->config = below(12);
		old->sample_period = 1 + below(20);
		break;
	case 4:
		old->type = PERF_TYPE_TRACEPOINT;
		old->config = tracepoints[below(2)];
		old->sample_period = 1 + below(20);
		break;
	}
	old->sample_type = chance(50) ? PERF_SAMPLE_IP | PERF_SAMPLE_TID : any() & any() & (PERF_SAMPLE_MAX - 1);
	old->aux_action = chance(60) ? 1 << below(3) : 0;
	old->inherit = chance(30);
}

/* Any field of perf_event_attr, whether it makes sense or not. */
static void change(struct attr *attr)
{
	uint32_t *word = (uint32_t *)attr + below(sizeof(*attr) / sizeof(uint32_t));

	if (chance(60))
		*word ^= 1U << below(32);
	else
		*word = odd_number();
}

static uint64_t word_of(const struct attr *attr, unsigned int word)
{
	const uint64_t words[] = {
		attr->old.config, attr->old.config1, attr->old.config2, attr->old.config3, attr->config4
	};

	return words[word];
}

/* The errors of an SPE event that this PMU has to refuse; none: it has to take it. */
static errors refusals(const struct attr *attr)
{
	errors refusals = 0;

	if (attr->old.freq)
		refusals |= E(EINVAL);
	if (attr->old.exclude_idle || ((attr->old.config1 | attr->old.config3) & ~supported))
		refusals |= E(EOPNOTSUPP);
	for (unsigned int n = 0; n < FIELDS; n++) {
		uint64_t above = 63 - fields[n].high;

		if (!published[n] && word_of(attr, fields[n].word) << above >> (above + fields[n].low))
			refusals |= E(EOPNOTSUPP);
	}
	return refusals;
}

/* Whom and where to profile. Returns the errors that there is a cause for. */
static errors choose_place(pid_t *pid, int *cpu)
{
	bool cpuwide = self.mode == MIXED ? chance(50) : self.mode == CPUWIDE;
	errors causes = 0;

	*pid = cpuwide ? -1 : 0;
	*cpu = cpuwide || chance(40) ? (int)below(CPUS) : -1;
	if (!cpuwide && chance(45)) {
		*pid = chance(5) ? getppid() : self.targets[below(TARGETS)];
		causes |= E(ESRCH);
	}
	if (cpuwide)
		causes |= E(ENODEV);			/* it is offline */
	if (chance(3)) {
		*pid = (int)odd_number();
		*cpu = (int)odd_number();
		causes |= E(EINVAL) | E(ESRCH) | E(ENODEV) | E(ENOENT) | E(EACCES);
	}
	return causes;
}

/* Whose place the new event takes: mostly that of one that would be in its way. */
static struct event *choose_slot(pid_t pid, int cpu)
{
	struct event *slot = &self.events[below(EVENTS)];

	for (struct event *event = self.events; event < self.events + EVENTS; event++)
		if (event->fd >= 0 && event->spe && event->pid == pid &&
		    (event->cpu == cpu || event->cpu < 0 || cpu < 0) && chance(80))
			return event;
	return slot;
}

static void open_event(bool spe)
{
	/* The kernel reads as much as the size says. */
	static union {
		struct attr attr;
		char page[1 << 16];
	} passed;
	struct attr attr = { .old.size = sizeof(attr), .old.disabled = chance(50) }, seen;
	unsigned long flags = chance(50) ? PERF_FLAG_FD_CLOEXEC : 0;
	struct event *slot, *leader = NULL;
	int group, cpu, fd;
	errors allowed, place;
	bool exact = spe;
	pid_t pid;

	place = choose_place(&pid, &cpu);
	if (spe)
		make_spe(&attr);
	else
		make_other(&attr);
	attr.old.read_format = any() & 15;
	if (chance(15)) {
		attr.old.aux_action |= AUX_START_PAUSED;
		exact = false;
	}
	for (unsigned int changes = chance(80) ? 0 : 1 + below(3); changes; changes--) {
		change(&attr);
		exact = false;
	}
	if (attr.old.type == spe_type && !attr.old.freq)
		attr.old.sample_period = spe_period(attr.old.sample_period);
	if (chance(3)) {
		flags ^= 1 << below(6);
		exact = false;
	}
	if (chance(spe ? 20 : 70)) {
		leader = pick();
		place |= leader->fd < 0 ? 0 : E(EINVAL) | E(ENODEV) | E(ESRCH);
		if (leader->fd >= 0 && chance(80)) {
			pid = leader->pid;
			cpu = leader->cpu;
			attr.old.inherit = leader->inherit;
			attr.old.pinned = attr.old.exclusive = 0;
		}
	}
	spe = attr.old.type == spe_type;
	slot = choose_slot(spe ? pid : -2, cpu);
	if (leader == slot)
		leader = NULL;
	/* Mostly what pauses has somebody to pause. */
	if (!leader && !spe && chance(90))
		attr.old.aux_action &= AUX_START_PAUSED;

	memset(&passed, 0, sizeof(passed));
	passed.attr = attr;
	seen = attr;
	if (attr.old.size < sizeof(attr))
		memset((char *)&seen + (attr.old.size ?: PERF_ATTR_SIZE_VER0), 0,
		       sizeof(seen) - (attr.old.size ?: PERF_ATTR_SIZE_VER0));
	allowed = spe ? refusals(&seen) : 0;
	allowed = (allowed ?: E(0) | (spe ? E(EBUSY) : 0)) | place | E(EINTR);
	if (!exact)
		allowed |= OPEN_ERRORS;

	clear(slot);
	group = leader ? leader->fd : -1;
	note("%s type %u size %u config %#llx %#llx %#llx %#llx %#llx period %#llx sample %#llx read %#llx bits %#lx"
	     " watermark %u action %#x, pid %d cpu %d group %d flags %#lx",
	     spe ? "spe" : "other", attr.old.type, attr.old.size, attr.old.config, attr.old.config1, attr.old.config2,
	     attr.old.config3, (unsigned long long)attr.config4, attr.old.sample_period, attr.old.sample_type,
	     attr.old.read_format, ((uint64_t *)&attr)[5], attr.old.aux_watermark, attr.old.aux_action, pid, cpu, group,
	     flags);
	fd = syscall(SYS_perf_event_open, &passed, pid, cpu, group, flags);
	if (!ended(fd, allowed))
		return;
	count(spe ? &shared->opened_spe : &shared->opened_other, 1);
	if (leader && flags & PERF_FLAG_FD_OUTPUT)
		leader->redirected = true;
	*slot = (struct event){
		.fd = fd, .spe = spe, .pid = pid, .cpu = cpu, .sampling = seen.old.sample_period,
		.inherit = seen.old.inherit, .redirected = flags & PERF_FLAG_FD_OUTPUT, .shared = seen.old.enable_on_exec,
	};
	if (chance(70))
		map_ring(slot);
	if (spe && chance(90))
		map_aux(slot);
	if (attr.old.disabled && chance(70))
		enable(slot);
}

static void do_open_spe(void)
{
	open_event(true);
}

static void do_open_other(void)
{
	open_event(false);
}

static void do_close(void)
{
	struct event *event = pick();

	note("fd %d", event->fd);
	if (chance(70))
		close_event(event);
	else
		clear(event);
	ended(0, E(0));
}

/* Mappings. */

static void do_map(void)
{
	struct event *event = pick();

	if (!event->page)
		map_ring(event);
	else
		map_aux(event);
}

/* Another mapping, of the ring, the AUX area or neither, that may or may not make sense. */
static void do_map_second(void)
{
	struct event *event = pick();
	size_t size = event->page_size ?: page_size, offset = 0;
	int protection = PROT_READ | (chance(70) ? PROT_WRITE : 0), flags = MAP_SHARED;
	void *second;

	unmap_second(event);
	if (chance(50) && event->page) {
		offset = event->page_size;
		size = event->aux_size;
	}
	if (chance(20))
		size = below(70) * page_size + below(2);
	if (chance(10))
		offset = below(70) * page_size;
	if (chance(10) && event->page && !event->aux)
		event->page->aux_offset = offset, event->page->aux_size = size;
	if (chance(5))
		flags = MAP_PRIVATE;
	if (chance(5))
		protection = below(8);
	note("fd %d, %zu bytes at %#zx, protection %d, flags %d", event->fd, size, offset, protection, flags);
	second = mmap(NULL, size, protection, flags, event->fd, offset);
	if (ended(second == MAP_FAILED ? -1 : 0, E(0) | MMAP_ERRORS | E(EBADF) | E(EOVERFLOW))) {
		event->second = second;
		event->second_size = size;
	}
}

static void do_unmap(void)
{
	struct event *event = &self.events[below(EVENTS)];
	unsigned int what = below(6);

	note("fd %d, %s", event->fd, what == 0 ? "ring" : what == 1 ? "second" : "aux");
	if (what == 0)
		unmap_ring(event);
	else if (what == 1)
		unmap_second(event);
	else
		unmap_aux(event);
	ended(0, E(0));
}

/* A part of a mapping: since user space could make the kernel write to freed pages that way, perf refuses. */
static void do_unmap_part(void)
{
	struct event *event = pick_aux();
	bool ring = chance(30);
	size_t pages, from, size;
	char *at;

	if (!event)
		return;
	at = ring ? (char *)event->page : (char *)event->aux;
	pages = (ring ? event->page_size : event->aux_size) / page_size;
	if (pages < 2)
		return;
	from = below(pages);
	size = from ? 1 + below(pages - from) : 1 + below(pages - 1);
	note("fd %d, %s, %zu pages from %zu on", event->fd, ring ? "ring" : "aux", size, from);
	ended(munmap(at + from * page_size, size * page_size), E(EINVAL));
}

static void do_protect(void)
{
	struct event *event = pick_aux();

	if (!event)
		return;
	note("fd %d", event->fd);
	ended(mprotect(event->aux, event->aux_size, PROT_NONE), E(0));
	ended(mprotect(event->aux, event->aux_size, PROT_READ | (event->circular ? 0 : PROT_WRITE)), E(0));
}

/* What user space says of how far it has read. */
static void do_tail(void)
{
	struct event *event = pick_aux();
	uint64_t tail;

	if (!event)
		return;
	look(event);
	tail = event->tail;
	switch (below(10)) {
	case 0 ... 4:	/* all of it */
		tail = event->head;
		break;
	case 5:		/* a few bytes */
		tail += below(200);
		break;
	case 6:		/* so that little is free */
		tail = event->head + 1 + below(200) - event->aux_size;
		break;
	case 7:		/* about half */
		tail = event->head - event->aux_size / 2 + below(100);
		break;
	case 8:		/* nonsense, not far away */
		tail = event->head - event->aux_size + below(3 * event->aux_size);
		break;
	case 9:		/* nonsense */
		tail = odd_number();
		break;
	}
	/* Forward, and not over the head: the rules. */
	event->trusted &= tail - event->tail <= event->head - event->tail;
	note("fd %d, %#lx, head %#lx%s", event->fd, tail, event->head, event->trusted ? "" : ", against the rules");
	set_tail(event, tail);
	ended(0, E(0));
}

static void do_data_tail(void)
{
	struct event *event = &self.events[below(EVENTS)];

	if (!event->page)
		return;
	note("fd %d", event->fd);
	event->page->data_tail = chance(80) ? load(&event->page->data_head) : odd_number();
	ended(0, E(0));
}

/* The first page is user space's to write, all of it. */
static void do_scribble(void)
{
	struct event *event = &self.events[below(EVENTS)];
	unsigned int at = chance(50) ? offsetof(struct perf_event_mmap_page, data_head) / 8 + below(8) : below(page_size / 8);

	if (!event->page)
		return;
	note("fd %d, word %u", event->fd, at);
	event->scribbled = true;
	((uint64_t *)event->page)[at] = odd_number();
	ended(0, E(0));
}

static void do_look(void)
{
	struct event *event = pick_aux();

	if (!event)
		return;
	note("fd %d", event->fd);
	look(event);
	ended(0, E(0));
}

/* What is done with the file descriptor. */

static void do_enable(void)
{
	enable(pick());
}

static void do_disable(void)
{
	struct event *event = pick();
	unsigned long argument = below(2);

	note("fd %d, %lu", event->fd, argument);
	if (ended(ioctl(event->fd, PERF_EVENT_IOC_DISABLE, argument),
		  E(0) | E(ENODEV) | (event->fd < 0 ? E(EBADF) : 0)) && !argument)
		look_while_disabled(event);
}

static void do_period(void)
{
	struct event *event = pick();
	uint64_t period = spe_period(chance(50) ? 256ULL << below(7) : odd_number());
	errors allowed = period && !(period >> 63) && event->sampling ? E(0) : E(EINVAL);

	if (event->fd < 0)
		return;
	note("fd %d, %#lx", event->fd, period);
	ended(ioctl(event->fd, PERF_EVENT_IOC_PERIOD, &period),
	      allowed | E(ENODEV) | (event->spe ? 0 : E(EINVAL) | E(0)));
}

static void do_set_output(void)
{
	struct event *event = pick(), *other = &self.events[below(EVENTS)];
	int fd = chance(10) ? (int)odd_number() : other->fd;

	if (event->fd < 0)
		return;
	note("fd %d, to %d", event->fd, fd);
	if (ended(ioctl(event->fd, PERF_EVENT_IOC_SET_OUTPUT, fd), E(0) | E(EINVAL) | E(EBADF) | E(ENODEV)))
		event->redirected = other->redirected = true;
}

static void do_set_filter(void)
{
	static const char *const filters[] = {
		"filter 0x1000/0x1000", "start 0x400000@/usr/bin/fuzz", "common_pid != 0", "", "nonsense(",
	};
	struct event *event = pick();
	const char *filter = filters[below(sizeof(filters) / sizeof(*filters))];

	if (event->fd < 0)
		return;
	note("fd %d, '%s'", event->fd, filter);
	ended(ioctl(event->fd, PERF_EVENT_IOC_SET_FILTER, filter),
	      E(EINVAL) | E(ENODEV) | (event->spe ? 0 : E(0) | E(EEXIST) | E(ENOENT) | E(ENOMEM)));
}

static void do_modify(void)
{
	struct event *event = pick();
	struct attr attr = { .old.size = sizeof(attr) };

	make_spe(&attr);
	if (chance(50))
		change(&attr);
	if (event->fd < 0 || attr.old.size > sizeof(attr))
		return;
	note("fd %d", event->fd);
	ended(ioctl(event->fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES, &attr),
	      OPEN_ERRORS | (event->spe ? 0 : E(0)));
}

/* The other requests, and some that there are not. */
static void do_ioctl(void)
{
	struct event *event = pick();
	uint64_t out[64] = { 4 };

	if (event->fd < 0)
		return;
	note("fd %d", event->fd);
	switch (below(7)) {
	case 0:
		ended(ioctl(event->fd, PERF_EVENT_IOC_REFRESH, below(3)),
		      E(0) | E(ENODEV) | (event->inherit || !event->sampling ? E(EINVAL) : 0));
		break;
	case 1:
		ended(ioctl(event->fd, PERF_EVENT_IOC_RESET, below(2)), E(0) | E(ENODEV));
		break;
	case 2:
		ended(ioctl(event->fd, PERF_EVENT_IOC_PAUSE_OUTPUT, below(2)), E(0) | E(EINVAL) | E(ENODEV));
		break;
	case 3:
		ended(ioctl(event->fd, PERF_EVENT_IOC_ID, out), E(0) | E(ENODEV));
		break;
	case 4:
		ended(ioctl(event->fd, PERF_EVENT_IOC_SET_BPF, event->fd),
		      E(EINVAL) | E(EBADF) | E(EOPNOTSUPP) | E(EPERM) | E(ENODEV));
		break;
	case 5:
		ended(ioctl(event->fd, PERF_EVENT_IOC_QUERY_BPF, out),
		      E(0) | E(EINVAL) | E(EOPNOTSUPP) | E(ENOSPC) | E(EPERM) | E(ENODEV));
		break;
	default:
		ended(ioctl(event->fd, _IO('$', 20 + below(200)), odd_number()), E(ENOTTY) | E(ENODEV));
		break;
	}
}

static void do_read(void)
{
	struct event *event = pick();
	struct pollfd poll_fd = { .fd = event->fd, .events = POLLIN };
	char counts[1000];

	if (event->fd < 0)
		return;
	note("fd %d", event->fd);
	switch (below(4)) {
	case 0:
		ended(poll(&poll_fd, 1, below(3)), E(0) | E(EINTR));
		break;
	case 1:
		ended(fcntl(event->fd, F_SETFL, O_RDWR | (chance(50) ? O_ASYNC : 0)), E(0));
		break;
	default:
		ended(read(event->fd, counts, chance(70) ? sizeof(counts) : below(64)),
		      E(0) | E(ENOSPC) | E(EINVAL) | E(ENODEV) | E(ECHILD));
		break;
	}
}

/* Tasks and CPUs. */

/* Something to sample: arithmetic, memory, system calls, page faults. */
static void work(unsigned int turns)
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

static void do_work(void)
{
	note(" ");
	work(chance(30) ? 200 : 60000);
	if (chance(20))
		sched_yield();
	ended(0, E(0));
}

static void run_on(pid_t pid, uint64_t mask)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	for (unsigned int cpu = 0; cpu < CPUS; cpu++)
		if (mask >> cpu & 1)
			CPU_SET(cpu, &cpus);
	sched_setaffinity(pid, sizeof(cpus), &cpus);
}

/* perf sends signals, if an event asks for it. */
static void ignore(int signal)
{
	(void)signal;
}

static void *thread(void *unused)
{
	work(20000);
	return unused;
}

/* What a target does for all of its life. */
static void target(unsigned int kind)
{
	char text[2] = { '0' + kind };
	pthread_t id;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGTRAP, ignore);
	signal(SIGIO, ignore);
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

static void end_target(pid_t *pid)
{
	if (*pid) {
		kill(*pid, SIGKILL);
		TEMP_FAILURE_RETRY(waitpid(*pid, NULL, 0));
	}
	*pid = 0;
}

static void do_target(void)
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

static void do_kill(void)
{
	pid_t *slot = &self.targets[below(TARGETS)];

	if (!*slot || self.child)
		return;
	note("pid %d", *slot);
	end_target(slot);
	ended(0, E(0));
}

static void do_affinity(void)
{
	uint64_t mask = 1 + below((1 << CPUS) - 1);
	pid_t pid = chance(50) ? 0 : self.targets[below(TARGETS)];

	note("pid %d, mask %#lx", pid, mask);
	run_on(pid, mask);
	ended(0, E(0));
}

static void do_prctl(void)
{
	bool on = chance(60);

	note("%s", on ? "on" : "off");
	ended(prctl(on ? PR_TASK_PERF_EVENTS_ENABLE : PR_TASK_PERF_EVENTS_DISABLE), E(0));
}

/* One at a time, so that there is always a CPU. */
static void do_plug(void)
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

static void do_fork(void);

static const struct thing things[] = {
	{ "open-spe", 50, do_open_spe }, { "open-other", 30, do_open_other }, { "close", 12, do_close },
	{ "map", 40, do_map }, { "map-second", 12, do_map_second }, { "unmap", 15, do_unmap },
	{ "unmap-part", 5, do_unmap_part }, { "protect", 4, do_protect }, { "tail", 80, do_tail },
	{ "data-tail", 15, do_data_tail }, { "scribble", 3, do_scribble }, { "look", 40, do_look },
	{ "enable", 80, do_enable }, { "disable", 60, do_disable }, { "period", 15, do_period },
	{ "set-output", 8, do_set_output }, { "set-filter", 4, do_set_filter }, { "modify", 4, do_modify },
	{ "ioctl", 25, do_ioctl }, { "read", 20, do_read }, { "work", 80, do_work }, { "target", 20, do_target },
	{ "kill", 6, do_kill }, { "affinity", 20, do_affinity }, { "prctl", 8, do_prctl }, { "fork", 6, do_fork },
	{ "plug", 2, do_plug },
};

#define KINDS (sizeof(things) / sizeof(*things))
_Static_assert(KINDS <= THINGS, "each thing is counted");

static void step(void)
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

/* A child with the same file descriptors, but without the mappings, does things with them meanwhile, or execs. */
static void do_fork(void)
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

static void online(void)
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
		clear(event);
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
	supported = access(PMU "caps/event_filter", F_OK) ? UINT64_MAX : number_in(PMU "caps/event_filter", "%lx");
	tracepoints[0] = number_in(TRACEPOINTS "sched/sched_switch/id", "%lu");
	tracepoints[1] = number_in(TRACEPOINTS "raw_syscalls/sys_enter/id", "%lu");
	for (unsigned int n = 0; n < FIELDS; n++) {
		snprintf(path, sizeof(path), PMU "format/%s", fields[n].name);
		published[n] = !access(path, F_OK);
	}
	for (struct event *event = self.events; event < self.events + EVENTS; event++)
		event->fd = -1;
	signal(SIGTRAP, ignore);
	signal(SIGIO, ignore);
}

static void print_counts(uint64_t rounds)
{
	printf("rounds %lu\n", rounds);
	for (unsigned int n = 0; n < KINDS; n++)
		printf("%s %lu %lu\n", things[n].name, shared->tried[n], shared->done[n]);
	for (unsigned int n = 1; n < 128; n++)
		if (shared->ended[n])
			printf("%s %lu\n", strerrorname_np(n), shared->ended[n]);
	printf("opened_spe %lu\nopened_other %lu\naux_maps %lu\naux_bytes %lu\ndata_bytes %lu\nlooks %lu\nwrong %lu\n",
	       shared->opened_spe, shared->opened_other, shared->aux_maps, shared->aux_bytes, shared->data_bytes,
	       shared->looks, shared->wrong);
}

int main(int argc, char **argv)
{
	pthread_barrierattr_t attributes;
	uint64_t start, rounds;
	pid_t workers[WORKERS];
	int status, bad = 0;

	page_size = sysconf(_SC_PAGESIZE);
	if (argc == 3 && !strcmp(argv[1], "target"))
		target(atoi(argv[2]));
	if (argc != 6) {
		fprintf(stderr, "usage: fuzz SEED START ROUNDS LOG PERIOD\n");
		return 2;
	}
	seed = strtoull(argv[1], NULL, 0);
	start = strtoull(argv[2], NULL, 0);
	rounds = strtoull(argv[3], NULL, 0);
	least_period = strtoull(argv[5], NULL, 0);
	log_fd = open(argv[4], O_WRONLY | O_CLOEXEC);
	if (log_fd < 0)
		fail(argv[4]);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		fail("mmap");
	pthread_barrierattr_init(&attributes);
	pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &attributes, WORKERS);
	prepare();
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

		/* The others wait for one that has not come to its end. */
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
