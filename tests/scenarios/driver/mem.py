# SPDX-License-Identifier: GPL-2.0
"""perf mem and perf c2c, which use SPE, record and report."""

import re

import pytest

from spe import check_decodes, recorded

pytestmark = pytest.mark.board


def mem(guest, options):
    """Records user space with perf mem and these options. Returns the Trace."""
    return recorded(guest, f"perf mem record -U -o /tmp/perf.data {options} -- workload 5")


def test_mem_record(guest):
    """perf mem records loads, stores, or both, each with its physical address."""
    for options, kinds in (("-t load --ldlat 1", {"LD"}), ("-t store", {"ST"}), ("--ldlat 1", {"LD", "ST"})):
        trace = mem(guest, options)
        check_decodes(trace, 10)
        assert {sample.op.split()[0] for sample in trace.records if "AT" not in sample.op} == kinds, options
        # An access that faults has none.
        assert all("PA" in sample.address or "EXCEPTION-GEN" in sample.events for sample in trace.records), options


def test_latency(guest):
    """The minimum latency that perf mem sets by default drops the fast loads."""
    fast = 20
    assert min(sample.latency["TOT"] for sample in mem(guest, "--ldlat 1").records) < fast
    assert all(sample.latency["TOT"] >= fast for sample in mem(guest, f"--ldlat {fast}").records)


def test_mem_report(guest):
    trace = mem(guest, "--ldlat 1")
    report = guest.sh("perf mem report -i /tmp/perf.data --stdio --sort=mem,sym")
    (memory,) = re.findall(r"of event 'memory'$(.*?)^# Samples", report, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^ *[0-9.]+% +(\d+) +(\S.*?) +\[\.\] (\S+)", memory, re.MULTILINE)
    assert rows[0][1:] == ("L1 hit", "chase"), report
    assert sum(int(samples) for samples, _, _ in rows) == len(trace.records), report


def test_c2c(guest):
    trace = recorded(guest, "perf c2c record -u -o /tmp/perf.data -l 1 -- workload 5")
    report = guest.sh("perf c2c report -i /tmp/perf.data --stdio")
    counts = dict(re.findall(r"^  (\S.*?) +: +(\d+)$", report, re.MULTILINE))
    loads, stores = int(counts["Load Operations"]), int(counts["Store Operations"])
    assert loads and stores and loads + stores == len(trace.records), report
    assert counts["Unable to parse data source"] == "0"
