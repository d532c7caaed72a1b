/*
 * What the functions of a driver cost, in instructions
 *
 * A TCG plugin that counts what is executed between the entry of a function
 * and its return:
 *
 *   -plugin cost.so,out=FILE,entries=FILE
 *
 * entries has a line for each function: its address in hexadecimal, a name.
 * It is read when the guest, at EL0, executes HINT #93 (a NOP). What is
 * called from one of the functions is part of it. out gets a line for each
 * call that has returned:
 *
 *   call NAME CPU MODULE KERNEL READS WRITES ISB DSB PSB STACK
 *
 * with the instructions of modules and those of all of the kernel, the
 * module's reads and writes of system registers and barriers (PSB CSYNC is
 * PSB), and the deepest stack of the module in bytes. A function that the
 * kernel calls with interrupts off is not interrupted.
 *
 * A line
 *
 *   gap CPU WRITTEN SYNCHRONISED
 *
 * is written for each interrupt whose handler lets the unit sample again:
 * the instructions from the exception up to the last write that does so
 * (PMBSR_EL1, or PMBLIMITR_EL1 but for 0), and up to the return from the
 * exception, a context synchronisation event. The entry named vectors is that
 * of the kernel's table.
 *
 * At EL0, HINT #92 (a NOP, too) is a mark, a line
 *
 *   mark CPU KERNEL ALL
 *
 * with what was executed on that CPU since the machine started. The guest
 * is arm64 with nokaslr: modules are in the 2 GiB below the kernel's image.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <glib.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define KERNEL_START  0xffff000000000000u
#define MODULES_START 0xffff800000000000u
#define MODULES_END   0xffff800080000000u

/* Exception vectors: IRQ from this exception level with SP_ELx, and from EL0 */
#define VECTOR_IRQ    0x280
#define VECTOR_IRQ_EL0 0x480

#define INSN_ISB      0xd5033fdf
#define INSN_DSB      0xd503309f
#define INSN_DSB_MASK 0xfffff0ff
#define INSN_PSB      0xd503223f
#define INSN_MARK     0xd5032b9f
#define INSN_ENTRIES  0xd5032bbf
#define INSN_ERET     0xd69f03e0
/* MRS and MSR of a register, op0 2 or 3 */
#define INSN_MRS      0xd5300000
#define INSN_MSR      0xd5100000
#define INSN_SYS_MASK 0xfff00000
/* MSR PMBSR_EL1 and MSR PMBLIMITR_EL1, without Rt; Rt of XZR */
#define INSN_PMBSR      0xd5189a60
#define INSN_PMBLIMITR  0xd5189a00
#define INSN_RT_MASK    0xffffffe0
#define RT_XZR          0x1f

/* What was executed on a CPU */
typedef struct Executed {
    uint64_t all;
    uint64_t kernel;
    uint64_t module;
    uint64_t reads;
    uint64_t writes;
    uint64_t isb;
    uint64_t dsb;
    uint64_t psb;
    /* Not counts: in a function; the unit may sample again soon */
    uint64_t active;
    uint64_t pending;
} Executed;

/* A call that has not returned. */
typedef struct Call {
    const char *name;
    Executed before;
    uint64_t lr;
    uint64_t sp;
    uint64_t lowest;
    /* Of the last exception, and of the write that lets the unit sample */
    uint64_t exception;
    uint64_t written;
} Call;

#define MAX_CPUS 16

static qemu_plugin_id_t plugin_id;
static FILE *log_file;
static const char *entries_path;
/* Address to name. Names live for ever: calls point to them. */
static GHashTable *entries;
static GHashTable *names;
static struct qemu_plugin_scoreboard *executed;
static Call calls[MAX_CPUS];
static struct qemu_plugin_register *sp_reg;
static struct qemu_plugin_register *lr_reg;

static bool in_kernel(uint64_t pc)
{
    return pc >= KERNEL_START;
}

static bool in_module(uint64_t pc)
{
    return pc >= MODULES_START && pc < MODULES_END;
}

/* With -icount QEMU cannot tell them when the CPU is initialised. */
static void find_registers(void)
{
    g_autoptr(GArray) registers = qemu_plugin_get_registers();

    for (size_t i = 0; i < registers->len; i++) {
        qemu_plugin_reg_descriptor *reg =
            &g_array_index(registers, qemu_plugin_reg_descriptor, i);

        if (strcmp(reg->name, "sp") == 0) {
            sp_reg = reg->handle;
        } else if (strcmp(reg->name, "x30") == 0) {
            lr_reg = reg->handle;
        }
    }
}

static uint64_t read_register(struct qemu_plugin_register *handle)
{
    g_autoptr(GByteArray) buf = g_byte_array_new();
    uint64_t value = 0;

    qemu_plugin_read_register(handle, buf);
    memcpy(&value, buf->data, MIN(sizeof(value), buf->len));
    return value;
}

static void instrument(qemu_plugin_id_t id);

/* Everything is translated anew after this. */
static void read_entries(unsigned int cpu, void *udata)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    g_hash_table_remove_all(entries);
    if (!g_file_get_contents(entries_path, &text, NULL, NULL)) {
        fprintf(stderr, "cost: cannot read %s\n", entries_path);
        return;
    }
    lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        g_auto(GStrv) words = g_strsplit(*line, " ", 2);
        uint64_t *address;

        if (!words[0] || !words[1]) {
            continue;
        }
        if (!g_hash_table_contains(names, words[1])) {
            g_hash_table_add(names, g_strdup(words[1]));
        }
        address = g_new(uint64_t, 1);
        *address = g_ascii_strtoull(words[0], NULL, 16);
        g_hash_table_insert(entries, address,
                            g_hash_table_lookup(names, words[1]));
    }
    qemu_plugin_reset(plugin_id, instrument);
}

/* The first instruction of a function is about to be executed. */
static void function_entered(unsigned int cpu, void *name)
{
    Executed *now = qemu_plugin_scoreboard_find(executed, cpu);
    Call *call = &calls[cpu];

    if (now->active) {
        return;
    }
    if (!sp_reg) {
        find_registers();
    }
    now->active = 1;
    call->name = name;
    call->before = *now;
    call->lr = read_register(lr_reg);
    call->sp = call->lowest = read_register(sp_reg);
    call->written = 0;
}

/* A block of the kernel, while a function is active: has that returned? */
static void block_entered(unsigned int cpu, void *udata)
{
    Executed *now = qemu_plugin_scoreboard_find(executed, cpu);
    Call *call = &calls[cpu];
    const Executed *before = &call->before;

    if (*(uint64_t *)udata != call->lr || read_register(sp_reg) != call->sp) {
        return;
    }
    now->active = 0;
    fprintf(log_file, "call %s %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
            " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
            call->name, cpu, now->module - before->module,
            now->kernel - before->kernel, now->reads - before->reads,
            now->writes - before->writes, now->isb - before->isb,
            now->dsb - before->dsb, now->psb - before->psb,
            call->sp - call->lowest);
}

/* The stack of the module may have grown. */
static void stack_moved(unsigned int cpu, void *udata)
{
    Executed *now = qemu_plugin_scoreboard_find(executed, cpu);
    Call *call = &calls[cpu];

    if (!now->active) {
        return;
    }
    call->lowest = MIN(call->lowest, read_register(sp_reg));
}

static void exception_taken(unsigned int cpu, void *udata)
{
    Executed *now = qemu_plugin_scoreboard_find(executed, cpu);

    calls[cpu].exception = now->all;
    now->pending = 0;
}

/* A register that lets the unit sample is about to be written, in a function. */
static void unit_released(unsigned int cpu, void *udata)
{
    Executed *now = qemu_plugin_scoreboard_find(executed, cpu);
    Call *call = &calls[cpu];

    if (strcmp(call->name, "irq") == 0) {
        call->written = now->all + 1;
        now->pending = 1;
    }
}

/* An ERET is about to be executed, after such a write. */
static void synchronised(unsigned int cpu, void *udata)
{
    Executed *now = qemu_plugin_scoreboard_find(executed, cpu);
    Call *call = &calls[cpu];

    now->pending = 0;
    fprintf(log_file, "gap %u %" PRIu64 " %" PRIu64 "\n", cpu,
            call->written - call->exception, now->all + 1 - call->exception);
}

static void marked(unsigned int cpu, void *udata)
{
    Executed *now = qemu_plugin_scoreboard_find(executed, cpu);

    fprintf(log_file, "mark %u %" PRIu64 " %" PRIu64 "\n", cpu, now->kernel,
            now->all);
    fflush(log_file);
}

/* SUB, STP or STR that moves the stack pointer */
static bool moves_stack(uint32_t word)
{
    return (word & 0xff8003ff) == 0xd10003ff ||
           (word & 0xffc003e0) == 0xa98003e0 ||
           (word & 0xffe00fe0) == 0xf8000fe0;
}

static void count(struct qemu_plugin_insn *insn, size_t member)
{
    qemu_plugin_u64 entry = { executed, member };

    qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
        insn, QEMU_PLUGIN_INLINE_ADD_U64, entry, 1);
}

#define COUNT(insn, member) count(insn, offsetof(Executed, member))

static void translate_module_insn(struct qemu_plugin_insn *insn, uint32_t word)
{
    qemu_plugin_u64 active =
        qemu_plugin_scoreboard_u64_in_struct(executed, Executed, active);

    COUNT(insn, module);
    if (word == INSN_ISB) {
        COUNT(insn, isb);
    } else if ((word & INSN_DSB_MASK) == INSN_DSB) {
        COUNT(insn, dsb);
    } else if (word == INSN_PSB) {
        COUNT(insn, psb);
    } else if ((word & INSN_SYS_MASK) == INSN_MRS) {
        COUNT(insn, reads);
    } else if ((word & INSN_SYS_MASK) == INSN_MSR) {
        COUNT(insn, writes);
    }
    if ((word & INSN_RT_MASK) == INSN_PMBSR ||
        ((word & INSN_RT_MASK) == INSN_PMBLIMITR &&
         (word & ~INSN_RT_MASK) != RT_XZR)) {
        qemu_plugin_register_vcpu_insn_exec_cond_cb(
            insn, unit_released, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_COND_NE,
            active, 0, NULL);
    }
}

static void translate_insn(struct qemu_plugin_insn *insn, bool after_stack)
{
    uint64_t pc = qemu_plugin_insn_vaddr(insn);
    uint64_t table = 0;
    uint32_t word = 0;
    const char *name = g_hash_table_lookup(entries, &pc);
    qemu_plugin_u64 pending =
        qemu_plugin_scoreboard_u64_in_struct(executed, Executed, pending);

    qemu_plugin_insn_data(insn, &word, sizeof(word));
    if (after_stack) {
        qemu_plugin_register_vcpu_insn_exec_cb(
            insn, stack_moved, QEMU_PLUGIN_CB_R_REGS, NULL);
    }
    if (name && strcmp(name, "vectors") != 0) {
        qemu_plugin_register_vcpu_insn_exec_cb(
            insn, function_entered, QEMU_PLUGIN_CB_R_REGS, (void *)name);
    }
    table = pc - VECTOR_IRQ;
    name = g_hash_table_lookup(entries, &table);
    if (!name || strcmp(name, "vectors") != 0) {
        table = pc - VECTOR_IRQ_EL0;
        name = g_hash_table_lookup(entries, &table);
    }
    if (name && strcmp(name, "vectors") == 0) {
        qemu_plugin_register_vcpu_insn_exec_cb(
            insn, exception_taken, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
    if (word == INSN_MARK && !in_kernel(pc)) {
        qemu_plugin_register_vcpu_insn_exec_cb(
            insn, marked, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
    if (word == INSN_ENTRIES && !in_kernel(pc)) {
        qemu_plugin_register_vcpu_insn_exec_cb(
            insn, read_entries, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
    if (word == INSN_ERET) {
        qemu_plugin_register_vcpu_insn_exec_cond_cb(
            insn, synchronised, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_COND_NE,
            pending, 0, NULL);
    }
    COUNT(insn, all);
    if (in_kernel(pc)) {
        COUNT(insn, kernel);
    }
    if (in_module(pc)) {
        translate_module_insn(insn, word);
    }
}

static void vcpu_tb_trans(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    uint64_t pc = qemu_plugin_tb_vaddr(tb);
    size_t n = qemu_plugin_tb_n_insns(tb);
    bool after_stack = false;

    if (in_kernel(pc) && !in_module(pc)) {
        uint64_t *address = g_new(uint64_t, 1);

        *address = pc;
        qemu_plugin_register_vcpu_tb_exec_cond_cb(
            tb, block_entered, QEMU_PLUGIN_CB_R_REGS, QEMU_PLUGIN_COND_NE,
            qemu_plugin_scoreboard_u64_in_struct(executed, Executed, active),
            0, address);
    }
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint32_t word = 0;

        translate_insn(insn, after_stack);
        qemu_plugin_insn_data(insn, &word, sizeof(word));
        after_stack = in_module(pc) && moves_stack(word);
    }
}

static void plugin_exit(qemu_plugin_id_t id, void *udata)
{
    fclose(log_file);
}

static void instrument(qemu_plugin_id_t id)
{
    qemu_plugin_register_vcpu_tb_trans_cb(id, vcpu_tb_trans);
    qemu_plugin_register_atexit_cb(id, plugin_exit, NULL);
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
                                           const qemu_info_t *info,
                                           int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (g_str_has_prefix(argv[i], "out=")) {
            log_file = fopen(argv[i] + strlen("out="), "w");
        } else if (g_str_has_prefix(argv[i], "entries=")) {
            entries_path = g_strdup(argv[i] + strlen("entries="));
        }
    }
    if (!log_file || !entries_path || info->system.max_vcpus > MAX_CPUS) {
        fprintf(stderr, "cost: out=FILE,entries=FILE, and at most %d CPUs\n",
                MAX_CPUS);
        return -1;
    }
    entries = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    names = g_hash_table_new(g_str_hash, g_str_equal);
    executed = qemu_plugin_scoreboard_new(sizeof(Executed));
    plugin_id = id;
    instrument(id);
    return 0;
}
