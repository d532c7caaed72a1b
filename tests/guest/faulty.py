# SPDX-License-Identifier: GPL-2.0
"""The driver with faults slipped into it, which a test has to find."""

import os
import shutil
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def build(directory, faults, *kind):
    """Build it in a directory, of a kind that tests/env/build-module knows, into build/ there; how that ended.

    faults: a file, a line in it, and what is put after that line.
    """
    for source in (*TOP.glob("*.rs"), *TOP.glob("bindings_*"), TOP / "Kbuild"):
        shutil.copy(source, directory)
    for file, place, fault in faults:
        text = (directory / file).read_text()
        if text.count(f" {place}\n") != 1:
            raise AssertionError(f"{file}: where is {place}?")
        (directory / file).write_text(text.replace(f" {place}\n", f" {place}\n{fault}\n"))
    return subprocess.run([TOP / "tests/env/build-module", *kind, "-s", "modules"], cwd=directory,
                          env={**os.environ, "OUT": str(directory / "build")},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
