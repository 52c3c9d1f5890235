"""A bootable file in an image's container whose guest only talks: no network, no MetaOS.

It stands for an image where `run` and `test` themselves are looked at.
"""

from pathlib import Path

from metaos.link.image import SECTOR, pack_image, write_image
from metaos.link.manifest import (
    SCHEMA,
    AccountEntry,
    FileRange,
    Gates,
    Manifest,
    Provenance,
    Served,
)
from metaos.match.system import System
from metaos.probe.machine import Emulator, Origin

CARD = Served(address="00:02.0", pattern="none", offers=True, interface="10.0.2.15/24")
GATES = Gates(
    linear=0,
    physical=0,
    interrupts=0,
    fault="",
    place=0,
    wanted=0,
    found=0,
    site=0,
    in_steady=0,
    elsewhere=0,
    file=FileRange(start=0, end=0),
)
SYSTEM = System(name="stub", address="10.0.2.15/24", services=("arp",))

# mov si, text; next: lodsb; test al, al; jz stop; mov dx, 0x3F8; out dx, al; jmp next
# stop: hlt; jmp stop
_TALK = bytes.fromhex("be117c ac 84c0 7406 baf803 ee ebf5 f4 ebfd")
# mov al, 0xFE; out 0x64, al: the keyboard controller's reset line
_RESET = bytes.fromhex("b0fe e664 f4 ebfd")


def stub_image(
    path: Path,
    text: bytes = b"hello from the guest\r\n",
    *,
    emulator: Emulator | None = None,
    system: System | None = SYSTEM,
    reset: bool = False,
) -> Path:
    """Write the file: a boot sector that prints `text` to COM1 and halts, or resets."""
    assert len(_TALK) == 0x11
    code = _RESET if reset else _TALK + text + b"\0"
    sector = code.ljust(510, b"\0") + b"\x55\xaa"
    manifest = Manifest(
        schema=SCHEMA,
        loaded_bytes=SECTOR,
        loaded_sectors=1,
        loader=FileRange(start=0, end=SECTOR),
        entry=0,
        next="",
        memory_needed_kib=0,
        deposits={},
        roots=(),
        phases=(),
        symbols=(),
        windows=(),
        mappings=(),
        gates=GATES,
        provenance=Provenance(devices=(CARD,), system=system, emulator=emulator),
    )
    account = [AccountEntry(start=0, end=SECTOR, kind="loader")]
    write_image(pack_image(sector, manifest, account), path)
    return path


def emulator(*arguments: str, target: str = "none") -> Emulator:
    return Emulator(target=target, arguments=arguments, origin=Origin.QEMU)
