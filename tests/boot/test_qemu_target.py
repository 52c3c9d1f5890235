"""Targets and the command lines made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaos.boot.target import Target, command, load_target, open_chardevs, targets
from metaos.errors import Exit, MetaosError

IMAGE = Path("x,y.img")


def made(*extra: str, args: tuple[str, ...] = (), accel: str = "tcg", serial: str = "null") -> str:
    target = Target("t", "", args)
    return " ".join(command(target, extra, image=IMAGE, accel=accel, serial=serial))


def fault(folder: Path, text: str) -> str:
    (folder / "t.toml").write_text(text)
    with pytest.raises(MetaosError) as caught:
        load_target("t", folder)
    return caught.value.render()


def test_every_target_that_is_shipped_loads() -> None:
    assert "pc-e1000" in targets()
    for name in targets():
        target = load_target(name)
        assert target.name == name
        assert target.description
        assert "netdev" not in " ".join(target.args)


def test_none_starts_from_nothing() -> None:
    assert load_target("none").args == ()


def test_an_unknown_target_hints_at_the_nearest() -> None:
    with pytest.raises(MetaosError, match="no target 'pc-e100'") as caught:
        load_target("pc-e100")
    assert caught.value.hint == "did you mean 'pc-e1000'?"
    assert caught.value.exit_code is Exit.USAGE


def test_a_target_is_a_name_and_not_a_path() -> None:
    with pytest.raises(MetaosError, match="no target"):
        load_target("../qemu/pc-e1000")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('description = "d"\nargs = []\narg = 1', "unknown key 'arg'\n  hint: did you mean 'args'"),
        ('description = "d"\nargs = "-M pc"', "'args' must be a list of strings"),
        ('description = "d"\nargs = ["-m", 64]', "args[1] must be a string, not 64"),
        ("args = []", "'description' must be a string"),
        ("args = [", "not TOML: "),
    ],
)
def test_faults_of_a_target_file(tmp_path: Path, text: str, message: str) -> None:
    assert message in fault(tmp_path, text)


def test_the_users_arguments_come_after_the_targets() -> None:
    text = made("-m", "96", args=("-M", "pc", "-m", "64"))
    assert text.index("-M pc -m 64 -m 96") < text.index("-drive")


def test_the_boot_disk_is_first_and_its_name_may_hold_commas() -> None:
    assert made().endswith(
        "-drive if=none,id=metaos,format=raw,snapshot=on,file=x,,y.img"
        " -device ide-hd,drive=metaos,bootindex=0 -display none"
    )


def test_the_open_serial_port_gets_its_end() -> None:
    serial = ("-serial", "chardev:s0")
    assert "-chardev null,id=s0 -serial chardev:s0" in made(args=serial)
    assert "-chardev stdio,signal=off,id=s0" in made(args=serial, serial="stdio,signal=off")


@pytest.mark.parametrize("extra", [(), ("-serial", "null"), ("-serial", "none")])
def test_no_open_serial_port_needs_none(extra: tuple[str, ...]) -> None:
    assert "-chardev" not in made(*extra)


def test_a_chardev_that_the_user_defines_is_not_open() -> None:
    words = ("-serial", "chardev:a", "-chardev", "file,path=/tmp/x,id=a", "-serial", "chardev:b")
    assert open_chardevs(words) == ("b",)


def test_a_device_names_its_chardev_too() -> None:
    words = ("-device", "pci-serial,chardev=a,id=x", "-device", "e1000", "-serial", "chardev:a")
    assert open_chardevs(words) == ("a",)
    assert open_chardevs((*words, "-chardev", "null,id=a")) == ()


@pytest.mark.parametrize(
    "extra", [("-accel", "kvm"), ("-enable-kvm",), ("-M", "q35,accel=kvm"), ("--accel", "kvm")]
)
def test_an_accelerator_among_the_arguments_wins(extra: tuple[str, ...]) -> None:
    assert "-accel tcg" in made("-M", "pc")
    assert "-accel tcg" not in made(*extra)


@pytest.mark.parametrize("word", ["-S", "-daemonize", "--daemonize"])
def test_arguments_that_take_the_machine_away_are_refused(word: str) -> None:
    with pytest.raises(MetaosError, match=f"'{word}' cannot be used") as caught:
        made(word)
    assert caught.value.exit_code is Exit.USAGE
