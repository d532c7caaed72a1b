# SPDX-License-Identifier: GPL-2.0
"""make KDIR=...: what is wrong with a kernel tree or missing on the machine is one line, before anything long begins.

A kernel tree, the compilers and the package tools are faked: make's command lines and messages are looked at, and
nothing is compiled. The faked source of a Debian kernel goes through the real tools that make its metadata.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

import pytest

from kernel import STOCK
from paths import TOP

pytestmark = [pytest.mark.independent, pytest.mark.timeout(20)]

RELEASE = "7.3.4+deb13-arm64"
RUSTC = "rustc 1.85.1 (4eb161250 2025-03-15) (built from a source tarball)"
GCC = "aarch64-linux-gnu-gcc-14"
CONFIG = f"""# Linux/arm64 7.3.4 Kernel Configuration
CONFIG_CC_VERSION_TEXT="{GCC} (Debian 14.2.0-19) 14.2.0"
CONFIG_CC_IS_GCC=y
CONFIG_RUST=y
CONFIG_TRACEPOINTS=y
CONFIG_RUSTC_VERSION_TEXT="{RUSTC}"
CONFIG_ARM64=y
"""
#: What building runs, besides what every system has. FAKE_LOG has what was done by those that take long.
COMMANDS = {
    "rustc": f'[ "$1" != --print ] || {{ echo "$FAKE/sysroot"; exit; }}; echo "{RUSTC}"',
    # Of an amd64 machine.
    "uname": '[ "$1" != -m ] || { echo x86_64; exit; }; exec /usr/bin/uname "$@"',
    "dpkg-query": f'[ "${{*: -1}}" = linux-headers-{RELEASE} ] && printf 1',
    "apt-get": '[[ $* != *--print-uris* ]] || exit 0; echo fetched >>"$FAKE/log"; gate source; : >"$PWD/source.deb"',
    # See Gate.
    "gate": '[ ! -p "$FAKE/$1-go" ] || { echo >"$FAKE/$1-begun"; read -r _ <"$FAKE/$1-go"; }',
    "dpkg-deb": 'mkdir -p "$3/usr/src" && cp "$FAKE"/linux-source-7.3.tar.xz "$3/usr/src/"',
    **dict.fromkeys(("bindgen", GCC, "gcc", "rustfmt", "flex", "bison", "bc", "pahole", "cpio", "perl", "xz"), ":"),
}
#: Makefiles: of a tree with metadata, and of a kernel's source.
MODULES = """modules:
	@echo 'KDIR=$(CURDIR) M=$(M) MO=$(MO) ARCH=$(ARCH) CROSS_COMPILE=$(CROSS_COMPILE) CC=$(CC)' >>"$(FAKE)/log"
	@gate modules
"""
#: As bindgen without rustfmt writes it, and as the kernel's build mends it.
SOURCE = MODULES + """olddefconfig:
modules_prepare:
	mkdir -p rust/bindings include/config include/generated/uapi/linux
	cp "$(FAKE)/tree/include/config/kernel.release" include/config/
	echo 'pub const RUST_CONST_HELPER_A : u8 = 1 ; pub const RUST_CONST_HELPER_B : u8 = 2 ;' | rustfmt | \\
		sed -E 's/pub const RUST_CONST_HELPER_/pub const /' >rust/bindings/generated.rs
	echo 'EXPORT_SYMBOL_RUST_GPL(_RNvA);' >rust/exports_core_generated.h
	touch rust/libkernel.rmeta
"""


class Bench:
    """A checkout, a kernel tree and the commands of a machine, all of them in one directory."""

    def __init__(self, path, system):
        self.path, self.checkout, self.tree, self.bin = path, path / "checkout", path / "tree", path / "bin"
        self.cache, self.log, self.kdir = path / "cache", path / "log", self.tree
        self.checkout.mkdir()
        shutil.copy(TOP / "Makefile", self.checkout)
        shutil.copytree(TOP / "tools", self.checkout / "tools")
        self.write("sysroot/lib/rustlib/src/rust/library/core/src/lib.rs", "")
        for name, does in COMMANDS.items():
            self.command(name, does)
        self.write("tree/Makefile", MODULES)
        self.write("tree/.config", CONFIG)
        self.write("tree/Module.symvers", "0x0\t_RNvA\tvmlinux\tEXPORT_SYMBOL_GPL\n")
        self.release(RELEASE, 7, 3)
        self.metadata(RUSTC)
        self.environment = {"PATH": f"{self.bin}:{system}", "FAKE": str(path), "ARM_SPE_CACHE": str(self.cache),
                            "HOME": str(path)}

    def write(self, name, text):
        """Writes a file."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text)

    def command(self, name, does):
        """Makes a command."""
        self.write(f"bin/{name}", f"#!/bin/bash\n{does}\n")
        (self.bin / name).chmod(0o755)

    def release(self, release, major, patchlevel):
        """Makes the tree that of another kernel."""
        self.write("tree/include/config/kernel.release", release)
        self.write("tree/include/generated/uapi/linux/version.h",
                   f"#define LINUX_VERSION_MAJOR {major}\n#define LINUX_VERSION_PATCHLEVEL {patchlevel}\n")

    def config(self, old, new=""):
        """Changes the configuration of the tree."""
        assert old in CONFIG
        self.write("tree/.config", CONFIG.replace(old, new))

    def metadata(self, rustc):
        """Makes the tree's metadata, as its compiler begins it."""
        for crate in ("core", "kernel"):
            (self.tree / "rust").mkdir(exist_ok=True)
            (self.tree / f"rust/lib{crate}.rmeta").write_bytes(
                b"rust\0\0\0\x09\x59\x7f\x66\x02\0\0\0\0" + bytes([len(rustc)]) + rustc.encode() + b"\xc1\0\x1eabi")

    def debian(self):
        """Makes the tree a header package of Debian, without metadata, and has its source."""
        shutil.rmtree(self.tree / "rust")
        self.write("source/linux-source-7.3/Makefile", SOURCE)
        with tarfile.open(self.path / "linux-source-7.3.tar.xz", "w:xz") as archive:
            archive.add(self.path / "source/linux-source-7.3", "linux-source-7.3")
        # The faked xz would unpack nothing.
        self.command("xz", 'exec /usr/bin/xz "$@"')

    def installed(self, release, target):
        """Makes the link of installed headers, and names the tree by it."""
        self.kdir = self.path / f"lib/modules/{release}/build"
        self.kdir.parent.mkdir(parents=True)
        self.kdir.symlink_to(target)

    @contextlib.contextmanager
    def start(self, *arguments):
        """Starts make. Nothing of it is left in the end."""
        process = subprocess.Popen(["make", f"KDIR={self.kdir}", *arguments], cwd=self.checkout, env=self.environment,
                                   text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()

    def make(self, *arguments):
        """Runs make. Returns its status and what it says."""
        with self.start(*arguments) as process:
            said = process.communicate(timeout=60)[0]
        return process.returncode, said

    def done(self):
        """Returns what was done that takes long."""
        return self.log.read_text() if self.log.exists() else ""


class Gate:
    """Something that takes long, "source" or "modules", waits in the middle each time."""

    def __init__(self, bench, what):
        self.paths = [bench.path / f"{what}-{end}" for end in ("begun", "go")]
        for path in self.paths:
            os.mkfifo(path)

    def begun(self):
        """Returns when it waits."""
        self.paths[0].read_text()

    def go(self):
        """Lets it go on."""
        self.paths[1].write_text("go\n")


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """The commands that every system has."""
    path = tmp_path_factory.mktemp("system")
    for command in Path("/usr/bin").iterdir():
        if command.name not in COMMANDS and "gcc" not in command.name:
            (path / command.name).symlink_to(command)
    return path


@pytest.fixture
def bench(tmp_path, system):
    return Bench(tmp_path, system)


def move_tree(bench, where):
    bench.kdir = bench.tree.rename(bench.path / where)


def move_checkout(bench):
    bench.checkout = bench.checkout.rename(bench.path / "check out")


def without(*names):
    """Returns what takes commands from a machine."""
    return lambda bench: [(bench.bin / name).unlink() for name in names]


def debian_and(then):
    """Returns what makes the tree Debian's, and then something of it or of the machine."""
    def change(bench):
        bench.debian()
        then(bench)
    return change


def user_without_home(bench):
    bench.command("id", "echo 1000")
    del bench.environment["ARM_SPE_CACHE"], bench.environment["HOME"]


def variable(name, value):
    return lambda bench: bench.environment.update({name: value})


#: What is wrong, how it comes about, and what is said.
ROWS = {
    "no tree": (lambda b: shutil.rmtree(b.tree), "is no kernel build tree: name another"),
    "no headers of the running kernel": (
        lambda b: setattr(b, "kdir", "/lib/modules/7.9.1-arm64/build"),
        r"build is missing: install the headers of that kernel \(Debian: linux-headers-7.9.1-arm64\)"),
    "link of removed headers": (
        lambda b: b.installed(RELEASE, "/usr/src/gone"),
        "leads to /usr/src/gone, where there is no .*: install the headers"),
    "link to the tree of another kernel": (
        lambda b: b.installed("7.2.12+deb13-arm64", b.tree),
        rf"is of another kernel, {RELEASE.replace('+', '.')}: install the headers .*linux-headers-7.2.12.deb13-arm64"),
    "a space in the path of the tree": (lambda b: move_tree(b, "a tree"), "a tree, has a space .*: move the tree"),
    "a colon in the path of the tree": (
        lambda b: move_tree(b, "a:tree"), "a:tree, has a space or a colon, .*: move the tree"),
    "a space in the path of the checkout": (move_checkout, "check out, has a space .*: move the checkout"),
    "checkout that cannot be written to": (
        lambda b: b.write("checkout/build", "in the way"),
        "cannot write to .*/build/module: use a checkout of your own"),
    "tree without .config": (lambda b: (b.tree / ".config").unlink(), "has no .config: copy that of the kernel"),
    "headers for x86": (
        lambda b: b.write("tree/.config", CONFIG.replace("/arm64", "/x86").replace("CONFIG_ARM64=y", "CONFIG_X86=y")),
        "for x86, not arm64: name the tree of an arm64 kernel"),
    "too old": (lambda b: b.release("7.1.9+deb13-arm64", 7, 1), "7.1.9.deb13-arm64 is too old: use Linux 7.2 or later"),
    "too old, of ten versions before": (lambda b: b.release("6.12.1", 6, 12), "6.12.1 is too old: use"),
    "too old, by name newer": (lambda b: b.release("next-20261130", 7, 1), "next-20261130 is too old: use"),
    "too old and not prepared": (
        lambda b: (b.config("7.3.4", "6.12.1"), shutil.rmtree(b.tree / "include")), "6.12 is too old: use"),
    "tree without CONFIG_RUST": (lambda b: b.config("CONFIG_RUST=y\n"), "built without Rust .*: use one that has it"),
    "tree without CONFIG_TRACEPOINTS": (
        lambda b: b.config("CONFIG_TRACEPOINTS=y\n"), "built without CONFIG_TRACEPOINTS, .*: build it with CONFIG_FTRACE=y"),
    "tree that is not prepared": (
        lambda b: shutil.rmtree(b.tree / "include"), "configured, but not prepared: run 'make modules_prepare'"),
    "tree without Module.symvers": (
        lambda b: (b.tree / "Module.symvers").unlink(),
        "has no Module.symvers, .*: build that kernel there .* or copy the file"),
    "own tree without metadata": (
        lambda b: (shutil.rmtree(b.tree / "rust"), b.command("dpkg-query", "exit 1")),
        r"has no Rust metadata .*: run 'make modules_prepare'"),
    "Ubuntu's metadata not installed": (
        lambda b: (shutil.rmtree(b.tree / "rust"), (b.tree / "rust").symlink_to("../linux-lib-rust/rust")),
        r"metadata of .* not installed: install it \(Ubuntu: linux-lib-rust-7.3.4"),
    "metadata of another rustc": (
        lambda b: b.metadata("rustc 1.97.1 (abc 2026-09-01)"),
        r"built with 'rustc 1.97.1 \(abc 2026-09-01\)', .* here is 'rustc 1.85.1 .*: install that version"),
    "kernel of another rustc": (
        lambda b: b.config("rustc 1.85.1", "rustc 1.97.1"),
        "built with 'rustc 1.97.1 .* here is 'rustc 1.85.1 .*: install"),
    "Debian's kernel of another rustc": (
        debian_and(lambda b: b.config("rustc 1.85.1", "rustc 1.97.1")),
        "built with 'rustc 1.97.1 .* here is 'rustc 1.85.1"),
    "rustup without a toolchain": (lambda b: b.command("rustc", "exit 1"), "'rustc --version' fails: mend that"),
    "rustc and bindgen missing": (
        without("rustc", "bindgen"), "not installed .*: run 'sudo apt-get install rustc bindgen'"),
    "no cross compiler": (without(GCC), "not installed .*: run 'sudo apt-get install gcc-14-aarch64-linux-gnu'"),
    "no compiler on arm64": (
        lambda b: (without(GCC)(b), without("gcc")(b), b.command("uname", "echo aarch64")),
        "not installed .*: run 'sudo apt-get install gcc-14'"),
    "no cross compiler for making metadata": (
        debian_and(lambda b: (without(GCC)(b), b.command("aarch64-linux-gnu-gcc", ""))),
        "not installed .*: run 'sudo apt-get install gcc-14-aarch64-linux-gnu'"),
    "kernel built with clang": (
        lambda b: b.config("CONFIG_CC_IS_GCC", "CONFIG_CC_IS_CLANG"), r"built with clang: .* \(make LLVM=1"),
    "tools for making metadata missing": (
        debian_and(lambda b: (without("flex", "pahole")(b), shutil.rmtree(b.path / "sysroot"))),
        "not installed .*: run 'sudo apt-get install flex pahole rust-src'"),
    "source not known to apt": (
        debian_and(lambda b: b.command("apt-get", "exit 100")),
        "apt does not know .* linux-source-7.3 1: run 'sudo apt-get update'"),
    "HOME unset": (debian_and(user_without_home), "HOME is not set, .*: set it, or name a place"),
    "cache that cannot be written to": (
        debian_and(lambda b: b.write("cache", "in the way")), "cannot write to the cache .*/cache: name another place"),
    "a space in the path of the cache": (
        debian_and(lambda b: variable("ARM_SPE_CACHE", f"{b.path}/a cache")(b)),
        "a cache, has a space .*: name another place"),
}


@pytest.mark.parametrize("row", ROWS)
def test_refused(bench, row):
    """One line says what is wrong and what to do about it, and nothing long has begun."""
    change, pattern = ROWS[row]
    change(bench)
    status, said = bench.make()
    assert status
    (error,) = [line for line in said.splitlines() if not line.startswith("make: ")]
    assert not bench.done()
    assert re.search(f"^error: .*{pattern}", error), said


def native(bench):
    bench.command("uname", '[ "$1" != -m ] || { echo aarch64; exit; }; exec /usr/bin/uname "$@"')


def ubuntu(bench):
    shutil.move(bench.tree / "rust", bench.path / "linux-lib-rust/rust")
    (bench.tree / "rust").symlink_to("../linux-lib-rust/rust")


def other_rustc(bench):
    bench.config("rustc 1.85.1", "rustc 1.80.0")
    bench.metadata(RUSTC.replace("1.85.1", "1.80.0"))
    bench.command("rustc-1.80", f'echo "{RUSTC}"'.replace("1.85.1", "1.80.0"))


#: A tree that can be used, what make is given, and what the kernel's build gets of it.
USED = {
    "tree with metadata": (lambda b: None, (), f"ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- CC=.*/bin/{GCC}$"),
    "on arm64": (native, (), f"ARCH=arm64 CROSS_COMPILE= CC=.*/bin/{GCC}$"),
    "on arm64 a kernel built with gcc": (
        lambda b: (native(b), b.config(GCC, "gcc")), (), "CROSS_COMPILE= CC=.*/bin/gcc$"),
    "on amd64 a kernel built with arm64's gcc": (
        lambda b: (b.config(GCC, "gcc-14"), b.command("gcc-14", "")), (), f"CC=.*/bin/{GCC}$"),
    "another gcc than the kernel's": (
        lambda b: b.command("aarch64-linux-gnu-gcc", "") or without(GCC)(b), (),
        "CROSS_COMPILE=aarch64-linux-gnu- CC=cc$"),
    "Ubuntu's metadata": (ubuntu, (), "KDIR=.*/tree "),
    "link of installed headers": (lambda b: b.installed(RELEASE, b.tree), (), "KDIR=.*/tree "),
    "link with a space in its path": (
        lambda b: ((b.path / "a link").symlink_to(b.tree), setattr(b, "kdir", b.path / "a link")), (), "KDIR=.*/tree "),
    "release that begins with a word": (lambda b: b.release("next-20261130", 7, 3), (), "KDIR=.*/tree "),
    "release candidate": (lambda b: b.release("7.2.0-rc1", 7, 2), (), "KDIR=.*/tree "),
    "two digits": (lambda b: b.release("7.10.1", 7, 10), (), "KDIR=.*/tree "),
    "compiler that is asked for": (lambda b: b.command("my-gcc", ""), ("CC=my-gcc",), "CC=my-gcc$"),
    "compiler of the environment": (variable("CC", "none"), (), f"CC=.*/bin/{GCC}$"),
    "LLVM": (
        lambda b: (b.config("CC_IS_GCC", "CC_IS_CLANG"), b.command("clang-19", "")), ("LLVM=-19",), "KDIR=.*/tree "),
    "rustc of another name": (other_rustc, ("RUSTC=rustc-1.80",), "KDIR=.*/tree "),
}


@pytest.mark.parametrize("row", USED)
def test_used(bench, row):
    """A tree with metadata is used as it is, with the compilers that fit, and needs no place for another one."""
    change, arguments, pattern = USED[row]
    change(bench)
    without("flex", "rustfmt")(bench)
    bench.write("cache", "in the way")
    status, said = bench.make(*arguments)
    assert status == 0 and said.splitlines()[-1] == "built: build/module/arm_spe_pmu.ko", said
    assert re.search(pattern, bench.done()), bench.done()


@pytest.mark.parametrize("rustfmt", ["there", "missing", "of rustup without a toolchain"])
def test_made(bench, rustfmt):
    """Debian's metadata is made once, also without rustfmt."""
    bench.debian()
    if rustfmt == "there":
        bench.command("rustfmt", 'echo formatted >>"$FAKE/log"; sed "s/pub/\\n&/g"')
    elif rustfmt == "missing":
        without("rustfmt")(bench)
    else:
        bench.command("rustfmt", "exit 1")
    status, said = bench.make()
    assert status == 0, said
    (made,) = bench.cache.glob("tree-*")
    assert f"KDIR={made} " in bench.done() and not (bench.cache / "tmp").exists()
    text = (made / "rust/bindings/generated.rs").read_text()
    assert "pub const B : u8 = 2" in text and "HELPER" not in text, text
    assert ("formatted" in bench.done()) == (rustfmt == "there")
    assert bench.make()[0] == 0 and bench.done().count("fetched") == 1


def until(process, what):
    """Reads what a process says, up to that. Returns it."""
    said = ""
    while what not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


def test_two_builds_in_a_cache(bench):
    """The second build waits for the first, says so, and uses its tree."""
    bench.debian()
    source = Gate(bench, "source")
    other = shutil.copytree(bench.checkout, bench.path / "other")
    with bench.start() as first:
        source.begun()
        bench.checkout = other
        with bench.start() as second:
            until(second, f"builds in {bench.cache}: waiting for it")
            source.go()
            ends = [(process.communicate(timeout=60)[0], process.returncode) for process in (first, second)]
    assert [status for _, status in ends] == [0, 0], ends
    assert bench.done().count("fetched") == 1


def test_two_builds_in_a_checkout(bench):
    """The second build waits for the first, and says so."""
    modules = Gate(bench, "modules")
    with bench.start() as first:
        modules.begun()
        with bench.start() as second:
            until(second, "builds in this checkout: waiting for it")
            assert bench.done().count("KDIR") == 1
            modules.go()
            assert "built: " in first.communicate(timeout=60)[0]
            modules.begun()
            modules.go()
            assert "built: " in second.communicate(timeout=60)[0]
    assert bench.done().count("KDIR") == 2


@pytest.mark.parametrize("killed", ["all of it", "without what it has started"])
def test_killed(bench, killed):
    """The next build removes what a killed one has left, once none of its processes runs any more."""
    bench.debian()
    source = Gate(bench, "source")
    left = bench.cache / "tmp/left"
    with bench.start() as first:
        source.begun()
        left.touch()
        if killed == "all of it":
            os.killpg(first.pid, signal.SIGKILL)
        else:
            os.kill(int((bench.cache / "lock").read_text()), signal.SIGKILL)
        bench.checkout = shutil.copytree(bench.checkout, bench.path / "other")
        with bench.start() as second:
            if killed != "all of it":
                until(second, "waiting for it")
                assert left.exists()
                source.go()
            source.begun()
            assert not left.exists()
            source.go()
            said = second.communicate(timeout=60)[0]
    assert second.returncode == 0, said
    assert not left.parent.exists() and bench.done().count("fetched") == 2


def test_bindgen_without_rustfmt(bench):
    """The real bindgen takes what stands in for rustfmt, and the option that the module's bindings are made with."""
    without("rustfmt")(bench)
    bench.write("a.h", "const int RUST_CONST_HELPER_A = 1, RUST_CONST_HELPER_B = 2; "
                       "int rust_helper_c(void); int rust_helper_d(void);")
    path = f"{TOP}/tools/stand-in:/usr/lib/llvm-19/bin:{bench.environment['PATH']}"
    said = subprocess.run(["/usr/bin/bindgen", bench.path / "a.h"], env={"PATH": path, "RUSTFMT": "rustfmt"}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True).stdout
    assert "rustfmt" not in said
    assert [len(re.findall(pattern, said, re.MULTILINE)) for pattern in ("^ ?pub const", "^ pub fn")] == [2, 2], said
    assert "--formatter=none" in (TOP / "Kbuild").read_text()


def tool(bench, *command):
    """Runs one of tools/. Returns its status and what it says."""
    done = subprocess.run(command, cwd=TOP, env=bench.environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("command", ["install-module", "sign-module"])
def test_module_without_a_release(bench, command):
    """A module of which nothing says for which kernel it is, is not installed or signed for none."""
    bench.write("root/lib/modules/7.3.4/modules.dep", "")
    bench.write("arm_spe_pmu.ko", "")
    bench.command("modinfo", "exit 0")
    files = sorted(bench.path.rglob("*"))
    status, said = tool(bench, f"tools/{command}", bench.path / "arm_spe_pmu.ko", bench.path / "root", bench.path)
    assert status and re.fullmatch("error: modinfo does not say .*: build it again .* kmod .*\n", said), said
    assert sorted(bench.path.rglob("*")) == files


def test_commands_of_usr_sbin(bench):
    """An ordinary user's PATH lacks modinfo and depmod: installing for another system takes neither from there."""
    assert not shutil.which("modinfo", path=bench.environment["PATH"])
    (bench.path / "root/lib/modules" / STOCK.release).mkdir(parents=True)
    status, said = tool(bench, "tools/install-module", STOCK.rust_module, bench.path / "root")
    assert status == 0, said
    assert (bench.path / "root/lib/modules" / STOCK.release / "updates/arm_spe_pmu.ko").exists()
    status, said = tool(bench, "tools/sign-module", STOCK.rust_module, "none", "none")
    assert f"/lib/modules/{STOCK.release}/build/scripts/sign-file is missing" in said
