# SPDX-License-Identifier: GPL-2.0
"""The instructions that a guest executed, compared with the records of an SPE trace.

The TCG plugin spe_trace (tests/qemu/plugin/) follows a run and predicts every sample. The disassembler of binutils
says what an instruction is.
"""

import re
import struct
import subprocess
import tempfile
from collections import Counter, namedtuple

from paths import TOP


#: Entry of the plugin's log, as in spe_trace.c.
ENTRY = struct.Struct("=IIQQQII QQII QQII")
SAMPLE, READ, EXECUTED = range(3)
EL1, EXCEPTION = 1, 2

#: The accesses of an operation: virtual and physical address of the first, their number and size.
Access = namedtuple("Access", "va pa accesses bytes")
#: An operation that is to be sampled, and its accesses.
Sample = namedtuple("Sample", "number pc next_pc word flags load store")

#: Addresses in packets have 56 bits.
ADDRESS = (1 << 56) - 1
#: The plugin's value for an access without a physical address.
NO_PA = (1 << 64) - 1


def build():
    """Builds the plugin. Returns its path."""
    subprocess.run(["make", "-s", "-C", TOP / "tests/qemu/plugin"], check=True)
    return TOP / "build/plugin/spe_trace.so"


class Log:
    """The plugin's log: samples and reads of the counter by CPU, and how often each instruction word was executed."""

    def __init__(self, path):
        self.samples = {}
        self.counts_read = {}
        self.executed = {}
        for kind, cpu, number, pc, next_pc, word, flags, *access in ENTRY.iter_unpack(path.read_bytes()):
            if kind == SAMPLE:
                self.samples.setdefault(cpu, []).append(
                    Sample(number, pc, next_pc, word, flags, Access(*access[:4]), Access(*access[4:])))
            elif kind == READ:
                self.counts_read.setdefault(cpu, []).append(number)
            else:
                self.executed[word] = number


def disassemble(words):
    """Returns {word: text} for instruction words, without aliases."""
    words = sorted(words)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(word.to_bytes(4, "little") for word in words))
        file.flush()
        text = subprocess.run(["aarch64-linux-gnu-objdump", "-D", "-z", "-b", "binary", "-m", "aarch64",
                               "-M", "no-aliases", file.name], check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = re.findall(r"^ *[0-9a-f]+:\t([0-9a-f]{8}) \t(.*)$", text, re.MULTILINE)
    found = {int(word, 16): " ".join(line.split()) for word, line in lines}
    assert sorted(found) == words
    return found


ATOMIC = r"(ld(add|clr|eor|set|[su]max|[su]min)|swp|casp?)"

#: (pattern of an instruction, its operation type as perf prints it): the first match counts.
KINDS = [(re.compile(pattern), kind) for pattern, kind in (
    (r"b ", "B CR-NON-BL-RET"),
    (r"(b|bc)\.|cbn?z |tbn?z ", "B COND CR-NON-BL-RET"),
    (r"bl ", "B CR-BL"),
    (r"blr", "B IND CR-BL"),
    (r"ret", "B IND CR-RET"),
    (r"br|eret", "B IND CR-NON-BL-RET"),
    (r"prfu?m ", "LD UNSPEC-REG"),
    (r"cpy", "MEMCPY"),
    (r"set[pme]", "ST MEMSET"),
    (r"ldaxp?r?", "LD EXCL AR"),
    (r"ldxr|ldxp", "LD EXCL"),
    (r"stlxr|stlxp", "ST EXCL AR"),
    (r"stxr|stxp", "ST EXCL"),
    (r"ldap|ldar|ldlar", "LD AR"),
    (r"stlr|stlur|stllr", "ST AR"),
    (ATOMIC + r"(a|al|l)[bh]? ", "LD AT AR"),
    (ATOMIC + r"[bh]? \w+, [wx]zr,", "ST AT"),
    (ATOMIC + r"[bh]? ", "LD AT"),
    (r"ld\S* \{?[zp]\d", "LD SVE-SME-REG EVLEN {bits}"),
    (r"st\S* \{?[zp]\d", "ST SVE-SME-REG EVLEN {bits}"),
    (r"ld\S* \{?[vqdshb]\d", "LD SIMD-FP"),
    (r"st\S* \{?[vqdshb]\d", "ST SIMD-FP"),
    (r"ld", "LD GP-REG"),
    (r"st", "ST GP-REG"),
    (r"f(?!dup)\S* .*\bz\d", "SVE-OTHER EVLEN {bits} FP"),
    (r".*\b[zp]\d|(cnt|inc|dec)[bhwd] |rdvl |addvl ", "SVE-OTHER EVLEN {bits}"),
    (r"fcsel|fccmp", "OTHER FP COND-SELECT"),
    (r"fmov .*\bv\d+\.d\[1\]", "OTHER FP INSN-OTHER"),
    (r"(f|[su]cvtf).*\bv\d", "OTHER ASE FP INSN-OTHER"),
    (r".*\bv\d", "OTHER ASE INSN-OTHER"),
    (r"f|[su]cvtf", "OTHER FP INSN-OTHER"),
    (r"\S+ [qdshb]\d", "OTHER ASE INSN-OTHER"),
    (r"csel|csinc|csinv|csneg|ccmp|ccmn", "OTHER COND-SELECT"),
    (r"", "OTHER INSN-OTHER"),
)]
#: A governing predicate.
GOVERNED = re.compile(r"\bp\d+/[mz]|^st[^r]\S* .*\bp\d+, \[")
#: QEMU does not report memory copy and set instructions to plugins, and does not prefetch.
UNSEEN = re.compile(r"cpy|set[pme]|prfu?m ")
#: The addresses of vector elements are not recorded.
NO_ADDRESS = re.compile(r"(ld|st)\S* \{?[zp]\d")


def operation(text, bits=512):
    """Returns the operation type of an instruction as perf prints it, with every feature that adds to it.

    bits: the length of SVE vectors.
    """
    kind = next(kind for pattern, kind in KINDS if pattern.match(text)).format(bits=bits)
    return kind + " PRED" if "SVE" in kind and GOVERNED.search(text) else kind


def kind_of(op):
    """Returns the class of an operation as perf prints it, for statistics."""
    word = op.split()[0]
    if "MEMCPY" in op:
        return "copy"
    if word in ("B", "LD", "ST"):
        return {"B": "branch", "LD": "load", "ST": "store"}[word]
    return "FP and SIMD" if re.search(r"FP|ASE|SVE", op) else "other"


def mix(executed):
    """Returns how many operations of each class (kind_of()) were executed, from {word: count}."""
    texts = disassemble(executed)
    counts = Counter()
    for word, number in executed.items():
        counts[kind_of(operation(texts[word]))] += number
    return counts


def disagreements(record, sample, text):
    """Compares a record with the sample. Yields for each comparison its name, and a complaint or ""."""
    wanted = operation(text)
    branch = wanted.startswith("B ")
    exception = bool(sample.flags & EXCEPTION)
    taken = branch and not exception and ("COND" not in wanted or sample.next_pc != sample.pc + 4)

    def same(what, got, wanted):
        return what, "" if got == wanted else f"{what} {got!r}, but {wanted!r}: {text}: {record}: {sample}"

    yield same("PC", record.pc, sample.pc & ADDRESS)
    yield same("Exception level", record.el, 1 if sample.flags & EL1 else 0)
    yield same("operation", record.op[3:] if wanted == "MEMCPY" else record.op, wanted)
    yield same("exception", "EXCEPTION-GEN" in record.events, exception)
    if not exception:
        yield same("retired", "RETIRED" in record.events, True)
    yield same("branch target", record.address.get("TGT"), sample.next_pc & ADDRESS if taken else None)
    if branch and not exception:
        yield same("not taken", "NOT-TAKEN" in record.events, not taken)

    if UNSEEN.match(text):
        yield "address that QEMU does not report", ""
    elif exception:
        # It may have accessed nothing, or a part.
        yield same("physical address of an access that failed", record.address.get("PA"), None)
    elif NO_ADDRESS.match(text) or not wanted.startswith(("LD", "ST")):
        yield same("no data address", (record.address.get("VA"), record.address.get("PA")), (None, None))
    else:
        access = sample.store if wanted.startswith("ST") else sample.load
        # A store-exclusive that fails stores nothing.
        if access.accesses or "EXCL" not in wanted:
            yield same("data address", record.address.get("VA", 0) & ADDRESS, access.va & ADDRESS)
            yield same("physical address", record.address.get("PA", NO_PA), access.pa)
        else:
            yield "address of a store-exclusive that failed", ""
    if wanted.startswith(("B ", "OTHER ")) and text.split()[0] not in ("sys", "dc"):
        yield same("no access", sample.load.accesses + sample.store.accesses, 0)


def compare(records, samples):
    """Compares the records with the samples, one by one. Returns the number of comparisons by name, and the complaints.

    Both are lists of one CPU, in order.
    """
    compared, complaints = Counter(), []
    if len(records) != len(samples):
        complaints.append(f"{len(records)} records, but {len(samples)} samples")
    texts = disassemble({sample.word for sample in samples})
    for number, (record, sample) in enumerate(zip(records, samples)):
        compared["record"] += 1
        for what, complaint in disagreements(record, sample, texts[sample.word]):
            compared[what] += 1
            if complaint:
                complaints.append(f"record {number}: {complaint}")
    return compared, complaints
