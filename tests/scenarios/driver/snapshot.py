# SPDX-License-Identifier: GPL-2.0
"""perf record -S takes a snapshot of the trace whenever it gets SIGUSR2.

The workload is perf's child and sends the signals itself, between its own rounds. perf answers each by
a new file position of its output, which the workload waits for.
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

PAGE = 4096
RECORD = 64
#: Each record takes as much as it can.
LARGE = "spe=on,spe-align=2048,spe-max-record-size=2048"


def snapshots(guest, count, event, options):
    """Record so many snapshots; the Trace."""
    return recorded(guest, f"cat >/tmp/child <<'END'{CHILD.replace('SNAPSHOTS', str(count))}END\n"
                    f"perf record -o /tmp/perf.data -S -e {event} {options} -- taskset -c 1 bash /tmp/child")


def test_two_snapshots(guest):
    trace = snapshots(guest, 2, "arm_spe/period=4096/u", "")
    assert len([size for size, _, _ in trace.buffers if size]) >= 2
    check_decodes(trace, 100)


def test_wrapped(guest):
    """The buffer goes round many times before each snapshot, which holds the end of it, in order."""
    pages = 8
    trace = snapshots(guest, 4, "arm_spe/period=256,ts_enable=1/u", f"-C 1 -m ,{pages}")
    taken = {}
    for sample in trace.records:
        taken.setdefault(sample.buffer, []).append(sample.timestamp)
    assert not trace.undecodable
    # The last one is taken when perf ends, of what came since.
    assert len(taken) >= 4
    written = sum(size for _, size, _ in trace.aux)
    assert written > 20 * pages * PAGE, "the buffer has hardly gone round"
    for stamps in list(taken.values())[:4]:
        assert len(stamps) >= pages * PAGE // RECORD // 2, f"{len(stamps)} records"
    stamps = [stamp for buffer in sorted(taken) for stamp in taken[buffer]]
    assert stamps == sorted(stamps)


def test_smallest(boot, driver):
    """Two pages, sampling the kernel as often as can be: a half is full after two records, 512 operations, if a page is
    4 KiB, and the way out of the interrupt handler is sampled, too. The task still gets on. On PREEMPT_RT that way goes
    through the scheduler, and is longer than that: there the task gets nowhere, with the C driver as with this one, unless the
    half takes twice as many operations."""
    guest = boot(spe=LARGE)
    guest.load(driver)
    before = total(guest.hardware())["interrupts"]
    period = 512 if "PREEMPT_RT" in guest.sh("uname -v") else 256
    recorded(guest, f"perf record -o /tmp/perf.data -S -e arm_spe/period={period}/k -m ,2 -- taskset -c 1 workload 3")
    assert total(guest.hardware())["interrupts"] > before + 1000 * 4096 // int(guest.sh("getconf PAGESIZE"))
