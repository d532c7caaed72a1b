/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A record of the Statistical Profiling Extension, as record.rs decodes it.
 */

#ifndef ARM_SPE_RECORD_H
#define ARM_SPE_RECORD_H

#include <linux/bits.h>
#include <linux/types.h>

/* Bits of @present. */
#define ARM_SPE_RECORD_PC			BIT(0)
#define ARM_SPE_RECORD_BRANCH_TARGET		BIT(1)
#define ARM_SPE_RECORD_DATA_VA			BIT(2)
#define ARM_SPE_RECORD_DATA_PA			BIT(3)
#define ARM_SPE_RECORD_PREVIOUS_TARGET		BIT(4)
#define ARM_SPE_RECORD_TOTAL_LATENCY		BIT(5)
#define ARM_SPE_RECORD_ISSUE_LATENCY		BIT(6)
#define ARM_SPE_RECORD_TRANSLATION_LATENCY	BIT(7)
#define ARM_SPE_RECORD_OTHER_COUNTER		BIT(8)
#define ARM_SPE_RECORD_CONTEXT_EL1		BIT(9)
#define ARM_SPE_RECORD_CONTEXT_EL2		BIT(10)
#define ARM_SPE_RECORD_EVENTS			BIT(11)
#define ARM_SPE_RECORD_DATA_SOURCE		BIT(12)
#define ARM_SPE_RECORD_OPERATION		BIT(13)
#define ARM_SPE_RECORD_TIMESTAMP		BIT(14)
/* A packet without a field was skipped. */
#define ARM_SPE_RECORD_UNKNOWN			BIT(15)

/* Values of @class. */
#define ARM_SPE_CLASS_OTHER			0
#define ARM_SPE_CLASS_LOAD_STORE		1
#define ARM_SPE_CLASS_BRANCH			2

/**
 * struct arm_spe_record - a record, decoded
 * @pc: address of the sampled instruction; bits 63 to 56 are copies of bit 55
 * @branch_target: where the sampled branch, exception or return went; bits 63 to 56 as in @pc
 * @previous_target: target of the taken branch before the operation; bits 63 to 56 as in @pc
 * @data_va: virtual address of the access; bits 63 to 56 as in @pc
 * @data_pa: physical address of the access, 56 bits
 * @timestamp: ticks of the counter that PMSCR_EL1.PCT selects, 64 bits
 * @events: a bit for each event, numbered as in PMSEVFR_EL1
 * @data_source: a number that the CPU's manual explains; most units write 8 or 16 bits
 * @present: which packets there are (ARM_SPE_RECORD_*); the fields of others are 0
 * @size: bytes from the first packet to the last one, at least 1
 * @context_el1: CONTEXTIDR_EL1, 32 bits
 * @context_el2: CONTEXTIDR_EL2, 32 bits
 * @total_latency: cycles from dispatch to completion, up to 4095 or 65535
 * @issue_latency: cycles from dispatch to issue, up to 4095 or 65535
 * @translation_latency: cycles for the translation of the address, up to 4095 or 65535
 * @other_counter: the last counter with another index, up to 65535
 * @other_index: the index of @other_counter, 3 to 31
 * @class: class of the operation (ARM_SPE_CLASS_*), or 3, which is reserved
 * @subclass: kind of the operation, bits that depend on @class
 * @el: exception level of @pc, 0 to 3
 * @security: state of @pc: 0 is Secure, 1 Non-secure, 2 Root, 3 Realm
 * @target_el: exception level of @branch_target, 0 to 3
 * @va_tag: top byte of the virtual address, as the unit has written it
 * @pa_flags: top byte of the physical address: bit 7 is NS, bit 6 is CH, bit 4 is NSE, bits 3 to 0
 *	are PAT
 *
 * All fields are those of struct Record of record.rs, where the section of the manual is named for
 * each. There are no gaps between the fields.
 */
struct arm_spe_record {
	u64 pc;
	u64 branch_target;
	u64 previous_target;
	u64 data_va;
	u64 data_pa;
	u64 timestamp;
	u64 events;
	u64 data_source;
	u32 present;
	u32 size;
	u32 context_el1;
	u32 context_el2;
	u16 total_latency;
	u16 issue_latency;
	u16 translation_latency;
	u16 other_counter;
	u8 other_index;
	u8 class;
	u8 subclass;
	u8 el;
	u8 security;
	u8 target_el;
	u8 va_tag;
	u8 pa_flags;
};

#endif /* ARM_SPE_RECORD_H */
