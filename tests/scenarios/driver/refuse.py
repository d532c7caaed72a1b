# SPDX-License-Identifier: GPL-2.0
"""The module refuses to load without a device to drive, says why and leaves nothing behind."""

import pytest

from kernel import renamed_stock_module
from traces import left_behind

INSMOD = "insmod /usr/lib/drivers/{}/arm_spe_pmu.ko"


def refused(guest, driver):
    """Checks that insmod fails. Returns the kernel's messages about it."""
    guest.sh("dmesg -C")
    before = left_behind(guest)
    status, output = guest.run(INSMOD.format(driver))
    assert status != 0, "the module was loaded"
    assert left_behind(guest) == before
    return output + guest.sh("dmesg")


def test_no_spe(boot, driver):
    """The module refuses to load on a CPU without SPE."""
    if driver == "c":
        pytest.skip("the C driver loads silently and drives nothing")
    guest = boot(spe="")
    said = refused(guest, driver)
    assert "arm_spe_pmu: no CPU has the Statistical Profiling Extension (ID_AA64DFR0_EL1.PMSVer is 0)" in said, said


def test_a_cpu_that_is_offline(boot, driver):
    """No CPU has SPE. The module loads as long as one is offline, which might have it."""
    if driver == "c":
        pytest.skip("the C driver loads silently and drives nothing")
    guest = boot(spe="", append="maxcpus=1")
    assert guest.sh("cat /sys/devices/system/cpu/offline") == "1"
    guest.sh(INSMOD.format(driver))
    assert "arm_spe" not in guest.sh("ls /sys/bus/event_source/devices")
    guest.sh("rmmod arm_spe_pmu; echo 1 >/sys/devices/system/cpu/cpu1/online")
    assert "no CPU has" in refused(guest, driver)


def test_the_other_driver_is_loaded(boot, driver):
    """The module refuses to load while the other one of the same name is loaded."""
    guest = boot(rust=True)
    other = {"rust": "c", "c": "rust"}[driver]
    guest.load(other)
    said = refused(guest, driver)
    assert "File exists" in said, said
    guest.sh("perf record -o /tmp/x -e arm_spe// workload 1")


def test_the_c_driver_owns_the_device(boot, driver, artefacts):
    """The module refuses to load while the C driver, built into the kernel, drives the device."""
    if driver == "c":
        pytest.skip("the C driver against itself")
    module = artefacts / "arm_spe_own.ko"
    module.write_bytes(renamed_stock_module())
    guest = boot(files={"root/arm_spe_own.ko": module})
    guest.sh("insmod /root/arm_spe_own.ko")
    said = refused(guest, driver)
    assert "arm_spe_pmu" in said, said
    guest.sh("perf record -o /tmp/x -e arm_spe// workload 1 && rmmod arm_spe_own")
    # The device is free now.
    guest.load(driver)
