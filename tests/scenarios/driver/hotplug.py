# SPDX-License-Identifier: GPL-2.0
"""CPUs go off- and online during a system-wide session, and the unit of each works afterwards."""

import pytest

from device_tree import edited, replace
from spe import check_decodes, counters, record, recorded, trace_of

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


def test_never_back(guest, driver):
    """A CPU goes while it records, and stays away: its samples up to then are complete, and the driver can be unloaded."""
    if driver == "c":
        pytest.skip("test_while_recording has what it does")
    guest.unload()
    guest.load("checked")
    script = (f"perf record -o /tmp/perf.data -a -e arm_spe/period=4096/ -- "
              f"bash -c 'taskset -c 1 workload 2; echo 0 >{ONLINE}; workload 2'")
    check_decodes(recorded(guest, script), 100)
    assert counters(guest)["mismatches"] == 0
    guest.unload()
    guest.sh(f"echo 1 >{ONLINE}")
    guest.load(driver)


def test_never_comes(boot, driver, artefacts):
    """A CPU cannot be started: the others record."""
    # Nothing looks at this address.
    edit = replace('reg = <0x01>;\n\t\t\tenable-method = "psci";',
                   'reg = <0x01>;\n\t\t\tcpu-release-addr = <0x00 0x70000000>;\n\t\t\tenable-method = "spin-table";')
    guest = boot(arguments=edited(artefacts, edit))
    assert "CPU1: failed to come online" in guest.log()
    guest.excuse()
    guest.load(driver)
    status, _ = guest.run(f"echo 1 >{ONLINE}")
    assert status
    guest.excuse()
    trace = recorded(guest, "perf record -o /tmp/perf.data -a -e arm_spe/period=1024/u -- workload 5")
    check_decodes(trace, 100)
    assert {sample.cpu for sample in trace.records} == {0}


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
