# SPDX-License-Identifier: GPL-2.0
"""Sessions per task, per CPU and system-wide record what was asked for, and only that."""

import pytest

from spe import check_decodes, record, two_cpus

pytestmark = pytest.mark.board


@pytest.fixture(scope="module")
def cpus(guest):
    """Two CPUs."""
    return two_cpus(guest)


@pytest.fixture
def both(cpus):
    """A command that works on both."""
    return "bash -c 'taskset -c {} workload 10 & taskset -c {} workload 10; wait'".format(*cpus)


def test_per_task(guest, both):
    """Only the task and its children are recorded, on any CPU, in user space only."""
    trace = record(guest, "arm_spe/period=1024/u", both, "--per-thread")
    check_decodes(trace, 100)
    assert {sample.el for sample in trace.records} == {0}


def test_task_and_children_on_all_cpus(guest, cpus, both):
    trace = record(guest, "arm_spe/period=1024/u", both)
    check_decodes(trace, 1000)
    assert {sample.cpu for sample in trace.records} == set(cpus)
    comms = set(guest.sh("perf script -i /tmp/perf.data -F comm | sort -u").split())
    assert "workload" in comms and comms <= {"workload", "bash", "taskset", "perf", "perf-exec"}


@pytest.mark.quick
def test_per_cpu(guest, cpus, both):
    trace = record(guest, "arm_spe/period=1024/", both, f"-C {cpus[1]}")
    check_decodes(trace, 1000)
    assert {sample.cpu for sample in trace.records} == {cpus[1]}


def test_system_wide(guest, cpus, both):
    trace = record(guest, "arm_spe/period=1024/", both, "-a")
    check_decodes(trace, 1000)
    assert {sample.cpu for sample in trace.records} >= set(cpus)
    assert {sample.el for sample in trace.records} == {0, 1}


def test_grouped(guest):
    """An event in a group with a counter records."""
    trace = record(guest, "{arm_spe/period=1024/u,cycles/period=1000000/u}", "workload 5")
    check_decodes(trace, 100)


def test_kernel_only(guest):
    trace = record(guest, "arm_spe/period=1024/k", "dd if=/dev/zero of=/dev/null count=2000")
    check_decodes(trace, 10)
    assert {sample.el for sample in trace.records} == {1}


CHILDREN = "for n in 1 2 3 4 5 6; do workload 2 >/dev/null & echo $! >>/tmp/pids; wait; done"


def test_inherited(guest):
    """With inheritance each child is sampled, without it none, according to the process IDs in CONTEXTIDR_EL1."""
    for inherit, option in (True, ""), (False, "--no-inherit"):
        guest.sh("rm -f /tmp/pids")
        trace = record(guest, "arm_spe/period=1024/u", f"bash -c '{CHILDREN}'", option)
        children = {int(pid) for pid in guest.sh("cat /tmp/pids").split()}
        sampled = {sample.context for sample in trace.records}
        check_decodes(trace, 10)
        assert len(children) == 6
        assert children & sampled == (children if inherit else set()), (children, sampled)
