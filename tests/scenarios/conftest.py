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
                 "needs(things...): what tests/env/with has to make besides what every scenario needs",
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
    """Let fixtures see the result of the test."""
    report = (yield).get_result()
    setattr(item, f"report_{report.when}", report)


@pytest.fixture
def show(request):
    """A function that prints text below the result of the test, wherever that runs."""
    return lambda *text: request.node.user_properties.append(("shown", " ".join(map(str, text)).strip("\n")))


@pytest.fixture
def driver():
    """The driver under test: "rust", or "c" for the stock kernel's as a control."""
    return DRIVER


def made_directory(name):
    """An empty directory for what a scenario leaves."""
    directory = OUT / name.replace("/", "_")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def keep_or_remove(directory, failed):
    """A failed scenario's artefacts are kept, or all with KEEP=1. The last lines of its guests' consoles are printed."""
    if failed:
        for console in sorted(directory.rglob("console.log")):
            lines = console.read_text(errors="replace").splitlines()
            print(f"{console.relative_to(TOP)} ends:", *lines[-CONSOLE_LINES:], sep="\n    ")
        print(f"console log and artefacts: {directory}")
    elif not os.environ.get("KEEP"):
        shutil.rmtree(directory)


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
    directory = made_directory(f"{request.node.path.stem}.{request.node.name.removeprefix('test_')}")
    yield directory
    reports = [getattr(request.node, f"report_{when}", None) for when in ("setup", "call")]
    failed = any(report is None or report.failed for report in reports)
    keep_or_remove(directory, failed or hasattr(request.node, "complaints"))


@pytest.fixture
def boot(artefacts, request):
    """A function that boots guests for this test alone; see Guest."""
    boot_one, guests = booter(artefacts, request.node)
    yield boot_one
    try:
        close(guests)
    except AssertionError as complaints:
        # The artefacts are looked at after this, and before pytest reports it.
        request.node.complaints = complaints
        raise


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
    directory = made_directory(request.node.path.stem)
    failures = request.session.testsfailed
    boot_one, guests = booter(directory, request.node)
    try:
        booted = boot_one(**machine)
        booted.load(build)
        yield booted
        close(guests)
    except BaseException:
        for failed in guests:
            failed.close()
        keep_or_remove(directory, failed=True)
        raise
    keep_or_remove(directory, request.session.testsfailed > failures)
