# SPDX-License-Identifier: GPL-2.0
"""perf's own tests of SPE, from the perf of this kernel version.

Some of them give perf one second, in which an emulated machine may be too slow. In these guests an instruction takes
1 ns, however busy the host is, and `sleep` sleeps three times as long.
"""

import re

import pytest


SLEEP = """\
#!/bin/sh
exec /usr/bin/sleep $(($1 * 3))
"""


@pytest.mark.long    # minutes each; perf_tools, decode and modes show the same
@pytest.mark.timeout(800)
@pytest.mark.parametrize("name", [
    "Arm SPE trace data recording and synthesized samples",
    "Arm SPE doesn't hang when there are forks",
])
def test_perf_test(boot, driver, name):
    guest = boot(files={"opt/slow/sleep": SLEEP},
                 arguments=("-icount", "shift=0,sleep=off"))
    guest.load(driver)
    guest.sh("chmod +x /opt/slow/sleep")
    output = guest.sh(f'PATH=/opt/slow:$PATH perf test -vv "{name}" 2>&1', timeout=600)
    verdicts = re.findall(rf"^ *\d+: +Check {re.escape(name)} *: *(?!Running)(\S.*)$", output,
                          re.MULTILINE)
    assert verdicts and all(verdict.strip() == "Ok" for verdict in verdicts), output
