# SPDX-License-Identifier: GPL-2.0
"""What a loaded driver adds to a running system, and what is left of it when it is unloaded."""

import re

SCRIPT = r"""
ls -d /sys/bus/event_source/devices/* /sys/bus/platform/drivers/*
grep -v ' INT\| IPI\|arch_timer' /proc/interrupts | sed 's/^ *[^ ]*: *\([0-9]* *\)*//' | grep -v '^ *$'
cat /sys/devices/system/cpu/hotplug/states
cut -d' ' -f1 /proc/modules
"""


def left_behind(guest):
    """Returns what a loaded driver adds to: devices, interrupts, hotplug states, modules."""
    return guest.sh(SCRIPT).splitlines()


KMEMLEAK = "/sys/kernel/debug/kmemleak"


def unload_without_loss(guest, known=None):
    """Unloads the driver from a debug kernel. Checks that lockdep is still on and that no memory is lost.

    Any loss counts: perf's allocations for the driver may not have the driver in their backtrace. known: a regular
    expression for the backtraces of losses that are not the driver's.
    """
    guest.unload()
    guest.sh("grep -q 'debug_locks: *1$' /proc/lockdep_stats || { echo lockdep is off; false; }")
    # kmemleak reports objects older than five seconds that two scans found unreferenced.
    lost = guest.sh(f"echo scan >{KMEMLEAK}; sleep 5; echo scan >{KMEMLEAK}; cat {KMEMLEAK}", timeout=300)
    lost = [one for one in lost.split("unreferenced object")[1:] if not (known and re.search(known, one))]
    assert not lost, "\n".join(lost)
