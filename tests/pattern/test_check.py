"""What checks let pass, and what they make of several files together."""

from __future__ import annotations

import time

import pytest

from metaos.errors import MetaosError, Source
from metaos.pattern.check import check, demand_sound
from metaos.pattern.check_siblings import demands
from metaos.pattern.patterns import load
from metaos.resources import PATTERNS
from tests.pattern.load import patterns_of, problems_of

HEAD = """source m = "A manual"   # as @m

device d : interrupts
  match platform part
  registers r at 0x20 port 8 bits
"""


def codes(text: str) -> list[str]:
    """The codes of a text's problems."""
    return [p.code for p in problems_of(Source("x.pattern", text))]


def device(body: str) -> str:
    """A device whose registers, at 8-bit ports, and more are `body`, from its first line on."""
    return HEAD + body


def test_our_patterns_are_sound() -> None:
    patterns = load([PATTERNS])
    assert "\n".join(p.render() for p in check(patterns)) == ""
    assert demand_sound(patterns) is patterns


def test_load_and_check_stay_quick() -> None:
    """`metaos build --machine FILE` may take 1.5 s in all; here 0.45 s of processor time.

    Measured alone on 2 cores: 0.20 s to read and 0.06 s to check, a fifth of it for fakes.
    """
    load([PATTERNS])
    start = time.process_time()
    check(load([PATTERNS]))
    assert time.process_time() - start < 0.45


def test_demand_sound_raises_with_every_problem() -> None:
    patterns = patterns_of(Source("x.pattern", device("    0 A rx\n    1 B ro\n")))
    with pytest.raises(MetaosError) as caught:
        demand_sound(patterns)
    assert [p.code for p in caught.value.problems] == ["E0221", "E0211", "E0221"]
    assert "3 problems" in caught.value.message


def test_problems_are_in_the_order_of_their_places() -> None:
    text = device("    0 A rw  @m 1\n      9 F\n  turn\n    A <- hed\n    A <- 256\n")
    places = [(p.span.line, p.span.column) for p in problems_of(Source("x", text)) if p.span]
    assert places == sorted(places)
    assert len(places) == 3


def test_a_problem_of_a_family_is_said_once() -> None:
    family = HEAD.replace("device d", "family f").replace("platform part", "pci vendor 1")
    text = family + "    0 A rw  @m 1\n  turn\n    A <- hed\n"
    text += "".join(f"member m{n} of f\n  match pci device {n}\n" for n in range(3))
    assert codes(text) == ["E0201"]


def test_what_a_member_takes_instead_of_its_family_counts() -> None:
    family = HEAD.replace("device d", "family f").replace("platform part", "pci vendor 1")
    text = family + "    0 A rw  @m 1\n  state s : u8 = 0\n  turn\n    A <- s\n"
    other = "member a of f\n  match pci device 1\nmember b of f\n  match pci device 2\n"
    assert codes(text + other) == []
    assert codes(text + other + "  turn\n    A <- 1\n") == []


@pytest.mark.parametrize(
    "rows",
    [
        "    0 A ro  @m 1\n    0 B wo  @m 1\n",
        "    0 A rc  @m 1\n    0 B w1c  @m 1\n",
        "    3 P rw  @m 1\n      0 F\n    0 A rw page P.F == 0  @m 1\n"
        "    0 B rw page P.F == 1  @m 1\n",
        "    0 A[4] rw  @m 1\n    4 B rw  @m 1\n",
        "    0 A ro  @m 1\n      3:0 F\n      7:4 G\n",
    ],
    ids=["ro and wo", "rc and w1c", "two pages", "behind an array", "fields side by side"],
)
def test_places_that_may_be_shared(rows: str) -> None:
    assert codes(device(rows)) == []


PAGED = """    0 LOW rw page P.F == 0  @m 1
    0 HIGH rw page P.F == 1  @m 1
    3 P rw  @m 1
      0 F
      1 G
"""


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("  sequence init\n    P <- 1\n    HIGH <- 1\n    P <- { G }\n    LOW <- 1\n", []),
        ("  sequence init\n    P.F <- 1\n    HIGH <- 1\n", []),
        ("  sequence init\n    P.F <- 1\n    P.G <- 0\n    HIGH <- 1\n", []),
        ("  sequence init\n    P <- 0\n  turn\n    LOW <- 1\n", []),
        ("  sequence init\n    P <- 0\n  turn\n    P <- 1\n    HIGH <- 1\n    P <- 0\n", []),
        ("  sequence init\n    P <- 0\n  turn\n    LOW <- 1\n    P <- 1\n", ["E0219"]),
        ("  turn\n    when P.G\n      P <- 1\n      HIGH <- 1\n", []),
        ("  turn\n    P <- 1\n    when P.G\n      P <- 0\n    HIGH <- 1\n", ["E0219"]),
        ("  turn\n    P <- 1\n    when P.G\n      P <- 0\n      P <- 1\n    HIGH <- 1\n", []),
        ("  turn\n    P <- 1\n    P <- 1 when P.G\n    HIGH <- 1\n", []),
        ("  turn\n    P <- P\n    HIGH <- 1\n", ["E0219"]),
    ],
)
def test_the_page_is_followed_along_the_line(body: str, found: list[str]) -> None:
    assert codes(device(PAGED + body)) == found


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ("    x = C when B == 1 else 0\n    B <- x\n", []),
        ("    when B == 1\n      B <- C\n", []),
        ("    when B == 1\n      x = C when B == 2 else 0\n      B <- x\n", []),
        ("    B <- C when B == 1\n", ["E0214"]),
        ("    _x = C when B == 1 else 0\n", []),
        ("    _x = C\n", []),
        ("    _x = C\n    _y = C when B == 1 else 0\n", ["E0214"]),
    ],
)
def test_reading_what_reading_clears(step: str, found: list[str]) -> None:
    assert codes(device("    0 C rc  @m 1\n    1 B rw  @m 1\n  turn\n" + step)) == found


SERVICES = """service base over frame
  header Ethernet
service a over base where {a}
  header Arp
service b over base where {b}
  header Ipv4
"""


@pytest.mark.parametrize(
    ("a", "b", "exclusive"),
    [
        ("type == 1", "type == 2", True),
        ("1 == type", "type == 2", True),
        ("type == 1 & src[40] == 0", "src[40] == 0 & type == 2", True),
        ("type == 1 | type == 2", "type == 3", True),
        ("src[40] == 0", "src[40] == 1", True),
        ("type == 1 | type == 2", "type == 2", False),
        ("type == 1 | src == 2", "type == 3", False),
        ("type == 1", "type == 1", False),
        ("type < 5", "type == 6", False),
    ],
)
def test_siblings_exclude_each_other(a: str, b: str, exclusive: bool) -> None:
    found = codes(SERVICES.format(a=a, b=b))
    assert found == ([] if exclusive else ["E0251"])


def test_demands_of_no_condition() -> None:
    assert demands(None) == {}


def test_overlays_are_checked_as_they_stand_together() -> None:
    one = Source("a.pattern", "device d : interrupts\n  match pci vendor 1\n")
    two = Source("b.pattern", "device e : interrupts\n  match pci vendor 1\n")
    (problem,) = problems_of(one, two)
    assert problem.code == "E0231"
    assert problem.span is not None and problem.span.file == "b.pattern"
    assert "a.pattern:1:8" in problem.message
