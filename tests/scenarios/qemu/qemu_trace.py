# SPDX-License-Identifier: GPL-2.0
"""The emulated unit samples exactly what it should, and its records say what really happened.

A TCG plugin follows the same run on its own and predicts every sample by counting operations: see
tests/qemu/plugin/spe_trace.c. The driver is the stock kernel's: it is QEMU that is on trial here.
"""

from collections import Counter
from dataclasses import replace
from math import sqrt

import pytest

import executed
from spe import host_trace

pytestmark = pytest.mark.needs("perf")

#: The version whose operation types say most.
SPE = "spe=on,spe-version=1.4"
#: How far from the real mix the share of a class may be, in standard deviations.
Z = 4


@pytest.fixture
def follow(boot, artefacts):
    """A function that records (event, command) pairs in a guest that the plugin follows.

    It returns for each a trace and what the guest has read from PMSICR_EL1, and at last the plugin's log.
    """
    def run(*recordings, arguments=(), **options):
        log = artefacts / "executed"
        guest = boot(rust=False, spe=SPE, arguments=["-plugin", f"{executed.build()},out={log}", *arguments], **options)
        guest.load("c")
        recorded = []
        for event, command in recordings:
            with guest.registers("read") as accesses:
                guest.sh(f"perf record -q -B -N -o /tmp/perf.data -m ,64M -e arm_spe/{event} -- {command}", timeout=300)
            recorded.append((host_trace(guest.fetch("/tmp/perf.data")),
                             [access for access in accesses if access.register == "PMSICR_EL1"]))
        guest.quit()
        return *recorded, executed.Log(log)

    return run


def agree(trace, reads, log):
    """Every record and every sample agree, and so does the counter; how often what was compared."""
    # The plugin does not see a buffer that is full.
    assert all(flags == 0 for _, _, flags in trace.aux), trace.aux
    assert not trace.undecodable, trace.undecodable[:5]
    compared = Counter()
    for cpu in sorted({record.cpu for record in trace.records} | set(log.samples)):
        counts, complaints = executed.compare([record for record in trace.records if record.cpu == cpu],
                                              log.samples.get(cpu, []))
        if complaints:
            pytest.fail(f"CPU {cpu}: {len(complaints)} complaints\n" + "\n".join(complaints[:10]), pytrace=False)
        compared += counts
        counter = [access.value for access in reads if access.cpu == cpu]
        assert counter == log.counts_read.get(cpu, [])
        compared["value of PMSICR_EL1"] += len(counter)
    return compared


def from_mix(records, log):
    """How many standard deviations each class of operations is away from its share of what was executed."""
    real = executed.mix(log.executed)
    sampled = Counter(executed.kind_of(record.op) for record in records)
    assert set(sampled) == set(real) and len(real) >= 6
    distances = {}
    for kind in real:
        p = real[kind] / real.total()
        distances[kind] = (sampled[kind] - sampled.total() * p) / sqrt(sampled.total() * p * (1 - p))
    return distances


def complaints_after(change, trace, log):
    """What the comparison says of the first CPU's trace after a change to (records, samples)."""
    cpu = min(log.samples)
    records = [record for record in trace.records if record.cpu == cpu]
    samples = list(log.samples[cpu])
    change(records, samples)
    return executed.compare(records, samples)[1]


def altered(position, fields, records, address=None):
    """Make a change to one record, where it has the address."""
    number = next(number for number, record in enumerate(records)
                  if number >= position and (not address or address in record.address))
    record = records[number]
    if address:
        fields = {"address": {**record.address, address: record.address[address] ^ fields}}
    records[number] = replace(record, **fields)


#: A fault of the unit, and what the comparison has to call it.
FAULTS = {
    "PC": lambda records, _: altered(500, {"pc": records[500].pc + 4}, records),
    "operation": lambda records, _: altered(500, {"op": "LD EXTRAORDINARY"}, records),
    "exception": lambda records, _: altered(500, {"events": {"EXCEPTION-GEN"}}, records),
    "Exception level": lambda records, _: altered(500, {"el": 2}, records),
    "branch target": lambda records, _: altered(500, 4, records, "TGT"),
    "data address": lambda records, _: altered(500, 8, records, "VA"),
    "physical address": lambda records, _: altered(500, 1 << 12, records, "PA"),
    "samples": lambda records, _: records.pop(),
    "records": lambda _, samples: samples.pop(),
}


def missed_faults(trace, log):
    """The FAULTS that the comparison does not find."""
    missed = {what for what, change in FAULTS.items()
              if not any(what in complaint for complaint in complaints_after(change, trace, log))}
    # One operation more or less, and nothing fits from there on.
    late = complaints_after(lambda records, _: records.pop(500), trace, log)
    return missed | ({"a record that is lost"} if sum("PC " in line for line in late) < 1000 else set())


def report(show, compared, distances=None):
    """Print the figures."""
    show("\n    agree: " + ", ".join(f"{number} {what}" for what, number in compared.most_common()))
    if distances:
        show("    from the real mix: " + ", ".join(f"{kind} {z:+.2f}" for kind, z in distances.items()))


@pytest.mark.timeout(600)
def test_every_record(follow, show):
    """User space and the kernel, on two CPUs at once."""
    both = "bash -c 'mixed 100 & dd if=/dev/zero of=/dev/null bs=512 count=6000; wait'"
    (trace, reads), log = follow(("period=256,pa_enable=1/", both))
    compared = agree(trace, reads, log)
    report(show, compared)
    assert compared["record"] >= 100_000
    assert compared["data address"] > 25_000 and compared["branch target"] >= 100_000
    assert not missed_faults(trace, log)


@pytest.mark.timeout(600)
def test_mix(follow, show):
    """With jitter, what is sampled is as it is executed; without, the counts are right with -icount too."""
    (jitter, _), (exact, reads), log = follow(
        ("period=256,jitter=1/u", "mixed 100"), ("period=256,pa_enable=1/", "mixed 20"),
        smp=1, arguments=["-icount", "shift=0"])
    distances = from_mix(jitter.records, log)
    compared = agree(exact, reads, log)
    report(show, compared, distances)
    assert all(abs(z) < Z for z in distances.values()), distances
    assert compared["record"] > 10_000
    # It would be seen if one load in ten were missing.
    loads = [record for record in jitter.records if executed.kind_of(record.op) == "load"]
    missing = {id(record) for record in loads[::10]}
    assert from_mix([record for record in jitter.records if id(record) not in missing], log)["load"] < -Z
