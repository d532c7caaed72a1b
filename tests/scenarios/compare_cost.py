# SPDX-License-Identifier: GPL-2.0
"""tools/compare-cost says what both drivers cost on a machine, and leaves it as it was."""

import re

import pytest

from guest import TOP

DRIVERS = " ".join(f"/usr/lib/drivers/{driver}/arm_spe_pmu.ko" for driver in ("rust", "c"))
#: Little work: what the figures are is a matter of the machine.
FEW = "CPU=1 TURNS=50 WORK=1 PERIOD=256 TIMES=1"

#: How it is called, and what it says then.
REFUSED = {
    f"setpriv --reuid 1000 --regid 1000 --clear-groups compare-cost {DRIVERS}": "run this as root",
    f"CPU=7 compare-cost {DRIVERS}": "there is no CPU 7",
    "compare-cost": "this driver is not installed for this kernel",
    f"{FEW} compare-cost /dev/null {DRIVERS.split()[1]}": "cannot load /dev/null",
    f"{FEW} WORK=0 PERIOD=268435456 compare-cost {DRIVERS}": "no buffer was full",
}


def test_compare_cost(boot, driver):
    if driver == "c":
        pytest.skip("this driver is not built here")
    guest = boot(smp=2, files={"usr/bin/compare-cost": TOP / "tools/compare-cost"})
    guest.unaccounted = "one driver after the other"
    output = guest.sh(f"{FEW} compare-cost {DRIVERS}", timeout=300)
    rows = re.findall(r"^(.*?) +(-?\d+) +(-?\d+) +-?\d+\.\d\d$", output, re.MULTILINE)
    assert [what for what, _, _ in rows] == ["a task with an event comes, and leaves", "a buffer is full"], output
    assert all(int(count) > 0 for count in rows[1][1:]), output
    for how, said in REFUSED.items():
        status, output = guest.run(how)
        assert status and "error: " in output and said in output, output
    # As none was before.
    assert not guest.sh("lsmod | grep arm_spe_pmu || true")
