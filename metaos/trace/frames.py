"""The frame that a trace is of, from what a person names: `frame_of(text, asked) -> Named`.

frame_of("ffffffffffff52540012...", asked)      # hexadecimal digits, spaces between or not
frame_of("frame.bin", asked)                    # a file of the frame's bytes
frame_of("capture.pcap#3", asked)               # the third frame of a capture
frame_of("icmp.echo/2", asked)                  # the second question of a service's examples
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from metaos.boot.acceptance import given_of
from metaos.boot.questions import questions_of
from metaos.errors import Exit, MetaosError, did_you_mean
from metaos.pattern.syntax import Layout, Service

LONGEST = 65535
_LARGEST_FILE = 64 << 20
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F\s:.-]+")
_ORDERS = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\x4d\x3c\xb2\xa1": "<",
           b"\xa1\xb2\x3c\x4d": ">"}  # fmt: skip
"""libpcap's magic number in both byte orders, with microseconds or nanoseconds."""
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_FILE_HEADER, _RECORD = 24, 16
_LINK_TYPE = 1
"""The one whose frames begin with a card's two addresses."""


@dataclass(frozen=True, slots=True)
class Named:
    """A frame and where it is from, in words."""

    data: bytes
    words: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What an example's question is made for: the services, and the card's two addresses."""

    services: Mapping[str, Service]
    layouts: Mapping[str, Layout]
    interface: ipaddress.IPv4Interface
    mac: bytes


def frame_of(text: str, asked: Asked) -> Named:
    """The frame that `text` names.

    Raises:
        MetaosError: there is no such frame, or its file cannot be read; usage where `text` is
            none of the forms.
    """
    name, hash_, number = text.rpartition("#")
    if hash_ and number.isdecimal():
        return _checked(_captured(Path(name), int(number)), text)
    service, slash, at = text.partition("/")
    if service in asked.services and (not slash or at.isdecimal()):
        return _checked(_example(service, int(at or 1), asked), text)
    if Path(text).is_file():
        return _checked(_file(Path(text)), text)
    if _HEX.fullmatch(text):
        digits = re.sub(r"[\s:.-]", "", text.removeprefix("0x"))
        if len(digits) % 2:
            raise _usage(f"{len(digits)} hexadecimal digits are no whole bytes")
        return _checked(Named(bytes.fromhex(digits), "given in hexadecimal"), text)
    hint = "FRAME is hexadecimal, a file of bytes, FILE.pcap#N, or a service: SERVICE/N"
    near = did_you_mean(service, asked.services)
    raise _usage(f"'{text}' names no frame", f"{near} {hint}" if near[:3] == "did" else hint)


def _checked(named: Named, text: str) -> Named:
    if not 14 <= len(named.data) <= LONGEST:
        raise _usage(f"'{text}' is {len(named.data)} bytes; a frame has 14 to {LONGEST}")
    return named


def _example(service: str, number: int, asked: Asked) -> Named:
    given = given_of(asked.interface, int.from_bytes(asked.mac, "big"))
    questions = questions_of(service, asked.services, asked.layouts, given, seed=0)
    if not 1 <= number <= len(questions):
        count = len(questions)
        there = f"'{service}/1' to '{service}/{count}'" if count else "none: it lies under others"
        raise _usage(f"service '{service}' has no question {number}; there is {there}")
    question = questions[number - 1]
    wants = "an answer" if question.answers else "silence"
    return Named(question.sent, f"{service}: {question.name}; {wants} is expected")


def _file(path: Path) -> Named:
    data = _read(path)
    if data[:4] in _ORDERS:
        raise _usage(f"{path} is a capture", f"name one of its frames: {path}#1")
    return Named(data, f"from {path}")


def _captured(path: Path, number: int) -> Named:
    """Frame `number`, from 1. Source: draft-ietf-opsawg-pcap §4, §5."""
    data = _read(path)
    order = _ORDERS.get(data[:4])
    if order is None:
        kind = "a pcapng file, which is not read here" if data[:4] == _PCAPNG else "no pcap file"
        hint = "tshark -F pcap converts it" if data[:4] == _PCAPNG else ""
        raise MetaosError(f"{path} is {kind}", hint=hint)
    if len(data) < _FILE_HEADER:
        raise MetaosError(f"{path} is cut short in its header, at byte {len(data)}")
    link = struct.unpack_from(f"{order}I", data, 20)[0] & 0x0FFF_FFFF
    if link != _LINK_TYPE:
        raise MetaosError(f"{path} has frames of link type {link}; expected {_LINK_TYPE}")
    at, count = _FILE_HEADER, 0
    while at < len(data):
        if at + _RECORD > len(data):
            raise _cut(path, count + 1, at, data)
        kept, length = struct.unpack_from(f"{order}II", data, at + 8)
        at, count = at + _RECORD, count + 1
        if at + kept > len(data):
            raise _cut(path, count, at, data)
        if count == number:
            if kept < length:
                raise MetaosError(
                    f"{path}: frame {number} had {length} bytes, and {kept} were captured"
                )
            return Named(data[at : at + kept], f"frame {number} of {path}")
        at += kept
    raise MetaosError(f"{path} has no frame {number}: it has {count}, counted from 1")


def _cut(path: Path, number: int, at: int, data: bytes) -> MetaosError:
    return MetaosError(
        f"{path} is cut short: frame {number} begins at byte {at}, the file ends at {len(data)}"
    )


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise MetaosError(f"{path} has more than {_LARGEST_FILE >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise MetaosError(f"cannot read {path}: {error.strerror}") from error


def _usage(message: str, hint: str = "") -> MetaosError:
    return MetaosError(message, hint=hint, exit_code=Exit.USAGE)
