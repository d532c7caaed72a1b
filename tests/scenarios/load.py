# SPDX-License-Identifier: GPL-2.0
"""The module loads where there is SPE: a PMU appears, on all CPUs, with its interrupt."""

from spe import PMU


def test_pmu_appears(guest):
    assert guest.sh(f"cat {PMU}/cpumask") in ("0-1", "0,1")
    assert "arm_spe_0" in guest.sh("perf list pmu | grep arm_spe")


def test_interrupt_is_requested(guest):
    assert guest.sh("grep -c 'arm_spe_pmu\\|arm-spe\\|arm_spe' /proc/interrupts") == "1"


def test_messages_like_the_stock_driver(guest):
    log = guest.sh("dmesg | grep 'probed '")
    assert "probed" in log and "max_record_sz" in log and "features" in log
