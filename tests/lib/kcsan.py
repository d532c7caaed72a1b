# SPDX-License-Identifier: GPL-2.0
"""Data races on the kernel with KCSAN (tests/env/kcsan.config)."""

import re
from collections import Counter

CONTROL = "/sys/kernel/debug/kcsan"
REPORT = re.compile(r"^==+\n(BUG: KCSAN: .*?)\n==+$", re.DOTALL | re.MULTILINE)


def reports(log):
    """Returns all reports in a kernel log."""
    return REPORT.findall(re.sub(r"^\[[^]]*\] |\r$", "", log, flags=re.MULTILINE))


#: perf's code that accesses the memory shared with the driver. rustc does not instrument: a concurrent change by the
#: driver is a race of unknown origin, and the driver is not named.
PERF = re.compile(r"data-race in (_*perf_|event_sched_|group_sched_|ctx_|merge_sched_in|visit_groups|rb_|ring_buffer_)")


#: The rest of a stack from the entry of an exception on. Code that was interrupted there, or hit one of the tests' own
#: probes, has no part in the kernel's accesses after it. (The driver's own interrupt handler is on the other side.)
INTERRUPTED = re.compile(r"^ el1h_64_.*\n(?: .*\n?)*", re.MULTILINE)


def concerns_driver(report):
    """Returns whether the driver has, or can have, a part in a race."""
    return "arm_spe" in INTERRUPTED.sub("", report) or "race at unknown origin" in report and bool(PERF.search(report))


def begin(guest):
    """Turns KCSAN on. Returns whether this kernel has it."""
    return guest.run(f"echo on 2>/dev/null >{CONTROL}")[0] == 0


def summary(guest):
    """Returns KCSAN's statistics and the races without the driver, as lines."""
    if guest.run(f"test -e {CONTROL}")[0]:
        return []
    titles = Counter(report.splitlines()[0] for report in reports(guest.log()) if not concerns_driver(report))
    return [guest.sh(f"cat {CONTROL}"), f"{titles.total()} data races without the driver:",
            *(f"    {number} times {title}" for title, number in titles.items())]
