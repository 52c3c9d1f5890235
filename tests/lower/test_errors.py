"""Every refusal of the lowering: a small rule that has the one fault, its place and message.

Most are found by the checks of patterns first; the lowering believes nobody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from metaos import lower as package
from metaos.errors import MetaosError, Span
from metaos.ir.build import Builder
from metaos.lower.headers import Mine, Wire
from metaos.lower.learn import learn_rows
from metaos.lower.lower import guard, lower
from metaos.lower.passing import Queue
from metaos.lower.services import Services
from metaos.lower.values import Frame
from metaos.match.bind import Bindings, bind
from metaos.match.system import System
from tests.lower import test_platform, test_routes
from tests.lower.lowering import CARD, HEAD, card, machine, patterns_of, problem_of

ROOT = "layout H 4 bytes big\n  a u16\n  b u16\nservice root over frame\n  header H\n"
REGISTERS = (
    "fact regs : window = bar[0]",
    "registers csr at regs mmio 32 bits",
    "  0 R rw @m 1",
    "    3:0 F",
    "    15:8 G",
)
PORTS = ("registers io at 0x70 port 8 bits", "  0 P rw @m 1", "    0 BIT")
LAYOUT = ("layout L 16 bytes little", "  63:0 addr", "  79:64 n", "  96 DONE")
TABLE = (
    *LAYOUT,
    "table t[4] of L align 16",
    "table buf[4] of bytes 2048",
    "state n : u2",
    "state big : u8",
    "state list[4] : u2",
)


@dataclass(frozen=True)
class Fault:
    """A code, the words of its message, and texts that have it."""

    code: str
    words: str
    text: str
    services: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.code} {self.words}"


def device(code: str, words: str, *lines: str) -> Fault:
    return Fault(code, words, card(*lines))


def turn(code: str, words: str, *steps: str) -> Fault:
    lines = (*REGISTERS, *PORTS, *TABLE, "registers cfg config 32 bits", "  4 C rw @m 1")
    text = card(*lines, "turn", *(f"  {x}" for x in steps))
    offers = any(x.startswith("offer") for x in steps)
    return Fault(code, words, text + ROOT + "  send 60\n", ("root",) if offers else ())


def row(code: str, words: str, *rows: str) -> Fault:
    return device(
        code, words, *REGISTERS, *PORTS, *TABLE, "sequence init", *(f"  {x}" for x in rows)
    )


def service(code: str, words: str, *lines: str, more: str = "") -> Fault:
    offering = card(*TABLE, "turn", "  offer frame at buf[n] length big -> x, y")
    text = ROOT + "".join(f"  {line}\n" for line in lines)
    names = re.findall(r"^service (\w+)", text + more, re.MULTILINE)
    return Fault(code, words, text + more + offering, tuple(names))


MANY = [
    f'expect R == {n} else "{{{word}[{n}:0]}}{{{word}[31:{n}]}}"'
    for n in range(31)
    for word in ("place", "wanted", "found")
]
CLOCK = """device c : clock
  match acpi FACP
  registers timer at 0x608 port 32 bits
    0 T ro @m 1
  clock T 24 bits at 3579545 Hz
"""
CONFIG = """device c : config
  match platform pci
  registers p at 0xCF8 port 32 bits
    0 S rw @m 1
    4 D rw @m 1
  registers h config 32 bits
    16 WORD[11] rw @m 1
  access config select S data D enable 1
  sequence attach
    each bar
      WORD[bar.at] <- bar.address
"""
NO_FUNCTION = """device d : interrupts
  match acpi APIC
  registers c config 32 bits
    4 C rw @m 1
  sequence init
    C <- 1
"""

FAULTS = [
    device(
        "E0401", "'regs' is not of type window", "fact regs : window = bar[1]", "turn", "  order"
    ),
    device("E0402", "no layout 'Missing'", "table t[2] of Missing align 8"),
    device("E0403", "a table lies at a window or another", *LAYOUT, "table t[2] of L at 4096"),
    device("E0404", "'0x10' is no window", "registers x at 16 mmio 32 bits", "  0 R rw @m 1"),
    device("E0405", "'t' has 0 elements", "fact n : u8 = 0", "table t[n] of bytes 4"),
    device(
        "E0406",
        "'in' ends 0x6 bytes behind the start of 't', which has 0x4",
        "table t[2] of bytes 2",
        "table in[1] of bytes 4 at t + 2",
    ),
    device("E0407", "too few", "fact n : u8 = 7", 'demand 8 <= n else "too few"'),
    turn("E0428", "'t' has 4 elements, this index can be 4", "n <- t[4].n[1:0]"),
    turn("E0427", "no bits 9:0 in 8 bits", "n <- big[9:0]"),
    turn("E0410", "expected a condition of 1 bit", "n <- 1 when big"),
    turn("E0411", "this cannot stand in a turn", 'n <- "text"'),
    turn("E0412", "unknown name 'nobody'", "n <- nobody"),
    turn("E0412", "unknown table 'nobody'", "n <- nobody[0]"),
    turn("E0413", "'x' is a field of no table's element", "n <- big.x"),
    turn("E0414", "no field 'x' in 'L'", "n <- t[0].x"),
    turn("E0414", "no field 'x' in 'R'", "n <- R.x"),
    turn("E0414", "no field 'x'", "R <- { x = 1 }"),
    turn("E0414", "no field 'x'", "t[0] <- { x = 1 }"),
    turn("E0415", "only tables and states have elements", "n <- 4[1]"),
    turn("E0416", "an index is a number", "n <- list[n == 1]"),
    turn("E0417", "only a table and its elements have addresses", "t[0] <- { addr = &n }"),
    turn("E0418", "config space is reached by rows", "C <- 1"),
    turn("E0418", "config space is reached by rows", "big <- C"),
    turn("E0419", "a guarded read reads a register", "x = n when n == 1 else 0", "big <- x"),
    turn("E0420", "a turn writes states, tables and registers", "nobody <- 1"),
    turn("E0421", "an element is written whole", "t[0] <- 1"),
    turn("E0422", "'swap' takes two elements of state arrays", "swap list[0], n"),
    turn("E0423", "a frame lies at a table's element", "offer frame at n length big -> x, y"),
    turn("E0426", "a block moves between a port and", "read R into buf[0] count n"),
    turn("E0426", "a block moves between a port and", "write P from n count n"),
    turn("E0424", "'DONE' is no field of 1, 2, 4 or 8 whole bytes", "t[0].DONE <- 1"),
    turn(
        "E0425", "'t' is read after this turn has written it", "t[0].n <- 1", "big <- t[1].n[7:0]"
    ),
    service(
        "E0430",
        "one service, and one only",
        "send 60",
        more="service other over frame\n  send 60\n",
    ),
    Fault(
        "E0431",
        "no layout 'Missing'",
        ROOT.replace("header H", "header Missing")
        + "  send 60\n"
        + service("", "").text[len(ROOT) :],
        ("root",),
    ),
    service("E0432", "this is no number of the frame", "accept when a < sum16(header)", "send 60"),
    service("E0433", "expected a comparison", "accept when a", "send 60"),
    service(
        "E0434",
        "write sum16(header) == 0xFFFF",
        "accept when a == 1 & sum16(header) == 0",
        "send 60",
    ),
    service(
        "E0434", "sum16 takes 'header'", "accept when a == 1 & sum16(payload) == 0xFFFF", "send 60"
    ),
    service("E0435", "may be all zeros", "accept when sum16(header) == 0xFFFF", "send 60"),
    service("E0436", "no 'send' says how long the answer is", "accept when a == 1"),
    service("E0437", "no field 'z'", "reply", "  z <- 1", "send 60"),
    Fault(
        "E0438",
        "an answer's field is of whole bytes",
        service("", "", "reply", "  a <- 1", "send 60").text.replace("a u16", "x u4\n  a u12"),
        ("root",),
    ),
    Fault(
        "E0439",
        "a field, a constant or 'update'",
        service("", "", "reply", "  a <- b + 1", "send 60")
        .text.replace("a u16", "a u80")
        .replace("H 4 bytes", "H 12 bytes"),
        ("root",),
    ),
    service("E0440", "makes 16 bits", "reply", "  a <- update(a, b)", "send 60"),
    service(
        "E0440", "takes two fields and a constant", "reply", "  a <- update(a, b, b)", "send 60"
    ),
    service("E0440", "follows one changed byte", "reply", "  a <- update(a, b, 1)", "send 60"),
    service(
        "E0441",
        "'where' is parent's field == constant",
        "send 60",
        more="service inner over root where a < 3\n  send 60\n",
    ),
    service("E0442", "this excludes what else is tested", "accept when a == 1 & a == 2", "send 60"),
    row("E0450", "unknown name 'who' in a text", 'expect R == 1 else "{who}"'),
    row("E0451", "more than 128 different digits", *MANY),
    row(
        "E0452",
        "a report of 303 characters: at most 256",
        f'expect R == 1 else "{{found:x1}}{"x" * 299}"',
    ),
    row("E0460", "a row's place is a register", "big <- P", "t <- 1"),
    device(
        "E0461", "'A' has 2", *REGISTERS[:2], "  0 A[2] rw @m 1", "sequence init", "  A[2] <- 1"
    ),
    row("E0462", "or without bits that are 0 by its align", "R <- &t >> 12"),
    Fault("E0463", "only PCI functions have config space", HEAD + NO_FUNCTION),
    row("E0464", "a state by 8, 16 or 32 bits from a whole byte on", "big[7:4] <- R"),
    row("E0464", "a row keeps bits from bit 0 on", "big <- R.G"),
    row("E0464", "8 bits of a state are no 32 bits of a register", "R <- big"),
    row("E0464", "one bit of a register is kept in one bit of a state", "big[7] <- P.BIT"),
    row("E0464", "8 bits of a state are no 16 bits of a field", "t[0].n <- big"),
    row("E0464", "how long a pause was is kept in 32 bits", "pause 1 ns -> big"),
    row("E0465", "a row tests 'register == value'", 'expect R < 1 else "x"'),
    row("E0414", "no field 'x'", 'expect R.x == 1 else "y"'),
    row("E0414", "no field 'x'", "R <- { x = 1 }"),
    device(
        "E0466",
        "no row can be 'mem32.put'",
        *REGISTERS,
        "state w : u32",
        "sequence init",
        "  R <- w",
    ),
    row(
        "E0467",
        "no clock on this machine bounds this 'await'",
        'await R == 1 within 5 ms else "late"',
    ),
    device(
        "E0468",
        "this machine's config space cannot be reached",
        "registers cfg config 32 bits",
        "  4 C rw @m 1",
        "sequence init",
        "  C <- 1",
    ),
    Fault(
        "E0469",
        "a wait of 2000 s: this machine's clock counts 1199 s",
        card(*PORTS, "sequence init", '  await P == 1 within 2000 s else "late"') + CLOCK,
    ),
    device(
        "E0470",
        "expected a register among I/O ports",
        *REGISTERS,
        "access config select R data R enable 1",
    ),
    device(
        "E0470",
        "a clock counts in a register, among ports or in a window",
        "registers cfg config 32 bits",
        "  4 C rw @m 1",
        "clock C 24 bits at 1000 Hz",
    ),
    device("E0470", "no clock has a period of 0 fs", *REGISTERS, "clock R 24 bits of 0 fs"),
    device(
        "E0480",
        "a table starts as { field = value, ... }",
        *LAYOUT,
        "table t[2] of L align 16 = 5",
        "turn",
        "  t[0].n <- 1",
    ),
    device("E0414", "no field 'x' in 'L'", *LAYOUT, "table t[2] of L align 16 = { x = 1 }"),
    device(
        "E0481",
        "an address starts at a 32-bit boundary",
        "layout L 4 bytes little",
        "  31:8 x",
        "table t[2] of L align 16 = { x = &t }",
    ),
    device(
        "E0482",
        "initial values make 5 runs of equal or evenly spaced numbers",
        *LAYOUT,
        "table t[6] of L align 16 = { addr = i * i * i }",
    ),
    device(
        "E0483",
        "initial values 65536 apart: at most 65535",
        *LAYOUT,
        "table t[3] of L align 16 = { addr = i << 16 }",
    ),
    device(
        "E0484",
        "'buf' has no element 2",
        *LAYOUT,
        "table buf[2] of bytes 64",
        "table t[2] of L align 16 = { addr = &buf[i + 1] }",
    ),
]
FAULTS += [
    device(
        "E0485",
        "an initial value is -1, below 0",
        "table buf[2] of bytes 64",
        "state a[2] : u64 = 0 - i",
        "turn",
        "  a[0] <- 1",
    ),
    service("E0407", "root: never", "constant n : u8 = 3", 'demand n == 4 else "never"', "send 60"),
    service(
        "E0479",
        "00:03.0 carries 'root', and 'card' grants no frame",
        "state n : u8",
        "speak when n != 3",
        "  a = 1",
        "  n <- n + 1",
    ),
    service(
        "E0487",
        "00:03.0 carries 'root', which is to hear all, and 'card' has no",
        "hear all",
        "send 60",
    ),
    service(
        "E0446",
        "'within' looks at a column of the row of 'first'",
        "list rows",
        "  port : u8 range",
        "accept when within(a, rows.port) | a == 1",
        "send 60",
    ),
    device("E0477", "is 00:01.1's BAR 4", "registers io at 0xC040 port 8 bits", "  0 P rw @m 1"),
    device(
        "E0478",
        "'R' ends at 0x20004, where its window has 0x20000 bytes",
        "fact regs : window = bar[0]",
        "registers csr at regs mmio 32 bits",
        "  0x20000 R rw @m 1",
    ),
    device(
        "E0486",
        "elements of 6 bytes begin as zeros",
        "layout L 6 bytes little",
        "  31:0 a",
        "table t[2] of L align 16 = { a = 1 }",
    ),
]

LEARNT = [
    device("E0490", "a learn row writes numbers", *REGISTERS, *TABLE, "learn", "  R <- &t"),
    device(
        "E0492",
        "the window lies at 0x0",
        "fact far : window = memory(0, 4096)",
        "registers csr at far mmio 32 bits",
        "  0 R rw @m 1",
        "learn",
        "  x := R else 0",
    ),
    device("E0491", "keeps a register or a field of one", *PORTS, "learn", "  x := P[1:0] else 0"),
    device("E0414", "no field 'X'", *PORTS, "learn", "  x := P.X else 0"),
]

ELSEWHERE = {
    "E0445": "test_headers_too_long_to_be_passed_on",
    "E0443": "test_no_console_to_hear",
    "E0444": "test_a_text_too_short_before_its_line",
    "E0474": "test_the_processor_is_woken_by_a_register_in_memory",
    "E0471": "test_a_card_that_firmware_left_alone",
    "E0472": "test_a_text_too_long_for_a_console",
    "E0473": "test_a_file_with_a_window_over_ours_is_refused",
    "E0475": "test_a_line_behind_the_last_is_refused",
}
"""Codes that need more than a rule: the tests below, and those of test_platform.py and
test_routes.py."""


def bindings_of(fault: Fault) -> Bindings:
    system = System(name="test", address="10.0.2.15/24", services=fault.services)
    return bind(machine(), patterns_of(fault.text), system)


def refused(fault: Fault, error: MetaosError) -> None:
    code, text = problem_of(error)
    assert code == fault.code and fault.words in text, text
    (problem,) = error.problems
    assert problem.span is not None and problem.span.file == "0.pattern"
    lines = fault.text.split("\n")
    assert 0 < problem.span.line <= len(lines)
    assert problem.span.column <= len(lines[problem.span.line - 1]) + 1


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_refused(fault: Fault) -> None:
    with pytest.raises(MetaosError) as error:
        guard(lower(bindings_of(fault)), ())
    refused(fault, error.value)


@pytest.mark.parametrize("fault", LEARNT, ids=str)
def test_learn_rows_refused(fault: Fault) -> None:
    with pytest.raises(MetaosError) as error:
        learn_rows(machine(), patterns_of(fault.text))
    refused(fault, error.value)


def test_a_card_that_firmware_left_alone() -> None:
    import msgspec

    whole = machine()
    (given,) = (f for f in whole.functions if f.address == "00:03.0")
    bars = tuple(msgspec.structs.replace(b, address=0) for b in given.bars)
    functions = tuple(
        msgspec.structs.replace(f, bars=bars) if f is given else f for f in whole.functions
    )
    bare = msgspec.structs.replace(whole, functions=functions)
    text = card(*REGISTERS, "sequence init", "  R <- 1") + CONFIG
    system = System(name="test", address="10.0.2.15/24", services=())
    with pytest.raises(MetaosError) as error:
        lower(bind(bare, patterns_of(text), system))
    code, said = problem_of(error.value)
    assert code == "E0471" and "00:03.0: BAR 0 has no address" in said and "probe" in said


def test_the_processor_is_woken_by_a_register_in_memory() -> None:
    text = HEAD + "device pic : interrupts\n  match platform pci\n"
    text += "  registers p at 0x20 port 8 bits\n    0 W wo @m 1\n  wake W <- 1\n"
    system = System(name="test", address="10.0.2.15/24", services=(), idle="halt")
    with pytest.raises(MetaosError) as error:
        lower(bind(machine(), patterns_of(text), system))
    code, said = problem_of(error.value)
    assert code == "E0474" and "register in memory" in said


def test_a_text_too_long_for_a_console() -> None:
    console = (
        HEAD
        + "device com : console\n  match legacy com\n  registers p at legacy.port port 8 bits\n"
        "    0 THR wo @m 1\n  turn\n    take text -> char, some\n    THR <- char when some\n"
        "    advance text when some\n"
        f'service hello over console\n  say "{{my.name}}{"x" * 250}"\n'
    )
    for name, fits in (("abc", True), ("abcd", False)):
        system = System(name=name, address="10.0.2.15/24", services=("hello",))
        bindings = bind(machine(), patterns_of(console), system)
        if fits:
            (text,) = (d for d in lower(bindings).data if d.name == "banner")
            assert len(text.data) == 256 and text.data.endswith(b"x\r\n\0")
            continue
        with pytest.raises(MetaosError) as error:
            lower(bindings)
        code, said = problem_of(error.value)
        assert code == "E0472" and "257 characters, at most 256" in said


SHOWING = (
    "device com : console\n  match legacy com\n  registers p at legacy.port port 8 bits\n"
    "    0 THR wo @m 1\n  turn\n    take text -> char, some\n    THR <- char when some\n"
    "    advance text when some\n"
)
HEARING = (
    ROOT + '  hear 2 lines of 8\n  speak when line.waiting\n    text "log {line}"\n',
    card(
        *TABLE, "turn", "  offer frame at buf[n] length big -> x, y", "  grant frame at buf[n] -> z"
    ),
)


def hearing_refused(code: str, words: str, more: str) -> None:
    fault = Fault(code, words, HEARING[1] + HEARING[0] + more, ("root",))
    with pytest.raises(MetaosError) as error:
        lower(bindings_of(fault))
    refused(fault, error.value)


def test_no_console_to_hear() -> None:
    hearing_refused("E0443", "the machine has no console to hear", "")


def test_a_text_too_short_before_its_line() -> None:
    words = "a text has 56 characters before its line at least, this has 4"
    hearing_refused("E0444", words, SHOWING)


def test_headers_too_long_to_be_passed_on() -> None:
    text = ROOT + "  layout Long 40 bytes big\n    all u320\n  pass as Long\n"
    patterns = patterns_of(text)
    queue = Queue("to", Span("", 1, 1, 2))
    own = Services(
        tuple(patterns.services.values()), patterns.layouts, Mine(1, "mac"), wire=Wire(beyond=queue)
    )
    b = Builder("card", "steady")
    frame = Frame(b.address("frame"), b.const(60, 32), b.const(0, 64), 60)
    with pytest.raises(MetaosError) as refused:
        own(b, frame)
    assert "E0445" in refused.value.render() and "-32 to 16 can be" in refused.value.render()


def test_every_code_has_a_case() -> None:
    folder = Path(next(iter(package.__path__)))
    written = set()
    for module in folder.glob("*.py"):
        written |= set(re.findall(r'"(E0\d{3})"', module.read_text("utf-8")))
    shown = {f.code for f in (*FAULTS, *LEARNT)} | set(ELSEWHERE)
    assert written - shown == set(), "codes without a case here"
    assert shown - written == set(), "codes that nothing says any more"
    others = vars(test_platform).keys() | vars(test_routes).keys()
    assert set(ELSEWHERE.values()) <= globals().keys() | others


def test_all_texts_are_said() -> None:
    console = (
        HEAD
        + "device com : console\n  match legacy com\n  registers p at legacy.port port 8 bits\n"
        "    0 THR wo @m 1\n  turn\n    take text -> char, some\n    THR <- char when some\n"
        "    advance text when some\n"
        'service a over console\n  say "one"\nservice b over console\n  say "two {my.ip}"\n'
    )
    system = System(name="test", address="10.0.2.15/24", services=("b", "a"))
    (text,) = (d for d in lower(bind(machine(), patterns_of(console), system)).data
               if d.name == "banner")  # fmt: skip
    assert text.data.rstrip(b"\0") == b"two 10.0.2.15\r\none\r\n"
    assert [(x.start, x.end, x.span.line) for x in text.lines] == [(0, 15, 13), (15, 256, 11)]


def test_a_rule_without_a_fault_is_lowered() -> None:
    """The pieces that the cases above are made of are sound."""
    rule = service("", "", "accept when a == 1", "reply", "  b <- 2", "send 60")
    lowered = lower(bindings_of(rule))
    assert [p.device for p in lowered.programs if p.phase == "steady"] == ["00:03.0"]
    assert CARD in rule.text
