# SPDX-License-Identifier: GPL-2.0
"""Machines that have booted, saved in the cache: what boots alike is booted once.

A saved machine is keyed by the contents of all that it is made of. It is complete or not there at all: it is renamed
into place, and its size is checked when it is used.
"""

import fcntl
import functools
import hashlib
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

DIRECTORY = Path(os.environ.get("ARM_SPE_CACHE", "none"), "saved-guests")
#: Machines that were not used for longest go when all take more, in bytes.
LIMIT = 6 << 30
#: Part of the keys: to be changed when a machine is saved in another way.
VERSION = "1"


@functools.cache
def _hash(path, size, changed):
    """The content of a file, which is read once as long as it stays the same."""
    del size, changed
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _key(parts):
    """A name for what parts say: strings, and the contents of files that are given as Path."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            stat = part.stat()
            part = _hash(part, stat.st_size, stat.st_mtime_ns)
        total.update(f"{len(part)}:{part}".encode())
    return total.hexdigest()[:16]


class Saved:
    """The place of a saved machine."""

    def __init__(self, *parts):
        DIRECTORY.mkdir(exist_ok=True)
        self._place = DIRECTORY / _key([VERSION, *parts])
        self.state = self._place / "state"
        self.console = self._place / "console.log"

    @contextmanager
    def lock(self):
        """While this is held, no other process boots the same machine."""
        with open(self._place.with_suffix(".lock"), "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def is_complete(self):
        """Whether it can be restored. Marks it as used."""
        try:
            complete = self.state.stat().st_size == int((self._place / "size").read_text())
        except (OSError, ValueError):
            complete = False
        if complete:
            os.utime(self._place)
        else:
            self.forget()
        return complete

    def forget(self):
        """Remove it."""
        shutil.rmtree(self._place, ignore_errors=True)

    def keep(self, save, console):
        """Let save(path) write the state to a file, and keep it with the console log. Without space nothing is kept."""
        unfinished = self._place.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir()
            save(unfinished / "state")
            (unfinished / "size").write_text(str((unfinished / "state").stat().st_size))
            shutil.copy(console, unfinished / "console.log")
            unfinished.rename(self._place)
        except OSError as error:
            print(f"the booted machine is not kept: {error}", file=sys.stderr)
            shutil.rmtree(unfinished, ignore_errors=True)
        self._prune()

    def _prune(self):
        """Remove what was not used for longest, beyond LIMIT."""
        places = [(state.parent.stat().st_mtime, state.stat().st_size, state.parent)
                  for state in DIRECTORY.glob("*/state")]
        left = LIMIT
        for _, size, place in sorted(places, reverse=True):
            left -= size
            if left < 0 and place != self._place:
                shutil.rmtree(place, ignore_errors=True)
