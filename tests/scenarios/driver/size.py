# SPDX-License-Identifier: GPL-2.0
"""The size of the module's code, compared with the C driver's, and that it cannot panic."""

import re
import subprocess

import pytest

from kernel import STOCK

pytestmark = [pytest.mark.quick, pytest.mark.independent]

#: The limit for .text, relative to that of the C driver.
TEXT = 2.4


def text(module):
    """Returns the size of a module's code."""
    sections = subprocess.run(["llvm-size", "-A", module], check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(re.search(r"^\.text +(\d+)", sections, re.MULTILINE)[1])


@pytest.fixture(autouse=True)
def ours(driver):
    """Skips the tests with DRIVER=c, where the module may not have been built."""
    if driver == "c":
        pytest.skip("the C driver against itself")


def test_text(artefacts, show):
    theirs = artefacts / "arm_spe_pmu_c.ko"
    theirs.write_bytes(STOCK.module("arm_spe_pmu"))
    ours, theirs = text(STOCK.rust_module), text(theirs)
    show(f"\n    .text: {ours} bytes, {ours / theirs:.2f} times the C driver's {theirs}")
    assert ours <= TEXT * theirs


def test_no_panic():
    """The module references no function that panics."""
    symbols = subprocess.run(["llvm-nm", "-u", STOCK.rust_module], check=True, stdout=subprocess.PIPE, text=True)
    assert "perf_pmu_register" in symbols.stdout
    assert "panic" not in symbols.stdout
