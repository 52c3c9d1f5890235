"""The laws as a table, and `verify`: prove each of them on an image's finished bytes.

    report = verify(image)
    if report.violations: ...          # build refuses to write the image

Every check is a function from what was read off the bytes (`Proof`) to violations. The order is
that of the table; a manifest that does not fit its file ends the proof, since nothing
could be said of the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from metaos.link.image import Image
from metaos.verify.absent import check_cited
from metaos.verify.account import check_account
from metaos.verify.decode import Ledger, Line, ledger, straight_lines
from metaos.verify.explore import explore
from metaos.verify.flow import check_change, check_divisions, check_flow, transfers
from metaos.verify.form import check_form
from metaos.verify.gates import check_gates, check_sleep
from metaos.verify.given import check_given, check_preset, ram_of
from metaos.verify.guarded import check_bounds, check_features, largest_counts
from metaos.verify.memory import Atlas, atlas_of
from metaos.verify.owners import check_owners, check_present
from metaos.verify.pages import check_pages
from metaos.verify.places import Resolved, resolve
from metaos.verify.report import Report, Touches, Violation
from metaos.verify.state import settle
from metaos.verify.tables import Memory, check_tables, loaded_memory
from metaos.verify.walk import Ground, Walk
from metaos.verify.wiped import WIPE, check_wiped


@dataclass(frozen=True, slots=True)
class Followed:
    """One phase with everything that was found out about it."""

    line: Line
    atlas: Atlas
    walked: Walk
    resolved: tuple[Resolved, ...]
    unresolved: tuple[Violation, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """What the checks look at. `memory` is RAM as the loader leaves it, by page; where its

    lists cannot be followed, `unloadable` says why. `told` are the places that devices know of.
    """

    image: Image
    book: Ledger
    phases: tuple[Followed, ...]
    memory: Memory
    unloadable: str
    told: frozenset[str]


Check = Callable[[Proof], Iterable[Violation]]


@dataclass(frozen=True, slots=True)
class Law:
    """A row of the table. `elsewhere` says what proves the part that bytes alone cannot show."""

    number: int
    title: str
    checks: tuple[Check, ...]
    elsewhere: str = ""


def _flow(proof: Proof) -> Iterable[Violation]:
    for one in proof.phases:
        yield from check_flow(one.line, proof.book)


def _change(proof: Proof) -> Iterable[Violation]:
    manifest = proof.image.manifest
    for one in proof.phases:
        yield from check_change(one.line, one.walked, one.atlas, manifest, proof.book)


def _divisions(proof: Proof) -> Iterable[Violation]:
    for one in proof.phases:
        yield from check_divisions(one.line, one.walked, proof.book)


def _pages(proof: Proof) -> Iterable[Violation]:
    return check_pages(proof.image.manifest)


def _tables(proof: Proof) -> Iterable[Violation]:
    return check_tables(proof.image, proof.memory, proof.unloadable)


def _gates(proof: Proof) -> Iterable[Violation]:
    if not proof.unloadable:
        yield from check_gates(proof.image, proof.memory)
    for one in proof.phases:
        yield from check_sleep(one.line, proof.image.manifest.gates, proof.book)


def _places(proof: Proof) -> Iterable[Violation]:
    for one in proof.phases:
        yield from one.unresolved


def _present(proof: Proof) -> Iterable[Violation]:
    return check_present(proof.image.manifest)


def _owners(proof: Proof) -> Iterable[Violation]:
    for one in proof.phases:
        manifest = proof.image.manifest
        found = check_owners(one.line, one.resolved, one.atlas, manifest, proof.book)
        yield from dict.fromkeys(found)  # what every row does is said once


def _wiped(proof: Proof) -> Iterable[Violation]:
    for one in proof.phases:
        if one.line.name == WIPE:
            yield from check_wiped(proof.image, one.walked.accesses)


def _given(proof: Proof) -> Iterable[Violation]:
    manifest = proof.image.manifest
    ram = ram_of(manifest)
    for one in proof.phases:
        found = check_given(one.line, one.resolved, one.atlas, proof.told, ram, proof.book)
        yield from dict.fromkeys(found)
    yield from check_preset(manifest, proof.told, proof.memory, ram)


def _cited(proof: Proof) -> Iterable[Violation]:
    return check_cited(proof.image)


def _account(proof: Proof) -> Iterable[Violation]:
    return check_account(proof.image)


def _features(proof: Proof) -> Iterable[Violation]:
    for one in proof.phases:
        yield from check_features(one.line, proof.image.manifest, proof.book)


def _bounds(proof: Proof) -> Iterable[Violation]:
    for one in proof.phases:
        yield from check_bounds(one.line, one.walked, proof.book)


LAWS: tuple[Law, ...] = (
    Law(1, "generated", (), "account (law 4) and the test that Python knows no device"),
    Law(2, "branch-free", (_flow, _change, _divisions, _pages, _tables, _gates)),
    Law(3, "only what is there", (_places, _present, _owners, _given, _cited, _wiped)),
    Law(4, "accounted for", (_account,)),
    Law(5, "guarded", (_features,), "boots on changed machines"),
    Law(6, "reproducible", (), "two builds compared"),
    Law(7, "constant time", (_bounds,), "a straight line has one length: law 2"),
)


def verify(image: Image) -> Report:
    """Prove the laws on an image; the report lists every violation in the order of the laws."""
    wrong = check_form(image)
    if wrong:
        return Report(wrong)
    proof = follow(image)
    violations = [v for law in LAWS for check in law.checks for v in check(proof)]
    indexed = _indexed(proof)
    return Report(
        tuple(violations),
        tuple((one.line.name, len(one.line.steps)) for one in proof.phases),
        transfers(tuple(one.line for one in proof.phases)),
        _touches(proof),
        indexed[True],
        indexed[False],
        tuple(item for one in proof.phases for item in largest_counts(one.line, one.walked)),
    )


def follow(image: Image) -> Proof:
    """Decode and walk every phase of an image whose form is sound."""
    manifest, book = image.manifest, ledger(image)
    config = manifest.provenance.config
    select = config.select if config is not None else -1
    ground = Ground(manifest.roots, manifest.symbol(manifest.next).linear, select=select)
    lines = [(line, atlas_of(image, line.name)) for line in straight_lines(image)]
    memory, problem = loaded_memory(image)
    settled, walks = settle(lines, ground, manifest, memory, explore)
    phases = []
    for (line, atlas), walked in zip(lines, walks, strict=True):
        resolved, unresolved = resolve(line, walked, atlas, manifest, book)
        phases.append(Followed(line, atlas, walked, resolved, unresolved))
    return Proof(image, book, tuple(phases), memory, problem, settled.told)


def _indexed(proof: Proof) -> Counter[bool]:
    """How many instructions have an index that is bounded by the bytes, and how many not."""
    bounded: dict[tuple[str, int], bool] = {}
    for one in proof.phases:
        for resolved in one.resolved:
            if resolved.bounded is not None:
                key = (one.line.name, resolved.access.step.offset)
                bounded[key] = bounded.get(key, True) and resolved.bounded
    return Counter(bounded.values())


def _touches(proof: Proof) -> tuple[Touches, ...]:
    """Count the steady phase's accesses to windows and ports, by device."""
    counts: dict[str, Touches] = {}
    for one in proof.phases:
        if one.line.name != "steady":
            continue
        for resolved in one.resolved:
            if not resolved.device_memory:
                continue
            for device in resolved.devices:
                before = counts.get(device, Touches(device))
                counts[device] = _counted(before, resolved)
    return tuple(counts[device] for device in sorted(counts))


def _counted(touches: Touches, resolved: Resolved) -> Touches:
    """One more access: a read-modify-write is a read and a write."""
    access, gated = resolved.access, resolved.gated
    units = 1 if access.count is None else access.count.top
    read, write = units * access.read, units * access.write
    if gated:
        return replace(
            touches,
            gated_reads=touches.gated_reads + read,
            gated_writes=touches.gated_writes + write,
        )
    return replace(touches, reads=touches.reads + read, writes=touches.writes + write)
