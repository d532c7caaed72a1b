/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the fuzzer share:
 *
 * main.c: rounds and steps, the table of the things that can be done, and what is counted
 * random.c: random numbers, from which all choices are made
 * log.c: the log, and the check of how each call has ended
 * attr.c: the choice of perf_event_attr, and the errors that it has to be refused with
 * events.c: events: opening, picking, closing
 * buffers.c: ring buffers and AUX areas: mapping, reading, checking
 * requests.c: what is done with the file descriptor of an event
 * tasks.c: what tasks and CPUs do beside that
 * sharing.c: another kind of rounds, of tasks that write to one AUX buffer
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <errno.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define EVENTS 6
#define TARGETS 3
#define CPUS 2

/* perf_event_attr.aux_action */
#define AUX_START_PAUSED 1
#define AUX_PAUSE 2
#define AUX_RESUME 4

/* A set of errors; that of 0 is success. */
typedef unsigned __int128 errors;
#define E(error) ((errors)1 << (error))

/* What perf_event_open(2) can end with, for one reason or another. */
#define OPEN_ERRORS (E(E2BIG) | E(EACCES) | E(EBADF) | E(EBUSY) | E(EFAULT) | E(EINTR) | \
		     E(EINVAL) | E(ENODEV) | E(ENOENT) | E(ENOSPC) | E(ENOSYS) | E(EOPNOTSUPP) | \
		     E(EOVERFLOW) | E(EPERM) | E(ESRCH))

/* The attributes of a kernel that is newer than the headers. */
struct attr {
	struct perf_event_attr old;
	uint64_t config4;
};

_Static_assert(offsetof(struct attr, config4) == 136, "config4 follows PERF_ATTR_SIZE_VER8");

/* A field of the PMU, as a file of format/. */
struct field {
	const char *name;
	unsigned int word, low, high;
};

#define FIELDS 10

struct event {
	int fd;			/* -1: none, but what follows may still be mapped */
	bool spe, live, sampling, inherit;
	pid_t pid;
	int cpu;
	bool shared;		/* others may do anything with it, too */
	bool redirected;	/* has, or had, the buffer of another event, or gave one its own */
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
	uint64_t tail, head;	/* what was not read yet at the last look, and its sum */
	uint64_t sum;
};

/* This process. */
struct self {
	unsigned int worker;
	bool child;
	uint64_t round;
	unsigned int step;
	int error;		/* of the thing before */
	enum { TASKS, CPUWIDE, MIXED } mode;
	uint64_t random;
	struct event events[EVENTS];
	pid_t targets[TARGETS];	/* 0: none */
};

/* What can be done. */
struct thing {
	const char *name;
	unsigned int weight;
	void (*run)(void);
};

#define THINGS 32

/* All processes. */
struct shared {
	pthread_barrier_t barrier;
	bool plugging;
	uint64_t tried[THINGS], done[THINGS], ended[128];
	uint64_t opened_spe, opened_live, opened_other, aux_maps, aux_bytes, data_bytes, looks, wrong;
};

/* main.c */
extern struct self self;
extern struct shared *shared;
extern size_t page_size;
extern const struct thing *thing;	/* that is being done */
extern unsigned int thing_number;

void step(void);

/* random.c */
uint64_t mix(uint64_t value);
uint64_t any(void);
uint64_t below(uint64_t limit);
bool chance(unsigned int percent);
uint64_t odd_number(void);

/* log.c */
extern int log_fd;

void fail(const char *what);
void count(uint64_t *counter, uint64_t more);
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool ended(long result, errors allowed);

/* attr.c */
extern uint32_t spe_type;
extern uint64_t supported;		/* bits of PMSEVFR_EL1 */
extern const struct field fields[];
extern bool published[FIELDS];
extern uint64_t tracepoints[3];
extern uint64_t live_records;
extern uint64_t least_period;

uint64_t spe_period(uint64_t period);
uint64_t other_period(uint64_t period);
bool counts_time(const struct perf_event_attr *attr);
void make_spe(struct attr *attr);
void make_other(struct attr *attr);
void change_attr(struct attr *attr);
bool is_live(const struct attr *attr);
errors refusals(const struct attr *attr);

/* events.c */
struct event *pick(void);
struct event *pick_aux(void);
bool any_open(void);
void clear_event(struct event *event);
void close_event(struct event *event);
void do_open_spe(void);
void do_open_other(void);
void do_close(void);

/* buffers.c */
void look(struct event *event);
void look_while_disabled(struct event *event);
void map_ring(struct event *event);
void map_aux(struct event *event);
void unmap_ring(struct event *event);
void unmap_second(struct event *event);
void do_map(void);
void do_map_second(void);
void do_unmap(void);
void do_unmap_part(void);
void do_protect(void);
void do_tail(void);
void do_data_tail(void);
void do_scribble(void);
void do_look(void);

/* requests.c */
void enable(struct event *event);
void do_enable(void);
void do_disable(void);
void do_period(void);
void do_set_output(void);
void do_set_filter(void);
void do_modify(void);
void do_ioctl(void);
void do_read(void);

/* tasks.c */
void work(unsigned int turns);
void run_on(pid_t pid, uint64_t mask);
void ignore_signal(int signal);
void target(unsigned int kind);
void end_target(pid_t *pid);
void online(void);
void do_work(void);
void do_target(void);
void do_kill(void);
void do_affinity(void);
void do_prctl(void);
void do_fork(void);
void do_plug(void);

/* sharing.c */
_Noreturn void family(char **numbers);
void share_rounds(uint64_t seed, uint64_t start, uint64_t rounds);

#endif
