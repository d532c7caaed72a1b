// SPDX-License-Identifier: GPL-2.0
/* CPUs that profile at once: each has its own unit. */

#include "profile.h"
#include "psci.h"

#define ROUNDS 20
#define SECOND_BUFFER (WINDOW + 256 * PAGE)

extern const char start_secondary[];

static u8 stacks[2][0x4000] __attribute__((aligned(16)));
static struct outcome outcomes[2];
static volatile int round_started, round_ended, jitter_ended[2];

static struct setup setup_of(int cpu)
{
	struct setup s = sampling(0);

	s.pmsicr = 0;
	s.pmsirr = (u64)(cpu + 1) << 8;
	s.pmbptr = cpu ? SECOND_BUFFER : BUFFER;
	s.limit = s.pmbptr + BUFFER_SIZE;
	return s;
}

static void run_round(int cpu)
{
	struct setup s = setup_of(cpu);

	unit_program(&s);
	run_at(0, HCR_BASE, sled, 0, 0, 0, 0);
	unit_stop(&outcomes[cpu]);
}

/* Of the second and third CPU, numbers 0 and 1 here: a run with jitter, in which each operation counts */
static void run_jitter(int number)
{
	struct setup s = setup_of(number);

	s.pmsirr = 1 << 8 | 1;
	unit_program(&s);
	run_at(0, HCR_BASE, sled, 0, 0, 0, 0);
	unit_stop(&outcomes[number]);
	dsb();
	jitter_ended[number] = true;
}

/* The second CPU, and the third, at home and with their tables */
void second_cpu(void)
{
	if ((mrs(mpidr_el1) & 0xff) == 2) {
		run_jitter(1);
		return;
	}
	for (int round = 1; round <= ROUNDS; round++) {
		while (round_started != round)
			asm volatile("yield");
		dsb();
		run_round(1);
		dsb();
		round_ended = round;
	}
	while (round_started != ROUNDS + 1)
		asm volatile("yield");
	dsb();
	run_jitter(0);
}

static bool cpu_on(u64 cpu)
{
	/* The end of its stack, CPU 0 having none here. */
	return psci(PSCI_CPU_ON, cpu, (u64)start_secondary, (u64)stacks[cpu]) == 0;
}

static void check_round(int cpu, int round, u8 *buffer)
{
	struct outcome *o = &outcomes[cpu];
	u64 distance = 256 * (cpu + 1) + 1;

	expect_eq(o->pmbsr, 0, "round %d, CPU %d: PMBSR_EL1", (u64)round, (u64)cpu);
	read_records(o, buffer, o->pmbptr - setup_of(cpu).pmbptr);
	expect_eq(o->n, (SLED + 1) / distance, "round %d, CPU %d: records", (u64)round, (u64)cpu);
	for (int i = 0; i < o->n; i++)
		expect_eq(o->record[i].value[PC], code_address((u64)sled + 4 * (distance * (i + 1) - 1), 0, false),
			  "round %d, CPU %d: PC of record %d", (u64)round, (u64)cpu, (u64)i);
}

TEST(two, "smp: two CPUs profile at once, each with an interval and a buffer of its own")
{
	if (!version || param("cpus") < 2 || has_el3() || param("inflight"))
		return skip("not two CPUs that PSCI can start, or operations that collide");
	map_buffer(1);
	for (u64 i = 0; i < BUFFER_SIZE / PAGE; i++)
		*window_entry(1, 256 + i) = ((u64)buffer_of(3) + i * PAGE) | PTE_DATA;
	tlb_flush();
	if (!expect(cpu_on(1), "CPU_ON failed"))
		return;
	for (int round = 1; round <= ROUNDS; round++) {
		fill(buffer_of(1), POISON, BUFFER_SIZE);
		fill(buffer_of(3), POISON, BUFFER_SIZE);
		dsb();
		round_started = round;
		run_round(0);
		while (round_ended != round)
			asm volatile("yield");
		dsb();
		check_round(0, round, buffer_of(1));
		check_round(1, round, buffer_of(3));
	}
}

TEST(system_suspend, "smp: PSCI does not suspend the system while another CPU is on")
{
	if (param("cpus") < 2 || has_el3() || !param("power-loss"))
		return skip("not two CPUs whose power PSCI ends");
	expect_eq(psci(PSCI_SYSTEM_SUSPEND, (u64)psci_entry, 0, 0), PSCI_DENIED, "SYSTEM_SUSPEND");
}

TEST(jitter, "smp: no two CPUs have the same jitter")
{
	struct outcome *one = &outcomes[0], *other = &outcomes[1];
	int same = 0;

	/* The first CPU has had some already. */
	if (!version || param("cpus") < 3 || has_el3() || param("inflight"))
		return skip("not three CPUs that PSCI can start, or operations that collide");
	fill(buffer_of(1), POISON, BUFFER_SIZE);
	fill(buffer_of(3), POISON, BUFFER_SIZE);
	dsb();
	if (!expect(cpu_on(2), "CPU_ON failed"))
		return;
	round_started = ROUNDS + 1;
	while (!jitter_ended[0] || !jitter_ended[1])
		asm volatile("yield");
	dsb();
	read_records(one, buffer_of(1), one->pmbptr - setup_of(0).pmbptr);
	read_records(other, buffer_of(3), other->pmbptr - setup_of(1).pmbptr);
	expect(one->n > 10 && other->n > 10, "%d and %d records", (u64)one->n, (u64)other->n);
	for (int i = 0; i < one->n && i < other->n; i++)
		same += one->record[i].value[PC] == other->record[i].value[PC];
	expect(same < one->n / 2, "%d of %d the same", (u64)same, (u64)one->n);
}
