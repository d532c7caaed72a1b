# SPDX-License-Identifier: GPL-2.0
"""Traces that a driver leaves in a running system."""

SCRIPT = r"""
ls -d /sys/bus/event_source/devices/* /sys/bus/platform/drivers/*
grep -v ' INT\| IPI\|arch_timer' /proc/interrupts | sed 's/^ *[^ ]*: *\([0-9]* *\)*//' | grep -v '^ *$'
cat /sys/devices/system/cpu/hotplug/states
cut -d' ' -f1 /proc/modules
"""


def left_behind(guest):
    """Everything that a loaded driver can be seen by: devices, interrupts, hotplug states, modules."""
    return guest.sh(SCRIPT).splitlines()
