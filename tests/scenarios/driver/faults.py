# SPDX-License-Identifier: GPL-2.0
"""Every fault that the hardware can report, in every way to record: no unreported loss, and recording works afterwards.

The rules are those of tests/lib/hardware_faults.py, for any driver. `make fault-table` writes the results to
docs/faults.md, which is compared here. DRIVER=c runs the stock kernel's driver.
"""

import json
import re

import pytest

from hardware_faults import CORRECT, FACT, FAULTS, HANGS, MODES, PART, VERDICTS, prepare, render, stated, verdict
from machine import DRIVER, total
from spe import counters
from qemu.qmp import ExecuteError

#: The C driver does not come back from some faults, which takes long.
TIMEOUT = 3600 if DRIVER == "c" else 900

#: The number of faults, one after the other as fast as the event can be enabled again.
STORM = 1000
#: The kernel's rate limit: the number of messages in so many seconds.
BURST, INTERVAL = 10, 5


@pytest.fixture(scope="module")
def build():
    """Returns the build of the driver to load."""
    return "c" if DRIVER == "c" else "checked"


@pytest.fixture(autouse=True)
def accounting(guest):
    """Turns off the harness's account, which does not know of injections. The rules account for each record."""
    guest.unaccounted = "a pointer that was moved has no bytes, and parts of records are not counted by the hardware"


def test_storm(guest, driver):
    """Each fault is reported to perf and some of them are logged. Recording works afterwards."""
    before = total(guest.hardware())["dropped"]
    guest.begin("dmesg -C; fault flood && dmesg")
    for _ in range(STORM):
        while True:
            try:
                guest.inject(1, "fault,dl=on,after=0")
                break
            except ExecuteError as error:
                # 16 are pending.
                assert "are waiting" in str(error)
    guest.answer()
    status, output = guest.finish()
    assert status == 0, output
    facts = {name: int(value, 0) for name, value in FACT.findall(output)}
    assert total(guest.hardware())["dropped"] - before == facts["missing"] == STORM
    assert facts["next_complete"] >= PART and not facts["next_flags"]
    messages = [float(time) for time in re.findall(r"^\[ *([\d.]+)\] .*PMBSR=", output, re.MULTILINE)]
    assert messages and len(messages) <= BURST * (2 + (messages[-1] - messages[0]) // INTERVAL)
    if driver == "rust":
        seen = counters(guest)
        assert seen["fault_stage1"] == seen["truncated"] == seen["partial"] == STORM and not seen["mismatches"], seen


@pytest.mark.timeout(TIMEOUT)
def test_every_fault_in_every_mode(guest, driver, build, tmp_path, show):
    """All of them in one guest. If a CPU hangs, it is restored from a saved state."""
    prepare(guest)
    verdicts = {fault: {} for fault in FAULTS}
    saved = None
    for mode in MODES:
        # This resets the driver's rate limit, which one mode does not reach however fast the machine is.
        guest.unload()
        guest.load(build)
        if driver == "c" and not MODES[mode].buffer:
            saved = tmp_path / "saved"
            guest.save(saved)
            guest.resume(saved)
        for fault in FAULTS:
            verdicts[fault][mode] = verdict(guest, mode, fault)
            if verdicts[fault][mode] == HANGS:
                assert saved, f"{fault}, {mode}: {HANGS}"
                guest.resume(saved)
    known = json.loads(VERDICTS.read_text()) if VERDICTS.exists() else {}
    VERDICTS.write_text(json.dumps(known | {driver: verdicts}, indent=1))
    show(f"\n{render(verdicts)}")
    if driver == "rust":
        assert not [f"{fault}, {mode}: {words}" for fault, row in verdicts.items() for mode, words in row.items()
                    if words != CORRECT]
    assert stated(driver) == render(verdicts), "docs/faults.md differs: make fault-table"
