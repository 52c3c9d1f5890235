"""What an image's bytes are, from its account. `python -m benchmarks.size IMAGE [--json]`

Content bytes are loaded and neither zero nor padding, the loader's included. A device's are
those that the account gives to it: code, rows, tables and texts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.harness import fail
from metaos.errors import MetaosError
from metaos.verify.audit import audit


def measure(image: Path) -> dict[str, object]:
    """The sizes that the audit finds."""
    report = audit(image)
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
                **device.kinds,
            }
            for device in report.devices
        },
    }


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
