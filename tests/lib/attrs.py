# SPDX-License-Identifier: GPL-2.0
"""The events that progs/attrs.c opens, its output for each, and the unit's registers while they sample."""


def open_all(guest, events):
    """Opens the events. Returns for each the program's words and the registers at each start of sampling."""
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
    """Returns the registers at each start of sampling, by the number of the event: see progs/attrs.c for the mark."""
    begun = {}
    cpus = {}
    for cpu, register, value in accesses:
        registers = cpus.setdefault(cpu, {})
        registers[register] = value
        # Every start writes PMSFCR_EL1, and PMSCR_EL1 last.
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
    """Returns the registers without the buffer's addresses, but with the space in it."""
    kept = dict(registers)
    limit, pointer = kept.pop("PMBLIMITR_EL1"), kept.pop("PMBPTR_EL1", 0)
    kept.pop("PMBSR_EL1", None)
    kept["PMBLIMITR_EL1 flags"] = limit & 0xfff
    kept["space"] = (limit & ~0xfff) - pointer if limit >> 12 else None
    return kept
