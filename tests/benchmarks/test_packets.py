"""The benchmarks' own packets, judged by scapy."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from benchmarks.packets import OURS, Host, checksum

GUEST = "52:54:00:12:34:56"


def host() -> Host:
    one = Host("10.0.2.15")
    answer = Ether(src=GUEST, dst=OURS) / ARP(
        op=2, hwsrc=GUEST, psrc="10.0.2.15", hwdst="02:00:00:00:00:02", pdst="10.0.2.2"
    )
    assert one.learn(bytes(answer))
    return one


def test_only_the_machines_own_arp_answer_is_learnt() -> None:
    one = Host("10.0.2.15")
    assert not one.learn(one.arp())
    other = Ether(src=GUEST, dst=OURS) / ARP(op=2, hwsrc=GUEST, psrc="10.0.2.16", pdst="10.0.2.2")
    assert not one.learn(bytes(other))
    assert Ether(one.arp())[ARP].pdst == "10.0.2.15"


@pytest.mark.parametrize("size", [0, 1, 17, 56, 1472])
def test_echoes_are_right_and_their_answers_are_judged(size: int) -> None:
    one, data = host(), bytes(range(256)) * 6
    data = data[:size]
    for frame, kind in ((one.icmp(5, data), ICMP), (one.udp(data), UDP)):
        packet = Ether(frame)
        assert packet.dst == GUEST and packet[IP].dst == "10.0.2.15"
        rebuilt = packet.copy()
        del rebuilt[IP].chksum, rebuilt[kind].chksum
        assert bytes(Ether(bytes(rebuilt))) == frame
    back = Ether(src=GUEST, dst=OURS) / IP(src="10.0.2.15", dst="10.0.2.2")
    reply = bytes(back / ICMP(type=0, id=0x77, seq=5) / Raw(data))
    assert one.answers_icmp(reply, 5, data)
    assert not one.answers_icmp(reply, 6, data)
    assert not one.answers_icmp(reply, 5, data + b"x")
    echo = bytes(back / UDP(sport=7, dport=4000) / Raw(data))
    assert one.answers_udp(echo, data)
    assert not one.answers_udp(echo[:-1] + bytes([echo[-1] ^ 1]), data)
    assert not one.answers_udp(reply, data)


def test_a_checksum_over_its_own_is_zero() -> None:
    data = b"\x12\x34\x56\x78\x9a"
    assert checksum(data + b"\0" + checksum(data).to_bytes(2, "big")) == 0
