// SPDX-License-Identifier: GPL-2.0
/*
 * Opens the SPE events described by lines on the standard input, and samples a little with each.
 *
 * A line is a number and fields, "NAME=VALUE", see the table below. The default is 0, and -1 for pid: an
 * event of CPU 0, on which this program runs. For each line, in order:
 *
 * - An event whose period is MARK plus 256 times the number starts and stops: it marks the following
 *   values of the registers as those of the line.
 * - The event is opened, as the given user, gets a buffer, and is enabled and disabled.
 * - One line is printed: the number; the errors, by name, 0 or -, of perf_event_open(2), of mmap(2) of
 *   the AUX area, and of the other operation of the line (period2, filter, second); whether the event ran.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/perf_event.h>
#include <sched.h>
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
#include <unistd.h>

#define PMU "/sys/bus/event_source/devices/arm_spe_0/"
#define PARANOID "/proc/sys/kernel/perf_event_paranoid"
#define MARK (0xabULL << 24)

/* The attributes of a kernel that is newer than the headers. */
struct attr {
	struct perf_event_attr old;
	uint64_t config4;
};

_Static_assert(offsetof(struct attr, config4) == 136, "config4 follows PERF_ATTR_SIZE_VER8");

struct line {
	uint64_t config, config1, config2, config3, config4;
	uint64_t period, freq;
	uint64_t exclude;	/* bits: user, kernel, hv, idle, host, guest */
	uint64_t inherit, pinned, precise, watermark, action;
	int64_t cpu, pid;
	uint64_t on;		/* the CPU that the program runs on */
	uint64_t pages;		/* of the AUX area */
	uint64_t overwrite;	/* the AUX area is not drained */
	uint64_t period2;	/* set while the event runs, unless 0 */
	uint64_t filter;	/* set an address filter */
	uint64_t second;	/* open the same event again, and print the error of that */
	uint64_t user;		/* open as a user who is not root */
	uint64_t perfmon;	/* with CAP_PERFMON */
	uint64_t admin;		/* with CAP_SYS_ADMIN */
	uint64_t root;		/* open as root, with the given paranoid */
	int64_t paranoid;	/* perf_event_paranoid while it is opened */
};

static const struct {
	const char *name;
	size_t offset;
} fields[] = {
#define FIELD(name) { #name, offsetof(struct line, name) }
	FIELD(config), FIELD(config1), FIELD(config2), FIELD(config3), FIELD(config4),
	FIELD(period), FIELD(freq), FIELD(exclude), FIELD(inherit), FIELD(pinned), FIELD(precise),
	FIELD(watermark), FIELD(action), FIELD(cpu), FIELD(pid), FIELD(on), FIELD(pages), FIELD(overwrite),
	FIELD(period2), FIELD(filter), FIELD(second), FIELD(user), FIELD(perfmon), FIELD(admin), FIELD(root),
	FIELD(paranoid),
};

/* The buffer of the current event. */
static struct mapped {
	void *page;
	size_t size;
	void *aux;
	size_t aux_size;
} mapped;

static long page_size;
static uint32_t pmu_type;

static void fail(const char *what)
{
	fprintf(stderr, "attrs: %s: %s\n", what, strerror(errno));
	exit(1);
}

static const char *error(long result)
{
	return result < 0 ? strerrorname_np(errno) : "0";
}

static void run_on(unsigned int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		fail("sched_setaffinity");
}

static int open_event(const struct line *line)
{
	struct attr attr = {
		.old = {
			.size = sizeof(attr),
			.type = pmu_type,
			.config = line->config,
			.config1 = line->config1,
			.config2 = line->config2,
			.config3 = line->config3,
			.sample_period = line->period,
			.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
			.disabled = 1,
			.freq = !!line->freq,
			.inherit = !!line->inherit,
			.pinned = !!line->pinned,
			.precise_ip = line->precise,
			.exclude_user = !!(line->exclude & 1),
			.exclude_kernel = !!(line->exclude & 2),
			.exclude_hv = !!(line->exclude & 4),
			.exclude_idle = !!(line->exclude & 8),
			.exclude_host = !!(line->exclude & 16),
			.exclude_guest = !!(line->exclude & 32),
			.aux_watermark = line->watermark,
			.aux_action = line->action,
		},
		.config4 = line->config4,
	};

	return syscall(SYS_perf_event_open, &attr, line->pid, line->cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

/* Lets the event sample a little. */
static void run(int fd, uint64_t period2)
{
	volatile unsigned int sum = 0;

	if (ioctl(fd, PERF_EVENT_IOC_ENABLE, 0))
		fail("enable");
	for (unsigned int n = 0; n < 500; n++)
		sum += n;
	if (period2)
		printf(" %s", error(ioctl(fd, PERF_EVENT_IOC_PERIOD, &period2)));
	else
		printf(" -");
	for (unsigned int n = 0; n < 500; n++)
		sum += n;
	if (ioctl(fd, PERF_EVENT_IOC_DISABLE, 0))
		fail("disable");
}

/* Maps the buffer of an event, with an AUX area of so many pages. Returns the error. */
static const char *map(int fd, uint64_t pages, bool overwrite)
{
	struct perf_event_mmap_page *page;
	const char *result;
	void *aux;

	page = mmap(NULL, 2 * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return error(-1);
	page->aux_offset = 2 * page_size;
	page->aux_size = pages * page_size;
	aux = mmap(NULL, page->aux_size, overwrite ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		   page->aux_offset);
	result = error(aux == MAP_FAILED ? -1 : 0);
	mapped = (struct mapped){ page, 2 * page_size, aux, pages * page_size };
	return result;
}

static void unmap(void)
{
	if (mapped.aux && mapped.aux != MAP_FAILED)
		munmap(mapped.aux, mapped.aux_size);
	if (mapped.page)
		munmap(mapped.page, mapped.size);
	mapped = (struct mapped){ 0 };
}

/* Prints the results of a line without its number. */
static void attempt(const struct line *line)
{
	uint64_t counts[3];
	int fd, second;

	fd = open_event(line);
	printf(" %s", error(fd));
	if (fd < 0) {
		printf(" - - -\n");
		return;
	}
	printf(" %s", line->pages ? map(fd, line->pages, line->overwrite) : "-");
	if (line->second) {
		second = open_event(line);
		printf(" %s", error(second));
		if (second >= 0)
			close(second);
	} else if (line->filter) {
		printf(" %s", error(ioctl(fd, PERF_EVENT_IOC_SET_FILTER, "filter 0x1000/0x1000")));
	} else {
		run(fd, line->period2);
	}
	if (read(fd, counts, sizeof(counts)) != sizeof(counts))
		fail("read");
	printf(" %s\n", counts[2] ? "ran" : "idle");
	unmap();
	close(fd);
}

/* Runs an event that samples nothing. It has a buffer, without which its registers would not be written. */
static void mark(unsigned long number)
{
	const struct line line = { .period = MARK + number * 256, .exclude = 3, .pid = -1 };
	int fd = open_event(&line);

	if (fd < 0 || strcmp(map(fd, 2, false), "0") || ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) ||
	    ioctl(fd, PERF_EVENT_IOC_DISABLE, 0))
		fail("the mark");
	unmap();
	close(fd);
}

static void set_paranoid(int64_t level)
{
	int fd = open(PARANOID, O_WRONLY);

	if (fd < 0 || dprintf(fd, "%lld", (long long)level) < 0)
		fail(PARANOID);
	close(fd);
}

/* Becomes a user with the given capabilities only. */
static void become(const struct line *line)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	if (prctl(PR_SET_KEEPCAPS, 1) || setgid(1000) || setuid(1000))
		fail("becoming a user");
	if (line->perfmon)
		data[CAP_PERFMON / 32].permitted |= 1U << CAP_PERFMON % 32;
	if (line->admin)
		data[CAP_SYS_ADMIN / 32].permitted |= 1U << CAP_SYS_ADMIN % 32;
	data[0].effective = data[0].permitted;
	data[1].effective = data[1].permitted;
	if (syscall(SYS_capset, &header, data))
		fail("capset");
}

/* Processes a line in another process, which has rights of its own. */
static void attempt_as(const struct line *line)
{
	int status;
	pid_t child;

	set_paranoid(line->paranoid);
	fflush(stdout);
	child = fork();
	if (child < 0)
		fail("fork");
	if (!child) {
		if (line->user)
			become(line);
		attempt(line);
		fflush(stdout);
		_exit(0);	/* keeps the position of the standard input */
	}
	if (waitpid(child, &status, 0) < 0 || status)
		fail("a child");
	set_paranoid(-1);
}

static struct line parse(char *text, unsigned long *number)
{
	struct line line = { .pid = -1 };
	char *word = strtok(text, " \n");

	*number = word ? strtoul(word, NULL, 0) : 0;
	while ((word = strtok(NULL, " \n"))) {
		char *value = strchr(word, '=');
		size_t n = 0;

		if (!value)
			fail(word);
		*value++ = 0;
		while (n < sizeof(fields) / sizeof(*fields) && strcmp(fields[n].name, word))
			n++;
		if (n == sizeof(fields) / sizeof(*fields)) {
			fprintf(stderr, "attrs: unknown field %s\n", word);
			exit(2);
		}
		/* All fields are 64 bits wide. */
		*(uint64_t *)((char *)&line + fields[n].offset) =
			*value == '-' ? (uint64_t)strtoll(value, NULL, 0) : strtoull(value, NULL, 0);
	}
	return line;
}

int main(void)
{
	FILE *file = fopen(PMU "type", "r");
	char text[1000];

	page_size = sysconf(_SC_PAGESIZE);
	if (!file || fscanf(file, "%u", &pmu_type) != 1)
		fail(PMU "type");
	fclose(file);

	while (fgets(text, sizeof(text), stdin)) {
		unsigned long number;
		struct line line = parse(text, &number);

		run_on(0);
		mark(number);
		printf("%lu", number);
		run_on(line.on);
		if (line.user || line.root)
			attempt_as(&line);
		else
			attempt(&line);
	}
	return 0;
}
