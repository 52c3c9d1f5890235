"""Questions made from the patterns' examples, judged by scapy, which knows the protocols."""

import ipaddress

import pytest
from scapy.compat import raw
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether

from metaos import resources
from metaos.boot.acceptance import given_of
from metaos.boot.frames import Value, sum16
from metaos.boot.questions import Question, judge, questions_of
from metaos.errors import MetaosError, Source
from metaos.pattern.parse import parse
from metaos.pattern.patterns import Patterns, load, resolve

MAC = "52:54:00:12:34:56"
GIVEN = given_of(ipaddress.IPv4Interface("10.0.2.15/24"), int(MAC.replace(":", ""), 16))


@pytest.fixture(scope="module")
def patterns() -> Patterns:
    return load([resources.PATTERNS])


def ask(patterns: Patterns, service: str, title: str, payload: int | None = None) -> Question:
    questions = questions_of(service, patterns.services, patterns.layouts, GIVEN, seed=0)
    found = [q for q in questions if q.title == title and payload in (None, q.payload)]
    assert found, f"no example '{title}' of {service}"
    return found[0]


def rebuilt(frame: bytes) -> bytes:
    """The frame with every checksum and length computed by scapy."""
    packet = Ether(frame)
    for layer in (IP, ICMP, UDP):
        if layer in packet:
            for name in ("chksum", "len"):
                if name in packet[layer].fields:
                    delattr(packet[layer], name)
    return raw(packet)


@pytest.mark.parametrize("payload", [0, 1, 17, 56, 333, 1000, 1472])
@pytest.mark.parametrize(
    ("service", "title"),
    [("icmp.echo", "an echo comes back"), ("udp.echo", "a datagram comes back")],
)
def test_questions_are_well_formed(
    patterns: Patterns, service: str, title: str, payload: int
) -> None:
    question = ask(patterns, service, title, payload)
    assert question.sent == rebuilt(question.sent)
    assert len(question.sent) == 42 + payload == question.length
    packet = Ether(question.sent)
    assert (packet[IP].src, packet[IP].dst) == ("10.0.2.1", "10.0.2.15")
    assert packet.dst == MAC


def answer_to(frame: bytes) -> bytes:
    """What a right machine answers, by scapy. A wrong payload checksum stays wrong."""
    packet = Ether(frame)
    packet.src, packet.dst = MAC, packet.src
    if ARP in packet:
        arp = packet[ARP]
        arp.op, arp.hwdst, arp.pdst, arp.hwsrc, arp.psrc = 2, arp.hwsrc, arp.psrc, MAC, arp.pdst
        return raw(packet)
    packet[IP].src, packet[IP].dst, packet[IP].ttl = packet[IP].dst, packet[IP].src, 64
    del packet[IP].chksum
    if ICMP in packet:  # RFC 1624: the type fell by 8, so the sum's complement rises
        total = packet[ICMP].chksum + 0x0800
        packet[ICMP].type, packet[ICMP].chksum = 0, (total & 0xFFFF) + (total >> 16)
    if UDP in packet:  # a sum over swapped words stays what it was
        packet[UDP].sport, packet[UDP].dport = packet[UDP].dport, packet[UDP].sport
    return raw(packet)


CASES = [
    ("arp", "who has our address"),
    ("icmp.echo", "an echo comes back"),
    ("udp.echo", "a datagram comes back"),
]


@pytest.mark.parametrize(("service", "title"), CASES)
def test_a_right_answer_is_right(patterns: Patterns, service: str, title: str) -> None:
    for question in questions_of(service, patterns.services, patterns.layouts, GIVEN, seed=3):
        if question.title == title:
            assert judge(question, answer_to(question.sent)) == ""


@pytest.mark.parametrize(("service", "title"), CASES)
def test_no_byte_of_an_answer_may_be_wrong(patterns: Patterns, service: str, title: str) -> None:
    question = ask(patterns, service, title, 17 if service != "arp" else None)
    right = answer_to(question.sent)
    for at in range(len(right)):
        wrong = bytearray(right)
        wrong[at] ^= 0x10
        assert judge(question, bytes(wrong)), f"byte {at} may change unseen"


@pytest.mark.parametrize(("service", "title"), CASES)
def test_an_answer_of_another_length_is_wrong(patterns: Patterns, service: str, title: str) -> None:
    question = ask(patterns, service, title)
    right = answer_to(question.sent)
    assert "expected" in judge(question, right[:-1])
    assert "too many" in judge(question, right + b"\x01")
    assert judge(question, b"") != ""
    assert judge(question, right + bytes(18)) == "", "a card may pad with zeros"


def test_the_question_itself_is_no_answer(patterns: Patterns) -> None:
    for service, title in CASES:
        question = ask(patterns, service, title)
        assert "does not hold" in judge(question, question.sent)


def test_malformed_questions_are_malformed(patterns: Patterns) -> None:
    wrong = ask(patterns, "icmp.echo", "wrong header checksum")
    assert wrong.sent != rebuilt(wrong.sent) and not wrong.answers
    short = ask(patterns, "icmp.echo", "cut short")
    assert len(short.sent) == 60 < len(short.view.frame)
    assert Ether(ask(patterns, "icmp.echo", "options").sent)[IP].ihl == 6
    assert Ether(ask(patterns, "icmp.echo", "a later fragment").sent)[IP].frag == 8
    assert Ether(ask(patterns, "icmp.echo", "from a group").sent)[IP].src == "224.0.0.1"


def test_the_seed_decides_the_payload(patterns: Patterns) -> None:
    def payloads(seed: int) -> list[bytes]:
        found = questions_of("udp.echo", patterns.services, patterns.layouts, GIVEN, seed=seed)
        return [q.sent for q in found]

    assert payloads(1) == payloads(1) != payloads(2)


@pytest.mark.parametrize(
    ("parts", "total"),
    [([], 0), ([b"\x01"], 0x0100), ([b"\xff\xff", b"\x00\x01"], 1), ([Value(0x12345, 32)], 0x2346)],
)
def test_the_sum_is_of_16_bit_words(parts: list[bytes | Value], total: int) -> None:
    assert sum16(parts) == Value(total, 16)


SERVICE = """\
layout Head 4 bytes big
  kind u8
  size u8
  sum  u16
service ping over frame
  header Head
  ask
    kind = 1
{ask}
  example "one"
    payload 4
{example}
"""


def small(ask: str, example: str = "    answer kind == 2") -> Patterns:
    text = SERVICE.format(ask=ask, example=example)
    source = Source("small.pattern", text)
    return resolve((parse(source),), {"small.pattern": source})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("    nosuch = 1", "'nosuch' is no field of this frame"),
        ("    size = 256", "256 does not fit the 8 bits of 'size'"),
        ("    size = nosuch", "unknown name 'nosuch'"),
        ("    size = payload", "'size' is a number, this is bytes"),
        ("    sum = nosuch(1)", "'nosuch' has no meaning in a question"),
        ("    size = sum + 1\n    sum = size + 1", "never settle"),
        ("    sum = sum16(kind) + kind", "'+' of 16 and 8 bits"),
    ],
)
def test_a_rule_that_means_nothing_is_named(asked: str, message: str) -> None:
    with pytest.raises(MetaosError) as refused:
        patterns = small(asked)
        questions_of("ping", patterns.services, patterns.layouts, GIVEN, seed=0)
    assert message in refused.value.render()
    assert "small.pattern:" in refused.value.render()


def test_fields_may_depend_on_later_ones() -> None:
    patterns = small("    size = sum[7:0]\n    sum = ~sum16(payload)")
    (question,) = questions_of("ping", patterns.services, patterns.layouts, GIVEN, seed=0)
    assert question.sent[0] == 1
    assert question.sent[1] == question.sent[3] != 0
