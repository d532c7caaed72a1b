# SPDX-License-Identifier: GPL-2.0
"""What tools/spe-doctor has said."""

from collections import namedtuple

#: The doctor's exit status, the text of each check by mark and subject, and the last line.
Diagnosis = namedtuple("Diagnosis", "status texts verdict")


def diagnosis(status, output):
    """Parses the doctor's output, which has to fit on a screen."""
    lines = output.strip().splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80, output
    texts = {}
    for line in lines[1:-1]:
        if line[0] != " ":
            mark, subject = line.split()[:2]
            assert mark in ("ok", "note", "unknown", "PROBLEM"), output
            line = line.split(None, 2)[2]
        texts[mark, subject] = f"{texts.get((mark, subject), '')} {line.strip()}".strip()
    assert status == any(mark == "PROBLEM" for mark, _ in texts), output
    return Diagnosis(status, texts, lines[-1])


def problems(found):
    """Returns the subjects of the problems."""
    return {subject for mark, subject in found.texts if mark == "PROBLEM"}
