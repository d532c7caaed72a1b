// SPDX-License-Identifier: GPL-2.0
/*
 * Changes of an event, its buffer and its task while they are in use.
 *
 * lifetime no-buffer: the group is enabled before an AUX area is mapped, and again after that.
 * lifetime unmap: the AUX area is unmapped in the middle of sampling, and mapped again.
 * lifetime close: all is closed in the middle of sampling, and another group is opened.
 * lifetime exit: the task exits in the middle of sampling.
 * lifetime migrate: the task migrates between CPUs.
 * lifetime inherit: the task forks, and its children are sampled, too.
 */
#include <sys/wait.h>

#include "spe_group.h"

#define MOVES 40
#define CHILDREN 8

static const struct choice this_task = { .cpu = -1 };

static void finish(struct group *group)
{
	struct trace trace = { 0 };

	disable(group);
	follow_to_head(group, &trace);
	print_group("", group);
	print_trace("", &trace);
}

static void no_buffer(void)
{
	struct group group = open_group(&this_task);

	enable(&group);
	work_for(aux_size());
	disable(&group);
	print_group("first_", &group);

	map_data(&group);
	map_aux(&group);
	enable(&group);
	work_for(page_size());
	finish(&group);
}

static void unmap(void)
{
	struct group group = open_group(&this_task);
	struct trace trace = { 0 };

	map_data(&group);
	map_aux(&group);
	enable(&group);
	work_for(page_size());
	if (munmap(group.aux, aux_size()))
		fail("munmap");
	work_for(page_size());
	disable(&group);
	print_group("first_", &group);

	/* The indices go on. The first area cannot be read any more. */
	map_aux(&group);
	trace.at = group.page->data_head;
	trace.end = aux_head(&group);
	set_aux_tail(&group, trace.end);
	enable(&group);
	work_for(page_size());
	disable(&group);
	follow_to_head(&group, &trace);
	print_group("", &group);
	print_trace("", &trace);
}

static void closed(void)
{
	struct group group = open_group(&this_task);

	map_data(&group);
	map_aux(&group);
	enable(&group);
	work_for(page_size());
	if (close(group.spe) || close(group.cycles))
		fail("close");
	/* Each mapping holds a reference to the event. */
	if (munmap(group.page, (1 + DATA_PAGES) * page_size()) || munmap(group.aux, aux_size()))
		fail("munmap");
	work_for(page_size());

	group = open_group(&this_task);
	map_data(&group);
	map_aux(&group);
	enable(&group);
	work_for(page_size());
	finish(&group);
}

static void wait_for_child(void)
{
	int status;

	if (wait(&status) < 0 || status)
		fail("wait");
}

static void exited(void)
{
	struct choice choice = { .cpu = -1 };
	struct group group;
	int go[2];
	char byte;

	if (pipe(go))
		fail("pipe");
	choice.pid = fork();
	if (choice.pid < 0)
		fail("fork");
	if (!choice.pid) {
		if (read(go[0], &byte, 1) != 1)
			fail("read");
		work_for(page_size());
		_exit(0);
	}
	group = open_group(&choice);
	map_data(&group);
	map_aux(&group);
	enable(&group);
	if (write(go[1], "", 1) != 1)
		fail("write");
	wait_for_child();
	finish(&group);
}

static void migrate(void)
{
	struct group group = open_group(&this_task);
	struct trace trace = { 0 };

	map_data(&group);
	map_aux(&group);
	enable(&group);
	for (int n = 0; n < MOVES; n++) {
		run_on(n % 2);
		work_for(page_size() / 4);
		set_aux_tail(&group, follow_to_head(&group, &trace));
	}
	disable(&group);
	follow_to_head(&group, &trace);
	print_group("", &group);
	print_trace("", &trace);
}

static void inherit(void)
{
	struct group groups[2];

	/* If many tasks write to a buffer, it has to be for one CPU. */
	for (int cpu = 0; cpu < 2; cpu++) {
		struct choice choice = { .inherit = true, .cpu = cpu };

		groups[cpu] = open_group(&choice);
		map_data(&groups[cpu]);
		map_aux(&groups[cpu]);
		enable(&groups[cpu]);
	}
	for (int n = 0; n < CHILDREN; n++) {
		pid_t child = fork();

		if (child < 0)
			fail("fork");
		if (child)
			continue;
		run_on(n % 2);
		work_for(page_size() / 4);
		_exit(0);
	}
	for (int n = 0; n < CHILDREN; n++)
		wait_for_child();
	for (int cpu = 0; cpu < 2; cpu++) {
		struct trace trace = { 0 };
		char prefix[] = "cpu0_";

		prefix[3] += cpu;
		disable(&groups[cpu]);
		follow_to_head(&groups[cpu], &trace);
		print_group(prefix, &groups[cpu]);
		print_trace(prefix, &trace);
	}
}

static const struct {
	const char *name;
	void (*run)(void);
} situations[] = {
	{ "no-buffer", no_buffer },
	{ "unmap", unmap },
	{ "close", closed },
	{ "exit", exited },
	{ "migrate", migrate },
	{ "inherit", inherit },
};

int main(int argc, char **argv)
{
	for (size_t n = 0; argc == 2 && n < sizeof(situations) / sizeof(situations[0]); n++) {
		if (!strcmp(argv[1], situations[n].name)) {
			situations[n].run();
			return 0;
		}
	}
	fprintf(stderr, "usage: lifetime SITUATION\n");
	return 2;
}
