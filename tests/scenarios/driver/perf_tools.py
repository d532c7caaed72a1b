# SPDX-License-Identifier: GPL-2.0
"""Each command of docs/perf.md runs and prints what the page says.

The commands are taken from the page. A line of the page has to be among those that the command prints, in the order of
the page. Any number matches a number of the page.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field

import pytest

from guest import PROGRAMS
from paths import TOP

pytestmark = pytest.mark.needs("perf")

PAGE = TOP / "docs" / "perf.md"

#: The directory of the commands. A section uses the files of the sections before it.
DIRECTORY = "/tmp/perf"

FENCE = re.compile(r"^```(.*)$")
HEADING = re.compile(r"^## (.*)$")
#: Also an address or a sum without 0x, and a byte of a dump. Decimal numbers come first, so that 12.2 is one, like 9.2.
NUMBER = re.compile(r"\b\d+(?:\.\d+)?[KM]?\b|\b0x[0-9a-f]+|\b(?=[a-f]*[0-9])[0-9a-f]{5,16}\b|\b[0-9a-f]{2}\b")


@dataclass
class Command:
    """A command of the page, and its output on the page."""

    text: str
    #: Whether it is for a perf outside of the guest.
    elsewhere: bool
    output: list = field(default_factory=list)


def sections():
    """Returns the commands of the page: {heading: [Command, ...]}, and its Python scripts: {name: text}."""
    commands, scripts = {}, {}
    heading = fence = before = None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if match := FENCE.match(line):
            fence = match[1] if fence is None else None
            if fence == "python":
                (name,) = re.findall(r"`(\w+\.py)`:$", before)
                scripts[name] = ""
        elif fence is None:
            heading = match[1] if (match := HEADING.match(line)) else heading
        elif fence == "python":
            scripts[name] += line + "\n"
        elif fence.startswith("console") and line.startswith("$ "):
            commands.setdefault(heading, []).append(Command(line[2:], fence != "console"))
        elif fence.startswith("console") and line != "...":
            commands[heading][-1].output.append(line)
        before = line or before
    return commands, scripts


COMMANDS, SCRIPTS = sections()


def shape(line):
    """Returns a line without its numbers and the widths of its columns."""
    return NUMBER.sub("N", re.sub(r"\.{3,}", "...", " ".join(line.split())))


def compare(command, printed):
    """Checks that each line of the page is among those that were printed, in order."""
    rest = iter(map(shape, printed.splitlines()))
    for line in command.output:
        assert shape(line) in rest, f"$ {command.text}\nthe page has the line\n{line}\nbut printed was\n{printed}"


@pytest.fixture(scope="module")
def machine():
    """Returns the options for a unit with the features that the page shows."""
    return {"spe": "spe=on,spe-version=1.4,spe-cache=on"}


@pytest.fixture(scope="module")
def recorded(guest):
    """Returns a guest in which the page's first recording has been made."""
    guest.sh(f"mkdir {DIRECTORY}")
    for command in COMMANDS["Record and report"]:
        if command.text.startswith("perf record"):
            guest.sh(f"cd {DIRECTORY} && {command.text}")
    return guest


@pytest.fixture
def elsewhere(recorded, artefacts):
    """Returns a function that runs a command outside of the guest, with the page's scripts, and returns its output."""
    if "ARM_SPE_PERF" not in os.environ:
        pytest.skip("needs perf for this machine: tests/env/with ...,perf")
    shutil.copy(recorded.fetch(f"{DIRECTORY}/perf.data"), artefacts)
    programs = artefacts / "symfs" / "usr" / "bin"
    programs.mkdir(parents=True)
    shutil.copy(PROGRAMS / "workload", programs)
    for name, text in SCRIPTS.items():
        (artefacts / name).write_text(text, encoding="utf-8")

    def run(text):
        return subprocess.run(["bash", "-c", f'perf() {{ "$ARM_SPE_PERF" "$@"; }}; {text}'], check=True, text=True,
                              cwd=artefacts, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout

    return run


@pytest.mark.parametrize("heading", COMMANDS)
def test_section(recorded, heading, driver, request):
    """A section of the page is as the commands print it."""
    for command in COMMANDS[heading]:
        if driver == "c" and "aux-action" in command.text:
            status, printed = recorded.run(f"cd {DIRECTORY} && {command.text}")
            assert status != 0, printed
            return
        if command.elsewhere:
            compare(command, request.getfixturevalue("elsewhere")(command.text))
        else:
            compare(command, recorded.sh(f"cd {DIRECTORY} && {command.text}", timeout=200))


@pytest.mark.parametrize("number", ("9.2", "12.2", "12345.6", "7", "0x7f", "ffff0c12", "c0", "38", "1.5M"))
def test_shape(number):
    """Lines that differ in a number have the same shape."""
    assert shape(f"chase {number} of it") == "chase N of it"


def test_page():
    """The commands of the page are found, and those of other blocks are marked as not run."""
    assert sum(map(len, COMMANDS.values())) == len(re.findall(r"^\$ ", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert any(command.elsewhere for commands in COMMANDS.values() for command in commands)
    assert all(command.output or command.text.startswith(("perf record", "perf inject"))
               for commands in COMMANDS.values() for command in commands)
