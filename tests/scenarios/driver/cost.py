# SPDX-License-Identifier: GPL-2.0
"""What the driver executes for perf, instruction by instruction, does not grow unnoticed.

The counts of tests/lib/cost.py are the same in each run. They are held against those in cost.json, which whoever
changes them on purpose writes anew (make bench-baseline), and says why in the commit. See docs/cost.md.
"""

import json
import os
from pathlib import Path

import pytest

import cost

BASELINE = Path(__file__).with_suffix(".json")
LICENCE = "SPDX-License-Identifier: GPL-2.0"
#: A guard against accidents: growth up to this factor is not reported.
GROWTH = 1.1
#: What depends on the kernel as well; only compared on the one that the baseline is of.
OF_KERNEL = {"kernel", "written", "synchronised"}


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
    grown = [f"{name}: {value} {what}, {baseline['rows'][name][what]} in the baseline"
             for name, values in rows.items() for what, value in values.items()
             if what not in skipped and value > GROWTH * baseline["rows"][name][what]]
    assert not grown, "\n".join(grown)
