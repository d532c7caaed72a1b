# SPDX-License-Identifier: GPL-2.0
"""perf record -S takes a snapshot of the trace at each SIGUSR2.

The workload is perf's child and sends the signals itself, between its own rounds. It waits for perf's output file to
grow after each.
"""

from machine import total
from spe import check_decodes, recorded


CHILD = """
grown() { [ "$(stat -c %s /tmp/perf.data)" -gt "$1" ]; }
for snapshot in $(seq SNAPSHOTS); do
    workload 10 >/dev/null
    size=$(stat -c %s /tmp/perf.data)
    kill -USR2 $PPID
    until grown $size; do workload 1 >/dev/null; done
done
"""

RECORD = 64
#: The largest records.
LARGE = "spe=on,spe-align=2048,spe-max-record-size=2048"


def snapshots(guest, count, event, options):
    """Records so many snapshots. Returns the Trace."""
    return recorded(guest, f"cat >/tmp/child <<'END'{CHILD.replace('SNAPSHOTS', str(count))}END\n"
                    f"perf record -o /tmp/perf.data -S -e {event} {options} -- taskset -c 1 bash /tmp/child")


def test_two_snapshots(guest):
    trace = snapshots(guest, 2, "arm_spe/period=4096/u", "")
    assert len([size for size, _, _ in trace.buffers if size]) >= 2
    check_decodes(trace, 100)


def test_wrapped(guest):
    """The buffer wraps many times before each snapshot, which has the end of the trace, in order."""
    size = max(8 * 4096, 2 * int(guest.sh("getconf PAGESIZE")))
    trace = snapshots(guest, 4, "arm_spe/period=256,ts_enable=1/u", f"-C 1 -m ,{size}B")
    taken = {}
    for sample in trace.records:
        taken.setdefault(sample.buffer, []).append(sample.timestamp)
    assert not trace.undecodable
    # perf takes a last one at its end.
    assert len(taken) >= 4
    written = sum(size for _, size, _ in trace.aux)
    assert written > 20 * size, "the buffer has hardly gone round"
    for stamps in list(taken.values())[:4]:
        assert len(stamps) >= size // RECORD // 2, f"{len(stamps)} records"
    stamps = [stamp for buffer in sorted(taken) for stamp in taken[buffer]]
    assert stamps == sorted(stamps)


def test_smallest(boot, driver):
    """A buffer of two pages, sampling the kernel at the shortest period. With pages of 4 KiB a half is full after two
    records, 512 operations, and the exit from the interrupt handler is sampled, too. The task still makes progress. On
    PREEMPT_RT that exit goes through the scheduler and is longer: there the task makes no progress, with the C driver
    as with this one, unless the half takes twice as many operations."""
    guest = boot(spe=LARGE)
    guest.load(driver)
    before = total(guest.hardware())["interrupts"]
    period = 512 if "PREEMPT_RT" in guest.sh("uname -v") else 256
    recorded(guest, f"perf record -o /tmp/perf.data -S -e arm_spe/period={period}/k -m ,2 -- taskset -c 1 workload 3")
    assert total(guest.hardware())["interrupts"] > before + 1000 * 4096 // int(guest.sh("getconf PAGESIZE"))
