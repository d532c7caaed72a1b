# SPDX-License-Identifier: GPL-2.0
"""The module loads on a machine with SPE and registers a PMU for all CPUs, with its interrupt."""

from pathlib import Path

from kernel import STOCK, unsigned
from spe import PMU, check_decodes, record
from traces import left_behind

CPU = "/sys/devices/system/cpu/cpu1"
PLATFORM = "/sys/bus/platform"


def test_pmu_appears(guest):
    assert guest.sh(f"cat {PMU}/cpumask") in ("0-1", "0,1")
    assert "arm_spe_0" in guest.sh("perf list pmu | grep arm_spe")


def test_interrupt_is_requested(guest):
    assert guest.sh("grep -c 'arm_spe_pmu\\|arm-spe\\|arm_spe' /proc/interrupts") == "1"


def test_messages_like_the_stock_driver(guest):
    log = guest.sh("dmesg | grep 'probed '")
    assert "probed" in log and "max_record_sz" in log and "features" in log


def test_a_cpu_that_is_offline(boot, driver):
    """The PMU includes offline CPUs, which can record once they are online."""
    guest = boot(append="maxcpus=1")
    assert guest.sh("cat /sys/devices/system/cpu/offline") == "1"
    guest.load(driver)
    assert guest.sh(f"cat {PMU}/cpumask") in ("0-1", "0,1")
    check_decodes(record(guest, "arm_spe/period=4096/u", "workload 1"), 10)
    guest.sh(f"echo 1 >{CPU}/online")
    check_decodes(record(guest, "arm_spe/period=4096/u", "taskset -c 1 workload 1", "-C 1"), 10)


def test_a_failed_probe_frees_the_number(boot, driver):
    """A probe fails with a hotplug callback, after it has taken a number. The next one still gets arm_spe_0."""
    guest = boot()
    guest.sh(f"echo 0 >{PLATFORM}/drivers_autoprobe")
    guest.load(driver)
    device = Path(guest.sh(f"ls -d {PLATFORM}/devices/*spe*")).name
    state = guest.sh("sed -n 's|: arm_spe_pmu$||p' /sys/devices/system/cpu/hotplug/states")
    before = left_behind(guest)
    for _ in range(3):
        guest.sh(f"dmesg -C; echo {state} >{CPU}/hotplug/fail; echo {device} >{PLATFORM}/drivers_probe")
        assert "probe with driver arm_spe_pmu failed with error -11" in guest.sh("dmesg")
        assert left_behind(guest) == before
    guest.sh(f"echo {device} >{PLATFORM}/drivers_probe")
    assert guest.sh("ls /sys/bus/event_source/devices | grep arm_spe") == "arm_spe_0"
    check_decodes(record(guest, "arm_spe/period=4096/u", "taskset -c 1 workload 1", "-C 1"), 10)


def test_from_each_cpu(boot, driver):
    """The driver can be loaded on any CPU: what has to be done on another one has been done when that is used."""
    guest = boot()
    for cpu in range(2):
        guest.sh(f"taskset -c {cpu} insmod {guest.driver_file(driver)}")
        assert guest.sh("ls /sys/bus/event_source/devices | grep arm_spe") == "arm_spe_0"
        check_decodes(record(guest, "arm_spe/period=4096/u", f"taskset -c {1 - cpu} workload 1"), 10)
        guest.sh(f"taskset -c {cpu} rmmod arm_spe_pmu")


def test_unsigned(boot, driver, artefacts):
    """Where the kernel wants signatures, the driver is refused without one, and the reason is logged."""
    module = artefacts / "unsigned.ko"
    module.write_bytes(unsigned(STOCK.module("arm_spe_pmu") if driver == "c" else STOCK.rust_module.read_bytes()))
    guest = boot(append="module.sig_enforce=1", files={"root/unsigned.ko": module})
    status, output = guest.run("insmod /root/unsigned.ko")
    assert status and "Key was rejected by service" in output
    assert "Loading of unsigned module is rejected" in guest.sh("dmesg")
    assert "arm_spe" not in guest.sh("ls /sys/bus/event_source/devices")
    guest.load("c")    # the kernel comes with it, signed
