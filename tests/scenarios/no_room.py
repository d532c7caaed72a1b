# SPDX-License-Identifier: GPL-2.0
"""A start that finds no room is a failed start: the whole group stays off, and perf is told.

perf hands out space, but head and tail share a page, so that the hardware cannot use any of it. The
driver that takes this for a success leaves the other event of the group running.
"""

TRUNCATED = 1


def no_room(guest, free):
    """What the program of that name reports."""
    lines = guest.sh(f"no_room {free}").splitlines()
    return {name: int(value, 0) for name, value in (line.split() for line in lines)}


def test_head_and_tail_share_a_page(guest):
    seen = no_room(guest, 63)
    assert seen["spe_running"] == 0, seen
    assert seen["cycles_running"] == 0, seen
    # Nothing was written, and perf said so.
    assert seen["aux_bytes"] == 0, seen
    assert seen["aux_flags"] & TRUNCATED, seen


def test_with_room(guest):
    """The same program with a page to write to: both events run, for the same time."""
    seen = no_room(guest, 2 * 4096)
    assert seen["spe_running"] > 0, seen
    assert seen["spe_running"] == seen["cycles_running"], seen
    assert seen["aux_bytes"] > 0, seen
