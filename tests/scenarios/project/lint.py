# SPDX-License-Identifier: GPL-2.0
"""Every file passes the checker for its kind, and names its licence."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from paths import TOP
from rust_source import driver

pytestmark = [pytest.mark.quick, pytest.mark.independent]

#: Third-party or built; .git is a file in a worktree.
NOT_OURS = {".git", "build", "out", "target", "__pycache__"}


def files():
    """Returns every file of the project."""
    for directory, names, found in os.walk(TOP):
        names[:] = sorted(set(names) - NOT_OURS)
        for name in sorted(set(found) - NOT_OURS):
            yield Path(directory, name)


def scripts(interpreter, suffix):
    """Returns the files with the suffix, or without one and with the interpreter in the first line."""
    for file in files():
        first = file.open("rb").readline()
        if file.suffix == suffix or (not file.suffix and first[:2] == b"#!" and interpreter in first):
            yield file


def check(*command):
    """Runs a checker that has to succeed."""
    done = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_shellcheck():
    # Parts without a first line of their own are checked where they are sourced.
    found = [*scripts(b"bash", None), *scripts(b"/sh", None), TOP / "tests/payload/init"]
    assert len(found) > 8 and TOP / "tools/spe-doctor" in found
    check("shellcheck", "-x", "-P", "SCRIPTDIR", *found)


def test_pyflakes():
    found = [*scripts(b"python", ".py")]
    assert len(found) > 8
    check("pyflakes3", *found)


def test_rustfmt():
    check("rustfmt", "--check", "arm_spe_pmu.rs", "tests/host/src/lib.rs",
          "tests/host/src/print_records.rs", *(TOP / "tests/misuse").glob("*.rs"))


def test_comment_width():
    """Comments are not wider than code, except for tables and drawings. rustfmt does not check that."""
    wide = [f"{file.relative_to(TOP)}:{number}" for pattern in ("*.rs", "kunit/*.rs", "perf/**/*.rs", "tests/host/src/*.rs")
            for file in TOP.glob(pattern) for number, line in enumerate(file.read_text().splitlines(), 1)
            if len(line) > 100 and re.match(r"\s*//[/!]? [^\s|]", line)]
    assert not wide


def test_clippy():
    """The kernel's lint set finds nothing."""
    check("scripts/clippy")


def test_doc():
    """rustdoc accepts the documentation, including that of private items, without a broken link."""
    check("scripts/doc")
    assert (TOP / "build/doc/arm_spe_pmu/state/struct.Armed.html").exists()


def test_knobs():
    """The documentation of the user ABI names every register field that is written, and every format field."""
    registers = re.findall(r"^    (\w+)\(\"S3\w+\", write[^)]*\) \{(.*?)\}$", (TOP / "sysreg.rs").read_text(),
                           re.DOTALL | re.MULTILINE)
    assert len(registers) > 8
    event = (TOP / "event.rs").read_text()
    table = re.findall(r"^//! \| (\[`.*) \| (.*) \|$", event, re.MULTILINE)
    places = set(re.findall(r"\[`([\w:]+)`\]", "".join(place for place, _ in table)))
    for register, body in registers:
        fields = re.findall(r"^        (\w+): \d+, \d+;", body, re.MULTILINE)
        assert register in places or fields and {f"{register}::{field}" for field in fields} <= places, register
    knobs = re.findall(r'^    \w+ = c"(\w+)",', event, re.MULTILINE)
    assert len(knobs) > 15
    absent = [knob for knob in knobs if not any(f"`{knob}`" in named for _, named in table)]
    assert not absent


def test_sysreg():
    """Registers, fields and values are as in the kernel's description."""
    check("scripts/check-sysreg", os.environ["ARM_SPE_KERNEL"])


#: Mistakes for check-sysreg to find: the pattern of each place, and its replacement.
MISTAKES = {
    "encoding": (r'(?<=_)\d(?=", (?:read|write))', lambda found: str(int(found[0]) ^ 1)),
    "register": (r'\w+(?=\("S3_)', lambda found: f"{found[0]}x"),
    "position": (r"(?<=: )(\d+), (\d+)(?=;)", lambda found: f"{int(found[1]) + 1}, {int(found[2]) + 1}"),
    # For a part of a field the kernel has no width, and not always a name.
    "width": (r"(?<=: )\d+(?=, \d+;(?! // part of))", lambda found: str(int(found[0]) + 1)),
    "field": (r"\w+(?=: \d+, \d+;(?! // part of))", lambda found: f"{found[0]}x"),
    "marker": (r"// part of .*", lambda found: "//"),
    "value": (r"(const (?:BSC|EC|FM)_\w+: u64 = 0[bx]\w*)(\d);", lambda found: f"{found[1]}{int(found[2]) ^ 1};"),
    "code": (r"(?<= )\d+(?= => \(\d+, None\))", lambda found: str(int(found[0]) + 16)),
    "number": (r"\b(PM\w+_EL1::(?:new|from_bits)\()", lambda found: f"{found[1]}1 << 17 | "),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_in_sysreg(kind, tmp_path):
    """check-sysreg finds a mistake in each place where it can be made."""
    pattern, change = MISTAKES[kind]
    places = set()
    for source in driver(TOP).values():
        text, name = source.path.read_text(), source.path.relative_to(TOP)
        for found in reversed(list(re.finditer(pattern, text))):
            # Matches in neither text belong to a test.
            if source.code[found.start()].strip() or source.comments[found.start()].strip():
                places.add(f"{name}:{source.line(found.start())}")
                text = text[:found.start()] + change(found) + text[found.end():]
        Path(tmp_path, name).parent.mkdir(exist_ok=True)
        Path(tmp_path, name).write_text(text)
    done = subprocess.run(["scripts/check-sysreg", os.environ["ARM_SPE_KERNEL"], tmp_path], cwd=TOP, text=True,
                          stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, check=False)
    assert places and done.returncode == 1
    assert places <= set(re.findall(r"^[\w/]+\.rs:\d+", done.stderr, re.MULTILINE))


@pytest.mark.parametrize("kind", ["patches/*.patch", "*.c", "plugin/*.c"])
def test_checkpatch(kind):
    """QEMU's own checker accepts the files that are added to QEMU."""
    checker = Path(os.environ["ARM_SPE_QEMU"], "scripts", "checkpatch.pl")
    found = sorted((TOP / "tests/qemu").glob(kind))
    assert found
    how = ["--no-tree", "--no-signoff"] + (["-f"] if kind.endswith(".c") else [])
    for file in found:
        check("perl", checker, *how, file)


def test_count():
    """The driver has no cycle of `use` between its modules."""
    check("scripts/count", "--check")


def test_licences():
    without = [str(file.relative_to(TOP)) for file in files()
               if file.name not in ("COPYING", "README.md", "Cargo.lock") and file.suffix != ".patch"
               # Of debian/ two have a format without comments.
               and str(file.relative_to(TOP)) not in ("debian/changelog", "debian/source/format")
               and b"SPDX-License-Identifier: GPL-2.0" not in file.read_bytes()[:2000]]
    assert not without


def anchors(page):
    """Returns the names that links to the headings of a page have."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links():
    """The pages link to files and headings that exist."""
    dead = []
    for page in (file for file in files() if file.suffix == ".md"):
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            name, _, heading = link.partition("#")
            target = page.parent / name if name else page
            if not re.match("https?:", link) and (
                    not target.exists() or heading and target.suffix == ".md" and heading not in anchors(target)):
                dead.append(f"{page.relative_to(TOP)}: {link}")
    assert not dead


def pages():
    """Returns the pages and, of each, the lines of text: not those of tables and of code."""
    for page in (file for file in files() if file.suffix == ".md"):
        text = re.sub(r"^```.*?^```$", lambda code: re.sub(".", "", code[0]), page.read_text(), flags=re.DOTALL | re.MULTILINE)
        yield page.relative_to(TOP), [(number, line) for number, line in enumerate(text.split("\n"), 1)
                                      if not line.startswith(("|", "    ", "<!--"))]


def test_page_width():
    assert not [f"{page}:{number}" for page, lines in pages() for number, line in lines if len(line) > 100]


#: Words of which the field has better ones: see docs/glossary.md.
UNWANTED = re.compile(r"\b(nobody|whoever|meanwhile|in vain|judged?|gusts?|rungs?|hungry)\b", re.IGNORECASE)


def test_words():
    """Pages, the driver's source, tests and tools use the field's words."""
    found = [f"{page}:{number}: {word[0]}" for page, lines in pages() for number, line in lines
             for word in UNWANTED.finditer(line)]
    sources = [(file.relative_to(TOP), enumerate(file.read_text().split("\n"), 1))
               for file in files() if file.name != "lint.py" and (
                   file.suffix in (".rs", ".py") or file.parent.name in ("tools", "scripts", "cli", "env"))]
    found += [f"{file}:{number}: {word[0]}" for file, lines in sources for number, line in lines
              for word in UNWANTED.finditer(line)]
    assert not found
