# SPDX-License-Identifier: GPL-2.0
"""The buffer is full many times: the trace goes on, in order, and every byte decodes."""

import pytest

from spe import TRUNCATED, check_decodes, record

pytestmark = pytest.mark.board

#: Interrupts of the profiling unit so far, all CPUs.
INTERRUPTS = "grep 'arm_spe\\|arm-spe' /proc/interrupts | awk '{ print $2 + $3 }'"


def test_overwritten_hundreds_of_times(guest):
    """A small buffer that is not read is overwritten many times."""
    trace = record(guest, "arm_spe/period=1024/u", "workload 500", "-m ,4 --snapshot=e")
    check_decodes(trace, 100)
    # 16 KiB hold 256 records; the workload makes about 50,000.
    assert int(guest.sh(INTERRUPTS)) > 100


def test_read_while_it_fills(guest):
    """A buffer that perf drains while it fills. Where perf is too late, the trace is flagged as truncated.

    If perf is too late on a busy machine, the event is disabled. perf enables it again when it finds new data. If there is
    none, this was the last AUX transaction.
    """
    before = int(guest.sh(INTERRUPTS))
    trace = record(guest, "arm_spe/period=8192/u", "taskset -c 1 workload 2000", "-m ,32 -C 1")
    check_decodes(trace, 1000)
    too_late = any(flags & TRUNCATED for _, _, flags in trace.aux)
    assert too_late or len(trace.aux) > 5, trace.aux
    end = 0
    for offset, size, _ in trace.aux:
        assert offset >= end, f"transaction at {offset:#x} before the end of the last, {end:#x}"
        end = offset + size
    assert int(guest.sh(INTERRUPTS)) - before >= len(trace.aux) // 2
