# SPDX-License-Identifier: GPL-2.0
"""What a driver does when the profiling unit fails: every fault, in every mode, judged by rules.

`make fault-table` lets each driver under test write what it did to docs/faults.md.

The rules are those of perf_event_open(2) and of the architecture, and know no driver:

- What stops the unit for good ends the trace: perf is told that data is missing (TRUNCATED), and that the
  last record is not complete where PMBSR_EL1.DL says so (PARTIAL). perf then disables the event: it does not
  go on running while nothing is sampled. A full buffer, a collision and a stray interrupt stop nothing.
- Samples that collided are reported as such (COLLISION) in the trace that they are missing from.
- perf is told of nothing else, and nothing is told twice, or to an event that was not there.
- What perf receives is what the hardware wrote: record by record, unless it was told that data is missing.
- A fault is in the kernel log with its syndrome. What happens on every good day is not.
- A lost interrupt cannot be noticed: what it was about is told when the event is stopped.
- In discard mode there is no trace to mark: the log has to do. While no event samples there is nobody to tell.
- Afterwards the same event can be enabled again, and a new one records. The other CPU goes on meanwhile.
"""

import json
import re
from dataclasses import dataclass

from machine import COMPLAINTS
from paths import TOP
from spe import COLLISION, OVERWRITE, PARTIAL, TRUNCATED

TABLE = TOP / "docs" / "faults.md"
VERDICTS = TOP / "build" / "faults.json"

AS_IT_SHOULD = "as it should"
REFUSED = "refused"
HANGS = "the CPU hangs in the interrupt"

FACT = re.compile(r"^(\w+) (0x[0-9a-f]+|\d+)$", re.MULTILINE)

#: Fields of PMBSR_EL1: S, EA, DL, EC.
STOPPED, EXTERNAL, LOSS = 1 << 17, 1 << 18, 1 << 19

RECORD = 64
#: So many records come before one that fails.
AFTER = 10
#: So many at the least belong to each part of fault.c.
PART = 24

#: Nothing is mapped there, for nobody.
NOWHERE = "0x1000"


@dataclass(frozen=True)
class Fault:
    """A fault."""

    #: What is injected, in this order: with a record, and at once.
    with_record: list
    at_once: list
    #: What perf is to be told.
    flags: int = 0
    #: The syndrome that the log is to have, if any; None: whatever the log says is right.
    log: int | None = 0
    #: The interrupt does not come.
    lost_interrupt: bool = False
    #: The hardware writes, or says that it does, where it should not.
    stray: bool = False

    @property
    def stops(self):
        """The trace ends."""
        return bool(self.flags & TRUNCATED)


def fault(what, *first, **keywords):
    """A Fault that is injected alike at any time, after others that are injected at once."""
    return Fault([*first, f"{what},after={AFTER}"], [*first, what], **keywords)


def syndrome(exception_class, status, bits=0):
    """PMBSR_EL1."""
    return STOPPED | exception_class << 26 | status | bits


FAULTS = {
    "stage 1 fault": fault("fault,fsc=0x07", flags=TRUNCATED, log=syndrome(0x24, 0x07)),
    "stage 1 fault within a record": fault("fault,fsc=0x0f,partial=24", flags=TRUNCATED | PARTIAL,
                                           log=syndrome(0x24, 0x0f, LOSS)),
    "stage 1 fault, data lost": fault("fault,fsc=0x07,dl=on", flags=TRUNCATED | PARTIAL, log=syndrome(0x24, 0x07, LOSS)),
    "stage 2 fault": fault("fault,stage=2,fsc=0x0b", flags=TRUNCATED, log=syndrome(0x25, 0x0b)),
    "granule protection fault": fault("granule-fault", flags=TRUNCATED, log=syndrome(0x1e, 0)),
    "granule protection fault within a record": fault("granule-fault,partial=24", flags=TRUNCATED | PARTIAL,
                                                      log=syndrome(0x1e, 0, LOSS)),
    "external abort": fault("external-abort", flags=TRUNCATED, log=syndrome(0x24, 0x10, EXTERNAL)),
    "external abort, stage 2": fault("external-abort,stage=2", flags=TRUNCATED, log=syndrome(0x25, 0x10, EXTERNAL)),
    "buffer full, although it is not": fault("full"),
    "buffer full, data lost": fault("full,dl=on", flags=TRUNCATED | PARTIAL, log=None),
    "unknown buffer status": fault("event,ec=0,mss=2", flags=TRUNCATED, log=syndrome(0, 2)),
    "unknown class": fault("event,ec=0x3f,mss=0xabcd", flags=TRUNCATED, log=syndrome(0x3f, 0xabcd)),
    "unknown class, abort, data lost": fault("event,ec=0x21,mss=1,dl=on,ea=on", flags=TRUNCATED | PARTIAL,
                                             log=syndrome(0x21, 1, LOSS | EXTERNAL)),
    # Where it is not noticed, the next event that is looked at is told of it: below, one whose interrupt is lost.
    "collision": fault("collision", flags=COLLISION),
    "spurious interrupt": fault("spurious-interrupt"),
    "stage 1 fault, interrupt lost": fault("fault,fsc=0x07", "lost-interrupt", flags=TRUNCATED,
                                           log=syndrome(0x24, 0x07), lost_interrupt=True),
    "buffer full, interrupt lost": fault("full", "lost-interrupt", lost_interrupt=True),
    # The next record cannot be written there. At once, it is noticed when the unit next says something.
    "write pointer moved outside": Fault(
        [f"pointer,value={NOWHERE},after={AFTER}"], [f"pointer,value={NOWHERE}", "full"],
        flags=TRUNCATED, log=STOPPED, stray=True),
}


@dataclass(frozen=True)
class Mode:
    """How is recorded."""

    #: What fault.c is asked for.
    argument: str
    #: Injected at once, while an event is on its CPU but nothing is written at that moment.
    at_once: bool = False
    #: There is a buffer.
    buffer: bool = True
    #: An event samples.
    event: bool = True


MODES = {
    "per task": Mode("task"),
    "per CPU": Mode("cpu"),
    "system-wide": Mode("system"),
    "system-wide, between records": Mode("system", at_once=True),
    "snapshot": Mode("snapshot"),
    "grouped": Mode("group"),
    "inherited": Mode("inherit"),
    "paused": Mode("paused", at_once=True),
    "discard": Mode("discard", at_once=True, buffer=False),
    "no event": Mode("off", at_once=True, buffer=False, event=False),
}


@dataclass
class Run:
    """What there is to judge by."""

    mode: Mode
    fault: Fault
    facts: dict
    #: What the kernel has said.
    log: str
    #: The counters of the units of CPU 0 and CPU 1: what has come from the beginning until the injection, until fault.c
    #: was through with the time of the fault, and until the end.
    injected: list
    then: list
    made: list


def told(done):
    """The flags."""
    facts, wrong = done.facts, done.fault.flags if done.mode.buffer else 0
    flags = facts.get("flags", 0) & ~OVERWRITE
    if done.fault.lost_interrupt and not done.fault.flags:
        # Nothing was sampled for want of room, as it seemed: that may be told.
        flags &= ~TRUNCATED
    missing, false = wrong & ~flags, flags & ~wrong
    if missing & TRUNCATED:
        yield "perf is not told of missing data"
    if missing & PARTIAL:
        yield "perf is not told that a record is not complete"
    if missing & COLLISION:
        yield "perf is not told of a collision"
    if false or facts.get("again_flags", 0) & ~OVERWRITE:
        yield "perf is told what did not happen"
    if facts["next_flags"]:
        yield "a new event is told of it"


def runs(done):
    """Whether the event runs as long as perf says so."""
    facts, unit = done.facts, 1
    if not done.mode.event or done.fault.lost_interrupt:
        return
    running = facts["two_spe_running"] > facts["one_spe_running"]
    if done.mode.buffer:
        records = done.then[unit]["records"] if done.mode.at_once else facts["complete"]
        before = done.injected[unit]["records"] if done.mode.at_once else AFTER
    else:
        records, before = done.then[unit]["discarded"], done.injected[unit]["discarded"]
    # At the time of the fault itself there may be one more.
    samples = records > before + 1
    if done.fault.stops:
        # Without a trace there is nothing by which perf could be told to disable the event, and nothing missing.
        if running and not samples and done.mode.buffer:
            yield "perf says that it runs, and nothing is sampled"
        if samples and done.mode.buffer:
            yield "sampled on"
    elif not running:
        yield "stopped without a reason"
    elif not samples:
        yield "perf says that it runs, and nothing is sampled"
    if "end_cycles_running" in facts:
        for state in "enabled", "running":
            if facts[f"end_spe_{state}"] != facts[f"end_cycles_{state}"]:
                yield f"members of the group {state} for different times"


def accounted(done):
    """Each record that the hardware has written is one that perf has received, or knows to be missing."""
    facts, unit = done.facts, done.made[1]
    if any(value for name, value in facts.items() if name.endswith("wrong")):
        yield "perf is given what was not written"
    received = sum(facts.get(f"{part}complete", 0) for part in ("", "again_", "next_"))
    fragments = sum(facts.get(f"{part}fragments", 0) for part in ("", "again_", "next_"))
    truncated = facts.get("flags", 0) & TRUNCATED
    if received > unit["records"] or received < unit["records"] and not (done.fault.stray and truncated):
        yield "perf does not receive what was written"
    if bool(fragments) != bool(unit["partial"]):
        yield "perf does not receive the part of a record"
    if unit["dropped"] and not truncated and not done.fault.flags & TRUNCATED:
        yield "a record is lost, and perf is not told"
    if "bytes" in facts and facts["bytes"] != received * RECORD + fragments + RECORD * facts.get("other_complete", 0):
        yield "the driver has counted other bytes"


def afterwards(done):
    """Recording works again."""
    facts = done.facts
    again = facts.get("again_complete", 0)
    if done.mode.event and not done.mode.buffer:
        again = done.made[1]["discarded"] - done.then[1]["discarded"]
    if done.mode.event and again < PART:
        yield "does not record again"
    if facts["next_complete"] < PART:
        yield "a new event does not record"


def logged(done):
    """What the log has."""
    lines = re.findall(r"^.*PMBSR=0x([0-9a-f]+).*$", done.log, re.MULTILINE)
    wanted = done.fault.log
    if wanted is None:
        return
    if done.fault.stray and not done.mode.buffer or done.fault.lost_interrupt and not done.mode.event:
        # Without a buffer the pointer means nothing; without an event and an interrupt, nobody looks.
        return
    if not wanted:
        if lines:
            yield "the log complains without a reason"
    elif not any(int(line, 16) & wanted == wanted for line in lines):
        yield "the fault is not in the log"


def neighbour(done):
    """The other CPU goes on."""
    facts = done.facts
    if "other_complete" not in facts:
        return
    # fault.c: 16 records before, 64 after.
    if facts["other_flags"] or facts["other_complete"] != done.made[0]["records"] or facts["other_complete"] < 80 \
            or facts["other_spe_running"] != facts["other_spe_enabled"]:
        yield "the other CPU is disturbed"


def healthy(done):
    """The kernel, and the driver if it checks itself."""
    if done.facts.get("mismatches"):
        yield "the state is not that of the unit"
    if COMPLAINTS.search(done.log):
        yield "the kernel complains"


RULES = [told, runs, accounted, afterwards, logged, neighbour, healthy]


def prepare(guest):
    """Make a guest ready for verdict().

    Each fault is to have its message. And what talks to the harness is to survive when CPU 1 is never heard of again.
    """
    guest.sh("echo 0 >/proc/sys/kernel/printk_ratelimit; taskset -pc 0 $PPID;"
             "for irq in /proc/irq/*/smp_affinity; do echo 1 2>/dev/null >$irq; done; true")


def delta(guest, before):
    """What has been counted on each CPU since."""
    return [{name: now[name] - was[name] for name in now} for now, was in zip(guest.hardware(), before)]


def own_counters(guest):
    """What the driver has counted, if it counts."""
    counted = {}
    for line in guest.sh("cat /sys/kernel/debug/arm_spe_*/cpu* 2>/dev/null || true").splitlines():
        name, value = line.split()
        counted[name] = counted.get(name, 0) + int(value)
    return {name: value for name, value in counted.items() if name in ("bytes", "mismatches")}


def verdict(guest, mode, fault):
    """What the driver does with a fault in a mode, by their names, in words that do not change from run to run."""
    mode, fault = MODES[mode], FAULTS[fault]
    counted, before = own_counters(guest), guest.hardware()
    injected = then = None

    def inject(injections):
        # One may have to come before the other one does something.
        guest.qmp("stop")
        for injection in injections:
            guest.inject(1, injection)
        guest.qmp("cont")

    if not mode.at_once:
        inject(fault.with_record)
    guest.begin(f"dmesg -C; fault {mode.argument} {'ask' if mode.at_once else ''} && dmesg")
    if mode.at_once and guest.hear():
        inject(fault.at_once)
        injected = delta(guest, before)
        guest.answer()
        if mode.event and guest.hear():
            then = delta(guest, before)
            guest.answer()
    status, output = guest.finish()
    facts = {name: int(value, 0) for name, value in FACT.findall(output)}
    if status:
        assert mode.argument == "paused" and "perf_event_open: Operation not supported" in output, output
        return REFUSED
    if "storm" in facts:
        return HANGS
    facts |= {name: value - counted[name] for name, value in own_counters(guest).items()}
    done = Run(mode, fault, facts, output, injected, then, delta(guest, before))
    wrong = [words for rule in RULES for words in rule(done)]
    return "; ".join(dict.fromkeys(wrong)) or AS_IT_SHOULD


#: The drivers, as DRIVER= names them, and as the table does.
DRIVERS = {"rust": "This driver", "c": "The stock kernel's C driver"}

BETWEEN = {driver: re.compile(rf"(<!-- {driver}: .*? -->\n)(.*?)(<!-- end -->\n)", re.DOTALL) for driver in DRIVERS}


def render(verdicts):
    """The table of a driver: {fault: {mode: verdict}}."""
    words = dict.fromkeys(word for row in verdicts.values() for verdict in row.values()
                          for word in verdict.split("; ") if verdict not in (AS_IT_SHOULD, REFUSED))
    number = {word: str(n) for n, word in enumerate(words, 1)} | {AS_IT_SHOULD: "ok", REFUSED: "-"}
    lines = ["| fault | " + " | ".join(MODES) + " |", "| --- |" + " --- |" * len(MODES)]
    for fault, row in verdicts.items():
        cells = [", ".join(number[word] for word in row[mode].split("; ")) for mode in MODES]
        lines.append(f"| {fault} | " + " | ".join(cells) + " |")
    legend = "".join(f"{number[word]}. {word}\n" for word in words)
    return "\n".join(lines) + "\n" + ("\n" + legend if legend else "")


def stated(driver):
    """The table of a driver, as the file has it."""
    return BETWEEN[driver].search(TABLE.read_text())[2]


def write():
    """Write the tables of the drivers that have run."""
    verdicts = json.loads(VERDICTS.read_text()) if VERDICTS.exists() else {}
    text = TABLE.read_text()
    for driver, pattern in BETWEEN.items():
        if driver not in verdicts:
            raise SystemExit(f"error: {DRIVERS[driver]} was not run: {TABLE.name} keeps its tables")
        text = pattern.sub(lambda match, driver=driver: match[1] + render(verdicts[driver]) + match[3], text)
    TABLE.write_text(text)
