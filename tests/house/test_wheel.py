"""A wheel installed where there is no checkout does what the checkout does."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MACHINE = ROOT / "tests" / "data" / "machines" / "pc-e1000.json"


def call(*words: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation")
    call(*pip, "--disable-pip-version-check", "-w", folder, ROOT, cwd=folder)
    (built,) = folder.glob("metaos-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new environment that holds the wheel, and this one's other packages."""
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps")
    call(*pip, "--disable-pip-version-check", "--no-index", wheel, cwd=folder)
    # A path file is not followed from another path file: this environment's own metaos, an
    # editable one, stays invisible.
    (packages,) = (folder / "lib").glob("python*/site-packages")
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    where = call(python, "-c", "import metaos; print(metaos.__file__)", cwd=folder)
    assert Path(where.strip()).is_relative_to(folder)
    return folder / "bin"


@pytest.mark.slow
def test_the_wheel_holds_all_that_is_needed(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("patterns", "bootloader", "qemu", "images"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file():
                assert f"metaos/data/{path.relative_to(ROOT)}" in names
    for path in (ROOT / "metaos").rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert str(path.relative_to(ROOT)) in names
    assert not [name for name in names if name.startswith(("tests", "docs"))]


@pytest.mark.slow
def test_an_installed_wheel_builds_the_same_image(installed: Path, tmp_path: Path) -> None:
    call(installed / "metaos", "patterns", "check", cwd=tmp_path)
    call(installed / "metaos", "init", "project", cwd=tmp_path)
    assert "E0101" in call(installed / "metaos", "explain", cwd=tmp_path)
    call(installed / "metaos", "build", "--machine", MACHINE, "-o", "wheel.img", cwd=tmp_path)
    ours = (sys.executable, "-c", "from metaos.cli import main; main()")
    call(*ours, "build", "--machine", MACHINE, "-o", "checkout.img", cwd=tmp_path)
    one, other = (tmp_path / f"{name}.img" for name in ("wheel", "checkout"))
    assert one.read_bytes() == other.read_bytes()
