# SPDX-License-Identifier: GPL-2.0
"""perf record -S takes a snapshot of the trace whenever it gets SIGUSR2."""

from spe import check_decodes, trace_of


def test_two_snapshots(guest):
    # The workload is perf's child and sends the signals itself, between its own rounds. perf answers
    # each by a new file position of its output, which the workload waits for.
    guest.sh(r"""
snapshot() {
    cat >/tmp/child <<'END'
grown() { [ "$(stat -c %s /tmp/perf.data)" -gt "$1" ]; }
for snapshot in 1 2; do
    workload 10 >/dev/null
    size=$(stat -c %s /tmp/perf.data)
    kill -USR2 $PPID
    until grown $size; do workload 1 >/dev/null; done
done
END
    perf record -o /tmp/perf.data -S -e arm_spe/period=4096/u -- bash /tmp/child
}
snapshot
""")
    trace = trace_of(guest)
    assert len([size for size, _, _ in trace.buffers if size]) >= 2
    check_decodes(trace, 100)
