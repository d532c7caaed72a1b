# SPDX-License-Identifier: GPL-2.0
"""perf's own tests of SPE, as they ship with the perf of this kernel version.

They give perf a second of time here and there. In these guests an instruction takes 2 ns, so that a
second is 500 million instructions, however busy the machine is that runs QEMU.
"""

import re

import pytest


@pytest.mark.timeout(800)
@pytest.mark.parametrize("name", [
    "Arm SPE trace data recording and synthesized samples",
    "Arm SPE doesn't hang when there are forks",
])
def test_perf_test(boot, driver, name):
    guest = boot(arguments=("-icount", "shift=1,sleep=off"))
    guest.load(driver)
    output = guest.sh(f'perf test -vv "{name}" 2>&1', timeout=600)
    verdicts = re.findall(rf"^ *\d+: +Check {re.escape(name)} *: *(?!Running)(\S.*)$", output,
                          re.MULTILINE)
    assert verdicts and all(verdict.strip() == "Ok" for verdict in verdicts), output
