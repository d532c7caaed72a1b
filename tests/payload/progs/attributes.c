// SPDX-License-Identifier: GPL-2.0
/*
 * attributes ATTR: opens an event with the struct perf_event_attr ATTR, given as bytes in hex, on a
 * process, which then does everything that an attribute may affect.
 *
 * Prints "open ERROR", 0 or the name of the error. If the event was opened, lines of a name and a number
 * follow. The name of a stage with "own", "others", "user" or "kernel" is the number of its records: of
 * the process, of others, from user space, from the kernel.
 *
 * - opened: after the event was opened
 * - executed: after the process has called execve(2)
 * - enabled: after PERF_EVENT_IOC_ENABLE
 * - forked: the process has a child, which works as well
 * - threaded: the same for a thread
 * - noticed: the process does what perf writes records about to the data area
 *
 * In each stage the process does the same work. In the first three it does nothing else.
 */
#include <linux/bpf.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "spe_group.h"

#undef AUX_PAGES
#undef DATA_PAGES
/* Large: the number of records from the kernel depends on the machine, and the reader is woken at half of it. */
#define AUX_PAGES 1024
#define DATA_PAGES 64
#define ATTR_SIZE 4096

/* The file descriptors for commands to the process and for its answers, also after execve(2). */
#define COMMAND 10
#define ANSWER 11

/* Operations in user space in each stage: about 300 records with a period of 2048. */
#define WORK (300 * 2048)

static pid_t process;
static int event;
static struct perf_event_mmap_page *page;
static unsigned char *aux;
static bool backward;

/* The place up to which the data area was read. */
static uint64_t seen;
static uint64_t types[32];
static uint64_t aux_largest;
static uint64_t aux_record_size;
static uint64_t build_ids;
static uint64_t data_maps;
static uint64_t undecodable;

static struct made {
	uint64_t own;
	uint64_t others;
	uint64_t user;
	uint64_t kernel;
} made;

static void work(void)
{
	volatile uint64_t sum = 0;

	for (unsigned int n = 0; n < WORK / 5; n++)
		sum += n;
}

static void *work_in_thread(void *unused)
{
	work();
	return unused;
}

static void work_in_child(void)
{
	pid_t child = fork();

	if (child < 0)
		fail("fork");
	if (!child) {
		work();
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void load_bpf_program(void)
{
	struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
		.insns = (uintptr_t)code,
		.insn_cnt = 2,
		.license = (uintptr_t)"GPL",
	};
	int fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));

	if (fd < 0)
		fail("BPF_PROG_LOAD");
	close(fd);
}

static void make_cgroup(void)
{
	char directory[] = "/tmp/cgroup.XXXXXX";
	char group[100];
	FILE *control;

	if (!mkdtemp(directory) || mount("none", directory, "cgroup2", 0, NULL))
		fail("cgroup2");
	/* perf is part of new groups as soon as any other controller is. */
	snprintf(group, sizeof(group), "%s/cgroup.subtree_control", directory);
	control = fopen(group, "w");
	if (!control || fputs("+pids", control) < 0 || fclose(control))
		fail(group);
	snprintf(group, sizeof(group), "%s/%d", directory, getpid());
	if (mkdir(group, 0700) || rmdir(group) || umount(directory) || rmdir(directory))
		fail(group);
}

/* Does what perf writes records about to the data area, if the event asks for them. */
static void be_noticed(void)
{
	int self = open("/proc/self/exe", O_RDONLY);

	if (prctl(PR_SET_NAME, "noticed") ||
	    mmap(NULL, page_size(), PROT_READ | PROT_EXEC, MAP_PRIVATE, self, 0) == MAP_FAILED ||
	    mmap(NULL, page_size(), PROT_READ, MAP_PRIVATE, self, 0) == MAP_FAILED ||
	    unshare(CLONE_NEWUTS))
		fail("be_noticed");
	close(self);
	make_cgroup();
	load_bpf_program();
}

/* Executes commands in the profiled process until there are no more. */
static void obey(void)
{
	pthread_t thread;
	char command;

	while (read(COMMAND, &command, 1) == 1) {
		switch (command) {
		case 'x':
			execl("/proc/self/exe", "attributes", NULL);
			fail("execl");
			break;
		case 'f':
			work_in_child();
			break;
		case 't':
			if (pthread_create(&thread, NULL, work_in_thread, NULL) || pthread_join(thread, NULL))
				fail("pthread_create");
			break;
		case 'n':
			be_noticed();
			break;
		}
		work();
		if (write(ANSWER, &command, 1) != 1)
			fail("answering");
	}
	exit(0);
}

/*
 * Sends a command. Both processes have the same CPU, so that the other one is scheduled out when the answer is
 * there, and its event as well. A command to execute itself has no answer.
 */
static void request(char command)
{
	char answer;

	if (write(COMMAND, &command, 1) != 1 || (command != 'x' && read(ANSWER, &answer, 1) != 1))
		fail("the process");
}

static size_t packet_size(const unsigned char *packet)
{
	/* Padding, and the end of a record. */
	if (packet[0] <= 1)
		return 1;
	/* An extended header has two bytes. */
	if ((packet[0] & 0xfc) == 0x20)
		return 2 + (1 << (packet[1] >> 4 & 3));
	return 1 + (1 << (packet[0] >> 4 & 3));
}

static void decode(uint64_t from, uint64_t size)
{
	/* For the next record. */
	uint32_t context = 0;
	unsigned int level = 0;
	bool has_pc = false;
	size_t length;

	for (uint64_t at = from; at < from + size; at += length) {
		unsigned char packet[16];

		for (size_t n = 0; n < sizeof(packet); n++)
			packet[n] = aux[(at + n) % (AUX_PAGES * page_size())];
		length = packet_size(packet);
		if (packet[0] == 0xb0) {
			has_pc = true;
			level = packet[8] >> 5 & 3;
		} else if ((packet[0] & 0xfc) == 0x64) {
			memcpy(&context, packet + 1, sizeof(context));
		} else if (packet[0] == 1 || packet[0] == 0x71) {
			undecodable += !has_pc;
			has_pc = false;
			*(level ? &made.kernel : &made.user) += 1;
			*(context == (uint32_t)process ? &made.own : &made.others) += 1;
			context = 0;
		}
	}
}

static void take(const struct perf_event_header *header)
{
	const uint64_t *words = (const void *)(header + 1);

	types[header->type % 32]++;
	switch (header->type) {
	case PERF_RECORD_AUX:
		aux_record_size = header->size;
		if (words[1] > aux_largest)
			aux_largest = words[1];
		decode(words[0], words[1]);
		break;
	case PERF_RECORD_MMAP:
	case PERF_RECORD_MMAP2:
		data_maps += !!(header->misc & PERF_RECORD_MISC_MMAP_DATA);
		build_ids += !!(header->misc & PERF_RECORD_MISC_MMAP_BUILD_ID);
		break;
	}
}

/* Reads the new records and frees the space in the AUX area. All records fit into the data area. */
static void follow_all(void)
{
	const unsigned char *data = (unsigned char *)page + page->data_offset;
	uint64_t head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
	uint64_t at = backward ? head : seen, end = backward ? seen : head;

	if ((backward ? -head : head) > page->data_size) {
		errno = ENOSPC;
		fail("the data area");
	}
	while (at != end) {
		const struct perf_event_header *header = (const void *)(data + at % page->data_size);

		take(header);
		at += header->size;
	}
	seen = head;
	__atomic_store_n(&page->aux_tail, __atomic_load_n(&page->aux_head, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
}

static void stage(const char *name, char command)
{
	made = (struct made){ 0 };
	aux_largest = 0;
	request(command);
	follow_all();
	printf("%s_own %llu\n%s_others %llu\n%s_user %llu\n%s_kernel %llu\n",
	       name, (unsigned long long)made.own, name, (unsigned long long)made.others,
	       name, (unsigned long long)made.user, name, (unsigned long long)made.kernel);
}

static void start_process(void)
{
	int commands[2], answers[2];

	if (pipe(commands) || pipe(answers))
		fail("pipe");
	process = fork();
	if (process < 0)
		fail("fork");
	if (!process) {
		if (dup2(commands[0], COMMAND) < 0 || dup2(answers[1], ANSWER) < 0)
			fail("dup2");
		close_range(ANSWER + 1, ~0U, 0);
		close_range(3, COMMAND - 1, 0);
		obey();
	}
	if (dup2(commands[1], COMMAND) < 0 || dup2(answers[0], ANSWER) < 0)
		fail("dup2");
	close(commands[0]);
	close(commands[1]);
	close(answers[0]);
	close(answers[1]);
}

static unsigned char *parse(const char *text)
{
	static unsigned char attr[ATTR_SIZE];

	for (size_t n = 0; n < sizeof(attr) && text[2 * n] && text[2 * n + 1]; n++)
		sscanf(text + 2 * n, "%2hhx", attr + n);
	return attr;
}

static long long count_size(void)
{
	uint64_t counts[16];
	ssize_t size = read(event, counts, sizeof(counts));

	return size < 0 ? -errno : size;
}

static void map_buffer(void)
{
	size_t size = (1 + DATA_PAGES) * page_size();

	page = map(event, size, 0);
	page->aux_offset = size;
	page->aux_size = AUX_PAGES * page_size();
	aux = map(event, page->aux_size, size);
}

static void set_enabled(bool enabled)
{
	if (ioctl(event, enabled ? PERF_EVENT_IOC_ENABLE : PERF_EVENT_IOC_DISABLE, 0))
		fail("ioctl");
}

int main(int argc, char **argv)
{
	struct pollfd wakeup = { .events = POLLIN };
	struct perf_event_attr *attr;

	if (argc < 2)
		obey();
	attr = (void *)parse(argv[1]);
	backward = attr->write_backward;
	take_cpu(0);
	start_process();
	event = syscall(SYS_perf_event_open, attr, process, 0, -1, PERF_FLAG_FD_CLOEXEC);
	printf("open %s\n", event < 0 ? strerrorname_np(errno) : "0");
	if (event < 0)
		return 0;
	map_buffer();
	wakeup.fd = event;

	stage("opened", 'w');
	request('x');
	stage("executed", 'w');
	set_enabled(true);
	/* Consumes the wakeup of earlier data. */
	poll(&wakeup, 1, 0);
	stage("enabled", 'w');
	printf("woken %d\n", poll(&wakeup, 1, 0) == 1 && wakeup.revents & POLLIN);
	printf("aux_beyond_page %d\n", aux_largest > page_size());
	printf("count_size %lld\n", count_size());
	stage("forked", 'f');
	stage("threaded", 't');
	stage("noticed", 'n');

	/* Leaves no space: perf keeps one byte free. */
	set_enabled(false);
	__atomic_store_n(&page->aux_tail, page->aux_head + 1 - page->aux_size, __ATOMIC_RELEASE);
	set_enabled(true);
	request('w');
	printf("starved_count_size %lld\n", count_size());

	for (unsigned int n = 1; n < 32; n++)
		printf("type_%u %llu\n", n, (unsigned long long)types[n]);
	printf("aux_record_size %llu\n", (unsigned long long)aux_record_size);
	printf("data_maps %llu\nbuild_ids %llu\n", (unsigned long long)data_maps, (unsigned long long)build_ids);
	printf("backward %d\n", (int64_t)page->data_head < 0);
	printf("undecodable %llu\n", (unsigned long long)undecodable);
	return 0;
}
