# SPDX-License-Identifier: GPL-2.0
"""Many records, and not one byte that perf cannot decode."""

import pytest

from spe import PACKET, UNDECODABLE

pytestmark = pytest.mark.board


@pytest.mark.timeout(900)
@pytest.mark.parametrize("wanted, work", [(20_000, 220), pytest.param(100_000, 1100, marks=pytest.mark.long)])
def test_records(guest, wanted, work):
    guest.sh("perf record -o /tmp/perf.data -m ,16M -e arm_spe/period=1024,jitter=1,ts_enable=1,pa_enable=1/"
             f" -- workload {work}", timeout=400)
    # The dump is large and counted in the guest.
    guest.sh("perf report --dump-raw-trace -i /tmp/perf.data 2>/dev/null |"
             " tee >(grep -c ' PC 0x' >/tmp/records) >(head -c 4000000 >/tmp/head; cat >/dev/null) |"
             " grep -E '^\\.  [0-9a-f]+:.*(Bad packet!|0x[0-9a-f]+ \\([0-9]+\\)$)' >/tmp/bad || true",
             timeout=600)
    records = int(guest.sh("until [ -s /tmp/records ]; do :; done; cat /tmp/records"))
    assert records >= wanted, records
    assert guest.sh("head /tmp/bad") == ""
    # The same expressions match the packets of this dump.
    lines = guest.fetch("/tmp/head").read_text(errors="replace").splitlines()
    assert sum(bool(PACKET.match(line)) for line in lines) > 10_000
    assert UNDECODABLE.search(".  00000000:  ff   Bad packet!")
