"""One QEMU under control: started, asked over its control socket, ended for sure.

Entering: a command line; leaving: the answers of its monitor and what it said on stderr.

    with Qemu(command(target, image=image, accel="tcg")) as vm:
        vm.command("query-status")
        vm.hmp("info pci")
        vm.wait(10)

However the block is left, QEMU is gone after it, and it goes when this process is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from typing import IO, Any, TypeVar

from qemu.qmp import QMPClient, QMPError
from qemu.qmp.qmp_client import ExecuteError

from metaos.errors import Exit, MetaosError

INSTALL = "sudo apt-get install -y qemu-system-x86"

_GREETING_SECONDS = 30.0
_ANSWER_SECONDS = 30.0
_END_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
_STDERR_LINES = 12
_T = TypeVar("_T")

logging.getLogger("qemu.qmp").addHandler(logging.NullHandler())


class Qemu:
    """A QEMU process, running inside a `with` block.

    `pass_fds` are descriptors that QEMU inherits; `stdin` and `stdout` are as for
    subprocess. With `qmp` False there is no control socket, and `command` and `hmp` are
    not to be used.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        qmp: bool = True,
        pass_fds: Sequence[int] = (),
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.DEVNULL,
    ) -> None:
        self._arguments = list(arguments)
        self._qmp = qmp
        self._pass_fds = tuple(pass_fds)
        self._stdin = stdin
        self._stdout = stdout
        self._stderr: IO[bytes] | None = None
        # QEMU makes a file for a disk's forgotten writes and, if it is killed just then, leaves it.
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._said = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: QMPClient | None = None

    def __enter__(self) -> Qemu:
        """Start QEMU and, unless told otherwise, wait for its control socket's greeting.

        Raises:
            MetaosError: QEMU is missing, ends at once (its message is shown), or is silent.
        """
        try:
            self._spawn()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def returncode(self) -> int | None:
        """QEMU's exit status, negative if a signal ended it; None while it runs."""
        return self._running().poll()

    @property
    def stderr(self) -> str:
        """What QEMU has said on stderr so far."""
        if self._stderr is not None:
            size = os.fstat(self._stderr.fileno()).st_size
            self._said = os.pread(self._stderr.fileno(), size, 0).decode("utf-8", "replace")
        return self._said

    def command(self, name: str, **arguments: object) -> Any:
        """Run a QMP command and return its value.

        Raises:
            MetaosError: QEMU refuses it, has ended, or does not answer.
        """
        assert self._client is not None, "no control socket"
        try:
            return self._await(self._client.execute(name, dict(arguments)), _ANSWER_SECONDS)
        except ExecuteError as error:
            raise MetaosError(f"QEMU refuses '{name}': {error}") from error
        except TimeoutError as error:
            raise MetaosError(
                f"QEMU does not answer '{name}' within {_ANSWER_SECONDS:.0f} s",
                exit_code=Exit.TIMEOUT,
            ) from error
        except (QMPError, OSError, EOFError) as error:
            raise self.death(f"during '{name}'") from error

    def hmp(self, line: str) -> str:
        """Run a line of QEMU's human monitor and return its text."""
        return str(self.command("human-monitor-command", **{"command-line": line}))

    def wait(self, timeout: float) -> int | None:
        """Wait up to `timeout` seconds for QEMU to end; its exit status, None if it runs on."""
        try:
            return self._running().wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def death(self, when: str) -> MetaosError:
        """The error that says that QEMU has ended, with its last words."""
        status = self.wait(_END_SECONDS)
        how = "lost its control socket"
        if status is not None:
            how = f"ended with exit status {status}"
            if status < 0:
                with contextlib.suppress(ValueError):
                    how = f"was ended by {signal.Signals(-status).name}"
        words = self.stderr.strip().splitlines()[-_STDERR_LINES:]
        said = ":\n" + "\n".join(f"    {line}" for line in words) if words else ", saying nothing"
        return MetaosError(f"QEMU {how} {when}{said}")

    def close(self) -> None:
        """End QEMU if it runs. Harmless if it was never started, and if called again."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
        if self._loop is not None:
            loop, self._loop = self._loop, None
            _finish(loop, self._client)
        if self._stderr is not None:
            self._said = self.stderr
            self._stderr.close()
            self._stderr = None

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "use it inside its `with` block"
        return self._process

    def _spawn(self) -> None:
        if shutil.which(self._arguments[0]) is None:
            raise MetaosError(
                f"{self._arguments[0]} is not installed",
                hint=INSTALL,
                exit_code=Exit.TOOL_MISSING,
            )
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self._folder = tempfile.TemporaryDirectory(prefix="metaos-qemu-")
        with contextlib.ExitStack() as stack:
            arguments, descriptors = list(self._arguments), list(self._pass_fds)
            if self._qmp:
                ours, theirs = socket.socketpair()
                stack.enter_context(theirs)
                descriptors.append(theirs.fileno())
                arguments += ["-chardev", f"socket,id=metaos-qmp,fd={theirs.fileno()}"]
                arguments += ["-mon", "chardev=metaos-qmp,mode=control"]
            self._process = subprocess.Popen(
                arguments,
                stdin=self._stdin,
                stdout=self._stdout,
                stderr=self._stderr,
                pass_fds=descriptors,
                env=os.environ | {"TMPDIR": self._folder.name},
                preexec_fn=_die_with_parent(),
            )
        if self._qmp:
            self._greet(ours)

    def _greet(self, ours: socket.socket) -> None:
        """Connect to the control socket, whose end `ours` was handed down."""
        self._loop = asyncio.new_event_loop()
        self._client = QMPClient("metaos")
        try:
            self._await(self._client.connect(ours), _GREETING_SECONDS)
        except TimeoutError as error:
            raise MetaosError(
                f"QEMU does not greet within {_GREETING_SECONDS:.0f} s",
                hint="does an argument make it wait for a connection?",
                exit_code=Exit.TIMEOUT,
            ) from error
        except (QMPError, OSError, EOFError) as error:
            raise self.death("at start") from error
        except AssertionError:
            pass  # the library's, if QEMU has ended since it greeted: who asks it is told so

    def _await(self, work: Coroutine[Any, Any, _T], timeout: float) -> _T:
        assert self._loop is not None, "use it inside its `with` block"
        return self._loop.run_until_complete(asyncio.wait_for(work, timeout))


def _finish(loop: asyncio.AbstractEventLoop, client: QMPClient | None) -> None:
    """Close the control socket and what still waits for it."""

    async def settle() -> None:
        if client is not None:
            # The other end is dead: whatever this says, it is no news.
            with contextlib.suppress(Exception):
                await asyncio.wait_for(client.disconnect(), _END_SECONDS)
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        loop.run_until_complete(settle())
    finally:
        loop.close()


def _die_with_parent() -> Callable[[], None]:
    """What the child runs before QEMU: ask the kernel to kill it when this process ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def run() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the kernel knew
            os._exit(1)

    return run
