# SPDX-License-Identifier: GPL-2.0
"""Other events pause and resume SPE (aux-action), so that it samples the code of interest alone.

The C driver refuses such events.
"""

import pytest

from kernel import debug
from spe import check_decodes, counters, recorded, trace_of

EVENTS = ("arm_spe/aux-action=start-paused,period=1024/,"
          "syscalls:sys_enter_getdents64/aux-action=resume/,"
          "syscalls:sys_exit_getdents64/aux-action=pause/")


def test_sampling_between_two_tracepoints(guest, driver):
    guest.sh("mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing")
    # On one CPU: perf pauses the event of the CPU on which the tracepoint is hit.
    status, output = guest.run(
        f"taskset -c 1 perf record -o /tmp/perf.data -e '{EVENTS}' -- ls -R /sys/devices >/dev/null")
    if driver == "c":
        assert status != 0, output
        return
    assert status == 0, output
    trace = trace_of(guest)
    check_decodes(trace, 100)
    # All of it is from inside the system call.
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


@pytest.mark.timeout(900)
def test_from_an_nmi(boot, driver):
    """The counter that pauses and resumes interrupts as an NMI, in the middle of whatever the driver does."""
    if driver == "c":
        pytest.skip("the C driver refuses to pause")
    # The stock kernel cannot have NMIs. The module for the debug kernel checks itself.
    guest = boot(kernel=debug(), append="irqchip.gicv3_pseudo_nmi=1")
    guest.load("rust")
    assert "Pseudo-NMIs enabled" in guest.sh("dmesg | grep -i pseudo-nmi")
    trace = recorded(
        guest, "perf record -o /tmp/perf.data -a -m ,64"
        " -e '{arm_spe/aux-action=start-paused,period=1024/,"
        "cycles/aux-action=resume,period=100003/,cycles/aux-action=pause,period=70001/}'"
        " -- bash -c 'taskset -c 0 workload 30 & taskset -c 1 workload 30; wait'")
    check_decodes(trace, 100)
    seen = counters(guest)
    assert seen["transitions"] > 100 and seen["mismatches"] == 0, seen
    assert seen["pauses"] > 100 and seen["resumes"] > 100, seen
    assert "using NMIs" in guest.sh("dmesg | grep 'armv8.*PMU\\|hw perfevents'")
    # perf stops and starts all events of the group when one of them counts too fast.
    guest.sh("echo 1000 >/proc/sys/kernel/perf_event_max_sample_rate")
    before = seen["sessions"]
    guest.sh("perf record -o /tmp/perf.data -m ,64"
             " -e '{arm_spe/period=1024/u,cycles/period=20011/u,page-faults/aux-action=resume,period=1/u}'"
             " -- bash -c 'for i in 1 2 3; do workload 20; done' 2>&1")
    seen = counters(guest)
    assert seen["sessions"] - before > 20 and seen["mismatches"] == 0, seen
