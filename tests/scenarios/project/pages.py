# SPDX-License-Identifier: GPL-2.0
"""Each command of the pages is run by a test, or the page says that it is not; what the pages name is there.

The commands of docs/qemu.md and of some other pages run here, as they stand there. A line of a page has to be in one of
those that are printed, in the order of the page. Any number matches a number of the page.
"""

import os
import re
import shutil
import subprocess

import pytest

from guest import INITRAMFS, PROGRAMS, QEMU
from kernel import STOCK
from page import pages, parse, shape
from paths import TOP

pytestmark = [pytest.mark.needs("perf"), pytest.mark.timeout(150)]

#: The test which runs what is in the blocks of a whole page,
RUN_BY = {
    "docs/install.md": "install/native.py::test_check",
    "docs/live-bpf.md": "driver/live_bpf.py::test_page",
    "docs/live.md": "driver/perf_tools.py::test_section",
    "docs/perf.md": "driver/perf_tools.py::test_section",
    "docs/recipes.md": "driver/perf_tools.py::test_section",
    "docs/recording.md": "driver/perf_tools.py::test_section",
    # or in a block, which begins like this.
    ("README.md", "make demo"): "project/demo.py::test_demo",
    ("README.md", "make test"): "project/pages.py::test_blocks",
    ("README.md", "sudo sh tools/spe-doctor"): "install/doctor.py::test_healthy",
    ("docs/boards.md", "openssl req"): "project/pages.py::test_key",
    ("docs/boards.md", "sudo make test-board"): "project/board.py::test_report",
    ("docs/cost.md", "sudo tools/compare-cost"): "install/compare_cost.py::test_compare_cost",
    ("docs/qemu.md", "tests/env/with qemu bash -c"): "project/pages.py::test_qemu",
    ("docs/qemu.md", "make qemu-series"): "project/pages.py::test_series",
    ("docs/qemu.md", "git am"): "project/pages.py::test_series",
    ("docs/qemu.md", "qemu-system-aarch64"): "project/pages.py::test_boot",
    ("docs/qemu.md", "tests/env/with kernel,qemu,guest bash"): "project/pages.py::test_guest",
    ("docs/qemu.md", "insmod"): "project/pages.py::test_guest",
    ("docs/qemu.md", "trace-event arm_spe_write on"): "project/pages.py::test_guest",
    ("docs/qemu.md", "perf record -o /tmp/full.data"): "project/pages.py::test_guest",
    ("docs/qemu.md", "qom-get"): "project/pages.py::test_guest",
    ("docs/qemu.md", "trace-event arm_spe_inject on"): "project/pages.py::test_guest",
    ("docs/qemu.md", "perf record -o /tmp/fault.data"): "project/pages.py::test_guest",
    ("docs/qemu.md", "qom-set /machine/unattached/device[0] spe-inject nonsense"): "project/pages.py::test_guest",
    ("docs/qemu.md", "make -s -C tests/qemu/baremetal"): "project/pages.py::test_without_a_system",
    ("docs/report.md", "perf record"): "project/pages.py::test_report",
    ("tests/qemu/README.md", "qemu-system-aarch64"): "project/pages.py::test_machine",
    ("tests/qemu/baremetal/README.md", "make -s -C tests/qemu/baremetal"): "project/pages.py::test_without_a_system",
}

#: What is run in the place of what a page says: tests run in the build root, which tests/env/with makes and enters; and
#: a machine does not outlive a run that is killed.
SUBSTITUTIONS = (
    (r"^tests/env/with [\w,]+ (bash$\n)?", ""),
    (r"^make qemu-series\b", r"""make qemu-series WITH="bash -c '\\"\\$\\$@\\"'" """),
    (r"\bout/own\b", "."),
    (r'^(?="?[^ ]*qemu-system-aarch64)', "exec setpriv --pdeathsig KILL "),
    (r"(cpu max,spe=on) \.\.\.$", r"\1 -machine dumpdtb=virt.dtb"),
    (r"\bCOMMAND\b", "workload 40"),
    (r"^tools/", f"{TOP}/tools/"),
    (r"--symfs DIR\b", "--symfs symfs"),
)

#: A word that stands for any.
ANY = {"name", "NAME", "n", "s"}
#: Files and targets that are of Linux, of QEMU and of Trusted Firmware-A, and files that a page shows.
OF_OTHERS = re.compile(r"modules_prepare|kunit\.py|latency\.py|tools/perf/.*|scripts/checkpatch\.pl|docs/(system|getting_started)/.*")

BLOCKS, TEXTS = {}, {}
for PAGE in pages():
    BLOCKS[PAGE], TEXTS[PAGE] = parse(PAGE)


def block(page, beginning):
    """Returns the block of a page that has commands, and begins like this."""
    found = [block for block in BLOCKS[page] if block.has_commands and block.lines[0].startswith(beginning)]
    assert len(found) == 1, f"{page}: {len(found)} blocks begin with {beginning}"
    return found[0]


def script(block):
    """Returns what is run."""
    text = block.text
    for pattern, replacement in SUBSTITUTIONS:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def run(text, directory, **environment):
    """Runs commands. Returns what they print."""
    environment = {**os.environ, "PATH": f"{QEMU}:{os.environ['PATH']}", **environment}
    done = subprocess.run(["bash", "-euc", text], cwd=directory, env=environment, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, f"{text}\nstatus {done.returncode}\n{done.stdout}"
    return done.stdout


def compare(block, printed):
    """Checks that each line of a block is in one of those that were printed, in order."""
    rest = iter([shape(line) for line in printed.splitlines()])
    for line in filter(None, map(shape, block.text.splitlines())):
        assert line == "..." or line.startswith("(qemu) ") or any(line in one for one in rest), (
            f"{block.page}:{block.number} has the line\n{line}\nbut printed was\n{printed}")


@pytest.fixture(scope="module")
def tests():
    """Returns the names of all tests, from the folder of the scenarios."""
    environment = {name: value for name, value in os.environ.items() if name not in ("T", "TIER")}
    done = subprocess.run(["python3", "-m", "pytest", "-c", "pytest.ini", "--rootdir", ".", "scenarios", "--collect-only", "-qq"],
                          cwd=TOP / "tests", env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = [line.removeprefix("scenarios/") for line in done.stdout.splitlines() if "::" in line]
    assert len(found) > 500
    return found


@pytest.mark.quick
@pytest.mark.parametrize("page", BLOCKS)
def test_blocks(page):
    """A test runs the commands, or the paragraph before them says that they are not run, and why."""
    wrong = []
    for block in filter(lambda block: block.has_commands, BLOCKS[page]):
        said = re.search(r"\b[Nn]ot run( by a test)?, ", block.before)
        named = page in RUN_BY or [key for key in RUN_BY if key[0] == page and block.lines[0].startswith(key[1])]
        if page in RUN_BY and said:
            continue
        if bool(said) == bool(named):
            wrong.append(f'{page}:{block.number}: {block.lines[0]}: ' + (
                'the page says "not run", and RUN_BY names a test' if said else
                'no test in RUN_BY, nor "Not run, because" in the paragraph before'))
    assert not wrong, "\n".join(wrong)


@pytest.mark.quick
@pytest.mark.parametrize("key", RUN_BY, ids=lambda key: key if isinstance(key, str) else ":".join(key).replace(" ", "_"))
def test_table(key, tests):
    """What the table names is there."""
    if isinstance(key, tuple):
        block(*key)
    assert any(test == RUN_BY[key] or test.startswith(f"{RUN_BY[key]}[") for test in tests), f"there is no {RUN_BY[key]}"


def code(page):
    """Returns the commands and names of a page: inline code, and the lines of blocks of commands."""
    inline = [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", TEXTS[page])]
    return inline + [line for block in BLOCKS[page] if block.has_commands for line in block.lines]


def targets(command):
    """Returns the targets that a command makes in the checkout."""
    for arguments in re.findall(r"(?:^|&& |; |sudo )make\b((?: [^\s;&|#]+)*)", command):
        if " -C " not in arguments:
            yield from (word for word in arguments.split() if "=" not in word and word[0] not in "-.")


def is_there(path, page):
    """Whether a file is there, from the top or from the page's folder, or anywhere if it has no folder."""
    path = path.rstrip("/.")
    return any(any(place.glob(path)) for place in (TOP, (TOP / page).parent)) or (
        "/" not in path and any(TOP.glob(f"*/**/{path}")))


@pytest.mark.quick
@pytest.mark.parametrize("page", BLOCKS)
def test_names(page, tests):
    """Each target, file, scenario, kernel and mutation that a page names is there."""
    makefile = (TOP / "Makefile").read_text()
    made = {name for names in re.findall(r"^([a-z][\w -]*):(?!=)", makefile, re.MULTILINE) for name in names.split()}
    kernels = re.findall(r"^(\w+)\t", (TOP / "tests/env/kernels").read_text(), re.MULTILINE)
    things = {name for file in (TOP / "tests/env").glob("*.sh") for name in re.findall(r"^want_(\w+)\(", file.read_text(), re.MULTILINE)}
    mutations = [file.stem for file in TOP.glob("tests/mutants/*.patch")]
    assert "qemu-series" in made and "rt" in kernels and "perf" in things and mutations

    def kinds(text):
        """Yields what a text names: what it is, its name, and whether it is there."""
        yield from (("target of the Makefile", name, name in made) for name in targets(text))
        for path in re.findall(r"(?<![\w/.-])(?:(?:tests|tools|scripts|docs|kunit|perf|debian|rpm)/[\w./*-]*|\w+\.(?:rs|py)\b)", text):
            yield "file", path, "NAME" in path or is_there(path, page)
        for name in re.findall(r"\bT=(\w+)", text):
            yield "scenario", name, any(name in test for test in tests)
        yield from (("kernel", name, name in kernels) for name in re.findall(r"\bKERNEL=(\w+)", text))
        yield from (("thing of tests/env/with", name, name in things) for names in re.findall(r"\benv/with ([\w,]+)", text)
                    for name in names.split(","))
        for name in re.findall(r"\bM=(\w+)", text):
            yield "mutation", name, any(name in mutation for mutation in mutations)

    wrong = [f"{page}: `{text}`: there is no {kind} {name}" for text in code(page) for kind, name, there in kinds(text)
             if not there and name not in ANY and not OF_OTHERS.fullmatch(name)]
    wrong += [f"{page}: T={scenario} has no {name}" for scenario, name in re.findall(r"\bT=(\w+)`[ \n](test_\w+)", TEXTS[page])
              if not any(f"/{scenario}.py::{name}" in test for test in tests)]
    assert not wrong, "\n".join(wrong)


def test_qemu():
    said = run(script(block("docs/qemu.md", "tests/env/with qemu bash -c")), TOP)
    assert os.access(said.strip(), os.X_OK), said


def test_series(artefacts):
    """The patches are made as the page names them, and apply to a QEMU in git."""
    series = block("docs/qemu.md", "make qemu-series")
    said = run(script(series), TOP)
    first, last = re.search(r"# (\S+) \.\.\. (\S+)$", series.lines[0]).groups()
    made = sorted((TOP / first).parent.glob("*.patch"))
    assert any(TOP.glob(first)) and made[-1].match(last), said
    (artefacts / "build").symlink_to(TOP / "build")
    source = shutil.copytree(os.environ["ARM_SPE_QEMU_TOUCHED"], artefacts / "qemu")
    people = {f"GIT_{who}_{what}": "tester@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    run("git init -q && git add -f . && git commit -q -m pristine", source, **people)
    run(script(block("docs/qemu.md", "git am")), source, **people)
    assert len(run("git log --format=%s", source).splitlines()) == 1 + len(made)


def test_machine(artefacts):
    """Its device tree has the unit."""
    run(script(block("tests/qemu/README.md", "qemu-system-aarch64")), artefacts)
    assert b"arm,statistical-profiling-extension-v1" in (artefacts / "virt.dtb").read_bytes()


@pytest.mark.parametrize("page", ["docs/qemu.md", "tests/qemu/baremetal/README.md"])
def test_without_a_system(page):
    said = run(script(block(page, "make -s -C tests/qemu/baremetal")), TOP)
    for number, text in re.findall(r"`ok (\d+) - (\w+): ...`", TEXTS[page]):
        assert re.search(rf"^ok {number} - {text}: ", said, re.MULTILINE), said


def test_key(artefacts):
    """The key is one that a certificate of that name belongs to."""
    run(script(block("docs/boards.md", "openssl req")), artefacts)
    assert "modules of this machine" in run("openssl x509 -in MOK.der -inform DER -noout -subject", artefacts)
    key, certificate = (run(f"openssl {what} -pubout", artefacts) for what in ("pkey -in MOK.priv", "x509 -in MOK.der -inform DER -noout -pubkey #"))
    assert key == certificate


@pytest.fixture(scope="module")
def machine():
    return {"spe": "spe=on,spe-version=1.4,spe-cache=on"}


def test_report(guest, artefacts):
    """The commands for the guest run in it, the others beside it."""
    symbols = artefacts / "symfs/usr/bin"
    symbols.mkdir(parents=True)
    shutil.copy(PROGRAMS / "workload", symbols)
    for line in script(block("docs/report.md", "perf record")).splitlines():
        if line.startswith("perf "):
            guest.sh(f"cd /tmp && {line}")
            shutil.copy(shutil.copy(guest.fetch("/tmp/perf.data"), artefacts), artefacts / "other.data")
        else:
            run(line, artefacts, PATH=f"{os.path.dirname(os.environ['ARM_SPE_PERF'])}:{os.environ['PATH']}")
    for name in ("report.html", "other.html"):
        assert "<html" in (artefacts / name).read_text(), name


class Terminal:
    """A guest with its console, and QEMU's monitor behind it, on a terminal."""

    def __init__(self, text, directory):
        self._log = open(directory / "console.log", "wb")
        self._trace = directory / "trace"
        with self._trace.open("wb") as trace:
            self._process = subprocess.Popen(
                ["bash", "-euc", text], cwd=directory, env={**os.environ, "PATH": f"{QEMU}:{os.environ['PATH']}"},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=trace)
        self._traced = 0
        self._until(r"# $")
        self.shell(r"PS1='<$?>'")

    def _until(self, prompt):
        """Returns what is printed until a prompt, and that."""
        said = ""
        while not re.search(prompt, said):
            some = os.read(self._process.stdout.fileno(), 1 << 16)
            assert some, f"QEMU has ended: {said}{self._trace.read_text()}"
            self._log.write(some)
            self._log.flush()
            said = re.sub(r"\x1b\[[?\d;]*[A-Za-z]|\r", "", said + some.decode(errors="replace"))
        return said

    def _type(self, text):
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def shell(self, line):
        """Types a command for the guest's shell. Returns what it prints."""
        self._type(f"{line}\n")
        said = self._until(r"<\d+>$")
        assert said.endswith("<0>"), said
        return said

    def monitor(self, lines):
        """Types commands for QEMU's monitor. Returns what they print."""
        self._type("\x01c")
        said = self._until(r"\(qemu\) $")
        for line in lines:
            self._type(f"{line}\n")
            said += self._until(r"\(qemu\) $")
        self._type("\x01c")
        return said

    def traced(self):
        """Returns what QEMU has written to standard error since the last call."""
        text = self._trace.read_text()
        new, self._traced = text[self._traced:], len(text)
        return new

    def end(self, line):
        """Types a command that ends the machine. QEMU has to end without an error."""
        self._type(f"{line}\n")
        self._process.stdin.close()
        while some := self._process.stdout.read(1 << 16):
            self._log.write(some)
        assert self._process.wait() == 0

    def close(self):
        self._process.kill()
        self._process.wait()
        self._log.close()


@pytest.fixture
def terminal(artefacts):
    """Returns a function that starts the machine of a block."""
    made = []

    def start(block):
        made.append(Terminal(script(block), artefacts))
        return made[-1]

    yield start
    for one in made:
        one.close()


def test_boot(terminal, artefacts):
    """A kernel and an initramfs of any origin boot, and the kernel finds the unit."""
    (artefacts / "Image").symlink_to(STOCK.image)
    (artefacts / "initrd").symlink_to(INITRAMFS)
    guest = terminal(block("docs/qemu.md", "qemu-system-aarch64"))
    guest.shell("ls -d /sys/bus/platform/devices/spe-pmu")
    guest.end("poweroff -f")


def test_guest(terminal):
    """What the page says about the distribution's kernel and driver, from the first command to `poweroff -f`."""
    page = BLOCKS["docs/qemu.md"]
    at, until = (page.index(block("docs/qemu.md", beginning)) for beginning in (
        "tests/env/with kernel,qemu,guest bash", "make -s -C tests/qemu/baremetal"))
    guest = terminal(page[at])
    said = ""
    for one in page[at + 1:until]:
        if one.language == "sh":
            said = "".join(map(guest.shell, one.lines))
        elif one.has_commands:
            said = guest.monitor(one.lines)
        if one.language == "sh":
            said = guest.traced() + said
        else:
            compare(one, said)
    (command,) = re.findall(r"`(\S.*)` ends it", TEXTS["docs/qemu.md"])
    guest.end(command)
