# SPDX-License-Identifier: GPL-2.0
"""The module's code against the C driver's, and no panic in it."""

import re
import subprocess

import pytest

from kernel import STOCK

pytestmark = [pytest.mark.quick, pytest.mark.independent]

#: .text of this driver over that of the C driver, with a margin: a guard against accidents.
TEXT = 2.4


def text(module):
    """The bytes of a module's code."""
    sections = subprocess.run(["llvm-size", "-A", module], check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(re.search(r"^\.text +(\d+)", sections, re.MULTILINE)[1])


@pytest.fixture(autouse=True)
def ours(driver):
    """It is about the other driver, and may not have been built."""
    if driver == "c":
        pytest.skip("the C driver against itself")


def test_text(artefacts, show):
    theirs = artefacts / "arm_spe_pmu_c.ko"
    theirs.write_bytes(STOCK.module("arm_spe_pmu"))
    ours, theirs = text(STOCK.rust_module), text(theirs)
    show(f"\n    .text: {ours} bytes, {ours / theirs:.2f} times the C driver's {theirs}")
    assert ours <= TEXT * theirs


def test_no_panic():
    """Nothing in the module can reach a panic: not one of their functions is referenced."""
    symbols = subprocess.run(["llvm-nm", "-u", STOCK.rust_module], check=True, stdout=subprocess.PIPE, text=True)
    assert "perf_pmu_register" in symbols.stdout
    assert "panic" not in symbols.stdout
