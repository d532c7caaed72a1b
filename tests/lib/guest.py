# SPDX-License-Identifier: GPL-2.0
"""A guest: QEMU with a kernel, perf, both drivers and the test programs.

The harness talks to the guest's agent over one virtio port and transfers files over another.
Nothing here waits by the clock: the guest says when it is ready and when a script has ended.
"""

import fcntl
import io
import os
import re
import select
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

from kernel import STOCK
from machine import SLACK, Machine, MachineError
from paths import TOP
from saved import Saved

QEMU = Path(os.environ["ARM_SPE_QEMU"])
INITRAMFS = Path(os.environ["ARM_SPE_INITRAMFS"])
#: For Guest(adds=...), with pytest.mark.needs("bpftrace"): an initramfs with bpftrace.
BPFTRACE = Path(os.environ.get("ARM_SPE_BPFTRACE", "none"))
PROGRAMS = TOP / "build" / "payload"

sys.path.insert(0, str(QEMU / "python"))
from qemu.machine import QEMUMachine  # noqa: E402

#: For Guest(arguments=...): the machine starts with UEFI firmware, and ACPI tables describe it instead of the
#: device tree.
UEFI = ("-bios", os.environ.get("ARM_SPE_UEFI", "none"))
#: The options, for a file each, with which a machine is saved.
SAVED_WITH = ("-bios", "-dtb")

#: An access of the guest to a register of the profiling unit; a value as it was written, before the
#: unit ignores what it does not have.
Access = namedtuple("Access", "cpu register value")
ACCESS = re.compile(r"^arm_spe_(?:read|write) cpu (\d+) (\S+) 0x([0-9a-f]+)$", re.MULTILINE)


def overlay(path, files, adds=()):
    """Writes to path the base initramfs with others and with files (name in the guest: content or Path) added.

    The same files make the same bytes, so that two guests can boot alike.
    """
    with tempfile.TemporaryDirectory() as directory:
        for name, content in files.items():
            file = Path(directory, name.lstrip("/"))
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copy(content, file)
            else:
                file.write_text(content)
        archive = subprocess.run(
            "find . -exec touch -h -d @0 {} + && find . -mindepth 1 | LC_ALL=C sort"
            " | cpio -o -H newc -R 0:0 --reproducible --quiet",
            shell=True, check=True, cwd=directory, stdout=subprocess.PIPE,
        ).stdout
    with open(path, "wb") as out:
        for initramfs in (INITRAMFS, *adds):
            out.write(initramfs.read_bytes())
        out.write(archive)


def archive(files):
    """Returns files, given as for overlay(), as a tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.lstrip("/"))
            data = content.read_bytes() if isinstance(content, Path) else content.encode()
            entry.size = len(data)
            entry.mode = content.stat().st_mode if isinstance(content, Path) else 0o644
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def programs():
    """Builds the programs that every guest has, and returns them."""
    with open(TOP / "tests" / "payload" / "Makefile", "rb") as makefile:
        fcntl.flock(makefile, fcntl.LOCK_EX)
        subprocess.run(["make", "-s", "-C", TOP / "tests" / "payload"], check=True)
    return {f"usr/bin/{program.name}": program for program in sorted(PROGRAMS.iterdir()) if os.access(program, os.X_OK)}


def drivers(scratch, kernel=STOCK, rust=True):
    """Returns the drivers that every guest gets."""
    c_module = Path(scratch, "arm_spe_pmu_c.ko")
    c_module.write_bytes(kernel.module("arm_spe_pmu"))
    files = {"usr/lib/drivers/c/arm_spe_pmu.ko": c_module}
    if rust and kernel.rust_module:
        files["usr/lib/drivers/rust/arm_spe_pmu.ko"] = kernel.rust_module
    if rust and kernel.checked_module and kernel.checked_module.exists():
        files["usr/lib/drivers/checked/arm_spe_pmu.ko"] = kernel.checked_module
    return files


def coverage_arguments():
    """Returns the plugin's arguments for ARM_SPE_COVERAGE=DIRECTORY, its output; see `make coverage`."""
    directory = os.environ.get("ARM_SPE_COVERAGE")
    return ["-plugin", f"{TOP}/build/plugin/coverage.so,out={directory}"] if directory else []


def qemu_arguments(kernel, initrd, cpu, smp, memory, append):
    """Returns the arguments for the machine of every guest."""
    return [
        "-nodefaults", "-no-reboot",
        "-M", "virt,gic-version=3", "-cpu", cpu, "-smp", str(smp), "-m", memory,
        "-kernel", str(kernel.image), "-initrd", str(initrd),
        "-append", " ".join(filter(None, ["console=ttyAMA0 panic=-1", kernel.append, append])),
    ]


class Guest(Machine):
    """A booted guest. Use as a context manager, or call close()."""

    #: What the guest writes there is in `notes`, even if the guest is lost.
    NOTES = "/dev/vport0p3"
    CPU = "max,pauth-impdef=on"
    SPE = "spe=on"

    # pylint: disable=too-many-arguments
    def __init__(self, directory, *, kernel=STOCK, spe=None, smp=2, memory="2G", append="",
                 files=None, qemu=None, arguments=(), rust=True, initrd=None, adds=()):
        """Boots, keeping the console log and the transcript in directory.

        A machine that has booted before is restored instead (see saved.py), unless it has arguments other than
        those of SAVED_WITH.

        spe: cpu properties of the profiling extension; "" for a machine without it.
        initrd: used in the place of the guest's own; it has to start the agent.
        adds: initramfs files that are added to the guest's own.
        """
        super().__init__()
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.console = self.directory / "console.log"
        self.notes = self.directory / "notes"
        self._transcript = open(self.directory / "transcript.log", "w", encoding="utf-8")
        # Unix socket names have to be short.
        self._scratch = tempfile.TemporaryDirectory(prefix="guest.")
        self.scratch = Path(self._scratch.name)
        spe = self.SPE if spe is None else spe
        self._qemu = str(qemu or QEMU / "qemu-system-aarch64")
        coverage = coverage_arguments()
        if coverage:
            append += " nokaslr"    # the plugin has to know where modules are loaded
        can_be_saved = not initrd and not coverage and (not arguments or arguments[0] in SAVED_WITH)
        self._later = {}
        if not initrd:
            initrd = self.scratch / "initrd"
            at_boot, self._later = programs(), {**drivers(self.scratch, kernel, rust), **(files or {})}
            if not can_be_saved:
                at_boot, self._later = {**at_boot, **self._later}, {}
            overlay(initrd, at_boot, adds)
        self._arguments = [
            *qemu_arguments(kernel, initrd, ",".join(filter(None, [self.CPU, spe])),
                            smp, memory, append),
            "-chardev", f"file,id=console,path={self.console},append=on",
            "-serial", "chardev:console",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=control,path={self.scratch}/control",
            "-device", "virtserialport,chardev=control,nr=1,name=control",
            "-chardev", f"socket,id=files,path={self.scratch}/files",
            "-device", "virtserialport,chardev=files,nr=2,name=files",
            "-chardev", f"file,id=notes,path={self.notes},append=on",
            "-device", "virtserialport,chardev=notes,nr=3,name=notes",
            *coverage, *arguments,
        ]
        self.kernel = kernel
        self._boot_timeout = kernel.boot_timeout
        self._listeners = [self._listener(name) for name in ("control", "files")]
        self._machines = []
        self._control = self._files = None
        self._pending = b""
        self._excused = 0
        try:
            self._boot_or_restore(Saved(*self._parts(initrd, at_boot, adds)) if can_be_saved else None)
            self.put(self._later)
        except BaseException:
            self.close()
            raise

    def _parts(self, initrd, at_boot, adds):
        """Yields what makes the machine: QEMU and its arguments, with files in the place of their names."""
        yield Path(self._qemu)
        for argument in self._arguments:
            if argument == str(initrd):
                yield from (INITRAMFS, *adds, *at_boot, *at_boot.values())
            elif os.path.isfile(argument):
                yield Path(argument)
            else:
                yield argument.replace(str(self.scratch), "").replace(str(self.directory), "")

    def _boot_or_restore(self, saved):
        if not saved:
            self._launch()
            self._until_ready()
            return
        with saved.lock():
            restorable = saved.is_complete()
            if not restorable:
                self._launch()
                self._until_ready()
                saved.keep(self.save, self.console)
                self.qmp("cont")
        if restorable:
            shutil.copy(saved.console, self.console)
            try:
                self._restore(f"exec:zstd -dqc {shlex.quote(str(saved.state))}")
            except Exception:
                saved.forget()    # it is damaged
                raise

    def _listener(self, name):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{self.scratch}/{name}")
        listener.listen(1)
        listener.settimeout(60)
        return listener

    def _launch(self, *more):
        """Starts a QEMU of this guest's machine, and talks to the guest through it from now on."""
        number = f"{len(self._machines) or ''}"
        self._trace = self.directory / f"trace{number}.log"
        self._machine = QEMUMachine(
            self._qemu, args=[*self._arguments, "-D", str(self._trace), *more],
            # It does not outlive a run that is killed.
            wrapper=("setpriv", "--pdeathsig", "KILL"),
            name=f"qemu{number}", base_temp_dir=str(self.scratch), log_dir=str(self.directory))
        self._machine.launch()
        self._machines.append(self._machine)
        self._control, self._files = (listener.accept()[0] for listener in self._listeners)

    def _until_ready(self):
        if (word := self._until_nul(self._boot_timeout)) != "ready":
            raise MachineError(f"the guest's agent said {word!r}")

    def _receive(self, connection, timeout):
        connection.settimeout(SLACK * timeout)
        try:
            data = connection.recv(1 << 16)
        except TimeoutError:
            raise MachineError(f"no answer within {SLACK * timeout} s; the console ends:\n"
                             f"{self.console_tail()}") from None
        if not data:
            raise MachineError(f"the guest is gone; the console ends:\n{self.console_tail()}")
        return data

    def _until_nul(self, timeout):
        while b"\0" not in self._pending:
            self._pending += self._receive(self._control, timeout)
        word, self._pending = self._pending.split(b"\0", 1)
        return word.decode(errors="replace")

    @property
    def pid(self):
        """The process ID of QEMU."""
        return self._machine.get_pid()

    def console_tail(self, lines=30):
        """Returns the last lines of the console log."""
        return "\n".join(self.console.read_text(errors="replace").splitlines()[-lines:])

    def begin(self, script):
        """Starts a bash script in the guest; finish() has to follow, for its result."""
        self._transcript.write(f"$ {script}\n")
        self._transcript.flush()
        self._script_runs = True
        self._control.sendall(script.encode() + b"\0")

    def finish(self, timeout=120):
        """Waits for the end of the script that began last. Returns its exit status and its output."""
        status = int(self._until_nul(timeout))
        output = self._until_nul(timeout)
        self._script_runs = False
        self._transcript.write(f"{output}[status {status}]\n\n")
        self._transcript.flush()
        return status, output

    def hear(self, timeout=120):
        """Waits until the script has written to /dev/vport0p2. Returns the data, or b"" if the script ends without."""
        ready, _, _ = select.select([self._files, self._control], [], [], SLACK * timeout)
        return b"" if ready == [self._control] else self._receive(self._files, timeout)

    def answer(self):
        """Continues a script that has written to /dev/vport0p2 and reads a line from it, without closing it between."""
        self._files.sendall(b"\n")

    def fetch(self, path, timeout=120):
        """Copies a file from the guest into this guest's directory. Returns its Path there."""
        size = int(self.sh(f"stat -L -c %s {path}"))
        target = self.directory / Path(path).name
        self._control.sendall(f"cat {path} >/dev/vport0p2".encode() + b"\0")
        with open(target, "wb") as out:
            while size > 0:
                data = self._receive(self._files, timeout)
                out.write(data)
                size -= len(data)
        if status := int(self._until_nul(timeout)):
            raise MachineError(f"cannot take {path}: status {status}: {self._until_nul(timeout)}")
        self._until_nul(timeout)
        return target

    def put(self, files, timeout=120):
        """Unpacks files, given as for overlay(), in the guest."""
        if not files:
            return
        content = archive(files)
        self.begin(f"head -c {len(content)} </dev/vport0p2 | tar -x -C /")
        self._files.sendall(content)
        if (done := self.finish(timeout))[0]:
            raise MachineError(f"cannot put files into the guest: {done[1]}")

    def driver_file(self, driver):
        """Returns where the module of a driver is."""
        return f"/usr/lib/drivers/{driver}/arm_spe_pmu.ko"

    def log(self):
        """Returns the console log since the last excuse()."""
        return self.console.read_bytes()[self._excused:].decode(errors="replace")

    def excuse(self):
        """Ignores the kernel's complaints so far, which were provoked."""
        self._excused = self.console.stat().st_size

    def qmp(self, command, **arguments):
        """Sends a QMP command and returns its answer. Errors are raised."""
        return self._machine.cmd(command, **arguments)

    def _units(self):
        """Returns the QOM paths of the CPUs."""
        return [cpu["qom-path"] for cpu in self.qmp("query-cpus-fast")]

    def hardware(self):
        """Returns the counters of each CPU's unit (spe-counters), which say what became of the samples."""
        return [self.qmp("qom-get", path=path, property="spe-counters") for path in self._units()]

    def inject(self, cpu, what):
        """Makes the unit of a CPU report what is hard to bring about (spe-inject)."""
        self.qmp("qom-set", path=self._units()[cpu], property="spe-inject", value=what)

    def _until_migrated(self, command, uri, **arguments):
        """Starts an outgoing or incoming migration of this QEMU and waits for its end."""
        self.qmp("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        self.qmp(command, uri=uri, **arguments)
        ended = [("MIGRATION", {"data": {"status": status}}) for status in ("completed", "failed")]
        event = self._machine.events_wait(ended, timeout=SLACK * 60.0)
        if not event or event["data"]["status"] != "completed":
            raise OSError(f"migration with {uri} failed")

    def save(self, path):
        """Stops the guest and saves its state in a file for resume()."""
        self.qmp("stop")
        self._until_migrated("migrate", f"file:{path}")
        while self.qmp("query-status")["status"] == "finish-migrate":
            pass    # short, and without an event at its end

    def resume(self, path):
        """Continues from a saved state, in another QEMU of the same machine."""
        self._machine.shutdown()
        self._restore(f"file:{path}")

    def _restore(self, uri):
        self._launch("-incoming", "defer")
        self._until_migrated("migrate-incoming", uri, exit_on_error=False)
        self.qmp("cont")

    def migrate(self, look=lambda guest: None):
        """Migrates the running guest to another QEMU of the same machine. Only fetch() may not be in progress.

        Returns the results of look(guest) in the source, and in the target before the guest continues there.
        """
        source, control, files = self._machine, self._control, self._files
        address = f"unix:{self.scratch}/migration"
        self._launch("-S", "-incoming", "defer")
        target, self._machine = self._machine, source
        target.cmd("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        target.cmd("migrate-incoming", uri=address)
        self._until_migrated("migrate", address)
        left = look(self)
        source.shutdown()
        # The guest's output from before the migration.
        while data := control.recv(1 << 16):
            self._pending += data
        control.close()
        files.close()
        self._machine = target
        target.event_wait("MIGRATION", match={"data": {"status": "completed"}})
        found = look(self)
        self.qmp("cont")
        return left, found

    def reset(self, look=lambda guest: None):
        """Presses the reset button and boots again. Returns the result of look(guest) between the two."""
        self.qmp("set-action", reboot="reset")
        self.qmp("stop")
        self.qmp("system_reset")
        self._machine.event_wait("RESET")
        # The driver's counters from before the reset are lost.
        self._at_load = None
        found = look(self)
        self.qmp("cont")
        self._until_ready()
        self.put(self._later)
        return found

    def jumps(self, script):
        """Runs a script that starts another kernel, with the initramfs and the agent of this one (put_kernel).

        Returns the lines of the trace from the start of the script on: how the units were written, and what became of
        each operation that they selected.
        """
        for event in ("write", "record", "filtered", "discarded"):
            self.qmp("trace-event-set-state", name=f"arm_spe_{event}", enable=True)
        before = self._trace.stat().st_size
        # The driver's counters are lost.
        self._at_load = None
        self.begin(script)
        self._until_ready()
        self._script_runs = False
        self.put(self._later)
        with open(self._trace, encoding="utf-8") as trace:
            trace.seek(before)
            return trace.read().splitlines()

    def put_kernel(self):
        """Puts /tmp/Image and /tmp/initrd in the guest, for jumps()."""
        self.put({"tmp/Image": self.kernel.image, "tmp/initrd": self.scratch / "initrd"})

    @contextmanager
    def registers(self, *kinds):
        """Yields a list that has every Access to the unit's registers, of the time of the context, when this has ended.

        kinds: "read" and "write"; by default "write" alone.
        """
        accesses = []
        events = [f"arm_spe_{kind}" for kind in kinds or ("write",)]
        before = self._trace.stat().st_size
        for event in events:
            self.qmp("trace-event-set-state", name=event, enable=True)
        try:
            yield accesses
        finally:
            for event in events:
                self.qmp("trace-event-set-state", name=event, enable=False)
        accesses += self._accesses(before)

    def ends(self, script, timeout=120):
        """Runs a script that ends the machine. Returns each Access with which the units were written until then."""
        self.qmp("trace-event-set-state", name="arm_spe_write", enable=True)
        before = self._trace.stat().st_size
        self.unaccounted = "the machine has ended"
        self.begin(script)
        self._machine.wait(timeout=SLACK * timeout)
        return self._accesses(before)

    def _accesses(self, offset):
        """Returns each Access in the trace from an offset on."""
        with open(self._trace, encoding="utf-8") as trace:
            trace.seek(offset)
            return [Access(int(cpu), register, int(value, 16)) for cpu, register, value in ACCESS.findall(trace.read())]

    def quit(self):
        """Ends QEMU in an orderly way, so that its plugins flush their output."""
        self.account()
        self.unaccounted = "it was, before it ended"
        self._machine.shutdown(timeout=60)

    def close(self):
        """Ends QEMU. The console log and transcript are kept."""
        for machine in self._machines:
            try:
                machine.shutdown(hard=True)
            except Exception:  # pylint: disable=broad-except
                # QEMU has ended by itself (a crash or a panic), which was reported before.
                pass
        for connection in (*self._listeners, self._control, self._files):
            if connection:
                connection.close()
        self._transcript.close()
        self._scratch.cleanup()
