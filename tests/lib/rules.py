# SPDX-License-Identifier: GPL-2.0
"""The rules that a driver of SPE is checked by: those of perf, and of the architecture.

Each rule takes a Run and yields what is wrong, in words that do not change from run to run. No rule depends on the
driver.
"""

from dataclasses import dataclass

from guest import Guest
from perf_core import Seen
from spe import TRUNCATED, trace_of

PAGE = 4096
AUX_SIZE = 4 * PAGE

#: The registers that are programmed for an event that is to run.
PROGRAMMED = {"PMSFCR_EL1", "PMSEVFR_EL1", "PMSNEVFR_EL1", "PMSDSFR_EL1", "PMSLATFR_EL1",
              "PMSIRR_EL1", "PMSICR_EL1"}
#: PMSCR_EL1.{E0SPE,E1SPE}.
SAMPLING = 3
#: PMBLIMITR_EL1.E.
BUFFER = 1


@dataclass
class Run:
    """The results of a driver in a situation."""

    guest: Guest
    #: The output of the program, and its lines of a name and a number.
    output: str
    facts: dict
    seen: Seen
    #: The writes to the unit's registers.
    writes: list


def always(done):
    """Checks what holds in all situations."""
    if any(bool(result) != stopped for _, result, stopped in done.seen.added):
        yield "the result of add contradicts hw.state"
    # The state of each CPU's unit.
    buffer, sampling = {}, {}
    for cpu, register, value in done.writes:
        if register == "PMBLIMITR_EL1":
            buffer[cpu] = value & BUFFER
        elif register == "PMSCR_EL1":
            sampling[cpu] = value & SAMPLING
            if value & SAMPLING and not buffer.get(cpu):
                yield "sampling enabled without a buffer"
    if any(buffer.get(cpu) and sampling[cpu] for cpu in sampling):
        yield "unit left on"
    if done.facts.get("unread_spoilt"):
        yield "unread data overwritten"
    if any(value for name, value in done.facts.items() if name.endswith("aux_wrong")):
        yield "the trace is not what its records say"


def same_times(done, *prefixes, what=("enabled", "running")):
    """Checks that all members of the group were enabled and running for the same time."""
    for prefix in prefixes or ("",):
        for state in what:
            if done.facts[f"{prefix}spe_{state}"] != done.facts[f"{prefix}cycles_{state}"]:
                yield f"members {state} for different times"


def sampled(done, *prefixes):
    """Checks that something was sampled."""
    for prefix in prefixes or ("",):
        if not done.facts[f"{prefix}spe_running"] or not done.facts[f"{prefix}aux_bytes"]:
            yield "nothing sampled"


def truncated(done):
    """Checks that missing data was reported to perf."""
    if not done.facts["aux_flags"] & TRUNCATED:
        yield "missing data was not reported to perf"


def refused(leader=None):
    """Returns a rule: the event cannot start. add fails, the unit is not touched, and no member of the group runs.

    leader: the member that leads the group, if that is pinned.
    """
    def check(done):
        facts = done.facts
        if not done.seen.added or not all(result for _, result, _ in done.seen.added):
            yield "add reports success"
        if not all(stopped for _, _, stopped in done.seen.added):
            yield "event not stopped"
        if any(register in PROGRAMMED for _, register, _ in done.writes):
            yield "registers programmed after the failure"
        if facts.get("spe_running") or facts.get("cycles_running"):
            yield "the group runs without SPE"
        elif not leader:
            yield from same_times(done)
        if leader and not facts[f"{leader}_error"]:
            yield "the pinned group is not in error"
        yield from truncated(done)
    return check


def together(done):
    """Checks that with space the whole group runs, all the time."""
    yield from same_times(done)
    yield from sampled(done)
    if done.facts["spe_running"] != done.facts["spe_enabled"]:
        yield "did not run all the time"


def stopped_at_once(done):
    """Checks that the interrupt handler, which cannot start again, leaves the unit off and the event stopped."""
    yield from same_times(done)
    yield from sampled(done)
    if done.facts["aux_bytes"] != PAGE:
        yield "not as much trace as there is space"
    # Only the driver marks an event as stopped, and perf's irq_work has not asked for it.
    if not done.seen.ended or not done.seen.ended[-1]:
        yield "event not stopped by the handler"
    # The handler's last write to the unit ends its interrupt request.
    served = [n for n, write in enumerate(done.writes) if write.register == "PMBSR_EL1"]
    if not served:
        yield "no interrupt"
        return
    cpu = done.writes[served[-1]].cpu
    state = {write.register: write.value for write in done.writes[:served[-1]] if write.cpu == cpu}
    if state["PMBLIMITR_EL1"] & BUFFER and state["PMSCR_EL1"] & SAMPLING:
        yield "unit left on by the handler"


def stopped_at_once_and_reported(done):
    """Checks the same, with space that is too small for the hardware, which is reported."""
    yield from stopped_at_once(done)
    yield from truncated(done)


def never_drained(done):
    """Checks that enabling the event again fails while the buffer is full."""
    yield from same_times(done, "first_", "")
    yield from sampled(done)
    yield from truncated(done)
    if done.facts["spe_running"] != done.facts["first_spe_running"]:
        yield "runs without space"
    if sum(result != 0 for _, result, _ in done.seen.added) < 3:
        yield "add reports success"


def drained_late(done):
    """Checks that there is more trace after each time that a full buffer was drained."""
    yield from same_times(done)
    yield from sampled(done)
    if done.facts["aux_bytes"] < 3 * AUX_SIZE:
        yield "does not go on"


def drained_by_drips(done):
    """Checks that recording goes on when the buffer is empty, but not while too little of it is drained."""
    yield from same_times(done, "first_", "")
    yield from truncated(done)
    if not any(result for _, result, _ in done.seen.added):
        yield "add reports success"
    if done.facts["aux_bytes"] <= done.facts["first_aux_bytes"]:
        yield "does not go on"


def drained_in_time(watermark):
    """Returns a rule: perf wakes the reader at the watermark, to the page, and nothing is lost."""
    def check(done):
        yield from together(done)
        if not done.facts["wakeups"]:
            yield "never woken"
        if done.facts["aux_largest"] > max(watermark, PAGE):
            yield "woken too late"
        if done.facts["aux_flags"] or done.facts["aux_bytes"] < 3 * AUX_SIZE:
            yield "data lost"
    return check


def waits_for_a_buffer(done):
    """Checks that nothing runs without a buffer, and the whole group once there is one."""
    yield from same_times(done, "first_", "")
    if done.facts["first_spe_running"]:
        yield "runs without a buffer"
    yield from sampled(done)


def survives_unmapping(done):
    """Checks that perf stops the event when its buffer is unmapped, and that it goes on with another buffer."""
    yield from same_times(done, "first_", "")
    yield from sampled(done)
    if True not in done.seen.ended:
        yield "runs without a buffer"


def lives_on(done):
    """Checks that the members of the group run for the same time, and that there is trace."""
    yield from same_times(done)
    yield from sampled(done)


def migrates(done):
    """Checks the same on both CPUs, and that nothing is lost."""
    yield from lives_on(done)
    if {cpu for cpu, _, _ in done.seen.added} != {0, 1}:
        yield "not on both CPUs"
    if done.facts["aux_flags"]:
        yield "data lost"


def inherited(done):
    """Checks that the children are sampled, each on its CPU.

    While an event does not run, its enabled time goes on until perf removes it from a task that has ended: only the
    running times are those of the group.
    """
    yield from same_times(done, "cpu0_", "cpu1_", what=["running"])
    yield from sampled(done, "cpu0_", "cpu1_")


def survives_throttling(done):
    """Checks that the group still samples after perf has throttled it many times."""
    yield from same_times(done)
    if not done.facts["throttled"]:
        yield "not throttled"
    if not done.facts["bytes_after"]:
        yield "stops sampling"


def counts_nothing(done):
    """Checks that nothing is counted, as perf stat maps no buffer."""
    lines = [line for line in done.output.splitlines() if ",arm_spe" in line or ",cycles" in line]
    if len(lines) != 2 or not all(line.startswith("<not counted>,") for line in lines):
        yield "the group runs without SPE"


def recorded(done):
    """Checks that perf finds samples of both events in its file, and decodes them."""
    trace = trace_of(done.guest)
    if trace.undecodable:
        yield "undecodable"
    if len(trace.records) < 100:
        yield "nothing sampled"
    dump = (done.guest.directory / "perf.data.txt").read_text(errors="replace")
    if "PERF_RECORD_SAMPLE" not in dump:
        yield "cycles without samples"
