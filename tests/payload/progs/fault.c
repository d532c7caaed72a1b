// SPDX-License-Identifier: GPL-2.0
/*
 * Records while the harness makes the profiling unit of CPU 1 fail, and prints what perf reports.
 *
 * fault MODE [ask]: samples on CPU 1 in a mode (see `modes`) and prints times in the middle and at the end;
 * then samples again with the same event, and with a new one. With `ask`, it asks the harness before the
 * first time, and again between the first and the second, and waits for a line as the answer.
 * fault flood: samples until the harness has written a line and no fault is left, and prints how often perf
 * has reported missing data.
 *
 * CPU 0 watches for an interrupt that does not end: CPU 1 makes no progress then.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "spe_group.h"

/* config: discard. */
#define DISCARD (1ULL << 35)

/* Bytes of trace before and after the first read of the times. All of it fits into the buffer. */
#define BEFORE (24 * RECORD)
#define AFTER (24 * RECORD)
/* The same on the other CPU. Before is less than half of after, so that not all of it can be from before. */
#define OTHER_BEFORE (16 * RECORD)
#define OTHER_AFTER (64 * RECORD)

/* More interrupts than there are causes for. */
#define STORM 1000

/* The entry of a system call that no other code uses. */
#define RESUMER "/sys/kernel/tracing/events/syscalls/sys_enter_getpriority/id"

/* The flags and records that perf has reported for an event. */
struct reported {
	uint64_t at;
	uint64_t flags;
	uint64_t complete;
	uint64_t fragments;
	uint64_t wrong;
};

struct mode {
	const char *name;
	bool cpu;
	/* Nothing records on CPU 0. */
	bool alone;
	bool overwrite;
	bool discard;
	bool group;
	bool inherit;
	bool paused;
	bool off;
};

static const struct mode modes[] = {
	{ .name = "task" },
	{ .name = "cpu", .cpu = true, .alone = true },
	{ .name = "system", .cpu = true },
	{ .name = "snapshot", .overwrite = true },
	{ .name = "discard", .cpu = true, .discard = true },
	{ .name = "group", .group = true },
	{ .name = "inherit", .inherit = true },
	{ .name = "paused", .cpu = true, .paused = true },
	{ .name = "off", .off = true },
};

static int harness = -1;

static void ask(void)
{
	char byte;

	if (harness >= 0 && (write(harness, "?", 1) != 1 || read(harness, &byte, 1) != 1))
		fail("the harness");
}

static uint64_t number_in(const char *path)
{
	FILE *file = fopen(path, "r");
	unsigned long long number;

	if (!file || fscanf(file, "%llu", &number) != 1)
		fail(path);
	fclose(file);
	return number;
}

/* Opens the event that resumes a paused one. It counts the kernel, which open_event() excludes. */
static void open_resumer(const struct choice *choice, int leader)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .config = number_in(RESUMER),
		.sample_period = 1, .aux_action = AUX_RESUME,
	};

	if (syscall(SYS_perf_event_open, &attr, choice->pid, choice->cpu, leader, 0) < 0)
		fail("perf_event_open of what resumes");
}

static struct group open_mode(const struct mode *mode, pid_t task, int cpu)
{
	struct choice choice = {
		.pid = mode->cpu ? -1 : task, .cpu = mode->cpu || mode->inherit ? cpu : -1, .inherit = mode->inherit,
	};
	struct perf_event_attr spe = {
		.type = pmu_type(), .sample_period = PERIOD, .config = mode->discard ? DISCARD : 0,
		.aux_action = mode->paused ? AUX_START_PAUSED : 0,
	};
	struct perf_event_attr cycles = {
		.type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_CPU_CYCLES,
	};
	struct group group = { .cycles = -1 };

	group.leader = group.spe = open_event(&spe, &choice, -1);
	if (mode->group)
		group.cycles = open_event(&cycles, &choice, group.leader);
	if (mode->paused)
		open_resumer(&choice, group.leader);
	map_data(&group);
	/* A read-only mapping is overwritten. */
	if (mode->overwrite) {
		group.aux = mmap(NULL, aux_size(), PROT_READ, MAP_SHARED, group.spe, group.page->aux_offset);
		if (group.aux == MAP_FAILED)
			fail("mmap to be overwritten");
	} else if (!mode->discard) {
		map_aux(&group);
	}
	return group;
}

/* Returns eight bytes of the data area. No more are contiguous at its end. */
static const void *data_at(const struct group *group, uint64_t at)
{
	return (unsigned char *)group->page + group->page->data_offset + at % group->page->data_size;
}

/* Reads the new records of perf. */
static void read_records(const struct group *group, struct reported *reported)
{
	uint64_t head = __atomic_load_n(&group->page->data_head, __ATOMIC_ACQUIRE);

	while (reported->at < head) {
		const struct perf_event_header *header = data_at(group, reported->at);
		uint64_t aux[3];

		for (int n = 0; n < 3; n++)
			memcpy(&aux[n], data_at(group, reported->at + sizeof(*header) + n * sizeof(aux[n])),
			       sizeof(aux[n]));
		reported->at += header->size;
		if (header->type == PERF_RECORD_LOST) {
			errno = ENOSPC;
			fail("the data area");
		}
		if (header->type != PERF_RECORD_AUX)
			continue;
		reported->flags |= aux[2];
		if (aux[1] > aux_size()) {
			reported->wrong++;
			continue;
		}
		reported->complete += aux[1] / RECORD;
		reported->fragments += aux[1] % RECORD;
		/* A snapshot begins at half of the buffer, and its offset is that of the end. */
		for (uint64_t n = 0; !(aux[2] & PERF_AUX_FLAG_OVERWRITE) && n + RECORD <= aux[1]; n += RECORD)
			reported->wrong += *aux_at(group, aux[0] + n) == 0;
	}
	__atomic_store_n(&group->page->data_tail, head, __ATOMIC_RELEASE);
}

static void print_reported(const char *prefix, struct group *group, struct reported *reported)
{
	read_records(group, reported);
	printf("%sflags %#llx\n", prefix, (unsigned long long)reported->flags);
	printf("%scomplete %llu\n", prefix, (unsigned long long)reported->complete);
	printf("%sfragments %llu\n", prefix, (unsigned long long)reported->fragments);
	printf("%swrong %llu\n", prefix, (unsigned long long)reported->wrong);
	*reported = (struct reported){ .at = reported->at };
	if (group->aux)
		set_aux_tail(group, aux_head(group));
}

static void print_all_times(const char *prefix, const struct group *group)
{
	print_times(prefix, "spe", group->spe);
	if (group->cycles >= 0)
		print_times(prefix, "cycles", group->cycles);
}

static void resume(const struct mode *mode)
{
	if (mode->paused)
		getpriority(PRIO_PROCESS, 0);
}

/* Works and reads the times. Nothing in between makes perf start the event again. */
static void stretch(const struct mode *mode, const struct group *group)
{
	ask();
	work_for(BEFORE);
	print_times("one_", "spe", group->spe);
	work_for(AFTER);
	print_times("two_", "spe", group->spe);
	resume(mode);
	if (mode->paused)
		work_for(AFTER);
}

static void stretch_again(const struct mode *mode, const struct group *group)
{
	(void)group;
	resume(mode);
	work_for(BEFORE);
}

static void wait_for(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) < 0 || status)
		fail("a child");
}

/* Runs a function in a process of its own, at whose end everything that it has opened is closed. */
static void apart(void (*function)(const struct mode *, const struct group *), const struct mode *mode,
		  const struct group *group)
{
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child < 0)
		fail("fork");
	if (!child) {
		function(mode, group);
		exit(0);
	}
	wait_for(child);
}

/* Works here, or in a child that inherits the event. */
static void sampled(void (*work)(const struct mode *, const struct group *), const struct mode *mode,
		    const struct group *group)
{
	if (mode->inherit)
		apart(work, mode, group);
	else
		work(mode, group);
}

/* Waits for the other end of the socket. */
static void wait_at(int socket)
{
	char byte;

	if (read(socket, &byte, 1) != 1)
		fail("read");
}

static void notify(int socket)
{
	if (write(socket, "", 1) != 1)
		fail("write");
}

/* Forks a child on CPU 0. It works when it is notified, while CPU 1 works, and again with the next notification. */
static pid_t neighbour(int *socket)
{
	int ends[2];
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		fail("socketpair");
	child = fork();
	if (child < 0)
		fail("fork");
	if (child) {
		*socket = ends[0];
		wait_at(*socket);
		return child;
	}
	/* If the other end is closed, reads and writes fail. */
	close(ends[0]);
	take_cpu(0);
	notify(ends[1]);
	wait_at(ends[1]);
	work_for(OTHER_BEFORE);
	wait_at(ends[1]);
	work_for(OTHER_AFTER);
	_exit(0);
}

static void a_new_event(const struct mode *mode, const struct group *none)
{
	struct group group = open_mode(mode, 0, 1);
	struct reported reported = { 0 };

	(void)none;
	enable(&group);
	work_for(BEFORE);
	disable(&group);
	print_reported("next_", &group, &reported);
}

static void record(const struct mode *mode, const struct group *none)
{
	struct reported reported = { 0 }, reported_other = { 0 };
	struct group group, other;
	pid_t child = 0;
	int socket = -1;

	(void)none;
	if (!mode->off)
		group = open_mode(mode, 0, 1);
	if (!mode->alone) {
		child = neighbour(&socket);
		/* Events of tasks and of CPUs exclude each other. The neighbour inherits, too. */
		other = open_mode(&(struct mode){ .cpu = mode->cpu, .inherit = mode->inherit }, child, 0);
		enable(&other);
		notify(socket);
	}

	if (!mode->off) {
		enable(&group);
		sampled(stretch, mode, &group);
		disable(&group);
		print_all_times("end_", &group);
		print_reported("", &group, &reported);
	}
	ask();

	if (!mode->alone) {
		notify(socket);
		wait_for(child);
		disable(&other);
		print_all_times("other_", &other);
		print_reported("other_", &other, &reported_other);
	}
	if (mode->off)
		return;

	enable(&group);
	sampled(stretch_again, mode, &group);
	disable(&group);
	print_reported("again_", &group, &reported);
}

static void flood(const struct mode *mode, const struct group *none)
{
	bool enough = false, missing;
	struct reported reported = { 0 };
	struct group group;
	uint64_t times = 0;
	char byte;

	(void)none;
	if (fcntl(harness, F_SETFL, O_NONBLOCK))
		fail("fcntl");
	group = open_mode(mode, 0, 1);
	do {
		enough = enough || read(harness, &byte, 1) == 1;
		enable(&group);
		work_for(4 * RECORD);
		disable(&group);
		reported.flags = 0;
		read_records(&group, &reported);
		set_aux_tail(&group, aux_head(&group));
		missing = reported.flags & PERF_AUX_FLAG_TRUNCATED;
		times += missing;
	} while (missing || !enough);
	printf("missing %llu\n", (unsigned long long)times);
}

/* Returns the number of interrupts of the units on CPU 1. */
static uint64_t interrupts(void)
{
	FILE *file = fopen("/proc/interrupts", "r");
	unsigned long long number = 0;
	char line[512];

	while (file && fgets(line, sizeof(line), file))
		if (strstr(line, "arm_spe") || strstr(line, "arm-spe"))
			sscanf(line, "%*[^:]: %*u %llu", &number);
	if (!file)
		fail("/proc/interrupts");
	fclose(file);
	return number;
}

int main(int argc, char **argv)
{
	bool flooded = argc == 2 && !strcmp(argv[1], "flood");
	const struct mode *mode = flooded ? &modes[0] : NULL;
	struct pollfd ended = { .events = POLLIN };
	uint64_t at_first;
	int status;
	pid_t child;

	for (size_t n = 0; argc > 1 && n < sizeof(modes) / sizeof(modes[0]); n++)
		if (!strcmp(argv[1], modes[n].name))
			mode = &modes[n];
	if (!mode) {
		fprintf(stderr, "usage: fault MODE [ask]\n       fault flood\n");
		return 2;
	}
	if (flooded || argc == 3) {
		harness = open("/dev/vport0p2", O_RDWR);
		if (harness < 0)
			fail("/dev/vport0p2");
	}

	run_on(0);
	at_first = interrupts();
	child = fork();
	if (child < 0)
		fail("fork");
	if (!child) {
		take_cpu(1);
		apart(flooded ? flood : record, mode, NULL);
		apart(a_new_event, &modes[0], NULL);
		return 0;
	}
	/* Twice a second: CPU 0 is sampled, too. */
	ended.fd = syscall(SYS_pidfd_open, child, 0);
	while (ended.fd >= 0 && !poll(&ended, 1, 500)) {
		if (!flooded && interrupts() - at_first > STORM) {
			puts("storm 1");
			return 0;
		}
	}
	if (waitpid(child, &status, 0) < 0)
		fail("waitpid");
	return status != 0;
}
