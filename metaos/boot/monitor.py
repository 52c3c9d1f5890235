"""The control socket of a QEMU that somebody else started: `with Monitor("vm.sock") as vm`.

Entering: a path, or HOST:PORT; leaving: answers to QMP commands. Every wait has a limit, and
whatever is at the other end that is not QEMU is one error.

    with Monitor("/run/vm.sock") as vm:
        vm.command("query-status")
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import stat
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import QMPClient, QMPError
from qemu.qmp.qmp_client import ExecuteError

from metaos.errors import Exit, MetaosError

GREETING_SECONDS = 5.0
_END_SECONDS = 2.0
_PORT = re.compile(r"(?P<host>[^/]*):(?P<port>\d{1,5})")
_T = TypeVar("_T")

logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())


class Monitor:
    """A connection inside a `with` block; all commands together may take `seconds`."""

    def __init__(self, address: str, seconds: float = 60.0) -> None:
        self.address = address
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._loop = asyncio.new_event_loop()
        self._client = QMPClient("metaos")

    def __enter__(self) -> Monitor:
        """Connect and wait for QEMU's greeting.

        Raises:
            MetaosError: nobody is there, it does not greet in time, or it is not QEMU.
        """
        try:
            place = self._place()
            self._await(self._client.connect(place), GREETING_SECONDS)
        except TimeoutError as error:
            self.close()
            raise MetaosError(
                f"{self.address}: nothing greets within {GREETING_SECONDS:g} s",
                hint="QEMU talks to one at a time: is another program connected to this socket?",
                exit_code=Exit.TIMEOUT,
            ) from error
        except (QMPError, OSError, EOFError, ValueError) as error:
            self.close()
            raise self._no_monitor(error) from error
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def command(self, name: str, **arguments: object) -> Any:
        """Run a QMP command and return its value.

        Raises:
            MetaosError: QEMU refuses it, closes the connection, or does not answer in time.
        """
        try:
            return self._await(self._client.execute(name, dict(arguments)), self.left)
        except ExecuteError as error:
            raise MetaosError(f"{self.address}: QEMU refuses '{name}': {error}") from error
        except TimeoutError as error:
            raise MetaosError(
                f"{self.address}: no answer to '{name}' within the {self._seconds:g} s of a probe",
                exit_code=Exit.TIMEOUT,
            ) from error
        except (QMPError, OSError, EOFError, ValueError) as error:
            raise MetaosError(f"{self.address}: closed during '{name}': {_said(error)}") from error

    def hmp(self, line: str) -> str:
        """Run a line of QEMU's human monitor and return its text."""
        return str(self.command("human-monitor-command", **{"command-line": line}))

    @property
    def left(self) -> float:
        """Seconds that commands may still take."""
        return max(0.0, self._end - time.monotonic())

    def extend(self, seconds: float) -> None:
        """Let the commands that put things back have so many seconds from now."""
        self._end = time.monotonic() + seconds

    def close(self) -> None:
        """Leave the connection; QEMU goes on. Harmless if called again."""
        if self._loop.is_closed():
            return

        async def settle() -> None:
            with contextlib.suppress(Exception):  # whatever the other end does, we leave
                await asyncio.wait_for(self._client.disconnect(), _END_SECONDS)
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        try:
            self._loop.run_until_complete(settle())
        finally:
            self._loop.close()

    def _place(self) -> str | tuple[str, int]:
        """A path if there is one of that name, else HOST:PORT."""
        found = _PORT.fullmatch(self.address)
        if found and not Path(self.address).exists():
            return found["host"] or "127.0.0.1", int(found["port"])
        return self.address

    def _no_monitor(self, error: Exception) -> MetaosError:
        hint = "start QEMU with -qmp unix:PATH,server=on,wait=off and give that PATH, or HOST:PORT"
        path = Path(self.address)
        with contextlib.suppress(OSError):
            if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
                return MetaosError(f"{self.address}: not a socket", hint=hint)
        return MetaosError(f"{self.address}: no QEMU control socket: {_said(error)}", hint=hint)

    def _await(self, work: Coroutine[Any, Any, _T], timeout: float) -> _T:
        return self._loop.run_until_complete(asyncio.wait_for(work, timeout))


def _said(error: BaseException) -> str:
    """The first line of what went wrong, of the cause if that is what counts."""
    cause = error.__cause__ or error
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    if isinstance(cause, EOFError):
        return "the other end closed the connection"
    text = str(error).strip() or str(cause).strip() or type(cause).__name__
    return text.splitlines()[0][:120]
