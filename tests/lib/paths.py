# SPDX-License-Identifier: GPL-2.0
"""Where things are."""

from pathlib import Path

#: The top of the checkout.
TOP = Path(__file__).resolve().parents[2]
