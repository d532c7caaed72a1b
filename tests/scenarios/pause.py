# SPDX-License-Identifier: GPL-2.0
"""Other events pause and resume SPE (aux-action), so that it samples the code of interest alone.

The C driver refuses such events.
"""

from spe import check_decodes, trace_of

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
