/*
 * Arm Statistical Profiling Extension (FEAT_SPE)
 *
 * How an operation is sampled
 * ---------------------------
 * Code that executes while profiling is enabled at its Exception level is
 * translated with the SPE_ACTIVE TB flag; all other code is not affected.
 * Each such TB subtracts its number of instructions from the operation
 * counter on entry. When the operation to be sampled lies within the TB, it
 * is not entered; instead the same code is executed with the SPE_SEARCH TB
 * flag, which makes every instruction count itself and calls the helper at
 * the right one. The helper notes the instruction and its operands. When the
 * TB has been left (cpu_get_tb_cpu_state() or an exception), the outcome is
 * known, and the record is made, filtered and written.
 *
 * Letters and numbers in comments name rules and sections of the Arm
 * Architecture Reference Manual (DDI 0487).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "hw/irq.h"
#include "hw/qdev-properties.h"
#include "hw/registerfields.h"
#include "migration/vmstate.h"
#include "system/tcg.h"
#include "system/cpu-timers.h"
#include "cpu.h"
#include "cpregs.h"
#include "translate.h"
#include "arm-spe.h"
#include "exec/helper-proto.h"
#include "target/arm/trace.h"

FIELD(PMSCR, E0SPE, 0, 1)   /* E0HSPE in PMSCR_EL2 */
FIELD(PMSCR, E1SPE, 1, 1)   /* E2SPE in PMSCR_EL2 */
FIELD(PMSCR, CX, 3, 1)
FIELD(PMSCR, PA, 4, 1)
FIELD(PMSCR, TS, 5, 1)
FIELD(PMSCR, PCT, 6, 2)

FIELD(PMSICR, COUNT, 0, 32)
FIELD(PMSICR, ECOUNT, 56, 8)

FIELD(PMSIRR, RND, 0, 1)
FIELD(PMSIRR, INTERVAL, 8, 24)

FIELD(PMSFCR, FE, 0, 1)
FIELD(PMSFCR, FT, 1, 1)
FIELD(PMSFCR, FL, 2, 1)
FIELD(PMSFCR, FNE, 3, 1)
FIELD(PMSFCR, FDS, 4, 1)
/* One bit for each type, here and in the masks */
FIELD(PMSFCR, TYPES, 16, 5)
FIELD(PMSFCR, MASKS, 48, 5)

enum {
    SPE_TYPE_B = 1 << 0,
    SPE_TYPE_LD = 1 << 1,
    SPE_TYPE_ST = 1 << 2,
    SPE_TYPE_FP = 1 << 3,
    SPE_TYPE_SIMD = 1 << 4,
};

FIELD(PMSIDR, FE, 0, 1)
FIELD(PMSIDR, FT, 1, 1)
FIELD(PMSIDR, FL, 2, 1)
FIELD(PMSIDR, ARCHINST, 3, 1)
FIELD(PMSIDR, LDS, 4, 1)
FIELD(PMSIDR, ERND, 5, 1)
FIELD(PMSIDR, FNE, 6, 1)
FIELD(PMSIDR, FDS, 7, 1)
FIELD(PMSIDR, INTERVAL, 8, 4)
FIELD(PMSIDR, MAXSIZE, 12, 4)
FIELD(PMSIDR, COUNTSIZE, 16, 4)
FIELD(PMSIDR, CRR, 25, 1)
FIELD(PMSIDR, EFT, 26, 1)
FIELD(PMSIDR, FPF, 27, 1)

FIELD(PMBIDR, ALIGN, 0, 4)
FIELD(PMBIDR, P, 4, 1)
FIELD(PMBIDR, F, 5, 1)

FIELD(PMBLIMITR, E, 0, 1)
FIELD(PMBLIMITR, FM, 1, 2)
FIELD(PMBLIMITR, LIMIT, 12, 52)

#define PMBLIMITR_FM_DISCARD    2

FIELD(PMBSR, MSS, 0, 16)
FIELD(PMBSR, COLL, 16, 1)
FIELD(PMBSR, S, 17, 1)
FIELD(PMBSR, EA, 18, 1)
FIELD(PMBSR, DL, 19, 1)
FIELD(PMBSR, EC, 26, 6)

#define PMBSR_EC_BUF        0x00
#define PMBSR_EC_FAULT_GPC  0x1e
#define PMBSR_EC_FAULT_S1   0x24
#define PMBSR_EC_FAULT_S2   0x25
#define PMBSR_BSC_FULL      1

FIELD(MDCR_EL2, E2PB, 12, 2)
FIELD(MDCR_EL2, TPMS, 14, 1)
FIELD(MDCR_EL3, NSPB, 12, 2)

/* Bits of the Events packet, of PMSEVFR_EL1 and of PMSNEVFR_EL1 */
enum {
    SPE_EV_EXCEPTION = 1 << 0,
    SPE_EV_RETIRED = 1 << 1,
    SPE_EV_L1D_ACCESS = 1 << 2,
    SPE_EV_TLB_ACCESS = 1 << 4,
    SPE_EV_TLB_WALK = 1 << 5,
    SPE_EV_NOT_TAKEN = 1 << 6,
    SPE_EV_MISPRED = 1 << 7,
    SPE_EV_MISALIGNED = 1 << 11,
};

/* Events that the filters can select in every version, and later additions */
#define SPE_FILTER_V1P0 0xaa
#define SPE_FILTER_V1P1 (1 << 11)
#define SPE_FILTER_V1P2 (1 << 6)
#define SPE_FILTER_V1P4 ((1 << 2) | (1 << 4))

/* ID_AA64DFR0_EL1.PMSVer */
enum {
    SPE_V1P0 = 1,
    SPE_V1P1,
    SPE_V1P2,
    SPE_V1P3,
    SPE_V1P4,
    SPE_V1P5,
};

/* Operation Type packet: class in the header, subclass in the payload */
enum {
    SPE_CLASS_OTHER,
    SPE_CLASS_LDST,
    SPE_CLASS_BRANCH,
};

enum {
    SPE_OTHER_COND = 0x01,
    SPE_OTHER_FP = 0x02,
    SPE_OTHER_ASE = 0x04,
    SPE_OTHER_SVE = 0x08,

    SPE_LDST_ST = 0x01,
    SPE_LDST_GP = 0x00,
    SPE_LDST_EXTENDED = 0x02,
    SPE_LDST_SIMD_FP = 0x04,
    SPE_LDST_SVE = 0x08,
    SPE_LDST_UNSPEC = 0x10,
    SPE_LDST_TAG = 0x14,
    SPE_LDST_MEMCPY = 0x20,
    SPE_LDST_MEMSET = 0x25,
    SPE_LDST_AT = 0x04,     /* with SPE_LDST_EXTENDED */
    SPE_LDST_EXCL = 0x08,   /* with SPE_LDST_EXTENDED */
    SPE_LDST_AR = 0x10,     /* with SPE_LDST_EXTENDED */

    SPE_BR_COND = 0x01,
    SPE_BR_IND = 0x02,
    SPE_BR_CALL = 1 << 3,
    SPE_BR_RET = 2 << 3,
    SPE_BR_OTHER = 3 << 3,
};

/* Latencies in cycles, see the README or docs for the rule */
enum {
    SPE_LAT_ISSUE = 1,
    SPE_LAT_OTHER = 1,
    SPE_LAT_FP = 4,
    SPE_LAT_BRANCH = 1,
    SPE_LAT_MISPRED = 10,
    SPE_LAT_LOAD = 4,
    SPE_LAT_STORE = 2,
    SPE_LAT_ATOMIC = 8,
    SPE_LAT_TLB_HIT = 1,
    SPE_LAT_TLB_WALK = 20,
};

/* Data Source packet: the value for "L1 data cache", and for "DRAM" */
#define SPE_DS_L1D      0x0
#define SPE_DS_DRAM     0xe

/* The largest size and the largest alignment that can be chosen */
#define SPE_MAX_SLOT    2048

/* No record has more bytes of packets */
#define SPE_MAX_BYTES   128

/* What an A64 instruction is for SPE */
typedef struct SPEOp {
    uint8_t class;
    uint8_t subclass;
    uint8_t types;      /* SPE_TYPE_* for the filters */
    bool atomic;        /* load and store at once for the type filter */
    bool has_va;
    bool unpriv;
    uint8_t size;       /* bytes that must be naturally aligned, or 0 */
    uint64_t va;
} SPEOp;

/* --- Ownership ----------------------------------------------------------- */

/* The Exception level that owns the buffer: ProfilingBufferOwner(). */
static int spe_owner_el(CPUARMState *env)
{
    if (arm_is_el2_enabled(env) &&
        FIELD_EX64(env->cp15.mdcr_el2, MDCR_EL2, E2PB) == 0) {
        return 2;
    }
    return 1;
}

/* True if EL3, if there is one, gives the buffer to the current state. */
static bool spe_owned_by_this_state(CPUARMState *env)
{
    int nspb;

    if (!arm_feature(env, ARM_FEATURE_EL3)) {
        return true;
    }
    nspb = FIELD_EX64(env->cp15.mdcr_el3, MDCR_EL3, NSPB);
    return (nspb >> 1) == !arm_is_secure_below_el3(env);
}

static bool spe_buffer_enabled(CPUARMState *env)
{
    return FIELD_EX64(env->spe.pmblimitr, PMBLIMITR, E) &&
           !FIELD_EX64(env->spe.pmbsr, PMBSR, S);
}

/* StatisticalProfilingEnabled() */
bool arm_spe_enabled(CPUARMState *env, int el)
{
    bool tge;
    int owner;

    if (likely(!FIELD_EX64(env->spe.pmblimitr, PMBLIMITR, E))) {
        return false;
    }
    if (!spe_buffer_enabled(env) || el == 3 || !spe_owned_by_this_state(env)) {
        return false;
    }

    owner = spe_owner_el(env);
    tge = arm_hcr_el2_eff(env) & HCR_TGE;
    if (owner < el || (tge && owner == 1) || !arm_el_is_aa64(env, owner)) {
        return false;
    }
    switch (el) {
    case 2:
        return FIELD_EX64(env->spe.pmscr_el[2], PMSCR, E1SPE);
    case 1:
        return FIELD_EX64(env->spe.pmscr_el[1], PMSCR, E1SPE);
    default:
        return FIELD_EX64(env->spe.pmscr_el[tge ? 2 : 1], PMSCR, E0SPE);
    }
}

/*
 * A control that PMSCR_EL1 gives to the owner at EL1, and that PMSCR_EL2
 * must permit if there is an EL2.
 */
static bool spe_collect_pa(CPUARMState *env)
{
    bool el1 = FIELD_EX64(env->spe.pmscr_el[1], PMSCR, PA);
    bool el2 = FIELD_EX64(env->spe.pmscr_el[2], PMSCR, PA);

    if (!arm_is_el2_enabled(env)) {
        return el1;
    }
    return spe_owner_el(env) == 2 ? el2 : el1 && el2;
}

static bool spe_collect_ts(CPUARMState *env)
{
    return FIELD_EX64(env->spe.pmscr_el[spe_owner_el(env)], PMSCR, TS);
}

static uint64_t spe_timestamp(CPUARMState *env)
{
    int pct = FIELD_EX64(env->spe.pmscr_el[spe_owner_el(env)], PMSCR, PCT);
    uint64_t now = gt_get_countervalue(env);

    if (arm_is_el2_enabled(env)) {
        /* EL2 decides whether EL1 may see physical time. */
        if (!(FIELD_EX64(env->spe.pmscr_el[2], PMSCR, PCT) & 1)) {
            pct = 0;
        }
        if (!(pct & 1)) {
            now -= env->cp15.cntvoff_el2;
        }
    }
    return now;
}

/* --- Buffer management events -------------------------------------------- */

static void spe_update_irq(CPUARMState *env)
{
    BQL_LOCK_GUARD();
    qemu_set_irq(env_archcpu(env)->spe_interrupt,
                 FIELD_EX64(env->spe.pmbsr, PMBSR, S));
}

static void spe_buffer_event(CPUARMState *env, int ec, int mss, bool ea)
{
    uint64_t pmbsr = env->spe.pmbsr;

    pmbsr = FIELD_DP64(pmbsr, PMBSR, EC, ec);
    pmbsr = FIELD_DP64(pmbsr, PMBSR, MSS, mss);
    pmbsr = FIELD_DP64(pmbsr, PMBSR, EA, ea);
    pmbsr = FIELD_DP64(pmbsr, PMBSR, S, 1);
    env->spe.pmbsr = pmbsr;
    trace_arm_spe_buffer_event(env_cpu(env)->cpu_index, pmbsr,
                               env->spe.pmbptr, env->spe.pmblimitr);

    spe_update_irq(env);
    arm_rebuild_hflags(env);
}

static ARMMMUIdx spe_buffer_mmu_idx(CPUARMState *env)
{
    if (spe_owner_el(env) == 2) {
        return arm_hcr_el2_eff(env) & HCR_E2H ? ARMMMUIdx_E20_2
                                              : ARMMMUIdx_E2;
    }
    return ARMMMUIdx_E10_1;
}

/* The write to ptr could not be done: find out why. */
static void spe_buffer_fault(CPUARMState *env, uint64_t ptr, ARMMMUIdx mmu_idx)
{
    /* Nothing but RAM takes records: a synchronous External abort */
    int ec = PMBSR_EC_FAULT_S1, fsc = 0x10;
    bool ea = true;
    ARMMMUFaultInfo fi = {};
    GetPhysAddrResult res = {};

    if (get_phys_addr(env, ptr, MMU_DATA_STORE, 0, mmu_idx, &res, &fi)) {
        if (fi.type == ARMFault_GPCFOnOutput) {
            ec = PMBSR_EC_FAULT_GPC;
            fsc = 0;
        } else {
            ec = fi.stage2 ? PMBSR_EC_FAULT_S2 : PMBSR_EC_FAULT_S1;
            /* The FSC field only, without the bit that says LPAE */
            fsc = arm_fi_to_lfsc(&fi) & 0x3f;
        }
        ea = fi.type == ARMFault_SyncExternal ||
             fi.type == ARMFault_SyncExternalOnWalk;
    }
    spe_buffer_event(env, ec, fsc, ea);
}

/*
 * Write a record to the buffer in the owner's translation regime, and
 * Padding packets, so that PMBPTR_EL1 stays aligned. A fault is a buffer
 * management event, never an exception.
 */
static bool spe_buffer_write(CPUARMState *env, const uint8_t *data, int len,
                             int align)
{
    ARMMMUIdx mmu_idx = spe_buffer_mmu_idx(env);
    const uint8_t *start = data;
    int left = ROUND_UP(len, align);

    while (left) {
        uint64_t ptr = env->spe.pmbptr;
        int chunk = MIN(left, -(ptr | TARGET_PAGE_MASK));
        int packets = MIN(len, chunk);
        void *host;
        int flags;

        flags = probe_access_full_mmu(env, ptr, chunk, MMU_DATA_STORE,
                                      arm_to_core_mmu_idx(mmu_idx),
                                      &host, NULL);
        if (unlikely(!host || (flags & TLB_INVALID_MASK))) {
            if (data != start) {
                env->spe.pmbsr = FIELD_DP64(env->spe.pmbsr, PMBSR, DL, 1);
            }
            spe_buffer_fault(env, ptr, mmu_idx);
            return false;
        }
        memcpy(host, data, packets);
        memset(host + packets, 0, chunk - packets);
        env->spe.pmbptr += chunk;
        data += packets;
        len -= packets;
        left -= chunk;
    }
    return true;
}

/* --- Interval ------------------------------------------------------------ */

static uint8_t spe_random(CPUARMState *env)
{
    uint64_t x = env->spe.prng;

    if (!x) {
        /* First use after reset: no two CPUs share a sequence. */
        x = env_archcpu(env)->spe.seed ^
            ((env_cpu(env)->cpu_index + 1) * 0x9e3779b97f4a7c15ull);
        x = x ? x : 1;
    }
    /* xorshift64 */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    env->spe.prng = x;
    return x >> 32;
}

static bool spe_ernd(CPUARMState *env)
{
    return FIELD_EX64(env_archcpu(env)->spe.pmsidr, PMSIDR, ERND);
}

static int64_t spe_reload_value(CPUARMState *env)
{
    int64_t interval = FIELD_EX64(env->spe.pmsirr, PMSIRR, INTERVAL) << 8;

    /* Software must not use zero; take the smallest interval then. */
    return interval ? interval : 1 << 8;
}

/*
 * SPEResetSampleCounter(): how many operations until the next sample.
 * Without ERND, the random offset makes the interval longer. With it, COUNT
 * reloads exactly, and the sample is taken a random number of operations
 * after COUNT has reached zero, so offsets do not add up.
 */
static int64_t spe_next_interval(CPUARMState *env)
{
    int64_t interval = spe_reload_value(env) - env->spe.lead;

    env->spe.lead = 0;
    if (FIELD_EX64(env->spe.pmsirr, PMSIRR, RND)) {
        uint8_t r = spe_random(env);

        interval += r;
        if (spe_ernd(env)) {
            env->spe.lead = r;
        }
    }
    return MAX(interval, 1);
}

static uint64_t spe_counter(CPUARMState *env)
{
    int64_t left = MAX(env->spe.count + 1, 0);
    int64_t lead = env->spe.lead;
    uint64_t ret = 0;

    if (env->spe.reload) {
        return 0;
    }
    if (left > lead) {
        return FIELD_DP64(ret, PMSICR, COUNT, left - lead);
    }
    ret = FIELD_DP64(ret, PMSICR, COUNT, spe_reload_value(env) - lead + left);
    return FIELD_DP64(ret, PMSICR, ECOUNT, left);
}

static void spe_set_counter(CPUARMState *env, uint64_t value)
{
    int64_t count = FIELD_EX64(value, PMSICR, COUNT);
    int64_t ecount = spe_ernd(env) ? FIELD_EX64(value, PMSICR, ECOUNT) : 0;

    env->spe.searching = false;
    env->spe.lead = 0;
    env->spe.reload = false;
    if (ecount) {
        env->spe.lead = spe_reload_value(env) - count + ecount;
        env->spe.count = ecount - 1;
    } else if (count) {
        env->spe.count = count - 1;
    } else {
        env->spe.count = 0;
        env->spe.reload = true;
    }
}

/* --- Decoding ------------------------------------------------------------ */

static uint64_t spe_reg(CPUARMState *env, int n)
{
    return n == 31 ? 0 : env->xregs[n];
}

static uint64_t spe_base(CPUARMState *env, uint32_t insn)
{
    return env->xregs[extract32(insn, 5, 5)]; /* 31 is SP */
}

static void spe_set_va(SPEOp *op, uint64_t va, int size)
{
    op->has_va = true;
    op->va = va;
    op->size = size;
}

static void spe_set_ldst(SPEOp *op, bool store, int subclass)
{
    op->class = SPE_CLASS_LDST;
    op->subclass = subclass | (store ? SPE_LDST_ST : 0);
    op->types = store ? SPE_TYPE_ST : SPE_TYPE_LD;
    if (subclass == SPE_LDST_SIMD_FP) {
        op->types |= SPE_TYPE_SIMD;
    }
}

static void spe_set_atomic(SPEOp *op, bool store, bool ar)
{
    spe_set_ldst(op, store, SPE_LDST_EXTENDED | SPE_LDST_AT |
                 (ar ? SPE_LDST_AR : 0));
    op->types = SPE_TYPE_LD | SPE_TYPE_ST;
    op->atomic = true;
}

/* Load/store exclusive, ordered, and compare and swap: size 001000 ... */
static void spe_decode_excl(CPUARMState *env, uint32_t insn, SPEOp *op)
{
    int size = extract32(insn, 30, 2);
    bool o2 = extract32(insn, 23, 1);
    bool load = extract32(insn, 22, 1);
    bool o1 = extract32(insn, 21, 1);
    bool o0 = extract32(insn, 15, 1);

    if (o1 && (o2 || size < 2)) {
        /* CAS, or CASP, where size 0 is a pair of words */
        spe_set_atomic(op, false, load || o0);
        size = o2 ? size : size + 3;
    } else if (o2) {
        /* LDAR, LDLAR, STLR, STLLR */
        spe_set_ldst(op, !load, SPE_LDST_EXTENDED | SPE_LDST_AR);
    } else {
        spe_set_ldst(op, !load, SPE_LDST_EXTENDED | SPE_LDST_EXCL |
                     (o0 ? SPE_LDST_AR : 0));
        size += o1;
    }
    spe_set_va(op, spe_base(env, insn), 1 << size);
}

/* Load/store pair: opc 101 V idx L imm7 Rt2 Rn Rt */
static void spe_decode_pair(CPUARMState *env, uint32_t insn, SPEOp *op)
{
    int opc = extract32(insn, 30, 2);
    bool vec = extract32(insn, 26, 1);
    bool load = extract32(insn, 22, 1);
    bool tag = !vec && opc == 1 && !load;   /* STGP */
    int scale = vec ? 2 + opc : tag ? 4 : 2 + (opc >> 1);
    int64_t offset = sextract32(insn, 15, 7) * (1 << scale);

    spe_set_ldst(op, !load, vec ? SPE_LDST_SIMD_FP : SPE_LDST_GP);
    spe_set_va(op, spe_base(env, insn) +
               (extract32(insn, 23, 2) == 1 ? 0 : offset),
               tag ? 16 : 1 << scale);
}

/* The extended register offset of LDR and STR */
static uint64_t spe_reg_offset(CPUARMState *env, uint32_t insn, int scale)
{
    uint64_t m = spe_reg(env, extract32(insn, 16, 5));

    switch (extract32(insn, 13, 3)) {
    case 2: /* UXTW */
        m = (uint32_t)m;
        break;
    case 6: /* SXTW */
        m = (int32_t)m;
        break;
    }
    return m << (extract32(insn, 12, 1) ? scale : 0);
}

/* LDADD and the like, SWP, LDAPR, LD64B, ST64B */
static void spe_decode_atomic(CPUARMState *env, uint32_t insn, SPEOp *op)
{
    int size = extract32(insn, 30, 2);
    bool acquire = extract32(insn, 23, 1);
    bool release = extract32(insn, 22, 1);
    bool o3 = extract32(insn, 15, 1);
    int opc = extract32(insn, 12, 3);

    if (o3 && opc == 4 && acquire && !release) {
        spe_set_ldst(op, false, SPE_LDST_EXTENDED | SPE_LDST_AR);
    } else if (o3 && opc) {
        /* LD64B has opc 5; ST64B, ST64BV and ST64BV0 have 1, 3 and 2 */
        spe_set_ldst(op, opc != 5, SPE_LDST_GP);
        size = 6;
    } else {
        /* With XZR as destination it is an atomic store, for example STADD */
        spe_set_atomic(op, !o3 && !acquire && extract32(insn, 0, 5) == 31,
                       acquire || release);
    }
    spe_set_va(op, spe_base(env, insn), 1 << size);
}

/* Load/store register: size 111 V ... */
static void spe_decode_reg(CPUARMState *env, uint32_t insn, SPEOp *op)
{
    int size = extract32(insn, 30, 2);
    int opc = extract32(insn, 22, 2);
    bool vec = extract32(insn, 26, 1);
    bool unsigned_imm = extract32(insn, 24, 1);
    bool bit21 = extract32(insn, 21, 1);
    int kind = extract32(insn, 10, 2);
    int64_t imm9 = sextract32(insn, 12, 9);
    uint64_t base = spe_base(env, insn);
    bool prefetch;

    if (!unsigned_imm && bit21 && !vec && kind == 0) {
        spe_decode_atomic(env, insn, op);
        return;
    }
    if (!unsigned_imm && bit21 && (kind & 1)) {
        /* LDRAA, LDRAB: what the authenticated pointer should be */
        int64_t offset = (sextract32(insn, 22, 1) * 512) |
                         extract32(insn, 12, 9);

        base = sextract64(base, 0, 56);
        spe_set_ldst(op, false, SPE_LDST_GP);
        spe_set_va(op, base + offset * 8, 8);
        return;
    }

    prefetch = !vec && size == 3 && opc == 2;
    if (prefetch) {
        spe_set_ldst(op, false, SPE_LDST_UNSPEC);
    } else if (vec) {
        size |= (opc & 2) << 1;
        spe_set_ldst(op, !(opc & 1), SPE_LDST_SIMD_FP);
    } else {
        spe_set_ldst(op, opc == 0, SPE_LDST_GP);
    }

    if (unsigned_imm) {
        base += (uint64_t)extract32(insn, 10, 12) << size;
    } else if (bit21) {
        base += spe_reg_offset(env, insn, size);
    } else if (kind != 1) {
        /* All but post-indexed */
        base += imm9;
        op->unpriv = kind == 2 && !vec;
    }
    spe_set_va(op, base, prefetch ? 0 : 1 << size);
}

static void spe_decode_ldst(CPUARMState *env, uint64_t pc, uint32_t insn,
                            SPEOp *op)
{
    uint64_t base = spe_base(env, insn);
    bool vec = extract32(insn, 26, 1);

    switch (extract32(insn, 28, 2)) {
    case 0:
        if (!vec) {
            spe_decode_excl(env, insn, op);
        } else {
            /* LD1 to LD4 and ST1 to ST4 */
            spe_set_ldst(op, !extract32(insn, 22, 1), SPE_LDST_SIMD_FP);
            spe_set_va(op, base, 0);
        }
        return;
    case 1:
        if (!extract32(insn, 24, 1)) {
            /* LDR (literal), LDRSW and PRFM: opc 011 V 00 imm19 Rt */
            int opc = extract32(insn, 30, 2);

            spe_set_ldst(op, false, vec ? SPE_LDST_SIMD_FP :
                         opc == 3 ? SPE_LDST_UNSPEC : SPE_LDST_GP);
            spe_set_va(op, pc + sextract32(insn, 5, 19) * 4,
                       vec ? 4 << opc : opc == 1 ? 8 : 4);
        } else if (extract32(insn, 24, 8) == 0xd9 && extract32(insn, 21, 1)) {
            /* Allocation tags: LDG and LDGM load */
            int opc = extract32(insn, 22, 2);
            bool multiple = extract32(insn, 10, 2) == 0;
            bool load = multiple && (opc & 1);

            spe_set_ldst(op, !load, SPE_LDST_TAG);
            spe_set_va(op, extract32(insn, 10, 2) == 1 ? base :
                       base + sextract32(insn, 12, 9) * 16, 16);
        } else if (extract32(insn, 10, 2) == 1 && !extract32(insn, 21, 1)) {
            /*
             * CPY and SET: where the destination continues. Rn is negative
             * in the later steps if Rd holds the end (option A).
             */
            bool set = extract32(insn, 22, 2) == 3;
            int64_t n = spe_reg(env, extract32(insn, 5, 5));

            spe_set_ldst(op, true, set ? SPE_LDST_MEMSET : SPE_LDST_MEMCPY);
            spe_set_va(op, spe_reg(env, extract32(insn, 0, 5)) + MIN(n, 0), 0);
        } else {
            /* LDAPUR and STLUR */
            spe_set_ldst(op, extract32(insn, 22, 2) == 0,
                         SPE_LDST_EXTENDED | SPE_LDST_AR);
            spe_set_va(op, base + sextract32(insn, 12, 9),
                       1 << extract32(insn, 30, 2));
        }
        return;
    case 2:
        spe_decode_pair(env, insn, op);
        return;
    default:
        spe_decode_reg(env, insn, op);
        return;
    }
}

/* Branches, exception generation, system instructions */
static void spe_decode_branch(uint32_t insn, SPEOp *op)
{
    op->class = SPE_CLASS_BRANCH;
    op->types = SPE_TYPE_B;

    switch (extract32(insn, 29, 3)) {
    case 0: /* B */
        op->subclass = SPE_BR_OTHER;
        return;
    case 4: /* BL */
        op->subclass = SPE_BR_CALL;
        return;
    case 1: /* CBZ, CBNZ, TBZ, TBNZ */
    case 5:
        op->subclass = SPE_BR_OTHER | SPE_BR_COND;
        return;
    case 2: /* B.cond, BC.cond */
        if (!extract32(insn, 25, 1)) {
            op->subclass = SPE_BR_OTHER | SPE_BR_COND;
            return;
        }
        break;
    case 6:
        if (extract32(insn, 25, 1)) {
            /* opc: 0 BR, 1 BLR, 2 RET, 4 ERET, 8 BRAA, 9 BLRAA */
            switch (extract32(insn, 21, 4)) {
            case 1:
            case 9:
                op->subclass = SPE_BR_CALL | SPE_BR_IND;
                break;
            case 2:
                op->subclass = SPE_BR_RET | SPE_BR_IND;
                break;
            default:
                op->subclass = SPE_BR_OTHER | SPE_BR_IND;
                break;
            }
            return;
        }
        break;
    }
    op->class = SPE_CLASS_OTHER;
    op->types = 0;
}

/* SVE: the length in the payload is in powers of two times 32 bits */
static void spe_decode_sve(CPUARMState *env, uint32_t insn, SPEOp *op)
{
    int vl = (EX_TBFLAG_A64(env->hflags, VL) + 1) * 16;
    int evl = MAX(32 - clz32(vl - 1), 4) - 2;   /* 128 bits is 2 */

    if (extract32(insn, 31, 1)) {
        /* 1x0 0010: loads, except 111 0010: stores */
        bool store = extract32(insn, 29, 2) == 3;

        spe_set_ldst(op, store, SPE_LDST_SVE | evl << 4);
        op->types |= SPE_TYPE_SIMD;
        /* The address depends on the predicate: none is recorded. */
        return;
    }
    op->class = SPE_CLASS_OTHER;
    op->subclass = SPE_OTHER_SVE | evl << 4;
    op->types = SPE_TYPE_SIMD;
    if (extract32(insn, 24, 8) == 0x64 || extract32(insn, 24, 8) == 0x65) {
        op->subclass |= SPE_OTHER_FP;
        op->types |= SPE_TYPE_FP;
    }
}

static void spe_decode(CPUARMState *env, uint64_t pc, uint32_t insn, SPEOp *op)
{
    memset(op, 0, sizeof(*op));

    switch (extract32(insn, 25, 4)) {
    case 0x4:
    case 0x6:
    case 0xc:
    case 0xe:
        spe_decode_ldst(env, pc, insn, op);
        break;
    case 0xa:
    case 0xb:
        spe_decode_branch(insn, op);
        break;
    case 0x2:
        spe_decode_sve(env, insn, op);
        break;
    case 0x5:
    case 0xd:
        /* Conditional compare and conditional select */
        if ((insn & 0x1fe00000) == 0x1a400000 ||
            (insn & 0x1fe00000) == 0x1a800000) {
            op->subclass = SPE_OTHER_COND;
        }
        break;
    case 0x7:
    case 0xf:
        if (extract32(insn, 28, 1) && !extract32(insn, 30, 1)) {
            /* Scalar floating-point */
            op->types = SPE_TYPE_FP;
            op->subclass = SPE_OTHER_FP;
            if (extract32(insn, 21, 1) && !extract32(insn, 24, 1) &&
                extract32(insn, 10, 1) && !extract32(insn, 29, 3)) {
                int kind = extract32(insn, 10, 2);

                /* FCCMP and FCSEL */
                if (kind == 1 || kind == 3) {
                    op->subclass |= SPE_OTHER_COND;
                }
            }
        } else {
            op->types = SPE_TYPE_SIMD;
            op->subclass = SPE_OTHER_ASE;
        }
        break;
    }
}

/* --- Records ------------------------------------------------------------- */

/* One packet; the lower the rank, the sooner it gives way if space is short */
typedef struct SPEPacket {
    uint8_t rank;
    uint8_t header;
    uint8_t size;
    uint64_t payload;
} SPEPacket;

typedef struct SPERecord {
    SPEPacket packet[16];
    int n;
} SPERecord;

static void spe_packet(SPERecord *rec, int rank, int header, int size,
                       uint64_t payload)
{
    g_assert(rec->n < ARRAY_SIZE(rec->packet));
    /* The header's SZ field, bits [5:4], is log2 of the payload's size. */
    rec->packet[rec->n++] = (SPEPacket) {
        .rank = rank,
        .header = header | ctz32(size) << 4,
        .size = size,
        .payload = payload,
    };
}

/*
 * Lay the record out: at most max bytes, ended by a Timestamp packet or by
 * an End packet. Returns its length.
 */
static int spe_lay_out(SPERecord *rec, uint8_t *buf, int max)
{
    int len;

    for (;;) {
        int worst = 0;

        len = 0;
        for (int i = 0; i < rec->n; i++) {
            len += 1 + rec->packet[i].size;
            if (rec->packet[i].rank < rec->packet[worst].rank) {
                worst = i;
            }
        }
        if (rec->packet[rec->n - 1].header != 0x71) {
            len++;
        }
        if (len <= max) {
            break;
        }
        rec->n--;
        memmove(&rec->packet[worst], &rec->packet[worst + 1],
                (rec->n - worst) * sizeof(SPEPacket));
    }

    for (int i = 0; i < rec->n; i++) {
        SPEPacket *p = &rec->packet[i];

        *buf++ = p->header;
        for (int j = 0; j < p->size; j++) {
            *buf++ = p->payload >> (j * 8);
        }
    }
    if (rec->packet[rec->n - 1].header != 0x71) {
        *buf = 0x01;
    }
    return len;
}

static uint64_t spe_code_address(uint64_t addr, int el, bool ns)
{
    addr = deposit64(addr, 56, 8, 0);
    return addr | (uint64_t)el << 61 | (uint64_t)ns << 63;
}

static int spe_slot_size(ARMCPU *cpu)
{
    int max = 1 << FIELD_EX64(cpu->spe.pmsidr, PMSIDR, MAXSIZE);
    int align = 1 << FIELD_EX64(cpu->spe.pmbidr, PMBIDR, ALIGN);

    return MAX(max, align);
}

/* SPECollectRecord(), the part about the operation type */
static bool spe_type_selected(CPUARMState *env, const SPEOp *op)
{
    int want = FIELD_EX64(env->spe.pmsfcr, PMSFCR, TYPES);
    int mask = FIELD_EX64(env->spe.pmsfcr, PMSFCR, MASKS);

    /* Masked types must match exactly. */
    if ((op->types ^ want) & mask) {
        return false;
    }
    /* Of the others, any selected one will do. */
    want &= ~mask;
    return !want || (op->types & want);
}

static bool spe_selected(CPUARMState *env, const SPEOp *op, uint64_t events,
                         int latency, int source)
{
    uint64_t mask = env_archcpu(env)->spe.event_mask;
    uint64_t pmsfcr = env->spe.pmsfcr;

    if (FIELD_EX64(pmsfcr, PMSFCR, FE) &&
        (env->spe.pmsevfr & mask & ~events)) {
        return false;
    }
    if (FIELD_EX64(pmsfcr, PMSFCR, FNE) &&
        (env->spe.pmsnevfr & mask & events)) {
        return false;
    }
    if (FIELD_EX64(pmsfcr, PMSFCR, FT) && !spe_type_selected(env, op)) {
        return false;
    }
    if (FIELD_EX64(pmsfcr, PMSFCR, FL) && latency < env->spe.pmslatfr) {
        return false;
    }
    /* Only records that have a data source are filtered by it. */
    if (FIELD_EX64(pmsfcr, PMSFCR, FDS) && source >= 0 &&
        !extract64(env->spe.pmsdsfr, source & 0x3f, 1)) {
        return false;
    }
    return true;
}

/*
 * The outcome of the sampled operation is known: make its record.
 * next_pc is where execution continues if it retired.
 */
static void spe_make_record(CPUARMState *env, bool exception, uint64_t next_pc)
{
    ARMCPU *cpu = env_archcpu(env);
    const ARMSPESample *s = &env->spe.sample;
    uint64_t pmsidr = cpu->spe.pmsidr;
    int counter_max = (1 << (FIELD_EX64(pmsidr, PMSIDR, COUNTSIZE) == 3
                             ? 16 : 12)) - 1;
    int align = 1 << FIELD_EX64(cpu->spe.pmbidr, PMBIDR, ALIGN);
    uint64_t events = exception ? SPE_EV_EXCEPTION : SPE_EV_RETIRED;
    CPUTLBEntryFull *full = NULL;
    uint64_t pa = 0;
    bool has_pa = false;
    bool pa_ns = s->ns;
    int issue = SPE_LAT_ISSUE, total, xlat = 0, source = -1;
    int len, max;
    uint8_t subclass;
    SPERecord rec = {};
    uint8_t buf[SPE_MAX_BYTES];
    uint64_t limit;
    SPEOp op;

    /* The address was computed when the operation started. */
    spe_decode(env, s->pc, s->insn, &op);
    op.va = s->va;
    subclass = op.subclass;
    total = issue + SPE_LAT_OTHER;

    switch (op.class) {
    case SPE_CLASS_LDST:
        total = issue + (op.atomic ? SPE_LAT_ATOMIC :
                         op.types & SPE_TYPE_LD ? SPE_LAT_LOAD :
                         SPE_LAT_STORE);
        xlat = s->walk ? SPE_LAT_TLB_WALK : SPE_LAT_TLB_HIT;
        total += xlat;
        events |= SPE_EV_TLB_ACCESS;
        if (s->walk) {
            events |= SPE_EV_TLB_WALK;
        }
        if (op.size && (op.va & (op.size - 1)) &&
            cpu->spe.pmsver >= SPE_V1P1) {
            events |= SPE_EV_MISALIGNED;
        }
        if (op.has_va && !exception) {
            void *host;
            int flags = probe_access_full_mmu(env, op.va, 0, MMU_DATA_LOAD,
                                              s->mmu_idx, &host, &full);

            if (!(flags & TLB_INVALID_MASK)) {
                pa = full->phys_addr | (op.va & ~TARGET_PAGE_MASK);
                pa_ns = !full->attrs.secure;
                has_pa = true;
                source = host ? SPE_DS_L1D : SPE_DS_DRAM;
                if (host) {
                    events |= SPE_EV_L1D_ACCESS;
                }
            }
        }
        if (!(op.types & SPE_TYPE_LD) ||
            !FIELD_EX64(pmsidr, PMSIDR, LDS)) {
            source = -1;
        }
        if ((subclass & 0x0a) == SPE_LDST_SVE && cpu->spe.pmsver < SPE_V1P1) {
            subclass = SPE_LDST_SIMD_FP | (subclass & SPE_LDST_ST);
        }
        break;
    case SPE_CLASS_BRANCH:
        total = issue + SPE_LAT_BRANCH;
        if ((op.subclass & SPE_BR_COND) && !exception) {
            bool taken = next_pc != s->pc + 4;
            bool tbz = (s->insn & 0x7e000000) == 0x36000000;
            bool backward = extract32(s->insn, tbz ? 18 : 23, 1);

            /* Predicted as a static predictor would: backward is taken */
            if (!taken) {
                events |= SPE_EV_NOT_TAKEN;
            }
            if (taken != backward) {
                events |= SPE_EV_MISPRED;
                total += SPE_LAT_MISPRED;
            }
        }
        if (!FIELD_EX64(pmsidr, PMSIDR, CRR)) {
            subclass &= ~SPE_BR_OTHER;
        }
        break;
    default:
        if (op.types) {
            total = issue + SPE_LAT_FP;
        }
        if (!FIELD_EX64(pmsidr, PMSIDR, FPF) && !(subclass & SPE_OTHER_SVE)) {
            subclass &= ~(SPE_OTHER_FP | SPE_OTHER_ASE);
        }
        if ((subclass & SPE_OTHER_SVE) && cpu->spe.pmsver < SPE_V1P1) {
            subclass = 0;
        }
        break;
    }
    total = MIN(total, counter_max);

    if (!spe_selected(env, &op, events, total, source)) {
        trace_arm_spe_filtered(env_cpu(env)->cpu_index, s->pc, events);
        return;
    }
    if (FIELD_EX64(env->spe.pmblimitr, PMBLIMITR, FM) ==
        PMBLIMITR_FM_DISCARD) {
        trace_arm_spe_discarded(env_cpu(env)->cpu_index, s->pc, events);
        return;
    }

    spe_packet(&rec, 15, 0x80, 8, spe_code_address(s->pc, s->el, s->ns));
    spe_packet(&rec, 12, 0x88, 2, total);
    spe_packet(&rec, 5, 0x89, 2, issue);
    if (op.class == SPE_CLASS_LDST) {
        spe_packet(&rec, 4, 0x8a, 2, xlat);
    }
    spe_packet(&rec, 14, 0x42, 2, events);
    spe_packet(&rec, 13, 0x48 | op.class, 1, subclass);
    if (op.class == SPE_CLASS_BRANCH && !exception) {
        spe_packet(&rec, 11, 0x81, 8,
                   spe_code_address(next_pc, arm_current_el(env), s->ns));
    }
    if (op.has_va) {
        spe_packet(&rec, 11, 0x82, 8, op.va);
    }
    if (has_pa && spe_collect_pa(env)) {
        spe_packet(&rec, 9, 0x83, 8,
                   (pa & MAKE_64BIT_MASK(0, 56)) | (uint64_t)pa_ns << 63);
    }
    if (source >= 0) {
        spe_packet(&rec, 6, 0x43, 1, source);
    }
    if (spe_owner_el(env) == 1 &&
        FIELD_EX64(env->spe.pmscr_el[1], PMSCR, CX)) {
        spe_packet(&rec, 8, 0x44, 4, env->cp15.contextidr_el[1]);
    }
    if (arm_is_el2_enabled(env) &&
        FIELD_EX64(env->spe.pmscr_el[2], PMSCR, CX)) {
        spe_packet(&rec, 7, 0x45, 4, env->cp15.contextidr_el[2]);
    }
    if (spe_collect_ts(env)) {
        spe_packet(&rec, 10, 0x41, 8, spe_timestamp(env));
    }

    max = spe_slot_size(cpu);
    limit = env->spe.pmblimitr & R_PMBLIMITR_LIMIT_MASK;
    env->spe.pmbptr &= -(uint64_t)align;
    if (env->spe.pmbptr >= limit || limit - env->spe.pmbptr < max) {
        /* There never was room; nothing was written. */
        spe_buffer_event(env, PMBSR_EC_BUF, PMBSR_BSC_FULL, false);
        return;
    }

    len = spe_lay_out(&rec, buf, 1 << FIELD_EX64(pmsidr, PMSIDR, MAXSIZE));
    trace_arm_spe_record(env_cpu(env)->cpu_index, s->pc, s->insn, events,
                         env->spe.pmbptr, len);
    if (spe_buffer_write(env, buf, len, align) &&
        limit - env->spe.pmbptr < max) {
        spe_buffer_event(env, PMBSR_EC_BUF, PMBSR_BSC_FULL, false);
    }
}

static void spe_finish(CPUARMState *env, bool exception, uint64_t next_pc)
{
    /* An unwound operation is going to be counted again. */
    int64_t base = env->spe.state == ARM_SPE_UNWOUND ? -1 : env->spe.count;

    spe_make_record(env, exception, next_pc);
    /* If the next one should have been sampled meanwhile: the one now. */
    env->spe.count = MAX(base + spe_next_interval(env), 0);
    env->spe.state = ARM_SPE_IDLE;
}

/* --- Entry points from generated code and from the rest of the target ---- */

/* The operation to be sampled is within the TB of n instructions. */
void HELPER(spe_expired)(CPUARMState *env, uint32_t n)
{
    if (icount_enabled()) {
        /* The TB will not be executed: give back what it has taken. */
        env_cpu(env)->neg.icount_decr.u16.low += n;
    }
    if (env->spe.reload) {
        env->spe.reload = false;
        env->spe.count = spe_next_interval(env) - 1;
    } else {
        env->spe.searching = true;
    }
}

/* The operation to be sampled is about to execute. */
void HELPER(spe_sample)(CPUARMState *env, uint64_t pc_diff, uint32_t insn)
{
    ARMSPESample *s = &env->spe.sample;
    uint64_t pc = env->pc + pc_diff;
    SPEOp op;

    spe_decode(env, pc, insn, &op);
    s->pc = pc;
    s->insn = insn;
    s->va = op.va;
    s->walk = false;
    s->el = arm_current_el(env);
    s->ns = !arm_is_secure(env);
    s->mmu_idx = arm_to_core_mmu_idx(
        op.unpriv && EX_TBFLAG_A64(env->hflags, UNPRIV)
        ? arm_mmu_idx_el(env, 0) : arm_mmu_idx(env));
    env->spe.state = ARM_SPE_PENDING;
    env->spe.searching = false;
}

/*
 * Called whenever the next TB is looked up and an operation was sampled:
 * the TB with it has been left without an exception.
 */
void arm_spe_retire(CPUARMState *env)
{
    if (env->spe.state == ARM_SPE_UNWOUND) {
        /* Not executed after all; it will be. */
        env->spe.state = ARM_SPE_IDLE;
        env->spe.searching = true;
    } else {
        spe_finish(env, false, env->pc);
    }
}

/* Called before an exception is taken, with the state it is taken from. */
void arm_spe_exception(CPUARMState *env, int excp)
{
    switch (excp) {
    case EXCP_IRQ:
    case EXCP_FIQ:
    case EXCP_VIRQ:
    case EXCP_VFIQ:
    case EXCP_VSERR:
    case EXCP_NMI:
    case EXCP_VINMI:
    case EXCP_VFNMI:
        arm_spe_retire(env);
        break;
    default:
        spe_finish(env, env->spe.state == ARM_SPE_UNWOUND ||
                   (env->spe.state == ARM_SPE_PENDING &&
                    env->spe.count == -1), env->pc);
        break;
    }
}

/*
 * The TB is being unwound to its instruction at page offset pc_offset:
 * neither that one nor those after it were executed.
 */
void arm_spe_unwind(CPUARMState *env, const TranslationBlock *tb,
                    uint64_t pc_offset)
{
    CPUARMTBFlags flags = arm_tbflags_from_tb(tb);

    if (!EX_TBFLAG_A64(flags, SPE_ACTIVE)) {
        return;
    }
    if (EX_TBFLAG_A64(flags, SPE_SEARCH)) {
        if (env->spe.state == ARM_SPE_PENDING) {
            env->spe.state = env->spe.count == -1 ? ARM_SPE_UNWOUND
                                                  : ARM_SPE_RETIRED;
        }
        env->spe.count++;
    } else {
        int done = ((pc_offset & ~TARGET_PAGE_MASK) -
                    (tb_page_addr0(tb) & ~TARGET_PAGE_MASK)) / 4;

        env->spe.count += tb->icount - done;
    }
}

/*
 * QEMU's TLB has no entry for an access. The tables are walked, unless the
 * address is misaligned for an access that may not be.
 */
void arm_spe_tlb_fill(CPUARMState *env, uint64_t address,
                      MMUAccessType access_type, MemOp memop)
{
    if (env->spe.state == ARM_SPE_PENDING && env->spe.count == -1 &&
        access_type != MMU_INST_FETCH &&
        !(address & ((1 << memop_alignment_bits(memop)) - 1))) {
        env->spe.sample.walk = true;
    }
}

/* --- Code generation ----------------------------------------------------- */

static TCGv_i64 spe_gen_count(int n)
{
    TCGv_i64 count = tcg_temp_new_i64();

    tcg_gen_ld_i64(count, tcg_env, offsetof(CPUARMState, spe.count));
    tcg_gen_subi_i64(count, count, n);
    return count;
}

/* Before each instruction of a profiled TB. */
void arm_spe_gen_insn(DisasContext *s)
{
    /* In system emulation, generated code knows its address from env->pc. */
    tcg_debug_assert(tb_cflags(s->base.tb) & CF_PCREL);

    if (s->insn == 0xd503223f) {
        /* PSB CSYNC: the record is written when the TB has been left */
        s->base.max_insns = s->base.num_insns;
    }
    if (s->spe_search) {
        TCGLabel *skip = gen_new_label();
        TCGv_i64 count = spe_gen_count(1);

        tcg_gen_st_i64(count, tcg_env, offsetof(CPUARMState, spe.count));
        tcg_gen_brcondi_i64(TCG_COND_NE, count, -1, skip);
        gen_helper_spe_sample(tcg_env,
                              tcg_constant_i64(s->pc_curr - s->pc_save),
                              tcg_constant_i32(s->insn));
        gen_set_label(skip);
    } else if (s->base.num_insns == 1) {
        s->spe_first_insn = s->base.insn_start;
    }
}

/* At the end of a profiled TB, when its length is known. */
void arm_spe_gen_tb_stop(DisasContext *s)
{
    TCGLabel *expired;
    TCGv_i64 count;

    if (s->spe_search || !s->spe_first_insn) {
        return;
    }

    expired = gen_new_label();
    tcg_ctx->emit_before_op = s->spe_first_insn;
    count = spe_gen_count(s->base.num_insns);
    tcg_gen_brcondi_i64(TCG_COND_LT, count, 0, expired);
    tcg_gen_st_i64(count, tcg_env, offsetof(CPUARMState, spe.count));
    tcg_ctx->emit_before_op = NULL;

    gen_set_label(expired);
    gen_helper_spe_expired(tcg_env, tcg_constant_i32(s->base.num_insns));
    tcg_gen_lookup_and_goto_ptr();
}

/* --- Registers ----------------------------------------------------------- */

static CPAccessResult access_pms(CPUARMState *env, const ARMCPRegInfo *ri,
                                 bool isread)
{
    int el = arm_current_el(env);

    if (el < 2 && FIELD_EX64(arm_mdcr_el2_eff(env), MDCR_EL2, TPMS)) {
        return CP_ACCESS_TRAP_EL2;
    }
    if (el < 3 && arm_feature(env, ARM_FEATURE_EL3) &&
        (!(FIELD_EX64(env->cp15.mdcr_el3, MDCR_EL3, NSPB) & 1) ||
         !spe_owned_by_this_state(env))) {
        return CP_ACCESS_TRAP_EL3;
    }
    return CP_ACCESS_OK;
}

static CPAccessResult access_pmb(CPUARMState *env, const ARMCPRegInfo *ri,
                                 bool isread)
{
    int el = arm_current_el(env);

    if (el < 2 && arm_is_el2_enabled(env) &&
        !(FIELD_EX64(env->cp15.mdcr_el2, MDCR_EL2, E2PB) & 1)) {
        return CP_ACCESS_TRAP_EL2;
    }
    if (el < 3 && arm_feature(env, ARM_FEATURE_EL3) &&
        (!(FIELD_EX64(env->cp15.mdcr_el3, MDCR_EL3, NSPB) & 1) ||
         !spe_owned_by_this_state(env))) {
        return CP_ACCESS_TRAP_EL3;
    }
    return CP_ACCESS_OK;
}

/* Only the guest's own accesses are traced: migration uses raw ones. */
static uint64_t spe_trace_read(CPUARMState *env, const ARMCPRegInfo *ri,
                               uint64_t value)
{
    trace_arm_spe_read(env_cpu(env)->cpu_index, ri->name, value);
    return value;
}

static uint64_t spe_read(CPUARMState *env, const ARMCPRegInfo *ri)
{
    return spe_trace_read(env, ri, raw_read(env, ri));
}

/* Bits outside the mask are RES0. */
static void spe_write_masked(CPUARMState *env, const ARMCPRegInfo *ri,
                             uint64_t value, uint64_t mask)
{
    trace_arm_spe_write(env_cpu(env)->cpu_index, ri->name, value);
    raw_write(env, ri, value & mask);
}

static void spe_write(CPUARMState *env, const ARMCPRegInfo *ri,
                      uint64_t value)
{
    spe_write_masked(env, ri, value, UINT64_MAX);
}

static uint64_t pmbidr_read(CPUARMState *env, const ARMCPRegInfo *ri)
{
    uint64_t pmbidr = env_archcpu(env)->spe.pmbidr;
    int el = arm_current_el(env);

    if (env_archcpu(env)->spe.pmbidr_override != UINT64_MAX) {
        pmbidr = env_archcpu(env)->spe.pmbidr_override;
    } else if ((el < 2 && spe_owner_el(env) == 2) ||
               (el < 3 && !spe_owned_by_this_state(env))) {
        pmbidr = FIELD_DP64(pmbidr, PMBIDR, P, 1);
    }
    return spe_trace_read(env, ri, pmbidr);
}

static uint64_t pmsicr_read(CPUARMState *env, const ARMCPRegInfo *ri)
{
    return spe_trace_read(env, ri, spe_counter(env));
}

static void pmsicr_write(CPUARMState *env, const ARMCPRegInfo *ri,
                         uint64_t value)
{
    trace_arm_spe_write(env_cpu(env)->cpu_index, ri->name, value);
    spe_set_counter(env, value);
}

static void pmsicr_reset(CPUARMState *env, const ARMCPRegInfo *ri)
{
    spe_set_counter(env, 0);
}

static void pmscr_write(CPUARMState *env, const ARMCPRegInfo *ri,
                        uint64_t value)
{
    uint64_t mask = R_PMSCR_E0SPE_MASK | R_PMSCR_E1SPE_MASK |
                    R_PMSCR_CX_MASK | R_PMSCR_PA_MASK | R_PMSCR_TS_MASK |
                    R_PMSCR_PCT_MASK;

    if (!cpu_isar_feature(aa64_ecv, env_archcpu(env))) {
        mask &= ~(2ull << R_PMSCR_PCT_SHIFT);
    }
    spe_write_masked(env, ri, value, mask);
}

static void pmsirr_write(CPUARMState *env, const ARMCPRegInfo *ri,
                         uint64_t value)
{
    spe_write_masked(env, ri, value,
                     R_PMSIRR_RND_MASK | R_PMSIRR_INTERVAL_MASK);
}

static void pmsfcr_write(CPUARMState *env, const ARMCPRegInfo *ri,
                         uint64_t value)
{
    uint64_t pmsidr = env_archcpu(env)->spe.pmsidr;
    uint64_t mask = 0;

    if (FIELD_EX64(pmsidr, PMSIDR, FE)) {
        mask |= R_PMSFCR_FE_MASK;
    }
    if (FIELD_EX64(pmsidr, PMSIDR, FT)) {
        mask |= R_PMSFCR_FT_MASK;
        mask = FIELD_DP64(mask, PMSFCR, TYPES,
                          SPE_TYPE_B | SPE_TYPE_LD | SPE_TYPE_ST);
    }
    if (FIELD_EX64(pmsidr, PMSIDR, FL)) {
        mask |= R_PMSFCR_FL_MASK;
    }
    if (FIELD_EX64(pmsidr, PMSIDR, FNE)) {
        mask |= R_PMSFCR_FNE_MASK;
    }
    if (FIELD_EX64(pmsidr, PMSIDR, FDS)) {
        mask |= R_PMSFCR_FDS_MASK;
    }
    if (FIELD_EX64(pmsidr, PMSIDR, EFT)) {
        mask |= R_PMSFCR_TYPES_MASK | R_PMSFCR_MASKS_MASK;
    }
    spe_write_masked(env, ri, value, mask);
}

static void pmsevfr_write(CPUARMState *env, const ARMCPRegInfo *ri,
                          uint64_t value)
{
    spe_write_masked(env, ri, value, env_archcpu(env)->spe.event_mask);
}

static void pmslatfr_write(CPUARMState *env, const ARMCPRegInfo *ri,
                           uint64_t value)
{
    bool wide = FIELD_EX64(env_archcpu(env)->spe.pmsidr, PMSIDR,
                           COUNTSIZE) == 3;

    spe_write_masked(env, ri, value, MAKE_64BIT_MASK(0, wide ? 16 : 12));
}

static void pmblimitr_write(CPUARMState *env, const ARMCPRegInfo *ri,
                            uint64_t value)
{
    uint64_t mask = R_PMBLIMITR_E_MASK | R_PMBLIMITR_LIMIT_MASK;

    if (env_archcpu(env)->spe.pmsver >= SPE_V1P2) {
        mask |= R_PMBLIMITR_FM_MASK;
    }
    spe_write_masked(env, ri, value, mask);
}

static void pmbsr_write(CPUARMState *env, const ARMCPRegInfo *ri,
                        uint64_t value)
{
    spe_write_masked(env, ri, value,
                     R_PMBSR_MSS_MASK | R_PMBSR_COLL_MASK | R_PMBSR_S_MASK |
                     R_PMBSR_EA_MASK | R_PMBSR_DL_MASK | R_PMBSR_EC_MASK);
    spe_update_irq(env);
}

static void pmbsr_reset(CPUARMState *env, const ARMCPRegInfo *ri)
{
    env->spe.pmbsr = 0;
    spe_update_irq(env);
}

#define SPE_REG(NAME, OPC1, CRM, OPC2)                                  \
    .name = NAME, .state = ARM_CP_STATE_AA64,                           \
    .opc0 = 3, .opc1 = OPC1, .crn = 9, .crm = CRM, .opc2 = OPC2

#define SPE_STATE(FIELD)                                                \
    .readfn = spe_read, .raw_readfn = raw_read, .raw_writefn = raw_write, \
    .fieldoffset = offsetof(CPUARMState, spe.FIELD)

static const ARMCPRegInfo spe_reginfo[] = {
    { SPE_REG("PMSCR_EL1", 0, 9, 0), .access = PL1_RW,
      .accessfn = access_pms, .fgt = FGT_PMSCR_EL1,
      .writefn = pmscr_write, SPE_STATE(pmscr_el[1]) },
    { SPE_REG("PMSICR_EL1", 0, 9, 2), .access = PL1_RW,
      .accessfn = access_pms, .fgt = FGT_PMSICR_EL1,
      .type = ARM_CP_NO_RAW, .resetfn = pmsicr_reset,
      .readfn = pmsicr_read, .writefn = pmsicr_write },
    { SPE_REG("PMSIRR_EL1", 0, 9, 3), .access = PL1_RW,
      .accessfn = access_pms, .fgt = FGT_PMSIRR_EL1,
      .writefn = pmsirr_write, SPE_STATE(pmsirr) },
    { SPE_REG("PMSFCR_EL1", 0, 9, 4), .access = PL1_RW,
      .accessfn = access_pms, .fgt = FGT_PMSFCR_EL1,
      .writefn = pmsfcr_write, SPE_STATE(pmsfcr) },
    { SPE_REG("PMSEVFR_EL1", 0, 9, 5), .access = PL1_RW,
      .accessfn = access_pms, .fgt = FGT_PMSEVFR_EL1,
      .writefn = pmsevfr_write, SPE_STATE(pmsevfr) },
    { SPE_REG("PMSLATFR_EL1", 0, 9, 6), .access = PL1_RW,
      .accessfn = access_pms, .fgt = FGT_PMSLATFR_EL1,
      .writefn = pmslatfr_write, SPE_STATE(pmslatfr) },
    { SPE_REG("PMBLIMITR_EL1", 0, 10, 0), .access = PL1_RW,
      .accessfn = access_pmb, .fgt = FGT_PMBLIMITR_EL1,
      .writefn = pmblimitr_write, SPE_STATE(pmblimitr) },
    { SPE_REG("PMBPTR_EL1", 0, 10, 1), .access = PL1_RW,
      .accessfn = access_pmb, .fgt = FGT_PMBPTR_EL1,
      .writefn = spe_write, SPE_STATE(pmbptr) },
    { SPE_REG("PMBSR_EL1", 0, 10, 3), .access = PL1_RW,
      .accessfn = access_pmb, .fgt = FGT_PMBSR_EL1, .type = ARM_CP_IO,
      .writefn = pmbsr_write, .resetfn = pmbsr_reset,
      SPE_STATE(pmbsr) },
    { SPE_REG("PMBIDR_EL1", 0, 10, 7), .access = PL1_R,
      .fgt = FGT_PMBIDR_EL1, .type = ARM_CP_NO_RAW,
      .readfn = pmbidr_read },
};

static const ARMCPRegInfo spe_el2_reginfo[] = {
    { SPE_REG("PMSCR_EL2", 4, 9, 0), .access = PL2_RW,
      .accessfn = access_pms,
      .writefn = pmscr_write, SPE_STATE(pmscr_el[2]) },
};

static const ARMCPRegInfo spe_fne_reginfo[] = {
    { SPE_REG("PMSNEVFR_EL1", 0, 9, 1), .access = PL1_RW,
      .accessfn = access_pms, .fgt = FGT_NPMSNEVFR_EL1,
      .writefn = pmsevfr_write, SPE_STATE(pmsnevfr) },
};

static const ARMCPRegInfo spe_fds_reginfo[] = {
    { SPE_REG("PMSDSFR_EL1", 0, 10, 4), .access = PL1_RW,
      .accessfn = access_pms,
      .writefn = spe_write, SPE_STATE(pmsdsfr) },
};

void arm_spe_define_regs(ARMCPU *cpu)
{
    ARMCPRegInfo pmsidr = {
        SPE_REG("PMSIDR_EL1", 0, 9, 7), .access = PL1_R,
        .accessfn = access_pms, .fgt = FGT_PMSIDR_EL1,
        .type = ARM_CP_CONST, .resetvalue = cpu->spe.pmsidr,
    };

    if (cpu->spe.pmsidr_override != UINT64_MAX) {
        pmsidr.resetvalue = cpu->spe.pmsidr_override;
    }
    define_one_arm_cp_reg(cpu, &pmsidr);
    define_arm_cp_regs(cpu, spe_reginfo);
    if (arm_feature(&cpu->env, ARM_FEATURE_EL2)) {
        define_arm_cp_regs(cpu, spe_el2_reginfo);
    }
    if (FIELD_EX64(cpu->spe.pmsidr, PMSIDR, FNE)) {
        define_arm_cp_regs(cpu, spe_fne_reginfo);
    }
    if (FIELD_EX64(cpu->spe.pmsidr, PMSIDR, FDS)) {
        define_arm_cp_regs(cpu, spe_fds_reginfo);
    }
}

/* --- Migration ----------------------------------------------------------- */

static bool spe_needed(void *opaque)
{
    ARMCPU *cpu = opaque;

    return cpu->spe.enabled;
}

const VMStateDescription vmstate_arm_spe = {
    .name = "cpu/spe",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = spe_needed,
    .fields = (const VMStateField[]) {
        VMSTATE_INT64(env.spe.count, ARMCPU),
        VMSTATE_INT64(env.spe.lead, ARMCPU),
        VMSTATE_UINT64(env.spe.prng, ARMCPU),
        VMSTATE_BOOL(env.spe.searching, ARMCPU),
        VMSTATE_BOOL(env.spe.reload, ARMCPU),
        VMSTATE_UINT8(env.spe.state, ARMCPU),
        VMSTATE_UINT64(env.spe.sample.pc, ARMCPU),
        VMSTATE_UINT64(env.spe.sample.va, ARMCPU),
        VMSTATE_UINT32(env.spe.sample.insn, ARMCPU),
        VMSTATE_UINT8(env.spe.sample.el, ARMCPU),
        VMSTATE_UINT8(env.spe.sample.mmu_idx, ARMCPU),
        VMSTATE_BOOL(env.spe.sample.ns, ARMCPU),
        VMSTATE_BOOL(env.spe.sample.walk, ARMCPU),
        VMSTATE_END_OF_LIST()
    }
};

/* --- CPU properties ------------------------------------------------------ */

static const Property spe_properties[] = {
    DEFINE_PROP_BOOL("spe", ARMCPU, spe.enabled, false),
    DEFINE_PROP_STRING("spe-version", ARMCPU, spe.version),
    DEFINE_PROP_UINT32("spe-min-interval", ARMCPU, spe.min_interval, 1024),
    DEFINE_PROP_UINT32("spe-max-record-size", ARMCPU, spe.max_record_size, 64),
    DEFINE_PROP_UINT32("spe-align", ARMCPU, spe.align, 64),
    DEFINE_PROP_UINT32("spe-count-size", ARMCPU, spe.count_size, 12),
    DEFINE_PROP_UINT64("spe-seed", ARMCPU, spe.seed, 1),
    DEFINE_PROP_BOOL("spe-owned", ARMCPU, spe.owned, false),
    DEFINE_PROP_BOOL("spe-dirty-update", ARMCPU, spe.dirty_update, true),
    DEFINE_PROP_ON_OFF_AUTO("spe-filter-event", ARMCPU, spe.filter_event,
                            ON_OFF_AUTO_AUTO),
    DEFINE_PROP_ON_OFF_AUTO("spe-filter-type", ARMCPU, spe.filter_type,
                            ON_OFF_AUTO_AUTO),
    DEFINE_PROP_ON_OFF_AUTO("spe-filter-latency", ARMCPU, spe.filter_latency,
                            ON_OFF_AUTO_AUTO),
    DEFINE_PROP_ON_OFF_AUTO("spe-filter-inv-event", ARMCPU,
                            spe.filter_inv_event, ON_OFF_AUTO_AUTO),
    DEFINE_PROP_ON_OFF_AUTO("spe-filter-data-source", ARMCPU,
                            spe.filter_data_source, ON_OFF_AUTO_AUTO),
    DEFINE_PROP_ON_OFF_AUTO("spe-filter-ext-type", ARMCPU,
                            spe.filter_ext_type, ON_OFF_AUTO_AUTO),
    DEFINE_PROP_ON_OFF_AUTO("spe-fp-flag", ARMCPU, spe.fp_flag,
                            ON_OFF_AUTO_AUTO),
    DEFINE_PROP_ON_OFF_AUTO("spe-call-return", ARMCPU, spe.call_return,
                            ON_OFF_AUTO_AUTO),
    DEFINE_PROP_ON_OFF_AUTO("spe-arch-inst", ARMCPU, spe.arch_inst,
                            ON_OFF_AUTO_AUTO),
    DEFINE_PROP_ON_OFF_AUTO("spe-load-source", ARMCPU, spe.load_source,
                            ON_OFF_AUTO_AUTO),
    DEFINE_PROP_ON_OFF_AUTO("spe-ernd", ARMCPU, spe.ernd, ON_OFF_AUTO_AUTO),
    DEFINE_PROP_UINT64("x-spe-pmsidr", ARMCPU, spe.pmsidr_override,
                       UINT64_MAX),
    DEFINE_PROP_UINT64("x-spe-pmbidr", ARMCPU, spe.pmbidr_override,
                       UINT64_MAX),
};

void arm_spe_add_properties(ARMCPU *cpu)
{
    for (int i = 0; i < ARRAY_SIZE(spe_properties); i++) {
        qdev_property_add_static(DEVICE(cpu), &spe_properties[i]);
    }
}

static bool spe_set_feature(ARMCPU *cpu, OnOffAuto value, const char *name,
                            int since, int shift, Error **errp)
{
    if (value == ON_OFF_AUTO_ON && cpu->spe.pmsver < since) {
        error_setg(errp, "%s=on needs spe-version=1.%d or later",
                   name, since - SPE_V1P0);
        return false;
    }
    if (value != ON_OFF_AUTO_OFF && cpu->spe.pmsver >= since) {
        cpu->spe.pmsidr |= 1ull << shift;
    }
    return true;
}

static bool spe_set_size(uint64_t *reg, uint32_t value, const char *name,
                         int shift, uint32_t min, uint32_t max, Error **errp)
{
    if (!is_power_of_2(value) || value < min || value > max) {
        error_setg(errp, "%s=%u is not a power of two from %u to %u",
                   name, value, min, max);
        return false;
    }
    *reg |= (uint64_t)ctz32(value) << shift;
    return true;
}

void arm_spe_realize(ARMCPU *cpu, Error **errp)
{
    static const uint16_t intervals[] = {
        [0] = 256, [2] = 512, [3] = 768, [4] = 1024, [5] = 1536,
        [6] = 2048, [7] = 3072, [8] = 4096,
    };
    ARMSPEConfig *c = &cpu->spe;
    int i;

    if (!c->enabled) {
        return;
    }
    if (!tcg_enabled()) {
        error_setg(errp, "spe=on needs the TCG accelerator");
        return;
    }

    c->pmsver = SPE_V1P2;
    if (c->version) {
        if (strlen(c->version) != 3 || !g_str_has_prefix(c->version, "1.") ||
            c->version[2] < '0' || c->version[2] > '5') {
            error_setg(errp, "spe-version=%s is not one of 1.0 to 1.5",
                       c->version);
            return;
        }
        c->pmsver = SPE_V1P0 + c->version[2] - '0';
    }

    for (i = 0; i < ARRAY_SIZE(intervals); i++) {
        if (intervals[i] && intervals[i] == c->min_interval) {
            c->pmsidr = FIELD_DP64(c->pmsidr, PMSIDR, INTERVAL, i);
            break;
        }
    }
    if (i == ARRAY_SIZE(intervals)) {
        error_setg(errp, "spe-min-interval=%u is not one of 256, 512, 768, "
                   "1024, 1536, 2048, 3072, 4096", c->min_interval);
        return;
    }
    if (c->count_size != 12 && c->count_size != 16) {
        error_setg(errp, "spe-count-size=%u is not 12 or 16", c->count_size);
        return;
    }
    c->pmsidr = FIELD_DP64(c->pmsidr, PMSIDR, COUNTSIZE,
                           c->count_size == 12 ? 2 : 3);

    if (!spe_set_size(&c->pmsidr, c->max_record_size, "spe-max-record-size",
                      R_PMSIDR_MAXSIZE_SHIFT, 16, SPE_MAX_SLOT, errp) ||
        !spe_set_size(&c->pmbidr, c->align, "spe-align",
                      R_PMBIDR_ALIGN_SHIFT, 1, SPE_MAX_SLOT, errp) ||
        !spe_set_feature(cpu, c->filter_event, "spe-filter-event",
                         SPE_V1P0, R_PMSIDR_FE_SHIFT, errp) ||
        !spe_set_feature(cpu, c->filter_type, "spe-filter-type",
                         SPE_V1P0, R_PMSIDR_FT_SHIFT, errp) ||
        !spe_set_feature(cpu, c->filter_latency, "spe-filter-latency",
                         SPE_V1P0, R_PMSIDR_FL_SHIFT, errp) ||
        !spe_set_feature(cpu, c->arch_inst, "spe-arch-inst",
                         SPE_V1P0, R_PMSIDR_ARCHINST_SHIFT, errp) ||
        !spe_set_feature(cpu, c->load_source, "spe-load-source",
                         SPE_V1P0, R_PMSIDR_LDS_SHIFT, errp) ||
        !spe_set_feature(cpu, c->ernd, "spe-ernd",
                         SPE_V1P0, R_PMSIDR_ERND_SHIFT, errp) ||
        !spe_set_feature(cpu, c->filter_inv_event, "spe-filter-inv-event",
                         SPE_V1P2, R_PMSIDR_FNE_SHIFT, errp) ||
        !spe_set_feature(cpu, c->filter_data_source, "spe-filter-data-source",
                         SPE_V1P4, R_PMSIDR_FDS_SHIFT, errp) ||
        !spe_set_feature(cpu, c->call_return, "spe-call-return",
                         SPE_V1P4, R_PMSIDR_CRR_SHIFT, errp) ||
        !spe_set_feature(cpu, c->filter_ext_type, "spe-filter-ext-type",
                         SPE_V1P4, R_PMSIDR_EFT_SHIFT, errp) ||
        !spe_set_feature(cpu, c->fp_flag, "spe-fp-flag",
                         SPE_V1P4, R_PMSIDR_FPF_SHIFT, errp)) {
        return;
    }

    c->pmbidr = FIELD_DP64(c->pmbidr, PMBIDR, P, c->owned);
    c->pmbidr = FIELD_DP64(c->pmbidr, PMBIDR, F, c->dirty_update);

    if (FIELD_EX64(c->pmsidr, PMSIDR, FE)) {
        c->event_mask = SPE_FILTER_V1P0;
        c->event_mask |= c->pmsver >= SPE_V1P1 ? SPE_FILTER_V1P1 : 0;
        c->event_mask |= c->pmsver >= SPE_V1P2 ? SPE_FILTER_V1P2 : 0;
        c->event_mask |= c->pmsver >= SPE_V1P4 ? SPE_FILTER_V1P4 : 0;
    }
}
