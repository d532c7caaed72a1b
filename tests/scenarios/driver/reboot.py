# SPDX-License-Identifier: GPL-2.0
"""The units are off when the machine goes down, also for kexec: another kernel would not know of them.

perf itself stops the events of CPUs at reboot. What goes on is the event of the task that asks for it.
"""

import pytest

OFF = {"PMBLIMITR_EL1": 0, "PMSCR_EL1": 0}


@pytest.mark.parametrize("cpu", [0, 1])
@pytest.mark.parametrize("event", ["arm_spe//u", "arm_spe//", "arm_spe_0/live=1/"])
def test_reboot(boot, driver, cpu, event):
    """The last writes to each unit turn it off."""
    if driver == "c" and "live" in event:
        pytest.skip("the C driver has no live events")
    guest = boot()
    guest.load(driver)
    perf = "stat" if "live" in event else "record -o /tmp/perf.data"
    accesses = guest.ends(f"taskset -c {cpu} perf {perf} -e {event} -- busybox reboot -f")
    last = {}
    for access in accesses:
        if access.register in OFF:
            last.setdefault(access.cpu, {})[access.register] = access.value
    assert last
    left = {number: values for number, values in last.items() if values != OFF}
    if driver == "c":
        assert left and all(values["PMBLIMITR_EL1"] & 1 for values in left.values()), last
    else:
        assert not left
