# SPDX-License-Identifier: GPL-2.0
"""The bytes and flags that perf receives: arguments of perf_aux_output_end(), added up by the kernel's tracing."""

import re

TRACING = "/sys/kernel/tracing"
EVENT = f"{TRACING}/events/aux_output/end"

#: Bytes from the start of struct perf_output_handle to aux_flags (include/linux/perf_event.h).
FLAGS = 32

SUM = re.compile(r"\{ flags: +(\d+) \} hitcount: +(\d+) +size: +(\d+)")


class AuxOutput:
    """The sizes and flags with which the AUX transactions of all CPUs end, from now on."""

    def __init__(self, guest):
        self.guest = guest
        #: Calls that the probe has missed, and the bytes that they brought.
        self.missed = self.unseen = 0
        guest.sh(f"echo 'p:aux_output/end perf_aux_output_end size=%x1:u64 flags=+{FLAGS}(%x0):u64' >>{TRACING}/kprobe_events"
                 f" && echo hist:keys=flags:vals=size >{EVENT}/trigger && echo 1 >{EVENT}/enable")

    def account(self, made):
        """Checks that perf received each byte that the hardware wrote (spe-counters). Returns the sums by flags.

        The kernel does not run a kprobe while it handles another one, and counts that. What such a call brought is
        taken to be what is missing.
        """
        missed = int(self.guest.sh(f"awk '$1 == \"end\" {{ print $3 }}' {TRACING}/kprobe_profile"))
        sums = [tuple(map(int, found)) for found in SUM.findall(self.guest.sh(f"cat {EVENT}/hist"))]
        received = sum(size for _, _, size in sums)
        if missed > self.missed:
            self.missed, self.unseen = missed, max(0, made["bytes"] - received)
        assert received + self.unseen == made["bytes"], f"perf received {received} bytes of {made}: {sums}"
        return sums
