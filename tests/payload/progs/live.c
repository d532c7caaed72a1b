// SPDX-License-Identifier: GPL-2.0
/*
 * live COMMAND...: live events, opened with perf_event_open(2). Prints results as lines of a name and a number; see main()
 * for the commands. What samples runs on CPU 1, in user space, and is preempted by interrupts alone.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "spe_group.h"

#define LIVE (1ULL << 63)
#define DISCARD (1ULL << 35)
#define BATCH(n) ((uint64_t)(n) << 16)
#define INTERVAL(n) ((uint64_t)(n) << 32)

#define CPU 1

/* What PERF_FORMAT_GROUP, ID, LOST and both times give for each event. */
struct group_counts {
	uint64_t nr;
	uint64_t enabled;
	uint64_t running;
	struct {
		uint64_t value;
		uint64_t id;
		uint64_t lost;
	} events[3];
};

static void print(const char *name, uint64_t value)
{
	printf("%s %llu\n", name, (unsigned long long)value);
}

static struct perf_event_attr live_attr(uint64_t config2)
{
	return (struct perf_event_attr) {
		.type = pmu_type(), .size = sizeof(struct perf_event_attr), .config = LIVE, .config2 = config2,
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
		.exclude_kernel = 1, .disabled = 1,
	};
}

static int try_open(struct perf_event_attr *attr, pid_t pid, int cpu, int leader)
{
	return syscall(SYS_perf_event_open, attr, pid, cpu, leader, 0);
}

static int open_or_fail(struct perf_event_attr *attr, pid_t pid, int cpu, int leader)
{
	int fd = try_open(attr, pid, cpu, leader);

	if (fd < 0)
		fail("perf_event_open");
	return fd;
}

static void control(int fd, unsigned long request, unsigned long argument)
{
	if (ioctl(fd, request, argument))
		fail("ioctl");
}

static uint64_t id_of(int fd)
{
	uint64_t id;

	control(fd, PERF_EVENT_IOC_ID, (unsigned long)&id);
	return id;
}

struct counts {
	uint64_t value;
	uint64_t enabled;
	uint64_t running;
};

static struct counts counts_of(int fd)
{
	struct counts counts;

	if (read(fd, &counts, sizeof(counts)) != sizeof(counts))
		fail("read");
	return counts;
}

/* Executes so many operations, and up to twice as many. */
static void work(uint64_t operations)
{
	volatile uint64_t sum = 0;

	for (uint64_t n = 0; n < operations / 4; n++)
		sum += n;
}

/* Prints the error of a call. */
static void result(const char *name, long returned)
{
	print(name, returned < 0 ? errno : 0);
}

/*
 * reads INTERVAL: a group with a counter of cycles and one of software, which is read in the middle, disabled, reset
 * and enabled again. The count is the sum of all that was read before a reset.
 */
static void reads(uint64_t interval)
{
	struct perf_event_attr attr = live_attr(INTERVAL(interval));
	struct perf_event_attr cycles = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(cycles), .config = PERF_COUNT_HW_CPU_CYCLES,
		.exclude_kernel = 1, .read_format = attr.read_format,
	};
	struct perf_event_attr clock = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(clock), .config = PERF_COUNT_SW_TASK_CLOCK,
		.read_format = attr.read_format,
	};
	uint64_t sum = 0, last, wrong = 0, grown = 0;
	struct group_counts counts, again;
	int fds[3];

	attr.read_format |= PERF_FORMAT_GROUP | PERF_FORMAT_ID | PERF_FORMAT_LOST;
	fds[0] = open_or_fail(&attr, 0, -1, -1);
	fds[1] = open_or_fail(&cycles, 0, -1, fds[0]);
	fds[2] = open_or_fail(&clock, 0, -1, fds[0]);
	for (int round = 0; round < 3; round++) {
		control(fds[0], PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP);
		last = 0;
		for (int n = 0; n < 5; n++) {
			work(20 * interval);
			if (read(fds[0], &counts, sizeof(counts)) != sizeof(counts))
				fail("read");
			grown += counts.events[0].value >= last + 20;
			last = counts.events[0].value;
			wrong += counts.nr != 3;
			for (int event = 0; event < 3; event++) {
				wrong += counts.events[event].id != id_of(fds[event]);
				wrong += counts.events[event].lost != 0;
				wrong += counts.events[event].value == 0;
			}
			wrong += counts.enabled != counts.running || !counts.running;
		}
		work(20 * interval);
		control(fds[0], PERF_EVENT_IOC_DISABLE, PERF_IOC_FLAG_GROUP);
		if (read(fds[0], &counts, sizeof(counts)) != sizeof(counts))
			fail("read");
		work(20 * interval);
		if (read(fds[0], &again, sizeof(again)) != sizeof(again))
			fail("read");
		wrong += memcmp(&counts, &again, sizeof(counts)) != 0;
		sum += counts.events[0].value;
		control(fds[0], PERF_EVENT_IOC_RESET, PERF_IOC_FLAG_GROUP);
		if (read(fds[0], &again, sizeof(again)) != sizeof(again))
			fail("read");
		wrong += again.events[0].value != 0;
	}
	print("id", id_of(fds[0]));
	print("count", sum);
	print("grown", grown);
	print("wrong", wrong);
}

/* reset: a reset of an event that runs counts what is still in the buffer as before the reset. */
static void reset(void)
{
	struct perf_event_attr attr = live_attr(INTERVAL(1024));
	int fd = open_or_fail(&attr, 0, -1, -1);

	control(fd, PERF_EVENT_IOC_ENABLE, 0);
	work(100 * 1024);
	control(fd, PERF_EVENT_IOC_RESET, 0);
	control(fd, PERF_EVENT_IOC_DISABLE, 0);
	print("count", counts_of(fd).value);
}

/* period: the period changes while records of the one before are in the buffer. Prints the count of each. */
static void period(void)
{
	static const uint64_t periods[] = { 1024, 2048, 512 };
	struct perf_event_attr attr = live_attr(0);
	char name[30];
	uint64_t before = 0;
	int fd;

	attr.sample_period = periods[0];
	fd = open_or_fail(&attr, 0, -1, -1);
	control(fd, PERF_EVENT_IOC_ENABLE, 0);
	for (int n = 0; n < 3; n++) {
		struct counts counts;

		work(50 * periods[n]);
		/* The next one is longer than what is left to do in user space. */
		control(fd, PERF_EVENT_IOC_PERIOD, (unsigned long)&(uint64_t) { 1 << 24 });
		control(fd, PERF_EVENT_IOC_DISABLE, 0);
		counts = counts_of(fd);
		snprintf(name, sizeof(name), "period%llu", (unsigned long long)periods[n]);
		print(name, counts.value - before);
		before = counts.value;
		if (n < 2) {
			control(fd, PERF_EVENT_IOC_PERIOD, (unsigned long)&periods[n + 1]);
			control(fd, PERF_EVENT_IOC_ENABLE, 0);
		}
	}
	print("id", id_of(fd));
	print("count", before);
}

/* refresh: enables a sampling event, which never overflows. */
static void refresh(void)
{
	struct perf_event_attr attr = live_attr(0);
	int fd;

	attr.sample_period = 1024;
	fd = open_or_fail(&attr, 0, -1, -1);
	control(fd, PERF_EVENT_IOC_REFRESH, 1);
	work(100 * 1024);
	print("first", counts_of(fd).value);
	work(100 * 1024);
	control(fd, PERF_EVENT_IOC_DISABLE, 0);
	print("id", id_of(fd));
	print("count", counts_of(fd).value);
}

/* errors: what is refused, as an errno, and what is not. */
static void errors(void)
{
	struct perf_event_attr attr = live_attr(BATCH(256)), aux = attr;
	int fd = try_open(&attr, 0, -1, -1);
	struct group group = { .spe = fd };

	result("batch_256", fd);
	result("period_without_period", ioctl(fd, PERF_EVENT_IOC_PERIOD, &(uint64_t) { 4096 }));
	result("refresh_without_period", ioctl(fd, PERF_EVENT_IOC_REFRESH, 1));
	result("second_in_task", try_open(&attr, 0, -1, -1));
	result("second_in_group", try_open(&attr, 0, -1, fd));
	aux.config = 0;
	aux.sample_period = 4096;
	result("aux_in_task", try_open(&aux, 0, -1, -1));
	result("of_cpu", try_open(&attr, -1, CPU, -1));
	map_data(&group);
	result("map_aux", (long)mmap(NULL, aux_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, group.page->aux_offset));
	close(fd);
	attr.config2 = BATCH(257);
	result("batch_257", try_open(&attr, 0, -1, -1));
	attr.config2 = BATCH(0xffff);
	result("batch_most", try_open(&attr, 0, -1, -1));
	attr.config2 = 0;
	attr.config |= DISCARD;
	result("discard", try_open(&attr, 0, -1, -1));
	attr.config = LIVE;
	attr.freq = 1;
	attr.sample_freq = 100;
	result("frequency", try_open(&attr, 0, -1, -1));
	attr.freq = 0;
	attr.sample_period = 0;
	attr.exclude_idle = 1;
	result("exclude_idle", try_open(&attr, 0, -1, -1));
}

/*
 * paused mapped|not: the event starts paused, and a system call resumes it: perf looks for the ring buffer of the
 * event first.
 */
static void paused(bool is_mapped)
{
	struct perf_event_attr attr = live_attr(INTERVAL(1024));
	struct group group = { 0 };
	uint64_t start;

	attr.aux_action = AUX_START_PAUSED;
	group.spe = open_or_fail(&attr, 0, -1, -1);
	if (is_mapped)
		map(group.spe, 2 * page_size(), 0);
	open_action(group.spe, "getppid", AUX_RESUME);
	open_action(group.spe, "getpgid", AUX_PAUSE);
	control(group.spe, PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP);
	work(100 * 1024);
	print("before", counts_of(group.spe).value);
	syscall(SYS_getppid);
	work(100 * 1024);
	syscall(SYS_getpgid, 0);
	start = counts_of(group.spe).value;
	work(100 * 1024);
	print("after", counts_of(group.spe).value - start);
	control(group.spe, PERF_EVENT_IOC_DISABLE, 0);
	print("id", id_of(group.spe));
	print("count", counts_of(group.spe).value);
}

/* run BATCH INTERVAL RECORDS: that many records, up to twice as many. Then the same again. */
static void run(uint64_t batch, uint64_t interval, uint64_t records)
{
	struct perf_event_attr attr = live_attr(BATCH(batch) | INTERVAL(interval));
	int fd = open_or_fail(&attr, 0, -1, -1);
	struct counts first, then;

	control(fd, PERF_EVENT_IOC_ENABLE, 0);
	work(records * interval);
	first = counts_of(fd);
	work(interval);
	then = counts_of(fd);
	/* perf disables an event when the unit reports an error. */
	print("disabled", then.enabled == first.enabled);
	control(fd, PERF_EVENT_IOC_DISABLE, 0);
	print("id", id_of(fd));
	print("count", counts_of(fd).value);
	control(fd, PERF_EVENT_IOC_RESET, 0);
	control(fd, PERF_EVENT_IOC_ENABLE, 0);
	work(records * interval);
	control(fd, PERF_EVENT_IOC_DISABLE, 0);
	print("again", counts_of(fd).value);
}

/* batches BATCH INTERVAL RECORDS: as run, once, without a read in the middle. */
static void batches(uint64_t batch, uint64_t interval, uint64_t records)
{
	struct perf_event_attr attr = live_attr(BATCH(batch) | INTERVAL(interval));
	int fd = open_or_fail(&attr, 0, -1, -1);

	control(fd, PERF_EVENT_IOC_ENABLE, 0);
	work(records * interval);
	control(fd, PERF_EVENT_IOC_DISABLE, 0);
	print("id", id_of(fd));
	print("count", counts_of(fd).value);
}

/*
 * turns TASKS ROUNDS: tasks with an event each take turns on a CPU. The event of task N has the interval
 * (N + 1) * 1024, and is inherited by a child that works as well. One task and its child have perf swap their contexts.
 */
static void turns(unsigned int tasks, unsigned int rounds)
{
	for (unsigned int task = 0; task < tasks; task++) {
		struct perf_event_attr attr = live_attr(INTERVAL((task + 1) * 1024));
		int fd;

		if (fork())
			continue;
		attr.inherit = 1;
		fd = open_or_fail(&attr, 0, -1, -1);
		control(fd, PERF_EVENT_IOC_ENABLE, 0);
		if (fork()) {
			for (unsigned int n = 0; n < rounds; n++) {
				work(10 * 1024);
				sched_yield();
			}
			wait(NULL);
			control(fd, PERF_EVENT_IOC_DISABLE, 0);
			printf("task %u pid %d id %llu count %llu\n", task, getpid(), (unsigned long long)id_of(fd),
			       (unsigned long long)counts_of(fd).value);
		} else {
			for (unsigned int n = 0; n < rounds; n++) {
				work(10 * 1024);
				sched_yield();
			}
		}
		fflush(stdout);
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
}

/* open PID CPU KERNEL ADDRESSES: prints the error. */
static void open_only(pid_t pid, int cpu, bool kernel, bool addresses)
{
	struct perf_event_attr attr = live_attr(0);

	attr.exclude_kernel = !kernel;
	attr.config |= addresses ? 2 : 0;
	result("error", try_open(&attr, pid, cpu, -1));
}

/* listen ID RAW PID CPU: opens the trace event with this number. Prints the error. */
static void listen_to(uint64_t number, bool raw, pid_t pid, int cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .config = number, .sample_period = 1,
		.sample_type = raw ? PERF_SAMPLE_RAW : 0, .exclude_kernel = 1,
	};

	result("error", try_open(&attr, pid, cpu, -1));
}

static long unload(void)
{
	return syscall(SYS_delete_module, "arm_spe_pmu", O_NONBLOCK);
}

/* unload: the driver is unloaded while an event is open, which is refused, and right after that. */
static void unload_around(void)
{
	struct perf_event_attr attr = live_attr(INTERVAL(1024));
	int fd = open_or_fail(&attr, 0, -1, -1);

	result("open", unload());
	control(fd, PERF_EVENT_IOC_ENABLE, 0);
	result("running", unload());
	work(10 * 1024);
	close(fd);
	result("closed", unload());
}

/* redirect live|aux: the output of a live event goes to the AUX buffer of another task's event, or the reverse. */
static void redirect(bool is_live)
{
	struct perf_event_attr live = live_attr(INTERVAL(1024)), aux = live;
	pid_t child = fork();
	struct group group = { 0 };
	int event;

	if (!child) {
		pause();
		_exit(0);
	}
	aux.config = 0;
	aux.config2 = 0;
	aux.sample_period = 1024;
	group.spe = is_live ? open_or_fail(&aux, child, CPU, -1) : open_or_fail(&live, child, CPU, -1);
	event = is_live ? open_or_fail(&live, 0, CPU, -1) : open_or_fail(&aux, 0, CPU, -1);
	map_data(&group);
	if (is_live) {
		map_aux(&group);
		result("redirect", ioctl(event, PERF_EVENT_IOC_SET_OUTPUT, group.spe));
		/* It has a buffer already. */
		result("map", (long)mmap(NULL, aux_size(), PROT_READ | PROT_WRITE, MAP_SHARED, event,
					 group.page->aux_offset));
	} else {
		result("redirect", ioctl(event, PERF_EVENT_IOC_SET_OUTPUT, group.spe));
		result("map_owner", (long)mmap(NULL, aux_size(), PROT_READ | PROT_WRITE, MAP_SHARED, group.spe,
					       group.page->aux_offset));
		group.aux = mmap(NULL, aux_size(), PROT_READ | PROT_WRITE, MAP_SHARED, event, group.page->aux_offset);
		result("map", (long)group.aux);
	}
	control(event, PERF_EVENT_IOC_ENABLE, 0);
	work(20 * 1024);
	if (is_live && munmap(group.aux, aux_size()))
		fail("munmap");
	work(20 * 1024);
	control(event, PERF_EVENT_IOC_DISABLE, 0);
	print("head", aux_head(&group));
	print("id", id_of(event));
	print("count", counts_of(event).value);
	kill(child, 9);
	waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	uint64_t number[4] = { 0 };

	for (int n = 2; n < argc && n < 6; n++)
		number[n - 2] = strtoll(argv[n], NULL, 0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!strcmp(command, "open"))
		open_only(number[0], number[1], number[2], number[3]);
	else if (!strcmp(command, "listen"))
		listen_to(number[0], number[1], number[2], number[3]);
	else if (!strcmp(command, "errors"))
		errors();
	else if (!strcmp(command, "turns")) {
		run_on(CPU);
		turns(number[0], number[1]);
	} else {
		take_cpu(CPU);
		if (!strcmp(command, "reads"))
			reads(number[0]);
		else if (!strcmp(command, "reset"))
			reset();
		else if (!strcmp(command, "period"))
			period();
		else if (!strcmp(command, "refresh"))
			refresh();
		else if (!strcmp(command, "paused"))
			paused(argc > 2 && !strcmp(argv[2], "mapped"));
		else if (!strcmp(command, "run"))
			run(number[0], number[1], number[2]);
		else if (!strcmp(command, "batches"))
			batches(number[0], number[1], number[2]);
		else if (!strcmp(command, "unload"))
			unload_around();
		else if (!strcmp(command, "redirect"))
			redirect(argc > 2 && !strcmp(argv[2], "live"));
		else
			return 2;
	}
	return 0;
}
