"""Frames that are answered, each with another answer."""

from __future__ import annotations

import struct

from tests.model.reference import answer, checksum
from tests.qemu.booted import MAC, Booted

PEER = bytes.fromhex("020000000002")
PEER_IP = bytes([10, 0, 2, 2])


def echo(
    mac: bytes, ip: bytes, number: int = 0, payload: bytes = b"hello, machine, are you there"
) -> bytes:
    """An ICMP echo request to the station `mac` with `ip`; `number` makes it another one.

    The payload is long enough that no card fills the answer up.
    """
    message = struct.pack(">BBHHH", 8, 0, 0, number >> 16, number & 0xFFFF) + payload
    message = message[:2] + checksum(message) + message[4:]
    start = struct.pack(">BBHHHBB", 0x45, 0, 20 + len(message), number & 0xFFFF, 0, 64, 1)
    header = start + checksum(start + b"\0\0" + PEER_IP + ip) + PEER_IP + ip
    return (mac + PEER + b"\x08\x00" + header + message).ljust(60, b"\0")


def quiet(machine: Booted, ip: bytes) -> None:
    """Take answers to earlier knocks off the wire: those before a control's."""
    control = echo(MAC, ip, 0xFFFF)
    machine.wire.send(control)
    while (reply := machine.wire.receive(5)) != answer(control, MAC, ip):
        assert reply is not None, "the control was not answered in 5 s"
