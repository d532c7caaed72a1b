// SPDX-License-Identifier: GPL-2.0
/*
 * storm SEED MODULE: a round of concurrent changes of SPE events, CPUs, the machine and the driver.
 *
 * In most rounds some tasks record, each in a mode of its own, which depends on SEED so that a few rounds in a
 * row have all of them: itself, a CPU or all CPUs; as a snapshot, in a group, with its children, paused and
 * resumed by counters, discarding, or live. They migrate, stop and start, and read late, while CPUs go off- and online,
 * and the machine is suspended to idle if its second serial port can wake it. In the other rounds MODULE is
 * unloaded and loaded, or bound to its device later, while tasks open events and record a little.
 *
 * Afterwards each CPU has to record, and each byte that the driver counted has to have been received, except
 * those in the buffers of tasks that ended like killed ones. The received trace is checked: records, one after
 * the other. SEED decides each choice; the results depend on the machine. Prints what was done, as lines of a
 * name and a number.
 */
#include <fcntl.h>
#include <glob.h>
#include <libgen.h>
#include <linux/module.h>
#include <sys/wait.h>
#include <termios.h>

#include "spe_group.h"

#define COUNTERS "/sys/kernel/debug/arm_spe_0/cpu*"
#define DEVICES "/sys/bus/platform/devices/"
#define DRIVER "/sys/bus/platform/drivers/arm_spe_pmu/"
#define WAKER "/dev/ttyAMA1"

/* perf_event_attr.config */
#define DISCARD (1ULL << 35)
#define LIVE (1ULL << 63)

#define MAX_CPUS 16
#define MAX_RECORDERS 4
#define OPENERS 3
#define RELOADS 48

/* The names of the counts. */
#define COUNTS(X) \
	X(hotplugs) X(moves) X(suspends) X(suspends_refused) X(loads) X(binds) X(unloads_refused) X(opens) X(opens_refused) \
	X(one_task) X(one_cpu) X(all_cpus) X(plain) X(snapshot) X(group) X(inherit) X(paused) X(discard) X(live) \
	X(forks) X(switches) X(abandoned) X(aux_records) X(bytes_received) X(bytes_abandoned) X(bytes_excused) X(bytes_driver) \
	X(truncated) X(partial) X(collision) X(lost) X(wrong) X(transitions) X(mismatches)

enum count {
#define X(name) name,
	COUNTS(X)
#undef X
	NR_COUNTS
};

static const char *const names[] = {
#define X(name) #name,
	COUNTS(X)
#undef X
};

/* Shared by all processes. */
static struct {
	uint64_t counts[NR_COUNTS];
	bool stop;
} *shared;

/* A buffer, the SPE event that writes to it, and the others in its group. */
struct stream {
	int cpu;
	int spe;
	int others[2];
	struct perf_event_mmap_page *page;
	unsigned char *aux;
	size_t aux_size;
	bool snapshot;
	bool live;
	/* The place up to which its trace was checked. */
	uint64_t end;
};

static uint64_t random_state;
static int nr_cpus;
static uint32_t type;
/* Whether tasks are recorded, and not CPUs. */
static bool round_per_task;
/* The transitions that the loaded driver had counted before. */
static uint64_t old_transitions;

static void seed(uint64_t value)
{
	random_state = (value + 1) * 0x9e3779b97f4a7c15 | 1;
}

/* Returns a number below limit (xorshift64). */
static uint64_t below(uint64_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 16) % limit;
}

static void count(enum count what, uint64_t n)
{
	__atomic_fetch_add(&shared->counts[what], n, __ATOMIC_RELAXED);
}

static bool stopped(void)
{
	return __atomic_load_n(&shared->stop, __ATOMIC_RELAXED);
}

/* Executes code to sample, with system calls and page faults. */
static void work(uint64_t rounds)
{
	volatile uint64_t sum = 0;

	while (rounds--) {
		for (int n = 0; n < 3000; n++)
			sum += n;
		volatile char *fault = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (fault != MAP_FAILED) {
			*fault = 1;
			munmap((void *)fault, page_size());
		}
	}
}

/* Sets the affinity to a CPU, or to all of them. It does not change if none of them is online. */
static void move(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	for (int n = 0; n < nr_cpus; n++) {
		if (cpu < 0 || cpu == n)
			CPU_SET(n, &cpus);
	}
	if (!sched_setaffinity(0, sizeof(cpus), &cpus))
		count(moves, 1);
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), error;
	bool written;

	if (fd < 0)
		return false;
	written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	error = errno;
	close(fd);
	errno = error;
	return written;
}

static bool set_online(int cpu, bool online)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	return write_file(path, online ? "1" : "0");
}

/* Returns a counter of the driver, summed over the CPUs; 0 if it has none. */
static uint64_t driver_count(const char *wanted)
{
	uint64_t sum = 0, value;
	char name[64];
	glob_t files;

	if (glob(COUNTERS, 0, NULL, &files))
		return 0;
	for (size_t n = 0; n < files.gl_pathc; n++) {
		FILE *file = fopen(files.gl_pathv[n], "r");

		while (file && fscanf(file, "%63s %lu", name, &value) == 2)
			sum += strcmp(name, wanted) ? 0 : value;
		if (file)
			fclose(file);
	}
	globfree(&files);
	return sum;
}

static bool driver_counts(void)
{
	glob_t files;
	bool found = !glob(COUNTERS, 0, NULL, &files);

	if (found)
		globfree(&files);
	return found;
}

/* Opens an event, which may be refused because of another one. */
static int try_open(struct perf_event_attr *attr, pid_t pid, int cpu, int group)
{
	int fd;

	attr->size = sizeof(*attr);
	fd = syscall(SYS_perf_event_open, attr, pid, cpu, group, PERF_FLAG_FD_CLOEXEC);
	count(fd < 0 ? opens_refused : opens, 1);
	return fd;
}

static void close_stream(struct stream *stream)
{
	if (stream->aux)
		munmap(stream->aux, stream->aux_size);
	if (stream->page)
		munmap(stream->page, (1 + DATA_PAGES) * page_size());
	for (int n = 0; n < 2; n++) {
		if (stream->others[n] >= 0)
			close(stream->others[n]);
	}
	if (stream->spe >= 0)
		close(stream->spe);
}

/* Opens the events and the buffer of a stream. Returns false, with all closed, if one is refused. */
static bool open_stream(struct stream *stream, enum count scope, enum count mode, int cpu)
{
	struct perf_event_attr spe = {
		.type = type, .disabled = 1, .exclude_hv = 1, .sample_period = 2048 << below(4),
		.config = mode == discard ? DISCARD : mode == live ? LIVE : 0, .inherit = mode == inherit,
		/* Interrupts must not take all the time. */
		.aux_watermark = below(2) ? 256 << below(6) : 0,
		.aux_action = mode == paused ? AUX_START_PAUSED : 0,
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
	};
	struct perf_event_attr cycles = { .type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_CPU_CYCLES };
	pid_t pid = scope == one_task ? 0 : -1;
	bool leads = mode == group && below(2);

	*stream = (struct stream){
		.cpu = cpu, .spe = -1, .others = { -1, -1 }, .snapshot = mode == snapshot,
		.live = mode == live,
		.aux_size = page_size() << (1 + below(4)),
	};
	spe.exclude_user = !below(4);
	spe.exclude_kernel = !spe.exclude_user && !below(4);
	if (mode == live) {
		/* A batch, and an interval in the place of a period. */
		spe.config2 = below(3) << 4 * below(2) << 16;
		if (below(2)) {
			spe.config2 |= spe.sample_period << 32;
			spe.sample_period = 0;
		}
	}
	if (mode == group) {
		/* Often enough for perf to throttle it, or no samples. */
		cycles.sample_period = below(2) ? 0 : 100003;
		cycles.disabled = leads;
		if (leads)
			spe.disabled = 0;
	}
	if (leads) {
		stream->others[0] = try_open(&cycles, pid, cpu, -1);
		if (stream->others[0] < 0)
			return false;
	}
	stream->spe = try_open(&spe, pid, cpu, stream->others[0]);
	if (stream->spe < 0)
		goto refused;
	if (mode == group && !leads) {
		stream->others[0] = try_open(&cycles, pid, cpu, stream->spe);
	} else if (mode == paused) {
		cycles.sample_period = 300007 + below(700000);
		cycles.aux_action = AUX_RESUME;
		stream->others[0] = try_open(&cycles, pid, cpu, stream->spe);
		cycles.sample_period = 300007 + below(700000);
		cycles.aux_action = AUX_PAUSE;
		stream->others[1] = try_open(&cycles, pid, cpu, stream->spe);
	}
	stream->page = mmap(NULL, (1 + DATA_PAGES) * page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, stream->spe, 0);
	if (stream->page == MAP_FAILED) {
		stream->page = NULL;
		goto refused;
	}
	if (mode == discard || mode == live)
		goto opened;
	stream->page->aux_offset = (1 + DATA_PAGES) * page_size();
	stream->page->aux_size = stream->aux_size;
	stream->aux = mmap(NULL, stream->aux_size, PROT_READ | (mode == snapshot ? 0 : PROT_WRITE), MAP_SHARED,
			   stream->spe, stream->page->aux_offset);
	if (stream->aux == MAP_FAILED) {
		stream->aux = NULL;
		goto refused;
	}
opened:
	count(scope, 1);
	count(mode, 1);
	return true;
refused:
	close_stream(stream);
	return false;
}

static void switch_stream(const struct stream *stream, bool on)
{
	/* All members of the group, whichever leads it. */
	ioctl(stream->spe, on ? PERF_EVENT_IOC_ENABLE : PERF_EVENT_IOC_DISABLE, PERF_IOC_FLAG_GROUP);
	count(switches, 1);
}

/* Checks trace that perf has reported: records, each of which begins with a byte that is not 0. */
static void look(struct stream *stream, uint64_t from, uint64_t size)
{
	uint64_t bad = from < stream->end || from % RECORD || size % RECORD || size > stream->aux_size;

	for (uint64_t at = from; !bad && at < from + size; at += RECORD)
		bad += !stream->aux[at % stream->aux_size];
	count(wrong, bad);
	stream->end = from + size;
}

/* Reads perf's records and, unless late, sets the tail of the AUX area to its head. */
static void drain(struct stream *stream, bool late)
{
	const unsigned char *data = (unsigned char *)stream->page + stream->page->data_offset;
	uint64_t aux_head = __atomic_load_n(&stream->page->aux_head, __ATOMIC_ACQUIRE);
	uint64_t head = __atomic_load_n(&stream->page->data_head, __ATOMIC_ACQUIRE);
	uint64_t size = stream->page->data_size, tail = stream->page->data_tail;

	while (tail < head) {
		struct {
			struct perf_event_header header;
			uint64_t words[3];
		} record;

		for (size_t n = 0; n < sizeof(record); n++)
			((unsigned char *)&record)[n] = data[(tail + n) % size];
		if (record.header.type == PERF_RECORD_AUX) {
			count(aux_records, 1);
			count(bytes_received, record.words[1]);
			if (stream->aux && !stream->snapshot)
				look(stream, record.words[0], record.words[1]);
			count(truncated, !!(record.words[2] & PERF_AUX_FLAG_TRUNCATED));
			count(partial, !!(record.words[2] & PERF_AUX_FLAG_PARTIAL));
			count(collision, !!(record.words[2] & PERF_AUX_FLAG_COLLISION));
		} else if (record.header.type == PERF_RECORD_LOST) {
			count(lost, record.words[1]);
		}
		tail += record.header.size;
	}
	__atomic_store_n(&stream->page->data_tail, tail, __ATOMIC_RELEASE);
	if (stream->aux && !stream->snapshot && !late)
		__atomic_store_n(&stream->page->aux_tail, aux_head, __ATOMIC_RELEASE);
}

/* Adds the bytes of the records of a live event. */
static void count_records(struct stream *stream)
{
	uint64_t counts[3];

	if (read(stream->spe, counts, sizeof(counts)) != sizeof(counts))
		fail("read");
	count(bytes_received, counts[0] * RECORD);
}

static void finish_stream(struct stream *stream)
{
	switch_stream(stream, false);
	if (stream->live)
		count_records(stream);
	drain(stream, false);
	close_stream(stream);
}

/* Forks a process with a seed of its own. Returns its ID. */
static pid_t spawn(void (*run)(uint64_t), uint64_t argument, uint64_t its_seed)
{
	pid_t child = fork();

	if (child < 0)
		fail("fork");
	if (!child) {
		seed(its_seed);
		run(argument);
		_exit(0);
	}
	return child;
}

static void wait_for(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child || status) {
		fprintf(stderr, "storm: a task ended with status %#x\n", status);
		exit(1);
	}
}

/* Runs in a child that inherits its parent's events. */
static void wander(uint64_t steps)
{
	while (steps--) {
		move(below(nr_cpus));
		work(1 + below(4));
	}
}

static void step(struct stream *streams, int n, enum count mode)
{
	struct stream *stream = &streams[below(n)];

	switch (below(16)) {
	case 0 ... 2:
		move((int)below(nr_cpus + 1) - 1);
		break;
	case 3 ... 5:
		switch_stream(stream, below(3));
		break;
	case 6 ... 8:
		for (int i = 0; i < n; i++)
			drain(&streams[i], !below(4));
		break;
	case 9:
		if (mode == inherit) {
			pid_t child = spawn(wander, 1 + below(4), below(UINT64_MAX));

			count(forks, 1);
			work(below(4));
			wait_for(child);
		}
		break;
	default:
		work(1 + below(8));
	}
}

/* Ends in the middle of sampling, as if killed. Unread trace stays in its buffers, but snapshots and live events are stopped. */
static void give_up(struct stream *streams, int n)
{
	for (int i = 0; i < n; i++) {
		if (streams[i].snapshot || streams[i].live)
			switch_stream(&streams[i], false);
		else if (streams[i].aux)
			count(bytes_excused, streams[i].aux_size);
		if (streams[i].live)
			count_records(&streams[i]);
		drain(&streams[i], true);
	}
	count(abandoned, 1);
	_exit(0);
}

/* Records until the end of the round. */
static void record(uint64_t number)
{
	static const enum count modes[] = { plain, snapshot, group, paused, discard, live, inherit };
	enum count scope = round_per_task ? one_task : number % 2 ? one_cpu : all_cpus;
	/* Only events of tasks are inherited. */
	enum count mode = modes[number % (round_per_task ? 7 : 6)];
	/* If many tasks write to a buffer, it has to be for one CPU. */
	bool everywhere = scope == all_cpus || mode == inherit;
	int first = everywhere ? 0 : scope == one_task ? -1 : (int)below(nr_cpus);
	struct stream streams[MAX_CPUS];
	int n = 0;

	for (int i = 0; i < (everywhere ? nr_cpus : 1); i++)
		n += open_stream(&streams[n], scope, mode, first + i);
	for (int i = 0; i < n; i++)
		switch_stream(&streams[i], true);
	while (!stopped()) {
		if (n)
			step(streams, n, mode);
		else
			work(1);
	}
	if (n && !below(8))
		give_up(streams, n);
	for (int i = 0; i < n; i++)
		finish_stream(&streams[i]);
}

/* Checks that each CPU records. */
static void record_everywhere(void)
{
	for (int n = 0; n < nr_cpus; n++) {
		uint64_t before = shared->counts[bytes_received], times[3];
		struct stream stream;
		int cpu;

		move(n);
		if (!open_stream(&stream, one_task, plain, -1))
			fail("perf_event_open in the calm");
		switch_stream(&stream, true);
		work(64);
		cpu = sched_getcpu();
		if (read(stream.spe, times, sizeof(times)) != sizeof(times))
			fail("read");
		finish_stream(&stream);
		if (shared->counts[bytes_received] == before) {
			fprintf(stderr, "storm: CPU %d records nothing: on CPU %d, enabled for %lu ns, running for %lu ns\n",
				n, cpu, times[1], times[2]);
			exit(1);
		}
	}
	move(-1);
}

static void print_counts(void)
{
	for (int n = 0; n < NR_COUNTS; n++)
		printf("%s %lu\n", names[n], shared->counts[n]);
}

/*
 * Checks that the bytes that the driver has counted were received, except those in the buffers of tasks that gave
 * up. The arguments are the counts from before.
 */
static void account(uint64_t driver, uint64_t received)
{
	if (!driver_counts())
		return;
	driver = driver_count("bytes") - driver;
	received = shared->counts[bytes_received] - received;
	count(bytes_driver, driver);
	count(bytes_abandoned, driver - received);
	if (received <= driver && driver - received <= shared->counts[bytes_excused])
		return;
	fprintf(stderr, "storm: the driver counted %lu bytes, %lu were received, and %lu may be in unread buffers\n", driver,
		received, shared->counts[bytes_excused]);
	print_counts();
	exit(1);
}

static void sleep_until_woken(int waker)
{
	bool slept = write_file("/sys/power/state", "freeze");

	if (!slept && errno != EBUSY)
		fail("/sys/power/state");
	count(slept ? suspends : suspends_refused, 1);
	tcflush(waker, TCIOFLUSH);
}

static void recording_round(uint64_t number, int waker)
{
	uint64_t driver = driver_count("bytes"), received = shared->counts[bytes_received];
	bool online[MAX_CPUS];
	int left = nr_cpus, recorders = 2 + below(MAX_RECORDERS - 1);
	pid_t children[MAX_RECORDERS];

	for (int n = 0; n < nr_cpus; n++)
		online[n] = true;
	shared->stop = false;
	for (int n = 0; n < recorders; n++)
		children[n] = spawn(record, number + n, below(UINT64_MAX));
	for (int n = 4 + below(12); n; n--) {
		int which = below(nr_cpus);

		work(below(32));
		if (waker >= 0 && !below(8)) {
			sleep_until_woken(waker);
			continue;
		}
		if (online[which] && left == 1)
			continue;
		if (!set_online(which, !online[which]))
			fail("a CPU that goes or comes");
		online[which] = !online[which];
		left += online[which] ? 1 : -1;
		count(hotplugs, 1);
	}
	for (int n = 0; n < nr_cpus; n++) {
		if (online[n])
			continue;
		if (!set_online(n, true))
			fail("a CPU that comes");
		count(hotplugs, 1);
	}
	work(32);
	__atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
	for (int n = 0; n < recorders; n++)
		wait_for(children[n]);
	record_everywhere();
	account(driver, received);
}

/* Opens events, records a little and closes them, while the PMU exists. */
static void open_and_close(uint64_t cpu)
{
	static const enum count modes[] = { discard, discard, plain, snapshot };

	while (!stopped()) {
		enum count scope = round_per_task ? one_task : one_cpu;
		FILE *file = fopen(PMU "type", "r");
		struct stream stream;
		bool there = file && fscanf(file, "%u", &type) == 1;

		if (file)
			fclose(file);
		/* To close a live event takes grace periods, in which the driver cannot be unloaded. */
		if (there && open_stream(&stream, scope, below(16) ? modes[below(4)] : live, round_per_task ? -1 : (int)cpu)) {
			switch_stream(&stream, true);
			work(below(3));
			finish_stream(&stream);
		}
		work(below(16));
	}
}

/* Unloads the driver. Returns false if that is refused because of an open event. */
static bool unload(void)
{
	uint64_t passed = driver_count("transitions") - old_transitions, wrong = driver_count("mismatches");

	if (!syscall(SYS_delete_module, "arm_spe_pmu", O_NONBLOCK)) {
		count(transitions, passed);
		count(mismatches, wrong);
		old_transitions = 0;
		return true;
	}
	if (errno != EWOULDBLOCK)
		fail("delete_module");
	count(unloads_refused, 1);
	return false;
}

/* Loads the driver, with its device or without, which is then bound later. */
static void load(const char *module, const char *device)
{
	int fd = open(module, O_RDONLY | O_CLOEXEC);
	bool later = !below(3);
	char path[128];

	snprintf(path, sizeof(path), DEVICES "%s/driver_override", device);
	if (later && !write_file(path, "none"))
		fail(path);
	if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
		fail(module);
	close(fd);
	count(loads, 1);
	if (!later)
		return;
	if (!access(PMU, F_OK)) {
		fprintf(stderr, "storm: bound to a device that is for another driver\n");
		exit(1);
	}
	if (!write_file(path, "\n") || !write_file("/sys/bus/platform/drivers_probe", device))
		fail("binding the driver");
	count(binds, 1);
}

static void reloading_round(const char *module, const char *device)
{
	struct perf_event_attr attr = { .type = type, .disabled = 1, .exclude_hv = 1, .sample_period = PERIOD };
	uint64_t driver, received;
	pid_t children[OPENERS];
	int fd;

	shared->stop = false;
	for (int n = 0; n < OPENERS; n++)
		children[n] = spawn(open_and_close, n % nr_cpus, below(UINT64_MAX));
	for (int n = 1 + below(RELOADS); n;) {
		int gone = below(4) ? -1 : (int)below(nr_cpus);

		if (!unload()) {
			work(below(8));
			continue;
		}
		n--;
		if (gone >= 0 && !set_online(gone, false))
			fail("a CPU that goes");
		load(module, device);
		if (gone >= 0) {
			if (!set_online(gone, true))
				fail("a CPU that comes");
			count(hotplugs, 2);
		}
		if (access(PMU, F_OK))
			fail("the PMU of a loaded driver");
		work(below(32));
	}
	__atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
	for (int n = 0; n < OPENERS; n++)
		wait_for(children[n]);

	/* The type has changed. */
	attr.type = type = pmu_type();
	fd = try_open(&attr, 0, -1, -1);
	if (fd < 0)
		fail("perf_event_open in the calm");
	if (unload()) {
		fprintf(stderr, "storm: unloaded with an event open\n");
		exit(1);
	}
	close(fd);
	driver = driver_count("bytes");
	received = shared->counts[bytes_received];
	record_everywhere();
	account(driver, received);
}

/* Opens the serial port that wakes the machine. Returns -1 if there is none. */
static int open_waker(void)
{
	int fd = open(WAKER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	struct termios raw;

	if (fd < 0)
		return fd;
	/* Without an echo, which close() would wait for. */
	if (tcgetattr(fd, &raw))
		fail(WAKER);
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSANOW, &raw))
		fail(WAKER);
	if (!write_file("/sys/class/tty/ttyAMA1/power/wakeup", "enabled"))
		fail("a serial port that wakes the machine");
	return fd;
}

int main(int argc, char **argv)
{
	uint64_t number;
	glob_t devices;

	if (argc != 3) {
		fprintf(stderr, "usage: storm SEED MODULE\n");
		return 2;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		fail("mmap");
	number = strtoull(argv[1], NULL, 0);
	seed(number);
	nr_cpus = sysconf(_SC_NPROCESSORS_CONF);
	type = pmu_type();
	old_transitions = driver_count("transitions");
	/* The driver can be unbound only by unloading the module. */
	if (nr_cpus > MAX_CPUS || !access(DRIVER "unbind", F_OK) || glob(DRIVER "*spe*", 0, NULL, &devices))
		fail(DRIVER);

	round_per_task = below(2);
	if (below(4))
		recording_round(number, open_waker());
	else
		reloading_round(argv[2], basename(devices.gl_pathv[0]));

	count(transitions, driver_count("transitions") - old_transitions);
	count(mismatches, driver_count("mismatches"));
	print_counts();
	return 0;
}
