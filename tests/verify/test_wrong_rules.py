"""Rules that reach where they must not, each refused with its line: by the checks of patterns,

by the lowering, and, where these are switched off, by the proof on the finished bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from metaos import pipeline, resources
from metaos.errors import MetaosError
from metaos.lower import lower as lowering
from metaos.lower.turn import Turn
from metaos.match.bind import bind
from metaos.pipeline import build_proved
from metaos.probe.machine import Machine
from tests.verify.machines import SYSTEM, patterns, recorded

pytestmark = pytest.mark.long

RULE = """source m = "A manual"

device wrong : net.ethernet
  match pci vendor 0x8086 device 0x100E class 0x020000 revision 0x03

  fact regs : window = bar[0]
  {fact}
  registers csr at regs mmio 32 bits little
    0x2800 RDBAL rw  @m 1
    0x3800 TDBAL rw  @m 1
    0x5400 RAL   rw  @m 1
    0x5404 RAH   rw  @m 1
      15:0 LAST
    {register}
  {block}
  layout D 16 bytes little
    63:0    addr
    79:64   length
    96      DD
    111:104 errors

  table rx[16] of D align 16 = {{ addr = &buf[i] }}
  table tx[16] of D align 16 = {{ addr = &buf[i + 16] }}
  table buf[32] of bytes 2048
  state rxb[16] : u5 = i
  state txb[16] : u5 = i + 16
  state head, tail : u4 = 0
  sequence init
    RDBAL <- &rx
    TDBAL <- &tx
    mac[31:0]  <- RAL
    mac[47:32] <- RAH.LAST
    {row}
  turn
    r     = rx[{slot}]
    ready = r.DD
    offer frame at buf[{buffer}] length r.length least 60 when ready -> answered, length
    when answered
      tx[tail] <- {{ addr = {given}, length = length }}
      swap rxb[head], txb[tail]
      tail <- tail + 1
    {step}
    when ready
      rx[head] <- {{ addr = &buf[rxb'[head]] }}
      head <- head + 1
"""
SOUND = {
    "fact": "", "register": "", "block": "", "row": "", "step": "",
    "slot": "head", "buffer": "rxb[head]", "given": "&buf[rxb[head]]",
}  # fmt: skip
OTHERS = tuple(resources.PATTERNS / x for x in ("classes", "services", "platform", "console"))
"""All but the cards' rules, which would take most of the time."""
PIO = "registers pio at {} port {} bits little\n    {} FAR rw  @m 1"
FAR = "registers other at far mmio 32 bits little\n    0x10 FAR rw  @m 1"


def rule(**changes: str) -> str:
    return RULE.format(**{**SOUND, **changes})


@dataclass(frozen=True)
class Wrong:
    """A rule's changes, the code it is refused with, where, and what is said."""

    code: str
    at: str
    said: str
    changes: dict[str, str]


def wrong(code: str, at: str, said: str, **changes: str) -> Wrong:
    return Wrong(code, at, said, changes)


def numbered(at: str, bits: int = 8, offset: int = 0) -> dict[str, str]:
    return {"block": PIO.format(at, bits, offset), "row": "FAR <- 1"}


def far(at: str) -> dict[str, str]:
    return {"fact": f"fact far : window = {at}", "block": FAR, "row": "FAR <- 1"}


WRONG = {
    "an index that a card wrote, to read": wrong(
        "E0207", "35:16", "'tx[tail].length' can be 65535", slot="tx[tail].length"
    ),
    "an index that a card wrote, for a frame": wrong(
        "E0207", "37:24", "'r.length' can be 65535", buffer="r.length"
    ),
    "an index with a bit too many": wrong(
        "E0207", "37:24", "'r.length[5:0]' can be 63", buffer="r.length[5:0]"
    ),
    "a card's pointer followed": wrong("E0207", "37:24", "'r.addr' can be 184", buffer="r.addr"),
    "a card's pointer given back": wrong(
        "E0278", "39:28", "'addr' is an address, 'r.addr' is no table's", given="r.addr"
    ),
    "a card's pointer or a table's": wrong(
        "E0278", "39:28", "is no table's", given="select(r.DD, &buf[0], r.addr)"
    ),
    "an address of an element that is not there": wrong(
        "E0207", "39:33", "'r.length' can be 65535", given="&buf[r.length]"
    ),
    "the address of state": wrong("E0206", "39:28", "a state has no address", given="&mac"),
    "a store where the card says": wrong(
        "E0207", "42:8", "'r.length' can be 65535", step="tx[r.length] <- { length = 1 } when ready"
    ),
    "a store past the table": wrong(
        "E0207", "42:8", "elements 0 to 15, no 16", step="tx[16] <- { length = 1 } when ready"
    ),
    "state indexed by the card": wrong(
        "E0207", "42:9", "'r.errors' can be 255", step="rxb[r.errors] <- 0 when ready"
    ),
    "a row past the table": wrong("E0207", "33:8", "elements 0 to 15", row="rx[16].length <- 1"),
    "a register past its window": wrong(
        "E0478", "14:5", "ends at 0x20004, where its window has 0x20000 bytes",
        register="0x20000 FAR rw  @m 1", row="FAR <- 1",
    ),
    "a register half in its window": wrong(
        "E0478", "14:5", "ends at 0x20002", register="0x1FFFE FAR rw  @m 1", row="FAR <- 1"
    ),
    "a port past its block": wrong(
        "E0478", "16:5", "ends at 0x44, where its window has 0x40 bytes",
        fact="fact io : ports = bar[1]", **numbered("io", 32, 0x40),
    ),
    "a port of another device": wrong(
        "E0477", "16:5", "port 0x3f8 of 00:03.0's 'FAR' is com0's 'THR'", **numbered("0x3F8")
    ),
    "the configuration mechanism": wrong(
        "E0477", "16:5", "is pci's 'CONFIG_ADDRESS'", **numbered("0xCF8", 32)
    ),
    "a port of a function that nothing drives": wrong(
        "E0477", "16:5", "is 00:01.1's BAR 4", **numbered("0xC040")
    ),
    "RAM": wrong("E0477", "7:3", "is the machine's RAM", **far("memory(0x200000, 0x1000)")),
    "another function's window": wrong(
        "E0477", "7:3", "is 00:02.0's BAR 2", **far("memory(0xFEBF0000, 0x1000)")
    ),
    "a window that another rule has": wrong(
        "E0477", "7:3", "is 00:02.0's 'text'", **far("memory(0xB8000, 0x1000)")
    ),
    "configuration space beyond the function's": wrong(
        "E0223", "16:11", "'FAR' ends at 0x108, 'cfg' has 0x100 bytes",
        block="registers cfg config 32 bits\n    0x104 FAR rw  @m 1", row="FAR <- 1",
    ),
}  # fmt: skip


def refused(text: str, folder: Path) -> MetaosError | None:
    """How a build with this rule for the card ends; None if it makes an image."""
    (folder / "wrong.pattern").write_text(text)
    try:
        build_proved(
            recorded("pc-e1000"),
            system=SYSTEM,
            pattern_dirs=(*OTHERS, folder),
            progress=lambda _: None,
        )
    except MetaosError as error:
        return error
    return None


def test_the_rule_is_sound_without_its_changes(tmp_path: Path) -> None:
    assert refused(rule(), tmp_path) is None
    assert refused(rule(buffer="r.length[4:0]"), tmp_path) is None  # masked into the table


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    case = WRONG[name]
    error = refused(rule(**case.changes), tmp_path)
    assert error is not None
    found = [
        (p.code, f"{p.span.line}:{p.span.column}", p.message) for p in error.problems if p.span
    ]
    said = [message for code, at, message in found if (code, at) == (case.code, case.at)]
    assert said and case.said in said[0], found
    assert all(f"{tmp_path}/" in str(p.span) for p in error.problems)


BY_PROOF = {
    "an index that a card wrote, to read": "its index may leave the place it is read from",
    "an index that a card wrote, for a frame": "its index may leave the place it is written to",
    "an index with a bit too many": "its index may leave the place it is written to",
    "a card's pointer followed": "its index may leave the place it is written to",
    "an address of an element that is not there": "the address that it gives may lie outside",
    "a port of another device": "port 0x3f8 of 00:03.0 is com0's com0.THR too",
    "the configuration mechanism": "is pci's pci.CONFIG_ADDRESS too",
    "RAM": "lies over",
    "a window that another rule has": "00:03.0.far too",
    "a register past its window": "a page is not in it",
    "configuration space beyond the function's": "writes register 0x4 of 00:03.1 for 00:03.0",
}


@pytest.mark.parametrize("name", BY_PROOF)
def test_the_proof_refuses_what_no_check_would(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "check_patterns", lambda _: ())
    monkeypatch.setattr(lowering, "demand_claims", lambda *_: None)
    monkeypatch.setattr(Turn, "bounded", lambda *_: None)
    error = refused(rule(**WRONG[name].changes), tmp_path)
    assert error is not None and "breaks a law" in error.message
    assert any(BY_PROOF[name] in problem.message for problem in error.problems)


def with_second_screen(machine: Machine) -> Machine:
    screen = next(f for f in machine.functions if f.class_code == 0x030000)
    other = replace(screen, address="00:06.0", bars=())
    return replace(machine, functions=(*machine.functions, other))


def test_of_two_screens_at_one_address_one_is_served() -> None:
    bindings = bind(with_second_screen(recorded("pc-e1000")), patterns(), SYSTEM)
    assert [b.device.address for b in bindings.bindings][-3:] == ["00:02.0", "00:03.0", "00:06.0"]
    served = lowering.lower(bindings).bindings.bindings
    assert [b.device.address for b in served][-2:] == ["00:02.0", "00:03.0"]
