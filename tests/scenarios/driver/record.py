# SPDX-License-Identifier: GPL-2.0
"""The driver's decoder of records agrees with perf's, for recorded trace, for a corpus and for random bytes.

perf's decoder is compiled from the kernel's source as it is (tests/host/perf_records.c). Both fill the struct of
arm_spe_record.h, and all bytes of it are compared. perf does otherwise in these cases, which are counted:

unknown: perf reads on at the next byte after a header that it does not know. Those that have a size are skipped by it.
reserved: perf takes the two reserved indices of a Context packet for levels, and gives up on a record that has the
    reserved class of operations. The driver skips the first, and passes the second on.
extended: perf fills the top byte of a code address if NS is set and the level is 1 or 2, and that of a data address if
    bits 55 to 52 are set. In the architecture, bit 55 decides in both cases: it selects the half of the address space.
needs_more: perf wants to see as many bytes after an Alignment packet as its boundary is a multiple of.

None of them occurs in recorded trace. After bytes that are no packet perf tries the next byte, and the driver the next
place where a record may begin; perf does not know the alignment.
"""

import os
import random
import re
import struct
import subprocess
from pathlib import Path

import pytest

from paths import TOP

HOST = TOP / "tests/host"
#: A kind, the next position, and struct arm_spe_record.
RESULT = 16 + 96
MALFORMED, _, END = range(3)
#: PERF_RECORD_AUXTRACE
AUXTRACE = 71
DIFFERENCES = "unknown", "reserved", "extended", "needs_more"

#: Every kind of packet.
SPE = ("spe=on,spe-version=1.5,spe-cache=on,spe-prev-branch=on,spe-load-source=on,"
       "spe-max-record-size=128,spe-count-size=16")


@pytest.fixture(scope="module")
def decoders(tmp_path_factory):
    """The two programs, the driver's first."""
    ours, perfs = (tmp_path_factory.mktemp("decoders") / name for name in ("driver", "perf"))
    # As in a test, without the kernel's macros.
    subprocess.run(["rustc", "--edition=2021", "-Copt-level=2", "-Coverflow-checks", "--cfg=test",
                    "-Aexplicit-builtin-cfgs-in-flags", "-o", ours, HOST / "src/print_records.rs"], check=True)
    kernel = Path(os.environ["ARM_SPE_KERNEL"])
    tools, source = kernel / "tools", kernel / "tools/perf/util/arm-spe-decoder"
    own = [f"-I{path}" for path in (source, tools / "perf/util", tools / "perf", tools / "include",
                                    tools / "arch/x86/include", tools / "include/uapi",
                                    tools / "arch/x86/include/uapi", tools / "lib/perf/include")]
    # perf has a table of Arm's CPUs, which names registers.
    arm = [f"-idirafter{path}" for path in (tools / "arch/arm64/include", kernel / "arch/arm64/include/generated")]
    subprocess.run(["gcc", "-O2", "-w", "-D_GNU_SOURCE", *own, *arm, "-o", perfs, HOST / "perf_records.c",
                    source / "arm-spe-decoder.c", source / "arm-spe-pkt-decoder.c"], check=True)
    return ours, perfs


def fields():
    """Returns the fields of the struct in the header, and the format of a result."""
    header = (TOP / "arm_spe_record.h").read_text()
    found = re.findall(r"^\tu(\d+) (\w+);", header, re.MULTILINE)
    return [name for _, name in found], "<QQ" + "".join({"64": "Q", "32": "I", "16": "H", "8": "B"}[bits]
                                                        for bits, _ in found)


def described(result):
    """Returns a result with the names of its fields."""
    names, form = fields()
    kind, at, *values = struct.unpack(form, result)
    return {"kind": kind, "at": at} | {name: hex(value) for name, value in zip(names, values) if value}


def compare(decoders, directory, pieces):
    """Decodes pieces of trace, each with its alignment, with both. Returns the records, what is malformed, and how
    often perf does otherwise."""
    pieces = list(pieces)
    trace = directory / "pieces"
    with trace.open("wb") as out:
        for align, piece in pieces:
            out.write(struct.pack("<II", len(piece), align) + piece)
    with trace.open("rb") as one, trace.open("rb") as other, \
            subprocess.Popen([decoders[0]], stdin=one, stdout=subprocess.PIPE) as ours, \
            subprocess.Popen([decoders[1]], stdin=other, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE) as perfs:
        counts, left, sums = [0, 0], iter(pieces), [0, 0]
        while True:
            # The same in both, so that whole blocks are compared.
            found, expected = (decoder.stdout.read(RESULT * 4096) for decoder in (ours, perfs))
            for start in range(0, max(len(found), len(expected)), RESULT):
                result = found[start:start + RESULT]
                if result != expected[start:start + RESULT]:
                    align, piece = next(left)
                    raise AssertionError(f"driver {described(result) if result else None}\n"
                                         f"perf {described(expected[start:start + RESULT]) if expected[start:] else None}\n"
                                         f"alignment {align}, {piece[:4096].hex(' ')}")
                kind = result[0]
                if kind != END:
                    counts[kind == MALFORMED] += 1
                    continue
                # count() and the number of records.
                _, at, whole, malformed = struct.unpack_from("<4Q", result)
                sums[0] += whole
                sums[1] += malformed
                assert at == len(next(left)[1]) and counts == sums
            if not found:
                break
        said = perfs.stderr.read().decode()
    assert ours.returncode == perfs.returncode == 0, said
    assert next(left, None) is None
    trace.unlink()
    differences = {name: int(number) for name, number in (line.split() for line in said.splitlines())}
    assert tuple(differences) == DIFFERENCES, said
    return *counts, differences


def recorded(data):
    """Yields the trace in a file of perf (AUXTRACE)."""
    file = data.read_bytes()
    offset, length = struct.unpack_from("<QQ", file, 40)
    end = offset + length
    while offset < end:
        kind, _, size = struct.unpack_from("<IHH", file, offset)
        offset += size
        if kind == AUXTRACE:
            more, = struct.unpack_from("<Q", file, offset - size + 8)
            yield file[offset:offset + more]
            offset += more


@pytest.mark.timeout(900)
@pytest.mark.parametrize("align, wanted, work", [(1, 20_000, 30), (64, 20_000, 30),
                                                 pytest.param(1, 1_000_000, 1900, marks=pytest.mark.long)])
def test_recorded(boot, driver, decoders, artefacts, show, align, wanted, work):
    """Mixed code in user space and in the kernel."""
    guest = boot(spe=f"{SPE},spe-align={align}")
    guest.load(driver)
    guest.sh("perf record -q -B -N -o /tmp/perf.data -m ,128M"
             f" -e arm_spe/period=256,jitter=1,ts_enable=1,pa_enable=1/ -- mixed {work}", timeout=400)
    data = guest.fetch("/tmp/perf.data", timeout=400)
    whole, malformed, differences = compare(decoders, artefacts, ((align, piece) for piece in recorded(data)))
    data.unlink()
    show(f"\n    {whole} records")
    assert whole >= wanted and malformed == 0
    assert not any(differences.values()), differences


def corpus():
    """Yields the alignment and the bytes of each line."""
    for line in (HOST / "corpus/records.txt").read_text().splitlines():
        if text := line.partition("#")[0]:
            align, _, piece = text.partition(":")
            yield int(align), bytes.fromhex(piece)


def test_corpus(decoders, artefacts):
    pieces = [(align, piece[:end]) for align, piece in corpus() for end in range(len(piece) + 1)]
    whole, malformed, differences = compare(decoders, artefacts, pieces)
    assert len(pieces) > 500 and whole > 100 and malformed > 300
    # The corpus has each of them.
    assert all(differences.values()), differences


def packet(rng):
    """Returns a packet, mostly one that there is, with any payload."""
    header = bytes([rng.choice([0x42, 0x52, 0x62, 0x72, 0x43, 0x53, 0x63, 0x73, 0x64, 0x65, 0x48, 0x49, 0x4a, 0xb0, 0xb1,
                                0xb2, 0xb3, 0xb4, 0x98, 0x99, 0x9a, 0x9b, 0x71, rng.randrange(256)])])
    if rng.random() < 0.1:
        header = bytes([0x20 + rng.randrange(4)]) + (header if rng.random() < 0.8 else b"\0")
    payload = bytearray(rng.randbytes(1 << (header[-1] >> 4 & 3)))
    # Addresses of programs and of kernels.
    if len(payload) == 8 and rng.random() < 0.5:
        payload[5:7] = rng.choice([b"\0\0", b"\xff\0", b"\0\xff", b"\x80\xff"])
    return header + payload


def random_trace(rng):
    """Returns trace: records of random packets, some damaged, and bytes that are not trace at all."""
    align = 1 << rng.randrange(12)
    if rng.random() < 0.3:
        return align, rng.randbytes(rng.randrange(300))
    trace = bytearray()
    for _ in range(rng.randrange(6)):
        trace += b"".join(packet(rng) for _ in range(rng.randrange(14))) + rng.choice([b"\1", b"\x71" + rng.randbytes(8)])
        trace += bytes(-len(trace) % align)
        if rng.random() < 0.2:
            trace[rng.randrange(len(trace))] = rng.randrange(256)
    return align, bytes(trace[:rng.randrange(len(trace) + 1)] if rng.random() < 0.3 else trace)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("wanted", [20_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_random(decoders, artefacts, show, wanted):
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    show(f"\n    seed {seed}")
    total = 0
    while total < wanted:
        whole, malformed, differences = compare(decoders, artefacts, (random_trace(rng) for _ in range(10_000)))
        total += whole
        assert malformed > 1000 and all(differences.values()), differences
    show(f"\n    {total} records")
