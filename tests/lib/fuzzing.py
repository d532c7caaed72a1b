# SPDX-License-Identifier: GPL-2.0
"""perf_event_open(2) around the PMU, fuzzed in a guest (tests/payload/progs/fuzz/).

Findings are a result without a cause, unread data that changed, a complaint of the kernel, a mismatch of the driver
that checks itself, a fault of the unit, bytes that the unit wrote and that perf neither received nor got a flag for,
and, at the end, a driver that does not record or that leaks when it is unloaded.
"""

import os
import re
import time
from collections import Counter

import kcsan
import storm
from aux_output import AuxOutput
from machine import DRIVER, MachineError, total
from spe import LENT, NEST, TAKEN, check_decodes, counters, record
from traces import left_behind, unload_without_loss

#: The shortest period: any, except with KCSAN, whose interrupts are slow because it waits for other CPUs.
PERIOD = 1
SLOW_PERIOD = 8192

#: Everything is checked about every SECONDS.
SECONDS = 30
#: The bytes that a record takes in the buffer of the emulated unit.
RECORD = 64
#: The number of last operations printed for each task of the fuzzer.
LAST = 12

#: Counters of the driver that have to be 0: nothing was injected.
FAULTS = ("fault_stage1", "fault_stage2", "external_abort", "unknown_status", "unknown_class", "stray_pointer",
          "partial", "mismatches")
#: "spurious" as well, unless an NMI can come between the acknowledgement of an interrupt and its handler
#: (__gic_handle_irq_from_irqson() lets them), throttle the group and stop the event whose buffer was full.
FAULTS_WITHOUT_NMI = (*FAULTS, "spurious")

#: An event that pauses or resumes another goes to an error state when that is closed. When it is enabled again, perf's
#: core warns, once: perf_put_aux_event(), _perf_event_enable(), perf_event_aux_pause(). And it warns of a task that
#: unmaps the ring buffer while another maps its AUX area (docs/upstream.md).
KNOWN = (r"WARNING: kernel/events/core\.c:\d+ at perf_event_aux_pause\+"
         r"|WARNING: lib/refcount\.c:\d+ at refcount_dec_not_one\+")

#: With tasks that share buffers, those of two_cpus.py; one of perf's core about the context of a task that has lost
#: its events at exec (remove_on_exec): also without this driver, when sharing.c opens software events in the place of
#: SPE's; and one about an AUX area that is mapped again while a transaction still holds it (docs/upstream.md).
KNOWN_SHARING = f"{NEST}|{TAKEN}|{LENT}|" + r"WARNING: kernel/events/core\.c:\d+ at event_function\+"

OPERATION = re.compile(r"^\[ *([0-9.]+)\] \d+ (\d+)'?\.(\d+)\.")


class Finding(Exception):
    """A failure that fuzzing has found."""


def last_operations(notes, complaints):
    """Returns the last operations of each task, and all of them by task; until the kernel complained, if it did."""
    lines = notes.read_text(errors="replace").splitlines()
    until = min((float(when) for when in re.findall(r"^\[ *([0-9.]+)\]", "\n".join(complaints), re.MULTILINE)), default=float("inf"))
    did = {}
    for line in lines:
        if (match := OPERATION.match(line)) and float(match[1]) <= until:
            did.setdefault(match[2], []).append(line)
    return [line for lines in did.values() for line in lines[-LAST:]], did


class Fuzzer:
    """Fuzzes a driver in a guest and adds up the program's counts."""

    def __init__(self, guest, seed, program="fuzz"):
        self.guest, self.seed, self.program = guest, seed, program
        shares = program != "fuzz"
        guest.known = "|".join([KNOWN, storm.KNOWN, *([KNOWN_SHARING] if shares else [])])
        if shares:
            # Otherwise lockdep reports pages that perf frees in an interrupt (docs/upstream.md).
            guest.sh("echo 8 >/proc/sys/vm/percpu_pagelist_high_fraction")
        self.total = Counter()
        # A CPU counter that overflows more often is throttled: one with a short period took all the time of a CPU on
        # PREEMPT_RT, whose interrupts are slow here.
        guest.sh("echo 1000 >/proc/sys/kernel/perf_event_max_sample_rate")
        guest.sh(storm.HOOKS)
        self.without = left_behind(guest)
        self.output = AuxOutput(guest)
        self.checked = DRIVER != "c"
        guest.load(guest.kernel.checked if self.checked else DRIVER)
        self.period = SLOW_PERIOD if kcsan.begin(guest) else PERIOD
        self.faults = FAULTS if "pseudo_nmi" in guest.kernel.append else FAULTS_WITHOUT_NMI

    def _finding(self, what):
        operations, did = last_operations(self.guest.notes, self.guest.complaints())
        rounds = [int(OPERATION.match(lines[-1])[3]) for lines in did.values()]
        return Finding("\n".join([f"SEED={self.seed} START={min(rounds, default=0)}: {self.guest.directory}", *operations, what]))

    def leg(self, start, rounds):
        """Runs so many rounds and checks everything."""
        try:
            status, output = self.guest.run(f"{self.program} {self.seed} {start} {rounds} {self.guest.NOTES} {self.period}", timeout=1800)
            for name, *numbers in map(str.split, output.splitlines()):
                if all(number.isdigit() for number in numbers):
                    self.total.update(dict(zip((name, f"{name} done"), map(int, numbers))))
            if status:
                raise self._finding(output)
            seen = counters(self.guest) if self.checked else {}
            if found := {name: seen[name] for name in self.faults if seen.get(name)}:
                raise self._finding(f"the driver has counted {found}")
            self.guest.account()
            if self.checked:    # the C driver reports a wrong size for a CPU that goes offline: hotplug.py
                made = total(self.guest.hardware())
                # perf knows nothing of what live events have written.
                made["bytes"] -= RECORD * seen["live_records"]
                self.output.account(made)
        except (AssertionError, MachineError) as error:
            raise self._finding(str(error)) from None
        if complaints := self.guest.complaints():
            raise self._finding("\n".join(complaints))
        os.truncate(self.guest.notes, 0)

    def run(self, seconds, start, say=lambda *_: None):
        """Runs rounds from start on, until the time is over."""
        end, rounds = time.monotonic() + seconds, 1
        while (began := time.monotonic()) < end:
            self.leg(start, rounds)
            start += rounds
            took = time.monotonic() - began
            say(f"{self.total['rounds']} rounds, {self.total['opened_spe']} events of the PMU opened,"
                f" {self.total['aux_bytes']} bytes of trace")
            rounds = max(1, min(2 * rounds, int(rounds * min(SECONDS, end - time.monotonic()) / took)))

    def end(self):
        """Checks that the driver records as before and leaves nothing behind."""
        guest = self.guest
        try:
            check_decodes(record(guest, "arm_spe/period=4096/u", "workload 2"), 10)
            if guest.run("test -e /sys/kernel/debug/kmemleak")[0] == 0:
                unload_without_loss(guest)
            else:
                guest.unload()
            if left := set(left_behind(guest)) ^ set(self.without):
                raise self._finding(f"not as before the driver came: {left}")
        except (AssertionError, MachineError) as error:
            raise self._finding(str(error)) from None

    def report(self):
        """Yields lines that say what was done."""
        total = dict(self.total)
        kinds = [name.removesuffix(" done") for name in total if name.endswith(" done")]
        yield from (f"{name:12} {total.pop(name):9} {total.pop(name + ' done'):9}" for name in kinds)
        yield ", ".join(f"{count} {name}" for name, count in total.items())
