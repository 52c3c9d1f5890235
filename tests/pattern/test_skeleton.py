"""`metaos patterns new`: every skeleton checks clean, and is what the device has."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from metaos import cli_new, pipeline, resources
from metaos.errors import Exit, MetaosError
from metaos.match.likely import likely_class, wanted
from metaos.match.system import read_system
from metaos.pattern import syntax as s
from metaos.pattern.patterns import Pattern, Patterns
from metaos.pattern.skeleton import Bar, Wanted, pytest_text, skeleton, template
from metaos.probe.machine import Machine, Origin, Unknown
from metaos.probe.store import read_machine
from tests.command import metaos

pytestmark = pytest.mark.long

MACHINE_FILE = Path(__file__).parents[1] / "data" / "machines" / "pc-e1000.json"
CLASSES = ("general", "console", "net.ethernet")
CARD, SCREEN, BRIDGE = "00:03.0", "00:02.0", "00:00.0"


@pytest.fixture(scope="module")
def patterns() -> Patterns:
    return pipeline.read_patterns([resources.PATTERNS])


@pytest.fixture(scope="module")
def machine() -> Machine:
    return read_machine(MACHINE_FILE)


def checked(text: str, folder: Path) -> Pattern:
    """The device of a pattern file, checked with MetaOS's classes."""
    (folder / "new.pattern").write_text(text, "utf-8")
    return pipeline.read_patterns([resources.PATTERNS / "classes", folder]).devices["mine"]


def text_for(found: Wanted, patterns: Patterns) -> str:
    return skeleton(found, template(found.class_name, patterns, [resources.PATTERNS]))


@pytest.mark.parametrize("class_name", CLASSES)
@pytest.mark.parametrize(
    "bars",
    [
        (Bar(index=0, ports=False, size=4096),),
        (Bar(index=2, ports=True),),
        (Bar(index=0, ports=True, size=32), Bar(index=1, ports=False), Bar(index=4, ports=True)),
    ],
)
def test_every_skeleton_checks_clean(
    class_name: str, bars: tuple[Bar, ...], patterns: Patterns, tmp_path: Path
) -> None:
    found = Wanted(
        name="mine", class_name=class_name, keys=(("vendor", 0x1234), ("device", 0x11E8)),
        about="a device", bars=bars, notes=("a note",),
    )  # fmt: skip
    text = text_for(found, patterns)
    assert "${" not in text and "# a note" in text
    device = checked(text, tmp_path)
    assert device.class_name == class_name
    facts = {spelled.name: spelled.type for spelled in device.of(s.Fact)}
    kinds = ["ports" if bar.ports else "window" for bar in bars]
    assert list(facts.values()) == kinds
    assert len(device.of(s.Registers)) == len(bars)


@pytest.mark.parametrize("address", [CARD, SCREEN, BRIDGE])
def test_what_the_machine_says_wins_and_becomes_an_image(
    address: str, patterns: Patterns, machine: Machine, tmp_path: Path
) -> None:
    found = wanted("mine", machine, address, patterns)
    checked(text_for(found, patterns), tmp_path)
    image = pipeline.build(
        machine, system=read_system(), pattern_dirs=[resources.PATTERNS, tmp_path]
    )
    served = {d.address: d.pattern for d in image.manifest.provenance.devices}
    assert served[address] == "mine"


def test_the_class_is_that_of_like_devices(patterns: Patterns, machine: Machine) -> None:
    functions = {f.address: f for f in machine.functions}
    assert likely_class(functions[CARD], patterns) == "net.ethernet"
    assert likely_class(functions[SCREEN], patterns) == "console"
    assert likely_class(functions[BRIDGE], patterns) == "general"


def test_what_is_not_known_is_said(patterns: Patterns, machine: Machine) -> None:
    def without(what: str) -> Machine:
        unknown = Unknown(what=f"{CARD} {what}", reason="not root", origin=Origin.SYSFS)
        return msgspec.structs.replace(machine, unknown=(unknown,))

    sizes = wanted("mine", without("bar 0 size"), CARD, patterns).bars
    assert not sizes[0].size and all(bar.size for bar in sizes[1:])
    assert "size is not known" in text_for(
        wanted("mine", without("bar 0 size"), CARD, patterns), patterns
    )
    notes = wanted("mine", without("capabilities"), CARD, patterns).notes
    assert "its capabilities could not be read" in notes
    with pytest.raises(MetaosError, match="not known: not root"):
        wanted("mine", without("ids"), CARD, patterns)


def test_a_folders_own_skeleton_comes_first(patterns: Patterns, tmp_path: Path) -> None:
    (tmp_path / "classes").mkdir()
    (tmp_path / "classes" / "console.skeleton").write_text("class ${name}\n")
    text = template("console", patterns, [resources.PATTERNS, tmp_path])
    found = Wanted(
        name="x", class_name="console", keys=(), about="", bars=(Bar(index=0, ports=True),)
    )
    assert skeleton(found, text) == "class x\n"


def test_the_verb_writes_both_files(tmp_path: Path) -> None:
    done = metaos("patterns", "new", "mine", "--from", MACHINE_FILE, CARD, "--patterns", "p",
                  "--json", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = msgspec.json.decode(done.stdout)
    assert made["pattern"] == "p/mine.pattern" and made["test"] == "p/test_mine.py"
    assert made["class_name"] == "net.ethernet" and made["match"]["vendor"] == 0x8086
    before = (tmp_path / "p" / "mine.pattern").read_text()
    again = metaos("patterns", "new", "mine", "--class", "general", "--id", "1234:0001",
                   "--patterns", "p", cwd=tmp_path)  # fmt: skip
    assert again.returncode == Exit.FAILED and "is there already" in again.stderr
    assert (tmp_path / "p" / "mine.pattern").read_text() == before
    assert sorted(x.name for x in (tmp_path / "p").iterdir()) == ["mine.pattern", "test_mine.py"]


@pytest.mark.slow
def test_the_test_it_brings_passes_and_can_fail(tmp_path: Path) -> None:
    made = metaos("patterns", "new", "mine", "--from", MACHINE_FILE, BRIDGE, "--patterns", "p",
                  cwd=tmp_path)  # fmt: skip
    assert made.returncode == 0, made.stderr
    programs = tmp_path / "bin"
    programs.mkdir()
    root = Path(__file__).parents[2]
    script = f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m metaos "$@"\n'
    (programs / "metaos").write_text(script)
    (programs / "metaos").chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "p"]

    def run() -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True,
                              text=True, timeout=120)  # fmt: skip
        return done.stdout

    assert "3 passed" in run()
    pattern = tmp_path / "p" / "mine.pattern"
    pattern.write_text(re.sub(r"device 0x\w+", "device 0x4321", pattern.read_text()))
    assert "2 failed, 1 passed" in run()


def said(name: str = "x", **flags: object) -> cli_new.Said:
    nothing = {"class_name": "", "source": None, "id": "", "bars": (), "folders": (Path("p"),)}
    return cli_new.Said(name=name, **(nothing | flags))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (said(class_name="consol", id="1234:0001"), "did you mean 'console'?"),
        (said(class_name="clock", id="1234:0001"), "copy of platform/acpi_pm_timer.pattern"),
        (said(class_name="general", id="1:2"), "VENDOR:DEVICE"),
        (said(class_name="general", id="1234:0001", bars=("7=ports",)), "says no window"),
        (
            said(class_name="general", id="1234:0001", bars=("0=ports", "0=memory")),
            "names a register twice",
        ),
        (said("9", class_name="general", id="1234:0001"), "a letter first"),
        (said(source=(MACHINE_FILE, "00:33.0")), "no PCI function 00:33.0"),
        (said(source=(MACHINE_FILE, CARD), id="1234:0001"), "leave --id and --bar out"),
        (said(), "it is not said: --class, --id or --from"),
        (said(""), "a name"),
        (said(class_name="general", id="1234:0001", folders=()), "--patterns DIR"),
    ],
)
def test_what_cannot_be_is_one_message(
    given: cli_new.Said, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MetaosError) as refused:
        cli_new.new(given, json=False)
    assert message in refused.value.render() and refused.value.exit_code is Exit.USAGE
    assert not any(tmp_path.iterdir())


def test_a_name_that_is_taken_writes_nothing(tmp_path: Path) -> None:
    done = metaos("patterns", "new", "ne2000", "--class", "general", "--id", "1234:0001",
                  "--patterns", "p", cwd=tmp_path)  # fmt: skip
    assert done.returncode == Exit.FAILED and "E0101" in done.stderr
    assert not (tmp_path / "p").exists()


def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, b"mine\n\n1234:0001\n\n")  # name, no machine file, ids, class as proposed
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "metaos", "patterns", "new", "--patterns", "p"]
    done = subprocess.run(command, cwd=tmp_path, stdin=theirs, stderr=theirs, timeout=60,
                          stdout=subprocess.PIPE, env=environment)  # fmt: skip
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 0 and b"p/mine.pattern" in done.stdout
    assert "device mine : general" in (tmp_path / "p" / "mine.pattern").read_text()


@pytest.mark.parametrize("class_name", ["general", "console"])
def test_its_examples_pass(class_name: str, tmp_path: Path) -> None:
    made = metaos("patterns", "new", "mine", "--class", class_name, "--id", "1234:0001",
                  "--patterns", "p", cwd=tmp_path)  # fmt: skip
    assert made.returncode == 0, made.stderr
    done = metaos("patterns", "test", "mine", "--patterns", "p", cwd=tmp_path)
    assert done.returncode == 0 and "1 of 1 passed" in done.stdout, done.stderr


def test_without_a_machine_the_test_is_shorter() -> None:
    assert "MACHINE" not in pytest_text("x", "p/test_x.py")
    assert 'MACHINE = HERE / "../m.json"' in pytest_text("x", "p/test_x.py", "../m.json", CARD)
