# SPDX-License-Identifier: GPL-2.0
"""A directory with the files of another machine, for tools/spe-doctor to look at (SPE_DOCTOR_ROOT).

Such a machine has SPE, a driver and perf: it is healthy, until a test takes something away.
"""

import shutil
import struct
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from paths import TOP

#: The tools that the doctor uses, besides those that a test fakes.
TOOLS = ("basename", "cat", "find", "grep", "gzip", "head", "id", "ls", "od", "readlink", "sed", "sort", "tail", "tr",
         "xz", "zcat", "zstd")
RUSTC = "rustc 1.85.1 (4eb161250 2025-03-15)"

NEOVERSE_N1, CORTEX_A55, CORTEX_A76 = (0x41, 0xd0c), (0x41, 0xd05), (0x41, 0xd0b)

#: /proc/self/status: all capabilities, none, and CAP_PERFMON alone.
ALL, NONE, PERFMON = (1 << 41) - 1, 0, 1 << 38


@dataclass
class Distribution:
    """A distribution: its os-release, and what spe-doctor is to say there."""

    os_release: str
    #: What `uname -r` says, by the version.
    release: str
    #: How to install a package, and the packages with perf, headers, modules and rustc; with the release for {}.
    install: str = ""
    perf: str = ""
    headers: str = ""
    modules: str = ""
    rustc: str = ""
    #: What gives the kernel an option.
    option: str = "the settings of the boot loader"
    #: Where the configuration is, and how modules are packed.
    config: str = "boot/config-{}"
    packed: str = ""

    def advice(self, what, without, release, sudo=""):
        """Returns the advice to install a package, or what it says where the package has no name."""
        package = getattr(self, what)
        return f"{sudo}{self.install} {package.format(release)}" if package else f"install {without}"


DISTRIBUTIONS = {
    "debian": Distribution(
        'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nNAME="Debian GNU/Linux"\nVERSION_ID="13"\n'
        'VERSION="13 (trixie)"\nVERSION_CODENAME=trixie\nID=debian\n',
        "{}+deb13-arm64", "apt install", "linux-perf", "linux-headers-{}", "linux-image-{}", "rustc rust-src",
        "GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub", packed="xz"),
    "raspbian": Distribution(
        'PRETTY_NAME="Raspbian GNU/Linux 12 (bookworm)"\nNAME="Raspbian GNU/Linux"\nVERSION_ID="12"\n'
        'ID=raspbian\nID_LIKE=debian\n',
        "{}+rpt-rpi-v8", "apt install", "linux-perf", "linux-headers-{}", "linux-image-{}", "rustc rust-src",
        "GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub", packed="xz"),
    "ubuntu": Distribution(
        'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nNAME="Ubuntu"\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\nID=ubuntu\n'
        'ID_LIKE=debian\nUBUNTU_CODENAME=noble\n',
        "{}-1010-aws", "apt install", "linux-tools-{}", "linux-headers-{}", "linux-modules-extra-{}", "rustc rust-src",
        "GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub", packed="zst"),
    "fedora": Distribution(
        'NAME="Fedora Linux"\nVERSION="43 (Server Edition)"\nRELEASE_TYPE=stable\nID=fedora\nVERSION_ID=43\n'
        'PLATFORM_ID="platform:f43"\nPRETTY_NAME="Fedora Linux 43 (Server Edition)"\n',
        "{}-200.fc43.aarch64", "dnf install", "perf", "kernel-devel-{}", "kernel-{}", "rust rust-src",
        "grubby --update-kernel=ALL --args=kpti=off", "lib/modules/{}/config", "xz"),
    "rocky": Distribution(
        'NAME="Rocky Linux"\nVERSION="9.6 (Blue Onyx)"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.6"\n'
        'PLATFORM_ID="platform:el9"\nPRETTY_NAME="Rocky Linux 9.6 (Blue Onyx)"\n',
        "{}-570.12.1.el9_6.aarch64", "dnf install", "perf", "kernel-devel-{}", "kernel-{}", "rust rust-src",
        "grubby --update-kernel=ALL --args=kpti=off", packed="xz"),
    "rhel": Distribution(
        'NAME="Red Hat Enterprise Linux"\nVERSION="10.0 (Coughlan)"\nID="rhel"\nID_LIKE="centos fedora"\n'
        'VERSION_ID="10.0"\nPLATFORM_ID="platform:el10"\n',
        "{}-55.9.1.el10_0.aarch64", "dnf install", "perf", "kernel-devel-{}", "kernel-{}", "rust rust-src",
        "grubby --update-kernel=ALL --args=kpti=off", packed="xz"),
    "openEuler": Distribution(
        'NAME="openEuler"\nVERSION="24.03 (LTS-SP2)"\nID="openEuler"\nVERSION_ID="24.03"\n'
        'PRETTY_NAME="openEuler 24.03 (LTS-SP2)"\n',
        "{}-98.0.0.103.oe2403sp2.aarch64", "dnf install", "perf", "kernel-devel-{}", "kernel-{}", "rust rust-src",
        "grubby --update-kernel=ALL --args=kpti=off", packed="xz"),
    "suse": Distribution(
        'NAME="openSUSE Leap"\nVERSION="15.6"\nID="opensuse-leap"\nID_LIKE="suse opensuse"\nVERSION_ID="15.6"\n'
        'PRETTY_NAME="openSUSE Leap 15.6"\nANSI_COLOR="0;32"\n',
        "{}-150600.23.73-64kb", "zypper install", "perf", "kernel-64kb-devel", "kernel-64kb", "rust",
        "GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then grub2-mkconfig -o /boot/grub2/grub.cfg", packed="zst"),
    "arch": Distribution(
        'NAME="Arch Linux ARM"\nPRETTY_NAME="Arch Linux ARM"\nID=archarm\nID_LIKE=arch\nBUILD_ID=rolling\n',
        "{}-1-aarch64-ARCH", "pacman -S", "perf", "linux-aarch64-headers", "linux-aarch64", "rust rust-src",
        config="proc/config.gz", packed="gz"),
    "amazon": Distribution(
        'NAME="Amazon Linux"\nVERSION="2023"\nID="amzn"\nID_LIKE="fedora"\nVERSION_ID="2023"\n'
        'PLATFORM_ID="platform:al2023"\nPRETTY_NAME="Amazon Linux 2023.9.20251117"\n',
        "{}-57.97.amzn2023.aarch64", "yum install", "perf", "kernel-devel-{}", "", "rust",
        "grubby --update-kernel=ALL --args=kpti=off"),
    "alpine": Distribution(
        'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.22.1\nPRETTY_NAME="Alpine Linux v3.22"\n',
        "{}-0-lts"),
}


@lru_cache
def pack(suffix, content):
    """Returns content as in a file with this suffix."""
    packers = {"": ["cat"], "xz": ["xz", "-c"], "zst": ["zstd", "-qc"], "gz": ["gzip", "-c"]}
    return subprocess.run(packers[suffix], input=content, stdout=subprocess.PIPE, check=True).stdout


class FakedRoot:
    """The root directory of such a machine, at path."""

    def __init__(self, path, distribution, version="7.3.4", release=None):
        """Makes a healthy one with the C driver, as a module, of which root is the user."""
        self.path, self.distribution = Path(path), distribution
        self.release = release or distribution.release.format(version)
        self.modules = f"lib/modules/{self.release}"
        self.write("etc/os-release", distribution.os_release)
        self.write("proc/sys/kernel/osrelease", self.release)
        self.write("proc/sys/kernel/arch", "aarch64")
        self.write("proc/cmdline", "root=/dev/vda1 ro")
        self.write("var/log/dmesg", "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x413fd0c1]")
        self.cpus(NEOVERSE_N1, NEOVERSE_N1)
        self.madt(5)
        self.user(0, ALL)
        self.paranoid(2)
        self.configure(m=True)
        self.write(f"{self.modules}/build/Makefile", "")
        self.write(f"{self.modules}/build/rust/libkernel.rmeta", "")
        # Where there is no /proc. The shell of busybox takes its own.
        self.command("uname", f'case $1 in -r) echo "{self.release}" ;; *) echo aarch64 ;; esac')
        self.command("rustc", f"echo '{RUSTC}'")
        self.command("perf", "echo perf version 7.3.4")
        self.install()
        self.write("sys/bus/platform/devices/arm,spe-v1/uevent", "MODALIAS=platform:arm,spe-v1\n")
        self.load()

    def write(self, name, content):
        """Writes a file, in the place of what is there."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            file.write_text(f"{content}\n" if content and content[-1] != "\n" else content)
        return file

    def remove(self, *names):
        """Removes files and directories, which are there."""
        for name in names:
            file = self.path / name
            if file.is_dir() and not file.is_symlink():
                shutil.rmtree(file)
            else:
                file.unlink()

    def link(self, name, target):
        """Makes a symbolic link, which may lead to nothing."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target)

    def command(self, name, script):
        """Makes a command."""
        self.write(f"bin/{name}", f"#!/bin/sh\n{script}").chmod(0o755)

    def cpus(self, *models):
        """Has CPUs of these models."""
        self.write("proc/cpuinfo", "".join(
            f"processor\t: {number}\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd evtstrm aes\nCPU implementer\t: {maker:#04x}\n"
            f"CPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: {part:#05x}\nCPU revision\t: 1\n\n"
            for number, (maker, part) in enumerate(models)))
        self.write("sys/devices/system/cpu/online", f"0-{len(models) - 1}")

    def madt(self, revision):
        """Is described by ACPI, with a MADT of this revision."""
        self.write("sys/firmware/acpi/tables/APIC", struct.pack("<4sIB35x", b"APIC", 44, revision))

    def device_tree(self):
        """Is described by a device tree, without SPE."""
        self.remove("sys/firmware/acpi", "sys/bus/platform/devices/arm,spe-v1")
        self.write("sys/firmware/devicetree/base/compatible", "vendor,board\0")

    def user(self, uid, capabilities, namespace=4294967295):
        """Runs the doctor as this user, in a user namespace with so many users."""
        self.write("proc/self/status", f"Name:\tsh\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{capabilities:016x}\n")
        self.write("proc/self/uid_map", f"{0:10} {0:10} {namespace:10}")

    def paranoid(self, level):
        """Has this perf_event_paranoid."""
        self.write("proc/sys/kernel/perf_event_paranoid", str(level))

    def configure(self, m=False, builtin=False, rust=True):
        """Has a kernel that was built with these: the C driver as a module, or built in; Rust."""
        text = "CONFIG_ARM64=y\n" + "CONFIG_ARM_SPE_PMU=m\n" * m + "CONFIG_ARM_SPE_PMU=y\n" * builtin
        if rust:
            text += f'CONFIG_RUSTC_VERSION_TEXT="{RUSTC}"\nCONFIG_RUST=y\n'
        file = self.write(self.distribution.config.format(self.release), text)
        if file.suffix == ".gz":
            file.write_bytes(pack("gz", text.encode()))

    def install(self, language="C"):
        """Has this driver where modprobe looks."""
        plain = f"\0description={'SPE driver in Rust' if language == 'Rust' else 'Statistical Profiling Extension'}\0".encode()
        packed = self.distribution.packed
        module = "kernel/drivers/perf/arm_spe_pmu.ko" + (f".{packed}" if packed else "")
        self.write(f"{self.modules}/{module}", pack(packed, plain))
        self.write(f"{self.modules}/modules.dep", f"kernel/fs/fuse/fuse.ko:\n{module}:\n")
        self.write(f"{self.modules}/modules.builtin", "kernel/fs/ext4/ext4.ko\n")

    def load(self, language="C", pmu=True, users=0):
        """Has this driver loaded, used by so many events, and with the PMU."""
        self.link("sys/bus/platform/drivers/arm_spe_pmu/module", "../../../../module/arm_spe_pmu")
        self.write("sys/module/arm_spe_pmu/refcnt", str(users))
        symbol = "_RNvNtCs1_11arm_spe_pmu6device" if language == "Rust" else "arm_spe_pmu_device_probe"
        self.write("proc/kallsyms", f"0000000000000000 T _text\n0000000000000000 t {symbol}\t[arm_spe_pmu]\n")
        if pmu:
            self.pmu()

    def pmu(self):
        """Has the PMU."""
        online = self.path / "sys/devices/system/cpu/online"
        self.write("sys/bus/event_source/devices/arm_spe_0/cpumask", online.read_text())

    def unload(self):
        """Has no driver loaded."""
        self.remove("sys/bus/platform/drivers", "sys/module", "proc/kallsyms", "sys/bus/event_source")

    def own_module(self):
        """Has a module of another name that drives the device."""
        self.remove("sys/bus/platform/drivers/arm_spe_pmu/module")
        self.link("sys/bus/platform/drivers/arm_spe_pmu/module", "../../../../module/arm_spe_own")
        self.write("sys/module/arm_spe_own/refcnt", "0")

    def build_in(self):
        """Has the C driver in the kernel, where it is no module."""
        self.unload()
        self.remove(f"{self.modules}/kernel", f"{self.modules}/modules.dep")
        self.write(f"{self.modules}/modules.builtin", "kernel/drivers/perf/arm_spe_pmu.ko\n")
        self.configure(builtin=True)
        self.write("sys/bus/platform/drivers/arm_spe_pmu/bind", "")
        self.pmu()

    def process(self, number, name, *files):
        """Has a process with these open files."""
        self.write(f"proc/{number}/comm", name)
        for descriptor, file in enumerate(files):
            self.link(f"proc/{number}/fd/{descriptor}", file)

    def doctor(self, shell, *arguments):
        """Runs the doctor in this shell. Returns its exit status and its output."""
        tools = self.path.parent / "tools"
        if not tools.exists():
            tools.mkdir()
            for tool in TOOLS:
                if found := shutil.which(tool):
                    (tools / tool).symlink_to(found)
        environment = {"PATH": f"{self.path}/bin:{tools}", "SPE_DOCTOR_ROOT": str(self.path)}
        done = subprocess.run([*map(str, shell), TOP / "tools/spe-doctor", *arguments], env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        assert not done.stderr, done.stderr
        return done.returncode, done.stdout


def shells():
    """Returns the shells of this machine that the doctor has to run in."""
    found = (shutil.which("dash"), shutil.which("bash"), shutil.which("busybox"))
    return [[path, *options] for path, options in zip(found, ([], ["--posix"], ["sh"])) if path]


