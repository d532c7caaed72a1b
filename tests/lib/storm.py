# SPDX-License-Identifier: GPL-2.0
"""Storms: hotplug, migration, reloading and suspending while events of SPE record (tests/payload/progs/storm.c).

Each round has a seed of its own. After each, the bytes that the emulated units have written are compared with those
that the driver has counted, and the kernel log is read. At the end the driver is unloaded and kmemleak, if any, run.
"""

from collections import Counter

import kcsan
import waker
from machine import DRIVER, total
from traces import left_behind, unload_without_loss

CPUS = 3

#: PREEMPT_RT's scheduler warns, once, without any event: a task whose affinity is set to a CPU that is just going down
#: stays where it is (migration_cpu_stop() drops the request, __migrate_task() finds the CPU inactive), and at its next
#: migrate_enable() no waiter is left for its move. Tasks that allocate memory, and whose affinity is set at random
#: while CPUs go off- and online, do it within a minute or two, with no module loaded.
KNOWN = r"WARNING: kernel/sched/core\.c:\d+ at affine_move_task\+"

#: perf's hooks in the scheduler are patched in while there is an event of a task. QEMU invalidates translated code
#: before the new instruction is written (notdirty_write()), not after, so that another CPU may translate the old one
#: again, for good. This is the likely reason why, on a busy machine, perf complained that the events of a running task
#: were not there (event_function()): within some minutes also in a guest without this driver, where a task opened a
#: software event each second. This event keeps the hooks in place.
HOOKS = "setsid perf stat -e dummy -- sleep 1000000 >/dev/null 2>&1 </dev/null &"

#: The counts that a storm has to increase. The C driver cannot be paused.
MET = ["hotplugs", "moves", "suspends", "loads", "binds", "unloads_refused", "opens", "one_task", "one_cpu",
       "all_cpus", "plain", "snapshot", "group", "inherit", "discard", "live", "forks", "bytes_received",
       *(["paused", "transitions"] if DRIVER == "rust" else [])]

ROUND = "storm {seed} /usr/lib/drivers/{driver}/arm_spe_pmu.ko"


class Storm:
    """A guest for storms, with the driver, that can sleep and be woken."""

    def __init__(self, boot, scratch):
        """Boots the guest and loads the driver.

        boot: a function that makes a Guest; scratch: an empty directory with a short name.
        """
        self.total = Counter()
        port = waker.Waker(scratch)
        self.guest = boot(smp=CPUS, rust=DRIVER == "rust", append=waker.APPEND, arguments=port.arguments)
        self.driver = DRIVER if DRIVER == "c" else self.guest.kernel.checked
        port.watch(self.guest)
        self.guest.known = KNOWN
        self.guest.sh(HOOKS)
        # Counters that overflow more often are throttled: they would take all the time of a CPU.
        self.guest.sh("echo 1000 >/proc/sys/kernel/perf_event_max_sample_rate")
        self.guest.unaccounted = "each round accounts for itself, over drivers that come and go"
        self.before = left_behind(self.guest)
        self.guest.load(self.driver)
        if "pseudo_nmi" in self.guest.kernel.append:
            assert "Pseudo-NMIs enabled" in self.guest.sh("dmesg")
        kcsan.begin(self.guest)

    def hardware(self):
        """Returns the sum of the units' counters."""
        return total(self.guest.hardware())

    def round(self, seed, timeout=1200):
        """Runs a round. Returns what was done in it."""
        before = self.hardware()
        output = self.guest.sh(waker.AROUND.format(ROUND.format(seed=seed, driver=self.driver)), timeout)
        seen = Counter({name: int(value) for name, value in (line.split() for line in output.splitlines())})
        for name, value in self.hardware().items():
            seen[f"hardware_{name}"] = value - before[name]
        # The C driver reports a wrong size for a CPU that goes offline (hotplug.py).
        assert seen["mismatches"] == seen["lost"] == 0 and (DRIVER == "c" or not seen["wrong"]), seen
        assert seen["hardware_dropped"] == seen["hardware_partial"] == seen["partial"] == 0, seen
        # Collisions were reported, unless the trace was not read.
        assert not seen["collision"] or seen["hardware_collided"], seen
        assert not seen["hardware_collided"] or seen["collision"] or seen["abandoned"], seen
        # A driver that is unloaded loses its counters, but in these rounds no task dies before its trace is read.
        counted = "bytes_received" if seen["loads"] else "bytes_driver"
        assert DRIVER == "c" or seen["hardware_bytes"] == seen[counted], seen
        self.check()
        self.total["rounds"] += 1
        self.total.update(seen)
        return seen

    def check(self):
        """Checks that the kernel has not complained."""
        complaints = self.guest.complaints()
        assert not complaints, "\n".join(complaints)

    def end(self):
        """Unloads the driver and checks that nothing is left."""
        if self.guest.run("test -e /sys/kernel/debug/kmemleak")[0] == 0:
            unload_without_loss(self.guest)
        else:
            self.guest.unload()
        assert left_behind(self.guest) == self.before
        self.check()


def listed(counted):
    """Returns the counts as a line of text."""
    return ", ".join(f"{value} {name}" for name, value in counted.items() if value)


def missed(storm):
    """Returns the names of MET that this storm has not done."""
    return [what for what in MET if not storm.total[what]]
