"""The control socket of a QEMU that runs, and what may stand in its place."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metaos.boot import monitor
from metaos.boot.monitor import Monitor
from metaos.errors import Exit, MetaosError
from metaos.probe.running import probe_running

GREETING = {"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}, "capabilities": []}}
Talk = Callable[[socket.socket], None]


@contextlib.contextmanager
def other_end(path: Path, talk: Talk) -> Iterator[str]:
    """A program at a socket that does `talk` with whoever connects."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)
        server.settimeout(10)

        def serve() -> None:
            with contextlib.suppress(OSError):
                client, _ = server.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(10)
                    talk(client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield str(path)
        finally:
            thread.join(15)
            assert not thread.is_alive()


def send(client: socket.socket, value: object) -> None:
    client.sendall(json.dumps(value).encode() + b"\r\n")


def answer(client: socket.socket, asked: dict[str, object], value: object) -> None:
    send(client, {"return": value} | ({"id": asked["id"]} if "id" in asked else {}))


def questions(client: socket.socket) -> Iterator[dict[str, object]]:
    """What the client asks: JSON objects, with or without a line's end."""
    text = ""
    while data := client.recv(4096).decode():
        text += data
        while text.strip():
            try:
                asked, end = json.JSONDecoder().raw_decode(text.lstrip())
            except ValueError:
                break
            text = text.lstrip()[end:]
            yield asked


def answers(*, until: int, reply: Callable[[str], object]) -> Talk:
    """QEMU for `until` commands; then it is gone."""

    def talk(client: socket.socket) -> None:
        send(client, GREETING)
        for number, asked in enumerate(questions(client)):
            if number == until:
                return
            answer(client, asked, reply(str(asked["execute"])))

    return talk


def fails(address: str) -> MetaosError:
    begin = time.monotonic()
    with pytest.raises(MetaosError) as caught:
        probe_running(address, 2.0)
    assert time.monotonic() - begin < 8
    assert address in caught.value.message and "\n" not in caught.value.message
    return caught.value


def test_nobody_a_file_and_a_folder(tmp_path: Path) -> None:
    error = fails(str(tmp_path / "none.sock"))
    assert "No such file" in error.message and "-qmp unix:" in error.hint
    (tmp_path / "file").write_text("hello")
    assert "not a socket" in fails(str(tmp_path / "file")).message
    assert "not a socket" in fails(str(tmp_path)).message
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert "refused" in fails(f"127.0.0.1:{unused.getsockname()[1]}").message.lower()


def test_silence_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "GREETING_SECONDS", 0.3)

    def talk(client: socket.socket) -> None:
        client.recv(1)

    with other_end(tmp_path / "s", talk) as address:
        error = fails(address)
    assert "nothing greets within 0.3 s" in error.message and error.exit_code is Exit.TIMEOUT
    assert "another program connected" in error.hint


@pytest.mark.parametrize(
    "said",
    [
        b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"{}\r\n", b"[]\r\n",
        b'{"QMP": 5}\r\n', b"\xff\xfe\x00garbage\n", b"[" * 100_000 + b"\n", b"x" * 300_000 + b"\n",
    ],
)  # fmt: skip
def test_what_is_not_qemu_is_one_error(said: bytes, tmp_path: Path) -> None:
    with other_end(tmp_path / "s", lambda client: client.sendall(said)) as address:
        assert "no QEMU control socket" in fails(address).message


@pytest.mark.parametrize("until", [1, 2, 3])
def test_a_connection_that_ends_midway_is_one_error(until: int, tmp_path: Path) -> None:
    def reply(name: str) -> object:
        return {"status": "running"} if name == "query-status" else {}

    with other_end(tmp_path / "s", answers(until=until, reply=reply)) as address:
        error = fails(address)
    assert "closed during" in error.message
    assert ("may still stand" in error.hint) == (until == 3)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (lambda name: {"status": "prelaunch"}, "has not started (prelaunch)"),
        (lambda name: {"status": "running"}, "'query-pci' is not answered as QEMU does"),
        (lambda name: [] if name == "query-pci" else "?", "port 0xcf8 cannot be read: '?'"),
    ],
)
def test_answers_that_make_no_sense_are_one_error(
    reply: Callable[[str], object], text: str, tmp_path: Path
) -> None:
    with other_end(tmp_path / "s", answers(until=99, reply=reply)) as address:
        assert text in fails(address).message


def test_an_answer_that_does_not_come_has_a_limit(tmp_path: Path) -> None:
    def talk(client: socket.socket) -> None:
        send(client, GREETING)
        for asked in questions(client):
            if asked["execute"] != "query-status":
                answer(client, asked, {})

    with other_end(tmp_path / "s", talk) as address:
        error = fails(address)
    assert "no answer to 'query-status' within the 2 s of a probe" in error.message
    assert error.exit_code is Exit.TIMEOUT


def test_a_monitor_can_be_left_twice(tmp_path: Path) -> None:
    with other_end(tmp_path / "s", answers(until=9, reply=lambda name: {})) as address:
        vm = Monitor(address)
        with vm:
            assert vm.command("query-status") == {}
        vm.close()
