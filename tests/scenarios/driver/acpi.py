# SPDX-License-Identifier: GPL-2.0
"""On a machine described by ACPI the unit is found by its entry in the MADT, and both drivers sample on all CPUs."""

import struct

import pytest

from guest import UEFI
from spe import PMU, check_decodes, record

#: The interrupt of the unit.
INTID = 21
#: The offset of the first structure in the MADT, and the type of the one that describes a CPU.
FIRST = 44
GICC = 11

ON_EACH_CPU = "bash -c 'taskset -c 0 workload 5; taskset -c 1 workload 5'"


def madt(guest):
    """Returns the revision of the MADT and its structure for each CPU."""
    table = guest.fetch("/sys/firmware/acpi/tables/APIC").read_bytes()
    structures = []
    at = FIRST
    while at < len(table):
        kind, length = table[at:at + 2]
        structures.append((kind, table[at:at + length]))
        at += length
    return table[8], [structure for kind, structure in structures if kind == GICC]


def spe_interrupt(gicc):
    """Returns the SPE interrupt in a CPU's structure, or 0. The field was reserved before ACPI 6.3."""
    return struct.unpack_from("<H", gicc, 78)[0]


@pytest.mark.timeout(300)
def test_described_by_acpi(boot, driver):
    guest = boot(arguments=UEFI)
    guest.sh("test ! -e /sys/firmware/devicetree/base")
    revision, cpus = madt(guest)
    assert revision == 5
    assert [(len(cpu), spe_interrupt(cpu)) for cpu in cpus] == [(80, INTID)] * 2
    for loaded in dict.fromkeys([driver, "c"]):
        guest.load(loaded)
        guest.sh("test -e /sys/bus/platform/devices/arm,spe-v1/driver")
        assert guest.sh(f"cat {PMU}/cpumask") in ("0-1", "0,1")
        trace = record(guest, "arm_spe/period=4096/u", ON_EACH_CPU, "-a")
        check_decodes(trace, 200)
        assert {sample.cpu for sample in trace.records} == {0, 1}
        guest.unload()
        guest.sh("dmesg -C")


def test_machine_without_spe(boot):
    """Without SPE the table is the same as that of unpatched QEMU."""
    guest = boot(spe="", arguments=UEFI)
    revision, cpus = madt(guest)
    assert revision == 4
    assert [(len(cpu), spe_interrupt(cpu)) for cpu in cpus] == [(80, 0)] * 2
    assert guest.sh("ls /sys/bus/platform/devices | grep -c spe || :") == "0"
