# SPDX-License-Identifier: GPL-2.0
"""The kernels that a guest can boot."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from paths import TOP


@dataclass(frozen=True)
class Kernel:
    """An arm64 kernel, and the drivers that were built for it."""

    release: str
    image: Path
    #: The directory of its own modules, the C driver among them.
    modules: Path
    #: This project's driver, if there is one for this kernel.
    rust_module: Path | None = None
    #: The same with its checks (`make DEBUG=1`), if there is one.
    checked_module: Path | None = None
    #: The limit for its boot, in seconds.
    boot_timeout: int = 120
    #: Its command line in any guest.
    append: str = ""

    @property
    def checked(self):
        """The name of the driver that checks itself, for Guest.load()."""
        return "checked" if self.checked_module else "rust"

    def module(self, name):
        """Returns one of its own modules, uncompressed."""
        (found,) = self.modules.rglob(f"{name}.ko*")
        if found.suffix == ".xz":
            return subprocess.run(["xz", "-dc", found], check=True, stdout=subprocess.PIPE).stdout
        return found.read_bytes()


#: The distribution's kernel.
STOCK = Kernel(
    release=os.environ["ARM_SPE_RELEASE"],
    image=Path(os.environ["ARM_SPE_STOCK"], "vmlinuz"),
    modules=Path(os.environ["ARM_SPE_STOCK"]),
    rust_module=TOP / "build" / os.environ["ARM_SPE_RELEASE"] / "arm_spe_pmu.ko",
    checked_module=TOP / "build" / (os.environ["ARM_SPE_RELEASE"] + "-checked") / "arm_spe_pmu.ko",
)

#: An older kernel of the distribution with its C driver, if the archive still had it.
OLDER = Kernel(
    release=os.environ["ARM_SPE_CONTROL_RELEASE"],
    image=Path(os.environ["ARM_SPE_CONTROL"], "vmlinuz"),
    modules=Path(os.environ["ARM_SPE_CONTROL"]),
) if "ARM_SPE_CONTROL" in os.environ else None


def unsigned(module):
    """Returns a module without its signature, if it has one."""
    magic = b"~Module signature appended~\n"
    if module.endswith(magic):
        length = int.from_bytes(module[-len(magic) - 4:-len(magic)], "big")
        module = module[:-len(magic) - 12 - length]
    return module


def renamed_stock_module():
    """Returns the C driver with another module name, as if built in: unsigned, as a signature would not match."""
    module = unsigned(STOCK.module("arm_spe_pmu"))
    modinfo = module.replace(b"\0name=arm_spe_pmu\0", b"\0name=arm_spe_own\0")
    # struct module's name field: the one other place where the name is followed by padding.
    field = b"arm_spe_pmu" + bytes(40)
    assert modinfo.count(field) == 1 and modinfo != module
    return modinfo.replace(field, b"arm_spe_own" + bytes(40))


#: The table of kernels: {name: (what tests/env/with makes, the build of the driver, the command line)}.
TABLE = {name: (thing, build, " ".join(append)) for name, thing, build, *append in (
    line.split() for line in (TOP / "tests/env/kernels").read_text().splitlines() if not line.startswith("#"))}


def named(name, suites=False):
    """Returns a kernel of tests/env/kernels with its driver: "stock" with both builds, others with the checked one.

    The KUnit suites, the kernel's and the driver's, run only with suites: one of the driver's makes mismatches.
    """
    thing, build, append = TABLE[name]
    if name == "stock":
        return STOCK
    directory = Path(os.environ[f"ARM_SPE_{thing.upper()}"])
    rust_module = TOP / "build" / build / "arm_spe_pmu.ko"
    if (directory / "stock").exists():
        return Kernel(release=(directory / "release").read_text().strip(), image=directory / "stock/vmlinuz",
                      modules=directory / "stock", rust_module=rust_module, append=append)
    return Kernel(
        release=(directory / "tree/include/config/kernel.release").read_text().strip(),
        image=directory / "Image",
        modules=directory / "modules",
        rust_module=rust_module,
        boot_timeout=600,
        append=" ".join(filter(None, [append, "" if suites else "kunit.enable=0"])),
    )
