# SPDX-License-Identifier: GPL-2.0
"""tests/board runs scenarios on the machine itself, with either driver, and leaves the driver that was loaded before.

A guest plays the machine.
"""

import io
import os
import re
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
        for name in ("tests/board", "tests/pytest.ini", "tests/lib", "tests/scenarios", "scripts", "build/payload"):
            tar.add(TOP / name, name, filter=lambda entry: None if "__pycache__" in entry.name else entry)
        tar.add(STOCK.rust_module, "build/module/arm_spe_pmu.ko")
    return out.getvalue()


@pytest.fixture
def machine(boot, artefacts):
    """A machine with Python, pytest and a checkout, which has loaded the C driver."""
    archive, c_module = artefacts / "checkout.tar", artefacts / "c.ko"
    archive.write_bytes(checkout())
    c_module.write_bytes(STOCK.module("arm_spe_pmu"))
    guest = boot(files={"root/board.tar": Path(os.environ["ARM_SPE_BOARD"]), "root/checkout.tar": archive, C_MODULE: c_module})
    guest.unaccounted = "one driver after the other"
    guest.sh("tar -xmf /root/board.tar -C / --keep-directory-symlink && mkdir /root/checkout && tar -xmf /root/checkout.tar -C /root/checkout"
             " && rm /root/*.tar && depmod && modprobe arm_spe_pmu")
    return guest


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("which, selected, at_least", [
    pytest.param("rust", "discard", 2, id="rust-some"),
    # Python takes its time in a guest.
    *(pytest.param(which, "", 25, id=f"{which}-all", marks=pytest.mark.long) for which in ("rust", "c")),
])
def test_board(machine, which, selected, at_least):
    output = machine.sh(f"cd /root/checkout && DRIVER={which} tests/board -q -k '{selected}' 2>&1"
                        " || { echo status $?; false; }", timeout=1500)
    passed, failed = map(int, re.search(r"^(\d+) passed, (\d+) failed", output, re.MULTILINE).groups())
    assert passed >= at_least and not failed, output
    # The C driver is back.
    assert machine.sh("cat /sys/module/arm_spe_pmu/refcnt; ls /sys/kernel/debug | grep -c arm_spe || true").split() == ["0", "0"]


def test_refused(machine):
    """What is missing is said in one line."""
    for how, said in {
        "setpriv --reuid 1000 --regid 1000 --clear-groups tests/board": "run this as root",
        "rm build/module/arm_spe_pmu.ko; tests/board": "run make first",
        "rm /usr/bin/perf; DRIVER=c tests/board": "perf is missing",
    }.items():
        status, output = machine.run(f"cd /root/checkout && chmod 755 /root && {how}")
        assert status and said in output and output.count("error: ") == 1, output
