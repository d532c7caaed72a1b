# SPDX-License-Identifier: GPL-2.0
"""`make demo` profiles a workload with the driver, finds its hot function and leaves its files."""

import subprocess

from paths import TOP

DEMO = TOP / "tests/cli/demo"


def test_demo(artefacts):
    done = subprocess.run([DEMO, artefacts], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("demo: OK"), done.stdout
    for name in ("perf.data", "report.html", "report.txt", "script.txt", "raw.txt", "pipeline.txt", "console.log"):
        assert (artefacts / name).stat().st_size > 0, name
