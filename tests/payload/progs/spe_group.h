/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A group of an SPE event and a counter of CPU cycles, opened with perf_event_open(2): its buffers and
 * perf's records about it.
 *
 * For small programs that print their results as lines of a name and a value, and that exit with a message
 * when a system call fails.
 */
#ifndef SPE_GROUP_H
#define SPE_GROUP_H

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
#include <unistd.h>

#define PMU "/sys/bus/event_source/devices/arm_spe_0/"

/* Operations from one sample to the next. */
#define PERIOD 1024
/* The alignment of records of the emulated unit, and their largest size. */
#define RECORD 64

#define DATA_PAGES 64
#define AUX_PAGES 4

/* perf_event_attr.aux_action */
#define AUX_START_PAUSED 1
#define AUX_PAUSE 2
#define AUX_RESUME 4

struct choice {
	/* The counter leads the group. */
	bool cycles_first;
	bool pinned;
	bool inherit;
	/* Sample the kernel, too. */
	bool kernel;
	pid_t pid;
	int cpu;
	uint32_t watermark;
	/* Cycles from one sample of the counter to the next; 0: it only counts. */
	uint64_t cycles_period;
};

struct group {
	int leader;
	int spe;
	int cycles;
	struct perf_event_mmap_page *page;
	unsigned char *aux;
};

/* The contents of perf's records so far. */
struct trace {
	/* The place of the next record in the data area. */
	uint64_t at;
	/* PERF_RECORD_AUX: their number, bytes, largest size, and all flags. */
	uint64_t records;
	uint64_t bytes;
	uint64_t largest;
	uint64_t flags;
	/* PERF_RECORD_THROTTLE. */
	uint64_t throttles;
	/* The index after the last byte of trace. */
	uint64_t end;
	/* Places where the AUX area does not hold what the records say it does. */
	uint64_t wrong;
};

static inline void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static inline void run_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		fail("sched_setaffinity");
}

/*
 * Runs on this CPU without being preempted, except by interrupts. Without the second step the scheduler would
 * run other tasks for 50 ms of each second.
 */
static inline void take_cpu(int cpu)
{
	const struct sched_param first = { .sched_priority = 1 };
	char name[100];
	FILE *runtime;

	run_on(cpu);
	if (sched_setscheduler(0, SCHED_FIFO, &first))
		fail("sched_setscheduler");
	snprintf(name, sizeof(name), "/sys/kernel/debug/sched/fair_server/cpu%d/runtime", cpu);
	runtime = fopen(name, "w");
	if (!runtime || fputs("0", runtime) < 0 || fclose(runtime))
		fail(name);
}

static inline size_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

static inline size_t aux_size(void)
{
	return AUX_PAGES * page_size();
}

static inline uint32_t pmu_type(void)
{
	FILE *file = fopen(PMU "type", "r");
	uint32_t type;

	if (!file || fscanf(file, "%u", &type) != 1)
		fail(PMU "type");
	fclose(file);
	return type;
}

static inline int open_event(struct perf_event_attr *attr, const struct choice *choice, int leader)
{
	int fd;

	attr->size = sizeof(*attr);
	attr->read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
	attr->exclude_kernel = !choice->kernel;
	attr->exclude_hv = 1;
	attr->inherit = choice->inherit;
	attr->disabled = leader < 0;
	attr->pinned = leader < 0 && choice->pinned;
	fd = syscall(SYS_perf_event_open, attr, choice->pid, choice->cpu, leader, 0);
	if (fd < 0)
		fail("perf_event_open");
	return fd;
}

static inline struct group open_group(const struct choice *choice)
{
	struct perf_event_attr spe = {
		.type = pmu_type(), .sample_period = PERIOD, .aux_watermark = choice->watermark,
	};
	struct perf_event_attr cycles = {
		.type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_CPU_CYCLES,
		.sample_period = choice->cycles_period,
	};
	struct group group = { 0 };

	if (choice->cycles_first) {
		group.leader = group.cycles = open_event(&cycles, choice, -1);
		group.spe = open_event(&spe, choice, group.leader);
	} else {
		group.leader = group.spe = open_event(&spe, choice, -1);
		group.cycles = open_event(&cycles, choice, group.leader);
	}
	return group;
}

/* Opens an event in the leader's group that pauses or resumes it at a system call. */
static inline int open_action(int leader, const char *call, uint32_t action)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .sample_period = 1, .aux_action = action,
	};
	char name[200];
	FILE *file;
	int fd;

	snprintf(name, sizeof(name), "/sys/kernel/tracing/events/syscalls/sys_enter_%s/id", call);
	file = fopen(name, "r");
	if (!file || fscanf(file, "%llu", &attr.config) != 1)
		fail(name);
	fclose(file);
	fd = syscall(SYS_perf_event_open, &attr, 0, -1, leader, 0);
	if (fd < 0)
		fail(name);
	return fd;
}

static inline void *map(int fd, size_t size, size_t offset)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

	if (memory == MAP_FAILED)
		fail("mmap");
	return memory;
}

static inline void map_data(struct group *group)
{
	size_t size = (1 + DATA_PAGES) * page_size();

	group->page = map(group->spe, size, 0);
	group->page->aux_offset = size;
	group->page->aux_size = aux_size();
}

static inline void map_aux(struct group *group)
{
	group->aux = map(group->spe, aux_size(), group->page->aux_offset);
}

static inline void enable(const struct group *group)
{
	if (ioctl(group->leader, PERF_EVENT_IOC_ENABLE, 0))
		fail("enable");
}

static inline void disable(const struct group *group)
{
	if (ioctl(group->leader, PERF_EVENT_IOC_DISABLE, 0))
		fail("disable");
}

/* Makes so many bytes of trace, and up to twice as many, if there is space for them. */
static inline void work_for(uint64_t bytes)
{
	/* A turn is at least four operations, and less than eight. */
	uint64_t turns = bytes / RECORD * PERIOD / 4;
	volatile uint64_t sum = 0;

	for (uint64_t n = 0; n < turns; n++)
		sum += n;
}

/* Prints for how many ns an event was enabled and running, unless it is in error (then it has no counts). */
static inline void print_times(const char *prefix, const char *name, int fd)
{
	struct {
		uint64_t value;
		uint64_t enabled;
		uint64_t running;
	} counts;
	ssize_t size = read(fd, &counts, sizeof(counts));

	if (size != 0 && size != sizeof(counts))
		fail("read");
	printf("%s%s_error %d\n", prefix, name, size == 0);
	if (size == 0)
		return;
	printf("%s%s_enabled %llu\n", prefix, name, (unsigned long long)counts.enabled);
	printf("%s%s_running %llu\n", prefix, name, (unsigned long long)counts.running);
}

static inline void print_group(const char *prefix, const struct group *group)
{
	print_times(prefix, "spe", group->spe);
	print_times(prefix, "cycles", group->cycles);
}

static inline uint64_t aux_head(const struct group *group)
{
	return __atomic_load_n(&group->page->aux_head, __ATOMIC_ACQUIRE);
}

static inline void set_aux_tail(struct group *group, uint64_t tail)
{
	__atomic_store_n(&group->page->aux_tail, tail, __ATOMIC_RELEASE);
}

static inline unsigned char *aux_at(const struct group *group, uint64_t index)
{
	return group->aux + index % aux_size();
}

/* Checks that the driver has zeroed padding. */
static inline void check_padding(const struct group *group, struct trace *trace, uint64_t to)
{
	while (trace->end < to)
		trace->wrong += *aux_at(group, trace->end++) != 0;
}

/* Checks an AUX transaction: aligned records, one after the other, none of which begins with a zero. */
static inline void check_transaction(const struct group *group, struct trace *trace, uint64_t from, uint64_t size)
{
	trace->wrong += from < trace->end || from % RECORD || size % RECORD;
	check_padding(group, trace, from);
	for (; trace->end < from + size; trace->end += RECORD)
		trace->wrong += *aux_at(group, trace->end) == 0;
}

/* Reads the new records. */
static inline void follow(const struct group *group, struct trace *trace)
{
	const unsigned char *data = (unsigned char *)group->page + group->page->data_offset;
	uint64_t head = __atomic_load_n(&group->page->data_head, __ATOMIC_ACQUIRE);

	if (head > group->page->data_size) {
		errno = ENOSPC;
		fail("the data area");
	}
	while (trace->at < head) {
		const struct perf_event_header *header = (const void *)(data + trace->at);

		trace->throttles += header->type == PERF_RECORD_THROTTLE;
		if (header->type == PERF_RECORD_AUX) {
			const uint64_t *aux = (const void *)(header + 1);

			if (aux[1])
				check_transaction(group, trace, aux[0], aux[1]);
			trace->records++;
			trace->bytes += aux[1];
			if (aux[1] > trace->largest)
				trace->largest = aux[1];
			trace->flags |= aux[2];
		}
		trace->at += header->size;
	}
}

/* Reads the trace up to the head. Returns the head, to which a reader may set the tail. */
static inline uint64_t follow_to_head(const struct group *group, struct trace *trace)
{
	uint64_t head = aux_head(group);

	follow(group, trace);
	check_padding(group, trace, head);
	return head;
}

static inline void print_trace(const char *prefix, const struct trace *trace)
{
	printf("%saux_records %llu\n", prefix, (unsigned long long)trace->records);
	printf("%saux_bytes %llu\n", prefix, (unsigned long long)trace->bytes);
	printf("%saux_largest %llu\n", prefix, (unsigned long long)trace->largest);
	printf("%saux_flags %#llx\n", prefix, (unsigned long long)trace->flags);
	printf("%saux_wrong %llu\n", prefix, (unsigned long long)trace->wrong);
}

#endif
