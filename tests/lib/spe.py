# SPDX-License-Identifier: GPL-2.0
"""SPE traces: the records in `perf report --dump-raw-trace`."""

import os
import re
import subprocess
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from machine import total


PMU = "/sys/bus/event_source/devices/arm_spe_0"

COUNTERS = "/sys/kernel/debug/arm_spe_0"

#: PERF_AUX_FLAG_*
TRUNCATED, OVERWRITE, PARTIAL, COLLISION = 1, 2, 4, 8

#: A packet has an offset of eight digits; other dumps have shorter ones.
PACKET = re.compile(r"^\.  [0-9a-f]{8}: (?: [0-9a-f]{2})+ +(\S.*)$")
#: A packet, as perf prints it, that it cannot decode or whose index it does not know.
UNDECODABLE = re.compile(r"Bad packet!|0x[0-9a-f]+ \(\d+\)$")
#: The first group is the CPU and the time, if perf has recorded them.
AUX = re.compile(r"^(\d+ \d+ )?.*PERF_RECORD_AUX offset: (\S+) size: (\S+) flags: (\S+)")
AUXTRACE = re.compile(r"PERF_RECORD_AUXTRACE size: (\S+) .* idx: (\d+) +tid: (-?\d+) +cpu: (-?\d+)")


#: perf's core warns when it refuses a CPU a transaction because another one has one of the same AUX buffer.
NEST = r"WARNING: kernel/events/ring_buffer\.c:\d+ at perf_aux_output_begin\+"
#: It warns when it frees an AUX buffer without having stopped all its writers, and the last of them drops it
#: in an interrupt.
TAKEN = r"WARNING: kernel/events/(core|ring_buffer)\.c:\d+ at (perf_mmap_close|__rb_free_aux)\+"
#: The C driver's reaction.
UNMAPS = "the C driver calls vunmap() in the interrupt, which is a BUG()"
#: It warns when an AUX area is mapped through an event whose output goes to the buffer of another: it increments that
#: event's count of mappings, which is 0, as no mapping of it can set the count to 1.
LENT = r"WARNING: lib/refcount\.c:\d+ at refcount_warn_saturate\+"


@dataclass
class Record:
    """One sampled operation."""

    pc: int = 0
    el: int = -1
    op: str = ""
    events: set = field(default_factory=set)
    latency: dict = field(default_factory=dict)
    address: dict = field(default_factory=dict)
    context: int = -1
    timestamp: int = -1
    source: int = -1
    cpu: int = -1
    tid: int = -1
    #: The index in Trace.buffers of its buffer.
    buffer: int = -1

    def add(self, packet):
        """Adds a packet, as perf prints it."""
        word, _, rest = packet.partition(" ")
        if word == "PC":
            self.pc = int(rest.split()[0], 16)
            self.el = int(re.search(r"el(\d)", rest)[1])
        elif word in ("VA", "PA", "TGT", "PBT"):
            self.address[word] = int(rest.split()[0], 16)
        elif word == "LAT":
            value, counter = rest.split()
            self.latency[counter] = int(value)
        elif word == "EV":
            self.events |= set(rest.split())
        elif word == "CONTEXT":
            self.context = int(rest.split()[0], 16)
        elif word == "TS":
            self.timestamp = int(rest)
        elif word == "DATA-SOURCE":
            self.source = int(rest)
        else:
            self.op = packet


@dataclass
class Trace:
    """The trace in one dump."""

    records: list = field(default_factory=list)
    undecodable: list = field(default_factory=list)
    aux: list = field(default_factory=list)
    buffers: list = field(default_factory=list)


def parse(dump):
    """Returns the Trace in the text of `perf report --dump-raw-trace`."""
    trace = Trace()
    record = Record()
    cpu = tid = -1
    seen = set()
    for line in dump.splitlines():
        if match := PACKET.match(line):
            packet = match[1].strip()
            if UNDECODABLE.search(packet):
                trace.undecodable.append(line)
            elif packet != "PAD":
                if packet != "END":
                    record.add(packet)
                if packet == "END" or packet.startswith("TS "):
                    record.cpu, record.tid = cpu, tid
                    record.buffer = len(trace.buffers) - 1
                    trace.records.append(record)
                    record = Record()
        elif match := AUXTRACE.search(line):
            tid, cpu = int(match[3]), int(match[4])
            trace.buffers.append((int(match[1], 16), cpu, tid))
        elif match := AUX.search(line):
            # perf_mmap__push() reads the head of the ring twice, and writes what comes in between to its file twice.
            if not match[1] or match.groups() not in seen:
                trace.aux.append(tuple(int(value, 16) for value in match.groups()[1:]))
            seen.add(match.groups())
    return trace


def trace_of(guest, data="/tmp/perf.data", timeout=200):
    """Returns the Trace in a perf.data file. Data and dump stay with the artefacts; the dump is made by guest.perf."""
    path = guest.fetch(data, timeout)
    with dump_of(path, guest.perf) as lines:
        text = lines.read()
    path.with_suffix(".data.txt").write_text(text)
    return parse(text)


@contextmanager
def dump_of(data, perf=None):
    """Yields the lines of `perf report --dump-raw-trace` of a perf.data file, by this machine's perf, which is faster."""
    command = [perf or os.environ["ARM_SPE_PERF"], "report", "--force", "--dump-raw-trace", "-i", data]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace") as done:
        yield done.stdout
        error = done.stderr.read()
    if done.returncode:
        raise AssertionError(f"{command}: {error}")


def host_trace(data):
    """Returns the Trace in a fetched perf.data file."""
    with dump_of(data) as lines:
        return parse(lines.read())


def packets(lines):
    """Returns of a dump the number of packets by kind, the lines that perf cannot decode, and the bytes.

    The bytes are two numbers: those of the packets and those of the buffers.
    """
    counts, undecodable, decoded, recorded = Counter(), [], 0, 0
    for line in lines:
        if match := PACKET.match(line):
            counts[match[1].split(maxsplit=1)[0]] += 1
            decoded += len(line[13:match.start(1)].split())
            if UNDECODABLE.search(match[1]):
                undecodable.append(line)
        elif match := AUXTRACE.search(line):
            recorded += int(match[1], 16)
    return counts, undecodable, (decoded, recorded)


def check_accounted(trace, made):
    """Checks that perf received all that the hardware has made (spe-counters), or a flag in its place."""
    flags = 0
    for _, _, more in trace.aux:
        flags |= more
    received = {"records": len(trace.records), "bytes": sum(size for _, size, _ in trace.aux)}
    if flags & OVERWRITE:
        # perf has the end of the trace and its total size.
        del received["records"]
    if received != {name: made[name] for name in received}:
        raise AssertionError(f"received {received} of {made}")
    for counter, flag in (("dropped", TRUNCATED), ("partial", PARTIAL), ("collided", COLLISION)):
        if made[counter] and not flags & flag:
            raise AssertionError(f"not reported to perf: {made}, flags {flags:#x}")


def recorded(guest, script, data="/tmp/perf.data", timeout=200):
    """The Trace in a perf.data file after a script has recorded it, alone: all that the hardware has made during it."""
    before = guest.hardware()
    guest.sh(script, timeout)
    after = guest.hardware()
    trace = trace_of(guest, data, timeout)
    if after is not None:
        before = total(before)
        check_accounted(trace, {name: count - before[name] for name, count in total(after).items()})
    return trace


def record(guest, event, command, options="", data="/tmp/perf.data", timeout=200):
    """Records one event of a command with perf. Returns the Trace."""
    return recorded(guest, f"perf record -o {data} -e '{event}' {options} -- {command}", data, timeout)


def check_decodes(trace, at_least):
    """Checks that there are at least so many records and not one byte that perf cannot decode."""
    if trace.undecodable:
        raise AssertionError(f"{len(trace.undecodable)} undecodable: {trace.undecodable[:5]}")
    if len(trace.records) < at_least:
        raise AssertionError(f"{len(trace.records)} records, wanted at least {at_least}")


def expand(cpus):
    """Returns the numbers in a list of CPUs like 0-2,5."""
    numbers = []
    for part in filter(None, cpus.split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def two_cpus(guest):
    """Returns two CPUs that have a unit, the first ones: on a board these may be others than 0 and 1. Skips without."""
    cpus = expand(guest.sh(f"cat {PMU}/cpumask"))
    if len(cpus) < 2:
        pytest.skip("there is only one CPU with SPE")
    return cpus[:2]


def counters(guest):
    """Returns the driver's counters (debugfs), summed over the CPUs."""
    total = {}
    for line in guest.sh(f"cat {COUNTERS}/cpu*").splitlines():
        name, value = line.split()
        total[name] = total.get(name, 0) + int(value)
    return total
