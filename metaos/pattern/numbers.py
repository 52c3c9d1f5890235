"""The numbers of a pattern file: `number("0x1F") -> 31`."""

from __future__ import annotations


def number(text: str) -> int:
    """The value of a NUMBER token: decimal, 0x, 0b or a dotted quad, at most 64 bits.

    Raises `ValueError` with what is wrong with it.
    """
    if "." in text:
        value = 0
        for part in text.split("."):
            if len(part) > 3 or int(part) > 0xFF:
                raise ValueError(f"'{short(part)}' is not one byte of a dotted number")
            value = value << 8 | int(part)
        return value
    digits = text.replace("_", "")
    if len(digits) > 66:
        raise ValueError(f"the number '{short(text)}' has more than 64 bits")
    if digits in ("0x", "0b"):
        raise ValueError(f"'{text}' has no digits")
    value = int(digits, 0) if digits[:2] in ("0x", "0b") else int(digits)
    if value >> 64:
        raise ValueError(f"the number '{short(text)}' has more than 64 bits")
    return value


def short(text: str) -> str:
    """A text as a message may quote it."""
    return text if len(text) <= 24 else f"{text[:20]}..."
