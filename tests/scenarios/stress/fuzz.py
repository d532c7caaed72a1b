# SPDX-License-Identifier: GPL-2.0
"""perf_event_open(2) fuzzed around the PMU, on a kernel that checks itself and with counters that interrupt as NMIs.

A leg has always the same rounds. `make fuzz` runs for any time, on any of the kernels.
"""

import itertools
import re

import pytest

import fuzzing
from spe import NEST, TAKEN, UNMAPS

SEED = 1


def fuzz_until(guest, show, rounds, program, enough):
    """Fuzzes in legs of so many rounds until enough(counts) has happened.

    How much a round does depends on the order in which its tasks run: an event that one of them opens first makes those
    of the others fail.
    """
    fuzzer = fuzzing.Fuzzer(guest, SEED, program)
    try:
        for start in itertools.count(0, rounds):
            fuzzer.leg(start, rounds)
            if enough(fuzzer.total):
                break
        fuzzer.end()
    finally:
        show("\n    " + "\n    ".join(fuzzer.report()))


@pytest.mark.kernel("nmi")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.long)])
def test_rounds(boot, driver, show, rounds):
    # A quarter of what is usual.
    fuzz_until(boot(), show, rounds, "fuzz", lambda done: (
        done["opened_spe"] > 5 * rounds and done["aux_maps"] > 4 * rounds and done["looks"] > 10 * rounds
        and done["aux_bytes"] > 5000 * rounds and (driver == "c" or done["opened_live"] > rounds)))


@pytest.mark.kernel("debug")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rounds", [4, pytest.param(60, marks=pytest.mark.long)])
def test_sharing(boot, driver, show, rounds):
    """Several tasks write to one buffer, which is redirected and unmapped at the same time, until two CPUs have met."""
    if driver == "c":
        pytest.skip(UNMAPS)
    guest = boot()
    fuzz_until(guest, show, rounds, "fuzz share", lambda done: (
        done["redirected"] > 10 * rounds and done["unmapped"] > 4 * rounds and done["aux_bytes"] > 5000 * rounds
        and re.search(f"{NEST}|{TAKEN}", guest.console.read_text(errors="replace"))))


def test_known(boot, driver):
    """The kernel still gives the warning KNOWN, which fuzzing ignores, without any sampling."""
    if driver == "c":
        pytest.skip("with the C driver nothing can be paused")
    guest = boot()
    guest.known = fuzzing.KNOWN
    guest.load(driver)
    guest.sh("orphan")
    assert re.search(fuzzing.KNOWN, guest.console.read_text(errors="replace"))
