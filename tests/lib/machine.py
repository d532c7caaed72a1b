# SPDX-License-Identifier: GPL-2.0
"""A machine with SPE that tests run on: a guest (guest.py) or the machine itself (board.py), behind one interface."""

import os
import re
from abc import ABC, abstractmethod

import kcsan

#: The driver under test: this project's, or the stock kernel's (c) as a control.
DRIVER = os.environ.get("DRIVER") or "rust"

#: Timeouts are for a machine that has nothing else to do; this is for one that runs several scenarios at a time.
SLACK = 3

#: What no scenario may leave in the kernel log.
COMPLAINTS = re.compile(
    r"^.*(?:WARNING:|BUG:|Oops|Internal error|Kernel panic|rcu:.*stall|possible recursive"
    r"|sleeping function called|blocked for more than|UBSAN:|ODEBUG:|DEBUG_LOCKS_WARN_ON"
    r"|INFO: trying to register non-static key|list_(?:add|del) corruption|panicked at"
    r"|arm_spe_pmu: Mismatch).*$",
    re.MULTILINE,
)


class MachineError(Exception):
    """The machine did not do what was asked of it."""


def total(units):
    """Returns the sum over the CPUs of what Machine.hardware() returns."""
    return {name: sum(unit[name] for unit in units) for name in units[0]}


class Machine(ABC):
    """Runs scripts, loads a driver, accounts for its trace, and has a kernel log without complaints. Call close()."""

    #: The perf of the kernel's version that decodes what is fetched.
    perf = os.environ.get("ARM_SPE_PERF", "perf")

    def __init__(self):
        #: Complaints that are none of the driver's, as a regular expression; the reason is where it is set.
        self.known = None
        #: Why the trace is not accounted for: see account().
        self.unaccounted = None
        self._at_load = None
        self._script_runs = False

    @abstractmethod
    def begin(self, script):
        """Starts a bash script; finish() has to follow, for its result."""

    @abstractmethod
    def finish(self, timeout=120):
        """Waits for the end of the script that began last. Returns its exit status and its output."""

    @abstractmethod
    def fetch(self, path, timeout=120):
        """Copies a file of the machine into the directory of artefacts. Returns its Path there."""

    @abstractmethod
    def put(self, files, timeout=120):
        """Writes files (name on the machine: content or Path)."""

    @abstractmethod
    def driver_file(self, driver):
        """Returns where on the machine the module of a driver is; see load()."""

    @abstractmethod
    def log(self):
        """Returns the kernel log since the machine was taken, or since excuse()."""

    @abstractmethod
    def excuse(self):
        """Forgets the kernel's complaints so far, which were provoked."""

    @abstractmethod
    def hardware(self):
        """Returns what became of the samples on each CPU; None where there is no emulated unit to ask."""

    @abstractmethod
    def close(self):
        """Gives the machine back."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def run(self, script, timeout=120):
        """Runs a bash script. Returns its exit status and its output."""
        self.begin(script)
        return self.finish(timeout)

    def sh(self, script, timeout=120):
        """Runs a bash script that has to succeed. Returns its output."""
        status, output = self.run(script, timeout)
        if status:
            raise MachineError(f"status {status} from: {script}\n{output}")
        return output.strip()

    def load(self, driver):
        """Loads a driver, "rust", "checked" (the same, which checks itself: DEBUG=1) or "c", and looks in the kernel log whose it is."""
        # The guest's log has the scripts, too: this one is not to find itself.
        greetings = "dmesg | grep -c 'arm_spe_pmu:.*[R]ust' || true"
        before = self.sh(greetings)
        self.sh(f"insmod {self.driver_file(driver)}")
        is_rust = self.sh(greetings) != before
        if is_rust != (driver != "c"):
            raise MachineError(f"the kernel log does not show the {driver} driver:\n{self.sh('dmesg')[-2000:]}")
        self._at_load = self.hardware() if is_rust else None

    def unload(self):
        """Unloads the driver that load() has loaded."""
        self.account()
        self._at_load = None
        self.sh("rmmod arm_spe_pmu")

    def account(self):
        """Checks that each byte which the units have written since the driver was loaded is one that it knows of.

        Asked of every machine at its end, and before the driver goes. A scenario in which that cannot be says why, by
        setting `unaccounted`. A driver that came without load() was there from the beginning on.
        """
        now = None if self.unaccounted else self.hardware()
        if now is None:
            return
        if self._script_runs:
            raise MachineError("cannot account for the trace: a script still runs")
        lines = self.sh("cat /sys/kernel/debug/arm_spe_*/cpu* 2>/dev/null || true").splitlines()
        if self._at_load and not lines:
            raise MachineError("cannot account for the trace: the driver is gone, and not by unload()")
        if lines:
            known = sum(int(line.split()[1]) for line in lines if line.startswith("bytes "))
            written = total(now)["bytes"] - (total(self._at_load)["bytes"] if self._at_load else 0)
            assert known == written, f"the hardware has written {written} bytes, the driver knows of {known}"

    def complaints(self):
        """Returns what no scenario may cause: lines of the kernel log, and data races that the driver has a part in."""
        found = COMPLAINTS.findall(log := self.log())
        return [line for line in found
                if "BUG: KCSAN" not in line and not (self.known and re.search(self.known, line))
                ] + list(filter(kcsan.concerns_driver, kcsan.reports(log)))
