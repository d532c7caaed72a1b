/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C part of live events, see live.rs.
 */

#ifndef ARM_SPE_LIVE_H
#define ARM_SPE_LIVE_H

#include <linux/types.h>

struct arm_spe_record;

int spe_live_watch(void *units);
void spe_live_unwatch(void *units);
bool spe_live_is_traced(void);
void spe_live_trace(u64 id, u64 period, const struct arm_spe_record *record);

/* In Rust. */
void arm_spe_live_switch(void *units);

#endif /* ARM_SPE_LIVE_H */
