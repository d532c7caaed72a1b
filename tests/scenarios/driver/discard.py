# SPDX-License-Identifier: GPL-2.0
"""Discard mode samples without a buffer: there is no trace, and ordinary tracing works afterwards."""

import pytest

from machine import total
from spe import check_decodes, record

pytestmark = pytest.mark.board


def test_discard(guest):
    before = guest.hardware()
    trace = record(guest, "arm_spe/discard,period=1024/u", "workload 5", "-N -B")
    assert not trace.records and not any(size for size, _, _ in trace.buffers)
    if before is not None:
        assert total(guest.hardware())["discarded"] - total(before)["discarded"] > 100


def test_records_after_discard(guest):
    guest.sh("perf record -o /tmp/x -e arm_spe/discard/u -N -B -- workload 1")
    check_decodes(record(guest, "arm_spe/period=1024/u", "workload 5"), 100)
