# SPDX-License-Identifier: GPL-2.0
"""ID registers with values that no driver expects: refused or worked around, in the C driver's words."""

import re

import pytest

#: PMSIDR_EL1 of a unit like the default one, whose fields are replaced one by one.
PMSIDR = 0x000264FF


def with_field(low, width, value):
    """PMSIDR with one field replaced."""
    mask = ((1 << width) - 1) << low
    return f"x-spe-pmsidr={PMSIDR & ~mask | value << low:#x}"


HARDWARE = {
    "owned_by_firmware": "x-spe-pmbidr=0x10",
    "reserved_alignment": "x-spe-pmbidr=0x0c",
    "reserved_record_size": with_field(12, 4, 12),
    "tiny_records": with_field(12, 4, 3),
    "reserved_interval": with_field(8, 4, 15),
    "reserved_counter_size": with_field(16, 4, 15),
}


def story(guest, driver):
    """What a driver says of the device when it is loaded, and whether there is a PMU then."""
    guest.sh(f"dmesg -C; insmod /usr/lib/drivers/{driver}/arm_spe_pmu.ko")
    lines = [line.partition("spe-pmu: ")[2]
             for line in guest.sh("dmesg").splitlines() if "spe-pmu: " in line]
    pmus = guest.sh("ls /sys/bus/event_source/devices")
    guest.sh("rmmod arm_spe_pmu")
    # Any CPU may be asked.
    return [re.sub(r"on CPU \d+", "on CPU N", line) for line in lines], "arm_spe_0" in pmus


@pytest.mark.parametrize("hardware", HARDWARE)
def test_like_the_c_driver(boot, driver, hardware):
    if driver == "c":
        pytest.skip("the C driver against itself")
    guest = boot(spe=f"spe=on,{HARDWARE[hardware]}")
    ours, theirs = story(guest, "rust"), story(guest, "c")
    assert ours == theirs
    assert ours[0], "nothing was said"
