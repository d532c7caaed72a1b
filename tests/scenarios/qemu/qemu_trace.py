# SPDX-License-Identifier: GPL-2.0
"""The emulated unit samples exactly what it should, and its records are right.

A TCG plugin follows the same run on its own and predicts every sample by counting operations: see
tests/qemu/plugin/spe_trace.c. The driver is the stock kernel's: this is a test of QEMU.
"""

from collections import Counter
from dataclasses import replace
from math import sqrt

import pytest

import executed
from spe import host_trace

pytestmark = pytest.mark.needs("perf")

#: The version with the most detailed operation types.
SPE = "spe=on,spe-version=1.4"
#: The limit for the difference of a class from its real share, in standard deviations.
Z = 4


@pytest.fixture
def follow(boot, artefacts):
    """Returns a function that records (event, command) pairs in a guest that the plugin follows.

    That returns for each pair a trace and the guest's reads of PMSICR_EL1, and at the end the plugin's log.
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
    """Checks that all records, samples and reads of the counter agree. Returns the number of comparisons by name."""
    # The plugin does not see a full buffer.
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
    """Returns how many standard deviations each class of operations is away from its share of the executed ones."""
    real = executed.mix(log.executed)
    sampled = Counter(executed.kind_of(record.op) for record in records)
    assert set(sampled) == set(real) and len(real) >= 6
    distances = {}
    for kind in real:
        p = real[kind] / real.total()
        distances[kind] = (sampled[kind] - sampled.total() * p) / sqrt(sampled.total() * p * (1 - p))
    return distances


def complaints_after(change, trace, log):
    """Returns the complaints about the first CPU's trace after a change to (records, samples)."""
    cpu = min(log.samples)
    records = [record for record in trace.records if record.cpu == cpu]
    samples = list(log.samples[cpu])
    change(records, samples)
    return executed.compare(records, samples)[1]


def altered(position, fields, records, address=None):
    """Changes one record, the first from a position on that has the address."""
    number = next(number for number, record in enumerate(records)
                  if number >= position and (not address or address in record.address))
    record = records[number]
    if address:
        fields = {"address": {**record.address, address: record.address[address] ^ fields}}
    records[number] = replace(record, **fields)


#: Faults of the unit, and the name of the complaint.
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
    """Returns the FAULTS that the comparison does not find."""
    missed = {what for what, change in FAULTS.items()
              if not any(what in complaint for complaint in complaints_after(change, trace, log))}
    # With one operation more or less, nothing agrees from there on.
    late = complaints_after(lambda records, _: records.pop(500), trace, log)
    return missed | ({"a record that is lost"} if sum("PC " in line for line in late) < 1000 else set())


def report(show, compared, distances=None):
    """Prints the figures."""
    show("\n    agree: " + ", ".join(f"{number} {what}" for what, number in compared.most_common()))
    if distances:
        show("    from the real mix: " + ", ".join(f"{kind} {z:+.2f}" for kind, z in distances.items()))


@pytest.mark.timeout(600)
def test_every_record(follow, show):
    """All records of user space and the kernel, on two CPUs at once, agree."""
    both = "bash -c 'mixed 100 & dd if=/dev/zero of=/dev/null bs=512 count=6000; wait'"
    (trace, reads), log = follow(("period=256,pa_enable=1/", both))
    compared = agree(trace, reads, log)
    report(show, compared)
    assert compared["record"] >= 100_000
    assert compared["data address"] > 25_000 and compared["branch target"] >= 100_000
    assert not missed_faults(trace, log)


@pytest.mark.timeout(600)
def test_mix(follow, show):
    """With jitter samples have the mix of the executed operations. Without, the counts are right, also with -icount."""
    (jitter, _), (exact, reads), log = follow(
        ("period=256,jitter=1/u", "mixed 100"), ("period=256,pa_enable=1/", "mixed 20"),
        smp=1, arguments=["-icount", "shift=0"])
    distances = from_mix(jitter.records, log)
    compared = agree(exact, reads, log)
    report(show, compared, distances)
    assert all(abs(z) < Z for z in distances.values()), distances
    assert compared["record"] > 10_000
    # A loss of one load in ten is noticed.
    loads = [record for record in jitter.records if executed.kind_of(record.op) == "load"]
    missing = {id(record) for record in loads[::10]}
    assert from_mix([record for record in jitter.records if id(record) not in missing], log)["load"] < -Z
