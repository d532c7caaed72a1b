# SPDX-License-Identifier: GPL-2.0
"""The scripts of tools/bpf: what they print of a run is what its records say, and docs/live-bpf.md has their output.

The records are taken twice: as the trace event of the same run, by ftrace, and from the AUX recording of another run of
the same workload, in which the same operations are executed.
"""

import bisect
import re
import subprocess
from collections import Counter, defaultdict
from dataclasses import dataclass

import pytest

from guest import BPFTRACE, PROGRAMS
from paths import TOP
from spe import recorded

pytestmark = pytest.mark.needs("bpftrace")

SCRIPTS = {path.name: path for path in sorted((TOP / "tools" / "bpf").glob("*.bt"))}
PAGE = TOP / "docs" / "live-bpf.md"
DIRECTORY = "/tmp/bpf/tools/bpf"
TRACING = "/sys/kernel/tracing"
INTERVAL = 1024
#: Of the workload.
ROUNDS = 5
#: An interval with which a batch of one record is not too many interrupts for the driver, which would ignore it.
SELDOM = 16384

#: A record, as the trace event prints it.
LINE = re.compile(
    r"^ *(.+)-(\d+) +(?:\(.*?\) )?\[(\d+)\] .* arm_spe_record: id=\d+ period=\d+ pc=(\w+) el=(\d) op=([\w-]+):(\w+) events=(\w+)"
    r" total=(\d+) issue=\d+ xlat=(\d+) va=(\w+) pa=\w+ source=(\w+) .* present=(\w+)$", re.MULTILINE)

LOAD_STORE, BRANCH = "load-store", "branch"
MISPREDICTED, TLB_ACCESS, TLB_WALK = 1 << 7, 1 << 4, 1 << 5
HAS_VA, HAS_SOURCE = 1 << 2, 1 << 12

SOURCES = {0x0: "l1_data_cache", 0xb: "system_cache", 0xe: "memory"}


@dataclass
class Event:
    """A record, of the trace event."""

    comm: str
    tid: int
    cpu: int
    pc: int
    el: int
    op: str
    subclass: int
    events: int
    total: int
    xlat: int
    va: int
    source: int
    present: int

    @property
    def is_load(self):
        """Returns whether it is a load, as atomic operations are."""
        return self.op == LOAD_STORE and not self.subclass & 1

    @property
    def has_va(self):
        """Returns whether it is an access with an address."""
        return self.op == LOAD_STORE and self.present & HAS_VA


def events(text):
    """Returns each Event in the text of a trace file."""
    return [Event(comm, int(tid), int(cpu), int(pc, 0), int(el), op, int(subclass, 0), int(bits, 0), int(total),
                  int(xlat), int(va, 0), int(source, 0), int(present, 0))
            for comm, tid, cpu, pc, el, op, subclass, bits, total, xlat, va, source, present in LINE.findall(text)]


@dataclass
class Run:
    """What a script has printed, the Event of each record, and perf stat's count."""

    output: str
    events: list
    count: int

    def maps(self, name):
        """Returns the lines of a map whose values are numbers: {(key, ...): value}."""
        found = re.findall(rf"^@{name}(?:\[(.*)\])?: (\d+)$", self.output, re.MULTILINE)
        return {tuple(key.split(", ")) if key else (): int(value) for key, value in found}

    def total(self, name):
        """Returns the value of a map that has no key."""
        return self.maps(name)[()]

    def histograms(self, name):
        """Returns the histograms of a map: {(key, ...): {(from, to): count}}."""
        found = {}
        for key, rows in re.findall(rf"^@{name}\[(.*)\]:\n((?:[\[(].*\n)+)", self.output, re.MULTILINE):
            found[tuple(key.split(", "))] = {(int(low), int(high)): int(count) for low, high, count in
                                             re.findall(r"^\[(\d+), (\d+)\) +(\d+) ", rows, re.MULTILINE)}
        return found

    def table(self, title):
        """Returns the rows of the table whose title begins with these words, as lists of words."""
        _, rows = re.split(rf"^{title}.*$", self.output, maxsplit=1, flags=re.MULTILINE)
        return [line.split() for line in rows.splitlines() if re.match(r"\d+ +0x", line)]


@pytest.fixture(autouse=True)
def ours(driver):
    """Skips the tests with the C driver."""
    if driver == "c":
        pytest.skip("the C driver has no live events")


@pytest.fixture(scope="module")
def machine():
    """Returns the options for a machine with bpftrace, and with caches that are smaller than the workload's memory."""
    return {"spe": "spe=on,spe-version=1.4,spe-cache=on,spe-llc-size=128K", "adds": [BPFTRACE],
            "files": {f"{DIRECTORY}/{name}": path for name, path in SCRIPTS.items()}}


@pytest.fixture(scope="module")
def guest(guest):
    """Returns the guest, in which programs have the same addresses each time, and ftrace has space for each record."""
    guest.sh(f"echo 0 >/proc/sys/kernel/randomize_va_space; echo 16384 >{TRACING}/buffer_size_kb")
    return guest


#: Runs a script with `perf stat` as its command. The process is kept until the script has printed the line `until`: its
#: output, at its end, waits for space in a pipe. Its environment is that of the AUX recording.
GATED = """
rm -f /tmp/full
mkfifo /tmp/full
exec 3<>/tmp/full
head -c 65536 /dev/zero >&3
echo "exec env -i PATH=$PATH perf stat -o /tmp/stat -e {event} -- {workload} >/tmp/full" >/tmp/run
echo >{TRACING}/trace
echo 1 >{TRACING}/events/arm_spe/enable
bpftrace -B line {script} {argument} -c 'bash /tmp/run' 2>&1 3<&- | while IFS= read -r line; do
	echo "$line"
	[[ $line != {until}* ]] || head -c 65536 <&3 >/dev/null
done
echo 0 >{TRACING}/events/arm_spe/enable
cat {TRACING}/trace >/tmp/trace
"""


def run(guest, text, workload=f"workload {ROUNDS}", *, fields="", modifier="u", argument="", interval=INTERVAL):
    """Returns the Run of a script, given as its text, with an event of a workload's."""
    guest.put({"/tmp/script.bt": text})
    output = guest.sh(GATED.format(
        event=f"arm_spe_0/live=1,interval={interval}{fields}/{modifier}", workload=workload, script="/tmp/script.bt",
        argument=argument, until=f"'{workload.split()[0]} ('" if "@seen[pid]" in text else "Attaching", TRACING=TRACING,
    ), timeout=200)
    assert not re.search("ERROR|WARNING|[Ll]ost", output), output
    (count,) = re.findall(r"^ +(\d+) +arm_spe_0", guest.sh("cat /tmp/stat"), re.MULTILINE)
    made = Run(output, events(guest.fetch("/tmp/trace").read_text()), int(count))
    # bpftrace and ftrace have each record that perf stat counts.
    assert len(made.events) == made.total("records") == made.count > 0
    return made


@pytest.fixture(scope="module")
def aux(guest):
    """Returns the Trace of an AUX recording of the workload."""
    return recording_of(guest, f"workload {ROUNDS}")


def recording_of(guest, workload):
    """Returns the Trace of an AUX recording of a workload."""
    event = f"arm_spe_0/period={INTERVAL}/u"
    return recorded(guest, f"env -i PATH=$PATH perf record -o /tmp/perf.data -e {event} -- {workload}")


@pytest.fixture(scope="module")
def function():
    """Returns a function that names the function of an address in the workload."""
    return namer(line.split() for line in printed("aarch64-linux-gnu-nm", "-n", PROGRAMS / "workload").splitlines()
                 if not line.startswith(" "))


def printed(*command):
    """Returns what a command prints."""
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def namer(rows):
    """Returns a function that names the function of an address, of the rows of nm or kallsyms, sorted."""
    names = defaultdict(set)
    for address, kind, name, *_ in rows:
        if kind in "tTwW" and not name.startswith("$"):
            names[int(address, 16)].add(name)
    starts = sorted(names)
    return lambda address: names[starts[max(bisect.bisect(starts, address) - 1, 0)]]


def top(counts, number):
    """Returns the values of the most frequent ones; which of equal ones are printed is not known."""
    return sorted(counts.values())[-number:]


def check_most(shown, counts, number=20):
    """Checks that what is shown are most frequent ones, with their counts."""
    assert all(counts[key] == value for key, value in shown.items()), (shown, counts)
    assert sorted(shown.values()) == top(counts, number), (shown, counts)


def test_same_run(guest, aux, function, show):
    """A live event samples as the AUX recording does.

    The operations are the same, and each 1024th is sampled. Which ones that is may shift, by an operation that is
    executed again after a fault, and in a loop that runs once a round this makes a sample more or less each time.
    """
    made = run(guest, SCRIPTS["remote.bt"].read_text())
    live, recording = (Counter(min(function(pc)) for pc in pcs) for pcs in (
        [event.pc for event in made.events], [sample.pc for sample in aux.records]))
    show(f"live {live.most_common(4)}, AUX {recording.most_common(4)}")
    assert abs(made.count - len(aux.records)) <= 2
    for name in ("chase", "branch", "count"):
        assert abs(live[name] - recording[name]) <= 2 * ROUNDS, (live, recording)


def test_load_latency(guest, aux, function):
    """Each load has its latencies, at its instruction, which has the name of its function."""
    made = run(guest, SCRIPTS["load-latency.bt"].read_text())
    latencies = defaultdict(list)
    for event in made.events:
        if event.is_load:
            latencies[event.pc].append(event.total)
    assert made.total("loads") == sum(map(len, latencies.values()))
    shown, counts = made.histograms("user"), {pc: len(found) for pc, found in latencies.items()}
    check_most({int(key[2], 0): sum(rows.values()) for key, rows in shown.items()}, counts, 10)
    for (_, _, pc, name), rows in shown.items():
        assert name in function(int(pc, 0))
        for (low, high), count in rows.items():
            assert count == sum(low <= latency < high for latency in latencies[int(pc, 0)]), (pc, rows)
    # The last one is the hottest. It is executed once in each step of a loop of a round.
    _, _, hottest, name = list(shown)[-1]
    of_aux = Counter(sample.pc for sample in aux.records if sample.op.startswith("LD"))
    assert name == min(function(of_aux.most_common(1)[0][0])) == "chase"
    assert abs(counts[int(hottest, 0)] - of_aux[int(hottest, 0)]) <= 2 * ROUNDS


def test_kernel(guest):
    """The kernel's instructions have the names of their functions."""
    made = run(guest, SCRIPTS["load-latency.bt"].read_text(), modifier="")
    names = namer(sorted(line.split() for line in guest.sh("grep -v ' a ' /proc/kallsyms").splitlines()))
    shown = made.histograms("kernel")
    check_most({int(key[0], 0): sum(rows.values()) for key, rows in shown.items()},
               Counter(event.pc for event in made.events if event.is_load and event.el), 10)
    assert shown and all(name in names(int(pc, 0)) for pc, name in shown)


def test_cache_lines(guest):
    """The lines have their accesses and latencies. That of falseshare's counters leads, as in the AUX recording."""
    made = run(guest, SCRIPTS["cache-lines.bt"].read_text(), "falseshare 10")
    latencies = defaultdict(list)
    for event in made.events:
        if event.has_va:
            latencies[event.va & ~63].append(event.total)
    counts = {line: len(found) for line, found in latencies.items()}
    assert made.total("with_address") == sum(counts.values())
    rows = [(int(line, 0), int(count), int(cycles)) for _, line, count, cycles in made.table("PID +LINE")]
    check_most({line: count for line, count, _ in rows}, counts)
    assert [count for _, count, _ in rows] == sorted((count for _, count, _ in rows), reverse=True)
    assert all(cycles == sum(latencies[line]) // count for line, count, cycles in rows)
    assert rows[0][0] == counters_of_falseshare() == hottest_line(recording_of(guest, "falseshare 10"))


def counters_of_falseshare():
    """Returns the address of the two counters."""
    symbols = printed("aarch64-linux-gnu-nm", PROGRAMS / "falseshare")
    (address,) = re.findall(r"^(\w+) \w statistics$", symbols, re.MULTILINE)
    return int(address, 16)


def hottest_line(trace):
    """Returns the line with most accesses."""
    lines = Counter(sample.address["VA"] & ~63 for sample in trace.records if "VA" in sample.address)
    return lines.most_common(1)[0][0]


@pytest.mark.parametrize("remote", (0xd, 0xb, 0xe), ids=hex)
def test_remote(guest, remote):
    """Loads are where their data source says. The unit has none that is remote: another one stands in for it."""
    text = SCRIPTS["remote.bt"].read_text()
    if remote != 0xd:
        text = text.replace(f"$s == {remote:#x}", "$s == 0xff").replace("$s == 0xd", f"$s == {remote:#x}")
    made = run(guest, text)
    latencies = defaultdict(list)
    for event in made.events:
        if event.op == LOAD_STORE and event.present & HAS_SOURCE:
            latencies[{**SOURCES, remote: "remote"}[event.source]].append(event.total)
    assert len(latencies) == 3
    found = re.findall(r"^@(\w+)\[workload, \d+\]: count (\d+), average (\d+), total (\d+)$", made.output, re.MULTILINE)
    assert {(name, int(count), int(mean), int(total)) for name, count, mean, total in found} == {
        (name, len(values), sum(values) // len(values), sum(values)) for name, values in latencies.items()}


def test_mispredicted(guest, function):
    """Mispredicted branches. Those of branch(), which depend on random bits, lead as in the AUX recording."""
    made = run(guest, SCRIPTS["mispredicted.bt"].read_text(), "workload 100")
    branches = [event for event in made.events if event.op == BRANCH]
    wrong = Counter(event.pc for event in branches if event.events & MISPREDICTED)
    shown = made.maps("user")
    check_most({int(key[2], 0): value for key, value in shown.items()}, wrong)
    assert all(name in function(int(pc, 0)) for _, _, pc, name in shown)
    assert list(made.maps("branches").values()) == [len(branches)]
    assert list(made.maps("mispredicted").values()) == [sum(wrong.values())]
    trace = recording_of(guest, "workload 100")
    of_aux = Counter(sample.pc for sample in trace.records if "MISPRED" in sample.events)
    assert wrong.most_common(1)[0][0] == of_aux.most_common(1)[0][0]
    assert list(shown)[-1][3] == "branch"
    # The sum of two counts of the same, at random, differs from their mean by six standard deviations at most.
    assert abs(sum(wrong.values()) - sum(of_aux.values())) <= 6 * (sum(wrong.values()) + sum(of_aux.values())) ** 0.5


def test_mispredicted_only(guest):
    """With the unit's filter there are no other records."""
    made = run(guest, SCRIPTS["mispredicted.bt"].read_text(), fields=",branch_filter=1,event_filter=0x80")
    assert made.count == sum(made.maps("mispredicted").values()) == sum(made.maps("branches").values())


def test_tlb(guest):
    """Walks are counted by process and by region of 2 MiB. The first accesses to memory are walks."""
    made = run(guest, SCRIPTS["tlb.bt"].read_text(), "workload 1",
               fields=",load_filter=1,store_filter=1,event_filter=0x20")
    walks = defaultdict(list)
    for event in made.events:
        assert event.events & (TLB_ACCESS | TLB_WALK) == TLB_ACCESS | TLB_WALK
        walks[event.va >> 21 << 21].append(event.xlat)
    assert made.count == sum(made.maps("walks").values()) == sum(made.maps("accesses").values())
    rows = [(int(region, 0), int(count), int(cycles)) for _, region, count, cycles in made.table("PID +REGION")]
    check_most({region: count for region, count, _ in rows}, {region: len(found) for region, found in walks.items()})
    assert all(cycles == sum(walks[region]) // count for region, count, cycles in rows)


@pytest.mark.parametrize("least", (10, 1))
def test_false_sharing(guest, least):
    """The lines that threads share, by byte and thread. The counters of falseshare lead, as in the AUX recording."""
    made = run(guest, SCRIPTS["false-sharing.bt"].read_text(), "falseshare 10", argument="" if least == 10 else least)
    threads, stores, accesses = defaultdict(set), Counter(), Counter()
    for event in made.events:
        if event.has_va:
            line = event.va & ~63
            threads[line].add(event.tid)
            stores[line] += event.subclass & 1
            accesses[line, event.va & 63, event.tid, ("loads", "stores")[event.subclass & 1]] += 1
    rows = {(int(line, 0), int(byte), int(tid), kind): int(count)
            for _, line, byte, tid, kind, count in made.table("PID +LINE")}
    assert rows == {access: count for access, count in accesses.items()
                    if len(threads[access[0]]) > 1 and stores[access[0]] >= least}
    lines = Counter()
    for (line, *_), count in rows.items():
        lines[line] += count
    ((first, _),) = lines.most_common(1)
    assert first == counters_of_falseshare() == hottest_line(recording_of(guest, "falseshare 10"))
    assert {(byte, kind) for line, byte, _, kind in rows if line == first} == {
        (byte, kind) for byte in (0, 8) for kind in ("loads", "stores")}
    assert len({tid for line, byte, tid, _ in rows if line == first and byte == 0}) == 1


def blocks():
    """Returns the instructions of the workload: {address: (whether it is a branch, its target or None)}."""
    text = printed("aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", PROGRAMS / "workload")
    code = {}
    for address, name, operands in re.findall(r"^ +([0-9a-f]+):\t(\S+)(.*)$", text, re.MULTILINE):
        is_branch = re.match(r"(b|bl|b\..*|cbn?z|tbn?z|br|blr|ret)\b", name)
        target = re.search(r"\b([0-9a-f]{6,}) <", operands)
        code[int(address, 16)] = bool(is_branch), int(target[1], 16) if target else None
    return code


def next_places(code, pc):
    """Returns where a CPU may be between the operation at pc and the first one of the next basic block.

    None: anywhere, as the block ends with an indirect branch.
    """
    places = set()
    while True:
        is_branch, target = code[pc]
        pc += 4
        places.add(pc)
        if is_branch:
            return {*places, target} if target else None


def test_stack(guest, function, show):
    """With batch=1, the user's stack begins within the basic block of the operation, or right behind it.

    The unit requests the interrupt when it has written the record, before the next block.
    """
    made = run(guest, STACKS.format("ustack(raw, 1)"), "workload 50", fields=",batch=1", interval=SELDOM)
    code = blocks()
    anywhere = same = 0
    for pc, faulted, (place,), count in stacks(made):
        places = next_places(code, pc)
        if places is None:
            anywhere += count
        else:
            assert place in places or (faulted and place == pc), (hex(pc), hex(place))
        same += count * (function(place) == function(pc))
    assert anywhere < made.count / 4
    show(f"of {made.count} records at EL0, {same} have their function on top of the stack; {anywhere} are in blocks "
         "that end with an indirect branch")


def test_kernel_stack(guest, show):
    """With batch=1, the kernel's stack has the interrupt's frames, and then what was interrupted."""
    made = run(guest, STACKS.format("kstack(raw, 32)"), "dd if=/dev/zero of=/dev/null count=20000", modifier="k",
               fields=",batch=1", interval=SELDOM)
    names = namer(sorted(line.split() for line in guest.sh("grep -v ' a ' /proc/kallsyms").splitlines()))
    same = interrupts = 0
    for pc, _, places, count in stacks(made):
        entry = [n for n, place in enumerate(places) if "el1h_64_irq" in names(place)]
        if entry:
            interrupts += count
            same += count * (names(places[entry[0] + 1]) == names(pc))
    assert interrupts
    show(f"of {made.count} records at EL1, {interrupts} were emitted in an interrupt of the kernel, {same} of them "
         "in the function of the record")


STACKS = """
tracepoint:arm_spe:arm_spe_record {{
	@records = count();
	@stacks[(uint8 *)args.pc, args.events & 1, {}] = count();
}}
"""


def stacks(made):
    """Yields (pc, whether it raised an exception, addresses of the stack, count), of what STACKS has printed."""
    found = re.findall(r"^@stacks\[(\w+), (\d), *\n((?:.*\n)*?)\]: (\d+)$", made.output, re.MULTILINE)
    assert sum(int(count) for *_, count in found) == made.count
    for pc, faulted, places, count in found:
        yield int(pc, 0), int(faulted), [int(place, 16) for place in places.split()], int(count)


@dataclass
class Command:
    """A command of the page, and its output there."""

    text: str
    output: list


def commands():
    """Returns each Command of the page."""
    found, inside = [], False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            found.append(Command(line[2:], []))
        elif inside and line.startswith("> "):
            found[-1].text += "\n" + line[2:]
        elif inside and line != "...":
            found[-1].output.append(line)
    return found


def shape(line):
    """Returns a line without its numbers, bars and widths."""
    line = re.sub(r"\|@* *\|", "|", line)
    return " ".join(re.sub(r"\b(0x[0-9a-f]+|\d+)\b", "N", line).split())


@pytest.mark.parametrize("number", range(len(commands())))
def test_page(guest, number):
    """The commands of the page print what stands there, for other numbers."""
    command = commands()[number]
    output = guest.sh(f"cd {DIRECTORY}/../.. && {command.text}", timeout=200)
    rest = iter(map(shape, output.splitlines()))
    for line in command.output:
        assert shape(line) in rest, f"$ {command.text}\nthe page has the line\n{line}\nbut printed was\n{output}"


def test_scripts_on_page():
    """Each script is on the page, with a command, and the page is short. A script says how it is run."""
    text = PAGE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 160
    assert not [line for line in text.splitlines() if len(line) > 100 and not line.startswith("|")]
    for name, path in SCRIPTS.items():
        assert any(f"tools/bpf/{name} -c" in command.text for command in commands()), name
        (usage,) = re.findall(r"^ \* bpftrace (\S+) -c \\\n \*     'perf stat -a -e arm_spe_0/live=1,.*/ -- sleep 10'$",
                              path.read_text(), re.MULTILINE)
        assert usage == name
    for before, block in zip(text.split("\n\n"), text.split("\n\n")[1:]):
        assert not block.startswith("```sh\n") or "Not run, because" in before
