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
from situations import AS_IT_SHOULD, NO_SPACE, SITUATIONS, prepare, verdict
from table import COLUMNS, VERDICTS, in_readme

#: The kernel to boot and the driver, for each column.
DRIVERS = dict(zip(COLUMNS, [(STOCK, "rust"), (STOCK, "c"), (OLDER, "c")]))

#: {column: {situation: verdict}}, of the tests that have run.
verdicts = {}


@pytest.mark.quick
@pytest.mark.parametrize("column", COLUMNS, ids=["ours", "c", "c_older"])
def test_every_situation(artefacts, driver, column):
    """All of them in one guest. Only this driver has to do as it should, without a complaint of the kernel."""
    kernel, name = DRIVERS[column]
    if name == "rust" and driver == "c":
        pytest.skip("this driver is not under test")
    if not kernel:
        pytest.skip("the archive has dropped the older kernel")
    with Guest(artefacts, kernel=kernel, rust=driver == "rust") as guest:
        guest.load(name)
        prepare(guest)
        verdicts[column] = {situation: verdict(guest, situation) for situation in SITUATIONS}
        # Also late complaints, and those from between two situations.
        assert name == "c" or not guest.complaints(), guest.complaints()
        guest.account()
    VERDICTS.write_text(json.dumps(verdicts, indent=1))
    if name == "rust":
        assert not [f"{situation}: {words}" for situation, words in verdicts[column].items()
                    if words != AS_IT_SHOULD]


def test_the_older_driver_fails_where_this_one_was_written_for():
    """The situations distinguish the drivers."""
    of_older = verdicts.get(COLUMNS[-1])
    if not of_older:
        pytest.skip("the older kernel was not run")
    for situation in NO_SPACE:
        assert "add reports success" in of_older[situation]
        assert "registers programmed after the failure" in of_older[situation]


def test_the_readme_says_what_the_runs_gave():
    """The table of the README is that of the runs; see `make table`."""
    if not verdicts:
        pytest.skip("no driver was run")
    stated = in_readme()
    assert {column: stated[column] for column in verdicts} == verdicts
