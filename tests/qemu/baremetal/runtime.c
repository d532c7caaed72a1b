// SPDX-License-Identifier: GPL-2.0
/* Console, parameters, exceptions, reports. */

#include "runtime.h"
#include "profile.h"

int home;
u64 hcr_base = HCR_BASE;
u64 el0_state = 0x3c0;	/* DAIF */

/* --- Output --- */

static void put(char c)
{
	volatile u32 *uart = (void *)0x09000000;

	while (uart[0x18 / 4] & BIT(5))
		;	/* the FIFO is full */
	uart[0] = c;
}

static void put_number(u64 value, unsigned int base)
{
	char digits[20];
	int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (n)
		put(digits[--n]);
}

static void say_v(const char *format, va_list args)
{
	for (; *format; format++) {
		const char *s;

		if (*format != '%') {
			put(*format);
			continue;
		}
		switch (*++format) {
		case 's':
			for (s = va_arg(args, const char *); *s; s++)
				put(*s);
			break;
		case 'd':
			put_number(va_arg(args, u64), 10);
			break;
		case 'x':
			put('0');
			put('x');
			put_number(va_arg(args, u64), 16);
			break;
		}
	}
}

void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_v(format, args);
	va_end(args);
}

static u64 semihosting(u64 operation, void *block)
{
	register u64 x0 asm("x0") = operation;
	register void *x1 asm("x1") = block;

	asm volatile("hlt #0xf000" : "+r"(x0) : "r"(x1) : "memory");
	return x0;
}

void quit(int code)
{
	u64 block[] = { 0x20026, code };	/* ADP_Stopped_ApplicationExit */

	for (;;)
		semihosting(0x18, block);
}

void give_up(const char *format, ...)
{
	va_list args;

	say("Bail out! ");
	va_start(args, format);
	say_v(format, args);
	va_end(args);
	say("\n");
	quit(2);
}

void *fill(void *to, u8 byte, size_t n)
{
	volatile u8 *p = to;
	u64 eight = 0x0101010101010101 * byte;

	while (n && (u64)p & 7)
		*p++ = byte, n--;
	for (; n >= 8; p += 8, n -= 8)
		*(volatile u64 *)p = eight;
	while (n--)
		*p++ = byte;
	return to;
}

/* The compiler may call it. */
void *memset(void *to, int byte, size_t n)
{
	return fill(to, byte, n);
}

void *memcpy(void *to, const void *from, size_t n)
{
	volatile u8 *p = to;

	for (const u8 *q = from; n; n--)
		*p++ = *q++;
	return to;
}

/* --- What the machine is --- */

static char command_line[1024];

u64 param(const char *name)
{
	for (const char *at = command_line; *at; at++) {
		const char *want = name;
		u64 value = 0;

		if (at != command_line && at[-1] != ' ')
			continue;
		while (*want && *want == *at)
			want++, at++;
		if (*want || *at++ != '=') {
			at -= *want == 0;	/* may be the end */
			continue;
		}
		while (*at >= '0' && *at <= '9')
			value = value * 10 + *at++ - '0';
		return value;
	}
	return 0;
}

bool feature(u64 id_register, int low)
{
	return id_register >> low & 0xf;
}

/* --- Exceptions --- */

struct frame {
	u64 x[31];
	u64 elr, spsr, esr, far;
	u64 hcr;	/* at EL2 */
};
_Static_assert(sizeof(struct frame) == 0x120, "as in start.S");

struct trap trap;
static bool trap_ok;
extern const char run_back[];

void traps_expected(void)
{
	trap = (struct trap) {};
	trap_ok = true;
}

void traps_over(void)
{
	trap_ok = false;
}

#define WRITE_ELR(el, value) msr(elr_el##el, value)
#define NOTE(el) do {			\
	t.esr = mrs(esr_el##el);	\
	t.elr = mrs(elr_el##el);	\
	t.far = mrs(far_el##el);	\
	t.spsr = mrs(spsr_el##el);	\
} while (0)

/* Every exception of this CPU, with what it was when it was taken first. */
void exception(struct frame *f, int vector)
{
	struct trap t = { .to = home, .esr = f->esr, .elr = f->elr, .far = f->far, .spsr = f->spsr };
	u64 ec = ESR_EC(f->esr), number = f->esr & 0xffff;
	bool forwarded = (ec == 0x16 || ec == 0x17) && (number & 0xff00) == 0x100;

	if (forwarded) {
		vector = number & 0xf;
		t.to = FIELD(f->spsr, 3, 2);
		if (t.to == 1)
			NOTE(1);
		else
			NOTE(2);
	}
	t.from = FIELD(t.spsr, 3, 2);
	t.irq = (vector & 3) != 0;
	ec = ESR_EC(t.esr);
	if (!t.irq && (ec == 0x15 || ec == 0x11) && (t.esr & 0xffff) == 0) {
		/* SVC #0: what was run has ended */
		f->elr = (u64)run_back;
		f->spsr = 0x3c0 | home << 2 | 1;
		f->hcr = hcr_base;
		return;
	}
	if (t.irq) {
		f->hcr &= ~HCR_VI;
		if (home == 3)
			msr(hcr_el2, mrs(hcr_el2) & ~HCR_VI);
	}
	if (!trap_ok || trap.count > 10000)
		give_up("exception from EL%d to EL%d, vector %d, ESR %x ELR %x FAR %x", (u64)t.from, (u64)t.to,
			(u64)vector, t.esr, t.elr, t.far);
	t.count = trap.count + 1;
	trap = t;

	/* System calls return behind themselves by nature. */
	t.elr += t.irq || (ec >= 0x15 && ec <= 0x17) ? 0 : 4;
	if (!forwarded)
		f->elr = t.elr;
	else if (t.to == 1)
		msr(elr_el1, t.elr);
	else
		msr(elr_el2, t.elr);
}

static u8 stacks[3][0x2000] __attribute__((aligned(16)));

u64 run_lower_1(u64 spsr, u64 hcr, const void *fn, u64 *args);
u64 run_lower_2(u64 spsr, u64 hcr, const void *fn, u64 *args);
u64 run_lower_3(u64 spsr, u64 hcr, const void *fn, u64 *args);
u64 run_here(u64 hcr, const void *fn, u64 *args);

u64 run_at(int el, u64 hcr, const void *fn, u64 a0, u64 a1, u64 a2, u64 a3)
{
	u64 args[] = { a0, a1, a2, a3 }, stack = (u64)stacks[el] + sizeof(stacks[el]), ret;
	u64 spsr = el ? 0x3c0 | (u64)el << 2 | 1 : el0_state;

	if (el == home)
		return home == 2 ? run_here(hcr, fn, args) : ((u64 (*)(u64, u64, u64, u64))fn)(a0, a1, a2, a3);
	if (el == 0)
		msr(sp_el0, stack);
	else if (el == 1)
		msr(sp_el1, stack);
	else
		msr(sp_el2, stack);
	isb();
	switch (home) {
	case 1:
		return run_lower_1(spsr, hcr, fn, args);
	case 2:
		return run_lower_2(spsr, hcr, fn, args);
	default:
		ret = run_lower_3(spsr, hcr, fn, args);
		/* As in the vectors of EL2 */
		psb_csync();
		msr(hcr_el2, hcr_base);
		isb();
		return ret;
	}
}

extern const char home_vectors_1[], home_vectors_2[], home_vectors_3[], forward_vectors_hvc[], forward_vectors_smc[];

static void cpu_init(void)
{
	u64 pfr0 = mrs(id_aa64pfr0_el1);

	if (home == 3) {
		u64 scr = SCR_BASE;

		msr(vbar_el3, home_vectors_3);
		msr(vbar_el2, forward_vectors_smc);
		msr(vbar_el1, forward_vectors_smc);
		msr(scr_el3, scr);
		msr(mdcr_el3, MDCR_EL3_BASE);
		msr(cptr_el3, BIT(8) | BIT(12));	/* EZ, ESM */
		isb();
	} else if (home == 2) {
		msr(vbar_el2, home_vectors_2);
		msr(vbar_el1, forward_vectors_hvc);
	} else {
		msr(vbar_el1, home_vectors_1);
	}
	if (has_el2()) {
		msr(hcr_el2, hcr_base);
		msr(mdcr_el2, MDCR_EL2_BASE);
		msr(cptr_el2, 3 << 20 | 3 << 16 | 3 << 24);	/* no trap in either format */
		msr(cnthctl_el2, 0xc03);
		msr(cntvoff_el2, 0);
		if (feature(mrs(id_aa64mmfr0_el1), 56)) {
			/* HDFGRTR_EL2 and HDFGWTR_EL2: nPMSNEVFR_EL1 traps when it is 0 */
			msr(S3_4_C3_C1_4, BIT(62));
			msr(S3_4_C3_C1_5, BIT(62));
		}
		if (feature(mrs(id_aa64mmfr1_el1), 40))
			msr(S3_4_C1_C2_2, BIT(11));	/* HCRX_EL2.MSCEn */
	}
	msr(cpacr_el1, 3 << 20 | 3 << 16);
	msr(contextidr_el1, 0);
	isb();
	if (feature(pfr0, 32)) {
		/* SVE: vectors of 128 bits */
		msr(S3_0_C1_C2_0, 0);	/* ZCR_EL1 */
		if (has_el2())
			msr(S3_4_C1_C2_0, 0);	/* ZCR_EL2 */
		if (has_el3())
			msr(S3_6_C1_C2_0, 0);	/* ZCR_EL3 */
	}
	isb();
}

/* --- KTAP --- */

static struct {
	bool bad;
	const char *skip;
	int said;
} now;
#define MAX_SAID 24

void skip(const char *reason)
{
	now.skip = reason;
}

static bool diagnose(const char *file, int line)
{
	now.bad = true;
	if (now.said++ > MAX_SAID)
		return false;
	say("# %s:%d: ", file, (u64)line);
	return true;
}

bool expect_(bool good, const char *file, int line, const char *format, ...)
{
	va_list args;

	if (!good && diagnose(file, line)) {
		va_start(args, format);
		say_v(format, args);
		va_end(args);
		say("\n");
	}
	return good;
}

bool expect_eq_(u64 got, u64 want, const char *file, int line, const char *format, ...)
{
	va_list args;

	if (got != want && diagnose(file, line)) {
		va_start(args, format);
		say_v(format, args);
		va_end(args);
		say(": expected %x, got %x\n", want, got);
	}
	return got == want;
}

extern const struct test tests_begin[], tests_end[];

static int run_tests(void)
{
	int bad = 0;
	u64 n = 0;

	say("KTAP version 1\n1..%d\n", (u64)(tests_end - tests_begin));
	for (const struct test *t = tests_begin; t < tests_end; t++) {
		now.bad = false;
		now.skip = NULL;
		now.said = 0;
		t->run();
		bad += now.bad;
		say("%s %d - %s", now.bad ? "not ok" : "ok", ++n, t->name);
		if (now.skip && !now.bad)
			say(" # SKIP %s", now.skip);
		say("\n");
	}
	return bad;
}

void main(void)
{
	u64 block[] = { (u64)command_line, sizeof(command_line) };

	home = FIELD(mrs(CurrentEL), 3, 2);
	semihosting(0x15, block);	/* SYS_GET_CMDLINE */
	cpu_init();
	mmu_init();
	mmu_on();
	version = FIELD(mrs(id_aa64dfr0_el1), 35, 32);
	if (version)
		pmsidr = spe_read(PMSIDR_EL1);
	if (param("fuzz"))
		fuzz(param("fuzz"));
	else if (param("obey"))
		obey();
	else
		quit(run_tests() != 0);
	quit(0);
}

/* Of a second CPU, from start.S */
void main_secondary(void)
{
	cpu_init();
	mmu_on();
	second_cpu();
	for (;;)
		asm volatile("wfi");
}
