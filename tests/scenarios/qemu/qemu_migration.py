# SPDX-License-Identifier: GPL-2.0
"""QEMU's model of SPE can be migrated, saved and reset while it profiles, and can repeat a run.

To repeat a run, an instruction takes 1 ns of the guest's time, however busy the host is, and the guest has no input
from outside before the run has ended.
"""

from dataclasses import replace

import pytest

from gdb import units

from paths import TOP
from spe import check_decodes, trace_of

#: Profiles everything until it is stopped.
EVERYTHING = """
perf record -q -B -N -a -o /tmp/perf.data -m ,16 -e arm_spe/period=16384,jitter=1,ts_enable=1,pa_enable=1/ >/tmp/said 2>&1 &
echo $! >/tmp/perf.pid
while :; do workload 5; done >/dev/null &
echo $! >/tmp/workload.pid
"""
#: Ends when perf has written more than half of its buffers, which it may have been about to write before.
WRITES = """
written() { stat -c %s /tmp/perf.data 2>/dev/null || echo 0; }
before=$(written)
until [ $(written) -gt $((before + 64 * 1024)) ]; do workload 1 >/dev/null; done
"""
END = """
kill $(cat /tmp/workload.pid)
kill -INT $(cat /tmp/perf.pid)
while [ -e /proc/$(cat /tmp/perf.pid) ]; do :; done
cat /tmp/said
"""

REPEATS = ("-icount", "shift=0,sleep=off", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm",
           "-global", "virtio-serial-pci.ioeventfd=off")
RECORD = "perf record -q -B -N -o /tmp/perf.data -e arm_spe/period=1024,jitter=1,ts_enable=1,pa_enable=1/u -- "

#: The start of the agent in guests that record before it is ready.
ALONE = """\
#!/bin/bash
insmod /usr/lib/drivers/{driver}/arm_spe_pmu.ko
{RECORD} workload 10 >/tmp/said 2>&1
"""

HALF_WAY = RECORD + "bash -c 'workload 5 >/dev/null; echo half >/dev/vport0p2; workload 5 >/dev/null'"


def state(guest):
    """Returns the registers and the counters of the profiling units."""
    return units(guest), guest.hardware()


def records(guest):
    """Returns the records in the guest without what depends on the TLB.

    QEMU chooses the size of its TLB by the clock of the host, so that this does not repeat.
    """
    trace = trace_of(guest)
    check_decodes(trace, 500)
    return [replace(record, events=record.events - {"TLB-REFILL"}, latency={"ISSUE": record.latency["ISSUE"]})
            for record in trace.records]


def test_migrates_while_it_profiles(guest):
    """Migration is invisible to perf: the units and the samples continue in the other QEMU."""
    guest.sh(EVERYTHING + WRITES)
    left, found = guest.migrate(state)
    assert found == left
    assert [unit for unit in left[0] if unit["PMBLIMITR_EL1"] & 1 and unit["PMSCR_EL1"]], "nothing was sampled just then"
    guest.sh(WRITES + END)
    trace = trace_of(guest)
    check_decodes(trace, 1000)
    # Records are lost, and reported as such, only if perf did not read them in time.
    assert {record.cpu for record in trace.records} == {0, 1}
    assert "arm_spe" not in guest.sh("dmesg --level=err,crit,alert,emerg")
    guest.account()


def test_reset_while_it_profiles(guest):
    """After a reset the units are as after power-on, no interrupt is pending, and the guest can use them again."""
    guest.sh(EVERYTHING + WRITES)
    guest.qmp("stop")
    guest.inject(0, "full")
    for unit in guest.reset(units):
        assert [name for name, value in unit.items() if value] == ["PMSIDR_EL1"]
    guest.load("c")
    assert guest.sh("grep arm_spe /proc/interrupts | tr -s ' ' | cut -d' ' -f3,4") == "0 0"
    guest.sh(RECORD + "workload 5")
    check_decodes(trace_of(guest), 100)


@pytest.fixture
def boot_alone(boot, driver):
    """Returns a function that boots a guest which repeats a run, with a trace recorded before the agent is ready."""
    agent = ALONE.format(driver=driver, RECORD=RECORD) + (TOP / "tests/payload/agent").read_text()

    def boot_one(name, seed):
        return boot(name, smp=1, memory="1G", spe=f"spe=on,spe-seed={seed}", arguments=REPEATS,
                    files={"usr/bin/agent": agent})
    return boot_one


def test_boots_are_alike(boot_alone):
    """The same seed makes the same records, including the time stamps. Another one samples other instructions."""
    found = []
    for name, seed in (("first", 1), ("second", 1), ("other", 2)):
        guest = boot_alone(name, seed)
        found.append(records(guest))
        guest.quit()
    first, second, other = found
    assert first == second
    assert [record.pc for record in first] != [record.pc for record in other]


def test_a_saved_run_repeats(boot_alone):
    """A run that is saved in the middle continues with the same records, and again when it is restored."""
    guest = boot_alone("guest", 1)
    saved = guest.scratch / "saved"
    guest.begin(HALF_WAY)
    guest.hear()
    guest.save(saved)
    found = []
    for go_on in (lambda: guest.qmp("cont"), lambda: guest.resume(saved), lambda: guest.resume(saved)):
        go_on()
        status, output = guest.finish()
        assert status == 0, output
        found.append(records(guest))
    original, once, again = found
    assert once == original
    assert again == once
