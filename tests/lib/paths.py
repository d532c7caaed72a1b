# SPDX-License-Identifier: GPL-2.0
"""Paths in the checkout."""

from pathlib import Path

#: The top of the checkout.
TOP = Path(__file__).resolve().parents[2]
