# SPDX-License-Identifier: GPL-2.0
"""make deb and make rpm: the checkers of both distributions find nothing, both packages have the same files, and DKMS
builds and installs the module when they are installed. What is removed is gone without a trace.

The system is the build root with an overlay on top, which has what changes. It is the arm64 machine by its uname; its
kernel tree takes the module from the checkout. make test-native builds it in a real one.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kernel import STOCK
from paths import TOP

RELEASE = STOCK.release
VERSION = re.search('^PACKAGE_VERSION="(.*)"', (TOP / "dkms.conf").read_text(), re.MULTILINE)[1]
PAGE = TOP / "docs/spe-doctor.8"
MODULES = f"usr/lib/modules/{RELEASE}"
#: What stays and is not the package's: the key that DKMS makes for the machine, and what dpkg and rpm note.
OTHERS = re.compile("var/lib/dkms/(mok|dkms_dbversion)|var/(lib|log)/(dpkg|rpm)")
#: In the namespace of an ordinary user. The overlay's notes are in attributes that tmpfs has for such only since Linux 6.6.
ORDINARY = "4294967295" not in Path("/proc/self/uid_map").read_text()
#: How each package manager is called. The packages of the build root are in no database.
COMMANDS = {
    "deb": ("dpkg --force-depends -i", "dpkg -r arm-spe-pmu-dkms", "dpkg -P arm-spe-pmu-dkms"),
    "rpm": ("rpm --nodeps --dbpath /var/lib/rpm -i", "rpm --dbpath /var/lib/rpm -e arm-spe-pmu-dkms"),
}


def run(*command):
    """Runs a command in the checkout, which has to succeed. Returns its output."""
    done = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(autouse=True, scope="module")
def this_driver():
    """Skips the tests with DRIVER=c."""
    if os.environ.get("DRIVER") == "c":
        pytest.skip("the packages are of the Rust driver")


@pytest.fixture(scope="module")
def packages(this_driver):
    """The packages, by the ends of their names."""
    built = {}
    for kind in COMMANDS:
        run("tools/build-package", kind)
        (built[kind],) = (TOP / "build" / kind).rglob(f"*[_.][an]*.{kind}")  # all, noarch: not the source
    return built


class System:
    """The build root, and what changes in it."""

    def __init__(self, path):
        self.path, self.upper = path, path / "upper"
        for name in ("upper", "work", "merged"):
            (path / name).mkdir()

    def run(self, command):
        """Runs a command there, which has to succeed. Returns its output."""
        return run("unshare", "--mount", "--propagation", "unchanged", "bash", "-euc", """
            cd "$1"
            mount -t overlay -o "lowerdir=/,upperdir=upper,workdir=work$2" overlay merged
            for dir in proc dev; do mount --rbind "/$dir" "merged/$dir"; done
            exec chroot merged bash -euc "$3" """, "system", self.path, ",userxattr" if ORDINARY else "", command)

    def write(self, name, content, mode=0o644):
        """Writes a file, or takes one."""
        path = self.upper / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copy(content, path)
        else:
            path.write_text(content)
            path.chmod(mode)

    def files(self):
        """Returns what the build root does not have or has otherwise, but for what is not the package's."""
        found = (str(path.relative_to(self.upper)) for path in self.upper.rglob("*"))
        return sorted(name for name in found if not Path("/", name).is_dir() and not OTHERS.match(name))


@pytest.fixture
def system(tmp_path, artefacts):
    """A machine with the stock kernel and its C driver, and with the headers for building modules."""
    made = System(artefacts if ORDINARY else tmp_path)
    made.write("usr/bin/uname", f"#!/bin/sh\ncase $1 in -m) echo aarch64 ;; -r) echo {RELEASE} ;; *) echo Linux ;; esac\n", 0o755)
    (found,) = STOCK.modules.rglob("arm_spe_pmu.ko*")
    made.write(f"{MODULES}/kernel/drivers/perf/{found.name}", found)
    for name in (".config", "Module.symvers", "include/config/kernel.release", "include/generated/uapi/linux/version.h",
                 "rust/libcore.rmeta", "rust/libkernel.rmeta"):
        made.write(f"{MODULES}/build/{name}", Path(os.environ["ARM_SPE_KERNEL"], name))
    made.write(f"{MODULES}/build/Makefile", "modules:\n\tcp /arm_spe_pmu.ko $(MO)/\n")
    made.write("arm_spe_pmu.ko", STOCK.rust_module)
    made.write("var/lib/dpkg/status", "")
    (made.upper / "usr/share/licenses").mkdir(parents=True)  # each Fedora has it
    made.run(f"depmod {RELEASE}")
    return made


def test_lintian(packages):
    """Debian's checker finds no error and nothing to warn of."""
    assert not run("lintian", "--profile", "debian", "--allow-root", "--fail-on", "error,warning", packages["deb"])


def test_rpmlint(packages):
    """Nor does that of rpm."""
    said = run("rpmlint", "-c", "rpm/rpmlint.toml", "rpm/arm-spe-pmu-dkms.spec", packages["rpm"])
    assert " 0 errors, 0 warnings" in said, said


def test_files(packages):
    """Both packages have the same files, but for those that only one of the distributions wants."""
    listed = {
        "deb": re.findall(r"^[^d].* \.(/.*)$", run("dpkg-deb", "-c", packages["deb"]), re.MULTILINE),
        "rpm": [name for mode, name in re.findall(r"^(.).* (/.*)$", run("rpm", "-qlvp", packages["rpm"]), re.MULTILINE)
                if mode != "d"],
    }
    own = {"deb": "/usr/share/lintian/|/usr/share/doc/.*/(copyright|changelog.gz)$", "rpm": "/usr/share/licenses/"}
    files = {kind: sorted(name for name in names if not re.match(own[kind], name)) for kind, names in listed.items()}
    assert files["deb"] == files["rpm"]
    assert {"/usr/bin/spe-doctor", "/usr/share/man/man8/spe-doctor.8.gz",
            "/usr/share/doc/arm-spe-pmu-dkms/docs/doctor.md"} <= set(files["deb"])
    # What makes the metadata for Debian's kernels, which test_remove does not do.
    tools = {name for name in files["deb"] if "/tools/" in name}
    called = re.findall(r"\$here/([\w-]+)", "".join((TOP / "tools" / name.split("/tools/")[1]).read_text() for name in tools))
    assert called and not [name for name in called if not any(f"/tools/{name}" in tool for tool in tools)]


def test_version():
    """Both packages have the version that DKMS has."""
    assert run("dpkg-parsechangelog", "-S", "Version") == f"{VERSION}\n"
    assert run("rpmspec", "-q", "--qf", "%{version}", "rpm/arm-spe-pmu-dkms.spec") == VERSION


@pytest.mark.parametrize("kind", COMMANDS)
def test_remove(packages, system, kind):
    """Installing builds the module for the kernel. Nothing is left after removal and, of dpkg's, after purge."""
    install, *remove = COMMANDS[kind]
    before = system.files()
    system.write(packages[kind].name, packages[kind])
    said = system.run(f"{install} /{packages[kind].name} && rm /{packages[kind].name}")
    assert f"arm-spe-pmu/{VERSION}, {RELEASE}, aarch64: installed" in system.run("dkms status"), said
    assert "/updates/dkms/arm_spe_pmu.ko" in system.run(f"modinfo -k {RELEASE} -n arm_spe_pmu"), said
    system.run("spe-doctor --help; man -w spe-doctor")
    if kind == "deb":   # only for Debian's kernels the metadata has to be made
        system.run("mkdir -p /var/cache/arm-spe-pmu/tree")
    for command in remove:
        said = system.run(command)
        assert system.files() == before, said
    assert "arm-spe-pmu" not in system.run("dkms status; dpkg -l; rpm --dbpath /var/lib/rpm -qa")


def test_page_is_clean():
    """The manual page has no mistake that groff or mandoc knows. Which other pages are installed does not matter."""
    assert not run("bash", "-c", 'man --warnings -l "$1" 2>&1 >/dev/null', "man", PAGE)
    said = run("bash", "-c", 'mandoc -T lint "$1" || :', "mandoc", PAGE)
    assert not re.sub("^mandoc: .*(referenced manual not found: .*|outdated mandoc.db .*)\n?", "", said, flags=re.MULTILINE)


def test_page_is_complete():
    """The manual page has the options of spe-doctor, and the exit statuses and keys of docs/doctor.md."""
    page, doctor = PAGE.read_text(), (TOP / "docs/doctor.md").read_text()
    source = (TOP / "tools/spe-doctor").read_text()
    options = set(re.findall(r"1,-([\w-]+)", source[:source.index("esac")]))
    assert "-json" in options
    assert set(re.findall(r"\bFl (\S+)", " ".join(re.findall(r"^\.It Fl .*", page, re.MULTILINE)))) == options
    assert set(re.findall(r"^\.It (\d)$", page, re.MULTILINE)) == set(re.findall(r"^\| (\d) \|", doctor, re.MULTILINE))
    keys = re.search(r"^\| key \|.*?\n\n", doctor, re.MULTILINE | re.DOTALL)[0]
    described = ", ".join(re.findall(r"^\.It Va (.*)", page, re.MULTILINE)).replace(" ,", ",").split(", ")
    assert described == re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in keys.splitlines()[2:] if "|" in line))
