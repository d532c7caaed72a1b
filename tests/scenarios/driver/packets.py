# SPDX-License-Identifier: GPL-2.0
"""The packet of each config field is there with the field set, and only then."""

import pytest

from spe import check_decodes, record

pytestmark = pytest.mark.board


def share(trace, has):
    """Returns the share of the records for which has() is true."""
    return sum(map(has, trace.records)) / len(trace.records)


def test_timestamps(guest):
    with_ts = record(guest, "arm_spe/period=1024,ts_enable=1/u", "workload 5")
    # perf asks for time stamps by default.
    without = record(guest, "arm_spe/period=1024,ts_enable=0/u", "workload 5")
    check_decodes(with_ts, 100)
    check_decodes(without, 100)
    stamps = [sample.timestamp for sample in with_ts.records]
    assert min(stamps) > 0
    assert all(sample.timestamp <= 0 for sample in without.records)


def test_physical_addresses(guest):
    with_pa = record(guest, "arm_spe/period=1024,pa_enable=1,load_filter=1/u", "workload 5")
    without = record(guest, "arm_spe/period=1024,load_filter=1/u", "workload 5")
    check_decodes(with_pa, 100)
    check_decodes(without, 100)
    # An access that faults has none.
    assert share(with_pa, lambda sample: "PA" in sample.address or "EXCEPTION-GEN" in sample.events) == 1
    assert share(without, lambda sample: "PA" in sample.address) == 0
    # A page of the address space is always the same page of memory.
    assert all(sample.address["PA"] & 0xfff == sample.address["VA"] & 0xfff
               for sample in with_pa.records if "PA" in sample.address)


def test_records_are_complete(guest):
    trace = record(guest, "arm_spe/period=1024/u", "workload 5")
    check_decodes(trace, 100)
    for sample in trace.records:
        assert sample.pc and sample.op and "TOT" in sample.latency and "ISSUE" in sample.latency, sample
        if sample.op.startswith(("LD", "ST")):
            assert sample.address["VA"] and "XLAT" in sample.latency, sample
        if sample.op.split()[0] == "B" and "NOT-TAKEN" not in sample.events:
            assert sample.address["TGT"], sample


def test_context_is_the_process(guest):
    """CONTEXTIDR_EL1 holds the process ID in Debian's kernels."""
    trace = record(guest, "arm_spe/period=1024/u", "workload 5")
    check_decodes(trace, 100)
    pids = {int(pid) for pid in guest.sh("perf script -i /tmp/perf.data -F pid | sort -u").split()}
    contexts = {sample.context for sample in trace.records}
    assert contexts <= pids, f"contexts {contexts}, processes {pids}"


def test_period(guest):
    """Twice the interval makes half the records. Below the minimum it is clamped."""
    counts = {}
    for period in (1024, 2048, 4096):
        trace = record(guest, f"arm_spe/period={period}/u", "workload 20")
        check_decodes(trace, 100)
        counts[period] = len(trace.records)
    assert 1.8 < counts[1024] / counts[2048] < 2.2, counts
    assert 1.8 < counts[2048] / counts[4096] < 2.2, counts
