# SPDX-License-Identifier: GPL-2.0
"""The pages of the project: their blocks of code and of commands, and how an output is compared with a page."""

import re
from dataclasses import dataclass

from paths import TOP

#: Also an address or a sum without 0x, and a byte of a dump. Decimal numbers come first, so that 12.2 is one, like 9.2.
NUMBER = re.compile(r"\b\d+(?:\.\d+)?[KM]?\b|\b0x[0-9a-f]+|\b(?=[a-f]*[0-9])[0-9a-f]{5,16}\b|\b[0-9a-f]{2}\b")
FENCE = re.compile(r"^```(.*)$")
INDENT = "    "


@dataclass
class Block:
    """A block of a page: fenced, with its language, or indented, which is for commands alone."""

    page: str
    number: int
    language: str
    #: The paragraph before it.
    before: str
    text: str = ""

    @property
    def has_commands(self):
        """Whether something is to be typed."""
        return self.language.split(" ")[0] in ("sh", "console", "")

    @property
    def lines(self):
        """The lines to be typed, without prompts; those that a backslash continues are one."""
        text = self.text.replace("\\\n", "")
        if re.search(r"^(\$|\(qemu\)) ", text, re.MULTILINE):
            return re.findall(r"^(?:\$|\(qemu\)) (.*)$", text, re.MULTILINE)
        return text.splitlines()


def pages():
    """Returns the path of each page, from the top."""
    return sorted(page.relative_to(TOP).as_posix() for page in TOP.rglob("*.md")
                  if page.relative_to(TOP).parts[0] not in ("build", "out"))


def parse(page):
    """Returns the blocks of a page, and its text without them."""
    blocks, text, paragraph, last = [], [], [], ""
    block = None
    for number, line in enumerate((TOP / page).read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if block and block.language == "" and not line.startswith(INDENT):
            block = None
        if not block and (fence or line.startswith(INDENT)):
            last, paragraph = " ".join(paragraph) or last, []
            block = Block(page, number, fence[1] or "text" if fence else "", last)
            blocks.append(block)
        elif fence:
            block = None
            continue
        if not block:
            text.append(line)
            paragraph = [*paragraph, line] if line else paragraph
            if not line and paragraph:
                last, paragraph = " ".join(paragraph), []
        elif not fence:
            block.text += (line if block.language else line[len(INDENT):]) + "\n"
    return blocks, "\n".join(text)


def shape(line):
    """Returns a line without its numbers and the widths of its columns."""
    return NUMBER.sub("N", re.sub(r"\.{3,}", "...", " ".join(line.split())))
