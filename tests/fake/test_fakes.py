"""Fakes written in patterns: rules pass on them, broken rules fail and say where."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from metaos import resources
from metaos.errors import Exit, MetaosError, Source
from metaos.fake import emulate, run
from metaos.fake.device import FakeDevice
from metaos.fake.machine import MAC
from metaos.fake.numbers import Word, binary, bits, unary
from metaos.fake.prepare import prepare
from metaos.fake.results import Results, text
from metaos.fake.seen import Seen
from metaos.fake.station import Station
from metaos.match.system import read_system
from metaos.pattern import syntax as s
from metaos.pattern.parse import parse
from metaos.pattern.patterns import Patterns, load, resolve
from metaos.pattern.spell import walk
from tests.command import metaos
from tests.fake import i8254x, ne2000
from tests.model.frames import frames

pytestmark = pytest.mark.long

UNTESTED = {"pci_config1"}
"""Devices whose patterns have no fake or no example yet."""
QUICK = (
    "uart16550",
    "vga_text",
    "pic8259",
    "event_timer",
    "pit8254",
    "acpi_pm_timer",
    "i82540em",
    "ne2000",
    "virtio_net_mmio",
    "services/arp.pattern",
)


@cache
def ours() -> Patterns:
    return load([resources.PATTERNS])


def results_of(wanted: str, patterns: Patterns | None = None) -> Results:
    return run.run_tests(patterns or ours(), read_system(), wanted)


@pytest.mark.parametrize("name", QUICK)
def test_our_rules_pass_and_their_examples_reach_everything(name: str) -> None:
    results = results_of(name)
    assert results.passed, text(results)
    assert all(not reach.missed for x in results.tested for reach in x.reach)


@pytest.mark.slow
def test_all_our_rules_pass() -> None:
    results = results_of("")
    assert results.passed, text(results)
    devices = [x for x in results.tested if x.kind == "device"]
    assert {x.name for x in devices if x.untested} == UNTESTED
    assert all(not reach.missed for x in devices for reach in x.reach)


BROKEN = {
    "the tail is not moved": (
        "net/i8254x.pattern", "TDT  <- tail + 1", "TDT  <- tail", "i82540em",
        "expected 60 bytes sent, found nothing sent",
    ),
    "the descriptor asks for no status": (
        "net/i8254x.pattern", "EOP, IFCS, RS }", "EOP, IFCS }", "i82540em",
        "a descriptor without EOP, IFCS or RS (net/i8254x.pattern:",
    ),
    "the buffer stays the card's": (
        "net/i8254x.pattern", "      swap rxb[head], txb[tail] when !said\n", "", "i82540em",
        "expected rxb[0] == 0x10, found rxb[0] is 0x0",
    ),
    "the card looks for work all the time": (
        "net/pcnet.pattern", "DPOLL, APAD_XMT", "APAD_XMT", "pcnet",
        "it looks at its transmit ring all the time (net/pcnet.pattern:",
    ),
    "a ring is not aligned": (
        "net/i8254x.pattern", "table rx[16] of RxDesc align 16",
        "table rx[16] of RxDesc at odd + 4", "i82540em", "the ring is not on 16 bytes",
    ),
    "the transmitter is not enabled": (
        "net/i8254x.pattern", "TCTL   <- { EN, PSP,", "TCTL   <- { PSP,", "i82540em",
        "TDT moves before TCTL.EN",
    ),
    "a character is not waited for": (
        "console/ns16550.pattern", "THR   <- char when ready", "THR   <- char when some",
        "uart16550", "a character is written before the last one is out",
    ),
    "remote DMA is too short": (
        "net/ne2000.pattern", "<- { DWORDS = 3 }", "<- { DWORDS = 2 }", "ne2000",
        "the data port is read without a remote DMA",
    ),
    "the queue is not enabled": (
        "net/virtio_net_pci.pattern", "QUEUE_ENABLE      <- 1", "QUEUE_ENABLE      <- 0",
        "virtio_net_modern", "DRIVER_OK before FEATURES_OK or the queues",
    ),
    "a service forgets a field": (
        "services/udp.pattern", "    dport <- sport\n", "", "udp.echo", "does not hold",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_rule_fails_and_says_where(what: str) -> None:
    file, old, new, name, said = BROKEN[what]
    source = ours().sources[file]
    assert source.text.count(old) == 1
    broken = source.text.replace(old, new)
    if "at odd" in new:
        odd = "  table odd[1] of bytes 264 align 16\n"
        broken = broken.replace("  table rx[16]", f"{odd}  table rx[16]")
    files = tuple(parse(Source(file, broken)) if f.name == file else f for f in ours().files)
    results = results_of(name, resolve(files, ours().sources))
    failed = [outcome for x in results.tested for outcome in x.failed]
    assert any(said in outcome.detail for outcome in failed), text(results)
    assert all(x.at for x in failed if said in x.detail) or "services" in file
    assert said in text(results)


# ---- both say the same: the strict models of tests/fake and the patterns' fakes


class Model:
    """A model of tests/fake where a station expects a pattern's fake."""

    def __init__(self, card: i8254x.Card | ne2000.Card, fake: FakeDevice, first: int) -> None:
        self.card, self.plan, self.first = card, fake.plan, first
        self.pace = fake.pace
        self.symbol = next(iter(fake.plan.registers.values())).symbol

    def read(self, symbol: str, offset: int, width: int) -> int | None:
        return self.card.read(offset - self.first, width) if self.mine(symbol, offset) else None

    def write(self, symbol: str, offset: int, width: int, value: int) -> bool:
        if self.mine(symbol, offset):
            self.card.write(offset - self.first, width, value)
        return self.mine(symbol, offset)

    def mine(self, symbol: str, offset: int) -> bool:
        return symbol == self.symbol and 0 <= offset - self.first < self.card.size


Make = Callable[[Station], i8254x.Card | ne2000.Card]
MODELS: dict[str, Make] = {
    "i82540em": lambda station: i8254x.Card(station, MAC.to_bytes(6, "big")),
    "ne2000": lambda station: ne2000.Card(MAC.to_bytes(6, "big")),
}


@pytest.mark.parametrize("name", MODELS)
def test_fake_and_model_send_the_same_for_random_frames(name: str) -> None:
    pattern = ours().devices[name]
    prepared = prepare(pattern, ours(), read_system(), {}, "")
    address = prepared.device.address
    one, other = (prepared.station(Seen(), {}, emulated=False) for _ in range(2))
    fake = one.fakes[address]
    ports = [r.number for r in prepared.device.registers.values() if r.space == "port"]
    card = MODELS[name](other)
    other.fakes[address] = Model(card, fake, min(ports, default=0))  # type: ignore[assignment]
    assert one.start() is None
    assert other.start() is None
    taken, draw = 0, random.Random(7)
    for frame in frames(3, 150, MAC.to_bytes(6, "big"), bytes([10, 0, 2, 15])):
        if card.deliver(frame):  # the models filter addresses and lengths, the fakes do not
            taken += 1
            assert fake.arrive(frame.ljust(60, b"\0"))
        if draw.randrange(3):
            for station in (one, other):
                station.turn()
        assert fake.sent == card.sent
    assert taken > 75
    assert len(card.sent) > 25


# ---- numbers, arguments


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (binary("+", Word(15, 4), Word(1)), Word(0, 4)),
        (binary("+", Word(15), Word(1)), Word(16)),
        (binary("-", Word(0, 8), Word(1, 4)), Word(255, 8)),
        (binary("&", Word(0xFF, 8), unary("~", Word(1))), Word(0xFE, 8)),
        (binary("<<", Word(3, 2), Word(1)), Word(2, 2)),
        (binary(">>", Word(0xF0, 8), Word(4)), Word(15, 4)),
        (binary("<=", Word(4, 8), Word(4)), Word(1, 1)),
        (unary("~", Word(5, 4)), Word(10, 4)),
        (bits(Word(0xABCD, 16), 11, 4), Word(0xBC, 8)),
    ],
)
def test_numbers_wrap_as_the_language_says(found: Word, wanted: Word) -> None:
    assert found == wanted


def test_without_unicorn_the_output_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "available", lambda: False)
    results = results_of("pic8259")
    assert (results.engines, results.unicorn, results.passed) == (("interpreter",), False, True)
    assert "unicorn is not installed, so the emitted code was not run" in text(results)


def test_unicorn_runs_the_emitted_code() -> None:
    assert emulate.available()
    assert "unicorn" in results_of("pic8259").engines


def test_a_name_that_is_none_is_a_usage_error() -> None:
    with pytest.raises(MetaosError, match="no pattern and no pattern file 'i8254y'") as error:
        results_of("i8254y")
    assert error.value.exit_code is Exit.USAGE
    assert "did you mean 'i8254x'?" in error.value.hint


@pytest.mark.parametrize(("name", "code"), [("pic8259", 0), ("i8254y", 2)])
def test_the_verb(name: str, code: int) -> None:
    done = metaos("patterns", "test", "--json", name)
    assert done.returncode == code, done.stderr
    if not code:
        (one,) = json.loads(done.stdout)["tested"]
        assert [(x["name"], x["passed"]) for x in one["examples"]] == [
            ("every line is masked but the slave's", True),
            ("the local APIC takes what the 8259 says", True),
            ("there is none", True),
        ]


def test_a_file_brings_its_folder(tmp_path: Path) -> None:
    folders = (resources.PATTERNS,)
    inside = resources.PATTERNS / "net" / "ne2000.pattern"
    assert run.located("ne2000", folders) == (folders, "ne2000")
    assert run.located(str(inside), folders) == (folders, "net/ne2000.pattern")
    (tmp_path / "net").mkdir()
    for name in ("ne2000.pattern", "mine.pattern"):
        (tmp_path / "net" / name).write_text(inside.read_text("utf-8"))
    own = str(tmp_path / "net" / "ne2000.pattern")
    assert run.located(own, folders) == ((*folders, tmp_path), "net/ne2000.pattern")
    own = str(tmp_path / "net" / "mine.pattern")
    assert run.located(own, folders) == ((*folders, tmp_path / "net"), "mine.pattern")


def test_fakes_leave_nothing_in_the_rule() -> None:
    for pattern in ours().devices.values():
        assert not any(isinstance(x, s.Fake | s.Trial) for x in walk(pattern.items))
