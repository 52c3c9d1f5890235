"""What changed between two machines and what it means: `diff(a, b, made_a, made_b)`.

Entering: two machines, and for each the image made for it or the error that says why none
can be. Leaving: a `Difference`, plain data for `metaos diff`. Whether A's image serves B is
`serves.py`'s, which changes there are is `changes.py`'s; here they are put together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from metaos.emit.code import Code
from metaos.errors import MetaosError
from metaos.lower.lower import Lowered
from metaos.lower.row import Row
from metaos.lower.stepper import PLATFORM
from metaos.match.changes import SETTINGS, Change, Kind, changes
from metaos.match.serves import Made, Obstacle, device_of, differing, obstacles
from metaos.probe.machine import Machine

RELOCATED = {"64": 8}
"""Bytes a relocation fills, where they are not 4."""


class Meant(Change, frozen=True, kw_only=True):
    """A change and what it means for an image made for A that is booted on B."""

    means: str


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """One device's code or rows in one phase of both images.

    `unit` says what `a`, `b` and `differ` count: "bytes" of code, relocations left out, or
    "rows". Where two codes have one length, `differ` is the number of places with another
    byte; else the longer one's bytes between the common start and the common end.
    """

    device: str
    phase: str
    unit: str
    a: int
    b: int
    differ: int


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """All that `metaos diff` says. `serves`: an image made for A does its work on B.

    `same_image`: both machines give the same loaded bytes. `unbuildable` has "a" or "b" where
    no image can be made, with the reason.
    """

    serves: bool
    same_image: bool
    verdict: str
    changes: tuple[Meant, ...]
    obstacles: tuple[Obstacle, ...]
    effects: tuple[Effect, ...]
    unbuildable: dict[str, str]


def diff(
    a: Machine,
    b: Machine,
    made_a: Made | MetaosError,
    made_b: Made | MetaosError,
    placed_b: Lowered | None = None,
) -> Difference:
    """Compare two machines. `placed_b`: B lowered with its windows where A's image puts them."""
    unbuildable = {
        name: made.message
        for name, made in (("a", made_a), ("b", made_b))
        if isinstance(made, MetaosError)
    }
    found = changes(a, b)
    ours = None if isinstance(made_a, MetaosError) else made_a
    theirs = None if isinstance(made_b, MetaosError) else made_b
    stops = () if ours is None else obstacles(ours, b, theirs, placed_b)
    if not stops and isinstance(made_b, MetaosError):
        stops = tuple(_lacking(made_b))
    effects = () if ours is None or theirs is None else tuple(_effects(ours, theirs))
    same = ours is not None and theirs is not None and ours.image.loaded == theirs.image.loaded
    facts = any(change.kind is not Kind.NOTE for change in found)
    serves = not stops and (ours is not None or not facts)
    meaning = _Meaning(ours, theirs, placed_b, stops)
    return Difference(
        serves=serves,
        same_image=same,
        verdict=_verdict(facts, same, stops, unbuildable),
        changes=tuple(Meant(**msgspec.structs.asdict(x), means=meaning.of(x)) for x in found),
        obstacles=stops,
        effects=effects,
        unbuildable=unbuildable,
    )


def _lacking(refused: MetaosError) -> Iterator[Obstacle]:
    """What B's file does not know and every image needs: nobody can tell what it is on B."""
    for problem in refused.problems:
        if problem.code == "E0307":
            yield Obstacle(by="unknown", device=PLATFORM, text=problem.message)


def _verdict(
    facts: bool, same: bool, stops: tuple[Obstacle, ...], unbuildable: dict[str, str]
) -> str:
    if not facts:
        return "the machines are equal"
    if "a" in unbuildable:
        return f"no image can be made for A: {unbuildable['a']}"
    rebuild = "build again for B"
    if "b" in unbuildable:
        rebuild = f"and none can be made for B: {unbuildable['b']}"
    by = stops[0].by if stops else ""
    doubted = by not in ("guard", "init") and any(x.by == "unknown" for x in stops)
    if doubted:  # what else differs may come of what is not known
        return "whether an image made for A serves B cannot be told: B's file does not say it"
    if by == "guard":
        return f"an image made for A is refused on B by its guard; {rebuild}"
    if by == "init":
        return f"an image made for A stops on B before its first frame; {rebuild}"
    if by:
        return f"an image made for A starts on B and does not work as it should; {rebuild}"
    if "b" in unbuildable:
        return f"an image made for A serves B, {rebuild}"
    if same:
        return "an image made for A serves B: both have the same image"
    return "an image made for A serves B; one built for B has other bytes"


class _Meaning:
    """What a change means, from what was made for both machines."""

    def __init__(
        self,
        a: Made | None,
        b: Made | None,
        placed: Lowered | None,
        stops: tuple[Obstacle, ...],
    ) -> None:
        self.a, self.b, self.placed, self.stops = a, b, placed, stops
        self.ours, self.theirs = _served(a), _served(b)

    def of(self, change: Change) -> str:
        if change.kind is Kind.NOTE:
            return "not in any image"
        if change.kind is Kind.UNKNOWN:
            return "whether it differs cannot be told"
        if self.a is None:
            return "no image for A to ask"
        first: dict[str, str] = {}
        for stop in self.stops:  # of one device, the one that its image meets first
            if self._about(stop, change):
                first.setdefault(stop.device, _stop(stop))
        said = [*first.values(), *self._pattern(change)]
        return "; ".join(said or [self._quiet(change)])

    def _about(self, stop: Obstacle, change: Change) -> bool:
        """Whether an obstacle is this change's: its device, and its fact where it names one."""
        if change.subject == "memory":
            usable = change.fact == "usable" or stop.by == "nobody"
            return usable and "memory" in stop.facts
        if change.subject == "cpu":
            return change.fact == "features" and any(f.startswith("cpu.") for f in stop.facts)
        if change.how in ("added", "removed", "moved") and not change.fact:
            return stop.device in (change.subject, change.to)
        if stop.device != change.subject:
            return False
        if stop.by == "guard":
            decoders = change.fact.startswith("bar ") or change.fact == SETTINGS
            return change.guarded or decoders
        return change.fact.startswith("bar") or stop.by == "nobody"

    def _pattern(self, change: Change) -> list[str]:
        """Which pattern comes or goes with a device."""
        old, new = self.ours.get(change.subject), self.theirs.get(change.to or change.subject)
        if change.fact and not (change.guarded and old != new):
            return []
        if old is None and new is not None and self.b is not None:
            return [f"new: pattern {new} serves it"]
        if old is not None and new is None and self.b is not None:
            return [f"pattern {old} is not needed on B"]
        if old != new and new is not None:
            return [f"pattern {new} instead of {old} serves it"]
        return []

    def _quiet(self, change: Change) -> str:
        """What a change means that nothing objects to."""
        assert self.a is not None
        lowered = self.a.lowered
        if change.fact.endswith("address") and change.fact.startswith("bar"):
            mine = any(
                w.device == change.subject and w.physical == change.address for w in lowered.windows
            )
            if mine:
                return "the image places this window itself: no change"
            return "no window of the image: no change"
        if change.subject == "cpu" and change.fact == "features":
            return "the image uses none that is lost; built for B it may use those gained"
        if change.subject == "memory":
            needed = self.a.image.manifest.memory_needed_kib
            return f"the image needs {needed} KiB above 1 MiB: same image"
        if change.subject in self.ours and self.placed is not None:
            changed = differing(lowered, self.placed, change.subject)
            if changed:
                return f"may be why B needs other {', '.join(changed)}: needs a rebuild"
            if change.kind is Kind.UNIT:
                return "same image: unit fact"
            return f"pattern {self.ours[change.subject]} makes the same of it: no change"
        if change.subject in self.ours:
            return "a driven device, and nothing of B to compare it with"
        return "nothing in the image depends on it"


def _stop(stop: Obstacle) -> str:
    """An obstacle as part of a change's meaning."""
    text = stop.text.removesuffix("; probe and build again")
    if stop.by == "nobody":
        return f"{text}, and no row tests it: needs a rebuild"
    return f"refused by the guard: {text}" if stop.by == "guard" else f"init stops: {text}"


def _served(made: Made | None) -> dict[str, str]:
    if made is None:
        return {}
    return {x.device.address: x.pattern.name for x in made.lowered.bindings.bindings}


# ---- which code and rows change ---------------------------------------------------------


def _effects(a: Made, b: Made) -> Iterable[Effect]:
    """Each device's code and rows that are not the same in both images."""
    ours, theirs = ({(c.device, c.phase): c for c in made.codes} for made in (a, b))
    for key in sorted(ours.keys() | theirs.keys()):
        x, y = (
            code_without_relocations(codes[key]) if key in codes else b""
            for codes in (ours, theirs)
        )
        if x != y:
            yield Effect(
                device=key[0], phase=key[1], unit="bytes",
                a=len(x), b=len(y), differ=_differ(x, y),
            )  # fmt: skip
    for phase in ("guard", "init"):
        mine, other = (_rows(m.guard if phase == "guard" else m.lowered.init_rows) for m in (a, b))
        for device in sorted(mine.keys() | other.keys()):
            p, q = mine.get(device, Counter()), other.get(device, Counter())
            if p != q:
                differ = max((p - q).total(), (q - p).total())
                yield Effect(
                    device=device, phase=phase, unit="rows",
                    a=p.total(), b=q.total(), differ=differ,
                )  # fmt: skip


def code_without_relocations(code: Code) -> bytes:
    """The code with its relocations' bytes as 0."""
    text = bytearray(code.text)
    for relocation in code.relocations:
        size = RELOCATED.get(relocation.kind, 4)
        text[relocation.offset : relocation.offset + size] = bytes(size)
    return bytes(text)


def _differ(a: bytes, b: bytes) -> int:
    if len(a) == len(b):
        return sum(x != y for x, y in zip(a, b, strict=True))
    short, long = sorted((a, b), key=len)
    start = next((i for i, x in enumerate(short) if long[i] != x), len(short))
    rest = len(short) - start
    end = next((i for i in range(rest) if short[-1 - i] != long[-1 - i]), rest)
    return len(long) - start - end


def _rows(rows: Iterable[Row]) -> dict[str, Counter[tuple[object, ...]]]:
    found: dict[str, Counter[tuple[object, ...]]] = {}
    for row in rows:
        key = (row.kind, row.place, row.value, row.mask, row.limit)
        found.setdefault(device_of(row), Counter())[key] += 1
    return found
