# SPDX-License-Identifier: GPL-2.0
"""Idle states that end the power of a CPU: PSCI resets the emulated unit, whose registers are random afterwards.

The machine has secure state: without it the kernel turns off the GIC's CPU interface in idle, and QEMU has nothing else that
would wake the CPU.
"""

import pytest

from device_tree import edited, idle_states
from machine import total
from spe import check_decodes, counters, recorded

#: How often each CPU sleeps in a recording, at least, and how often a CPU is unplugged: daily, and in the long tier.
ENTRIES, MANY_ENTRIES = 100, 10_000
PLUGS, MANY_PLUGS = 10, 1_000

#: What records while the CPUs sleep: {mode: arguments of perf record}. An event of a task is not on a CPU that is idle.
MODES = {
    "system-wide": "-a -e arm_spe/period=16384/",
    "snapshot": "-a -e arm_spe/period=16384/ --snapshot=e",
    "task": "-e arm_spe/period=16384/",
    "discard": "-a -N -B -e arm_spe/discard,period=16384/",
    "paused": "-a -e arm_spe/aux-action=start-paused,period=16384/,syscalls:sys_enter_getdents64/aux-action=resume/",
}

#: PSCI's power_state: powerdown; standby, which loses nothing; a state that the firmware does not have.
POWERDOWN, STANDBY, UNKNOWN = 0x00010000, 0x00000001, 0x01010000

STATE = "/sys/devices/system/cpu/cpu{}/cpuidle/state1"


def machine_with(boot, artefacts, state, unit="", **options):
    """Boots a machine whose CPUs have an idle state."""
    arguments = edited(artefacts, idle_states(state), machine=",secure=on")
    return boot(spe=f"spe=on,x-spe-power-loss=on{unit}", arguments=(*arguments, "-machine", "secure=on"), **options)


def naps(guest, wanted, recording, count="usage"):
    """Records while each CPU works and sleeps in turn. Returns the trace, and how often a CPU slept with its unit in use.

    count: the file that counts the entries of the state.
    """
    before = counters(guest)["sleeps"]
    guest.sh("mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing")
    guest.put({"/tmp/naps": f"""
mkfifo /tmp/empty
exec 9<>/tmp/empty
for cpu in 0 1; do
    (
        taskset -pc $cpu $BASHPID >/dev/null
        count={STATE.format("$cpu")}/{count}
        last=$(($(<$count) + {wanted}))
        while [ $(<$count) -lt $last ]; do
            # To start a program would take longer than the nap.
            for nap in 1 2 3 4 5 6 7 8 9 10; do read -t 0.001 -u 9; done
        done
    ) &
done
wait
rm /tmp/empty
for cpu in 0 1; do
    taskset -c $cpu sh -c 'ls /; workload 1' >/dev/null
done
"""})
    trace = recorded(guest, f"perf record -o /tmp/perf.data -m ,1024 {recording} -- bash /tmp/naps", timeout=1200)
    return trace, counters(guest)["sleeps"] - before


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode, entries", [
    ("system-wide", ENTRIES), *(pytest.param(mode, MANY_ENTRIES, marks=pytest.mark.long) for mode in MODES)])
def test_powerdown(boot, artefacts, driver, mode, entries):
    """Sampling goes on, each byte is accounted for, and the unit was off whenever the power went."""
    guest = machine_with(boot, artefacts, POWERDOWN)
    guest.load(driver if driver == "c" else "checked")
    if driver == "c":
        if mode != "system-wide":
            pytest.skip("it does the same")
        guest.unaccounted = "the write pointers are random"
        guest.sh("timeout -s KILL 20 perf record -o /tmp/perf.data -a -e arm_spe/period=4096/ -- sh -c 'usleep 100000; workload 1' || true")
        assert total(guest.hardware())["enabled-losses"]
        return
    lost = [unit["power-losses"] for unit in guest.hardware()]
    trace, sleeps = naps(guest, entries, MODES[mode])
    if mode == "discard":
        assert not trace.records
    else:
        check_decodes(trace, 100)
        assert {sample.cpu for sample in trace.records} == {0, 1}
    if mode == "task":
        assert sleeps == 0
    else:
        assert sleeps >= entries
    for unit, before in zip(guest.hardware(), lost):
        assert unit["power-losses"] - before >= entries and not unit["enabled-losses"]
    seen = counters(guest)
    assert not any(seen[name] for name in ("mismatches", "stray_pointer", "spurious")), seen
    assert all(int(guest.sh(f"cat {STATE.format(cpu)}/usage")) for cpu in (0, 1))


@pytest.mark.long
@pytest.mark.parametrize("state", [STANDBY, UNKNOWN], ids=["standby", "unknown to firmware"])
def test_no_powerdown(boot, artefacts, driver, state):
    """A state that keeps the power, and one that firmware refuses: nothing is lost."""
    if driver == "c":
        pytest.skip("it does nothing in idle")
    guest = machine_with(boot, artefacts, state)
    guest.load(driver)
    trace, sleeps = naps(guest, ENTRIES, MODES["system-wide"], "usage" if state == STANDBY else "rejected")
    check_decodes(trace, 100)
    # Linux prepares for the loss in either case.
    assert sleeps
    assert not any(unit["power-losses"] for unit in guest.hardware())


def test_no_unit(boot, artefacts, driver):
    """A CPU without a unit sleeps as well. The kernel would report an access to a register that it does not have."""
    if driver == "c":
        pytest.skip("it does nothing in idle")
    guest = machine_with(boot, artefacts, POWERDOWN, ",x-spe-pmsver=0,x-spe-override-cpus=2")
    guest.load(driver)
    naps(guest, ENTRIES, "-C 0 -e arm_spe/period=16384/")
    assert counters(guest)["sleeps"] >= ENTRIES


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("plugs", [PLUGS, pytest.param(MANY_PLUGS, marks=pytest.mark.long)])
def test_hotplug(boot, artefacts, driver, plugs):
    """A CPU is unplugged and comes back while both sleep in between."""
    if driver == "c":
        pytest.skip("test_powerdown has what it does")
    guest = machine_with(boot, artefacts, POWERDOWN)
    guest.load("checked")
    guest.put({"/tmp/plug": f"""
for ((i = 0; i < {plugs}; i++)); do
    echo 0 >/sys/devices/system/cpu/cpu1/online
    usleep 20000
    echo 1 >/sys/devices/system/cpu/cpu1/online
    taskset -c 1 workload 1 >/dev/null
    usleep 20000
done
"""})
    trace = recorded(guest, "perf record -o /tmp/perf.data -a -e arm_spe/period=16384/ -- bash /tmp/plug", timeout=1200)
    check_decodes(trace, 100)
    assert {sample.cpu for sample in trace.records} == {0, 1}
    assert counters(guest)["mismatches"] == 0
    assert all(unit["power-losses"] and not unit["enabled-losses"] for unit in guest.hardware())
