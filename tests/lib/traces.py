# SPDX-License-Identifier: GPL-2.0
"""Traces that a driver leaves in a running system."""

import re

SCRIPT = r"""
ls -d /sys/bus/event_source/devices/* /sys/bus/platform/drivers/*
grep -v ' INT\| IPI\|arch_timer' /proc/interrupts | sed 's/^ *[^ ]*: *\([0-9]* *\)*//' | grep -v '^ *$'
cat /sys/devices/system/cpu/hotplug/states
cut -d' ' -f1 /proc/modules
"""


def left_behind(guest):
    """Everything that a loaded driver can be seen by: devices, interrupts, hotplug states, modules."""
    return guest.sh(SCRIPT).splitlines()


KMEMLEAK = "/sys/kernel/debug/kmemleak"


def unload_without_loss(guest, known=None):
    """Unload the driver from a debug kernel: lockdep has watched to the end, and no memory is lost.

    Any loss counts: what perf allocates for the driver may not have the driver in its backtrace. known: that of losses
    that are not the driver's, as a regular expression.
    """
    guest.unload()
    guest.sh("grep -q 'debug_locks: *1$' /proc/lockdep_stats || { echo lockdep is off; false; }")
    # kmemleak reports what two scans found unreferenced and what is older than five seconds.
    lost = guest.sh(f"echo scan >{KMEMLEAK}; sleep 5; echo scan >{KMEMLEAK}; cat {KMEMLEAK}", timeout=300)
    lost = [one for one in lost.split("unreferenced object")[1:] if not (known and re.search(known, one))]
    assert not lost, "\n".join(lost)
