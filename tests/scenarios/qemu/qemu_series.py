# SPDX-License-Identifier: GPL-2.0
"""FEAT_SPE is a series of patches for the distribution's QEMU, and a tool says which of them apply to other sources."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from paths import TOP

HERE = TOP / "tests/qemu"
#: The distribution's version of the files that the patches change.
SOURCE = Path(os.environ["ARM_SPE_QEMU_TOUCHED"])
#: The places of the files that are not kept as patches.
FILES = {"arm-spe.h": "target/arm/arm-spe.h", "arm-spe.c": "target/arm/tcg/arm-spe.c",
         "docs/spe.rst": "docs/system/arm/spe.rst"}


def run(*command, **options):
    """Runs a command. Returns its status and its output lines."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    return done.returncode, done.stdout.splitlines()


def applies(source):
    """Runs the tool. Returns its status, {(file, place): outcome}, and its last line."""
    status, lines = run(HERE / "applies", source)
    return status, {tuple(line.split(": ")[:2]): line.split(": ", 2)[2] for line in lines[:-1]}, lines[-1]


@pytest.fixture
def source(artefacts):
    """Returns a copy of the source, to be changed."""
    return Path(shutil.copytree(SOURCE, artefacts / "source"))


def alter(file, old, new):
    """Replaces a text that occurs once."""
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def test_series(artefacts, source):
    """The patches are complete, each with a message, and git am results in the files that are kept here."""
    status, patches = run(HERE / "series", artefacts / "series")
    assert status == 0, patches
    assert len(patches) == 1 + len(list((HERE / "patches").glob("*.patch")))
    for number, patch in enumerate(patches, 1):
        header, _, diff = Path(patch).read_text().partition("\n---\n")
        assert f"\nSubject: [PATCH {number}/{len(patches)}] " in header and "\ndiff --git " in diff
        assert header.split("\n\n", 1)[1].strip()
        assert "Signed-off-by" not in header
    commit = ["git", "-c", "user.name=Tester", "-c", "user.email=tester@localhost"]
    for command in (["git", "init", "-q"], ["git", "add", "-f", "."], [*commit, "commit", "-q", "-m", "pristine"],
                    [*commit, "am", *patches]):
        status, said = run(*command, cwd=source)
        assert status == 0, said
    for name, place in FILES.items():
        assert (source / place).read_text() == (HERE / name).read_text()


def test_series_is_checked(artefacts):
    """Bad style is refused."""
    copy = Path(shutil.copytree(HERE, artefacts / "qemu"))
    alter(copy / "arm-spe.h", "struct ArchCPU;\n", "struct ArchCPU;\nint spe_bad(char* name);\n")
    status, said = run(copy / "series", artefacts / "series")
    assert status == 1 and "checkpatch.pl on 0001-" in said[0] and '"foo* bar" should be' in said[0], said


def test_series_for_another_source(artefacts, source):
    alter(source / "hw/arm/virt-acpi-build.c", '.sig = "APIC", .rev = 4', '.sig = "APIC", .rev = 7')
    status, said = run(HERE / "series", artefacts / "series", source)
    assert status == 1 and len(said) == 1, said
    assert re.search(r"virt-acpi-build.*\.patch does not apply to QEMU \d.*tests/qemu/applies", said[0])


def test_applies():
    status, outcomes, last = applies(SOURCE)
    assert status == 0
    assert len(outcomes) > 30 and set(outcomes.values()) == {"applies cleanly"}
    assert re.fullmatch(r"QEMU \d\S+: (\d+) of \1 apply", last)


def test_one_line_altered(source):
    """Only the hunk that fails is named."""
    file = source / "hw/arm/virt-acpi-build.c"
    alter(file, '.sig = "APIC", .rev = 4', '.sig = "APIC", .rev = 7')
    before = file.read_text()
    status, lines = run(HERE / "applies", source)
    assert status == 1
    assert [line for line in lines if "fails" in line] == ["hw/arm/virt-acpi-build.c: build_madt(): fails"]
    assert file.read_text() == before and not list(source.rglob("*.rej")) and not list(source.rglob("*.orig"))


def test_lines_moved(source):
    file = source / "hw/arm/virt.c"
    file.write_text("\n" * 7 + file.read_text())
    status, outcomes, _ = applies(source)
    assert status == 0
    moved = {outcome for (name, _), outcome in outcomes.items() if name == "hw/arm/virt.c"}
    assert moved == {"applies (offset 7 lines)"}


def test_neighbour_altered(source):
    alter(source / "include/hw/arm/bsa.h", "/* These are architectural INTID values */", "/* INTIDs */")
    status, outcomes, _ = applies(source)
    assert status == 0
    assert {name for (name, _), outcome in outcomes.items() if outcome == "applies with fuzz 1"} == {"include/hw/arm/bsa.h"}


def test_file_gone(source):
    (source / "target/arm/tcg/hflags.c").unlink()
    status, outcomes, _ = applies(source)
    assert status == 1
    assert {name: outcome for (name, _), outcome in outcomes.items() if "fails" in outcome} == {
        "target/arm/tcg/hflags.c": "fails: there is no such file"}


def test_model_is_there_already(source):
    shutil.copy(HERE / "arm-spe.c", source / FILES["arm-spe.c"])
    status, outcomes, _ = applies(source)
    assert status == 1
    assert outcomes[FILES["arm-spe.c"], "new file"] == "fails: it is there already"


@pytest.mark.parametrize("tool", [("applies",), ("series", "out")])
def test_not_a_source_tree(artefacts, tool):
    name, *arguments = tool
    status, lines = run(HERE / name, *arguments, artefacts, cwd=artefacts)
    assert status != 0 and len(lines) == 1
    assert lines[0].startswith(f"tests/qemu/{name}: ") and f"{artefacts}" in lines[0]
    assert lines[0].endswith(" is not a QEMU source tree")
