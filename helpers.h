/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Out-of-line wrappers for macros and inline functions, which bindgen cannot bind.
 */

#ifndef ARM_SPE_HELPERS_H
#define ARM_SPE_HELPERS_H

#include <linux/smp.h>
#include <linux/types.h>

/* Kinds of messages: for each Reason of syndrome.rs, for a stray write pointer, and for a live event in perf record. */
#define SPE_MESSAGES 8

struct device_driver;
struct notifier_block;
struct page;
struct perf_event;

void *spe_helper_vmap(void *const *addrs, unsigned int count);
bool spe_helper_preemptible(void);
bool spe_helper_in_nmi(void);
bool spe_helper_perfmon_capable(void);
void spe_helper_disable_later(struct perf_event *event);
int spe_helper_cpu_to_node(int cpu);
void *spe_helper_this_cpu_ptr(void *base);
void *spe_helper_per_cpu_ptr(void *base, unsigned int cpu);
int spe_helper_call_on(int cpu, smp_call_func_t function, void *argument);
bool spe_helper_kernel_unmapped_at_el0(void);
bool spe_helper_in_init_pid_ns(void);
bool spe_helper_may_log(unsigned int kind);
int spe_helper_cpu_pm_register_notifier(struct notifier_block *block);
void spe_helper_cpu_pm_unregister_notifier(struct notifier_block *block);
void spe_helper_free_later(void);
void spe_helper_free_later_cancel(void);
void spe_helper_set_driver_to_probe(struct device_driver *driver);
void spe_helper_probe_later(void);
void spe_helper_probe_later_cancel(void);

/* In Rust. */
void arm_spe_free_deferred_buffers(void);

#endif /* ARM_SPE_HELPERS_H */
