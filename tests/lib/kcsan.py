# SPDX-License-Identifier: GPL-2.0
"""Data races, on the kernel that looks for them (tests/env/kcsan.config)."""

import re
from collections import Counter

CONTROL = "/sys/kernel/debug/kcsan"
REPORT = re.compile(r"^==+\n(BUG: KCSAN: .*?)\n==+$", re.DOTALL | re.MULTILINE)


def reports(log):
    """The reports in a kernel log, whoever has a part in them."""
    return REPORT.findall(re.sub(r"^\[[^]]*\] |\r$", "", log, flags=re.MULTILINE))


#: What accesses the memory that perf shares with the driver. rustc instruments nothing: if the driver changes it meanwhile, that
#: is a race of unknown origin, and the driver is not named.
PERF = re.compile(r"data-race in (_*perf_|event_sched_|group_sched_|ctx_|merge_sched_in|visit_groups|rb_|ring_buffer_)")


#: The rest of a stack from the entry of an exception on. Who was interrupted there, or hit one of the tests' own probes, has no part
#: in what the kernel then accesses. (The driver's own interrupt handler is on the other side of it.)
INTERRUPTED = re.compile(r"^ el1h_64_.*\n(?: .*\n?)*", re.MULTILINE)


def concerns_driver(report):
    """Whether the driver has, or can have, a part in a race."""
    return "arm_spe" in INTERRUPTED.sub("", report) or "race at unknown origin" in report and bool(PERF.search(report))


def begin(guest):
    """Look for races from now on, if this kernel can. Returns whether it does."""
    return guest.run(f"echo on 2>/dev/null >{CONTROL}")[0] == 0


def summary(guest):
    """How much was looked at, and the races that the driver has no part in, as lines."""
    if guest.run(f"test -e {CONTROL}")[0]:
        return []
    titles = Counter(report.splitlines()[0] for report in reports(guest.log()) if not concerns_driver(report))
    return [guest.sh(f"cat {CONTROL}"), f"{titles.total()} data races without the driver:",
            *(f"    {number} times {title}" for title, number in titles.items())]
