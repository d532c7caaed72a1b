# SPDX-License-Identifier: GPL-2.0
"""The cost of a driver's callbacks: instructions of a guest, counted exactly by tests/qemu/plugin/cost.c."""

import re
import subprocess
from collections import Counter, defaultdict, namedtuple

from paths import TOP



#: The name of each callback in the C driver and, as rustc mangles it, in ours. The cost of add includes a start, that
#: of del a stop.
CALLBACKS = {
    "add": ("arm_spe_pmu_add", "3add"),
    "del": ("arm_spe_pmu_del", "3del"),
    "start": ("arm_spe_pmu_start", "5start"),
    "stop": ("arm_spe_pmu_stop", "4stop"),
    "event_init": ("arm_spe_pmu_event_init", "10event_init"),
    "setup_aux": ("arm_spe_pmu_setup_aux", "9setup_aux"),
    "free_aux": ("arm_spe_pmu_free_aux", "8free_aux"),
}
IRQ = ("arm_spe_pmu_irq_handler", r"_R\S*3irq\S*7Handler\S*6handle\S*")
#: The start of the mangled names of the functions of perf/pmu.rs that perf calls, methods of Registration<SpePmu>.
MANGLED = r"_R\S*4perf3pmu\S*12Registration\S*E"

#: perf's hooks for a task that is scheduled out and for one that is scheduled in.
SWITCH = {"leaves": "__perf_event_task_sched_out", "comes": "__perf_event_task_sched_in"}

#: The probe of live events on context switches.
LIVE_SWITCH = "on_switch"
#: The trace event of live events.
LIVE_EVENT = "/sys/kernel/tracing/events/arm_spe/arm_spe_record/enable"
#: The records in a buffer of live events, of the emulated unit.
LIVE_BATCH = 256

#: One call: instructions of the module and of the whole kernel, register accesses and barriers, bytes of stack.
Call = namedtuple("Call", "module kernel reads writes isb dsb psb stack")
#: Instructions from the interrupt's exception to the write that makes the unit sample again, and to its effect.
Gap = namedtuple("Gap", "written synchronised")

#: Instructions that a CPU has executed: in the kernel, and in total.
Mark = namedtuple("Mark", "kernel all")


def arguments(directory, cpus=1):
    """Returns Guest(arguments=...) for the plugin, which writes to directory.

    With one CPU, -icount makes interrupts come at the same instruction in each run. With more, QEMU 10.0 would count
    for the wrong CPU (gen_cpu_index()); a callback executes the same instructions without -icount.
    """
    subprocess.run(["make", "-s", "-C", TOP / "tests/qemu/plugin"], check=True)
    return [*(["-icount", "shift=0,sleep=off"] if cpus == 1 else []),
            "-plugin", f"{TOP}/build/plugin/cost.so,out={directory}/cost,entries={directory}/entries"]


#: For Guest(append=...): the plugin has to know the addresses.
APPEND = "nokaslr"


class Costs:
    """Counts the instructions of a driver in a guest."""

    def __init__(self, guest, directory):
        self.guest = guest
        self.log = directory / "cost"
        self.entries = directory / "entries"
        self.read = 0

    def load(self, driver):
        """Loads a driver and counts its callbacks from now on."""
        self.guest.load(driver)
        which = int(driver != "c")
        self.watch({"vectors": "vectors", "irq": IRQ[which], **{
            name: both[0] if driver == "c" else rf"{MANGLED}{both[1]}\S*" for name, both in CALLBACKS.items()}})

    def watch(self, functions):
        """Counts functions ({name: pattern of the symbol}), none of which calls another."""
        symbols = [line.split()[:3:2] for line in self.guest.sh("cat /proc/kallsyms").splitlines()]
        lines = []
        for name, pattern in functions.items():
            found = [address for address, symbol in symbols if re.fullmatch(pattern, symbol)]
            assert len(found) == 1, f"{name} has to be one function: {pattern} matches {len(found)}"
            lines.append(f"{found[0]} {name}\n")
        self.entries.write_text("".join(lines))
        self.guest.sh("cost entries")

    def unload(self):
        """Unloads the driver. The next one may have the same addresses."""
        self.watch({})
        self.guest.unload()

    def _new(self):
        """Returns the plugin's new lines, split into words, and its last mark."""
        self.guest.sh("taskset -c 0 cost mark")
        with open(self.log, encoding="ascii") as log:
            log.seek(self.read)
            text = log.read()
        # A mark flushes the log; what follows it may be incomplete.
        text = text[:text.rindex("\n") + 1]
        self.read += len(text)
        lines = [line.split() for line in text.splitlines()]
        return lines, Mark(*map(int, [words for words in lines if words[0] == "mark"][-1][2:]))

    def run(self, command, timeout=600):
        """Runs a command that uses the driver. Returns the calls by name, the gaps, and the instructions of CPU 0."""
        _, before = self._new()
        self.guest.sh(command, timeout)
        calls, gaps = defaultdict(list), []
        lines, after = self._new()
        for kind, *words in lines:
            if kind == "call":
                calls[words[0]].append(Call(*map(int, words[2:])))
            elif kind == "gap":
                gaps.append(Gap(*map(int, words[1:])))
        return calls, gaps, Mark(*(new - old for new, old in zip(after, before)))


def typical(values):
    """Returns the mode of each figure, which is the same in each run."""
    values = list(values)
    return type(values[0])(*(Counter(column).most_common(1)[0][0] for column in zip(*values)))


def average(values):
    """Returns the mean of each figure. Not all calls are alike: some wake a task, for example."""
    values = list(values)
    return type(values[0])(*(round(sum(column) / len(values), 1) for column in zip(*values)))


def table(costs, driver, of):
    """Returns the cost of each operation of the loaded driver: Calls, and for the gap of a full buffer a Gap.

    of: typical or average.
    """
    opened, _, _ = costs.run("cost opens 10 1024")
    switched, _, _ = costs.run("cost switches 100")
    filled, gaps, _ = costs.run("cost fills 100 16")
    rows = {
        "add and start": switched["add"], "stop and del": switched["del"], "buffer full": filled["irq"],
        "event_init": opened["event_init"], "setup_aux of 4 MiB": opened["setup_aux"], "free_aux of 4 MiB": opened["free_aux"],
        "gap": gaps,
    }
    if driver != "c":
        # The C driver has no pause.
        paused, _, _ = costs.run("cost pauses 100")
        rows |= {"pause": paused["stop"], "resume": paused["start"]}
    return {name: of(values) for name, values in rows.items()}


def live_table(costs):
    """Returns instructions of the loaded driver's module for live events, as {what: number}.

    Those for a record are the average over a full buffer, without what its interrupt costs in any case.
    """
    costs.guest.sh("mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing")
    rows = {}
    for listens, what in ((0, "a record that is counted"), (1, "a record that is emitted as a trace event")):
        costs.guest.sh(f"echo {listens} >{LIVE_EVENT}")
        one, full = (average(costs.run(f"cost live {records} {batch}")[0]["irq"]).module
                     for records, batch in ((100, 1), (3000, LIVE_BATCH)))
        rows[what] = round((full - one) / (LIVE_BATCH - 1), 1)
        rows["an interrupt with one " + what.removeprefix("a ")] = one
    costs.guest.sh(f"echo 0 >{LIVE_EVENT}")
    costs.watch({"switch": LIVE_SWITCH})
    rows["a context switch without a record"] = typical(costs.run("cost idles 100")[0]["switch"]).module
    return rows
