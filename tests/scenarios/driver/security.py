# SPDX-License-Identifier: GPL-2.0
"""Access rights: the result of opening events at each perf_event_paranoid, and what the hardware then writes and where.

`allowed` has the documented rules (Documentation/admin-guide/perf-security.rst, the comment above
sysctl_perf_event_paranoid, and the rule for SPE's own privileged fields). Both drivers are compared with them.
"""

import random
import re
from collections import Counter
from itertools import product

import pytest

from attrs import open_all
from device_tree import edited, one_unit_per_cpu
from spe import COUNTERS, LENT, OVERWRITE, TAKEN, UNMAPS, check_decodes, counters, record, recorded

PAGE = 4096

#: The users that open an event: the arguments of progs/attrs.c and setpriv(1).
WHO = {
    "root": ({"root": 1}, ""),
    "user": ({"user": 1}, "setpriv --reuid 1000 --regid 1000 --clear-groups"),
    "perfmon": ({"user": 1, "perfmon": 1}, "setpriv --reuid 1000 --regid 1000 --clear-groups"
                " --inh-caps=+perfmon --ambient-caps=+perfmon"),
    "sys_admin": ({"user": 1, "admin": 1}, None),
}
#: The targets. Process 1 belongs to root.
WHERE = {
    "own task": {"pid": 0, "cpu": -1},
    "own task on a CPU": {"pid": 0, "cpu": 0},
    "root's task": {"pid": 1, "cpu": -1},
    "system wide": {"pid": -1, "cpu": 0},
}
LEVELS = range(-1, 4)

#: perf_event_attr.exclude_*, in the encoding of progs/attrs.c.
USER, KERNEL, HV, IDLE, HOST, GUEST = (1 << bit for bit in range(6))
#: config: ts_enable, pa_enable, pct_enable.
TS, PA, PCT = 1, 2, 4
#: PMSCR_EL1.
E0SPE, E1SPE, CX, PMSCR_PA, PMSCR_TS, PMSCR_PCT = 1 << 0, 1 << 1, 1 << 3, 1 << 4, 1 << 5, 1 << 6


@pytest.fixture(scope="module")
def machine():
    """Returns the options for a unit whose records have everything, including the previous branch target."""
    return {"spe": "spe=on,spe-version=1.5,spe-prev-branch=on,spe-cache=on"}


def may_profile_kernel(who, paranoid):
    """Returns whether a user may profile the kernel: below level 2, or with CAP_PERFMON or CAP_SYS_ADMIN."""
    return paranoid < 2 or who != "user"


def allowed(which, who, paranoid, where, exclude, config):
    """Returns the error with which a driver refuses an event, or the value of PMSCR_EL1 while it samples."""
    # Debian's level 3 (CONFIG_SECURITY_PERF_EVENTS_RESTRICT) disallows everything, also with CAP_PERFMON.
    if paranoid > 2 and who not in ("root", "sys_admin"):
        return "EACCES"
    kernel = may_profile_kernel(who, paranoid)
    if not exclude & KERNEL and not kernel:
        return "EACCES"
    # The driver's: the unit cannot exclude the idle task or the host. The C driver accepts exclude_host.
    if exclude & (IDLE | HOST if which == "rust" else IDLE):
        return "EOPNOTSUPP"
    # The driver's: physical addresses and physical time require the right to profile the kernel.
    if config & (PA | PCT) and not kernel:
        return "EACCES"
    # A process of another user (ptrace(2)), and all processes on a CPU (level 1 and up).
    if where == "root's task" and who == "user" or where == "system wide" and paranoid > 0 and who == "user":
        return "EACCES"
    # The unit samples neither the hypervisor nor a guest: exclude_hv and exclude_guest make no difference.
    return (E0SPE * (not exclude & USER) | E1SPE * (not exclude & KERNEL) | CX * kernel
            | PMSCR_TS * bool(config & TS) | PMSCR_PA * bool(config & PA) | PMSCR_PCT * bool(config & PCT))


def table():
    """Yields (who, paranoid, where, exclude, config): all rights, each with some of the rest; some with all of it."""
    chance = random.Random(1)
    for who, paranoid, where, exclude, config in product(WHO, LEVELS, WHERE, (0, USER, KERNEL, USER | KERNEL),
                                                         (0, PA, PCT, PA | PCT)):
        rest = chance.choice([0, 0, 0, IDLE]) | chance.choice([0, HV, HOST, GUEST])
        yield who, paranoid, where, exclude | rest, config | chance.choice([0, TS])
    for who, exclude in product(WHO, range(1 << 6)):
        yield who, 2, "own task", exclude, TS


def found(where, words, begun):
    """Returns the result in the form of `allowed`, or None if it makes no sense."""
    if words[0] != "0":
        return words[0] if words[1:] == ["-", "-", "-"] and not begun else None
    if words[1] != "0":
        return None
    if where == "root's task":
        # Process 1 does not run in this time: only opening the event can be checked.
        return "opened" if words[3] == "idle" and not begun else None
    values = {registers["PMSCR_EL1"] for registers in begun}
    return values.pop() if words[3] == "ran" and len(values) == 1 else None


def loaded(guest, which):
    """Replaces the loaded driver."""
    guest.unload()
    guest.sh("dmesg -C")
    guest.load(which)


@pytest.mark.parametrize("which", [pytest.param("c", marks=pytest.mark.long), "rust"])
def test_table(guest, driver, which, show):
    if driver == "c" and which == "rust":
        pytest.skip("DRIVER=c")
    loaded(guest, which)
    asked = list(table())
    results = open_all(guest, [
        {"period": 4096, "pages": 2, "paranoid": paranoid, "exclude": exclude, "config": config,
         **WHO[who][0], **WHERE[where]} for who, paranoid, where, exclude, config in asked])
    wrong, counts = [], Counter()
    for event, result in zip(asked, results):
        want, have = allowed(which, *event), found(event[2], *result)
        if event[2] == "root's task" and isinstance(want, int):
            want = "opened"
        counts[want if isinstance(want, str) else "ran"] += 1
        if want != have:
            wrong.append(f"{event}: wanted {want}, found {result}")
    show(f"\n    {which}: {len(asked)} events: {dict(counts)}")
    assert not wrong, f"{len(wrong)} of {len(asked)}:\n" + "\n".join(wrong[:20])
    assert set(counts) == {"EACCES", "EOPNOTSUPP", "opened", "ran"}


def test_locked_memory(guest, driver):
    """AUX buffers count as locked memory, which is limited without CAP_IPC_LOCK, except at level -1."""
    of_perf, limit, cpus = (int(word) for word in guest.sh(
        "cat /proc/sys/kernel/perf_event_mlock_kb; ulimit -l; nproc").split())
    pages = [1 << n for n in range(6, 13)]
    asked = [(who, paranoid, number) for who, paranoid, number in product(("root", "user", "perfmon"), LEVELS, pages)
             if who == "root" or paranoid < 3]
    results = open_all(guest, [
        {"period": 4096, "pages": number, "paranoid": paranoid, "exclude": KERNEL, **WHO[who][0], **WHERE["own task"]}
        for who, paranoid, number in asked])
    refused = 0
    for (who, paranoid, number), (words, _) in zip(asked, results):
        # perf maps two more pages.
        beyond = (2 + number) * PAGE // 1024 - of_perf * cpus > limit
        want = "EPERM" if beyond and who != "root" and paranoid > -1 else "0"
        assert words[:2] == ["0", want], (who, paranoid, number)
        refused += want != "0"
    assert 0 < refused < len(asked) / 2


def test_debugfs(guest, driver):
    """Only root can read the counters, even if debugfs is open to all users."""
    if driver == "c":
        pytest.skip("the C driver has no counters")
    user = WHO["user"][1]
    assert guest.sh("stat -c '%a %u:%g' /sys/kernel/debug") == "700 0:0"
    modes = guest.sh(f"find {COUNTERS} -printf '%y %m %U:%G\\n' | sort | uniq -c").split("\n")
    assert [" ".join(line.split()) for line in modes] == ["1 d 755 0:0", "2 f 400 0:0"]
    guest.sh("mount -o remount,mode=755 /sys/kernel/debug")
    status, said = guest.run(f"{user} ls {COUNTERS} && {user} cat {COUNTERS}/cpu0")
    guest.sh("mount -o remount,mode=700 /sys/kernel/debug")
    assert status and "cpu0" in said and "Permission denied" in said, said
    status, said = guest.run(f"{user} ls {COUNTERS}")
    assert status and "Permission denied" in said, said


#: Set in addresses of the kernel. Addresses in packets have 56 bits.
KERNEL_HALF = 1 << 55
#: The kernel address that progs/crossings.c uses itself.
KNOWN = 0xffff000000001000 & (1 << 56) - 1


def recorded_by(guest, who, paranoid, event, command="crossings 40"):
    """Records a command. perf and the command run as the same user. Returns the trace."""
    trace = recorded(guest, f"""
rm -f /tmp/perf.data
echo {paranoid} >/proc/sys/kernel/perf_event_paranoid
{WHO[who][1]} perf record -q -B -N -m ,1M -o /tmp/perf.data -e '{event}' -- taskset -c 1 {command}
status=$?
chown 0:0 /tmp/perf.data
echo -1 >/proc/sys/kernel/perf_event_paranoid
exit $status""")
    check_decodes(trace, 1000)
    return trace.records


def kernel_addresses(records):
    """Returns every kernel address in the records, with the name of its packet."""
    return [(name, address) for record in records for name, address in [("PC", record.pc), *record.address.items()]
            if address & KERNEL_HALF]


def crossings(records):
    """Returns the records of operations that took an exception, and of those that returned from one."""
    taken = [record for record in records if "EXCEPTION-GEN" in record.events]
    returned = [record for record in records if record.el > 0 and not record.address.get("TGT", KERNEL_HALF) & KERNEL_HALF]
    return taken, returned


def check_without_kernel(records, context):
    """Checks records of user space alone, at all crossings into the kernel. context: whether they have the PID."""
    taken, _ = crossings(records)
    assert {record.el for record in records} == {0}
    # The program has jumped there and loaded from there itself.
    assert {address for _, address in kernel_addresses(records)} <= {KNOWN}
    # The vectors are in the kernel. By the architecture an exception has no target: only branches have one.
    assert len(taken) > 20 and not [record for record in taken if "TGT" in record.address and "B" not in record.op.split()]
    assert not [record for record in records if "PA" in record.address]
    assert {record.context >= 0 for record in records} == {context}


def test_records(guest, driver, show):
    """The decoded records of a program that enters and leaves the kernel in all ways."""
    fields = "period=256,ts_enable=1"
    user = recorded_by(guest, "user", 2, f"arm_spe/{fields}/u")
    check_without_kernel(user, context=False)
    check_without_kernel(recorded_by(guest, "perfmon", 2, f"arm_spe/{fields}/u"), context=True)
    check_without_kernel(recorded_by(guest, "user", 1, f"arm_spe/{fields}/u"), context=True)

    kernel = recorded_by(guest, "perfmon", 2, f"arm_spe/{fields},pa_enable=1/k", "crossings 4")
    _, returned = crossings(kernel)
    assert all(record.el > 0 and record.pc & KERNEL_HALF for record in kernel)
    # An exception return is the kernel's operation, and its target is in user space.
    assert returned and {record.op.split()[0] for record in returned} == {"B"}
    # Kernel addresses would have been found above.
    both = recorded_by(guest, "root", 2, f"arm_spe/{fields},pa_enable=1,pct_enable=1/", "crossings 4")
    names = {name for name, _ in kernel_addresses(both)}
    assert names == {"PC", "TGT", "VA", "PBT"}
    assert [record for record in both if "PA" in record.address] and both[0].context > 0
    show(f"\n    {len(user)} records of user space, {len(crossings(user)[0])} with an exception;"
          f" {len(kernel)} of the kernel, {len(returned)} returns from an exception")


def test_fork_with_fewer_rights(guest, driver):
    """Root profiles a program that drops its rights and forks: both it and the child are still profiled."""
    if driver == "c":
        pytest.skip("the C driver asks the task that forks, and it cannot")
    trace = recorded(guest, f"""
echo 2 >/proc/sys/kernel/perf_event_paranoid
perf record -q -B -N -o /tmp/perf.data -e arm_spe/period=1024,pa_enable=1/u -- {WHO["user"][1]} bash -c 'workload 1; true'
echo -1 >/proc/sys/kernel/perf_event_paranoid""")
    check_decodes(trace, 100)
    tasks = {record.context for record in trace.records}
    assert len(tasks) == 2 and -1 not in tasks
    assert {record.context for record in trace.records if "PA" in record.address} == tasks


SPANS = ("PMBPTR_EL1", "PMBLIMITR_EL1", "PMSIRR_EL1")


def transactions(accesses, driver):
    """Returns [(round of progs/hostile.c, first address, limit)] for the AUX transactions on CPU 0."""
    pointer, result, at_end = None, [], None
    for cpu, register, value in accesses:
        if cpu or register not in SPANS:
            continue
        if register == "PMBPTR_EL1":
            pointer = value
        elif register == "PMBLIMITR_EL1" and value & 1:
            result.append([at_end, pointer, value & ~(PAGE - 1)])
        elif register == "PMSIRR_EL1":
            # Written by a start: before the write pointer, by the C driver after it. That transaction began the round.
            at_end = (value >> 8) - 1
            if driver == "c":
                result[-1][0] = at_end
    return result


def check_transactions(found_transactions, rounds, size, still):
    """Checks that transactions are within the buffer and, if the reader's tail is known, outside of unread data."""
    # The first transaction starts at the beginning of the new buffer.
    base = found_transactions[0][1]
    for number, pointer, limit in found_transactions:
        assert base <= pointer < limit <= base + size, (number, hex(base), hex(pointer), hex(limit))
        if still and number in rounds:    # not the last, in which the tail is true
            head, tail, _ = rounds[number]
            index = head + (pointer - base - head) % size
            unread = (index - tail) % (1 << 64)
            assert unread < size and unread + limit - pointer <= size, (number, head, tail, pointer - base, limit - base)


def test_a_buffer_that_is_taken(boot, driver):
    """A child's AUX transaction has the last reference to a buffer, which is dropped when the transaction ends."""
    if driver == "c":
        pytest.skip(UNMAPS)
    guest = boot(smp=2)
    guest.load("checked")
    guest.known = TAKEN
    # Unmapping may sleep, and is left to a work item, or to the module's exit.
    mapped = "awk '$2 == 4 * 1024 * 1024 + 4096 && $3 ~ /^spe_helper_vmap/' /proc/vmallocinfo | wc -l"
    # On a busy machine another task may end the last transaction, also with interrupts off: until the handler has.
    while True:
        output = guest.sh("taken")
        assert int(output.split()[1]) > 0
        if (seen := counters(guest))["full"]:
            break
    for what in ("perf_mmap_close", "__rb_free_aux"):
        assert f" at {what}+" in guest.sh("dmesg"), f"{what}() did not see it"
    assert seen["start_not_mapped"] > 0 and seen["mismatches"] == 0, seen
    guest.sh(f"until [ $({mapped}) = 0 ]; do :; done")
    check_decodes(record(guest, "arm_spe/period=1024/u", "workload 2"), 100)
    guest.sh("taken")
    guest.unload()
    assert guest.sh(mapped) == "0"


def test_another_pmus_buffer(boot, artefacts, driver):
    """perf gives an event the buffer of another PMU's driver: nothing is written there.

    The buffer of another SPE PMU is for other sizes and alignments; that of any other PMU is of another type. The C
    driver takes it for its own.
    """
    guest = boot(smp=2, arguments=edited(artefacts, one_unit_per_cpu))
    guest.load("checked" if driver == "rust" else driver)
    guest.known = LENT
    output = guest.sh("lent other").split()
    if driver == "c":
        assert output[0] == "bytes" and int(output[1]) > PAGE, output
        return
    assert output == ["bytes", "0"]
    seen = counters(guest)
    assert seen["start_not_mapped"] > 0 and seen["mismatches"] == 0 and seen["bytes"] == 0, seen
    check_decodes(record(guest, "arm_spe_0/period=1024/u", "taskset -c 0 workload 2"), 100)


@pytest.mark.parametrize("how", ["still", "racing", "snapshot"])
def test_hostile_reader(guest, driver, how, show):
    """A reader that writes wrong tails: the hardware stays within the buffer and does not overwrite unread data.

    No byte of the buffer changes without being reported: the rest is still zero.
    """
    # The build that checks itself, if there is one.
    loaded(guest, "checked" if driver == "rust" else driver)
    size, number = 4 * PAGE, 0
    for seed in range(1, 5):
        with guest.registers() as accesses:
            said = guest.sh(f"hostile {how} {seed}", timeout=200)
        rounds = {int(line[0]): tuple(map(int, line[1:]))
                  for line in re.findall(r"^round (\d+) (\d+) (\d+) (\d+)$", said, re.MULTILINE)}
        values = dict(re.findall(r"^(\w+) (\d+)$", said, re.MULTILINE))
        assert len(rounds) == 64
        flags = str(OVERWRITE if how == "snapshot" else 0)
        assert values == {"stale": "0", "changed": "0", "beyond": "0", "flags": flags, "after_wrong": "0",
                          "after": values["after"]}, said
        assert int(values["after"]) >= size // 2
        made = transactions(accesses, driver)
        assert made    # how many of the rounds have one depends on who wins the race
        check_transactions(made, rounds, size, how == "still")
        number += len(made)
    show(f"\n    {how}: {number} transactions within the buffer")
    if driver == "rust":
        assert "mismatches 0" in guest.sh(f"cat {COUNTERS}/cpu0")
