# SPDX-License-Identifier: GPL-2.0
"""Kernel modules get the records of live events: samples/hot_pages.c counts accesses by physical page.

docs/live-kernel.md says what such a module may rely on.
"""

import os
import shutil
import subprocess

import pytest

from paths import TOP
from spe import PMU, counters

HOT_PAGES = "/sys/kernel/debug/hot_pages"
#: The least share of the hot page: 9 of 10 accesses of the program that has it are to it, and the kernel has some.
SHARE = 0.6


@pytest.fixture(autouse=True)
def ours(driver):
    """Skips the tests with the C driver."""
    if driver == "c":
        pytest.skip("the C driver has no live events")


@pytest.fixture(scope="module")
def built():
    """Returns a function that builds the modules of a directory against the driver, and returns where they are."""
    def build(source, directory, variant=None):
        shutil.copytree(source, directory / source.name)
        for header in TOP.glob("arm_spe_*.h"):
            shutil.copy(header, directory)
        symbols = TOP / "build" / (variant or os.environ["ARM_SPE_RELEASE"]) / "Module.symvers"
        arguments = [*([variant] if variant else []), "-s", "modules", f"KBUILD_EXTRA_SYMBOLS={symbols}"]
        subprocess.run([TOP / "scripts/build-module", *arguments], cwd=directory / source.name, check=True,
                       env={**os.environ, "OUT": str(directory / "build")})
        return directory / "build"
    return build


@pytest.fixture(scope="module")
def machine(built, tmp_path_factory):
    """Returns the options for a guest with the sample."""
    return {"files": {"root/hot_pages.ko": built(TOP / "samples", tmp_path_factory.mktemp("hot")) / "hot_pages.ko"}}


def insert(guest):
    """Loads the sample."""
    guest.sh(f"insmod /root/hot_pages.ko type=$(cat {PMU}/type) period=1024")


def hottest(guest):
    """Returns the sample's counts by page frame number, the hottest first."""
    *pages, others = (line.split() for line in guest.sh(f"cat {HOT_PAGES}").splitlines())
    assert others[0] == "others", others
    return {int(page, 16): int(count) for page, count in pages}


def check_hot_page(guest):
    """Checks that the page of a program leads that accesses it more than all others."""
    page = int(guest.sh("hotpage 200"), 16)
    found = hottest(guest)
    assert next(iter(found)) == page, (hex(page), found)
    assert found[page] > SHARE * sum(found.values()), found


def test_hot_page(guest):
    """The page that a program accesses most leads; the driver stays as long as the sample does."""
    insert(guest)
    check_hot_page(guest)
    status, output = guest.run("rmmod arm_spe_pmu")
    assert status != 0 and "in use" in output, output
    guest.sh("rmmod hot_pages")
    # Loaded again, it begins anew.
    insert(guest)
    check_hot_page(guest)
    guest.sh("rmmod hot_pages")
    assert counters(guest)["live_malformed"] == 0


def test_unloads_while_it_samples(guest):
    """The sample is unloaded while tasks run that have records on each CPU, again and again. Nothing is left of it."""
    guest.sh(f"""
        set -e
        for cpu in 0 1; do
            taskset -c $cpu sh -c 'until [ -e /tmp/done ]; do workload 1; done' >/dev/null &
        done
        for i in $(seq 20); do
            insmod /root/hot_pages.ko type=$(cat {PMU}/type) period=256
            until [ $(wc -l <{HOT_PAGES}) -gt 1 ]; do :; done
            rmmod hot_pages
        done
        touch /tmp/done
        wait
        rm /tmp/done""", timeout=300)
    before = counters(guest)["live_records"]
    guest.sh("workload 2")
    assert counters(guest)["live_records"] == before
    guest.unload()
    assert guest.run("grep -q arm_spe /proc/modules")[0] != 0
    guest.load("rust")
