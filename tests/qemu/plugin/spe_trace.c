/*
 * What the Statistical Profiling Extension should have sampled
 *
 * A TCG plugin that follows a run on its own: what the guest writes to the
 * registers of the profiling unit, and every instruction that is executed
 * while profiling is enabled. From that, and from nothing that the model of
 * the unit (target/arm/tcg/arm-spe.c) says or does, it predicts which
 * operations are sampled, and logs what these really did: the instruction,
 * the data that it accessed, and where execution continued.
 *
 *   -plugin spe_trace.so,out=FILE
 *
 * FILE gets an Entry for each sample that is expected, and for each read of
 * PMSICR_EL1 what it should give. With jitter (PMSIRR_EL1.RND), samples cannot
 * be predicted; instead FILE gets at the end how often each instruction word
 * was executed. Nothing but registers is followed until the unit is enabled.
 *
 * What is assumed: the guest is Linux at EL1 without EL2, so that bit 55 of
 * an address tells user space from the kernel; and the buffer never becomes
 * full, because what the unit does by itself to PMBSR_EL1 is not seen.
 *
 * Each operation is counted once. A load or store that takes a Data Abort,
 * and anything that QEMU unwinds, is counted when it is executed again; but
 * if the one that takes the exception is to be sampled, it is, and counts.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <glib.h>

#include <qemu-plugin.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

/* MSR of a register, without Rt: op0 is 3; then op1, CRn, CRm and op2 */
#define MSR(op1, crn, crm, op2) \
    (0xd5180000u | (op1) << 16 | (crn) << 12 | (crm) << 8 | (op2) << 5)

#define MSR_VBAR_EL1        MSR(0, 12, 0, 0)
#define MSR_PMSCR_EL1       MSR(0, 9, 9, 0)
#define MSR_PMSICR_EL1      MSR(0, 9, 9, 2)
#define MSR_PMSIRR_EL1      MSR(0, 9, 9, 3)
#define MSR_PMBLIMITR_EL1   MSR(0, 9, 10, 0)

#define MRS_PMSICR_EL1      (MSR_PMSICR_EL1 | 1u << 21)

#define PMSIRR_RND          1
#define PMBLIMITR_E         1

/* Offsets of exception vectors: synchronous, then IRQ, FIQ, SError */
#define VECTORS_SIZE        0x800
#define VECTOR_SIZE         0x80
#define VECTOR_IS_SYNC(offset) (!((offset) & 0x180))

/* ESR_EL1.EC: Data Abort from EL0, and from EL1 */
#define ESR_EC(esr)         ((esr) >> 26 & 0x3f)
#define EC_DATA_ABORT_EL0   0x24
#define EC_DATA_ABORT_EL1   0x25

enum {
    ENTRY_SAMPLE,       /* an operation that is sampled */
    ENTRY_READ,         /* PMSICR_EL1 is read: number is what to expect */
    ENTRY_EXECUTED,     /* an instruction word: number is how often */
};

enum {
    FLAG_EL1 = 1 << 0,
    FLAG_EXCEPTION = 1 << 1,
};

/* What an operation loaded, or what it stored */
typedef struct Access {
    uint64_t va;        /* of the first access, and its physical address */
    uint64_t pa;
    uint32_t accesses;
    uint32_t bytes;
} Access;

/* In the byte order of the host */
typedef struct Entry {
    uint32_t kind;
    uint32_t cpu;
    uint64_t number;    /* of operations at enabled Exception levels */
    uint64_t pc;
    uint64_t next_pc;   /* where execution continued */
    uint32_t insn;
    uint32_t flags;
    Access load;
    Access store;
} Entry;

/* An instruction word, and how often it was executed on each vCPU */
typedef struct Word {
    uint32_t insn;
    uint64_t executed[];
} Word;

/* An instruction in guest memory, where it was when it was translated */
typedef struct Insn {
    uint64_t pc;
    Word *word;
} Insn;

typedef struct VCPU {
    /* True if every instruction has to be looked at. */
    uint64_t tracing;
    /* Registers */
    uint64_t vbar;
    uint64_t pmscr;
    uint64_t pmsirr;
    uint64_t pmblimitr;
    uint64_t count;
    /* A register that is being written: MSR_..., or 0 */
    uint32_t written;
    uint64_t value;
    /*
     * How far the executed block is from where it was translated: QEMU shares
     * the translation of a page that is mapped at several addresses.
     */
    uint64_t moved;
    /* Of operations at enabled Exception levels */
    uint64_t operations;
    /* The operation whose outcome is not known, and the counter before it */
    const Insn *last;
    uint64_t last_pc;
    uint64_t count_before;
    bool sampled;
    Entry sample;
} VCPU;

static struct qemu_plugin_scoreboard *vcpus;
static int n_vcpus;
static struct qemu_plugin_register *pc_reg;
static struct qemu_plugin_register *elr_el1;
static struct qemu_plugin_register *esr_el1;
static struct qemu_plugin_register *xregs[31];
static qemu_plugin_id_t plugin_id;
static int started;
static FILE *out;
static GMutex lock;
static GHashTable *words;   /* of Word, by instruction word */
static GHashTable *insns;   /* of Insn, by itself */

static VCPU *vcpu_find(unsigned int cpu)
{
    return qemu_plugin_scoreboard_find(vcpus, cpu);
}

static void put(const Entry *entry)
{
    g_mutex_lock(&lock);
    if (fwrite(entry, sizeof(*entry), 1, out) != 1) {
        perror("spe_trace: cannot write");
        abort();
    }
    g_mutex_unlock(&lock);
}

static uint64_t read_register(struct qemu_plugin_register *handle)
{
    g_autoptr(GByteArray) buf = g_byte_array_new();
    uint64_t value;
    int size = qemu_plugin_read_register(handle, buf);

    assert(size == sizeof(value));
    memcpy(&value, buf->data, sizeof(value));
    return GUINT64_FROM_LE(value);
}

/* --- The profiling unit, as the guest has programmed it ------------------ */

static bool in_kernel(uint64_t pc)
{
    return pc >> 55 & 1;
}

static bool profiled(const VCPU *v, uint64_t pc)
{
    return (v->pmblimitr & PMBLIMITR_E) && (v->pmscr >> in_kernel(pc) & 1);
}

/* One more operation. True if it is the one to be sampled. */
static bool count_operation(VCPU *v)
{
    v->operations++;
    if (v->count == 0) {
        uint64_t interval = v->pmsirr & 0xffffff00;

        v->count = interval ? interval : 0x100;
        return false;
    }
    return --v->count == 0;
}

/* What was written takes effect with the next instruction. */
static void write_register(VCPU *v)
{
    switch (v->written) {
    case MSR_VBAR_EL1:
        v->vbar = v->value;
        break;
    case MSR_PMSCR_EL1:
        v->pmscr = v->value;
        break;
    case MSR_PMSICR_EL1:
        v->count = (uint32_t)v->value;
        break;
    case MSR_PMSIRR_EL1:
        v->pmsirr = v->value;
        break;
    case MSR_PMBLIMITR_EL1:
        v->pmblimitr = v->value;
        break;
    }
    v->written = 0;
    v->tracing = v->pmscr && (v->pmblimitr & PMBLIMITR_E);
}

/* --- What is executed ---------------------------------------------------- */

/* Branches, except those of the branch class that are no branches */
static bool is_branch(uint32_t insn)
{
    return (insn >> 26 & 7) == 5 && insn >> 24 != 0xd4 && insn >> 24 != 0xd5;
}

/*
 * The outcome of the last operation: execution goes on at next_pc. With
 * exception, the operation took one; with again, it is executed again.
 */
static void finish(VCPU *v, uint64_t next_pc, bool exception, bool again)
{
    if (!again && (v->pmsirr & PMSIRR_RND)) {
        v->last->word->executed[v->sample.cpu]++;
    }
    if (v->sampled && (!again || exception)) {
        v->sample.next_pc = next_pc;
        v->sample.flags |= exception ? FLAG_EXCEPTION : 0;
        put(&v->sample);
    } else if (again) {
        v->operations--;
        v->count = v->count_before;
    }
    v->last = NULL;
    v->sampled = false;
}

/* The first instruction of a translation block, where the PC is up to date */
static void vcpu_block(unsigned int cpu, void *udata)
{
    const Insn *insn = udata;

    vcpu_find(cpu)->moved = read_register(pc_reg) - insn->pc;
}

/* The first instruction of what may be an exception vector. */
static void vcpu_vector(unsigned int cpu, void *udata)
{
    VCPU *v = vcpu_find(cpu);
    uint64_t offset = ((const Insn *)udata)->pc - v->vbar;
    uint64_t pc;
    int ec;
    bool exception, again;

    if (!v->last || offset >= VECTORS_SIZE) {
        return;
    }
    pc = read_register(elr_el1);
    ec = ESR_EC(read_register(esr_el1));
    again = pc == v->last_pc && !is_branch(v->last->word->insn);
    exception = VECTOR_IS_SYNC(offset) &&
                (again || v->last->word->insn >> 24 == 0xd4);
    if (exception) {
        again = ec == EC_DATA_ABORT_EL0 || ec == EC_DATA_ABORT_EL1;
    }
    finish(v, pc, exception, again);
}

static void vcpu_insn(unsigned int cpu, void *udata)
{
    VCPU *v = vcpu_find(cpu);
    const Insn *insn = udata;
    uint64_t pc = insn->pc + v->moved;

    if (v->last) {
        finish(v, pc, false,
               pc == v->last_pc && !is_branch(v->last->word->insn));
    }
    if (v->written) {
        write_register(v);
    }
    if (!profiled(v, pc)) {
        return;
    }

    v->last = insn;
    v->last_pc = pc;
    v->count_before = v->count;
    v->sample.cpu = cpu;
    if (count_operation(v) && !(v->pmsirr & PMSIRR_RND)) {
        v->sampled = true;
        v->sample = (Entry) {
            .kind = ENTRY_SAMPLE,
            .cpu = cpu,
            .number = v->operations,
            .pc = pc,
            .insn = insn->word->insn,
            .flags = in_kernel(pc) ? FLAG_EL1 : 0,
        };
    }
}

static void vcpu_mem(unsigned int cpu, qemu_plugin_meminfo_t info,
                     uint64_t vaddr, void *udata)
{
    VCPU *v = vcpu_find(cpu);
    struct qemu_plugin_hwaddr *hwaddr;
    Access *a;

    if (!v->sampled || v->last != udata) {
        return;
    }
    a = qemu_plugin_mem_is_store(info) ? &v->sample.store : &v->sample.load;
    a->bytes += 1 << qemu_plugin_mem_size_shift(info);
    if (!a->accesses++) {
        a->va = vaddr;
        hwaddr = qemu_plugin_get_hwaddr(info, vaddr);
        a->pa = hwaddr ? qemu_plugin_hwaddr_phys_addr(hwaddr) : UINT64_MAX;
    }
}

static void instrument_all(qemu_plugin_id_t id);

/* MRS or MSR of a register that is followed, after vcpu_insn() */
static void vcpu_register(unsigned int cpu, void *udata)
{
    VCPU *v = vcpu_find(cpu);
    uint32_t insn = ((const Insn *)udata)->word->insn;

    if (v->written) {
        write_register(v);
    }
    if ((insn & ~0x1f) == MRS_PMSICR_EL1) {
        if (!(v->pmsirr & PMSIRR_RND)) {
            put(&(Entry) {
                .kind = ENTRY_READ,
                .cpu = cpu,
                .number = v->count,
            });
        }
        return;
    }
    v->written = insn & ~0x1f;
    v->value = (insn & 0x1f) == 31 ? 0 : read_register(xregs[insn & 0x1f]);
    v->tracing = true;

    /* What is executed matters from now on. QEMU translates it anew. */
    if (v->written == MSR_PMSCR_EL1 && v->value &&
        !g_atomic_int_get(&started)) {
        g_atomic_int_set(&started, true);
        qemu_plugin_reset(plugin_id, instrument_all);
    }
}

/* --- Instrumentation ----------------------------------------------------- */

static guint insn_hash(gconstpointer p)
{
    const Insn *insn = p;

    return g_int64_hash(&insn->pc) ^ insn->word->insn;
}

static gboolean insn_equal(gconstpointer a, gconstpointer b)
{
    return !memcmp(a, b, sizeof(Insn));
}

/* There is one Insn for each address and word, and it is never freed. */
static Insn *find_insn(uint64_t pc, uint32_t data)
{
    Word *word = g_hash_table_lookup(words, GUINT_TO_POINTER(data));
    Insn *insn;

    if (!word) {
        word = g_malloc0(sizeof(Word) + n_vcpus * sizeof(uint64_t));
        word->insn = data;
        g_hash_table_insert(words, GUINT_TO_POINTER(data), word);
    }
    insn = g_hash_table_lookup(insns, &(Insn) { .pc = pc, .word = word });
    if (!insn) {
        insn = g_new0(Insn, 1);
        insn->pc = pc;
        insn->word = word;
        g_hash_table_add(insns, insn);
    }
    return insn;
}

static bool is_followed(uint32_t insn)
{
    switch (insn & ~0x1f) {
    case MSR_VBAR_EL1:
    case MSR_PMSCR_EL1:
    case MSR_PMSICR_EL1:
    case MSR_PMSIRR_EL1:
    case MSR_PMBLIMITR_EL1:
    case MRS_PMSICR_EL1:
        return true;
    default:
        return false;
    }
}

/* Until a driver enables the unit, only its registers are followed. */
static void instrument(struct qemu_plugin_insn *handle, bool first)
{
    uint64_t pc = qemu_plugin_insn_vaddr(handle);
    uint32_t data = 0;
    qemu_plugin_u64 tracing =
        qemu_plugin_scoreboard_u64_in_struct(vcpus, VCPU, tracing);
    Insn *insn;

    qemu_plugin_insn_data(handle, &data, sizeof(data));
    data = GUINT32_FROM_LE(data);
    if (!started && !is_followed(data)) {
        return;
    }
    g_mutex_lock(&lock);
    insn = find_insn(pc, data);
    g_mutex_unlock(&lock);

    if (started) {
        if (first) {
            qemu_plugin_register_vcpu_insn_exec_cond_cb(
                handle, vcpu_block, QEMU_PLUGIN_CB_R_REGS,
                QEMU_PLUGIN_COND_NE, tracing, 0, insn);
        }
        if (in_kernel(pc) && pc % VECTOR_SIZE == 0) {
            qemu_plugin_register_vcpu_insn_exec_cond_cb(
                handle, vcpu_vector, QEMU_PLUGIN_CB_R_REGS,
                QEMU_PLUGIN_COND_NE, tracing, 0, insn);
        }
        qemu_plugin_register_vcpu_insn_exec_cond_cb(
            handle, vcpu_insn, QEMU_PLUGIN_CB_NO_REGS,
            QEMU_PLUGIN_COND_NE, tracing, 0, insn);
        qemu_plugin_register_vcpu_mem_cb(
            handle, vcpu_mem, QEMU_PLUGIN_CB_NO_REGS,
            QEMU_PLUGIN_MEM_RW, insn);
    }
    if (is_followed(data)) {
        qemu_plugin_register_vcpu_insn_exec_cb(
            handle, vcpu_register, QEMU_PLUGIN_CB_R_REGS, insn);
    }
}

static void vcpu_tb_trans(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        instrument(qemu_plugin_tb_get_insn(tb, i), i == 0);
    }
}

/* All vCPUs are alike. */
static void vcpu_init(qemu_plugin_id_t id, unsigned int cpu)
{
    g_autoptr(GArray) registers = qemu_plugin_get_registers();

    for (size_t i = 0; i < registers->len; i++) {
        qemu_plugin_reg_descriptor *r =
            &g_array_index(registers, qemu_plugin_reg_descriptor, i);
        unsigned int n;

        if (!strcmp(r->name, "pc")) {
            pc_reg = r->handle;
        } else if (!strcmp(r->name, "ELR_EL1")) {
            elr_el1 = r->handle;
        } else if (!strcmp(r->name, "ESR_EL1")) {
            esr_el1 = r->handle;
        } else if (sscanf(r->name, "x%u", &n) == 1 && n < 31) {
            xregs[n] = r->handle;
        }
    }
    assert(pc_reg && elr_el1 && esr_el1 && xregs[0] && xregs[30]);
}

static void plugin_exit(qemu_plugin_id_t id, void *udata)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, words);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const Word *word = value;
        Entry entry = { .kind = ENTRY_EXECUTED, .insn = word->insn };

        for (int i = 0; i < n_vcpus; i++) {
            entry.number += word->executed[i];
        }
        if (entry.number) {
            put(&entry);
        }
    }
    fclose(out);
}

static void instrument_all(qemu_plugin_id_t id)
{
    qemu_plugin_register_vcpu_tb_trans_cb(id, vcpu_tb_trans);
    qemu_plugin_register_atexit_cb(id, plugin_exit, NULL);
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
                                           const qemu_info_t *info,
                                           int argc, char **argv)
{
    if (strcmp(info->target_name, "aarch64") || !info->system_emulation) {
        fprintf(stderr, "spe_trace: needs the system emulation of aarch64\n");
        return -1;
    }
    for (int i = 0; i < argc; i++) {
        if (!g_str_has_prefix(argv[i], "out=") || out) {
            fprintf(stderr, "spe_trace: unexpected argument %s\n", argv[i]);
            return -1;
        }
        out = fopen(argv[i] + strlen("out="), "wb");
    }
    if (!out) {
        fprintf(stderr, "spe_trace: give a file that can be written: out=\n");
        return -1;
    }

    plugin_id = id;
    n_vcpus = info->system.max_vcpus;
    vcpus = qemu_plugin_scoreboard_new(sizeof(VCPU));
    words = g_hash_table_new(NULL, NULL);
    insns = g_hash_table_new(insn_hash, insn_equal);
    qemu_plugin_register_vcpu_init_cb(id, vcpu_init);
    instrument_all(id);
    return 0;
}
