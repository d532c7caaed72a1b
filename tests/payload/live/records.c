// SPDX-License-Identifier: GPL-2.0
/*
 * Keeps the records that live events emit, in the order of one CPU, up to `most` of them. debugfs has
 * them in records/all, the structs as they are; the parameter `number` counts those that were emitted.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/vmalloc.h>

#include "../arm_spe_trace.h"

static unsigned int most = 200000;
module_param(most, uint, 0444);

static unsigned int number;
module_param(number, uint, 0444);

static struct arm_spe_record *all;
static struct debugfs_blob_wrapper blob;
static struct dentry *directory;

static void on_record(void *unused, u64 id, u64 period, const struct arm_spe_record *record)
{
	if (number < most)
		all[number] = *record;
	number++;
}

static int __init records_init(void)
{
	int err;

	blob.size = array_size(most, sizeof(*all));
	all = vzalloc(blob.size);
	if (!all)
		return -ENOMEM;
	err = register_trace_arm_spe_record(on_record, NULL);
	if (err) {
		vfree(all);
		return err;
	}
	blob.data = all;
	directory = debugfs_create_dir("records", NULL);
	debugfs_create_blob("all", 0400, directory, &blob);
	return 0;
}

static void __exit records_exit(void)
{
	debugfs_remove(directory);
	unregister_trace_arm_spe_record(on_record, NULL);
	tracepoint_synchronize_unregister();
	vfree(all);
}

module_init(records_init);
module_exit(records_exit);
MODULE_DESCRIPTION("The records of live events");
MODULE_LICENSE("GPL");
