"""What an image's bytes are, from its account. `python -m benchmarks.size IMAGE [--json]`

Content bytes are loaded and neither zero nor padding, the loader's included. A device's are
those that the account gives to it: code, rows, tables and texts. The driver alone is what comes
from other files than those of services, whose code is spliced into the device's.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import fail
from metaos.errors import MetaosError
from metaos.link.image import Image, read_image
from metaos.verify.audit import audit

SERVICES = "services/"
"""The folder of patterns whose code is no driver's."""


@dataclass(frozen=True)
class Size:
    """Loaded bytes: all, and those that are not zero."""

    loaded: int = 0
    content: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.loaded + other.loaded, self.content + other.content)


def measure(image: Path) -> dict[str, object]:
    """The sizes that the audit finds."""
    report, files = audit(image), by_file(read_image(image))
    return {
        "content_bytes": report.content_bytes,
        "content_by_kind": report.content_by_kind,
        "text_bytes": report.text_bytes,
        "image_bytes": report.image_bytes,
        "sectors_loaded": report.loaded_sectors,
        "loop_instructions": report.loop_instructions,
        "phase_instructions": report.phase_instructions,
        "devices": {
            device.address: {
                "pattern": device.pattern,
                "content_bytes": device.content,
                "bytes": device.bytes,
                "driver_alone": driver_alone(files[device.address]).content,
                "kinds": device.kinds,
                "files": {f: s.content for f, s in files[device.address].items() if s.content},
            }
            for device in report.devices
        },
    }


def by_file(image: Image) -> defaultdict[str, defaultdict[str, Size]]:
    """What is loaded, by device and pattern file."""
    found: defaultdict[str, defaultdict[str, Size]] = defaultdict(lambda: defaultdict(Size))
    for entry in image.account:
        part = image.loaded[entry.start : entry.end]
        if entry.device and part:
            found[entry.device][entry.file] += Size(len(part), len(part) - part.count(0))
    return found


def driver_alone(files: Mapping[str, Size]) -> Size:
    """A device's files without those of services."""
    return sum((s for file, s in files.items() if not file.startswith(SERVICES)), Size())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        result = measure(options.image)
    except MetaosError as error:
        fail(error)
    if options.json:
        print(json.dumps(result))
        return
    devices = result.pop("devices")
    print("\n".join(f"{name:22} {value}" for name, value in result.items()))
    assert isinstance(devices, dict)
    print("\n".join(f"device {address:15} {what}" for address, what in devices.items()))


if __name__ == "__main__":
    main()
