"""The reference model itself, judged by scapy and by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from tests.model.frames import MAX_FRAME, frames
from tests.model.reference import answer, checksum, delivered, ones_sum

MAC = bytes.fromhex("525400123456")
MAC_TEXT = "52:54:00:12:34:56"
PEER = "52:54:00:aa:bb:cc"
IP_TEXT = "10.0.2.15"
IP_BYTES = bytes([10, 0, 2, 15])


def ask(frame: Ether) -> Ether | None:
    reply = answer(bytes(frame), MAC, IP_BYTES)
    return None if reply is None else Ether(reply)


def ether(to: str = MAC_TEXT, **fields: Any) -> Ether:
    return Ether(**dict[str, Any]({"dst": to, "src": PEER} | fields))


def right(packet: IP) -> None:
    """Demand that every checksum is what scapy computes."""
    again = packet.copy()
    for layer in (again, again.getlayer(ICMP), again.getlayer(UDP)):
        if layer is not None:
            del layer.chksum
    assert bytes(IP(bytes(again))) == bytes(packet)


def test_arp() -> None:
    reply = ask(ether("ff:ff:ff:ff:ff:ff") / ARP(hwsrc=PEER, psrc="10.0.2.2", pdst=IP_TEXT))
    assert reply is not None
    wanted = ARP(op=2, hwsrc=MAC_TEXT, psrc=IP_TEXT, hwdst=PEER, pdst="10.0.2.2")
    assert bytes(reply) == bytes(Ether(dst=PEER, src=MAC_TEXT) / wanted)


@pytest.mark.parametrize("size", [0, 1, 17, 56, 333, 1000, 1472])
@pytest.mark.parametrize("tos", [0, 0x20])
def test_icmp_echo(size: int, tos: int) -> None:
    data = bytes(i % 251 for i in range(size))
    head = IP(src="10.0.2.2", dst=IP_TEXT, id=7, ttl=3, tos=tos, flags="DF")
    reply = ask(ether() / head / ICMP(id=5, seq=9) / data)
    assert reply is not None
    assert (reply.src, reply.dst, len(reply)) == (MAC_TEXT, PEER, 42 + size)
    packet = reply[IP]
    assert (packet.src, packet.dst, packet.ttl, packet.id) == (IP_TEXT, "10.0.2.2", 64, 7)
    assert (packet.tos, str(packet.flags)) == (tos, "DF")
    assert (packet[ICMP].type, packet[ICMP].code) == (0, 0)
    assert (packet[ICMP].id, packet[ICMP].seq) == (5, 9)
    assert (bytes(packet[Raw]) if size else b"") == data
    right(packet)


@pytest.mark.parametrize("size", [0, 1, 17, 56, 333, 1000, 1472])
def test_udp_echo(size: int) -> None:
    data = bytes(i % 251 for i in range(size))
    reply = ask(ether() / IP(src="10.0.2.2", dst=IP_TEXT) / UDP(sport=4000, dport=7) / data)
    assert reply is not None
    packet = reply[IP]
    assert (packet[UDP].sport, packet[UDP].dport, packet[UDP].len) == (7, 4000, 8 + size)
    assert (bytes(packet[Raw]) if size else b"") == data
    right(packet)


def test_all_zero_echo_has_the_checksum_ffff() -> None:
    reply = ask(ether() / IP(src="10.0.2.2", dst=IP_TEXT) / ICMP(id=0, seq=0) / bytes(8))
    assert reply is not None
    assert reply[ICMP].chksum == 0xFFFF
    assert ones_sum(bytes(reply[ICMP])) == 0xFFFF


def test_wrong_payload_checksums_stay_wrong() -> None:
    packet = IP(src="10.0.2.2", dst=IP_TEXT) / ICMP(id=1, seq=1, chksum=0x1234) / b"data"
    reply = ask(ether() / packet)
    assert reply is not None
    assert ones_sum(bytes(reply[ICMP])) != 0xFFFF


def test_bytes_behind_the_packet_are_left_out() -> None:
    frame = bytes(ether() / IP(src="10.0.2.2", dst=IP_TEXT) / ICMP() / b"x")
    reply = answer(frame + b"trailer" * 9, MAC, IP_BYTES)
    assert reply is not None
    assert len(reply) == len(frame)


def ip(**fields: Any) -> IP:
    return IP(**dict[str, Any]({"src": "10.0.2.2", "dst": IP_TEXT} | fields))


SILENT: dict[str, Ether] = {
    "for another card": ether("52:54:00:12:34:57") / ip() / ICMP(),
    "for a group": ether("01:00:5e:00:00:01") / ip() / ICMP(),
    "from a group of stations": ether(src="01:00:5e:00:00:01") / ip() / ICMP(),
    "wrong header checksum": ether() / ip(chksum=1) / ICMP(),
    "length beyond the frame": ether() / ip(len=47) / ICMP(),
    "length that wraps": ether() / ip(len=0xFFFE) / ICMP(),
    "length below the headers": ether() / ip(len=27) / ICMP(),
    "not for us": ether() / ip(dst="10.0.2.16") / ICMP(),
    "first fragment": ether() / ip(flags="MF") / ICMP(),
    "later fragment": ether() / ip(frag=1) / ICMP(),
    "options": ether() / ip(options=b"\1\1\1\1") / ICMP(),
    "not version 4": ether() / ip(version=6) / ICMP(),
    "from a group": ether() / ip(src="224.0.0.1") / ICMP(),
    "from the broadcast address": ether() / ip(src="255.255.255.255") / ICMP(),
    "echo answer": ether() / ip() / ICMP(type=0),
    "timestamp request": ether() / ip() / ICMP(type=13),
    "code": ether() / ip() / ICMP(code=1),
    "TCP": ether() / ip(proto=6) / (b"\0" * 20),
    "another port": ether() / ip() / UDP(sport=4000, dport=9),
    "from an echo port": ether() / ip() / UDP(sport=7, dport=7),
    "UDP length beyond": ether() / ip() / UDP(sport=4000, dport=7, len=9),
    "UDP length below": ether() / ip() / UDP(sport=4000, dport=7, len=7),
    "UDP length that wraps": ether() / ip(len=19) / UDP(sport=4000, dport=7, len=0xFFFF),
    "VLAN": ether(type=0x8100) / ip() / ICMP(),
    "ARP answer": ether() / ARP(op=2, hwsrc=PEER, pdst=IP_TEXT),
    "ARP for another": ether() / ARP(hwsrc=PEER, pdst="10.0.2.16"),
    "ARP not for Ethernet": ether() / ARP(hwtype=6, hwsrc=PEER, pdst=IP_TEXT),
    "ARP not for IPv4": ether() / ARP(ptype=0x86DD, hwsrc=PEER, pdst=IP_TEXT),
    "ARP of other lengths": ether() / ARP(hwlen=8, hwsrc=PEER, pdst=IP_TEXT),
}


@pytest.mark.parametrize("frame", SILENT.values(), ids=SILENT.keys())
def test_silence(frame: Ether) -> None:
    assert ask(frame) is None


@pytest.mark.parametrize("length", [0, 5, 13, 14, 33, 41, 59, 83])
def test_cut_short(length: int) -> None:
    frame = bytes(ether() / ip() / ICMP() / bytes(range(1, 43)))
    assert answer(frame[:length], MAC, IP_BYTES) is None
    assert answer(frame, MAC, IP_BYTES) is not None


def test_short_frames_are_filled_up_and_then_read() -> None:
    frame = bytes(ether() / ip() / ICMP() / b"abc")
    assert len(frame) == 45
    assert delivered(frame, MAC) == frame + bytes(15)
    assert answer(frame, MAC, IP_BYTES) == answer(frame + bytes(15), MAC, IP_BYTES) is not None


def test_checksum_of_an_odd_number_of_bytes() -> None:
    assert checksum(b"\x01\x02\x03") == bytes([0xFF - 0x04, 0xFF - 0x02])


def test_frames_repeat_and_reach_every_service() -> None:
    made = list(frames(7, 4000, MAC, IP_BYTES))
    assert made == list(frames(7, 4000, MAC, IP_BYTES))
    assert made[:10] != list(frames(8, 10, MAC, IP_BYTES))
    assert max(map(len, made)) <= MAX_FRAME
    assert min(map(len, made)) < 14
    answers = [answer(frame, MAC, IP_BYTES) for frame in made]
    kinds = Counter((a[12:14], a[23] if a[13] == 0 else 0) for a in answers if a is not None)
    assert len(kinds) == 3
    assert min(kinds.values()) > 200
    assert 1000 < sum(a is None for a in answers) < 3000


def test_answers_to_mutated_frames_are_well_formed() -> None:
    """Scapy finds the header checksum and lengths of every answer right."""
    for frame in frames(11, 1000, MAC, IP_BYTES):
        reply = answer(frame, MAC, IP_BYTES)
        if reply is None or reply[12:14] != b"\x08\x00":
            continue
        packet = Ether(reply)[IP]
        again = IP(bytes(packet)[:20])
        del again.chksum
        assert IP(bytes(again)).chksum == packet.chksum
        assert packet.len + 14 == len(reply)
