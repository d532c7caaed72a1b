# SPDX-License-Identifier: GPL-2.0
"""The progress lines and the final counts of a run."""

import json
import os
import re
import time
from collections import defaultdict
from pathlib import Path

import pytest

from paths import TOP

#: Seconds between two lines that say what is left.
INTERVAL = 60


class Durations:
    """How many seconds each test took the last time, in the cache."""

    def __init__(self):
        self._path = Path(os.environ.get("ARM_SPE_CACHE", TOP / "build"), "durations.json")
        try:
            self.seconds = json.loads(self._path.read_text())
        except (OSError, ValueError):
            self.seconds = {}

    def keep(self, seconds):
        """Take the durations of a run."""
        new = self._path.with_suffix(f".{os.getpid()}")
        try:
            new.write_text(json.dumps(self.seconds | seconds, indent=1, sort_keys=True))
            new.rename(self._path)
        except OSError:
            pass    # the next run has older ones


class Results:
    """Counts the results of the tests; with pytest-xdist, in the controller."""

    def __init__(self, config):
        self._config = config
        self._counts = {"passed": [], "failed": [], "skipped": []}
        self._durations = Durations()
        self._took = defaultdict(float)
        self._selected = []
        self._began = self._said = time.monotonic()

    def pytest_collection_finish(self, session):
        """The tests of this run. With pytest-xdist, those that a worker names come instead."""
        self._selected = [item.nodeid for item in session.items]

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids):
        """The same, of a worker, which appends the group."""
        self._selected = [name_of(test) for test in ids]

    def pytest_runtest_logreport(self, report):
        """Count the result, and print what the test shows."""
        counts = self._counts
        name = name_of(report.nodeid)
        self._took[name] += report.duration
        if report.failed:
            # A scenario that could not be set up or cleaned up did not pass.
            for names in counts.values():
                if name in names:
                    names.remove(name)
            counts["failed"].append(name)
        elif report.skipped:
            counts["skipped"].append(name)
        elif report.when == "call":
            counts["passed"].append(name)
        write = self._config.get_terminal_writer().line
        if report.when == "call":
            for text in (text for kind, text in report.user_properties if kind == "shown"):
                write(f"\n{text}")
        if report.when == "teardown" and time.monotonic() > self._said + INTERVAL:
            self._said = time.monotonic()
            write(f"\n{self.progress(self._said - self._began)}")

    def progress(self, elapsed):
        """What is done and what is left, from how long the tests took the last time."""
        done = [name for name in self._selected if name in self._took]
        text = f"{elapsed / 60:.0f} min: {len(done)} of {len(self._selected)} tests done, {len(self._counts['failed'])} failed"
        known = self._durations.seconds
        before = sum(known.get(name, 0) for name in done)
        left = [known.get(name) for name in self._selected if name not in self._took]
        if not before or None in left:
            return text
        return f"{text}, about {elapsed * sum(left) / before / 60:.0f} min left"

    def pytest_collectreport(self, report):
        """A file that does not load is a failure."""
        if report.failed:
            self._counts["failed"].append(report.nodeid)

    def pytest_unconfigure(self, config):
        """The last line: what passed, what failed, what was skipped."""
        if config.option.collectonly:
            return
        self._durations.keep(self._took)
        for what in ("skipped", "failed"):
            for name in self._counts[what]:
                print(f"{what}: {name}")
        line = f"{len(self._counts['passed'])} passed, {len(self._counts['failed'])} failed"
        if self._counts["skipped"]:
            line += f", {len(self._counts['skipped'])} skipped"
        print(line, flush=True)


def name_of(node):
    """The test of a node of pytest-xdist, which appends the group."""
    return re.sub(r"@\w+$", "", node)
