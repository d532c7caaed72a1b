# SPDX-License-Identifier: GPL-2.0
"""Storms: hotplug, reloading, migration and suspending while events of all kinds record.

Some rounds of tests/lib/storm.py, on PREEMPT_RT and on the debug kernel. `make storm` runs more of them.
"""

import tempfile

import pytest

from storm import MET, Storm, missed

#: The seeds of rounds that together do everything.
ROUNDS = range(10000, 10008)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seeds, wanted", [
    pytest.param(ROUNDS[:2], ["hotplugs", "transitions"], id="rt", marks=pytest.mark.kernel("rt")),
    pytest.param(ROUNDS, MET, id="rt-all", marks=[pytest.mark.kernel("rt"), pytest.mark.long]),
    # One round takes as long on this kernel as all of them on a fast one.
    pytest.param(ROUNDS[:1], ["hotplugs", "transitions"], id="nmi", marks=[pytest.mark.kernel("nmi"), pytest.mark.long]),
])
def test_storm(boot, seeds, wanted):
    """Every loss is reported to perf, recording works afterwards, and the driver leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="storm.") as scratch:
        storm = Storm(boot, scratch)
        for seed in seeds:
            storm.round(seed)
        storm.end()
    assert not set(wanted) & set(missed(storm)), f"{missed(storm)} did not happen: {dict(storm.total)}"
