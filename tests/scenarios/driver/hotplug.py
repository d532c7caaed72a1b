# SPDX-License-Identifier: GPL-2.0
"""CPUs go off- and online during a system-wide session, and the unit of each works afterwards."""

from spe import check_decodes, record, recorded, trace_of

ONLINE = "/sys/devices/system/cpu/cpu1/online"


def test_while_recording(guest, driver):
    script = f"""
cat >/tmp/plug <<'END'
set -e
for i in 1 2 3 4 5; do
    taskset -c 1 workload 2 >/dev/null
    echo 0 >{ONLINE}
    taskset -c 0 workload 2 >/dev/null
    echo 1 >{ONLINE}
done
END
perf record -o /tmp/perf.data -a -e arm_spe/period=4096/ -- bash /tmp/plug
"""
    if driver == "c":
        # It turns the unit off with the CPU, before perf stops the event, and takes the 0 that is in PMBPTR_EL1 then
        # for the write position.
        guest.sh(script)
        trace = trace_of(guest)
        assert max(size for _, size, _ in trace.aux) > 1 << 40
    else:
        trace = recorded(guest, script)
    check_decodes(trace, 100)
    assert {sample.cpu for sample in trace.records} == {0, 1}


def test_afterwards(guest):
    guest.sh(f"for i in 1 2 3; do echo 0 >{ONLINE}; echo 1 >{ONLINE}; done")
    trace = record(guest, "arm_spe/period=1024/u", "taskset -c 1 workload 5", "-C 1")
    check_decodes(trace, 100)


def test_loaded_while_offline(boot, driver):
    """A CPU that was offline when the module was loaded gets its unit when it comes online."""
    guest = boot()
    guest.sh(f"echo 0 >{ONLINE}")
    guest.load(driver)
    guest.sh(f"echo 1 >{ONLINE}")
    trace = record(guest, "arm_spe/period=1024/u", "taskset -c 1 workload 5", "-C 1")
    check_decodes(trace, 100)


def test_unload_while_offline(guest):
    guest.sh(f"echo 0 >{ONLINE}")
    guest.unload()
    guest.sh(f"echo 1 >{ONLINE}")
    assert "arm_spe" not in guest.sh("ls /sys/bus/event_source/devices; cat /proc/modules")
