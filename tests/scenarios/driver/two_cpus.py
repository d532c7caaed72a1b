# SPDX-License-Identifier: GPL-2.0
"""Two CPUs write to one AUX buffer, which perf serializes by a counter that is not atomic (progs/two_cpus.c).

perf_aux_output_begin() reads rb->aux_nest, compares it with 0 and writes it, without excluding other CPUs. Most of the
time the second CPU is refused, with a warning. Sometimes both get a transaction from the same head on, and their
records mix; perf_aux_output_end() of either lets a third begin. The kernel's tracing of perf's calls shows which
transactions those are. In all others a driver has to publish what its own unit has written.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

import pytest

from machine import total
from paths import TOP
from perf_core import TRACING
from spe import NEST, TAKEN, UNMAPS, check_decodes, counters, record
from traces import unload_without_loss

RECORD = 64
#: The number of bytes to publish in one buffer. In so many, a driver that let a unit write outside a transaction had
#: published several times what was not written.
PUBLISHED = 8 << 20
#: The number of buffers that are unmapped, on the debug kernel.
ROUNDS = 12

#: The arguments of the two functions that move the head of an AUX buffer.
FIELDS = "head=handle->head aux_head=handle->rb->aux_head size=size"
CALL = re.compile(r"\[(\d+)\] .* (end|skip): \(.*?\) head=(\d+) aux_head=(\d+) size=(\d+)$", re.MULTILINE)


@dataclass
class Part:
    """A published part: one AUX transaction, or the bytes skipped in one."""

    cpu: int
    kind: str
    #: The head at which the transaction began, and with it the unit.
    head: int
    #: Its place according to perf, which differs if another CPU has published since.
    start: int
    size: int
    #: Whether perf gave the same place to two CPUs.
    mixed: bool = False

    @property
    def end(self):
        """The index after the last byte, according to perf."""
        return self.start + self.size


def mark_mixed(parts, start):
    """Marks the parts that overlap others. start(part) is the place of a part."""
    last = None
    for part in sorted(parts, key=start):
        if last and start(part) < start(last) + last.size:
            part.mixed = last.mixed = True
        if not last or start(part) + part.size > start(last) + last.size:
            last = part


def parts_of(trace):
    """Returns the Part of each call in the text of a trace."""
    lost = re.search(r"entries-in-buffer/entries-written: (\d+)/(\d+)", trace)
    assert lost[1] == lost[2], "the trace is not complete"
    parts = [Part(int(cpu), kind, *map(int, values)) for cpu, kind, *values in CALL.findall(trace)]
    parts = [part for part in parts if part.size]
    for part in parts:
        part.mixed = part.start != part.head
    mark_mixed(parts, lambda part: part.head)
    mark_mixed(parts, lambda part: part.start)
    return sorted(parts, key=lambda part: part.start)


def test_one_buffer(boot, driver, show):
    """A CPU publishes what its unit has written, and all that the units have written is published."""
    guest = boot(smp=3)
    guest.load(driver)
    guest.known = NEST
    for name in ("end", "skip"):
        guest.sh(f"echo 'f:two_cpus/{name} perf_aux_output_{name} {FIELDS}' >>{TRACING}/dynamic_events")
    guest.sh(f"echo 16384 >{TRACING}/buffer_size_kb; echo 1 >{TRACING}/events/two_cpus/enable")
    before = total(guest.hardware())["bytes"]
    guest.sh(f"two_cpus keep {PUBLISHED} /tmp/whose", timeout=200)
    written = total(guest.hardware())["bytes"] - before
    guest.sh(f"echo 0 >{TRACING}/events/two_cpus/enable; cat {TRACING}/trace >/tmp/trace")
    whose = guest.fetch("/tmp/whose").read_text()
    parts = parts_of(guest.fetch("/tmp/trace").read_text())

    wrong, missing, position, seen = [], 0, 0, {1: 0, 2: 0}
    for part in parts:
        missing += max(0, part.start - position)
        position = max(position, part.end)
        records = whose[part.start // RECORD:part.end // RECORD]
        if part.kind == "end" and not part.mixed:
            seen[part.cpu] += records.count(str(part.cpu))
            if "0" in records or str(3 - part.cpu) in records:
                wrong.append((part, records))
    missing += abs(len(whose) - position // RECORD) * RECORD
    mixed = [part.size for part in parts if part.mixed]
    show(f"\n    {len(parts)} parts, {len(mixed)} of them mixed by perf; records of own work {seen}")
    assert not wrong, f"{len(wrong)} transactions with what their unit has not written: {wrong[:5]}"
    # Of two transactions that end at once, one may not move the head.
    assert missing <= sum(mixed), f"{missing} bytes are published by no transaction"
    assert sum(part.size for part in parts if part.kind == "end") == written
    assert len(mixed) < len(parts) / 2 and min(seen.values()) > PUBLISHED / RECORD / 100


@pytest.mark.kernel("debug")
@pytest.mark.timeout(900)
def test_buffers_that_are_taken(boot, driver):
    """A buffer is unmapped while two CPUs write to it: it is not used after it was freed (KASAN), nor are its pages.

    perf stops neither of the two, which are children of an event, and warns about it.
    """
    if driver == "c":
        pytest.skip(UNMAPS)
    guest = boot(smp=3)
    guest.load(driver)
    guest.known = f"{NEST}|{TAKEN}"
    # perf frees the pages in the interrupt. If the CPU's own lists are full, the page allocator takes zone->lock there,
    # which lockdep reports as an invalid wait context, and is off from then on. Long lists avoid that.
    guest.sh("echo 8 >/proc/sys/vm/percpu_pagelist_high_fraction")
    # Until it has come to each: both CPUs have to be where perf lets them be by its check alone.
    rounds, missing = 0, True
    while missing and rounds < 20 * ROUNDS:
        guest.sh(f"two_cpus free {ROUNDS}", timeout=300)
        rounds += ROUNDS
        log = guest.log()
        missing = [function for function in ("perf_aux_output_begin", "perf_mmap_close", "__rb_free_aux")
                   if f" at {function}+" not in log]
    assert not missing, f"{missing} did not see it"
    seen = counters(guest)
    assert seen["full"] > rounds and seen["mismatches"] == 0, seen
    check_decodes(record(guest, "arm_spe/period=4096/u", "workload 2"), 10)
    unload_without_loss(guest)


@pytest.fixture
def aux_nest(artefacts):
    """Builds the module that makes perf give one place to two CPUs, for the debug kernel."""
    directory = artefacts / "aux_nest"
    shutil.copytree(TOP / "tests/payload/modules", directory)
    subprocess.run([TOP / "scripts/build-module", "debug", "-s", "modules"], cwd=directory, check=True,
                   env={**os.environ, "OUT": str(directory / "build")})
    return directory / "build/aux_nest.ko"


@pytest.mark.kernel("debug")
@pytest.mark.timeout(900)
def test_one_place_for_two(boot, driver, aux_nest):
    """perf always gives two CPUs one place in a buffer: their records mix, but the units stay in it, and stop."""
    if driver == "c":
        pytest.skip("the C driver pads a buffer whose head was moved with a negative length, and writes beyond it")
    guest = boot(smp=3, files={"root/aux_nest.ko": aux_nest})
    guest.load(driver)
    # A CPU that begins before the module has cleared the counter is refused.
    guest.known = f"{NEST}|{TAKEN}"
    guest.sh("echo 8 >/proc/sys/vm/percpu_pagelist_high_fraction")
    guest.sh("insmod /root/aux_nest.ko")
    # How often two CPUs meet depends on the machine.
    guest.sh(f"until two_cpus keep {PUBLISHED >> 3} /tmp/whose && [ $(cat /sys/module/aux_nest/parameters/mixed) -gt 20 ]; do :; done",
             timeout=600)
    guest.sh(f"two_cpus free {ROUNDS // 4}", timeout=600)
    guest.sh("rmmod aux_nest")
    written = total(guest.hardware())
    guest.sh("workload 1")
    assert total(guest.hardware()) == written
    assert counters(guest)["mismatches"] == 0
    check_decodes(record(guest, "arm_spe/period=4096/u", "workload 2"), 10)
    unload_without_loss(guest)
