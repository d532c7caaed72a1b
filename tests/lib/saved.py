# SPDX-License-Identifier: GPL-2.0
"""Machines that have booted, saved in the cache, so that equal machines boot once.

The key of a saved machine is made of the contents of all its parts. A machine is complete or not there at all: it is
renamed into place, and its size is checked when it is used. States are compressed, to a sixth of their size or less, so
that the cache has space for all machines of the suite: one that is removed between two runs boots in both.
"""

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

DIRECTORY = Path(os.environ.get("ARM_SPE_CACHE", "none"), "saved-guests")
#: The limit for all machines, in bytes. The least recently used ones are removed.
LIMIT = 6 << 30
#: Part of the keys. Increase it when the format of a saved machine changes.
VERSION = "3"


@functools.cache
def _hash(path, size, changed):
    """Returns the hash of a file, which is read again only if it has changed."""
    del size, changed
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _key(parts):
    """Returns a name made of parts: strings, and the contents of files that are given as Path."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            stat = part.stat()
            part = _hash(part, stat.st_size, stat.st_mtime_ns)
        total.update(f"{len(part)}:{part}".encode())
    return total.hexdigest()[:16]


def _remove_unless_used(place):
    """Removes a machine, unless a process has its lock. The lock's file stays: another process may be about to take it."""
    with open(place.with_suffix(".lock"), "wb") as lock:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(place, ignore_errors=True)


class Saved:
    """The place of a saved machine."""

    def __init__(self, *parts):
        DIRECTORY.mkdir(exist_ok=True)
        self._place = DIRECTORY / _key([VERSION, *parts])
        self.state = self._place / "state.zst"
        self.console = self._place / "console.log"

    @contextmanager
    def lock(self):
        """Holds a lock, so that no other process boots the same machine."""
        with open(self._place.with_suffix(".lock"), "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def is_complete(self):
        """Returns whether the machine can be restored. Marks it as used."""
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
        """Removes the machine."""
        shutil.rmtree(self._place, ignore_errors=True)

    def keep(self, save, console):
        """Keeps the state, which save(path) writes to a file, and the console log. Without space nothing is kept."""
        unfinished = self._place.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir()
            save(unfinished / "state")
            subprocess.run(["zstd", "-1", "-q", "--rm", unfinished / "state"], check=True)
            (unfinished / "size").write_text(str((unfinished / self.state.name).stat().st_size))
            shutil.copy(console, unfinished / "console.log")
            unfinished.rename(self._place)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"the booted machine is not kept: {error}", file=sys.stderr)
            shutil.rmtree(unfinished, ignore_errors=True)
        self._prune()

    def _prune(self):
        """Removes the least recently used machines beyond LIMIT, and what processes that were killed have left."""
        places = []
        for place in filter(Path.is_dir, DIRECTORY.iterdir()):
            with suppress(FileNotFoundError):   # another process has removed it
                places.append((place.stat().st_mtime, sum(file.stat().st_size for file in place.iterdir()), place))
        left = LIMIT
        for _, size, place in sorted(places, reverse=True):
            left -= size
            if left < 0 or place.suffix == ".unfinished":
                _remove_unless_used(place)
