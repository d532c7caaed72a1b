# SPDX-License-Identifier: GPL-2.0
"""The calls of perf's core to the driver of SPE events, and their results.

Probes of the kernel's own tracing are put where perf has called the driver. They name no symbol of a driver, so that
they are the same for each, on a stock kernel.
"""

import re
from contextlib import contextmanager
from dataclasses import dataclass, field

from spe import PMU

TRACING = "/sys/kernel/tracing"

#: perf_event::hw.state: PERF_HES_STOPPED.
STOPPED = 1
#: perf_event::state: PERF_EVENT_STATE_ACTIVE.
ACTIVE = 1

#: After the driver's add(): its result, and the event's state.
#: Before the driver's del(), or when the event is taken off the CPU for another reason: the event's state.
PROBES = {
    "sched_in": "event_sched_in%return result=$retval:s32 hw=event->hw.state type=event->attr.type",
    "sched_out": "event_sched_out hw=event->hw.state type=event->attr.type state=event->state",
}
HIT = re.compile(r"\[(\d+)\] .*: (sched_in|sched_out): \(.*?\) (.*)")


@dataclass
class Seen:
    """Records of SPE events that perf's core scheduled in and out, in order."""

    #: The CPU, the result of add, and whether the driver has marked the event as stopped.
    added: list = field(default_factory=list)
    #: Whether the event was stopped already when it was scheduled out.
    ended: list = field(default_factory=list)


def set_up(guest):
    """Sets the probes."""
    for name, probe in PROBES.items():
        guest.sh(f"echo 'f:spe/{name} {probe}' >>{TRACING}/dynamic_events")
    guest.sh(f"echo 1 >{TRACING}/events/spe/enable")


@contextmanager
def watched(guest):
    """Yields a Seen for the time of the context, which is filled at its end."""
    seen = Seen()
    guest.sh(f"echo >{TRACING}/trace")
    yield seen
    ours = int(guest.sh(f"cat {PMU}/type"))
    for line in guest.sh(f"cat {TRACING}/trace").splitlines():
        if match := HIT.search(line):
            values = {name: int(value, 0) for name, value in
                      (pair.split("=") for pair in match[3].split())}
            stopped = bool(values["hw"] & STOPPED)
            if values["type"] != ours:
                continue
            if match[2] == "sched_in":
                seen.added.append((int(match[1]), values["result"], stopped))
            elif values["state"] == ACTIVE:
                seen.ended.append(stopped)
