# SPDX-License-Identifier: GPL-2.0
"""The machine itself, as a machine with SPE that tests run on: a board or a server, as root.

There is no emulated unit to ask: what the hardware has written is not known, nothing is injected, and no register is
traced. Scenarios that can do without are marked `board`. They use both drivers, so that the driver that was loaded
before is loaded again at the end.
"""

import gzip
import lzma
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from machine import SLACK, Machine, MachineError
from paths import TOP

RELEASE = os.uname().release
#: This project's driver, as `make` or `make DEBUG=1` on the machine has built it.
MODULE = TOP / "build" / "module" / "arm_spe_pmu.ko"
LOADED = Path("/sys/module/arm_spe_pmu")


def c_driver():
    """Returns the module of the kernel's own driver."""
    # DKMS moves it to a place of its own.
    for place in Path("/lib/modules", RELEASE, "kernel"), Path("/var/lib/dkms/arm-spe-pmu/original_module", RELEASE):
        if found := sorted(place.rglob("arm_spe_pmu.ko*")):
            return found[0]
    raise MachineError(f"no module of the C driver in /lib/modules/{RELEASE}/kernel: it is built in, or not built")


def unpacked(module):
    """Returns the content of a module's file, uncompressed."""
    if module.suffix == ".zst":
        return subprocess.run(["zstd", "-dcq", module], check=True, stdout=subprocess.PIPE).stdout
    with {".xz": lzma.open, ".gz": gzip.open}.get(module.suffix, open)(module, "rb") as file:
        return file.read()


def loaded_driver():
    """Returns the file of the driver that is loaded, None if there is none. It can be another one than modprobe takes."""
    if not LOADED.exists():
        return None
    build_id = LOADED / "notes/.note.gnu.build-id"
    modules = Path("/lib/modules", RELEASE)
    for file in (*sorted(modules.glob("updates/**/arm_spe_pmu.ko*")), *sorted(modules.rglob("arm_spe_pmu.ko*")),
                 *sorted(Path("/var/lib/dkms/arm-spe-pmu").rglob("arm_spe_pmu.ko*")), MODULE):
        if build_id.exists() and file.exists() and build_id.read_bytes() in unpacked(file):
            return file
    raise MachineError("the driver that is loaded is of none of the files here, and could not be loaded again:"
                       " unload it first (rmmod arm_spe_pmu)")


class Board(Machine):
    """The machine itself."""

    def __init__(self, directory):
        """Takes the machine, keeping what is fetched in directory. Unloads the driver that is loaded."""
        super().__init__()
        if os.geteuid():
            raise MachineError("run this as root: it loads drivers")
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process = self._output = None
        self._closed = False
        self._before = loaded_driver()
        self._mark = f"tests of arm_spe_pmu {os.getpid()} {id(self)}"
        if self._before:
            self.sh("rmmod arm_spe_pmu")
        self.excuse()

    def begin(self, script):
        """Starts a bash script."""
        self._script_runs = True
        # To a file, as in a guest: perf writes its data to a pipe, and what goes on in the background would keep one open.
        # pylint: disable-next=consider-using-with
        self._output = tempfile.TemporaryFile()
        # pylint: disable-next=consider-using-with
        self._process = subprocess.Popen(["bash", "-c", script], stdin=subprocess.DEVNULL, stdout=self._output,
                                         stderr=subprocess.STDOUT, cwd="/")

    def finish(self, timeout=120):
        """Waits for the end of the script that began last. Returns its exit status and its output."""
        try:
            self._process.wait(SLACK * timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise MachineError(f"no answer within {SLACK * timeout} s") from None
        self._script_runs = False
        with self._output:
            self._output.seek(0)
            return self._process.returncode, self._output.read().decode(errors="replace")

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
        plain = self.directory / "arm_spe_pmu.ko"
        plain.write_bytes(unpacked(c_driver()))
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
        if self._before:
            self.run(f"insmod {self._before}")
