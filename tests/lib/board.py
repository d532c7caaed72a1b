# SPDX-License-Identifier: GPL-2.0
"""The machine itself, as a machine with SPE that tests run on: a board or a server, as root.

There is no emulated unit to ask: what the hardware has written is not known, nothing is injected, and no register is
traced. Scenarios that can do without are marked `board`. They use both drivers, so that the driver that was loaded
before is loaded again at the end.
"""

import os
import shutil
import subprocess
from pathlib import Path

from machine import SLACK, Machine, MachineError
from paths import TOP

#: Programs for scenarios: compiled here, or brought along.
PROGRAMS = TOP / "build" / "payload"
RELEASE = os.uname().release
#: This project's driver, as `make` or `make DEBUG=1` on the machine has built it.
MODULE = TOP / "build" / "module" / "arm_spe_pmu.ko"
LOADED = Path("/sys/module/arm_spe_pmu")


def c_driver():
    """Returns the module of the kernel's own driver."""
    found = sorted(Path("/lib/modules", RELEASE, "kernel").rglob("arm_spe_pmu.ko*"))
    if not found:
        raise MachineError(f"no module of the C driver in /lib/modules/{RELEASE}/kernel: it is built in, or not built")
    return found[0]


class Board(Machine):
    """The machine itself."""

    def __init__(self, directory):
        """Takes the machine, keeping what is fetched in directory. Unloads the driver that is loaded."""
        super().__init__()
        if os.geteuid():
            raise MachineError("run this as root: it loads drivers")
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process = None
        self._closed = False
        self._environment = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
        self._was_loaded = LOADED.exists()
        self._mark = f"tests of arm_spe_pmu {os.getpid()} {id(self)}"
        if self._was_loaded:
            self.sh("rmmod arm_spe_pmu")
        self.excuse()

    def begin(self, script):
        """Starts a bash script."""
        self._script_runs = True
        # pylint: disable-next=consider-using-with
        self._process = subprocess.Popen(["bash", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, env=self._environment, cwd="/")

    def finish(self, timeout=120):
        """Waits for the end of the script that began last. Returns its exit status and its output."""
        try:
            output, _ = self._process.communicate(timeout=SLACK * timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise MachineError(f"no answer within {SLACK * timeout} s") from None
        self._script_runs = False
        return self._process.returncode, output.decode(errors="replace")

    def fetch(self, path, timeout=120):
        """Copies a file."""
        target = self.directory / Path(path).name
        if target != Path(path):
            shutil.copyfile(path, target)
        return target

    def put(self, files, timeout=120):
        """Writes files."""
        for name, content in files.items():
            target = Path("/", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copy(content, target)
            else:
                target.write_text(content)

    def driver_file(self, driver):
        """Returns where the module of a driver is, uncompressed."""
        if driver == "rust":
            return MODULE
        if driver != "c":
            raise MachineError(f"the driver {driver} is not built on a board")
        module, plain = c_driver(), self.directory / "arm_spe_pmu.ko"
        unpack = {".xz": "xz -dc", ".zst": "zstd -dc", ".gz": "gzip -dc"}.get(module.suffix, "cat")
        self.sh(f"{unpack} {module} >{plain}")
        return plain

    def log(self):
        """Returns the kernel log since the machine was taken, or since excuse()."""
        return self.sh("dmesg").rpartition(self._mark)[2]

    def excuse(self):
        """Forgets the kernel's complaints so far."""
        Path("/dev/kmsg").write_text(f"{self._mark}\n")

    def hardware(self):
        """Returns None: no real unit counts its samples."""
        return None

    def close(self):
        """Loads the driver that was there before."""
        if self._closed:
            return
        self._closed = True
        if LOADED.exists():
            self.run("rmmod arm_spe_pmu")
        if self._was_loaded:
            self.run("modprobe arm_spe_pmu")
