# SPDX-License-Identifier: GPL-2.0
"""Every fault that the hardware can report, in every way to record: nothing is lost unsaid, nothing stays broken.

The rules are those of tests/lib/hardware_faults.py, for any driver. docs/faults.md has what each driver does: `make fault-table`
writes it from the runs, and here they are compared. DRIVER=c runs the stock kernel's driver.
"""

import json
import re

import pytest

from hardware_faults import AS_IT_SHOULD, FACT, FAULTS, HANGS, MODES, PART, VERDICTS, prepare, render, stated, verdict
from machine import DRIVER, total
from spe import counters
from qemu.qmp import ExecuteError

#: It takes its time: the other driver does not come back from some faults.
TIMEOUT = 3600 if DRIVER == "c" else 900

#: Faults, one after the other as fast as the event can be enabled again.
STORM = 1000
#: What the kernel's limit lets through: so many messages in so many seconds.
BURST, INTERVAL = 10, 5


@pytest.fixture(scope="module")
def build():
    """The build of this driver that checks itself."""
    return "c" if DRIVER == "c" else "checked"


@pytest.fixture(autouse=True)
def accounting(guest):
    """The rules account for each record; the harness does not know of what is injected."""
    guest.unaccounted = "a pointer that was moved has no bytes, and parts of records are not counted by the hardware"


def test_storm(guest, driver):
    """Perf is told of each fault, the log of some, and it works afterwards."""
    before = total(guest.hardware())["dropped"]
    guest.begin("dmesg -C; fault flood && dmesg")
    for _ in range(STORM):
        while True:
            try:
                guest.inject(1, "fault,dl=on,after=0")
                break
            except ExecuteError as error:
                # 16 are waiting for their record.
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
def test_every_fault_in_every_mode(guest, driver, tmp_path, show):
    """All in one guest. If a CPU is never heard of again, it goes on from before that."""
    prepare(guest)
    verdicts = {fault: {} for fault in FAULTS}
    saved = None
    for mode in MODES:
        if driver == "c":
            # Its limit for messages begins anew: there are no more of them in a mode than it lets through.
            guest.unload()
            guest.load(driver)
            if not MODES[mode].buffer:
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
                    if words != AS_IT_SHOULD]
    assert stated(driver) == render(verdicts), "make fault-table puts it right"
