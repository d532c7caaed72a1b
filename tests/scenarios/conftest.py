# SPDX-License-Identifier: GPL-2.0
"""What every scenario has: a driver to test, guests to boot, and a verdict in one last line.

A scenario is one file in a folder here. Its docstring says what it shows. It asks for `guest`, a booted machine with
the driver loaded, or for `boot`, to make machines of its own. On a board both are the machine itself.
"""

import os
import shutil
from collections import defaultdict

import pytest

from machine import DRIVER, SLACK, MachineError
from paths import TOP
from results import Results

#: What tests run on: guests, or this machine (tests/board).
BOARD = os.environ.get("MACHINE") == "board"
if BOARD:
    from board import Board
else:
    import kernel
    from guest import Guest

OUT = TOP / "out" / "test"
#: So much of a console log is printed when a scenario fails.
CONSOLE_LINES = 20


def pytest_addoption(parser):
    """Options of tests/run."""
    parser.addoption("--needs", action="store_true", help="print what the selected tests need to be made")


def pytest_configure(config):
    """Refuse a driver that does not exist."""
    if DRIVER not in ("rust", "c"):
        raise pytest.UsageError(f"DRIVER={DRIVER}: give rust (this project's) or c (the stock kernel's)")
    for line in ("board: needs no emulation; tests/board runs it on the machine itself",
                 "kernel(name): what is booted, of tests/env/kernels; stock is the default",
                 "long: too long for `make test`; `make test-long` runs it",
                 "quick: part of `make check`",
                 "benchmark: times something; runs only if T selects it",
                 "needs(things...): what tests/env/with has to make besides what every scenario needs",
                 "xdist_group(name): of pytest-xdist, which a board need not have",
                 "independent: the tests of the file need not run in one process, in their order"):
        config.addinivalue_line("markers", line)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(config))


def pytest_report_header():
    """What is under test."""
    return f"driver: {DRIVER}, kernel: {os.environ.get('ARM_SPE_RELEASE')}"


def pytest_ignore_collect(collection_path):
    """On a board, do not even load files that need emulation."""
    if BOARD and collection_path.suffix == ".py" and "pytest.mark.board" not in collection_path.read_text():
        return True
    return None


@pytest.hookimpl(hookwrapper=True)
def pytest_collection_modifyitems(config, items):
    """Tests of a file share guests and an order: they run in one process, unless the file says that they need not."""
    longest = defaultdict(int)
    for item in items:
        if timeout := item.get_closest_marker("timeout"):
            longest[item.path] = max(longest[item.path], timeout.args[0])
            item.add_marker(pytest.mark.timeout(SLACK * timeout.args[0]), append=False)
        if not item.get_closest_marker("independent"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    # Files that take long come first, so that no process is left alone with one at the end.
    items.sort(key=lambda item: -longest[item.path])
    yield
    # Of what is asked for by name, long sizes run only where there are no others.
    if os.environ.get("T") and not os.environ.get("TIER"):
        is_long = [bool(item.get_closest_marker("long")) for item in items]
        if not all(is_long):
            config.hook.pytest_deselected(items=[item for item, deselected in zip(items, is_long) if deselected])
            items[:] = [item for item, deselected in zip(items, is_long) if not deselected]


def pytest_collection_finish(session):
    """With --needs: print what the selected tests need, for tests/env/with."""
    if session.config.option.needs:
        needs = {need for item in session.items for mark in item.iter_markers("needs") for need in mark.args}
        needs |= {kernel.TABLE[name][0] for item in session.items for mark in item.iter_markers("kernel") for name in mark.args}
        print("needs:", *sorted(needs))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failure shows how the consoles of its guests end, and keeps what the test and its file have left."""
    report = (yield).get_result()
    for node in item.listchain():
        if report.failed and hasattr(node, "artefacts"):
            node.failed = True
            report.sections.append((f"artefacts: {node.artefacts.relative_to(TOP)}", ""))
            for console in sorted(node.artefacts.rglob("console.log")):
                lines = console.read_text(errors="replace").splitlines()[-CONSOLE_LINES:]
                report.sections.append((f"{console.relative_to(TOP)} ends", "\n".join(lines)))
    if report.when == "teardown":
        remove_passed(item)


@pytest.fixture
def show(request):
    """A function that prints text below the result of the test, wherever that runs."""
    return lambda *text: request.node.user_properties.append(("shown", " ".join(map(str, text)).strip("\n")))


@pytest.fixture
def driver():
    """The driver under test: "rust", or "c" for the stock kernel's as a control."""
    return DRIVER


def made_directory(node, name):
    """An empty directory for what a test or a file leaves."""
    node.artefacts, node.failed = OUT / name.replace("/", "_"), False
    shutil.rmtree(node.artefacts, ignore_errors=True)
    node.artefacts.mkdir(parents=True)
    return node.artefacts


def remove_passed(node):
    """Removes that directory, unless a test has failed or KEEP=1."""
    if hasattr(node, "artefacts") and not node.failed and not os.environ.get("KEEP"):
        shutil.rmtree(node.artefacts)


def kernel_of(node):
    """The kernel that a test, or the tests of a file, are marked with."""
    marker = node.get_closest_marker("kernel")
    return kernel.named(marker.args[0] if marker else "stock")


def booter(directory, node):
    """A function that boots guests (see Guest) for a test or a file, and the list of them."""
    guests = []

    def boot_one(name="guest", **options):
        if BOARD:
            assert not options, f"a board cannot be had with {options}"
            guests.append(Board(directory / name))
        else:
            options.setdefault("rust", DRIVER == "rust")
            options.setdefault("kernel", kernel_of(node))
            guests.append(Guest(directory / name, **options))
        return guests[-1]

    return boot_one, guests


def close(guests):
    """End the guests. Each byte of trace has to be accounted for, and each kernel log to have stayed clean."""
    complaints = []
    for guest in guests:
        try:
            guest.account()
        except (AssertionError, MachineError) as error:
            complaints.append(str(error))
        guest.close()
        complaints += guest.complaints()
    assert not complaints, "complaints of the kernel or the harness:\n" + "\n".join(complaints)


@pytest.fixture
def artefacts(request):
    """A directory for what the test leaves."""
    return made_directory(request.node, f"{request.node.path.stem}.{request.node.name.removeprefix('test_')}")


@pytest.fixture
def boot(artefacts, request):
    """A function that boots guests for this test alone; see Guest."""
    boot_one, guests = booter(artefacts, request.node)
    yield boot_one
    close(guests)


@pytest.fixture(scope="module")
def machine():
    """What `guest` is, see Guest; a file may have its own."""
    return {}


@pytest.fixture(scope="module")
def build():
    """What `guest` loads, see Guest.load(); a file may have its own."""
    return DRIVER


@pytest.fixture(scope="module")
def guest(request, machine, build):
    """A booted guest with the driver under test loaded, for all tests of the file."""
    boot_one, guests = booter(made_directory(request.node, request.node.path.stem), request.node)
    try:
        booted = boot_one(**machine)
        booted.load(build)
        yield booted
        close(guests)
    except BaseException:
        for failed in guests:
            failed.close()
        raise
    remove_passed(request.node)
