# SPDX-License-Identifier: GPL-2.0
"""A machine that has booted before is restored, if its saved state is complete and made of the same parts.

`qemu_migration` shows that the records after a restart from a saved state are the same, but for what depends on the TLB of
QEMU itself.
"""

import fcntl

import pytest

import saved
from spe import check_decodes, record

#: The times of the messages distinguish boots.
BOOT = "dmesg | head -n 100"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Makes an empty directory for saved machines."""
    monkeypatch.setattr(saved, "DIRECTORY", tmp_path / "saved")
    return tmp_path / "saved"


def test_restored(boot, driver, place):
    """A second guest continues from the boot of the first, and records. A damaged state is not used."""
    first, second = (boot(name) for name in ("first", "second"))
    assert first.sh(BOOT) == second.sh(BOOT)
    second.load(driver)
    check_decodes(record(second, "arm_spe/period=1024/", "workload 1", "-a"), 10)
    (state,) = place.glob("*/state.zst")
    whole = state.stat().st_size
    with open(state, "r+b") as file:
        file.truncate(whole - 1)
    third = boot("third")
    assert third.sh(BOOT) != second.sh(BOOT)
    # The new state has replaced the truncated one. One that was changed is removed when it cannot be restored.
    with open(state, "r+b") as file:
        file.seek(state.stat().st_size // 2)
        file.write(bytes(64))
    with pytest.raises(OSError, match="migration .* failed"):
        boot("fourth")
    assert not state.exists()


def kept(parts):
    """Returns a complete saved machine of these parts."""
    machine = saved.Saved(*parts)
    console = machine.state.parent.with_suffix(".txt")
    console.write_text("")
    machine.keep(lambda path: path.write_text("state"), console)
    return machine


def test_other_parts(place, tmp_path):
    """The key depends on the contents of files, not on their names."""
    del place
    file, copy = tmp_path / "file", tmp_path / "copy"
    file.write_text("kernel")
    copy.write_text("kernel")
    kept([file, "1G"])
    assert saved.Saved(copy, "1G").is_complete()
    copy.write_text("other kernel")
    for parts in ([copy, "1G"], [file, "2G"], [file, "1", "G"], [file]):
        assert not saved.Saved(*parts).is_complete()


def test_nothing_half_made(place, capsys):
    """Without space for the state there is no saved machine, and no error."""
    def full(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    machine = saved.Saved("machine")
    machine.keep(full, place / "console")
    assert not machine.is_complete() and not list(place.glob("*/state*"))
    assert "No space left on device" in capsys.readouterr().err


def test_oldest_go(place, monkeypatch):
    """The least recently used machines are removed beyond the limit."""
    del place
    machines = [kept([name]) for name in ("a", "b")]
    monkeypatch.setattr(saved, "LIMIT", 2 * sum(file.stat().st_size for file in machines[0].state.parent.iterdir()))
    assert machines[0].is_complete()
    kept(["c"])
    assert [machine.is_complete() for machine in machines] == [True, False]


def test_killed(place):
    """What a process has left that was killed is removed, unless another one works on it."""
    del place
    for name in ("free", "used"):
        (saved.DIRECTORY / f"{name}.unfinished").mkdir(parents=True)
    with open(saved.DIRECTORY / "used.lock", "wb") as used:
        fcntl.flock(used, fcntl.LOCK_EX)
        kept(["another"])
    assert [entry.name for entry in saved.DIRECTORY.glob("*.unfinished")] == ["used.unfinished"]
