# SPDX-License-Identifier: GPL-2.0
"""perf's own tests of SPE, as they ship with the perf of this kernel version."""

import re

import pytest


@pytest.mark.timeout(500)
@pytest.mark.parametrize("name", [
    "Arm SPE trace data recording and synthesized samples",
    "Arm SPE doesn't hang when there are forks",
])
def test_perf_test(guest, name):
    output = guest.sh(f'perf test -vv "{name}" 2>&1', timeout=400)
    verdicts = re.findall(rf"^ *\d+: +{re.escape(name)} *: *(.*)$", output, re.MULTILINE)
    assert verdicts and all(verdict.strip() == "Ok" for verdict in verdicts), output
