# SPDX-License-Identifier: GPL-2.0
"""The pure logic of the driver holds its properties on the host (`make test-host`)."""

import subprocess

import pytest

from paths import TOP

pytestmark = pytest.mark.quick

HOST = TOP / "tests/host/run"


@pytest.mark.timeout(900)
def test_host():
    done = subprocess.run([HOST], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "test result: ok" in done.stdout, done.stdout[-5000:]
