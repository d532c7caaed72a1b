// SPDX-License-Identifier: GPL-2.0
/*
 * Decodes pieces of trace with perf's own decoder, which is compiled from the kernel's source as it
 * is, and prints the same as src/print_records.rs. Packets and the values of fields are perf's.
 * This file has the rules of the driver that perf does not have: where a record begins, and those
 * of the places where perf does otherwise, which are counted and printed to standard error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/types.h>

#include "arm-spe-decoder.h"

/* perf has a struct of this name. */
#define arm_spe_record driver_record
#include "../../arm_spe_record.h"
#undef arm_spe_record

/* The differences. */
static unsigned long unknown, reserved, extended_by_level, needs_more;

/* What perf's decoder wants of the rest of perf. */
int verbose = -1;
int eprintf(int level, int var, const char *fmt, ...);
int eprintf(int level, int var, const char *fmt, ...)
{
	return 0;
}

void *zalloc(size_t size);
void *zalloc(size_t size)
{
	return calloc(1, size);
}

static int get_trace(struct arm_spe_buffer *buffer, void *data)
{
	struct arm_spe_buffer *trace = data;

	*buffer = *trace;
	trace->len = 0;
	return 0;
}

/* perf decides the top byte by the exception level, or by four bits; the driver copies bit 55. */
static u64 extended(u64 address)
{
	u64 by_sign = (u64)((s64)(address << 8) >> 8);

	extended_by_level += by_sign != address;
	return by_sign;
}

/* Has perf decode the packets of a record, without those that it refuses. */
static void decode(const unsigned char *packets, size_t len, struct driver_record *out)
{
	struct arm_spe_buffer trace = { .buf = packets, .len = len };
	struct arm_spe_params params = { .get_trace = get_trace, .data = &trace };
	struct arm_spe_decoder *decoder = arm_spe_decoder_new(&params);
	struct arm_spe_record *in = &decoder->record;
	int done = arm_spe_decode(decoder);

	if (done != 1 || decoder->len) {
		fprintf(stderr, "perf has no record: %d, %zu bytes left\n", done, decoder->len);
		exit(1);
	}
	out->pc = extended(in->from_ip);
	out->branch_target = extended(in->to_ip);
	out->previous_target = extended(in->prev_br_tgt);
	out->data_va = extended(in->virt_addr);
	out->data_pa = in->phys_addr;
	out->timestamp = in->timestamp;
	out->events = in->type;
	out->total_latency = in->latency;
	arm_spe_decoder_free(decoder);
}

/*
 * Adds what perf's records do not have, from a packet. Returns whether perf's decoder of records
 * takes the packet.
 */
static bool add(struct driver_record *out, const struct arm_spe_pkt *packet)
{
	u64 payload = packet->payload;

	switch (packet->type) {
	case ARM_SPE_ADDRESS:
		if (packet->index > SPE_ADDR_PKT_HDR_INDEX_PREV_BRANCH) {
			out->present |= ARM_SPE_RECORD_UNKNOWN;
			break;
		}
		out->present |= ARM_SPE_RECORD_PC << packet->index;
		if (packet->index == SPE_ADDR_PKT_HDR_INDEX_INS) {
			out->el = SPE_ADDR_PKT_GET_EL(payload);
			/* perf knows no NSE. */
			out->security = SPE_ADDR_PKT_GET_NS(payload) | (payload >> 60 & 1) << 1;
		} else if (packet->index == SPE_ADDR_PKT_HDR_INDEX_BRANCH) {
			out->target_el = SPE_ADDR_PKT_GET_EL(payload);
		} else if (packet->index == SPE_ADDR_PKT_HDR_INDEX_DATA_VIRT) {
			out->va_tag = payload >> 56;
		} else if (packet->index == SPE_ADDR_PKT_HDR_INDEX_DATA_PHYS) {
			out->pa_flags = SPE_ADDR_PKT_GET_NS(payload) << 7 |
					SPE_ADDR_PKT_GET_CH(payload) << 6 |
					(payload >> 60 & 3) << 4 |
					SPE_ADDR_PKT_GET_PAT(payload);
		}
		break;
	case ARM_SPE_COUNTER:
		if (packet->index > SPE_CNT_PKT_HDR_INDEX_TRANS_LAT) {
			out->present |= ARM_SPE_RECORD_OTHER_COUNTER;
			out->other_counter = payload;
			out->other_index = packet->index;
			break;
		}
		out->present |= ARM_SPE_RECORD_TOTAL_LATENCY << packet->index;
		if (packet->index == SPE_CNT_PKT_HDR_INDEX_ISSUE_LAT)
			out->issue_latency = payload;
		else if (packet->index == SPE_CNT_PKT_HDR_INDEX_TRANS_LAT)
			out->translation_latency = payload;
		break;
	case ARM_SPE_CONTEXT:
		if (packet->index == 0) {
			out->present |= ARM_SPE_RECORD_CONTEXT_EL1;
			out->context_el1 = payload;
		} else if (packet->index == 1) {
			out->present |= ARM_SPE_RECORD_CONTEXT_EL2;
			out->context_el2 = payload;
		} else {
			/* perf takes these indices for levels as well. */
			out->present |= ARM_SPE_RECORD_UNKNOWN;
			reserved++;
		}
		break;
	case ARM_SPE_OP_TYPE:
		out->present |= ARM_SPE_RECORD_OPERATION;
		out->class = packet->index;
		out->subclass = payload;
		/* perf gives up on the record. */
		reserved += packet->index == 3;
		return packet->index != 3;
	case ARM_SPE_EVENTS:
		out->present |= ARM_SPE_RECORD_EVENTS;
		break;
	case ARM_SPE_DATA_SOURCE:
		/* perf's record has 16 bits of it. */
		out->present |= ARM_SPE_RECORD_DATA_SOURCE;
		out->data_source = payload;
		break;
	case ARM_SPE_TIMESTAMP:
		out->present |= ARM_SPE_RECORD_TIMESTAMP;
		break;
	case ARM_SPE_PAD:
		return false;
	default:
		break;
	}
	return true;
}

static bool is_extended(const unsigned char *header)
{
	return (header[0] & 0xfc) == 0x20;
}

/* The size of a packet that perf cannot decode, or 0. A lone first byte has a second one. */
static size_t skipped(const unsigned char *header, size_t len)
{
	bool more = is_extended(header);

	if (more && len == 1)
		return 2;
	return header[more] < 0x40 ? 0 : 1 + more + (1 << (header[more] >> 4 & 3));
}

/* Returns the bytes of the record at @buf: positive if it is whole, negative if it is not. */
static long record(const unsigned char *buf, size_t len, struct driver_record *out)
{
	unsigned char *known = malloc(len), *end = known;
	struct arm_spe_pkt packet = {};
	size_t at = 0;
	long found;

	memset(out, 0, sizeof(*out));
	do {
		int size = arm_spe_get_packet(buf + at, len - at, &packet, 0);

		if (size == ARM_SPE_NEED_MORE_BYTES && at + 1 < len && is_extended(buf + at) &&
		    !buf[at + 1]) {
			/* perf wants to see as many bytes as the boundary is a multiple of. */
			unsigned int boundary = 2 << (buf[at] & 3);

			size = boundary - ((unsigned long)(buf + at) & (boundary - 1));
			if (at + size <= len)
				needs_more++;
		} else if (size == ARM_SPE_BAD_PACKET) {
			size = skipped(buf + at, len - at);
			if (!size) {
				found = -(long)(at + 1);
				goto out;
			}
			out->present |= ARM_SPE_RECORD_UNKNOWN;
			unknown++;
		} else if (size > 0) {
			if (add(out, &packet)) {
				memcpy(end, buf + at, size);
				end += size;
			}
		}
		if (size <= 0 || at + size > len) {
			found = -(long)len;
			goto out;
		}
		at += size;
	} while (packet.type != ARM_SPE_END && packet.type != ARM_SPE_TIMESTAMP);

	decode(known, end - known, out);
	out->size = at;
	found = at;
out:
	free(known);
	return found;
}

static void print(u64 kind, u64 at, const struct driver_record *record)
{
	fwrite(&kind, sizeof(kind), 1, stdout);
	fwrite(&at, sizeof(at), 1, stdout);
	fwrite(record, sizeof(*record), 1, stdout);
}

int main(void)
{
	u32 header[2];

	while (fread(header, sizeof(header), 1, stdin) == 1) {
		size_t len = header[0], align = header[1], at = 0;
		struct driver_record out, sums = {};
		unsigned char *buf;

		/* perf aligns addresses in memory. */
		if (posix_memalign((void **)&buf, 4096, len + 1))
			return 1;
		if (fread(buf, 1, len, stdin) != len)
			return 1;
		for (;;) {
			long size;

			while (at < len && !buf[at])
				at++;
			if (at >= len)
				break;
			size = record(buf + at, len - at, &out);
			at = (at + labs(size) + align - 1) / align * align;
			if (at > len)
				at = len;
			if (size > 0) {
				sums.pc++;
			} else {
				sums.branch_target++;
				memset(&out, 0, sizeof(out));
			}
			print(size > 0, at, &out);
		}
		print(2, at, &sums);
		free(buf);
	}
	fprintf(stderr, "unknown %lu\nreserved %lu\n", unknown, reserved);
	fprintf(stderr, "extended %lu\nneeds_more %lu\n", extended_by_level, needs_more);
	return 0;
}
