# SPDX-License-Identifier: GPL-2.0
"""The module can be unloaded and loaded again, also between recordings, and leaves nothing behind."""

import pytest

from spe import LENT, check_decodes, record
from traces import left_behind


def test_unload_leaves_nothing(boot, driver):
    guest = boot()
    before = left_behind(guest)
    for _ in range(5):
        guest.load(driver)
        check_decodes(record(guest, "arm_spe/period=1024/u", "workload 2"), 100)
        guest.unload()
        assert left_behind(guest) == before


def test_busy_while_recording(guest):
    """An open event keeps the module loaded."""
    output = guest.sh("""
perf record -o /tmp/perf.data -e arm_spe/period=4096/u -- bash -c '
    workload 1; rmmod arm_spe_pmu 2>&1 || echo refused; workload 1'
""")
    assert "refused" in output and "in use" in output, output
    # An event without a buffer, which would keep the module as well.
    output = guest.sh("perf stat -e arm_spe//u -- sh -c 'rmmod arm_spe_pmu 2>&1 || echo refused'")
    assert "refused" in output and "in use" in output, output
    guest.unload()


def test_a_buffer_keeps_the_module(boot, driver):
    """A buffer that is still mapped through another event keeps the module loaded, which has to free it."""
    if driver == "c":
        pytest.skip("the C driver goes, and perf calls its free_aux() where that was")
    guest = boot()
    guest.load(driver)
    guest.known = LENT
    assert guest.sh("lent module").split() == ["mapped", "0", "unmapped", "1"]
    guest.load(driver)
    check_decodes(record(guest, "arm_spe/period=1024/u", "workload 2"), 100)
