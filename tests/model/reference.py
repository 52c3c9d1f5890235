"""The reference: what a station with ARP, ICMP echo and UDP echo must answer to a frame.

Plain Python over byte offsets, written from the RFCs and from nothing of the compiler's.

What it decides, where the standards leave room:

Frames
- A frame shorter than 60 bytes never reaches software: the card, or the sender, fills it
  up with zeros to 60 (`delivered`), the least an Ethernet frame has without its FCS.
- The card takes frames to its own address and to the broadcast address. Either may carry
  any request: an echo request to the broadcast MAC but to our IP address is answered.
- A source MAC with the group bit (lowest bit of the first byte) gets no answer. Any other
  source does, zero and our own address included.
- The answer goes to the Ethernet source. Its length is what its headers say, not the
  request's: bytes after the packet are left out, short answers are not filled up.

ARP (RFC 826)
- htype 1, ptype 0x0800, hlen 6, plen 4, oper 1, tpa ours. The sender's fields are copied
  unseen: sha need not be the Ethernet source, spa may be anything.

IPv4 (RFC 791)
- version 4, ihl 5 (no options), MF 0, fragment offset 0; DF and the reserved bit are
  ignored and copied, as are TOS and identification.
- The header checksum is right: all ten words sum to 0xFFFF. So 0xFFFF in place of 0x0000
  is right too.
- dst ours; src below 224.0.0.0 (no group, no reserved address, no broadcast). 0.0.0.0,
  127/8 and our own address are below and do get an answer.
- 14 + total length is at most the frame's length, as numbers: nothing wraps.
- The answer swaps the addresses, has TTL 64 and a header checksum that is never 0xFFFF.

ICMP echo (RFC 792)
- type 8, code 0, total length at least 28. The checksum is not checked.
- The answer has type 0; the checksum is carried along, plus 0x0800 with the carry added
  at the end: a right one stays right, a wrong one wrong; all-zero data gives 0xFFFF.

UDP echo (RFC 768, RFC 862)
- destination port 7, source port not 7 (two echo services would talk for ever; 0 is a
  port like any other), UDP length at least 8 and exactly the total length - 20, as numbers.
- The answer swaps the ports; the checksum, right, wrong or absent, is carried along.
"""

from __future__ import annotations

import struct

MIN_FRAME = 60
"""Bytes of the shortest Ethernet frame, without its FCS. Source: IEEE 802.3 §4.2.3.3."""
BROADCAST = b"\xff" * 6


def delivered(frame: bytes, mac: bytes, least: int = MIN_FRAME) -> bytes | None:
    """The frame as the card gives it to software, or None if it is for somebody else."""
    if frame[:6].ljust(6, b"\0") not in (mac, BROADCAST):
        return None
    return frame.ljust(least, b"\0")


def answer(frame: bytes, mac: bytes, ip: bytes, least: int = MIN_FRAME) -> bytes | None:
    """The answer to a frame on the wire of the station `mac` (6 bytes) with `ip` (4 bytes).

    A card that fills nothing up has `least` 14.
    """
    received = delivered(frame, mac, least)
    if received is None or received[6] & 1:
        return None
    ethernet = received[6:12] + mac + received[12:14]
    kind = received[12:14]
    if kind == b"\x08\x06":
        rest = _arp(received[14:], mac, ip)
    elif kind == b"\x08\x00":
        rest = _ipv4(received[14:], ip)
    else:
        rest = None
    return None if rest is None else ethernet + rest


def ones_sum(data: bytes) -> int:
    """The 16-bit ones' complement sum of big-endian words; an odd byte is a word's high half."""
    total: int = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(data: bytes) -> bytes:
    """The Internet checksum of `data`, in which its own field must be zero. Source: RFC 1071."""
    return struct.pack(">H", 0xFFFF - ones_sum(data))


def _arp(packet: bytes, mac: bytes, ip: bytes) -> bytes | None:
    sha, spa, tpa = packet[8:14], packet[14:18], packet[24:28]
    if packet[:8] != bytes.fromhex("0001080006040001") or tpa != ip:
        return None
    return bytes.fromhex("0001080006040002") + mac + ip + sha + spa


def _ipv4(packet: bytes, ip: bytes) -> bytes | None:
    """`packet` goes on to the frame's end, past the total length."""
    header = packet[:20].ljust(20, b"\0")
    length, fragment = struct.unpack(">2xH2xH12x", header)
    acceptable = (
        header[0] == 0x45
        and fragment & 0x3FFF == 0
        and ones_sum(header) == 0xFFFF
        and header[16:20] == ip
        and header[12] < 224
        and length <= len(packet)
    )
    if not acceptable or length < 28:
        return None
    message = packet[20:length]
    if header[9] == 1:
        reply = _icmp(message)
    elif header[9] == 17:
        reply = _udp(message)
    else:
        reply = None
    if reply is None:
        return None
    start = header[:8] + bytes([64, header[9]])
    addresses = ip + header[12:16]
    return start + checksum(start + b"\0\0" + addresses) + addresses + reply


def _icmp(message: bytes) -> bytes | None:
    if message[:2] != b"\x08\x00":
        return None
    (old,) = struct.unpack(">H", message[2:4])
    total = old + 0x0800
    return b"\0\0" + struct.pack(">H", (total & 0xFFFF) + (total >> 16)) + message[4:]


def _udp(message: bytes) -> bytes | None:
    source, destination, length = struct.unpack(">HHH", message[:6])
    if destination != 7 or source == 7 or length != len(message):
        return None
    return message[2:4] + message[:2] + message[4:]
