"""The `metaos` command as a process of its own: started, read, and looked for afterwards."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

METAOS = [sys.executable, "-c", "from metaos.cli import main; main()"]


def processes(marker: Path) -> list[int]:
    """The processes whose command line names `marker`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(marker) in line:
                found.append(int(folder.name))
    return found


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port of this machine that nobody has at the moment: of UDP, or of TCP."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*METAOS, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def wait_for_line(process: subprocess.Popen[str], text: str, seconds: float = 30) -> str:
    """Read its stdout until `text` has come; all that it said so far."""
    assert process.stdout is not None
    return read_until(process.stdout, text, seconds)


def read_until(stream: IO[str], text: str, seconds: float = 30) -> str:
    """Read a pipe until `text` has come; all that was read."""
    end = time.monotonic() + seconds
    seen = b""
    while text.encode() not in seen:
        left = end - time.monotonic()
        ready = select.select([stream], [], [], max(left, 0))[0]
        piece = os.read(stream.fileno(), 4096) if ready else b""
        assert piece, seen
        seen += piece
    return seen.decode("utf-8", "replace")
