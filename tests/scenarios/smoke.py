# SPDX-License-Identifier: GPL-2.0
"""The stock kernel boots to the agent and perf of the same version runs in it."""


def test_boots(boot):
    guest = boot(spe="")
    assert guest.sh("uname -r") == "7"
