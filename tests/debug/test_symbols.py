"""The symbol files, read back with pyelftools and held against account, manifest and plans."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from metaos import resources
from metaos.boot.network import LOCALHOST
from metaos.debug.dwarf import Sources, sleb, uleb
from metaos.debug.elf import elf
from metaos.debug.session import free_port, session
from metaos.debug.symbols import BYTE, Array, Member, Number, Record, _members, symbols
from metaos.errors import MetaosError, Span
from metaos.match.serves import Made
from metaos.match.system import read_system
from metaos.pattern import syntax as s
from metaos.pipeline import build, remake
from metaos.probe.store import read_machine
from metaos.verify.decode import ledger, straight_lines
from tests.debug.conftest import MACHINES

PHASES = ("guard", "init", "wipe", "steady", "report")
HERE = Sources(resources.PATTERNS, {})


def read(made: Made, phase: str, planned: bool = True) -> ELFFile:
    known = symbols(made.image, phase, made.lowered.plans if planned else ())
    return ELFFile(BytesIO(elf(known, HERE)))


def rows(file: ELFFile) -> Iterator[tuple[int, int, str, int, bool]]:
    """Every stretch of every unit's lines: first address, end, file, line, whether one stops."""
    dwarf = file.get_dwarf_info()
    for unit in dwarf.iter_CUs():
        table: Any = dwarf.line_program_for_CU(unit)
        states = [e.state for e in table.get_entries() if e.state] if table is not None else []
        for one, after in pairwise(states):
            if not one.end_sequence:
                name = table["file_entry"][one.file - 1].name.decode() if one.line else ""
                yield one.address, after.address, name, one.line, bool(one.is_stmt)


@pytest.mark.parametrize("phase", PHASES)
def test_every_address_has_the_line_that_the_account_says(made: Made, phase: str) -> None:
    line = next(x for x in straight_lines(made.image) if x.name == phase)
    book = ledger(made.image)
    start, covered = line.phase.code_linear, 0
    for low, high, name, number, stops in rows(read(made, phase)):
        covered += high - low
        for address in range(low, high):
            entry = book.entry(line.file_offset(address - start))
            assert entry is not None
            assert (entry.file, entry.line) == (name, number)
            assert stops == (entry.exact and bool(entry.file))
    assert covered == line.phase.code_length


def entries(file: ELFFile, tag: str) -> dict[tuple[str, str], Any]:
    """The entries of a kind by unit and name."""
    found = {}
    for unit in file.get_dwarf_info().iter_CUs():
        top = unit.get_top_DIE()
        for die in top.iter_children():
            if die.tag == tag:
                key = (text(top), text(die))
                assert key not in found
                found[key] = die
    return found


def text(die: Any) -> str:
    return str(die.attributes["DW_AT_name"].value.decode())


def place(die: Any) -> int:
    operation, *address = die.attributes["DW_AT_location"].value
    assert operation == 3, "DW_OP_addr"
    return int.from_bytes(bytes(address), "little")


@pytest.mark.parametrize("phase", PHASES)
def test_every_place_has_its_address_and_size(made: Made, phase: str) -> None:
    file = read(made, phase)
    variables = entries(file, "DW_TAG_variable")
    table: Any = file.get_section_by_name(".symtab")
    for symbol in made.image.manifest.symbols:
        if symbol.kind not in ("place", "window") or phase not in symbol.phases:
            continue
        device = symbol.device or "linker"
        die = variables[device, symbol.name.removeprefix(f"{device}.")]
        assert place(die) == symbol.linear
        (named,) = table.get_symbol_by_name(symbol.name)
        assert named["st_value"] == symbol.linear and named["st_info"]["type"] == "STT_OBJECT"
        section = file.get_section(named["st_shndx"])
        assert section["sh_addr"] <= symbol.linear
        assert symbol.linear + symbol.size <= section["sh_addr"] + section["sh_size"]


def test_each_register_in_memory_is_a_variable(made: Made) -> None:
    variables = entries(read(made, "init"), "DW_TAG_variable")
    manifest = made.image.manifest
    plans = [p for p in made.lowered.plans if p.address == "00:03.0"]
    registers = [r for p in plans for r in p.registers.values() if r.space == "mmio"]
    assert len(registers) > 15
    for register in registers:
        at = manifest.symbol(register.symbol).linear + register.number
        assert place(variables["00:03.0", register.node.name]) == at


def test_tables_and_states_are_typed(made: Made) -> None:
    """Descriptors by their layout; a number that is kept times 16 is cut from its byte."""
    (unit,) = [u for u in symbols(made.image, "steady", made.lowered.plans).units
               if u.device == "00:03.0"]  # fmt: skip
    types = {one.name: one.type for one in unit.variables}
    ring = types["rx"]
    assert isinstance(ring, Array) and isinstance(ring.of, Record)
    assert (ring.count, ring.stride, ring.of.name) == (16, 16, "RxDesc")
    assert Member("length", 64, 16, Number(2, 16)) in ring.of.members
    assert Member("EOP", 97, 1, Number(1, 8)) in ring.of.members
    assert types["head"] == Number(1, 4, 4)
    assert types["buf"] == Array(Array(BYTE, 2048, 1), 32, 2048)
    status = types["STATUS"]
    assert isinstance(status, Record) and [m.name for m in status.members] == ["value", "LU"]


def test_without_plans_places_have_sizes_and_registers_no_names(made: Made) -> None:
    file = read(made, "steady", planned=False)
    variables = entries(file, "DW_TAG_variable")
    assert ("00:03.0", "head") in variables and ("00:03.0", "regs") in variables
    assert ("00:03.0", "STATUS") not in variables
    kind = variables["00:03.0", "rx"].get_DIE_from_attribute("DW_AT_type")
    assert kind.tag == "DW_TAG_array_type"
    assert next(kind.iter_children()).attributes["DW_AT_count"].value == 256


@pytest.mark.parametrize("phase", ["guard", "init"])
def test_each_row_is_named_by_its_line(made: Made, phase: str) -> None:
    table: Any = read(made, phase).get_section_by_name(".symtab")
    datum = made.image.manifest.symbol(f"rows.{phase}")
    entries = [e for e in made.image.account if e.kind == "row" and e.phase == phase]
    wanted = [f"{e.file}:{e.line}" for e in entries]
    assert [x.name for x in table.iter_symbols() if x.name in wanted] == wanted
    assert table.get_symbol_by_name(wanted[0])[0]["st_value"] == datum.linear


def test_functions_and_frames(made: Made) -> None:
    """A function for each device whose code is there, and one frame without a caller."""
    file = read(made, "steady")
    names = {key: die.attributes for key, die in entries(file, "DW_TAG_subprogram").items()}
    assert ("00:03.0", "i82540em") in names and ("com0", "uart16550") in names
    phase = made.image.manifest.phase("steady")
    frames: list[Any] = [e for e in file.get_dwarf_info().CFI_entries() if isinstance(e, FDE)]
    (frame,) = frames
    assert frame["initial_location"] == phase.code_linear
    assert frame["address_range"] == phase.code_length
    (row,) = frame.get_decoded().table or frame.cie.get_decoded().table
    assert (row["cfa"].reg, row["cfa"].offset) == (7, 0) and row[16].type == "UNDEFINED"


def test_a_replaced_pattern_is_found_in_its_own_folder(made: Made, tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "i8254x.pattern").write_text("# another\n")
    files = session(
        made.image, Path("x.img"), port=1, folders=[resources.PATTERNS, tmp_path]
    )  # fmt: skip
    data = next(data for path, data in files.items() if path.name == "x.img.steady.elf")
    dwarf = ELFFile(BytesIO(data)).get_dwarf_info()
    tables = [dwarf.line_program_for_CU(unit) for unit in dwarf.iter_CUs()]
    where = {
        entry.name: (b"", *table["include_directory"])[entry.dir_index]
        for table in tables
        if table is not None
        for entry in table["file_entry"]
    }
    assert where[b"net/i8254x.pattern"] == str(tmp_path).encode()
    assert where[b"services/arp.pattern"] == b""


def test_the_script_names_every_phase(made: Made) -> None:
    files = session(made.image, Path("x.img"), port=4321, folders=[resources.PATTERNS])
    assert [path.name for path in files] == [
        *(f"x.img.{p}.elf" for p in phase_names(made)),
        "x.img.gdb",
    ]
    script = files[Path("x.img.gdb")].decode()
    assert f"target remote {LOCALHOST}:4321\n" in script
    for phase in made.image.manifest.phases:
        assert f"set ${phase.name} = {phase.root:#x}\n" in script
    rows = made.image.manifest.symbol("rows.init").linear
    assert f"set $rows_init = {rows:#x}\n" in script


def phase_names(made: Made) -> list[str]:
    return [phase.name for phase in made.image.manifest.phases]


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(MACHINES.glob("*.json")), ids=lambda path: path.stem)
def test_every_machines_symbols_are_read(path: Path) -> None:
    """Of every kind of device: each entry is read, and each type is one that there is."""
    machine = read_machine(path)
    image = build(machine, system=read_system())
    made = remake(image, machine, pattern_dirs=[resources.PATTERNS])
    for phase in phase_names(made):
        dwarf = read(made, phase).get_dwarf_info()
        for unit in dwarf.iter_CUs():
            for die in unit.iter_DIEs():
                if "DW_AT_type" in die.attributes:
                    assert die.get_DIE_from_attribute("DW_AT_type").tag is not None
                if die.tag == "DW_TAG_member" and "DW_AT_data_bit_offset" in die.attributes:
                    low = die.attributes["DW_AT_data_bit_offset"].value
                    end = low + die.attributes["DW_AT_bit_size"].value
                    record: Any = die.get_parent()
                    assert end <= 8 * record.attributes["DW_AT_byte_size"].value


@given(st.integers(0, 1 << 70))
def test_numbers_in_groups_of_seven_bits(value: int) -> None:
    assert _number(uleb(value)) == value
    for signed in (value, -value):
        coded = sleb(signed)
        read = _number(coded)
        assert (read - (1 << 7 * len(coded)) if coded[-1] & 0x40 else read) == signed


def _number(coded: bytes) -> int:
    assert all(byte & 0x80 for byte in coded[:-1]) and not coded[-1] & 0x80
    return sum((byte & 0x7F) << 7 * n for n, byte in enumerate(coded))


def test_fields_in_wire_order() -> None:
    """Bit 0 is the last bit of the last byte; a field across bytes that ends on none is left."""
    at = Span("x", 1, 1, 2)
    fields = (
        s.Field("first", 31, 16, at), s.Field("high", 15, 12, at),
        s.Field("across", 11, 6, at), s.Field("three", 31, 8, at),
    )  # fmt: skip
    found = {member.name: member for member in _members(fields, 4, "big")}
    assert found["first"] == Member("first", 0, 16, Number(2, 16, 0, True))
    assert found["high"] == Member("high", 20, 4, Number(1, 8))
    assert found["three"] == Member("three", 0, 24, Array(BYTE, 3, 1))
    assert "across" not in found


def test_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from metaos.debug import session as module

    with socket.socket() as taker:
        taker.bind((LOCALHOST, 0))
        taken = taker.getsockname()[1]
        monkeypatch.setattr(module, "PORT", taken)
        other = free_port(None)
        assert other not in (0, taken)
        with pytest.raises(MetaosError, match=f"tcp port {taken} of {LOCALHOST} is taken"):
            free_port(taken)
