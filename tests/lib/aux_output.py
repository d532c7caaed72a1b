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
        guest.sh(f"echo 'p:aux_output/end perf_aux_output_end size=%x1:u64 flags=+{FLAGS}(%x0):u64' >>{TRACING}/kprobe_events"
                 f" && echo hist:keys=flags:vals=size >{EVENT}/trigger && echo 1 >{EVENT}/enable")

    def account(self, made):
        """Checks that perf received each byte that the hardware wrote (spe-counters). Returns the sums by flags."""
        missed = self.guest.sh(f"awk '$1 == \"end\" {{ print $3 }}' {TRACING}/kprobe_profile")
        assert missed == "0", f"{missed} calls were not seen"
        sums = [tuple(map(int, found)) for found in SUM.findall(self.guest.sh(f"cat {EVENT}/hist"))]
        received = sum(size for _, _, size in sums)
        assert received == made["bytes"], f"perf received {received} bytes of {made}: {sums}"
        return sums
