// SPDX-License-Identifier: GPL-2.0
/*
 * The reader of an SPE buffer leaves the driver so little room that head and tail share a page: perf
 * hands the room out, but the hardware, whose limit is a page boundary, cannot use it. Then a group
 * of an SPE event and a counter is enabled, for this task.
 *
 * no_room FREE: leave FREE bytes free, then run some code. Prints, as "name value" lines, for how
 * long each event was enabled and running, in nanoseconds, and what the data says: the number of
 * PERF_RECORD_AUX with their bytes and flags.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PMU "/sys/bus/event_source/devices/arm_spe_0/"
#define AUX_PAGES 4

struct counts {
	uint64_t value;
	uint64_t enabled;
	uint64_t running;
};

static void fail(const char *what)
{
	fprintf(stderr, "no_room: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint32_t pmu_type(void)
{
	FILE *file = fopen(PMU "type", "r");
	uint32_t type;

	if (!file || fscanf(file, "%u", &type) != 1)
		fail(PMU "type");
	fclose(file);
	return type;
}

static int open_event(struct perf_event_attr *attr, int group)
{
	int fd;

	attr->size = sizeof(*attr);
	attr->read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
	attr->exclude_kernel = 1;
	attr->exclude_hv = 1;
	fd = syscall(SYS_perf_event_open, attr, 0, -1, group, 0);
	if (fd < 0)
		fail("perf_event_open");
	return fd;
}

static void print_counts(const char *name, int fd)
{
	struct counts counts;

	if (read(fd, &counts, sizeof(counts)) != sizeof(counts))
		fail("read");
	printf("%s_enabled %llu\n", name, (unsigned long long)counts.enabled);
	printf("%s_running %llu\n", name, (unsigned long long)counts.running);
}

static void print_records(struct perf_event_mmap_page *page)
{
	const unsigned char *data = (unsigned char *)page + page->data_offset;
	unsigned long long bytes = 0, flags = 0, records = 0;
	uint64_t at = 0;

	/* The ring is not full: no record wraps. */
	while (at < __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE)) {
		const struct perf_event_header *header = (const void *)(data + at);

		if (header->type == PERF_RECORD_AUX) {
			const uint64_t *aux = (const void *)(header + 1);

			records++;
			bytes += aux[1];
			flags |= aux[2];
		}
		at += header->size;
	}
	printf("aux_records %llu\naux_bytes %llu\naux_flags %#llx\n", records, bytes, flags);
}

int main(int argc, char **argv)
{
	struct perf_event_attr spe = { .type = pmu_type(), .sample_period = 1024, .disabled = 1 };
	struct perf_event_attr cycles = {
		.type = PERF_TYPE_HARDWARE, .config = PERF_COUNT_HW_CPU_CYCLES,
	};
	long page_size = sysconf(_SC_PAGESIZE);
	size_t aux_size = AUX_PAGES * page_size;
	struct perf_event_mmap_page *page;
	volatile uint64_t sum = 0;
	int leader, sibling;
	uint64_t free_bytes;

	if (argc != 2) {
		fprintf(stderr, "usage: no_room FREE\n");
		return 2;
	}
	free_bytes = strtoull(argv[1], NULL, 0);

	leader = open_event(&spe, -1);
	sibling = open_event(&cycles, leader);
	page = mmap(NULL, 9 * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, leader, 0);
	if (page == MAP_FAILED)
		fail("mmap");
	page->aux_offset = 9 * page_size;
	page->aux_size = aux_size;
	if (mmap(NULL, aux_size, PROT_READ | PROT_WRITE, MAP_SHARED, leader, page->aux_offset) == MAP_FAILED)
		fail("mmap of the AUX area");

	/* perf keeps one byte free. The head is 0, and indices run freely. */
	__atomic_store_n(&page->aux_tail, free_bytes + 1 - aux_size, __ATOMIC_RELEASE);

	if (ioctl(leader, PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP))
		fail("enable");
	for (uint64_t n = 0; n < 2000000; n++)
		sum += n;

	print_counts("spe", leader);
	print_counts("cycles", sibling);
	print_records(page);
	return 0;
}
