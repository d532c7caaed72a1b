#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""report.py DIRECTORY [table]: how much of the module's source was executed in the runs that left their logs in DIRECTORY.

The logs are those of tests/qemu/plugin/coverage.c. A line is one that the stock kernel's module, or the build of it
that checks itself, has code for, by their debug information: a call of a function that was inlined there counts as
such. It is covered when an instruction of it was executed in any build of the module in build/, also the debug
kernel's. Of the lines that were not, `exceptions` says why. Fails if one has no reason there, if a reason is
not needed, or if less than LEAST of the lines are covered. With `table` it only says how much there is by file.

A build of the module is found in a log by its instruction words, wherever it was loaded, and by them alone.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
RELEASE = os.environ["ARM_SPE_RELEASE"]
LEAST = 0.95
#: A place is believed if so many blocks fit there that have at least so many words to compare.
BLOCKS, WORDS = 5, 4

INSTRUCTION = re.compile(r"^ *([0-9a-f]+): ([0-9a-f]{8}) ", re.MULTILINE)
RELOCATION = re.compile(r"^\s+([0-9a-f]+):  R_AARCH64_", re.MULTILINE)


def tool(*command, **options):
    """The output of a command."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


@cache
def file_of_driver(name):
    """The path of a file of the driver in the checkout; None for any other file."""
    path = Path(name).resolve()
    if path.is_relative_to(TOP) and not path.is_relative_to(TOP / "build"):
        return str(path.relative_to(TOP))
    return None


class Module:
    """A build of the module: its words, and the source lines of each."""

    def __init__(self, path):
        self.name = path.parent.name
        with tempfile.TemporaryDirectory() as scratch:
            # Gives each section addresses of its own, also in the debug information.
            linked = Path(scratch, "linked")
            tool("aarch64-linux-gnu-ld", "-q", "-e", "0", "--unresolved-symbols=ignore-all", "-o", linked, path)
            text = tool("llvm-objdump", "-dr", linked)
            self.words = {int(at, 16): int(word, 16) for at, word in INSTRUCTION.findall(text)}
            # What the loader of modules fills in.
            for at in RELOCATION.findall(text):
                self.words[int(at, 16)] = None
            self.lines = self._lines(linked)
        self.places = defaultdict(list)
        for at, word in self.words.items():
            if word is not None:
                self.places[word].append(at)

    def _lines(self, linked):
        """{address: [(file, line)]}: all lines that an instruction belongs to, by inlining."""
        addresses = "".join(f"{at:#x}\n" for at in self.words)
        found = {}
        for line in tool("llvm-symbolizer", f"--obj={linked}", "--output-style=JSON", input=addresses).splitlines():
            answer = json.loads(line)
            found[int(answer["Address"], 16)] = [
                (file, frame["Line"]) for frame in answer["Symbol"]
                if frame["Line"] and (file := file_of_driver(frame["FileName"]))]
        return found

    def _fits(self, block, start):
        """Whether a block is what the module has at start; in how many words."""
        number = 0
        for at, word in enumerate(block):
            own = self.words.get(start + 4 * at, 0)
            if own is not None:
                if own != word:
                    return 0
                number += 1
        return number

    def executed(self, blocks):
        """The addresses in this module that were executed in the blocks of a log: (address, words, executed)."""
        moves = Counter()
        for address, words, _ in blocks:
            # One word that is compared is enough to find where the block could be.
            first = next((at for at, word in enumerate(words) if word in self.places), 0)
            for place in self.places.get(words[first], ()):
                start = place - 4 * first
                if self._fits(words, start) >= WORDS:
                    moves[address - start] += 1
        moves = [move for move, number in moves.items() if number >= BLOCKS and not move % 4]
        found = set()
        for address, words, done in blocks:
            for move in moves:
                if self._fits(words, address - move):
                    found |= {address - move + 4 * index for index in done}
        return found


def read(path):
    """The blocks in a log."""
    blocks = {}
    for line in path.read_text().splitlines():
        kind, number, *rest = line.split()
        if kind == "b":
            blocks[number] = (int(rest[0], 16), [int(word, 16) for word in rest[1:]], set())
        else:
            blocks[number][2].add(int(rest[0]))
    return list(blocks.values())


def exceptions():
    """The reasons in `exceptions`: (file, pattern, reason), in order."""
    found = []
    for line in (HERE / "exceptions").read_text().splitlines():
        if line and not line.startswith("#"):
            file, pattern, reason = re.fullmatch(r"(\S+): /(.*)/: (.+)", line).groups()
            found.append((file, re.compile(pattern), reason))
    return found


def function_of(text, number):
    """The name of the function that a line is of: the nearest one above."""
    above = (re.search(r"\bfn (\w+)", line) for line in reversed(text[:number]))
    return next((match[1] for match in above if match), "")


def main():
    """Prints the report. Returns the exit status."""
    modules = [Module(path) for path in sorted((TOP / "build").glob("*/arm_spe_pmu.ko"))]
    logs = [read(path) for path in Path(sys.argv[1]).iterdir()]
    lines, covered = set(), set()
    for module in modules:
        executed = set().union(*(module.executed(log) for log in logs))
        done = {line for at in executed for line in module.lines.get(at, ())}
        of_module = {line for of_address in module.lines.values() for line in of_address}
        print(f"{module.name}: {len(executed)} of {len(module.words)} instructions")
        covered |= done
        # KUnit's suites, which only the debug kernel's module has, are not what is looked at.
        if module.name in (RELEASE, f"{RELEASE}-checked"):
            lines |= of_module
    covered &= lines

    reasons = exceptions()
    used, missing = set(), []
    files = sorted({file for file, _ in lines})
    text = {file: (TOP / file).read_text().splitlines() for file in files}
    print(f"{len(logs)} logs\n\n| file | lines | covered | |\n| --- | --- | --- | --- |")
    for file in files:
        own, have = (sum(name == file for name, _ in some) for some in (lines, covered))
        print(f"| {file} | {own} | {have} | {100 * have / own:.1f} % |")
    share = len(covered) / len(lines)
    print(f"| all | {len(lines)} | {len(covered)} | {100 * share:.1f} % |")
    if sys.argv[2:] == ["table"]:
        return False
    print("\nnot covered:")
    for file, number in sorted(lines - covered):
        source = f"{function_of(text[file], number)}: {text[file][number - 1].strip()}"
        reason = next((reason for reason in reasons if reason[0] == file and reason[1].search(source)), None)
        used.add(reason)
        if not reason:
            missing.append((file, number))
        print(f"{file}:{number}: {source}\n    {reason[2] if reason else 'NO REASON'}")
    unused = [reason for reason in reasons if reason not in used]
    for file, pattern, _ in unused:
        print(f"not needed: {file}: /{pattern.pattern}/")
    print(f"{100 * share:.1f} % of {len(lines)} lines; {len(missing)} without a reason, {len(unused)} reasons not needed")
    return bool(missing or unused or share < LEAST)


if __name__ == "__main__":
    sys.exit(main())
