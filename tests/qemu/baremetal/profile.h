/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The unit, programmed and read from the home level: set up, run code at a lower level, look at the
 * records.
 *
 * Profiling is enabled at one level below home, so operations are counted from the first instruction
 * that is run there. With PMSICR_EL1.COUNT = n, the n-th is sampled.
 */
#ifndef PROFILE_H
#define PROFILE_H

#include "runtime.h"
#include "spe_regs.h"

/* --- The unit --- */

extern int version;	/* ID_AA64DFR0_EL1.PMSVer: 1 for SPEv1p0 to 6 for SPEv1p5; 0: no SPE */
extern u64 pmsidr;
#define V1P1 2
#define V1P2 3
#define V1P3 4
#define V1P4 5

u64 align(void);	/* bytes: PMBIDR_EL1.Align */
u64 max_size(void);	/* bytes: PMSIDR_EL1.MaxSize, the room that a record needs */
bool complete(void);	/* there is SPE, and a record has room for every packet; if not, the test is skipped */
u64 counter_max(void);	/* PMSIDR_EL1.CountSize */
u64 events_mask(void);	/* what the event filters can select */

extern const struct reg_info {
	const char *name;
	void (*write)(u64 value);
	u64 (*read)(void);
	u8 op1, crm, op2;
	enum group group;
	int fgt;
	bool read_only;
} reg_info[REG_COUNT];
bool reg_exists(enum reg reg);		/* in this version, with these features, at this machine's levels */

static inline u64 spe_read(enum reg reg) { return reg_info[reg].read(); }
static inline void spe_write(enum reg reg, u64 value) { reg_info[reg].write(value); isb(); }

/* An access at some level, which may be trapped or UNDEFINED: `trap` tells then. */
struct access {
	bool trapped;
	u64 value;
};
struct access try_read(int el, u64 hcr, enum reg reg);
struct access try_write(int el, u64 hcr, enum reg reg, u64 value);

/* --- Profiling --- */

struct setup {
	int el;			/* where the code runs */
	int owner;		/* EL1 or EL2 */
	bool trapped;		/* EL1's, but its registers are trapped to EL2 */
	u64 hcr;
	u64 pmscr1, pmscr2, pmsicr, pmsirr, pmsfcr, pmsevfr, pmsnevfr, pmslatfr, pmsdsfr;
	u64 pmbptr, limit, fill_mode, pmbsr;
};

/*
 * Samples the first operation at a level, for the owner that this level usually has, with the physical
 * address and without a time. The buffer is in the owner's window.
 */
struct setup sampling(int el);

/*
 * NOPs, so that the address tells the number of an operation; the last operation is an SVC. They are so many
 * that the buffer has room for a record of any size for each 257 of them.
 */
#define SLED 7936
extern const char sled[];

#define BUFFER_PAGE 0			/* of the window */
#define BUFFER_SIZE 0x10000ull
#define BUFFER (WINDOW + BUFFER_PAGE * PAGE)
u8 *buffer_of(int owner);		/* where it is for the home level */
#define POISON 0xaa			/* in the buffer, where nothing was written */

/* Data for the code that is run: mapped flat, and in the window with another address. */
#define DATA (arena + 0x100)
#define WINDOW_DATA (WINDOW + 64 * PAGE + 0x100)

enum packet {
	PC, TARGET, VA, PA, PREVIOUS, TOTAL, ISSUE, XLAT, EVENTS, OP, CONTEXT1, CONTEXT2, SOURCE, TIME, PACKETS
};

struct record {
	u32 has;		/* bits: enum packet */
	u64 value[PACKETS];
	u8 class;		/* of the operation type packet: CLASS_ */
	u8 events_size;
	u32 size;		/* bytes, without padding */
};
enum { CLASS_OTHER, CLASS_LDST, CLASS_BRANCH };
#define MAX_RECORDS 1024

/* What was there after profiling had ended. */
extern struct outcome {
	int n;
	struct record record[MAX_RECORDS];
	u64 pmbsr, pmbptr, pmsicr, x0;
} outcome;

/*
 * Maps the buffer and profiles code. The records have to be well-formed, one after the other, and nothing
 * else may be written to the buffer.
 */
void profile(const struct setup *s, const void *code, u64 a0, u64 a1, u64 a2, u64 a3);

/* The same in steps, for what goes wrong on purpose: the buffer as it is mapped, and no look at records */
void map_buffer(int owner);
void profile_mapped(const struct setup *s, const void *code, u64 a0, u64 a1, u64 a2, u64 a3);
void read_records(struct outcome *o, const u8 *buffer, u64 bytes);

void unit_program(const struct setup *s);
void unit_stop(struct outcome *o);	/* fills it in, all but the records and x0 */

static inline bool has(const struct record *r, enum packet packet) { return r->has >> packet & 1; }

/* An address packet of an instruction */
static inline u64 code_address(u64 address, int el, bool secure)
{
	return FIELD(address, 55, 0) | (u64)el << 61 | (u64)!secure << 63;
}

#endif
