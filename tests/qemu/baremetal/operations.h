/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Instructions, each with what its record has to say. Code is run with x0 = DATA and x1 = 3. `before`
 * runs without a branch; then comes the instruction; label 1 is two instructions behind it.
 */
#ifndef OPERATIONS_H
#define OPERATIONS_H

#include "profile.h"

/* What a machine needs to have it */
enum need {
	ALWAYS, NEED_LSE, NEED_LOR, NEED_LRCPC, NEED_LRCPC2, NEED_PAUTH, NEED_MTE, NEED_SVE, NEED_MOPS, NEED_FLAGM
};

/* Where the data address is: a distance from DATA, or one of these */
#define NO_VA 0x10000	/* none, or left to the implementation */
#define LABEL_VA 0x10001	/* label 1 */

/* The types of TYPE_*, and what else matters to the checks */
#define B TYPE_B
#define LD TYPE_LD
#define ST TYPE_ST
#define FP TYPE_FP
#define SIMD TYPE_SIMD
#define TAKEN BIT(0)		/* to label 1 */
#define NOT_TAKEN BIT(1)	/* also of conditional selects and compares, if the condition fails */
#define ATOMIC BIT(2)		/* for its latency */
#define FAULTS BIT(3)		/* takes an exception to the next level, which returns behind it */
#define PREFETCH BIT(4)		/* no data need come from it */
#define PARTIAL BIT(5)		/* events 17 and 18 */
#define EMPTY BIT(6)

/* The manual's chapter on SPE, "Operation Type packet payload", has the payloads. */
/*   id           need          before, instruction                              class   payload va  flags */
#define OPERATIONS(X)										\
	/* --- General-purpose loads and stores --- */						\
	X(ldr_x,      ALWAYS,      "", "ldr x2, [x0]",                           LDST,   0x00, 0, LD)	\
	X(ldr_w,      ALWAYS,      "", "ldr w2, [x0, #4]",                       LDST,   0x00, 4, LD)	\
	X(ldrb,       ALWAYS,      "", "ldrb w2, [x0, #7]",                      LDST,   0x00, 7, LD)	\
	X(ldrsh,      ALWAYS,      "", "ldrsh x2, [x0, #2]",                     LDST,   0x00, 2, LD)	\
	X(ldrsw,      ALWAYS,      "", "ldrsw x2, [x0, #12]",                    LDST,   0x00, 12, LD)	\
	X(ldr_post,   ALWAYS,      "", "ldr x2, [x0], #16",                      LDST,   0x00, 0, LD)	\
	X(ldr_pre,    ALWAYS,      "", "ldr x2, [x0, #16]!",                     LDST,   0x00, 16, LD)	\
	X(ldr_reg,    ALWAYS,      "", "ldr x2, [x0, x1, lsl #3]",               LDST,   0x00, 24, LD)	\
	X(ldr_sxtw,   ALWAYS,      "mov w3, #-2", "ldr w2, [x0, w3, sxtw #2]",   LDST,   0x00, -8, LD)	\
	X(ldr_uxtw,   ALWAYS,      "mov x3, #8\n movk x3, #15, lsl #48", "ldr x2, [x0, w3, uxtw]", \
									 LDST,   0x00, 8, LD)	\
	X(ldur,       ALWAYS,      "", "ldur x2, [x0, #-8]",                     LDST,   0x00, -8, LD)	\
	X(ldtr,       ALWAYS,      "", "ldtr x2, [x0, #8]",                      LDST,   0x00, 8, LD)	\
	X(ldr_same,   ALWAYS,      "mov x3, x0", "ldr x3, [x3, #8]",             LDST,   0x00, 8, LD)	\
	X(ldr_literal, ALWAYS,     "", "ldr w2, 1f",                             LDST,   0x00, LABEL_VA, LD) \
	X(ldp,        ALWAYS,      "", "ldp x2, x3, [x0, #-16]",                 LDST,   0x00, -16, LD)	\
	X(ldp_post,   ALWAYS,      "", "ldp w2, w3, [x0], #8",                   LDST,   0x00, 0, LD)	\
	X(ldpsw,      ALWAYS,      "", "ldpsw x2, x3, [x0, #8]",                 LDST,   0x00, 8, LD)	\
	X(ldnp,       ALWAYS,      "", "ldnp x2, x3, [x0, #16]",                 LDST,   0x00, 16, LD)	\
	X(str_x,      ALWAYS,      "", "str x2, [x0]",                           LDST,   0x01, 0, ST)	\
	X(str_w,      ALWAYS,      "", "str w2, [x0, x1, lsl #2]",               LDST,   0x01, 12, ST)	\
	X(strb,       ALWAYS,      "", "strb wzr, [x0, #1]",                     LDST,   0x01, 1, ST)	\
	X(strh_post,  ALWAYS,      "", "strh w2, [x0], #2",                      LDST,   0x01, 0, ST)	\
	X(str_pre,    ALWAYS,      "", "str x2, [x0, #-8]!",                     LDST,   0x01, -8, ST)	\
	X(stur,       ALWAYS,      "", "stur w2, [x0, #-4]",                     LDST,   0x01, -4, ST)	\
	X(sttr,       ALWAYS,      "", "sttr x2, [x0, #8]",                      LDST,   0x01, 8, ST)	\
	X(stp,        ALWAYS,      "", "stp x2, x3, [x0, #16]",                  LDST,   0x01, 16, ST)	\
	X(stp_pre,    ALWAYS,      "", "stp x2, x3, [x0, #-32]!",                LDST,   0x01, -32, ST)	\
	X(stnp,       ALWAYS,      "", "stnp w2, w3, [x0, #8]",                  LDST,   0x01, 8, ST)	\
	X(prfm,       ALWAYS,      "", "prfm pldl1keep, [x0, #64]",              LDST,   0x10, 64, LD | PREFETCH) \
	/* --- Exclusive, ordered, atomic --- */						\
	X(ldxr,       ALWAYS,      "", "ldxr x2, [x0]",                          LDST,   0x0a, 0, LD)	\
	X(ldxrb,      ALWAYS,      "", "ldxrb w2, [x0]",                         LDST,   0x0a, 0, LD)	\
	X(ldxp,       ALWAYS,      "", "ldxp x2, x3, [x0]",                      LDST,   0x0a, 0, LD)	\
	X(ldaxr,      ALWAYS,      "", "ldaxr w2, [x0]",                         LDST,   0x1a, 0, LD)	\
	X(ldaxp,      ALWAYS,      "", "ldaxp x2, x3, [x0]",                     LDST,   0x1a, 0, LD)	\
	X(stxr,       ALWAYS,      "ldxr x2, [x0]", "stxr w3, x2, [x0]",         LDST,   0x0b, 0, ST)	\
	X(stxr_fails, ALWAYS,      "clrex", "stxr w3, x2, [x0]",                 LDST,   0x0b, 0, ST)	\
	X(stxp,       ALWAYS,      "ldxp x2, x3, [x0]", "stxp w4, x2, x3, [x0]", LDST,   0x0b, 0, ST)	\
	X(stlxr,      ALWAYS,      "ldaxr w2, [x0]", "stlxr w3, w2, [x0]",       LDST,   0x1b, 0, ST)	\
	X(ldar,       ALWAYS,      "", "ldar x2, [x0]",                          LDST,   0x12, 0, LD)	\
	X(ldarb,      ALWAYS,      "", "ldarb w2, [x0]",                         LDST,   0x12, 0, LD)	\
	X(stlr,       ALWAYS,      "", "stlr x2, [x0]",                          LDST,   0x13, 0, ST)	\
	X(stlrh,      ALWAYS,      "", "stlrh w2, [x0]",                         LDST,   0x13, 0, ST)	\
	X(ldlar,      NEED_LOR,    "", "ldlar x2, [x0]",                         LDST,   0x12, 0, LD)	\
	X(stllr,      NEED_LOR,    "", "stllr x2, [x0]",                         LDST,   0x13, 0, ST)	\
	X(ldapr,      NEED_LRCPC,  "", "ldapr x2, [x0]",                         LDST,   0x12, 0, LD)	\
	X(ldapur,     NEED_LRCPC2, "", "ldapur x2, [x0, #-8]",                   LDST,   0x12, -8, LD)	\
	X(ldapursw,   NEED_LRCPC2, "", "ldapursw x2, [x0, #4]",                  LDST,   0x12, 4, LD)	\
	X(stlur,      NEED_LRCPC2, "", "stlur w2, [x0, #4]",                     LDST,   0x13, 4, ST)	\
	X(ldadd,      NEED_LSE,    "", "ldadd x1, x2, [x0]",                     LDST,   0x06, 0, LD | ST | ATOMIC) \
	X(ldadda,     NEED_LSE,    "", "ldadda w1, w2, [x0]",                    LDST,   0x16, 0, LD | ST | ATOMIC) \
	X(ldsetl,     NEED_LSE,    "", "ldsetl x1, x2, [x0]",                    LDST,   0x16, 0, LD | ST | ATOMIC) \
	X(ldsmaxal,   NEED_LSE,    "", "ldsmaxal x1, x2, [x0]",                  LDST,   0x16, 0, LD | ST | ATOMIC) \
	X(stadd,      NEED_LSE,    "", "stadd x1, [x0]",                         LDST,   0x07, 0, ST | ATOMIC) \
	X(stclrl,     NEED_LSE,    "", "stclrl w1, [x0]",                        LDST,   0x17, 0, ST | ATOMIC) \
	X(swp,        NEED_LSE,    "", "swp x1, x2, [x0]",                       LDST,   0x06, 0, LD | ST | ATOMIC) \
	X(swpal,      NEED_LSE,    "", "swpal w1, w2, [x0]",                     LDST,   0x16, 0, LD | ST | ATOMIC) \
	X(cas,        NEED_LSE,    "", "cas x2, x1, [x0]",                       LDST,   0x06, 0, LD | ST | ATOMIC) \
	X(casa,       NEED_LSE,    "", "casa x2, x1, [x0]",                      LDST,   0x16, 0, LD | ST | ATOMIC) \
	X(casal,      NEED_LSE,    "", "casal w2, w1, [x0]",                     LDST,   0x16, 0, LD | ST | ATOMIC) \
	X(casp,       NEED_LSE,    "", "casp x2, x3, x4, x5, [x0]",              LDST,   0x06, 0, LD | ST | ATOMIC) \
	X(ldraa,      NEED_PAUTH,  "mov x2, x0\n pacdza x2", "ldraa x3, [x2, #16]", LDST, 0x00, 16, LD)	\
	/* --- SIMD and floating-point registers; scalars count as floating-point --- */		\
	X(ldr_b,      ALWAYS,      "", "ldr b0, [x0, #3]",                       LDST,   0x04, 3, LD | FP) \
	X(ldr_d,      ALWAYS,      "", "ldr d0, [x0, #8]",                       LDST,   0x04, 8, LD | FP) \
	X(ldr_q,      ALWAYS,      "", "ldr q0, [x0, #16]",                      LDST,   0x04, 16, LD | FP) \
	X(str_s,      ALWAYS,      "", "str s0, [x0], #4",                       LDST,   0x05, 0, ST | FP) \
	X(str_q,      ALWAYS,      "", "str q0, [x0, #16]!",                     LDST,   0x05, 16, ST | FP) \
	X(ldp_q,      ALWAYS,      "", "ldp q0, q1, [x0, #-32]",                 LDST,   0x04, -32, LD | FP) \
	X(stp_d,      ALWAYS,      "", "stp d0, d1, [x0, #8]",                   LDST,   0x05, 8, ST | FP) \
	X(ld1,        ALWAYS,      "", "ld1 {v0.16b}, [x0]",                     LDST,   0x04, 0, LD | SIMD) \
	X(ld1_lane,   ALWAYS,      "", "ld1 {v0.s}[1], [x0]",                    LDST,   0x04, 0, LD | SIMD) \
	X(ld1r,       ALWAYS,      "", "ld1r {v0.4s}, [x0], #4",                 LDST,   0x04, 0, LD | SIMD) \
	X(ld4,        ALWAYS,      "", "ld4 {v0.8b-v3.8b}, [x0]",                LDST,   0x04, 0, LD | SIMD) \
	X(st1,        ALWAYS,      "", "st1 {v0.2d, v1.2d}, [x0], #32",          LDST,   0x05, 0, ST | SIMD) \
	X(st3,        ALWAYS,      "", "st3 {v0.4s-v2.4s}, [x0]",                LDST,   0x05, 0, ST | SIMD) \
	/* --- Allocation tags, copies and sets of memory --- */				\
	X(ldg,        NEED_MTE,    "", "ldg x2, [x0, #16]",                      LDST,   0x14, 16, LD)	\
	X(stg,        NEED_MTE,    "", "stg x0, [x0, #-16]",                     LDST,   0x15, -16, ST)	\
	X(st2g_post,  NEED_MTE,    "", "st2g x0, [x0], #32",                     LDST,   0x15, 0, ST)	\
	X(stgp,       NEED_MTE,    "", "stgp x2, x3, [x0, #32]",                 LDST,   0x15, 32, ST)	\
	X(setp,       NEED_MOPS,   "mov x3, x0\n mov x4, #64", "setp [x3]!, x4!, x2; setm [x3]!, x4!, x2; sete [x3]!, x4!, x2", \
									 LDST,   0x25, NO_VA, ST) \
	/* --- Other --- */									\
	X(nop,        ALWAYS,      "", "nop",                                    OTHER,  0x00, NO_VA, 0) \
	X(add,        ALWAYS,      "", "add x2, x3, x4",                         OTHER,  0x00, NO_VA, 0) \
	X(movz,       ALWAYS,      "", "mov x2, #17",                            OTHER,  0x00, NO_VA, 0) \
	X(adr,        ALWAYS,      "", "adr x2, 1f",                             OTHER,  0x00, NO_VA, 0) \
	X(udiv,       ALWAYS,      "", "udiv x2, x2, x1",                        OTHER,  0x00, NO_VA, 0) \
	X(adcs,       ALWAYS,      "", "adcs x2, x2, x1",                        OTHER,  0x00, NO_VA, 0) \
	X(mrs,        ALWAYS,      "", "mrs x2, tpidr_el0",                      OTHER,  0x00, NO_VA, 0) \
	X(isb,        ALWAYS,      "", "isb",                                    OTHER,  0x00, NO_VA, 0) \
	X(dmb,        ALWAYS,      "", "dmb ish",                                OTHER,  0x00, NO_VA, 0) \
	X(clrex,      ALWAYS,      "", "clrex",                                  OTHER,  0x00, NO_VA, 0) \
	X(csel,       ALWAYS,      "cmp x0, x0", "csel x2, x3, x4, eq",                OTHER,  0x01, NO_VA, 0) \
	X(csinc,      ALWAYS,      "cmp x0, x0", "cset x2, ne",                  OTHER,  0x01, NO_VA, 0) \
	X(csneg,      ALWAYS,      "cmp x0, x0", "csneg w2, w3, w4, lt",         OTHER,  0x01, NO_VA, NOT_TAKEN) \
	X(csel_not,   ALWAYS,      "cmp x0, x0", "csel x2, x3, x4, ne",          OTHER,  0x01, NO_VA, NOT_TAKEN) \
	X(ccmp_not,   ALWAYS,      "cmp x0, x0", "ccmp x2, x3, #0, ne",          OTHER,  0x01, NO_VA, NOT_TAKEN) \
	X(fcsel_not,  ALWAYS,      "cmp x0, x0", "fcsel d0, d1, d2, ne",         OTHER,  0x03, NO_VA, FP | NOT_TAKEN) \
	X(ccmp,       ALWAYS,      "cmp x0, x0", "ccmp x2, #4, #0, eq",                OTHER,  0x01, NO_VA, 0) \
	X(ccmn,       ALWAYS,      "", "ccmn x2, x3, #0, al",                    OTHER,  0x01, NO_VA, 0) \
	X(svc,        ALWAYS,      "", "svc #1",                                 OTHER,  0x00, NO_VA, FAULTS) \
	X(udf,        ALWAYS,      "", "udf #0",                                 OTHER,  0x00, NO_VA, FAULTS) \
	X(fadd,       ALWAYS,      "", "fadd d0, d1, d2",                        OTHER,  0x02, NO_VA, FP) \
	X(fmadd,      ALWAYS,      "", "fmadd s0, s1, s2, s3",                   OTHER,  0x02, NO_VA, FP) \
	X(fcmp,       ALWAYS,      "", "fcmp d0, d1",                            OTHER,  0x02, NO_VA, FP) \
	X(fmov_imm,   ALWAYS,      "", "fmov d0, #1.0",                          OTHER,  0x02, NO_VA, FP) \
	X(scvtf,      ALWAYS,      "", "scvtf d0, x1",                           OTHER,  0x02, NO_VA, FP) \
	X(fcsel,      ALWAYS,      "cmp x0, x0", "fcsel d0, d1, d2, eq",                OTHER,  0x03, NO_VA, FP) \
	X(fccmp,      ALWAYS,      "cmp x0, x0", "fccmp d0, d1, #0, eq",                OTHER,  0x03, NO_VA, FP) \
	X(add_v,      ALWAYS,      "", "add v0.4s, v1.4s, v2.4s",                OTHER,  0x04, NO_VA, SIMD) \
	X(add_d,      ALWAYS,      "", "add d0, d1, d2",                         OTHER,  0x04, NO_VA, SIMD) \
	X(dup_v,      ALWAYS,      "", "dup v0.4s, w1",                          OTHER,  0x04, NO_VA, SIMD) \
	X(fadd_v,     ALWAYS,      "", "fadd v0.4s, v1.4s, v2.4s",               OTHER,  0x06, NO_VA, FP | SIMD) \
	X(fcvtzs_v,   ALWAYS,      "", "fcvtzs v0.2d, v1.2d",                    OTHER,  0x06, NO_VA, FP | SIMD) \
	/* --- SVE, with vectors of 128 bits --- */						\
	X(sve_ldr,    NEED_SVE,    "", "ldr z0, [x0]",                           LDST,   0x28, NO_VA, LD | SIMD) \
	X(sve_str,    NEED_SVE,    "", "str z0, [x0]",                           LDST,   0x29, NO_VA, ST | SIMD) \
	X(sve_ld1,    NEED_SVE,    "ptrue p0.b", "ld1b {z0.b}, p0/z, [x0]",      LDST,   0x2c, NO_VA, LD | SIMD) \
	X(sve_st1,    NEED_SVE,    "ptrue p0.b", "st1b {z0.b}, p0, [x0]",        LDST,   0x2d, NO_VA, ST | SIMD) \
	X(sve_ld_part, NEED_SVE,   "ptrue p0.b, vl3", "ld1b {z0.b}, p0/z, [x0]", LDST,   0x2c, NO_VA, LD | SIMD | PARTIAL) \
	X(sve_ld_none, NEED_SVE,   "pfalse p0.b", "ld1b {z0.b}, p0/z, [x0]",     LDST,   0x2c, NO_VA, LD | SIMD | PARTIAL | EMPTY) \
	X(sve_gather, NEED_SVE,    "ptrue p0.s\n index z1.s, #0, #4", "ld1w {z0.s}, p0/z, [x0, z1.s, uxtw]", \
									 LDST,   0xac, NO_VA, LD | SIMD) \
	X(sve_scatter, NEED_SVE,   "ptrue p0.s\n index z1.s, #0, #4", "st1w {z0.s}, p0, [x0, z1.s, uxtw]", \
									 LDST,   0xad, NO_VA, ST | SIMD) \
	X(sve_add,    NEED_SVE,    "", "add z0.b, z1.b, z2.b",                   OTHER,  0x28, NO_VA, SIMD) \
	X(sve_add_p,  NEED_SVE,    "ptrue p0.b", "add z0.b, p0/m, z0.b, z1.b",   OTHER,  0x2c, NO_VA, SIMD) \
	X(sve_add_part, NEED_SVE,  "ptrue p0.b, vl3", "add z0.b, p0/m, z0.b, z1.b", OTHER, 0x2c, NO_VA, SIMD | PARTIAL) \
	X(sve_add_none, NEED_SVE,  "pfalse p0.b", "add z0.b, p0/m, z0.b, z1.b",  OTHER,  0x2c, NO_VA, SIMD | PARTIAL | EMPTY) \
	X(sve_fadd,   NEED_SVE,    "", "fadd z0.s, z1.s, z2.s",                  OTHER,  0x2a, NO_VA, FP | SIMD) \
	X(sve_fadd_p, NEED_SVE,    "ptrue p0.s", "fadd z0.s, p0/m, z0.s, z1.s",  OTHER,  0x2e, NO_VA, FP | SIMD) \
	/* --- Branches --- */									\
	X(b,          ALWAYS,      "", "b 1f",                                   BRANCH, 0x18, NO_VA, B | TAKEN) \
	X(bl,         ALWAYS,      "", "bl 1f",                                  BRANCH, 0x08, NO_VA, B | TAKEN) \
	X(b_taken,    ALWAYS,      "cmp x0, x0", "b.eq 1f",                      BRANCH, 0x19, NO_VA, B | TAKEN) \
	X(b_not,      ALWAYS,      "cmp x0, x0", "b.ne 1f",                      BRANCH, 0x19, NO_VA, B | NOT_TAKEN) \
	X(b_next,     ALWAYS,      "cmp x0, x0", "b.eq .+4",                     BRANCH, 0x19, NO_VA, B) \
	X(cbz_taken,  ALWAYS,      "", "cbz xzr, 1f",                            BRANCH, 0x19, NO_VA, B | TAKEN) \
	X(cbnz_not,   ALWAYS,      "", "cbnz wzr, 1f",                           BRANCH, 0x19, NO_VA, B | NOT_TAKEN) \
	X(tbz_not,    ALWAYS,      "", "tbz x1, #1, 1f",                         BRANCH, 0x19, NO_VA, B | NOT_TAKEN) \
	X(tbnz_taken, ALWAYS,      "", "tbnz x1, #1, 1f",                        BRANCH, 0x19, NO_VA, B | TAKEN) \
	X(tbz_high,   ALWAYS,      "", "tbz x1, #20, 1f",                        BRANCH, 0x19, NO_VA, B | TAKEN) \
	X(br,         ALWAYS,      "adr x2, 1f", "br x2",                        BRANCH, 0x1a, NO_VA, B | TAKEN) \
	X(blr,        ALWAYS,      "adr x2, 1f", "blr x2",                       BRANCH, 0x0a, NO_VA, B | TAKEN) \
	X(ret,        ALWAYS,      "adr x30, 1f", "ret",                         BRANCH, 0x12, NO_VA, B | TAKEN) \
	X(ret_x2,     ALWAYS,      "adr x2, 1f", "ret x2",                       BRANCH, 0x12, NO_VA, B | TAKEN) \
	X(braaz,      NEED_PAUTH,  "adr x2, 1f\n paciza x2", "braaz x2",         BRANCH, 0x1a, NO_VA, B | TAKEN) \
	X(blraaz,     NEED_PAUTH,  "adr x2, 1f\n paciza x2", "blraaz x2",        BRANCH, 0x0a, NO_VA, B | TAKEN) \
	X(blraa,      NEED_PAUTH,  "adr x2, 1f\n pacia x2, x1", "blraa x2, x1",  BRANCH, 0x0a, NO_VA, B | TAKEN) \
	X(retaa,      NEED_PAUTH,  "adr x30, 1f\n paciasp", "retaa",             BRANCH, 0x12, NO_VA, B | TAKEN)

struct operation {
	const char *name;
	const char *code, *at, *label;	/* the first instruction, the one in question, label 1 */
	enum need need;
	u8 class, payload;
	int va;
	u64 flags;
};

/* The labels of an operation */
#define X_LABELS(id, ...) extern const char code_##id[], at_##id[], label_##id[];
OPERATIONS(X_LABELS)
#define X_INDEX(id, ...) OPERATION_##id,
enum { OPERATIONS(X_INDEX) OPERATION_COUNT };
extern const struct operation operations[OPERATION_COUNT];

bool machine_has(enum need need);
static inline u64 count_of(const struct operation *o) { return (o->at - o->code) / 4 + 1; }

#endif
