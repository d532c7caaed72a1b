# SPDX-License-Identifier: GPL-2.0
"""Misuses that the driver's types forbid do not compile, with the expected errors.

Each file of tests/misuse/ is compiled as a module of the driver, by the command that builds it. As it is, it shows
correct use, and compiles. With `--cfg misuse="NAME"` it has one misuse. The compiler has to report an error in the
lines that are marked `//~ CODE MESSAGE` (`//~^`: the line before), with that code (an error's, or the name of a lint)
and a message that contains that text, and nowhere else.

The example in the documentation of perf/mod.rs is compiled in the same way: rustdoc does not compile examples of
private items.
"""

import json
import re
import subprocess

import pytest

from paths import TOP

pytestmark = [pytest.mark.quick, pytest.mark.independent]

ROOT = TOP / "arm_spe_pmu.rs"
FILES = sorted((TOP / "tests/misuse").glob("*.rs"))
DOCUMENTED = TOP / "perf/mod.rs"


def misuses(file):
    """Returns the misuses in a file and the errors expected of each: {name: [(line, code, message)]}."""
    found = {}
    expected = None
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if name := re.search(r'cfg\(misuse = "(\w+)"\)', line):
            assert name[1] not in found, f"{file}:{number}: a second {name[1]}"
            expected = found[name[1]] = []
        if mark := re.search(r"//~(\^?) (\w+) (.+)", line):
            expected.append((number - len(mark[1]), mark[2], mark[3]))
    assert found and all(found.values()), f"{file}: nothing is expected of some misuse"
    return found


MISUSES = {file: misuses(file) for file in FILES}


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """Returns a function that compiles the driver with a file of misuses and returns the compiler's errors."""
    subprocess.run(["scripts/build-module", "-s", "modules"], cwd=TOP, check=True)
    crate = tmp_path_factory.mktemp("crate")
    for module in TOP.glob("*.rs"):
        (crate / module.name).symlink_to(module)
    (crate / "perf").symlink_to(TOP / "perf")
    root = crate / "root.rs"
    # Incremental: the driver itself is analysed once.
    rustc = ["scripts/rust", "rustc", "--crate-name=arm_spe_pmu", "--emit=metadata", "--error-format=json",
             f"--out-dir={crate}", f"-Cincremental={crate}", root]

    def compiled(file, *options):
        root.write_text(f'{ROOT.read_text()}\n#[path = "{file}"]\nmod misuse;\n')
        done = subprocess.run([*rustc, *options], cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, check=False)
        messages = [json.loads(line) for line in done.stderr.splitlines()]
        errors = [error for error in messages
                  if error["level"].startswith("error") and not error["message"].startswith("aborting due to")]
        assert bool(errors) == (done.returncode != 0), done.stderr
        return errors

    return compiled


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_correct_use(complaints, file):
    """The file compiles without a misuse."""
    errors = complaints(file)
    assert not errors, "\n".join(error["rendered"] for error in errors)


def test_example(complaints, tmp_path):
    """The example in the documentation compiles."""
    examples = re.findall(r"^//! ```ignore\n(.*?)^//! ```\n", DOCUMENTED.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) == 1
    file = tmp_path / "example.rs"
    file.write_text(re.sub(r"^//! ?", "", examples[0], flags=re.MULTILINE))
    errors = complaints(file)
    assert not errors, "\n".join(error["rendered"] for error in errors)


def matches(error, file, line, code, message):
    """Returns whether the compiler's error is the one expected in that line."""
    places = [(span["file_name"], span["line_start"]) for span in error["spans"] if span["is_primary"]]
    return ((str(file), line) in places and message in error["message"]
            and (error["code"] or {}).get("code") == code)


@pytest.mark.parametrize("file, name", [(file, name) for file in FILES for name in MISUSES[file]],
                         ids=lambda value: value if isinstance(value, str) else value.stem)
def test_misuse(complaints, file, name):
    """The compiler rejects the misuse."""
    errors = complaints(file, "--cfg", f'misuse="{name}"')
    assert errors, "this compiles"
    expected = MISUSES[file][name]
    other = [error["rendered"] for error in errors if not any(matches(error, file, *one) for one in expected)]
    assert not other, "not expected:\n" + "\n".join(other)
    absent = [one for one in expected if not any(matches(error, file, *one) for error in errors)]
    assert not absent
