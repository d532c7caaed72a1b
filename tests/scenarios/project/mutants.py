# SPDX-License-Identifier: GPL-2.0
"""The mutations of the driver (tests/mutants/) apply, and a handful of them is noticed. `make mutants` tries all."""

import subprocess

import pytest

from paths import TOP

PATCHES = sorted((TOP / "tests/mutants").glob("*.patch"))
#: Mutations that the tests on the host, the build, and a scenario notice.
HANDFUL = ["event-timestamp-bit", "pmu-sleeps", "perf-pmu-no-files"]


def test_apply():
    """Each mutation applies to the driver."""
    stale = [patch.name for patch in PATCHES
             if subprocess.run(["git", "apply", "--check", patch], cwd=TOP, stderr=subprocess.DEVNULL, check=False).returncode]
    assert len(PATCHES) >= 150 and not stale


@pytest.mark.timeout(900)
def test_handful():
    done = subprocess.run([TOP / "tests/mutants/run", *HANDFUL], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    assert done.returncode == 0 and f"{len(HANDFUL)} of {len(HANDFUL)} noticed" in done.stdout, done.stdout


def test_unknown():
    """The name of a mutation that does not exist is an error."""
    done = subprocess.run([TOP / "tests/mutants/run", "no-such"], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode and "no mutation has the name no-such" in done.stderr
