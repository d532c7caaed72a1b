# SPDX-License-Identifier: GPL-2.0
"""Each command of docs/perf.md, recording.md and recipes.md runs and prints what the page says.

The commands are taken from the pages. A line of a page has to be among those that the command prints, in the order of
the page. Any number matches a number of the page.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field

import pytest

from guest import PROGRAMS
from page import shape
from paths import TOP

pytestmark = pytest.mark.needs("perf", "bolt")

PAGES = [TOP / "docs" / name for name in ("perf.md", "recording.md", "recipes.md", "live.md")]

#: The directory of the commands. A section uses the first recording of perf.md, and files of its own.
DIRECTORY = "/tmp/perf"

FENCE = re.compile(r"^```(.*)$")
HEADING = re.compile(r"^## (.*)$")


@dataclass
class Command:
    """A command of a page, and its output on the page."""

    text: str
    #: Whether it is for a perf outside of the guest.
    elsewhere: bool
    output: list = field(default_factory=list)


def sections(page):
    """Returns the commands of a page: {heading: [Command, ...]}, and its Python scripts: {name: text}."""
    commands, scripts = {}, {}
    heading = fence = before = None
    for line in page.read_text(encoding="utf-8").splitlines():
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
        elif fence.startswith("console") and line.startswith("> "):
            commands[heading][-1].text += "\n" + line[2:]
        elif fence.startswith("console") and line != "...":
            commands[heading][-1].output.append(line)
        before = line or before
    return commands, scripts


#: {(page, heading): [Command, ...]}, {name: text}
COMMANDS, SCRIPTS = {}, {}
for PAGE in PAGES:
    found, scripts_found = sections(PAGE)
    COMMANDS |= {(PAGE.name, heading): commands for heading, commands in found.items()}
    SCRIPTS |= scripts_found


def compare(command, printed):
    """Checks that each line of the page is among those that were printed, in order."""
    rest = iter(map(shape, printed.splitlines()))
    for line in command.output:
        assert shape(line) in rest, f"$ {command.text}\nthe page has the line\n{line}\nbut printed was\n{printed}"


@pytest.fixture(scope="module")
def machine():
    """Returns the options for a unit with the features that the pages show."""
    return {"spe": "spe=on,spe-version=1.4,spe-cache=on,spe-prev-branch=on"}


@pytest.fixture(scope="module")
def recorded(guest):
    """Returns a guest in which the first recording of perf.md has been made."""
    guest.sh(f"mkdir {DIRECTORY}")
    for command in COMMANDS["perf.md", "Record and report"]:
        if command.text.startswith("perf record"):
            guest.sh(f"cd {DIRECTORY} && {command.text}")
    return guest


@pytest.fixture
def elsewhere(recorded, artefacts):
    """Returns a function that runs a command outside of the guest, with the pages' scripts, and returns its output."""
    if not {"ARM_SPE_PERF", "ARM_SPE_BOLT"} <= os.environ.keys():
        pytest.skip("needs perf and BOLT for this machine: tests/env/with ...,perf,bolt")
    tools = [os.path.dirname(os.environ["ARM_SPE_PERF"]), os.environ["ARM_SPE_BOLT"], os.environ["PATH"]]
    programs = artefacts / "symfs" / "usr" / "bin"
    programs.mkdir(parents=True)
    shutil.copy(PROGRAMS / "workload", programs)
    for name, text in SCRIPTS.items():
        (artefacts / name).write_text(text, encoding="utf-8")

    def run(text):
        for name in re.findall(r"-[ip] (\w+\.data)\b", text):
            if not (artefacts / name).exists():
                shutil.copy(recorded.fetch(f"{DIRECTORY}/{name}"), artefacts)
        return subprocess.run(["bash", "-c", text], check=True, text=True, cwd=artefacts, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={**os.environ, "PATH": ":".join(tools)}).stdout

    return run


def test_script_of_live_events(recorded, elsewhere, driver):
    """perf makes a script for the trace event, which Python accepts: the names of its fields are names there as well."""
    if driver == "c":
        pytest.skip("the C driver has no live events")
    recorded.sh(f"cd {DIRECTORY} && perf stat -a -o /dev/null -e arm_spe_0/live=1/ --"
                " perf record -q -o fields.data -e arm_spe:arm_spe_record -a -- workload 1")
    elsewhere("perf script -i fields.data -g python && python3 -m py_compile perf-script.py")


@pytest.mark.parametrize("page, heading", COMMANDS)
def test_section(recorded, page, heading, driver, request):
    """A section of a page is as the commands print it."""
    for command in COMMANDS[page, heading]:
        if driver == "c" and "aux-action" in command.text:
            status, printed = recorded.run(f"cd {DIRECTORY} && {command.text}")
            assert status != 0, printed
            return
        if driver == "c" and "-i inside.data" in command.text:
            # Its records have PIDs of another namespace, of which perf knows no program: see namespaces.py.
            assert "chase" not in recorded.sh(f"cd {DIRECTORY} && {command.text}")
            return
        if command.elsewhere:
            compare(command, request.getfixturevalue("elsewhere")(command.text))
        else:
            compare(command, recorded.sh(f"cd {DIRECTORY} && {command.text}", timeout=200))


@pytest.mark.parametrize("number", ("9.2", "12.2", "12345.6", "7", "0x7f", "ffff0c12", "c0", "38", "1.5M"))
def test_shape(number):
    """Lines that differ in a number have the same shape."""
    assert shape(f"chase {number} of it") == "chase N of it"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page):
    """The commands of a page are found, each has output unless it only writes a file, and the page is short."""
    text = page.read_text(encoding="utf-8")
    found = [command for (name, _), commands in COMMANDS.items() if name == page.name for command in commands]
    assert len(found) == len(re.findall(r"^\$ ", text, re.MULTILINE))
    assert not [command.text for command in found
                if not command.output and not re.search(r"perf (record|inject) |>\w+\.script$", command.text)]
    assert len(text.splitlines()) <= 300


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_not_run(page):
    """The paragraph before commands without a prompt says that they were not run."""
    paragraphs = page.read_text(encoding="utf-8").split("\n\n")
    assert not [block for before, block in zip(paragraphs, paragraphs[1:])
                if block.startswith("```sh\n") and "Not run, " not in before]
