# SPDX-License-Identifier: GPL-2.0
"""Any allocation failure is a clean error: nothing is left behind, and the next attempt succeeds.

On each path through the driver each allocation is made to fail, one after the other (tests/payload/progs/nth.c).
"""

import re
from pathlib import Path

import pytest

from gdb import return_null
from live import stat
from machine import DRIVER
from spe import COUNTERS, PMU, check_decodes, counters, record
from traces import left_behind, unload_without_loss

#: The kinds of allocations that can fail.
KINDS = "failslab", "fail_page_alloc"
CPU = "/sys/devices/system/cpu/cpu1"
PLATFORM = "/sys/bus/platform"
ANYWHERE = (0, 2**64 - 1)

pytestmark = [pytest.mark.long, pytest.mark.kernel("debug"), pytest.mark.timeout(1800)]


class Faults:
    """Makes allocations of a guest fail."""

    def __init__(self, guest, report):
        self._guest = guest
        self._report = report
        guest.sh("grep -v ']$' /proc/kallsyms >/tmp/kallsyms")
        symbols = [line.split() for line in guest.fetch("/tmp/kallsyms").read_text().splitlines()]
        self._symbols = {name: int(address, 16) for address, _, name in symbols}
        self._addresses = sorted({*self._symbols.values()})
        for kind in KINDS:
            # Messages on the console take time.
            self._set(kind, ignore_gfp_wait="N", stacktrace_depth=32, verbose=0)
        self._set("fail_page_alloc", ignore_gfp_highmem="N", min_order=0)
        # Pages for the slab allocator, which can fail itself, would make the count differ from attempt to attempt.
        # kmemleak has a reserve for failed allocations, which would double the count.
        self._reject("fail_page_alloc", self.function("new_slab"))
        self._reject("failslab", self.function("__alloc_object"))

    def _set(self, kind, **values):
        self._guest.sh("\n".join(f"echo {value} >/sys/kernel/debug/{kind}/{name.replace('_', '-')}"
                                 for name, value in values.items()))

    def _reject(self, kind, code):
        self._set(kind, reject_start=code[0], reject_end=code[1])

    def _require(self, code):
        for kind in KINDS:
            self._set(kind, require_start=code[0], require_end=code[1])

    def function(self, name):
        """Returns the address range of a function of the kernel."""
        start = self._symbols[name]
        return start, self._addresses[self._addresses.index(start) + 1]

    def module(self):
        """Returns the address range of the driver's code."""
        size, address = self._guest.sh("awk '/^arm_spe_pmu / { print $2, $6 }' /proc/modules").split()
        return int(address, 16), int(address, 16) + int(size)

    def exhaust(self, path, below=ANYWHERE):
        """Makes each allocation on a path of nth.c, below some code, fail. Returns the number of attempts by result."""
        self._require(below)
        lines = self._guest.sh(f"nth {path}", timeout=900).splitlines()
        found = {name: int(count) for name, count in map(str.split, lines)}
        self._report(f"{path}: {found}")
        return found

    def count(self, script, below):
        """Returns the number of allocations of a script, in any task, below some code. They fail."""
        many = 1_000_000
        self._require(below)
        for kind in KINDS:
            self._set(kind, times=many, probability=100)
        self._guest.sh(script, timeout=300)
        for kind in KINDS:
            self._set(kind, probability=0)
        left = self._guest.sh("cat /sys/kernel/debug/{failslab,fail_page_alloc}/times").split()
        return 2 * many - sum(map(int, left))


@pytest.fixture(scope="module")
def faults(guest, request):
    """Returns Faults, which prints the results of each path."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def report(line):
        with capture.global_and_fixture_disabled():
            print(f"\n    {line}", end="")

    return Faults(guest, report)


@pytest.fixture
def ko(driver):
    """Returns the path of the module."""
    return f"/usr/lib/drivers/{driver}/arm_spe_pmu.ko"


@pytest.fixture
def unloaded(guest, ko):
    """Returns the guest without the module, which will not probe the device when it is loaded."""
    guest.sh(f"rmmod arm_spe_pmu && echo 0 >{PLATFORM}/drivers_autoprobe")
    before = left_behind(guest)
    yield guest
    guest.run("rmmod arm_spe_pmu")
    assert left_behind(guest) == before
    guest.sh(f"echo 1 >{PLATFORM}/drivers_autoprobe && insmod {ko}")


def check_works(guest, cpu):
    """Checks that the unit of a CPU samples."""
    check_decodes(record(guest, "arm_spe/period=4096/u", f"taskset -c {cpu} workload 1", f"-C {cpu}"), 10)


@pytest.fixture
def device(guest):
    """Returns the name of the device."""
    return Path(guest.sh(f"ls -d {PLATFORM}/devices/*spe*")).name


def refused(guest):
    """Returns the errors with which the driver has refused the device so far, which are only in the log."""
    return re.findall(r"probe with driver arm_spe_pmu failed with error -(\d+)", guest.console.read_text(errors="replace"))


def test_load(unloaded, faults, ko):
    """Allocations of the module loader fail before the driver is called."""
    found = faults.exhaust(f"load {ko}", faults.function("do_one_initcall"))
    # The module loader has another error for a directory that it could not make.
    assert found.keys() == {"sites", "ENOMEM", "EINVAL", "success"}, found


def test_probe(unloaded, faults, ko, device):
    before = refused(unloaded)
    found = faults.exhaust(f"probe {ko} {device}", faults.function("platform_probe"))
    assert found.keys() == {"sites", "ENODEV", "success"}, found
    assert refused(unloaded) == before + ["12"] * found["ENODEV"], found


def probe_fails(guest, device, error, attempt):
    """Checks that probing fails with an error, nothing is left, and the next probe succeeds."""
    before, seen = refused(guest), left_behind(guest)
    attempt(f"echo {device} >{PLATFORM}/drivers_probe")
    assert refused(guest) == before + [error]
    assert left_behind(guest) == seen
    # In the C driver a probe that fails late has used up a device number.
    guest.sh(f"echo {device} >{PLATFORM}/drivers_probe && ls -d {PMU.removesuffix('0') + '*' if DRIVER == 'c' else PMU}")


@pytest.mark.parametrize("caller", ["driver", "perf_pmu_register"])
def test_memory_for_each_cpu(unloaded, faults, ko, device, caller):
    """The two calls that allocate per-CPU memory are made to fail: there is always some left."""
    unloaded.sh(f"insmod {ko}")
    code = faults.module() if caller == "driver" else faults.function(caller)
    probe_fails(unloaded, device, "12", lambda script: return_null(
        unloaded, faults.function("pcpu_alloc_noprof")[0], code, script))


def fail_callback(guest, name="arm_spe_pmu"):
    """Returns a script that makes the next hotplug callback of CPU 1 fail."""
    state = guest.sh(f"sed -n 's|: {name}$||p' /sys/devices/system/cpu/hotplug/states")
    return f"echo {state} >{CPU}/hotplug/fail"


def test_callback_in_probe(unloaded, ko, device):
    """The callback of one CPU fails during probing, after that of the other has succeeded."""
    unloaded.sh(f"insmod {ko}")
    probe_fails(unloaded, device, "11", lambda script: unloaded.sh(f"{fail_callback(unloaded)}; {script}"))


def test_unload(unloaded, faults, ko):
    unloaded.sh(f"echo 1 >{PLATFORM}/drivers_autoprobe")
    found = faults.exhaust(f"unload {ko}")
    assert found.keys() == {"sites", "success"}, found


@pytest.mark.parametrize("cpu", [-1, 1])
def test_open(guest, faults, cpu):
    found = faults.exhaust(f"open {cpu}")
    assert found.keys() <= {"sites", "ENOMEM", "success"} and found["ENOMEM"] > 3, found


@pytest.mark.parametrize("cpu", [-1, 1])
def test_open_live(guest, faults, driver, cpu):
    """Also the buffers of live events, which the first one allocates, and the probe of the scheduler."""
    if driver == "c":
        pytest.skip("the C driver has no live events")
    found = faults.exhaust(f"open-live {cpu}")
    assert found.keys() <= {"sites", "ENOMEM", "success"}, found
    # Two buffers, of several allocations each.
    assert found["ENOMEM"] > faults.exhaust(f"open {cpu}")["ENOMEM"] + 4, found
    # Nothing has stayed: the next first event allocates the same.
    assert faults.exhaust(f"open-live {cpu}") == found
    stat(guest, "arm_spe_0/live=1/", "workload 1")


def test_fork(guest, faults):
    """The child inherits an event."""
    found = faults.exhaust("fork")
    assert found.keys() <= {"sites", "ENOMEM", "success"} and found["ENOMEM"] > 3, found


@pytest.mark.parametrize("overwrite", ["", "overwrite"])
def test_map(guest, faults, overwrite):
    """Each allocation for a small buffer fails. For a large one, which has too many pages, only the driver's own."""
    found = faults.exhaust(f"map 16 {overwrite}")
    assert found.keys() <= {"sites", "ENOMEM", "success"} and found["ENOMEM"] > 16, found
    found = faults.exhaust(f"map 2048 {overwrite}", faults.module())
    assert found.keys() <= {"sites", "ENOMEM", "success"} and found["ENOMEM"] > 3, found


def test_read(guest, faults, driver):
    """Reading a file of each kind fails cleanly."""
    files = [f"{PMU}/cpumask", f"{PMU}/caps/min_interval", f"{PMU}/format/min_latency"]
    if driver == "rust":
        files.append(f"{COUNTERS}/cpu1")
    for file in files:
        found = faults.exhaust(f"read {file}")
        assert found.keys() <= {"sites", "ENOMEM", "success"} and found["ENOMEM"] > 3, found


@pytest.mark.parametrize("online", [0, 1])
def test_hotplug(guest, faults, online):
    guest.sh(f"echo {1 - online} >{CPU}/online")
    found = faults.exhaust(f"plug 1 {online}")
    guest.sh(f"echo 1 >{CPU}/online")
    assert found.keys() <= {"sites", "ENOMEM", "success"} and found["sites"] > 0, found


@pytest.mark.parametrize("going, coming", [("arm_spe_pmu", "arm_spe_pmu"), ("mm/vmstat:online", "sched:active")])
def test_callback_in_hotplug(guest, going, coming):
    """The driver's callback fails, or a later one, which undoes it: the CPU changes its state at the next attempt."""
    for online, name, works in ("0", going, 1), ("1", coming, 0):
        status, output = guest.run(f"{fail_callback(guest, name)}; echo {online} >{CPU}/online")
        assert status and "Resource temporarily unavailable" in output, output
        assert guest.sh(f"cat {CPU}/online") != online
        check_works(guest, works)
        guest.sh(f"echo {online} >{CPU}/online")
    check_works(guest, 1)


def test_offline_allocates_nothing(guest, faults):
    """Neither a CPU that goes offline nor an event that is moved away allocates anything, in any task."""
    for _ in range(2):
        assert faults.count(f"echo 0 >{CPU}/online", faults.module()) == 0
        # The same means find the allocation of the unit's handle, without which the CPU stays offline.
        assert faults.count(f"! echo 1 >{CPU}/online", faults.module()) > 0
        guest.sh(f"echo 1 >{CPU}/online")


def test_everything_works(guest, faults, driver):
    """The driver works afterwards, and no memory is lost."""
    for cpu in 0, 1:
        check_works(guest, cpu)
    check_decodes(record(guest, "arm_spe/period=4096/u", "workload 2", "--snapshot=e"), 10)
    if driver == "rust":
        seen = counters(guest)
        assert seen["transitions"] and not seen["mismatches"], seen
    # When there is no memory for the first page of an AUX buffer, perf loses the list of its pages.
    unload_without_loss(guest, known=r"kmalloc\w+\+\S+\n\s*rb_alloc_aux\+")
