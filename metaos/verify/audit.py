"""`metaos audit IMAGE`: re-prove the laws from a file, and say what the image is made of.

    report = audit(Path("build/pc-e1000.img"))
    report.violations or report.content_bytes

Raises what `read_image` raises for a file that is no image; a broken law is no exception
but a `Violation` in the report, and `exit_code` says 4.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec

from metaos.errors import Exit
from metaos.link.image import Image, read_image
from metaos.link.manifest import AccountEntry
from metaos.verify.account import unattributed
from metaos.verify.compare import Rebuilt
from metaos.verify.compare import render as rebuilt_lines
from metaos.verify.decode import ledger, straight_lines
from metaos.verify.laws import verify
from metaos.verify.report import Report, Touches, Violation

_BESIDE = 64 << 20
"""A larger account beside the image is not read."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What every record of the audit is: frozen, with JSON's names."""


class DeviceBytes(Record, frozen=True, kw_only=True):
    """What one device has in the loaded bytes; `content` leaves out zeros."""

    address: str
    pattern: str
    bytes: int
    content: int
    kinds: dict[str, int]
    loop_instructions: int


class Accesses(Record, frozen=True, kw_only=True):
    """Device accesses of a turn, in 8 to 32 bits each."""

    reads: int
    writes: int


class DeviceAccesses(Record, frozen=True, kw_only=True):
    """`idle`: those of every turn. `answered`: at most these, where a frame is answered.

    Counted on the steady phase's code (docs/laws.md): `idle` those without a guard, `answered`
    these and the guarded ones of the devices that offer frames, `all_guards_open` every one.
    """

    answered: Accesses
    idle: Accesses
    all_guards_open: Accesses


class Broken(Record, frozen=True, kw_only=True):
    """A violation in JSON: `source` is "file:line:column", or empty."""

    law: int
    place: str
    message: str
    source: str


class AuditReport(Record, frozen=True, kw_only=True):
    """What `metaos audit --json` prints."""

    image: str
    text_bytes: int
    content_bytes: int
    content_by_kind: dict[str, int]
    image_bytes: int
    loaded_sectors: int
    loop_instructions: int
    phase_instructions: dict[str, int]
    largest_repeats: dict[str, int]
    device_accesses: DeviceAccesses
    conditional_branches: int
    indirect_branches: int
    calls: int
    indexed_bounded: int
    indexed_unbounded: int
    unattributed_bytes: int
    devices: tuple[DeviceBytes, ...]
    violations: tuple[Broken, ...]
    rebuilt: Rebuilt | None = None

    @property
    def exit_code(self) -> Exit:
        if self.violations:
            return Exit.LAW_BROKEN
        return Exit.DONE if self.rebuilt is None or self.rebuilt.same else Exit.FAILED


def with_rebuilt(report: AuditReport, rebuilt: Rebuilt) -> AuditReport:
    """A report with what building the image again gave.

    The same tools have to give the same bytes (law 6); others may give others.
    """
    broken: tuple[Broken, ...] = ()
    if not rebuilt.same and not rebuilt.tools:
        text = "the machine file and the patterns make other bytes"
        broken = (Broken(law=6, place="the whole file", message=text, source=""),)
    violations = (*report.violations, *broken)
    return msgspec.structs.replace(report, rebuilt=rebuilt, violations=violations)


def audit(path: Path) -> AuditReport:
    """Read an image file, prove the laws on it and measure it."""
    image = read_image(path)
    return measure(image, str(path), _beside(image, path))


def measure(
    image: Image, name: str, more: tuple[Violation, ...] = (), proof: Report | None = None
) -> AuditReport:
    """The audit of an image that is already in memory.

    `more` are violations found outside it; `proof` is what `verify` said of it, if it was asked.
    """
    report = proof or verify(image)
    manifest = image.manifest
    return AuditReport(
        image=name,
        text_bytes=sum(phase.code_length for phase in manifest.phases),
        content_bytes=len(image.loaded) - image.loaded.count(0),
        content_by_kind=_by_kind(image),
        image_bytes=len(image.data),
        loaded_sectors=manifest.loaded_sectors,
        loop_instructions=report.instructions("steady"),
        phase_instructions=dict(report.phases),
        largest_repeats=dict(report.repeats),
        device_accesses=_accesses(report, image),
        conditional_branches=report.transfers.conditional,
        indirect_branches=report.transfers.indirect,
        calls=report.transfers.calls,
        indexed_bounded=report.bounded,
        indexed_unbounded=report.unbounded,
        unattributed_bytes=unattributed(image),
        devices=_devices(image),
        violations=tuple(_broken(v) for v in (*report.violations, *more)),
    )


def _broken(violation: Violation) -> Broken:
    return Broken(
        law=violation.law,
        place=violation.place,
        message=violation.message,
        source=str(violation.span) if violation.span else "",
    )


def _beside(image: Image, path: Path) -> tuple[Violation, ...]:
    """The account that lies beside the image, if one does, says what the one inside says."""
    beside = path.with_name(path.name + ".account.json")
    try:
        if not beside.is_file():
            return ()
        if beside.stat().st_size > _BESIDE:
            return (Violation(4, str(beside), "is larger than any account"),)
        account = msgspec.json.decode(beside.read_bytes(), type=tuple[AccountEntry, ...])
    except (OSError, msgspec.MsgspecError) as error:
        return (Violation(4, str(beside), f"cannot be read: {error}"),)
    if account == image.account:
        return ()
    for mine, other in zip(image.account, account, strict=False):
        if mine != other:
            place = f"file {mine.start:#x} to {mine.end:#x}"
            return (Violation(4, place, f"{beside.name} says something else of it"),)
    message = f"has {len(account)} entries, the account inside {len(image.account)}"
    return (Violation(4, str(beside), message),)


def _content(image: Image, entry: AccountEntry) -> tuple[int, int]:
    """Loaded bytes of an entry: all, and those that are not zero."""
    part = image.loaded[max(entry.start, 0) : max(entry.end, 0)]
    return len(part), len(part) - part.count(0)


def _by_kind(image: Image) -> dict[str, int]:
    """Content bytes of each kind, the greatest first."""
    sums: defaultdict[str, int] = defaultdict(int)
    for entry in image.account:
        sums[entry.kind] += _content(image, entry)[1]
    return {k: n for k, n in sorted(sums.items(), key=lambda item: -item[1]) if n}


def _devices(image: Image) -> tuple[DeviceBytes, ...]:
    """The devices of the manifest and what the account gives each of them."""
    totals: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    kinds: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    turns = _turns(image)
    for entry in image.account:
        if entry.device:
            all_bytes, content = _content(image, entry)
            totals[entry.device][0] += all_bytes
            totals[entry.device][1] += content
            kinds[entry.device][entry.kind] += content
    return tuple(
        DeviceBytes(
            address=served.address,
            pattern=served.pattern,
            bytes=totals[served.address][0],
            content=totals[served.address][1],
            kinds=dict(sorted(kinds[served.address].items())),
            loop_instructions=turns[served.address],
        )
        for served in image.manifest.provenance.devices
    )


def _turns(image: Image) -> Counter[str]:
    """Instructions of one steady turn by the device the account gives their first byte to."""
    book, found = ledger(image), Counter[str]()
    for line in straight_lines(image):
        if line.name == "steady":
            entries = (book.entry(line.file_offset(step.offset)) for step in line.steps)
            found.update(entry.device for entry in entries if entry is not None)
    return found


def _accesses(report: Report, image: Image) -> DeviceAccesses:
    offering = {s.address for s in image.manifest.provenance.devices if s.offers}
    idle = Accesses(
        reads=sum(t.reads for t in report.touches), writes=sum(t.writes for t in report.touches)
    )
    frames = [t for t in report.touches if t.device in offering or not offering]
    return DeviceAccesses(
        answered=_with_gated(idle, frames),
        idle=idle,
        all_guards_open=_with_gated(idle, report.touches),
    )


def _with_gated(idle: Accesses, touches: tuple[Touches, ...] | list[Touches]) -> Accesses:
    return Accesses(
        reads=idle.reads + sum(t.gated_reads for t in touches),
        writes=idle.writes + sum(t.gated_writes for t in touches),
    )


def _repeats(report: AuditReport) -> Iterator[str]:
    """The blocks that the steady phase moves by one instruction, with their largest counts."""
    blocks = {at: n for at, n in report.largest_repeats.items() if n > 1 and at[:6] == "steady"}
    if blocks:
        most = ", ".join(f"{count} at {place.split()[0]}" for place, count in blocks.items())
        yield f"  largest blocks     {most}"


def render(report: AuditReport) -> str:
    """The audit for a person."""
    idle, answered = report.device_accesses.idle, report.device_accesses.answered
    lines = [
        f"{report.image}: {report.image_bytes} bytes, {report.loaded_sectors} sectors loaded",
        f"  content            {report.content_bytes} bytes"
        f" ({', '.join(f'{k} {n}' for k, n in report.content_by_kind.items())})",
        f"  code               {report.text_bytes} bytes",
        f"  one steady turn    {report.loop_instructions} instructions",
        *(
            f"  one {name} turn".ljust(21) + f"{count} instructions"
            for name, count in report.phase_instructions.items()
            if name != "steady"
        ),
        f"  device accesses    answered: {answered.reads} reads, {answered.writes} writes;"
        f" idle: {idle.reads} reads, {idle.writes} writes",
        f"  branches           {report.conditional_branches} conditional,"
        f" {report.indirect_branches} indirect, {report.calls} calls",
        f"  indexed operands   {report.indexed_bounded} proved to stay in their place,"
        f" {report.indexed_unbounded} reads by their type only",
        *_repeats(report),
        f"  unattributed       {report.unattributed_bytes} bytes",
        *(
            f"  {d.address}  {d.pattern}: {d.content} bytes"
            + (f", {d.loop_instructions} instructions a turn" if d.loop_instructions else "")
            for d in report.devices
        ),
    ]
    lines += rebuilt_lines(report.rebuilt) if report.rebuilt is not None else []
    if not report.violations:
        return "\n".join([*lines, "every law holds"])
    lines += [
        f"law {v.law} is broken at {v.place}: {v.message}" + (f" [{v.source}]" if v.source else "")
        for v in report.violations
    ]
    return "\n".join(lines)
