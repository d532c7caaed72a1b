# SPDX-License-Identifier: GPL-2.0
"""Events go on after a suspend-to-idle of the machine."""

import tempfile

import pytest

from machine import total
from spe import check_decodes, recorded
from waker import APPEND, AROUND, PORT, WAKEUP, Waker

#: In one recording: work, sleep until woken, work.
SCRIPT = f"""
cat >/tmp/sleep <<'END'
set -e
exec 9<>{PORT}
stty -F {PORT} raw -echo
echo enabled >{WAKEUP}
workload 2
echo freeze >/sys/power/state
workload 2
END
perf record -o /tmp/perf.data %s -e arm_spe/period=4096/u -- bash /tmp/sleep
"""


@pytest.mark.parametrize("options", ["", "-a"], ids=["task", "system"])
def test_an_open_event(boot, driver, options):
    """The samples from before and after are in one trace, complete."""
    before = []
    with tempfile.TemporaryDirectory(prefix="suspend.") as scratch:
        waker = Waker(scratch)
        guest = boot(smp=2, append=APPEND, arguments=waker.arguments)
        guest.load(driver)
        waker.watch(guest, lambda: before.append(total(guest.hardware())["records"]))
        trace = recorded(guest, AROUND.format(SCRIPT % options))
    check_decodes(trace, 200)
    (asleep,) = before
    assert 100 < asleep < len(trace.records) - 100
