# SPDX-License-Identifier: GPL-2.0
"""The driver's KUnit suites pass on the debug kernel. They run when the module is loaded."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from kernel import named
from traces import unload_without_loss

pytestmark = pytest.mark.kernel("debug")

SUITES = ["arm_spe_event", "arm_spe_caps", "arm_spe_buffer_limit", "arm_spe_state", "arm_spe_power",
          "arm_spe_syndrome", "arm_spe_record"]


def parsed(log):
    """Parses a console log with the kernel's kunit.py. Returns its exit status and its report."""
    kunit = Path(os.environ["ARM_SPE_KERNEL_DEBUG"], "tree/tools/testing/kunit/kunit.py")
    done = subprocess.run(["python3", kunit, "parse", log], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.timeout(1800)
def test_suites(boot, driver, artefacts, show):
    if driver == "c":
        pytest.skip("the C driver has no suites")
    guest = boot(kernel=named("debug", suites=True))
    guest.unaccounted = "the suites sample for themselves, and count elsewhere"
    # The kernel has suites of its own, which ran before.
    booted = guest.console.stat().st_size
    loaded, output = guest.run("insmod /usr/lib/drivers/rust/arm_spe_pmu.ko", timeout=600)
    log = artefacts / "kunit.log"
    log.write_bytes(guest.console.read_bytes()[booted:])
    status, report = parsed(log)
    show(f"\n{report}")
    assert loaded == 0, output
    # kunit.py fails if a test failed or crashed and if there was none, but not for a broken report.
    assert set(SUITES) <= set(re.findall(r"= (arm_spe_\w+) \(", report)), report
    assert status == 0 and not re.search(r"errors: \d+$", report), report
    # All mismatches are from the case that makes them on purpose.
    said = {case: output.count("Mismatch: ") for output, case in
            re.findall(r"(.*?)\bok \d+ (\w+)", log.read_text(errors="replace"), re.DOTALL)}
    assert {case for case in said if said[case]} == {"mismatches_are_seen"} and said["mismatches_are_seen"] > 6, said
    guest.excuse()
    unload_without_loss(guest)
