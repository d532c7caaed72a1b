# SPDX-License-Identifier: GPL-2.0
"""The driver's source as scripts look at it: files by module, with comments separated from code."""

import re
from pathlib import Path

ROOT = "arm_spe_pmu.rs"
TOKEN = re.compile(r"""
    (?P<comment>//[^\n]*) | (?P<block>/\*) |
    \b[bc]?r(?P<hashes>\#*)"(?:.|\n)*?"(?P=hashes) | \b[bc]?"(?:\\(?:.|\n)|[^"\\])*" | "(?:\\(?:.|\n)|[^"\\])*" |
    '(?:\\(?:u\{\w+\}|x\w\w|.)|[^'\\\n])'""", re.VERBOSE)
#: The attribute of an item that exists for tests alone. Strings are empty in the text that is searched.
TEST = re.compile(r"#\[(?:cfg\((?:test\b|CONFIG_KUNIT)|(?:cfg_attr\([^\]]*)?kernel::macros::kunit_tests)[^\]]*\]")
MODULE = re.compile(r'(?:#\[path = "([^"]+)"\]\s*)?(?:pub(?:\([^)]*\))?\s+)?\bmod\s+(\w+);')


def blank(text):
    """As many lines and columns, with nothing in them."""
    return re.sub(r"[^\n]", " ", text)


def end_of_block(text, start):
    """Where the item, or the block in brackets, at start ends."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] in "([{") - (text[position] in ")]}")
        if depth == 0 and text[position] in "};":
            return position + 1
    return len(text)


def end_of_comment(text, start):
    """Where the block comment at start ends: they nest."""
    depth = 0
    for mark in re.compile(r"/\*|\*/").finditer(text, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)


class Source:
    """A file without its tests. Its three texts have the same lines and columns: `code` with the strings,
    `bare` with the strings empty, and `comments`."""

    def __init__(self, path):
        self.path = path
        text = path.read_text()
        code, bare, comments, position = [], [], [], 0
        while found := TOKEN.search(text, position):
            end = end_of_comment(text, found.start()) if found["block"] else found.end()
            before, token = text[position:found.start()], text[found.start():end]
            is_comment = found["comment"] is not None or found["block"] is not None
            code += [before, blank(token) if is_comment else token]
            bare += [before, blank(token) if is_comment else re.sub(r"[^\n\"']", " ", token)]
            comments += [blank(before), token if is_comment else blank(token)]
            position = end
        self.code, self.bare = "".join(code) + text[position:], "".join(bare) + text[position:]
        self.comments = "".join(comments) + blank(text[position:])
        while test := TEST.search(self.bare):
            self.remove(test.start(), end_of_block(self.bare, test.end()))

    def remove(self, start, end):
        """Make a part empty."""
        for name in ("code", "bare", "comments"):
            text = getattr(self, name)
            setattr(self, name, text[:start] + blank(text[start:end]) + text[end:])

    def line(self, position):
        """The number of the line that holds the position."""
        return self.code.count("\n", 0, position) + 1


def driver(top):
    """The driver's files by the path of their module, as their `mod` declarations find them. The root's is empty."""
    found, waiting = {}, [("", Path(top, ROOT), Path(top))]
    while waiting:
        name, path, children = waiting.pop(0)
        source = found[name] = Source(path)
        for module in MODULE.finditer(source.code):
            places = [path.parent / module[1]] if module[1] else [children / f"{module[2]}.rs",
                                                                   children / module[2] / "mod.rs"]
            waiting.append((f"{name}::{module[2]}".removeprefix("::"), next(filter(Path.exists, places)),
                            children / module[2]))
    return found
