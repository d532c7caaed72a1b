# SPDX-License-Identifier: GPL-2.0
"""The files of caps/ have the values of the ID registers.

The emulated unit has other registers in each guest, so that the values of a field in all guests distinguish it from all
other fields.
"""

import pytest

from spe import PMU

#: Fields of PMSIDR_EL1 of one bit: the file and the bit.
BITS = {"fe": 0, "ft": 1, "fl": 2, "arch_inst": 3, "lds": 4, "ernd": 5, "fne": 6, "fds": 7, "pbt": 24, "crr": 25, "eft": 26,
        "fpf": 27, "sme": 32}
#: Wider fields: the file, and its contents in each guest by the code in the register.
PMSIDR = {
    ("min_interval", 8): {0: 256, 4: 1024, 5: 1536, 8: 4096},
    ("max_record_size", 12): {4: 16, 6: 64, 9: 512, 11: 2048},
    ("format", 20): {0: 0, 1: 1, 6: 6, 15: 15},
    ("altclk", 28): {0: 0, 2: 2, 5: 5, 15: 15},
}
COUNT_SIZE = (2, 12), (3, 16), (2, 12), (3, 16)
ALIGN = (0, 1), (4, 16), (6, 64), (11, 2048)
VERSION = (1, 0), (3, 2), (6, 5), (15, 14)
GUESTS = range(4)


def registers(number):
    """Returns the properties of the CPUs of a guest, and the expected contents of the files."""
    pmsidr, expected = COUNT_SIZE[number][0] << 16, {"count_size": COUNT_SIZE[number][1]}
    for index, (name, bit) in enumerate(BITS.items(), 1):
        expected[name] = index >> number & 1
        pmsidr |= expected[name] << bit
    for (name, low), values in PMSIDR.items():
        code, expected[name] = list(values.items())[number]
        pmsidr |= code << low
    (pmbidr, expected["align"]), (pmsver, expected["version"]) = ALIGN[number], VERSION[number]
    return f"x-spe-pmsidr={pmsidr:#x},x-spe-pmbidr={pmbidr:#x},x-spe-pmsver={pmsver}", expected


@pytest.mark.parametrize("number", GUESTS)
def test_values(boot, driver, number):
    properties, expected = registers(number)
    guest = boot(spe=f"spe=on,spe-version=1.5,{properties}")
    guest.load(driver)
    found = dict(line.split(":") for line in guest.sh(f"cd {PMU}/caps && grep . *").splitlines())
    # parity.py compares this one with the C driver's.
    found.pop("event_filter")
    if driver == "c":
        expected = {name: value for name, value in expected.items() if name in found}
    assert {name: int(value) for name, value in found.items()} == expected


def test_all_fields_are_distinguished():
    """No two files have the same contents in all guests."""
    rows = [registers(number)[1] for number in GUESTS]
    assert len({tuple(row[name] for row in rows) for name in rows[0]}) == len(rows[0])
