# SPDX-License-Identifier: GPL-2.0
"""The buffer is full many times: the trace goes on, in order, and every byte decodes."""

import pytest

from spe import TRUNCATED, check_decodes, record, two_cpus

pytestmark = pytest.mark.board

#: Interrupts of the profiling unit so far, all CPUs.
INTERRUPTS = "awk '/arm[_-]spe/ { for (n = 2; $n ~ /^[0-9]+$/; n++) sum += $n } END { print sum + 0 }' /proc/interrupts"


def test_overwritten_hundreds_of_times(guest):
    """A small buffer that is not read is overwritten many times, as often as its size allows."""
    # Two pages at least.
    size = max(1 << 14, 2 * int(guest.sh("getconf PAGESIZE")))
    trace = record(guest, "arm_spe/period=1024/u", "workload 500", f"-m ,{size}B --snapshot=e")
    check_decodes(trace, 100)
    # 16 KiB hold 256 records; the workload makes about 50,000.
    assert int(guest.sh(INTERRUPTS)) > 100 * (1 << 14) // size


def test_read_while_it_fills(guest):
    """A buffer that perf drains while it fills. Where perf is too late, the trace is flagged as truncated.

    If perf is too late on a busy machine, the event is disabled. perf enables it again when it finds new data. If there is
    none, this was the last AUX transaction.
    """
    before = int(guest.sh(INTERRUPTS))
    cpu = two_cpus(guest)[1]    # not the one that has most interrupts
    trace = record(guest, "arm_spe/period=8192/u", f"taskset -c {cpu} workload 2000", f"-m ,128K -C {cpu}")
    check_decodes(trace, 1000)
    too_late = any(flags & TRUNCATED for _, _, flags in trace.aux)
    assert too_late or len(trace.aux) > 5, trace.aux
    end = 0
    for offset, size, _ in trace.aux:
        assert offset >= end, f"transaction at {offset:#x} before the end of the last, {end:#x}"
        end = offset + size
    assert int(guest.sh(INTERRUPTS)) - before >= len(trace.aux) // 2
