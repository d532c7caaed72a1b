/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests stand on.
 *
 * The image runs at the highest Exception level that the machine has, the "home" level. From there code is
 * run at any lower level (run_at), which ends with SVC #0. Exceptions that lower levels take to levels
 * below home are forwarded to home as they are, so that one handler sees all: it notes the exception and
 * goes on after the instruction, if that was expected, and gives up otherwise.
 */
#ifndef RUNTIME_H
#define RUNTIME_H

#include <stdarg.h>

#include "arch.h"

/* --- The machine --- */

extern int home;		/* the Exception level of the image itself: 1, 2 or 3 */
static inline bool has_el2(void) { return home > 1; }
static inline bool has_el3(void) { return home > 2; }

u64 param(const char *name);	/* a number given as name=number with -append; 0 if absent */
bool feature(u64 id_register, int low);	/* a 4-bit field of an ID register is not 0 */
_Noreturn void quit(int code);
_Noreturn void give_up(const char *format, ...);
void say(const char *format, ...);	/* %s %d %x; numbers are 64 bits wide */
void *fill(void *to, u8 byte, size_t n);

/* --- Running code elsewhere --- */

/* What HCR_EL2 and SCR_EL3 are while lower levels run, and whenever nothing else is said. */
#define HCR_RW BIT(31)
#define HCR_VM BIT(0)
#define HCR_IMO BIT(4)
#define HCR_VI BIT(7)		/* a virtual interrupt, which ends when it is taken */
#define HCR_E2H BIT(34)
#define HCR_TGE BIT(27)
#define HCR_BASE (HCR_RW | BIT(56) | BIT(40) | BIT(41))	/* ATA, APK, API */
#define SCR_NS BIT(0)
#define SCR_EEL2 BIT(18)
#define SCR_ECVEN BIT(28)
#define SCR_BASE (SCR_NS | SCR_ECVEN | 3 << 4 | BIT(8) | BIT(10) | BIT(16) | BIT(17) | BIT(26) | BIT(27) | BIT(38))

/* Runs fn(a0 to a3) at a level, at most home, with this HCR_EL2. Returns what it left in x0. */
u64 run_at(int el, u64 hcr, const void *fn, u64 a0, u64 a1, u64 a2, u64 a3);
extern u64 el0_state;		/* SPSR of code that is run at EL0 */
#define PSTATE_A32 BIT(4)
extern const char run_end[];	/* SVC #0, where code that is run returns to */

struct trap {
	int count;	/* how many there were; the rest is of the last one */
	int from, to;	/* Exception levels */
	bool irq;
	u64 esr, elr, far, spsr;
};
extern struct trap trap;
#define ESR_EC(esr) FIELD(esr, 31, 26)
#define EC_UNDEFINED 0x00
#define EC_SYSREG 0x18

void traps_expected(void);	/* from now on; clears `trap` */
void traps_over(void);

/* --- Tests, reported as KTAP --- */

struct test {
	const char *name;
	void (*run)(void);
};
#define TEST(id, text)									\
	static void test_##id(void);							\
	static const struct test entry_##id __attribute__((section(".tests"), used)) =	\
		{ text, test_##id };							\
	static void test_##id(void)

void skip(const char *reason);
bool expect_(bool good, const char *file, int line, const char *format, ...);
#define expect(good, ...) expect_(good, __FILE__, __LINE__, __VA_ARGS__)
bool expect_eq_(u64 got, u64 want, const char *file, int line, const char *format, ...);
#define expect_eq(got, want, ...) expect_eq_(got, want, __FILE__, __LINE__, __VA_ARGS__)

_Noreturn void fuzz(u64 iterations);
void obey(void);
void second_cpu(void);
void *memcpy(void *to, const void *from, size_t n);

/* --- Memory --- */

/*
 * Everything is mapped flat at all levels, for EL0 as well: the first area of 2 MiB for execution, all
 * else writable. In the window, each regime (of EL1&0, EL2 or EL2&0, EL3) has pages of its own.
 */
#define PAGE 4096ull
#define WINDOW 0x80000000ull
#define WINDOW_PAGES 512
extern u8 arena[];			/* RAM for tests */
#define ARENA_SIZE (2 << 20)
#define HOLE 0x70000000ull		/* nothing is there */

enum {
	PTE_VALID = 1ull << 0,
	PTE_PAGE = 3ull,
	PTE_USER = 1ull << 6,
	PTE_READ_ONLY = 1ull << 7,
	PTE_INNER = 3ull << 8,
	PTE_AF = 1ull << 10,
	PTE_NG = 1ull << 11,
};
#define PTE_XN (3ull << 53)
#define PTE_DATA (PTE_PAGE | PTE_USER | PTE_INNER | PTE_AF | PTE_XN)
#define PTE_S2 (PTE_PAGE | 0xf << 2 | 3 << 6 | PTE_INNER | PTE_AF)	/* normal memory, all access */

void mmu_init(void);
void mmu_on(void);			/* at home */
u64 window_map(int regime, int page, u64 pa, u64 attributes);	/* its virtual address */
u64 *window_entry(int regime, int page);
u64 *window_block(int regime, int block);	/* of 2 MiB; block 0 has the pages */
u64 *stage2_entry(u64 ipa);		/* of a page of the arena */
void tlb_flush(void);

/* The upper half of EL2&0, as the lower half is. Without E2H TCR_EL2 makes no sense then: not for home at EL2. */
#define UPPER_HALF BITS(63, 39)
void upper_half_on(bool on);

/*
 * Another granule for the EL1&0 regime, while that is not home's: 14 or 16 for 16 or 64 KiB, 12 for the
 * usual one. Flat as ever; in the window are pages 0 to count - 1 at pas, and none behind them.
 */
bool granule_exists(int shift);
void granule_use(int shift, const u64 *pas, int count);

#endif
