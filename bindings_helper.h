/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C interfaces that the driver needs and kernel::bindings lacks: the PMU and AUX output interface of perf, and the
 * driver's own helpers.  Kbuild hands this file to bindgen, together with the list of items in
 * bindings_parameters.
 */

#include <linux/cpu_pm.h>
#include <linux/interrupt.h>
#include <linux/perf_event.h>
#include <linux/perf/arm_pmu.h>
#include <linux/vmalloc.h>

#include "arm_spe_record.h"
#include "helpers.h"
#include "live.h"
