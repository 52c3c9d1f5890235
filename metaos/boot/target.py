"""Targets: the QEMU machines we support, and the command lines that start them.

A target is a TOML file in `qemu/`: a description and QEMU's arguments. Entering: a target's
name and the user's own arguments; leaving: the command.

    target = load_target("pc-e1000")
    command(target, ("-m", "96"), image=Path("build/pc-e1000.img"), accel="tcg")

A target names hardware only. Its network cards have no `netdev=` (whoever runs the machine
connects them), and its serial port is `-serial chardev:s0`: `command` supplies the ends.
The boot disk is added in one way only, so that a machine has the same devices in the same
places when it is probed and when it runs.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metaos.errors import Exit, MetaosError, did_you_mean
from metaos.resources import TARGETS

QEMU = "qemu-system-x86_64"
NO_TARGET = "none"
"""The name of the target that brings no arguments of its own."""

_KEYS = {"description": str, "args": list}
_UNUSABLE = {
    "-S": "the machine would never start",
    "-daemonize": "QEMU must stay our child to be ended for sure",
    "-preconfig": "the machine would never start",
}
_BIOS = "/usr/share/seabios"
_ACCEL = re.compile(r"-{1,2}(accel|enable-kvm|no-kvm)")


@dataclass(frozen=True, slots=True)
class Target:
    """One machine as QEMU's arguments describe it."""

    name: str
    description: str
    args: tuple[str, ...]


def targets(folder: Path = TARGETS) -> tuple[str, ...]:
    """The names of all targets, sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def load_target(name: str, folder: Path = TARGETS) -> Target:
    """Read the target `name`; "none" is an empty one.

    Raises:
        MetaosError: there is no such target, or its file is wrong.
    """
    if name == NO_TARGET:
        return Target(NO_TARGET, "only what the arguments after -- say", ())
    if name not in targets(folder):
        raise MetaosError(
            f"no target '{name}'",
            hint=did_you_mean(name, [*targets(folder), NO_TARGET]),
            exit_code=Exit.USAGE,
        )
    path = folder / f"{name}.toml"
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise MetaosError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MetaosError(f"{path}: not TOML: {error}") from error
    for key in data:
        if key not in _KEYS:
            raise MetaosError(f"{path}: unknown key '{key}'", hint=did_you_mean(key, _KEYS))
    for key, kind in _KEYS.items():
        if not isinstance(data.get(key), kind):
            what = "a list of strings" if kind is list else "a string"
            raise MetaosError(f"{path}: '{key}' must be {what}")
    for index, word in enumerate(data["args"]):
        if not isinstance(word, str):
            raise MetaosError(f"{path}: args[{index}] must be a string, not {word!r}")
    return Target(name, data["description"], tuple(data["args"]))


def command(
    target: Target,
    extra: Sequence[str] = (),
    *,
    image: Path,
    accel: str,
    serial: str = "null",
    display: str = "none",
) -> list[str]:
    """The command that boots `image` on the machine of `target` and `extra`.

    `accel` is "tcg" or "kvm", and gives way to one among the arguments. `serial` is the
    chardev backend, without an id, of the target's serial port, such as "stdio,signal=off".

    Raises:
        MetaosError: an argument that takes the machine out of our hands.
    """
    arguments = [*target.args, *extra]
    for word in arguments:
        option = f"-{word.lstrip('-')}" if word.startswith("--") else word
        if option in _UNUSABLE:
            raise MetaosError(
                f"QEMU's argument '{word}' cannot be used: {_UNUSABLE[option]}",
                exit_code=Exit.USAGE,
            )
    ends: list[str] = []
    for number, end in enumerate(open_chardevs(arguments)):
        ends += ["-chardev", f"{serial if number == 0 else 'null'},id={end}"]
    chosen = [] if _names_accel(arguments) else ["-accel", accel]
    return [
        *(QEMU, *chosen, *ends, *arguments),
        *boot_disk(image, arguments),
        *("-display", display),
    ]


def boot_disk(image: Path, arguments: Sequence[str] = ()) -> list[str]:
    """The arguments for the disk to boot from, before all others that the machine has.

    It is the first free place of the chipset's own IDE or SATA controller; a machine without
    PCI has a virtual one behind all devices of `arguments`, and a BIOS that boots from it where
    Debian keeps it (QEMU's default there boots no disk). Writes to it are forgotten, so that any
    number of machines may run the same file.
    """
    file = str(image).replace(",", ",,")
    disk, firmware = ("virtio-blk-device", ["-L", _BIOS]) if _bare(arguments) else ("ide-hd", [])
    return [
        *firmware,
        *("-drive", f"if=none,id=metaos,format=raw,snapshot=on,file={file}"),
        *("-device", f"{disk},drive=metaos,bootindex=0"),
    ]


def _bare(arguments: Sequence[str]) -> bool:
    """Whether the machine is the one without PCI; the last -M or -machine counts."""
    chosen = [
        value.removeprefix("type=").partition(",")[0]
        for option, value in itertools.pairwise(arguments)
        if option.lstrip("-") in ("M", "machine")
    ]
    return bool(chosen) and chosen[-1] == "microvm"


def open_chardevs(arguments: Sequence[str]) -> tuple[str, ...]:
    """The ids that `-serial chardev:ID` or a device names and no `-chardev` defines, in order."""
    pairs = list(itertools.pairwise(arguments))
    defined = {
        found[1]
        for option, value in pairs
        if option.lstrip("-") == "chardev" and (found := re.search(r"(?:^|,)id=([^,]+)", value))
    }
    wanted = {"serial": r"chardev:(.+)", "device": r".*,chardev=([^,]+)"}
    named = [
        found[1]
        for option, value in pairs
        if (found := re.match(wanted.get(option.lstrip("-"), "$."), value))
    ]
    return tuple(dict.fromkeys(name for name in named if name not in defined))


def _names_accel(arguments: Sequence[str]) -> bool:
    pairs = itertools.pairwise([*arguments, ""])
    return any(
        _ACCEL.fullmatch(option)
        or (option.lstrip("-") in ("M", "machine") and re.search(r"(^|,)accel=", value))
        for option, value in pairs
    )
