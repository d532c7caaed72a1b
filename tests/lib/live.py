# SPDX-License-Identifier: GPL-2.0
"""Live events: what the trace event says, beside what the hardware has recorded and the driver has counted."""

import re
from collections import Counter
from dataclasses import dataclass

from machine import total
from spe import counters

TRACING = "/sys/kernel/tracing"
EVENT = "events/arm_spe/arm_spe_record"
#: An instance of its own, so that nothing else is in its buffers.
INSTANCE = f"{TRACING}/instances/live"

#: Histograms of the trace event, which lose nothing. The kernel allows three keys in each.
HISTOGRAMS = "hist:keys=id,period,el:size=16384", "hist:keys=common_pid,contextidr,el:size=16384"
GROUP = re.compile(r"^\{ (.*) \} hitcount: +(\d+)$", re.MULTILINE)
TOTALS = re.compile(r"Hits: (\d+)\n    Entries: \d+\n    Dropped: (\d+)$", re.MULTILINE)

#: A line of the trace: the task, the CPU, the event and its fields.
LINE = re.compile(r"^ *(?:.*)-(\d+) +\[(\d+)\] \S+ +[\d.]+: (\w+): (.*)$", re.MULTILINE)

#: `name number` and `name=number`.
FACT = re.compile(r"\b(\w+)[ =](\d+)\b")
#: The count in a line of `perf stat -x,`.
COUNT = re.compile(r"^(?:CPU\d+,)?(\d+),,[^,]*live=1", re.MULTILINE)

MOUNT = f"mountpoint -q {TRACING} || mount -t tracefs tracefs {TRACING}"


@dataclass
class Heard:
    """What happened during a script."""

    #: Its output.
    output: str
    #: Hits of the trace event by (id, period, el), and by (common_pid, contextidr, el).
    events: Counter
    tasks: Counter
    #: What the driver has counted.
    counted: dict
    #: What the units have done, if somebody can be asked.
    made: dict | None

    @property
    def hits(self):
        """The number of trace events."""
        return self.events.total()

    @property
    def facts(self):
        """The numbers in the output of progs/live.c."""
        return {name: int(number) for name, number in FACT.findall(self.output)}

    def of(self, number):
        """Returns the number of trace events of one id."""
        return sum(hits for (event, _, _), hits in self.events.items() if event == number)


def histograms(text):
    """Returns the histograms in the file `hist` of the trace event, each a Counter by its keys."""
    found = []
    for part in text.split("# event histogram\n")[1:]:
        groups = Counter({tuple(int(key.split(":")[1]) for key in keys.split(",")): int(hits)
                          for keys, hits in GROUP.findall(part)})
        hits, dropped = map(int, TOTALS.search(part).groups())
        assert not dropped and hits == groups.total(), part[-300:]
        found.append(groups)
    return found


def set_histograms(guest, sign=""):
    """Makes the histograms, or removes them ("!")."""
    guest.sh("\n".join(f"echo '{sign}{one}' >>{TRACING}/{EVENT}/trigger" for one in HISTOGRAMS))


def heard(guest, script, timeout=200, exact=True):
    """Runs a script in which live events alone record. Returns Heard, whose three numbers of records agree.

    exact: False if the units have written what is no record.
    """
    guest.sh(MOUNT)
    made, counted = guest.hardware(), counters(guest)
    set_histograms(guest)
    try:
        output = guest.sh(script, timeout)
        text = guest.sh(f"cat {TRACING}/{EVENT}/hist", timeout)
    finally:
        set_histograms(guest, "!")
    by_keys = {keys: groups for keys, groups in zip(re.findall(r"trigger info: hist:keys=([\w,.]+):", text), histograms(text))}
    events, tasks = (next(groups for keys, groups in by_keys.items() if keys.startswith(first)) for first in ("id", "common_pid"))
    counted = {name: count - counted[name] for name, count in counters(guest).items()}
    if made is not None:
        before = total(made)
        made = {name: count - before[name] for name, count in total(guest.hardware()).items()}
    result = Heard(output, events, tasks, counted, made)
    assert events.total() == tasks.total() == counted["live_records"], result
    if exact:
        assert not counted["live_malformed"], result
        assert made is None or made["records"] == result.hits, result
    return result


def stat(guest, event, command, options="", **keywords):
    """Runs `perf stat` of one live event. Returns the sum of its counts, and Heard."""
    result = heard(guest, f"perf stat -x, -o /tmp/stat {options} -e '{event}' -- {command} >/dev/null; cat /tmp/stat", **keywords)
    counts = [int(count) for count in COUNT.findall(result.output)]
    assert counts, result.output
    return sum(counts), result


def traced(guest, script, events=(EVENT,), timeout=200):
    """Runs a script. Returns the lines of the trace of each CPU: [(pid, event, fields)], in order, with none lost."""
    guest.sh(f"""{MOUNT}
mkdir {INSTANCE}
cd {INSTANCE}
echo 16384 >buffer_size_kb
for event in {' '.join(events)}; do echo 1 >$event/enable; done""")
    try:
        guest.sh(script, timeout)
        guest.sh(f"cd {INSTANCE}; for event in {' '.join(events)}; do echo 0 >$event/enable; done")
        stats = guest.sh(f"cat {INSTANCE}/per_cpu/cpu*/stats")
        assert not any(map(int, re.findall(r"^(?:overrun|commit overrun|dropped events): (\d+)", stats, re.MULTILINE))), stats
        text = guest.sh(f"cat {INSTANCE}/trace", timeout)
    finally:
        guest.sh(f"rmdir {INSTANCE}")
    lines = {}
    for pid, cpu, event, fields in LINE.findall(text):
        lines.setdefault(int(cpu), []).append((int(pid), event, fields))
    assert sum(map(len, lines.values())) == sum(map(int, re.findall(r"^entries: (\d+)", stats, re.MULTILINE)))
    return lines
