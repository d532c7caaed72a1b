# SPDX-License-Identifier: GPL-2.0
"""CPUs that are not alike: each unit is examined when its CPU comes online, and used if it can do what the PMU promises.

The C driver examines one unit, and takes the others to be like it.
"""

import pytest

from device_tree import edited, one_unit_per_cpu, replace
from spe import check_decodes, counters, record, recorded, trace_of

pytestmark = pytest.mark.independent

ONLINE = "/sys/devices/system/cpu/cpu1/online"
PMU = "/sys/bus/event_source/devices/arm_spe_0"
#: What the driver touches of a unit to examine it. Reads of constants, as PMSIDR_EL1, are not in the trace.
ID_REGISTERS = {"PMBIDR_EL1", "PMSEVFR_EL1"}

#: PMSIDR_EL1 of a unit like the default one.
PMSIDR = 0x000264FF

#: What CPU 1 says of its unit, the registers that may be touched to find that out, and the message.
LESS = {
    "no unit": ("x-spe-pmsver=0", set(), "unsupported ID_AA64DFR0_EL1.PMSVer [0] on CPU 1"),
    "owned": ("x-spe-pmbidr=0x10", {"PMBIDR_EL1"}, "profiling buffer owned by higher exception level"),
    "coarser alignment": ("x-spe-pmbidr=0x0b", ID_REGISTERS, "CPU 1: alignment 0x800 instead of 0x40"),
    "larger records": (f"x-spe-pmsidr={PMSIDR & ~0xf000 | 0x7000:#x}", ID_REGISTERS,
                       "CPU 1: record size 0x80 instead of 0x40"),
    "older": ("x-spe-pmsver=1", ID_REGISTERS, "CPU 1: features"),
    "no type filter": (f"x-spe-pmsidr={PMSIDR & ~2:#x}", ID_REGISTERS, "CPU 1: features"),
}

#: What CPU 1 says of a unit that is used: it can do more, or describes its records differently.
ENOUGH = {
    "finer alignment": "x-spe-pmbidr=0x04",
    "newer": "x-spe-pmsver=4",
    "no data sources": f"x-spe-pmsidr={PMSIDR & ~0x10:#x}",
    "counters of 16 bits": f"x-spe-pmsidr={PMSIDR & ~0xf0000 | 0x30000:#x}",
}


#: Waits until the PMU of a device that is probed late can be used.
UNTIL_PROBED = "timeout 60 sh -c 'until perf record -o /tmp/none -e {}//u -C 1 true; do sleep 0.1; done'"

#: QEMU describes the unit only if CPU 0 has one; this is the description with another name.
FIRST_HAS_NONE = "spe=on,x-spe-pmsver=0,x-spe-override-cpus=1"
RENAMED = replace("spe-pmu {", "spe {")


@pytest.fixture(autouse=True)
def ours(driver):
    """Skips the tests with the C driver, which has no such examination."""
    if driver == "c":
        pytest.skip("the C driver examines one unit")


def unlike(boot, unit, **options):
    """Returns a machine whose CPU 1 has another unit."""
    return boot(spe=f"spe=on,{unit},x-spe-override-cpus=2", **options)


def kinds(table, daily):
    """Returns the kinds of a table, all but some for the long tier: caps.rs has a table of its own, for `make test`."""
    return [pytest.param(kind, marks=[pytest.mark.long] * (number >= daily)) for number, kind in enumerate(table)]


@pytest.mark.parametrize("kind", kinds(LESS, daily=2))
def test_less(boot, kind):
    """CPU 1 is not used, and not touched but to find that out; tasks record on CPU 0."""
    unit, touched, message = LESS[kind]
    guest = unlike(boot, unit)
    guest.put({"/tmp/fro": """
for cpu in 0 1 0 1 0 1; do
    taskset -pc $cpu $$ >/dev/null
    i=0; while [ $i -lt 500 ]; do i=$((i + 1)); done
done
"""})
    with guest.registers("read", "write") as accesses:
        guest.load("rust")
        assert guest.sh(f"cat {PMU}/cpumask") == "0"
        status, complaint = guest.run("inherit 1 true")
        assert status and "perf_event_open: No such file" in complaint
        trace = recorded(guest, "perf record -o /tmp/perf.data -a -e arm_spe/period=1024/u taskset -c 0 workload 20")
        check_decodes(trace, 100)
        assert {sample.cpu for sample in trace.records} == {0}
        # Of a task that goes to and fro, what it does on CPU 0.
        trace = record(guest, "arm_spe/period=4096/u", "sh /tmp/fro", "--per-thread")
        check_decodes(trace, 100)
        assert counters(guest)["start_offline"] > 0
        guest.sh(f"for i in 1 2 3; do echo 0 >{ONLINE}; echo 1 >{ONLINE}; done")
    log = guest.log()
    assert log.count("the unit of CPU 1 is not used") == log.count(message) == 1, log
    assert {access.register for access in accesses if access.cpu == 1} == touched


@pytest.mark.parametrize("kind", kinds(ENOUGH, daily=1))
def test_enough(boot, kind):
    """CPU 1 is used as CPU 0 is."""
    guest = unlike(boot, ENOUGH[kind])
    guest.load("rust")
    assert guest.sh(f"cat {PMU}/cpumask") == "0-1"
    trace = record(guest, "arm_spe/period=1024/u", "taskset -c 1 workload 5", "-C 1")
    check_decodes(trace, 100)
    assert "not used" not in guest.log()


def test_first_cpu_has_none(boot, artefacts):
    """The PMU promises what the first unit that can be used can do."""
    guest = boot(spe=FIRST_HAS_NONE, arguments=edited(artefacts, RENAMED))
    guest.load("rust")
    assert guest.sh(f"cat {PMU}/cpumask") == "1"
    assert "the unit of CPU 0 is not used" in guest.log()
    trace = record(guest, "arm_spe/period=1024/u", "taskset -c 1 workload 5", "-C 1")
    check_decodes(trace, 100)


def test_two_kinds(boot, artefacts):
    """Two devices: each PMU has what its own units can do, and both record at once."""
    guest = boot(spe="spe=on,x-spe-pmsver=1,x-spe-override-cpus=2", arguments=edited(artefacts, one_unit_per_cpu))
    guest.load("rust")
    pmu = "/sys/bus/event_source/devices/arm_spe_"
    assert guest.sh(f"cat {pmu}[01]/cpumask {pmu}[01]/caps/version").split() == ["0", "1", "2", "0"]
    assert guest.sh(f"ls -d {pmu}*/format/discard") == f"{pmu}0/format/discard"
    guest.sh("perf record -o /tmp/perf.data -a -e arm_spe_0/period=1024/u -e arm_spe_1/period=1024/u -- "
             "sh -c 'taskset -c 0 workload 20 & taskset -c 1 workload 20 & wait'")
    trace = trace_of(guest)
    check_decodes(trace, 100)
    assert {sample.cpu for sample in trace.records} == {0, 1}


def test_late(boot, artefacts):
    """A device whose CPU comes online after the module was loaded has its PMU then."""
    guest = boot(append="maxcpus=1", arguments=edited(artefacts, one_unit_per_cpu))
    guest.load("rust")
    assert guest.sh("ls /sys/bus/event_source/devices | grep arm_spe") == "arm_spe_0"
    assert guest.log().count("to be probed again") == 1
    guest.sh(f"echo 1 >{ONLINE}; {UNTIL_PROBED.format('arm_spe_1')}")
    trace = record(guest, "arm_spe_1/period=1024/u", "taskset -c 1 workload 5", "-C 1")
    check_decodes(trace, 100)


def test_late_after_an_unusable_one(boot, artefacts):
    """CPU 0 has no unit; that of CPU 1 is found when that comes online."""
    guest = boot(append="maxcpus=1", spe=FIRST_HAS_NONE, arguments=edited(artefacts, RENAMED))
    guest.load("rust")
    assert not guest.sh("ls /sys/bus/event_source/devices | grep arm_spe || true")
    guest.sh(f"echo 1 >{ONLINE}; {UNTIL_PROBED.format('arm_spe')}")
    assert guest.sh(f"cat {PMU}/cpumask") == "1"


def test_late_while_unloading(boot, artefacts):
    """A CPU comes online while the module goes."""
    guest = boot(append="maxcpus=1", arguments=edited(artefacts, one_unit_per_cpu))
    guest.sh(f"""
set -e
for i in $(seq 20); do
    insmod {guest.driver_file("rust")}
    echo 1 >{ONLINE} &
    rmmod arm_spe_pmu
    wait $!
    [ ! -e /sys/module/arm_spe_pmu ]
    echo 0 >{ONLINE}
done
""")
    # CPU 0 is probed each time.
    assert guest.log().count("probed SPEv1") > 20, "the other CPU never came in time"


def test_refused_while_inherited(boot):
    """A task forks although the CPU of its event has turned out to have no unit."""
    guest = unlike(boot, LESS["no unit"][0], append="maxcpus=1")
    guest.load("rust")
    guest.sh(f"inherit 1 'echo 1 >{ONLINE}; (true) && sh -c \"(true)\"'")
    assert guest.sh(f"cat {PMU}/cpumask") == "0"
