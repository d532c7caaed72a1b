# SPDX-License-Identifier: GPL-2.0
"""perf_event_open(2) fuzzed around the PMU, on a kernel that checks itself and with counters that interrupt as NMIs.

The number of rounds is always the same. `make fuzz` runs for any time, on any of the kernels.
"""

import itertools
import re

import pytest

import fuzzing
from spe import NEST, TAKEN, UNMAPS

SEED = 1


@pytest.mark.kernel("nmi")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.long)])
def test_rounds(boot, show, rounds):
    fuzzer = fuzzing.Fuzzer(boot(), SEED)
    try:
        fuzzer.leg(0, rounds)
        fuzzer.end()
    finally:
        show("\n    " + "\n    ".join(fuzzer.report()))
    # Each round has done something. How much depends on the order in which its tasks run: an event that one of them
    # opens first makes those of the others fail. These are a quarter of what is usual.
    done = fuzzer.total
    assert done["opened_spe"] > 5 * rounds and done["aux_maps"] > 4 * rounds and done["looks"] > 10 * rounds, done
    assert done["aux_bytes"] > 5000 * rounds, done


@pytest.mark.kernel("debug")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rounds", [4, pytest.param(60, marks=pytest.mark.long)])
def test_sharing(boot, driver, show, rounds):
    """Several tasks write to one buffer, which is redirected and unmapped at the same time."""
    if driver == "c":
        pytest.skip(UNMAPS)
    guest = boot()
    fuzzer = fuzzing.Fuzzer(guest, SEED, "share")
    try:
        # Until two CPUs have met in a buffer, which depends on the machine.
        for start in itertools.count(0, rounds):
            fuzzer.leg(start, rounds)
            if re.search(f"{NEST}|{TAKEN}", guest.console.read_text(errors="replace")):
                break
        fuzzer.end()
    finally:
        show("\n    " + "\n    ".join(fuzzer.report()))
    done = fuzzer.total
    assert done["redirected"] > 10 * rounds and done["unmapped"] > 4 * rounds and done["aux_bytes"] > 5000 * rounds, done


def test_known(boot, driver):
    """The kernel still gives the warning KNOWN, which fuzzing ignores, without any sampling."""
    if driver == "c":
        pytest.skip("with the C driver nothing can be paused")
    guest = boot()
    guest.known = fuzzing.KNOWN
    guest.load(driver)
    guest.sh("orphan")
    assert re.search(fuzzing.KNOWN, guest.console.read_text(errors="replace"))
