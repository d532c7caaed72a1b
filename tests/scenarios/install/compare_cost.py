# SPDX-License-Identifier: GPL-2.0
"""tools/compare-cost measures the cost of both drivers on a machine, and leaves it as it was."""

import re

import pytest

from paths import TOP



DRIVERS = " ".join(f"/usr/lib/drivers/{driver}/arm_spe_pmu.ko" for driver in ("rust", "c"))
#: Little work: the figures depend on the machine.
FEW = "CPU=1 TURNS=50 WORK=1 PERIOD=256 TIMES=1"

#: A perf that does not record.
FAILING = r"""
mkdir /tmp/failing
printf '#!/bin/sh\ncase "$*" in *arm_spe*) exit 1;; esac\nexec /usr/bin/perf "$@"\n' >/tmp/failing/perf
chmod +x /tmp/failing/perf
command -v /usr/bin/perf
"""
#: {arguments: the error}.
REFUSED = {
    f"setpriv --reuid 1000 --regid 1000 --clear-groups compare-cost {DRIVERS}": "run this as root",
    f"CPU=7 compare-cost {DRIVERS}": "there is no CPU 7",
    "compare-cost": "this driver is not installed for this kernel",
    f"{FEW} compare-cost /dev/null {DRIVERS.split()[1]}": "cannot load /dev/null",
    f"PATH=/tmp/failing:$PATH {FEW} compare-cost {DRIVERS}": "failed: perf stat -C 1",
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
    guest.sh(FAILING)
    for how, said in REFUSED.items():
        status, output = guest.run(how)
        assert status and output.count("error: ") == 1 and said in output, output
    # No driver was loaded before.
    assert not guest.sh("lsmod | grep arm_spe_pmu || true")
