# SPDX-License-Identifier: GPL-2.0
"""The driver as a guest of a hypervisor that owns the registers of the buffer and checks each access.

The hypervisor (tests/qemu/hypervisor) runs at EL2 below one kernel. It follows DEN0154, and counts what that forbids:
writing PMBPTR_EL1 or PMBSR_EL1 while the buffer is enabled.
"""

import gzip
import re
import struct
import subprocess
from dataclasses import replace

import pytest

from device_tree import edited
from kernel import STOCK
from paths import TOP
from situations import AS_IT_SHOULD, SITUATIONS, prepare, verdict
from spe import TRUNCATED, check_decodes, counters, recorded

IMAGE = TOP / "build" / "hypervisor" / "hypervisor.img"
#: start.S and image.ld have them, too.
START, COUNTERS, OPTIONS, LINUX = 0x40200000, 0x40400000, 0x40500000, 0x42000000
NAMES = ("cpus", "accesses", "enabled", "violations", "moved", "faults", "writes", "unexpected", "esr", "elr", "far")

RESERVED = """
    reserved-memory {
        #address-cells = <2>;
        #size-cells = <2>;
        ranges;
        hypervisor@40200000 { reg = <0 0x40200000 0 0x400000>; no-map; };
    };
"""


def reserve(source):
    """Keeps the kernel out of the hypervisor's memory."""
    return re.sub(r"(?=\n\};\s*$)", RESERVED, source)


def machine_with(boot, artefacts, move=0, fault=0):
    """Boots below the hypervisor, which moves the unit every so many accesses and has it fault at every so many starts."""
    subprocess.run(["make", "-s", "-C", TOP / "tests/qemu/hypervisor"], check=True)
    kernel = STOCK.image.read_bytes()
    image = artefacts / "image"
    with image.open("wb") as file:
        file.write(IMAGE.read_bytes())
        file.seek(OPTIONS - START)
        file.write(struct.pack("<2I", move, fault))
        file.seek(LINUX - START)
        file.write(gzip.decompress(kernel) if kernel[:2] == b"\x1f\x8b" else kernel)
    guest = boot(kernel=replace(STOCK, image=image), spe="spe=on,sve=off,sme=off", arguments=(
        "-machine", "virtualization=on", *edited(artefacts, reserve, machine=",virtualization=on")))
    assert seen(guest)["cpus"] == 2
    return guest


def seen(guest):
    """Returns what the hypervisor has counted."""
    path = guest.scratch / "counters"
    guest.qmp("pmemsave", val=COUNTERS, size=8 * len(NAMES), filename=str(path))
    counted = dict(zip(NAMES, struct.unpack(f"<{len(NAMES)}Q", path.read_bytes())))
    assert not counted["unexpected"], {name: hex(value) for name, value in counted.items()}
    return counted


def test_rules(boot, artefacts, driver, show):
    """Every way to use the unit follows the rules, while the hypervisor takes the registers away and puts them back."""
    guest = machine_with(boot, artefacts, move=3)
    guest.load(driver if driver == "c" else "checked")
    trace = recorded(guest, "perf record -o /tmp/perf.data -m ,64K -a -e arm_spe/period=256/ -- workload 20")
    check_decodes(trace, 100)
    guest.sh("cd /tmp; perf record -m ,64K -e arm_spe/period=256/u -- workload 50 >/dev/null")
    guest.sh("cd /tmp; perf record --snapshot=e -m ,64K -e arm_spe/period=512/ -- workload 5 >/dev/null")
    guest.sh("cd /tmp; perf record -m ,64K -e '{arm_spe/period=1024/u,cycles/period=1000000/u}' -- workload 5 >/dev/null")
    guest.sh("echo 0 >/sys/devices/system/cpu/cpu1/online; echo 1 >/sys/devices/system/cpu/cpu1/online")
    assert seen(guest)["cpus"] == 3
    guest.sh("cd /tmp; perf record -m ,64K -a -e arm_spe/period=4096/ -- workload 5 >/dev/null")
    counted = seen(guest)
    show(", ".join(f"{count} {name}" for name, count in counted.items() if count))
    assert counted["enabled"] > 50 and counted["moved"] > 100, counted
    if driver == "c":
        # The control: it clears PMBSR_EL1 and moves PMBPTR_EL1 first.
        assert counted["violations"]
        return
    assert not counted["violations"], counted
    assert counters(guest)["mismatches"] == 0
    guest.unload()


def test_every_situation(boot, artefacts, driver):
    """What perf knows is true here as well, and the rules are followed, also when the driver cannot start or continue."""
    if driver == "c":
        pytest.skip("three_drivers has what it does")
    guest = machine_with(boot, artefacts)
    guest.load(driver)
    prepare(guest)
    assert {situation: verdict(guest, situation) for situation in SITUATIONS} == dict.fromkeys(SITUATIONS, AS_IT_SHOULD)
    counted = seen(guest)
    assert counted["enabled"] > 50 and not counted["violations"], counted


def test_stage2_faults(boot, artefacts, driver):
    """A page that the hypervisor has not mapped ends the transaction with a flag. Recording goes on afterwards."""
    if driver == "c":
        pytest.skip("docs/faults.md has what it does")
    guest = machine_with(boot, artefacts, fault=7)
    guest.load("checked")
    trace = recorded(guest, "perf record -o /tmp/perf.data -m ,64K -a -e arm_spe/period=512/ -- workload 20")
    check_decodes(trace, 100)
    counted, counts = seen(guest), counters(guest)
    assert counted["faults"] and counts["fault_stage2"] and counts["fault_stage2"] <= counted["faults"], (counted, counts)
    assert counts["truncated"] >= counts["fault_stage2"] and not counts["mismatches"]
    assert any(flags & TRUNCATED for _, _, flags in trace.aux)
    assert not counted["violations"], counted
