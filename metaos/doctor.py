"""What this host has of the things MetaOS uses, and the line that installs the rest.

for finding in examine():
    print(finding.name, finding.found or finding.install)
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import msgspec

from metaos.match.names import PCI_IDS

KVM = Path("/dev/kvm")
_QUERY_SECONDS = 10
_SHOWN = 60
_PACKAGE = "python: "


class Need(StrEnum):
    """Whether MetaOS works without it."""

    REQUIRED = "required"
    OPTIONAL = "optional"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked for. `found` says what there is, or is empty.

    `why` is what it is for; `install` the line that brings it.
    """

    name: str
    need: Need
    found: str
    why: str
    install: str


_PROGRAMS = (
    (
        "qemu-system-x86_64",
        Need.REQUIRED,
        "probes and runs machines",
        "sudo apt-get install qemu-system-x86",
    ),
    ("nasm", Need.REQUIRED, "assembles the boot loader", "sudo apt-get install nasm"),
    (
        "nc",
        Need.OPTIONAL,
        "talks to a running image by hand",
        "sudo apt-get install netcat-openbsd",
    ),
    ("gdb", Need.OPTIONAL, "stops on pattern lines: metaos run --gdb", "sudo apt-get install gdb"),
)


def examine() -> tuple[Finding, ...]:
    """Look for everything, in order: programs, Python packages, the rest."""
    return (*_programs(), *_packages(), _kvm(), _pci_ids())


def missing(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The required ones that are not there."""
    return tuple(f for f in findings if f.need is Need.REQUIRED and not f.found)


def versions() -> dict[str, str]:
    """MetaOS's version and those of everything that it declares or calls, by name."""
    found = {"metaos": _package_version("metaos") or "unknown", "python": platform.python_version()}
    for finding in (*_packages(), *_programs()):
        name = finding.name.removeprefix(_PACKAGE)
        found[name] = finding.found or "missing"
    return found


def _programs() -> Iterator[Finding]:
    for name, need, why, install in _PROGRAMS:
        path = shutil.which(name)
        found = f"{path}{_version(path, name)}" if path else ""
        yield Finding(name=name, need=need, found=found, why=why, install=install)


def _version(path: str, name: str) -> str:
    """The first line a program says of itself, in brackets; empty if it says nothing."""
    if name == "nc":  # it has no such option: it would listen or wait
        return ""
    try:
        answer = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=_QUERY_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return " (does not answer --version)"
    first = (answer.stdout.splitlines() or [""])[0]
    return f" ({first[:_SHOWN]})" if first else ""


def _packages() -> Iterator[Finding]:
    """Every package that MetaOS itself declares."""
    try:
        declared = importlib.metadata.requires("metaos") or []
    except importlib.metadata.PackageNotFoundError:
        declared = []
    for requirement in declared:
        if "extra ==" in requirement:
            continue
        found = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert found is not None
        yield Finding(
            name=f"{_PACKAGE}{found[0]}",
            need=Need.REQUIRED,
            found=_package_version(found[0]),
            why="one of the packages metaos declares",
            install=f"pip install '{requirement}'",
        )


def _package_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _kvm() -> Finding:
    usable = os.access(KVM, os.R_OK | os.W_OK)
    there = KVM.exists()
    return Finding(
        name="kvm",
        need=Need.OPTIONAL,
        found=f"{KVM} (may be slow inside another machine; --accel auto measures)"
        if usable
        else "",
        why="runs machines faster than QEMU's own emulation, which does without",
        install="sudo adduser $USER kvm" if there else "sudo modprobe kvm",
    )


def _pci_ids() -> Finding:
    path = next((p for p in PCI_IDS if p.is_file()), None)
    return Finding(
        name="pci.ids",
        need=Need.OPTIONAL,
        found=str(path or ""),
        why="names of devices in messages",
        install="sudo apt-get install pci.ids",
    )
