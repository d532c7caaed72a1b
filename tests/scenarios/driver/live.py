# SPDX-License-Identifier: GPL-2.0
"""Live events (live=1): the count is the number of records, and each of them is a trace event.

In every test the unit's own number of records, the driver's and that of the trace events agree (lib/live.py).
"""

import errno
import re

import pytest

from live import EVENT, MOUNT, heard, stat, traced
from spe import counters

#: Samples often enough that every context switch has some.
OFTEN = "interval=1024"
#: Tasks that switch all the time, exit, and fork.
BUSY = "bash -c 'for n in 1 2 3; do taskset -c 0 workload 1 & taskset -c 1 workload 1 & ls -R /proc/self >/dev/null; done; wait'"
#: The records in a CPU's buffer: 16 KiB, 64 bytes each.
WHOLE = 256


@pytest.fixture(autouse=True)
def ours(driver):
    """Skips the tests with the C driver."""
    if driver == "c":
        pytest.skip("the C driver has no live events")


def context_is_task(result):
    """Checks that each record of user space was emitted in the task that it is of."""
    wrong = {keys: hits for keys, hits in result.tasks.items() if keys[2] == 0 and keys[0] != keys[1]}
    assert not wrong, wrong


@pytest.mark.parametrize("options, command", [
    ("", "workload 5"),
    ("-a", BUSY),
    ("-a -A", BUSY),
    ("-C 1", "taskset -c 1 workload 3"),
    ("--no-inherit", BUSY),
    ("", BUSY),
    ("", "mixed 100"),
], ids=["task", "system-wide", "system-wide by CPU", "CPU", "not inherited", "processes", "signals"])
def test_perf_stat(guest, options, command):
    count, result = stat(guest, f"arm_spe_0/live=1,{OFTEN}/", command, options)
    assert count == result.hits > 100
    assert {period for _, period, _ in result.events} == {1024}
    assert len({number for number, _, _ in result.events}) == (2 if options.startswith("-a") else 1)
    context_is_task(result)


@pytest.mark.parametrize("modifier, levels", [("u", {0}), ("k", {1}), ("", {0, 1})])
def test_exception_levels(guest, modifier, levels):
    """What the event excludes is not in the records."""
    count, result = stat(guest, f"arm_spe_0/live=1,{OFTEN}/{modifier}", "ls -R /sys/devices/virtual")
    assert count == result.hits > 10
    assert {level for _, _, level in result.events} == levels


@pytest.mark.parametrize("group", ["{{{},cycles}}", "{{cycles,{}}}", "{{{},task-clock,page-faults}}", "{{page-faults,{},cycles}}"])
def test_groups(guest, group):
    """Hardware and software events count beside it."""
    event = f"arm_spe_0/live=1,{OFTEN}/"
    count, result = stat(guest, group.format(event), BUSY)
    assert count == result.hits > 100
    lines = [line.split(",") for line in result.output.splitlines() if line and line[0].isdigit()]
    assert all(int(float(line[0])) for line in lines), result.output


def test_multiplexed(guest):
    """Its group takes turns with others that together need more counters than there are: it counts while it runs."""
    cycles = ",".join(4 * ["cycles"])
    others = " ".join(2 * [f"-e '{{{cycles}}}'"])
    count, result = stat(guest, f"{{arm_spe_0/live=1,{OFTEN}/,{cycles}}}", "workload 20", f"--no-scale {others}")
    shares = re.findall(r"live=1[^,]*(?:,interval=\d+/)?,(\d+),([\d.]+)", result.output)
    assert count == result.hits > 0
    assert shares and all(0 < float(share) < 100 for _, share in shares), result.output


def test_reads(guest):
    """read(2) in the middle, of a group with its identifiers and times; disabled, reset and enabled again."""
    facts = (result := heard(guest, "live reads 1024")).facts
    assert facts["count"] == result.hits == result.of(facts["id"]) > 3 * 6 * 20
    assert facts["grown"] == 3 * 5 and facts["wrong"] == 0, facts


def test_reset(guest):
    """What is in the buffer when the count is reset belongs to the time before."""
    result = heard(guest, "live reset")
    assert result.facts["count"] <= 1 and result.hits >= 100


def test_period(guest):
    """Each record has the period that it was sampled with."""
    facts = (result := heard(guest, "live period")).facts
    assert facts["count"] == result.of(facts["id"]) == result.hits
    for period in (1024, 2048, 512):
        # The first sample after a change may come at any time.
        hits = sum(hits for (_, found, _), hits in result.events.items() if found == period)
        assert hits == facts[f"period{period}"] >= 49, (facts, result.events)


def test_refresh(guest):
    """PERF_EVENT_IOC_REFRESH enables a sampling event for so many overflows, of which there are none."""
    facts = (result := heard(guest, "live refresh")).facts
    assert facts["count"] == result.hits >= facts["first"] + 100 and facts["first"] >= 100


def test_errors(guest):
    """What is refused, and how."""
    said = heard(guest, "live errors", exact=False).facts
    names = {name: errno.errorcode.get(number, number) for name, number in said.items()}
    assert names == {
        "batch_256": 0, "batch_257": "EINVAL", "batch_most": "EINVAL", "discard": "EINVAL", "frequency": "EINVAL",
        "exclude_idle": "ENOTSUP",
        # perf's core asks for a sample_period.
        "period_without_period": "EINVAL", "refresh_without_period": "EINVAL",
        # The PMU is exclusive.
        "second_in_task": "EBUSY", "second_in_group": "EBUSY", "aux_in_task": "EBUSY", "of_cpu": "EBUSY",
        "map_aux": "ENOMEM",
    }
    assert "arm_spe_pmu: live=1: there is no AUX buffer: use perf stat, not perf record" in guest.sh("dmesg")
    status, output = guest.run("perf record -o /tmp/perf.data -e arm_spe_0/live=1/u -- true")
    assert status and "failed to mmap: Cannot allocate memory" in output, output


@pytest.mark.parametrize("mapped", ["mapped", "not"])
def test_paused(guest, mapped):
    """Another event resumes and pauses it, which perf's core does for an event with a ring buffer only."""
    guest.sh(MOUNT)
    facts = (result := heard(guest, f"live paused {mapped}")).facts
    assert facts["count"] == result.hits and not facts["before"] and not facts["after"], facts
    assert facts["count"] >= 100 if mapped == "mapped" else facts["count"] == 0, facts


@pytest.mark.parametrize("tasks", [1, 3])
def test_turns(guest, tasks):
    """Tasks with an event each, and a child that inherits it, share a CPU: each event has its own records."""
    result = heard(guest, f"live turns {tasks} 50")
    lines = [line.split()[1::2] for line in result.output.splitlines()]
    assert len(lines) == tasks
    for task, pid, number, count in (map(int, line) for line in lines):
        assert result.of(number) == count > 50
        assert {period for event, period, _ in result.events if event == number} == {(task + 1) * 1024}
        assert any(keys[0] == pid for keys in result.tasks)
    assert sum(int(line[3]) for line in lines) == result.hits
    assert len({task for task, _, _ in result.tasks}) == 2 * tasks
    context_is_task(result)


def test_every_record_is_of_its_task(guest):
    """A record of the kernel is emitted in its own task, or, of the switch itself, in the next one."""
    lines = traced(guest, f"perf stat -a -e arm_spe_0/live=1,{OFTEN}/ -- {BUSY}", ("events/sched/sched_switch", EVENT))
    records = late = 0
    for cpu_lines in lines.values():
        came_from = {}
        for pid, event, fields in cpu_lines:
            if event == "sched_switch":
                left, entered = re.search(r"prev_pid=(\d+) .* next_pid=(\d+)", fields).groups()
                came_from[int(entered)] = int(left)
                continue
            records += 1
            context, level = int(re.search(r"contextidr=(\d+)", fields)[1]), int(re.search(r" el=(\d)", fields)[1])
            if context != pid:
                assert level == 1 and context == came_from[pid], (pid, came_from, fields)
                late += 1
    assert records - late > 1000, (late, records)


def test_perf_record_hears_it(guest):
    """`perf record` of the trace event has every record."""
    before = counters(guest)["live_records"]
    guest.sh(f"{MOUNT}; perf record -q -a -m 8M -o /tmp/perf.data -e arm_spe:arm_spe_record -c 1 --"
             f" perf stat -x, -o /tmp/stat -e arm_spe_0/live=1,{OFTEN}/u -- workload 2")
    count = int(guest.sh("cut -d, -f1 /tmp/stat | tail -1"))
    said = guest.sh("perf report --stats -i /tmp/perf.data 2>&1; perf script -i /tmp/perf.data -F comm,trace | cut -c 1-17 | sort | uniq -c")
    assert "LOST" not in said and int(re.search(r"SAMPLE events: +(\d+)", said)[1]) == count, said
    assert counters(guest)["live_records"] - before == count > 100


@pytest.mark.parametrize("batch, records", [(1, 100), (7, 100), (0, 3 * WHOLE)])
def test_batch(guest, batch, records):
    """The unit interrupts when it has written a batch; the rest is emitted when the event stops."""
    # So long an interval that no machine is fast enough for the limit.
    facts = (result := heard(guest, f"live batches {batch} 65536 {records}")).facts
    assert facts["count"] == result.hits == result.of(facts["id"]) >= records
    assert result.counted["full"] == result.hits // (batch or WHOLE) > 0
    assert not result.counted["live_limited"]


@pytest.mark.parametrize("size, most", [(2048, 8), (64, 256), (16, 1024)])
def test_largest_batch(boot, driver, size, most):
    """A batch is as large as the buffer at most, whatever the size of the unit's records."""
    guest = boot(spe=f"spe=on,spe-max-record-size={size}")
    guest.load(driver)
    for batch, accepted in ((most, True), (most + 1, False)):
        status, output = guest.run(f"live batches {batch} 65536 1")
        assert (status == 0) == accepted, output
        assert accepted or "perf_event_open: Invalid argument" in output
    count, result = stat(guest, "arm_spe_0/live=1,batch=3,interval=65536/u", "workload 20")
    assert count == result.hits >= 20


@pytest.mark.kernel("nmi")
def test_sampled_interrupts(boot, driver):
    """A kernel that checks itself takes more than 256 operations to leave an interrupt, and still gets on."""
    guest = boot()
    guest.load(driver)
    count, result = stat(guest, "arm_spe_0/live=1,batch=1,interval=256/k", "ls -R /sys/devices/virtual/tty")
    assert count == result.hits > 10_000
    # 8192 operations in each full batch.
    assert result.counted["full"] <= result.hits / 32


def test_too_many_interrupts(boot, driver):
    """An interrupt for each record would leave no time for anything else. A virtual clock, so that every machine has too many."""
    guest = boot(smp=1, arguments=("-icount", "shift=0,sleep=off"))
    guest.load(driver)
    began, count, ended = "date +%s%N", "perf stat -x, -o /tmp/stat -e arm_spe_0/live=1,batch=1,interval=256/u -- workload 5", "date +%s%N"
    result = heard(guest, f"{began}; {count} >/dev/null; {ended}; cat /tmp/stat")
    first, last = (int(word) for word in result.output.split()[:2])
    seen = result.counted
    assert int(re.search(r"^(\d+),,arm", result.output, re.MULTILINE)[1]) == result.hits > 1000
    assert seen["live_limited"] > 0
    # 50,000 in a second, or 200 in each tick of 4 ms, besides those of whole buffers.
    ticks = (last - first) // 4_000_000 + 2
    assert result.hits / WHOLE < seen["full"] <= 200 * ticks + seen["live_limited"], (seen, ticks)
    # The next tick has as many again.
    assert seen["full"] - seen["live_limited"] > 3 * 200, seen
