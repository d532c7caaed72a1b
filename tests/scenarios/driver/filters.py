# SPDX-License-Identifier: GPL-2.0
"""Each filter of an event passes what it selects and nothing else."""

import pytest

from spe import check_decodes, record

pytestmark = pytest.mark.board


def is_atomic(sample):
    """Returns whether an operation is an atomic, which loads and stores: either filter passes it."""
    return "AT" in sample.op.split()


def is_load(sample):
    return sample.op.startswith("LD") or is_atomic(sample)


def is_store(sample):
    return sample.op.startswith("ST") or is_atomic(sample)


def is_branch(sample):
    return sample.op.split()[0] == "B"


#: {config: a condition for each record}
FILTERS = {
    "load_filter=1": is_load,
    "store_filter=1": is_store,
    "branch_filter=1": is_branch,
    "load_filter=1,branch_filter=1": lambda sample: is_load(sample) or is_branch(sample),
    # Bit 6: a branch that is not taken.
    "event_filter=0x40": lambda sample: "NOT-TAKEN" in sample.events,
}


def test_filters(guest):
    everything = record(guest, "arm_spe/period=1024,jitter=1/u", "workload 10")
    check_decodes(everything, 1000)
    kinds = {kind.__name__: sum(map(kind, everything.records)) for kind in (is_load, is_store, is_atomic, is_branch)}
    assert all(kinds.values()), f"the workload lacks a kind: {kinds}"
    for config, passes in FILTERS.items():
        trace = record(guest, f"arm_spe/period=1024,jitter=1,{config}/u", "workload 10")
        check_decodes(trace, 10)
        wrong = [sample for sample in trace.records if not passes(sample)]
        assert not wrong, f"{config}: {len(wrong)} of {len(trace.records)}, e.g. {wrong[0]}"


def test_min_latency(guest):
    everything = record(guest, "arm_spe/period=1024/u", "workload 10")
    latencies = sorted(sample.latency["TOT"] for sample in everything.records)
    # A bound that passes some and drops some.
    bound = next(value for value in latencies if value > latencies[0])
    trace = record(guest, f"arm_spe/period=1024,min_latency={bound}/u", "workload 10")
    check_decodes(trace, 1)
    assert min(sample.latency["TOT"] for sample in trace.records) >= bound
    assert len(trace.records) < len(everything.records)
