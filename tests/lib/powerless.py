# SPDX-License-Identifier: GPL-2.0
"""The module powerless.c, with which a CPU loses the registers of its unit."""

import os
import shutil
import subprocess

from paths import TOP

NAP = "/sys/module/powerless/parameters/naps"


def built(directory):
    """Builds the module for the stock kernel. Returns it."""
    shutil.copytree(TOP / "tests/payload/modules", directory / "modules")
    subprocess.run([TOP / "scripts/build-module", "-s", "modules"], cwd=directory / "modules", check=True,
                   env={**os.environ, "OUT": str(directory / "build")})
    return directory / "build/powerless.ko"
