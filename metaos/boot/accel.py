"""Which of QEMU's accelerators to use: the user's, or the one that measures faster.

    choose("auto").name  ->  "tcg"

Entering: auto, tcg or kvm; leaving: a name for `-accel` and why. Inside another virtual
machine /dev/kvm may exist and yet be slow or hang, so its being there says little: `auto`
boots the firmware alone under each once and remembers the outcome.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path

import msgspec

from metaos.boot.qemu import INSTALL, Qemu
from metaos.boot.target import QEMU
from metaos.errors import Exit, MetaosError, did_you_mean

KVM = Path("/dev/kvm")
CHOICES = ("auto", "tcg", "kvm")

_LIMIT_SECONDS = 5.0
_FIRMWARE_ONLY = (
    *("-M", "pc", "-m", "16", "-nodefaults", "-display", "none"),
    # Nothing to boot: the firmware restarts at once, and QEMU ends instead.
    *("-no-reboot", "-boot", "reboot-timeout=1"),
)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """An accelerator and why it was chosen."""

    name: str
    why: str


class _Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """A measured choice, and the host it was measured on."""

    host: list[str]
    choice: Choice


def choose(wanted: str, *, cache: Path | None = None, kvm: Path = KVM) -> Choice:
    """The accelerator for `wanted`; `cache` is the folder to remember measurements in.

    Raises:
        MetaosError: no such choice, KVM is wanted and not usable, or there is no QEMU.
    """
    if wanted not in CHOICES:
        raise MetaosError(
            f"no accelerator '{wanted}'", hint=did_you_mean(wanted, CHOICES), exit_code=Exit.USAGE
        )
    if wanted == "tcg":
        return Choice(name="tcg", why="asked for")
    obstacle = _obstacle(kvm)
    if wanted == "kvm":
        if obstacle:
            raise MetaosError(f"KVM cannot be used: {obstacle}", hint="use --accel tcg")
        return Choice(name="kvm", why="asked for")
    if obstacle:
        return Choice(name="tcg", why=obstacle)
    file = (cache or cache_folder()) / "accel.json"
    host = _host()
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        remembered = msgspec.json.decode(file.read_bytes(), type=_Remembered)
        if remembered.host == host:
            return remembered.choice
    choice = _measured()
    _remember(file, _Remembered(host=host, choice=choice))
    return choice


def cache_folder() -> Path:
    """The user's cache folder for metaos (XDG Base Directory Specification)."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given.startswith("/") else Path.home() / ".cache") / "metaos"


def firmware_seconds(accel: str) -> float | None:
    """How long the firmware takes to find nothing to boot; None if not within 5 s.

    Raises:
        MetaosError: QEMU is missing or refuses the accelerator.
    """
    start = time.monotonic()
    with Qemu([QEMU, "-accel", accel, *_FIRMWARE_ONLY], qmp=False) as vm:
        status = vm.wait(_LIMIT_SECONDS)
        if status:
            raise vm.death(f"under {accel}")
    return time.monotonic() - start if status == 0 else None


def _obstacle(kvm: Path) -> str:
    """Why KVM cannot be used at all; empty if nothing speaks against it."""
    try:
        os.close(os.open(kvm, os.O_RDWR))
    except OSError as error:
        return f"{kvm}: {error.strerror}"
    return ""


def _measured() -> Choice:
    tcg = firmware_seconds("tcg")
    try:
        kvm = firmware_seconds("kvm")
    except MetaosError as error:
        return Choice(name="tcg", why=error.message.splitlines()[0].rstrip(":"))
    if kvm is None:
        return Choice(name="tcg", why=f"measured: KVM boots no firmware in {_LIMIT_SECONDS:.0f} s")
    if tcg is None:
        return Choice(name="kvm", why=f"measured: KVM {kvm:.2f} s, TCG too slow")
    name = "kvm" if kvm < tcg else "tcg"
    return Choice(name=name, why=f"measured: firmware takes KVM {kvm:.2f} s, TCG {tcg:.2f} s")


def _host() -> list[str]:
    """What a measurement holds for: this kernel, this QEMU."""
    path = shutil.which(QEMU)
    if path is None:
        raise MetaosError(f"{QEMU} is not installed", hint=INSTALL, exit_code=Exit.TOOL_MISSING)
    status = Path(path).stat()
    return [platform.release(), path, str(status.st_size), str(status.st_mtime_ns)]


def _remember(file: Path, what: _Remembered) -> None:
    """Keep a measurement. A cache that cannot be written only means measuring again."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent)
        with open(handle, "w", encoding="utf-8") as text:  # noqa: PTH123 (a descriptor)
            text.write(json.dumps(msgspec.to_builtins(what), indent=2) + "\n")
        Path(name).replace(file)
