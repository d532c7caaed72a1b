# SPDX-License-Identifier: GPL-2.0
"""The page of tools/spe-report has the numbers of the trace, says what is missing, and is right in a browser.

The numbers are counted again from the packets (spe.Trace), of which spe-report itself reads none but the kinds.
"""

import os
import re
import resource
import signal
import struct
import subprocess
from bisect import bisect_right
from collections import Counter

import pytest

import spe
from browser import Browser
from paths import TOP

pytestmark = [pytest.mark.needs("browser", "perf"), pytest.mark.timeout(150)]

REPORT = TOP / "tools/spe-report"
#: What is recorded; see MISSING and test_numbers().
RECORDINGS = {
    "all": "perf record -a -o FILE -e arm_spe/period=4096,jitter=1,pa_enable=1/ -- workload 40",
    "user": "perf record -o FILE -e arm_spe/period=1024,jitter=1,pa_enable=1/u -- workload 40",
    "full_buffer": "perf record -m ,2 -o FILE -e arm_spe/period=256/u -- workload 40",
    "no_time": "perf record --per-thread -o FILE -e arm_spe/period=2048,jitter=1/u -- workload 40",
    "branches": "perf record -o FILE -e arm_spe/period=1024,branch_filter=1/u -- workload 40",
    "group": "perf record -o FILE -e arm_spe/period=1024,pa_enable=1/u -e cpu-clock:u -- workload 20",
    "pipe": "perf record -o - -e arm_spe/period=1024/u -- sh -c 'workload 20 >/dev/null' >FILE 2>/dev/null",
}
#: What has no page.
REFUSED = {
    "discard": ("perf record -o FILE -e arm_spe/discard,period=1024/u -N -B -- workload 2",
                "no trace: discard keeps no records"),
    "filtered": ("perf record -o FILE -e arm_spe/period=1024,min_latency=4095/u -- workload 2",
                 "no trace: no operation passed"),
    "clock": ("perf record -o FILE -e cpu-clock:u -- workload 2",
              "has no event of SPE: record with perf record -e arm_spe//"),
}
#: What the page says is missing.
MISSING = {
    "all": ["No symbols for"],
    "user": [],
    "full_buffer": ["No physical addresses: record with pa_enable=1"],
    "no_time": ["No physical addresses", "No timestamps: record with ts_enable=1"],
    "branches": ["No data addresses", "No physical addresses", "No data sources of loads",
                 "No loads: the event has branch_filter=1", "No stores: the event has branch_filter=1"],
    "group": [],
    "pipe": ["No physical addresses", "No symbols for"],
}
CHARTS = ["latency", "sources", "misses", "heat", "branches", "lost"]
#: The text of the tables of a chart.
TABLES = """[...document.querySelectorAll('#ID table')].map(table =>
    [...table.rows].map(row => [...row.cells].map(cell => cell.innerText.trim().replace(/\\s+/g, ' '))))"""


@pytest.fixture(scope="module")
def machine():
    return {"spe": "spe=on,spe-version=1.4,spe-cache=on"}


@pytest.fixture(scope="module")
def symfs(guest):
    """What was sampled, for the symbols."""
    path = guest.directory / "symfs/usr/bin/workload"
    path.parent.mkdir(parents=True)
    guest.fetch("/usr/bin/workload").rename(path)
    return path


def record(guest, name, command):
    """Returns the path of a recording."""
    guest.sh(command.replace("FILE", f"/tmp/{name}.data"))
    return guest.fetch(f"/tmp/{name}.data")


@pytest.fixture(scope="module")
def recorded(guest, symfs):
    """A function that records what is named once: returns the paths of perf.data and the page."""
    done = {}

    def get(name):
        if name not in done:
            data = record(guest, name, RECORDINGS[name])
            page = data.with_suffix(".html")
            run(data, "-o", page, "--", "--symfs", symfs.parents[2], succeeds=True)
            done[name] = data, page
        return done[name]

    return get


def run(*arguments, perf=None, succeeds=False, **options):
    """Runs spe-report. Returns its error, which is one line."""
    done = subprocess.run([REPORT, "--perf", perf or os.environ["ARM_SPE_PERF"], *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, **options)
    assert (done.returncode == 0) == succeeds, done
    assert "Traceback" not in done.stderr and (succeeds or done.stderr.count("\n") == 1), done.stderr
    return done.stderr


def number(text):
    """A number as the page has it."""
    return int(text.replace(",", ""))


def tables(browser, chart):
    """The rows of the tables of a chart, folded or not, by their first cell."""
    browser.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    return [{first: others for first, *others in table} for table in browser.evaluate(TABLES.replace("ID", chart))]


class Symbols:
    """The functions of a static program, from its symbol table."""

    def __init__(self, program):
        lines = subprocess.run(["aarch64-linux-gnu-nm", "-S", "--defined-only", program], stdout=subprocess.PIPE,
                               text=True, check=True).stdout
        self.found = sorted((int(start, 16), int(size, 16), name)
                            for start, size, name in re.findall(r"^(\w+) (\w+) [Tt] (\S+)$", lines, re.MULTILINE))

    def name(self, pc):
        """Returns the function that has an instruction."""
        start, size, name = self.found[bisect_right(self.found, (pc, 1 << 64, "")) - 1]
        return name if pc < start + size else None


def operation(packets):
    """What the page calls an operation."""
    return {"LD": "load", "ST": "store", "B": "branch"}.get(packets.op.split()[0], "other")


@pytest.mark.parametrize("name", RECORDINGS)
def test_numbers(recorded, symfs, name):
    """The numbers are those of the packets."""
    data, page = recorded(name)
    trace, symbols = spe.host_trace(data), Symbols(symfs)
    with Browser(page) as browser:
        shown = {chart: tables(browser, chart) for chart in CHARTS}
        regions = tables(browser, "heat")
        said = browser.evaluate("document.querySelector('.tiles').innerText")
    operations = [operation(record) for record in trace.records]
    # The later perf empties a full buffer, the fewer there are.
    assert len(trace.records) > 50 and f"{len(trace.records):,}" in said

    # Latencies: each bar begins at its number of cycles and ends where the next one begins.
    table = shown["latency"][0]
    starts = [number(start) for start in list(table)[1:]]
    expected = Counter((kind, starts[bisect_right(starts, record.latency["TOT"]) - 1])
                       for kind, record in zip(operations, trace.records))
    header = table.pop("cycles from")
    assert {(kind, number(start)): number(count) for start, row in table.items() for kind, count in zip(header, row)
            if count != "0"} == expected

    # Data sources.
    kinds = Counter(kind for kind in operations if kind in ("load", "store"))
    assert sorted(sum(number(row[0]) for first, row in table.items() if first != "answered by")
                  for table in shown["sources"]) == sorted(kinds.values())

    # Misses and mispredictions by symbol.
    for chart, events in (("misses", ["L1D-ACCESS", "L1D-REFILL", "LLC-REFILL", "TLB-REFILL"]),
                          ("branches", ["B", "MISPRED"])):
        total, by = Counter(), {}
        for kind, record in zip(operations, trace.records):
            found = [event for event in events if event in record.events or event == "B" and kind == "branch"]
            total.update(found)
            by.setdefault(symbols.name(record.pc), Counter()).update(found)
        if not sum(total[event] for event in events[1:]):
            assert not shown[chart]
            continue
        table = shown[chart][0]
        assert [number(count) for count in table["all symbols"][:len(events)]] == [total[event] for event in events]
        rows = {first.removesuffix(" workload"): row for first, row in table.items() if first.endswith(" workload")}
        assert rows and sum(map(number, [*rows.values()][0][1:len(events)])) == max(
            sum(found[event] for event in events[1:]) for symbol, found in by.items() if symbol)
        for symbol in rows.keys() & {"chase", "main", "count", "branch"}:
            assert [number(count) for count in rows[symbol][:len(events)]] == [by[symbol][event] for event in events], symbol

    # The address map has each access.
    addresses = [record.address["VA"] for record in trace.records if "VA" in record.address]
    if not addresses:
        assert not regions
    else:
        rows = [(int(first, 16), int(row[0], 16), number(row[2])) for first, row in regions[0].items() if first != "from"]
        assert sum(count for *_, count in rows) == len(addresses)
        assert all(sum(first <= address & (1 << 64) - 1 <= last for address in addresses) == count
                   for first, last, count in rows)

    # Losses.
    flags = [flags for *_, flags in trace.aux]
    rows = [list(map(number, row[:4])) for first, row in shown["lost"][0].items() if first != "CPU"]
    assert [sum(column) for column in zip(*rows)] == [len(flags), *(
        sum(bool(one & flag) for one in flags) for flag in (spe.TRUNCATED, spe.PARTIAL, spe.COLLISION))]
    assert (name == "full_buffer") == any(flags)


@pytest.mark.parametrize("name", RECORDINGS)
def test_missing(recorded, name):
    """What a recording lacks is said, with the remedy, and nothing else."""
    with Browser(recorded(name)[1]) as browser:
        said = browser.evaluate("[...document.querySelectorAll('#missing li')].map(item => item.innerText)")
        assert len(said) == len(MISSING[name]) and all(map(str.startswith, said, MISSING[name])), said
        lost = browser.evaluate("document.querySelector('#lost').innerText")
        assert ("TRUNCATED: the buffer was full" in lost) == (name == "full_buffer")
        assert ("no trace was lost" in lost) == (name != "full_buffer")


def test_no_symbols(recorded, artefacts):
    """Without the program there are no symbols, and the page says of which file."""
    data, _ = recorded("user")
    run(data, "-o", artefacts / "page.html", succeeds=True)
    assert re.search(r"No symbols for \d+% of the records</b>: they are in /usr/bin/workload: run",
                     (artefacts / "page.html").read_text())


#: Elements that are wider than the page, text of charts that overlaps or is too small to read, charts without a name.
WRONG = """(() => {
    const wrong = [], boxes = [...document.querySelectorAll('svg')].map(svg => [...svg.querySelectorAll('text')].map(
        text => [text.textContent, text.getBoundingClientRect()]));
    if (document.documentElement.scrollWidth > innerWidth)
        wrong.push('wider than the page: ' + document.documentElement.scrollWidth);
    for (const texts of boxes)
        texts.forEach(([name, box], place) => {
            if (box.height < 10) wrong.push('small: ' + name);
            for (const [other, its] of texts.slice(place + 1))
                if (box.left < its.right && its.left < box.right && box.top < its.bottom && its.top < box.bottom)
                    wrong.push(name + ' overlaps ' + other);
        });
    for (const svg of document.querySelectorAll('svg'))
        if (!svg.getAttribute('aria-label') && !document.getElementById(svg.getAttribute('aria-labelledby').split(' ')[0]))
            wrong.push('no name');
    for (const node of document.querySelectorAll('h1, h2, h3, p, li, figcaption, dd'))
        if (node.getBoundingClientRect().right > innerWidth) wrong.push('cut off: ' + node.textContent);
    return wrong; })()"""
#: Charts whose drawing has not what it says: bars and cells of no size or outside, and fewer than their number.
DRAWN = """(() => {
    const wrong = [], sum = (nodes, value) => [...nodes].reduce((total, node) => total + value(node), 0);
    for (const figure of document.querySelectorAll('#latency figure')) {
        const frame = figure.querySelector('svg').getBoundingClientRect();
        if (sum(figure.querySelectorAll('rect'), bar => +bar.dataset.count) != figure.dataset.total) wrong.push('bars');
        for (const bar of figure.querySelectorAll('rect')) {
            const box = bar.getBoundingClientRect();
            if (!(box.width > 1 && box.height > 0 && box.left >= frame.left && box.right <= frame.right && box.top >= frame.top))
                wrong.push('bar ' + bar.dataset.count);
        }
    }
    for (const map of document.querySelectorAll('#heat svg')) {
        const frame = map.getBoundingClientRect();
        if (!map.querySelector('path')) wrong.push('map');
        for (const cells of map.querySelectorAll('path')) {
            const box = cells.getBoundingClientRect();
            if (!(box.width > 1 && box.height > 1 && box.left >= frame.left - 1 && box.right <= frame.right + 1 &&
                  box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1)) wrong.push('cells ' + cells.getAttribute('class'));
        }
    }
    for (const cell of document.querySelectorAll('td[style]'))
        if (!/^\\d+(\\.\\d+)?%$/.test(cell.style.getPropertyValue('--share'))) wrong.push('share ' + cell.innerText);
    for (const id of CHARTS) {
        const chart = document.getElementById(id);
        if (!chart.querySelector('svg, td') == !chart.querySelector('.none')) wrong.push(id);
    }
    return wrong; })()""".replace("CHARTS", repr(CHARTS))
LIGHT = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).every(part => part > 200)"


@pytest.mark.parametrize("name", RECORDINGS)
def test_browser(recorded, name):
    """No complaint of the browser, nothing fetched, each chart drawn, in place on a screen and on a phone, and printed."""
    _, page = recorded(name)
    with Browser(page) as browser:
        for width in (1280, 390):
            for scheme in ("dark", "light"):
                browser.resize(width, scheme)
                assert browser.evaluate(LIGHT) == (scheme == "light")
                assert browser.evaluate("innerWidth") == width
                assert (width, browser.evaluate(WRONG), browser.evaluate(DRAWN)) == (width, [], [])
                browser.screenshot(page.with_suffix(f".{width}.{scheme}.png"))
        headings = browser.evaluate("[...document.querySelectorAll('h2')].map(node => node.innerText)")
        printed = browser.print(page.with_suffix(".pdf"))
        browser.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
        assert browser.evaluate(WRONG) == []
        assert browser.complaints == []
        assert browser.requests == [page.resolve().as_uri()]
        assert browser.evaluate("document.scripts.length") == 0
    assert len(headings) >= len(CHARTS) + 1
    assert [heading for heading in headings if heading not in printed] == []
    # What is folded on the screen is printed.
    assert "cycles from" in printed and (name == "branches" or "bytes in a row" in printed)


@pytest.mark.parametrize("name", REFUSED)
def test_no_trace(guest, name):
    """A recording without a trace has no page, but the reason."""
    command, reason = REFUSED[name]
    data = record(guest, name, command)
    assert reason in run(data, "-o", data.with_suffix(".html"))
    assert not data.with_suffix(".html").exists()


def header(size, length):
    """The header of a file of perf that says that its data has so many bytes from 104 on."""
    return (b"PERFILE2" + struct.pack("<QQQQQQ", 104, 144, 0, 0, 104, length)).ljust(size, b"\0")


GOOD = header(104, 8) + bytes(8)
#: What perf makes of a load.
LOAD = "288100142 |OP LOAD|LVL L1 hit|SNP None|TLB Walker hit|LCK No|BLK  N/A"
#: A perf that has one record; a test replaces a part.
FAKE = {
    "--version": "echo perf version 0.1",
    "-D": r"""echo '0 0 0x290 [0xa0]: PERF_RECORD_AUXTRACE_INFO type: 4'
        echo '0 0 0x7d0 [0x30]: PERF_RECORD_AUXTRACE size: 0x40  offset: 0  ref: 0x1  idx: 1  tid: 135  cpu: 1'
        echo '1 25447076217 0x5f8 [0x40]: PERF_RECORD_AUX offset: 0 size: 0x40 flags: 0 []'
        echo '.  00000000:  b0 44 05 40 00 00 00 00 80                      PC 0x400544 el0 ns=1'
        echo '.  00000037:  71 aa 2b f0 1d 04 00 00 00                      TS 17682148266'""",
    "--header-only": "echo '# event : name = arm_spe/period=1/u, , id = { 8 }'",
    "--itrace": f"echo '[001] 25.396923: memory: ffffe638bfb7 {LOAD} 6 41920c f (/bin/f)'\n"
                f"echo '[001] 25.396923: instructions: 0 {LOAD} 6 41920c f (/bin/f)'",
}


def fake(directory, **changes):
    """Returns the path of a perf that does what FAKE says, with changes."""
    does = {**FAKE, **{f"--{name}".replace("--D", "-D").replace("_", "-"): text for name, text in changes.items()}}
    path = directory / "perf"
    cases = "".join(f"*{option}*) {text} ;;\n" for option, text in does.items())
    path.write_text(f'#!/bin/bash\ncase "$*" in\n{cases}esac\n')
    path.chmod(0o755)
    return path


def test_fake(tmp_path):
    """What is tested with the substitute of perf has a page without the fault that it tests."""
    (tmp_path / "x.data").write_bytes(GOOD)
    run(tmp_path / "x.data", "-o", tmp_path / "x.html", perf=fake(tmp_path), succeeds=True)
    assert "<dd>1</dd>" in (tmp_path / "x.html").read_text()


#: The content of the file, what perf does, the error.
BAD = {
    "absent": (None, {}, "cannot read .*: No such file"),
    "empty": (b"", {}, "is not a file of perf"),
    "text": (b"PERF" * 100, {}, "is not a file of perf"),
    "header_cut": (header(104, 8)[:60], {}, "is cut off after 60 bytes of 112"),
    "data_cut": (header(104, 1000) + bytes(500), {}, "is cut off after 604 bytes of 1,104: copy or record it again"),
    "killed": (header(200, 0), {}, "was not completed, as perf record was killed"),
    "newer": (GOOD, {"D": "echo incompatible file format >&2; exit 255"},
              "perf version 0.1 cannot read .*: incompatible file format: use perf of the version that recorded"),
    "fails_late": (GOOD, {"itrace": FAKE["--itrace"] + "; echo 'failed to process' >&2; exit 1"}, "failed to process: use perf"),
    "crashes": (GOOD, {"itrace": "kill -SEGV $$"}, "cannot read .*: it does not say why: use perf"),
    "no_decoder": (GOOD, {"itrace": ":"}, "makes no samples of the 64 bytes of trace .* it cannot decode SPE"),
    "no_event": (GOOD, {"D": ":"}, "has no event of SPE: record with"),
    "no_perf": (GOOD, {"version": "exit 1"}, "cannot run .*/perf: install perf"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad(tmp_path, name):
    """What cannot be read is refused in one line, and a page of before stays as it is."""
    content, does, reason = BAD[name]
    if content is not None:
        (tmp_path / "x.data").write_bytes(content)
    (tmp_path / "x.html").write_text("before")
    error = run(tmp_path / "x.data", "-o", tmp_path / "x.html", perf=fake(tmp_path, **does))
    assert error.startswith("spe-report: error: ") and re.search(reason, error), error
    assert (tmp_path / "x.html").read_text() == "before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["perf", *(["x.data"] if content is not None else []), "x.html"]


def test_bad_output(tmp_path):
    """A page that cannot be written is an error, and the recording is never overwritten."""
    data, perf = tmp_path / "x.data", fake(tmp_path)
    data.write_bytes(GOOD)
    assert "cannot write" in run(data, "-o", tmp_path / "absent/x.html", perf=perf)
    assert "is the recording: name another file by -o" in run(data, "-o", data, perf=perf)
    assert "cannot write" in run(data, "-o", tmp_path, perf=perf)
    assert "cannot run /absent: install perf" in run(data, perf="/absent", cwd=tmp_path)
    # As on a full disk.
    (tmp_path / "x.html").write_text("before")
    assert "cannot write" in run(data, "-o", tmp_path / "x.html", perf=perf,
                                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)))
    assert (tmp_path / "x.html").read_text() == "before"
    (tmp_path / "x.html").unlink()
    (tmp_path / "jinja2.py").write_text("raise ImportError")
    assert "install the package python3-jinja2" in run(data, perf=perf, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert data.read_bytes() == GOOD and not [*tmp_path.glob("*.html"), *tmp_path.glob(".*")]


def test_interrupted(tmp_path):
    """Ctrl-C ends perf as well, and leaves nothing."""
    (tmp_path / "x.data").write_bytes(GOOD)
    os.mkfifo(tmp_path / "reads")
    perf = fake(tmp_path, itrace=f"echo $$ >{tmp_path}/reads; exec sleep 1000")
    # A run in the background ignores SIGINT, and hands that down.
    with subprocess.Popen([REPORT, "--perf", perf, "-o", tmp_path / "x.html", tmp_path / "x.data"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as process:
        reader = int((tmp_path / "reads").read_text())
        process.send_signal(signal.SIGINT)
        assert "interrupted: nothing was written" in process.communicate()[1] and process.returncode == 1
    with pytest.raises(ProcessLookupError):
        os.kill(reader, 0)
    assert not [*tmp_path.glob("*.html"), *tmp_path.glob(".*")]


def test_hostile(tmp_path):
    """Names of symbols and files are text, whatever is in them."""
    (tmp_path / "x.data").write_bytes(GOOD)
    name = '<script>alert("1")</script><img src=x onerror=1> (const) operator()'
    sample = FAKE["--itrace"].replace("41920c f (/bin/f)", f"41920c {name} (/bin/{name.replace('/', '')})")
    run(tmp_path / "x.data", "-o", tmp_path / "x.html", succeeds=True,
        perf=fake(tmp_path, itrace=sample.replace("memory:", "l1d-miss:")))
    page = tmp_path / "x.html"
    assert "<script" not in page.read_text() and "<img" not in page.read_text()
    with Browser(page) as browser:
        assert name in browser.evaluate("document.querySelector('#misses tbody th').innerText")
        assert browser.complaints == [] and len(browser.requests) == 1


def test_older_perf(tmp_path):
    """Before Linux 6.15, perf has an event for mispredicted branches only."""
    (tmp_path / "x.data").write_bytes(GOOD)
    sample = FAKE["--itrace"] + "\n" + FAKE["--itrace"].replace("memory:", "branch-miss:").replace("OP LOAD", "OP N/A")
    run(tmp_path / "x.data", "-o", tmp_path / "x.html", perf=fake(tmp_path, itrace=sample), succeeds=True)
    assert "Of branches, only those mispredicted" in (tmp_path / "x.html").read_text()


#: Samples of different symbols and addresses, all over the address space.
MANY = r"""awk 'BEGIN { for (i = 0; i < COUNT; i++) {
    when = sprintf("[001] %d.%06d:", i / 1000, i % 1000)
    where = sprintf("%08x%06x", i * 40503 % 4294967296, i * 9973 % 16777216)
    code = "LOAD " i % 4096 " 41920c f" i " (/bin/f)"
    print when, "memory:", where, code
    print when, "l1d-miss:", where, code
    print when, "instructions: 0", code } }'""".replace("LOAD", LOAD)


def test_wide(tmp_path):
    """Latencies over the whole range of a counter, and many symbols and regions, fit a phone as well."""
    (tmp_path / "x.data").write_bytes(GOOD)
    perf = fake(tmp_path, itrace=MANY.replace("COUNT", "20000").replace("i % 4096", "i * 7 % 65536"))
    run(tmp_path / "x.data", "-o", tmp_path / "x.html", perf=perf, succeeds=True)
    with Browser(tmp_path / "x.html") as browser:
        for width in (1280, 390):
            browser.resize(width)
            assert (width, browser.evaluate(WRONG), browser.evaluate(DRAWN)) == (width, [], [])


def test_progress(tmp_path):
    """Where the standard error is a terminal, it shows how far reading is."""
    (tmp_path / "x.data").write_bytes(GOOD)
    ours, theirs = os.openpty()
    perf = fake(tmp_path, itrace=MANY.replace("COUNT", "20000"), D=FAKE["-D"].replace("size: 0x40", f"size: {20000 * 64:#x}"))
    subprocess.run([REPORT, "--perf", perf, "-o", tmp_path / "x.html", tmp_path / "x.data"], stderr=theirs, check=True,
                   stdout=subprocess.DEVNULL)
    os.close(theirs)
    shown = re.findall(r"spe-report: (\d+)%: ([\d,]+) records, \d+ s", os.read(ours, 1 << 16).decode())
    os.close(ours)
    assert shown[-1] == ("100", "20,000") and [*shown] == sorted(shown, key=lambda part: int(part[0]))


def test_memory(tmp_path, show):
    """Three times the trace takes hardly more memory."""
    (tmp_path / "x.data").write_bytes(GOOD)
    peaks = []
    for count in (120000, 360000):
        perf = fake(tmp_path, itrace=MANY.replace("COUNT", str(count)),
                    D=FAKE["-D"].replace("AUXTRACE size: 0x40", f"AUXTRACE size: {count * 64:#x}"))
        process = subprocess.Popen([REPORT, "--perf", perf, "-o", tmp_path / "x.html", tmp_path / "x.data"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        error = process.stderr.read()
        _, process.returncode, usage = os.wait4(process.pid, 0)
        assert process.returncode == 0, error
        peaks.append(usage.ru_maxrss // 1024)
        assert f"{count:,}" in (tmp_path / "x.html").read_text()
        assert (tmp_path / "x.html").stat().st_size < 2 << 20
    show(f"peak memory: {peaks} MiB")
    assert peaks[1] < 1.2 * peaks[0] < 300
