# SPDX-License-Identifier: GPL-2.0
"""Another kernel starts by kexec, or after a crash, while events record. It has no driver for SPE until a test loads one.

perf itself stops the events of CPUs at reboot. What goes on is the event of the task that starts the other kernel. With
the C driver its unit stays enabled.
"""

import pytest

from machine import total
from spe import check_decodes, record

#: How the kernel runs: at EL1, or at EL2 (VHE, and with a hypervisor of its own that leaves it at EL1). The next kernel
#: could not use an ITS: only EFI keeps its tables for that.
LEVELS = {
    "EL1": {"arguments": ("-machine", "its=off")},
    "VHE": {"arguments": ("-machine", "its=off,virtualization=on")},
    "nVHE": {"arguments": ("-machine", "its=off,virtualization=on"), "append": "kvm-arm.mode=nvhe"},
}
RECORDINGS = ("-e arm_spe//u", "-e arm_spe//k", "-a -e arm_spe//", "-C 1 -e arm_spe//")
#: The other pairs are in the long tier.
DAILY = {("EL1", 0), ("VHE", 1)}
CASES = [pytest.param(level, recording, marks=() if (level, number) in DAILY else pytest.mark.long)
         for level in LEVELS for number, recording in enumerate(RECORDINGS)]
#: Without the checksums, which are computed again with the caches off: they take minutes in emulation.
LOAD = "kexec --no-checks {} /tmp/Image --initrd=/tmp/initrd --reuse-cmdline"
#: How often another kernel starts, and in which rounds it does while the driver is unloaded.
MANY, UNLOADED = 100, 5
WORK = "for cpu in 0 1; do taskset -c $cpu workload 20 & done >/dev/null; wait"


def left_on(lines):
    """Returns the CPUs whose units' last write leaves the buffer enabled, or that have selected an operation after it."""
    enabled, late = {}, set()
    for line in lines:
        event, _, cpu, name, value, *_ = line.split()
        if event != "arm_spe_write":
            if not enabled.get(cpu):
                late.add(cpu)
        elif name == "PMBLIMITR_EL1":
            enabled[cpu] = int(value, 16) & 1
    assert enabled
    return {cpu for cpu, is_enabled in enabled.items() if is_enabled} | late


@pytest.mark.parametrize("level,recording", CASES)
def test_kexec(boot, driver, level, recording):
    """Every unit is off, and nothing is sampled in the next kernel, where the driver can be loaded."""
    guest = boot(**LEVELS[level])
    guest.load(driver)
    guest.put_kernel()
    guest.sh(LOAD.format("-l"))
    lines = guest.jumps(f"perf record -o /tmp/perf.data {recording} -- kexec -e")
    assert not guest.sh("ls /sys/bus/event_source/devices | grep arm_spe || true")
    selected = total(guest.hardware())["selected"]
    guest.sh(WORK)
    if driver == "c":
        # perf itself stops events of CPUs; at EL1 that of the task stays.
        assert bool(left_on(lines)) == recording.startswith("-e")
        return
    assert not left_on(lines)
    assert total(guest.hardware())["selected"] == selected
    guest.load(driver)
    check_decodes(record(guest, "arm_spe/period=1024/u", "taskset -c 0 workload 5", "-C 0"), 100)


@pytest.mark.parametrize("options", ["", pytest.param("-a", marks=pytest.mark.long)])
def test_live(boot, driver, options):
    """The same with a live event, which has no buffer of perf's."""
    if driver == "c":
        pytest.skip("the C driver has no live events")
    guest = boot(**LEVELS["EL1"])
    guest.load(driver)
    guest.put_kernel()
    guest.sh(LOAD.format("-l"))
    assert not left_on(guest.jumps(f"perf stat {options} -e arm_spe_0/live=1,interval=1024/ -- kexec -e"))
    selected = total(guest.hardware())["selected"]
    guest.sh(WORK)
    assert total(guest.hardware())["selected"] == selected
    guest.load(driver)
    check_decodes(record(guest, "arm_spe/period=1024/u", "taskset -c 0 workload 5", "-C 0"), 100)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many(boot, driver):
    """Each of a hundred kernels records, and leaves its units off for the next one."""
    if driver == "c":
        pytest.skip("test_kexec has what it leaves on")
    guest = boot(**LEVELS["EL1"])
    for number in range(MANY):
        guest.load(driver)
        guest.put_kernel()
        guest.sh(LOAD.format("-l"))
        recording = RECORDINGS[number % len(RECORDINGS)]
        if number % UNLOADED:
            script = f"perf record -o /tmp/perf.data {recording} -- sh -c 'workload 1 >/dev/null; kexec -e'"
        else:
            # At a different time of the unloading in each round.
            script = (f"perf record -o /tmp/perf.data {recording} -- workload 1; "
                      f"rmmod arm_spe_pmu & i=0; while [ $i -lt {30 * number} ]; do i=$((i + 1)); done; kexec -e")
        assert not left_on(guest.jumps(script)), f"kernel {number}, {recording}"


def test_crash(boot, driver):
    """The crash kernel can load the driver and record, although nothing has turned off the unit of the CPU that crashed."""
    guest = boot(append="crashkernel=768M", **LEVELS["EL1"])
    guest.load(driver)
    guest.put_kernel()
    guest.sh(LOAD.format("-p") + " --append=maxcpus=1")
    lines = guest.jumps("perf record -o /tmp/perf.data -a -e arm_spe/period=1024/ -- "
                        "sh -c 'workload 5; echo c >/proc/sysrq-trigger'")
    assert left_on(lines)
    guest.excuse()
    guest.load(driver)
    check_decodes(record(guest, "arm_spe/period=1024/u", "workload 5"), 100)
