# SPDX-License-Identifier: GPL-2.0
"""Live events when something goes wrong, or is in the way: the count stays true, and the driver goes on."""

import pytest

from live import heard, stat
from machine import DRIVER
from powerless import NAP, built
from spe import LENT, check_decodes, counters, record, recorded

OFTEN = "interval=1024"
ONLINE = "/sys/devices/system/cpu/cpu1/online"


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Returns the options for a guest whose CPUs can lose their power."""
    return {"files": {"root/powerless.ko": built(tmp_path_factory.mktemp("powerless"))}}


@pytest.fixture(scope="module")
def build():
    """Returns the build of the driver to load: it checks itself."""
    return "c" if DRIVER == "c" else "checked"


@pytest.fixture(autouse=True)
def ours(request, driver):
    """Skips the tests with the C driver. With ours, no state differs from what perf and the hardware have."""
    if driver == "c":
        pytest.skip("the C driver has no live events")
    yield
    if "guest" in request.fixturenames:
        assert counters(request.getfixturevalue("guest"))["mismatches"] == 0


#: {fault: (injections, counters, whether perf disables the event, whether the hardware writes a part of a record)}.
FAULTS = {
    "fault": (["fault,fsc=0x07,after=30"], {"fault_stage1": 1, "truncated": 1}, True, False),
    "fault within a record": (["fault,fsc=0x0f,partial=24,after=30"], {"fault_stage1": 1, "partial": 1, "live_malformed": 1}, True, True),
    "external abort": (["external-abort,after=30"], {"external_abort": 1}, True, False),
    "buffer full, data lost": (["full,dl=on,after=30"], {"full": 1}, True, False),
    "buffer full, although it is not": (["full,after=30"], {"full": 1}, False, False),
    "unknown class": (["event,ec=0x3f,mss=0xabcd,after=30"], {"unknown_class": 1}, True, False),
    "collision": (["collision,after=30"], {"collision": 1}, False, False),
    "spurious interrupt": (["spurious-interrupt,after=30"], {"spurious": 1, "collision": 0, "truncated": 0}, False, False),
    "fault, interrupt lost": (["lost-interrupt", "fault,fsc=0x07,after=30"], {"fault_stage1": 1}, True, False),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(guest, fault):
    """Every whole record counts, perf disables the event if the unit stopped, and it can be enabled again."""
    injections, counted, disabled, part = FAULTS[fault]
    for injection in injections:
        guest.inject(1, injection)
    result = heard(guest, "live run 0 65536 100", exact=not part)
    facts, seen = result.facts, result.counted
    assert facts["disabled"] == disabled, facts
    assert result.hits == facts["count"] + facts["again"] == result.of(facts["id"]) == result.made["records"], result
    assert (facts["count"] < 40) == disabled and facts["count"] >= 29 and facts["again"] >= 100, facts
    wrong = {name: (seen[name], n) for name, n in counted.items() if seen[name] != n}
    assert not wrong, wrong
    guest.unaccounted = "parts of records are not counted by the hardware"


def test_stray_pointer(guest):
    """What is in the buffer cannot be told from what was there before: it does not count, and perf disables the event."""
    guest.inject(1, "pointer,value=0x1000,after=30")
    result = heard(guest, "live run 0 65536 100", exact=False)
    facts = result.facts
    assert facts["disabled"] and facts["count"] == 0 and result.hits == facts["again"] >= 100, facts
    assert result.counted["stray_pointer"] == 1 and not result.counted["live_malformed"]
    guest.unaccounted = "a pointer that was moved has no bytes"


def test_unload(guest):
    """The module cannot go while an event is open. Right after that it can, many times."""
    for _ in range(10):
        guest.account()
        guest._at_load = None  # pylint: disable=protected-access
        facts = {name: int(number) for name, number in map(str.split, guest.sh("live unload").splitlines())}
        # perf frees the event in the background.
        assert facts.pop("closed") in (0, 11) and facts == {"open": 11, "running": 11}, facts
        guest.run("rmmod arm_spe_pmu")
        guest.load("checked")
    count, result = stat(guest, f"arm_spe_0/live=1,{OFTEN}/", "workload 2")
    assert count == result.hits > 100


@pytest.mark.parametrize("which", ["live", "aux"])
def test_redirected(guest, which):
    """A live event whose output goes to the buffer of an AUX event writes nothing there, and the reverse has no AUX area."""
    guest.known = LENT
    if which == "live":
        facts = (result := heard(guest, "live redirect live")).facts
        assert facts["redirect"] == 0 and facts["head"] == 0, facts
        assert facts["count"] == result.hits == result.of(facts["id"]) >= 20, facts
        return
    before = counters(guest)["live_records"]
    said = dict(line.split() for line in guest.sh("live redirect aux").splitlines())
    # The event that makes the AUX area is the one it is mapped through.
    assert (said["redirect"], said["map_owner"], said["map"]) == ("0", "12", "0"), said
    assert int(said["head"]) >= 20 * 64 and said["count"] == "0", said
    assert counters(guest)["live_records"] == before


def test_hotplug(guest):
    """A CPU is unplugged and comes back: its records count until it goes, and the event goes on elsewhere."""
    guest.put({"/tmp/plug": f"""set -e
for n in 1 2 3; do
    taskset -c 1 workload 1 >/dev/null
    echo 0 >{ONLINE}
    taskset -c 0 workload 1 >/dev/null
    echo 1 >{ONLINE}
done
"""})
    for options in "-a", "":
        count, result = stat(guest, f"arm_spe_0/live=1,{OFTEN}/", "bash /tmp/plug", options)
        # Of a CPU that was offline perf reads no count.
        assert (count == result.hits if not options else count <= result.hits) and result.hits > 1000


@pytest.mark.parametrize("options", ["-a", ""])
def test_power_loss(guest, options):
    """A CPU loses its power and the unit its registers: the records from before count."""
    guest.sh("test -d /sys/module/powerless || insmod /root/powerless.ko")
    guest.put({"/tmp/naps": f"""set -e
for cpu in 0 1; do
    taskset -c $cpu workload 5 >/dev/null &
    taskset -c $cpu sh -c 'echo 200 >{NAP}' &
done
wait
"""})
    count, result = stat(guest, f"arm_spe_0/live=1,{OFTEN}/", "bash /tmp/naps", options)
    assert count == result.hits > 1000
    assert result.counted["sleeps"] > 100, result.counted
    assert not any(result.counted[name] for name in ("stray_pointer", "spurious"))


def test_other_recordings(guest):
    """Recording works after it, and between two live events."""
    for _ in range(2):
        count, result = stat(guest, f"arm_spe_0/live=1,{OFTEN}/u", "workload 1")
        assert count == result.hits > 100
        check_decodes(record(guest, "arm_spe/period=4096/u", "workload 2"), 100)


@pytest.mark.kernel("debug")
@pytest.mark.timeout(1800)
def test_locks(boot, driver):
    """KASAN and lockdep find nothing wrong while tasks switch, fork and exit, events come and go, and records are traced."""
    guest = boot()
    guest.load(driver)
    guest.put({"/tmp/busy": """
for n in 1 2; do taskset -c 0 workload 1 & taskset -c 1 workload 1 & ls -R /proc/self/task >/dev/null; done
wait
"""})
    for options in "-a", "", "-C 1":
        result = heard(guest, f"perf stat {options} -e arm_spe_0/live=1,{OFTEN}/ -- bash /tmp/busy >/dev/null 2>&1", timeout=600)
        assert result.hits > 100
    # Perf itself listens, to the switches as well.
    guest.sh("perf record -q -a -m 1M -o /tmp/perf.data -e arm_spe:arm_spe_record,sched:sched_switch --"
             f" perf stat -a -e arm_spe_0/live=1,{OFTEN}/ -- bash /tmp/busy >/dev/null 2>&1", timeout=600)
    # A fault is logged, also where the task is switched.
    for fault in "fault,fsc=0x07,after=20", "external-abort,after=20":
        guest.inject(1, fault)
        guest.sh(f"perf stat -e arm_spe_0/live=1,{OFTEN}/ -- taskset -c 1 bash /tmp/busy >/dev/null 2>&1", timeout=600)
    guest.unaccounted = "faults were injected"
    guest.sh("for n in 1 2; do perf stat -e arm_spe_0/live=1,batch=1/ -- true & perf stat -a -e arm_spe_0/live=1/ -- true & done >/dev/null 2>&1; wait", timeout=600)
    guest.sh("grep -q 'debug_locks: *1$' /proc/lockdep_stats || { echo lockdep is off; false; }")
    assert counters(guest)["mismatches"] == 0
    guest.unload()


@pytest.mark.kernel("rt")
def test_preempt_rt(boot, driver):
    """The same numbers agree on PREEMPT_RT, where the scheduler is preempted almost anywhere."""
    guest = boot()
    guest.load(driver)
    count, result = stat(guest, f"arm_spe_0/live=1,{OFTEN}/",
                         "bash -c 'for n in 1 2 3; do taskset -c 0 workload 1 & taskset -c 1 workload 1 & done; wait'", "-a")
    assert count == result.hits > 1000
    assert not {keys for keys in result.tasks if keys[2] == 0 and keys[0] != keys[1]}
    check_decodes(recorded(guest, "perf record -o /tmp/perf.data -e arm_spe/period=4096/u -- workload 2"), 100)
