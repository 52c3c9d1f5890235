"""Linux as Debian ships it: its kernel, its modules, and an initial RAM disk that answers ping.

    kernel = fetch(Path("build/linux"))              # apt-get download, unpacked without root
    chosen = kernel.modules_for(["pci:v00008086d0000100Esv..."])
    initramfs(kernel, chosen)                        # the bytes of a cpio archive

The packages are what `apt-get` has to offer today: their versions and SHA-256 belong beside every
figure measured with them. A folder that has them already is used as it is, without a network.

Source: the kernel's documentation, driver-api/early-userspace/buffer-format (cpio "newc"), and
modinfo(8) for `depends` and `alias` of a module's section .modinfo.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from elftools.elf.elffile import ELFFile

from metaos.errors import Exit, MetaosError

FOLDER = Path(__file__).parents[1] / "build" / "linux"
NEWEST, BUSYBOX = "linux-image-amd64", "busybox-static"
"""The first only depends on the newest kernel's package."""
_PROGRAMS = ("apt-get", "apt-cache", "dpkg-deb")
_SECONDS = 300
_DRIVERS = ("drivers/net", "drivers/virtio")
"""Folders of modules that may drive a network card."""
_NEWC = b"070701"


@dataclass(frozen=True)
class Package:
    """A Debian package that was unpacked."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Module:
    """A kernel module: `depends` names those to be inserted before it, `aliases` its devices."""

    name: str
    path: Path

    @cached_property
    def data(self) -> bytes:
        return self.path.read_bytes()

    @property
    def depends(self) -> tuple[str, ...]:
        (names,) = self._info("depends")[:1] or ("",)
        return tuple(name for name in names.split(",") if name)

    @property
    def aliases(self) -> tuple[str, ...]:
        return self._info("alias")

    def _info(self, key: str) -> tuple[str, ...]:
        found = re.findall(rb"\0" + key.encode() + rb"=([^\0]*)", self.data)
        return tuple(text.decode() for text in found)

    @cached_property
    def text(self) -> bytes:
        """The section .text: the module's code beside that of its start, end and rare paths."""
        section = ELFFile(io.BytesIO(self.data)).get_section_by_name(".text")
        return bytes(section.data()) if section else b""

    @cached_property
    def conditional_branches(self) -> int:
        """Jcc, LOOPcc and JRCXZ in the text."""
        decoder = Cs(CS_ARCH_X86, CS_MODE_64)
        decoder.skipdata = True
        names = (name for _, _, name, _ in decoder.disasm_lite(self.text, 0))
        return sum(name.startswith(("j", "loop")) and name != "jmp" for name in names)


@dataclass(frozen=True)
class Kernel:
    """What the packages hold. `modules` are by name, an underscore for every dash."""

    packages: tuple[Package, ...]
    image: Path
    busybox: Path
    modules: dict[str, Module]

    @property
    def version(self) -> str:
        return next(p.version for p in self.packages if p.name != BUSYBOX)

    def modules_for(self, devices: Iterable[str]) -> tuple[Module, ...]:
        """The modules whose aliases match these devices, each after those that it depends on.

        Raises MetaosError if there is none.
        """
        names = tuple(devices)
        matching = [
            module
            for module in self._drivers
            if any(fnmatch.fnmatchcase(name, alias) for alias in module.aliases for name in names)
        ]
        if not matching:
            raise MetaosError(f"Linux {self.version} has no module for {', '.join(names)}")
        ordered: dict[str, Module] = {}
        for module in matching:
            self._add(module, ordered)
        return tuple(ordered.values())

    def needed_by(self, module: Module) -> tuple[Module, ...]:
        """What a module depends on, without itself."""
        ordered: dict[str, Module] = {}
        self._add(module, ordered)
        return tuple(m for m in ordered.values() if m.name != module.name)

    def _add(self, module: Module, ordered: dict[str, Module]) -> None:
        for name in module.depends:
            self._add(self.modules[name.replace("-", "_")], ordered)
        ordered.setdefault(module.name, module)

    @cached_property
    def _drivers(self) -> tuple[Module, ...]:
        return tuple(
            module
            for _, module in sorted(self.modules.items())
            if any(f"/kernel/{folder}/" in module.path.as_posix() for folder in _DRIVERS)
        )


# ---- the packages -----------------------------------------------------------------------


def fetch(folder: Path = FOLDER) -> Kernel:
    """Download what `folder` lacks, unpack it, and say what is there.

    Raises MetaosError if a program is missing or the packages cannot be had.
    """
    for program in _PROGRAMS:
        if shutil.which(program) is None:
            raise MetaosError(
                f"{program} is not installed",
                hint="the Linux guest is made of Debian's packages: measure on Debian or Ubuntu",
                exit_code=Exit.TOOL_MISSING,
            )
    folder.mkdir(parents=True, exist_ok=True)
    kernel = _kernel_package()
    unpacked = {name: _unpacked(name, folder) for name in (kernel, BUSYBOX)}
    root = unpacked[kernel][1]
    return Kernel(
        packages=tuple(package for package, _ in unpacked.values()),
        image=_only(root, "boot/vmlinuz-*"),
        busybox=_only(unpacked[BUSYBOX][1], "bin/busybox"),
        modules={
            path.stem.replace("-", "_"): Module(path.stem.replace("-", "_"), path)
            for path in root.glob("lib/modules/*/kernel/**/*.ko")
        },
    )


def _kernel_package() -> str:
    """The package that the newest kernel is in."""
    shown = _run("apt-cache", "show", "--no-all-versions", NEWEST)
    found = re.search(r"^Depends: (linux-image-[^\s,]+)", shown, re.MULTILINE)
    if found is None:
        raise MetaosError(f"{NEWEST} depends on no kernel", hint="sudo apt-get update")
    return found[1]


def _unpacked(name: str, folder: Path) -> tuple[Package, Path]:
    """A package and the folder that it lies unpacked in, which appears when it is whole."""
    shown = _run("apt-cache", "show", "--no-all-versions", name)
    found = re.search(r"^Version: (\S+)$", shown, re.MULTILINE)
    if found is None:
        raise MetaosError(f"apt-cache does not know {name}", hint="sudo apt-get update")
    version = found[1]
    stem = f"{name}_{version.replace(':', '%3a')}"
    root, kept = folder / stem, next(folder.glob(f"{stem}_*.deb"), None)
    if kept is None:
        with tempfile.TemporaryDirectory(dir=folder) as there:
            _run("apt-get", "-q", "download", f"{name}={version}", cwd=Path(there))
            got = _only(Path(there), "*.deb")
            kept = got.replace(folder / got.name)
    if not root.exists():
        with tempfile.TemporaryDirectory(dir=folder) as there:
            _run("dpkg-deb", "-x", str(kept), f"{there}/root")
            (Path(there) / "root").replace(root)
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    return Package(name, version, digest), root


def _run(*words: str, cwd: Path | None = None) -> str:
    """What a program prints; MetaosError with what it complains of."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_SECONDS, check=False, cwd=cwd
        )
    except subprocess.TimeoutExpired as error:
        raise MetaosError(f"{words[0]} did not end within {_SECONDS} s") from error
    if done.returncode:
        said = done.stderr.strip().split("\n")[-1]
        raise MetaosError(
            f"{' '.join(words)} failed: {said}",
            hint="it needs the network and current lists: sudo apt-get update",
        )
    return done.stdout


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise MetaosError(f"{folder} has {len(found)} files {pattern}, not one")
    return found[0]


# ---- the initial RAM disk ---------------------------------------------------------------


def initramfs(busybox: bytes, modules: Sequence[Module], address: str) -> bytes:
    """An archive whose init inserts `modules`, gives eth0 `address`, says its driver and sleeps."""
    files = [
        ("bin", 0o40755, b"", (0, 0)),
        ("dev", 0o40755, b"", (0, 0)),
        ("dev/console", 0o20600, b"", (5, 1)),
        ("bin/busybox", 0o100755, busybox, (0, 0)),
        ("init", 0o100755, _init(modules, address).encode(), (0, 0)),
        *((f"{module.name}.ko", 0o100644, module.data, (0, 0)) for module in modules),
        ("TRAILER!!!", 0, b"", (0, 0)),
    ]
    return b"".join(
        piece for number, file in enumerate(files, 1) for piece in _member(number, *file)
    )


def _init(modules: Sequence[Module], address: str) -> str:
    """The guest's first and only program. It speaks on the console."""
    return "\n".join(
        [
            "#!/bin/busybox sh",
            "/bin/busybox mkdir -p /proc /sys",
            "/bin/busybox mount -t proc proc /proc",
            "/bin/busybox mount -t sysfs sys /sys",
            *(f"/bin/busybox insmod /{module.name}.ko" for module in modules),
            "/bin/busybox ip link set lo up",
            f"/bin/busybox ip addr add {address} dev eth0",
            "/bin/busybox ip link set eth0 up",
            'echo "driver $(/bin/busybox readlink /sys/class/net/eth0/device/driver/module)"',
            "exec /bin/busybox sleep 1000000",
            "",
        ]
    )


def _member(
    number: int, name: str, mode: int, data: bytes, device: tuple[int, int]
) -> Iterator[bytes]:
    """One file of the archive: header and name, then its data, each filled up to four bytes."""
    path = name.encode() + b"\0"
    numbers = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
    head = _NEWC + b"".join(b"%08X" % n for n in numbers) + path
    for part in (head, data):
        yield part + bytes(-len(part) % 4)
