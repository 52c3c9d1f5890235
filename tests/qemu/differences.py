"""Machines that differ from a target in one thing: `differences(target.args) -> (Difference, ...)`.

Each is a QEMU command line, made by changing the target's own, and what a report names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MEMORY, CPU = "memory changed", "MetaOS: CPU lacks"
_ADDED = (
    "AC97", "ES1370", "am53c974", "e1000", "e1000e", "edu", "i6300esb", "i82557b", "i82559er",
    "i82801b11-bridge,id=more", "ich9-usb-ehci1", "ich9-usb-uhci1", "intel-hda", "lsi53c895a",
    "megasas", "ne2k_pci", "nec-usb-xhci", "nvme,serial=x", "pci-bridge,chassis_nr=7,id=more",
    "pci-ohci", "pci-serial", "pci-testdev", "pcnet", "pvpanic-pci", "qemu-xhci", "rtl8139",
    "sdhci-pci", "tpci200", "tulip", "virtio-balloon-pci", "virtio-rng-pci", "vmxnet3",
)  # fmt: skip
"""Functions that no target has more than one of, each put into another slot."""
_CARDS = (
    "e1000", "e1000-82544gc", "e1000-82545em", "e1000e", "i82557a", "i82562", "ne2k_pci", "pcnet",
    "rtl8139", "tulip", "virtio-net-pci", "vmxnet3",
)  # fmt: skip
_SCREENS = ("cirrus", "vmware", "none", "virtio")
_FIRST_SLOT = 5
_ROM_SIZES = (1 << 19, 1 << 20, 1 << 21)


@dataclass(frozen=True)
class Difference:
    """A machine's arguments, and how the report on it begins ("00:03.0 register 10").

    `until` is what its console says last, if not that one should probe again.
    """

    name: str
    arguments: tuple[str, ...]
    says: str
    until: str = ""


def differences(
    args: Sequence[str], card: str, screen: str, card_has_rom: bool
) -> Iterator[Difference]:
    """All differences of a target's machine whose card and screen have these addresses."""
    given = tuple(args)
    place = len(given) - 1  # the card is a target's last argument
    model, _, rest = given[place].partition(",")
    for number, device in enumerate(_ADDED):
        at = _FIRST_SLOT + number % (30 - _FIRST_SLOT)
        more = (*given, "-device", f"{device},addr={at:x}")
        yield Difference(f"added {device}", more, f"00:{at:02x}.0 changed: expected ffff:ffff")
    for other in _CARDS:
        if other != model:
            swapped = (*given[:place], _joined(other, rest))
            yield Difference(f"the card is {other}", swapped, f"{card} ")
    yield Difference("no card", given[: place - 1], f"{card} changed")
    if "bus=" not in rest:
        for slot in ("1d", "1e"):
            moved = (*given[:place], f"{given[place]},addr={slot}")
            yield Difference(f"the card in slot {slot}", moved, f"{card} changed")
    yield Difference(
        "the card says it has more functions",
        (*given[:place], f"{given[place]},multifunction=on"),
        f"{card} register 0c",
    )
    yield from _screens(given, screen)
    behind_bridges = "q35" in given  # where a larger window moves others, which are met first
    yield from _windows(given, "" if behind_bridges else f"{screen} register ")
    if card_has_rom:
        yield from _card_roms(given, model, "" if behind_bridges else f"{card} register 30")
    yield from _platform(given)


def _joined(model: str, rest: str) -> str:
    return f"{model},{rest}" if rest else model


def _replaced(args: tuple[str, ...], option: str, value: str) -> tuple[str, ...]:
    at = args.index(option) + 1
    return (*args[:at], value, *args[at + 1 :])


def _screens(given: tuple[str, ...], screen: str) -> Iterator[Difference]:
    for other in _SCREENS:
        changed = _replaced(given, "-vga", other)
        yield Difference(f"the screen is {other}", changed, "")
    slot = screen[3:5]
    at = given.index("-vga")
    for other in ("secondary-vga", "bochs-display", "ati-vga"):
        more = (*given[:at], "-vga", "none", "-device", f"{other},addr={slot}", *given[at + 2 :])
        yield Difference(f"the screen is {other}", more, f"{screen} ")


def _windows(given: tuple[str, ...], says: str) -> Iterator[Difference]:
    """The screen's windows with other sizes, and one that is not there."""
    for megabytes in (8, 32, 64, 128):
        made = (*given, "-global", f"VGA.vgamem_mb={megabytes}")
        yield Difference(f"{megabytes} MiB of screen memory", made, says)
    off = (*given, "-global", "VGA.mmio=off")
    yield Difference("no registers of the screen", off, says)
    for size in _ROM_SIZES:
        made = (*given, "-global", f"VGA.romsize={size}")
        yield Difference(f"the screen's ROM has {size} bytes", made, says)


def _card_roms(given: tuple[str, ...], model: str, says: str) -> Iterator[Difference]:
    for size in _ROM_SIZES:
        made = (*given, "-global", f"{model}.romsize={size}")
        yield Difference(f"the card's ROM has {size} bytes", made, says)
    off = (*given, "-global", f"{model}.rombar=0")
    yield Difference("no ROM on the card", off, says)


def _platform(given: tuple[str, ...]) -> Iterator[Difference]:
    for megabytes in (3, 4, 5, 6):
        less = _replaced(given, "-m", str(megabytes))
        yield Difference(f"{megabytes} MiB", less, MEMORY)
    for lost in ("nx", "lm"):
        yield Difference(f"no {lost}", (*given, "-cpu", f"qemu64,-{lost}"), CPU, CPU)
    machine = given[given.index("-M") + 1]
    if machine == "pc":
        usb = _replaced(given, "-M", "pc,usb=on")
        yield Difference("USB", usb, "00:01.2 changed: expected ffff:ffff, found 8086:7020")
        acpi = _replaced(given, "-M", "pc,acpi=off")
        yield Difference("no ACPI", acpi, "00:01.3 changed: expected 8086:7113, found ffff:ffff")
        other = _replaced(given, "-M", "q35")
        yield Difference("another chipset", other, "00:00.0 changed: expected 8086:1237")
    else:
        smbus = _replaced(given, "-M", "q35,smbus=off")
        yield Difference("no SMBus", smbus, "00:1f.3 changed: expected 8086:2930, found ffff:ffff")
        sata = _replaced(given, "-M", "q35,usb=on")
        yield Difference("USB", sata, "00:1d.0 ")
        behind = (*given, "-device", "pcie-root-port,id=rp1,chassis=2,addr=1c.0")
        yield Difference("another root port", behind, "00:1c.0 changed: expected ffff:ffff")
        for name, value in (("subsys", "0x1234"), ("subsys_ven", "0x1234")):
            made = (*given, "-global", f"e1000e.{name}={value}")
            yield Difference(f"another {name}", made, "01:00.0 register 2c")
