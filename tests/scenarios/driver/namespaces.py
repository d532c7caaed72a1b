# SPDX-License-Identifier: GPL-2.0
"""Profiling from inside a PID namespace, as in a container: perf attributes the samples to the right process.

The unit takes the PID of a CONTEXT packet from CONTEXTIDR_EL1, which holds a PID of the initial namespace. perf looks
it up among the PIDs of its own namespace. Hence an event has the packet only if the task that opens it is in the
initial PID namespace and may profile the kernel. Without the packet, perf uses the context switches that it has
recorded.

This is decided once, when the event is opened. The C driver (DRIVER=c) writes the packet in any namespace.
"""

import re
from dataclasses import dataclass, field

import pytest

from spe import check_decodes, recorded

pytestmark = pytest.mark.board

DIRECTORY = "/tmp/namespaces"

PID_NAMESPACE = "unshare --pid --fork --mount-proc"

USER = "setpriv --reuid 1000 --regid 1000 --clear-groups"

EVENT = "arm_spe/period=4096/u"
#: The workload, which writes its PID in its own namespace to a file.
WORKLOAD = f"bash -c 'echo $$ >{DIRECTORY}/pid; exec workload 5'"

ROW = re.compile(r"% +(\d+):(\S+) +\[\.\] (\S+)")


def background(name, arguments):
    """Returns a script that starts a program in a namespace and waits for it: $pid. end() ends it."""
    return (f"{PID_NAMESPACE} {name} {arguments} >/dev/null 2>&1 &"
            f" until pid=$(tr -d ' ' </proc/$!/task/$!/children) && grep -qsx {name} /proc/$pid/comm; do sleep 0.1; done;"
            f" echo $pid >/tmp/background;")


def end(guest):
    """Ends what background() has started, and nothing else: on a board there are other processes."""
    guest.sh("kill -9 $(cat /tmp/background) && rm /tmp/background")


@dataclass
class Recording:
    """A recording, and perf's report of it."""

    #: The PIDs in the CONTEXT packets of the records; -1 where there is none.
    contexts: set
    #: (PID, command, symbol) of the lines of perf report.
    rows: set = field(repr=False)
    #: The text of these lines.
    report: str = field(repr=False)
    #: The PID of the workload in its own namespace.
    pid: int = 0

    def found(self):
        """Returns whether perf report has the workload by its PID, with its symbols."""
        return (self.pid, "workload", "chase") in self.rows


def profile(guest, perf_record, wrapper="", paranoid=-1):
    """Runs a command that records, and perf report, in the namespaces that the wrapper makes. Returns a Recording."""
    guest.sh(f"""
rm -rf {DIRECTORY} && mkdir -m 777 {DIRECTORY}
cat >{DIRECTORY}/inside <<'END'
cd {DIRECTORY} && {perf_record} && perf report --stdio --itrace=i1i --sort pid,sym >report
END""")
    trace = recorded(guest, f"""
was=$(cat /proc/sys/kernel/perf_event_paranoid)
echo {paranoid} >/proc/sys/kernel/perf_event_paranoid
HOME={DIRECTORY} {wrapper} bash {DIRECTORY}/inside
status=$?
echo $was >/proc/sys/kernel/perf_event_paranoid
chown 0:0 {DIRECTORY}/perf.data
exit $status""", f"{DIRECTORY}/perf.data")
    check_decodes(trace, 100)
    report = guest.sh(f"cat {DIRECTORY}/report")
    rows = {(int(pid), command, symbol) for pid, command, symbol in ROW.findall(report)}
    pid = int(guest.sh(f"cat {DIRECTORY}/pid 2>/dev/null || echo 0"))
    return Recording({record.context for record in trace.records}, rows, report, pid)


def check_inside(recording, driver):
    """Checks a recording from outside the initial PID namespace: no CONTEXT packet, and perf finds the workload."""
    if driver == "c":
        assert -1 not in recording.contexts
        assert not recording.found(), recording.report
        return
    assert recording.contexts == {-1}
    assert recording.found(), recording.report


def test_initial(guest):
    """In the initial namespace the packet is there, with the PID."""
    recording = profile(guest, f"perf record -e {EVENT} -- {WORKLOAD}")
    assert recording.contexts == {recording.pid}
    assert recording.found(), recording.report


@pytest.mark.parametrize("wrapper", [
    PID_NAMESPACE,
    f"{PID_NAMESPACE} {PID_NAMESPACE}",
    # A namespace that exists already, as with `docker exec`.
    background("sleep", 1000) + " nsenter --pid=/proc/$pid/ns/pid --mount=/proc/$pid/ns/mnt",
], ids=["child", "nested", "entered"])
def test_inside(guest, driver, wrapper):
    """perf and its workload are in another namespace than the initial one."""
    recording = profile(guest, f"perf record -e {EVENT} -- {WORKLOAD}", wrapper)
    if "nsenter" in wrapper:
        end(guest)
    assert recording.pid < 50
    check_inside(recording, driver)


def test_cpu_wide(guest, driver):
    """The same for an event of all tasks, opened from inside the namespace."""
    recording = profile(guest, f"perf record -a -e {EVENT} -- {WORKLOAD}", PID_NAMESPACE)
    assert recording.pid < 50
    check_inside(recording, driver)


@pytest.mark.parametrize("paranoid", [1, 2])
def test_user_namespace(guest, driver, paranoid):
    """An ordinary user records in a user and a PID namespace of their own."""
    recording = profile(guest, f"perf record -e {EVENT} -- {WORKLOAD}",
                        f"{USER} unshare --map-root-user --pid --fork --mount-proc", paranoid)
    if paranoid < 2:
        check_inside(recording, driver)
    else:
        # Root there may not profile the kernel: there is no packet, with either driver.
        assert recording.contexts == {-1}
        assert recording.found(), recording.report


def test_user_namespace_alone(guest):
    """A user namespace makes no difference: the PIDs are those of the initial namespace."""
    recording = profile(guest, f"perf record -e {EVENT} -- {WORKLOAD}", f"{USER} unshare --map-root-user", paranoid=1)
    assert recording.contexts == {recording.pid}
    assert recording.found(), recording.report


def test_inherited(guest):
    """An event of the initial namespace, inherited by tasks that enter another: the packet stays, also after forks."""
    recording = profile(guest, f"perf record -e {EVENT} -- {PID_NAMESPACE} bash -c 'workload 2; workload 2; true'")
    assert -1 not in recording.contexts
    pids = {pid for pid, command, symbol in recording.rows if (command, symbol) == ("workload", "chase")}
    assert len(pids) == 2 and pids < recording.contexts, recording.report


def test_attached(guest):
    """An event of the initial namespace on a process in another: the packet has the PID that perf was given."""
    guest.sh(background("workload", 1000000))
    recording = profile(guest, "cp /tmp/background pid && "
                        "perf record -e arm_spe/period=8192/u -p $(cat pid) -- workload 20")
    end(guest)
    assert recording.contexts == {recording.pid}
    assert recording.found(), recording.report


def test_not_entered(guest):
    """A task that has made a PID namespace for its children is itself still in the initial one."""
    # It cannot create threads any more, as perf does for BPF events.
    recording = profile(guest, f"unshare --pid perf record --no-bpf-event -e {EVENT} -- workload 5")
    assert -1 not in recording.contexts
    assert {(pid, "workload", "chase") for pid in recording.contexts} & recording.rows, recording.report
