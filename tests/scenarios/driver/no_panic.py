# SPDX-License-Identifier: GPL-2.0
"""The module cannot panic."""

import subprocess

import pytest

from kernel import STOCK

pytestmark = [pytest.mark.quick, pytest.mark.independent]


def test_no_panic(driver):
    """It references no function that panics."""
    if driver == "c":
        pytest.skip("the C driver against itself")
    symbols = subprocess.run(["llvm-nm", "-u", STOCK.rust_module], check=True, stdout=subprocess.PIPE, text=True)
    assert "perf_pmu_register" in symbols.stdout
    assert "panic" not in symbols.stdout
