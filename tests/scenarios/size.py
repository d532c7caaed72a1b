# SPDX-License-Identifier: GPL-2.0
"""The module's code against the C driver's, no panic in it, and how much of its source is unsafe: none of it grows."""

import re
import subprocess
from pathlib import Path

import pytest

from kernel import STOCK

TOP = Path(__file__).resolve().parents[2]
#: .text of this driver over that of the C driver. What it has beyond that: the counters in debugfs, pausing, a
#: machine without SPE refused, what the kernel crate's platform, debugfs and message macros come to, and a hot path
#: without calls (cost.py), of which there is another one for what is rare: an interrupt for which the unit does not wait
#: has its own, and so does what it takes to come back from there.
TEXT = 1.81
#: Blocks of unsafe code, without the tests. A twelfth of them has to do with where sessions and events rest: in the
#: slot of their CPU, and not in values that are moved there and back at each callback. As many have to do with going on ahead of perf.
UNSAFE = 131


def text(module):
    """The bytes of a module's code."""
    sections = subprocess.run(["llvm-size", "-A", module], check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(re.search(r"^\.text +(\d+)", sections, re.MULTILINE)[1])


@pytest.fixture(autouse=True)
def ours(driver):
    """It is about the other driver, and may not have been built."""
    if driver == "c":
        pytest.skip("the C driver against itself")


def test_text(artefacts, capsys):
    theirs = artefacts / "arm_spe_pmu_c.ko"
    theirs.write_bytes(STOCK.module("arm_spe_pmu"))
    ours, theirs = text(STOCK.rust_module), text(theirs)
    with capsys.disabled():
        print(f"\n    .text: {ours} bytes, {ours / theirs:.2f} times the C driver's {theirs}")
    assert ours <= TEXT * theirs


def test_no_panic():
    """Nothing in the module can reach a panic: not one of their functions is referenced."""
    symbols = subprocess.run(["llvm-nm", "-u", STOCK.rust_module], check=True, stdout=subprocess.PIPE, text=True)
    assert "perf_pmu_register" in symbols.stdout
    assert "panic" not in symbols.stdout


def test_unsafe(capsys):
    blocks = {file.name: count for file in TOP.glob("*.rs") if not file.stem.endswith("_tests")
              if (count := file.read_text().count("unsafe {"))}
    with capsys.disabled():
        print(f"\n    {sum(blocks.values())} unsafe blocks: {blocks}")
    assert sum(blocks.values()) <= UNSAFE
