"""Documented shell sessions: read out of Markdown, run, compared with what is printed there.

    steps = read_steps(text)             # every ```console block and every named file
    with Shell(folder) as shell:
        shell.play(steps)                # raises AssertionError, naming command and line

A block ```console holds commands after "$ " and what each prints. A block whose fence says
a path after its language, as ```toml mirror.toml, is that file. All of a document happens in
one folder, in order. In the output, "..." on a line stands for any text, a line "..." for
any lines, a number that stands alone for any number, and spaces between columns for any two.

A command that ends in "&" goes on behind those that follow; these are tried again until
they print what they should, since a machine that boots needs a moment. "kill %1" ends it.
Port 7007 becomes a free one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

from tests.boot.started import free_port

ROOT = Path(__file__).parents[2]
PORT = "7007"
DEMO = "make demo"
"""What it prints has commands in it, which it shows before it runs them."""
NEEDS_QEMU = re.compile(r"^metaos (probe|run|test|boot-chart)\b|--probe\b|^make demo$")
_FENCE = re.compile(r"^```(\w+)?(?: (\S+))?$")
_LOOSE = re.compile(r"(\.\.\.|(?<=\S) {2,}|(?<![^\s(])\d+(?:\.\d+)?(?![^\s,)]))")
_COMMAND_SECONDS = 120.0
_TRY_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Step:
    """A command and its output, or, with a path, a file's text; `line` is its place."""

    line: int
    text: str
    output: str = ""
    path: str = ""


def read_steps(text: str) -> tuple[Step, ...]:
    """The commands and files of a document, in order."""
    steps: list[Step] = []
    block: list[str] | None = None
    kind, path, start = "", "", 0
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if fence and block is None:
            block, kind, path, start = [], fence[1] or "", fence[2] or "", number
        elif fence and block is not None:
            if path:
                steps.append(Step(start, "\n".join(block) + "\n", path=path))
            elif kind == "console":
                steps += _commands(block, start)
            block = None
        elif block is not None:
            block.append(line)
    return tuple(steps)


def _commands(block: list[str], start: int) -> list[Step]:
    steps: list[Step] = []
    for number, line in enumerate(block, start + 1):
        shows_commands = bool(steps) and steps[0].text == DEMO
        if line.startswith("$ ") and not shows_commands:
            steps.append(Step(number, line[2:]))
        elif steps:
            last = steps[-1]
            steps[-1] = Step(last.line, last.text, f"{last.output}{line}\n")
    return steps


def matches(expected: str, printed: str) -> bool:
    """Whether `printed` is what a document promises; spaces at line ends do not count."""
    lines = [line.rstrip() for line in expected.strip("\n").split("\n")]
    pattern = ""
    for line in lines:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*"
            continue
        for number, part in enumerate(_LOOSE.split(line)):
            pattern += _loosely(part) if number % 2 else re.escape(part)
        pattern += r"\n"
    text = "".join(f"{line.rstrip()}\n" for line in printed.strip("\n").split("\n"))
    return re.fullmatch(pattern, text) is not None


def _loosely(part: str) -> str:
    if part == "...":
        return ".*"
    return " {2,}" if part.isspace() else r"\d+(?:\.\d+)?"


@dataclass
class Shell:
    """Runs the steps of one document in `folder`; ends what is left behind."""

    folder: Path
    status: int = 0
    behind: subprocess.Popen[str] | None = None
    log: IO[str] | None = None
    port: str = field(default_factory=lambda: str(free_port()))

    def __enter__(self) -> Shell:
        programs = self.folder / ".bin"
        programs.mkdir()
        fallback = programs / "later"
        fallback.mkdir()
        say = (
            f'#!/bin/sh\nfor port; do :; done\nexec {sys.executable} {ROOT}/tools/say.py "$port"\n'
        )
        for name in ("nc",):  # where the host has none
            (fallback / name).write_text(say)
            (fallback / name).chmod(0o755)
        main = "import sys; from metaos.cli import main; main()"
        (programs / "metaos").write_text(f"#!/bin/sh\nexec {sys.executable} -c '{main}' \"$@\"\n")
        (programs / "metaos").chmod(0o755)
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}:{fallback}"
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PORT": self.port}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.end()

    def play(self, steps: tuple[Step, ...]) -> None:
        """Write the files, run the commands, and compare what they print."""
        for number, step in enumerate(steps):
            if step.path:
                target = self.folder / step.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(step.text)
            elif step.text.startswith("kill %"):
                assert self.behind is not None, f"line {step.line}: nothing to end"
                self.end()
            elif step.text.endswith(" &"):
                self.begin(step)
            else:
                asked = any(s.text.startswith("echo $?") for s in steps[number + 1 : number + 2])
                self.run(step, may_fail=asked)

    def begin(self, step: Step) -> None:
        """Start a command that goes on, and wait for what it prints."""
        self.end()
        command = self._command(step.text.removesuffix("&"))
        self.log = (self.folder / ".behind").open("w+")
        self.behind = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        limit = time.monotonic() + _TRY_SECONDS
        printed = ""
        while time.monotonic() < limit and self.behind.poll() is None:
            printed = self._plain((self.folder / ".behind").read_text(errors="replace"))
            if matches(step.output, printed):
                return
            time.sleep(0.05)
        raise AssertionError(_difference(step, printed))

    def run(self, step: Step, *, may_fail: bool) -> None:
        """Run a command; again and again while a machine is booting behind it."""
        limit = time.monotonic() + (_TRY_SECONDS if self.behind is not None else 0.0)
        while True:
            done = subprocess.run(
                ["bash", "-c", f"(exit {self.status}); {self._command(step.text)}"],
                cwd=ROOT if step.text.startswith("make ") else self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_COMMAND_SECONDS,
            )
            printed = self._plain(done.stdout)
            good = matches(step.output, printed)
            if good or time.monotonic() >= limit:
                break
            time.sleep(0.2)  # a datagram that nobody awaited is lost; ask less than once a turn
        self.status = done.returncode
        assert good, _difference(step, printed)
        assert may_fail or not self.status, f"line {step.line}: {step.text}: exit {self.status}"

    def end(self) -> None:
        """End what goes on behind; it must end well."""
        if self.behind is not None:
            self.behind.terminate()
            try:
                self.behind.wait(15)
            finally:
                self.behind.kill()
                self.behind = None
        if self.log is not None:
            self.log.close()
            self.log = None

    def _command(self, text: str) -> str:
        text = text.replace(PORT, self.port)
        if text == DEMO:  # its setup is what this test runs in
            return "sh tools/demo.sh"
        if text.startswith("metaos run") and "-p " not in text:
            words = text.split(" -- ", 1)
            words[0] = f"{words[0].rstrip()} -p {self.port}:7/udp"
            return " -- ".join(words)
        return text

    def _plain(self, text: str) -> str:
        """What was printed, as the document would show it."""
        text = re.sub(rf"\b{self.port}\b", PORT, text.replace("\r", ""))
        return re.sub(r"^(tcg|kvm): .*\n", "", text, flags=re.MULTILINE)


def _difference(step: Step, printed: str) -> str:
    return (
        f"line {step.line}: $ {step.text}\n--- the document says:\n{step.output}"
        f"--- it printed:\n{printed}"
    )
