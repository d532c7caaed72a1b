# SPDX-License-Identifier: GPL-2.0
"""The report of tools/board-test: what is read from the machine, what is removed from it, and its text.

Only what is named here is read: no serial numbers, no UUIDs, no names of hosts or users, no addresses.
"""

import ipaddress
import os
import platform
import pwd
import re
import socket
import subprocess
from pathlib import Path

from paths import TOP

CPUS = Path("/sys/devices/system/cpu")
FIRMWARE = Path("/sys/class/dmi/id")
DMI = ("sys_vendor", "product_name", "product_version", "board_vendor", "board_name")
BIOS = ("bios_vendor", "bios_version", "bios_release", "bios_date")
#: What is written where there is no number or name, in lower case.
PLACEHOLDERS = ("none", "unknown", "default", "default string", "not specified", "not available", "not applicable", "n/a", "na", "null",
                "empty", "no asset tag", "no asset information", "to be filled by o.e.m.", "localhost", "00:00:00:00:00:00")
#: The arguments of the kernel that matter here.
ARGUMENTS = re.compile(r"^(kpti|nokaslr|mitigations|nospectre\w*|isolcpus|nohz_full|maxcpus|nr_cpus|arm64\.\w+|id_aa64\w+\.\w+"
                       r"|irqchip\.\w+|module\.sig_enforce|lockdown|threadirqs|preempt|cpuidle\.off|kvm-arm\.mode)(=|$)")
#: Messages of the kernel that matter here.
MESSAGES = re.compile(r"psci: .*(PSCI|SMC)|SMCCC:|started at EL\d|page table isolation|ACPI: SPE|arm,spe-v1|^arm_spe_pmu[: ]|GICv\d: .*PPI")


def read(*path):
    """Returns the text of a file, "" if there is none."""
    try:
        return Path(*path).read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def output(*command, **options):
    """Returns the output of a command, "" if it cannot be run."""
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=120, check=False, **options).stdout.decode(errors="replace").strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def contract(numbers):
    """Returns a list of CPUs like 0-2,5."""
    ranges = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def identification():
    """Returns the ID registers that the kernel shows, by the CPUs that have them."""
    cpus = {}
    for directory in CPUS.glob("cpu[0-9]*/regs/identification"):
        registers = tuple((file.name, read(file)) for file in sorted(directory.iterdir()))
        cpus.setdefault(registers, []).append(int(directory.parts[-3].removeprefix("cpu")))
    return {contract(numbers): dict(registers) for registers, numbers in sorted(cpus.items(), key=lambda item: item[1])}


def commit():
    """Returns the name of the commit that is checked out."""
    # As the owner of the checkout: it writes .git/index where that is not up to date.
    owner = TOP.stat()
    return output("git", "-c", "safe.directory=*", "-C", str(TOP), "describe", "--always", "--dirty",
                  user=owner.st_uid, group=owner.st_gid, extra_groups=[], env={**os.environ, "HOME": "/"})


def facts():
    """Returns what is known of the machine before anything is done."""
    return {
        "project": {"version": "".join(re.findall(r'^PACKAGE_VERSION="(.*)"', read(TOP, "dkms.conf"), re.MULTILINE)),
                    "commit": commit()},
        "machine": {
            **{name: read(FIRMWARE, name) for name in DMI},
            "device tree": read("/proc/device-tree/model"), "compatible": read("/proc/device-tree/compatible"),
            **{f"SoC {name}": read("/sys/devices/soc0", name) for name in ("family", "soc_id", "revision")},
            "CPUs online": read(CPUS, "online"), "ID registers": identification(),
        },
        "firmware": {
            **{name: read(FIRMWARE, name) for name in BIOS},
            "tables": "ACPI" if Path("/sys/firmware/acpi/tables").exists() else "device tree",
            "UEFI": "yes" if Path("/sys/firmware/efi").exists() else "no",
        },
        "kernel": {
            "release": platform.release(), "build": platform.version(), "page size": os.sysconf("SC_PAGE_SIZE"),
            "arguments": " ".join(filter(ARGUMENTS.match, read("/proc/cmdline").split())),
            "lockdown": read("/sys/kernel/security/lockdown"), "meltdown": read(CPUS, "vulnerabilities/meltdown"),
            "distribution": "".join(re.findall(r'^PRETTY_NAME="?(.*?)"?$', read("/etc/os-release"), re.MULTILINE)),
            "perf": output("perf", "--version"),
            "messages": [line for line in re.sub(r"^(\[[^]]*\] ?)*", "", output("dmesg"), flags=re.MULTILINE).splitlines()
                         if MESSAGES.search(line)][:50],
        },
        # Its first line has the name of the user.
        "doctor": output("sh", TOP / "tools/spe-doctor").splitlines()[1:],
    }


def users():
    """Returns the people who have an account here, as far as they can be listed, and who runs this."""
    found = [user for user in pwd.getpwall() if 1000 <= user.pw_uid < 60000]
    # Those of LDAP or sssd are in no list, but can be asked for.
    login = read("/proc/self/loginuid")
    for find, key in (pwd.getpwnam, os.environ.get("SUDO_USER", "root")), (pwd.getpwuid, int(login or 0)), (pwd.getpwuid, TOP.stat().st_uid):
        try:
            found.append(find(key))
        except (KeyError, OverflowError):
            pass
    return [user for user in found if user.pw_uid]


def identity():
    """Returns the texts that say which distribution and machine this is."""
    return "\n".join([read("/etc/os-release"), read("/proc/device-tree/model"), read("/proc/device-tree/compatible"),
                      *(read(FIRMWARE, name) for name in DMI + BIOS)])


def names():
    """Returns what names this machine, its users, or its place in a network: {text: what is written in its place}."""
    found = {str(TOP): "(checkout)"}
    for user in users():
        found[user.pw_dir] = "(home)"
        found[user.pw_name] = "(user)"
        found.update(dict.fromkeys(user.pw_gecos.split(","), "(user)"))
    host = socket.gethostname()
    found.update(dict.fromkeys([host, host.partition(".")[0], read("/etc/hostname")], "(host)"))
    numbers = [file for kind in ("*serial*", "*uuid*", "*asset_tag*") for file in FIRMWARE.glob(kind)]
    for file in (*numbers, "/etc/machine-id", "/proc/device-tree/serial-number", "/sys/devices/soc0/serial_number"):
        found[read(file)] = "(serial number)"
    for file in Path("/sys/class/net").glob("*/address"):
        found[read(file)] = "(address)"
    for address in re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", read("/proc/net/fib_trie")):
        if not address.startswith(("0.", "127.")):
            found[address] = "(address)"
    for address in re.findall(r"^[0-9a-f]{32}", read("/proc/net/if_inet6"), re.MULTILINE):
        found[str(ipaddress.IPv6Address(int(address, 16)))] = "(address)"
    told = identity()

    def is_name(text, kind):
        # A letter alone, a directory /, zeros.
        if len(text) < 2 or not re.search(r"[^\W0_]", text) or text.lower() in PLACEHOLDERS:
            return False
        # Images have a user who is called like the distribution or the board; a cloud gives its own name as a number.
        if kind in ("(user)", "(host)"):
            return not re.search(rf"(?<!\w){re.escape(text)}(?!\w)", told, re.IGNORECASE)
        return text not in told.splitlines()

    return {text: kind for text, kind in found.items() if is_name(text, kind)}


def without_names(report):
    """Returns the report without these. They could be in the texts of failures, and in what firmware says."""
    found = names()
    # The longest first: a name is a part of its directory. A short one could be a part of any word.
    pattern = re.compile("|".join(re.escape(text) if len(text) > 5 else rf"(?<!\w){re.escape(text)}(?!\w)"
                                  for text in sorted(found, key=len, reverse=True)))

    def clean(value):
        if isinstance(value, dict):
            return {name: clean(item) for name, item in value.items()}
        if isinstance(value, list):
            return [clean(item) for item in value]
        return pattern.sub(lambda match: found[match[0]], value) if isinstance(value, str) else value

    return clean(report)


def lines(value, depth=1):
    """Returns the lines of a part of the report. What is empty has none."""
    indent = "  " * depth
    if isinstance(value, dict):
        made = []
        for name, item in value.items():
            if isinstance(item, (dict, list)) and item:
                made += [f"{indent}{name}", *lines(item, depth + 1)]
            elif item not in ("", None, {}, []):
                made.append(f"{indent}{name:{max(20 - 2 * depth, 1)}} {item}")
        return made
    if isinstance(value, list):
        return [f"{indent}{item}" for item in value]
    return [f"{indent}{line}" for line in str(value).splitlines()]


def driver_lines(drivers):
    """Returns what each driver says."""
    made = []
    for driver, facts_of_it in drivers.items():
        made += [f"  {driver}", *lines(facts_of_it["messages"] + facts_of_it["interrupts"], 2)]
        for name, pmu in facts_of_it["pmus"].items():
            caps = " ".join(f"{cap}={value}" for cap, value in pmu["caps"].items())
            made += [f"    {name} on CPUs {pmu['cpumask']}", f"      caps: {caps}", f"      format: {' '.join(pmu['format'])}"]
    return made


def scenario_lines(results):
    """Returns a line for each driver, a table of the tests, and why some failed or were skipped."""
    made = []
    for driver, result in results.items():
        counts = {kind: sum(test["result"] == kind for test in result["tests"].values()) for kind in ("passed", "failed", "skipped")}
        made.append(f"  {driver:5} " + ", ".join(f"{count} {kind}" for kind, count in counts.items()) + f", {result['seconds']} s"
                    + (f"; not complete: {result['ended']}" if "ended" in result else ""))
    tests = list(dict.fromkeys(name for result in results.values() for name in result["tests"]))
    if tests:
        made.append(f"\n  {'':50}" + "".join(f"{driver:>9}" for driver in results))
    for name in tests:
        made.append(f"  {name:50}" + "".join(f"{result['tests'].get(name, {}).get('result', '-'):>9}" for result in results.values()))
    for driver, result in results.items():
        for name, test in result["tests"].items():
            if "text" in test:
                made += ["", f"  {driver}, {name}: {test['result']}", *lines(test["text"], 2)]
    return made


def cost_lines(costs):
    """Returns the table of the costs."""
    if not costs:
        return []
    return [f"  {'cycles of the kernel':44} {'rust':>10} {'c':>10}",
            *(f"  {row['what']:44} {row['rust']:10} {row['c']:10}" for row in costs["rows"]),
            "  with " + " ".join(f"{name}={value}" for name, value in costs["variables"].items())]


def text(report):
    """Returns the report as text."""
    parts = [[f"Report of arm-spe-pmu's tests on a machine with SPE, {report['date']}: {report['outcome']}"]]
    for title, part in (
            ("project", lines(report["project"])), ("machine", lines(report["machine"])), ("firmware", lines(report["firmware"])),
            ("kernel", lines(report["kernel"])), ("spe-doctor, before", lines(report["doctor"])), ("drivers", driver_lines(report["drivers"])),
            ("scenarios", scenario_lines(report["results"])), ("costs", cost_lines(report["costs"])),
            ("not done", lines(report["skipped"]))):
        if part:
            parts.append([title, *part])
    return "\n\n".join("\n".join(part) for part in parts) + "\n"
