# SPDX-License-Identifier: GPL-2.0
"""The buffer fills up hundreds of times: the trace goes on, in order, and every byte decodes."""

from spe import check_decodes, record


def test_small_buffer(guest):
    trace = record(guest, "arm_spe/period=256/u", "workload 60", "-m ,4")
    check_decodes(trace, 5000)
    # Each buffer handed over is one perf_aux_output_begin/end session.
    assert len(trace.aux) > 100, len(trace.aux)
    interrupts = guest.sh("grep 'arm_spe\\|arm-spe' /proc/interrupts | awk '{ print $2 + $3 }'")
    assert int(interrupts) > 50, interrupts


def test_offsets_follow(guest):
    """What one session ends with is where the next begins."""
    trace = record(guest, "arm_spe/period=1024/u", "taskset -c 1 workload 20", "-m ,8 -C 1")
    check_decodes(trace, 100)
    end = 0
    for offset, size, _ in trace.aux:
        assert offset >= end, f"session at {offset:#x} before the end of the last, {end:#x}"
        end = offset + size
