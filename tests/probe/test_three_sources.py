"""One machine, read by Linux, by lspci and by the discoverer: the same functions three times."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from metaos.probe.log import read_log
from metaos.probe.lspci_machine import lspci_machine
from metaos.probe.machine import Function, Origin
from metaos.probe.salvage import salvage
from metaos.probe.store import read_machine
from metaos.probe.sysfs.probe import probe_sysfs
from tests.probe.discovered import printed
from tests.probe.linux import write_tree
from tests.probe.lspci_text import lspci

FILES = sorted((Path(__file__).parents[1] / "data" / "machines").glob("*.json"))


def plain(functions: tuple[Function, ...]) -> tuple[Function, ...]:
    """Functions without who said so, and without what somebody calls them."""
    replace = msgspec.structs.replace
    return tuple(
        replace(
            f,
            origin=Origin.FILE,
            name="",
            name_origin=None,
            bars=tuple(replace(b, origin=Origin.FILE) for b in f.bars),
        )
        for f in functions
    )


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_three_sources_say_the_same(file: Path, tmp_path: Path) -> None:
    machine = read_machine(file)
    write_tree(machine, tmp_path)
    linux = probe_sysfs(tmp_path)
    # lspci reads the tree that Linux shows: its text is made of what was read there.
    text = lspci(linux.functions, verbose=2, dump=256)
    pasted, _ = lspci_machine(text, "pasted.txt")
    logged = salvage(read_log(printed(machine), "serial.log"))
    assert plain(machine.functions) == plain(linux.functions)
    assert plain(machine.functions) == plain(pasted.functions)
    assert plain(machine.functions) == plain(logged.functions)
