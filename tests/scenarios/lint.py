# SPDX-License-Identifier: GPL-2.0
"""Every file is as its own kind's checker wants it, and says what its licence is."""

import os
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
#: Made elsewhere, or built.
NOT_OURS = {".git", "build", "out", "target", "__pycache__"}


def files():
    """Every file of the project."""
    for directory, names, found in os.walk(TOP):
        names[:] = sorted(set(names) - NOT_OURS)
        for name in sorted(found):
            yield Path(directory, name)


def scripts(interpreter, suffix):
    """Files with the suffix, or without one and with the interpreter in the first line."""
    for file in files():
        first = file.open("rb").readline()
        if file.suffix == suffix or (not file.suffix and first[:2] == b"#!" and interpreter in first):
            yield file


def check(*command):
    """A checker that has to be content."""
    done = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_shellcheck():
    # The parts that have no first line of their own are checked where they are read in.
    found = [*scripts(b"bash", None), *scripts(b"/sh", None), TOP / "tests/guest/init"]
    assert len(found) > 8
    check("shellcheck", "-x", "-P", "SCRIPTDIR", *found)


def test_pyflakes():
    found = [*scripts(b"python", ".py")]
    assert len(found) > 8
    check("pyflakes3", *found)


def test_rustfmt():
    check("rustfmt", "--check", "arm_spe_pmu.rs", "tests/host/src/lib.rs", *(TOP / "tests/misuse").glob("*.rs"))


def test_clippy():
    """The kernel's lint set finds nothing."""
    check("tests/env/clippy")


@pytest.mark.parametrize("kind", ["patches/*.patch", "*.c"])
def test_checkpatch(kind):
    """QEMU's own checker, on what is added to QEMU."""
    checker = Path(os.environ["ARM_SPE_QEMU"], "scripts", "checkpatch.pl")
    found = sorted((TOP / "tests/qemu").glob(kind))
    assert found
    how = ["--no-tree", "--no-signoff"] + (["-f"] if kind == "*.c" else [])
    for file in found:
        check("perl", checker, *how, file)


def test_licences():
    without = [str(file.relative_to(TOP)) for file in files()
               if file.name not in ("COPYING", "README.md", "Cargo.lock") and file.suffix != ".patch"
               and b"SPDX-License-Identifier: GPL-2.0" not in file.read_bytes()[:2000]]
    assert not without
