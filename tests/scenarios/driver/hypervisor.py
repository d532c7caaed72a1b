# SPDX-License-Identifier: GPL-2.0
"""The driver as a guest of a hypervisor that owns the registers of the buffer and checks each access.

The hypervisor (tests/qemu/hypervisor) runs at EL2 below one kernel. It counts what DEN0154 forbids a guest: writing
PMBPTR_EL1 or PMBSR_EL1 while the buffer is enabled.
"""

import gzip
import re
import struct
import subprocess
from dataclasses import replace

import pytest

import spe
from device_tree import edited
from kernel import STOCK
from paths import TOP
from situations import CORRECT, SITUATIONS, prepare, verdict
from spe import TRUNCATED, check_decodes, counters, recorded

IMAGE = TOP / "build" / "hypervisor" / "hypervisor.img"
#: start.S and image.ld have them, too.
START, COUNTERS, FAULT_INTERVAL, LINUX = 0x40200000, 0x40400000, 0x41000000, 0x42000000
NAMES = ("cpus", "accesses", "enabled", "violations", "faults", "guest_faults", "unexpected", "esr", "elr", "far")

RESERVED = """
    reserved-memory {
        #address-cells = <2>;
        #size-cells = <2>;
        ranges;
        hypervisor@40200000 { reg = <0 0x40200000 0 0x1000000>; no-map; };
    };
"""


def reserve(source):
    """Keeps the kernel out of the hypervisor's memory."""
    return re.sub(r"(?=\n\};\s*$)", RESERVED, source)


def machine_with(boot, artefacts, fault_interval=0):
    """Boots below the hypervisor. fault_interval: the writes that enable the buffer from one stage 2 fault to the next."""
    subprocess.run(["make", "-s", "-C", TOP / "tests/qemu/hypervisor"], check=True)
    kernel = STOCK.image.read_bytes()
    image = artefacts / "image"
    with image.open("wb") as file:
        file.write(IMAGE.read_bytes())
        file.seek(FAULT_INTERVAL - START)
        file.write(struct.pack("<I", fault_interval))
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
    """The usual ways to record follow the rule."""
    guest = machine_with(boot, artefacts)
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
    assert counted["enabled"] > 50, counted
    if driver == "c":
        # The control: it writes both where it continues after a full buffer.
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
    assert {situation: verdict(guest, situation) for situation in SITUATIONS} == dict.fromkeys(SITUATIONS, CORRECT)
    counted = seen(guest)
    assert counted["enabled"] > 50 and not counted["violations"], counted


def test_stage2_faults(boot, artefacts, driver, show):
    """A page that the hypervisor has not mapped ends the transaction with a flag. Recording goes on afterwards."""
    if driver == "c":
        pytest.skip("docs/faults.md has what it does")
    guest = machine_with(boot, artefacts, fault_interval=7)
    guest.load("checked")
    # More than one fault for each CPU: some came after recording went on. How many transactions that takes depends on
    # how soon perf enables a truncated event again.
    faults = f"$(awk '$1 == \"fault_stage2\" {{ n += $2 }} END {{ print n }}' {spe.COUNTERS}/cpu*)"
    guest.put({"/tmp/until": f"until [ {faults} -gt 2 ]; do workload 5; done\n"})
    trace = recorded(guest, "perf record -o /tmp/perf.data -m ,64K -a -e arm_spe/period=256/ -- sh /tmp/until")
    check_decodes(trace, 100)
    counted, counts = seen(guest), counters(guest)
    show(", ".join(f"{count} {name}" for name, count in counted.items() if count))
    assert 2 < counts["fault_stage2"] <= counted["faults"], (counted, counts)
    # A full buffer ends without the flag; the start that then finds no space has no data.
    assert sum(bool(size and flags & TRUNCATED) for _, size, flags in trace.aux) == counts["fault_stage2"]
    assert not counts["mismatches"] and not counted["violations"], (counted, counts)
