# SPDX-License-Identifier: GPL-2.0
"""Kernel modules get the records of live events: samples/hot_pages.c counts accesses by physical page.

docs/live-kernel.md says what such a module may rely on.
"""

import os
import shutil
import subprocess

import pytest

import records
from paths import TOP
from spe import PMU, counters

HOT_PAGES = "/sys/kernel/debug/hot_pages"
#: An access walks the page tables if QEMU's TLB has no entry, the size of which depends on the host's clock.
TLB_WALK = 1 << 5
#: The least share of the hot page in the ten hottest: 9 of 10 accesses of the program that has it are to it, and the
#: kernel has some.
SHARE = 0.6


@pytest.fixture(autouse=True)
def ours(driver):
    """Skips the tests with the C driver."""
    if driver == "c":
        pytest.skip("the C driver has no live events")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Returns a function that builds the modules of a directory against the driver, and returns where they are."""
    def build(source, variant=None):
        directory = tmp_path_factory.mktemp("built")
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
def machine(built):
    """Returns the options for a guest with the sample."""
    return {"files": {"root/hot_pages.ko": built(TOP / "samples") / "hot_pages.ko"}}


def insert(guest):
    """Loads the sample."""
    guest.sh(f"insmod /root/hot_pages.ko type=$(cat {PMU}/type) period=1024")


def hottest(guest):
    """Returns the sample's counts by page frame number, the hottest first."""
    counts = {page: int(count) for page, count in map(str.split, guest.sh(f"sort -rnk 2 {HOT_PAGES}").splitlines())}
    assert counts.pop("others") < sum(counts.values()) / 100, counts
    return {int(page, 16): count for page, count in counts.items()}


def check_hot_page(guest):
    """Checks that the page of a program leads that accesses it more than all others."""
    page = int(guest.sh("hotpage 200"), 16)
    found = hottest(guest)
    assert next(iter(found)) == page, (hex(page), found)
    assert found[page] > SHARE * sum(list(found.values())[:10]), found


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


def renumbered(found):
    """Returns records with their pages of memory numbered in the order of their first use, and without TLB_WALK."""
    pages = {}
    for one in found:
        pa = one.data_pa
        if one.present >> 3 & 1:
            pa = pages.setdefault(pa >> 12, len(pages)) << 12 | pa & 0xfff
        yield one._replace(data_pa=pa, events=one.events & ~TLB_WALK)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("command, wanted", [
    ("workload 8", 5_000), ("naps 1000", 5_000),
    pytest.param("workload 245", 100_000, marks=pytest.mark.long), pytest.param("naps 20000", 100_000, marks=pytest.mark.long),
])
def test_identical(boot, driver, built, show, command, wanted):
    """What a live event emits are the records that the same run has in an AUX area, field by field.

    Only user space is sampled, whose operations are the same in both runs: the unit does not count those of the kernel.
    The AUX area is never full; the live event's buffer is, again and again. With naps the events stop and go on. A walk of the page tables takes as long as
    a hit in the TLB here.
    """
    module = built(TOP / "tests/payload/live") / "records.ko"
    guest = boot(smp=1, spe="spe=on,spe-walk-latency=1", arguments=["-icount", "shift=0,sleep=off"],
                 files={"root/records.ko": module})
    guest.load(driver)
    guest.sh("echo 0 >/proc/sys/kernel/randomize_va_space; workload 1; insmod /root/records.ko")
    # With the same PID, which CONTEXT packets have.
    run = "echo 1000 >/proc/sys/kernel/ns_last_pid; identical {} 256 " + command
    guest.sh(run.format("area"), timeout=300)
    before = counters(guest)
    guest.sh(run.format("live"), timeout=300)
    seen = {name: count - before[name] for name, count in counters(guest).items()}
    number = int(guest.sh("cat /sys/module/records/parameters/number"))
    guest.sh(f"head -c {number * records.STRUCT.size} /sys/kernel/debug/records/all >/tmp/all; rmmod records")
    live = records.from_structs(guest.fetch("/tmp/all").read_bytes())
    area = list(records.decode(guest.fetch("/tmp/area").read_bytes(), 64))
    show(f"\n    {len(live)} records live, {len(area)} in the AUX area; {seen['full']} full buffers")
    assert seen["live_records"] == len(live) and not seen["live_malformed"], seen
    assert seen["full"] < 2 if "naps" in command else seen["full"] > len(live) / 300, seen
    assert len(area) >= wanted and all(one.context_el1 for one in area)
    differ = [number for number, both in enumerate(zip(renumbered(live), renumbered(area))) if both[0] != both[1]]
    assert not differ, [(number, live[number], area[number]) for number in differ[:3]]
    assert len(live) == len(area)
    fields = {name for name in records.Record._fields if len({getattr(one, name) for one in live}) > 1}
    show(f"    fields of which there were several values: {', '.join(sorted(fields))}")
    assert {"pc", "branch_target", "data_va", "data_pa", "events", "total_latency", "class_", "subclass"} <= fields
