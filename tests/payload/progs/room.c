// SPDX-License-Identifier: GPL-2.0
/*
 * room [-c] [-p] FREE TRACE: enables a group in this task when FREE bytes of the AUX area are free, and works
 * for TRACE bytes of trace, without draining.
 *
 * -c: the counter leads the group. -p: the group is pinned.
 */
#include "spe_group.h"

int main(int argc, char **argv)
{
	struct choice choice = { .cpu = -1 };
	struct trace trace = { 0 };
	struct group group;
	uint64_t spoilt = 0;
	uint64_t room;
	int option;

	while ((option = getopt(argc, argv, "cp")) != -1) {
		choice.cycles_first |= option == 'c';
		choice.pinned |= option == 'p';
	}
	if (optind != argc - 2) {
		fprintf(stderr, "usage: room [-c] [-p] FREE TRACE\n");
		return 2;
	}
	room = strtoull(argv[optind], NULL, 0);

	group = open_group(&choice);
	map_data(&group);
	map_aux(&group);
	/* perf keeps one byte free. The head is 0, and indices run freely. */
	set_aux_tail(&group, room + 1 - aux_size());

	enable(&group);
	work_for(strtoull(argv[optind + 1], NULL, 0));
	disable(&group);

	follow_to_head(&group, &trace);
	/* The rest is unread data, which must not change. In a new buffer it is zero. */
	for (uint64_t at = room; at < aux_size(); at++)
		spoilt += group.aux[at] != 0;
	print_group("", &group);
	print_trace("", &trace);
	printf("unread_spoilt %llu\n", (unsigned long long)spoilt);
	return 0;
}
