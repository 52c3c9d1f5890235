"""Two images that should be the same: `compare(image, made, ...) -> Rebuilt`.

`image` is the file that was given, `made` what its sources make here. Bytes are named by the
entries of the file's own account.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from metaos.errors import MetaosError
from metaos.link.image import Image
from metaos.link.manifest import AccountEntry, Provenance
from metaos.probe.machine import Machine, domain
from metaos.tools import Differing

_SHOWN = 20


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes `start` to `end` of the file, `bytes` of which differ: whose they are, from where."""

    start: int
    end: int
    bytes: int
    kind: str
    device: str
    phase: str
    source: str

    def __str__(self) -> str:
        whose = " ".join(x for x in (self.device, self.phase, self.kind) if x)
        source = f" [{self.source}]" if self.source else ""
        return f"file {self.start:#x} to {self.end:#x}: {whose}, {self.bytes} bytes differ{source}"


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What an image and another made of the same sources have in common.

    `loaded_differing`: bytes of what the loader reads, the shorter one's missing bytes counted;
    `parts`: the account's entries that they lie in, the first ones; `account`: entries of loaded
    bytes of which it says something else; `manifest`: fields of the manifest that differ; `tools`:
    those that were other versions.
    """

    same: bool
    loaded_differing: int
    parts: tuple[Part, ...]
    more_parts: int
    account: int
    manifest: tuple[str, ...]
    tools: tuple[Differing, ...]


def compare(image: Image, made: Image, tools: tuple[Differing, ...]) -> Rebuilt:
    """Byte by byte; `tools` are the differences of versions."""
    parts = tuple(_parts(image, made))
    changed = sum(a != b for a, b in zip(image.loaded, made.loaded, strict=False))
    fields = image.manifest.__struct_fields__
    return Rebuilt(
        same=image.data == made.data,
        loaded_differing=changed + abs(len(image.loaded) - len(made.loaded)),
        parts=parts[:_SHOWN],
        more_parts=max(0, len(parts) - _SHOWN),
        account=len(_entries(image) ^ _entries(made)),
        manifest=tuple(
            name for name in fields if getattr(image.manifest, name) != getattr(made.manifest, name)
        ),
        tools=tools,
    )


def _entries(image: Image) -> set[AccountEntry]:
    return {e for e in image.account if e.start < len(image.loaded)}


def _parts(image: Image, made: Image) -> Iterator[Part]:
    for entry in image.account:
        if entry.start >= len(image.loaded):
            continue
        mine, other = image.loaded[entry.start : entry.end], made.loaded[entry.start : entry.end]
        count = sum(a != b for a, b in zip(mine, other, strict=False)) + len(mine) - len(other)
        if count:
            yield Part(
                start=entry.start,
                end=entry.end,
                bytes=count,
                kind=entry.kind,
                device=entry.device,
                phase=entry.phase,
                source=f"{entry.file}:{entry.line}" if entry.file else "",
            )


def render(rebuilt: Rebuilt) -> list[str]:
    """The comparison for a person."""
    if rebuilt.same:
        return ["rebuilt: the same bytes"]
    lines = [f"rebuilt: {rebuilt.loaded_differing} of the loaded bytes differ"]
    lines += [f"  {part}" for part in rebuilt.parts]
    lines += [f"  and {rebuilt.more_parts} more places"] * bool(rebuilt.more_parts)
    if rebuilt.account:
        lines.append(f"  account: {rebuilt.account} entries differ")
    if rebuilt.manifest:
        lines.append(f"  manifest: {', '.join(rebuilt.manifest)} differ")
    return lines + [f"  tool {tool}" for tool in rebuilt.tools]


def is_another(machine: Machine, made_for: Provenance) -> bool:
    """Whether an image that says this of itself was certainly made for another machine."""
    functions = {f.address for f in machine.functions if not domain(f.address)}
    there = set(made_for.config.functions) if made_for.config is not None else functions
    return functions != there or machine.emulator != made_for.emulator


def not_its_sources() -> MetaosError:
    """What is said where a machine file and patterns make another image than the one given."""
    return MetaosError(
        "the image is not what this machine file and these patterns make",
        hint="name the machine file it was built from (--machine FILE) and the same --patterns, "
        "or build it again: metaos build",
    )
