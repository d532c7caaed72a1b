# SPDX-License-Identifier: GPL-2.0
"""QEMU refuses wrong options for SPE with status 1 and one line that says what is wrong, and lists the right ones."""

import re
import subprocess
from contextlib import contextmanager

import pytest

from guest import QEMU, QEMUMachine
from paths import TOP
from qemu.qmp import ExecuteError


INTERVALS = "256, 512, 768, 1024, 1536, 2048, 3072, 4096"
LATENCIES = (["0", "16777216"], ["16777217", "4294967295"], "16777216")
CACHES = (["4K", "64M"], ["0", "2K", "4095", "12K", "128M"], "power of two from 4K to 64M")

#: Properties with numbers or words: the ends of the range, values outside it, and the range in a message.
RANGES = {
    "spe-version": (["1.0", "1.5"], ["", "1", "0.9", "1.6", "1.25", "2.0", "x"], "1.0 to 1.5"),
    "spe-min-interval": (["256", "4096"], ["0", "255", "257", "4097", "4294967295"], INTERVALS),
    "spe-max-record-size": (["16", "2048"], ["0", "8", "48", "4096", "4294967295"], "power of two from 16 to 2048"),
    "spe-align": (["1", "2048"], ["3", "4096", "4294967295"], "power of two from 1 to 2048"),
    "spe-count-size": (["12", "16"], ["0", "11", "13", "17"], "12 or 16"),
    "spe-inflight": LATENCIES,
    "spe-walk-latency": LATENCIES,
    "spe-miss-latency": LATENCIES,
    "spe-l1d-size": CACHES,
    "spe-llc-size": CACHES,
    "spe-seed": (["0", "0xffffffffffffffff"], [], None),
    "x-spe-pmsver": (["0", "15"], ["16", "254"], "15"),
    "x-spe-pmsidr": (["0", "0xfffffffffffffffe"], [], None),
    "x-spe-pmbidr": (["0", "0xfffffffffffffffe"], [], None),
    "x-spe-override-cpus": (["0", "0xffffffffffffffff"], [], None),
}

#: Other properties that a value at the end of its range needs.
WITH = {"spe-align=2048": "spe-max-record-size=2048", "spe-max-record-size=16": "spe-align=16"}

#: Values of a wrong type.
NOT_OF_TYPE = {
    "bool": ["", "2", "perhaps"],
    "OnOffAuto": ["", "2", "perhaps"],
    "uint8": ["", "x", "-1", "256", "1K"],
    "uint32": ["", "x", "-1", "4294967296", "1K"],
    "uint64": ["", "x", "18446744073709551616", "1K"],
    "size": ["", "x", "-1", "1Q"],
}

#: The first version that has a feature, which is requested with the version before it.
SINCE = {
    "spe-filter-inv-event": 2, "spe-prev-branch": 2,
    "spe-filter-data-source": 4, "spe-filter-ext-type": 4, "spe-fp-flag": 4, "spe-call-return": 4,
}

#: QEMU's addition to each message about a size.
HINT = re.compile("Optional suffix k, M|and exabytes, respectively")

#: Injections that are refused, and the messages.
NOT_INJECTED = {
    "": "'' is not one of fault, ",
    "nonsense": "'nonsense' is not one of fault, ",
    "fault,fsc=64": "fsc=64 is not a number from 0 to 63",
    "fault,fsc=x": "fsc=x is not a number from 0 to 63",
    "fault,stage=0": "stage=0 is not ",
    "fault,stage=3": "stage=3 is not ",
    "fault,partial=2049": "partial=2049 is not a number from 0 to 2048",
    "fault,ea=perhaps": "ea=perhaps is not on or off",
    "fault,value=1": "fault has no option value",
    "full,after=-1": "after=-1 is not a number from 0 to ",
    "event": "event needs ec=",
    "event,ec=64": "ec=64 is not a number from 0 to 63",
    "event,ec=1,mss=0x10000": "mss=0x10000 is not a number from 0 to 65535",
    "pointer": "pointer needs value=",
    "pointer,value=0x10000000000000000": "value=0x10000000000000000 is not a number from 0 to ",
}
#: The number of injections that can be pending.
WAITING = 16

#: Properties that are read and written while the machine runs.
CONTROL = {"spe-counters", "spe-inject"}


def start(*arguments):
    """Starts QEMU and, if that succeeds, ends it. Returns its status and its messages without hints."""
    done = subprocess.run(
        [QEMU / "qemu-system-aarch64", "-nodefaults", "-display", "none", "-S", "-monitor", "stdio", *arguments],
        input="quit\n", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    return done.returncode, [line for line in done.stderr.splitlines() if not HINT.match(line)]


def machine(cpu, name="virt,gic-version=3"):
    """Returns the arguments for a machine with two such CPUs."""
    return ["-M", name, "-smp", "2", "-cpu", cpu]


def check_accepted(*arguments):
    """Checks that QEMU starts without a message."""
    assert start(*arguments) == (0, [])


def check_refused(arguments, *patterns):
    """Checks that QEMU ends with status 1 and one line, which matches each of the patterns."""
    status, lines = start(*arguments)
    assert status == 1 and len(lines) == 1, (status, lines)
    for pattern in patterns:
        assert re.search(pattern, lines[0]), lines


@contextmanager
def launched(cpu):
    """Yields QMP commands to a machine that has not begun to run."""
    with QEMUMachine(str(QEMU / "qemu-system-aarch64"), args=["-nodefaults", "-S", *machine(cpu)]) as running:
        running.launch()
        yield running.cmd


@pytest.fixture(scope="module")
def qmp():
    """Yields QMP commands to a machine with SPE."""
    with launched("max,spe=on") as cmd:
        yield cmd


@pytest.fixture(scope="module")
def properties(qmp):
    """Returns {name: type} of all properties that the model adds to a CPU."""
    listed = qmp("device-list-properties", typename="max-arm-cpu")
    return {entry["name"]: entry["type"] for entry in listed if re.match(r"(x-)?spe(-|$)", entry["name"])
            and not entry["type"].startswith("link<")}


def test_properties_are_listed(properties):
    """QMP and -device help list the same. The CPU "max" has no properties yet when QEMU prints help."""
    assert CONTROL < set(properties)
    help_text = subprocess.run([QEMU / "qemu-system-aarch64", "-M", "virt", "-device", "cortex-a57-arm-cpu,help"],
                               check=True, stdout=subprocess.PIPE, text=True).stdout
    assert set(properties) == set(re.findall(r"^  ((?:x-)?spe\b\S*)=<(?!link)", help_text, re.MULTILINE))


def test_properties_are_documented(properties):
    """The page for QEMU's documentation has a row for each option, and describes the other properties."""
    page = (TOP / "tests/qemu/docs/spe.rst").read_text()
    rows = re.findall(r"^   \* - (``.*?)(?=^     - )", page, re.MULTILINE | re.DOTALL)
    named = {name for row in rows for name in re.findall(r"``((?:x-)?spe\b.*?)``", row)}
    assert named == set(properties) - CONTROL
    assert all(f"``{name}``" in page for name in CONTROL)


def test_every_property_has_its_range_here(properties):
    words = {name for name, kind in properties.items() if kind not in ("bool", "OnOffAuto")}
    assert words - CONTROL == set(RANGES)


def test_not_of_the_type(properties):
    for name, kind in properties.items():
        for value in NOT_OF_TYPE.get(kind, []):
            check_refused(machine(f"max,spe=on,{name}={value}"), rf"{name}={re.escape(value)}: .*'{name}'")


@pytest.mark.parametrize("name", [name for name, (_, outside, _) in RANGES.items() if outside])
def test_out_of_range(name):
    _, outside, limits = RANGES[name]
    for value in outside:
        check_refused(machine(f"max,spe=on,{name}={value}"), rf"{name}=", re.escape(limits))


@pytest.mark.parametrize("name", RANGES)
def test_ends_of_range(name):
    for value in RANGES[name][0]:
        chosen = f"{name}={value}"
        check_accepted(*machine(",".join(filter(None, ["max,spe=on", WITH.get(chosen), chosen]))))


@pytest.mark.parametrize("name", SINCE)
def test_version_too_old(name):
    since = SINCE[name]
    check_refused(machine(f"max,spe=on,spe-version=1.{since - 1},{name}=on"),
                  rf"{name}=on needs spe-version=1\.{since} or later")
    check_accepted(*machine(f"max,spe=on,spe-version=1.{since},{name}=on"))
    check_accepted(*machine(f"max,spe=on,spe-version=1.{since - 1},{name}=off"))


def test_unknown_property():
    check_refused(machine("max,spe=on,spe-nonsense=1"), "'max-arm-cpu.spe-nonsense' not found")


def test_counters_are_not_chosen():
    check_refused(machine("max,spe=on,spe-counters=1"), "'max-arm-cpu.spe-counters' is not writable")


def test_alignment_above_record_size():
    check_refused(machine("max,spe=on,spe-align=128,spe-max-record-size=64"),
                  "spe-align=128 is more than spe-max-record-size=64")


def test_small_records():
    """An alignment that is not set follows the record size."""
    check_accepted(*machine("max,spe=on,spe-max-record-size=32"))


@pytest.mark.parametrize("accelerator, message", [
    ("qtest", "spe=on needs the TCG accelerator"),
    ("kvm", "spe=on needs the TCG accelerator|invalid accelerator kvm|[Cc]ould not access KVM"),
])
def test_accelerators(accelerator, message):
    check_refused(["-accel", accelerator, *machine("max,spe=on")], message)


@pytest.mark.parametrize("cpu, message", [
    ("cortex-a15,spe=on", "'cortex-a15-arm-cpu.spe' not found"),
    ("cortex-a57,aarch64=off,spe=on", "aarch64"),
    ("max,aarch64=off,spe=on", "aarch64"),
])
def test_cpu_without_aarch64(cpu, message):
    check_refused(machine(cpu), message)


def test_machine_without_the_interrupt():
    check_refused(["-M", "none", "-cpu", "max,spe=on"], "spe=on: ", "machine 'none' does not connect")
    check_accepted("-M", "none", "-cpu", "max")


def test_feature_is_in_the_cpu_model():
    """The query of management software, on a machine that was made without SPE, knows the feature."""
    def expanded(model, **chosen):
        """Returns the expanded properties of a CPU model."""
        return qmp("query-cpu-model-expansion", type="full",
                   model={"name": model, "props": chosen})["model"]["props"]

    with launched("max") as qmp:
        assert expanded("max")["spe"] is False
        assert expanded("max", spe=True)["spe"] is True
        assert "spe" not in expanded("cortex-a15")


@pytest.mark.parametrize("listing", [["-cpu", "help"], ["-device", "help"]])
def test_lists(listing):
    """Help is printed without an error."""
    done = subprocess.run([QEMU / "qemu-system-aarch64", "-M", "virt", *listing], check=True,
                          capture_output=True, text=True)
    assert done.stdout and not done.stderr


def cpu(qmp):
    """Returns the path of the second CPU."""
    return qmp("query-cpus-fast")[1]["qom-path"]


def inject(qmp, what):
    """Requests an injection. Returns QEMU's message if it is refused."""
    try:
        qmp("qom-set", path=cpu(qmp), property="spe-inject", value=what)
    except ExecuteError as error:
        return str(error)
    return None


@pytest.mark.parametrize("what", NOT_INJECTED)
def test_not_injected(qmp, what):
    """A wrong injection is refused with its name, and has no effect."""
    before = qmp("qom-get", path=cpu(qmp), property="spe-counters")
    said = inject(qmp, what)
    assert said and said.startswith("spe-inject: ") and NOT_INJECTED[what] in said, said
    assert qmp("qom-get", path=cpu(qmp), property="spe-counters") == before


def test_too_many_injections():
    with launched("max,spe=on") as qmp:
        assert {inject(qmp, "full,after=1000") for _ in range(WAITING)} == {None}
        assert inject(qmp, "full,after=1000") == f"spe-inject: {WAITING} injections are waiting already"


def test_cpu_without_spe():
    with launched("max") as qmp:
        assert inject(qmp, "full") == "spe-inject: this CPU has no SPE: use spe=on"
