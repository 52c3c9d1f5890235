"""Frames to ask a machine with, and their judge: benchmarks may know protocols.

    host = Host(guest_ip="10.0.2.15")
    wire.send(host.arp())
    host.learn(answer)            # takes the machine's MAC address from its ARP answer
    wire.send(host.icmp(7, b"x" * 56))
    host.answers_icmp(answer, 7, b"x" * 56)

Source: RFC 826 (ARP), RFC 791 (IPv4), RFC 792 (ICMP), RFC 768 (UDP), RFC 1071 (checksum).
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

BROADCAST = b"\xff" * 6
OURS = bytes.fromhex("020000000002")
ECHO_PORT, OUR_PORT = 7, 4000
_ARP, _IPV4, _ICMP, _UDP = 0x0806, 0x0800, 1, 17
_SHORTEST = 60


def checksum(data: bytes) -> int:
    """The Internet checksum: 0 over data that holds its own."""
    data += b"\0" * (len(data) & 1)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass
class Host:
    """Our end: what it sends, and whether what comes back is right."""

    guest_ip: str
    our_ip: str = "10.0.2.2"
    guest: bytes = field(default=BROADCAST)

    def arp(self) -> bytes:
        """Who has the machine's address?"""
        ours, theirs = socket.inet_aton(self.our_ip), socket.inet_aton(self.guest_ip)
        body = struct.pack("!HHBBH6s4s6s4s", 1, _IPV4, 6, 4, 1, OURS, ours, b"\0" * 6, theirs)
        return self._frame(BROADCAST, _ARP, body)

    def learn(self, frame: bytes) -> bool:
        """Whether this is the machine's ARP answer; if so, remember its MAC address."""
        if frame[12:14] != b"\x08\x06" or frame[20:22] != b"\0\2":
            return False
        if frame[28:32] != socket.inet_aton(self.guest_ip) or frame[32:38] != OURS:
            return False
        self.guest = frame[22:28]
        return True

    def icmp(self, number: int, data: bytes) -> bytes:
        """An echo request."""
        body = struct.pack("!BBHHH", 8, 0, 0, 0x77, number) + data
        body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
        return self._frame(self.guest, _IPV4, self._ipv4(_ICMP, body))

    def answers_icmp(self, frame: bytes, number: int, data: bytes) -> bool:
        """Whether this is the right echo reply, checksums included."""
        body = self._payload(frame, _ICMP)
        if body is None or checksum(body) or body[:2] != b"\0\0":
            return False
        return body[4:8] == struct.pack("!HH", 0x77, number) and body[8:] == data

    def udp(self, data: bytes) -> bytes:
        """A datagram to the echo port."""
        body = struct.pack("!HHHH", OUR_PORT, ECHO_PORT, 8 + len(data), 0) + data
        total = checksum(self._pseudo(self.our_ip, self.guest_ip, len(body)) + body) or 0xFFFF
        body = body[:6] + struct.pack("!H", total) + body[8:]
        return self._frame(self.guest, _IPV4, self._ipv4(_UDP, body))

    def answers_udp(self, frame: bytes, data: bytes) -> bool:
        """Whether this is the right datagram, checksums included."""
        body = self._payload(frame, _UDP)
        if body is None or len(body) < 8:
            return False
        source, target, length, given = struct.unpack("!HHHH", body[:8])
        if (source, target, length) != (ECHO_PORT, OUR_PORT, len(body)) or body[8:] != data:
            return False
        pseudo = self._pseudo(self.guest_ip, self.our_ip, len(body))
        return not given or checksum(pseudo + body) == 0

    def _pseudo(self, source: str, target: str, length: int) -> bytes:
        ends = socket.inet_aton(source) + socket.inet_aton(target)
        return ends + struct.pack("!BBH", 0, _UDP, length)

    def _ipv4(self, protocol: int, body: bytes) -> bytes:
        ends = socket.inet_aton(self.our_ip), socket.inet_aton(self.guest_ip)
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0, *ends)
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body

    def _frame(self, to: bytes, kind: int, body: bytes) -> bytes:
        return (to + OURS + struct.pack("!H", kind) + body).ljust(_SHORTEST, b"\0")

    def _payload(self, frame: bytes, protocol: int) -> bytes | None:
        """The IPv4 payload, if the frame is from the machine to us and its header is right."""
        if frame[:12] != OURS + self.guest or frame[12:14] != b"\x08\0" or len(frame) < 34:
            return None
        length = int.from_bytes(frame[16:18], "big")
        if checksum(frame[14:34]) or frame[23] != protocol or not 20 <= length <= len(frame) - 14:
            return None
        return frame[34 : 14 + length]
