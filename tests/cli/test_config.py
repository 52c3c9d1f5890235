"""`metaos config`: what a system file comes to, with and without a machine."""

import json
from pathlib import Path

import msgspec
import pytest

from metaos.probe.store import read_machine, write_machine
from tests.command import metaos

MACHINES = Path(__file__).parents[1] / "data" / "machines"
SYSTEM = 'name = "two"\naddress = "10.0.2.15/24"\nservices = ["banner", "arp", "udp.echo"]\n'
OWN = '[cards."00:05.0"]\naddress = "10.0.3.1/24"\nservices = ["icmp.echo"]\n'


def two_cards(folder: Path) -> None:
    """./machine.json: the default machine with its card a second time, at 00:05.0."""
    machine = read_machine(MACHINES / "pc-e1000.json")
    card = next(f for f in machine.functions if f.address == "00:03.0")
    twin = msgspec.structs.replace(card, address="00:05.0")
    functions = (*machine.functions, twin)
    write_machine(msgspec.structs.replace(machine, functions=functions), folder / "machine.json")


@pytest.mark.long
def test_each_card_of_the_machine_is_shown(tmp_path: Path) -> None:
    two_cards(tmp_path)
    (tmp_path / "s.toml").write_text(SYSTEM + OWN)
    result = metaos("config", "--system", "s.toml", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {
        "name": "two",
        "address": "10.0.2.15/24",
        "services": ["banner", "arp", "udp.echo"],
        "machine": True,
        "cards": [
            {
                "card": "00:03.0",
                "address": "10.0.2.15/24",
                "services": ["banner", "arp", "udp.echo"],
            },
            {"card": "00:05.0", "address": "10.0.3.1/24", "services": ["icmp.echo"]},
        ],
    }
    lines = metaos("config", "--system", "s.toml", cwd=tmp_path).stdout.splitlines()
    (line,) = (x for x in lines if x.startswith("00:05.0"))
    assert line.split() == ["00:05.0", "10.0.3.1/24", "icmp.echo"]


def test_without_a_machine_the_system_is_shown(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SYSTEM + OWN)
    result = metaos("config", "--system", "s.toml", cwd=tmp_path)
    assert result.returncode == 0 and "no machine file" in result.stdout
    assert "00:05.0" in result.stdout and "00:03.0" not in result.stdout
    assert "10.0.2.15/24" in metaos("config", cwd=tmp_path).stdout


def test_a_card_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SYSTEM + OWN)
    words = ("config", "--system", "s.toml", "--machine", MACHINES / "pc-e1000.json")
    result = metaos(*words, cwd=tmp_path)
    assert result.returncode == 1 and result.stdout == ""
    assert "the machine has no card 00:05.0" in result.stderr
    assert "its cards: 00:03.0" in result.stderr


def test_what_a_card_names_has_to_exist_and_to_answer(tmp_path: Path) -> None:
    two_cards(tmp_path)
    for name, said in (("udp.ecko", "did you mean 'udp.echo'?"), ("banner", "nothing to carry")):
        (tmp_path / "s.toml").write_text(SYSTEM + OWN.replace("icmp.echo", name))
        result = metaos("config", "--system", "s.toml", cwd=tmp_path)
        assert result.returncode == 1 and said in result.stderr
