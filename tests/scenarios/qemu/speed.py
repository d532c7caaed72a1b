# SPDX-License-Identifier: GPL-2.0
"""QEMU with SPE present but disabled is as fast as unpatched QEMU, and sampling has a bounded cost.

All are measured in one run, in turns, and the best time of each is compared. The figures are printed.
"""

import os
import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.needs("qemu_unpatched")]

TURNS = 8
#: Present but disabled, relative to unpatched: the noise. Two boots of the same QEMU differed by up to 8 % on a virtual
#: machine with 2 cores; a real cost is larger.
DISABLED = 1.15
#: Sampling every so many operations, relative to disabled: 1.15 and 1.45 on an idle machine. The aims are 1.2 and 1.6;
#: these limits add noise.
SAMPLING = {1024: 1.3, 256: 1.7}

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
    patched = boot("patched", files=files)
    patched.load(driver)
    best = {}
    for _ in range(TURNS):
        for name, guest, command in (("unpatched", unpatched, ALONE),
                                     ("disabled", patched, ALONE),
                                     *((period, patched, SAMPLED.format(period)) for period in SAMPLING)):
            took = int(re.search(r"^took (\d+)$", guest.sh(command), re.MULTILINE)[1])
            best[name] = min(took, best.get(name, took))
    disabled = best["disabled"] / best["unpatched"]
    sampling = {period: best[period] / best["disabled"] for period in SAMPLING}
    show(f"\n    unpatched {best['unpatched'] / 1e6:.3f} s; SPE disabled {disabled:.3f} times that;"
          + "".join(f"; sampling every {period:,} operations {ratio:.3f} times disabled"
                    for period, ratio in sampling.items()))
    assert disabled <= DISABLED
    assert all(sampling[period] <= bound for period, bound in SAMPLING.items()), sampling
