"""Where the package data lies: patterns, boot loader, targets, systems.

In a wheel it is inside the package; in a checkout, beside it.
"""

from __future__ import annotations

from pathlib import Path

_INSIDE = Path(__file__).parent / "data"
ROOT = _INSIDE if _INSIDE.is_dir() else Path(__file__).parent.parent

PATTERNS = ROOT / "patterns"
BOOTLOADER = ROOT / "bootloader"
TARGETS = ROOT / "qemu"
SYSTEMS = ROOT / "images"
