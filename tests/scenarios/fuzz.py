# SPDX-License-Identifier: GPL-2.0
"""perf_event_open(2) fuzzed around the PMU, on a kernel that checks itself and with counters that interrupt as NMIs.

About two minutes of it, and always the same: a number of rounds, and not a time. `make fuzz` goes on for as long as
wanted, on any of the kernels.
"""

import re

import pytest

import fuzzing

pytestmark = pytest.mark.needs("kernel_debug")

SEED = 1
ROUNDS = 3


@pytest.mark.timeout(3600)
def test_rounds(boot, driver, artefacts, show):
    find, checked, append = fuzzing.KERNELS["nmi"]
    guest = boot(kernel=find(), append=append, arguments=fuzzing.port(artefacts))
    fuzzer = fuzzing.Fuzzer(guest, artefacts, SEED, checked if driver == "rust" else driver)
    try:
        fuzzer.leg(0, ROUNDS)
        fuzzer.end()
    finally:
        show("\n    " + "\n    ".join(fuzzer.report()))
    # Deep enough to tell something.
    done = fuzzer.total
    assert done["opened_spe"] > 20 * ROUNDS and done["aux_maps"] > 12 * ROUNDS and done["looks"] > 30 * ROUNDS, done
    assert done["aux_bytes"] > 20000 * ROUNDS, done


def test_known(boot, driver):
    """What fuzzing overlooks: the kernel warns so without anything being sampled. When it does not any more, KNOWN can go."""
    if driver == "c":
        pytest.skip("with the C driver nothing can be paused")
    guest = boot()
    guest.known = fuzzing.KNOWN
    guest.load(driver)
    guest.sh("orphan")
    assert re.search(fuzzing.KNOWN, guest.console.read_text(errors="replace"))
