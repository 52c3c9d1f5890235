"""The whole recipe: the same bytes everywhere, the stages' texts, what stops it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec
import pytest

from metaos import pipeline, resources
from metaos.errors import Exit, MetaosError, Span
from metaos.link.image import Image
from metaos.match.system import System, read_system
from metaos.probe.machine import Machine
from metaos.verify.decode import ledger, straight_lines
from metaos.verify.report import Report, Violation
from tests.conftest import GOLDEN
from tests.lower.lowering import MACHINES, machine
from tests.lower.test_golden import WHOLE

pytestmark = pytest.mark.long

QUICK = ("pc-e1000", "pc-virtio", "q35-bridge")
EVERY = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(path.stem for path in MACHINES.glob("*.json"))
    ],
)
_INSTRUCTION = re.compile(r"^  \+0x\w+  (?:[0-9a-f]{2} )+ *([a-z]\w*)", re.MULTILINE)
BUILD = """
import hashlib, sys
from pathlib import Path
from metaos.match.system import read_system
from metaos.pipeline import build
from metaos.probe.store import read_machine
image = build(read_machine(Path(sys.argv[1])), system=read_system())
print(hashlib.sha256(image.data).hexdigest())
"""


def built(name: str, **more: object) -> Image:
    return pipeline.build(machine(name), system=read_system(), **more)  # type: ignore[arg-type]


def elsewhere(name: str, folder: Path, environment: Mapping[str, str]) -> str:
    """The digest of an image built by another process, in another place."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(MACHINES / f"{name}.json")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.strip()


# ---- the same bytes -----------------------------------------------------------------------


@EVERY
def test_twice_the_same(name: str) -> None:
    assert built(name).data == built(name).data


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "0", "LC_ALL": "C", "TZ": "Asia/Tokyo"},
        {"PYTHONHASHSEED": "4242", "LC_ALL": "C.UTF-8", "COLUMNS": "40", "HOME": "/nowhere"},
    ],
    ids=["seed 0", "seed 4242"],
)
def test_the_same_in_another_process(environment: Mapping[str, str], tmp_path: Path) -> None:
    """Other hash seed, locale, time zone, folder: nothing of them reaches the bytes."""
    folder = tmp_path / "somewhere else"
    folder.mkdir()
    wanted = hashlib.sha256(built("pc-bare").data).hexdigest()
    assert elsewhere("pc-bare", folder, environment) == wanted


def test_the_folder_of_patterns_does_not_reach_the_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er" / "patterns"
    for path in resources.PATTERNS.rglob("*.pattern"):
        copy = folder / path.relative_to(resources.PATTERNS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    assert built("pc-e1000", pattern_dirs=[folder]).data == built("pc-e1000").data


def test_the_users_patterns_replace_ours(tmp_path: Path) -> None:
    text = (resources.PATTERNS / "services/banner.pattern").read_text("utf-8")
    (tmp_path / "services").mkdir()
    (tmp_path / "services/banner.pattern").write_text(text.replace("MetaOS", "Other"))
    image = built("pc-e1000", pattern_dirs=[resources.PATTERNS, tmp_path])
    assert b"Other 10.0.2.15" in image.loaded and b"MetaOS 10" not in image.loaded


def test_no_path_of_this_host_is_in_the_image() -> None:
    image = built("pc-e1000")
    texts = [image.data, repr(image.manifest).encode(), repr(image.account).encode()]
    for text in texts:
        assert str(resources.ROOT).encode() not in text
        assert str(Path.home()).encode() + b"/" not in text


# ---- stages -------------------------------------------------------------------------------


@cache
def dumped(stage: str, name: str = "pc-e1000") -> str:
    return pipeline.dump(
        stage, machine(name), system=read_system(), pattern_dirs=[resources.PATTERNS]
    )


def test_the_match_stage() -> None:
    lines = dumped("match").splitlines()
    assert lines[0] == "pci pci_config1" and "00:03.0 i82540em" in lines


def test_the_ir_stage_is_the_golden_text() -> None:
    found = dumped("ir").split("\n\n") if "\n\n" in dumped("ir") else [dumped("ir")]
    kept = {path.read_text("utf-8").strip() for path in (GOLDEN / "ir" / WHOLE).glob("*.ir")}
    assert {part.strip() for part in found} == kept


@EVERY
def test_the_llvm_stage_has_a_function_a_program(name: str) -> None:
    text, programs = dumped("llvm", name), dumped("ir", name).count("\nprogram ") + 1
    assert text.count('@"turn"()') == programs == text.count("unreachable")


def test_the_assembly_stage_has_no_branch() -> None:
    words = set(_INSTRUCTION.findall(dumped("asm")))
    assert {"mov", "or", "cmovne"} <= words
    assert not [w for w in words if w[0] == "j" or w.startswith(("call", "ret", "loop"))]


@EVERY
def test_every_instruction_of_a_dump_has_its_pattern_line(name: str) -> None:
    for stage, start in (("asm", "  +"), ("ir", "  ")):
        lines = [line for line in dumped(stage, name).splitlines() if line.startswith(start)]
        place = re.compile(r"; \(?(?:[\w/]+\.pattern|generated):\d+\)?(?:  .*)?$")
        assert len(lines) > 100
        assert not [line for line in lines if not place.search(line)]


def test_the_assembly_stage_is_the_code_of_the_image_with_its_lines() -> None:
    """Every instruction of the steady phase, in order, with the line that the account gives it."""
    image = built("pc-e1000")
    steady = next(line for line in straight_lines(image) if line.name == "steady")
    book, wanted = ledger(image), []
    for step in steady.steps:
        entry = book.entry(steady.file_offset(step.offset))
        assert entry is not None
        if entry.kind != "code":
            continue
        place = f"{entry.file}:{entry.line}"
        name = str(step.insn.mnemonic).split()[0]
        wanted.append((entry.device, name, place if entry.exact else f"({place})"))
    found = []
    for part in dumped("asm").split("\n\n"):
        head, *lines = part.splitlines()
        if " steady:" in head:
            texts = [line.partition(" ; ") for line in lines]
            found += [
                (head.split()[1], *_INSTRUCTION.findall(code), notes.split()[0])
                for code, _, notes in texts
            ]
    assert found == wanted


def test_the_guard_of_a_dump_tests_the_features_that_the_code_uses() -> None:
    """A processor with MOVBE and more is used, and so tested for: guard has rows of CPUID."""
    plain = machine("pc-e1000")
    flags = tuple({*plain.cpu.flags, "movbe", "bmi1", "bmi2"})
    cpu = msgspec.structs.replace(plain.cpu, leaves=(), others=(), flags=flags)

    def guard(of: Machine) -> str:
        text = pipeline.dump("ir", of, system=read_system(), pattern_dirs=[resources.PATTERNS])
        return text.rpartition("program platform guard")[2]

    assert "cpuid." in guard(msgspec.structs.replace(plain, cpu=cpu))
    assert "cpuid." not in guard(plain)


def test_an_unknown_stage() -> None:
    with pytest.raises(MetaosError) as refused:
        dumped("soup")
    assert refused.value.exit_code is Exit.USAGE and "match, ir, llvm, asm" in refused.value.hint


def test_the_guard_and_the_report_are_baseline_code() -> None:
    """They run on a processor that is perhaps another."""
    from metaos.emit.emit import mnemonics
    from metaos.emit.target import used_features

    image = built("pc-bare")
    assert image.manifest.provenance.cpu_features
    for name in ("guard", "report"):
        ranges = image.manifest.phase(name).code_file
        code = b"".join(image.data[r.start : r.end] for r in ranges)
        assert not used_features(mnemonics([code]))


def test_progress_is_told_in_order() -> None:
    said: list[str] = []
    built("pc-e1000", progress=said.append)
    assert said == [
        "reading patterns", "generating code for 7 devices", "linking", "proving the laws",
    ]  # fmt: skip


# ---- what stops it ------------------------------------------------------------------------


def test_a_broken_law_stops_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    span = Span("net/x.pattern", 3, 5, 9)
    broken = Violation(law=2, place="steady+0x10", message="a conditional branch", span=span)
    monkeypatch.setattr("metaos.pipeline.verify", lambda image: Report(violations=(broken,)))
    with pytest.raises(MetaosError) as refused:
        built("pc-e1000")
    error = refused.value
    assert error.exit_code is Exit.LAW_BROKEN and int(error.exit_code) == 4
    assert [p.code for p in error.problems] == ["LAW2"]
    assert "net/x.pattern:3:5" in error.render()
    assert "steady+0x10: a conditional branch" in error.render()


def test_a_problem_of_a_later_stage_shows_its_line(tmp_path: Path) -> None:
    """The lowering knows no texts; the recipe adds the line and the caret."""
    path = resources.PATTERNS / "net/i8254x.pattern"
    (tmp_path / "net").mkdir()
    text = path.read_text("utf-8").replace("within 10 s", "within 2000 s")
    (tmp_path / "net/i8254x.pattern").write_text(text)
    with pytest.raises(MetaosError) as refused:
        built("pc-e1000", pattern_dirs=[resources.PATTERNS, tmp_path])
    said = refused.value.render()
    number = next(n for n, x in enumerate(text.splitlines(), 1) if "within 2000 s" in x)
    assert f"net/i8254x.pattern:{number}:5: error[E0469]" in said
    assert 'await STATUS.LU == 1 within 2000 s else "no link"' in said and "^^^^" in said


def test_pattern_errors_stop_it_before_anything(tmp_path: Path) -> None:
    (tmp_path / "bad.pattern").write_text("device x : nothing\n  match pci vendor 1\n")
    with pytest.raises(MetaosError) as refused:
        built("pc-e1000", pattern_dirs=[resources.PATTERNS, tmp_path])
    assert "no class 'nothing'" in refused.value.render()
    assert "device x : nothing" in refused.value.render()


def test_a_missing_folder_of_patterns(tmp_path: Path) -> None:
    with pytest.raises(MetaosError, match="no pattern folder"):
        built("pc-e1000", pattern_dirs=[tmp_path / "missing"])


@pytest.mark.parametrize("services", [("banner",), ("arp",), ("udp.echo",), ("arp", "banner")])
def test_systems_of_few_services(services: tuple[str, ...]) -> None:
    system = System(name="few", address="192.168.7.9/24", services=services)
    image = pipeline.build(machine("pc-e1000"), system=system)
    assert (bytes([192, 168, 7, 9]) in image.loaded) == (services != ("banner",))
    assert (b"MetaOS 192.168.7.9" in image.loaded) == ("banner" in services)


@pytest.mark.parametrize(("name", "services"), [("pc-e1000", ()), ("pc-bare", ("banner",))])
def test_a_system_that_has_nothing_to_do(name: str, services: tuple[str, ...]) -> None:
    system = System(name="idle", address="192.168.7.9/24", services=services)
    with pytest.raises(MetaosError, match="'idle' gives this machine nothing to do") as refused:
        pipeline.build(machine(name), system=system)
    assert "services" in refused.value.hint
