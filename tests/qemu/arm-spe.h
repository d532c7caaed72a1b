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
 * PENDING:  the operation has started; it has retired as soon as the
 *           operation counter has gone below -1.
 * RETIRED:  it has retired; a later operation of the same TB was unwound.
 * UNWOUND:  it was unwound by QEMU: either it takes an exception, or it
 *           will be executed (and selected) again.
 */
enum {
    ARM_SPE_IDLE,
    ARM_SPE_PENDING,
    ARM_SPE_RETIRED,
    ARM_SPE_UNWOUND,
};

/* The operation that was selected, as it was when it started. */
typedef struct ARMSPESample {
    uint64_t pc;
    uint64_t va;
    uint32_t insn;
    uint8_t el;
    uint8_t mmu_idx;    /* core MMU index of its data access */
    bool ns;
    bool walk;          /* its data access missed in the TLB */
} ARMSPESample;

typedef struct ARMSPEState {
    /*
     * Operations before the one to be sampled; -1 while that one executes.
     * Generated code counts this down.
     */
    int64_t count;
    /* How far COUNT was reloaded before the sampled operation (ERND). */
    int64_t lead;
    uint64_t prng;
    /* Execute TBs that look for the operation to be sampled. */
    bool searching;
    /* COUNT is zero and reloads from PMSIRR when profiling begins. */
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
    uint64_t seed;
    uint64_t pmsidr_override;
    uint64_t pmbidr_override;
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
    uint64_t pmsidr;
    uint64_t pmbidr;
    uint64_t event_mask;    /* events that the filters can select */
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
void arm_spe_unwind(struct CPUArchState *env,
                    const struct TranslationBlock *tb, uint64_t pc_offset);
void arm_spe_tlb_fill(struct CPUArchState *env, uint64_t address,
                      MMUAccessType access_type, MemOp memop);

void arm_spe_gen_insn(struct DisasContext *s);
void arm_spe_gen_tb_stop(struct DisasContext *s);

#endif
