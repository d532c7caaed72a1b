# SPDX-License-Identifier: GPL-2.0
"""Each field of struct perf_event_attr has the effect on an SPE event that TABLE says, or is refused.

TABLE has every field of the kernel's header, which is checked against it. A field has cases: values other than that of
an ordinary event, and their effects. These are an error of perf_event_open(2), or changes in the life of the event
(progs/attributes.c goes through it) and in the values of the unit's registers. Anything else has to be as it is for the
ordinary event.

Many fields select the contents of a sample (PERF_RECORD_SAMPLE). An SPE event emits no samples, its records are in the
AUX area. So these fields have no meaning; perf's tools set them, and they are accepted.

perf's core handles many of the others, with any driver. That is checked as well: the driver must not interfere.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from spe import PMU, check_decodes, record, recorded

HEADER = Path(os.environ["ARM_SPE_KERNEL"], "include/uapi/linux/perf_event.h")

WIDTHS = {"__u64": 64, "__u32": 32, "__s32": 32, "__u16": 16}


def members(tokens, start, fields, is_union=False):
    """Adds the members of a struct or union to fields ({name: (first bit, width)}). Returns the place after it."""
    here = end = start
    while (token := next(tokens)) != "}":
        if token in ("union", "struct"):
            assert next(tokens) == "{"
            here = members(tokens, here, fields, token == "union")
            assert next(tokens) == ";"
        else:
            bit, separator = here, ","
            while separator != ";":
                name, separator = next(tokens), next(tokens)
                width = WIDTHS[token]
                if separator == ":":
                    width, separator = int(next(tokens)), next(tokens)
                fields[name] = (bit, width)
                bit += width
            here += WIDTHS[token]
        end = max(end, here)
        here = start if is_union else end
    return end


def layout():
    """Returns the fields of struct perf_event_attr: {name: (first bit, width)}."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    fields = {}
    body = text.split("struct perf_event_attr {")[1]
    end = members(iter(re.findall(r"\w+|[{}:,;]", body)), 0, fields)
    # The fields of the struct are aligned without padding.
    assert end == 8 * max(int(size) for size in re.findall(r"PERF_ATTR_SIZE_VER\d+\s+(\d+)", text))
    return fields


LAYOUT = layout()

#: enum perf_event_sample_format
IP, TID, TIME, READ, CALLCHAIN, BRANCH_STACK, REGS_USER, STACK_USER, REGS_INTR, AUX = (
    1 << bit for bit in (0, 1, 2, 4, 5, 11, 12, 13, 18, 20))
ALL_BUT_GROUPS = (1 << 25) - 1 & ~(AUX | READ | REGS_USER | STACK_USER | REGS_INTR | BRANCH_STACK | 1 << 14)
#: PERF_SAMPLE_BRANCH_ANY
ANY_BRANCH = 1 << 3

#: The ordinary event, which samples everything.
ORDINARY = {"sample_period": 2048, "disabled": 1}

STAGES = ("opened", "executed", "enabled", "forked", "threaded", "noticed")
#: enum perf_event_type
MMAP, COMM, EXIT, FORK, COUNT, MMAP2, AUX_RECORD, ITRACE_START, SWITCH, NAMESPACES, KSYMBOL, BPF, CGROUP = (
    f"type_{number}" for number in (1, 3, 4, 7, 8, 10, 11, 12, 14, 16, 17, 18, 19))


def made(*stages, by="own"):
    """Returns the facts of an event with records in these stages, of the process or of others, at both levels."""
    return {f"{stage}_{kind}": True for stage in stages for kind in (by, "user", "kernel")}


def nothing(*stages, of=("own", "user", "kernel")):
    """Returns the facts of an event without records in these stages."""
    return {f"{stage}_{kind}": False for stage in stages for kind in of}


@dataclass
class Case:
    """An event that differs from the ordinary one, and the effects."""

    set: dict
    #: The name of the error with which it is refused.
    error: str = "0"
    #: Changes in the facts that progs/attributes.c prints: whether they are not 0, for sizes the values; None if they
    #: depend on how much the kernel does.
    facts: dict = field(default_factory=dict)
    #: Changes in the values of the registers while it samples.
    registers: dict = field(default_factory=dict)
    #: The case for the C driver (DRIVER=c), if it differs.
    c: "Case | None" = None


def same(**attributes):
    """Returns a case that is accepted without an effect."""
    return Case(attributes)


def refused(error, c=None, **attributes):
    return Case(attributes, error, c=c)


def gives(facts, **attributes):
    return Case(attributes, facts=facts)


def programs(registers, **attributes):
    return Case(attributes, registers=registers)


#: PMSCR_EL1 of the ordinary event: E0SPE, E1SPE, CX.
SCR = 1 | 2 | 8
REMOVED = {**nothing(*STAGES[2:]), "aux_beyond_page": False, AUX_RECORD: False, ITRACE_START: False, "aux_record_size": 0}

TABLE = {
    # The event.
    "type": [refused("ENOENT", type=99999)],
    # The first version of the struct, which ends before config1; a size below that; and one above a page.
    "size": [same(size=64), same(size=0), refused("E2BIG", size=63), refused("E2BIG", size=1 << 16)],
    "config": [programs({"PMSCR_EL1": SCR | 1 << 5}, config=1)],
    # The event filter, latency filter, inverted event filter and inverted data source filter (of a source that nothing
    # has): parity.py has them all.
    "config1": [programs({"PMSFCR_EL1": 1, "PMSEVFR_EL1": 2}, config1=2)],
    "config2": [programs({"PMSFCR_EL1": 1 << 2, "PMSLATFR_EL1": 1}, config2=1)],
    "config3": [programs({"PMSFCR_EL1": 1 << 3, "PMSNEVFR_EL1": 1 << 7}, config3=1 << 7)],
    "config4": [programs({"PMSFCR_EL1": 1 << 4, "PMSDSFR_EL1": (1 << 64) - 1 - (1 << 62)}, config4=1 << 62)],

    # The period. A frequency would have to be adjusted by samples.
    "sample_period": [programs({"PMSIRR_EL1": 4096}, sample_period=4096), refused("EINVAL", sample_period=1 << 63)],
    "sample_freq": [refused("EINVAL", freq=1, sample_freq=1000)],
    "freq": [refused("EINVAL", freq=1)],
    "precise_ip": [same(precise_ip=number) for number in (1, 2, 3)],

    # The time.
    "disabled": [gives(made("opened", "executed"), disabled=0)],
    "enable_on_exec": [gives(made("executed"), enable_on_exec=1)],
    "remove_on_exec": [gives(REMOVED, remove_on_exec=1), refused("EINVAL", remove_on_exec=1, enable_on_exec=1)],
    "pinned": [gives({"starved_count_size": 0}, pinned=1)],
    # There is one event at a time on a unit anyway.
    "exclusive": [same(exclusive=1)],
    "aux_start_paused": [Case({"aux_start_paused": 1}, c=refused("EOPNOTSUPP"),
                              facts={**nothing(*STAGES), "aux_beyond_page": False, AUX_RECORD: False, "aux_record_size": 0})],

    # The target.
    "inherit": [gives({**made("forked", "threaded", by="others")}, inherit=1)],
    # perf makes a record of the child's count.
    "inherit_stat": [gives({**made("forked", "threaded", by="others"), COUNT: True}, inherit=1, inherit_stat=1)],
    "inherit_thread": [gives({**made("threaded", by="others")}, inherit=1, inherit_thread=1),
                       refused("EINVAL", inherit_thread=1)],
    "exclude_user": [Case({"exclude_user": 1}, facts={**nothing(*STAGES, of=["user"]), "aux_beyond_page": None},
                          registers={"PMSCR_EL1": SCR & ~1})],
    "exclude_kernel": [Case({"exclude_kernel": 1}, facts=nothing(*STAGES, of=["kernel"]),
                            registers={"PMSCR_EL1": SCR & ~2})],
    # The unit never samples a hypervisor or a guest.
    "exclude_hv": [same(exclude_hv=1)],
    "exclude_guest": [same(exclude_guest=1)],
    # It cannot do without the host, nor the idle task.
    "exclude_host": [refused("EOPNOTSUPP", exclude_host=1, c=same()),
                     refused("EOPNOTSUPP", exclude_host=1, exclude_guest=1, c=same())],
    "exclude_idle": [refused("EOPNOTSUPP", exclude_idle=1)],

    # The AUX area. The event is not the output of another, is not sampled by others, and pauses no others.
    "aux_watermark": [gives({"aux_beyond_page": False, "woken": True}, aux_watermark=4096)],
    "aux_output": [refused("EOPNOTSUPP", aux_output=1)],
    "aux_sample_size": [refused("EINVAL", aux_sample_size=4096)],
    "aux_action": [refused("EINVAL", aux_action=6)],
    "aux_pause": [refused("EINVAL", aux_pause=1)],
    "aux_resume": [refused("EINVAL", aux_resume=1)],

    # A signal at each sample, of which there are none. perf requires remove_on_exec for a signal.
    "sigtrap": [refused("EOPNOTSUPP", sigtrap=1, remove_on_exec=1, c=gives(REMOVED)), refused("EINVAL", sigtrap=1)],
    "sig_data": [same(sig_data=1)],

    # The contents of a sample.
    "sample_type": [same(sample_type=ALL_BUT_GROUPS & ~CALLCHAIN), same(sample_type=READ), same(sample_type=AUX)],
    "branch_sample_type": [same(branch_sample_type=ANY_BRANCH, sample_type=BRANCH_STACK), same(branch_sample_type=1)],
    "sample_regs_user": [same(sample_regs_user=1, sample_type=REGS_USER), same(sample_regs_user=1)],
    "sample_stack_user": [same(sample_stack_user=64, sample_type=STACK_USER), same(sample_stack_user=64)],
    "sample_regs_intr": [same(sample_regs_intr=1, sample_type=REGS_INTR), same(sample_regs_intr=1)],
    "sample_max_stack": [same(sample_max_stack=8, sample_type=CALLCHAIN)],
    "exclude_callchain_kernel": [same(exclude_callchain_kernel=1, sample_type=CALLCHAIN)],
    "exclude_callchain_user": [same(exclude_callchain_user=1, sample_type=CALLCHAIN)],
    "defer_callchain": [same(defer_callchain=1, sample_type=CALLCHAIN)],
    "wakeup_events": [same(wakeup_events=1)],

    # The result of read(2): a count, and with these two the time for which the event was enabled and running.
    "read_format": [gives({"count_size": 24, "starved_count_size": 24}, read_format=3)],

    # perf's own records of tasks and mappings, in the data area. Each of the first seven adds those of new processes.
    "mmap": [gives({FORK: True, MMAP: True}, mmap=1)],
    "mmap_data": [gives({FORK: True, MMAP: True, "data_maps": True}, mmap_data=1)],
    "mmap2": [gives({FORK: True, MMAP2: True}, mmap=1, mmap2=1)],
    "build_id": [gives({FORK: True, MMAP2: True, "build_ids": True}, mmap=1, mmap2=1, build_id=1)],
    "comm": [gives({FORK: True, COMM: True}, comm=1)],
    # A flag that perf sets in any case.
    "comm_exec": [gives({FORK: True, COMM: True}, comm=1, comm_exec=1)],
    "task": [gives({FORK: True}, task=1),
             gives({**made("forked", "threaded", by="others"), FORK: True, EXIT: True}, task=1, inherit=1)],
    "context_switch": [gives({SWITCH: True}, context_switch=1)],
    "namespaces": [gives({NAMESPACES: True}, namespaces=1)],
    "ksymbol": [gives({KSYMBOL: True}, ksymbol=1)],
    "bpf_event": [gives({BPF: True}, bpf_event=1)],
    "cgroup": [gives({CGROUP: True}, cgroup=1)],
    # There are none: arm64 does not report changes of its code to perf, and no event asks for callchains.
    "text_poke": [same(text_poke=1)],
    "defer_output": [same(defer_output=1)],
    "sample_id_all": [gives({"aux_record_size": 24 + 8 + 8}, sample_id_all=1, sample_type=TIME)],
    "use_clockid": [same(use_clockid=1, clockid=4)],
    # Only clocks that can be read in an NMI.
    "clockid": [refused("EINVAL", use_clockid=1, clockid=0), same(clockid=1)],
    "watermark": [gives({"woken": True}, watermark=1, wakeup_watermark=1)],
    "wakeup_watermark": [gives({"woken": True}, watermark=1, wakeup_watermark=1)],
    "write_backward": [gives({"backward": True}, write_backward=1)],

    # Fields for other types of events.
    "bp_type": [same(bp_type=1)],

    "__reserved_1": [refused("EINVAL", __reserved_1=1)],
    "__reserved_2": [refused("EINVAL", __reserved_2=1)],
    "__reserved_3": [refused("EINVAL", __reserved_3=1)],
}

#: Names of the same bits for other types of events.
OTHER_NAMES = {"bp_addr": "config1", "kprobe_func": "config1", "uprobe_path": "config1",
               "bp_len": "config2", "kprobe_addr": "config2", "probe_offset": "config2"}

#: The registers that select what is sampled, and the value for nothing, or for no filter.
NEUTRAL = {"PMSCR_EL1": 0, "PMSFCR_EL1": 0, "PMSEVFR_EL1": 0, "PMSNEVFR_EL1": 0, "PMSDSFR_EL1": (1 << 64) - 1,
           "PMSLATFR_EL1": 0, "PMSIRR_EL1": 0}
#: Facts that are compared by value.
SIZES = ("count_size", "starved_count_size", "aux_record_size")


@pytest.fixture(scope="module")
def machine():
    """Returns the options for a unit with all filters."""
    return {"spe": "spe=on,spe-version=1.5"}


def attr(attributes):
    """Returns the bytes of a struct perf_event_attr."""
    value = 0
    for name, number in attributes.items():
        bit, width = LAYOUT[name]
        assert not number >> width, name
        value |= number << bit
    end = max(bit + width for bit, width in LAYOUT.values())
    return value.to_bytes(end // 8, "little")


def live(guest, attributes):
    """Opens an event on a process. Returns the error, the facts of its life and {register: values while it samples}."""
    attributes = {"type": int(guest.sh(f"cat {PMU}/type")), "size": len(attr({})), **ORDINARY, **attributes}
    with guest.registers() as accesses:
        said = guest.sh(f"attributes {attr(attributes).hex()}")
    (error,) = re.findall(r"^open (\w+)$", said, re.MULTILINE)
    facts = {name: int(value) for name, value in re.findall(r"^(\w+) (-?\d+)$", said, re.MULTILINE) if name != "open"}
    registers = {}
    for _, register, value in accesses:
        if register in NEUTRAL and value != NEUTRAL[register]:
            registers.setdefault(register, set()).add(value)
    return error, facts, registers


@pytest.fixture(scope="module")
def ordinary(guest):
    """Returns the life of the ordinary event."""
    error, facts, registers = live(guest, {})
    assert error == "0"
    assert registers["PMSCR_EL1"] == {SCR}
    return facts, registers


def coarse(facts):
    """Returns facts in the form of a case."""
    return {name: value if name in SIZES else value != 0 for name, value in facts.items()}


def check(guest, ordinary, case):
    """Checks that an event has exactly the effects of its case."""
    error, facts, registers = live(guest, case.set)
    assert error == case.error
    if error != "0":
        assert not registers
        return
    plain_facts, plain_registers = ordinary
    expected = {**coarse(plain_facts), **case.facts}
    found = {name: None if name in expected and expected[name] is None else value
             for name, value in coarse(facts).items()}
    assert found == expected, {name: facts[name] for name in found if found[name] != expected[name]}
    # The same interval makes as many records: the process does the same work.
    if case.set.get("sample_period") is None and expected["enabled_user"]:
        assert abs(facts["enabled_user"] - plain_facts["enabled_user"]) < plain_facts["enabled_user"] / 4
    wanted = {**plain_registers, **{name: {value} for name, value in case.registers.items()}}
    if any(expected[f"{stage}_own"] or expected[f"{stage}_others"] for stage in STAGES):
        assert registers == wanted
    else:
        assert not registers.get("PMSCR_EL1")


def test_header():
    """Each field of the kernel's header is in the table."""
    assert set(TABLE) | set(OTHER_NAMES) == set(LAYOUT)
    for name, other in OTHER_NAMES.items():
        assert LAYOUT[name] == LAYOUT[other]
    for name, cases in TABLE.items():
        assert cases and all(name in case.set for case in cases), name


def test_ordinary(ordinary):
    """The ordinary event, which others are compared with, samples when and what it should."""
    facts, _ = ordinary
    expected = {**nothing("opened", "executed"), **made(*STAGES[2:]), **nothing(*STAGES, of=["others"]),
                "woken": False, "aux_beyond_page": True, "count_size": 8, "starved_count_size": 8, "aux_record_size": 32,
                AUX_RECORD: True, ITRACE_START: True}
    found = coarse(facts)
    assert found == {**dict.fromkeys(found, False), **expected}
    assert facts["enabled_user"] > 50


@pytest.mark.parametrize("name", TABLE)
def test_field(guest, ordinary, driver, name):
    """All cases of a field."""
    for case in TABLE[name]:
        if driver == "c" and case.c:
            case = Case(case.set, case.c.error, case.c.facts, case.c.registers)
        check(guest, ordinary, case)


def test_only_guests(guest, driver):
    """perf's modifier for guests alone is refused."""
    status, said = guest.run("perf record -o /tmp/x -e arm_spe/period=4096/G -- workload 5")
    if driver == "c":
        assert status == 0, said
        return
    assert status != 0 and "support" in said, said
    assert "rounds" not in said, "the workload ran"


@pytest.mark.parametrize("modifier, levels", [("", {True, False}), ("u", {True}), ("k", {False}), ("H", {True, False}),
                                              ("uH", {True}), ("hu", {True})])
def test_modifiers(guest, modifier, levels):
    """perf's other modifiers select the levels that are sampled."""
    trace = record(guest, f"arm_spe/period=4096/{modifier}", "workload 5")
    check_decodes(trace, 100)
    assert {sample.el == 0 for sample in trace.records} == levels


@pytest.mark.parametrize("command", ["record -e arm_spe//", "mem record --ldlat 1", "c2c record -l 1"])
def test_tools(guest, command):
    """The events of perf's tools are accepted. Their latency would be too high for the emulated unit."""
    trace = recorded(guest, f"perf {command} -o /tmp/perf.data -- workload 5")
    check_decodes(trace, 10)
