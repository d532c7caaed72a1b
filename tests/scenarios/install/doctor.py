# SPDX-License-Identifier: GPL-2.0
"""tools/spe-doctor says whether SPE can work on a machine: it finds each problem in a guest that has it, and none in a
healthy guest. Both drivers are in the guests, where modprobe finds them.

What cannot be tested in a guest:

- Firmware or a hypervisor that traps the registers. Both drivers read PMBIDR_EL1.P before any other register. If EL3 or
  EL2 owns the buffer (MDCR_EL3.NSPB, MDCR_EL2.E2PB) that bit is set, so the result is `owned`
  (tests/qemu/baremetal/traps.c checks this of the unit). An access that traps although the bit is clear is emulated, or
  ends in the firmware or in an undefined instruction of the kernel: that has not been tried.
- A C driver that is built in: no kernel here has one. The doctor's sources for it are faked one by one.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from device_tree import PPI, edited, one_unit_per_cpu, replace
from diagnosis import diagnosis, problems
from faked_root import CORTEX_A76, DISTRIBUTIONS, FakedRoot
from guest import UEFI
from kernel import STOCK, renamed_stock_module
from paths import TOP

pytestmark = pytest.mark.long

DOCTOR = TOP / "tools/spe-doctor"
MODULES = f"/lib/modules/{STOCK.release}"
CONFIG = f"/boot/config-{STOCK.release}"
DRIVER = "/sys/bus/platform/drivers/arm_spe_pmu"
USER = "setpriv --reuid 1000 --regid 1000 --clear-groups"
PERFMON = f"{USER} --inh-caps=+perfmon --ambient-caps=+perfmon"
#: The tools of busybox in the place of the guest's.
BUSYBOX = "PATH=/usr/local/bin:/usr/bin"
FILES = {
    "usr/bin/spe-doctor": DOCTOR,
    CONFIG: Path(os.environ["ARM_SPE_KERNEL"], ".config"),
}

def doctor(guest, who="", environment="", shell="busybox sh"):
    """Runs the doctor in a guest. Returns the Diagnosis."""
    return diagnosis(*guest.run(f"{environment} {who} {shell} /usr/bin/spe-doctor"))


def fake(guest, name, script):
    """Makes a command that takes precedence over the guest's own in the returned environment."""
    guest.sh(f"mkdir -p /tmp/bin; printf '%s\\n' '#!/bin/sh' '{script}' >/tmp/bin/{name}; chmod +x /tmp/bin/{name}")
    return "PATH=/tmp/bin:$PATH"


def install(guest, *drivers):
    """Installs only these drivers, of "rust" and "c", where modprobe looks. The Rust driver takes precedence."""
    places = {"c": "kernel/drivers/perf", "rust": "updates"}
    guest.sh(f"rm -rf {MODULES}; mkdir -p {MODULES}; touch {MODULES}/modules.{{order,builtin,builtin.modinfo}}")
    for driver in drivers:
        guest.sh(f"cd {MODULES} && install -D /usr/lib/drivers/{driver}/arm_spe_pmu.ko {places[driver]}/arm_spe_pmu.ko")
    guest.sh("depmod")


def loaded(guest, driver):
    """Loads this driver, or none, and unloads the one that stands for the built-in driver."""
    guest.run("rmmod arm_spe_own")
    if guest.run("test -e /sys/module/arm_spe_pmu")[0] == 0:
        guest.unload()
    if driver:
        guest.sh("dmesg -C")
        guest.load(driver)


@pytest.fixture(autouse=True, scope="module")
def both_drivers():
    """Skips the tests with DRIVER=c: the doctor knows both drivers."""
    if os.environ.get("DRIVER") == "c":
        pytest.skip("the scenario loads both drivers")


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    module = tmp_path_factory.mktemp("doctor") / "arm_spe_own.ko"
    module.write_bytes(renamed_stock_module())
    return {"files": {**FILES, "root/arm_spe_own.ko": module}}


@pytest.mark.parametrize("driver, who", [(None, ""), (None, USER), ("c", USER), ("rust", ""), ("rust", USER)],
                         ids=["none-root", "none-user", "c-user", "rust-root", "rust-user"])
def test_healthy(guest, driver, who):
    """There is no problem for any user and with either driver loaded, and the doctor's advice works."""
    install(guest, driver or "c")
    loaded(guest, driver)
    guest.sh("echo 2 >/proc/sys/kernel/perf_event_paranoid")
    found = doctor(guest, who)
    assert found.status == 0 and not problems(found)
    assert {("ok", "device"), ("note", "machine"), ("ok", "perf")} <= {*found.texts}
    assert ("note" if who else "ok", "rights") in found.texts
    if not driver:
        assert "the C driver is installed" in found.texts["note", "driver"]
        assert ("unknown", "KPTI") in found.texts if who else ("ok", "KPTI") in found.texts
        guest.sh(found.texts["note", "driver"].partition("-> ")[2].removeprefix("sudo "))
        guest.sh("rmmod arm_spe_pmu")
        return
    assert found.texts["ok", "driver"] == f"the {driver.capitalize()} driver is loaded"
    assert found.texts["ok", "PMU"] == "arm_spe_0 on CPUs 0-1"
    assert ("ok", "CPU") in found.texts and ("ok", "KPTI") in found.texts
    command = found.verdict.removeprefix("SPE works: ").replace("COMMAND", "true")
    guest.sh("rm -rf /tmp/work && mkdir -m 777 /tmp/work")
    assert re.search(r"\d% +true ", guest.sh(f"cd /tmp/work && {who} bash -c '{command}'"))


def test_with_busybox_alone(guest):
    """The tools of busybox are enough."""
    install(guest, "rust")
    loaded(guest, "rust")
    found = doctor(guest, environment=BUSYBOX)
    assert not problems(found) and not [subject for mark, subject in found.texts if mark == "unknown"]
    assert found.texts["ok", "driver"] == "the Rust driver is loaded" and ("ok", "PMU") in found.texts


def test_drivers(guest):
    """The doctor reports the C driver in the place of the Rust driver, and no driver at all."""
    install(guest, "c", "rust")
    loaded(guest, "c")
    assert "the Rust driver is installed" in doctor(guest).texts["note", "driver"]
    loaded(guest, None)
    assert "the Rust driver is installed" in doctor(guest).texts["note", "driver"]
    install(guest)
    found = doctor(guest)
    assert problems(found) == {"driver"} and "none for this kernel" in found.texts["PROBLEM", "driver"]
    # As with initcall_blacklist=.
    guest.sh(f"echo kernel/drivers/perf/arm_spe_pmu.ko >{MODULES}/modules.builtin")
    found = doctor(guest)
    assert problems(found) == {"driver"} and "built into the kernel, but" in found.texts["PROBLEM", "driver"]


def test_built_in_driver(guest):
    """A C driver that the Rust driver cannot replace is no problem for SPE, but it is reported."""
    install(guest, "rust")
    loaded(guest, None)
    guest.sh("insmod /root/arm_spe_own.ko")
    assert "the module arm_spe_own" in doctor(guest).texts["note", "driver"]
    built_in = "built into the kernel: the Rust driver cannot take its place"
    for disease, mend in [
            (f"sed -i.was s/^CONFIG_ARM_SPE_PMU=m/CONFIG_ARM_SPE_PMU=y/ {CONFIG}", f"mv {CONFIG}.was {CONFIG}"),
            (f"echo kernel/drivers/perf/arm_spe_pmu.ko >{MODULES}/modules.builtin", f": >{MODULES}/modules.builtin"),
            # A driver that is in no module.
            (f"mkdir -p /tmp/none; mount --bind /tmp/none {DRIVER}", f"umount {DRIVER}")]:
        guest.sh(disease)
        found = doctor(guest)
        guest.sh(mend)
        assert built_in in found.texts["note", "driver"] and found.status == 0
        assert found.verdict.startswith("SPE works")


def test_rights(guest):
    """The users that may record according to the doctor can, at each perf_event_paranoid, and no others."""
    install(guest, "rust")
    loaded(guest, "rust")
    for level, who, event in [(1, USER, "arm_spe//"), (2, USER, "arm_spe//u"), (3, USER, None),
                              (2, PERFMON, "arm_spe//"), (3, PERFMON, None), (3, "", "arm_spe//")]:
        guest.sh(f"echo {level} >/proc/sys/kernel/perf_event_paranoid")
        found = doctor(guest, who)
        assert problems(found) == (set() if event else {"rights"}), (level, who)
        assert (f"-e {event} " if event else "SPE can work here, but this user cannot") in found.verdict
        status, said = guest.run(f"{who} perf record -B -N -o /tmp/perf.{level} -e {event or 'arm_spe//u'} true")
        guest.sh("rm -f /tmp/perf.*")
        assert (status == 0) == bool(event), said
    guest.sh("echo -1 >/proc/sys/kernel/perf_event_paranoid; mount -t tmpfs none /proc/sys/kernel")
    found = doctor(guest)
    guest.sh("umount /proc/sys/kernel")
    assert problems(found) == {"kernel"} and "a kernel without perf" in found.texts["PROBLEM", "kernel"]
    assert found.verdict.startswith("SPE does not work")


#: What --json says that can be done, and a command that does it. In each "{event}" is the one that the doctor names.
USES = {
    "record": "perf record -B -N -o /tmp/uses.data -e {event} true",
    "kernel": "perf record -B -N -o /tmp/uses.data -e arm_spe//k true",
    "all_cpus": "perf record -B -N -o /tmp/uses.data -a -e {event} true",
    "physical": "perf record -B -N -o /tmp/uses.data -e arm_spe/pa_enable=1/u true",
    "mem": "perf mem record -o /tmp/uses.data true",
    "c2c": "perf c2c record -o /tmp/uses.data true",
}


@pytest.mark.parametrize("level, who", [(0, USER), (1, USER), (2, USER), (3, USER), (2, PERFMON), (3, PERFMON), (3, "")],
                         ids=["0-user", "1-user", "2-user", "3-user", "2-perfmon", "3-perfmon", "3-root"])
def test_uses(guest, level, who):
    """What the doctor says that a user can do with perf, that user can do, and nothing else of it."""
    install(guest, "rust")
    loaded(guest, "rust")
    guest.sh(f"echo {level} >/proc/sys/kernel/perf_event_paranoid")
    said = json.loads(guest.run(f"{who} busybox sh /usr/bin/spe-doctor --json")[1])
    done = {}
    for use, command in USES.items():
        done[use] = guest.run(f"{who} {command.format(event=said['event'])}")[0] == 0
        guest.sh("rm -f /tmp/uses.data")
    guest.sh("echo 2 >/proc/sys/kernel/perf_event_paranoid")
    assert said["can"] == done


def test_perf_before_6_9(guest):
    """The kernel has the PMU where perf before 6.9 does not look for it for perf mem."""
    install(guest, "rust")
    loaded(guest, "rust")
    assert "perf mem and c2c on this kernel: perf 6.9" in doctor(
        guest, environment=fake(guest, "perf", "echo perf version 6.8.12")).texts["note", "uses"]
    assert ("ok", "uses") in doctor(guest, environment=fake(guest, "perf", "echo perf version 6.9.1")).texts
    guest.sh("rm -f /tmp/bin/perf")


def test_busy(guest):
    """The doctor names the processes with events of perf, in the shell and with the tools of busybox, and for root only."""
    install(guest, "rust")
    loaded(guest, "rust")
    guest.sh("echo 2 >/proc/sys/kernel/perf_event_paranoid; mkfifo /tmp/started")
    guest.sh("perf record -o /tmp/busy.data -e arm_spe// -- sh -c 'echo >/tmp/started; exec sleep 1000' >/dev/null 2>&1 & "
             "echo $! >/tmp/busy.pid; read word </tmp/started")
    for environment in ("", BUSYBOX):
        assert re.search(r"SPE is in use; processes with events of perf: .*\bperf \d+", doctor(
            guest, environment=environment).texts["note", "PMU"])
    assert doctor(guest, USER).texts["note", "PMU"].startswith("SPE is in use ->")
    guest.sh("kill $(cat /tmp/busy.pid); while [ $(cat /sys/module/arm_spe_pmu/refcnt) != 0 ]; do :; done; "
             "rm -f /tmp/started /tmp/busy.*")


def test_chroot(guest):
    """In a chroot without /sys and /proc the doctor says what is missing."""
    guest.sh("mkdir -p /tmp/chroot/usr /tmp/chroot/proc /tmp/chroot/dev; mount --bind /usr /tmp/chroot/usr")
    guest.sh("cd /tmp/chroot && for link in bin lib lib64 sbin; do ln -sf usr/$link $link; done")
    status, said = guest.run("chroot /tmp/chroot /bin/busybox sh /usr/bin/spe-doctor")
    assert status == 1 and said.strip() == "spe-doctor: there is no /dev/null here: run this outside of the chroot"
    guest.sh("mount --bind /dev /tmp/chroot/dev")
    for ready, missing in (("true", "mount -t proc proc /proc; mount -t sysfs sysfs /sys"),
                           ("mount -t proc proc /tmp/chroot/proc", "after mount -t sysfs sysfs /sys")):
        guest.sh(ready)
        found = diagnosis(*guest.run("chroot /tmp/chroot /bin/busybox sh /usr/bin/spe-doctor"))
        assert problems(found) == {"system"} and missing in found.texts["PROBLEM", "system"]
        assert found.verdict.startswith("Whether SPE works cannot be seen from here")
    guest.sh("umount /tmp/chroot/proc /tmp/chroot/dev /tmp/chroot/usr")


def test_faked_roots(guest, tmp_path):
    """The shell and the tools of busybox say the same of the machines of doctor_roots.py."""
    for name, distribution in DISTRIBUTIONS.items():
        root = FakedRoot(tmp_path / "roots" / name, distribution)
        if name == "arch":
            root.cpus(CORTEX_A76)
            root.unload()
        root.process(4711, "another", "anon_inode:[perf_event]")
        root.write("sys/module/arm_spe_pmu/refcnt", "1")
    archive = tmp_path / "roots.tar"
    subprocess.run(["tar", "-C", tmp_path, "-cf", archive, "roots"], check=True)
    guest.put({"tmp/roots.tar": archive})
    guest.sh("tar -C /tmp -xf /tmp/roots.tar")
    for name in DISTRIBUTIONS:
        found = doctor(guest, environment=f"SPE_DOCTOR_ROOT=/tmp/roots/{name} PATH=/tmp/roots/{name}/bin:/usr/local/bin")
        if name == "arch":
            assert problems(found) == {"CPU"} and "this core has no SPE: Cortex-A76" in found.texts["PROBLEM", "CPU"]
        else:
            assert not problems(found) and "perf: another 4711" in found.texts["note", "PMU"]
            assert ("ok", "uses") in found.texts and ("ok", "Rust") in found.texts


@pytest.mark.parametrize("script, mark, text", [
    ("echo perf version 4.15.18", "PROBLEM", "4.15.18 cannot record SPE"),
    ("echo perf version 4.16.rc1", "PROBLEM", "4.16.rc1 records SPE but shows no samples"),
    ("echo perf version 5.7.19", "PROBLEM", "5.7.19 records SPE but shows no samples"),
    ("echo perf version 5.8.g1a2b3c4d5e6f", "note", "perf mem needs 5.12"),
    ("echo perf version 5.12", "ok", "5.12 records and reports"),
    ("echo perf version 10.0", "ok", "10.0 records and reports"),
    ("echo perf of our own", "unknown", "its version: perf of our own"),
    ("echo perf version 6.x.1", "unknown", "its version: 6.x.1"),
    ("exit 2", "PROBLEM", "perf does not run"),
    (None, "PROBLEM", "perf is missing"),
])
def test_perf(guest, script, mark, text):
    """The doctor checks a perf in the place of the guest's own."""
    install(guest, "c")
    loaded(guest, None)
    found = doctor(guest, environment=fake(guest, "perf", script) if script else "PATH=/usr/local/bin")
    guest.sh("rm -f /tmp/bin/perf")
    assert text in found.texts[mark, "perf"]
    assert problems(found) == ({"perf"} if mark == "PROBLEM" else set())
    assert found.verdict.startswith("SPE can work")


def test_building_the_rust_driver(guest):
    """The doctor reports what is missing to build the Rust driver, which is no problem: there is the C driver."""
    install(guest, "c")
    loaded(guest, None)
    version = re.search(r'^CONFIG_RUSTC_VERSION_TEXT="(.*)"$', FILES[CONFIG].read_text(), re.MULTILINE)[1]

    def rust(environment=""):
        found = doctor(guest, environment=environment)
        assert not problems(found)
        ((mark, text),) = [(mark, text) for (mark, subject), text in found.texts.items() if subject == "Rust"]
        return mark, text

    mark, text = rust()
    assert mark == "note" and "this kernel's headers are needed -> " in text
    guest.sh(f"mkdir -p {MODULES}/build/rust; touch {MODULES}/build/Makefile")
    mark, text = rust()
    assert mark == "note" and version in text and "here: none ->" in text
    other = "rustc 1.90.0 (1159e78c4 2025-09-14)"
    mark, text = rust(fake(guest, "rustc", f'echo "{other}"'))
    assert mark == "note" and version in text and f"here: {other} ->" in text
    mark, text = rust(fake(guest, "rustc", f'echo "{version}"'))
    assert mark == "note" and "rust/libkernel.rmeta is missing" in text
    guest.sh(f"touch {MODULES}/build/rust/libkernel.rmeta")
    assert rust(fake(guest, "rustc", f'echo "{version}"'))[0] == "ok"
    # The configuration may be in the kernel's build tree.
    guest.sh(f"sed '/^CONFIG_RUST=/d' {CONFIG} >{MODULES}/build/.config; mv {CONFIG} /tmp/config")
    mark, text = rust()
    assert mark == "note" and "no CONFIG_RUST" in text
    guest.sh(f"rm {MODULES}/build/.config")
    assert rust()[0] == "unknown"
    guest.sh(f"mv /tmp/config {CONFIG}")


def test_signing(guest):
    """A kernel that accepts signed modules only, from now on: the stock module is signed, this project's is not."""
    install(guest, "c")
    loaded(guest, "c")
    guest.sh("echo Y >/sys/module/module/parameters/sig_enforce")
    assert "the C driver is, and the Rust driver has to be" in doctor(guest).texts["note", "signing"]
    install(guest, "c", "rust")
    # The loaded driver still works.
    found = doctor(guest)
    assert not problems(found) and "is not" in found.texts["note", "signing"]
    loaded(guest, None)
    found = doctor(guest)
    assert problems(found) == {"signing"} and "make sign" in found.texts["PROBLEM", "signing"]
    assert guest.run("modprobe arm_spe_pmu")[0] != 0
    # The end of a signature, which is all that can be checked without the kernel's keys.
    guest.sh(f"echo '~Module signature appended~' >>{MODULES}/updates/arm_spe_pmu.ko")
    assert ("ok", "signing") in doctor(guest).texts
    install(guest)
    assert "make sign" in doctor(guest).texts["note", "signing"]


def midr(implementer, part):
    """Returns the options for a CPU with the MIDR of another model."""
    return f"midr={implementer << 24 | 0xf << 16 | part << 4:#x}"


NEOVERSE_N1 = midr(0x41, 0xd0c)
CORTEX_A72 = midr(0x41, 0xd08)

WITHOUT_NODE = replace('compatible = "arm,statistical-profiling-extension-v1";', "")
DISABLED_NODE = replace(f"interrupts = {PPI};", f'interrupts = {PPI}; status = "disabled";')
#: The same machine with another name of the model.
WITH_NODE = replace('model = "linux,dummy-virt";', 'model = "another";')

#: Options for boot(); the edit of the device tree; and for no driver, the C driver and the Rust driver the problems,
#: and the start of a text of the doctor.
DISEASES = {
    "no_spe": (
        {"spe": NEOVERSE_N1}, None,
        ({"device", "machine"}, "ok CPU Neoverse N1 has SPE"),
        ({"device", "machine"}, "PROBLEM device the device tree describes no SPE"),
        ({"device", "machine", "CPU"}, "PROBLEM CPU the CPUs have no SPE (the driver has looked)")),
    "described_but_not_there": (
        {"spe": CORTEX_A72}, WITH_NODE,
        ({"CPU"}, "PROBLEM CPU this core has no SPE: Cortex-A72"),
        ({"CPU"}, "PROBLEM CPU the CPUs have no SPE (the driver has looked)"),
        ({"CPU"}, "PROBLEM CPU the CPUs have no SPE (the driver has looked)")),
    "not_described": (
        {}, WITHOUT_NODE,
        ({"device", "machine"}, "unknown CPU whether the CPUs have SPE: only the Rust driver can tell"),
        ({"device", "machine"}, "unknown CPU whether the CPUs have SPE: only the Rust driver can tell"),
        ({"device", "machine"}, "ok CPU the CPUs have SPE (the driver has looked)")),
    "turned_off": (
        {}, DISABLED_NODE,
        *[({"device"}, 'PROBLEM device the device tree has SPE, but with status "disabled"')] * 3),
    "owned": (
        {"spe": "spe=on,x-spe-pmbidr=0x10"}, None,
        (set(), "note driver none is loaded"),
        *[({"firmware"}, "PROBLEM firmware the profiling buffer is owned by a higher exception level")] * 2),
    "odd_hardware": (
        {"spe": "spe=on,x-spe-pmbidr=0x0c"}, None,
        None,
        *[({"PMU"}, "PROBLEM PMU the driver refused it: unsupported PMBIDR.Align [12] on CPU")] * 2),
    "kpti": (
        {"append": "kpti=on"}, None,
        *[({"KPTI"}, "PROBLEM KPTI page table isolation is on")] * 3),
}


@pytest.mark.parametrize("disease", DISEASES)
def test_disease(boot, artefacts, disease):
    """The doctor finds one problem of the machine, with each driver."""
    options, edit, *expected = DISEASES[disease]
    guest = boot(files=FILES, arguments=edited(artefacts, edit) if edit else (), **options)
    for driver, what in zip((None, "c", "rust"), expected):
        if not what:
            continue    # this is the test of another disease
        wanted, words = what
        install(guest, driver or "c")
        guest.run("rmmod arm_spe_pmu")
        if driver:
            # On a CPU without SPE the Rust driver does not load.
            status, said = guest.run("dmesg -C; modprobe arm_spe_pmu")
            assert status == (driver == "rust" and "spe=on" not in options.get("spe", "spe=on")), said
        found = doctor(guest)
        texts = [" ".join([*key, text]) for key, text in found.texts.items()]
        assert problems(found) == wanted and any(text.startswith(words) for text in texts), (driver, texts)
    CHECK_MORE.get(disease, lambda guest: None)(guest)


def more_of_no_spe(guest):
    """Checks the name of the hypervisor."""
    bare = doctor(guest, environment=fake(guest, "systemd-detect-virt", "echo none; exit 1"))
    assert problems(bare) == {"CPU"} and "device" not in {subject for _, subject in bare.texts}
    kvm = doctor(guest, environment=fake(guest, "systemd-detect-virt", "echo kvm"))
    assert "a virtual machine (kvm)" in kvm.texts["PROBLEM", "machine"]


def more_of_owned(guest):
    """Checks a user who cannot read the kernel log, and a log that is too short."""
    assert "this user cannot read" in doctor(guest, f"{USER}").texts["PROBLEM", "PMU"]
    guest.sh("dmesg -C; echo >/dev/kmsg")
    assert "the kernel log does not say why" in doctor(guest).texts["PROBLEM", "PMU"]


def more_of_kpti(guest):
    """Checks what the doctor finds without reading the kernel log, and the kernel's lockdown, which requires signatures."""
    assert "KPTI" in problems(doctor(guest, USER))
    guest.sh("rmmod arm_spe_pmu; mount -t securityfs securityfs /sys/kernel/security; "
             "echo integrity >/sys/kernel/security/lockdown")
    assert "signing" in problems(doctor(guest))
    assert guest.run("insmod /usr/lib/drivers/rust/arm_spe_pmu.ko")[0] != 0


CHECK_MORE = {"no_spe": more_of_no_spe, "owned": more_of_owned, "kpti": more_of_kpti}


def test_different_cpus(boot, artefacts):
    """The doctor reports two PMUs, and a CPU without one."""
    guest = boot(files=FILES, smp=3, arguments=edited(artefacts, one_unit_per_cpu, smp=3))
    for driver in ("c", "rust"):
        install(guest, driver)
        loaded(guest, driver)
        found = doctor(guest)
        assert not problems(found)
        assert found.texts["ok", "PMU"] == "arm_spe_0 on CPUs 0; arm_spe_1 on CPUs 1"
        assert "1 CPUs online have no SPE, the first is CPU 2: tasks" in found.texts["note", "PMU"]


@pytest.mark.timeout(300)
def test_acpi(boot):
    """The doctor finds no problem on a machine described by ACPI, with each driver."""
    guest = boot(files=FILES, arguments=UEFI)
    for driver in ("c", "rust"):
        install(guest, driver)
        loaded(guest, driver)
        found = doctor(guest)
        assert not problems(found) and found.texts["ok", "device"] == "ACPI describes SPE"


@pytest.mark.timeout(300)
def test_acpi_without_spe(boot):
    """The doctor reports an older table, and a kernel that does not look for SPE in it, also in a cloud."""
    guest = boot(files=FILES, spe=NEOVERSE_N1, arguments=UEFI)
    install(guest, "c")
    found = doctor(guest)
    assert problems(found) == {"device", "machine"} and "(QEMU)" in found.texts["PROBLEM", "machine"]
    assert "its revision 4 is too old, 5 is needed" in found.texts["PROBLEM", "device"]
    assert "revision" not in doctor(guest, USER).texts["PROBLEM", "device"]
    guest.sh("echo Amazon EC2 >/tmp/vendor; mount --bind /tmp/vendor /sys/class/dmi/id/sys_vendor")
    for product, problem in (("m7g.large", True), ("m7g.metal", False)):
        guest.sh(f"echo {product} >/tmp/product; mount --bind /tmp/product /sys/class/dmi/id/product_name")
        assert ("machine" in problems(doctor(guest))) == problem
    guest.sh(f"sed -i 's/^CONFIG_ARM_SPE_PMU=m/# CONFIG_ARM_SPE_PMU is not set/' {CONFIG}")
    found = doctor(guest)
    assert problems(found) == {"device", "kernel"} and "CONFIG_ARM_SPE_PMU" in found.texts["PROBLEM", "kernel"]


def test_without_a_guest():
    """The doctor runs on the host, which is not an Arm machine."""
    if os.uname().machine == "aarch64":
        pytest.skip("this machine may have SPE")
    done = subprocess.run(["dash", DOCTOR], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "PROBLEM  machine   SPE is an extension of 64-bit Arm CPUs" in done.stdout
