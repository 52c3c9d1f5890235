"""Traces of finished images: every example, the same bytes as in unicorn, rows, what is said."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metaos.boot.acceptance import given_of
from metaos.boot.questions import Question, judge, questions_of
from metaos.errors import Exit, MetaosError
from metaos.match.system import read_system
from metaos.trace.bench import bench_of
from metaos.trace.follow import Follower
from metaos.trace.names import names_of
from metaos.trace.records import Trace, Turn
from metaos.trace.text import text
from tests.image.conftest import drain
from tests.image.harness import Station
from tests.trace.conftest import Built, built

pytestmark = pytest.mark.long

MAC = 0x52_54_00_12_34_56
SERVICES = ("arp", "icmp.echo", "udp.echo")


def questions(one: Built) -> Iterator[tuple[str, Question]]:
    """Every question of the default system's services by the name that trace has for it."""
    patterns = one.made.lowered.bindings.patterns
    given = given_of(ipaddress.IPv4Interface("10.0.2.15/24"), MAC)
    for service in SERVICES:
        found = questions_of(service, patterns.services, patterns.layouts, given, seed=0)
        yield from ((f"{service}/{n}", q) for n, q in enumerate(found, 1))


def check_examples(one: Built) -> None:
    tried = 0
    for name, question in questions(one):
        arrival = one.trace(name).arrivals[0]
        assert arrival.offered, name
        assert arrival.answered == bool(question.answers), name
        if question.answers:
            assert not judge(question, bytes.fromhex(arrival.answer)), name
        tried += 1
    assert tried > 40


def test_every_example_gets_its_answer_or_silence(e1000: Built) -> None:
    check_examples(e1000)


def test_a_card_that_moves_frames_through_ports_too(ne2k: Built) -> None:
    check_examples(ne2k)
    assumed = [c.place for c in ne2k.trace("arp").arrivals[0].assumed]
    assert assumed == ["00:03.0.REMOTE, read 1 of the turn"]


def test_a_card_whose_rings_count_up(virtio: Built) -> None:
    check_examples(virtio)
    found = virtio.trace("arp", turns=3)
    assert all(a.answered for a in found.arrivals)
    counters = [[c.after for c in a.assumed if c.place.endswith("used[0].idx")] for a in
                found.arrivals]  # fmt: skip
    assert counters == [["1"], ["2"], ["3"]]


def test_memory_is_what_unicorn_leaves(e1000: Built) -> None:
    """The same RAM, the same frames: after a turn every place of the image is the same."""
    machine = e1000.made.lowered.bindings.machine
    station = Station(e1000.image, machine)
    station.boot()
    drain(station)
    card: Any = station.nic
    for name, question in questions(e1000):
        assert card.deliver(question.sent), name
        bench = bench_of(e1000.image, "steady")
        for place in bench.ram:
            bench.ram[place].data[:] = station.place(place)
        names = names_of(e1000.made.lowered, e1000.image, bench)
        Follower(e1000.image, bench, names, ports=bench.ports, ops={}).turn(1)
        card.held = True  # so that nothing is written back yet
        station.turn(None)
        wrong = [
            p for p in bench.ram if p != "stack" and bytes(bench.ram[p].data) != station.place(p)
        ]
        assert not wrong, name
        card.held = False
        card.release()
        station.turn(None)


def test_an_instruction_has_its_line_op_and_effect(e1000: Built) -> None:
    found = e1000.trace("icmp.echo")
    steps = [s for s in found.turns[0].steps if s.file == "services/icmp.pattern" and s.line == 5]
    assert found.sources["services/icmp.pattern:5"].startswith("accept when type == 8")
    assert [s.text.split()[0] for s in steps] == ["cmp", "cmovne"]
    assert any("eq u16" in op for op in steps[0].ir)
    assert steps[0].reads[0].place == "frame+34"
    assert steps[0].reads[0].after == "08 00"
    ring = [w for s in found.turns[0].steps for w in s.writes if w.place == "00:03.0.tx[0].length"]
    assert [(w.before, w.after) for w in ring] == [("0", "0x2a")]
    device = [w for s in found.turns[0].steps for w in s.writes if w.place == "00:03.0.TDT"]
    assert [(w.before, w.after) for w in device] == [("", "0x1")]


def test_what_a_closed_gate_keeps_is_said(e1000: Built) -> None:
    found = e1000.trace("arp")
    shadows = [w.place for s in found.turns[0].steps for w in s.writes if "shadow" in w.place]
    assert "nothing (shadow of frame+34)" in shadows
    refused = e1000.trace("icmp.echo", sets=("rx[0].errors=1",))
    assert refused.arrivals[0].closed == ("net/i8254x.pattern:107",)
    assert not refused.arrivals[0].answered
    assert "offer frame at buf[rxb[head]]" in text(refused)
    # the descriptor is given back all the same
    assert "00:03.0.RDT" in {w.place for s in refused.turns[0].steps for w in s.writes}


def test_turns_follow_each_other_through_the_ring(e1000: Built) -> None:
    found = e1000.trace("arp", turns=17)
    assert all(a.answered for a in found.arrivals)
    assert len({a.place for a in found.arrivals}) == 17
    assert [t.number for t in found.turns] == list(range(1, 18))


def test_a_length_that_a_person_sets_is_kept(e1000: Built) -> None:
    found = e1000.trace("icmp.echo/4", sets=("rx[0].length=60",))
    assert found.arrivals[0].length == 60
    assert not found.arrivals[0].answered  # longer than what came
    assert "the turn takes it for 60 bytes" in text(found)


def test_a_register_answers_what_is_set(e1000: Built) -> None:
    def printed(turn: Turn) -> list[str]:
        return [w.after for s in turn.steps for w in s.writes if w.place.startswith("com0.THR")]

    assert not printed(e1000.trace("arp").turns[0])
    found = e1000.trace("arp", sets=("com0.LSR=0x20",), turns=3)
    assert [printed(t) for t in found.turns] == [["0x4d"], ["0x65"], ["0x74"]]  # "Met"


def passed(found: Trace) -> list[bool]:
    return [row.passed for row in found.rows]


def test_the_rows_of_the_start_phases_pass_on_their_machine(e1000: Built, ne2k: Built) -> None:
    for one in (e1000, ne2k):
        guard, init = one.trace(phase="guard"), one.trace(phase="init")
        assert all(passed(guard))
        assert all(passed(init))
        assert (guard.ends, init.ends) == ("every row passes: init", "every row passes: wipe")
        assert {row.source for row in guard.rows} == {"", "machine file"}
        kept = [row for row in init.rows if row.kind.partition(".")[2].startswith("keep")]
        assert kept and {row.source for row in kept} == {"machine file"}


def test_a_row_that_fails_is_reported_in_its_words(e1000: Built) -> None:
    other = ("00:03.0.config[0]=0x100f8086",)
    guard = e1000.trace(phase="guard", sets=other)
    assert passed(guard)[-1] is False
    assert guard.rows[-1].says == (
        "00:03.0 changed: expected 8086:100e, found 8086:100f; probe and build again"
    )
    report = e1000.trace(phase="report", sets=other)
    assert report.ends.endswith(guard.rows[-1].says)
    down = e1000.trace(phase="init", sets=("STATUS.LU=0",))
    assert (down.rows[-1].source, down.rows[-1].passed) == ("--set", False)
    assert "10 s" in down.ends
    assert "no link" in e1000.trace(phase="report", sets=("STATUS.LU=0",)).ends
    assert "never begins" in e1000.trace(phase="report").ends


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"card": "00:09.0"}, "the image has no network card 00:09.0"),
        ({"phase": "wipe"}, "there is no phase 'wipe' to trace"),
        ({"turns": 0}, "0 turns"),
        ({"sets": ("rx[16].DD=1",)}, "'rx' has 16 elements"),
        ({"sets": ("rx[0].DE=1",)}, "no field 'DE'"),
        ({"sets": ("rx[0]=1",)}, "name a field"),
        ({"sets": ("hed=1",)}, "no table, state or register"),
        ({"sets": ("head=16",)}, "does not fit 4 bits"),
        ({"sets": ("head",)}, "expected PLACE=NUMBER"),
        ({"sets": ("head=x",)}, "expected PLACE=NUMBER"),
        ({"frame": ""}, "for a FRAME"),
    ],
)
def test_what_cannot_be_traced_is_one_error(
    e1000: Built, wanted: dict[str, object], message: str
) -> None:
    with pytest.raises(MetaosError, match=message.replace("[", r"\[")) as raised:
        e1000.trace(**{"frame": "arp"} | wanted)  # type: ignore[arg-type]
    assert raised.value.exit_code == Exit.USAGE


def test_an_image_without_a_card_has_start_phases_only(tmp_path: Path) -> None:
    system = tmp_path / "quiet.toml"
    system.write_text('name = "quiet"\naddress = "10.0.2.15/24"\nservices = ["banner"]\n', "utf-8")
    quiet = built("pc-e1000", read_system(system))
    assert all(passed(quiet.trace(phase="guard")))
    with pytest.raises(MetaosError, match="the image has no network card"):
        quiet.trace("arp")


def test_json_keeps_every_bit(e1000: Built) -> None:
    found = e1000.trace("udp.echo")
    again = msgspec.json.decode(msgspec.json.encode(found), type=Trace)
    assert again == found
    assert all(int(c.after, 16) < 1 << 64 for s in found.turns[0].steps for c in s.registers)
