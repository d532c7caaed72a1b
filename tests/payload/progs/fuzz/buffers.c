// SPDX-License-Identifier: GPL-2.0
/*
 * The buffers of events: maps and unmaps the ring buffer and the AUX area, moves aux_tail and
 * data_tail, and checks what the AUX area holds.
 */
#include <string.h>
#include <sys/mman.h>

#include "fuzz.h"

#define MMAP_ERRORS (E(EACCES) | E(EAGAIN) | E(EBUSY) | E(EINVAL) | E(ENODEV) | E(ENOMEM) | \
		     E(EOPNOTSUPP) | E(EPERM))

static uint64_t load(const __u64 *where)
{
	return __atomic_load_n(where, __ATOMIC_ACQUIRE);
}

static uint64_t sum_of(const struct event *event, uint64_t from, uint64_t to)
{
	uint64_t sum = 0;

	for (; from < to; from++)
		sum = sum * 31 + event->aux[from & (event->aux_size - 1)];
	return sum;
}

/* Checks that what was not read yet has not changed; goes on with what is not read by now. */
void look(struct event *event)
{
	uint64_t head;

	if (!event->aux || event->circular || event->scribbled)
		return;
	head = load(&event->page->aux_head);
	count(&shared->aux_bytes, head - event->head);
	if (event->trusted) {
		count(&shared->looks, 1);
		if (sum_of(event, event->tail, event->head) != event->sum)
			wrong("unread data between %#lx and %#lx has changed", event->tail,
			      event->head);
		if (head < event->head || head - event->tail > event->aux_size) {
			wrong("aux_head is %#lx, after %#lx, with aux_tail at %#lx", head,
			      event->head, event->tail);
			event->trusted = false;
			return;
		}
		event->sum = sum_of(event, event->tail, head);
	}
	event->head = head;
}

static void set_tail(struct event *event, uint64_t tail)
{
	event->tail = tail;
	__atomic_store_n(&event->page->aux_tail, tail, __ATOMIC_RELEASE);
	event->sum = event->trusted ? sum_of(event, tail, event->head) : 0;
}

/*
 * Checks an event that was disabled: all that was written is before aux_head, and a next session
 * goes by aux_tail as it is.
 */
void look_while_disabled(struct event *event)
{
	look(event);
	if (!event->aux || event->circular || event->scribbled || event->redirected ||
	    event->shared)
		return;
	for (uint64_t at = event->head; at < event->born + event->aux_size; at++)
		if (event->aux[at & (event->aux_size - 1)]) {
			wrong("there is something at %#lx, behind aux_head at %#lx", at,
			      event->head);
			break;
		}
	if (!event->trusted && event->head - event->tail <= event->aux_size) {
		event->trusted = true;
		event->sum = sum_of(event, event->tail, event->head);
	}
}

static void unmap(void *at, size_t size)
{
	if (munmap(at, size))
		wrong("munmap: %s", strerrorname_np(errno));
}

static void unmap_aux(struct event *event)
{
	look(event);
	if (event->aux)
		unmap(event->aux, event->aux_size);
	event->aux = NULL;
}

void unmap_ring(struct event *event)
{
	/* Without the page, what is in the AUX area is not known. */
	unmap_aux(event);
	if (event->page) {
		if (!event->scribbled)
			count(&shared->data_bytes, load(&event->page->data_head));
		unmap(event->page, event->page_size);
	}
	event->page = NULL;
}

void unmap_second(struct event *event)
{
	if (event->second)
		unmap(event->second, event->second_size);
	event->second = NULL;
}

void map_ring(struct event *event)
{
	size_t size = (1 + (chance(90) ? 1 << below(5) : 0)) * page_size;
	bool clean = event->fd >= 0 && !event->page && !event->second && !event->redirected &&
		     !event->shared && !(event->inherit && event->cpu < 0);
	void *page;

	if (event->page)
		return;
	note("fd %d, %zu bytes", event->fd, size);
	page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, event->fd, 0);
	if (ended(page == MAP_FAILED ? -1 : 0, E(0) | (clean ? 0 : MMAP_ERRORS | E(EBADF)))) {
		event->page = page;
		event->page_size = size;
	}
}

void map_aux(struct event *event)
{
	size_t size = page_size << (chance(90) ? 1 + below(4) : below(10));
	bool circular = chance(20);
	errors allowed;
	void *aux;

	if (!event->page || event->aux)
		return;
	if (!event->spe)
		allowed = MMAP_ERRORS | E(EBADF);
	else if (event->fd < 0 || event->second || event->redirected || event->shared)
		allowed = E(0) | MMAP_ERRORS | E(EBADF);
	else	/* ENOMEM is what perf makes of any refusal. */
		allowed = size >= 2 * page_size && !event->live ? E(0) : E(ENOMEM);
	note("fd %d, %zu bytes%s", event->fd, size, circular ? ", circular" : "");
	event->page->aux_offset = event->page_size;
	event->page->aux_size = size;
	event->born = event->head = load(&event->page->aux_head);
	aux = mmap(NULL, size, circular ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, event->fd,
		   event->page_size);
	if (!ended(aux == MAP_FAILED ? -1 : 0, allowed))
		return;
	event->aux = aux;
	event->aux_size = size;
	event->circular = circular;
	event->tail = event->page->aux_tail;
	/* A session by another mapping that is still there may have had room not known here. */
	event->trusted = !event->second && event->head - event->tail <= size;
	event->sum = event->trusted ? sum_of(event, event->tail, event->head) : 0;
	if (event->second)
		event->redirected = true;
	count(&shared->aux_maps, 1);
}

void do_map(void)
{
	struct event *event = pick();

	if (!event->page)
		map_ring(event);
	else
		map_aux(event);
}

/* Makes another mapping, of the ring, the AUX area or neither, that may or may not make sense. */
void do_map_second(void)
{
	struct event *event = pick();
	size_t size = event->page_size ?: page_size, offset = 0;
	int protection = PROT_READ | (chance(70) ? PROT_WRITE : 0), flags = MAP_SHARED;
	void *second;

	unmap_second(event);
	if (chance(50) && event->page) {
		offset = event->page_size;
		size = event->aux_size;
	}
	if (chance(20))
		size = below(70) * page_size + below(2);
	if (chance(10))
		offset = below(70) * page_size;
	if (chance(10) && event->page && !event->aux)
		event->page->aux_offset = offset, event->page->aux_size = size;
	if (chance(5))
		flags = MAP_PRIVATE;
	if (chance(5))
		protection = below(8);
	note("fd %d, %zu bytes at %#zx, protection %d, flags %d", event->fd, size, offset,
	     protection, flags);
	second = mmap(NULL, size, protection, flags, event->fd, offset);
	if (ended(second == MAP_FAILED ? -1 : 0, E(0) | MMAP_ERRORS | E(EBADF) | E(EOVERFLOW))) {
		event->second = second;
		event->second_size = size;
	}
}

void do_unmap(void)
{
	struct event *event = &self.events[below(EVENTS)];
	unsigned int what = below(6);

	note("fd %d, %s", event->fd, what == 0 ? "ring" : what == 1 ? "second" : "aux");
	if (what == 0)
		unmap_ring(event);
	else if (what == 1)
		unmap_second(event);
	else
		unmap_aux(event);
	ended(0, E(0));
}

/*
 * Unmaps a part of a mapping, which perf refuses: user space could make the kernel write to freed
 * pages that way.
 */
void do_unmap_part(void)
{
	struct event *event = pick_aux();
	bool ring = chance(30);
	size_t pages, from, size;
	char *at;

	if (!event)
		return;
	at = ring ? (char *)event->page : (char *)event->aux;
	pages = (ring ? event->page_size : event->aux_size) / page_size;
	if (pages < 2)
		return;
	from = below(pages);
	size = from ? 1 + below(pages - from) : 1 + below(pages - 1);
	note("fd %d, %s, %zu pages from %zu on", event->fd, ring ? "ring" : "aux", size, from);
	ended(munmap(at + from * page_size, size * page_size), E(EINVAL));
}

void do_protect(void)
{
	struct event *event = pick_aux();

	if (!event)
		return;
	note("fd %d", event->fd);
	ended(mprotect(event->aux, event->aux_size, PROT_NONE), E(0));
	ended(mprotect(event->aux, event->aux_size,
		       PROT_READ | (event->circular ? 0 : PROT_WRITE)), E(0));
}

/* Moves aux_tail: how far user space says that it has read. */
void do_tail(void)
{
	struct event *event = pick_aux();
	uint64_t tail;

	if (!event)
		return;
	look(event);
	tail = event->tail;
	switch (below(10)) {
	case 0 ... 4:	/* all of it */
		tail = event->head;
		break;
	case 5:		/* a few bytes */
		tail += below(200);
		break;
	case 6:		/* so that little is free */
		tail = event->head + 1 + below(200) - event->aux_size;
		break;
	case 7:		/* about half */
		tail = event->head - event->aux_size / 2 + below(100);
		break;
	case 8:		/* nonsense, not far away */
		tail = event->head - event->aux_size + below(3 * event->aux_size);
		break;
	case 9:		/* nonsense */
		tail = odd_number();
		break;
	}
	/* The rules: forward, and not over the head. */
	event->trusted &= tail - event->tail <= event->head - event->tail;
	note("fd %d, %#lx, head %#lx%s", event->fd, tail, event->head,
	     event->trusted ? "" : ", against the rules");
	set_tail(event, tail);
	ended(0, E(0));
}

void do_data_tail(void)
{
	struct event *event = &self.events[below(EVENTS)];

	if (!event->page)
		return;
	note("fd %d", event->fd);
	event->page->data_tail = chance(80) ? load(&event->page->data_head) : odd_number();
	ended(0, E(0));
}

/* Overwrites a word of the first page, all of which user space may write. */
void do_scribble(void)
{
	struct event *event = &self.events[below(EVENTS)];
	unsigned int at = chance(50) ?
			  offsetof(struct perf_event_mmap_page, data_head) / 8 + below(8) :
			  below(page_size / 8);

	if (!event->page)
		return;
	note("fd %d, word %u", event->fd, at);
	event->scribbled = true;
	((uint64_t *)event->page)[at] = odd_number();
	ended(0, E(0));
}

void do_look(void)
{
	struct event *event = pick_aux();

	if (!event)
		return;
	note("fd %d", event->fd);
	look(event);
	ended(0, E(0));
}
