// SPDX-License-Identifier: GPL-2.0
/*
 * Makes perf begin AUX transactions of any number of CPUs in one buffer: after perf_aux_output_begin()
 * has begun one, the counter is cleared by which it would refuse the next. Two CPUs can do so at the same
 * time without this, because the counter is not atomic.
 */
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/perf_event.h>

#include "internal.h"

/* The number of transactions that ended after another one had moved the head. */
static int mixed;
module_param(mixed, int, 0444);

static int enter_begin(struct kretprobe_instance *probe, struct pt_regs *regs)
{
	*(struct perf_output_handle **)probe->data = (void *)regs->regs[0];
	return 0;
}

static int leave_begin(struct kretprobe_instance *probe, struct pt_regs *regs)
{
	struct perf_output_handle *handle = *(struct perf_output_handle **)probe->data;

	if (regs_return_value(regs))
		WRITE_ONCE(handle->rb->aux_nest, 0);
	return 0;
}

static int enter_end(struct kprobe *probe, struct pt_regs *regs)
{
	struct perf_output_handle *handle = (void *)regs->regs[0];

	if (handle->head != handle->rb->aux_head)
		WRITE_ONCE(mixed, mixed + 1);
	return 0;
}

static struct kretprobe begin = {
	.kp.symbol_name = "perf_aux_output_begin",
	.entry_handler = enter_begin,
	.handler = leave_begin,
	.data_size = sizeof(struct perf_output_handle *),
	.maxactive = 64,
};

static struct kprobe end = {
	.symbol_name = "perf_aux_output_end",
	.pre_handler = enter_end,
};

static int __init aux_nest_init(void)
{
	int err = register_kretprobe(&begin);

	if (err)
		return err;
	err = register_kprobe(&end);
	if (err)
		unregister_kretprobe(&begin);
	return err;
}

static void __exit aux_nest_exit(void)
{
	unregister_kprobe(&end);
	unregister_kretprobe(&begin);
}

module_init(aux_nest_init);
module_exit(aux_nest_exit);
MODULE_DESCRIPTION("AUX transactions of two CPUs in one place");
MODULE_LICENSE("GPL");
