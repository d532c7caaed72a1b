# SPDX-License-Identifier: GPL-2.0
"""QEMU with SPE present but disabled is as fast as unpatched QEMU; sampling costs at most half again.

All are measured in one run, in turns, and the best of each is compared. The figures are printed.
"""

import os
from pathlib import Path

import pytest

TURNS = 5
#: Present but disabled, against unpatched: nothing but noise.
DISABLED = 1.05
#: Sampling every 1,024 operations, against disabled.
SAMPLING = 1.5

TIMED = """
before=$EPOCHREALTIME
{} >/dev/null
after=$EPOCHREALTIME
echo $(( ${{after/./}} - ${{before/./}} ))
"""
WORKLOAD = "taskset -c 0 workload 100"
PERF = "perf record -q -o /tmp/perf.data -C 0 -m ,16M -e arm_spe/period=1024/ -- "


@pytest.mark.timeout(600)
def test_ratios(boot, driver, capsys):
    unpatched = boot("unpatched", spe="",
                     qemu=Path(os.environ["ARM_SPE_QEMU_UNPATCHED"], "qemu-system-aarch64"))
    patched = boot("patched")
    patched.load(driver)
    best = {}
    for _ in range(TURNS):
        for name, guest, command in (("unpatched", unpatched, WORKLOAD),
                                     ("disabled", patched, WORKLOAD),
                                     ("sampling", patched, PERF + WORKLOAD)):
            took = int(guest.sh(TIMED.format(command), timeout=100))
            best[name] = min(took, best.get(name, took))
    disabled = best["disabled"] / best["unpatched"]
    sampling = best["sampling"] / best["disabled"]
    with capsys.disabled():
        print(f"\n    unpatched {best['unpatched'] / 1e6:.3f} s; SPE disabled {disabled:.3f} times that;"
              f" sampling every 1,024 operations {sampling:.3f} times disabled")
    assert disabled <= DISABLED
    assert sampling <= SAMPLING
