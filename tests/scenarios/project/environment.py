# SPDX-License-Identifier: GPL-2.0
"""The setup fails with one clear line, leaves nothing incomplete, and the next run continues.

These tests run on the host (tests/env/check), before the build root is entered. This reads their report.
"""

import re
import subprocess

import pytest

from paths import TOP

pytestmark = pytest.mark.needs("environment")

REPORT = TOP / "build/env.tap"
NAMES = re.search(r"^tests=\((.*?)\)$", (TOP / "tests/env/check").read_text(), re.DOTALL | re.MULTILINE)[1].split()


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


def test_the_checkout_is_locked():
    """A run holds the lock of its checkout until its last test has ended."""
    assert subprocess.run(["flock", "-n", TOP / "build/lock", "true"], check=False).returncode == 1
