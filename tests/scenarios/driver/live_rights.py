# SPDX-License-Identifier: GPL-2.0
"""Who may open a live event, what its records have, and who sees them."""

from itertools import product

import pytest

from live import EVENT, MOUNT, TRACING, heard, stat

USER = "setpriv --reuid 1000 --regid 1000 --clear-groups"
#: How a program is run. As in a container: root of a user namespace has no rights outside.
WHO = {
    "root": "",
    "user": USER,
    "perfmon": f"{USER} --inh-caps=+perfmon --ambient-caps=+perfmon",
    "sys_admin": f"{USER} --inh-caps=+sys_admin --ambient-caps=+sys_admin",
    "root of a user namespace": f"{USER} unshare --user --map-root-user",
    "root without CAP_PERFMON": "setpriv --bounding-set=-perfmon,-sys_admin --inh-caps=-perfmon,-sys_admin",
}
PERMITTED = "root", "perfmon", "sys_admin"
PARANOID = "/proc/sys/kernel/perf_event_paranoid"
EPERM, EACCES = 1, 13


@pytest.fixture(autouse=True)
def ours(driver):
    """Skips the tests with the C driver."""
    if driver == "c":
        pytest.skip("the C driver has no live events")


def errors(guest, asked):
    """Returns the error of each (who, level, command of progs/live.c)."""
    script = "\n".join(f"echo {level} >{PARANOID}; {WHO[who]} live {command}" for who, level, command in asked)
    try:
        return [int(line.split()[1]) for line in guest.sh(script).splitlines()]
    finally:
        guest.sh(f"echo -1 >{PARANOID}")


def test_who_may_open(guest):
    """CAP_PERFMON decides at each level of perf_event_paranoid, also for one's own user space."""
    #: PID, CPU, the kernel as well, physical addresses.
    kinds = "open 0 -1 0 0", "open 0 -1 1 1", "open -1 0 1 0"
    asked = list(product(WHO, range(-1, 4), kinds))
    for (who, level, kind), error in zip(asked, errors(guest, asked)):
        # Debian's level 3 is for CAP_SYS_ADMIN alone.
        permitted = who in PERMITTED and (level < 3 or who != "perfmon")
        assert error == (0 if permitted else EACCES), (who, level, kind)


def test_who_may_listen(guest):
    """The contents of the trace event are for those who may see trace events."""
    guest.sh(MOUNT)
    number = guest.sh(f"cat {TRACING}/{EVENT}/id")
    asked = list(product(WHO, range(-1, 3), (f"listen {number} 1 0 -1", f"listen {number} 1 -1 0")))
    for (who, level, kind), error in zip(asked, errors(guest, asked)):
        # At level -1 the kernel permits all users everything.
        assert error == (0 if who in PERMITTED or level == -1 else EPERM), (who, level, kind)
    for who in WHO:
        if who not in ("root", "root without CAP_PERFMON"):
            for file in (f"{TRACING}/trace", f"{TRACING}/{EVENT}/enable", f"{TRACING}/{EVENT}/hist"):
                status, output = guest.run(f"{WHO[who]} cat {file}")
                assert status and "Permission denied" in output, (who, file, output)


def test_own_task_alone(guest):
    """The event of a task has no record of another one, which has no event and runs on the same CPU."""
    guest.sh("taskset -c 1 workload 100000 >/dev/null 2>&1 & echo $! >/tmp/other")
    count, result = stat(guest, "arm_spe_0/live=1,interval=1024/u", "taskset -c 1 workload 5")
    other = int(guest.sh("cat /tmp/other; kill $(cat /tmp/other)"))
    assert count == result.hits > 100
    assert all(task == context != other for task, context, _ in result.tasks), result.tasks


def test_children_with_fewer_rights(guest):
    """Root counts a program that drops its rights and forks: both are counted."""
    count, result = stat(guest, "arm_spe_0/live=1,interval=1024/u", f"{USER} bash -c 'workload 1; true'")
    assert count == result.hits > 100
    assert len({task for task, _, _ in result.tasks}) == 2


@pytest.mark.parametrize("fields, present", [("", 0), (",pa_enable=1", 1 << 3), (",ts_enable=1", 1 << 14)])
def test_what_is_in_a_record(guest, fields, present):
    """Physical addresses and times are in the records of an event that asks for them."""
    guest.sh(f"{MOUNT}; echo 'hist:keys=present:size=4096' >{TRACING}/{EVENT}/trigger")
    guest.sh(f"perf stat -e arm_spe_0/live=1,interval=1024{fields}/ -- workload 2")
    text = guest.sh(f"cat {TRACING}/{EVENT}/hist; echo '!hist:keys=present:size=4096' >{TRACING}/{EVENT}/trigger")
    found = [int(line.split()[2]) for line in text.splitlines() if line.startswith("{ present:")]
    together = 0
    for bits in found:
        together |= bits
    # PC, operation and events are always there.
    assert found and together & (1 << 3 | 1 << 14) == present, text
    assert all(bits & (1 | 1 << 11 | 1 << 13) == 1 | 1 << 11 | 1 << 13 for bits in found), text


def test_container(guest):
    """In a PID namespace of its own there are no PIDs in the records, as in those of other events."""
    count, result = stat(guest, "arm_spe_0/live=1,interval=1024/u", "workload 2", "")
    assert count and {context for _, context, _ in result.tasks} != {0}
    inner = "perf stat -x, -o /tmp/stat -e arm_spe_0/live=1,interval=1024/u -- workload 2"
    result = heard(guest, f"unshare --pid --fork --mount-proc {inner}")
    assert result.hits > 100 and {context for _, context, _ in result.tasks} == {0}
