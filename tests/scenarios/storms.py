# SPDX-License-Identifier: GPL-2.0
"""Storms: CPUs and the driver come and go, tasks move and the machine sleeps, while events of all kinds record.

Some rounds of tests/guest/storm.py, on the debug kernel and on PREEMPT_RT; `make storm` has more of them.
"""

import tempfile

import pytest

from storm import MET, Storm, missed

pytestmark = [pytest.mark.needs("kernel_debug", "kernel_rt"), pytest.mark.timeout(1800)]

#: The seeds of some rounds. Those of the fast kernel meet everything together; one on the slow one takes as long, and `make storm`
#: has more of them.
ROUNDS = {"debug": (10000,), "rt": range(10000, 10016)}


@pytest.mark.parametrize("kernel", ROUNDS)
def test_storm(boot, kernel):
    """Nothing is lost unsaid, nothing stays broken, and the driver leaves nothing behind."""
    with tempfile.TemporaryDirectory(prefix="storm.") as scratch:
        storm = Storm(kernel, boot, scratch)
        for seed in ROUNDS[kernel]:
            storm.round(seed)
        storm.end()
    wanted = {"debug": {"hotplugs", "transitions"}, "rt": set(MET)}[kernel]
    assert not wanted & set(missed(storm)), f"{missed(storm)} did not happen: {dict(storm.total)}"
