# SPDX-License-Identifier: GPL-2.0
"""Events that progs/attrs.c opens, what it says of each, and the registers while they sample."""


def open_all(guest, events):
    """Open the events; for each, what the program says and the registers at each begin of sampling."""
    lines = "".join(f"{number} {' '.join(f'{name}={value}' for name, value in event.items())}\n"
                    for number, event in enumerate(events))
    guest.sh(f"cat >/tmp/events <<'END'\n{lines}END\n")
    with guest.registers() as accesses:
        said = guest.sh("attrs </tmp/events", timeout=200)
    begun = begins(accesses)
    results = []
    for number, line in enumerate(said.splitlines()):
        first, *words = line.split()
        assert int(first) == number
        results.append((words, begun[number]))
    assert len(results) == len(events)
    return results


def begins(accesses):
    """The registers whenever sampling began, by the number of the event: see progs/attrs.c for the mark."""
    begun = {}
    cpus = {}
    for cpu, register, value in accesses:
        registers = cpus.setdefault(cpu, {})
        registers[register] = value
        # Every begin writes PMSFCR_EL1, and PMSCR_EL1 last.
        if register == "PMSCR_EL1" and registers.pop("began", False):
            if registers["PMSIRR_EL1"] >> 24 == 0xab:
                number = registers["PMSIRR_EL1"] >> 8 & 0xffff
                begun[number] = []
            else:
                begun[number].append(snapshot(registers))
        elif register == "PMSFCR_EL1":
            registers["began"] = True
    return begun


def snapshot(registers):
    """What counts of the registers: of the addresses, only how much room there is."""
    kept = dict(registers)
    limit, pointer = kept.pop("PMBLIMITR_EL1"), kept.pop("PMBPTR_EL1", 0)
    kept.pop("PMBSR_EL1", None)
    kept["PMBLIMITR_EL1 flags"] = limit & 0xfff
    kept["room"] = (limit & ~0xfff) - pointer if limit >> 12 else None
    return kept
