"""How long a cold build takes. `python -m benchmarks.build_time MACHINE.json [--json] [-n 5]`

Each build is a process of its own, `metaos build --machine FILE`, timed from outside: Python's
start and imports are in it. Best and median of n; the first is also shown by itself. The time of
the processor, which other work on the host lengthens less, is the best of n.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import fail, median
from metaos.errors import MetaosError

SECONDS = 120
CALL = "from metaos.cli import main; main()"


def measure(machine: Path, times: int) -> dict[str, float]:
    """Build `times` times into a folder that is thrown away."""
    took, processor = [], []
    with tempfile.TemporaryDirectory(prefix="metaos-") as folder:
        for _ in range(times):
            target = Path(folder) / "x.img"
            line = [sys.executable, "-c", CALL, "build", "--machine", str(machine)]
            start, used = time.perf_counter(), _children()
            done = subprocess.run(
                [*line, "-o", str(target)],
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            took.append(time.perf_counter() - start)
            processor.append(_children() - used)
            if done.returncode or not target.exists():
                raise MetaosError(f"the build failed:\n{done.stderr.strip()}")
            target.unlink()
    return {
        "builds": times,
        "first_s": round(took[0], 3),
        "best_s": round(min(took), 3),
        "median_s": round(median(took), 3),
        "processor_s": round(min(processor), 3),
    }


def _children() -> float:
    """Processor seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("machine", type=Path)
    parser.add_argument("-n", "--times", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        result = measure(options.machine, max(1, options.times))
    except MetaosError as error:
        fail(error)
    if options.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{name:12} {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
