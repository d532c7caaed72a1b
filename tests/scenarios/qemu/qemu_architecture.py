# SPDX-License-Identifier: GPL-2.0
"""The emulated unit follows the architecture, checked by an image without an operating system.

The image (tests/qemu/baremetal) uses every register at every Exception level and checks every record. It is run on
units of all versions, with each feature taken away, and on machines that begin at EL1, EL2 and EL3.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from paths import TOP

IMAGE = TOP / "build" / "baremetal" / "spe.elf"

EL1, EL2, EL3 = "", ",virtualization=on", ",virtualization=on,secure=on"
ONE, TWO, THREE = ["-smp", "1"], ["-smp", "2"], ["-smp", "3"]
ICOUNT = ["-icount", "shift=0"]

#: {name: (machine, properties of the CPU, what the image cannot find in ID registers, more arguments)}
MACHINES = {
    **{f"v1p{minor}_el3": (EL3, f"spe-version=1.{minor}", f"version={minor + 1}", ONE) for minor in range(6)},
    "v1p0_el1": (EL1, "spe-version=1.0", "version=1", ONE),
    "v1p2_el2": (EL2, "spe-version=1.2", "version=3", ONE),
    "v1p5_el1": (EL1, "spe-version=1.5", "version=6", ONE),
    "v1p5_el2": (EL2, "spe-version=1.5", "version=6", ONE),
    "without": (EL3, "spe=off", "", ONE),
    **{"no_" + feature.replace("-", "_"): (EL3, f"spe-version=1.5,spe-{feature}=off", "version=6", ONE) for feature in (
        "filter-event", "filter-type", "filter-latency", "filter-inv-event", "filter-data-source", "filter-ext-type",
        "fp-flag", "call-return", "arch-inst", "load-source", "ernd")},
    "no_vector": (EL2, "spe-version=1.5,sve=off,sme=off", "", ONE),
    "tags": (EL3 + ",mte=on", "spe-version=1.5", "", ONE),
    "realms": (EL3, "x-rme=on,spe-version=1.5", "", ONE),
    "owned": (EL3, "spe-version=1.5,spe-owned=on", "owned=1", ONE),
    "no_dirty_update": (EL2, "spe-dirty-update=off", "", ONE),
    "packed": (EL3, "spe-version=1.4,spe-align=1", "", ONE),
    "tiny": (EL2, "spe-align=8,spe-max-record-size=16", "", ONE),
    "small": (EL2, "spe-version=1.5,spe-align=16,spe-max-record-size=32", "", ONE),
    "large": (EL3, "spe-align=2048,spe-max-record-size=2048", "", ONE),
    "wide_counters": (EL2, "spe-version=1.5,spe-count-size=16,spe-walk-latency=60000", "walk-latency=60000", ONE),
    "narrow_counters": (EL2, "spe-version=1.5,spe-walk-latency=60000", "walk-latency=60000", ONE),
    "inflight": (EL3, "spe-version=1.5,spe-inflight=1000", "inflight=1000", ONE),
    "inflight_2": (EL1, "spe-inflight=300", "inflight=300", ONE),
    "cache": (EL3, "spe-version=1.5,spe-cache=on", "cache=1", ONE),
    "previous_branch": (EL3, "spe-version=1.5,spe-prev-branch=on,spe-max-record-size=128", "prev-branch=1", ONE),
    "icount": (EL3, "spe-version=1.5", "icount=1", ONE + ICOUNT),
    "power_el1": (EL1, "spe-version=1.5,x-spe-power-loss=on", "power-loss=1", ONE),
    "power_el2": (EL2, "spe-version=1.5,x-spe-power-loss=on", "power-loss=1", ONE),
    "power_two": (EL1, "spe-version=1.5,x-spe-power-loss=on", "power-loss=1 cpus=2", TWO),
    "two_el1": (EL1, "spe-version=1.5", "cpus=2", TWO),
    "two_el2": (EL2, "spe-version=1.5", "cpus=2", TWO),
    "three": (EL2, "spe-version=1.5", "cpus=3", THREE),
    "two_icount": (EL2, "", "cpus=2 icount=1", TWO + ICOUNT),
}


@pytest.fixture(scope="module")
def image():
    """Builds the image. Returns its path."""
    subprocess.run(["make", "-s", "-C", TOP / "tests/qemu/baremetal"], check=True)
    return IMAGE


def run(image, artefacts, machine, timeout=200):
    """Runs the image on a machine until its end. Returns the lines that it prints."""
    kind, properties, parameters, arguments = machine
    command = [
        Path(os.environ["ARM_SPE_QEMU"], "qemu-system-aarch64"), "-nodefaults", "-nographic", "-serial", "stdio",
        "-M", f"virt,gic-version=3{kind}", "-cpu", f"max,pauth-impdef=on,spe=on,{properties}".rstrip(","), "-m", "128",
        "-semihosting-config", "enable=on,target=native", "-kernel", image, "-append", parameters, *arguments]
    log = artefacts / "console"
    with log.open("wb") as console:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
                              timeout=timeout, check=False)
    lines = log.read_text(errors="replace").splitlines()
    assert done.returncode in (0, 1), f"status {done.returncode}: " + "\n".join(lines[-20:])
    return lines


def parse(lines):
    """Returns {name: (passed, reason for skipping, messages)} of a complete KTAP report."""
    lines = list(lines)
    assert lines[:1] == ["KTAP version 1"], "\n".join(lines[:20])
    plan = re.fullmatch(r"1\.\.(\d+)", lines[1])
    assert plan, lines[1]
    results, said = {}, []
    for line in lines[2:]:
        if line.startswith("# "):
            said.append(line)
            continue
        match = re.fullmatch(r"(ok|not ok) (\d+) - (.+?)(?: # SKIP (.+))?", line)
        assert match, f"not KTAP: {line}"
        assert int(match[2]) == len(results) + 1 and match[3] not in results, f"out of order: {line}"
        results[match[3]] = (match[1] == "ok", match[4], said)
        said = []
    assert not said and len(results) == int(plan[1]), f"{len(results)} of {plan[1]} tests:\n" + "\n".join(lines[-20:])
    return results


def check(results):
    """Checks that no test failed and not all were skipped. Returns the names of the skipped ones."""
    failed = [f"{name}\n  " + "\n  ".join(said) for name, (passed, _, said) in results.items() if not passed]
    assert not failed, f"{len(failed)} of {len(results)} tests failed:\n" + "\n".join(failed)
    return [name for name, (_, reason, _) in results.items() if reason]


@pytest.mark.parametrize("name", MACHINES)
def test_rules(image, artefacts, name):
    """Each rule holds on this machine."""
    results = parse(run(image, artefacts, MACHINES[name]))
    skipped = check(results)
    print(f"{len(results) - len(skipped)} passed, {len(skipped)} skipped: {', '.join(skipped)}")
    # Without SPE there is little to test, and small records have little to check.
    assert name in ("without", "tiny", "small") or len(skipped) < len(results) / 2


def test_nothing_is_always_skipped(image, artefacts):
    """Each test runs on one of some machines, except those for options that none of them has."""
    left = None
    for name in ("v1p5_el3", "v1p0_el3", "icount", "tags", "two_el2", "packed", "three", "realms", "power_el1", "power_two"):
        skipped = {test for test, (_, reason, _) in parse(run(image, artefacts, MACHINES[name])).items() if reason}
        left = skipped if left is None else left & skipped
    options = ("saturation", "stop at the greatest", "without ERnd", "previous branch", "target of the last taken",
               "with a cache")
    assert not [test for test in left if not any(option in test for option in options)]


FUZZED = {"el1": EL1, "el2": EL2, "el3": EL3}


@pytest.mark.parametrize("machine", FUZZED)
def test_fuzz(image, artefacts, machine):
    """Records are only written to the buffer, with any values in the registers."""
    iterations = int(os.environ.get("FUZZ_ITERATIONS") or 1000)
    lines = run(image, artefacts, (FUZZED[machine], "spe-version=1.5", f"fuzz={iterations} seed=1", ONE),
                timeout=200 + iterations)
    results = parse([line for line in lines if not line.startswith("# fuzz: ")])
    check(results)
    assert re.fullmatch(rf"# fuzz: {iterations} of {iterations}: .*", next(
        line for line in reversed(lines) if line.startswith("# fuzz: ")))
