# SPDX-License-Identifier: GPL-2.0
"""The results of a driver when the profiling unit fails: every fault, in every mode, checked by rules.

`make fault-table` writes the results of each driver to docs/faults.md.

The rules are those of perf_event_open(2) and of the architecture, and the same for each driver:

- An error that stops the unit ends the trace. The AUX record has the flag TRUNCATED, and PARTIAL as well if
  PMBSR_EL1.DL says that the last record is not complete. perf then disables the event: it does not go on running while
  nothing is sampled. A full buffer, a collision and a spurious interrupt stop nothing.
- Samples that collided are reported (COLLISION) in the trace that they are missing from.
- Nothing else is reported to perf, nothing twice, and nothing to an event that was not there.
- perf receives what the hardware wrote, record by record, unless the flags say that data is missing.
- A fault is in the kernel log with its syndrome. What happens in normal operation is not.
- A lost interrupt cannot be noticed: its cause is reported when the event is stopped.
- In discard mode there is no trace to flag, and without an event none at all: there is only the log.
- Afterwards the same event can be enabled again, and a new one records. The other CPU is not disturbed.
"""

import json
import re
from dataclasses import dataclass

from machine import COMPLAINTS
from paths import TOP
from situations import CORRECT, FACT
from spe import COLLISION, OVERWRITE, PARTIAL, TRUNCATED

TABLE = TOP / "docs" / "faults.md"
VERDICTS = TOP / "build" / "faults.json"

REFUSED = "refused"
HANGS = "the CPU hangs in the interrupt"

#: Fields of PMBSR_EL1: S, EA, DL, EC.
STOPPED, EXTERNAL, LOSS = 1 << 17, 1 << 18, 1 << 19

RECORD = 64
#: The number of records before one that fails.
AFTER = 10
#: The least number of records in each part of fault.c.
PART = 24

#: An address where nothing is mapped.
NOWHERE = "0x1000"


@dataclass(frozen=True)
class Fault:
    """A fault, and how a driver has to report it."""

    #: The injections, in this order: with a record, and at once.
    with_record: list
    at_once: list
    #: The flags that perf has to receive.
    flags: int = 0
    #: The syndrome that has to be in the log, if any; None: the log is not checked.
    log: int | None = 0
    #: The interrupt does not come.
    lost_interrupt: bool = False
    #: The hardware writes, or says that it does, where it should not.
    stray: bool = False

    @property
    def stops(self):
        """Whether the trace ends."""
        return bool(self.flags & TRUNCATED)


def fault(what, *first, **keywords):
    """Returns a Fault that is the same with a record and at once, after others that are injected at once."""
    return Fault([*first, f"{what},after={AFTER}"], [*first, what], **keywords)


def syndrome(exception_class, status, bits=0):
    """Returns a value of PMBSR_EL1."""
    return STOPPED | exception_class << 26 | status | bits


FAULTS = {
    "stage 1 fault": fault("fault,fsc=0x07", flags=TRUNCATED, log=syndrome(0x24, 0x07)),
    "stage 1 fault within a record": fault("fault,fsc=0x0f,partial=24", flags=TRUNCATED | PARTIAL,
                                           log=syndrome(0x24, 0x0f, LOSS)),
    "stage 1 fault, data lost": fault("fault,fsc=0x07,dl=on", flags=TRUNCATED | PARTIAL,
                                      log=syndrome(0x24, 0x07, LOSS)),
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
    # A driver that overlooks it reports it to a later event: below, to the one whose interrupt is lost.
    "collision": fault("collision", flags=COLLISION),
    "spurious interrupt": fault("spurious-interrupt"),
    "stage 1 fault, interrupt lost": fault("fault,fsc=0x07", "lost-interrupt", flags=TRUNCATED,
                                           log=syndrome(0x24, 0x07), lost_interrupt=True),
    "buffer full, interrupt lost": fault("full", "lost-interrupt", lost_interrupt=True),
    # The next record cannot be written there. At once, it is noticed at the unit's next interrupt.
    "write pointer moved outside": Fault(
        [f"pointer,value={NOWHERE},after={AFTER}"], [f"pointer,value={NOWHERE}", "full"],
        flags=TRUNCATED, log=STOPPED, stray=True),
}


@dataclass(frozen=True)
class Mode:
    """A way to record."""

    #: The argument of fault.c.
    argument: str
    #: The fault is injected at once, while an event is on its CPU but nothing is written.
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
    """The results of a driver for a fault in a mode."""

    mode: Mode
    fault: Fault
    facts: dict
    #: The kernel log.
    log: str
    #: The counters of the units of CPU 0 and CPU 1, from the start until the injection, until fault.c has finished its
    #: part with the fault, and until the end.
    injected: list
    then: list
    made: list


def reported(done):
    """Checks the flags that perf has received."""
    facts, wrong = done.facts, done.fault.flags if done.mode.buffer else 0
    flags = facts.get("flags", 0) & ~OVERWRITE
    if done.fault.lost_interrupt and not done.fault.flags:
        # The unit looked full and sampled nothing: that may be reported.
        flags &= ~TRUNCATED
    missing, false = wrong & ~flags, flags & ~wrong
    if missing & TRUNCATED:
        yield "missing data is not reported to perf"
    if missing & PARTIAL:
        yield "an incomplete record is not reported to perf"
    if missing & COLLISION:
        yield "a collision is not reported to perf"
    if false or facts.get("again_flags", 0) & ~OVERWRITE:
        yield "what did not happen is reported to perf"
    if facts["next_flags"]:
        yield "it is reported to a new event"


def runs(done):
    """Checks that the event samples as long as it runs according to perf."""
    facts, unit = done.facts, 1
    if not done.mode.event or done.fault.lost_interrupt:
        return
    running = facts["two_spe_running"] > facts["one_spe_running"]
    if done.mode.buffer:
        records = done.then[unit]["records"] if done.mode.at_once else facts["complete"]
        before = done.injected[unit]["records"] if done.mode.at_once else AFTER
    else:
        records, before = done.then[unit]["discarded"], done.injected[unit]["discarded"]
    # There may be one more at the time of the fault.
    samples = records > before + 1
    if done.fault.stops:
        # Without a trace there is no flag that makes perf disable the event, and nothing is missing.
        if running and not samples and done.mode.buffer:
            yield "perf says that it runs, and nothing is sampled"
        if samples and done.mode.buffer:
            yield "sampling goes on"
    elif not running:
        yield "stopped without a reason"
    elif not samples:
        yield "perf says that it runs, and nothing is sampled"
    if "end_cycles_running" in facts:
        for state in "enabled", "running":
            if facts[f"end_spe_{state}"] != facts[f"end_cycles_{state}"]:
                yield f"members of the group {state} for different times"


def accounted(done):
    """Checks that perf has received each record that the hardware has written, or a flag in its place."""
    facts, unit = done.facts, done.made[1]
    if any(value for name, value in facts.items() if name.endswith("wrong")):
        yield "perf receives what was not written"
    received = sum(facts.get(f"{part}complete", 0) for part in ("", "again_", "next_"))
    fragments = sum(facts.get(f"{part}fragments", 0) for part in ("", "again_", "next_"))
    truncated = facts.get("flags", 0) & TRUNCATED
    if received > unit["records"] or received < unit["records"] and not (done.fault.stray and truncated):
        yield "perf does not receive what was written"
    if bool(fragments) != bool(unit["partial"]):
        yield "perf does not receive the part of a record"
    if unit["dropped"] and not truncated and not done.fault.flags & TRUNCATED:
        yield "a lost record is not reported to perf"
    if "bytes" in facts and facts["bytes"] != received * RECORD + fragments + RECORD * facts.get("other_complete", 0):
        yield "the driver has counted other bytes"


def afterwards(done):
    """Checks that recording works again."""
    facts = done.facts
    again = facts.get("again_complete", 0)
    if done.mode.event and not done.mode.buffer:
        again = done.made[1]["discarded"] - done.then[1]["discarded"]
    if done.mode.event and again < PART:
        yield "does not record again"
    if facts["next_complete"] < PART:
        yield "a new event does not record"


def logged(done):
    """Checks the kernel log."""
    lines = re.findall(r"^.*PMBSR=0x([0-9a-f]+).*$", done.log, re.MULTILINE)
    wanted = done.fault.log
    if wanted is None:
        return
    if done.fault.stray and not done.mode.buffer or done.fault.lost_interrupt and not done.mode.event:
        # Without a buffer the pointer means nothing. Without an event and an interrupt the driver does not look.
        return
    if not wanted:
        if lines:
            yield "the log complains without a reason"
    elif not any(int(line, 16) & wanted == wanted for line in lines):
        yield "the fault is not in the log"


def neighbour(done):
    """Checks that the other CPU is not disturbed."""
    facts = done.facts
    if "other_complete" not in facts:
        return
    # fault.c: 16 records before, 64 after.
    if facts["other_flags"] or facts["other_complete"] != done.made[0]["records"] or facts["other_complete"] < 80 \
            or facts["other_spe_running"] != facts["other_spe_enabled"]:
        yield "the other CPU is disturbed"


def healthy(done):
    """Checks the kernel, and the driver if it checks itself."""
    if done.facts.get("mismatches"):
        yield "the state is not that of the unit"
    if COMPLAINTS.search(done.log):
        yield "the kernel warns"


RULES = [reported, runs, accounted, afterwards, logged, neighbour, healthy]


def prepare(guest):
    """Prepares a guest for verdict().

    The agent has to survive a CPU 1 that hangs.
    """
    guest.sh("taskset -pc 0 $PPID;"
             "for irq in /proc/irq/*/smp_affinity; do echo 1 2>/dev/null >$irq; done; true")


def delta(guest, before):
    """Returns what the units have counted since."""
    return [{name: now[name] - was[name] for name in now} for now, was in zip(guest.hardware(), before)]


def own_counters(guest):
    """Returns the driver's counters, if it has any."""
    counted = {}
    for line in guest.sh("cat /sys/kernel/debug/arm_spe_*/cpu* 2>/dev/null || true").splitlines():
        name, value = line.split()
        counted[name] = counted.get(name, 0) + int(value)
    return {name: value for name, value in counted.items() if name in ("bytes", "mismatches")}


def verdict(guest, mode, fault):
    """Returns what the driver does with a fault in a mode, in words that do not change from run to run."""
    mode, fault = MODES[mode], FAULTS[fault]
    counted, before = own_counters(guest), guest.hardware()
    injected = then = None

    def inject(injections):
        # Both have to be in place before the unit continues.
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
    return "; ".join(dict.fromkeys(wrong)) or CORRECT


#: The drivers: the value of DRIVER=, and the name in the table.
DRIVERS = {"rust": "This driver", "c": "The stock kernel's C driver"}

BETWEEN = {driver: re.compile(rf"(<!-- {driver}: .*? -->\n)(.*?)(<!-- end -->\n)", re.DOTALL) for driver in DRIVERS}


def render(verdicts):
    """Returns the table of a driver, from {fault: {mode: verdict}}."""
    words = dict.fromkeys(word for row in verdicts.values() for verdict in row.values()
                          for word in verdict.split("; ") if verdict not in (CORRECT, REFUSED))
    number = {word: str(n) for n, word in enumerate(words, 1)} | {CORRECT: "ok", REFUSED: "-"}
    lines = ["| fault | " + " | ".join(MODES) + " |", "| --- |" + " --- |" * len(MODES)]
    for fault, row in verdicts.items():
        cells = [", ".join(number[word] for word in row[mode].split("; ")) for mode in MODES]
        lines.append(f"| {fault} | " + " | ".join(cells) + " |")
    legend = "".join(f"{number[word]}. {word}\n" for word in words)
    return "\n".join(lines) + "\n" + ("\n" + legend if legend else "")


def stated(driver):
    """Returns the table of a driver in the file."""
    return BETWEEN[driver].search(TABLE.read_text())[2]


def write():
    """Writes the tables of the drivers that have run."""
    verdicts = json.loads(VERDICTS.read_text()) if VERDICTS.exists() else {}
    text = TABLE.read_text()
    for driver, pattern in BETWEEN.items():
        if driver not in verdicts:
            raise SystemExit(f"error: {DRIVERS[driver]} was not run: {TABLE.name} keeps its tables")
        text = pattern.sub(lambda match, driver=driver: match[1] + render(verdicts[driver]) + match[3], text)
    TABLE.write_text(text)
