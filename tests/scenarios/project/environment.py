# SPDX-License-Identifier: GPL-2.0
"""The setup fails with one clear line, leaves nothing incomplete, and the next run continues.

These tests run on the host (tests/env/check), before the build root is entered. This reads their report.
"""

import re

import pytest

from paths import TOP

pytestmark = pytest.mark.needs("environment")

REPORT = TOP / "build/env.tap"
NAMES = [
    "missing_host_command", "no_network", "cache_not_writable", "disk_full", "failed_step",
    "interrupted_step", "two_at_once", "killed_step", "no_home", "checkout_not_writable", "foreign_rust_symbols", "kernel_tree_without_rust",
    "unknown_driver", "older_kernel_gone", "two_runs_in_a_checkout",
]


@pytest.fixture(scope="module")
def report():
    """Returns {name: (whether it passed, its output)}."""
    results = {}
    name = None
    text = REPORT.read_text()
    for line in text.splitlines():
        if match := re.match(r"(not ok|ok) \d+ - (\w+)", line):
            name = match[2]
            results[name] = (match[1] == "ok", [])
        elif name and line.startswith("#"):
            results[name][1].append(line)
    assert sorted(results) == sorted(NAMES) and f"1..{len(NAMES)}" in text
    return results


@pytest.mark.parametrize("name", NAMES)
def test_environment(report, name):
    passed, said = report[name]
    assert passed, "\n".join(said)
