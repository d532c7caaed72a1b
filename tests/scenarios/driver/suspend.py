# SPDX-License-Identifier: GPL-2.0
"""Events go on after the machine was suspended: to idle, and to RAM, where its units lose their registers."""

import tempfile

import pytest

from machine import total
from spe import check_decodes, counters, recorded
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

#: The machine with a firmware that ends the power of all CPUs (SYSTEM_SUSPEND), and secure state for the reason that
#: idle.py has. The second serial port is then not for the kernel.
SPE = "spe=on,x-spe-power-loss=on"
LEVELS = {"EL1": "secure=on", "VHE": "secure=on,virtualization=on"}

#: In one recording: work, sleep until the clock wakes the machine, work. An alarm that comes before it sleeps, but after
#: the count of wakeup events was written, makes that fail (Documentation/ABI/testing/sysfs-power): it is tried again.
TO_RAM = """
cat >/tmp/sleep <<'END'
workload 2
echo deep >/sys/power/mem_sleep
until [ $(cat /sys/power/suspend_stats/success) = 1 ]; do
    echo 0 >/sys/class/rtc/rtc0/wakealarm
    count=$(cat /sys/power/wakeup_count)
    echo +2 >/sys/class/rtc/rtc0/wakealarm
    echo $count >/sys/power/wakeup_count && echo mem >/sys/power/state
done
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


@pytest.mark.parametrize("level, options", [
    pytest.param("EL1", "", id="EL1-task"), pytest.param("VHE", "-a", id="VHE-system"),
    pytest.param("EL1", "-a", id="EL1-system", marks=pytest.mark.long),
    pytest.param("VHE", "", id="VHE-task", marks=pytest.mark.long)])
def test_power_lost(boot, driver, level, options):
    """The unit of the first CPU, which is not unplugged for that, is off when its power goes, and continues."""
    if driver == "c":
        pytest.skip("idle.py has what it does when it finds random registers")
    guest = boot(smp=2, spe=SPE, arguments=("-machine", LEVELS[level]))
    guest.load("checked")
    trace = recorded(guest, AROUND.format(TO_RAM % options))
    check_decodes(trace, 200)
    first, _ = guest.hardware()
    assert first["power-losses"] == 1 and not first["enabled-losses"]
    assert counters(guest)["mismatches"] == 0
