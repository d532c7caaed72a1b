# SPDX-License-Identifier: GPL-2.0
"""What perf's core asks of the driver of SPE events, and what it gets: seen from perf's core itself.

Probes of the kernel's own tracing are put where perf has called the driver. They name no symbol of any
driver, so that each is watched alike, in a stock kernel.
"""

import re
from contextlib import contextmanager
from dataclasses import dataclass, field

from spe import PMU

TRACING = "/sys/kernel/tracing"

#: perf_event::hw.state: the driver says that the event does not run.
STOPPED = 1
#: perf_event::state: perf has put the event on a CPU.
ACTIVE = 1

#: After the driver's add(): its result, by which perf goes, and what it has said of the event.
#: Before the driver's del(), or what else ends the event's time on the CPU: what was said until then.
PROBES = {
    "sched_in": "event_sched_in%return result=$retval:s32 hw=event->hw.state type=event->attr.type",
    "sched_out": "event_sched_out hw=event->hw.state type=event->attr.type state=event->state",
}
HIT = re.compile(r"\[(\d+)\] .*: (sched_in|sched_out): \(.*?\) (.*)")


@dataclass
class Seen:
    """What perf's core did with SPE events, in order."""

    #: The CPU, the result, and whether the event is stopped according to the driver.
    added: list = field(default_factory=list)
    #: Whether the event was stopped already when its time on the CPU ended.
    ended: list = field(default_factory=list)


def set_up(guest):
    """Put the probes in place."""
    for name, probe in PROBES.items():
        guest.sh(f"echo 'f:spe/{name} {probe}' >>{TRACING}/dynamic_events")
    guest.sh(f"echo 1 >{TRACING}/events/spe/enable")


@contextmanager
def watched(guest):
    """What is Seen while the context is open; it is filled at its end."""
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
