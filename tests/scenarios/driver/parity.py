# SPDX-License-Identifier: GPL-2.0
"""An event has the same effect with both drivers: the same error, or the same registers.

A long table of events, made from the format/ directory, is opened with one driver and then with the other, on hardware
with all features and with features taken away. For each the error has to be the same, and the values of the unit's
registers when sampling starts. DEVIATIONS has the intended differences and their reasons.
"""

import random
import re
from collections import Counter

import pytest

from attrs import open_all
from device_tree import edited, one_unit_per_cpu
from spe import PMU, check_decodes, record

#: The first one has everything, the others have some of it. Those in DAILY are the extremes.
HARDWARE = {
    "everything": "spe-version=1.5",
    "v1p0": "spe-version=1.0,spe-max-record-size=2048,spe-align=1024",
    "v1p2": "spe-version=1.2,spe-count-size=16,spe-ernd=off,spe-align=1,spe-max-record-size=16",
    "v1p5_few": "spe-version=1.5,spe-filter-event=off,spe-filter-data-source=off,spe-filter-ext-type=off",
    "v1p4_others": "spe-version=1.4,spe-filter-type=off,spe-filter-latency=off,spe-filter-inv-event=off",
}

DAILY = ("everything", "v1p0")

#: The files of caps/ that the C driver does not have.
CAPS = {"align", "altclk", "crr", "eft", "fds", "fe", "fl", "fne", "format", "fpf", "ft", "lds", "max_record_size", "pbt",
        "sme", "version"}
#: The fields of live events, which only ours has.
LIVE = {"batch", "interval", "live"}
LIVE_BIT = 1 << 63

WORDS = ("config", "config1", "config2", "config3", "config4")
ALL = (1 << 64) - 1

LISTING = f"""
cd $(dirname {PMU}) && for pmu in arm_spe_*; do
    cd -P $pmu && find . -printf "$pmu %p %M %l\\n" | sort
    find . -type f -perm -u+r | sort | while read -r file; do
        echo "== $file"; cat "$file" 2>&1
    done
    cd - >/dev/null
done
"""


def listing(guest, which):
    """Returns the files of the PMUs and their contents without those that only ours has, all of which it has to have."""
    lines = guest.sh(LISTING).splitlines()
    if which == "c":
        return lines
    ours = r"(?:\S+ |== )\./(?:caps|format)/(%s)\b" % "|".join(CAPS | LIVE)
    kept, found, at = [], set(), 0
    while at < len(lines):
        match = re.match(ours, lines[at])
        if match:
            found.add(match[1])
            # The contents are one line.
            at += lines[at].startswith("== ")
        else:
            kept.append(lines[at])
        at += 1
    assert found == CAPS | LIVE
    return kept


def published(guest):
    """Returns the fields of format/ that both drivers have: name, word, lowest bit, width."""
    fields = []
    for line in guest.sh(f"cd {PMU}/format && grep . *").splitlines():
        name, word, low, high = re.fullmatch(r"(\w+):(\w+):(\d+)(?:-(\d+))?", line).groups()
        if name not in LIVE:
            fields.append((name, word, int(low), int(high or low) - int(low) + 1))
    return fields


def of_the_format(fields):
    """Yields events that use the fields, in the form that progs/attrs.c reads."""
    # Each field by itself: with a low, the highest and a larger value, and with every other bit of it.
    for _, word, low, width in fields:
        most = (1 << width) - 1
        for value in sorted({0, 1, most, most + 1, ALL // 3 & most, ALL // 3 * 2 & most}):
            yield {word: value << low & ALL}
    # Each bit, also those that are in no field, but for the one that makes an event live.
    for word in WORDS:
        yield {word: ALL & ~LIVE_BIT if word == "config" else ALL}
        for bit in range(64):
            if (word, 1 << bit) != ("config", LIVE_BIT):
                yield {word: 1 << bit}
    # Combinations of fields.
    chance = random.Random(1)
    for _ in range(200):
        event = Counter()
        for _, word, low, width in chance.sample(fields, 4):
            event[word] |= chance.choice([1, chance.getrandbits(width), (1 << width) - 1]) << low
        yield dict(event, exclude=chance.choice([0, 1, 2]), period=chance.randrange(1 << 20))


def of_the_period(fields):
    """Yields events with periods in and out of range, with and without jitter."""
    jitter = next(1 << low for name, _, low, _ in fields if name == "jitter")
    for period in (0, 1, 255, 256, 257, 511, 512, 1024, 1025, 65535, 65536, (1 << 24) - 1, 1 << 24,
                   (1 << 32) - 257, (1 << 32) - 256, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 3 << 55,
                   (1 << 63) - 1, 1 << 63, ALL):
        yield {"period": period}
        yield {"period": period, "config": jitter}
        # Changed while the event runs: in user space alone, so that the buffer does not fill before.
        yield {"period2": period, "config": jitter, "exclude": 2}
    for period in (1, 1000, 1 << 40):
        yield {"freq": 1, "period": period}


def of_the_buffer():
    """Yields events with buffers of all kinds."""
    for pages in (0, 1, 2, 3, 4, 16, 64):
        for watermark in (0, 1, 4095, 4096, 4097, 8192, 40000, 1 << 31):
            yield {"pages": pages, "watermark": watermark}
        yield {"pages": pages, "overwrite": 1}


def of_everything_else():
    """Yields events in other circumstances, which do not depend on the hardware."""
    for exclude in range(1 << 6):
        yield {"exclude": exclude}
    for more in ({"inherit": 1}, {"pinned": 1}, {"precise": 1}, {"precise": 3}, {"filter": 1},
                 {"second": 1}, {"second": 1, "pid": 0, "cpu": -1}, *({"action": n} for n in range(1, 9))):
        yield more
    for cpu in (-2, -1, 0, 1, 2, 1 << 20):
        for pid in (-1, 0, 99999):
            yield {"cpu": cpu, "pid": pid}
    # Time, physical addresses and physical time, for privileged and other users.
    for paranoid in range(-1, 4):
        for perfmon in (0, 1):
            for exclude in (0, 2):
                for config in range(8):
                    for where in ({}, {"pid": 0, "cpu": -1}):
                        yield {"user": 1, "paranoid": paranoid, "perfmon": perfmon, "exclude": exclude,
                               "config": config, **where}


def counter_holds(event, words, begun):
    """A period that is too large for the counter must not reach ECOUNT, the field above it in PMSICR_EL1."""
    if not 1 << 32 <= event["period"] < 1 << 63 or "freq" in event:
        return words, begun
    return words, [{**begun[0], "PMSICR_EL1": 0xffffff00}, *begun[1:]]


def can_pause(event, words, begun):
    """An event may start paused. perf itself refuses one that also pauses or resumes others."""
    if not event.get("action", 0) & 1:
        return words, begun
    if event["action"] != 1:
        return ["EINVAL", *words[1:]], begun
    return ["0", "0", "-", "ran"], [{"PMSCR_EL1": 0}]


def samples_the_host(event, words, begun):
    """The unit always samples the host: an event that excludes it is refused."""
    if not event.get("exclude", 0) & 16 or words[0] != "0":
        return words, begun
    return ["EOPNOTSUPP", "-", "-", "-"], []


#: The bit of PMSFCR_EL1 without which the unit ignores a register. This driver does not write it then.
TURNED_ON_BY = {"PMSEVFR_EL1": 0, "PMSLATFR_EL1": 2, "PMSNEVFR_EL1": 3, "PMSDSFR_EL1": 4}


def looked_at(registers):
    """Returns the registers that the unit does not ignore."""
    return {name: value for name, value in registers.items()
            if name not in TURNED_ON_BY or registers["PMSFCR_EL1"] >> TURNED_ON_BY[name] & 1}


#: The intended differences. Each function returns this driver's result, from the C driver's.
DEVIATIONS = [counter_holds, can_pause, samples_the_host]


def alike(event, begun):
    """Returns the registers that have to be the same at each start."""
    if event.get("action") == 1:
        return [{"PMSCR_EL1": registers["PMSCR_EL1"]} for registers in begun]
    begun = [looked_at(registers) for registers in begun]
    # Later starts: the space that the first one has left depends on the time.
    later = [{**registers, "space": None} for registers in begun[1:]]
    if event.get("pid", -1) != -1:
        # A task may be scheduled out. When it is back the interval goes on. Nothing else may change.
        first = {**begun[0], "space": None, "PMSICR_EL1": None} if begun else None
        later = [registers for registers in later if {**registers, "PMSICR_EL1": None} != first]
    return begun[:1] + later


def compare(events, theirs, ours):
    """Yields complaints about events for which our driver differs from theirs."""
    for event, their_result, (words, begun) in zip(events, theirs, ours):
        wanted = their_result
        for deviation in DEVIATIONS:
            wanted = deviation(event, *wanted)
        wanted_words, wanted_begun = wanted
        for what, want, found in (("result", wanted_words, words),
                                  ("registers", alike(event, wanted_begun), alike(event, begun))):
            if want != found:
                yield f"{event}: {what}: wanted {want}, found {found}"


def check_results(events, results):
    """Checks that exactly the events that ran are seen in the registers."""
    for event, (words, begun) in zip(events, results):
        assert bool(begun) == (words[-1] == "ran"), f"{event}: {words} but {begun}"
    ran = [words for words, begun in results if begun]
    assert 0 < len(ran) < len(results)


def check_table(results):
    """Checks that on hardware with everything the table has every result, and several values of every register."""
    assert {"0", "EOPNOTSUPP", "EINVAL", "EACCES", "EBUSY"} <= {words[0] for words, _ in results} | {
        words[2] for words, _ in results}
    ran = [begun[0] for _, begun in results if begun]
    for register in ran[0]:
        assert len({registers[register] for registers in ran}) > 1, f"{register} never changes"


def with_both(guest, events_of):
    """Compares both drivers, loaded one after the other: the sysfs tree, the messages and all events.

    events_of: returns the events, given the fields of format/. Returns them, and the results of the C driver.
    """
    listings, said, results = {}, {}, {}
    for which in ("c", "rust"):
        guest.sh("dmesg -C")
        guest.load(which)
        listings[which] = listing(guest, which)
        events = [{"period": 4096, "pages": 2, "cpu": 0, **event} for event in events_of(published(guest))]
        results[which] = open_all(guest, events)
        check_results(events, results[which])
        guest.unload()
        said[which] = re.findall(r"spe-pmu\S*: .*", guest.sh("dmesg"))
    assert listings["rust"] == listings["c"] and len(listings["c"]) > 40
    assert said["rust"] == said["c"] and said["c"]
    complaints = list(compare(events, results["c"], results["rust"]))
    assert not complaints, f"{len(complaints)} of {len(events)}:\n" + "\n".join(complaints[:40])
    return events, results["c"]


@pytest.fixture(autouse=True)
def two_drivers(driver):
    """Skips the tests with DRIVER=c, where there is one driver."""
    if driver == "c":
        pytest.skip("the C driver against itself")


@pytest.mark.parametrize("hardware", [pytest.param(name, marks=() if name in DAILY else pytest.mark.long)
                                      for name in HARDWARE])
def test_like_the_c_driver(boot, hardware):
    def events_of(fields):
        yield from of_the_format(fields)
        yield from of_the_period(fields)
        yield from of_the_buffer()
        if hardware == "everything":
            yield from of_everything_else()

    _, results = with_both(boot(spe=f"spe=on,{HARDWARE[hardware]}"), events_of)
    if hardware == "everything":
        check_table(results)


def test_units_of_single_cpus(boot, artefacts):
    """Two devices of one CPU each: an event of one is refused on the other's CPU, or does not run there."""
    def events_of(_):
        for on in (0, 1):
            for cpu in (-1, 0, 1):
                for pid in (-1, 0):
                    yield {"cpu": cpu, "pid": pid, "on": on}

    guest = boot(arguments=edited(artefacts, one_unit_per_cpu))
    events, results = with_both(guest, events_of)
    ends = {(event["cpu"], event["pid"], event["on"]): (words[0], words[-1])
            for event, (words, _) in zip(events, results)}
    assert ends[1, -1, 1] == ("ENOENT", "-")
    assert ends[-1, 0, 0] == ("0", "ran")
    assert ends[-1, 0, 1] == ("0", "idle")
    guest.load("rust")
    for cpu in (0, 1):
        trace = record(guest, f"arm_spe_{cpu}/period=1024/u", f"taskset -c {cpu} workload 5", f"-C {cpu}")
        check_decodes(trace, 100)
