"""A pattern file to begin with: `skeleton(wanted, template)`, and the test that goes with it.

Templates are texts beside the classes, `classes/CLASS.skeleton` in a pattern folder, with
`${name}` where something of the device goes. A class without one takes that of "general".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import Template

from metaos.errors import Exit, MetaosError, Source, did_you_mean
from metaos.pattern.fmt import formatted
from metaos.pattern.patterns import Patterns

GENERAL = "general"
"""The class of a device that no other class is for."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KIB = 1024
_OWN = "0x40"
"""Where a function's own registers begin in configuration space. PCI 3.0 §6.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A base address register: ports or memory, `size` in bytes, 0 where it is not known."""

    index: int
    ports: bool
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a new pattern is for.

    `keys` are those of its `match pci`, `about` what people call the device, `notes` are
    comments about it. Without `bars` its registers are in its configuration space.
    """

    name: str
    class_name: str
    keys: tuple[tuple[str, int], ...]
    about: str
    bars: tuple[Bar, ...] = ()
    notes: tuple[str, ...] = ()


def demand_name(name: str) -> None:
    """Refuse what cannot be a device's name."""
    if not _NAME.fullmatch(name):
        raise MetaosError(
            f"'{name}' cannot be a device's name",
            hint="letters, digits and _, a letter first: acme_a100",
            exit_code=Exit.USAGE,
        )


def template(class_name: str, patterns: Patterns, folders: Iterable[Path]) -> str:
    """The text that a pattern of this class begins as; a later folder's comes first.

    Raises:
        MetaosError: there is no such class, or its devices are not PCI functions.
    """
    if class_name not in patterns.classes:
        raise MetaosError(
            f"no class '{class_name}'",
            hint=did_you_mean(class_name, patterns.classes),
            exit_code=Exit.USAGE,
        )
    for path in (f / "classes" / f"{class_name}.skeleton" for f in reversed([*folders])):
        if path.is_file():
            return path.read_text("utf-8")
    own = [d for d in patterns.devices.values() if d.class_name == class_name]
    if own:
        raise MetaosError(
            f"class '{class_name}' has no skeleton: its devices are a part of the platform",
            hint=f"begin with a copy of {own[0].span.file}",
            exit_code=Exit.USAGE,
        )
    return template(GENERAL, patterns, folders)


def skeleton(wanted: Wanted, text: str) -> str:
    """The text of a pattern file that checks clean, formatted, for a person to fill in.

    Raises:
        MetaosError: the class needs registers in a window, and the device has none.
    """
    if not wanted.bars and wanted.class_name != GENERAL:
        raise MetaosError(
            f"the device has no window, and a {wanted.class_name} needs registers in one",
            hint=f"--class {GENERAL} gives it registers in its configuration space",
        )
    first = wanted.bars[0] if wanted.bars else None
    notes = "".join(f"  # {note}\n" for note in wanted.notes)
    step = 1 if first and first.ports else 4
    made = Template(text).substitute(
        name=wanted.name,
        about=wanted.about,
        class_name=wanted.class_name,
        keys=" ".join(f"{key} {_number(key, value)}" for key, value in wanted.keys),
        notes=notes,
        regs=f"  {_fact('regs', first)}\n\n" if first else "",
        space="port" if first and first.ports else "mmio",
        block=_block("csr", "regs", first),
        first="0x00" if first else _OWN,
        others="".join(_other(bar) for bar in wanted.bars[1:]),
        at1=f"{step:#04x}",
        at2=f"{2 * step:#04x}",
    )
    return formatted(Source(f"{wanted.name}.pattern", made))


def _number(key: str, value: int) -> str:
    digits = {"class": 6, "revision": 2}.get(key, 4)
    return f"0x{value:0{digits}X}"


def _fact(name: str, bar: Bar) -> str:
    kind = "ports" if bar.ports else "window"
    return f"fact {name} : {kind} = bar[{bar.index}]  # {_size(bar.size)}"


def _size(size: int) -> str:
    for unit, name in ((_KIB * _KIB, "MiB"), (_KIB, "KiB"), (1, "bytes")):
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return "its size is not known"


def _block(name: str, at: str, bar: Bar | None) -> str:
    if bar is None:
        return f"registers {name} config 32 bits"
    return f"registers {name} at {at} {'port 8 bits' if bar.ports else 'mmio 32 bits'}"


def _other(bar: Bar) -> str:
    """The block of a further window, with one register to begin with."""
    name = f"bar{bar.index}"
    return (
        f"\n  {_fact(name, bar)}\n\n"
        f"  {_block(f'{name}_block', name, bar)}\n"
        f"    0x00 FIRST{bar.index} rw  @manual 1\n"
    )


_TEST = '''"""{name}.pattern: {promise}.

    pytest {file}
"""

import json
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
{constants}

def metaos(*words: object) -> str:
    """What the command says, with the patterns of this folder."""
    command = ["metaos", *map(str, words), "--patterns", str(HERE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_is_wrong_with_it() -> None:
    read = json.loads(metaos("patterns", "check", "--json"))
    assert "{name}" in [device["name"] for device in read["devices"]]
'''
_MACHINE_TEST = """

def test_it_serves_its_device() -> None:
    devices = json.loads(metaos("match", MACHINE, "--json"))["devices"]
    assert {{d["address"]: d["pattern"] for d in devices}}[ADDRESS] == "{name}"


def test_it_becomes_an_image(tmp_path: Path) -> None:
    report = json.loads(metaos("build", "--machine", MACHINE, "-o", tmp_path / "image", "--json"))
    assert not report["violations"]
    assert ADDRESS in [device["address"] for device in report["devices"]]
"""


def pytest_text(name: str, file: str, machine: str = "", address: str = "") -> str:
    """A pytest file for the pattern; `machine` is its machine file, seen from the test's folder."""
    promise, constants = "nothing is wrong with it", ""
    if machine:
        promise = "it checks clean, serves its device and becomes an image"
        constants = f'MACHINE = HERE / "{machine}"\nADDRESS = "{address}"\n'
    text = _TEST + (_MACHINE_TEST if machine else "")
    return text.format(name=name, file=file, promise=promise, constants=constants)
