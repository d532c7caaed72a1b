# SPDX-License-Identifier: GPL-2.0
"""The PMU's sysfs tree is the C driver's: the same names, modes and contents."""

from spe import PMU

LISTING = rf"""
cd -P {PMU}/ && find . -printf '%p %M %l\n' | sort
find . -type f -perm -u+r | sort | while read -r file; do
    echo "== $file"; cat "$file" 2>&1
done
"""


def test_same_tree(boot, driver):
    guest = boot()
    listings = {}
    for which in ("c", driver):
        guest.load(which)
        listings[which] = guest.sh(LISTING).splitlines()
        guest.sh("rmmod arm_spe_pmu && dmesg -C")
    assert len(listings["c"]) > 40
    assert listings[driver] == listings["c"]
