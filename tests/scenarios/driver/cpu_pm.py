# SPDX-License-Identifier: GPL-2.0
"""A CPU loses its power, and its unit the registers, while events record: they go on where they were.

The module powerless.c goes through CPU PM as idle states and suspend do, and writes random values to the registers.
"""

import pytest

import cost
from machine import DRIVER, total
from powerless import NAP, built
from spe import check_decodes, counters, recorded

#: How often each CPU loses its power.
NAPS = 1000

#: The limit for the module's instructions of an entry and an exit without an event (docs/cost.md).
MOST_INSTRUCTIONS = 70

#: What records while the CPUs nap: {mode: arguments of perf record}.
MODES = {
    "system-wide": "-a -e arm_spe/period=4096/",
    "task": "-e arm_spe/period=1024/",
    "user space": "-a -e arm_spe/period=1024/u",
    "snapshot": "-a -e arm_spe/period=4096/ --snapshot=e",
    "jitter and time": "-a -e arm_spe/period=4096,jitter=1,ts_enable=1/",
}

#: Both CPUs work, and nap in between.
WORK = f"""
cat >/tmp/naps <<'END'
set -e
for cpu in 0 1; do
    taskset -c $cpu workload 20 >/dev/null &
    taskset -c $cpu sh -c 'echo {NAPS} >{NAP}' &
done
wait
for cpu in 0 1; do
    taskset -c $cpu workload 1 >/dev/null
done
END
"""


@pytest.fixture(scope="module")
def powerless(tmp_path_factory):
    """Builds the module for the stock kernel."""
    return built(tmp_path_factory.mktemp("powerless"))


@pytest.fixture(scope="module")
def machine(powerless):
    """Returns the options for a guest with the module."""
    return {"files": {"root/powerless.ko": powerless}}


@pytest.fixture(scope="module")
def build():
    """Returns the build of the driver to load."""
    return "c" if DRIVER == "c" else "checked"


def naps(guest, what):
    """Returns a parameter of the module."""
    return int(guest.sh(f"cat /sys/module/powerless/parameters/{what}"))


def load(guest):
    """Loads the module, if it is not."""
    guest.sh("test -d /sys/module/powerless || insmod /root/powerless.ko")


@pytest.mark.parametrize("mode", MODES)
def test_goes_on(guest, driver, mode):
    """Every byte is accounted for, and nothing is reported as lost."""
    if driver == "c":
        pytest.skip("test_left_enabled has what it does")
    load(guest)
    script = f"{WORK}\nperf record -o /tmp/perf.data -m ,1024 {MODES[mode]} -- bash /tmp/naps"
    before = counters(guest)
    trace = recorded(guest, script)
    check_decodes(trace, 100)
    assert {sample.cpu for sample in trace.records} == {0, 1}
    assert mode != "user space" or {sample.el for sample in trace.records} == {0}
    assert not any(flags & ~2 for *_, flags in trace.aux), trace.aux
    seen = {name: count - before[name] for name, count in counters(guest).items()}
    assert seen["sleeps"] > NAPS / 2, seen
    assert not any(seen[name] for name in ("mismatches", "stray_pointer", "spurious", "truncated", "collision")), seen
    assert naps(guest, "enabled") == 0


def test_left_enabled(boot, driver, powerless):
    """The C driver leaves the unit enabled. What it does when it finds random values is not tried: perf hangs."""
    guest = boot(files={"root/powerless.ko": powerless})
    guest.load(driver)
    load(guest)
    before = total(guest.hardware())["bytes"]
    guest.sh("perf record -o /tmp/perf.data -C 1 -e arm_spe/period=1024/u -- taskset -c 1 workload 100000 >/dev/null 2>&1 &")
    while total(guest.hardware())["bytes"] == before:
        pass
    guest.sh(f"taskset -c 1 sh -c 'echo 1 >{NAP}'")
    assert naps(guest, "enabled") == (driver == "c")
    guest.unaccounted = "it still records"


def test_nothing_records(guest, driver):
    """Without an event the unit stays off, and records afterwards."""
    if driver == "c":
        pytest.skip("its registers are as the reset has left them")
    load(guest)
    written = total(guest.hardware())["bytes"]
    guest.sh(f"for cpu in 0 1; do taskset -c $cpu sh -c 'echo 100 >{NAP}'; done; workload 1 >/dev/null")
    assert total(guest.hardware())["bytes"] == written
    trace = recorded(guest, "perf record -o /tmp/perf.data -a -e arm_spe/period=4096/ -- workload 2")
    check_decodes(trace, 100)


def test_cost_without_an_event(boot, driver, powerless, artefacts, show):
    """Each CPU of the machine pays it whenever it is idle, whether or not SPE is used: it is counted in instructions."""
    if driver == "c":
        pytest.skip("it has no notifier")
    guest = boot(append=cost.APPEND, smp=1, arguments=cost.arguments(artefacts), files={"root/powerless.ko": powerless})
    costs = cost.Costs(guest, artefacts)
    costs.load(driver)
    load(guest)
    costs.watch({"notify": r"_R\S*6cpu_pm\S*8Notifier\S*6notify\S*"})
    calls, _, _ = costs.run(f"echo 100 >{NAP}")
    enter, leave = (cost.typical(calls["notify"][which::2]) for which in (0, 1))
    show(f"\n    entry: {enter}\n    exit: {leave}")
    assert enter.module + leave.module <= MOST_INSTRUCTIONS


def test_refused(guest, driver):
    """Another notifier refuses each nap, after the driver has prepared for it: sampling goes on at once."""
    if driver == "c":
        pytest.skip("it has no notifier")
    load(guest)
    before, slept = naps(guest, "failed"), counters(guest)["sleeps"]
    guest.sh("echo 1 >/sys/module/powerless/parameters/fail")
    trace = recorded(guest, f"{WORK}\nperf record -o /tmp/perf.data -a -m ,1024 -e arm_spe/period=4096/ -- bash /tmp/naps")
    guest.sh("echo 0 >/sys/module/powerless/parameters/fail")
    check_decodes(trace, 100)
    assert naps(guest, "failed") - before == 2 * NAPS
    # It was sampling again by the next nap.
    assert counters(guest)["sleeps"] - slept > NAPS
    assert counters(guest)["mismatches"] == 0


def test_unloaded(guest, driver):
    """The driver is not called any more when it is unloaded, and continues when it is loaded again."""
    load(guest)
    nap = f"for cpu in 0 1; do taskset -c $cpu sh -c 'echo 10 >{NAP}'; done"
    guest.unload()
    guest.sh(nap)
    guest.load("c" if driver == "c" else "checked")
    guest.sh(nap)
