// SPDX-License-Identifier: GPL-2.0
/*
 * Events on two CPUs write to one AUX buffer.
 *
 * two_cpus keep BYTES FILE: one buffer, until BYTES were published in it. FILE gets a character for each
 * record in the published data: 1 or 2, the CPU whose work was sampled; k: other code; 0: nothing was
 * written there. That is zero, or the record that was read there before: each has its own timestamp.
 *
 * two_cpus free ROUNDS: in each round a buffer is mapped and, while the CPUs write to it, unmapped. Fails if
 * the memory that is allocated in its place is written to.
 *
 * E is inherited, and removed on exec. It is opened, a child per CPU is forked, then exec: E leaves the
 * context of the task, its children stay in theirs. So the owner of the buffer, which would be refused
 * beside E (PERF_PMU_CAP_EXCLUSIVE), can be opened, and the output of E, and of its children, redirected
 * there.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "spe_group.h"

#define OPERATIONS 256
#define SIZE (64 * page_size())

/* Two operations a turn. */
#define WORK(name) \
	__attribute__((noinline, aligned(64))) static void name(unsigned long turns) \
	{ \
		asm volatile("1: subs %0, %0, #1\n b.ne 1b" : "+r" (turns) :: "cc"); \
	}
WORK(work_1)
WORK(work_2)

/* ts_enable=1 */
static struct perf_event_attr attr = { .config = 1, .sample_period = OPERATIONS, .aux_watermark = 4096 };

/* Each wakeup begins an AUX transaction, each sleep ends one. */
static void child(int cpu, unsigned long turns)
{
	const struct timespec moment = { .tv_nsec = 20000 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_TIMERSLACK, 1);
	run_on(cpu);
	for (;;) {
		if (cpu == 1)
			work_1(turns);
		else
			work_2(turns);
		nanosleep(&moment, NULL);
	}
}

/* Returns the character for a record, by the packets up to its program counter. */
static char whose(const unsigned char *record)
{
	if (!record[0])
		return '0';
	for (int at = 0; at < RECORD - 8;) {
		unsigned char header = record[at];
		uint64_t pc = 0;

		if (!header) {
			at++;
			continue;
		}
		if ((header & 0xfc) == 0x20)
			header = record[++at];
		if (header == 0xb0) {
			memcpy(&pc, record + at + 1, 7);
			if (pc - (uintptr_t)work_1 < 64)
				return '1';
			if (pc - (uintptr_t)work_2 < 64)
				return '2';
			break;
		}
		at += 1 + (1 << (header >> 4 & 3));
	}
	return 'k';
}

static void *make(struct group *owner, int e)
{
	void *aux;

	owner->spe = open_event(&attr, &(struct choice){ .cpu = -1, .kernel = true }, -1);
	map_data(owner);
	owner->page->aux_size = SIZE;
	aux = map(owner->spe, SIZE, owner->page->aux_offset);
	if (ioctl(e, PERF_EVENT_IOC_SET_OUTPUT, owner->spe))
		fail("set output");
	return aux;
}

/* perf stops E when its output changes, but not its children. */
static void take(int e, void *aux)
{
	if (ioctl(e, PERF_EVENT_IOC_SET_OUTPUT, -1L) || munmap(aux, SIZE))
		fail("take");
}

static void unmake(struct group *owner)
{
	munmap(owner->page, (1 + DATA_PAGES) * page_size());
	close(owner->spe);
}

static void end_children(void)
{
	kill(0, SIGTERM);
	while (wait(NULL) > 0)
		;
}

static uint64_t drain(struct group *owner, const unsigned char *aux, unsigned char *trace, uint64_t tail)
{
	/* Padding may end anywhere. */
	uint64_t head = aux_head(owner) / RECORD * RECORD;

	for (; tail < head; tail += RECORD)
		memcpy(trace + tail, aux + tail % SIZE, RECORD);
	set_aux_tail(owner, head);
	return head;
}

static void keep(int e, uint64_t bytes, const char *path)
{
	/* Two transactions in one place publish more bytes than are free. */
	unsigned char *trace = malloc(bytes + 4 * SIZE);
	FILE *file = fopen(path, "w");
	struct group owner = { 0 };
	unsigned char *aux = make(&owner, e);
	uint64_t head = 0;

	if (!trace || !file)
		fail(path);
	for (uint64_t turn = 0; head < bytes; turn++) {
		/* A child whose event found the buffer full waits for this. */
		if (turn % 16 == 0 && ioctl(e, PERF_EVENT_IOC_ENABLE, 0))
			fail("enable");
		head = drain(&owner, aux, trace, head);
	}
	end_children();
	head = drain(&owner, aux, trace, head);
	for (uint64_t at = 0; at < head; at += RECORD) {
		bool old = at >= SIZE && !memcmp(trace + at, trace + at - SIZE, RECORD);

		if (fputc(old ? '0' : whose(trace + at), file) < 0)
			fail(path);
	}
	if (fclose(file))
		fail(path);
}

static void take_away(int e, unsigned long rounds)
{
	for (unsigned long round = 0; round < rounds; round++) {
		struct group owner = { 0 };
		void *aux = make(&owner, e);
		uint64_t *other;

		for (unsigned long turn = 0; turn < 500 * (round % 8 + 1); turn++) {
			set_aux_tail(&owner, aux_head(&owner));
			if (turn % 16 == 0 && ioctl(e, PERF_EVENT_IOC_ENABLE, 0))
				fail("enable");
		}
		take(e, aux);
		other = mmap(NULL, 4 * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (other == MAP_FAILED)
			fail("mmap");
		for (size_t n = 0; n < 4 * SIZE / sizeof(*other); n++)
			if (other[n]) {
				fprintf(stderr, "round %lu: %#llx in new memory\n", round, (unsigned long long)other[n]);
				exit(1);
			}
		munmap(other, 4 * SIZE);
		unmake(&owner);
	}
	end_children();
}

int main(int argc, char **argv)
{
	bool keeps = argc > 3 && !strcmp(argv[1], "keep");
	char fd[20];
	int e;

	attr.type = pmu_type();
	if (getenv("EVENT")) {
		run_on(0);
		e = atoi(getenv("EVENT"));
		signal(SIGTERM, SIG_IGN);
		if (keeps)
			keep(e, strtoull(argv[2], NULL, 0), argv[3]);
		else
			take_away(e, strtoul(argv[2], NULL, 0));
		return 0;
	}
	if (argc < 3)
		return 2;
	if (getpgrp() != getpid() && setpgid(0, 0))
		fail("setpgid");
	attr.remove_on_exec = 1;
	e = open_event(&attr, &(struct choice){ .cpu = -1, .inherit = true, .kernel = true }, -1);
	if (ioctl(e, PERF_EVENT_IOC_ENABLE, 0))
		fail("enable");
	/* A buffer is best unmapped while they work. */
	for (int cpu = 1; cpu <= 2; cpu++)
		if (!fork())
			child(cpu, keeps ? (cpu == 1 ? 40000 : 10000) : 400000);
	sprintf(fd, "%d", e);
	setenv("EVENT", fd, 1);
	execv("/proc/self/exe", argv);
	fail("exec");
	return 1;
}
