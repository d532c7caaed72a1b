/*
 * Arm Statistical Profiling Extension (FEAT_SPE)
 *
 * The state of one PE's profiling unit, and the points where the rest of
 * the Arm target calls into the model in tcg/arm-spe.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TARGET_ARM_ARM_SPE_H
#define TARGET_ARM_ARM_SPE_H

#include "qapi/qapi-types-common.h"
#include "exec/memop.h"
#include "exec/mmu-access-type.h"

/*
 * What becomes of the operation that was selected for sampling.
 *
 * IDLE:     nothing is sampled.
 * ARMED:    the operation is in the TB that is being executed; it has been
 *           when the next TB is looked up, or begins.
 * PENDING:  the operation has started; it has retired as soon as the
 *           operation counter has gone below -1.
 * RETIRED:  it has retired; a later operation of the same TB was unwound.
 * UNWOUND:  it was unwound by QEMU: either it takes an exception, or it
 *           will be executed (and selected) again.
 */
enum {
    ARM_SPE_IDLE,
    ARM_SPE_ARMED,
    ARM_SPE_PENDING,
    ARM_SPE_RETIRED,
    ARM_SPE_UNWOUND,
};

/* How far an access got in the model of the caches. */
enum {
    ARM_SPE_CACHE_NONE,     /* no cacheable access, or no model of caches */
    ARM_SPE_CACHE_L1D,
    ARM_SPE_CACHE_LLC,
    ARM_SPE_CACHE_MEM,
};

/* The operation that was selected, as it was when it started. */
typedef struct ARMSPESample {
    uint64_t pc;
    uint64_t va;
    uint64_t prev_target;   /* of the branch before it; 0 if not known */
    uint64_t time_offset;   /* from the physical counter */
    uint32_t context[2];    /* CONTEXTIDR_EL1, CONTEXTIDR_EL2 */
    uint32_t insn;
    uint32_t predicate;     /* events of its governing predicate */
    uint16_t packets;       /* SPE_WITH_*: what its record contains */
    uint16_t index;         /* in the TB, and how many there are (ARMED) */
    uint16_t insns;
    uint8_t el;
    uint8_t mmu_idx;        /* core MMU index of its data access */
    uint8_t space;          /* ARMSecuritySpace */
    uint8_t cache;          /* ARM_SPE_CACHE_* */
    bool late;              /* va and flags are known after the TB only */
    bool cond_failed;       /* conditional, and not a branch */
    bool walk;              /* its data access missed in the TLB */
} ARMSPESample;

typedef struct ARMSPEState {
    /*
     * Operations before the one to be sampled; -1 while that one executes.
     * Generated code counts this down.
     */
    int64_t count;
    /*
     * COUNT reaches zero so many operations before the sampled one, or after
     * it if negative (ERND).
     */
    int64_t lead;
    /* What COUNT was last loaded with. */
    int64_t period;
    /* ECOUNT counts the last so many operations; until then it is ECOUNT. */
    int64_t delay;
    uint8_t ecount;
    /* Operations for which a sample is in flight, as of COUNT == MARK. */
    int64_t flight;
    int64_t mark;
    uint64_t prng;
    /* Where the last TB ended and the last branch went, or SPE_NO_BRANCH */
    uint64_t next_pc;
    uint64_t prev_target;
    /* Execute TBs that look for the operation to be sampled. */
    bool searching;
    /* COUNT is zero and reloads from PMSIRR with the next operation. */
    bool reload;
    uint8_t state;
    ARMSPESample sample;

    /* Registers */
    uint64_t pmscr_el[3];
    uint64_t pmsirr;
    uint64_t pmsfcr;
    uint64_t pmsevfr;
    uint64_t pmsnevfr;
    uint64_t pmslatfr;
    uint64_t pmsdsfr;
    uint64_t pmblimitr;
    uint64_t pmbptr;
    uint64_t pmbsr;
} ARMSPEState;

/*
 * What has become of the operations that were selected. All but those in
 * flight are accounted for:
 * selected == collided + filtered + discarded + dropped + partial + records
 */
typedef struct ARMSPECounters {
    uint64_t selected;
    uint64_t collided;      /* another one was in flight */
    uint64_t filtered;
    uint64_t discarded;     /* PMBLIMITR_EL1.FM said so */
    uint64_t dropped;       /* not a byte of the record was written */
    uint64_t partial;       /* the record was written in part */
    uint64_t records;       /* the record was written */
    uint64_t bytes;         /* of these records, with padding */
    uint64_t events;        /* buffer management events */
    uint64_t interrupts;    /* times that the interrupt was raised */
    uint64_t power_losses;  /* times that the registers were lost */
    uint64_t enabled_losses;    /* ... with the buffer enabled */
} ARMSPECounters;

/* What the user injects, see spe_inject() in arm-spe.c. */
typedef struct ARMSPEInjection {
    uint8_t action;
    bool at_once;
    bool data_loss;
    bool external;
    uint8_t ec;
    uint16_t mss;
    uint32_t partial;       /* bytes of the record that are written */
    uint64_t after;         /* records before it */
    uint64_t value;
} ARMSPEInjection;

#define ARM_SPE_INJECTIONS  16

/* A set-associative cache of physical addresses, most recent use first */
typedef struct ARMSPECache {
    uint64_t *lines;
    uint32_t sets;
    uint32_t ways;
} ARMSPECache;

/* The bench's side of the unit: it survives a reset of the CPU. */
typedef struct ARMSPEControl {
    ARMSPECounters counters;
    ARMSPEInjection injection[ARM_SPE_INJECTIONS];
    uint32_t injections;
    bool irq_level;
    bool irq_lost;          /* PMBSR_EL1.S does not raise the interrupt */
    bool irq_spurious;      /* the interrupt is raised without it */
    ARMSPECache l1d;
    ARMSPECache llc;
} ARMSPEControl;

/* What the user chose with the cpu properties, see arm-spe.c. */
typedef struct ARMSPEConfig {
    bool enabled;
    bool owned;
    bool dirty_update;
    char *version;
    uint32_t min_interval;
    uint32_t max_record_size;
    uint32_t align;
    uint32_t count_size;
    uint32_t inflight;
    uint32_t walk_latency;
    uint32_t miss_latency;
    uint64_t seed;
    uint64_t l1d_size;
    uint64_t llc_size;
    bool cache;
    bool prev_branch;
    bool power_loss;
    uint8_t pmsver_override;
    uint64_t pmsidr_override;
    uint64_t pmbidr_override;
    uint64_t override_cpus;
    OnOffAuto filter_event;
    OnOffAuto filter_type;
    OnOffAuto filter_latency;
    OnOffAuto filter_inv_event;
    OnOffAuto filter_data_source;
    OnOffAuto filter_ext_type;
    OnOffAuto fp_flag;
    OnOffAuto call_return;
    OnOffAuto arch_inst;
    OnOffAuto load_source;
    OnOffAuto ernd;

    /* Derived when the cpu is realized */
    uint8_t pmsver;
    uint8_t id_pmsver;      /* what the guest sees of it */
    uint64_t pmsidr;
    uint64_t pmbidr;
    uint64_t event_mask;    /* events that the filters can select */
    uint16_t counter_max;
} ARMSPEConfig;

struct ArchCPU;
struct CPUArchState;
struct DisasContext;
struct TranslationBlock;

extern const VMStateDescription vmstate_arm_spe;

void arm_spe_add_properties(struct ArchCPU *cpu);
void arm_spe_realize(struct ArchCPU *cpu, Error **errp);
void arm_spe_define_regs(struct ArchCPU *cpu);

bool arm_spe_enabled(struct CPUArchState *env, int el);
void arm_spe_retire(struct CPUArchState *env);
void arm_spe_exception(struct CPUArchState *env, int excp);
void arm_spe_power_loss(struct CPUArchState *env);
void arm_spe_unwind(struct CPUArchState *env,
                    const struct TranslationBlock *tb, uint64_t pc_offset);
void arm_spe_tlb_fill(struct CPUArchState *env, uint64_t address,
                      MMUAccessType access_type, MemOp memop, uintptr_t ra);

void arm_spe_gen_tb_start(struct DisasContext *s);
void arm_spe_gen_insn(struct DisasContext *s);
void arm_spe_gen_tb_stop(struct DisasContext *s);

#endif
