# SPDX-License-Identifier: GPL-2.0
"""What tools/board-test does where something is not as expected: parts of it, without a machine with SPE."""

import errno
import json
import lzma
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import board_report
import board_test
from machine import MachineError
from paths import TOP

give_to_owner = board_test.give_to_owner
pytestmark = [pytest.mark.quick, pytest.mark.independent]


#: A report without results.
EMPTY = {"date": "2026-01-01", "outcome": "passed", "project": {}, "machine": {}, "firmware": {}, "kernel": {}, "doctor": [], "drivers": {},
         "results": {}, "costs": None, "skipped": {}}


def user(name, uid=1000, gecos=""):
    """An account."""
    return pwd.struct_passwd((name, "x", uid, uid, gecos, f"/home/{name}", "/bin/sh"))


@pytest.fixture
def described(monkeypatch, tmp_path):
    """A function that says what the files of the machine have, and its accounts: those that are listed, and others."""
    def describe(files=(), firmware=(), listed=(), others=()):
        for name, text in dict(firmware).items():
            (tmp_path / name).write_text(f"{text}\n")
        read, texts = board_report.read, {"/etc/hostname": "host-of-alice", "/proc/self/loginuid": "4294967295", **dict(files)}

        def read_here(*path):
            return read(*path) if path[0] == tmp_path or tmp_path in getattr(path[0], "parents", ()) else texts.get(str(path[0]), "")

        def find(field):
            return lambda key: {getattr(account, field): account for account in (*listed, *others)}[key]

        monkeypatch.setattr(board_report, "FIRMWARE", tmp_path)
        monkeypatch.setattr(board_report, "read", read_here)
        monkeypatch.setattr(board_report.socket, "gethostname", lambda: "host-of-alice")
        monkeypatch.setattr(board_report.pwd, "getpwall", lambda: list(listed))
        monkeypatch.setattr(board_report.pwd, "getpwnam", find("pw_name"))
        monkeypatch.setattr(board_report.pwd, "getpwuid", find("pw_uid"))
        monkeypatch.delenv("SUDO_USER", raising=False)

    return describe


# --- The run ------------------------------------------------------------------------------------


@pytest.fixture
def place(monkeypatch, tmp_path, described):
    """Where the report and the state of a run are."""
    described()
    monkeypatch.setattr(board_test, "REPORT", tmp_path / "report")
    monkeypatch.setattr(board_test, "STATE", tmp_path / "state")
    monkeypatch.setattr(board_test, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(board_test, "STATE_FILE", tmp_path / "state/state.json")
    monkeypatch.setattr(board_test, "LOADED", tmp_path / "loaded")
    monkeypatch.setattr(board_test, "SETTINGS", [str(tmp_path / "setting")])
    monkeypatch.setattr(board_test, "SIGNALS", ())
    monkeypatch.setattr(board_test, "give_to_owner", lambda: None)
    monkeypatch.setattr(board_test, "end_processes", lambda run: None)
    monkeypatch.setattr(board_test, "loaded_driver", lambda: None)
    monkeypatch.setattr(board_report, "facts", lambda: {name: EMPTY[name] for name in ("project", "machine", "firmware", "kernel", "doctor")})
    monkeypatch.setattr(board_test.sys, "argv", ["board_test"])
    (tmp_path / "setting").write_text("2")
    return tmp_path / "report"


def fail(error):
    """A function that raises an error."""
    def function(*_, **__):
        raise error

    return function


@pytest.fixture
def driver_found(place, monkeypatch):
    """A driver can be loaded."""
    def find_drivers(run):
        run.files["rust"] = "rust.ko"
        Path(board_test.SETTINGS[0]).write_text("-1")

    monkeypatch.setattr(board_test.Run, "find_drivers", find_drivers)
    return place


def setting():
    """The setting."""
    return Path(board_test.SETTINGS[0]).read_text()


@pytest.mark.parametrize("error, text", [
    (MachineError("processes of the run do not end"), "processes of the run do not end"),
    (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "zstd"), "No such file or directory: zstd"),
    (lzma.LZMAError("Corrupt input data"), "LZMAError: Corrupt input data (board_unit.py:"),
    (KeyError("caps"), "KeyError: 'caps' (board_unit.py:"),
])
def test_unexpected(driver_found, monkeypatch, capsys, error, text):
    """What goes wrong is in the report if something had been changed; else it is the reason to refuse."""
    monkeypatch.setattr(board_test.Run, "scenarios", fail(error))
    assert board_test.main() == 1 and setting() == "2"
    report = json.loads((driver_found / "report.json").read_text())
    assert report["outcome"] == "failed" and text in report["skipped"]["what was left to do"]
    monkeypatch.setattr(board_test, "loaded_driver", fail(error))
    (driver_found / "report.json").unlink()
    capsys.readouterr()
    assert board_test.main() == 2 and f"error: {text}" in capsys.readouterr().err
    assert not (driver_found / "report.json").exists() and not board_test.STATE.exists()


def test_no_report(driver_found, monkeypatch, capsys):
    """An error in making the report is no reason to say that nothing was changed."""
    monkeypatch.setattr(board_test.Run, "scenarios", lambda *_: None)
    monkeypatch.setattr(board_report, "without_names", fail(KeyError("name")))
    assert board_test.main() == 1 and "error: KeyError: 'name'" in capsys.readouterr().err and not list(driver_found.iterdir())


def test_truncated(driver_found, monkeypatch):
    """pytest's report is not complete: that of the run is written, and the drivers that follow are tested."""
    def run(_, command, *__, **___):
        (board_test.STATE / "junit.xml").write_text("<testsuites><testsuite")
        return -9 if command[0].name == "board" else 0

    monkeypatch.setattr(board_test.Run, "run", run)
    assert board_test.main() == 1
    report = json.loads((driver_found / "report.json").read_text())
    assert report["outcome"] == "incomplete" and report["results"]["rust"]["ended"] == "pytest ended with -9"


def test_not_restored(driver_found, monkeypatch, capsys):
    """What cannot be restored keeps nothing else from being restored; the status says so, now and at the next run."""
    monkeypatch.setattr(board_test, "end_processes", fail(MachineError("no end")))
    monkeypatch.setattr(board_test, "restore_driver", fail(MachineError("in use")))
    monkeypatch.setattr(board_test.Run, "scenarios", fail(board_test.Refused("no driver")))
    assert board_test.main() == 1 and setting() == "2"
    report = json.loads((driver_found / "report.json").read_text())
    assert report["skipped"] == {"what was left to do": "no driver", "restoring what was there before": "no end; in use"}
    assert board_test.main() == 1 and "cannot be restored: no end; in use" in capsys.readouterr().err
    monkeypatch.setattr(board_test.sys, "argv", ["board_test", "--restore"])
    assert board_test.main() == 1
    monkeypatch.setattr(board_test, "end_processes", lambda run: None)
    monkeypatch.setattr(board_test, "restore_driver", lambda driver: None)
    assert board_test.main() == 0 and not board_test.STATE.exists()


def test_refused(driver_found, monkeypatch):
    """A run that has restored all that it has changed refuses by status 2."""
    monkeypatch.setattr(board_test.Run, "scenarios", fail(board_test.Refused("no driver")))
    assert board_test.main() == 2 and setting() == "2" and not (driver_found / "report.json").exists()


@pytest.mark.usefixtures("place")
def test_lock():
    """Two runs lock the same file, although one of them ends and removes what it has made."""
    with board_test.only_run():
        locked = board_test.LOCK.stat()
        with pytest.raises(board_test.Refused, match="another run has not ended"), board_test.only_run():
            pass
        assert board_test.STATE.exists()
    assert not board_test.STATE.exists() and os.path.samestat(board_test.LOCK.stat(), locked)
    with board_test.only_run():
        pass


def test_stopped(driver_found, monkeypatch, capsys):
    """A run is stopped, in a scenario and while it restores what an earlier one has left."""
    monkeypatch.setattr(board_test.Run, "scenarios", fail(board_test.Stopped(1)))
    assert board_test.main() == 129 and setting() == "2"
    assert json.loads((driver_found / "report.json").read_text())["outcome"] == "stopped"
    board_test.STATE.mkdir()
    board_test.STATE_FILE.write_text('{"run": "a", "driver": null, "settings": {"/nowhere": "1"}}')
    monkeypatch.setattr(board_test, "restore_left", fail(board_test.Stopped(15)))
    assert board_test.main() == 143 and "No such file or directory: /nowhere" in capsys.readouterr().err


def test_signals(monkeypatch):
    """A signal that was ignored stays so, and what is run does not inherit that."""
    before = [signal.getsignal(number) for number in board_test.SIGNALS]
    try:
        for number in board_test.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        board_test.handle_signals()
        os.kill(os.getpid(), signal.SIGHUP)
        ignored = subprocess.run(["grep", "^SigIgn:", "/proc/self/status"], stdout=subprocess.PIPE, text=True, check=True).stdout
        assert not int(ignored.split()[1], 16) >> (signal.SIGHUP - 1) & 1
        with pytest.raises(board_test.Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
    finally:
        for number, handler in zip(board_test.SIGNALS, before):
            signal.signal(number, handler)


class Endless:
    """A process that the kernel does not let end."""

    returncode = None

    def __init__(self, *_, **__):
        self.signals = []

    def wait(self, timeout):
        """Does not end."""
        raise subprocess.TimeoutExpired("command", timeout)

    communicate = wait

    def send_signal(self, number):
        """Does not end."""
        self.signals.append(number)

    def kill(self):
        """Does not end."""


def test_endless(place, monkeypatch):
    """Nothing waits without a limit."""
    monkeypatch.setattr(board_test.subprocess, "Popen", Endless)
    with pytest.raises(MachineError, match="^rmmod does not end$"):
        board_test.rmmod()
    assert board_test.Run().run(["true"]) is None
    monkeypatch.setattr(board_test, "end_processes", fail(MachineError("processes of the run do not end")))
    with pytest.raises(MachineError, match="do not end"):
        board_test.Run().run(["true"])


def test_owner(place, tmp_path, monkeypatch):
    """What root has made in the checkout is given to its owner, also by a run that is refused, but nothing outside of it."""
    given = []

    def chown(name, *_, dir_fd, follow_symlinks):
        assert not follow_symlinks
        given.append(os.path.relpath(os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), name), tmp_path))
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    for name in "build/payload", "elsewhere/board":
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    (tmp_path / "out").symlink_to("elsewhere")
    (tmp_path / "build/link").symlink_to("../elsewhere")
    monkeypatch.setattr(board_test.os, "chown", chown)
    monkeypatch.setattr(board_test, "give_to_owner", give_to_owner)
    monkeypatch.setattr(board_test, "TOP", tmp_path)
    monkeypatch.setattr(board_test, "loaded_driver", fail(board_test.Refused("in use")))
    assert board_test.main() == 2 and place.exists()
    assert set(given) == {"build", "build/payload", "build/payload/file", "build/link"}


def test_commit(monkeypatch):
    """git runs as the owner of the checkout."""
    options = {}
    monkeypatch.setattr(board_report, "output", lambda *_, **given: options.update(given))
    board_report.commit()
    assert (options["user"], options["group"]) == (board_report.TOP.stat().st_uid, board_report.TOP.stat().st_gid)
    monkeypatch.undo()
    assert board_report.output("id", "-u", user=0, group=0) == "0"


def test_temporary_files(place, monkeypatch):
    """What compare-cost writes is in the directory of the run."""
    run, given = board_test.Run(), {}
    run.files = {"rust": "rust.ko", "c": "c.ko"}
    run.report["drivers"] = {"rust": {"pmus": {"arm_spe_0": {"cpumask": "0-3"}}}}
    monkeypatch.setattr(run, "run", lambda _, output, **variables: given.update(variables))
    board_test.STATE.mkdir()
    run.costs()
    assert given["TMPDIR"] == str(board_test.STATE) and given["CPU"] == "1" and place.parent == board_test.STATE.parent


# --- The command --------------------------------------------------------------------------------


@pytest.fixture
def command(tmp_path):
    """A function that runs tools/board-test of a checkout, as on a machine of Arm's that has nothing but these programs."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/uname").write_text("#!/bin/sh\necho aarch64\n")
    (tmp_path / "bin/id").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "bin/insmod").write_text("#!/bin/sh\n")
    for program in (tmp_path / "bin").iterdir():
        program.chmod(0o755)
    for program in "sh", "dirname", "grep", "python3":
        (tmp_path / "bin" / program).symlink_to(shutil.which(program))
    (tmp_path / "tools").mkdir()
    shutil.copy(TOP / "tools/board-test", tmp_path / "tools")
    (tmp_path / "tests/lib").mkdir(parents=True)
    (tmp_path / "tests/lib/board_test.py").write_text("import sys; print('runs', sys.argv[1:])")

    def run(*arguments, **variables):
        done = subprocess.run([tmp_path / "tools/board-test", *arguments], cwd=tmp_path, env={"PATH": str(tmp_path / "bin"), **variables},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode, done.stdout

    return run


def test_restore_alone(command):
    """--restore asks for nothing that only a run needs: neither a driver, perf, gcc nor pytest, and no variables."""
    assert command("--restore", MINUTES="x", DRIVER="y") == (0, "runs ['--restore']\n")
    status, output = command(MINUTES="x", DRIVER="y")
    assert status == 2 and {"MINUTES=x", "DRIVER=y"} < set(re.findall(r"^error: (\S+?):? ", output, re.MULTILINE)), output
    code = "import sys; sys.modules['pytest'] = None; sys.path.insert(0, sys.argv[1]); import board_test"
    subprocess.run(["python3", "-c", code, TOP / "tests/lib"], check=True)


def test_current_directory(command, tmp_path):
    """No Python of the current directory is run."""
    (tmp_path / "pytest.py").write_text("open('run', 'w')")
    command("--check")
    assert not (tmp_path / "run").exists()


def test_no_tests(command, tmp_path):
    """The package for DKMS has tools/, but no tests."""
    (tmp_path / "tests/lib/board_test.py").unlink()
    assert command() == (2, f"error: the tests are not in {tmp_path}: run this in a checkout of the project\n")


# --- The report ---------------------------------------------------------------------------------


def test_machine_is_named(described):
    """Names of the machine and the distribution stay, also where a user or a host has the same one."""
    described(files={"/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian',
                     "/proc/device-tree/compatible": "radxa,orion-o6 cix,sky1"},
              firmware={"sys_vendor": "Amazon EC2", "chassis_asset_tag": "Amazon EC2", "board_asset_tag": "i-0123456789",
                        "product_serial": "None", "board_serial": "Unknown", "chassis_serial": "Default string",
                        "product_name": "Board SN-777777", "product_uuid": "SN-777777"},
              listed=[user("debian", 1000, "Debian,,,"), user("radxa", 1001), user("alice", 1002, "Alice Liddell")])
    told = ["Debian GNU/Linux 13 (trixie)", "radxa,orion-o6 cix,sky1", "Amazon EC2", "None: Unknown, Default string"]
    assert board_report.without_names(told) == told
    assert board_report.without_names(["/home/debian", "alice on host-of-alice: Alice Liddell", "i-0123456789", "Board SN-777777"]) == [
        "(home)", "(user) on (host): (user)", "(serial number)", "Board (serial number)"]


def test_users(described, monkeypatch):
    """Who runs this is no less removed if no list has them, or if the name is short."""
    far = [user("lidl", 70001, "Alice Liddell"), user("hatter", 70002), user("root", 0)]
    described(files={"/proc/self/loginuid": "70002"}, listed=[user("jo")], others=far)
    assert board_report.without_names("jo, a joke, lidl, hatter, root") == "(user), a joke, lidl, (user), root"
    monkeypatch.setenv("SUDO_USER", "lidl")
    assert board_report.without_names("/home/lidl of Alice Liddell") == "(home) of (user)"


def test_write_report(place, monkeypatch):
    """A report is complete, in UTF-8, and written before it is printed; what is there under other names stays."""
    place.mkdir()
    (place / "new").mkdir()
    monkeypatch.setattr(board_test, "say", lambda *_, **__: places.append(sorted(file.name for file in place.iterdir())))
    places = []
    board_test.check_writable()
    board_test.write_report({**EMPTY, "skipped": {"one": "caf\xe9 \udcff"}})
    assert places[0] == sorted(file.name for file in place.iterdir()) == ["new", "report.json", "report.txt"]
    assert "caf\xe9 \\udcff" in (place / "report.txt").read_text(encoding="utf-8")
    assert json.loads((place / "report.json").read_text(encoding="utf-8"))["skipped"]["one"] == "caf\xe9 \udcff"
    assert (place / "report.txt").stat().st_mode & 0o777 == 0o644


def test_not_writable(place, monkeypatch):
    """Where no report can be written, that is said, and nothing is left."""
    place.write_text("a file")
    with pytest.raises(board_test.Refused, match="cannot be written to .*File exists"):
        board_test.check_writable()
    place.unlink()

    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(place))

    monkeypatch.setattr(board_test.tempfile, "mkstemp", read_only)
    with pytest.raises(board_test.Refused, match="Read-only file system"):
        board_test.check_writable()


def test_full(place, monkeypatch):
    """An older report stays if the new one cannot be written."""
    place.mkdir()
    (place / "report.txt").write_text("older")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(board_test.os, "fsync", full)
    with pytest.raises(MachineError, match="cannot be written: No space left"):
        board_test.write_report(EMPTY)
    assert [file.name for file in place.iterdir()] == ["report.txt"] and (place / "report.txt").read_text() == "older"
