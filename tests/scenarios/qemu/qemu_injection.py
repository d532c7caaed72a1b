# SPDX-License-Identifier: GPL-2.0
"""Faults injected into the emulated unit from outside happen at the right time, and nothing else does.

The bare-metal image samples one operation at a time and prints the state after it (tests/qemu/baremetal/console.c).
"""

import os
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from paths import TOP

IMAGE = TOP / "build" / "baremetal" / "spe.elf"
sys.path.insert(0, str(Path(os.environ["ARM_SPE_QEMU"], "python")))
from qemu.machine import QEMUMachine  # noqa: E402
from qemu.qmp import ExecuteError  # noqa: E402

SIZE = 64
FULL, COLLISION, STOPPED, EXTERNAL, LOSS = 1, 1 << 16, 1 << 17, 1 << 18, 1 << 19

#: The output of console.c.
Found = namedtuple("Found", "pending pending_after pmbsr pmbptr written")
RECORD = Found(0, 0, 0, SIZE, SIZE)


def syndrome(exception_class, status, *bits):
    """Returns PMBSR_EL1 for an event."""
    return STOPPED | exception_class << 26 | status | sum(bits)


class Unit:
    """A machine whose image executes commands."""

    def __init__(self, directory, properties):
        subprocess.run(["make", "-s", "-C", TOP / "tests/qemu/baremetal"], check=True)
        ours, theirs = socket.socketpair()
        os.set_inheritable(theirs.fileno(), True)
        self.machine = QEMUMachine(
            str(Path(os.environ["ARM_SPE_QEMU"], "qemu-system-aarch64")), name="qemu", log_dir=str(directory), args=[
                "-nodefaults", "-M", "virt,gic-version=3,virtualization=on", "-m", "128",
                "-cpu", ",".join(["max,pauth-impdef=on,spe=on", *properties]),
                "-chardev", f"socket,id=console,fd={theirs.fileno()}", "-serial", "chardev:console",
                "-semihosting-config", "enable=on,target=native", "-kernel", str(IMAGE), "-append", "obey=1"])
        self.machine.launch()
        theirs.close()
        ours.settimeout(60)
        self._console = ours.makefile("rwb", buffering=0)
        self._path = self.machine.cmd("query-cpus-fast")[0]["qom-path"]
        self.until_ready()

    def until_ready(self):
        """Waits until the image has started."""
        assert self._console.readline() == b"ready\n"

    def command(self, word):
        """Executes a command in the image. Returns what it finds then."""
        self._console.write(word.encode())
        return Found(*(int(number, 0) for number in self._console.readline().split()))

    def step(self):
        """Takes a sample, at the beginning of the buffer and without the last syndrome."""
        self.command("c")
        self.command("b")
        return self.command("s")

    def inject(self, what):
        """Injects a fault."""
        self.machine.cmd("qom-set", path=self._path, property="spe-inject", value=what)

    def counters(self):
        """Returns the counters of the unit."""
        return self.machine.cmd("qom-get", path=self._path, property="spe-counters")

    def counted(self, function):
        """Returns the result of function(), and the counters that it has changed."""
        before = self.counters()
        said = function()
        return said, {name: value - before[name] for name, value in self.counters().items() if value != before[name]}


@pytest.fixture
def make_unit(artefacts):
    """Returns a function that makes a Unit with properties of the CPU."""
    units = []

    def make(*properties):
        units.append(Unit(artefacts, properties))
        return units[-1]
    yield make
    for unit in units:
        unit.machine.shutdown(hard=True)


@pytest.fixture
def unit(make_unit):
    """Returns a Unit with the default properties."""
    return make_unit()


SAMPLE = {"selected": 1, "records": 1, "bytes": SIZE}
EVENT = {"events": 1, "interrupts": 1}
DROPPED = {"selected": 1, "dropped": 1, **EVENT}


@pytest.mark.parametrize("properties", ["spe-align=64", "spe-cache=on"])
def test_nothing_injected(make_unit, properties):
    """A sample without an injection. With a model of caches, operations are found in another way."""
    unit = make_unit(properties)
    assert unit.counted(unit.step) == (RECORD, SAMPLE)


def test_filtered_and_discarded(unit):
    """Filtered and discarded samples are not written, and are counted as such."""
    for word, counter in (("f", "filtered"), ("d", "discarded")):
        assert unit.counted(lambda word=word: unit.command(word)) == (Found(0, 0, 0, 0, 0), {"selected": 1, counter: 1})


def test_collision_of_its_own(make_unit):
    """An injected collision looks like one of the unit's own: here, of 30 samples 257 operations apart."""
    unit = make_unit("spe-inflight=1000")
    records = (30 + 3) // 4
    assert unit.counted(lambda: unit.command("m")) == (
        Found(0, 0, COLLISION, records * SIZE, records * SIZE),
        {"selected": 30, "collided": 30 - records, "records": records, "bytes": records * SIZE})


@pytest.mark.parametrize("what,pmbsr", ids=lambda value: value if isinstance(value, str) else hex(value), argvalues=[
    ("fault,stage=1,fsc=0x07", syndrome(0x24, 0x07)),
    ("fault,stage=2,fsc=0x0b", syndrome(0x25, 0x0b)),
    ("fault,stage=1,fsc=0x10,ea=on", syndrome(0x24, 0x10, EXTERNAL)),
    ("fault,stage=2,fsc=0x0f,dl=on", syndrome(0x25, 0x0f, LOSS)),
    ("granule-fault", syndrome(0x1e, 0)),
    ("external-abort", syndrome(0x24, 0x10, EXTERNAL)),
])
def test_faults(unit, what, pmbsr):
    """A fault with a record loses it; one that is injected at once loses none."""
    unit.inject(what + ",after=0")
    assert unit.counted(unit.step) == (Found(1, 1, pmbsr, 0, 0), DROPPED)
    unit.step()
    _, counted = unit.counted(lambda: unit.inject(what))
    assert counted == EVENT
    assert unit.command("l") == Found(1, 1, pmbsr, SIZE, 0)
    assert unit.counted(unit.step) == (RECORD, SAMPLE)


@pytest.mark.parametrize("what,pmbsr", ids=lambda value: value if isinstance(value, str) else hex(value), argvalues=[
    ("full", syndrome(0, FULL)),
    ("event,ec=0x3f,mss=0xabcd", syndrome(0x3f, 0xabcd)),
    ("event,ec=0x21,mss=1,dl=on,ea=on", syndrome(0x21, 1, LOSS, EXTERNAL)),
])
def test_events_that_spare_the_record(unit, what, pmbsr):
    unit.inject(what + ",after=0")
    assert unit.counted(unit.step) == (Found(1, 1, pmbsr, SIZE, SIZE), {**SAMPLE, **EVENT})
    unit.command("c")
    unit.inject(what)
    assert unit.command("l") == Found(1, 1, pmbsr, SIZE, 0)


@pytest.mark.parametrize("after", [1, 2, 5])
def test_after(unit, after):
    """The fault happens once, after so many records."""
    unit.inject(f"fault,after={after}")
    found = [unit.step() for _ in range(after + 3)]
    assert [one == RECORD for one in found] == [True] * after + [False] + [True] * 2


def test_several(unit):
    """Each of several injections waits for its own record."""
    unit.inject("full,after=3")
    unit.inject("fault,fsc=4,after=1")
    assert [unit.step().pmbsr for _ in range(5)] == [0, syndrome(0x24, 4), 0, syndrome(0, FULL), 0]
    # One with each record, in the order in which they were injected.
    unit.inject("full,after=0")
    unit.inject("fault,fsc=4,after=0")
    assert [unit.step().pmbsr for _ in range(3)] == [syndrome(0, FULL), syndrome(0x24, 4), 0]


@pytest.mark.parametrize("partial", [1, SIZE // 2, SIZE - 1])
def test_partial(unit, partial):
    """A part of the record is in memory, up to the pointer."""
    unit.inject(f"fault,fsc=7,partial={partial},after=0")
    assert unit.counted(unit.step) == (Found(1, 1, syndrome(0x24, 7, LOSS), partial, partial),
                                       {"selected": 1, "partial": 1, **EVENT})


def test_collision(unit):
    """A collision loses the sample without an event. If it is injected at once, it is only reported."""
    unit.inject("collision,after=0")
    assert unit.counted(unit.step) == (Found(0, 0, COLLISION, 0, 0), {"selected": 1, "collided": 1})
    unit.command("c")
    unit.inject("collision")
    assert unit.command("l") == Found(0, 0, COLLISION, 0, 0)


def test_pointer(unit):
    unit.inject("pointer,value=0x80000100")
    assert unit.command("s") == Found(0, 0, 0, 0x100 + SIZE, SIZE)
    unit.inject("pointer,value=0x80000400,after=0")
    assert unit.command("s") == Found(0, 0, 0, 0x400 + SIZE, SIZE)


@pytest.mark.parametrize("word", "lc")
def test_spurious_interrupt(unit, word):
    """A spurious interrupt is pending until PMBSR_EL1 is read or written."""
    _, counted = unit.counted(lambda: unit.inject("spurious-interrupt"))
    assert counted == {"interrupts": 1}
    assert unit.command(word) == Found(int(word == "l"), 0, 0, 0, 0)
    assert unit.command("l") == Found(0, 0, 0, 0, 0)


def test_lost_interrupt(unit):
    """The next event is reported by PMBSR_EL1 alone, the one after it with an interrupt."""
    unit.inject("lost-interrupt")
    unit.inject("full,after=0")
    assert unit.counted(unit.step) == (Found(0, 0, syndrome(0, FULL), SIZE, SIZE), {**SAMPLE, "events": 1})
    unit.command("c")
    unit.inject("full")
    assert unit.command("l").pending


def test_the_first_event_stays(unit):
    """While S is 1 a new event does not change the syndrome, no event is counted, and nothing is sampled."""
    unit.inject("fault,fsc=5")
    _, counted = unit.counted(lambda: unit.inject("fault,stage=2,fsc=6"))
    assert counted == {}
    assert unit.command("l").pmbsr == syndrome(0x24, 5)
    assert unit.counted(lambda: unit.command("s")) == (Found(1, 1, syndrome(0x24, 5), 0, 0), {})
    # A fault with the record after which the buffer would have been full.
    unit.command("c")
    unit.inject(f"fault,fsc=7,partial={SIZE - 1},after=0")
    assert unit.command("S").pmbsr == syndrome(0x24, 7, LOSS)


def test_full_with_the_last_record(unit):
    """The buffer is reported as full as soon as there is no space for another record, not with the next one."""
    assert unit.counted(lambda: unit.command("S")) == (Found(1, 1, syndrome(0, FULL), 4096, SIZE), {**SAMPLE, **EVENT})


def test_bytes(make_unit):
    """The counted bytes include the padding."""
    unit = make_unit("spe-align=2048", "spe-max-record-size=2048")
    assert unit.counted(unit.step) == (Found(0, 0, 0, 2048, 2048), {**SAMPLE, "bytes": 2048})


def test_too_many(unit):
    """The number of pending injections is limited."""
    for after in range(16):
        unit.inject(f"full,after={100 + after}")
    with pytest.raises(ExecuteError, match="16 injections are waiting"):
        unit.inject("full,after=1000")


def test_reset(unit):
    """A reset ends injections of the interrupt."""
    unit.inject("spurious-interrupt")
    unit.inject("fault")
    unit.inject("lost-interrupt")
    unit.machine.cmd("system_reset")
    unit.until_ready()
    assert unit.command("l") == Found(0, 0, 0, 0, 0)
    unit.inject("full")
    assert unit.command("l").pending
