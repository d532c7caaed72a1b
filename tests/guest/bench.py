#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""bench.py: what this driver and the stock kernel's C driver cost, counted in one run each on the same guests.

Prints tables, and writes them to build/bench/: bench.md, bench.json and bench.svg. docs/cost.md says what each count
means. Runs in the build root.
"""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pygal

import cost
from guest import TOP, Guest
from kernel import STOCK, unsigned_stock_module

OUT = TOP / "build" / "bench"
DRIVERS = ("c", "rust")

#: Pages of an AUX buffer, and how often half of it is filled. A half of the largest one is 33 million operations.
FILLS = {16: 1000, 256: 200, 4096: 20}
#: What the architecture asks for: of system registers those that are to say something new, or that tell what was sampled;
#: and barriers, between what must not be seen in another order (DDI 0487, D17.9).
FLOOR = {
    # PMSFCR, PMSIRR, PMSICR, PMBPTR, PMBLIMITR, PMSCR. None of them is kept for a CPU that has been off.
    "add and start": {"reads": 0, "writes": 6, "isb": 1, "dsb": 0, "psb": 0},
    # PMSCR, PMBLIMITR. PMBSR, PMBPTR, and PMSICR, with which the event goes on.
    "stop and del": {"reads": 3, "writes": 2, "isb": 2, "dsb": 1, "psb": 1},
    # PMBSR, PMBPTR. PMBPTR, PMBLIMITR, PMBSR.
    "buffer full": {"reads": 2, "writes": 3, "isb": 2, "dsb": 1, "psb": 1},
    # PMSCR.
    "pause": {"reads": 0, "writes": 1, "isb": 1, "dsb": 0, "psb": 0},
    "resume": {"reads": 0, "writes": 1, "isb": 1, "dsb": 0, "psb": 0},
}
CPUS = (1, 2, 4, 8)
#: What the functions of both drivers are for, by their names: the first that matches.
PURPOSES = {
    "loading, probing, hotplug": r"probe|remove|refuse_(without|unmapped)|read_caps|^arm_spe_pmu::log|PmuNumber|OwnerTag|post_unbind"
                                 r"|Adapter as|hotplug::|percpu::Call<|percpu::contains|Cpu>::new|Off>::online|Arc<|drop_in_place|helper_(kernel_unmapped|per_cpu_ptr)"
                                 r"|(init|cleanup)_module|pmu_(init|exit)$|cpu_(startup|teardown)|reset_local|drain_local",
    "messages": r"state::log|warn_reserved|fmt::",
    "counters": r"counters::|debugfs::",
    "sysfs": r"sysfs::|_show|is_visible",
    "events are opened, buffers are mapped": r"event_init|destroy|(setup|free)_aux|Buffer(>| as )|Deferred|pin_module|event_to_pms"
                                             r"|helper_(vmap|virt_to_page|cpu_to_node|preemptible|in_init_pid_ns)",
    "callbacks and interrupt, as they mostly are":
        r"Registration<.*>>::(add|del|start|stop|read)$|Pmu>::(add|del|start|stop|update_sampling)$|Handler<.*::handle$"
        r"|Slot<|Gate>|unit::stop_sampling|state::(begin|finish|report)|BufferLayout>|NoSpace>|perf::aux::|not_in_nmi|this_cpu_ptr"
        r"|pmu_(add|del|start|stop|read|irq_handler)$|aux_output|pad_buf|next_off|fault_act",
    "what is rare in those": r"",
}
#: Turns of perf bench sched pipe, there and back.
TURNS = 2000
#: So many of them that what else the kernel does meanwhile is little in each.
MANY = 20 * TURNS
#: How `cost` gives one of the two tasks an event; none: it does not.
EVENTS = {"none": "", "dummy": "cost dummy", "spe": "cost spe"}
#: Where the C driver is without its signature, which ours does not have either.
UNSIGNED = "usr/lib/drivers/unsigned/arm_spe_pmu.ko"


def boot(name, smp):
    """A guest whose instructions are counted, and the counter."""
    directory = OUT / name
    directory.mkdir(parents=True)
    unsigned = directory / "arm_spe_pmu.ko"
    unsigned.write_bytes(unsigned_stock_module())
    guest = Guest(directory, append=cost.APPEND, smp=smp, arguments=cost.arguments(directory, smp), files={UNSIGNED: unsigned})
    return guest, cost.Costs(guest, directory)


def operations(costs, driver):
    """Each operation: module, kernel, registers, barriers, stack."""
    return {name: values._asdict() for name, values in cost.table(costs, driver, cost.average).items()}


def two_switches(costs, event):
    """What perf executes when a task with an event comes to a CPU and leaves it.

    The event belongs to one of the two tasks of the pipe: for the other one perf only finds out that there is nothing to
    do. If it were inherited both would have one, and perf would let the one that is on the CPU stay there.
    """
    costs.watch(cost.SWITCH)
    calls, _, _ = costs.run(f"cost {event} perf bench sched pipe -l {TURNS}")
    nothing = {name: min(call.kernel for call in calls[name]) for name in cost.SWITCH}
    return sum(cost.typical(call for call in calls[name] if call.kernel > 2 * nothing[name]).kernel for name in cost.SWITCH)


def turn(costs, event):
    """What the whole kernel executes for a turn: one task wakes the other, and that wakes it."""
    # The first one is not counted: it reads what it executes from files.
    _, few, many = (costs.run(f"{EVENTS[event]} perf bench sched pipe -l {turns}")[2].kernel for turns in (1, TURNS, MANY))
    return round((many - few) / (MANY - TURNS))


def lost(costs):
    """Of all operations of a task that fills its buffer, the share that is executed while the unit waits for service."""
    shares = {}
    for pages, number in FILLS.items():
        _, gaps, executed = costs.run(f"cost fills {number} {pages}")
        shares[f"{pages * 4} KiB"] = sum(gap.written for gap in gaps) / executed.all
    return shares


def loading(guest, costs, driver):
    """Kernel instructions to load the module and probe its device, above those to execute another command."""
    executed, nothing = (costs.run(f"{command} /usr/lib/drivers/{driver}/arm_spe_pmu.ko")[2].kernel
                         for command in ("insmod", "test -e"))
    guest.sh("rmmod arm_spe_pmu && dmesg -C")    # load() looks there for who is loaded
    return executed - nothing


def sizes(module):
    """Bytes of the sections of a module that stay in memory."""
    sections = subprocess.run(["llvm-size", "-A", module], check=True, stdout=subprocess.PIPE, text=True).stdout
    found = {name: int(size) for name, size in re.findall(r"^(\.\S+) +(\d+)", sections, re.MULTILINE)
             if not name.endswith(".ftrace_trampoline")}
    return {kind: sum(size for name, size in found.items() if re.fullmatch(kind.replace(".", r"\.") + r"(\..*)?", name))
            for kind in (".text", ".rodata", ".data", ".bss")}


def purposes(module):
    """Bytes of a module's functions in `.text`, by what they are for."""
    symbols = subprocess.run(["llvm-objdump", "-t", "-C", module], check=True, stdout=subprocess.PIPE, text=True).stdout
    found = dict.fromkeys(PURPOSES, 0)
    for size, name in re.findall(r" F \.text\t([0-9a-f]+) (?:\.hidden )?(.*)$", symbols, re.MULTILINE):
        found[next(purpose for purpose, names in PURPOSES.items() if re.search(names, name))] += int(size, 16)
    return found


def measure():
    """All of it: {section: {driver: {row: figure, or figures by name}}}."""
    found = {"operations": {}, "pipe": {}, "turn": {}, "lost": {}, "loading": {}, "sizes": {}, "cpus": {}}
    guest, costs = boot("one", 1)
    with guest:
        found["pipe"]["dummy"] = two_switches(costs, "dummy")
        found["turn"] = {event: turn(costs, event) for event in ("none", "dummy")}
        for driver in DRIVERS:
            file = "unsigned" if driver == "c" else driver
            loading(guest, costs, file)   # what only happens once is not counted for the one that is first
            found["loading"][driver] = loading(guest, costs, file)
        for driver in DRIVERS:
            costs.load(driver)
            print(f"{driver}: operations", flush=True)
            found["operations"][driver] = operations(costs, driver)
            print(f"{driver}: full buffers", flush=True)
            found["lost"][driver] = lost(costs)
            print(f"{driver}: perf bench sched pipe", flush=True)
            found["pipe"][driver] = two_switches(costs, "spe")
            found["turn"][driver] = turn(costs, "spe")
            costs.unload()
    for cpus in CPUS:
        guest, costs = boot(f"cpus{cpus}", cpus)
        with guest:
            for driver in DRIVERS:
                print(f"{driver}: {cpus} CPUs", flush=True)
                costs.load(driver)
                calls, _, _ = costs.run("cost wide 20 16")
                found["cpus"].setdefault(driver, {})[cpus] = {
                    name: cost.average(calls[name])._asdict() for name in ("add", "irq", "del")}
                costs.unload()
    with tempfile.TemporaryDirectory() as directory:
        theirs = Path(directory, "arm_spe_pmu_c.ko")
        theirs.write_bytes(STOCK.module("arm_spe_pmu"))
        found["sizes"] = {"c": sizes(theirs), "rust": sizes(STOCK.rust_module)}
        found["purposes"] = {"c": purposes(theirs), "rust": purposes(STOCK.rust_module)}
    return found


def ratio(ours, theirs):
    """For a table."""
    return f"{ours / theirs:.2f}" if theirs else "-"


def floor(name, what, drivers):
    """What no driver can do without: what the architecture asks for, and the rest of the kernel at its least."""
    asked = FLOOR.get(name, {})
    if what == "kernel":
        return sum(asked.values()) + min(driver[name]["kernel"] - driver[name]["module"] for driver in drivers if name in driver)
    return sum(asked.values()) if what == "module" and asked else asked.get(what)


def shown(figure):
    """For a table."""
    return "-" if figure is None else f"{figure:.6g}"


def tables(found):
    """Everything in Markdown, as lines."""
    theirs, ours = (found["operations"][driver] for driver in DRIVERS)
    yield "| operation | count | this driver | C driver | ratio | floor |\n| --- | --- | --- | --- | --- | --- |"
    for name, values in ours.items():
        for what, value in values.items():
            other = theirs.get(name, {}).get(what)
            if value or other:
                yield (f"| {name} | {what} | {shown(value)} | {shown(other)} | {ratio(value, other)} |"
                       f" {shown(floor(name, what, (ours, theirs)))} |")
    yield ""
    yield "| what | this driver | C driver | ratio | floor |\n| --- | --- | --- | --- | --- |"
    pipe = found["pipe"]
    yield (f"| instructions of perf when a task comes to a CPU, and leaves it | {pipe['rust']} |"
           f" {pipe['c']} | {ratio(pipe['rust'], pipe['c'])} | {pipe['dummy']}: an event of which perf itself does all |")
    none, dummy, *turns = (found["turn"][which] for which in ("none", "dummy", "rust", "c"))
    above = [turn - none for turn in turns]
    yield (f"| kernel instructions of a turn of the pipe above the {shown(none)} without an event | {shown(above[0])} |"
           f" {shown(above[1])} | {ratio(*above)} | {shown(dummy - none)}: the same |")
    for size, share in found["lost"]["rust"].items():
        other = found["lost"]["c"][size]
        yield f"| share of operations during which a full buffer of {size} waits | {share:.2%} | {other:.2%} | {ratio(share, other)} | |"
    for section, size in found["sizes"]["rust"].items():
        other = found["sizes"]["c"][section]
        yield f"| bytes of `{section}` | {size} | {other} | {ratio(size, other)} | |"
    loaded = found["loading"]
    yield f"| kernel instructions to load and probe | {loaded['rust']} | {loaded['c']} | {ratio(loaded['rust'], loaded['c'])} | |"
    yield ""
    yield "| bytes of functions for | this driver | C driver |\n| --- | --- | --- |"
    for purpose, size in found["purposes"]["rust"].items():
        yield f"| {purpose} | {size} | {found['purposes']['c'][purpose]} |"
    yield ""
    yield "| system-wide, on CPUs | operation | module | kernel | C driver: module | kernel |\n| --- | --- | --- | --- | --- | --- |"
    for cpus, calls in found["cpus"]["rust"].items():
        for name, call in calls.items():
            other = found["cpus"]["c"][cpus][name]
            yield (f"| {cpus} | {name} | {call['module']:.6g} | {call['kernel']:.6g} |"
                   f" {other['module']:.6g} | {other['kernel']:.6g} |")


def plot(found):
    """The ratios, as bars, from the top down as in the table."""
    theirs, ours = (found["operations"][driver] for driver in DRIVERS)
    chart = pygal.HorizontalBar(title="instructions of this driver / of the C driver", width=900, height=700,
                                legend_at_bottom=True, truncate_legend=-1, print_values=True, formatter="{:.2f}".format)
    rows = [name for name in ours if name in theirs and name != "gap"]
    chart.x_labels = (rows + ["gap", "two switches"])[::-1]
    gap = ours["gap"]["written"] / theirs["gap"]["written"]
    switch = found["pipe"]["rust"] / found["pipe"]["c"]
    for what, extra in (("kernel", [gap, switch]), ("module", [None, None])):
        ratios = [ours[name][what] / theirs[name][what] for name in rows] + extra
        chart.add(f"in the {what}", ratios[::-1])
    return chart


def main():
    """Measure, and write it down."""
    shutil.rmtree(OUT, ignore_errors=True)
    found = measure()
    text = "\n".join(tables(found)) + "\n"
    (OUT / "bench.json").write_text(json.dumps(found, indent="\t") + "\n")
    (OUT / "bench.md").write_text(text)
    plot(found).render_to_file(str(OUT / "bench.svg"))
    print(text)


if __name__ == "__main__":
    main()
