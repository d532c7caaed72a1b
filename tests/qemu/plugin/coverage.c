/*
 * Which code of kernel modules was executed
 *
 * A TCG plugin that sees every context, also interrupt handlers and NMIs:
 *
 *   -plugin coverage.so,out=DIRECTORY
 *
 * Each QEMU writes a file of its own to DIRECTORY, as it goes, so that one
 * that is killed leaves what it knows. A line is one of
 *
 *   b N ADDRESS WORD...     block number N: its instructions, in hexadecimal
 *   x N INDEX               an instruction of it was executed
 *
 * Where a module was loaded is not asked of the guest: what cannot be loaded,
 * or is loaded a thousand times, is found by its words. What is followed is
 * the 2 GiB below the kernel image (arm64 with nokaslr): modules live there.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <glib.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define MODULES_START 0xffff800000000000u
#define MODULES_END   0xffff800080000000u

/* An instruction of a block. */
typedef struct Insn {
    unsigned int block;
    unsigned int index;
    bool executed;
} Insn;

static FILE *log_file;
static GMutex lock;
/* Each block that was seen: address and words, as they are printed */
static GHashTable *blocks;

static void insn_exec(unsigned int vcpu_index, void *udata)
{
    Insn *insn = udata;

    if (!insn->executed) {
        insn->executed = true;
        fprintf(log_file, "x %u %u\n", insn->block, insn->index);
    }
}

/* The instructions of a block, which may have been translated before. */
static Insn *find_block(struct qemu_plugin_tb *tb)
{
    size_t n = qemu_plugin_tb_n_insns(tb);
    g_autoptr(GString) text = g_string_new(NULL);
    Insn *insns;

    g_string_printf(text, "%" PRIx64, qemu_plugin_tb_vaddr(tb));
    for (size_t i = 0; i < n; i++) {
        uint32_t word = 0;

        qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i), &word,
                              sizeof(word));
        g_string_append_printf(text, " %08x", word);
    }
    g_mutex_lock(&lock);
    insns = g_hash_table_lookup(blocks, text->str);
    if (!insns) {
        unsigned int block = g_hash_table_size(blocks);

        insns = g_new0(Insn, n);
        for (size_t i = 0; i < n; i++) {
            insns[i] = (Insn) { .block = block, .index = i };
        }
        g_hash_table_insert(blocks, g_strdup(text->str), insns);
        fprintf(log_file, "b %u %s\n", block, text->str);
    }
    g_mutex_unlock(&lock);
    return insns;
}

static void tb_trans(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    uint64_t vaddr = qemu_plugin_tb_vaddr(tb);
    Insn *insns;

    if (vaddr < MODULES_START || vaddr >= MODULES_END) {
        return;
    }
    insns = find_block(tb);
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        qemu_plugin_register_vcpu_insn_exec_cb(qemu_plugin_tb_get_insn(tb, i),
                                               insn_exec,
                                               QEMU_PLUGIN_CB_NO_REGS,
                                               &insns[i]);
    }
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
                                           const qemu_info_t *info,
                                           int argc, char **argv)
{
    g_autofree char *path = NULL;
    int fd;

    if (argc != 1 || !g_str_has_prefix(argv[0], "out=")) {
        fprintf(stderr, "coverage: usage: -plugin coverage.so,out=DIRECTORY\n");
        return -1;
    }
    path = g_build_filename(argv[0] + strlen("out="), "executed.XXXXXX", NULL);
    fd = g_mkstemp(path);
    log_file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!log_file) {
        fprintf(stderr, "coverage: cannot write to %s\n", path);
        return -1;
    }
    setvbuf(log_file, NULL, _IOLBF, 0);
    blocks = g_hash_table_new(g_str_hash, g_str_equal);
    qemu_plugin_register_vcpu_tb_trans_cb(id, tb_trans);
    return 0;
}
