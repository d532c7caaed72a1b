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

#: {name: (what the first user records, what the second one does, both record)}; T is a task.
USERS = {
    "all CPUs, all CPUs": ("-a", "-a", False),
    "all CPUs, own task": ("-a", "", False),
    "own task, all CPUs": ("", "-a", False),
    "one CPU, the same": ("-C 0", "-C 0", False),
    "one CPU, another": ("-C 0", "-C 1", True),
    "one CPU, task": ("-C 0", "-t $T", False),
    "own task, own task": ("", "", True),
    "task, the same": ("-t $T", "-t $T", False),
}

#: The first user's command: it says when it runs, and works once more when the second user is done.
WORK = "sh -c 'taskset -c 0 workload 2; taskset -c 1 workload 2; echo >/tmp/started; read word </tmp/go; workload 2' >/dev/null"

SCRIPT = """
cd /tmp
rm -f started go *.data
mkfifo started go
sh -c 'while :; do :; done' & T=$!
perf record -o first.data {first} -- {work} 2>first.log & first=$!
read word <started
perf record -o second.data {second} -- workload 2 >/dev/null 2>second.log && echo second recorded
sh /tmp/spe-doctor 2>&1 | tr -s ' \\n' ' '; echo
echo >go
wait $first && echo first recorded
perf record -o third.data {second} -- workload 2 >/dev/null 2>third.log && echo third recorded
kill $T
wait $T
cat second.log
"""


@pytest.mark.parametrize("users", USERS)
def test_two_users(guest, users):
    """All that the hardware has written is in what they have recorded, and the next user is not refused."""
    first, second, both = USERS[users]
    guest.put({"/tmp/spe-doctor": TOP / "tools/spe-doctor"})
    before = total(guest.hardware())
    output = guest.sh(SCRIPT.format(first=f"{EVENT} {first}", second=f"{EVENT} {second}", work=WORK))
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
