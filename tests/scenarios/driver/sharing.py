# SPDX-License-Identifier: GPL-2.0
"""Two users of SPE at once: both record, or perf refuses the second one and the first one loses nothing.

perf decides which (`PERF_PMU_CAP_EXCLUSIVE`), for this driver as for the C driver: events of tasks and events of CPUs
exclude each other, and there is one event per CPU or task.
"""

import re

import pytest

from machine import total
from paths import TOP
from spe import Trace, check_accounted, check_decodes, trace_of

EVENT = "-m ,256K -e arm_spe/period=4096/u"

#: {name: (what the first user records, what the second one does, both record)}. T is a task. All is in the cgroup. The
#: pairs of DAILY have each rule of perf's core once.
USERS = {
    "all CPUs, all CPUs": ("-a", "-a", False),
    "all CPUs, own task": ("-a", "", False),
    "own task, all CPUs": ("", "-a", False),
    "one CPU, the same": ("-C 0", "-C 0", False),
    "one CPU, another": ("-C 0", "-C 1", True),
    "one CPU, task": ("-C 0", "-t $T", False),
    "own task, own task": ("", "", True),
    "task, the same": ("-t $T", "-t $T", False),
    "cgroup, the same": ("-a -G users", "-a -G users", False),
    "cgroup, all CPUs": ("-a -G users", "-a", False),
    "cgroup, own task": ("-a -G users", "", False),
    "own task, cgroup": ("", "-a -G users", False),
    "cgroup on one CPU, another CPU": ("-a -C 0 -G users", "-C 1", True),
}

DAILY = "all CPUs, own task", "own task, all CPUs", "one CPU, the same", "one CPU, another", "own task, own task", "cgroup, the same"

#: Work on each CPU.
WORK = "taskset -c 0 workload 1; taskset -c 1 workload 1"

#: The first user works before and after the second one has tried to record; T works all the time. `look` lets the test
#: read the hardware's counters; it keeps the port open, because an answer to a closed one is lost.
SCRIPT = """
look() {{ {{ echo >&3; read word <&3; }} 3<>/dev/vport0p2; }}
cd /tmp
if ! [ -d cgroup ]; then
    mkdir cgroup
    mount -t cgroup2 none cgroup
    echo +pids >cgroup/cgroup.subtree_control    # perf's controller comes with any other
    mkdir cgroup/users
fi
echo 0 >cgroup/users/cgroup.procs
rm -f started go *.data
mkfifo started go
sh -c 'while :; do :; done' & T=$!
perf record -o first.data {first} -- sh -c '{work}; echo >started; read word <go; {work}' >/dev/null 2>first.log & first=$!
read word <started
perf record -o second.data {second} -- sh -c '{work}' >/dev/null 2>second.log && echo second recorded
sh /tmp/spe-doctor 2>&1 | tr -s ' \\n' ' '; echo
look
echo >go
wait $first && echo first recorded
look
perf record -o third.data {second} -- sh -c '{work}' >/dev/null 2>third.log && echo third recorded
kill $T
wait $T
cat second.log
"""


@pytest.mark.parametrize("users", [pytest.param(users, marks=[pytest.mark.long] * (users not in DAILY)) for users in USERS])
def test_two_users(guest, users):
    """All that the hardware has written is in what they have recorded, and the next user is not refused."""
    first, second, both = USERS[users]
    guest.put({"/tmp/spe-doctor": TOP / "tools/spe-doctor"})
    before = total(guest.hardware())
    guest.begin(SCRIPT.format(first=f"{EVENT} {first}", second=f"{EVENT} {second}", work=WORK))
    looks = []
    while guest.hear():
        looks.append(total(guest.hardware())["records"])
        guest.answer()
    status, output = guest.finish()
    assert len(looks) == 2, (status, output)
    assert looks[1] > looks[0], "the first user's event did not go on"
    made = {name: count - before[name] for name, count in total(guest.hardware()).items()}
    done = set(re.findall(r"^(\w+) recorded$", output, re.MULTILINE))
    assert done == {"first", "third"} | ({"second"} if both else set()), output
    everything = Trace()
    for name in sorted(done):
        trace = trace_of(guest, f"/tmp/{name}.data")
        check_decodes(trace, 1)
        everything.aux += trace.aux
        everything.records += trace.records
    check_accounted(everything, made)
    if not both:
        assert "busy" in output, output
    assert re.search(r"SPE is in use; processes with events of perf: .*\bperf \d+", output), output
