# SPDX-License-Identifier: GPL-2.0
"""The counters in debugfs say what happened on each CPU, and agree with what perf received."""

import pytest

import kcsan
from spe import PARTIAL, TRUNCATED, COUNTERS, Record, Trace, check_accounted, counters, parse, record


@pytest.fixture(autouse=True)
def ours(driver):
    """Skips the tests with the C driver."""
    if driver == "c":
        pytest.skip("the C driver has no counters")


def since(guest, before):
    """Returns what has been counted since before."""
    return {name: count - before[name] for name, count in counters(guest).items()}


def test_they_agree_with_perf(guest):
    before = counters(guest)
    trace = record(guest, "arm_spe/period=4096/u", "taskset -c 1 workload 20", "-m ,4M")
    seen = since(guest, before)
    assert seen["bytes"] == sum(size for _, size, _ in trace.aux) > 0
    # perf writes no record for a transaction without data.
    assert seen["aux_transactions"] >= len(trace.aux) > 0
    assert not seen["truncated"] and not seen["partial"] and not seen["start_full"], seen


def test_a_reader_that_is_too_late(guest):
    """Sampling ends when the buffer is full and is not read, which the counters show."""
    before = counters(guest)
    # A stopped perf reads nothing.
    guest.sh("perf record -o /tmp/perf.data -m ,4 -e arm_spe/period=1024/u --"
             " bash -c 'kill -STOP $PPID; workload 20; kill -CONT $PPID'")
    seen = since(guest, before)
    assert seen["full"] > 0 and seen["start_full"] + seen["start_no_space"] > 0, seen


def test_each_cpu_has_its_own(guest):
    """Each CPU has a file of its own, which only root can read."""
    before = guest.sh(f"cat {COUNTERS}/cpu0")
    record(guest, "arm_spe/period=4096/u", "taskset -c 1 workload 5", "-C 1")
    assert guest.sh(f"cat {COUNTERS}/cpu0") == before
    assert guest.sh(f"cat {COUNTERS}/cpu1") != before
    assert guest.sh(f"ls {COUNTERS}").split() == ["cpu0", "cpu1"]
    assert guest.sh(f"stat -c %a {COUNTERS}/cpu0") == "400"


def test_missing_bytes_are_noticed(guest):
    """The harness notices bytes that are not accounted for: here, those from before the pointer was moved away."""
    guest.account()
    guest.inject(1, "pointer,value=0x1000,after=10")
    with pytest.raises(AssertionError, match="received"):
        record(guest, "arm_spe/period=1024/u", "taskset -c 1 workload 1", "-C 1")
    with pytest.raises(AssertionError, match="knows of"):
        guest.account()
    guest.unaccounted = "the driver does not count what was written before the pointer was moved away"


@pytest.mark.parametrize("flags,change", [
    (0, {"records": 1}), (0, {"records": 3}), (0, {"bytes": 64}), (0, {"dropped": 1}), (PARTIAL, {"dropped": 1}),
    (TRUNCATED, {"partial": 1}), (TRUNCATED | PARTIAL, {"collided": 1})])
def test_missing_flags_are_noticed(flags, change):
    """check_accounted() fails if a count differs from the two received records, or a flag is missing."""
    made = {"records": 2, "bytes": 128, "dropped": 0, "partial": 0, "collided": 0}
    trace = Trace(records=[Record(), Record()], aux=[(0, 64, flags), (64, 64, 0)])
    check_accounted(trace, made)
    with pytest.raises(AssertionError):
        check_accounted(trace, made | change)


def test_what_perf_writes_twice_counts_once():
    """A line that perf has dumped twice counts once, unless the time differs."""
    line = "1 443612672238 {} [0x40]: PERF_RECORD_AUX offset: 0x1000 size: 0x1000 flags: 0x2 [O]"
    dump = [line.format("0xa42c8"), line.format("0xa4310"), line.format("0xa4350").replace("238", "239")]
    assert parse("\n".join(dump)).aux == 2 * [(0x1000, 0x1000, 2)]
    # Without a time they cannot be distinguished.
    assert len(parse("\n".join(one.partition(" 0x")[2] for one in dump)).aux) == 3


RACE = """\
[    1.0] ==================================================================
[    1.0] BUG: KCSAN: data-race in {}
[    1.0]
[    1.0] {}
[    1.0]  {}
[    1.0] ==================================================================
"""


@pytest.mark.parametrize("title,what,who,found", [
    ("perf_event_read+0x1/0x2", "race at unknown origin, with read to 0x1 of 8 bytes by task 1 on cpu 0:", "schedule+0x1/0x2", True),
    ("event_sched_out+0x1/0x2", "race at unknown origin, with read to 0x1 of 4 bytes by task 1 on cpu 0:", "schedule+0x1/0x2", True),
    ("_find_first_bit+0x1/0x2", "race at unknown origin, with read to 0x1 of 8 bytes by task 1 on cpu 0:", "perf_x+0x1/0x2", False),
    ("perf_a / perf_b", "read to 0x1 of 8 bytes by task 1 on cpu 0:", "perf_a+0x1/0x2", False),
    ("a / b", "read to 0x1 of 8 bytes by task 1 on cpu 0:", "start+0x1/0x2 [arm_spe_pmu]", True),
    ("a / b", "read to 0x1 of 8 bytes by interrupt on cpu 0:", "handle+0x1/0x2 [arm_spe_pmu]\n el1h_64_irq+0x80/0x84", True),
    ("a / b", "read to 0x1 of 8 bytes by task 1 on cpu 0:", "el1h_64_irq+0x80/0x84\n start+0x1/0x2 [arm_spe_pmu]", False),
    ("a / b", "read to 0x1 of 8 bytes by task 1 on cpu 0:",
     "el1h_64_irq+0x80/0x84\n a+0x1/0x2\n\nread to 0x1 of 8 bytes by task 1 on cpu 0:\n start+0x1/0x2 [arm_spe_pmu]", True)])
def test_a_race_of_the_driver_is_seen(title, what, who, found):
    """A race of the driver is recognised, also if KCSAN only sees perf's part of it."""
    (report,) = kcsan.reports(RACE.format(title, what, who))
    assert kcsan.concerns_driver(report) == found


def test_they_go_with_the_module(guest):
    """The files keep the module while they are open, and are removed with it."""
    output = guest.sh(f"exec 3<{COUNTERS}/cpu0; rmmod arm_spe_pmu 2>&1 || echo refused; exec 3<&-")
    assert "refused" in output and "in use" in output, output
    guest.unload()
    assert guest.run(f"ls {COUNTERS}")[0] != 0
