# SPDX-License-Identifier: GPL-2.0
"""A benchmark (`make qemu-bench`): QEMU with SPE present but disabled, against unpatched QEMU; and what sampling costs.

All are measured in one run, in turns, and the best time of each is compared. The figures are printed. Times are noisy,
so that no figure is a failure. The aims: disabled within the noise, which was up to 8 % between two boots of the same
QEMU on a virtual machine with 2 cores; 1.2 times that every 1,024 operations, 1.6 times every 256.
"""

import os
import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.benchmark, pytest.mark.needs("qemu_unpatched")]

TURNS = 8
#: Periods in operations.
PERIODS = (1024, 256)

#: Prints the microseconds of the workload alone.
TIMED = """\
before=$EPOCHREALTIME
workload 8000 >/dev/null
after=$EPOCHREALTIME
echo took $((${after/./} - ${before/./}))
"""
ALONE = "taskset -c 0 bash /root/timed"
# The trace stays in its buffer until the end, so that the sampling is timed, and not perf's writing of files.
SAMPLED = ("perf record -q -B -N -o /tmp/perf.data -C 0 -m ,16M --snapshot=e -e arm_spe/period={}/ -- "
           + ALONE)


@pytest.mark.timeout(600)
def test_ratios(boot, driver, show):
    files = {"root/timed": TIMED}
    unpatched = boot("unpatched", spe="", files=files,
                     qemu=Path(os.environ["ARM_SPE_QEMU_UNPATCHED"], "qemu-system-aarch64"))
    unpatched.unaccounted = "there is no unit"
    patched = boot("patched", files=files)
    patched.load(driver)
    best = {}
    for _ in range(TURNS):
        for name, guest, command in (("unpatched", unpatched, ALONE),
                                     ("disabled", patched, ALONE),
                                     *((period, patched, SAMPLED.format(period)) for period in PERIODS)):
            took = int(re.search(r"^took (\d+)$", guest.sh(command), re.MULTILINE)[1])
            best[name] = min(took, best.get(name, took))
    disabled = best["disabled"] / best["unpatched"]
    sampling = {period: best[period] / best["disabled"] for period in PERIODS}
    show(f"\n    unpatched {best['unpatched'] / 1e6:.3f} s; SPE disabled {disabled:.3f} times that"
          + "".join(f"; sampling every {period:,} operations {ratio:.3f} times disabled"
                    for period, ratio in sampling.items()))
