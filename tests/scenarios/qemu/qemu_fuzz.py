# SPDX-License-Identifier: GPL-2.0
"""Random register values and injections for half a minute neither end QEMU nor make it write elsewhere.

`make qemu-fuzz` does the same for any time, with sanitizers in QEMU.
"""

import os
import sys
from pathlib import Path

from paths import TOP

sys.path.insert(0, str(TOP / "tests/qemu"))


def test_fuzz(artefacts, show):
    import fuzz  # pylint: disable=import-outside-toplevel

    total = fuzz.fuzz(Path(os.environ["ARM_SPE_QEMU"]), 30, 1, artefacts / "run", say=lambda *_, **__: None)
    show("\n    " + ", ".join(f"{count} {what}" for what, count in total.items() if what != "milliseconds"))
    assert total["runs"] > 2 and total["records"] and total["injections"] and total["events"]
