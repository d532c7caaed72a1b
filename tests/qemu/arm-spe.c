/*
 * Arm Statistical Profiling Extension (FEAT_SPE)
 *
 * How an operation is sampled
 * ---------------------------
 * Code that executes while profiling is enabled at its Exception level is
 * translated with the SPE_ACTIVE TB flag; all other code is not affected.
 * Each such TB subtracts its number of instructions from the operation
 * counter on entry. When the operation to be sampled lies within the TB, the
 * instruction is read and decoded. If the registers that make its address are
 * not written between the beginning of the TB and the instruction, or between
 * the instruction and the end of the TB, then the TB is executed as it is, and
 * the next one reports its end. Otherwise the TB is not entered; instead the
 * same code is executed with the SPE_SEARCH TB flag, which makes every
 * instruction count itself and calls a helper at the right one. When the TB
 * has been left (the next TB begins, or an exception is taken), the outcome is
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
#include "qemu/keyval.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qobject/qdict.h"
#include "hw/irq.h"
#include "hw/boards.h"
#include "hw/qdev-properties.h"
#include "hw/registerfields.h"
#include "migration/vmstate.h"
#include "system/tcg.h"
#include "system/cpu-timers.h"
#include "system/system.h"
#include "cpu.h"
#include "cpregs.h"
#include "translate.h"
#include "arm-spe.h"
#include "exec/helper-proto.h"
#include "tcg/insn-start-words.h"
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
FIELD(PMSIDR, PBT, 24, 1)
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
FIELD(MDCR_EL3, NSPBE, 11, 1)
FIELD(MDCR_EL3, NSPB, 12, 2)
FIELD(MDCR_EL3, ENPMS3, 42, 1)

/* Bits of the Events packet, of PMSEVFR_EL1 and of PMSNEVFR_EL1 */
enum {
    SPE_EV_EXCEPTION = 1 << 0,
    SPE_EV_RETIRED = 1 << 1,
    SPE_EV_L1D_ACCESS = 1 << 2,
    SPE_EV_L1D_REFILL = 1 << 3,
    SPE_EV_TLB_ACCESS = 1 << 4,
    SPE_EV_TLB_WALK = 1 << 5,
    SPE_EV_NOT_TAKEN = 1 << 6,
    SPE_EV_MISPRED = 1 << 7,
    SPE_EV_LLC_ACCESS = 1 << 8,
    SPE_EV_LLC_MISS = 1 << 9,
    SPE_EV_MISALIGNED = 1 << 11,
    SPE_EV_PARTIAL_PRED = 1 << 17,
    SPE_EV_EMPTY_PRED = 1 << 18,
};

/* Events that the filters can select in every version, and later additions */
#define SPE_FILTER_V1P0     0xaa
#define SPE_FILTER_V1P1     (1 << 11)
#define SPE_FILTER_V1P1_SVE (3 << 17)
#define SPE_FILTER_FNE      (1 << 6)
#define SPE_FILTER_V1P4     ((1 << 2) | (1 << 4) | (7 << 8) | (31 << 19))

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
    SPE_OTHER_PRED = 0x04,  /* with SPE_OTHER_SVE */

    SPE_LDST_ST = 0x01,
    SPE_LDST_GP = 0x00,
    SPE_LDST_EXTENDED = 0x02,
    SPE_LDST_SIMD_FP = 0x04,
    SPE_LDST_SVE = 0x08,
    SPE_LDST_PRED = 0x04,   /* with SPE_LDST_SVE */
    SPE_LDST_SG = 0x80,     /* with SPE_LDST_SVE */
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

/* Latencies in cycles; a rule of this model */
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
    SPE_LAT_LLC = 10,       /* more than from the L1 data cache */
};

/* Data Source packet: L1 data cache, last level cache, memory */
#define SPE_DS_L1D      0x0
#define SPE_DS_LLC      0xb
#define SPE_DS_DRAM     0xe

/* What a record contains, as it was decided when the operation started */
enum {
    SPE_WITH_CONTEXT_EL1 = 1 << 0,
    SPE_WITH_CONTEXT_EL2 = 1 << 1,
    SPE_WITH_TIMESTAMP = 1 << 2,
    SPE_WITH_PA = 1 << 3,
};

/*
 * TBs of profiled code are not longer, so that only with ERnd a second
 * operation in one can be due for sampling.
 */
#define SPE_MAX_INSNS   256

/* In ARMSPEState.next_pc: where the code comes from is not known */
#define SPE_NO_BRANCH   1

/* In ARMSPEState.flight: no sample is in flight */
#define SPE_NO_FLIGHT   (INT64_MIN / 2)

/* The largest size and the largest alignment that can be chosen */
#define SPE_MAX_SLOT    2048

/* No record has more bytes of packets */
#define SPE_MAX_BYTES   128

/* What an A64 instruction is for SPE */
typedef struct SPEOp {
    uint8_t class;
    uint8_t subclass;
    uint8_t types;      /* SPE_TYPE_* for the filters */
    bool atomic;
    bool has_va;
    bool unpriv;
    uint8_t esize;      /* of what P0 to P7 in bits [12:10] govern, or 0 */
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

/* The bits of MDCR_EL3 that give the buffer to a Security state */
static int spe_nspb(CPUARMState *env)
{
    int nspb = FIELD_EX64(env->cp15.mdcr_el3, MDCR_EL3, NSPB);

    if (cpu_isar_feature(aa64_rme, env_archcpu(env))) {
        nspb |= FIELD_EX64(env->cp15.mdcr_el3, MDCR_EL3, NSPBE) << 2;
    }
    return nspb;
}

/* True if EL3, if there is one, gives the buffer to the current state. */
static bool spe_owned_by_this_state(CPUARMState *env)
{
    if (!arm_feature(env, ARM_FEATURE_EL3)) {
        return true;
    }
    switch (arm_security_space_below_el3(env)) {
    case ARMSS_Secure:
        return spe_nspb(env) >> 1 == 0;
    case ARMSS_NonSecure:
        return spe_nspb(env) >> 1 == 1;
    case ARMSS_Realm:
        return spe_nspb(env) >> 1 == 3;
    default:
        g_assert_not_reached();
    }
}

static bool spe_buffer_enabled(CPUARMState *env)
{
    return FIELD_EX64(env->spe.pmblimitr, PMBLIMITR, E) &&
           !FIELD_EX64(env->spe.pmbsr, PMBSR, S);
}

/* StatisticalProfilingEnabled() */
static bool spe_enabled(CPUARMState *env, int el)
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

/* Whether code at el is to be translated with SPE_ACTIVE. */
bool arm_spe_enabled(CPUARMState *env, int el)
{
    if (spe_enabled(env, el)) {
        return true;
    }
    env->spe.next_pc = SPE_NO_BRANCH;
    env->spe.flight = SPE_NO_FLIGHT;
    return false;
}

/* --- What is collected --------------------------------------------------- */

/* CollectPhysicalAddress() */
static bool spe_collect_pa(CPUARMState *env)
{
    bool el1 = FIELD_EX64(env->spe.pmscr_el[1], PMSCR, PA);
    bool el2 = FIELD_EX64(env->spe.pmscr_el[2], PMSCR, PA);

    if (!(el1 || el2)) {
        return false;
    }
    if (!arm_is_el2_enabled(env)) {
        return el1;
    }
    return el2 && (spe_owner_el(env) == 2 || el1);
}

/* CollectContextIDR1() */
static bool spe_collect_context_el1(CPUARMState *env, int el)
{
    return FIELD_EX64(env->spe.pmscr_el[1], PMSCR, CX) &&
           el != 2 && !(arm_hcr_el2_eff(env) & HCR_TGE);
}

/* CollectContextIDR2() */
static bool spe_collect_context_el2(CPUARMState *env)
{
    return FIELD_EX64(env->spe.pmscr_el[2], PMSCR, CX) &&
           arm_is_el2_enabled(env);
}

/* CollectTimeStamp(): is there one? */
static bool spe_collect_time(CPUARMState *env)
{
    return ((env->spe.pmscr_el[1] | env->spe.pmscr_el[2]) & R_PMSCR_TS_MASK) &&
           FIELD_EX64(env->spe.pmscr_el[spe_owner_el(env)], PMSCR, TS);
}

/* CollectTimeStamp(): which time, as an offset from the physical counter */
static uint64_t spe_time_offset(CPUARMState *env, int el)
{
    int pct = FIELD_EX64(env->spe.pmscr_el[1], PMSCR, PCT);

    if (arm_is_el2_enabled(env)) {
        uint64_t hcr = arm_hcr_el2_eff(env);

        switch (FIELD_EX64(env->spe.pmscr_el[2], PMSCR, PCT)) {
        case 0:
        case 2: /* reserved */
            pct = 0;
            break;
        case 1:
            if (spe_owner_el(env) == 2) {
                pct = 1;
            }
            break;
        case 3:
            if (spe_owner_el(env) == 2 || pct != 0) {
                pct = 3;
            }
            break;
        }
        if (pct == 0 && (hcr & HCR_E2H) && (el == 2 || (hcr & HCR_TGE))) {
            pct = 1;
        }
    }
    switch (pct) {
    case 1:
        return 0;
    case 3:
        return gt_phys_raw_cnt_offset(env);
    default:
        return env->cp15.cntvoff_el2;
    }
}

/* --- Buffer management events -------------------------------------------- */

static void spe_update_irq(CPUARMState *env)
{
    ARMCPU *cpu = env_archcpu(env);
    ARMSPEControl *control = &cpu->spe_control;
    bool level = control->irq_spurious ||
                 (FIELD_EX64(env->spe.pmbsr, PMBSR, S) && !control->irq_lost);
    BQL_LOCK_GUARD();

    if (level && !control->irq_level) {
        control->counters.interrupts++;
    }
    control->irq_level = level;
    qemu_set_irq(cpu->spe_interrupt, level);
}

/* Profiling stops; a syndrome that is there already is not replaced. */
static void spe_buffer_event(CPUARMState *env, int ec, int mss, bool ea)
{
    uint64_t pmbsr = env->spe.pmbsr;

    if (FIELD_EX64(pmbsr, PMBSR, S)) {
        return;
    }
    pmbsr = FIELD_DP64(pmbsr, PMBSR, EC, ec);
    pmbsr = FIELD_DP64(pmbsr, PMBSR, MSS, mss);
    pmbsr = FIELD_DP64(pmbsr, PMBSR, EA, ea);
    pmbsr = FIELD_DP64(pmbsr, PMBSR, S, 1);
    env->spe.pmbsr = pmbsr;
    env_archcpu(env)->spe_control.counters.events++;
    trace_arm_spe_buffer_event(env_cpu(env)->cpu_index, pmbsr,
                               env->spe.pmbptr, env->spe.pmblimitr);

    spe_update_irq(env);
    arm_rebuild_hflags(env);
}

static void spe_buffer_full(CPUARMState *env)
{
    spe_buffer_event(env, PMBSR_EC_BUF, PMBSR_BSC_FULL, false);
}

static void spe_data_loss(CPUARMState *env)
{
    env->spe.pmbsr = FIELD_DP64(env->spe.pmbsr, PMBSR, DL, 1);
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
        /* The FSC field only, without the bit that says LPAE */
        fsc = arm_fi_to_lfsc(&fi) & 0x3f;
        ea = fi.type == ARMFault_SyncExternal ||
             fi.type == ARMFault_SyncExternalOnWalk;
        if (fi.gpcf != GPCF_None && fi.gpcf != GPCF_Fail) {
            /* The granule protection check itself did not work. */
            ec = PMBSR_EC_FAULT_GPC;
            fsc = 0;
        } else {
            ec = fi.stage2 ? PMBSR_EC_FAULT_S2 : PMBSR_EC_FAULT_S1;
        }
    }
    spe_buffer_event(env, ec, fsc, ea);
}

/*
 * Write a record to the buffer in the owner's translation regime, and
 * Padding packets, so that PMBPTR_EL1 stays aligned. A fault is a buffer
 * management event, never an exception. Returns how much was written.
 */
static int spe_buffer_write(CPUARMState *env, const uint8_t *data, int len,
                            int padded)
{
    ARMMMUIdx mmu_idx = spe_buffer_mmu_idx(env);
    int done = 0;

    while (done < padded) {
        uint64_t ptr = env->spe.pmbptr;
        int chunk = MIN(padded - done, -(ptr | TARGET_PAGE_MASK));
        int packets = MIN(MAX(len - done, 0), chunk);
        void *host;
        int flags;

        flags = probe_access_full_mmu(env, ptr, chunk, MMU_DATA_STORE,
                                      arm_to_core_mmu_idx(mmu_idx),
                                      &host, NULL);
        if (unlikely(!host || (flags & TLB_INVALID_MASK))) {
            if (done) {
                spe_data_loss(env);
            }
            spe_buffer_fault(env, ptr, mmu_idx);
            break;
        }
        memcpy(host, data + done, packets);
        memset(host + packets, 0, chunk - packets);
        env->spe.pmbptr += chunk;
        done += chunk;
    }
    return done;
}

/* --- Injection ----------------------------------------------------------- */

enum {
    SPE_INJECT_EVENT,
    SPE_INJECT_COLLISION,
    SPE_INJECT_SPURIOUS,
    SPE_INJECT_LOST,
    SPE_INJECT_POINTER,
};

static void spe_inject(CPUARMState *env, const ARMSPEInjection *what)
{
    ARMSPEControl *control = &env_archcpu(env)->spe_control;

    trace_arm_spe_inject(env_cpu(env)->cpu_index, what->action, what->ec,
                         what->mss, what->value);
    switch (what->action) {
    case SPE_INJECT_EVENT:
        if (what->data_loss) {
            spe_data_loss(env);
        }
        spe_buffer_event(env, what->ec, what->mss, what->external);
        break;
    case SPE_INJECT_COLLISION:
        env->spe.pmbsr = FIELD_DP64(env->spe.pmbsr, PMBSR, COLL, 1);
        break;
    case SPE_INJECT_SPURIOUS:
        control->irq_spurious = true;
        spe_update_irq(env);
        break;
    case SPE_INJECT_LOST:
        control->irq_lost = true;
        break;
    case SPE_INJECT_POINTER:
        env->spe.pmbptr = what->value;
        break;
    default:
        g_assert_not_reached();
    }
}

/* A record is about to be written: is anything injected with it? */
static bool spe_injection_due(ARMCPU *cpu, ARMSPEInjection *due)
{
    ARMSPEControl *control = &cpu->spe_control;
    int left = 0;
    bool found = false;

    for (int i = 0; i < control->injections; i++) {
        ARMSPEInjection *injection = &control->injection[i];

        if (!found && !injection->after) {
            *due = *injection;
            found = true;
            continue;
        }
        injection->after -= injection->after > 0;
        control->injection[left++] = *injection;
    }
    control->injections = left;
    return found;
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
 * SPEResetSampleCounter() and SPEToCollectSample() follow every operation; here
 * the counter is told from how far away the next sample is. The operation that
 * finds COUNT at zero loads it, and is not counted. Without ERND, a random
 * number of operations makes the interval longer. With it, COUNT reloads
 * exactly, and the sample is taken that number of operations after COUNT has
 * reached zero, so offsets do not add up.
 */
static bool spe_delays(CPUARMState *env)
{
    return spe_ernd(env) && FIELD_EX64(env->spe.pmsirr, PMSIRR, RND);
}

/* How far apart the next sample and the one after it are, at least */
static int64_t spe_least_distance(CPUARMState *env)
{
    return spe_delays(env) ? spe_reload_value(env) + 1 - env->spe.lead
                           : spe_reload_value(env);
}

/* From one sample to the next */
static int64_t spe_next_interval(CPUARMState *env)
{
    int64_t to_zero = -env->spe.lead;

    if (to_zero <= 0) {
        /* COUNT has reached zero, and been reloaded since. */
        env->spe.period = spe_reload_value(env);
        if (!spe_ernd(env) && FIELD_EX64(env->spe.pmsirr, PMSIRR, RND)) {
            env->spe.period += spe_random(env);
        }
        to_zero += env->spe.period + 1;
    }
    env->spe.lead = 0;
    if (spe_delays(env)) {
        env->spe.lead = spe_random(env);
        env->spe.ecount = 0;
    }
    env->spe.delay = env->spe.lead;
    return to_zero + env->spe.lead;
}

/* The operation that is about to execute loads COUNT. */
static int64_t spe_first_interval(CPUARMState *env)
{
    env->spe.reload = false;
    env->spe.lead = 0;
    return spe_next_interval(env) - 1;
}

/* Time passes for the sample that is in flight: see spe-inflight. */
static void spe_pass(CPUARMState *env)
{
    env->spe.flight -= env->spe.mark - env->spe.count;
    env->spe.mark = env->spe.count;
}

static void spe_set_count(CPUARMState *env, int64_t count)
{
    spe_pass(env);
    env->spe.count = count;
    env->spe.mark = count;
}

static uint64_t spe_counter(CPUARMState *env)
{
    int64_t left = MAX(env->spe.count + 1, 0);
    int64_t to_zero = left - env->spe.lead;
    uint64_t ret = FIELD_DP64(0, PMSICR, ECOUNT, left <= env->spe.delay
                              ? left : env->spe.ecount);

    if (env->spe.reload || to_zero == 0 || to_zero > env->spe.period) {
        /* Until the next operation, COUNT stays zero. */
        return ret;
    }
    return FIELD_DP64(ret, PMSICR, COUNT,
                      to_zero > 0 ? to_zero : env->spe.period + 1 + to_zero);
}

static void spe_set_counter(CPUARMState *env, uint64_t value)
{
    int64_t count = FIELD_EX64(value, PMSICR, COUNT);
    int64_t ecount = spe_ernd(env) ? FIELD_EX64(value, PMSICR, ECOUNT) : 0;

    env->spe.searching = false;
    env->spe.reload = false;
    env->spe.lead = 0;
    env->spe.delay = 0;
    env->spe.ecount = ecount;
    env->spe.period = count ? count : spe_reload_value(env);
    if (ecount && spe_delays(env) && (!count || ecount <= count)) {
        /* ECOUNT is counting, and COUNT goes on. */
        env->spe.ecount = 0;
        env->spe.delay = ecount;
        env->spe.lead = ecount - count;
        spe_set_count(env, ecount - 1);
    } else if (count) {
        if (spe_delays(env)) {
            /* At zero, ECOUNT is loaded, whatever it is now. */
            env->spe.lead = spe_random(env);
            env->spe.delay = env->spe.lead;
        }
        spe_set_count(env, count + env->spe.lead - 1);
    } else {
        spe_set_count(env, 0);
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
}

/* SPESampleSIMDFPLoadStore(): scalars count as floating-point */
static void spe_set_simd_fp(SPEOp *op, bool store, bool scalar)
{
    spe_set_ldst(op, store, SPE_LDST_SIMD_FP);
    op->types |= scalar ? SPE_TYPE_FP : SPE_TYPE_SIMD;
}

/* Without a result it is a store; with one, it loads and stores. */
static void spe_set_atomic(SPEOp *op, bool store, bool ar)
{
    spe_set_ldst(op, store, SPE_LDST_EXTENDED | SPE_LDST_AT |
                 (ar ? SPE_LDST_AR : 0));
    op->types |= SPE_TYPE_ST;
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

    if (vec) {
        spe_set_simd_fp(op, !load, true);
    } else {
        spe_set_ldst(op, !load, tag ? SPE_LDST_TAG : SPE_LDST_GP);
    }
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

/* The address that an authenticated pointer should hold */
static uint64_t spe_strip_pac(CPUARMState *env, uint64_t ptr)
{
    ARMVAParameters param = aa64_va_parameters(env, ptr,
                                               arm_stage1_mmu_idx(env),
                                               true, false);
    uint64_t mask = pauth_ptr_mask(param);

    return extract64(ptr, 55, 1) ? ptr | mask : ptr & ~mask;
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

        base = spe_strip_pac(env, base);
        spe_set_ldst(op, false, SPE_LDST_GP);
        spe_set_va(op, base + offset * 8, 8);
        return;
    }

    prefetch = !vec && size == 3 && opc == 2;
    if (prefetch) {
        spe_set_ldst(op, false, SPE_LDST_UNSPEC);
    } else if (vec) {
        size |= (opc & 2) << 1;
        spe_set_simd_fp(op, !(opc & 1), true);
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

/*
 * CPY and SET: where they continue. Rn is negative in the later steps if the
 * other registers hold the ends (option A). Of a copy, the filter may ask for
 * the loads or the stores; else the program counter decides, which is as good
 * as chance: SPEMultiAccessSample().
 */
static void spe_decode_mops(CPUARMState *env, uint64_t pc, uint32_t insn,
                            SPEOp *op)
{
    bool set = extract32(insn, 22, 2) == 3;
    int64_t n = MIN((int64_t)spe_reg(env, extract32(insn, 5, 5)), 0);
    bool load = false;

    if (!set) {
        int types = FIELD_EX64(env->spe.pmsfcr, PMSFCR, FT)
                    ? FIELD_EX64(env->spe.pmsfcr, PMSFCR, TYPES) : 0;

        types &= SPE_TYPE_LD | SPE_TYPE_ST;
        load = types == SPE_TYPE_LD ||
               (types != SPE_TYPE_ST && extract64(pc, 2, 1));
    }
    spe_set_ldst(op, !load, set ? SPE_LDST_MEMSET : SPE_LDST_MEMCPY);
    spe_set_va(op, spe_reg(env, extract32(insn, load ? 16 : 0, 5)) + n, 0);
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
            spe_set_simd_fp(op, !extract32(insn, 22, 1), false);
            spe_set_va(op, base, 0);
        }
        return;
    case 1:
        if (!extract32(insn, 24, 1)) {
            /* LDR (literal), LDRSW and PRFM: opc 011 V 00 imm19 Rt */
            int opc = extract32(insn, 30, 2);

            if (vec) {
                spe_set_simd_fp(op, false, true);
            } else {
                spe_set_ldst(op, false,
                             opc == 3 ? SPE_LDST_UNSPEC : SPE_LDST_GP);
            }
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
            spe_decode_mops(env, pc, insn, op);
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

/*
 * SVE loads and stores. Bits [31:25] are 1000010 for gathers of 32-bit
 * elements, LD1R and LDR, 1010010 for contiguous loads, 1100010 for gathers of
 * 64-bit elements and 1110010 for stores. LDR and STR have no predicate.
 */
static void spe_decode_sve_ldst(uint32_t insn, SPEOp *op)
{
    /* Bytes of an element in the register, by the dtype field */
    static const uint8_t loaded[] = {
        1, 2, 4, 8, 8, 2, 4, 8, 8, 4, 4, 8, 8, 4, 2, 8
    };
    int group = extract32(insn, 29, 2);
    int kind = extract32(insn, 13, 3);
    bool store = group == 3;
    bool whole = !(group & 1) == !store && extract32(insn, 22, 3) == 6 &&
                 (kind == 0 || kind == 2);
    bool sg;

    switch (group) {
    case 0:
        sg = !(extract32(insn, 22, 1) && kind >= 4);
        break;
    case 1:
        sg = false;
        break;
    case 2:
        sg = true;
        break;
    default:
        sg = kind == 1 || (kind >= 4 && kind <= 6);
        break;
    }
    spe_set_ldst(op, store, SPE_LDST_SVE);
    op->types |= SPE_TYPE_SIMD;
    /* The address depends on the predicate: none is recorded. */
    if (whole) {
        return;
    }
    op->subclass |= SPE_LDST_PRED | (sg ? SPE_LDST_SG : 0);
    if (store) {
        op->esize = sg ? 0 : 1 << extract32(insn, 21, 2);
    } else if (group != 1) {
        op->esize = sg ? 4 << (group >> 1) : 0;
    } else if (kind == 2 || kind == 3 || kind == 5) {
        op->esize = loaded[extract32(insn, 21, 4)];
    } else {
        op->esize = 1 << extract32(insn, 23, 2);
    }
}

/* Integer arithmetic, integer comparison, floating-point: is it predicated? */
static bool spe_sve_predicated(uint32_t insn)
{
    switch (extract32(insn, 24, 8)) {
    case 0x04:
        return !extract32(insn, 21, 1);
    case 0x24:
        return true;
    case 0x25:
        /* Comparison with a signed immediate */
        return !extract32(insn, 21, 1) && !extract32(insn, 14, 1);
    case 0x65:
        return extract32(insn, 21, 1) ||
               (extract32(insn, 13, 3) && extract32(insn, 10, 6) != 0xe);
    default:
        return false;
    }
}

/* Events of an operation that some elements, or all of them, are left out of */
static uint32_t spe_predicate_events(CPUARMState *env, uint32_t insn,
                                     const SPEOp *op)
{
    const uint64_t *p = env->vfp.pregs[extract32(insn, 10, 3)].p;
    int vl = (EX_TBFLAG_A64(env->hflags, VL) + 1) * 16;
    int active = 0;

    for (int i = 0; i < vl; i += op->esize) {
        active += extract64(p[i / 64], i % 64, 1);
    }
    return active == vl / op->esize ? 0 :
           active ? SPE_EV_PARTIAL_PRED
                  : SPE_EV_PARTIAL_PRED | SPE_EV_EMPTY_PRED;
}

/* SVE: the length in the payload is in powers of two times 32 bits */
static void spe_decode_sve(CPUARMState *env, uint32_t insn, SPEOp *op)
{
    int vl = (EX_TBFLAG_A64(env->hflags, VL) + 1) * 16;
    int evl = MAX(32 - clz32(vl - 1), 4) - 2;   /* 128 bits is 2 */

    if (extract32(insn, 31, 1)) {
        spe_decode_sve_ldst(insn, op);
    } else {
        op->class = SPE_CLASS_OTHER;
        op->subclass = SPE_OTHER_SVE;
        op->types = SPE_TYPE_SIMD;
        if (spe_sve_predicated(insn)) {
            op->subclass |= SPE_OTHER_PRED;
            op->esize = 1 << extract32(insn, 22, 2);
        }
        if (extract32(insn, 25, 7) == 0x32) {
            op->subclass |= SPE_OTHER_FP;
            op->types |= SPE_TYPE_FP;
        }
    }
    op->subclass |= evl << 4;
}

/* Advanced SIMD, vector or scalar: does it work on floating-point numbers? */
static bool spe_simd_is_fp(uint32_t insn)
{
    static const struct {
        uint32_t mask;
        uint32_t value;
    } fp[] = {
        { 0x8f20c400, 0x0e20c400 }, /* three same */
        { 0x8f60c400, 0x0e400400 }, /* three same, half precision */
        { 0x8f20e400, 0x0e00c400 }, /* FCMLA */
        { 0x8f20ec00, 0x0e00e400 }, /* FCADD */
        { 0x8f20fc00, 0x0e00fc00 }, /* BFDOT, BFMLALB, BFMLALT */
        { 0x8f20fc00, 0x0e00ec00 }, /* BFMMLA */
        { 0x8fbfcc00, 0x0ea0c800 }, /* comparison with zero, FABS, FNEG */
        { 0x8f3fec00, 0x0e216800 }, /* FCVTN, FCVTL */
        { 0x8f3f8c00, 0x0e218800 }, /* FRINTN and what follows it */
        { 0x8f7e0c00, 0x0e780800 }, /* two registers, half precision */
        { 0x8f3fcc00, 0x0e30c800 }, /* across lanes, pairs */
        { 0x8f00b400, 0x0f001000 }, /* by element: FMLA, FMLS, FCMLA */
        { 0x8f00f400, 0x0f009000 }, /* by element: FMUL, FMULX */
        { 0xaf00b400, 0x2f003000 }, /* by element: FCMLA */
        { 0xafc0b400, 0x0f800000 }, /* by element: FMLAL, FMLSL */
        { 0xafc0b400, 0x2f808000 }, /* by element: FMLAL2, FMLSL2 */
        { 0xafc0f400, 0x0f40f000 }, /* by element: BFDOT */
        { 0xafc0f400, 0x0fc0f000 }, /* by element: BFMLALB, BFMLALT */
        { 0x8ff8f400, 0x0f00f400 }, /* FMOV of an immediate */
        { 0x8f00fc00, 0x0f00fc00 }, /* FCVTZS, FCVTZU to fixed point */
    };

    if ((insn & 0x8f00fc00) == 0x0f00e400) {
        /* SCVTF and UCVTF from fixed point; without a shift it is MOVI */
        return extract32(insn, 19, 4);
    }
    if ((insn & 0x8fbffc00) == 0x0ea1c800) {
        return false;   /* URECPE, URSQRTE */
    }
    for (int i = 0; i < ARRAY_SIZE(fp); i++) {
        if ((insn & fp[i].mask) == fp[i].value) {
            return true;
        }
    }
    return false;
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
            if (spe_simd_is_fp(insn)) {
                op->types |= SPE_TYPE_FP;
                op->subclass |= SPE_OTHER_FP;
            }
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
    int len = rec->packet[rec->n - 1].header != 0x71;

    for (int i = 0; i < rec->n; i++) {
        len += 1 + rec->packet[i].size;
    }
    while (len > max) {
        int worst = 0;

        for (int i = 0; i < rec->n; i++) {
            if (rec->packet[i].rank < rec->packet[worst].rank) {
                worst = i;
            }
        }
        len -= 1 + rec->packet[worst].size;
        rec->n--;
        if (worst == rec->n && rec->packet[worst].header == 0x71) {
            len++;  /* an End packet in the place of the timestamp */
        }
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

static uint64_t spe_code_address(uint64_t addr, int el, ARMSecuritySpace space)
{
    addr = deposit64(addr, 56, 8, 0);
    addr |= (uint64_t)el << 61;
    addr |= (uint64_t)(space != ARMSS_Secure) << 63;
    return addr | (uint64_t)(space == ARMSS_Realm) << 60;
}

static uint64_t spe_data_pa(const CPUTLBEntryFull *full, uint64_t va)
{
    uint64_t pa = full->phys_addr | (va & ~TARGET_PAGE_MASK);

    pa = deposit64(pa, 56, 8, 0);
    pa |= (uint64_t)(full->attrs.space != ARMSS_Secure) << 63;
    return pa | (uint64_t)(full->attrs.space == ARMSS_Realm) << 60;
}

/* What has become of the sampled operation */
typedef struct SPEOutcome {
    SPEOp op;
    bool exception;
    bool taken;
    bool has_pa;
    uint8_t next_el;
    uint64_t next_pc;
    uint64_t pa;
    uint64_t events;
    int total;
    int xlat;
    int source;         /* or -1 */
} SPEOutcome;

/* SPEFilterByType() */
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

/* SPECollectRecord() */
static bool spe_selected(CPUARMState *env, const SPEOutcome *out)
{
    uint64_t mask = env_archcpu(env)->spe.event_mask;
    uint64_t pmsfcr = env->spe.pmsfcr;

    if (FIELD_EX64(pmsfcr, PMSFCR, FE) &&
        (env->spe.pmsevfr & mask & ~out->events)) {
        return false;
    }
    if (FIELD_EX64(pmsfcr, PMSFCR, FNE) &&
        (env->spe.pmsnevfr & mask & out->events)) {
        return false;
    }
    if (FIELD_EX64(pmsfcr, PMSFCR, FT) && !spe_type_selected(env, &out->op)) {
        return false;
    }
    if (FIELD_EX64(pmsfcr, PMSFCR, FL) && out->total < env->spe.pmslatfr) {
        return false;
    }
    /* Only records that have a data source are filtered by it. */
    if (FIELD_EX64(pmsfcr, PMSFCR, FDS) && out->source >= 0 &&
        !extract64(env->spe.pmsdsfr, out->source & 0x3f, 1)) {
        return false;
    }
    return true;
}

/* SPEBufferIsFull() */
static bool spe_buffer_is_full(CPUARMState *env)
{
    uint64_t limit = env->spe.pmblimitr & R_PMBLIMITR_LIMIT_MASK;
    uint64_t max = 1ull << FIELD_EX64(env_archcpu(env)->spe.pmsidr,
                                      PMSIDR, MAXSIZE);

    return limit < max || env->spe.pmbptr > limit - max;
}

/* What the model of the caches says of the access, and what it costs. */
static void spe_note_cache(CPUARMState *env, SPEOutcome *out)
{
    bool v1p4 = env_archcpu(env)->spe.pmsver >= SPE_V1P4;

    switch (env->spe.sample.cache) {
    case ARM_SPE_CACHE_L1D:
        break;
    case ARM_SPE_CACHE_LLC:
        out->source = SPE_DS_LLC;
        out->total += SPE_LAT_LLC;
        out->events |= SPE_EV_LLC_ACCESS;
        break;
    case ARM_SPE_CACHE_MEM:
        out->source = SPE_DS_DRAM;
        out->total += SPE_LAT_LLC + env_archcpu(env)->spe.miss_latency;
        out->events |= SPE_EV_LLC_ACCESS | SPE_EV_LLC_MISS;
        break;
    default:
        return;
    }
    /* From version 1.4 on, the event is a miss of a load: L1D_CACHE_LMISS_RD */
    if (env->spe.sample.cache != ARM_SPE_CACHE_L1D &&
        (!v1p4 || (out->op.types & SPE_TYPE_LD))) {
        out->events |= SPE_EV_L1D_REFILL;
    }
}

static void spe_note_ldst(CPUARMState *env, SPEOutcome *out)
{
    ARMCPU *cpu = env_archcpu(env);
    const ARMSPESample *s = &env->spe.sample;
    const SPEOp *op = &out->op;
    CPUTLBEntryFull *full;
    void *host;

    out->total += op->atomic ? SPE_LAT_ATOMIC :
                  op->types & SPE_TYPE_LD ? SPE_LAT_LOAD : SPE_LAT_STORE;
    out->xlat = s->walk ? cpu->spe.walk_latency : SPE_LAT_TLB_HIT;
    out->total += out->xlat;
    out->events |= SPE_EV_TLB_ACCESS;
    if (s->walk) {
        out->events |= SPE_EV_TLB_WALK;
    }
    if (op->size && (op->va & (op->size - 1)) &&
        cpu->spe.pmsver >= SPE_V1P1) {
        out->events |= SPE_EV_MISALIGNED;
    }
    if (op->has_va && !out->exception &&
        !(probe_access_full_mmu(env, op->va, 0, MMU_DATA_LOAD, s->mmu_idx,
                                &host, &full) & TLB_INVALID_MASK)) {
        out->pa = spe_data_pa(full, op->va);
        out->has_pa = s->packets & SPE_WITH_PA;
        out->source = host ? SPE_DS_L1D : SPE_DS_DRAM;
        if (host) {
            out->events |= SPE_EV_L1D_ACCESS;
        }
    }
    if (!op->has_va && !(s->predicate & SPE_EV_EMPTY_PRED)) {
        /* Many addresses: taken to be in the L1 data cache */
        out->source = SPE_DS_L1D;
        out->events |= SPE_EV_L1D_ACCESS;
    }
    spe_note_cache(env, out);
    if (!(op->types & SPE_TYPE_LD) ||
        !FIELD_EX64(cpu->spe.pmsidr, PMSIDR, LDS)) {
        out->source = -1;
    }
    if ((op->subclass & (SPE_LDST_SVE | SPE_LDST_EXTENDED)) == SPE_LDST_SVE) {
        if (cpu->spe.pmsver < SPE_V1P1) {
            out->op.subclass = SPE_LDST_SIMD_FP | (op->subclass & SPE_LDST_ST);
        } else if (cpu->spe.pmsver < SPE_V1P2 && (op->types & SPE_TYPE_LD)) {
            out->op.subclass &= ~SPE_LDST_PRED;
        }
    } else if (cpu->spe.pmsver < SPE_V1P1 &&
               op->subclass == SPE_LDST_UNSPEC) {
        out->op.subclass = SPE_LDST_GP;
    }
}

static void spe_note_branch(CPUARMState *env, SPEOutcome *out)
{
    const ARMSPESample *s = &env->spe.sample;
    SPEOp *op = &out->op;

    out->total += SPE_LAT_BRANCH;
    if (!out->exception) {
        out->taken = true;
        if (op->subclass & SPE_BR_COND) {
            bool tbz = (s->insn & 0x7e000000) == 0x36000000;
            bool backward = extract32(s->insn, tbz ? 18 : 23, 1);

            /* Predicted as a static predictor would: backward is taken */
            out->taken = out->next_pc != s->pc + 4;
            if (!out->taken) {
                out->events |= SPE_EV_NOT_TAKEN;
            }
            if (out->taken != backward) {
                out->events |= SPE_EV_MISPRED;
                out->total += SPE_LAT_MISPRED;
            }
        }
    }
    if (!FIELD_EX64(env_archcpu(env)->spe.pmsidr, PMSIDR, CRR)) {
        op->subclass &= ~SPE_BR_OTHER;
    }
}

static void spe_note_other(CPUARMState *env, SPEOutcome *out)
{
    ARMCPU *cpu = env_archcpu(env);
    SPEOp *op = &out->op;

    out->total += op->types ? SPE_LAT_FP : SPE_LAT_OTHER;
    if (!(op->subclass & SPE_OTHER_SVE)) {
        if (!FIELD_EX64(cpu->spe.pmsidr, PMSIDR, FPF)) {
            op->subclass &= ~(SPE_OTHER_FP | SPE_OTHER_ASE);
        }
        if ((op->subclass & SPE_OTHER_COND) && env->spe.sample.cond_failed) {
            out->events |= SPE_EV_NOT_TAKEN;
        }
    } else if (cpu->spe.pmsver < SPE_V1P1) {
        op->subclass = 0;
    }
}

/* SPEConstructRecord(): all packets, in the order of this model */
static int spe_construct_record(CPUARMState *env, const SPEOutcome *out,
                                uint8_t *buf)
{
    ARMCPU *cpu = env_archcpu(env);
    const ARMSPESample *s = &env->spe.sample;
    const SPEOp *op = &out->op;
    SPERecord rec;

    rec.n = 0;
    spe_packet(&rec, 15, 0x80, 8, spe_code_address(s->pc, s->el, s->space));
    spe_packet(&rec, 12, 0x88, 2, out->total);
    spe_packet(&rec, 5, 0x89, 2, SPE_LAT_ISSUE);
    if (op->class == SPE_CLASS_LDST) {
        spe_packet(&rec, 4, 0x8a, 2, out->xlat);
    }
    spe_packet(&rec, 14, 0x42,
               cpu->spe.event_mask & SPE_FILTER_V1P1_SVE ? 4 : 2, out->events);
    spe_packet(&rec, 13, 0x48 | op->class, 1, op->subclass);
    if (out->taken) {
        spe_packet(&rec, 11, 0x81, 8,
                   spe_code_address(out->next_pc, out->next_el, s->space));
    }
    if (op->has_va) {
        spe_packet(&rec, 11, 0x82, 8, op->va);
    }
    if (out->has_pa) {
        spe_packet(&rec, 9, 0x83, 8, out->pa);
    }
    if (s->prev_target) {
        spe_packet(&rec, 3, 0x84, 8,
                   spe_code_address(s->prev_target, s->el, s->space));
    }
    if (out->source >= 0) {
        spe_packet(&rec, 6, 0x43, 1, out->source);
    }
    if (s->packets & SPE_WITH_CONTEXT_EL1) {
        spe_packet(&rec, 8, 0x44, 4, s->context[0]);
    }
    if (s->packets & SPE_WITH_CONTEXT_EL2) {
        spe_packet(&rec, 7, 0x45, 4, s->context[1]);
    }
    if (s->packets & SPE_WITH_TIMESTAMP) {
        spe_packet(&rec, 10, 0x41, 8,
                   gt_get_countervalue(env) - s->time_offset);
    }
    return spe_lay_out(&rec, buf,
                       1 << FIELD_EX64(cpu->spe.pmsidr, PMSIDR, MAXSIZE));
}

/* CSEL, CCMP and the like: by the flags as they are. */
static bool spe_condition_fails(CPUARMState *env, uint32_t insn)
{
    int cond = extract32(insn, 12, 4);
    bool n = (int32_t)env->NF < 0;
    bool z = env->ZF == 0;
    bool c = env->CF;
    bool v = (int32_t)env->VF < 0;
    bool holds;

    switch (cond >> 1) {
    case 0:
        holds = z;
        break;
    case 1:
        holds = c;
        break;
    case 2:
        holds = n;
        break;
    case 3:
        holds = v;
        break;
    case 4:
        holds = c && !z;
        break;
    case 5:
        holds = n == v;
        break;
    case 6:
        holds = n == v && !z;
        break;
    default:
        return false;
    }
    return holds == (cond & 1);
}

/*
 * The outcome of the sampled operation is known: SPECompleteSample().
 * next_pc is where execution continues if it retired.
 */
static void spe_complete_sample(CPUARMState *env, bool exception,
                                uint64_t next_pc)
{
    ARMCPU *cpu = env_archcpu(env);
    ARMSPECounters *counters = &cpu->spe_control.counters;
    ARMSPESample *s = &env->spe.sample;
    int align = 1 << FIELD_EX64(cpu->spe.pmbidr, PMBIDR, ALIGN);
    SPEOutcome out = {
        .exception = exception,
        .events = (exception ? SPE_EV_EXCEPTION : 0) | SPE_EV_RETIRED |
                  s->predicate,
        .total = SPE_LAT_ISSUE,
        .source = -1,
        .next_pc = next_pc,
        .next_el = arm_current_el(env),
    };
    ARMSPEInjection injected;
    bool fault = false;
    uint8_t buf[SPE_MAX_BYTES];
    int len, padded, done;

    /* Registers and flags were read when the operation started, or are now. */
    spe_decode(env, s->pc, s->insn, &out.op);
    if (s->late) {
        s->cond_failed = spe_condition_fails(env, s->insn);
    } else {
        out.op.va = s->va;
    }
    switch (out.op.class) {
    case SPE_CLASS_LDST:
        spe_note_ldst(env, &out);
        break;
    case SPE_CLASS_BRANCH:
        spe_note_branch(env, &out);
        break;
    default:
        spe_note_other(env, &out);
        break;
    }
    out.total = MIN(out.total, cpu->spe.counter_max);
    out.xlat = MIN(out.xlat, cpu->spe.counter_max);

    if (!spe_selected(env, &out)) {
        counters->filtered++;
        trace_arm_spe_filtered(env_cpu(env)->cpu_index, s->pc, out.events);
        return;
    }
    if (FIELD_EX64(env->spe.pmblimitr, PMBLIMITR, FM) ==
        PMBLIMITR_FM_DISCARD) {
        counters->discarded++;
        trace_arm_spe_discarded(env_cpu(env)->cpu_index, s->pc, out.events);
        return;
    }
    if (unlikely(cpu->spe_control.injections) &&
        spe_injection_due(cpu, &injected)) {
        fault = injected.action == SPE_INJECT_EVENT;
        if (!fault) {
            spe_inject(env, &injected);
        }
        if (injected.action == SPE_INJECT_COLLISION) {
            counters->collided++;
            return;
        }
    }
    /* What the sampled operation itself may have done */
    if (!spe_buffer_enabled(env)) {
        counters->dropped++;
        return;
    }

    env->spe.pmbptr &= -(uint64_t)align;
    if (spe_buffer_is_full(env)) {
        /* There never was room; nothing was written. */
        counters->dropped++;
        spe_buffer_full(env);
        return;
    }

    len = spe_construct_record(env, &out, buf);
    padded = ROUND_UP(len, align);
    trace_arm_spe_record(env_cpu(env)->cpu_index, s->pc, s->insn, out.events,
                         env->spe.pmbptr, len);
    done = spe_buffer_write(env, buf, len,
                            fault ? MIN(padded, injected.partial) : padded);
    if (done == padded) {
        counters->records++;
        counters->bytes += done;
    } else if (done) {
        counters->partial++;
    } else {
        counters->dropped++;
    }
    if (fault) {
        spe_inject(env, &injected);
    }
    if (spe_buffer_is_full(env)) {
        spe_buffer_full(env);
    }
}

static void spe_finish(CPUARMState *env, bool exception, uint64_t next_pc)
{
    /* An unwound operation is going to be counted again. */
    int64_t base = env->spe.state == ARM_SPE_UNWOUND ? -1 : env->spe.count;

    spe_complete_sample(env, exception, next_pc);
    spe_set_count(env, MAX(base + spe_next_interval(env), 0));
    env->spe.state = ARM_SPE_IDLE;
}

/* --- Entry points from generated code and from the rest of the target ---- */

/*
 * The operation to be sampled is about to execute, or is in the TB that is:
 * SPEStartSample(). What the record may contain is decided with the state of
 * this moment; nothing that it depends on changes within a TB.
 */
static void spe_start_sample(CPUARMState *env, uint64_t pc, uint32_t insn,
                             const SPEOp *op)
{
    const ARMSPEConfig *config = &env_archcpu(env)->spe;
    ARMSPESample *s = &env->spe.sample;
    int el = arm_current_el(env);

    s->pc = pc;
    s->insn = insn;
    s->va = op->va;
    s->late = false;
    s->walk = false;
    s->cache = ARM_SPE_CACHE_NONE;
    s->cond_failed = spe_condition_fails(env, insn);
    s->predicate = op->esize && config->pmsver >= SPE_V1P1
                   ? spe_predicate_events(env, insn, op) : 0;
    s->el = el;
    s->space = arm_security_space(env);
    s->mmu_idx = EX_TBFLAG_ANY(env->hflags, MMUIDX);
    if (op->unpriv && EX_TBFLAG_A64(env->hflags, UNPRIV)) {
        s->mmu_idx = arm_to_core_mmu_idx(arm_mmu_idx_el(env, 0));
    }
    s->prev_target = env->spe.prev_target;
    s->packets = spe_collect_pa(env) ? SPE_WITH_PA : 0;
    if (spe_collect_context_el1(env, el)) {
        s->packets |= SPE_WITH_CONTEXT_EL1;
        s->context[0] = env->cp15.contextidr_el[1];
    }
    if (spe_collect_context_el2(env)) {
        s->packets |= SPE_WITH_CONTEXT_EL2;
        s->context[1] = env->cp15.contextidr_el[2];
    }
    if (spe_collect_time(env)) {
        s->packets |= SPE_WITH_TIMESTAMP;
        s->time_offset = spe_time_offset(env, el);
    }
}

/* The counter is at the sampled operation: is an earlier one in flight? */
static bool spe_collides(CPUARMState *env)
{
    ARMSPECounters *counters = &env_archcpu(env)->spe_control.counters;

    counters->selected++;
    spe_pass(env);
    if (env->spe.flight < 0) {
        env->spe.flight = env_archcpu(env)->spe.inflight;
        return false;
    }
    /* SPESampleCollision() */
    counters->collided++;
    env->spe.pmbsr = FIELD_DP64(env->spe.pmbsr, PMBSR, COLL, 1);
    spe_set_count(env, env->spe.count + spe_next_interval(env));
    return true;
}

/* What was selected is not going to be executed now. */
static void spe_deselect(CPUARMState *env)
{
    env->spe.state = ARM_SPE_IDLE;
    env->spe.flight = SPE_NO_FLIGHT;
    env_archcpu(env)->spe_control.counters.selected--;
}

/* May the TB that is executing have the next sample, too? */
static bool spe_two_in_tb(CPUARMState *env, uint64_t pc, uintptr_t ra)
{
    int64_t distance = spe_least_distance(env);
    const TranslationBlock *tb;
    int k;

    if (distance >= SPE_MAX_INSNS) {
        return false;
    }
    tb = tcg_tb_lookup(ra);
    k = ((pc & ~TARGET_PAGE_MASK) -
         (tb_page_addr0(tb) & ~TARGET_PAGE_MASK)) / 4;
    return k + distance < tb->icount;
}

/* In a TB with the SPE_SEARCH flag, at the operation to be sampled. */
void HELPER(spe_sample)(CPUARMState *env, uint64_t pc_diff, uint32_t insn)
{
    uint64_t pc = env->pc + pc_diff;
    CPUState *cs = env_cpu(env);
    SPEOp op;

    if (spe_two_in_tb(env, pc, GETPC())) {
        /* A TB that was to end with the operation was cut short before. */
        cs->cflags_next_tb = cs->tcg_cflags | 1;
        cpu_loop_exit_restore(cs, GETPC());
    }
    env->spe.searching = false;
    if (!spe_collides(env)) {
        spe_decode(env, pc, insn, &op);
        spe_start_sample(env, pc, insn, &op);
        env->spe.state = ARM_SPE_PENDING;
    }
}

/* May the instruction write general-purpose register n? True in any doubt. */
static bool spe_may_write(uint32_t insn, int n)
{
    bool rt = extract32(insn, 0, 5) == n;
    bool rn = extract32(insn, 5, 5) == n;
    bool bit21 = extract32(insn, 21, 1);

    if ((insn & 0xfffff01f) == 0xd503201f) {
        /* Hints: some of them sign or strip X17 or X30. */
        return n == 17 || n == 30;
    }
    if (extract32(insn, 26, 6) == 0x25) {
        /* BL */
        return n == 30;
    }
    if (extract32(insn, 25, 7) == 0x6b) {
        /* BLR and its like; ERET, after which SP is another one */
        return n >= 30;
    }
    if ((insn & 0xffffffe0) == 0xd5184200) {
        /* MSR SPSel */
        return n == 31;
    }
    if ((insn & 0x0a000000) != 0x08000000) {
        /* Not a load or store; MRRS writes two registers. */
        return rt || extract32(insn, 22, 10) == 0x355;
    }
    switch (extract32(insn, 27, 3)) {
    case 3:
        /* LDR (literal), and much else */
        return rt || extract32(insn, 24, 1);
    case 5:
        /* Pairs, with write-back or without */
        return rt || extract32(insn, 10, 5) == n ||
               (extract32(insn, 23, 1) && rn);
    case 7:
        if (extract32(insn, 24, 1)) {
            /* Unsigned offset */
            return rt;
        }
        switch (extract32(insn, 10, 2)) {
        case 0:
            /* Unscaled offset, or atomics, of which LD64B writes more */
            return rt || (bit21 && extract32(insn, 15, 1));
        case 2:
            /* Register offset, or unprivileged */
            return rt;
        default:
            /* Write-back */
            return rt || rn;
        }
    default:
        return true;
    }
}

/* May the instruction write the flags? True in any doubt. */
static bool spe_may_write_flags(uint32_t insn)
{
    switch (extract32(insn, 25, 4)) {
    case 0x8:
    case 0x9:
        /* Immediates: of those that may be, ADDS, SUBS and ANDS; not ADR */
        return extract32(insn, 29, 1) && extract32(insn, 24, 2);
    case 0x5:
    case 0xd:
        /* Registers: ORR and ORN have the bit, and do not write the flags. */
        return extract32(insn, 29, 1) &&
               (extract32(insn, 24, 5) != 0x0a || extract32(insn, 30, 1));
    case 0x4:
    case 0xc:
    case 0xe:
    case 0x6:
        /* Loads and stores, but for block copies and sets */
        return (insn & 0x3b200c00) == 0x19000400;
    case 0x7:
    case 0xf:
        /* Comparisons, and what is encoded next to them */
        return (insn & 0x5f200000) == 0x1e200000;
    case 0xa:
    case 0xb:
        if (extract32(insn, 21, 11) == 0x6b4) {
            /* ERET */
            return true;
        }
        /* System instructions other than hints */
        return extract32(insn, 24, 8) == 0xd5 &&
               (insn & 0xfffff01f) != 0xd503201f;
    default:
        return true;
    }
}

/* What the outcome of an operation depends on, besides its encoding */
typedef struct SPEInputs {
    bool flags;
    int8_t base;            /* registers that make the address; -1: none */
    int8_t index;
} SPEInputs;

/* False if it is more than can be told. */
static bool spe_inputs(uint32_t insn, const SPEOp *op, SPEInputs *in)
{
    int kind = extract32(insn, 27, 3);

    *in = (SPEInputs) { .base = -1, .index = -1 };
    if (op->esize) {
        return false;
    }
    if (op->class == SPE_CLASS_OTHER) {
        in->flags = (op->subclass & SPE_OTHER_COND) &&
                    !(op->subclass & SPE_OTHER_SVE);
    }
    if (!op->has_va || (insn & 0x3b000000) == 0x18000000) {
        /* No address, or that of literal data */
        return true;
    }
    in->base = extract32(insn, 5, 5);
    if (kind == 7 && !extract32(insn, 24, 1) && extract32(insn, 21, 1)) {
        in->index = extract32(insn, 16, 5);
    }
    return kind == 5 || kind == 7;
}

static bool spe_unchanged(const uint32_t *code, int first, int end,
                          const SPEInputs *in)
{
    for (int i = first; i < end; i++) {
        uint32_t insn = le32_to_cpu(code[i]);

        if ((in->flags && spe_may_write_flags(insn)) ||
            (in->base >= 0 && spe_may_write(insn, in->base)) ||
            (in->index >= 0 && spe_may_write(insn, in->index))) {
            return false;
        }
    }
    return true;
}

/*
 * The operation to be sampled is number k of the n in the TB that begins at
 * env->pc. Sample it, if what it does can be told from outside the TB.
 */
static bool spe_sample_in_tb(CPUARMState *env, int k, int n)
{
    ARMSPESample *s = &env->spe.sample;
    const ARMSPEConfig *config = &env_archcpu(env)->spe;
    uint64_t pc = env->pc + k * 4;
    const uint32_t *code;
    bool late = false;
    SPEInputs in;
    uint32_t insn;
    bool known;
    void *host;
    SPEOp op;

    if (config->cache || config->prev_branch || config->inflight) {
        return false;
    }
    /* A TB lies within one page. */
    if (probe_access_flags(env, env->pc, 0, MMU_INST_FETCH,
                           EX_TBFLAG_ANY(env->hflags, MMUIDX),
                           true, &host, 0) || !host) {
        return false;
    }
    code = host;
    insn = le32_to_cpu(code[k]);
    spe_decode(env, pc, insn, &op);
    known = spe_inputs(insn, &op, &in);
    if (k && !known) {
        return false;
    }
    if (!spe_unchanged(code, 0, k, &in)) {
        if (!spe_unchanged(code, k, n, &in)) {
            return false;
        }
        late = true;
    }

    env_archcpu(env)->spe_control.counters.selected++;
    spe_start_sample(env, pc, insn, &op);
    s->late = late;
    s->index = k;
    s->insns = n;
    env->spe.state = ARM_SPE_ARMED;
    /* The next TB cannot take its length from this. */
    env->spe.count = 0;
    return true;
}

/* Once the TB has been left: where the counter would be without ARMED. */
static void spe_disarm(CPUARMState *env, int done)
{
    int k = env->spe.sample.index;

    env->spe.count = k - done;
    env->spe.mark = env->spe.count;
    if (k > done) {
        spe_deselect(env);
    } else {
        env->spe.state = k == done ? ARM_SPE_UNWOUND : ARM_SPE_RETIRED;
    }
}

/*
 * The counter does not cover the TB of n instructions that is about to be
 * entered. Returns true if it may be entered all the same; the counter then
 * has been brought up to date.
 */
uint32_t HELPER(spe_expired)(CPUARMState *env, uint32_t n)
{
    CPUState *cs = env_cpu(env);
    uint64_t hflags = env->hflags.flags2;
    bool alone = false;

    if (env->spe.state == ARM_SPE_ARMED && !icount_enabled()) {
        spe_disarm(env, env->spe.sample.insns);
        spe_finish(env, false, env->pc);
        if (env->hflags.flags2 != hflags) {
            /* The unit has stopped. */
            return false;
        }
    }
    if (env->spe.state == ARM_SPE_IDLE && env->spe.reload) {
        spe_set_count(env, spe_first_interval(env));
    }
    if (env->spe.state == ARM_SPE_IDLE) {
        if (env->spe.count >= n) {
            env->spe.count -= n;
            return true;
        }
        if (spe_least_distance(env) < n) {
            alone = true;
        } else if (spe_sample_in_tb(env, env->spe.count, n)) {
            return true;
        }
        env->spe.searching = true;
    }
    if (icount_enabled()) {
        /* The TB is not executed now: give back what it has taken. */
        cs->neg.icount_decr.u16.low += n;
    }
    if (alone) {
        /* Another one may be due soon: end the TB with the sampled one. */
        cs->cflags_next_tb = cs->tcg_cflags | (env->spe.count + 1);
        cpu_loop_exit(cs);
    }
    return false;
}

/* The TB with the sampled operation has been left without an exception. */
static void spe_retire(CPUARMState *env)
{
    if (env->spe.state == ARM_SPE_ARMED) {
        spe_disarm(env, env->spe.sample.insns);
    }
    if (env->spe.state == ARM_SPE_UNWOUND) {
        /* Not executed after all; it will be. */
        spe_deselect(env);
        env->spe.searching = true;
    } else {
        spe_finish(env, false, env->pc);
    }
}

/* Called whenever the next TB is looked up and an operation was sampled. */
void arm_spe_retire(CPUARMState *env)
{
    bool armed = env->spe.state == ARM_SPE_ARMED;
    uint64_t hflags = env->hflags.flags2;

    spe_retire(env);
    if (armed && env->hflags.flags2 != hflags) {
        /*
         * The unit has stopped. The TB that was left must not be chained to
         * what comes now, which has other flags: begin a lookup of its own.
         */
        cpu_loop_exit(env_cpu(env));
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
        spe_retire(env);
        break;
    default:
        if (env->spe.state == ARM_SPE_ARMED) {
            /* By the last instruction, which has not been unwound */
            spe_disarm(env, env->spe.sample.insns - 1);
            env->spe.count -= env->spe.state == ARM_SPE_RETIRED;
        }
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
    int done = ((pc_offset & ~TARGET_PAGE_MASK) -
                (tb_page_addr0(tb) & ~TARGET_PAGE_MASK)) / 4;

    if (!EX_TBFLAG_A64(flags, SPE_ACTIVE)) {
        return;
    }
    env->spe.next_pc = env->pc;
    if (EX_TBFLAG_A64(flags, SPE_SEARCH)) {
        if (env->spe.state == ARM_SPE_PENDING) {
            env->spe.state = env->spe.count == -1 ? ARM_SPE_UNWOUND
                                                  : ARM_SPE_RETIRED;
        }
        env->spe.count++;
    } else if (env->spe.state == ARM_SPE_ARMED) {
        spe_disarm(env, done);
    } else {
        env->spe.count += tb->icount - done;
    }
}

/*
 * QEMU's TLB has no entry for an access. The tables are walked, unless the
 * address is misaligned for an access that may not be.
 */
void arm_spe_tlb_fill(CPUARMState *env, uint64_t address,
                      MMUAccessType access_type, MemOp memop, uintptr_t ra)
{
    uint64_t data[TARGET_INSN_START_WORDS];
    bool sampled;

    if (access_type == MMU_INST_FETCH ||
        (address & ((1 << memop_alignment_bits(memop)) - 1))) {
        return;
    }
    if (env->spe.state == ARM_SPE_ARMED) {
        /* One of the accesses of the TB */
        sampled = ra && cpu_unwind_state_data(env_cpu(env), ra, data) &&
                  !((data[0] ^ env->spe.sample.pc) & ~TARGET_PAGE_MASK);
    } else {
        sampled = env->spe.state == ARM_SPE_PENDING && env->spe.count == -1;
    }
    env->spe.sample.walk |= sampled;
}

/* --- The model of the caches --------------------------------------------- */

#define SPE_LINE_BITS   6
#define SPE_L1D_WAYS    4
#define SPE_LLC_WAYS    16

static void spe_cache_init(ARMSPECache *cache, uint64_t size, int ways)
{
    cache->ways = ways;
    cache->sets = (size >> SPE_LINE_BITS) / ways;
    cache->lines = g_new0(uint64_t, (size_t)cache->sets * ways);
}

/* True if the line was there; it is afterwards. */
static bool spe_cache_access(ARMSPECache *cache, uint64_t pa)
{
    uint64_t line = (pa >> SPE_LINE_BITS) + 1;  /* 0 is an empty place */
    uint64_t *set = &cache->lines[((line - 1) % cache->sets) * cache->ways];
    int way = 0;
    bool hit;

    while (way < cache->ways - 1 && set[way] != line) {
        way++;
    }
    hit = set[way] == line;
    memmove(set + 1, set, way * sizeof(*set));
    set[0] = line;
    return hit;
}

/* A load or store is about to execute in profiled code. */
void HELPER(spe_cache)(CPUARMState *env, uint64_t pc_diff, uint32_t insn)
{
    ARMSPEControl *control = &env_archcpu(env)->spe_control;
    CPUTLBEntryFull *full;
    void *host;
    uint64_t pa;
    SPEOp op;
    int where;

    spe_decode(env, env->pc + pc_diff, insn, &op);
    if (!op.has_va ||
        (probe_access_full_mmu(env, op.va, 0, MMU_DATA_LOAD,
                               EX_TBFLAG_ANY(env->hflags, MMUIDX),
                               &host, &full) & TLB_INVALID_MASK) || !host) {
        return;
    }
    pa = full->phys_addr | (op.va & ~TARGET_PAGE_MASK);
    if (spe_cache_access(&control->l1d, pa)) {
        where = ARM_SPE_CACHE_L1D;
    } else if (spe_cache_access(&control->llc, pa)) {
        where = ARM_SPE_CACHE_LLC;
    } else {
        where = ARM_SPE_CACHE_MEM;
    }
    if (env->spe.state == ARM_SPE_PENDING && env->spe.count == -1) {
        env->spe.sample.cache = where;
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

/*
 * The TB is entered: by a branch, unless it begins where the last one ended.
 * What happened while nothing was profiled is not known.
 */
static void spe_gen_prev_target(DisasContext *s)
{
    TCGv_i64 next = tcg_temp_new_i64();
    TCGv_i64 target = tcg_temp_new_i64();
    TCGv_i64 pc = tcg_temp_new_i64();

    tcg_gen_ld_i64(pc, tcg_env, offsetof(CPUARMState, pc));
    tcg_gen_ld_i64(next, tcg_env, offsetof(CPUARMState, spe.next_pc));
    tcg_gen_ld_i64(target, tcg_env, offsetof(CPUARMState, spe.prev_target));
    tcg_gen_movcond_i64(TCG_COND_EQ, target, next, pc, target, pc);
    tcg_gen_movcond_i64(TCG_COND_EQ, target, next,
                        tcg_constant_i64(SPE_NO_BRANCH),
                        tcg_constant_i64(0), target);
    tcg_gen_st_i64(target, tcg_env, offsetof(CPUARMState, spe.prev_target));
    tcg_gen_addi_i64(pc, pc, 4 * s->base.num_insns);
    tcg_gen_st_i64(pc, tcg_env, offsetof(CPUARMState, spe.next_pc));
}

/* Profiled code is about to be translated. */
void arm_spe_gen_tb_start(DisasContext *s)
{
    s->base.max_insns = MIN(s->base.max_insns, SPE_MAX_INSNS);
}

/* Before each instruction of a profiled TB. */
void arm_spe_gen_insn(DisasContext *s)
{
    /* Loads and stores of all kinds: op0 of the A64 encoding index is x1x0 */
    bool ldst = (s->insn & 0x0a000000) == 0x08000000;

    /* In system emulation, generated code knows its address from env->pc. */
    tcg_debug_assert(tb_cflags(s->base.tb) & CF_PCREL);

    if (s->insn == 0xd503223f) {
        /* PSB CSYNC: the record is written when the TB has been left. */
        s->base.max_insns = s->base.num_insns;
        tcg_gen_st_i64(tcg_constant_i64(SPE_NO_FLIGHT), tcg_env,
                       offsetof(CPUARMState, spe.flight));
    }
    if (s->base.num_insns == 1) {
        s->spe_first_insn = s->base.insn_start;
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
    }
    if (s->spe_cache && ldst) {
        gen_helper_spe_cache(tcg_env,
                             tcg_constant_i64(s->pc_curr - s->pc_save),
                             tcg_constant_i32(s->insn));
    }
}

/* At the end of a profiled TB, when its length is known. */
void arm_spe_gen_tb_stop(DisasContext *s)
{
    TCGLabel *expired = NULL, *resume = NULL;

    if (!s->spe_first_insn || (s->spe_search && !s->spe_prev_branch)) {
        return;
    }

    tcg_ctx->emit_before_op = s->spe_first_insn;
    if (!s->spe_search) {
        TCGv_i64 count = spe_gen_count(s->base.num_insns);

        expired = gen_new_label();
        resume = gen_new_label();
        tcg_gen_brcondi_i64(TCG_COND_LT, count, 0, expired);
        tcg_gen_st_i64(count, tcg_env, offsetof(CPUARMState, spe.count));
        gen_set_label(resume);
    }
    if (s->spe_prev_branch) {
        spe_gen_prev_target(s);
    }
    tcg_ctx->emit_before_op = NULL;

    if (expired) {
        TCGv_i32 enter = tcg_temp_new_i32();

        gen_set_label(expired);
        gen_helper_spe_expired(enter, tcg_env,
                               tcg_constant_i32(s->base.num_insns));
        tcg_gen_brcondi_i32(TCG_COND_NE, enter, 0, resume);
        tcg_gen_lookup_and_goto_ptr();
    }
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
        (!(spe_nspb(env) & 1) || !spe_owned_by_this_state(env))) {
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
        (!(spe_nspb(env) & 1) || !spe_owned_by_this_state(env))) {
        return CP_ACCESS_TRAP_EL3;
    }
    return CP_ACCESS_OK;
}

/* PMSDSFR_EL1: a register that firmware may not know */
static CPAccessResult access_pmsdsfr(CPUARMState *env, const ARMCPRegInfo *ri,
                                     bool isread)
{
    CPAccessResult result = access_pms(env, ri, isread);

    if (result == CP_ACCESS_OK && arm_current_el(env) < 3 &&
        arm_feature(env, ARM_FEATURE_EL3) &&
        !FIELD_EX64(env->cp15.mdcr_el3, MDCR_EL3, ENPMS3)) {
        return CP_ACCESS_TRAP_EL3;
    }
    return result;
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

static uint64_t pmscr_mask(CPUARMState *env)
{
    uint64_t mask = R_PMSCR_E0SPE_MASK | R_PMSCR_E1SPE_MASK |
                    R_PMSCR_CX_MASK | R_PMSCR_PA_MASK | R_PMSCR_TS_MASK |
                    R_PMSCR_PCT_MASK;

    if (!cpu_isar_feature(aa64_ecv, env_archcpu(env))) {
        mask &= ~(2ull << R_PMSCR_PCT_SHIFT);
    }
    return mask;
}

static void pmscr_write(CPUARMState *env, const ARMCPRegInfo *ri,
                        uint64_t value)
{
    spe_write_masked(env, ri, value, pmscr_mask(env));
}

static void pmsirr_write(CPUARMState *env, const ARMCPRegInfo *ri,
                         uint64_t value)
{
    uint64_t counter = spe_counter(env);

    spe_write_masked(env, ri, value,
                     R_PMSIRR_RND_MASK | R_PMSIRR_INTERVAL_MASK);
    /* What follows from the counter is another now. */
    spe_set_counter(env, counter);
}

static uint64_t pmsfcr_mask(CPUARMState *env)
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
    return mask;
}

static void pmsfcr_write(CPUARMState *env, const ARMCPRegInfo *ri,
                         uint64_t value)
{
    spe_write_masked(env, ri, value, pmsfcr_mask(env));
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

static uint64_t pmblimitr_mask(CPUARMState *env)
{
    uint64_t mask = R_PMBLIMITR_E_MASK | R_PMBLIMITR_LIMIT_MASK;

    if (env_archcpu(env)->spe.pmsver >= SPE_V1P2) {
        mask |= R_PMBLIMITR_FM_MASK;
    }
    return mask;
}

static void pmblimitr_write(CPUARMState *env, const ARMCPRegInfo *ri,
                            uint64_t value)
{
    spe_write_masked(env, ri, value, pmblimitr_mask(env));
}

static uint64_t pmbsr_read(CPUARMState *env, const ARMCPRegInfo *ri)
{
    ARMSPEControl *control = &env_archcpu(env)->spe_control;

    if (unlikely(control->irq_spurious)) {
        control->irq_spurious = false;
        spe_update_irq(env);
    }
    return spe_read(env, ri);
}

static void pmbsr_write(CPUARMState *env, const ARMCPRegInfo *ri,
                        uint64_t value)
{
    ARMSPEControl *control = &env_archcpu(env)->spe_control;

    control->irq_spurious = false;
    if (FIELD_EX64(env->spe.pmbsr, PMBSR, S) &&
        !FIELD_EX64(value, PMBSR, S)) {
        control->irq_lost = false;
    }
    spe_write_masked(env, ri, value,
                     R_PMBSR_MSS_MASK | R_PMBSR_COLL_MASK | R_PMBSR_S_MASK |
                     R_PMBSR_EA_MASK | R_PMBSR_DL_MASK | R_PMBSR_EC_MASK);
    spe_update_irq(env);
}

static void pmbsr_reset(CPUARMState *env, const ARMCPRegInfo *ri)
{
    ARMSPEControl *control = &env_archcpu(env)->spe_control;

    env->spe.pmbsr = 0;
    control->irq_spurious = false;
    control->irq_lost = false;
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
      .readfn = pmbsr_read, .writefn = pmbsr_write,
      .raw_readfn = raw_read, .raw_writefn = raw_write,
      .resetfn = pmbsr_reset,
      .fieldoffset = offsetof(CPUARMState, spe.pmbsr) },
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
      .accessfn = access_pmsdsfr,
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

static uint64_t spe_unknown(CPUARMState *env)
{
    spe_random(env);
    return env->spe.prng;
}

/*
 * The registers have the values that a Warm reset may give them.
 * PMBLIMITR_EL1.E is 0 then. PMBSR_EL1.S is, too: its interrupt would end
 * the sleep.
 */
void arm_spe_power_loss(CPUARMState *env)
{
    ARMCPU *cpu = env_archcpu(env);
    ARMSPEControl *control = &cpu->spe_control;
    const ARMSPEConfig *config = &cpu->spe;
    ARMSPEState *spe = &env->spe;

    control->counters.power_losses++;
    control->counters.enabled_losses += FIELD_EX64(spe->pmblimitr,
                                                   PMBLIMITR, E);

    spe->pmscr_el[1] = spe_unknown(env) & pmscr_mask(env);
    if (arm_feature(env, ARM_FEATURE_EL2)) {
        spe->pmscr_el[2] = spe_unknown(env) & pmscr_mask(env);
    }
    spe->pmsfcr = spe_unknown(env) & pmsfcr_mask(env);
    spe->pmsirr = spe_unknown(env) &
                  (R_PMSIRR_RND_MASK | R_PMSIRR_INTERVAL_MASK);
    spe->pmsevfr = spe_unknown(env) & config->event_mask;
    spe->pmslatfr = spe_unknown(env) & config->counter_max;
    if (FIELD_EX64(config->pmsidr, PMSIDR, FNE)) {
        spe->pmsnevfr = spe_unknown(env) & config->event_mask;
    }
    if (FIELD_EX64(config->pmsidr, PMSIDR, FDS)) {
        spe->pmsdsfr = spe_unknown(env);
    }
    spe->pmbptr = spe_unknown(env);
    spe->pmblimitr = spe_unknown(env) & pmblimitr_mask(env) &
                     ~R_PMBLIMITR_E_MASK;
    spe->pmbsr = spe_unknown(env) &
                 (R_PMBSR_MSS_MASK | R_PMBSR_COLL_MASK | R_PMBSR_EA_MASK |
                  R_PMBSR_DL_MASK | R_PMBSR_EC_MASK);
    spe_set_counter(env, spe_unknown(env));
    spe->flight = SPE_NO_FLIGHT;
    control->irq_spurious = false;
    control->irq_lost = false;
    spe_update_irq(env);
}

/* --- Migration ----------------------------------------------------------- */

static bool spe_needed(void *opaque)
{
    ARMCPU *cpu = opaque;

    return cpu->spe.enabled;
}

static int spe_post_load(void *opaque, int version_id)
{
    ARMCPU *cpu = opaque;

    /* The level itself is with the interrupt controller. */
    cpu->spe_control.irq_level = cpu->spe_control.irq_spurious ||
        (FIELD_EX64(cpu->env.spe.pmbsr, PMBSR, S) &&
         !cpu->spe_control.irq_lost);
    return 0;
}

/* The registers are with the others; what was injected is not kept. */
const VMStateDescription vmstate_arm_spe = {
    .name = "cpu/spe",
    .version_id = 2,
    .minimum_version_id = 1,
    .needed = spe_needed,
    .post_load = spe_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_INT64(env.spe.count, ARMCPU),
        VMSTATE_INT64(env.spe.lead, ARMCPU),
        VMSTATE_INT64(env.spe.period, ARMCPU),
        VMSTATE_INT64(env.spe.delay, ARMCPU),
        VMSTATE_UINT8(env.spe.ecount, ARMCPU),
        VMSTATE_INT64(env.spe.flight, ARMCPU),
        VMSTATE_INT64(env.spe.mark, ARMCPU),
        VMSTATE_UINT64(env.spe.prng, ARMCPU),
        VMSTATE_UINT64(env.spe.next_pc, ARMCPU),
        VMSTATE_UINT64(env.spe.prev_target, ARMCPU),
        VMSTATE_BOOL(env.spe.searching, ARMCPU),
        VMSTATE_BOOL(env.spe.reload, ARMCPU),
        VMSTATE_UINT8(env.spe.state, ARMCPU),
        VMSTATE_UINT64(env.spe.sample.pc, ARMCPU),
        VMSTATE_UINT64(env.spe.sample.va, ARMCPU),
        VMSTATE_UINT64(env.spe.sample.prev_target, ARMCPU),
        VMSTATE_UINT64(env.spe.sample.time_offset, ARMCPU),
        VMSTATE_UINT32_ARRAY(env.spe.sample.context, ARMCPU, 2),
        VMSTATE_UINT32(env.spe.sample.insn, ARMCPU),
        VMSTATE_UINT16(env.spe.sample.packets, ARMCPU),
        VMSTATE_UINT8(env.spe.sample.el, ARMCPU),
        VMSTATE_UINT8(env.spe.sample.mmu_idx, ARMCPU),
        VMSTATE_UINT8(env.spe.sample.space, ARMCPU),
        VMSTATE_UINT32(env.spe.sample.predicate, ARMCPU),
        VMSTATE_UINT8(env.spe.sample.cache, ARMCPU),
        VMSTATE_UINT16(env.spe.sample.index, ARMCPU),
        VMSTATE_UINT16(env.spe.sample.insns, ARMCPU),
        VMSTATE_BOOL(env.spe.sample.late, ARMCPU),
        VMSTATE_BOOL(env.spe.sample.cond_failed, ARMCPU),
        VMSTATE_BOOL(env.spe.sample.walk, ARMCPU),
        VMSTATE_BOOL(spe_control.irq_lost, ARMCPU),
        VMSTATE_BOOL(spe_control.irq_spurious, ARMCPU),
        VMSTATE_UINT64(spe_control.counters.selected, ARMCPU),
        VMSTATE_UINT64(spe_control.counters.collided, ARMCPU),
        VMSTATE_UINT64(spe_control.counters.filtered, ARMCPU),
        VMSTATE_UINT64(spe_control.counters.discarded, ARMCPU),
        VMSTATE_UINT64(spe_control.counters.dropped, ARMCPU),
        VMSTATE_UINT64(spe_control.counters.partial, ARMCPU),
        VMSTATE_UINT64(spe_control.counters.records, ARMCPU),
        VMSTATE_UINT64(spe_control.counters.bytes, ARMCPU),
        VMSTATE_UINT64(spe_control.counters.events, ARMCPU),
        VMSTATE_UINT64(spe_control.counters.interrupts, ARMCPU),
        VMSTATE_UINT64_V(spe_control.counters.power_losses, ARMCPU, 2),
        VMSTATE_UINT64_V(spe_control.counters.enabled_losses, ARMCPU, 2),
        VMSTATE_END_OF_LIST()
    }
};

/* --- The user's side: counters and injection ----------------------------- */

/*
 * The state of a CPU belongs to its own thread. Done at once if this is it,
 * or if there is no thread yet.
 */
static void spe_run(ARMCPU *cpu, run_on_cpu_func func, void *data)
{
    CPUState *cs = CPU(cpu);

    if (cs->created) {
        run_on_cpu(cs, func, RUN_ON_CPU_HOST_PTR(data));
    } else {
        func(cs, RUN_ON_CPU_HOST_PTR(data));
    }
}

static void spe_do_get_counters(CPUState *cs, run_on_cpu_data data)
{
    memcpy(data.host_ptr, &ARM_CPU(cs)->spe_control.counters,
           sizeof(ARMSPECounters));
}

static void spe_get_counters(Object *obj, Visitor *v, const char *name,
                             void *opaque, Error **errp)
{
    ARMSPECounters c;
    const struct {
        const char *name;
        uint64_t *value;
    } fields[] = {
        { "selected", &c.selected },
        { "collided", &c.collided },
        { "filtered", &c.filtered },
        { "discarded", &c.discarded },
        { "dropped", &c.dropped },
        { "partial", &c.partial },
        { "records", &c.records },
        { "bytes", &c.bytes },
        { "events", &c.events },
        { "interrupts", &c.interrupts },
        { "power-losses", &c.power_losses },
        { "enabled-losses", &c.enabled_losses },
    };

    spe_run(ARM_CPU(obj), spe_do_get_counters, &c);
    if (!visit_start_struct(v, name, NULL, 0, errp)) {
        return;
    }
    for (int i = 0; i < ARRAY_SIZE(fields); i++) {
        if (!visit_type_uint64(v, fields[i].name, fields[i].value, errp)) {
            break;
        }
    }
    visit_end_struct(v, NULL);
}

typedef struct SPEInjectRequest {
    ARMSPEInjection what;
    bool full;
} SPEInjectRequest;

static void spe_do_inject(CPUState *cs, run_on_cpu_data data)
{
    ARMCPU *cpu = ARM_CPU(cs);
    SPEInjectRequest *request = data.host_ptr;
    ARMSPEControl *control = &cpu->spe_control;

    if (request->what.at_once) {
        spe_inject(&cpu->env, &request->what);
    } else if (control->injections < ARM_SPE_INJECTIONS) {
        control->injection[control->injections++] = request->what;
    } else {
        request->full = true;
    }
}

/* Take a number out of the options; false if it is none or too large. */
static bool spe_option(QDict *options, const char *name, uint64_t min,
                       uint64_t max, uint64_t *value, Error **errp)
{
    const char *text = qdict_get_try_str(options, name);

    if (!text) {
        return true;
    }
    if (qemu_strtou64(text, NULL, 0, value) || *value < min || *value > max) {
        error_setg(errp, "spe-inject: %s=%s is not a number from %" PRIu64
                   " to %" PRIu64, name, text, min, max);
        return false;
    }
    qdict_del(options, name);
    return true;
}

static bool spe_flag(QDict *options, const char *name, bool *value,
                     Error **errp)
{
    const char *text = qdict_get_try_str(options, name);

    if (!text) {
        return true;
    }
    if (!strcmp(text, "on") || !strcmp(text, "off")) {
        *value = !strcmp(text, "on");
        qdict_del(options, name);
        return true;
    }
    error_setg(errp, "spe-inject: %s=%s is not on or off", name, text);
    return false;
}

static bool spe_allows(const char *options, const char *name)
{
    g_auto(GStrv) words = g_strsplit(options, " ", -1);

    return g_strv_contains((const char * const *)words, name);
}

/* KIND[,OPTION=VALUE]...: see docs/system/arm/spe.rst */
static bool spe_parse_injection(const char *text, ARMSPEInjection *what,
                                Error **errp)
{
    static const struct {
        const char *name;
        uint8_t action;
        uint8_t ec;
        uint8_t mss;
        bool ea;
        const char *needs;
        const char *options;
    } kinds[] = {
        { "fault", SPE_INJECT_EVENT, PMBSR_EC_FAULT_S1, 0x07, false,
          NULL, "stage fsc ea dl partial" },
        { "granule-fault", SPE_INJECT_EVENT, PMBSR_EC_FAULT_GPC, 0, false,
          NULL, "fsc dl partial" },
        { "external-abort", SPE_INJECT_EVENT, PMBSR_EC_FAULT_S1, 0x10, true,
          NULL, "stage fsc dl partial" },
        { "full", SPE_INJECT_EVENT, PMBSR_EC_BUF, PMBSR_BSC_FULL, false,
          NULL, "dl" },
        { "event", SPE_INJECT_EVENT, 0, 0, false, "ec", "ec mss ea dl" },
        { "collision", SPE_INJECT_COLLISION, .options = "" },
        { "spurious-interrupt", SPE_INJECT_SPURIOUS, .options = "" },
        { "lost-interrupt", SPE_INJECT_LOST, .options = "" },
        { "pointer", SPE_INJECT_POINTER, .needs = "value",
          .options = "value" },
    };
    g_autoptr(QDict) options = keyval_parse(text, "kind", NULL, errp);
    uint64_t stage = 1, fsc, ec, mss, partial = 0;
    const char *kind;
    int i;

    if (!options) {
        return false;
    }
    kind = qdict_get_try_str(options, "kind");
    for (i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (kind && !strcmp(kind, kinds[i].name)) {
            break;
        }
    }
    if (i == ARRAY_SIZE(kinds)) {
        error_setg(errp, "spe-inject: '%s' is not one of fault, granule-fault, "
                   "external-abort, full, event, collision, "
                   "spurious-interrupt, lost-interrupt, pointer",
                   kind ? kind : text);
        return false;
    }
    qdict_del(options, "kind");
    if (kinds[i].needs && !qdict_haskey(options, kinds[i].needs)) {
        error_setg(errp, "spe-inject: %s needs %s=", kinds[i].name,
                   kinds[i].needs);
        return false;
    }
    for (const QDictEntry *e = qdict_first(options); e;
         e = qdict_next(options, e)) {
        if (strcmp(qdict_entry_key(e), "after") &&
            !spe_allows(kinds[i].options, qdict_entry_key(e))) {
            error_setg(errp, "spe-inject: %s has no option %s",
                       kinds[i].name, qdict_entry_key(e));
            return false;
        }
    }

    *what = (ARMSPEInjection) {
        .action = kinds[i].action,
        .external = kinds[i].ea,
        .at_once = !qdict_haskey(options, "after"),
    };
    fsc = mss = kinds[i].mss;
    ec = kinds[i].ec;
    if (!spe_option(options, "after", 0, UINT32_MAX, &what->after, errp) ||
        !spe_option(options, "value", 0, UINT64_MAX, &what->value, errp) ||
        !spe_option(options, "stage", 1, 2, &stage, errp) ||
        !spe_option(options, "fsc", 0, 0x3f, &fsc, errp) ||
        !spe_option(options, "ec", 0, 0x3f, &ec, errp) ||
        !spe_option(options, "mss", 0, 0xffff, &mss, errp) ||
        !spe_option(options, "partial", 0, SPE_MAX_SLOT, &partial, errp) ||
        !spe_flag(options, "ea", &what->external, errp) ||
        !spe_flag(options, "dl", &what->data_loss, errp)) {
        return false;
    }
    what->ec = ec + (stage == 2);
    what->mss = spe_allows(kinds[i].options, "fsc") ? fsc : mss;
    if (!spe_allows(kinds[i].options, "partial")) {
        /* The record is not affected by the event. */
        what->partial = SPE_MAX_SLOT;
    } else {
        what->partial = partial;
        what->data_loss |= partial > 0;
    }
    return true;
}

static void spe_set_injection(Object *obj, const char *value, Error **errp)
{
    ARMCPU *cpu = ARM_CPU(obj);
    SPEInjectRequest request = {};

    if (!cpu->spe.enabled || !DEVICE(obj)->realized) {
        error_setg(errp, "spe-inject: this CPU has no SPE: use spe=on");
        return;
    }
    if (!spe_parse_injection(value, &request.what, errp)) {
        return;
    }
    spe_run(cpu, spe_do_inject, &request);
    if (request.full) {
        error_setg(errp, "spe-inject: %d injections are waiting already",
                   ARM_SPE_INJECTIONS);
    }
}

/* --- CPU properties ------------------------------------------------------ */

static const Property spe_properties[] = {
    DEFINE_PROP_BOOL("spe", ARMCPU, spe.enabled, false),
    DEFINE_PROP_STRING("spe-version", ARMCPU, spe.version),
    DEFINE_PROP_UINT32("spe-min-interval", ARMCPU, spe.min_interval, 1024),
    DEFINE_PROP_UINT32("spe-max-record-size", ARMCPU, spe.max_record_size, 64),
    DEFINE_PROP_UINT32("spe-align", ARMCPU, spe.align, 0),
    DEFINE_PROP_UINT32("spe-count-size", ARMCPU, spe.count_size, 12),
    DEFINE_PROP_UINT64("spe-seed", ARMCPU, spe.seed, 1),
    DEFINE_PROP_UINT32("spe-inflight", ARMCPU, spe.inflight, 0),
    DEFINE_PROP_UINT32("spe-walk-latency", ARMCPU, spe.walk_latency, 20),
    DEFINE_PROP_UINT32("spe-miss-latency", ARMCPU, spe.miss_latency, 100),
    DEFINE_PROP_BOOL("spe-cache", ARMCPU, spe.cache, false),
    DEFINE_PROP_SIZE("spe-l1d-size", ARMCPU, spe.l1d_size, 32 * KiB),
    DEFINE_PROP_SIZE("spe-llc-size", ARMCPU, spe.llc_size, 1 * MiB),
    DEFINE_PROP_BOOL("spe-prev-branch", ARMCPU, spe.prev_branch, false),
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
    DEFINE_PROP_UINT8("x-spe-pmsver", ARMCPU, spe.pmsver_override, UINT8_MAX),
    DEFINE_PROP_UINT64("x-spe-pmsidr", ARMCPU, spe.pmsidr_override,
                       UINT64_MAX),
    DEFINE_PROP_UINT64("x-spe-pmbidr", ARMCPU, spe.pmbidr_override,
                       UINT64_MAX),
    DEFINE_PROP_UINT64("x-spe-override-cpus", ARMCPU, spe.override_cpus,
                       UINT64_MAX),
    DEFINE_PROP_BOOL("x-spe-power-loss", ARMCPU, spe.power_loss, false),
};

void arm_spe_add_properties(ARMCPU *cpu)
{
    for (int i = 0; i < ARRAY_SIZE(spe_properties); i++) {
        qdev_property_add_static(DEVICE(cpu), &spe_properties[i]);
    }
    object_property_add(OBJECT(cpu), "spe-counters", "struct",
                        spe_get_counters, NULL, NULL, NULL);
    object_property_set_description(OBJECT(cpu), "spe-counters",
        "What has become of the operations that were selected for sampling");
    object_property_add_str(OBJECT(cpu), "spe-inject", NULL,
                            spe_set_injection);
    object_property_set_description(OBJECT(cpu), "spe-inject",
        "Inject a fault or another event: KIND[,after=RECORDS][,OPTION=VALUE]");
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

/* Not before the machine is complete is it known what it connects. */
static void spe_machine_done(Notifier *notifier, void *data)
{
    CPUState *cs;

    CPU_FOREACH(cs) {
        ARMCPU *cpu = ARM_CPU(cs);

        if (cpu->spe.enabled && !cpu->spe_interrupt) {
            error_report("spe=on: machine '%s' does not connect the interrupt "
                         "of the Statistical Profiling Extension: use "
                         "-machine virt",
                         MACHINE_GET_CLASS(current_machine)->name);
            exit(EXIT_FAILURE);
        }
    }
}

static Notifier spe_machine_done_notifier = { .notify = spe_machine_done };

static bool spe_check_range(uint64_t value, const char *name, uint64_t max,
                            Error **errp)
{
    if (value > max) {
        error_setg(errp, "%s=%" PRIu64 " is more than %" PRIu64,
                   name, value, max);
        return false;
    }
    return true;
}

static bool spe_check_align(const ARMSPEConfig *c, Error **errp)
{
    if (c->align > c->max_record_size) {
        error_setg(errp, "spe-align=%u is more than spe-max-record-size=%u",
                   c->align, c->max_record_size);
        return false;
    }
    return true;
}

static bool spe_check_cache(uint64_t size, const char *name, Error **errp)
{
    if (!is_power_of_2(size) || size < 4 * KiB || size > 64 * MiB) {
        error_setg(errp, "%s=%" PRIu64 " is not a power of two from 4K to 64M",
                   name, size);
        return false;
    }
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
        c->power_loss = false;
        return;
    }
    if (!tcg_enabled()) {
        error_setg(errp, "spe=on needs the TCG accelerator: use -accel tcg");
        return;
    }
    if (!arm_feature(&cpu->env, ARM_FEATURE_AARCH64)) {
        error_setg(errp, "spe=on needs a CPU with AArch64 state");
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
    c->counter_max = MAKE_64BIT_MASK(0, c->count_size);
    if (!c->align) {
        c->align = MIN(64, c->max_record_size);
    }
    if (c->prev_branch && c->pmsver < SPE_V1P2) {
        error_setg(errp, "spe-prev-branch=on needs spe-version=1.2 or later");
        return;
    }
    c->pmsidr = FIELD_DP64(c->pmsidr, PMSIDR, PBT, c->prev_branch);
    if (c->pmsver_override != UINT8_MAX &&
        !spe_check_range(c->pmsver_override, "x-spe-pmsver", 15, errp)) {
        return;
    }
    if (!extract64(c->override_cpus, CPU(cpu)->cpu_index % 64, 1)) {
        c->pmsver_override = UINT8_MAX;
        c->pmsidr_override = UINT64_MAX;
        c->pmbidr_override = UINT64_MAX;
    } else if (c->override_cpus != UINT64_MAX) {
        /* Translated code has constants that the other CPUs do not share. */
        CPU(cpu)->cluster_index = 0;
    }
    c->id_pmsver = c->pmsver_override != UINT8_MAX ? c->pmsver_override
                                                   : c->pmsver;
    if (!spe_check_range(c->inflight, "spe-inflight", 1u << 24, errp) ||
        !spe_check_range(c->walk_latency, "spe-walk-latency", 1u << 24,
                         errp) ||
        !spe_check_range(c->miss_latency, "spe-miss-latency", 1u << 24,
                         errp) ||
        !spe_check_cache(c->l1d_size, "spe-l1d-size", errp) ||
        !spe_check_cache(c->llc_size, "spe-llc-size", errp)) {
        return;
    }

    if (!spe_set_size(&c->pmsidr, c->max_record_size, "spe-max-record-size",
                      R_PMSIDR_MAXSIZE_SHIFT, 16, SPE_MAX_SLOT, errp) ||
        !spe_set_size(&c->pmbidr, c->align, "spe-align",
                      R_PMBIDR_ALIGN_SHIFT, 1, SPE_MAX_SLOT, errp) ||
        !spe_check_align(c, errp) ||
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

    /* PMSEVFR_EL1 and PMSNEVFR_EL1 have the same bits. */
    if (FIELD_EX64(c->pmsidr, PMSIDR, FE) ||
        FIELD_EX64(c->pmsidr, PMSIDR, FNE)) {
        c->event_mask = SPE_FILTER_V1P0;
        c->event_mask |= c->pmsver >= SPE_V1P1 ? SPE_FILTER_V1P1 : 0;
        if (c->pmsver >= SPE_V1P1 && cpu_isar_feature(aa64_sve, cpu)) {
            c->event_mask |= SPE_FILTER_V1P1_SVE;
        }
        if (FIELD_EX64(c->pmsidr, PMSIDR, FNE)) {
            c->event_mask |= SPE_FILTER_FNE;
        }
        c->event_mask |= c->pmsver >= SPE_V1P4 ? SPE_FILTER_V1P4 : 0;
    }

    if (c->cache) {
        spe_cache_init(&cpu->spe_control.l1d, c->l1d_size, SPE_L1D_WAYS);
        spe_cache_init(&cpu->spe_control.llc, c->llc_size, SPE_LLC_WAYS);
    }
    if (!spe_machine_done_notifier.node.le_prev) {
        qemu_add_machine_init_done_notifier(&spe_machine_done_notifier);
    }
}
