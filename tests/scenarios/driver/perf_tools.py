# SPDX-License-Identifier: GPL-2.0
"""docs/perf.md says what perf's tools print: each command in it runs, and prints what the page says.

The commands are taken from the page, so that it cannot say anything else. A line of the page has to be
among those that the command prints, in the order of the page; where the page has a number, any will do.
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

#: Where the commands run; a section finds there what the sections before it have left.
DIRECTORY = "/tmp/perf"

FENCE = re.compile(r"^```(.*)$")
HEADING = re.compile(r"^## (.*)$")
#: Also an address or a sum without 0x, and a byte of a dump; a decimal number first, that 12.2 is one as 9.2 is.
NUMBER = re.compile(r"\b\d+(?:\.\d+)?[KM]?\b|\b0x[0-9a-f]+|\b(?=[a-f]*[0-9])[0-9a-f]{5,16}\b|\b[0-9a-f]{2}\b")


@dataclass
class Command:
    """A command of the page, and what the page has it print."""

    text: str
    #: It is for a perf outside of the guest.
    elsewhere: bool
    output: list = field(default_factory=list)


def sections():
    """The commands of each section of the page: {heading: [Command, ...]}; a Python script: {name: text}."""
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
    """A line without its numbers and the widths of its columns."""
    return NUMBER.sub("N", re.sub(r"\.{3,}", "...", " ".join(line.split())))


def compare(command, printed):
    """Each line of the page is among those that were printed, in order."""
    rest = iter(map(shape, printed.splitlines()))
    for line in command.output:
        assert shape(line) in rest, f"$ {command.text}\nthe page has the line\n{line}\nbut printed was\n{printed}"


@pytest.fixture(scope="module")
def machine():
    """A unit with what the page shows."""
    return {"spe": "spe=on,spe-version=1.4,spe-cache=on"}


@pytest.fixture(scope="module")
def recorded(guest):
    """A guest in which the page's first recording has been made."""
    guest.sh(f"mkdir {DIRECTORY}")
    for command in COMMANDS["Record and report"]:
        if command.text.startswith("perf record"):
            guest.sh(f"cd {DIRECTORY} && {command.text}")
    return guest


@pytest.fixture
def elsewhere(recorded, artefacts):
    """A function that runs a command of the page outside of the guest, with the page's scripts; what it prints."""
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
    """What a section of the page shows."""
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
    """Whatever the number, a line with it has the same shape."""
    assert shape(f"chase {number} of it") == "chase N of it"


def test_page():
    """The commands of the page were found, those of other blocks are marked as not run."""
    assert sum(map(len, COMMANDS.values())) == len(re.findall(r"^\$ ", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert any(command.elsewhere for commands in COMMANDS.values() for command in commands)
    assert all(command.output or command.text.startswith(("perf record", "perf inject"))
               for commands in COMMANDS.values() for command in commands)
