# SPDX-License-Identifier: GPL-2.0
"""The number of instructions that the driver executes for perf does not grow, and that of barriers does not change.

The counts of tests/lib/cost.py are the same in each run. They are compared with cost.json. A commit that changes them
on purpose updates it (make bench-baseline) and says why. See docs/cost.md.
"""

import json
import os
from pathlib import Path

import pytest

import cost

BASELINE = Path(__file__).with_suffix(".json")
LICENCE = "SPDX-License-Identifier: GPL-2.0"
#: Growth up to this factor is not reported.
GROWTH = 1.1
#: Counts that are exact: the emulated unit does not show everything that goes wrong without a barrier.
BARRIERS = {"isb", "dsb", "psb"}
#: Counts that depend on the kernel as well. They are compared only on the kernel of the baseline.
OF_KERNEL = {"kernel", "written", "synchronised"}

#: The most instructions of the module for live events.
LIVE_LIMITS = {
    "a record that is counted": 80,
    "an interrupt with one record that is counted": 380,
    "a record that is emitted as a trace event": 530,
    "an interrupt with one record that is emitted as a trace event": 850,
    "a context switch without a record": 300,
}


@pytest.mark.timeout(600)
def test_growth(boot, driver, artefacts, show):
    if driver == "c":
        pytest.skip("the baseline is that of this driver")
    guest = boot(append=cost.APPEND, smp=1, arguments=cost.arguments(artefacts))
    costs = cost.Costs(guest, artefacts)
    costs.load(driver)
    rows = {name: values._asdict() for name, values in cost.table(costs, driver, cost.typical).items()}
    release = guest.sh("uname -r")
    if os.environ.get("ARM_SPE_BASELINE"):
        BASELINE.write_text(json.dumps({"licence": LICENCE, "kernel": release, "rows": rows}, indent="\t") + "\n")
    baseline = json.loads(BASELINE.read_text())
    skipped = set() if release == baseline["kernel"] else OF_KERNEL
    show(*(f"\n    {name}: {', '.join(f'{value} {what}' for what, value in values.items() if value)}"
           for name, values in rows.items()))
    if skipped:
        show(f"    not compared, the baseline is of {baseline['kernel']}: {', '.join(sorted(skipped))}")
    assert rows.keys() == baseline["rows"].keys()
    changed = [f"{name}: {value} {what}, {baseline['rows'][name][what]} in the baseline"
             for name, values in rows.items() for what, value in values.items()
             if what not in skipped and (value > GROWTH * baseline["rows"][name][what]
                                         or what in BARRIERS and value != baseline["rows"][name][what])]
    assert not changed, "\n".join(changed)


@pytest.mark.timeout(600)
def test_live_cost(boot, driver, artefacts, show):
    """Live events stay below the limits of docs/cost.md."""
    if driver == "c":
        pytest.skip("it has no live events")
    guest = boot(append=cost.APPEND, smp=1, arguments=cost.arguments(artefacts))
    costs = cost.Costs(guest, artefacts)
    costs.load(driver)
    rows = cost.live_table(costs)
    show(*(f"\n    {what}: {instructions}" for what, instructions in rows.items()))
    assert rows.keys() == LIVE_LIMITS.keys()
    assert not {what: number for what, number in rows.items() if number > LIVE_LIMITS[what]}
    # Without a live event context switches cost nothing.
    calls, _, _ = costs.run("cost switches 10")
    assert not calls["switch"]
