# SPDX-License-Identifier: GPL-2.0
"""Other events pause and resume SPE (aux-action), so that only the code of interest is sampled.

The C driver refuses such events.
"""

import pytest

from situations import LIMIT_SAMPLES
from spe import check_decodes, counters, recorded, trace_of

EVENTS = ("arm_spe/aux-action=start-paused,period=1024/,"
          "syscalls:sys_enter_getdents64/aux-action=resume/,"
          "syscalls:sys_exit_getdents64/aux-action=pause/")


def test_sampling_between_two_tracepoints(guest, driver):
    guest.sh("mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing")
    # On one CPU: perf pauses the event of the CPU that hits the tracepoint.
    status, output = guest.run(
        f"taskset -c 1 perf record -o /tmp/perf.data -e '{EVENTS}' -- ls -R /sys/devices >/dev/null")
    if driver == "c":
        assert status != 0, output
        return
    assert status == 0, output
    trace = trace_of(guest)
    check_decodes(trace, 100)
    # All records are from inside the system call.
    assert {record.el for record in trace.records} == {1}, [hex(r.pc) for r in trace.records if r.el != 1]


def test_started_paused_and_never_resumed(guest, driver):
    status, output = guest.run("perf record -o /tmp/perf.data"
                               " -e 'arm_spe/aux-action=start-paused/u' -- workload 5")
    if driver == "c":
        assert status != 0, output
        return
    assert status == 0, output
    trace = trace_of(guest)
    assert not trace.records


@pytest.mark.kernel("nmi")
@pytest.mark.timeout(900)
def test_from_an_nmi(boot, driver):
    """Counters whose interrupts are NMIs pause, resume and throttle at any point in the driver.

    After throttling perf starts the group again at the next tick, and sampling continues. The C driver leaves the AUX
    transaction open, cannot begin another one, and never samples again.
    """
    # The stock kernel has no NMIs. The module for the debug kernel checks itself.
    guest = boot()
    guest.load(driver)
    assert "Pseudo-NMIs enabled" in guest.sh("dmesg | grep -i pseudo-nmi")
    assert "using NMIs" in guest.sh("dmesg | grep 'armv8.*PMU\\|hw perfevents'")
    # The C driver refuses to pause.
    if driver != "c":
        trace = recorded(
            guest, "perf record -o /tmp/perf.data -a -m ,64"
            " -e '{arm_spe/aux-action=start-paused,period=1024/,"
            "cycles/aux-action=resume,period=100003/,cycles/aux-action=pause,period=70001/}'"
            " -- bash -c 'taskset -c 0 workload 10 & taskset -c 1 workload 10; wait'")
        check_decodes(trace, 100)
        seen = counters(guest)
        assert seen["transitions"] > 100 and seen["mismatches"] == 0, seen
        assert seen["pauses"] > 100 and seen["resumes"] > 100, seen

    pauses = 0 if driver == "c" else counters(guest)["pauses"]
    facts = dict(line.split() for line in guest.sh(f"{LIMIT_SAMPLES}; throttle", timeout=300).splitlines())
    assert facts["throttled"] == "1", facts
    if driver == "c":
        assert facts["bytes_after"] == "0", facts
        # perf warns of the open transaction.
        guest.excuse()
        return
    assert int(facts["bytes_after"]) > 0, facts
    seen = counters(guest)
    assert seen["mismatches"] == 0
    # A throttled event is not sampled for: nothing else pauses one here.
    assert seen["pauses"] > pauses, seen
