"""What a verb writes replaces only what it could have written."""

from pathlib import Path

import pytest

from metaos.boot.run import _create
from metaos.cli_build import no_machine_file
from metaos.errors import Exit, MetaosError
from metaos.files import BOOT_IMAGE, HTML, MACHINE_FILE, PCAP, SVG, Form, demand_replaceable
from metaos.link.image import Image, read_image
from metaos.probe.machine import Emulator, Origin
from metaos.probe.store import read_machine, write_machine
from metaos.resources import SYSTEMS
from tests.boot.stub import stub_image
from tests.command import metaos
from tests.lower.lowering import MACHINES

MACHINE = MACHINES / "pc-e1000.json"
IMAGE = bytes(510) + b"\x55\xaa" + bytes(512)
SYSTEM = (SYSTEMS / "default.toml").read_bytes()
OF_A_KIND = {
    BOOT_IMAGE: IMAGE,
    MACHINE_FILE: b"\n{}\n",
    SVG: b'<svg xmlns="',
    HTML: b"<!doctype html>\n",
    PCAP: b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00",
}


@pytest.mark.parametrize("form", OF_A_KIND, ids=lambda form: form.name)
def test_only_a_file_of_the_same_kind_is_replaced(tmp_path: Path, form: Form) -> None:
    path = tmp_path / "x"
    demand_replaceable(path, form)
    for data in (b"", OF_A_KIND[form]):
        path.write_bytes(data)
        demand_replaceable(path, form)
    for other in (SYSTEM, b"short", *(x for kind, x in OF_A_KIND.items() if kind != form)):
        path.write_bytes(other)
        with pytest.raises(MetaosError, match="it would be lost") as refused:
            demand_replaceable(path, form)
        assert refused.value.exit_code == Exit.USAGE


def test_a_build_replaces_neither_its_machine_file_nor_its_system_file(tmp_path: Path) -> None:
    machine, system = tmp_path / "machine.json", tmp_path / "x.toml"
    machine.write_bytes(MACHINE.read_bytes())
    system.write_bytes(SYSTEM)
    for path in (machine, system):
        before = path.read_bytes()
        said = metaos("build", "-q", "--system", system, "-o", path, cwd=tmp_path)
        assert said.returncode == Exit.USAGE, said.stderr
        assert said.stderr.startswith(f"error: {path} is there, and is not a boot image")
        assert path.read_bytes() == before
    assert sorted(x.name for x in tmp_path.iterdir()) == ["machine.json", "x.toml"]


def test_a_probe_and_a_capture_leave_an_image_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.img"
    path.write_bytes(IMAGE)
    with pytest.raises(MetaosError, match="is not a machine file"):
        write_machine(read_machine(MACHINE), path)
    with pytest.raises(MetaosError, match="is not a capture"):
        _create(path)
    said = metaos("probe", "qemu", "-o", path)
    assert said.returncode == Exit.USAGE and "is not a machine file" in said.stderr
    assert path.read_bytes() == IMAGE


def test_what_is_no_machine_file_is_said_for_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for data, says in (
        (b"\xfa" + IMAGE[1:], "x: not a machine file, but a boot image"),
        (b'name = "x"\n', "x:1:1: not a machine file: it is no JSON"),
        (MACHINE.read_bytes()[:3000], "not a machine file: it is cut off"),
    ):
        path.write_bytes(data)
        with pytest.raises(MetaosError) as refused:
            read_machine(path)
        assert says in refused.value.message


def test_new_says_what_from_wants_and_where_services_begin(tmp_path: Path) -> None:
    said = metaos("patterns", "new", "edu", "--from", "m.json", "--patterns", tmp_path)
    assert said.returncode == Exit.USAGE and "--from wants a machine file and" in said.stderr
    said = metaos("patterns", "new", "edu", "--class", "service", "--patterns", tmp_path)
    assert said.returncode == Exit.USAGE and "docs/guides/first-service.md" in said.stderr


def test_without_a_machine_file_its_command_is_said(tmp_path: Path) -> None:
    def stub(made: Emulator | None) -> Image:
        return read_image(stub_image(tmp_path / "x.img", emulator=made))

    made = Emulator(target="none", arguments=("-M", "pc", "-m", "64"), origin=Origin.QEMU)
    said = no_machine_file(stub(made), "none").hint
    assert said.endswith("metaos probe qemu --target none -o machine.json -- -M pc -m 64")
    assert no_machine_file(stub(None), "none").hint.endswith("--machine FILE")
