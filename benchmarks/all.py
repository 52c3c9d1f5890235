"""Every benchmark in one go. `python -m benchmarks.all [MACHINE.json] [IMAGE] [--json]`

Without arguments the default QEMU machine is probed and its image built in a folder that is thrown
away. Prints a Markdown table: what was measured, the figure, the bound of the project.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import answers, boot, build_time, size
from benchmarks.build_time import CALL, SECONDS
from benchmarks.harness import fail
from metaos.errors import MetaosError


def measure(machine: Path, image: Path, echoes: int) -> dict[str, Any]:
    """Run every benchmark, one after the other."""
    return {
        "size": size.measure(image),
        "boot": boot.measure(image),
        "answers": answers.measure(image, echoes),
        "build": build_time.measure(machine, 5),
    }


def table(found: dict[str, Any]) -> str:
    """The figures beside their bounds, as Markdown."""
    lines = ["| what | measured | bound |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {a} | {b} | {c} |" for a, b, c in _rows(found))])


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, object, str]]:
    sizes, boots, answered = found["size"], found["boot"], found["answers"]
    yield "content bytes, loader included", sizes["content_bytes"], "3,072"
    yield "sectors loaded", sizes["sectors_loaded"], ""
    for address, device in sizes["devices"].items():
        both = f"{device['content_bytes']} / {device['driver_alone']}"
        yield f"content bytes of {address} {device['pattern']} / without services", both, ""
    yield "instructions of a steady turn, consoles included", sizes["loop_instructions"], "150"
    after = answered["conditional_branches_after_handover"]
    yield "conditional branches after the hand-over", after, "0"
    outside = answered["instructions_outside_the_phases"]
    yield "instructions outside the phases after the hand-over", outside, "0"
    turn = answered["instructions_per_answering_turn"]
    yield "instructions executed per answering turn", turn, ""
    lost = answered["lost_one_by_one"] + answered["lost_in_flight"]
    asked = answered["echoes_one_by_one"] + answered["echoes_in_flight"]
    yield f"echoes lost of {asked}, at most 32 in flight", lost, "0"
    yield "echoes a second, 32 in flight (with the plugin)", answered["echoes_per_second"], ""
    yield "round trip, median (us)", answered["round_trip_us_p50"], ""
    yield "start of QEMU to the first answer (ms)", answered["first_answer_ms"], ""
    yield "instructions from the boot sector to steady", boots["instructions"], "20,000"
    yield "of these, the loader's", boots["loader"], ""
    yield "firmware called meanwhile", boots["firmware_called"], "apart"
    yield "waiting for the card", boots["instructions_of_waiting"], "apart"
    yield "`metaos build --machine FILE`, best of 5 (s)", found["build"]["best_s"], "1.5"
    yield "the same, first (s)", found["build"]["first_s"], ""


def _metaos(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CALL, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise MetaosError(f"metaos {arguments[0]} failed:\n{done.stderr.strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("machine", type=Path, nargs="?")
    parser.add_argument("image", type=Path, nargs="?")
    parser.add_argument("-n", "--echoes", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="metaos-") as name:
            machine = options.machine or Path(name) / "machine.json"
            image = options.image or Path(name) / "x.img"
            if options.machine is None:
                _metaos("probe", "qemu", "-o", str(machine))
            if options.image is None:
                _metaos("build", "--machine", str(machine), "-o", str(image))
            found = measure(machine, image, options.echoes)
    except MetaosError as error:
        fail(error)
    print(json.dumps(found) if options.json else table(found))


if __name__ == "__main__":
    main()
