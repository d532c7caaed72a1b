// SPDX-License-Identifier: GPL-2.0
/*
 * What is done with the file descriptor of an event: ioctl(2), read(2), poll(2), fcntl(2).
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fuzz.h"

void enable(struct event *event)
{
	unsigned long argument = below(2);

	note("fd %d, %lu", event->fd, argument);
	ended(ioctl(event->fd, PERF_EVENT_IOC_ENABLE, argument),
	      E(0) | E(ENODEV) | (event->fd < 0 ? E(EBADF) : 0));
}

void do_enable(void)
{
	enable(pick());
}

void do_disable(void)
{
	struct event *event = pick();
	unsigned long argument = below(2);

	note("fd %d, %lu", event->fd, argument);
	if (ended(ioctl(event->fd, PERF_EVENT_IOC_DISABLE, argument),
		  E(0) | E(ENODEV) | (event->fd < 0 ? E(EBADF) : 0)) && !argument)
		look_while_disabled(event);
}

void do_period(void)
{
	struct event *event = pick();
	uint64_t wanted = chance(50) ? 256ULL << below(7) : odd_number();
	uint64_t period = event->spe ? spe_period(wanted) : other_period(wanted);
	errors allowed = period && !(period >> 63) && event->sampling ? E(0) : E(EINVAL);

	if (event->fd < 0)
		return;
	note("fd %d, %#lx", event->fd, period);
	ended(ioctl(event->fd, PERF_EVENT_IOC_PERIOD, &period),
	      allowed | E(ENODEV) | (event->spe ? 0 : E(EINVAL) | E(0)));
}

void do_set_output(void)
{
	struct event *event = pick(), *other = &self.events[below(EVENTS)];
	int fd = chance(10) ? (int)odd_number() : other->fd;

	if (event->fd < 0)
		return;
	note("fd %d, to %d", event->fd, fd);
	if (ended(ioctl(event->fd, PERF_EVENT_IOC_SET_OUTPUT, fd),
		  E(0) | E(EINVAL) | E(EBADF) | E(ENODEV)))
		event->redirected = other->redirected = true;
}

void do_set_filter(void)
{
	static const char *const filters[] = {
		"filter 0x1000/0x1000", "start 0x400000@/usr/bin/fuzz", "common_pid != 0", "",
		"nonsense(",
	};
	struct event *event = pick();
	const char *filter = filters[below(sizeof(filters) / sizeof(*filters))];

	if (event->fd < 0)
		return;
	note("fd %d, '%s'", event->fd, filter);
	ended(ioctl(event->fd, PERF_EVENT_IOC_SET_FILTER, filter),
	      E(EINVAL) | E(ENODEV) | (event->spe ? 0 : E(0) | E(EEXIST) | E(ENOENT) | E(ENOMEM)));
}

void do_modify(void)
{
	struct event *event = pick();
	struct attr attr = { .old.size = sizeof(attr) };

	make_spe(&attr);
	if (chance(50))
		change_attr(&attr);
	if (event->fd < 0 || attr.old.size > sizeof(attr))
		return;
	note("fd %d", event->fd);
	ended(ioctl(event->fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES, &attr),
	      OPEN_ERRORS | (event->spe ? 0 : E(0)));
}

/* Makes the other requests, and some that do not exist. */
void do_ioctl(void)
{
	struct event *event = pick();
	uint64_t out[64] = { 4 };

	if (event->fd < 0)
		return;
	note("fd %d", event->fd);
	switch (below(7)) {
	case 0:
		ended(ioctl(event->fd, PERF_EVENT_IOC_REFRESH, below(3)),
		      E(0) | E(ENODEV) | (event->inherit || !event->sampling ? E(EINVAL) : 0));
		break;
	case 1:
		ended(ioctl(event->fd, PERF_EVENT_IOC_RESET, below(2)), E(0) | E(ENODEV));
		break;
	case 2:
		ended(ioctl(event->fd, PERF_EVENT_IOC_PAUSE_OUTPUT, below(2)),
		      E(0) | E(EINVAL) | E(ENODEV));
		break;
	case 3:
		ended(ioctl(event->fd, PERF_EVENT_IOC_ID, out), E(0) | E(ENODEV));
		break;
	case 4:
		ended(ioctl(event->fd, PERF_EVENT_IOC_SET_BPF, event->fd),
		      E(EINVAL) | E(EBADF) | E(EOPNOTSUPP) | E(EPERM) | E(ENODEV));
		break;
	case 5:
		ended(ioctl(event->fd, PERF_EVENT_IOC_QUERY_BPF, out),
		      E(0) | E(EINVAL) | E(EOPNOTSUPP) | E(ENOSPC) | E(EPERM) | E(ENODEV));
		break;
	default:
		ended(ioctl(event->fd, _IO('$', 20 + below(200)), odd_number()),
		      E(ENOTTY) | E(ENODEV));
		break;
	}
}

void do_read(void)
{
	struct event *event = pick();
	struct pollfd poll_fd = { .fd = event->fd, .events = POLLIN };
	char counts[1000];

	if (event->fd < 0)
		return;
	note("fd %d", event->fd);
	switch (below(4)) {
	case 0:
		ended(poll(&poll_fd, 1, below(3)), E(0) | E(EINTR));
		break;
	case 1:
		ended(fcntl(event->fd, F_SETFL, O_RDWR | (chance(50) ? O_ASYNC : 0)), E(0));
		break;
	default:
		ended(read(event->fd, counts, chance(70) ? sizeof(counts) : below(64)),
		      E(0) | E(ENOSPC) | E(EINVAL) | E(ENODEV) | E(ECHILD));
		break;
	}
}
