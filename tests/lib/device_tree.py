# SPDX-License-Identifier: GPL-2.0
"""Device trees made from that of the machine by editing its source."""

import os
import re
import subprocess
from pathlib import Path

from guest import QEMU, Guest, qemu_arguments
from kernel import STOCK

DTC = Path(os.environ["ARM_SPE_KERNEL"], "scripts", "dtc", "dtc")

#: The interrupt of the unit: PPI 5, level.
PPI = "<0x01 0x05 0x04>"


def edited(directory, edit, smp=2, memory="2G", machine=""):
    """Returns the QEMU arguments for the machine with a device tree whose source went through edit().

    machine: more options of -M.
    """
    blob = Path(directory, "machine.dtb")
    arguments = qemu_arguments(STOCK, "none", f"{Guest.CPU},{Guest.SPE}", smp, memory, "")
    arguments[arguments.index("-M") + 1] += f"{machine},dumpdtb={blob}"
    subprocess.run([QEMU / "qemu-system-aarch64", *arguments[:arguments.index("-kernel")]], check=True)
    source = subprocess.run([DTC, "-q", "-I", "dtb", "-O", "dts", blob],
                            check=True, stdout=subprocess.PIPE, text=True).stdout
    changed = edit(source)
    assert changed != source
    subprocess.run([DTC, "-q", "-I", "dts", "-O", "dtb", "-o", blob], check=True, input=changed, text=True)
    return "-dtb", str(blob)


def replace(old, new):
    """Returns an edit of one place."""
    def edit(source):
        assert source.count(old) == 1, f"{source.count(old)} times {old}"
        return source.replace(old, new)
    return edit


def idle_states(power_state):
    """Returns an edit that gives each CPU an idle state, entered by CPU_SUSPEND with that power_state, as soon as it can be."""
    def edit(source):
        source = re.sub(r"(\bcpu@\w+ \{)", r"\1 cpu-idle-states = <&idle_state>;", source)
        return re.sub(r"(?=\bcpu@0 \{)", f"""idle-states {{
            entry-method = "psci";
            idle_state: idle-state {{
                compatible = "arm,idle-state";
                arm,psci-suspend-param = <{power_state:#x}>;
                entry-latency-us = <1>;
                exit-latency-us = <1>;
                min-residency-us = <1>;
            }};
        }};
        """, source)
    return edit


def _with_fourth_cell(cells, size, match):
    """Returns the property with a zero after each group of size cells."""
    values = match[cells].split()
    assert len(values) % size == 0
    groups = (values[at:at + size] for at in range(0, len(values), size))
    return f"{match[1]}<{' '.join(' '.join([*group, '0']) for group in groups)}>"


def one_unit_per_cpu(source):
    """Makes two devices, each of one CPU: the interrupt is partitioned, as where CPUs are not alike."""
    source = re.sub(r"(\binterrupts = )<([^>]*)>", lambda match: _with_fourth_cell(2, 3, match), source)
    source = re.sub(r"(\binterrupt-map = )<([^>]*)>", lambda match: _with_fourth_cell(2, 10, match), source)
    source = replace("#interrupt-cells = <0x03>;", """#interrupt-cells = <0x04>;
        ppi-partitions {
            part0: interrupt-partition-0 { affinity = <&{/cpus/cpu@0}>; };
            part1: interrupt-partition-1 { affinity = <&{/cpus/cpu@1}>; };
        };""")(source)
    (unit,) = re.findall(r"\bspe-pmu \{.*?\};", source, re.DOTALL)
    both = "\n".join(re.sub(r"<.*>", f"<1 5 4 &part{cpu}>", unit).replace("spe-pmu {", f"spe-pmu-{cpu} {{")
                     for cpu in (0, 1))
    return source.replace(unit, both)
