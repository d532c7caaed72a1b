# SPDX-License-Identifier: GPL-2.0
"""Unexpected hardware, firmware and kernels are refused or worked around, with the C driver's messages."""

import re

import pytest

from device_tree import PPI, edited, replace

#: PMSIDR_EL1 of a unit like the default one.
PMSIDR = 0x000264FF


def with_field(low, width, value):
    """Returns PMSIDR with one field replaced."""
    mask = ((1 << width) - 1) << low
    return f"x-spe-pmsidr={PMSIDR & ~mask | value << low:#x}"


ID_REGISTERS = {
    "owned_by_firmware": "x-spe-pmbidr=0x10",
    "reserved_alignment": "x-spe-pmbidr=0x0c",
    "reserved_record_size": with_field(12, 4, 12),
    "tiny_records": with_field(12, 4, 3),
    "reserved_interval": with_field(8, 4, 15),
    "reserved_counter_size": with_field(16, 4, 15),
}

DEVICE_TREES = {
    "not_a_ppi": replace(f"interrupts = {PPI}", "interrupts = <0x00 0x40 0x04>"),
    "no_interrupt": replace(f"interrupts = {PPI};", ""),
}


def story(guest, driver):
    """Loads and unloads a driver. Returns its messages about the device, and whether there was a PMU."""
    guest.sh(f"dmesg -C; insmod /usr/lib/drivers/{driver}/arm_spe_pmu.ko")
    lines = [line.partition("spe-pmu: ")[2]
             for line in guest.sh("dmesg").splitlines() if "spe-pmu: " in line]
    pmus = guest.sh("ls /sys/bus/event_source/devices")
    guest.sh("rmmod arm_spe_pmu")
    # Any CPU may read the registers.
    return [re.sub(r"on CPU \d+", "on CPU N", line) for line in lines], "arm_spe_0" in pmus


def same_story(guest):
    """Checks that the story of both drivers is the same. Returns it."""
    ours, theirs = story(guest, "rust"), story(guest, "c")
    assert ours == theirs
    return ours


@pytest.fixture(autouse=True)
def two_drivers(driver):
    """Skips the tests with DRIVER=c, where there is one driver."""
    if driver == "c":
        pytest.skip("the C driver against itself")


@pytest.mark.parametrize("registers", ID_REGISTERS)
def test_id_registers(boot, registers):
    said, _ = same_story(boot(spe=f"spe=on,{ID_REGISTERS[registers]}"))
    assert said, "nothing was said"


@pytest.mark.parametrize("tree", DEVICE_TREES)
def test_device_tree(boot, artefacts, tree):
    said, has_pmu = same_story(boot(arguments=edited(artefacts, DEVICE_TREES[tree])))
    assert not has_pmu
    if tree == "not_a_ppi":
        assert "expected PPI" in said[0]


def test_kernel_unmapped_at_el0(boot):
    """With page table isolation the driver refuses: the buffer would not be mapped while user space is sampled."""
    said, has_pmu = same_story(boot(append="kpti=on"))
    assert not has_pmu and "kpti=off" in said[0]
