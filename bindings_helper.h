/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the driver needs of the C kernel and the kernel crate's own bindings do not describe: the PMU and AUX output
 * interface of perf, the mapping of pages, and a few numbers that C spells as macros.  Kbuild hands this file to bindgen, together
 * with the list of items in bindings_parameters.
 */

#include <linux/mm.h>
#include <linux/perf_event.h>
#include <linux/perf/arm_pmu.h>
#include <linux/vmalloc.h>
#include <asm/cpucaps.h>
#include <asm/memory.h>

/*
 * bindgen cannot evaluate macros that contain casts, but it can evaluate constants.  Kbuild strips the prefix.
 */
static const long RUST_CONST_HELPER_PAGE_OFFSET = PAGE_OFFSET;
static const long RUST_CONST_HELPER_VMEMMAP_START = VMEMMAP_START;
static const unsigned long RUST_CONST_HELPER_STRUCT_PAGE_SIZE = sizeof(struct page);
