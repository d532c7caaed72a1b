// SPDX-License-Identifier: GPL-2.0
/*
 * Makes one allocation on a path through the driver fail: the first one, in the next attempt the second,
 * and so on, until an attempt ends without a failure (/proc/thread-self/fail-nth). After each attempt
 * everything that the driver adds to has to be as it was.
 *
 * nth load FILE: a module.
 * nth unload FILE
 * nth probe FILE DEVICE: a device, by the module, which does not probe it when it is loaded.
 * nth open CPU: an event of that CPU; -1: of this task.
 * nth open-live CPU: a live event, which is the first of the device.
 * nth fork: with an event that the child inherits.
 * nth map PAGES [overwrite]: the AUX area of an event.
 * nth read FILE
 * nth plug CPU 0|1: the CPU goes offline or comes online.
 *
 * Prints the number of allocations that have failed (sites), and the number of attempts that then ended
 * with each error, or with success: lines of a name and a value.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MODULE "arm_spe_pmu"
#define PMUS "/sys/bus/event_source/devices"
#define DATA_PAGES 2
#define LIVE (1ULL << 63)
#define ERRORS 150	/* above all errors */

static char **arguments;

static void fail(const char *what)
{
	fprintf(stderr, "nth: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_file(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		fail(path);
	return fd;
}

/* Traces of the driver */

/* Notes the names in a directory, or the lines of a file, that name the driver. */
static void note(FILE *notes, const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	char line[1024];
	FILE *file;

	if (directory) {
		while ((entry = readdir(directory)))
			if (strstr(entry->d_name, "arm_spe"))
				fprintf(notes, "%s/%s\n", path, entry->d_name);
		closedir(directory);
		return;
	}
	file = fopen(path, "r");
	if (!file)
		fail(path);
	while (fgets(line, sizeof(line), file))
		if (strstr(line, "arm_spe"))
			fprintf(notes, "%s: %s", path, line);
	fclose(file);
}

/* Notes a number, or a list of them, in a file that need not be there. */
static void note_value(FILE *notes, const char *path)
{
	FILE *file = fopen(path, "r");
	char value[64];

	if (!file)
		return;
	if (fscanf(file, "%63s", value) == 1)
		fprintf(notes, "%s: %s\n", path, value);
	fclose(file);
}

/* The size of the AUX area on the path "map". */
static size_t aux_size;

/* Notes the driver's mappings, which kmemleak does not check. */
static void note_mappings(FILE *notes)
{
	FILE *file = fopen("/proc/vmallocinfo", "r");
	unsigned int count = 0;
	char line[1024];

	if (!file)
		fail("vmallocinfo");
	while (fgets(line, sizeof(line), file))
		count += strstr(line, "arm_spe") != NULL;
	fclose(file);
	fprintf(notes, "mappings: %u\n", count);
}

static char *look(void)
{
	char *text;
	size_t size;
	FILE *notes = open_memstream(&text, &size);

	if (!notes)
		fail("open_memstream");
	note(notes, PMUS);
	note(notes, "/sys/bus/platform/drivers");
	note(notes, "/sys/kernel/debug");
	note(notes, "/sys/module");
	note(notes, "/sys/devices/system/cpu/hotplug/states");
	note(notes, "/proc/interrupts");
	note_value(notes, "/sys/module/" MODULE "/refcnt");
	note_value(notes, "/sys/devices/system/cpu/online");
	if (aux_size)
		note_mappings(notes);
	fclose(notes);
	return text;
}

/* The paths */

static int file;

static void prepare_module(void)
{
	file = open_file(arguments[0], O_RDONLY);
}

static int load(void)
{
	return syscall(SYS_finit_module, file, "", 0) ? errno : 0;
}

static int unload(void)
{
	return syscall(SYS_delete_module, MODULE, O_NONBLOCK) ? errno : 0;
}

static void must(int (*attempt)(void))
{
	errno = attempt();
	if (errno)
		fail("without a fault");
}

static void must_load(void)
{
	must(load);
}

static int undo_load(int error)
{
	if (!error)
		must(unload);
	return error;
}

static int probe_file;

static void prepare_probe(void)
{
	prepare_module();
	must_load();
	probe_file = open_file("/sys/bus/platform/drivers_probe", O_WRONLY);
}

/* The result does not depend on whether the driver has accepted the device. */
static int probe(void)
{
	return write(probe_file, arguments[1], strlen(arguments[1])) < 0 ? errno : 0;
}

/* Finds the file with the type of the PMU, if there is one. Its number may change. */
static bool find_pmu(char path[static 512])
{
	DIR *directory = opendir(PMUS);
	struct dirent *entry;
	bool found = false;

	if (!directory)
		fail(PMUS);
	while (!found && (entry = readdir(directory))) {
		found = !strncmp(entry->d_name, "arm_spe", strlen("arm_spe"));
		snprintf(path, 512, PMUS "/%s/type", entry->d_name);
	}
	closedir(directory);
	return found;
}

static int undo_probe(int error)
{
	char path[512];

	if (error || !find_pmu(path))
		return error ? error : ENODEV;
	/* The only way to make the driver release a device. */
	must(unload);
	must(load);
	return 0;
}

static uint32_t pmu_type(void)
{
	char path[512];
	uint32_t type;
	FILE *file;

	file = find_pmu(path) ? fopen(path, "r") : NULL;
	if (!file || fscanf(file, "%u", &type) != 1)
		fail("the type of the PMU");
	fclose(file);
	return type;
}

static struct perf_event_attr attr = { .size = sizeof(attr), .sample_period = 1024, .disabled = 1 };
static int cpu = -1;
static int event;

static void prepare_open(void)
{
	attr.type = pmu_type();
	cpu = atoi(arguments[0]);
}

static void prepare_live(void)
{
	prepare_open();
	attr.config = LIVE;
}

static int open_event(void)
{
	event = syscall(SYS_perf_event_open, &attr, cpu < 0 ? 0 : -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	return event < 0 ? errno : 0;
}

static int close_event(int error)
{
	if (!error && close(event))
		fail("close");
	return error;
}

static pid_t child;

static void open_inherited(void)
{
	attr.type = pmu_type();
	attr.inherit = 1;
	must(open_event);
}

static int do_fork(void)
{
	child = fork();
	if (!child)
		_exit(0);
	return child < 0 ? errno : 0;
}

static int wait_for_child(int error)
{
	int status;

	if (!error && (waitpid(child, &status, 0) != child || status))
		fail("the child");
	return error;
}

static void *aux;
static off_t aux_offset;
static int protection = PROT_READ | PROT_WRITE;

static void prepare_map(void)
{
	size_t page_size = sysconf(_SC_PAGESIZE);
	size_t data_size = (1 + DATA_PAGES) * page_size;
	struct perf_event_mmap_page *page;

	attr.type = pmu_type();
	must(open_event);
	page = mmap(NULL, data_size, PROT_READ | PROT_WRITE, MAP_SHARED, event, 0);
	if (page == MAP_FAILED)
		fail("mmap");
	aux_offset = page->aux_offset = data_size;
	aux_size = page->aux_size = strtoul(arguments[0], NULL, 0) * page_size;
	/* A read-only mapping is overwritten. */
	if (arguments[1])
		protection = PROT_READ;
}

static int map_aux(void)
{
	aux = mmap(NULL, aux_size, protection, MAP_SHARED, event, aux_offset);
	return aux == MAP_FAILED ? errno : 0;
}

static int unmap_aux(int error)
{
	if (!error && munmap(aux, aux_size))
		fail("munmap");
	return error;
}

static char wanted[1 << 16], found[1 << 16];

static int read_file(void)
{
	size_t size = 0;
	ssize_t got = -1;
	int error = 0;
	int fd;

	fd = open(arguments[0], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	do {
		got = read(fd, found + size, sizeof(found) - 1 - size);
		if (got < 0)
			error = errno;
		else
			size += got;
	} while (got > 0);
	found[size] = '\0';
	close(fd);
	return error;
}

static void prepare_read(void)
{
	must(read_file);
	memcpy(wanted, found, sizeof(found));
}

static int compare(int error)
{
	if (!error && strcmp(found, wanted))
		fail(found);
	return error;
}

static void prepare_plug(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%s/online", arguments[0]);
	file = open_file(path, O_RDWR);
}

static int plug(void)
{
	return write(file, arguments[1], 1) < 0 ? errno : 0;
}

static int unplug(int error)
{
	const char *back = *arguments[1] == '0' ? "1" : "0";

	if (!error && write(file, back, 1) < 0)
		fail("back");
	return error;
}

static const struct path {
	const char *name;
	int arguments;
	/* Runs once, before the others. */
	void (*prepare)(void);
	/* Runs before each attempt. */
	void (*begin)(void);
	/* Returns 0 or an error. */
	int (*attempt)(void);
	/* Undoes the attempt, given its result. Returns the result. */
	int (*undo)(int error);
} paths[] = {
	{ "load", 1, prepare_module, NULL, load, undo_load },
	{ "unload", 1, prepare_module, must_load, unload, NULL },
	{ "probe", 2, prepare_probe, NULL, probe, undo_probe },
	{ "open", 1, prepare_open, NULL, open_event, close_event },
	{ "open-live", 1, prepare_live, NULL, open_event, close_event },
	{ "fork", 0, NULL, open_inherited, do_fork, wait_for_child },
	{ "map", 1, prepare_map, NULL, map_aux, unmap_aux },
	{ "read", 1, prepare_read, NULL, read_file, compare },
	{ "plug", 2, prepare_plug, NULL, plug, unplug },
};

/* Makes the nth allocation fail. */
static void arm(int fail_nth, unsigned int nth)
{
	char value[16];

	snprintf(value, sizeof(value), "%u", nth);
	if (pwrite(fail_nth, value, strlen(value), 0) < 0)
		fail("fail-nth");
}

/* Makes no allocation fail any more. Returns whether one has. */
static bool disarm(int fail_nth)
{
	char value[16] = "";

	if (pread(fail_nth, value, sizeof(value) - 1, 0) <= 0)
		fail("fail-nth");
	arm(fail_nth, 0);
	return !atoi(value);
}

/* The end of an attempt. */
struct end {
	int error;
	bool failed;
};

/* Makes an attempt in a new task, without anything that an earlier attempt has left in a task. */
static struct end attempt(const struct path *path, unsigned int nth)
{
	static struct end *end;
	int status;
	pid_t pid;

	if (!end)
		end = mmap(NULL, sizeof(*end), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (end == MAP_FAILED)
		fail("mmap");
	pid = fork();
	if (!pid) {
		int fd = open_file("/proc/thread-self/fail-nth", O_RDWR);

		if (path->begin)
			path->begin();
		arm(fd, nth);
		end->error = path->attempt();
		end->failed = disarm(fd);
		if (path->undo)
			end->error = path->undo(end->error);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		fail("fork");
	if (status) {
		fprintf(stderr, "nth: %u: wait status %#x\n", nth, status);
		exit(1);
	}
	return *end;
}

static void exhaust(const struct path *path)
{
	unsigned int ended[ERRORS] = { 0 };
	unsigned int nth = 0;
	struct end end;
	char *before;
	char *after;

	if (path->prepare)
		path->prepare();
	before = look();
	do {
		end = attempt(path, ++nth);
		after = look();
		if (strcmp(before, after)) {
			fprintf(stderr, "nth: %u (%s): before:\n%safter:\n%s", nth, strerror(end.error), before, after);
			exit(1);
		}
		free(after);
		if (end.failed)
			ended[end.error]++;
	} while (end.failed);

	errno = end.error;
	if (errno)
		fail("the attempt in which no allocation failed");
	printf("sites %u\n", nth - 1);
	for (int error = 0; error < ERRORS; error++)
		if (ended[error])
			printf("%s %u\n", error ? strerrorname_np(error) : "success", ended[error]);
}

int main(int argc, char **argv)
{
	for (size_t n = 0; argc > 1 && n < sizeof(paths) / sizeof(*paths); n++) {
		if (!strcmp(argv[1], paths[n].name) && argc >= 2 + paths[n].arguments) {
			arguments = argv + 2;
			exhaust(&paths[n]);
			return 0;
		}
	}
	fprintf(stderr, "usage: nth PATH [ARGUMENT...]\n");
	return 2;
}
