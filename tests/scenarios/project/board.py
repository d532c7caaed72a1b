# SPDX-License-Identifier: GPL-2.0
"""tools/board-test tests the machine itself, with either driver, leaves a report, and changes nothing for good.

A guest plays the machine.
"""

import io
import json
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from kernel import STOCK
from paths import TOP

pytestmark = pytest.mark.needs("board")

C_MODULE = f"lib/modules/{STOCK.release}/kernel/drivers/perf/arm_spe_pmu.ko"


def checkout():
    """The parts of this checkout that a board needs, built, as a tar file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("dkms.conf", "tests/board", "tests/pytest.ini", "tests/lib", "tests/scenarios", "tools", "scripts", "build/payload"):
            tar.add(TOP / name, name, filter=lambda entry: None if "__pycache__" in entry.name else entry)
        tar.add(STOCK.rust_module, "build/module/arm_spe_pmu.ko")
    return out.getvalue()


#: Little work: the figures depend on the machine.
FEW = "WORK=1 TURNS=50 PERIOD=256 TIMES=1"

#: What may not be in a report: the machine has it all.
NAMES = ("board-of-alice", "alicia", "Alicia Liddell", "Liddell")
NAMED = """
hostname board-of-alice
echo 'alicia:x:1000:1000:Alicia Liddell,,,:/home/alicia:/bin/bash' >>/etc/passwd
mkdir -p /home/alicia
echo 2 >/proc/sys/kernel/perf_event_paranoid
setsid sleep 10000 >/dev/null 2>&1 &
"""

#: A scenario that fails, and says names. The word is not in this file, which would be one of a board then.
BROKEN = f"""# SPDX-License-Identifier: GPL-2.0
import os
import pytest
pytestmark = pytest.mark.{'board'}

def test_broken(guest):
    assert not guest, (os.uname().nodename, os.getcwd(), "home of alicia", chr(0) + "board-of-alice" + chr(1))
"""

#: What a run may not change: the driver, settings, files, mounts, processes.
LEFT = """
od -An -tx1 /sys/module/arm_spe_pmu/notes/.note.gnu.build-id 2>/dev/null || echo no driver
cat /proc/sys/kernel/perf_event_paranoid /proc/sys/kernel/perf_event_max_sample_rate
ls -A /tmp /run /root | grep -vx arm-spe-board-test.lock
cat /proc/mounts
pgrep -x sleep
grep -las ARM_SPE_BOARD_RUN /proc/[0-9]*/environ || true
"""

#: One that records until it is stopped, has changed a setting, and has a process of a session of its own.
ENDLESS = f"""# SPDX-License-Identifier: GPL-2.0
import pytest
pytestmark = pytest.mark.{'board'}

def test_endless(guest):
    guest.sh("echo -1 >/proc/sys/kernel/perf_event_paranoid; setsid sleep 20000 & "
             "perf record -o /dev/null -e arm_spe/discard/u -N -B -- sleep 30000", timeout=10000)
"""

#: A recording has begun, of this run, and the setting is that of the scenario.
RECORDS = """
until grep -qs '^Scenarios with' /output && grep -qsx -e -1 /proc/sys/kernel/perf_event_paranoid &&
    [ "$(cat /sys/module/arm_spe_pmu/refcnt)" -gt 0 ]; do
    kill -0 $! || break
    sleep 0.1
done 2>/dev/null
"""


@pytest.fixture
def board(boot, artefacts):
    """A function that boots a machine with Python, pytest, names, and a checkout of user 1000."""
    def boot_one(place="/root/checkout", **options):
        archive, c_module = artefacts / "checkout.tar", artefacts / "c.ko"
        archive.write_bytes(checkout())
        c_module.write_bytes(STOCK.module("arm_spe_pmu"))
        guest = boot(files={"root/board.tar": Path(os.environ["ARM_SPE_BOARD"]), "root/checkout.tar": archive, C_MODULE: c_module}, **options)
        guest.unaccounted = "one driver after the other"
        guest.sh(f"{NAMED}tar -xmf /root/board.tar -C / --keep-directory-symlink && mkdir {place} && tar -xmf /root/checkout.tar -C {place}"
                 f" && rm /root/*.tar && chown 1000 {place} && depmod")
        return guest

    return boot_one


@pytest.fixture
def machine(board):
    """A machine that has loaded the C driver."""
    guest = board()
    guest.sh("modprobe arm_spe_pmu")
    return guest


@pytest.mark.timeout(900)
@pytest.mark.parametrize("place, load, selected", [
    # A checkout below /tmp is there as well where scenarios have a /tmp of their own. The driver is not modprobe's.
    pytest.param("/tmp/checkout", "insmod build/module/arm_spe_pmu.ko", "discard or broken", id="rust"),
    pytest.param("/home/alicia/checkout", "modprobe arm_spe_pmu", "discard", id="c", marks=pytest.mark.long),
    pytest.param("/root/checkout", "true", "", id="none-all", marks=[pytest.mark.long, pytest.mark.timeout(2400)]),
])
def test_report(board, place, load, selected):
    """The whole command, with each driver loaded before: the report has all of it and no names, and nothing is changed."""
    guest = board(place)
    if is_broken := "broken" in selected:
        guest.put({f"{place}/tests/scenarios/driver/broken.py": BROKEN})
    guest.sh(f"cd {place} && {load}")
    before = guest.sh(LEFT)
    status, output = guest.run(f"cd {place} && MINUTES=60 {FEW} T='{selected}' tools/board-test 2>&1", timeout=1200)
    assert guest.sh(LEFT) == before, output
    report, text = json.loads(guest.sh(f"cat {place}/out/board/report.json")), guest.sh(f"cat {place}/out/board/report.txt")
    assert (status, report["outcome"]) == ((1, "failed") if is_broken else (0, "passed")), output
    assert not report["skipped"] and text in output, output
    assert not [name for name in NAMES if name in text or name in json.dumps(report)], output
    for driver in "rust", "c":
        results = {name: test["result"] for name, test in report["results"][driver]["tests"].items()}
        if is_broken:
            assert results.pop("broken::test_broken") == "failed"
        assert set(results.values()) == {"passed"} and len(results) > (1 if selected else 25), output
        assert report["drivers"][driver]["pmus"]["arm_spe_0"]["caps"]["min_interval"] == "1024"
    if is_broken:
        assert "('(host)', '(checkout)/tests', 'home of (user)'" in text, output
    assert len(report["costs"]["rows"]) == 2 and report["machine"]["ID registers"]["0-1"]["midr_el1"].startswith("0x")
    # Of whom the checkout is.
    assert guest.sh(f"stat -c %u {place}/out/board/report.txt") == "1000"


@pytest.mark.timeout(900)
@pytest.mark.long
def test_stopped(machine):
    """A run is killed in a recording. The next restores what was there before, and is stopped in one, on a full disk."""
    before = machine.sh(LEFT)
    machine.put({"root/checkout/tests/scenarios/driver/endless.py": ENDLESS})
    machine.sh("mkdir /small && mount -t tmpfs -o size=1M small /small")
    mounted = machine.sh(LEFT)
    start = "cd /root/checkout; export DRIVER=rust T=endless MINUTES=60 REPORT=/small;"
    machine.sh(f"{start} tools/board-test >/output 2>&1 & {RECORDS} kill -9 $!; wait $!; [ -e /run/arm-spe-board-test/state.json ]", timeout=300)
    assert machine.sh(LEFT) != mounted
    status, output = machine.run(f"rm /output; {start} tools/board-test >/output 2>&1 & {RECORDS} tools/board-test 2>&1; echo status $?;"
                                 " dd if=/dev/zero of=/small/fill 2>/dev/null; kill -TERM $!; wait $!; status=$?; cat /output; exit $status",
                                 timeout=300)
    assert status == 143 and "restoring what was there" in output and "another run has not ended\nstatus 2" in output, output
    assert "the report cannot be written: No space left" in output and ": stopped\n" in output, output
    assert machine.sh(LEFT) == mounted, output
    machine.sh("umount /small && rmdir /small")
    assert machine.sh(LEFT) == before


@pytest.mark.timeout(900)
@pytest.mark.long
def test_time(machine):
    """The limit holds. What was not done is in the report, and a run that was killed can be restored alone."""
    before = machine.sh(LEFT)
    status, output = machine.run("cd /root/checkout; export T=discard MINUTES=1; time tools/board-test 2>&1", timeout=300)
    assert status == 1 and ": incomplete\n" in output and "the time was over" in output, output
    assert machine.sh(LEFT) == before, output
    output = machine.sh("cd /root/checkout; export DRIVER=c; tools/board-test >/dev/null 2>&1 & until [ -e /run/arm-spe-board-test/state.json ]; do"
                        " sleep 0.1; done; kill -9 $!; wait; tools/board-test --restore")
    assert "restoring what was there" in output and machine.sh(LEFT) == before, output


@pytest.mark.timeout(900)
@pytest.mark.long
@pytest.mark.parametrize("which", ["rust", "c"])
def test_board(machine, which):
    """tests/board alone loads the driver again that was there, too."""
    before = machine.sh(LEFT)
    output = machine.sh(f"cd /root/checkout && DRIVER={which} tests/board -q -k discard 2>&1 || {{ echo status $?; false; }}", timeout=300)
    passed, failed = map(int, re.search(r"^(\d+) passed, (\d+) failed", output, re.MULTILINE).groups())
    assert passed == 2 and not failed, output
    assert machine.sh(LEFT) == before, output


#: {what is done: what is said, in one line}. What is missing in the end stays so.
REFUSED = {
    "setpriv --reuid 1000 --regid 1000 --clear-groups tools/board-test": "run this as root",
    "DRIVER=x tools/board-test": "DRIVER=x: give rust",
    "MINUTES=0 tools/board-test": "MINUTES=0: give a number",
    "MINUTES=1000 tools/board-test": "MINUTES=1000: give a number",
    "REPORT=/proc/report tools/board-test": "cannot be written to /proc/report: No such file",
    "mkdir /full; mount -t tmpfs -o size=64k full /full; REPORT=/full tools/board-test": "cannot be written to /full: No space left",
    "perf record -o /dev/null -e arm_spe/discard/u -N -B -- sleep 1000 >/dev/null 2>&1 & until [ $(cat /sys/module/arm_spe_pmu/refcnt) != 0 ];"
    " do :; done; tools/board-test; status=$?; pkill perf; wait; exit $status": "is in use",
    f"mv /{C_MODULE} /c.ko; tools/board-test": "is of none of the files here",
    f"mv /c.ko /{C_MODULE}; cp /dev/null build/module/arm_spe_pmu.ko; DRIVER=rust tools/board-test": "Rust driver: cannot load rust.ko",
    "rm build/module/arm_spe_pmu.ko; tools/board-test": "run make first",
    "rm build/module/arm_spe_pmu.ko; tests/board": "run make first",
    "rm /usr/bin/perf; DRIVER=c tools/board-test": "perf is missing",
}


@pytest.mark.timeout(900)
@pytest.mark.long
def test_refused(machine):
    """What is wrong is said in one line each, before anything is changed."""
    before = machine.sh(f"chmod 755 /root; {LEFT}")
    for how, said in REFUSED.items():
        status, output = machine.run(f"cd /root/checkout; exec 2>&1; {how}")
        assert status == 2 and said in output and output.count("error: ") == 1, (how, status, output)
        assert machine.sh(LEFT.replace("cat /proc/mounts", "grep -v /full /proc/mounts")) == before, how
    missing = machine.run("cd /root/checkout; rm build/payload/workload; mv /usr/bin/python3 /usr/bin/python; DRIVER=c tools/board-test 2>&1")
    assert re.findall(r"^error: (\w+) is missing: install it \(Debian: [\w-]+\)$", missing[1], re.MULTILINE) == [
        "python3", "perf", "make", "gcc"], missing


def test_no_spe(board):
    """A machine without SPE, and one that is none of Arm's: the one that runs the tests."""
    status, output = board(spe="").run("/root/checkout/tools/board-test 2>&1")
    assert status == 2 and output.count("\n") == 1 and "there is no SPE on this machine" in output, output
    done = subprocess.run([TOP / "tools/board-test"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 2 and done.stdout.count("\n") == 1 and "64-bit Arm" in done.stdout, done
