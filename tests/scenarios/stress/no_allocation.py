# SPDX-License-Identifier: GPL-2.0
"""perf's callbacks and the interrupt handler allocate nothing, and behave the same when all allocations fail.

On the debug kernel. Its tracing records every allocation between the entry of a callback and its return. There is one
CPU, with its interrupts off in that time, so that no other code can allocate. Then all allocations below the module's
code fail.

The walks are those of invariants.py. `make no-allocation` takes a million transitions instead of some.
"""

import os
import re
import subprocess
import time

import pytest

import faulty
from kernel import named
from machine import DRIVER
from paths import TOP
from situations import FACT
from spe import counters

TRACING = "/sys/kernel/tracing"
DEBUGFS = "/sys/kernel/debug"
TRANSITIONS = int(os.environ.get("ARM_SPE_TRANSITIONS", "4000"))
# A million transitions take half an hour, or more on a busy machine.
pytestmark = [pytest.mark.kernel("debug"), pytest.mark.timeout(3600 + TRANSITIONS // 50)]

#: The steps of a walk. Two tasks walk at the same time.
STEPS = 2000
#: The shortest period. On this kernel, with probes in the exit from the interrupt handler, that exit takes more than
#: the 16,384 operations which fill a half of the smallest buffer at a period of 256: an event that samples the kernel
#: would get from one interrupt into the next, however late the handler starts the unit again.
PERIOD = 4096

#: The tracepoints of the kernel's allocators.
ALLOCATORS = ["kmem/kmalloc", "kmem/kmem_cache_alloc", "kmem/mm_page_alloc", "percpu/percpu_alloc_percpu"]
#: The kernel's fault injection points.
FAIL = ["failslab", "fail_page_alloc"]
#: More failures than ever happen. The rest of them gives their number.
PLENTY = 1_000_000_000

#: The counters that the walks have to increase.
MET = ["aux_transactions", "bytes", "full", "truncated", "start_not_mapped", "start_full", "start_no_space",
       "fault_stage1", "pauses", "resumes"]
#: Counters that depend on how often perf's timer schedules the event in. Only whether they are 0 is compared.
ATTEMPTS = {"transitions", "aux_transactions", "truncated", "start_full", "start_no_space"}
#: Facts that depend a little on which operation was sampled first.
AMOUNT = re.compile("bytes|full|\\w+_aux_(bytes|end)")

#: A start that needs memory of each allocator, and fails without it.
FAULT = ("state.rs", "pub(crate) fn start(&self, event: &Event<Spe>, cpu: &Cpu) -> bool {", """
        if KBox::new(0_u64, GFP_ATOMIC).is_err() || kernel::page::Page::alloc_page(GFP_ATOMIC).is_err() {
            return false;
        }
        let percpu = unsafe { kernel::bindings::pcpu_alloc_noprof(8, 8, false, kernel::bindings::GFP_ATOMIC) };
        unsafe { kernel::bindings::free_percpu(percpu) };
""")


@pytest.fixture(scope="module")
def faulty_module(tmp_path_factory):
    """Builds the driver with the fault."""
    directory = tmp_path_factory.mktemp("faulty")
    done = faulty.build(directory, [FAULT], "debug")
    assert done.returncode == 0, done.stdout
    return directory / "build/arm_spe_pmu.ko"


@pytest.fixture(scope="module")
def machine(faulty_module):
    """Returns the options for one CPU and a second driver, which has the fault."""
    return {"smp": 1, "files": {"usr/lib/drivers/faulty/arm_spe_pmu.ko": faulty_module}}


@pytest.fixture(autouse=True, scope="module")
def ours():
    """Skips the tests with the C driver, which refuses to pause and does not check itself."""
    if DRIVER == "c":
        pytest.skip("the walks pause and look at what the driver checks")


def callbacks():
    """Returns the symbols of the callbacks and of the handler, and of those that open and map, which may allocate.

    Without free_aux(): while a task unmaps its buffer other code may allocate. hot_path.py checks it like the others,
    and debug_kernel.py (test_a_buffer_that_is_taken) calls it in the interrupt. Nor is there any CPU PM here.
    """
    module = named("debug").rust_module
    hot = [name for name in subprocess.run([TOP / "scripts/hot-path", "--symbols", module], check=True,
                                           stdout=subprocess.PIPE, text=True).stdout.split() if not re.search("8free_aux|6notify", name)]
    names = subprocess.run(["llvm-nm", "--defined-only", "--format=just-symbols", module], check=True,
                           stdout=subprocess.PIPE, text=True).stdout.split()
    cold = [name for name in names if re.search(r"Registration.*(10event_init|9setup_aux)B", name)]
    assert len(hot) == 6 and len(cold) == 2, (hot, cold)
    return hot, cold


class Window:
    """Traces allocations while one of some functions of the driver runs."""

    def __init__(self, guest, name, symbols):
        self.guest, self.name = guest, name
        self.instance = f"{TRACING}/instances/{name}"
        script = [f"mkdir {self.instance}", f"cd {self.instance}", "echo 0 >tracing_on", "echo 1 >options/stacktrace"]
        for number, symbol in enumerate(symbols):
            for probe, trigger in (("p", "traceon"), ("r", "traceoff")):
                event = f"{name}_{probe}{number}"
                script += [f"echo '{probe}:{name}/{event} arm_spe_pmu:{symbol}' >>{TRACING}/kprobe_events",
                           f"echo {trigger} >events/{name}/{event}/trigger"]
        script += [f"echo 1 >events/{event}/enable" for event in ALLOCATORS]
        guest.sh(" && ".join(script))

    def allocations(self):
        """Returns their number."""
        stats = self.guest.sh(f"cat {self.instance}/per_cpu/cpu0/stats")
        return sum(int(number) for number in re.findall(r"^(?:entries|overrun): (\d+)$", stats, re.MULTILINE))

    def trace(self):
        """Returns the first allocations with their stacks."""
        return self.guest.sh(f"head -n 500 {self.instance}/trace")

    def entered(self):
        """Returns how often each function was entered. Checks that no entry and no return was missed."""
        profile = re.findall(rf"^ +{self.name}_p(\d+) +(\d+) +(\d+)$", self.profile(), re.MULTILINE)
        assert profile and not re.search(rf"^ +{self.name}_\w+ +\d+ +[1-9]\d*$", self.profile(), re.MULTILINE)
        return [int(hits) for _, hits, _ in profile]

    def profile(self):
        """Returns the names of all probes, how often they were hit, and how often they were missed."""
        return self.guest.sh(f"cat {TRACING}/kprobe_profile")


@pytest.fixture(scope="module")
def windows(guest):
    """Returns a window on the functions that must not allocate, and one on those that do."""
    hot, cold = callbacks()
    return Window(guest, "hot", hot), Window(guest, "cold", cold)


def walk(guest, seed):
    """Runs two random walks, while the unit reports some faults. Returns the counters."""
    for number in range(4):
        guest.inject(0, f"fault,after={500 * number}")
    one, other = (f"transitions {number} {STEPS} 0 {PERIOD}" for number in (seed, seed + 1))
    guest.sh(f"{one} & {other}; a=$?; wait $! && exit $a", timeout=1200)
    seen = counters(guest)
    assert seen["mismatches"] == 0, f"seed {seed}: {guest.sh('dmesg | grep Mismatch')}"
    return seen


def test_nothing_is_allocated(guest, windows, show):
    hot, cold = windows
    # The clock that resumes events took most of the time: it is throttled sooner than by default.
    guest.sh("echo 1000 >/proc/sys/kernel/perf_event_max_sample_rate")
    # This calls each callback.
    guest.sh("steps")
    seed, began = 1, time.monotonic()
    while (seen := walk(guest, seed))["transitions"] < TRANSITIONS:
        seed += 2
    show(f"\n    {seen['transitions']} transitions in {time.monotonic() - began:.0f} s, {sum(hot.entered())} calls:"
          f" {hot.allocations()} allocations; where it is allowed, {cold.allocations()}")
    assert hot.allocations() == 0, hot.trace()
    # The allocations of opening an event and mapping a buffer are seen.
    assert sum(cold.entered()) < cold.allocations()
    assert all(hot.entered()), hot.profile()
    assert all(seen[name] for name in MET), seen


class Failing:
    """Makes every allocation below the driver's code fail while `files` have 100."""

    files = [f"{DEBUGFS}/{point}/probability" for point in FAIL]

    def __init__(self, guest, module):
        self.guest = guest
        sections = subprocess.run(["llvm-size", "-A", module], check=True, stdout=subprocess.PIPE, text=True).stdout
        size = int(re.search(r"^\.text +(\d+)", sections, re.MULTILINE)[1])
        start = int(guest.sh("cat /sys/module/arm_spe_pmu/sections/.text"), 16)
        symbols = subprocess.run(["llvm-nm", "-S", "--defined-only", module], check=True, stdout=subprocess.PIPE,
                                 text=True).stdout
        offset, length = (int(number, 16) for number in re.search(
            r"^(\w+) (\w+) t \S+Registration\S+9setup_auxB\S+$", symbols, re.MULTILINE).groups())
        mapping = start + offset
        settings = {"probability": 0, "interval": 1, "space": 0, "verbose": 0, "task-filter": "N", "times": PLENTY,
                    "require-start": f"{start:#x}", "require-end": f"{start + size:#x}",
                    # Mapping a buffer may wait for memory; some attempts of vmalloc itself do not.
                    "reject-start": f"{mapping:#x}", "reject-end": f"{mapping + length:#x}",
                    "ignore-gfp-wait": "N", "fail_page_alloc/ignore-gfp-highmem": "N", "fail_page_alloc/min-order": 0}
        for name, value in settings.items():
            paths = [name] if "/" in name else [f"{point}/{name}" for point in FAIL]
            guest.sh(" && ".join(f"echo {value} >{DEBUGFS}/{path}" for path in paths))

    def set(self, probability):
        """Makes so many of a hundred fail."""
        self.guest.sh(" && ".join(f"echo {probability} >{file}" for file in self.files))

    def spare(self, those_that_wait):
        """Sets whether allocations that may wait, such as those for a task, succeed."""
        self.guest.sh(" && ".join(f"echo {those_that_wait} >{DEBUGFS}/{point}/ignore-gfp-wait" for point in FAIL))

    def verbose(self, verbose):
        """Sets the verbosity. 2 shows in the kernel log where an allocation failed."""
        self.guest.sh(" && ".join(f"echo {verbose} >{DEBUGFS}/{point}/verbose" for point in FAIL))

    def failed(self):
        """Returns the number of failures."""
        return sum(PLENTY - int(self.guest.sh(f"cat {DEBUGFS}/{point}/times")) for point in FAIL)


def steps(guest, *files):
    """Runs all operations on an event. Returns their results and the driver's counts."""
    before = counters(guest)
    for number in range(3):
        guest.inject(0, f"fault,after={700 * number}")
    facts = {name: int(value, 0) for name, value in FACT.findall(guest.sh(f"steps {' '.join(files)}", timeout=300))}
    assert facts
    for name, count in counters(guest).items():
        counted = count - before[name]
        facts[name] = counted > 0 if name in ATTEMPTS else counted
    return facts


def unlike(one, other):
    """Returns the differences of two runs: {name: values}."""
    return {name: (value, other[name]) for name, value in one.items()
            if abs(value - other[name]) > (value / 20 if AMOUNT.fullmatch(name) else 0)}


def test_nothing_is_missed(guest):
    """The results are the same with every allocation made to fail."""
    failing = Failing(guest, named("debug").rust_module)
    usual = steps(guest)
    assert usual["mismatches"] == 0 and usual["fault_stage1"] == 3
    assert all(usual[name] for name in MET if name != "start_not_mapped"), usual
    assert unlike(usual, steps(guest)) == {}, "not the same from run to run"
    assert unlike(usual, steps(guest, *failing.files)) == {}
    assert failing.failed() == 0
    # Allocations with interrupts off may not wait and always fail, while opening and mapping go on.
    failing.spare("Y")
    failing.verbose(2)
    failing.set(100)
    walk(guest, 1001)
    failing.set(0)
    failing.verbose(0)
    assert failing.failed() == 0, guest.sh("dmesg | grep -m 1 -A 50 FAULT_INJECTION")
    # The failures do happen: no event can be opened.
    failing.spare("N")
    failing.set(100)
    status, output = guest.run("steps")
    failing.set(0)
    assert status and "Cannot allocate memory" in output and failing.failed() > 0, output


def test_a_fault_is_found(guest, windows, faulty_module):
    """A start that allocates is found by the same means, and by lockdep."""
    hot, _ = windows
    assert not guest.complaints()
    guest.unload()
    guest.load("faulty")
    failing = Failing(guest, faulty_module)
    usual = steps(guest)
    assert hot.allocations() > 0
    trace = hot.trace()
    assert all(f": {event.split('/')[1]}: " in trace for event in ALLOCATORS if event != "kmem/kmem_cache_alloc"), trace
    changed = unlike(usual, steps(guest, *failing.files))
    assert "drained_ran" in changed and failing.failed() > 0, changed
    guest.excuse()
