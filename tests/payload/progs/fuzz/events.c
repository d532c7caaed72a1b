// SPDX-License-Identifier: GPL-2.0
/*
 * The events of this process: picks one, opens one in the place of another, closes them.
 */
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fuzz.h"

/*
 * Picks any event, if chance is for it; else one that is open, of this PMU, or has an AUX area, if
 * there is one.
 */
struct event *pick(void)
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

bool any_open(void)
{
	for (unsigned int n = 0; n < EVENTS; n++)
		if (self.events[n].fd >= 0)
			return true;
	return false;
}

/* Picks an event with an AUX area; NULL if there is none. */
struct event *pick_aux(void)
{
	unsigned int first = below(EVENTS);

	for (unsigned int n = 0; n < EVENTS; n++)
		if (self.events[(first + n) % EVENTS].aux)
			return &self.events[(first + n) % EVENTS];
	return NULL;
}

void close_event(struct event *event)
{
	if (event->fd >= 0)
		close(event->fd);
	event->fd = -1;
}

void clear_event(struct event *event)
{
	if (chance(50))
		close_event(event);
	unmap_second(event);
	unmap_ring(event);
	close_event(event);
	*event = (struct event){ .fd = -1 };
}

/* Chooses the task and the CPU to profile. Returns the errors that there is a cause for. */
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

/* Chooses the event that the new one replaces: mostly one that would be in its way. */
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
		change_attr(&attr);
		exact = false;
	}
	if (!attr.old.freq) {
		if (attr.old.type == spe_type)
			attr.old.sample_period = spe_period(attr.old.sample_period);
		else if (counts_time(&attr.old))
			attr.old.sample_period = other_period(attr.old.sample_period);
	}
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
	/* Mostly, what pauses has an event to pause. */
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

	clear_event(slot);
	group = leader ? leader->fd : -1;
	note("%s type %u size %u config %#llx %#llx %#llx %#llx %#llx period %#llx sample %#llx"
	     " read %#llx bits %#lx watermark %u action %#x, pid %d cpu %d group %d flags %#lx",
	     spe ? "spe" : "other", attr.old.type, attr.old.size, attr.old.config,
	     attr.old.config1, attr.old.config2, attr.old.config3,
	     (unsigned long long)attr.config4, attr.old.sample_period, attr.old.sample_type,
	     attr.old.read_format, ((uint64_t *)&attr)[5], attr.old.aux_watermark,
	     attr.old.aux_action, pid, cpu, group, flags);
	fd = syscall(SYS_perf_event_open, &passed, pid, cpu, group, flags);
	if (!ended(fd, allowed))
		return;
	count(spe ? &shared->opened_spe : &shared->opened_other, 1);
	count(&shared->opened_live, spe && is_live(&seen));
	if (leader && flags & PERF_FLAG_FD_OUTPUT)
		leader->redirected = true;
	*slot = (struct event){
		.fd = fd, .spe = spe, .live = spe && is_live(&seen), .pid = pid, .cpu = cpu, .sampling = seen.old.sample_period,
		.inherit = seen.old.inherit, .redirected = flags & PERF_FLAG_FD_OUTPUT,
		.shared = seen.old.enable_on_exec,
	};
	if (chance(70))
		map_ring(slot);
	if (spe && chance(90))
		map_aux(slot);
	if (attr.old.disabled && chance(70))
		enable(slot);
}

void do_open_spe(void)
{
	open_event(true);
}

void do_open_other(void)
{
	open_event(false);
}

void do_close(void)
{
	struct event *event = pick();

	note("fd %d", event->fd);
	if (chance(70))
		close_event(event);
	else
		clear_event(event);
	ended(0, E(0));
}
