// SPDX-License-Identifier: GPL-2.0
/* Which operations are sampled: COUNT, INTERVAL, RND, ERnd, collisions. */

#include "profile.h"

/* It begins in the middle of a page. */
asm(".pushsection .text\n"
    ".globl sled\n"
    ".balign 4096\n"
    ".skip 0xe00\n"
    "sled:	.rept " STRING(SLED) "\n"
    "	nop\n"
    "	.endr\n"
    "	svc #0\n"
    ".popsection");

/* The number of the operation that a record is of, from 1 on */
static u64 number(int record)
{
	return ((outcome.record[record].value[PC] & BITS(55, 0)) - (u64)sled) / 4 + 1;
}

/* Each selected operation is recorded. If not, the test is skipped. */
static bool no_collisions(void)
{
	if (!version || param("inflight"))
		skip("no SPE, or operations that collide");
	return version && !param("inflight");
}

static void run_sled(struct setup *s)
{
	profile(s, sled, 0, 0, 0, 0);
	expect_eq(outcome.pmbsr, 0, "PMBSR_EL1");
}

/* Where the last operations of the sled begin, count of them with the SVC */
static const char *last(u64 count)
{
	return sled + 4 * (SLED + 1 - count);
}

static void run_few(struct setup *s, u64 count)
{
	profile(s, last(count), 0, 0, 0, 0);
}

TEST(count, "interval: with PMSICR_EL1.COUNT = n, the n-th operation is sampled, then every INTERVAL * 256 + 1")
{
	static const u64 counts[] = { 0, 1, 2, 3, 10, 255, 256, 257, 1000, 4095 };

	if (!no_collisions())
		return;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		for (u64 interval = 1; interval <= 3; interval++) {
			u64 distance = interval * 256 + 1, first = counts[i] ? counts[i] : distance;
			struct setup s = sampling(0);

			s.pmsicr = counts[i];
			s.pmsirr = interval << 8;
			run_sled(&s);
			expect_eq(outcome.n, (SLED + 1 - first) / distance + 1, "COUNT %d, INTERVAL %d: records", counts[i],
				  interval);
			for (int r = 0; r < outcome.n; r++)
				expect_eq(number(r), first + distance * r, "COUNT %d, INTERVAL %d: record %d", counts[i],
					  interval, (u64)r);
		}
	}
}

TEST(zero, "interval: INTERVAL of 0 is as 1")
{
	struct setup s = sampling(0);

	if (!no_collisions())
		return;
	s.pmsicr = 0;
	s.pmsirr = 0;
	run_sled(&s);
	for (int r = 0; r < outcome.n; r++)
		expect_eq(number(r), 257 * (r + 1), "record %d", (u64)r);
	expect_eq(outcome.n, SLED / 257, "records");
}

TEST(readback, "interval: PMSICR_EL1 reads as what is left of COUNT, and stands still at other levels")
{
	struct setup s = sampling(0);

	if (!version)
		return skip("no SPE");
	for (u64 n = 1; n < 40; n++) {
		s.pmsicr = 40;
		run_few(&s, n);
		expect_eq(outcome.pmsicr, 40 - n, "COUNT 40, after %d operations", n);
		expect_eq(outcome.n, 0, "records after %d operations", n);
	}
	run_few(&s, 40);
	expect_eq(outcome.pmsicr, 0, "after the sampled operation");
	expect_eq(outcome.n, 1, "records");

	s.pmsirr = 5 << 8;
	for (u64 n = 41; n < 44; n++) {
		run_few(&s, n);
		expect_eq(outcome.pmsicr, 5 * 256 + 41 - n, "%d operations after the sampled one", n - 40);
	}
	s.pmsicr = 0;
	run_few(&s, 1);
	expect_eq(outcome.pmsicr, 5 * 256, "COUNT 0, after one operation");

	/* Two runs: what home does between them is not counted. */
	s.pmsicr = 100;
	unit_program(&s);
	run_at(0, HCR_BASE, last(10), 0, 0, 0, 0);
	expect_eq(spe_read(PMSICR_EL1), 90, "after 10 operations");
	run_at(0, HCR_BASE, last(20), 0, 0, 0, 0);
	unit_stop(&outcome);
	expect_eq(outcome.pmsicr, 70, "after 20 more");
}

/* Number 11 takes a Data Abort if x0 is no address. The handler goes on after it. */
asm(".pushsection .text\n"
    "aborting: .rept 10\n	nop\n	.endr\n"
    "	ldr x2, [x0]\n"
    "	.rept 600\n	nop\n	.endr\n"
    "	svc #0\n"
    ".popsection");
extern const char aborting[];

static void check_aborting(u64 count, u64 position, bool aborts)
{
	struct setup s = sampling(0);

	s.pmsicr = count;
	s.limit = BUFFER + PAGE;
	traps_expected();
	profile(&s, aborting, aborts ? 1ull << 40 : (u64)DATA, 0, 0, 0);
	traps_over();
	expect_eq(trap.count, aborts, "aborts");
	if (expect_eq(outcome.n, 1, "COUNT %d: records", count))
		expect_eq((outcome.record[0].value[PC] & BITS(55, 0)) - (u64)aborting, 4 * (position - 1), "COUNT %d: PC", count);
}

TEST(aborts, "interval: an operation that takes a Data Abort is counted when it is executed again, or if it is to be sampled")
{
	if (!version || max_size() > PAGE)
		return skip("no SPE");
	for (u64 count = 1; count < 600; count += count < 20 ? 1 : 29) {
		check_aborting(count, count, false);
		check_aborting(count, count > 11 ? count + 1 : count, true);
	}
}

/* How far each record of a run is behind where it would be without jitter */
static u64 spread(u64 jitter[], bool exact_reload)
{
	u64 low = ~0ull, high = 0, before = 0;

	for (int r = 0; r < outcome.n; r++) {
		jitter[r] = exact_reload ? number(r) - 257 * (r + 1) : number(r) - before - 257;
		before = number(r);
		low = jitter[r] < low ? jitter[r] : low;
		high = jitter[r] > high ? jitter[r] : high;
	}
	expect(high <= 255, "a distance of 257 + %d", high);	/* also if it is below 0 */
	return high - low;
}

TEST(rnd, "interval: RND adds 0 to 255 operations, and not always the same")
{
	bool ernd = pmsidr & PMSIDR_ERND;
	struct setup s = sampling(0);
	u64 first[MAX_RECORDS], second[MAX_RECORDS];
	int n, same = 0;

	if (!no_collisions())
		return;
	s.pmsicr = 0;
	s.pmsirr = 1 << 8 | 1;
	run_sled(&s);
	n = outcome.n;
	expect(n >= (ernd ? SLED / 257 - 1 : SLED / 512 - 1), "%d records", (u64)n);
	/* Of at least 15 numbers; less than once in 10^10 are they so close. */
	expect(spread(first, ernd) > 64, "hardly any jitter");
	run_sled(&s);
	expect(spread(second, ernd) > 64, "hardly any jitter");
	for (int r = 0; r < n && r < outcome.n; r++)
		same += first[r] == second[r];
	expect(same < n / 2, "%d of %d the same in the next run", (u64)same, (u64)n);
}

TEST(rnd_reload, "interval: without ERnd, COUNT is reloaded with the random part")
{
	struct setup s = sampling(0);
	u64 low = ~0ull, high = 0;

	if (!version || pmsidr & PMSIDR_ERND)
		return skip("no SPE, or ERnd");
	s.pmsirr = 2 << 8 | 1;
	for (int i = 0; i < 64; i++) {
		s.pmsicr = 0;
		run_few(&s, 1);
		low = outcome.pmsicr < low ? outcome.pmsicr : low;
		high = outcome.pmsicr > high ? outcome.pmsicr : high;
	}
	expect(low >= 512 && high <= 512 + 255, "from %d to %d", low, high);
	expect(low < 512 + 64 && high > 512 + 192, "only from %d to %d", low, high);
}

TEST(ernd, "interval: with ERnd, COUNT reloads exactly and ECOUNT delays the sample")
{
	struct setup s = sampling(0);
	u64 ecount;

	if (!no_collisions())
		return;
	if (!(pmsidr & PMSIDR_ERND))
		return skip("no ERnd");
	s.pmsirr = 2 << 8 | 1;
	for (int i = 0; i < 64; i++) {
		s.pmsicr = 1;
		run_few(&s, 1);
		ecount = FIELD(outcome.pmsicr, 63, 56);
		expect_eq(outcome.pmsicr & BITS(31, 0), 0, "COUNT at its end");
		expect_eq(outcome.n, ecount == 0, "ECOUNT %d: records", ecount);
		if (!ecount)
			continue;
		/* Go on from there: COUNT reloads, and the operation at the end of ECOUNT is sampled. */
		s.pmsicr = outcome.pmsicr;
		run_sled(&s);
		if (expect(outcome.n > 0, "ECOUNT %d: no record", ecount))
			expect_eq(number(0), ecount, "ECOUNT %d: sampled", ecount);
	}
	s.pmsicr = 5ull << 56 | 1000;
	run_few(&s, 4);
	expect_eq(outcome.pmsicr, 1ull << 56 | 996, "ECOUNT 5, COUNT 1000, after 4 operations");
	run_few(&s, 5);
	expect_eq(outcome.pmsicr, 995, "after 5 operations");
	expect_eq(outcome.n, 1, "records");
	/* COUNT does not wait for ECOUNT. */
	s.pmsicr = 5ull << 56;
	run_few(&s, 3);
	expect_eq(outcome.pmsicr, 2ull << 56 | 510, "ECOUNT 5, COUNT 0, after 3 operations");
}

TEST(collisions, "interval: an operation selected while another is in flight collides, without a record")
{
	u64 inflight = param("inflight"), sampled = 0;
	struct setup s = sampling(0);
	bool collided = false;
	int n = 0;

	if (!version)
		return skip("no SPE");
	s.pmsicr = 0;
	s.pmsirr = 1 << 8;
	profile(&s, sled, 0, 0, 0, 0);
	for (u64 op = 257; op <= SLED + 1; op += 257) {
		if (sampled && op - sampled <= inflight) {
			collided = true;
			continue;
		}
		sampled = op;
		if (n < outcome.n)
			expect_eq(number(n), op, "record %d", (u64)n);
		n++;
	}
	expect_eq(outcome.n, n, "records");
	expect_eq(outcome.pmbsr, collided ? PMBSR_COLL : 0, "PMBSR_EL1");
}
