"""What booting costs, in instructions. `python -m benchmarks.boot IMAGE [--json]`

Counted by the plugin from the boot sector's first instruction to the first steady turn, `rep`
once an iteration: the loader's own, the firmware's that it calls (apart), and every phase's. A
turn in which a row waits for the card repeats the row; what turns there are beyond
one a row is counted apart as well.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Booted, Counters, booted, fail
from metaos.errors import MetaosError
from metaos.verify.laws import follow

BOOT_SECONDS = 60.0


def measure(image: Path, arguments: Sequence[str] = ()) -> dict[str, object]:
    """Boot once, up to the first steady turn."""
    with booted(image, plugin=True, arguments=arguments) as machine:
        counters = _first_steady(machine)
        walked = {one.line.name: one.walked.rows for one in follow(machine.image).phases}
        sectors = machine.image.manifest.loaded_sectors
    phases = {name: counters.owners[name] for name in walked if name not in ("steady", "report")}
    waiting = {
        name: max(0, counter.turns - (walked[name] or 1)) for name, counter in phases.items()
    }
    waited = sum(
        round(waiting[name] * counter.instructions / max(counter.turns, 1))
        for name, counter in phases.items()
    )
    own = counters.owners["loader"].instructions
    total = own + sum(counter.instructions for counter in phases.values())
    return {
        "instructions": total - waited,
        "loader": own,
        "phases": {name: counter.instructions for name, counter in phases.items()},
        "turns": {name: counter.turns for name, counter in phases.items()},
        "rows": {name: walked[name] for name in phases},
        "turns_that_waited": waiting,
        "instructions_of_waiting": waited,
        "firmware_called": counters.owners["firmware"].instructions,
        "firmware_before": counters.owners["before"].instructions,
        "conditional_branches_of_phases": counters.branches_after,
        "sectors_loaded": sectors,
        "boot_sector_to_steady_ms": round((counters.steady_ns - counters.started_ns) / 1e6, 2),
    }


def _first_steady(machine: Booted) -> Counters:
    """The counters once the steady phase runs: those of the phases before it stand still."""
    while time.monotonic() - machine.started < BOOT_SECONDS:
        counters = machine.counters()
        if counters.steady_turns:
            return counters
        if counters.owners.get("report") and counters.owners["report"].turns:
            raise MetaosError("the machine went to its report phase instead of steady")
        if machine.vm.wait(0.02) is not None:
            raise machine.vm.death("while it booted")
    raise MetaosError(f"no steady turn within {BOOT_SECONDS:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("arguments", nargs="*", help="for QEMU, after --")
    options = parser.parse_args()
    try:
        result = measure(options.image, options.arguments)
    except MetaosError as error:
        fail(error)
    if options.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{name:32} {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
