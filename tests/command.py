"""The `metaos` command in a process of its own, without the time that Python takes to load it.

    result = metaos("match", "--json", cwd=tmp_path)    # a subprocess.CompletedProcess

The process is forked off a server that has loaded the command and read the patterns, one server for
all tests of a worker. It has its own streams, folder, environment and exit code, as any process.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

SECONDS = 60
START = [sys.executable, "-c", "from metaos.cli import main; main()"]
"""For those who need more than `metaos` gives: signals, pipes, a terminal."""
_STREAMS = ("stdin", "stdout", "stderr")


def metaos(
    *arguments: str | Path,
    cwd: Path | None = None,
    given: str = "",
    environment: dict[str, str] | None = None,
    **more: str,
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with `given` on stdin.

    `environment` is all of its environment, else ours; `more` is added. Raises
    subprocess.TimeoutExpired.
    """
    words = [str(word) for word in arguments]
    variables = (os.environ if environment is None else environment) | more
    with tempfile.TemporaryDirectory(prefix="metaos-") as folder:
        streams = [Path(folder) / name for name in _STREAMS]
        streams[0].write_text(given, "utf-8")
        place = Path.cwd() if cwd is None else cwd
        process = _server().Process(
            target=_run, args=(words, str(place), dict(variables), [str(s) for s in streams])
        )
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, SECONDS)
        out, err = (stream.read_text("utf-8", "replace") for stream in streams[1:])
    return subprocess.CompletedProcess(words, process.exitcode, out, err)


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.command_loaded"])
    return context


def _run(
    words: Sequence[str], place: str, environment: dict[str, str], streams: Sequence[str]
) -> None:
    """In the new process: become the command."""
    for fd, path in enumerate(streams):
        target = os.open(path, (os.O_WRONLY | os.O_CREAT) if fd else os.O_RDONLY)
        os.dup2(target, fd)
        os.close(target)
        setattr(sys, _STREAMS[fd], open(fd, "w" if fd else "r", encoding="utf-8", closefd=False))  # noqa: SIM115
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    from metaos.cli import main

    main(list(words))
