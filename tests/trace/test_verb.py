"""`metaos trace` as a person meets it: files in, one error where they are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metaos import cli_trace
from metaos.errors import Exit, MetaosError
from metaos.link.image import pack_image, write_image
from tests.command import metaos
from tests.trace.conftest import MACHINES, Built

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(e1000: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image and the machine file it was built from."""
    path = tmp_path_factory.mktemp("trace")
    write_image(e1000.image, path / "an.img")
    (path / "machine.json").write_bytes((MACHINES / "pc-e1000.json").read_bytes())
    return path


def test_json_and_page_in_one_go(folder: Path) -> None:
    words = ("arp", "--html", "an.html", "--json", "--card", "00:03.0", "--turns", "2")
    result = metaos("trace", "an.img", *words, cwd=folder)
    data = json.loads(result.stdout)
    assert [a["answered"] for a in data["arrivals"]] == [True, True]
    assert len(data["turns"][1]["steps"]) > 100
    page = (folder / "an.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>\n")
    assert not list(folder.glob(".an.html*"))


def test_wrong_usage_is_one_message(folder: Path) -> None:
    result = metaos("trace", "an.img", "zz", cwd=folder)
    assert result.returncode == Exit.USAGE
    assert result.stderr.count("error: ") == 1
    assert "'zz' names no frame" in result.stderr


def refused(image: Path, machine: Path | None, html: Path | None = None) -> MetaosError:
    """The error of tracing an ARP question."""
    with pytest.raises(MetaosError) as raised:
        cli_trace.trace(
            image,
            machine=machine,
            patterns=(),
            frame="arp",
            phase="steady",
            card=None,
            turns=1,
            sets=(),
            html=html,
            json=False,
        )
    return raised.value


def test_files_that_are_not_there(folder: Path) -> None:
    image, machine = folder / "an.img", folder / "machine.json"
    assert "no.img" in refused(folder / "no.img", machine).message
    assert "no.json" in refused(image, folder / "no.json").message
    assert "where.html" in refused(image, machine, folder / "no" / "where.html").message


def test_an_image_of_another_machine(folder: Path) -> None:
    error = refused(folder / "an.img", MACHINES / "pc-ne2k.json")
    assert error.message == "the image is not what this machine file and these patterns make"


def test_no_machine_file(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = refused(folder / "an.img", None)
    assert (error.exit_code, "--machine FILE" in error.hint) == (Exit.USAGE, True)


def test_a_tampered_image(folder: Path, e1000: Built) -> None:
    machine = folder / "machine.json"
    data = bytearray((folder / "an.img").read_bytes())
    data[1000] ^= 1
    (folder / "cut.img").write_bytes(data)
    assert refused(folder / "cut.img", machine).exit_code == Exit.LAW_BROKEN
    image = e1000.image  # and one with a new digest: its code is not what the rules make
    loaded = bytearray(image.loaded)
    loaded[image.manifest.phase("steady").code_file[0].start + 7] ^= 1
    write_image(pack_image(bytes(loaded), image.manifest, image.account), folder / "new.img")
    assert "not what this machine file" in refused(folder / "new.img", machine).message
