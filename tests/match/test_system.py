"""System files: what is read, and every refusal with its place."""

import json
from pathlib import Path

import pytest

from metaos import resources
from metaos.errors import MetaosError, Problem, Source
from metaos.match.cards import roles
from metaos.match.services import services_of
from metaos.match.system import Card, System, read_system, schema, setting_value
from metaos.match.system_places import placed, shown_in
from metaos.pattern.patterns import load

GOOD = 'name = "echo"\naddress = "10.0.2.15/24"\nservices = ["one", "two.three"]\n'
SCHEMA = Path(__file__).parents[2] / "docs" / "system.schema.json"


def read(tmp_path: Path, text: str) -> System:
    path = tmp_path / "system.toml"
    path.write_text(text)
    return read_system(path)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(MetaosError) as refused:
        read(tmp_path, text)
    return refused.value.render()


def test_a_good_file_is_read(tmp_path: Path) -> None:
    system = read(tmp_path, GOOD)
    assert system == System(name="echo", address="10.0.2.15/24", services=("one", "two.three"))
    assert str(system.interface.network) == "10.0.2.0/24"


def test_the_default_answers_where_qemus_user_network_expects_a_guest() -> None:
    system = read_system()
    assert system.address == "10.0.2.15/24"
    assert system.services


def test_every_system_that_comes_with_metaos_is_good() -> None:
    for path in resources.SYSTEMS.glob("*.toml"):
        read_system(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("address", "adress", "system.toml:2:1: error[E0001]: unknown key 'adress'"),
        ("address", "adress", "did you mean 'address'?"),
        ('name = "echo"\n', "", "'name' is missing"),
        ('"echo"', "7", "'name': 7 is not a name of small letters"),
        ('"echo"', '"Echo Server"', "'name': \"Echo Server\" is not a name of small letters"),
        (
            '["one", "two.three"]',
            '"one"',
            "'services': \"one\" is not a list of names of services",
        ),
        ('"two.three"', '"one"', "'services': named twice: one"),
        ("10.0.2.15/24", "10.0.2.15", "needs a prefix length of 8 to 30"),
        ("10.0.2.15/24", "10.0.2.15/33", "needs a prefix length of 8 to 30"),
        ("10.0.2.15/24", "10.0.2.15/31", "needs a prefix length of 8 to 30"),
        ("10.0.2.15/24", "10.0.2.256/24", "is no address/prefix"),
        ("10.0.2.15/24", "10.0.2.0/24", "is the network's own or its broadcast address"),
        ("10.0.2.15/24", "10.0.2.255/24", "is the network's own or its broadcast address"),
        ("10.0.2.15/24", "224.0.0.5/24", "is no address of a machine"),
        ("10.0.2.15/24", "127.0.0.1/8", "is no address of a machine"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in GOOD
    text = refusal(tmp_path, GOOD.replace(old, new))
    assert message in text
    assert "Traceback" not in text


def test_all_wrong_keys_are_said_at_once(tmp_path: Path) -> None:
    text = refusal(tmp_path, 'nme = "x"\nadress = ""\n[services]\n')
    assert text.count("unknown key") == 2 and text.count("is missing") == 2


def test_the_caret_is_under_the_key(tmp_path: Path) -> None:
    lines = refusal(tmp_path, GOOD + '  colour = "red"\n').splitlines()
    at = next(i for i, line in enumerate(lines) if "colour = " in line)
    assert lines[at + 1].index("^") == lines[at].index("colour")
    assert lines[at + 1].strip() == "^^^^^^"


CARDS = (
    GOOD
    + """
[cards."00:03.0"]
address = "10.0.3.1/24"
[cards."01:02.0"]
services = ["three"]
"""
)


def test_cards_are_read(tmp_path: Path) -> None:
    system = read(tmp_path, CARDS)
    assert system.cards == {
        "00:03.0": Card(address="10.0.3.1/24"),
        "01:02.0": Card(services=("three",)),
    }
    assert system.every_service == ("one", "two.three", "three")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"10.0.3.1/24"', '"10.0.3.1"', "system.toml:6:1: error[E0003]: 'address': '10.0.3.1'"),
        ('services = ["three"]', "serivces = []", "toml:8:1: error[E0001]: unknown key 'serivces'"),
        ('services = ["three"]', "serivces = []", "did you mean 'services'?"),
        (
            'services = ["three"]',
            "services = []",
            "toml:8:1: error[E0003]: 'services': [] is not a list",
        ),
        ("01:02.0", "eth0", "toml:7:9: error[E0003]: 'eth0' is no card's PCI address"),
        ("01:02.0", "01:02.8", "'01:02.8' is no card's PCI address, as 00:03.0"),
        ('"three"', '"three", "three"', "'services': named twice: three"),
        ('[cards."01:02.0"]', "[crads.x]", "error[E0001]: unknown key 'crads'"),
    ],
)
def test_what_is_wrong_with_a_card_is_said_with_its_place(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in CARDS
    assert message in refusal(tmp_path, CARDS.replace(old, new))


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ("cards = 7", "'cards': no table"),
        ('cards = {"00:03.0" = 7}', "'00:03.0' is no table"),
        ('cards = {"00:03.0" = {adress = ""}}', "did you mean 'address'?"),
        ('cards = {"00:03.0" = {address = 7}}', "'address': 7 is not a text"),
    ],
)
def test_a_card_that_is_no_table_is_one_message(tmp_path: Path, cards: str, message: str) -> None:
    assert message in refusal(tmp_path, GOOD + cards + "\n")


@pytest.mark.parametrize("text", ["name = ", "\x00", "[", '"'])
def test_what_is_not_toml_is_one_message(tmp_path: Path, text: str) -> None:
    assert "not TOML" in refusal(tmp_path, text)


def test_a_missing_file_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(MetaosError, match="No such file"):
        read_system(tmp_path / "none.toml")


def test_the_published_schema_is_current() -> None:
    assert json.loads(SCHEMA.read_text()) == schema(), (
        "write it again: python -m tests.match.test_system"
    )


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(schema(), indent=2) + "\n")


def test_settings_are_numbers_or_addresses(tmp_path: Path) -> None:
    system = read(tmp_path, GOOD + '[settings.one]\na = 3\nb = "10.0.2.2"\n')
    assert system.settings == {"one": {"a": 3, "b": "10.0.2.2"}}
    assert setting_value("10.0.2.2") == 0x0A000202
    assert "'one.a': '-1' is no number" in refusal(tmp_path, GOOD + "[settings.one]\na = -1\n")
    assert "'one.a': 'x' is no address" in refusal(tmp_path, GOOD + '[settings.one]\na = "x"\n')
    assert "as [settings.NAME]" in refusal(tmp_path, GOOD + "[settings]\none = 1\n")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"pktgn": {}}, "the system has no service 'pktgn'"),
        ({"pktgen": {"frame": 1}}, "'pktgen' has no constant 'frame'"),
        ({"pktgen": {"frames": 1 << 32}}, "does not fit its 32 bits"),
    ],
)
def test_settings_are_of_constants_that_are_there(
    settings: dict[str, dict[str, int | str]], says: str
) -> None:
    system = System(name="s", address="10.0.2.15/24", services=("pktgen",), settings=settings)
    with pytest.raises(MetaosError) as refused:
        services_of(load([resources.PATTERNS]), system)
    assert says in refused.value.render()


def test_an_address_that_a_service_is_given(tmp_path: Path) -> None:
    text = GOOD.replace("10.0.2.15/24", "dhcp")
    system = read(tmp_path, text)
    assert system.giver == "dhcp" and "dhcp" in system.every_service
    assert str(system.interface) == "10.0.2.15/24" and system.shown_address == "dhcp"
    with pytest.raises(MetaosError) as refused:
        services_of(
            load([resources.PATTERNS]),
            System(name="s", address="udp.echo", services=("arp",)),
        )
    assert "'udp.echo' is given no address" in refused.value.render()
    card = '[cards."00:03.0"]\naddress = "dhcp"\n'
    assert "no address/prefix" in refusal(tmp_path, GOOD + card)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("services", "serivces", 'hint: write services = ["'),
        ('name = "echo"', 'name = "echo"\nidle = "pol"', '\'idle\': "pol" is not "halt" or "poll"'),
        ('name = "echo"', 'name = "echo"\nidle = "pol"', "did you mean 'poll'?"),
        ('name = "echo"', 'name = "echo"\nidle = 1', '\'idle\': 1 is not "halt" or "poll"'),
    ],
)
def test_a_value_is_refused_with_what_is_wanted(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert message in refusal(tmp_path, GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("[settings.one]\na = 1\nb = -8", "toml:6:1: error[E0003]: 'settings': 'one.b': '-8'"),
        ("[settings.two.three]\na = 1", "toml:4:15: error[E0003]: 'settings': 'two' and"),
        ("[settings.two.three]\na = 1", 'write [settings."two.three"]'),
        ('[settings."No Name"]\na = 1', "'No Name' is no table of a service's constants"),
        ("[[settings.one.rows]]\na = 1.5", "is no list of rows"),
    ],
)
def test_a_wrong_setting_has_its_own_line(tmp_path: Path, settings: str, message: str) -> None:
    assert message in refusal(tmp_path, GOOD + settings + "\n")


@pytest.mark.parametrize(
    ("text", "way", "place"),
    [
        ('a = 1 # b\nb = "a"\n', ("b",), (2, 1)),
        ('services = ["a", "a.b"]\n', ("services", "a.b"), (1, 19)),
        ("[settings.a]\nx = 1\n[settings.b]\nx = 2\n", ("settings", "b", "x"), (4, 1)),
        ('[settings]\na = { x = 1 }\n"b.c".x = 2\n', ("settings", "b.c", "x"), (3, 7)),
        ("[settings]\nab = { x = 1 }\n", ("settings", "b"), None),
        ("\tto = 1\n", ("to",), (1, 2)),
    ],
)
def test_keys_lead_to_a_place(
    text: str, way: tuple[str, ...], place: tuple[int, int] | None
) -> None:
    found = placed(Problem("E0003", "wrong", key=way), Source("x.toml", text))
    if place is None or found.span is None:
        assert (place, found.span) == (None, None)
        return
    assert (found.span.line, found.span.column) == place
    line = text.splitlines()[place[0] - 1]
    assert found.text == line and line[place[1] - 1 :].startswith(way[-1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace(".15/", ".254/"), "2:1: error[E0306]: 00:04.0 would be 10.0.2.254 + 1"),
        (
            GOOD + '[cards."00:04.0"]\naddress = "10.0.2.15/24"\n',
            "5:1: error[E0305]: 10.0.2.15 is the address of 00:03.0 and of 00:04.0",
        ),
        (
            GOOD + '[cards."00:03.0"]\naddress = "10.0.2.16/24"\n',
            "2:1: error[E0305]: 10.0.2.16 is the address of 00:03.0 and of 00:04.0",
        ),
    ],
)
def test_what_is_wrong_with_an_address_is_shown_where_it_is_said(
    text: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(MetaosError) as refused, shown_in(path):
        roles(read_system(path), ["00:03.0", "00:04.0"])
    assert said in refused.value.render()


def test_what_later_stages_find_is_shown_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(GOOD + '[cards."00:09.0"]\nservices = ["four"]\n')
    system = read_system(path)
    with pytest.raises(MetaosError) as refused, shown_in(path):
        roles(system, ["00:03.0"])
    assert "s.toml:4:9: error[E0304]: the machine has no card 00:09.0" in refused.value.render()
    path.write_text(path.read_text().replace('"one", "two.three"', '"arp"'))
    with pytest.raises(MetaosError) as refused, shown_in(path):
        services_of(load([resources.PATTERNS]), read_system(path))
    assert "s.toml:5:14: error[E0312]: no service 'four'" in refused.value.render()
