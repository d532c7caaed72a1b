# SPDX-License-Identifier: GPL-2.0
"""The table of docs/comparison.md, made from the runs: what each driver does in each situation.

`make table` runs the situations and then this, which writes the table between the two markers.
"""

import json
import re

from paths import TOP

PAGE = TOP / "docs" / "comparison.md"
VERDICTS = TOP / "build" / "verdicts.json"

#: The drivers, in the order of the columns.
COLUMNS = ("this driver", "C driver", "C driver of 6.18.12")

BETWEEN = re.compile(r"(<!-- table: .*? -->\n)(.*?)(<!-- end of table -->\n)", re.DOTALL)


def render(verdicts):
    """Returns the table of verdicts ({column: {situation: verdict}})."""
    lines = ["| situation | " + " | ".join(COLUMNS) + " |", "| --- |" + " --- |" * len(COLUMNS)]
    for situation in verdicts[COLUMNS[0]]:
        cells = [verdicts[column][situation] for column in COLUMNS]
        lines.append(f"| {situation} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def on_the_page():
    """Returns the verdicts on the page, in the form of render()'s argument."""
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")]
            for line in BETWEEN.search(PAGE.read_text())[2].splitlines()]
    columns = rows[0][1:]
    return {column: {row[0]: row[number] for row in rows[2:]}
            for number, column in enumerate(columns, 1)}


def write():
    """Writes the table."""
    verdicts = json.loads(VERDICTS.read_text()) if VERDICTS.exists() else {}
    missing = [column for column in COLUMNS if column not in verdicts]
    if missing:
        raise SystemExit(f"error: no verdicts on {', '.join(missing)}: docs/comparison.md keeps its table")
    text, found = BETWEEN.subn(lambda match: match[1] + render(verdicts) + match[3], PAGE.read_text())
    assert found == 1
    PAGE.write_text(text)
