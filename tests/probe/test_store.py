"""Machine files: what is written is read back; each fault is named by its path."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metaos.errors import MetaosError
from metaos.probe.machine import Learnt, Machine, Origin, Unknown, unknown_fact
from metaos.probe.store import (
    format_machine,
    parse_machine,
    read_machine,
    schema_text,
    write_machine,
)

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "data" / "machines").glob("*.json"))
TEXT = (ROOT / "data" / "machines" / "pc-e1000.json").read_text()

Data = dict[str, Any]


def fault(text: str) -> str:
    with pytest.raises(MetaosError) as caught:
        parse_machine(text, "m.json")
    return caught.value.render()


def edited(change: Callable[[Data], object]) -> str:
    """The message for a good machine file after `change`."""
    data = json.loads(TEXT)
    change(data)
    return fault(json.dumps(data))


def put(path: list[Any], value: object) -> Callable[[Data], None]:
    def change(data: Data) -> None:
        node: Any = data
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = value

    return change


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_files_round_trip(file: Path, tmp_path: Path) -> None:
    machine = read_machine(file)
    assert format_machine(machine) == file.read_text()
    copy = tmp_path / "machine.json"
    write_machine(machine, copy)
    assert copy.read_bytes() == file.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["machine.json"]


def test_numbers_are_ints_in_python_and_hexadecimal_in_the_file() -> None:
    machine = parse_machine(TEXT)
    assert machine.functions[-1].vendor == 0x8086
    assert '"vendor": "0x8086"' in TEXT
    learnt = Learnt(device="00:03.0", pattern="p", name="n", value=255, origin=Origin.DISCOVERER)
    more = msgspec.structs.replace(machine, learnt=(learnt,))
    assert '"value": "0xff"' in format_machine(more)
    assert parse_machine(format_machine(more)) == more


def test_files_of_version_1_are_read() -> None:
    data = json.loads(TEXT)
    data["schema"] = 1
    del data["unknown"], data["cpu"]["flags"], data["cpu"]["others"]
    assert parse_machine(json.dumps(data)) == parse_machine(TEXT)


def test_every_type_fault_is_named_by_path() -> None:
    def change(data: Data) -> None:
        data["functions"][3]["vendor"] = 32902
        data["functions"][5]["bars"][0]["size"] = "big"
        data["memory"][0]["kind"] = "1"
        data["memory"][1]["base"] = "0x00f0"
        data["cpu"]["leaves"][2] = []
        data["functions"][1]["interrupt_pin"] = True
        data["acpi"][0]["data"] = None
        data["networks"][0]["origin"] = "rumour"
        del data["legacy"][0]["port"]
        data["functions"][0]["revison"] = 2

    message = edited(change)
    for line in (
        'functions[3].vendor: expected "0x" and 4 digits (0-9, a-f), got int 32902',
        'functions[5].bars[0].size: expected "0x" and the digits',
        'memory[0].kind: expected int, got str "1"',
        'memory[1].base: expected "0x" and the digits (0-9, a-f) without leading zeros',
        "cpu.leaves[2]: expected an object, got list",
        "functions[1].interrupt_pin: expected int, got bool",
        "acpi[0].data: expected str, got null",
        'networks[0].origin: expected "discoverer" or "qemu" or "sysfs" or ',
        "legacy[0].port: missing",
        "functions[0].revison: unknown field\n  hint: did you mean 'revision'?",
    ):
        assert line in message
    assert message.count("E0802") == 10


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["functions", 5, "device"], "0x10d3", "functions[5].device: 0x10d3, but the config"),
        (["functions", 5, "class_code"], "0x010000", "functions[5].class_code: 0x10000, but"),
        (["functions", 5, "interrupt_line"], 99, "functions[5].interrupt_line: 0x63, but"),
        (["functions", 5, "capabilities"], [{"id": "0x05", "offset": "0xe0"}], "0x05 at 0xe0"),
        (
            ["functions", 5, "config"],
            "86",
            "functions[5].config: expected 0, 128, 256, 512, 8192 digits",
        ),
        (["functions", 5, "address"], "3", "functions[5].address: '3' is not of the form"),
        (["functions", 5, "address"], "00:02.0", "functions[5].address: 00:02.0 must come before"),
        (["functions", 5, "bars", 0, "size"], "0x20001", "bars[0].size: 0x20001 is no power of"),
        (["functions", 5, "bars", 0, "size"], "0x4", "bars[0].size: 0x4 is no power of two that"),
        (["functions", 5, "bars", 0, "size"], "0x4000000", "bars[0].address: 0xfebc0000 is not a"),
        (["functions", 5, "bars", 0, "address"], "0xf0000000", "0xf0000000, but the config bytes"),
        (["functions", 5, "bars", 0, "kind"], "io", "functions[5].bars[0].kind: io, but"),
        (["functions", 5, "bars", 0, "prefetchable"], True, "bars[0].prefetchable: True, but"),
        (["functions", 5, "bars", 1, "index"], 0, "functions[5].bars[1].index: 0 must come"),
        (["functions", 5, "bars", 2, "index"], 7, "has no base address register 7"),
        (["memory", 3, "base"], "0x500", "memory[3].base: 0x500 lies below 0x100000"),
        (["memory", 3, "size"], "0x0", "memory[3].size: a range of no bytes"),
        (["memory", 6, "size"], "0xffffffffffffffff", "memory[6].size: the range goes beyond"),
        (["cpu", "leaves", 3, "leaf"], "0x00000009", "cpu.leaves[4]: leaf 0x4 subleaf 0 is out"),
        (["cpu", "vendor"], "GenuineIntel", "cpu.vendor: 'GenuineIntel', but leaf 0 says"),
        (["cpu", "brand"], "486", "cpu.brand: '486', but leaves"),
        (["acpi", 2, "data"], "4641435", "acpi[2].data: expected pairs of digits"),
        (["acpi", 2, "data"], "4641435074000000", "8 bytes, but the table's length field says 116"),
        (["acpi", 2, "signature"], "FADT", "acpi[2].signature: 'FADT', but the data begin"),
        (["networks", 0, "address"], "00:04.0", "networks[0].address: there is no function"),
        (["networks", 0, "mac"], "52-54-00", "networks[0].mac: '52-54-00' is not of the form"),
        (["legacy", 0, "port"], "0x0000", "legacy[0].port: no device is at port 0"),
    ],
)
def test_contradictions_are_named_by_path(path: list[Any], value: object, message: str) -> None:
    assert message in edited(put(path, value))


def partial(config: int, **more: object) -> Machine:
    """The good machine without memory and with `config` bytes of config space each."""
    machine = parse_machine(TEXT)
    functions = tuple(
        msgspec.structs.replace(
            f,
            config=f.config[: 2 * config],
            capabilities=f.capabilities if config == 0 else (),
        )
        for f in machine.functions
    )
    gap = Unknown(what="memory map", reason="zeros", origin=Origin.SYSFS)
    return msgspec.structs.replace(machine, memory=(), functions=functions, unknown=(gap,), **more)


@pytest.mark.parametrize("config", [0, 64])
def test_a_machine_may_be_partly_unknown(config: int) -> None:
    machine = partial(config)
    assert parse_machine(format_machine(machine)) == machine
    assert unknown_fact(machine, "memory map") == machine.unknown[0]
    assert unknown_fact(machine, "cpuid leaves") is None


def test_a_fact_unknown_twice_or_without_a_name_is_a_contradiction() -> None:
    fact = {"what": "memory map", "reason": "", "origin": "sysfs"}
    assert "unknown[1].what: 'memory map' is there twice" in edited(put(["unknown"], [fact, fact]))
    assert "unknown[0].what: it names nothing" in edited(put(["unknown"], [fact | {"what": ""}]))


def test_functions_of_other_domains_come_last() -> None:
    machine = parse_machine(TEXT)
    bare = msgspec.structs.replace(machine.functions[0], address="10000:00:00.0")
    more = msgspec.structs.replace(machine, functions=(*machine.functions, bare))
    assert parse_machine(format_machine(more)) == more
    first = msgspec.structs.replace(machine, functions=(bare, *machine.functions))
    assert "00:00.0 must come before 10000:00:00.0" in fault(format_machine(first))
    zero = msgspec.structs.replace(bare, address="0000:00:1e.0")
    wrong = msgspec.structs.replace(machine, functions=(*machine.functions, zero))
    assert "'0000:00:1e.0' is not of the form" in fault(format_machine(wrong))


def test_no_usable_memory_is_a_contradiction() -> None:
    def change(data: Data) -> None:
        data["memory"] = [entry for entry in data["memory"] if entry["kind"] != 1]

    assert "memory: no range is usable" in edited(change)


def test_a_fact_learnt_twice_is_a_contradiction() -> None:
    fact = {"device": "00:03.0", "pattern": "p", "name": "n", "value": "0x1", "origin": "file"}
    assert "learnt[1].name: 'n' of 00:03.0 is there twice" in edited(put(["learnt"], [fact, fact]))


@pytest.mark.parametrize("length", [1, 100, 5000, len(TEXT) - 2])
def test_a_truncated_file_is_one_error(length: int) -> None:
    message = fault(TEXT[:length])
    assert "not a machine file: " in message
    assert message.startswith("error: m.json:")
    assert "hint: probe again" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is cut off"),
        ("[]", "not a machine file, but a JSON list"),
        ("{}", "no field 'schema'"),
        ('{"schema": 7}', "schema: this is version 7, this metaos reads 1 to 2"),
        ('{"schema": "1"}', 'schema: this is version "1", this metaos reads 1 to 2'),
        ('{"schema": true}', "schema: this is version true"),
        ('{"schema": 1, "schema": 1}', "a record has the field 'schema' twice"),
        ("[" * 100_000, "nested too deep"),
        ('{"schema": 1, "cpu": NaN}', "cpu: expected an object, got float"),
    ],
)
def test_what_is_no_machine_file_is_refused(text: str, message: str) -> None:
    assert message in fault(text)


def test_files_that_cannot_be_read_are_one_error(tmp_path: Path) -> None:
    with pytest.raises(MetaosError, match="No such file"):
        read_machine(tmp_path / "absent.json")
    with pytest.raises(MetaosError, match="Is a directory"):
        read_machine(tmp_path)
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    with pytest.raises(MetaosError, match=r"not UTF-8 text \(byte 0\)"):
        read_machine(tmp_path / "binary.json")


def test_a_path_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    machine = parse_machine(TEXT)
    with pytest.raises(MetaosError, match="No such file"):
        write_machine(machine, tmp_path / "absent" / "m.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(MetaosError, match="Is a directory"):
        write_machine(machine, tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, mode: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "m.json"
    path.write_text("{}")
    monkeypatch.setattr("metaos.files.os.fchmod", full)
    with pytest.raises(MetaosError, match="No space left on device"):
        write_machine(parse_machine(TEXT), path)
    assert path.read_text() == "{}"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.json"]


def test_the_schema_is_current() -> None:
    published = ROOT.parent / "docs" / "machine.schema.json"
    assert published.read_text() == schema_text(), (
        "run: python -c 'from metaos.probe.store import schema_text; print(schema_text(),"
        ' end="")\' > docs/machine.schema.json'
    )


def test_the_schema_names_hexadecimal_strings() -> None:
    definitions = json.loads(schema_text())["$defs"]
    assert definitions["Function"]["properties"]["vendor"] == {
        "pattern": "^0x[0-9a-f]{4}$",
        "type": "string",
    }
    assert definitions["Machine"]["properties"]["schema"] == {"const": 2}
