# SPDX-License-Identifier: GPL-2.0
"""Many records of all kinds of operations, and not one byte that perf cannot decode.

The driver is the stock kernel's and the decoder is perf's: this is a test of QEMU.
"""

import pytest

from spe import UNDECODABLE, dump_of, packets

pytestmark = pytest.mark.needs("perf")

#: Every kind of packet, and records without padding.
SPE = ("spe=on,spe-version=1.5,spe-cache=on,spe-prev-branch=on,spe-load-source=on,"
       "spe-align=1,spe-max-record-size=128,spe-count-size=16")
KINDS = {"PC", "TGT", "VA", "PA", "PBT", "LAT", "EV", "CONTEXT", "DATA-SOURCE", "TS", "B", "LD", "ST", "OTHER", "SVE-OTHER"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("wanted, work", [(100_000, 190), pytest.param(1_000_000, 1900, marks=pytest.mark.long)])
def test_records(boot, show, wanted, work):
    guest = boot(rust=False, spe=SPE)
    guest.load("c")
    guest.sh("perf record -q -B -N -o /tmp/perf.data -m ,128M"
             f" -e arm_spe/period=256,jitter=1,ts_enable=1,pa_enable=1/ -- mixed {work}", timeout=400)
    data = guest.fetch("/tmp/perf.data", timeout=400)
    with dump_of(data) as lines:
        counts, undecodable, (decoded, recorded) = packets(lines)
    data.unlink()
    show(f"\n    {counts['PC']} records in {recorded} bytes, {counts.total()} packets: {dict(counts.most_common())}")
    assert not undecodable, f"{len(undecodable)}: {undecodable[:5]}"
    assert counts["PC"] == counts["TS"] >= wanted
    assert decoded == recorded
    assert set(counts) - {"PAD"} == KINDS
    # The same expression matches broken packets.
    assert packets([".  00000000:  ff   Bad packet!\n"])[1] and UNDECODABLE.search("0x7f (3)")
