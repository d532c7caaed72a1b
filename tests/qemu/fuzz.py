#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""fuzz.py MINUTES [SEED]: random register values and random injections, in the QEMU that has sanitizers.

The bare-metal image (tests/qemu/baremetal) writes random values to all registers of the unit at every Exception level
while code runs, and looks whether anything but the buffers was written to. At the same time faults and interrupts are injected
from outside. A run on one machine ends after so many rounds of the image; then another machine and another seed follow,
each made from SEED (default 1) alone, until the time is over.

Fails with the first run in which QEMU does not end as it should, a sanitizer has something to say, the image finds
memory changed, or the counters do not add up. What was said stays in out/fuzz/, with the command. Runs in the build
root (see tests/env/with).
"""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
IMAGE = TOP / "build" / "baremetal" / "spe.elf"
OUT = TOP / "out" / "fuzz"

sys.path.insert(0, str(Path(os.environ["ARM_SPE_QEMU"], "python")))
from qemu.machine import QEMUMachine  # noqa: E402
from qemu.machine.machine import QEMUMachineError  # noqa: E402
from qemu.qmp import QMPError  # noqa: E402

#: As long as a run should take. The first takes ROUNDS.
SECONDS = 20
ROUNDS = 100
#: Between two injections from outside, roughly.
PAUSE = 0.03

#: A leak of a QEMU that ends in the middle of its work is none. Each kind of report has an exit status of its own.
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=0:exitcode=97",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=98",
}

MACHINES = ("", ",virtualization=on", ",secure=on,virtualization=on")
#: Properties of the CPU, of which each run has some.
PROPERTIES = (
    *(f"spe-version=1.{minor}" for minor in range(6)), "spe-cache=on", "spe-cache=on,spe-l1d-size=4096",
    "spe-prev-branch=on,spe-version=1.2", "spe-prev-branch=on,spe-version=1.5", "spe-inflight=100", "spe-align=1", "spe-align=2048,spe-max-record-size=2048", "spe-max-record-size=16,spe-align=8",
    "spe-count-size=16", "spe-walk-latency=70000", "spe-filter-type=off", "spe-ernd=off", "spe-owned=on",
)


def machine_of(chance):
    """The kind of machine and the properties of its CPU, by chance."""
    # In this order: what belongs together comes last, and goes for what was chosen before.
    chosen = sorted(chance.sample(PROPERTIES, chance.randrange(5)), key=lambda choice: choice.count(","))
    properties = dict(option.split("=") for choice in chosen for option in choice.split(","))
    return chance.choice(MACHINES), ",".join("=".join(option) for option in properties.items())


def injection_of(chance):
    """What to inject, by chance. Not another pointer: the image would not know where records may go then."""
    kind = chance.choice(("fault", "granule-fault", "external-abort", "full", "event", "collision",
                          "spurious-interrupt", "lost-interrupt"))
    options = []
    if kind == "fault":
        options += [f"stage={chance.randint(1, 2)}", f"fsc={chance.randrange(64)}"]
        if chance.random() < 0.5:
            options.append(f"partial={chance.randrange(2049)}")
        if chance.random() < 0.2:
            options.append("ea=on")
    elif kind == "event":
        options += [f"ec={chance.randrange(64)}", f"mss={chance.randrange(1 << 16)}"]
        if chance.random() < 0.2:
            options.append("dl=on")
    if chance.random() < 0.7:
        options.append(f"after={chance.choice((0, 1, 2, 10, chance.randrange(1000)))}")
    return ",".join([kind, *options])


class Failure(Exception):
    """A run that did not end as it should."""


def inject_while_it_runs(machine, chance):
    """Inject until QEMU has ended. How often that was, and the last counters."""
    injected, counters = 0, {}
    path = machine.cmd("query-cpus-fast")[0]["qom-path"]
    machine.cmd("cont")
    while machine.is_running():
        try:
            counters = machine.cmd("qom-get", path=path, property="spe-counters")
            if machine.qmp("qom-set", path=path, property="spe-inject", value=injection_of(chance)).get("return") == {}:
                injected += 1   # else too many are waiting
        except (QMPError, OSError):
            break               # it has ended
        done = (counters["collided"] + counters["filtered"] + counters["discarded"] + counters["dropped"]
                + counters["partial"] + counters["records"])
        if not 0 <= counters["selected"] - done <= 1:
            raise Failure(f"the counters do not add up: {counters}")
        time.sleep(chance.random() * 2 * PAUSE)
    return injected, counters


def run(qemu, seed, rounds, directory, limit=300):
    """One run; what was counted. Raises Failure."""
    chance = random.Random(seed)
    kind, properties = machine_of(chance)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    machine = QEMUMachine(
        str(qemu / "qemu-system-aarch64"), name="qemu", log_dir=str(directory), base_temp_dir="/tmp", args=[
            "-S", "-nodefaults", "-M", f"virt,gic-version=3{kind}", "-m", "128", "-smp", "1",
            "-cpu", f"max,pauth-impdef=on,spe=on,spe-seed={seed},{properties}".rstrip(","),
            "-chardev", f"file,id=console,path={directory}/console", "-serial", "chardev:console",
            "-semihosting-config", "enable=on,target=native",
            "-kernel", str(IMAGE), "-append", f"fuzz={rounds} seed={seed}"])
    began = time.monotonic()
    try:
        machine.launch()
        (directory / "command").write_text(f"{qemu} {machine.args}\n")
        injected, counters = inject_while_it_runs(machine, chance)
    except (Failure, QEMUMachineError) as failure:
        raise Failure(f"seed {seed}, machine {kind or 'EL1'} {properties}: {directory}\n{failure}") from None
    finally:
        try:
            machine.wait(timeout=limit)
        except Exception:   # pylint: disable=broad-except
            pass            # it had to be killed; there is no word of success then
    said = (directory / "console").read_text(errors="replace")
    log = (directory / "qemu.log").read_text(errors="replace")
    if machine.exitcode() or "ok 1 - fuzz" not in said or re.search(r"runtime error|Sanitizer|assert", log):
        report = re.search(r"^.*(?:ERROR: |runtime error|assert)(?:.*\n){1,15}", log, re.MULTILINE)
        raise Failure(f"status {machine.exitcode()}, seed {seed}, machine {kind or 'EL1'} {properties}: {directory}\n"
                      + "\n".join(said.splitlines()[-5:]) + "\n" + (report[0] if report else log[-2000:]))
    writes = int(re.findall(r"^# fuzz: .*?(\d+) register writes", said, re.MULTILINE)[-1])
    return Counter(runs=1, rounds=rounds, writes=writes, injections=injected, records=counters.get("records", 0),
                   events=counters.get("events", 0), selected=counters.get("selected", 0),
                   milliseconds=round((time.monotonic() - began) * 1000))


def fuzz(qemu, seconds, seed, directory=OUT, say=print):
    """Runs with seeds made of `seed`, until the time is over; what was counted. Raises Failure."""
    subprocess.run(["make", "-s", "-C", TOP / "tests/qemu/baremetal"], check=True)
    end = time.monotonic() + seconds
    rounds = ROUNDS
    total = Counter()
    for number in range(1 << 30):
        if total["runs"] and (left := end - time.monotonic()) < 1:
            return total
        done = run(qemu, seed * 1000 + number, rounds, directory)
        total += done
        say(f"seed {seed * 1000 + number}: " + ", ".join(f"{count} {what}" for what, count in done.items()
                                                         if what not in ("runs", "milliseconds")), flush=True)
        # The next one is to take as long as it should, and to end in time.
        left = end - time.monotonic()
        rounds = max(10, int(done["rounds"] * min(SECONDS, left) * 1000 / max(done["milliseconds"], 1)))
    return total


def main():
    """Fuzz, and say what was done."""
    minutes, seed = float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    os.environ.update(SANITIZERS)
    try:
        total = fuzz(Path(os.environ["ARM_SPE_QEMU_SANITIZED"]), minutes * 60, seed)
    except Failure as failure:
        sys.exit(f"fuzz: FAILED: {failure}")
    print("fuzz: OK: " + ", ".join(f"{count} {what}" for what, count in total.items() if what != "milliseconds"))


if __name__ == "__main__":
    main()
