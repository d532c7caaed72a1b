# SPDX-License-Identifier: GPL-2.0
"""docs/install.md's ways of installing on an arm64 machine: the checks of tests/env/native, and its Debian systems, booted.

`make test-native` runs this, after it has installed the driver in these systems. They start with systemd and udev, and
the driver is not loaded by hand.
"""

import os
import shlex
from pathlib import Path

import pytest

from kernel import Kernel
from spe import check_decodes, recorded

RUN = Path(os.environ.get("ARM_SPE_NATIVE", "none"))
NEWEST, OLDER = (os.environ.get(f"ARM_SPE_NATIVE_{which}", "none") for which in ("NEWEST", "OLDER"))
CHECKS = (RUN / "shared/checks").read_text().splitlines() if RUN.exists() else ["not ok - run make test-native"]
#: The last of the page's commands, which is for the machine with the hardware.
COMMAND = (RUN / "shared/commands").read_text().splitlines()[2] if RUN.exists() else ""
#: A program to profile that any Debian has. It is sampled at the shortest period.
WORK = "true"


@pytest.mark.parametrize("line", CHECKS)
def test_check(line):
    """Each check made while the driver was installed and removed has passed."""
    assert line.startswith("ok - ")


def is_ours(guest):
    """Returns whether the driver in the kernel log is this one."""
    log = guest.sh("dmesg")
    assert "probed SPEv" in log, log
    return "Rust" in log


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("how, release, module", [
    ("make", NEWEST, "updates/arm_spe_pmu.ko"),
    ("dkms", NEWEST, "updates/dkms/arm_spe_pmu.ko.xz"),
    ("dkms", OLDER, "updates/dkms/arm_spe_pmu.ko.xz"),
])
def test_boot(boot, how, release, module):
    """The driver is loaded at boot, and by the page's command in the place of the C driver. It records."""
    kernel = Kernel(release=release, image=RUN / how / f"vmlinuz-{release}", modules=RUN, boot_timeout=1200,
                    append="root=/dev/vda rw apparmor=0")   # whose profiles take minutes to compile
    guest = boot(kernel=kernel, initrd=RUN / how / f"initrd.img-{release}", arguments=[
        "-drive", f"file={RUN / how / 'disk'},format=raw,if=none,id=disk,snapshot=on", "-device", "virtio-blk-pci,drive=disk"])
    guest.unaccounted = "one driver after the other"
    assert guest.sh("uname -r") == release
    installed = f"/lib/modules/{release}/{module}"
    assert guest.sh("modinfo -n arm_spe_pmu") == installed
    assert is_ours(guest), "udev has loaded another driver"
    # A machine that has not booted since the installation.
    # DKMS has moved the C driver away.
    guest.sh(f"dmesg -C; rmmod arm_spe_pmu && insmod $(find /lib/modules/{release}/kernel/drivers/perf"
             f" /var/lib/dkms/arm-spe-pmu/original_module/{release} -name 'arm_spe_pmu.ko*')")
    assert not is_ours(guest)
    guest.sh("dmesg -C")
    typed = COMMAND.replace("COMMAND", WORK)
    trace = recorded(guest, f"su - reader -c {shlex.quote(typed)}", data="/home/reader/perf.data", timeout=600)
    assert is_ours(guest)
    check_decodes(trace, 100)
    guest.sh("su - reader -c 'sudo spe-doctor'")
