# SPDX-License-Identifier: GPL-2.0
"""PREEMPT_RT: a buffer without space costs data, and not the CPU.

perf tries to start an event whenever its task is scheduled. Each failure wakes the reader, which on this kernel is done
by a thread that preempts the task. With the stock kernel's driver (DRIVER=c) the task makes no progress.
"""

import pytest

from machine import DRIVER, MachineError
from situations import FACT
from spe import TRUNCATED

pytestmark = pytest.mark.kernel("rt")


@pytest.mark.parametrize("space, reported", [(63, True), (0, False)], ids=["too_little", "none"])
def test_no_space(boot, space, reported):
    """The task makes progress. Truncation is reported to perf once, and not at all if the buffer is full."""
    # One CPU: the task cannot go on elsewhere.
    guest = boot(smp=1)
    guest.load(DRIVER)
    guest.begin(f"room {space} 4096")
    if DRIVER == "c":
        guest.unaccounted = "the guest hangs"
        with pytest.raises(MachineError, match="no answer"):
            guest.finish(60)
        return
    status, output = guest.finish(60)
    assert status == 0, output
    facts = {name: int(value, 0) for name, value in FACT.findall(output)}
    assert facts["cycles_enabled"] and not facts["cycles_running"]
    assert (facts["aux_records"], facts["aux_flags"]) == ((1, TRUNCATED) if reported else (0, 0))
    assert not facts["unread_spoilt"]


def test_enabled_twice_in_a_tick(boot):
    """A pinned event that found no space runs when it is enabled after a read of the buffer, however soon that is."""
    guest = boot(smp=1)
    guest.load(DRIVER)
    facts = {name: int(value) for name, value in FACT.findall(guest.sh("again 20"))}
    assert facts["same_tick"] == 20, facts
    assert facts["errors"] == 0, facts
