"""lspci's text: what it prints of a known machine is read as that machine."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaos.errors import MetaosError
from metaos.probe.header import read_function
from metaos.probe.lspci_machine import lspci_machine
from metaos.probe.machine import Bar, Capability, Function, Machine, Origin
from metaos.probe.paste import MOST_BYTES, decode, read_text
from metaos.probe.store import format_machine, parse_machine, read_machine
from tests.conftest import Golden
from tests.probe.lspci_text import PASTED, hex_rows, lspci, mm, vmm

pytestmark = pytest.mark.long

MACHINES = Path(__file__).parents[1] / "data" / "machines"
NAMES = ("pc-e1000", "q35-bridge", "pc-bare")
TEXTS = Path(__file__).parent / "data" / "lspci"


def known(name: str) -> tuple[Function, ...]:
    return read_machine(MACHINES / f"{name}.json").functions


def parsed(text: str) -> Machine:
    machine, _ = lspci_machine(text, "pasted.txt")
    assert parse_machine(format_machine(machine)) == machine
    return machine


def anonymous(functions: tuple[Function, ...]) -> tuple[Function, ...]:
    """Functions without what says who read them, or what they are called."""

    def bar(of: Bar) -> Bar:
        return msgspec.structs.replace(of, origin=Origin.LSPCI)

    return tuple(
        msgspec.structs.replace(
            f, name="", name_origin=None, origin=Origin.LSPCI, bars=tuple(map(bar, f.bars))
        )
        for f in functions
    )


def unknown(machine: Machine, address: str) -> set[str]:
    start = f"{address} "
    return {x.what.removeprefix(start) for x in machine.unknown if x.what.startswith(start)}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MetaosError, match="No such file"):
        read_text(tmp_path / "nothing.txt")


def fault(text: str) -> str:
    with pytest.raises(MetaosError) as caught:
        lspci_machine(text, "pasted.txt")
    return caught.value.render()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ids", ["", "n", "nn"])
@pytest.mark.parametrize("verbose", [1, 2])
def test_bytes_and_windows_make_the_same_functions(name: str, ids: str, verbose: int) -> None:
    functions = known(name)
    machine = parsed(lspci(functions, ids=ids, verbose=verbose, dump=256))
    assert anonymous(machine.functions) == anonymous(functions)
    assert {x.what.split()[-1] for x in machine.unknown if x.what[2] == ":"} <= {"mac"}


@pytest.mark.parametrize("name", NAMES)
def test_64_bytes_and_windows(name: str) -> None:
    functions = known(name)
    machine = parsed(lspci(functions, verbose=2, dump=64))
    cut = tuple(msgspec.structs.replace(f, config=f.config[:128]) for f in functions)
    assert anonymous(machine.functions) == anonymous(cut)
    assert all("config from 0x40" in unknown(machine, f.address) for f in functions)


@pytest.mark.parametrize("name", NAMES)
def test_bytes_alone_leave_sizes_unknown(name: str) -> None:
    functions = known(name)
    machine = parsed(lspci(functions, dump=256))
    bare = tuple(msgspec.structs.replace(f, bars=()) for f in functions)
    assert anonymous(machine.functions) == anonymous(bare)
    for function in functions:
        missing = unknown(machine, function.address)
        placed = {f"bar {bar.index} size" for bar in function.bars if bar.address}
        assert placed <= missing
        assert "bars" in missing


def test_extended_config_space() -> None:
    config = bytes.fromhex(known("pc-e1000")[-1].config) + bytes(range(256)) * 15
    function = read_function("00:03.0", config, ())
    machine = parsed(lspci((function,), ids="", dump=4096))
    assert anonymous(machine.functions) == anonymous((function,))


@pytest.mark.parametrize("name", NAMES)
def test_words_alone(name: str) -> None:
    """-nnvv has everything but the raw bytes, and the bytes' own facts are unknown."""
    functions = known(name)
    machine = parsed(lspci(functions, verbose=2))
    for function, read in zip(anonymous(functions), anonymous(machine.functions), strict=True):
        for field in ("vendor", "device", "class_code", "revision", "bars", "capabilities"):
            assert getattr(read, field) == getattr(function, field), (function.address, field)
        assert read.subsystem_vendor == function.subsystem_vendor
        assert read.interrupt_pin == function.interrupt_pin
        assert read.header_type == function.header_type & 0x7F
        missing = unknown(machine, function.address)
        assert {"header type", "interrupt", "config from 0x0"} <= missing
        assert not missing & {"ids", "class", "revision", "subsystem", "capabilities", "bars"}


@pytest.mark.parametrize("text", [vmm, mm, lambda f: lspci(f), lambda f: lspci(f, ids="n")])
def test_lists_alone(text: object) -> None:
    functions = known("q35-bridge")
    assert callable(text)
    machine = parsed(text(functions))
    for function, read in zip(functions, machine.functions, strict=True):
        assert (read.vendor, read.device) == (function.vendor, function.device)
        assert read.class_code >> 8 == function.class_code >> 8
        assert read.revision == function.revision
        assert {"bars", "capabilities", "header type"} <= unknown(machine, function.address)
        full = text in (vmm, mm)
        assert ("class" in unknown(machine, function.address)) != full
        assert (read.class_code == function.class_code) or not full
        assert ("subsystem" in unknown(machine, function.address)) != full


def test_names_alone_say_what_is_unknown() -> None:
    machine, notes = lspci_machine(lspci(known("pc-e1000"), ids=""), "pasted.txt")
    assert any("run lspci -nn" in note for note in notes)
    for function in machine.functions:
        assert function.vendor == function.device == 0
        assert {"ids", "class"} <= unknown(machine, function.address)


@pytest.mark.parametrize("pasted", PASTED)
def test_whatever_pasting_did_to_it(pasted: str) -> None:
    functions = known("q35-bridge")
    texts = {
        "dump": lspci(functions, verbose=2, dump=256),
        "words": lspci(functions, verbose=2),
        "list": lspci(functions),
        "vmm": vmm(functions),
        "mm": mm(functions),
    }
    for name, text in texts.items():
        if pasted == "upper case" and name != "dump":
            continue  # lspci's own words are in lower case
        changed = PASTED[pasted](text)
        if pasted == "upper case":
            changed = changed.replace("(REV", "(rev").replace("(PROG-IF", "(prog-if")
        assert anonymous(parsed(changed).functions) == anonymous(parsed(text).functions), name


@pytest.mark.parametrize("width", [60, 68, 72, 78])
def test_wrapped_lines(width: int) -> None:
    """Mail programs break at spaces; what follows has no indent."""

    def wrap(line: str) -> str:
        broken = []
        while len(line.expandtabs()) > width and " " in line[:width].strip():
            cut = line[:width].rindex(" ")
            broken.append(line[:cut])
            line = line[cut + 1 :]
        return "\n".join([*broken, line])

    functions = known("q35-bridge")
    for text in (lspci(functions), lspci(functions, verbose=2), lspci(functions, dump=256)):
        wrapped = "\n".join(map(wrap, text.split("\n")))
        assert wrapped != text or width > 75
        assert anonymous(parsed(wrapped).functions) == anonymous(parsed(text).functions)


def test_several_listings_add_to_each_other() -> None:
    functions = known("pc-e1000")
    parts = (
        lspci(functions),
        lspci(functions, ids="", dump=64),
        lspci(functions, verbose=2),
        lspci(functions, dump=256),
        vmm(functions),
    )
    for order in itertools.permutations(parts, 3):
        if not {parts[2], parts[3]} <= set(order):
            continue
        machine = parsed("\n\n".join(order))
        assert anonymous(machine.functions) == anonymous(functions)


def test_a_part_of_the_machine_is_said_to_be_one() -> None:
    functions = known("pc-e1000")
    whole, part = parsed(lspci(functions)), parsed(lspci(functions[1:]))
    assert not any(x.what == "pci functions" for x in whole.unknown)
    assert any(x.what == "pci functions" for x in part.unknown)


def test_another_domain() -> None:
    machine = parsed("10000:e1:00.0 Non-Volatile memory controller [0108]: X Y [144d:a808]\n")
    assert machine.functions[0].address == "10000:e1:00.0"


@pytest.mark.parametrize("path", sorted(TEXTS.glob("*.txt")), ids=lambda path: path.stem)
def test_texts_as_people_paste_them(path: Path, golden: Golden) -> None:
    machine, notes = lspci_machine(decode(path.read_bytes(), path.name), path.name)
    text = format_machine(machine)
    assert parse_machine(text) == machine
    golden(f"lspci/{path.stem}.json", "".join(f"// {note}\n" for note in notes) + text)


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 31), st.integers(0, 7)),
        min_size=1,
        max_size=4,
        unique=True,
    ),
    st.sampled_from([64, 128, 256]),
    st.data(),
)
@settings(deadline=None, max_examples=60)
def test_any_bytes(places: list[tuple[int, int, int]], size: int, data: st.DataObject) -> None:
    """The dump is the truth, whatever is in it."""
    dumps = {f"{b:02x}:{d:02x}.{f}": data.draw(st.binary(min_size=size, max_size=size))
             for b, d, f in places}  # fmt: skip
    text = "\n".join(
        f"{address} Class: Name\n" + "\n".join(hex_rows(config)) + "\n"
        for address, config in dumps.items()
    )
    change = PASTED[data.draw(st.sampled_from(sorted(set(PASTED) - {"upper case"})))]
    machine = parsed(change(text))
    assert {f.address: f.config for f in machine.functions} == {
        address: config.hex() for address, config in dumps.items()
    }


@pytest.mark.parametrize(
    ("line", "bars"),
    [
        ("Region 0: Memory at fe400000 (32-bit, non-prefetchable) [size=4M]", [(0, 4 << 20)]),
        ("Region 2: Memory at 800000000 (64-bit, prefetchable) [size=16G]", [(2, 16 << 30)]),
        ("Region 4: I/O ports at e000 [disabled] [size=32]", [(4, 32)]),
        (
            "Region 0: Memory at <unassigned> (64-bit, prefetchable) [disabled] [size=8K]",
            [(0, 8192)],
        ),
        ("Expansion ROM at fea00000 [disabled] [size=256K]", [(6, 256 << 10)]),
        ("Region 0: [virtual] Memory at dfb00000 (32-bit, non-prefetchable) [size=1M]", []),
        ("Region 0: Memory at <unassigned> (64-bit, prefetchable) [virtual]", []),
        ("Region 0: Memory at fe400000 (32-bit, non-prefetchable)", []),
        ("[virtual] Memory at 000003f0 (type 3, non-prefetchable) [disabled] [size=1]", []),
        ("Memory at fe400000 (32-bit, non-prefetchable) [size=4M]", []),
        ("Memory behind bridge: f7d00000-f7dfffff [size=1M]", []),
        ("Memory window 0: 20000000-23fff000 (prefetchable)", []),
        ("Region 0: Speicher bei fe400000 (32-Bit, nicht vorausladbar) [Größe=4M]", []),
        ("Region 4: Ports d'E/S à e000 [taille=32]", [(4, 32)]),
    ],
)
def test_windows_in_words(line: str, bars: list[tuple[int, int]]) -> None:
    """`bars` are those whose register and size are sure; a window that is not is unknown."""
    machine = parsed(f"00:05.0 X [0200]: Y [8086:100f]\n\tControl: I/O+\n\t{line}\n")
    assert [(bar.index, bar.size) for bar in machine.functions[0].bars] == bars


def test_words_in_another_language_with_bytes() -> None:
    config = bytearray(64)
    config[0:4] = bytes.fromhex("86800f10")
    config[0x10:0x14] = (0xFE400000).to_bytes(4, "little")
    config[0x18:0x1C] = (0xE001).to_bytes(4, "little")
    text = (
        "00:05.0 Ethernet-Controller [0200]: Ä [8086:100f]\n"
        "\tSpeicher bei fe400000 (32-Bit, nicht vorausladbar) [Größe=4M]\n"
        "\tE/A-Ports bei e000 [Größe=32]\n" + "\n".join(hex_rows(bytes(config)))
    )
    (function,) = parsed(text).functions
    assert [(bar.index, bar.kind.value, bar.size) for bar in function.bars] == [
        (0, "mem32", 4 << 20),
        (2, "io", 32),
    ]


def test_windows_that_no_register_has() -> None:
    """A card that lost its registers: Linux remembers what they said."""
    rows = "\n".join(hex_rows(bytes(64)))
    for line, bars, missing in (
        ("[virtual] Memory at f8fff000 (32-bit, non-prefetchable) [disabled] [size=4K]", 0, True),
        ("[virtual] Expansion ROM at 000c0000 [disabled] [size=128K]", 0, True),
        ("Region 0: Memory at <unassigned> (32-bit, non-prefetchable) [size=4K]", 1, False),
        ("Kernel driver in use: none", 0, False),
    ):
        machine = parsed(f"00:05.0 Some class: Name\n\tFlags: fast devsel\n\t{line}\n{rows}\n")
        assert len(machine.functions[0].bars) == bars
        assert ("bars" in unknown(machine, "00:05.0")) == missing, line


def test_capabilities_in_words() -> None:
    head = "00:05.0 X [0200]: Y [8086:100f]\n\tFlags: fast devsel\n\tCapabilities: "
    listed = parsed(f"{head}[dc] Power Management version 2\n\tCapabilities: [100 v1] Advanced\n")
    assert listed.functions[0].capabilities == (Capability(id=1, offset=0xDC),)
    for what in ("<access denied>", "[a0] Something new"):
        assert "capabilities" in unknown(parsed(f"{head}{what}\n"), "00:05.0")


def test_bytes_count_where_the_name_says_otherwise() -> None:
    function = known("pc-e1000")[-1]
    rows = "\n".join(hex_rows(bytes.fromhex(function.config)))
    machine, notes = lspci_machine(f"00:03.0 X [0200]: Y [1234:5678]\n{rows}\n", "pasted.txt")
    assert machine.functions[0].vendor == function.vendor
    assert any("which counts" in note and "line 1" in note for note in notes)


ROWS = "00:05.0 Some class: Name\n" + "\n".join(hex_rows(bytes(64))) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "pasted.txt:1:1: error[E0811]: none of 1 lines names a PCI function"),
        ("hello\nworld", "pasted.txt:1:1: error[E0811]: none of 2 lines names a PCI function"),
        ("\n-[0000:00]-+-00.0\n", "pasted.txt:2:1: error[E0811]: a tree, as lspci -t prints it"),
        ("00:1c.0/00.0 X: Y", "pasted.txt:1:1: error[E0811]: a path without bus numbers"),
        ("CPUID 00000000: 0000000D-756E6547-6C65746E-49656E69", "error[E0811]: this is a CPUID"),
        ('00:1f.2 "SATA', 'pasted.txt:1:9: error[E0811]: expected "class" "vendor" "device"'),
        ("00: 86 80 d3 10 00 00\n", "pasted.txt:1:1: error[E0813]: config bytes, but no line"),
        (ROWS.replace("10: ", "1O: "), "pasted.txt:4:1: error[E0813]: expected row 10: of 00:05.0"),
        (ROWS.replace("10: 00", "10: 0g"), "pasted.txt:3:5: error[E0813]: expected a byte"),
        (ROWS.replace("10: ", "10: 00 "), "pasted.txt:3:53: error[E0813]: expected 16 bytes"),
        (ROWS.replace("10: 00", "10:"), "pasted.txt:3:47: error[E0813]: expected 16 bytes"),
        (ROWS[:-53], "error[E0813]: the config bytes of 00:05.0 end after 48; lspci prints 64"),
        (ROWS + "> 50: " + "00 " * 16, "pasted.txt:6:3: error[E0813]: expected row 40:"),
        (
            "00:05.0 0200: 8086:100e\n00:06.0 0200: 8086:100e\n00:05.0 0200: 8086:100f\n",
            "pasted.txt:3:1: error[E0812]: 00:05.0 has another ids here than in line 1",
        ),
        (
            "00:05.0 0200: 8086:100e\n\tRegion 0: I/O ports at e000 [size=24]\n",
            "pasted.txt:2:1: error[E0814]: a window of 0x18 bytes",
        ),
        (
            "00:05.0 0200: 8086:100e\n\tRegion 0: I/O ports at e008 [size=32]\n",
            "pasted.txt:2:1: error[E0814]: bar 0 of 00:05.0: 0xe008 is no multiple of its size",
        ),
        (
            "00:05.0 0200: 8086:100e\n\tRegion 0: I/O ports at e000 [size=2]\n",
            "pasted.txt:2:1: error[E0814]: bar 0 of 00:05.0: io has no window of 0x2 bytes",
        ),
    ],
)  # fmt: skip
def test_errors_name_line_and_column(text: str, message: str) -> None:
    assert message in fault(text)


def test_what_is_looked_for_is_said() -> None:
    assert 'looked for lines such as "00:1f.0 ISA bridge [0601]' in fault("hello")


def test_many_faults_are_counted() -> None:
    text = "".join(f"00:{i:02x}.0 0200: 8086:{j:04x}\n" for i in range(16) for j in (1, 2))
    assert fault(text).count("E0812") == 10
    assert "(6 more faults are not shown)" in fault(text)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"BZh91AY", "pasted.txt:1:1: not text, but a bzip2 archive"),
        (b"\x1f\x8b\x08", "a gzip archive"),
    ],
)
def test_what_is_no_text(data: bytes, message: str) -> None:
    with pytest.raises(MetaosError, match=message):
        decode(data, "pasted.txt")


def test_too_large_a_text(tmp_path: Path) -> None:
    file = tmp_path / "pasted.txt"
    file.write_bytes(b" " * (MOST_BYTES + 1))
    with pytest.raises(MetaosError, match="more than 8 MiB"):
        read_text(file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(encoding: str) -> None:
    text = "00:05.0 Kontroller [0200]: Größe AG [8086:100e]\n"
    (function,) = parsed(decode(text.encode(encoding), "pasted.txt")).functions
    assert (function.name, function.device) == ("Größe AG", 0x100E)
