"""One pattern file."""

from __future__ import annotations

from dataclasses import dataclass

from metaos.pattern.syntax.declarations import Layout, SourceName
from metaos.pattern.syntax.devices import ClassDef, Device
from metaos.pattern.syntax.services import Service


@dataclass(frozen=True, slots=True)
class File:
    """One parsed pattern file."""

    name: str
    sources: tuple[SourceName, ...]
    classes: tuple[ClassDef, ...]
    layouts: tuple[Layout, ...]
    devices: tuple[Device, ...]
    services: tuple[Service, ...]
