# SPDX-License-Identifier: GPL-2.0
"""The example of docs/programs.md records, and continues after its buffer was full."""

import re
import subprocess

from paths import TOP

PAGE = TOP / "docs" / "programs.md"
#: Bytes, as in the example; and the size of the emulated unit's records.
AUX_SIZE, RECORD = 262144, 64


def test_the_example(guest, artefacts, show):
    (source,) = re.findall(r"^```c\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    file = artefacts / "example.c"
    file.write_text(source)
    subprocess.run(["aarch64-linux-gnu-gcc", "-O2", "-static", "-Wall", "-Wextra", "-Werror",
                    "-o", file.with_suffix(""), file], check=True)
    guest.put({"usr/bin/example": file.with_suffix("")})
    said = guest.sh("example 2>&1 >/tmp/trace")
    show(said)
    size, truncated = map(int, re.fullmatch(r"(\d+) bytes, truncated (\d+) times", said).groups())
    trace = guest.fetch("/tmp/trace").read_bytes()
    # Without enabling the event again, there would be no more than fits into the buffer.
    assert truncated > 1 and 2 * AUX_SIZE < size == len(trace)
    assert all(trace[at] for at in range(0, RECORD * 100, RECORD))
