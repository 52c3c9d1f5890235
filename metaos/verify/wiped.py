"""After the start nothing of it is left: wipe stores zeros over all that only the start needed.

    list(check_wiped(image, wipe))     # wipe: the followed phase of that name

That it does so before steady is law 2's: steady's root is stored by wipe alone. That steady maps
none of it is law 2's too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from metaos.link.image import Image
from metaos.link.layout import WIPED_PHASES
from metaos.link.loader import LOW
from metaos.verify.report import Violation
from metaos.verify.walk import Access

WIPE = "wipe"
_LAW = 3
_PAGE = 4096


def check_wiped(image: Image, accesses: Iterable[Access]) -> Iterator[Violation]:
    """`accesses` are those of the wipe phase."""
    cleared = [found for access in accesses if (found := _cleared(access)) is not None]
    for name, start, end in start_memory(image):
        at = start
        for low, high in sorted(cleared):
            if low <= at < high:
                at = high
        if at < end:
            yield Violation(_LAW, WIPE, f"leaves {name} in RAM, from {at:#x} to {end:#x}")


def start_memory(image: Image) -> Iterator[tuple[str, int, int]]:
    """Name, first physical address and end of all that guard, init and the loader alone use."""
    yield "the loaded image", LOW, LOW + image.manifest.loaded_bytes
    for phase in image.manifest.phases:
        if phase.name in WIPED_PHASES and phase.name != WIPE:
            start = phase.code_pages[0] + phase.code_linear % _PAGE
            yield f"{phase.name}'s code", start, start + phase.code_length
    for symbol in image.manifest.symbols:
        if symbol.kind == "datum" and set(symbol.phases) <= WIPED_PHASES:
            yield symbol.name, symbol.physical, symbol.physical + symbol.size


def _cleared(access: Access) -> tuple[int, int] | None:
    """The addresses over which an access certainly stores zeros. Wipe maps them where they are."""
    address, count = access.address, access.count
    certain = address.exact and len(address.bases) == 1 and access.kind == "memory" and access.write
    if not certain or not access.stored.exact or access.stored.bases != {0}:
        return None
    units = 1
    if count is not None:
        if not count.exact or len(count.bases) != 1:
            return None
        (units,) = count.bases
    (start,) = address.bases
    return start, start + units * access.size
