# SPDX-License-Identifier: GPL-2.0
"""Builds of the driver with faults inserted, which a test must find."""

import os
import shutil
import subprocess

from paths import TOP

#: The files that Kbuild needs.
SOURCES = ("Kbuild", "bindings_*", "*.[ch]", "*.rs", "kunit/*.rs", "perf/**/*.rs")


def build(directory, faults, *kind):
    """Builds a variant of scripts/build-module in a directory, into build/ there. Returns the finished process.

    faults: the path of a file in the driver, a line in it, and the text to insert after that line.
    """
    for source in (found for pattern in SOURCES for found in TOP.glob(pattern)):
        copy = directory / source.relative_to(TOP)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)
    for file, place, fault in faults:
        text = (directory / file).read_text()
        if text.count(f" {place}\n") != 1:
            raise AssertionError(f"{file} has no line, or more than one line, {place}")
        (directory / file).write_text(text.replace(f" {place}\n", f" {place}\n{fault}\n"))
    return subprocess.run([TOP / "scripts/build-module", *kind, "-s", "modules"], cwd=directory,
                          env={**os.environ, "OUT": str(directory / "build")},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
