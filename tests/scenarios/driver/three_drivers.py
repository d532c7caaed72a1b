# SPDX-License-Identifier: GPL-2.0
"""The state that drivers report to perf is true, also when they cannot start or continue.

The same situations, checked by the same rules, with this driver, with the stock kernel's C driver, and with that of an
older kernel. That one has the fault that this driver was written to make impossible: a start without space is reported
as a success, and a group of events runs without SPE.
"""

import json

import pytest

from guest import Guest
from kernel import OLDER, STOCK
from situations import CORRECT, NO_SPACE, SITUATIONS, prepare, verdict
from table import COLUMNS, VERDICTS, on_the_page

#: The kernel to boot and the driver, for each column.
DRIVERS = dict(zip(COLUMNS, [(STOCK, "rust"), (STOCK, "c"), (OLDER, "c")]))

#: {column: {situation: verdict}}, of the tests that have run.
verdicts = {}


def run(artefacts, driver, column, situations):
    """Returns {situation: verdict} of all of them in one guest. The kernel must not complain of this driver."""
    kernel, name = DRIVERS[column]
    if name == "rust" and driver == "c":
        pytest.skip("this driver is not under test")
    if not kernel:
        pytest.skip("the archive has dropped the older kernel")
    with Guest(artefacts, kernel=kernel, rust=driver == "rust") as guest:
        guest.load(name)
        prepare(guest)
        found = {situation: verdict(guest, situation) for situation in situations}
        # Also late complaints, and those from between two situations.
        assert name == "c" or not guest.complaints(), guest.complaints()
        guest.account()
    return found


@pytest.mark.quick
def test_a_failed_start(artefacts, driver):
    """What this driver was written for: without space in the buffer, the start fails, and perf learns of it."""
    assert set(run(artefacts, driver, COLUMNS[0], NO_SPACE).values()) == {CORRECT}


@pytest.mark.quick
def test_a_failed_start_of_the_older_driver(artefacts, driver):
    """The situations distinguish the drivers."""
    for situation, words in run(artefacts, driver, COLUMNS[-1], NO_SPACE).items():
        assert "add reports success" in words and "registers programmed after the failure" in words, situation


@pytest.mark.parametrize("column", [pytest.param(column, id=name, marks=() if name == "ours" else pytest.mark.long)
                                    for column, name in zip(COLUMNS, ["ours", "c", "c_older"])])
def test_every_situation(artefacts, driver, column):
    """Only this driver has to do as it should."""
    verdicts[column] = run(artefacts, driver, column, SITUATIONS)
    known = json.loads(VERDICTS.read_text()) if VERDICTS.exists() else {}
    VERDICTS.write_text(json.dumps(known | verdicts, indent=1))
    if column == COLUMNS[0]:
        assert not [f"{situation}: {words}" for situation, words in verdicts[column].items()
                    if words != CORRECT]


def test_the_page_says_what_the_runs_gave():
    """The table of docs/comparison.md is that of the runs; see `make table`."""
    if not verdicts:
        pytest.skip("no driver was run")
    stated = on_the_page()
    assert {column: stated[column] for column in verdicts} == verdicts
