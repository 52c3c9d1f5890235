"""Frames to ask a station with: valid ones and mutated ones, the same from the same seed.

    for frame in frames(seed=1, count=2000, mac=mac, ip=ip):
        ...

A quarter are valid requests; the others are requests with one to three mutations of
bits, bytes, fields or length. Half of the mutated ones get their IPv4 header checksum
repaired, so that what the mutation changed is looked at behind that check.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.model.reference import BROADCAST, checksum

MAX_FRAME = 1514
"""Bytes of the longest Ethernet frame, without its FCS. Source: IEEE 802.3 §3.2.7."""

_SIZES = (0, 1, 2, 3, 17, 18, 19, 31, 32, 33, 56, 333, 1000, 1471, 1472)
_NUMBERS = (0, 1, 7, 8, 19, 20, 21, 27, 28, 29, 46, 47, 0x7FFF, 0x8000, 0xFFEB, 0xFFEC)
_EDGES = (*_NUMBERS, 0xFFF1, 0xFFF2, 0xFFF3, 0xFFFE, 0xFFFF)


@dataclass(frozen=True)
class Station:
    """Who is asked: 6 bytes of MAC and 4 of IPv4 address."""

    mac: bytes
    ip: bytes


def frames(seed: int, count: int, mac: bytes, ip: bytes) -> Iterator[bytes]:
    """Make `count` frames of 0 to 1514 bytes for the station with `mac` and `ip`."""
    source = random.Random(seed)
    station = Station(mac, ip)
    for _ in range(count):
        frame = request(source, station)
        if source.random() < 0.75:
            frame = mutated(source, station, frame)
        yield bytes(frame)


def request(source: random.Random, station: Station) -> bytearray:
    """A valid request: of ARP, ICMP echo or UDP echo."""
    make = source.choice((_arp, _icmp, _icmp, _udp, _udp))
    peer = bytes([source.choice((0x52, 0x00, 0xFE)), *source.randbytes(5)])
    return bytearray(make(source, station, peer))


def mutated(source: random.Random, station: Station, frame: bytearray) -> bytearray:
    """`frame` with one to three things changed; half of the time the checksum is repaired."""
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        source.choice(_MUTATIONS)(source, station, frame)
    if source.random() < 0.5:
        repair(frame)
    return frame[:MAX_FRAME]


def repair(frame: bytearray) -> None:
    """Make the IPv4 header checksum right, if there is room for a header."""
    if len(frame) >= 34 and frame[12:14] == b"\x08\x00":
        frame[24:26] = b"\0\0"
        frame[24:26] = checksum(bytes(frame[14:34]))


def _payload(source: random.Random) -> bytes:
    size = source.choice(_SIZES) if source.random() < 0.5 else source.randrange(1473)
    if source.random() < 0.15:
        return source.choice((b"\0", b"\xff")) * size
    return source.randbytes(size)


def _peer_ip(source: random.Random) -> bytes:
    return bytes([source.choice((10, 1, 127, 192, 223)), *source.randbytes(3)])


def _arp(source: random.Random, station: Station, peer: bytes) -> bytes:
    packet = bytes.fromhex("0001080006040001") + peer + _peer_ip(source) + bytes(6) + station.ip
    to = source.choice((BROADCAST, station.mac))
    return _padded(source, to + peer + b"\x08\x06" + packet)


def _ipv4(source: random.Random, station: Station, peer: bytes, kind: int, rest: bytes) -> bytes:
    flags = source.choice((0, 0x4000, 0x4000, 0x8000))
    ttl = source.choice((64, 255, 1, 0, 63, 65, source.randrange(256)))
    start = struct.pack(
        ">BBHHHBB", 0x45, source.choice((0, 0x10, 0xFF)), 20 + len(rest), source.randrange(1 << 16),
        flags, ttl, kind,
    )  # fmt: skip
    addresses = _peer_ip(source) + station.ip
    header = start + checksum(start + b"\0\0" + addresses) + addresses
    to = station.mac if source.random() < 0.9 else BROADCAST
    return _padded(source, to + peer + b"\x08\x00" + header + rest)


def _icmp(source: random.Random, station: Station, peer: bytes) -> bytes:
    rest = source.choice((source.randbytes(4), bytes(4))) + _payload(source)
    head = b"\x08\x00" + checksum(b"\x08\x00\0\0" + rest)
    if source.random() < 0.1:  # a wrong checksum, those around a carry among them
        head = head[:2] + source.choice(
            (b"\0\0", b"\xff\xff", b"\xf7\xff", b"\xf8\0", b"\xf7\xfe", source.randbytes(2))
        )
    return _ipv4(source, station, peer, 1, head + rest)


def _udp(source: random.Random, station: Station, peer: bytes) -> bytes:
    payload = _payload(source)
    port = source.choice((4000, 0, 6, 8, 0x0700, 0xFFFF, source.randrange(8, 1 << 16)))
    head = struct.pack(">HHH", port, 7, 8 + len(payload))
    sum_field = source.choice((b"\0\0", source.randbytes(2)))
    return _ipv4(source, station, peer, 17, head + sum_field + payload)


def _padded(source: random.Random, frame: bytes) -> bytes:
    """The frame, sometimes with bytes behind the packet."""
    choice = source.random()
    if choice < 0.4:
        return frame.ljust(60, b"\0")
    if choice < 0.6:
        return (frame + source.randbytes(source.randrange(64)))[: max(len(frame), MAX_FRAME)]
    return frame


Mutation = Callable[[random.Random, Station, bytearray], None]


def _put(frame: bytearray, offset: int, data: bytes) -> None:
    """Overwrite what of `data` lies inside the frame."""
    room = max(0, len(frame) - offset)
    frame[offset : offset + len(data[:room])] = data[:room]


def _flip_bit(source: random.Random, station: Station, frame: bytearray) -> None:
    if frame:
        reach = len(frame) if source.random() < 0.2 else min(len(frame), 43)
        frame[source.randrange(reach)] ^= 1 << source.randrange(8)


def _set_byte(source: random.Random, station: Station, frame: bytearray) -> None:
    if frame:
        value = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))
        frame[source.randrange(min(len(frame), 64))] = value


def _set_word(source: random.Random, station: Station, frame: bytearray) -> None:
    _put(frame, source.randrange(12, 46), struct.pack(">H", source.choice(_EDGES)))


def _cut(source: random.Random, station: Station, frame: bytearray) -> None:
    del frame[source.randrange(len(frame) + 1) :]


def _cut_a_little(source: random.Random, station: Station, frame: bytearray) -> None:
    del frame[max(0, len(frame) - source.randrange(1, 5)) :]


def _grow(source: random.Random, station: Station, frame: bytearray) -> None:
    frame += source.randbytes(source.randrange(1, 200))


def _ip_length(source: random.Random, station: Station, frame: bytearray) -> None:
    """A total length at an edge, or near what the frame has room for."""
    near = len(frame) - 14 + source.randrange(-3, 4)
    length = source.choice((near, near, *_EDGES)) & 0xFFFF
    _put(frame, 16, struct.pack(">H", length))
    choice = source.random()
    if choice < 0.5:  # a UDP length that agrees, as it is or only modulo 2^16
        _put(frame, 38, struct.pack(">H", (length - 20) & 0xFFFF))


def _udp_length(source: random.Random, station: Station, frame: bytearray) -> None:
    (total,) = struct.unpack(">H", bytes(frame[16:18]).rjust(2, b"\0"))
    near = total - 20 + source.randrange(-2, 3)
    _put(frame, 38, struct.pack(">H", source.choice((near, near, *_EDGES)) & 0xFFFF))


def _source_ip(source: random.Random, station: Station, frame: bytearray) -> None:
    first = source.choice((223, 224, 225, 239, 240, 255, 0, 127))
    edge = source.choice(
        (bytes([224, 0, 0, 0]), bytes([223, 255, 255, 255]), b"\xff" * 4, bytes(4))
    )
    whole = source.choice((bytes([first, *source.randbytes(3)]), edge, edge, station.ip))
    _put(frame, 26, whole)


def _target_ip(source: random.Random, station: Station, frame: bytearray) -> None:
    """Nearly our address, in IPv4 or in ARP."""
    near = bytearray(station.ip)
    near[source.randrange(4)] ^= 1 << source.randrange(8)
    _put(
        frame, source.choice((30, 38)), source.choice((bytes(near), b"\xff" * 4, station.ip[::-1]))
    )


def _target_mac(source: random.Random, station: Station, frame: bytearray) -> None:
    near = bytearray(station.mac)
    near[source.randrange(6)] ^= 1 << source.randrange(8)
    group = bytes.fromhex("01005e000001")
    _put(frame, 0, source.choice((bytes(near), group, BROADCAST, bytes(6))))


def _source_mac(source: random.Random, station: Station, frame: bytearray) -> None:
    first = source.choice((1, 0xFF, 0x33, 0))
    _put(frame, 6, source.choice((bytes([first, *source.randbytes(5)]), station.mac, BROADCAST)))


def _type(source: random.Random, station: Station, frame: bytearray) -> None:
    kind = source.choice((0x0800, 0x0806, 0x86DD, 0x8100, 0x0008, 0x0608, 46, 0))
    _put(frame, 12, struct.pack(">H", kind))


def _fragment(source: random.Random, station: Station, frame: bytearray) -> None:
    bits = source.choice((0x2000, 0x4000, 0x8000, 0x6000, 0xE000, 1, 0x1FFF, 0x0100, 0x2001))
    _put(frame, 20, struct.pack(">H", bits))


def _version(source: random.Random, station: Station, frame: bytearray) -> None:
    _put(frame, 14, bytes([source.choice((0x46, 0x44, 0x4F, 0x40, 0x55, 0x65, 0x05, 0x54))]))


def _protocol(source: random.Random, station: Station, frame: bytearray) -> None:
    _put(frame, 23, bytes([source.choice((1, 17, 6, 2, 0, 0x11 ^ 0x80, 255))]))


def _ports(source: random.Random, station: Station, frame: bytearray) -> None:
    port = struct.pack(">H", source.choice((7, 7, 0x0700, 0x0007 ^ 0x8000, 6, 8, 0, 0xFFFF)))
    _put(frame, source.choice((34, 36)), port)


def _zero_checksum(source: random.Random, station: Station, frame: bytearray) -> None:
    """A header that sums to zero, its checksum written as either of the two zeros."""
    if len(frame) < 34:
        return
    frame[18:20] = frame[24:26] = b"\0\0"
    frame[18:20] = checksum(bytes(frame[14:34]))
    frame[24:26] = source.choice((b"\0\0", b"\xff\xff"))


def _ttl_at_edge(source: random.Random, station: Station, frame: bytearray) -> None:
    """A right header checksum that the answer's TTL carries over or brings to zero."""
    if len(frame) < 34:
        return
    wanted = source.choice((0x0000, 0x0001, 0x00FF, 0x3FFF, 0x4000, 0xBFFF, 0xC000, 0xFFFE))
    frame[22] = source.choice((63, 64, 65, 0, 255))
    frame[18:20] = b"\0\0"
    frame[24:26] = struct.pack(">H", wanted)
    frame[18:20] = checksum(bytes(frame[14:34]))


def _icmp_kind(source: random.Random, station: Station, frame: bytearray) -> None:
    _put(
        frame, 34, source.choice((b"\x00\x00", b"\x08\x01", b"\x0d\x00", b"\x00\x08", b"\x88\x00"))
    )


def _arp_field(source: random.Random, station: Station, frame: bytearray) -> None:
    """One of the eight bytes before ARP's addresses, next to what it should be."""
    if frame[12:14] == b"\x08\x06" and len(frame) > 21:
        frame[source.randrange(14, 22)] ^= source.choice((1, 2, 3, 8, 0x80, 0xFF))


_MUTATIONS: tuple[Mutation, ...] = (
    _flip_bit,
    _flip_bit,
    _flip_bit,
    _set_byte,
    _set_word,
    _cut,
    _cut_a_little,
    _grow,
    _ip_length,
    _ip_length,
    _udp_length,
    _source_ip,
    _target_ip,
    _target_mac,
    _source_mac,
    _type,
    _fragment,
    _version,
    _protocol,
    _ports,
    _zero_checksum,
    _ttl_at_edge,
    _icmp_kind,
    _arp_field,
    _arp_field,
)
