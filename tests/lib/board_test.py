# SPDX-License-Identifier: GPL-2.0
"""What tools/board-test does, which has looked whether what it needs is there.

What this changes on the machine is written to STATE before, and restored at the end. A run that was killed leaves that
file and its processes; the next run ends these and restores that first.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import uuid
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import board_report
from board import LOADED, MODULE, c_driver, loaded_driver, unpacked
from machine import MachineError
from paths import TOP

#: What has to be restored is lost with a reboot, like this directory.
STATE = Path("/run/arm-spe-board-test")
STATE_FILE = STATE / "state.json"
LOCK = STATE.with_suffix(".lock")
#: In the environment of all processes of a run, with its name.
MARK = "ARM_SPE_BOARD_RUN"
#: The scenarios write the first; the kernel lowers the second where interrupts take long.
SETTINGS = [f"/proc/sys/kernel/{name}" for name in ("perf_event_paranoid", "perf_event_max_sample_rate")]
PMUS = Path("/sys/bus/event_source/devices")
REPORT = Path(os.environ.get("REPORT") or TOP / "out" / "board").absolute()
#: Seconds for pytest to clean up when its time is over, and to restore and report at the end.
GRACE, RESTORING = 20, 30
DRIVERS = {"rust": "Rust driver", "c": "C driver"}
#: Less work than compare-cost has by default: the limit is for all that is done.
COST = {"WORK": "100"}


class Refused(Exception):
    """The machine cannot be tested as it is."""


class NotRestored(Exception):
    """What a run has changed could not be restored."""


class Stopped(BaseException):
    """A signal has come: its number."""


def say(*text, file=sys.stdout):
    """Prints, unless the reader has closed the pipe."""
    try:
        print(*text, file=file, flush=True)
    except OSError:
        pass


def reason(error):
    """Returns the text of an error."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, (Refused, NotRestored, MachineError, subprocess.CalledProcessError)):
        return str(error)
    # One that was not thought of.
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"


def attempt(what, *arguments):
    """Calls a function. Returns the text of its error, or None."""
    try:
        what(*arguments)
    except Exception as error:  # pylint: disable=broad-exception-caught
        return reason(error)
    return None


# --- What is changed and restored ---------------------------------------------------------------


@contextmanager
def only_run():
    """No two runs change the machine at the same time."""
    # It is not removed: one run could lock the removed file, and another one a new file.
    with open(LOCK, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("another run has not ended") from None
        STATE.mkdir(mode=0o700, exist_ok=True)
        try:
            yield
        finally:
            if not STATE_FILE.exists():
                shutil.rmtree(STATE)


def kmod(*command):
    """Runs rmmod or insmod. Returns its exit status, and what is wrong."""
    # pylint: disable-next=consider-using-with
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        said = process.communicate(timeout=RESTORING)[1]
        return process.returncode, said.strip()
    except subprocess.TimeoutExpired:
        raise MachineError(f"{command[0]} does not end") from None
    finally:
        # subprocess.run() would wait for good for a process that the kernel does not let end.
        process.kill()
        attempt(process.wait, 1)


def rmmod():
    """Unloads the driver. Events of a process that has just ended may not have been freed yet."""
    for _ in range(50):
        _, said = kmod("rmmod", "arm_spe_pmu")
        if not LOADED.exists():
            return
        time.sleep(0.1)
    raise MachineError(f"cannot unload the driver: {said}")


def insmod(file):
    """Loads a driver."""
    status, said = kmod("insmod", file)
    if status:
        raise MachineError(f"cannot load {file}: {said.rpartition(': ')[2]}")


def end_processes(run):
    """Ends all processes of a run."""
    mark = f"{MARK}={run}".encode()
    for _ in range(100):
        found = False
        for environment in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in environment.read_bytes().split(b"\0"):
                    found = True
                    os.kill(int(environment.parent.name), signal.SIGKILL)
            except (OSError, ValueError):
                pass    # it has ended
        if not found:
            return
        time.sleep(0.1)
    raise MachineError("processes of the run do not end")


def restore_setting(name, value):
    """Restores a setting."""
    if Path(name).read_text() != value:
        Path(name).write_text(value)


def restore_driver(driver):
    """Loads the driver that was there before."""
    if LOADED.exists():
        rmmod()
    if driver:
        insmod(driver)


def restore():
    """Restores what a run has changed. What cannot be restored does not keep the rest from it."""
    if not STATE_FILE.exists():
        return
    state = json.loads(STATE_FILE.read_text())
    errors = [attempt(end_processes, state["run"]),
              *(attempt(restore_setting, *setting) for setting in state["settings"].items()),
              attempt(restore_driver, state["driver"])]
    if any(errors):
        raise NotRestored("; ".join(filter(None, errors)))
    STATE_FILE.unlink()


def restore_left():
    """Restores what a run that was killed has left."""
    if not STATE_FILE.exists():
        return
    say("An earlier run was killed, or could not restore all: restoring what was there before it")
    if error := attempt(restore):
        raise NotRestored(f"what an earlier run has left cannot be restored: {error}")


# --- What is done -------------------------------------------------------------------------------


class KernelLog:
    """The messages about the driver from now on."""

    def __init__(self):
        self._file = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._file, 0, os.SEEK_END)

    def messages(self):
        """Returns those since the last call."""
        found = []
        while True:
            try:
                record = os.read(self._file, 8192).decode(errors="replace")
            except BrokenPipeError:
                continue    # older ones were overwritten
            except BlockingIOError:
                return found
            text = record.partition(";")[2].splitlines()[0]
            if "arm_spe_pmu" in text:
                found.append(text)


def pmus():
    """Returns what the driver that is loaded says of each PMU."""
    return {pmu.name: {"cpumask": (pmu / "cpumask").read_text().strip(),
                       "caps": {file.name: file.read_text().strip() for file in sorted(pmu.glob("caps/*"))},
                       "format": [file.name for file in sorted(pmu.glob("format/*"))]}
            for pmu in sorted(PMUS.glob("arm_spe_[0-9]*"))}


def interrupts():
    """Returns which interrupts the driver has."""
    return [re.sub(r"^\s*\d+:(\s+\d+)+\s+", "", line) for line in Path("/proc/interrupts").read_text().splitlines()
            if "arm_spe" in line]


def look_at(file):
    """Loads a driver, and returns what it says. Raises MachineError if it cannot be loaded, or has no PMU."""
    log = KernelLog()
    error = attempt(insmod, file)
    try:
        messages = log.messages()
        if error or not list(PMUS.glob("arm_spe_[0-9]*")):
            raise MachineError(f"{error or 'there is no SPE with it'}" + "".join(f"; {message}" for message in messages[-1:]))
        return {"messages": messages, "interrupts": interrupts(), "pmus": pmus()}
    finally:
        if LOADED.exists():
            rmmod()


def tests_of(junit):
    """Returns the tests in pytest's report: {name: result, seconds, text}."""
    tests = {}
    for case in ElementTree.parse(junit).iter("testcase"):
        name = f"{case.get('classname').rpartition('.')[2]}::{case.get('name')}"
        test = tests.setdefault(name, {"result": "passed", "seconds": 0})
        test["seconds"] = round(test["seconds"] + float(case.get("time")), 2)
        for kind, result in ("skipped", "skipped"), ("failure", "failed"), ("error", "failed"):
            if (found := case.find(kind)) is not None:
                test["result"] = result
                # Control characters are written so there, and would make one word with what follows.
                text = re.sub(r"#x[0-9A-F]{2,4}", " ", found.text or found.get("message") or "")
                test["text"] = text if len(text) < 4000 else f"{text[:2000]}\n[...]\n{text[-2000:]}"
    return tests


class Run:
    """One run: begin() once, then the other methods, and restore()."""

    def __init__(self):
        self.deadline = time.monotonic() + 60 * int(os.environ.get("MINUTES", 15)) - RESTORING
        self.state = {"run": str(uuid.uuid4()), "driver": None,
                      "settings": {name: Path(name).read_text() for name in SETTINGS if Path(name).exists()}}
        self.report = {"format": 1, "date": time.strftime("%Y-%m-%d", time.gmtime()), "outcome": "passed",
                       "drivers": {}, "results": {}, "costs": None, "skipped": {}}
        self.files = {}

    def begin(self):
        """Writes down what is loaded, and unloads it."""
        if LOADED.exists() and int((LOADED / "refcnt").read_text()):
            raise Refused("the driver that is loaded is in use: end what records with it")
        self.state["driver"] = str(before) if (before := loaded_driver()) else None
        self.report.update(board_report.facts())
        new = STATE / "new"
        new.write_text(json.dumps(self.state))
        new.rename(STATE_FILE)
        if before:
            rmmod()

    def run(self, command, output=None, **environment):
        """Runs a command until it ends or its time is over. Returns its exit status, None if it was ended."""
        left = self.deadline - time.monotonic()
        if left < GRACE:
            return None
        # It does not go on alone if this is killed; ctrl-C is for this alone.
        # pylint: disable-next=consider-using-with
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=output and subprocess.STDOUT, start_new_session=True,
                                   env={**os.environ, "HOME": str(STATE), MARK: self.state["run"], **environment})
        try:
            return process.wait(left - GRACE)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            attempt(process.wait, GRACE)
            return None
        finally:
            # It, if it has not ended, and what it has left in the background.
            end_processes(self.state["run"])

    def find_driver(self, driver):
        """Looks whether a driver can be loaded here."""
        file = STATE / f"{driver}.ko"
        file.write_bytes(unpacked(MODULE if driver == "rust" else c_driver()))
        self.report["drivers"][driver] = look_at(file)
        self.files[driver] = file

    def find_drivers(self):
        """Looks which drivers can be loaded here."""
        for driver, name in DRIVERS.items():
            if os.environ.get("DRIVER") not in (None, "", driver):
                self.report["skipped"][name] = f"DRIVER={os.environ['DRIVER']}"
                continue
            if error := attempt(self.find_driver, driver):
                self.report["skipped"][name] = error.replace(f"{STATE}/", "")
        if not self.files:
            raise Refused("; ".join(f"{name}: {why}" for name, why in self.report["skipped"].items()))

    def scenarios(self, driver):
        """Runs the scenarios with a driver."""
        say(f"Scenarios with the {DRIVERS[driver]}")
        junit = STATE / "junit.xml"
        junit.unlink(missing_ok=True)
        began = time.monotonic()
        status = self.run([TOP / "tests/board", f"--junitxml={junit}", "-q", "--durations=1", "-k", os.environ.get("T", "")],
                          DRIVER=driver, ARM_SPE_CACHE=str(STATE))
        try:
            tests = tests_of(junit)
        except (OSError, ElementTree.ParseError):
            tests = {}  # it was killed before it has written that, or while it did
        result = self.report["results"][driver] = {"seconds": round(time.monotonic() - began), "tests": tests}
        failed = any(test["result"] == "failed" for test in result["tests"].values())
        if status is None:
            result["ended"] = "the time was over"
        elif status not in (0, 1) or not result["tests"] or bool(status) != failed:
            result["ended"] = f"pytest ended with {status}"
        if failed:
            self.report["outcome"] = "failed"
        elif "ended" in result and self.report["outcome"] == "passed":
            self.report["outcome"] = "incomplete"

    def costs(self):
        """Counts what the drivers cost."""
        name = "costs"
        if len(self.files) < 2:
            self.report["skipped"][name] = "they are of both drivers"
            return
        say("Costs, by tools/compare-cost")
        from spe import expand  # pylint: disable=import-outside-toplevel # needs pytest, which --restore does not
        cpus = expand(next(iter(self.report["drivers"]["rust"]["pmus"].values()))["cpumask"])
        variables = {**COST, "CPU": str(cpus[min(1, len(cpus) - 1)]), **{name: os.environ[name] for name in
                     ("CPU", "TURNS", "WORK", "PERIOD", "PAGES", "TIMES") if name in os.environ}}
        with open(STATE / "costs", "w+", encoding="utf-8", errors="replace") as output:
            status = self.run([TOP / "tools/compare-cost", self.files["rust"], self.files["c"]], output, TMPDIR=str(STATE), **variables)
            output.seek(0)
            text = output.read()
        rows = re.findall(r"^(.*?) +(-?\d+) +(-?\d+) +-?\d+\.\d\d$", text, re.MULTILINE)
        if status == 0 and rows:
            self.report["costs"] = {"variables": variables,
                                    "rows": [{"what": what, "rust": int(ours), "c": int(theirs)} for what, ours, theirs in rows]}
        elif status is None:
            self.report["skipped"][name] = "the time was over"
            if self.report["outcome"] == "passed":
                self.report["outcome"] = "incomplete"
        else:
            self.report["skipped"][name] = (text.splitlines() or ["compare-cost said nothing"])[-1].replace(f"{STATE}/", "")


def write_file(content, name=None):
    """Writes a file of the report, of which an older one stays until all is written. Without a name nothing stays."""
    REPORT.mkdir(parents=True, exist_ok=True)
    # The directory may be another user's: no file that is there is written to.
    descriptor, new = tempfile.mkstemp(prefix=".new-", dir=REPORT)
    try:
        with open(descriptor, "wb") as file:
            file.write(content.encode(errors="backslashreplace"))
            file.flush()
            os.fsync(descriptor)
            os.fchmod(descriptor, 0o644)
        if name:
            os.rename(new, REPORT / name)
    finally:
        Path(new).unlink(missing_ok=True)


def check_writable():
    """Raises Refused if the report cannot be written."""
    if error := attempt(write_file, " " * (1 << 18)):
        raise Refused(f"the report cannot be written to {REPORT}: {error}")


def write_report(report):
    """Writes the report, and prints it."""
    report = board_report.without_names(report)
    text = board_report.text(report)
    # What is printed may have to wait, or go to a terminal that is gone.
    error = attempt(write_file, text, "report.txt") or attempt(write_file, json.dumps(report, indent=1) + "\n", "report.json")
    say(text)
    if error:
        raise MachineError(f"the report cannot be written: {error}")
    say(f"Send {REPORT}/report.txt and report.json.")


def give_to_owner():
    """What root has made in the checkout belongs to whom the checkout belongs to."""
    owner = TOP.stat()

    def give(name, directory):
        if os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid == 0:
            os.chown(name, owner.st_uid, owner.st_gid, dir_fd=directory, follow_symlinks=False)

    def give_all(top):
        # Not os.walk(), which follows a link at the top: where it leads need not be of the checkout.
        for _, directories, files, directory in os.fwalk(top):
            for name in ".", *directories, *files:
                attempt(give, name, directory)

    for name in "out", "build":
        attempt(give_all, TOP / name)


def test():
    """Tests the machine. Returns the exit status."""
    check_writable()
    run = Run()
    stopped = wrong = None
    try:
        run.begin()
        run.find_drivers()
        for driver in run.files:
            run.scenarios(driver)
        run.costs()
    except Stopped as error:
        stopped, = error.args
        run.report["outcome"] = "stopped"
    except Exception as error:  # pylint: disable=broad-exception-caught
        wrong = error
    finally:
        ignore_signals()
        changed = STATE_FILE.exists()
        failed = attempt(restore)
    if wrong and (not changed or isinstance(wrong, Refused) and not failed):
        raise Refused(reason(wrong))
    if stopped and not changed:
        return 128 + stopped
    if wrong:
        run.report["outcome"] = "failed"
        run.report["skipped"]["what was left to do"] = reason(wrong)
        say(f"error: {reason(wrong)}", file=sys.stderr)
    if failed:
        run.report["skipped"]["restoring what was there before"] = failed
        say(f"error: what was there before cannot be restored: {failed}", file=sys.stderr)
    if error := attempt(write_report, run.report):
        say(f"error: {error}", file=sys.stderr)
    if stopped:
        return 128 + stopped
    return 0 if run.report["outcome"] == "passed" and not error and not failed else 1


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ignore_signals():
    """Nothing stops what restores."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop(number, _):
    """A signal has come."""
    ignore_signals()
    raise Stopped(number)


def handle_signals():
    """A signal stops the run, unless it was ignored before (nohup)."""
    for number in SIGNALS:
        # What is run would inherit SIG_IGN, and pytest has to be ended by SIGINT when its time is over.
        ignored = signal.getsignal(number) == signal.SIG_IGN
        signal.signal(number, (lambda *_: None) if ignored else stop)


def main():
    """Returns the exit status."""
    if sys.stdout:
        sys.stdout.reconfigure(errors="backslashreplace")   # whatever the locale
    handle_signals()
    try:
        with only_run():
            try:
                restore_left()
                if "--restore" in sys.argv:
                    return 0
                try:
                    return test()
                finally:
                    give_to_owner()
            except Stopped:
                # It has come while what an earlier run has left was restored.
                if error := attempt(restore):
                    say(f"error: what was there before cannot be restored: {error}", file=sys.stderr)
                raise
    except Stopped as error:
        return 128 + error.args[0]
    except Exception as error:  # pylint: disable=broad-exception-caught
        say(f"error: {reason(error)}", file=sys.stderr)
        return 1 if isinstance(error, NotRestored) else 2


if __name__ == "__main__":
    sys.exit(main())
