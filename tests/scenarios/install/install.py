# SPDX-License-Identifier: GPL-2.0
"""make install, make uninstall and make sign: modprobe takes the installed driver, by its name and by its aliases."""

import os
import shutil
import subprocess

import pytest


from kernel import STOCK
from paths import TOP
from spe import check_decodes, record

RELEASE = STOCK.release
#: The kernel's request for a driver of the device, on a machine described by a device tree, and by ACPI.
ALIASES = ("of:Nspe-pmuT(null)Carm,statistical-profiling-extension-v1", "platform:arm,spe-v1")


def run(*command, check=True):
    """Runs a command in the checkout. Returns its output."""
    done = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def system(artefacts):
    """Returns the root directory of a machine that has the stock kernel's modules."""
    modules = artefacts / "root/lib/modules" / RELEASE
    driver = modules / "kernel/drivers/perf"
    driver.mkdir(parents=True)
    (found,) = STOCK.modules.rglob("arm_spe_pmu.ko*")
    shutil.copy(found, driver)
    for name in ("modules.builtin", "modules.order"):
        (modules / name).touch()
    run("depmod", "-b", artefacts / "root", RELEASE)
    return artefacts / "root"


def files(root):
    """Returns boot(files=...) with the modules of such a machine."""
    return {f"usr/{path.relative_to(root)}": path for path in (root / "lib/modules").rglob("*") if path.is_file()}


def taken(guest, name):
    """Loads a driver with modprobe. Returns whether it is this one."""
    guest.sh(f"dmesg -C; modprobe '{name}'")
    said = guest.sh("dmesg; rmmod arm_spe_pmu")
    assert "probed SPEv" in said, said
    return "Rust" in said


@pytest.fixture(autouse=True)
def this_driver(driver):
    """Skips the tests with DRIVER=c, where there is nothing to install."""
    if driver == "c":
        pytest.skip("the C driver is the distribution's to install")


def test_install(boot, system):
    """The module is installed, preferred, and records."""
    said = run("tools/install-module", STOCK.rust_module, system)
    assert "updates/arm_spe_pmu.ko" in said.splitlines()[-1], said
    guest = boot(files=files(system))
    guest.unaccounted = "the driver came by modprobe"
    assert [taken(guest, name) for name in ("arm_spe_pmu", *ALIASES)] == 3 * [True]
    guest.sh("modprobe arm_spe_pmu")
    check_decodes(record(guest, "arm_spe/period=1024/u", "workload 2"), 100)


def test_uninstall(boot, system):
    """make uninstall leaves all as it was."""
    before = sorted(files(system))
    run("tools/install-module", STOCK.rust_module, system)
    run("tools/install-module", "--remove", system, RELEASE)
    assert sorted(files(system)) == before
    guest = boot(files=files(system))
    guest.unaccounted = "the driver came by modprobe"
    assert [taken(guest, name) for name in ("arm_spe_pmu", *ALIASES)] == 3 * [False]
    assert "nothing was installed" in run("tools/install-module", "--remove", system, RELEASE, check=False)


def test_uninstall_without_a_module(system):
    """make uninstall removes the rest if the module is gone, and says so."""
    rest = [system / "usr/local" / name for name in ("bin/spe-doctor", "share/man/man8/spe-doctor.8")]
    for file in rest:
        file.parent.mkdir(parents=True)
        file.touch()
    uninstall = ("make", "uninstall", f"INSTALL_MOD_PATH={system}", f"RELEASE={RELEASE}")
    assert "nothing was installed" in run(*uninstall, check=False) and not any(file.exists() for file in rest)
    assert subprocess.run(uninstall, cwd=TOP, capture_output=True, check=False).returncode


def test_sign(boot, artefacts):
    """A signed module names its signer, and is the same otherwise."""
    key, certificate, module = (artefacts / name for name in ("MOK.priv", "MOK.der", "arm_spe_pmu.ko"))
    run("openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=A machine owner/",
        "-keyout", key, "-outform", "DER", "-out", certificate)
    shutil.copy(STOCK.rust_module, module)
    tree = os.environ["ARM_SPE_KERNEL"]
    assert "A machine owner" in run("tools/sign-module", module, key, certificate, tree)
    assert "cannot read the key" in run("tools/sign-module", module, artefacts / "none", certificate, tree, check=False)
    guest = boot(files={"root/arm_spe_pmu.ko": module})
    guest.unaccounted = "the driver came by insmod of another file"
    guest.sh("insmod /root/arm_spe_pmu.ko")
    assert "Rust" in guest.sh("dmesg")
    guest.sh("rmmod arm_spe_pmu")
    # Where only signed modules may be loaded, the kernel has to know the key.
    guest = boot(name="enforcing", append="module.sig_enforce=1", files={"root/arm_spe_pmu.ko": module})
    status, said = guest.run("insmod /root/arm_spe_pmu.ko")
    assert status and "Key" in said, said
