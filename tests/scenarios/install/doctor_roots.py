# SPDX-License-Identifier: GPL-2.0
"""tools/spe-doctor finds each problem on machines of different distributions, and none on healthy ones. It names the
packages and commands of the distribution.

The machines are directories (tests/lib/faked_root.py), so that this takes seconds. What a problem looks like in them is
written down there and here; tests/scenarios/install/doctor.py has guests that really have it, and runs busybox's shell.
"""

import itertools
import json
import re
import subprocess
from collections import namedtuple

import pytest

from diagnosis import diagnosis, problems
from faked_root import ALL, CORTEX_A55, CORTEX_A76, DISTRIBUTIONS, NONE, PERFMON, RUSTC, FakedRoot, shells
from paths import TOP

pytestmark = pytest.mark.independent

#: Those in which each problem is looked for; healthy ones and package names are of all.
DISTINCT = ("debian", "ubuntu", "fedora", "suse", "arch", "amazon")
EVENT = "anon_inode:[perf_event]"

SHELLS = itertools.cycle(shells())


def run(root, *arguments):
    """Runs the doctor in one of the shells; where there is no /proc, in one that takes the uname of the root."""
    return root.doctor(next(SHELLS) if (root.path / "proc").exists() else shells()[0], *arguments)


@pytest.fixture
def machine(tmp_path):
    """A function that makes healthy machines."""
    counter = itertools.count()
    return lambda distribution, **options: FakedRoot(tmp_path / str(next(counter)), DISTRIBUTIONS[distribution], **options)


def examine(root):
    """Runs the doctor in one of the shells. Returns its Diagnosis."""
    found = diagnosis(*run(root))
    status = root.path / "proc/self/status"
    if status.exists() and "Uid:\t0" in status.read_text():
        assert not any("run this as root" in text or "sudo" in text for text in found.texts.values()), found
    return found


def as_json(root):
    """Returns the Diagnosis and the object of --json, which say the same."""
    found = examine(root)
    status, output = run(root, "--json")
    said = json.loads(output)
    assert status == found.status == said["status"]
    texts = {}
    for check in said["checks"]:
        assert list(check) == ["mark", "subject", "text", "advice"]
        text = check["text"] + (f" -> {check['advice']}" if check["advice"] else "")
        key = check["mark"], check["subject"]
        texts[key] = " ".join(f"{texts.get(key, '')} {text}".split())
    assert texts == {key: " ".join(text.split()) for key, text in found.texts.items()}
    return found, said


#: The keys of --json, and of its "can".
KEYS = ["format", "result", "status", "release", "architecture", "distribution", "user", "driver", "event", "pmus",
        "can", "checks"]
CAN = ["record", "kernel", "all_cpus", "physical", "mem", "c2c"]


@pytest.mark.parametrize("driver", ["C", "Rust", "built in", "none loaded"])
def test_healthy(machine, driver):
    """No problem, nothing unknown, and nothing to install."""
    for distribution in DISTRIBUTIONS:
        root = machine(distribution)
        if driver == "built in":
            root.build_in()
        elif driver != "C":
            root.unload()
        if driver == "Rust":
            root.install("Rust")
            root.load("Rust")
        found = examine(root)
        assert found.status == 0 and {mark for mark, _ in found.texts} <= {"ok", "note"}
        assert {subject for mark, subject in found.texts if mark == "note"} <= {"driver"}
        assert found.verdict.startswith("SPE can work, as far as" if driver == "none loaded" else "SPE works: perf record")
        assert driver != "none loaded" or "-> modprobe arm_spe_pmu" in found.texts["note", "driver"]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_healthy_user(machine, distribution):
    """An ordinary user is told of no problem either, and to use sudo. What the user may not see is not known."""
    root = machine(distribution)
    root.unload()
    root.user(1000, NONE)
    root.remove("var/log/dmesg")
    found = examine(root)
    assert found.status == 0
    assert "-> sudo modprobe arm_spe_pmu" in found.texts["note", "driver"]
    assert {key for key in found.texts if key[0] == "unknown"} == {("unknown", "KPTI")}
    assert "-> run this as root" in found.texts["unknown", "KPTI"]


def test_json(machine):
    """The object has the same keys everywhere."""
    root = machine("debian")
    _, said = as_json(root)
    assert list(said) == KEYS and list(said["can"]) == CAN and all(said["can"].values())
    for key, value in {"format": 1, "result": "works", "release": root.release, "architecture": "aarch64", "event": "arm_spe//",
                       "distribution": "debian", "driver": "C", "pmus": [{"name": "arm_spe_0", "cpus": "0-1"}]}.items():
        assert said[key] == value, key
    root.user(1000, NONE)
    _, said = as_json(root)
    assert list(said) == KEYS and said["result"] == "works" and said["event"] == "arm_spe//u"
    assert said["can"] == dict.fromkeys(CAN, False) | {"record": True}
    root.paranoid(1)
    assert as_json(root)[1]["can"] == dict.fromkeys(CAN, True) | {"all_cpus": False}
    root.paranoid(3)
    _, said = as_json(root)
    assert said["result"] == "not-for-this-user" and said["can"] == dict.fromkeys(CAN, False)
    root.paranoid(2)
    root.unload()
    root.load("Rust")
    root.write("sys/bus/event_source/devices/arm_spe_1/cpumask", "3-5\n")
    _, said = as_json(root)
    assert said["driver"] == "Rust" and [pmu["cpus"] for pmu in said["pmus"]] == ["0-1", "3-5"]
    root.unload()
    _, said = as_json(root)
    assert list(said) == KEYS and said["result"] == "can-work" and said["driver"] is None and said["pmus"] == []
    root.cpus(CORTEX_A76)
    assert as_json(root)[1]["result"] == "no"
    root.remove("sys")
    assert as_json(root)[1]["result"] == "no"
    root.remove("proc", "etc")
    _, said = as_json(root)
    assert list(said) == KEYS and said["result"] == "unknown" and said["distribution"] is None


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_packages(machine, distribution):
    """The packages are those of the distribution; where their names are not known, the doctor says what is in them."""
    root = machine(distribution)
    who = itertools.cycle([((0, ALL), ""), ((1000, PERFMON), "sudo ")])

    def check(mark, subject, text, what, without, end=""):
        user, sudo = next(who)
        root.user(*user)
        wanted = f"{text} -> {root.distribution.advice(what, without, root.release, sudo)}{end}"
        found = examine(root)
        assert found.texts[mark, subject] == wanted
        return found

    root.remove("bin/perf")
    check("PROBLEM", "perf", "perf is missing", "perf", "perf (tools/perf of the kernel)")
    root.command("perf", "echo WARNING: perf not found for kernel 7.3.4; exit 2")
    found = check("PROBLEM", "perf", "perf does not run", "perf", "that of this kernel, or a newer one")
    assert found.verdict.startswith("SPE can work here, but this user cannot record yet")
    root.command("perf", "echo perf version 7.3.4")
    for rustc in ("none", "rustc 1.91.0 (f8297e351 2025-10-28)"):
        root.remove("bin/rustc")
        if rustc != "none":
            root.command("rustc", f"echo '{rustc}'")
        check("note", "Rust", f"to build the Rust driver, the kernel's rustc is needed: {RUSTC}; here: {rustc}",
              "rustc", "rustc", ", of that version")
        root.command("rustc", "")
    root.remove(f"{root.modules}/build")
    check("note", "Rust", "to build the Rust driver, this kernel's headers are needed",
          "headers", "the headers of this kernel, or use its source (KDIR=...)")
    root.unload()
    root.remove(f"{root.modules}/kernel", f"{root.modules}/modules.dep")
    found = check("PROBLEM", "driver", "none for this kernel in /lib/modules",
                  "modules", "all modules of the kernel", ", or build the Rust driver (docs/install.md)")
    assert problems(found) == {"driver"}
    root.install()
    root.write("var/log/dmesg", "[    0.000000] CPU features: detected: Kernel page table isolation (KPTI)\n")
    found = examine(root)
    assert problems(found) == {"KPTI"} and f"boot with kpti=off ({root.distribution.option})" in found.texts["PROBLEM", "KPTI"]


@pytest.mark.parametrize("release, package", [
    ("7.3.4-55.9.1.el10_0.aarch64+64k", "kernel-64k-devel-7.3.4-55.9.1.el10_0.aarch64"),
    ("7.3.4-55.9.1.el10_0.aarch64+64k-debug", "kernel-64k-debug-devel-7.3.4-55.9.1.el10_0.aarch64"),
])
def test_flavour(machine, release, package):
    """RHEL has a package for each page size, and its name stands elsewhere than in the release."""
    root = machine("rhel", release=release)
    root.remove(f"{root.modules}/build")
    assert examine(root).texts["note", "Rust"].endswith(f"-> dnf install {package}")


# --- Problems: what makes a healthy machine have it, and what has to be said, by mark and subject ---


def perf(version):
    """Returns what installs this version of perf."""
    return lambda root: root.command("perf", f"echo perf version {version}")


def user(level, capabilities=NONE, **options):
    """Returns what makes an ordinary user, or what is given, at this perf_event_paranoid."""
    def make(root):
        root.user(options.pop("uid", 1000), capabilities, **options)
        root.paranoid(level)
    return make


def core(*models):
    """Returns what makes the CPUs these models, on a board without SPE."""
    def make(root):
        root.unload()
        root.device_tree()
        root.cpus(*models)
    return make


def without_device(revision):
    """Returns what leaves SPE out of a MADT of this revision."""
    def make(root):
        root.unload()
        root.remove("sys/bus/platform")
        root.madt(revision)
    return make


def in_tree(status):
    """Returns what describes SPE in a device tree, with this status."""
    def make(root):
        root.unload()
        root.device_tree()
        root.write("sys/firmware/devicetree/base/spe-pmu/compatible", "arm,statistical-profiling-extension-v1\0")
        root.write("sys/firmware/devicetree/base/spe-pmu/status", f"{status}\0")
    return make


def refused(log):
    """Returns what makes a driver that has refused the device, with this in the kernel log."""
    def make(root):
        root.unload()
        root.load(pmu=False)
        root.write("var/log/dmesg", f"[    3.141592] arm_spe_pmu arm,spe-v1: {log}\n" if log else "[    0.0] Booting\n")
    return make


def refused_to_user(root):
    refused("profiling buffer owned by higher exception level")(root)
    root.user(1000, PERFMON)
    root.remove("var/log/dmesg")


def refused_in_container(root):
    refused("")(root)
    root.remove("var/log/dmesg")
    root.write(".dockerenv", "")


def container(root):
    """A container on a healthy host: it sees neither what firmware describes nor modules, nor has it perf's rights."""
    root.remove("sys/firmware/acpi", "boot" if (root.path / "boot").exists() else root.modules, "var/log/dmesg")
    root.write(".dockerenv", "")
    root.user(0, NONE)


def container_without_a_driver(root):
    container(root)
    root.unload()
    if (root.path / root.modules).exists():
        root.remove(root.modules)


def upgraded(root):
    root.unload()
    root.remove(root.modules)


def not_configured(**options):
    """Returns what makes a kernel that has no C driver, and no Rust if that is wanted."""
    def make(root):
        root.unload()
        root.remove(f"{root.modules}/kernel", f"{root.modules}/modules.dep")
        root.configure(**options)
    return make


def builtin_but_absent(root):
    root.build_in()
    root.remove("sys/bus/platform/drivers", "sys/bus/event_source")


def in_use(root):
    root.write("sys/module/arm_spe_pmu/refcnt", "2")
    root.process(4711, "perf", "/dev/null", EVENT, EVENT)
    root.process(4712, "bash", "/dev/null")


def in_use_built_in(root):
    root.build_in()
    root.process(4711, "perf", EVENT)


def found_busy(root):
    root.unload()
    root.install("Rust")
    root.load("Rust")
    root.write("sys/kernel/debug/arm_spe_0/cpu0", "aux_transactions 7\nstart_busy 3\n")
    root.write("sys/kernel/debug/arm_spe_0/cpu1", "aux_transactions 7\nstart_busy 2\n")


def unsigned(root):
    root.unload()
    root.write("sys/module/module/parameters/sig_enforce", "Y\n")


def packed(root):
    """Only signed modules are loaded, and the one installed is compressed with something that is not there."""
    unsigned(root)
    module = "kernel/drivers/perf/arm_spe_pmu.ko.zst"
    root.write(f"{root.modules}/{module}", "packed")
    root.write(f"{root.modules}/modules.dep", f"{module}:\n")
    root.command("zstd", "exit 1")


def one_refused(root):
    root.cpus((0x41, 0xd80), (0x41, 0xd81))
    refused("unsupported ID_AA64DFR0_EL1.PMSVer [0] on CPU 1")(root)


def found_before(root):
    root.unload()
    root.write("var/log/dmesg", "[    3.1] arm_spe_pmu arm,spe-v1: probed SPEv1.1 for CPUs 0-3 [max_record_sz 64, align 64]\n")


def virtual(product):
    """Returns what makes an instance of a cloud that has no SPE."""
    def make(root):
        without_device(5)(root)
        root.write("sys/class/dmi/id/sys_vendor", "Amazon EC2\n")
        root.write("sys/class/dmi/id/product_name", f"{product}\n")
    return make


def unequal(root):
    root.write("sys/devices/system/cpu/online", "0-3")


#: What makes a machine have the problem; its mark and subject; what is said of it, with ... for anything; and what is
#: said nowhere then. Besides, the machine has no problem but those of more.
Problem = namedtuple("Problem", "make mark subject words never more", defaults=("", ()))

PROBLEMS = {
    # perf
    "perf 4.15": Problem(perf("4.15.18"), "PROBLEM", "perf", "4.15.18 cannot record SPE", "perf mem, perf c2c"),
    "perf 6.1": Problem(perf("6.1.176"), "note", "uses",
                        "not perf mem, perf c2c -> for these: perf mem and c2c on this kernel: perf 6.9"),
    # This user
    "paranoid 2": Problem(user(2), "note", "uses",
                          "perf record; not the kernel, all CPUs (-a), physical addresses, perf mem, perf c2c "
                          "-> for these: a lower perf_event_paranoid, CAP_PERFMON or root"),
    "paranoid 1": Problem(user(1), "note", "uses", "perf record; not all CPUs (-a) -> for these: a lower", "perf mem"),
    # Cores
    "Cortex-A76": Problem(core(CORTEX_A76), "PROBLEM", "CPU", "this core has no SPE: Cortex-A76; no firmware", "setup"),
    "unequal CPUs": Problem(unequal, "note", "PMU", "2 CPUs online have no SPE, the first is CPU 2"),
    # Firmware
    "MADT 4": Problem(without_device(4), "PROBLEM", "device",
                      "in the MADT; its revision 4 is too old, 5 is needed) -> update the firmware"),
    "no node": Problem(core((0x41, 0xd49)), "PROBLEM", "device", "the device tree describes no SPE (arm,", "if the CPUs"),
    "disabled": Problem(in_tree("disabled"), "PROBLEM", "device", 'the device tree has SPE, but with status "disabled"'),
    "owned": Problem(refused("profiling buffer owned by higher exception level"), "PROBLEM", "firmware",
                     "the profiling buffer is owned"),
    "owned, for a user": Problem(refused_to_user, "PROBLEM", "PMU", "this user cannot read the kernel log -> run this as root"),
    "refused silently": Problem(refused(""), "PROBLEM", "PMU", "the driver refused it, and the kernel log does not say why"),
    # Where this runs
    "virtual": Problem(virtual("m7g.large"), "PROBLEM", "machine", "a virtual machine (Amazon EC2)", "firmware or its", ["device"]),
    "no /sys": Problem(lambda root: root.remove("sys"), "PROBLEM", "system",
                       "no /sys is mounted here: a chroot or a container -> run this outside of it, or after mount -t sysfs "
                       "sysfs /sys", "firmware"),
    "container": Problem(container, "note", "system", "a container (docker), which may refuse perf's system call", "reboot"),
    "container without a driver": Problem(container_without_a_driver, "PROBLEM", "driver",
                                          "/lib/modules has none of this kernel's -> look outside of the container",
                                          "linux-modules"),
    # The kernel
    "no CONFIG_RUST": Problem(lambda root: root.configure(m=True, rust=False), "note", "Rust",
                              "the kernel has no CONFIG_RUST, so that the C driver is what there is", "build"),
    "no metadata": Problem(lambda root: root.remove(f"{root.modules}/build/rust"), "note", "Rust",
                           "rust/libkernel.rmeta is missing in its headers"),
    "built in": Problem(FakedRoot.build_in, "note", "driver", "the C driver, built into the kernel", "can be built"),
    "built in, not there": Problem(builtin_but_absent, "PROBLEM", "driver", "built into the kernel, but it is not there"),
    "another module": Problem(FakedRoot.own_module, "note", "driver", "the module arm_spe_own: the Rust driver cannot"),
    "upgraded": Problem(upgraded, "PROBLEM", "driver",
                        "/lib/modules has none of this kernel's -> if the kernel was upgraded: reboot"),
    "not configured": Problem(not_configured(), "PROBLEM", "driver",
                              "built without one (CONFIG_ARM_SPE_PMU) -> ..., or build the Rust driver"),
    "no perf": Problem(lambda root: root.remove("proc/sys/kernel/perf_event_paranoid"), "PROBLEM", "kernel",
                       "there is no perf_event_paranoid"),
    "kpti": Problem(lambda root: (root.unload(), root.write("proc/cmdline", "ro kpti=on")), "PROBLEM", "KPTI",
                    "page table isolation is on"),
    "unsigned": Problem(unsigned, "PROBLEM", "signing", "the one installed is not -> make sign"),
    # Other users
    "in use": Problem(in_use, "note", "PMU", "SPE is in use; processes with events of perf: perf 4711 ->", "bash"),
    "in use, built in": Problem(in_use_built_in, "note", "PMU", "SPE may be in use; ... of any PMU: perf 4711"),
    "found busy": Problem(found_busy, "note", "PMU", "SPE is not in use now; 5 starts found a unit taken (start_busy)"),
}

#: The like; one distribution each is enough.
VARIANTS = {
    # perf
    "perf 5.4": Problem(perf("5.4.293"), "PROBLEM", "perf", "5.4.293 records SPE but shows no samples"),
    "perf 5.10": Problem(perf("5.10.234-225.910.amzn2.aarch64"), "note", "uses",
                         "not perf mem, perf c2c -> for these: perf mem and c2c: perf 5.12"),
    "perf 6.1, older kernel": Problem(lambda root: (perf("6.1.176")(root), root.write("sys/devices/arm_spe_0/type", "8")),
                                      "ok", "uses", "perf mem, perf c2c"),
    "perf of our own": Problem(perf("of our own"), "unknown", "perf", "its version: of our own"),
    # This user
    "paranoid 4, root": Problem(user(4, ALL, uid=0), "ok", "uses", "of all CPUs (-a) and with physical addresses"),
    "paranoid 0": Problem(user(0), "ok", "uses", "of all CPUs (-a) and with physical addresses; perf mem, perf c2c"),
    "paranoid 2, CAP_PERFMON": Problem(user(2, PERFMON), "ok", "uses", "of all CPUs (-a) and with physical addresses"),
    "root of a namespace": Problem(user(2, ALL, uid=0, namespace=1), "note", "uses", "perf record; not the kernel"),
    # Cores
    "A76 and A55": Problem(core(CORTEX_A55, CORTEX_A76), "PROBLEM", "CPU",
                           "these cores have no SPE: Cortex-A55 and Cortex-A76", "setup"),
    "Cortex-A72": Problem(core((0x41, 0xd08)), "PROBLEM", "CPU", "this core has no SPE: Cortex-A72", "setup"),
    "A64FX": Problem(core((0x46, 0x001)), "PROBLEM", "CPU", "this core has no SPE: A64FX", "setup"),
    "ThunderX": Problem(core((0x43, 0x0a1)), "PROBLEM", "CPU", "this core has no SPE: ThunderX", "setup"),
    "Cortex-A78AE": Problem(core((0x41, 0xd42)), "ok", "CPU", "Cortex-A78AE has SPE", "if the CPUs", ["device"]),
    "Carmel": Problem(core((0x4e, 0x004)), "unknown", "CPU", "whether the CPUs have SPE", "no SPE:", ["device"]),
    "A520 and A720": Problem(core((0x41, 0xd80), (0x41, 0xd81)), "ok", "CPU", "Cortex-A720 has SPE", "A520", ["device"]),
    "A76 and unknown": Problem(core(CORTEX_A76, (0x61, 0x022)), "unknown", "CPU", "whether the CPUs have SPE", "A76", ["device"]),
    "looked": Problem(refused("no CPU has the Statistical Profiling Extension (ID_AA64DFR0_EL1.PMSVer is 0)"),
                      "PROBLEM", "CPU", "the CPUs have no SPE", "setup"),
    "looked at a small core": Problem(one_refused, "unknown", "CPU", "a CPU has no SPE, but Cortex-A720 has", "another machine"),
    "loaded before": Problem(found_before, "ok", "CPU", "a driver has found it since the kernel was started", "PMSVer"),
    "node without a device": Problem(in_tree("okay"), "PROBLEM", "device", "the kernel has made no device of it", "okay"),
    "cannot be unpacked": Problem(packed, "unknown", "signing", "it cannot be unpacked here -> install xz or zstd"),
    # Firmware
    "MADT 6": Problem(without_device(6), "PROBLEM", "device",
                      "ACPI describes no SPE (an interrupt of each CPU in the MADT) -> update the firmware", "revision"),
    "refused": Problem(refused("unsupported PMBIDR.Align [12] on CPU 0"), "PROBLEM", "PMU",
                       "the driver refused it: unsupported PMBIDR.Align [12] on CPU 0"),
    "refused in a container": Problem(refused_in_container, "PROBLEM", "PMU",
                                      "the kernel log cannot be read -> look at it outside of the container"),
    # Where this runs
    "metal": Problem(virtual("m7g.metal"), "PROBLEM", "device", "update the firmware", "virtual"),
    "no /proc and /sys": Problem(lambda root: root.remove("sys", "proc"), "PROBLEM", "system",
                                 "a chroot ... mount -t proc proc /proc; mount -t sysfs sysfs /sys", "firmware"),
    "no /sys, unknown core": Problem(lambda root: (root.cpus((0x61, 0x022)), root.remove("sys")), "PROBLEM", "system",
                                     "no /sys is mounted here", "load it"),
    "no /sys on an A76": Problem(lambda root: (root.cpus(CORTEX_A76), root.remove("sys")), "PROBLEM", "CPU",
                                 "this core has no SPE: Cortex-A76", "firmware or", ["system"]),
    # The kernel
    "no configuration": Problem(lambda root: root.remove(root.distribution.config.format(root.release)), "unknown", "Rust",
                                "no configuration of this kernel is found"),
    "not configured, no Rust": Problem(not_configured(rust=False), "PROBLEM", "driver",
                                       "built without one ... -> use a kernel with CONFIG_ARM_SPE_PMU=m", "build the Rust"),
}


def expect(problem, root):
    """The doctor says the right thing of this machine, and no wrong one."""
    found = examine(root)
    pattern = ".*".join(map(re.escape, problem.words.split("...")))
    assert re.search(pattern, found.texts.get((problem.mark, problem.subject), "")), found
    assert not problem.never or not any(problem.never in text for text in found.texts.values()), found
    assert problems(found) == {*problem.more} | ({problem.subject} if problem.mark == "PROBLEM" else set()), found
    return found


@pytest.mark.parametrize("name", PROBLEMS)
def test_problem(machine, name):
    """The doctor finds the problem in each distribution."""
    for distribution in DISTINCT:
        root = machine(distribution)
        PROBLEMS[name].make(root)
        expect(PROBLEMS[name], root)


@pytest.mark.parametrize("number, name", [*enumerate(VARIANTS)])
def test_variant(machine, number, name):
    """The doctor finds the problem in one of the distributions. --json says the same."""
    root = machine(DISTINCT[number % len(DISTINCT)])
    VARIANTS[name].make(root)
    expect(VARIANTS[name], root)
    as_json(root)


@pytest.mark.parametrize("distribution", DISTINCT)
def test_old_kernel(machine, distribution):
    """For a kernel before 7.2 the doctor says that there is only the C driver, and never to build the other one."""
    root = machine(distribution, version="6.12.0")
    old = Problem(None, "note", "Rust", "for Linux 7.2 or later; the C driver is what there is for this kernel", "build")
    expect(old, root)
    root.unload()
    root.remove(f"{root.modules}/kernel", f"{root.modules}/modules.dep")
    expect(old._replace(more=["driver"]), root)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_paranoid(machine, distribution):
    """Above 2, perf is for CAP_SYS_ADMIN alone in the kernels of Debian and others; elsewhere such a level is as 2."""
    patched = distribution in ("debian", "raspbian", "ubuntu", "arch", "alpine")
    nothing = Problem(None, "PROBLEM", "rights", "perf_event_paranoid is 3: this user may profile nothing -> sudo sysctl",
                      "perf mem")
    for capabilities, other in ((NONE, Problem(None, "note", "uses", "perf record; not the kernel, all CPUs (-a)")),
                                (PERFMON, Problem(None, "ok", "uses", "of all CPUs (-a) and with physical addresses"))):
        root = machine(distribution)
        root.paranoid(3)
        root.user(1000, capabilities)
        expect(nothing if patched else other, root)


@pytest.mark.parametrize("version, buildable", [("5.10.247", False), ("7.1.9", False), ("7.2.0-rc1", True), ("10.0.1", True)])
def test_version(machine, version, buildable):
    """The first version of Linux that the driver is for is 7.2."""
    assert (("ok", "Rust") in examine(machine("debian", version=version)).texts) == buildable


@pytest.mark.parametrize("distribution", DISTINCT)
@pytest.mark.parametrize("described", [True, False])
def test_all_at_once(machine, distribution, described):
    """Also what has to be said of a machine where all is wrong fits on a screen, in long words."""
    root = machine(distribution, release=DISTRIBUTIONS[distribution].release.format("7.3.4-local"))
    root.unload()
    root.write(".dockerenv", "")
    root.user(1000, NONE)
    root.paranoid(4)
    root.cpus((0x61, 0x022))
    root.remove("var/log/dmesg", "bin/perf", f"{root.modules}/kernel", f"{root.modules}/modules.dep")
    root.command("rustc", "echo 'rustc 1.91.0 (f8297e351 2025-10-28) (from a distribution)'")
    root.write("sys/module/module/parameters/sig_enforce", "Y\n")
    if described:
        root.write("proc/cmdline", "kpti=on")
    else:
        root.remove("sys/bus/platform")
        root.madt(4)
        root.write("sys/class/dmi/id/sys_vendor", "Amazon EC2\n")
    found = examine(root)
    assert problems(found) - {"rights"} == {"driver", "perf"} | ({"KPTI"} if described else {"device", "machine"})
    assert ("note", "Rust") in found.texts or not described


@pytest.mark.parametrize("release", ["next-20261123", "next-2026.11.23", "2026", "7", "v7.x-custom", "08.09", "7.3a b",
                                     "99999999999999999999.1"])
def test_odd_release(machine, release):
    """A kernel whose name is no version is no problem."""
    root = machine("debian", release=release)
    found, said = as_json(root)
    assert found.status == 0 and said["release"] == release


def test_quotes_in_json(machine):
    """Text from outside is quoted."""
    root = machine("debian")
    root.process(4711, 'a "b" \\c', EVENT)
    root.write("sys/module/arm_spe_pmu/refcnt", "1")
    found, _ = as_json(root)
    assert 'perf: a "b" \\c 4711' in found.texts["note", "PMU"]


def test_os_release_is_not_executed(machine, tmp_path):
    """os-release is a file of shell that anybody may have edited."""
    root = machine("debian")
    root.write("etc/os-release", f'ID="$(touch {tmp_path}/executed)"\nID_LIKE=`touch {tmp_path}/executed`\n')
    _, said = as_json(root)
    assert said["distribution"] is None and not (tmp_path / "executed").exists()


@pytest.mark.parametrize("arguments, status", [(["-h"], 0), (["-x"], 2), (["-h", "-h"], 2), (["--json", "-h"], 2)])
@pytest.mark.parametrize("shell", shells(), ids=lambda shell: shell[-1].rpartition("/")[2])
def test_usage(shell, arguments, status):
    done = subprocess.run([*shell, TOP / "tools/spe-doctor", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == status and "usage: spe-doctor [-h | --json]" in (done.stderr if status else done.stdout)
