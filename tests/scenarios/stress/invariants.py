# SPDX-License-Identifier: GPL-2.0
"""The types, the state reported to perf and the registers agree, over many transitions.

The debug build of the driver (`make DEBUG=1`) checks this at the return of every callback and of the interrupt handler.
Two tasks on each CPU make random walks, each with a seed of its own, through the operations on an event.
"""

import pytest

from spe import counters

#: The counters that the walks have to increase.
MET = ["aux_transactions", "bytes", "full", "truncated", "start_not_mapped", "start_full", "start_no_space",
       "pauses", "resumes"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("transitions, steps", [
    pytest.param(20_000, 4_000, id="some"),
    pytest.param(1_000_000, 40_000, id="million", marks=pytest.mark.long),
])
def test_transitions(boot, driver, show, transitions, steps):
    if driver == "c":
        pytest.skip("the C driver does not check itself")
    guest = boot()
    guest.load("checked")
    seed = 0
    while (seen := counters(guest)).get("transitions", 0) < transitions:
        seed += 2
        guest.sh(f"transitions {seed} {steps} 0 & transitions {seed + 1} {steps} 1; a=$?; wait $! && exit $a",
                 timeout=300)
        assert counters(guest)["mismatches"] == 0, f"seed {seed}: {guest.sh('dmesg | grep Mismatch')}"
    show(f"\n    {seen['transitions']} transitions, {seen['mismatches']} mismatches;"
          f" seeds 2 to {seed + 1}; {seen}")
    assert seen["mismatches"] == 0
    assert all(seen[name] for name in MET), seen
