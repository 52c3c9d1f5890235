"""`metaos boot-chart IMAGE`: what happens from reset to the first answer, and what it costs.

    chart = boot_chart(wanted, patterns=load([PATTERNS]), seconds=60, progress=print)
    chart.segments[0]          # Segment(kind="firmware", instructions=..., seconds=...)

The image is booted twice. The first time QEMU counts, and the machine is stopped before every turn
of the start: so the instructions of each row are exact (`metaos.boot.counted`). The second time
nothing stops it (`metaos.boot.timed`).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from metaos.boot.accel import Choice, choose
from metaos.boot.run import Wanted, roles_of
from metaos.boot.segments import Segment
from metaos.boot.watched import Asked, watched
from metaos.link.image import read_image
from metaos.pattern.patterns import Patterns


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """The start of one image. `accelerator` is what the second boot, the timed one, ran under."""

    image: str
    accelerator: str
    segments: tuple[Segment, ...]


def boot_chart(
    wanted: Wanted, *, patterns: Patterns, seconds: float, progress: Callable[[str], None]
) -> Chart:
    """Boot the image twice, and join what was counted and what was timed.

    Raises:
        MetaosError: the image or QEMU is not as it should be, or it does not start in time.
    """
    from metaos.boot.counted import counted
    from metaos.boot.timed import timed

    image = read_image(wanted.image)
    accel = choose(wanted.accel)
    asked = Asked(roles_of(image, wanted.image), patterns)
    progress("counting instructions")
    slow = Choice(name="tcg", why="counts instructions")
    with watched(wanted, image, slow, seconds, counting=True) as machine:
        parts = counted(machine, asked)
    progress(f"measuring time ({accel.name}: {accel.why})")
    with watched(wanted, image, accel, seconds, counting=False) as machine:
        segments = timed(machine, asked, parts)
    return Chart(image=str(wanted.image), accelerator=accel.name, segments=segments)
