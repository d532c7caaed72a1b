# SPDX-License-Identifier: GPL-2.0
"""A kernel that checks itself (KASAN, lockdep, kmemleak and more) finds nothing wrong with the driver."""

import pytest

from spe import TAKEN, UNMAPS, check_decodes, counters, record, recorded, trace_of
from traces import unload_without_loss

pytestmark = pytest.mark.kernel("debug")

#: The steps of a random walk, see invariants.py.
STEPS = 1500
#: Counts the buffers of progs/taken_nmi.c that are mapped for the unit, with a guard page each.
MAPPED = "awk '$2 == 1024 * 1024 + 4096 && $3 ~ /^spe_helper_vmap/' /proc/vmallocinfo | wc -l"
ONLINE = "/sys/devices/system/cpu/cpu1/online"


@pytest.mark.timeout(1800)
def test_in_and_out(boot, driver):
    """A task, a snapshot, hotplug during a system-wide recording, random walks, and unloading."""
    guest = boot()
    guest.load(driver)
    # Counters that overflow more often are throttled: they would take most of the time on this kernel.
    guest.sh("echo 1000 >/proc/sys/kernel/perf_event_max_sample_rate")
    check_decodes(record(guest, "arm_spe/period=4096/u", "workload 2"), 10)
    check_decodes(record(guest, "arm_spe/period=4096/u", "workload 2", "--snapshot=e"), 10)
    plugging = f"""
cat >/tmp/plug <<'END'
set -e
taskset -c 1 workload 1 >/dev/null
echo 0 >{ONLINE}
taskset -c 0 workload 1 >/dev/null
echo 1 >{ONLINE}
END
perf record -o /tmp/perf.data -a -e arm_spe/period=65536/ -- bash /tmp/plug
"""
    if driver == "c":   # it reports a wrong size for a CPU that goes offline: hotplug.py
        guest.sh(plugging)
        trace = trace_of(guest)
    else:
        trace = recorded(guest, plugging)
    check_decodes(trace, 10)
    assert {sample.cpu for sample in trace.records} == {0, 1}
    guest.sh(f"transitions 1 {STEPS} 0 & transitions 2 {STEPS} 1; a=$?; wait $! && exit $a", timeout=600)
    if driver == "rust":
        # The module for this kernel checks itself.
        seen = counters(guest)
        assert seen["transitions"] > STEPS and seen["mismatches"] == 0, seen
    unload_without_loss(guest)


def test_a_buffer_that_is_taken(boot, driver):
    """The last reference to a buffer is dropped in an interrupt: nothing there sleeps or takes a sleeping lock."""
    if driver == "c":
        pytest.skip(UNMAPS)
    guest = boot()
    guest.load(driver)
    guest.known = TAKEN
    guest.sh("taken", timeout=300)
    assert " at __rb_free_aux+" in guest.sh("dmesg")
    check_decodes(record(guest, "arm_spe/period=4096/u", "workload 2"), 10)
    unload_without_loss(guest)


@pytest.mark.kernel("nmi")
@pytest.mark.timeout(900)
def test_a_buffer_that_is_taken_in_an_nmi(boot, driver):
    """An NMI throttles the group of an event whose buffer was unmapped: the driver does not end the transaction there.

    That would drop the last reference to the buffer, and perf would free the pages in the NMI.
    """
    if driver == "c":
        pytest.skip(UNMAPS)
    guest = boot(append="kmemleak=off no_debug_objects")
    guest.load(driver)
    guest.known = TAKEN
    guest.sh("echo 100 >/proc/sys/kernel/perf_event_max_sample_rate")
    guest.sh("echo 8 >/proc/sys/vm/percpu_pagelist_high_fraction")
    guest.sh("taken_nmi", timeout=300)
    log = guest.sh("dmesg")
    freed = log[log.index(" at __rb_free_aux+"):]
    assert " armv8pmu_handle_irq+" not in freed[:freed.index("end trace")], freed
    assert counters(guest)["mismatches"] == 0
    # It is unmapped in a task, soon.
    guest.sh(f"until [ $({MAPPED}) = 0 ]; do :; done")
    check_decodes(record(guest, "arm_spe/period=4096/u", "workload 2"), 10)
    guest.sh("grep -q 'debug_locks: *1$' /proc/lockdep_stats || { echo lockdep is off; false; }")
    guest.unload()
