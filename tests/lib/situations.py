# SPDX-License-Identifier: GPL-2.0
"""Situations in which a driver of SPE has to report its state to perf, and the results of a driver."""

import re

import rules
from machine import COMPLAINTS
from perf_core import set_up, watched
from rules import AUX_SIZE, PAGE, Run

#: A line of the programs' output.
FACT = re.compile(r"^(\w+) (0x[0-9a-f]+|\d+)$", re.MULTILINE)

CORRECT = "correct"

SPE = "arm_spe/period=1024/"
#: Below the sample limit of any machine; and more often, for where the buffer is full at once.
CYCLES = "cycles/period=1000000/"
MORE_CYCLES = "cycles/period=50000/"

#: For `throttle`. The kernel accepts a limit only while it may lower that by itself.
LIMIT_SAMPLES = ("echo 25 >/proc/sys/kernel/perf_cpu_time_max_percent; "
                 "echo 1000 >/proc/sys/kernel/perf_event_max_sample_rate")


def perf_record(group, options=""):
    """Returns the command for perf record of a group."""
    return f"perf record -o /tmp/perf.data -e '{{{group}}}:u' {options} -- workload 20 2>&1"


#: {name: (the command in the guest, the rule that it is checked by)}.
SITUATIONS = {
    "no space for `{arm_spe//,cycles}`":
        ("room 63 16384", rules.refused()),
    "no space for `{cycles,arm_spe//}`":
        ("room -c 63 16384", rules.refused()),
    "no space for `{arm_spe//,cycles}:D`":
        ("room -p 63 16384", rules.refused(leader="spe")),
    "no space for `{cycles,arm_spe//}:D`":
        ("room -c -p 63 16384", rules.refused(leader="cycles")),
    "space for `{arm_spe//,cycles}`":
        ("room 16383 4096", rules.together),
    "space for `{cycles,arm_spe//}`":
        ("room -c 16383 4096", rules.together),
    "space for `{arm_spe//,cycles}:D`":
        ("room -p 16383 4096", rules.together),
    "space for `{cycles,arm_spe//}:D`":
        ("room -c -p 16383 4096", rules.together),
    "the interrupt handler finds no free byte":
        ("room 4096 16384", rules.stopped_at_once),
    "the interrupt handler finds free bytes, but not a page":
        ("room 4159 16384", rules.stopped_at_once_and_reported),
    "buffer never drained":
        ("reader never", rules.never_drained),
    "buffer drained late":
        ("reader late", rules.drained_late),
    "buffer drained a few bytes at a time":
        ("reader drip", rules.drained_by_drips),
    "wakeup watermark smaller than a record":
        ("reader prompt 32", rules.drained_in_time(32)),
    "wakeup watermark of a page":
        ("reader prompt 4096", rules.drained_in_time(PAGE)),
    "wakeup watermark of half the buffer":
        ("reader prompt 8192", rules.drained_in_time(AUX_SIZE // 2)),
    "enabled before a buffer is mapped":
        ("lifetime no-buffer", rules.waits_for_a_buffer),
    "buffer unmapped while sampling":
        ("lifetime unmap", rules.survives_unmapping),
    "event closed while sampling":
        ("lifetime close", rules.lives_on),
    "task exits while sampling":
        ("lifetime exit", rules.lives_on),
    "task migrates while sampling":
        ("lifetime migrate", rules.migrates),
    "task forks, children inherit":
        ("lifetime inherit", rules.inherited),
    "`perf stat -e '{arm_spe//,cycles}'`":
        (f"perf stat -x, -e '{{{SPE},cycles}}:u' workload 5 2>&1", rules.counts_nothing),
    "`perf record -e '{arm_spe//,cycles}'`":
        (perf_record(f"{SPE},{CYCLES}"), rules.recorded),
    "`perf record -e '{cycles,arm_spe//}'`":
        (perf_record(f"{CYCLES},{SPE}"), rules.recorded),
    "`perf record -e '{arm_spe//,cycles}' -m ,4`":
        (perf_record(f"{SPE},{MORE_CYCLES}", "-m ,4"), rules.recorded),
    "the counter in the group is throttled":
        (f"{LIMIT_SAMPLES}; throttle", rules.survives_throttling),
}

#: The situations in which the driver has to report that there is no space.
NO_SPACE = [name for name in SITUATIONS if name.startswith("no space")]


def prepare(guest):
    """Prepares a guest for verdict(): its kernel must not limit samples because interrupts take long in it."""
    set_up(guest)
    guest.sh("echo 0 >/proc/sys/kernel/perf_cpu_time_max_percent")


def complaints(guest):
    """Returns the number of complaints in the kernel log."""
    return len(COMPLAINTS.findall(guest.sh("dmesg")))


def verdict(guest, name):
    """Returns what the driver does in the situation of that name, in words."""
    command, rule = SITUATIONS[name]
    before = complaints(guest)
    with guest.registers() as writes, watched(guest) as seen:
        output = guest.sh(command)
    facts = {name: int(value, 0) for name, value in FACT.findall(output)}
    done = Run(guest, output, facts, seen, writes)
    wrong = [*rule(done), *rules.always(done)]
    if complaints(guest) != before:
        wrong.append("the kernel warns")
    return "; ".join(dict.fromkeys(wrong)) or CORRECT
