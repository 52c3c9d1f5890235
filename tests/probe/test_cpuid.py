"""Dumps of CPUID leaves: real processors, every form that they are printed in, and damage."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaos.cli_processor import processor_lines
from metaos.emit.features import features
from metaos.emit.target import cpu_features
from metaos.errors import MetaosError
from metaos.match.processor import shown_processor
from metaos.probe.caches import Cache, caches
from metaos.probe.cpu import answers, identity
from metaos.probe.cpuid_machine import cpuid_machine, processors
from metaos.probe.cpuid_text import Dumped, dumped, read_dump
from metaos.probe.machine import Cpu, CpuidLeaf, Machine
from metaos.probe.store import format_machine, parse_machine
from metaos.probe.topology import Topology, topology
from tests.conftest import Golden

DUMPS = Path(__file__).parents[1] / "data" / "cpuid"
FILES = sorted(DUMPS.glob("*.txt"))


def cpu_lines(of: Cpu) -> list[str]:
    return list(processor_lines(shown_processor(of)))


def leaf(number: int, subleaf: int, *registers: int) -> CpuidLeaf:
    eax, ebx, ecx, edx = registers
    return CpuidLeaf(leaf=number, subleaf=subleaf, eax=eax, ebx=ebx, ecx=ecx, edx=edx)


def cpu(name: str) -> Cpu:
    return processors(read_dump(DUMPS / f"{name}.txt"))


def hwloc(dumps: tuple[Dumped, ...]) -> str:
    return "".join(
        f"CPU {d.number}:\n"
        + "".join(
            f"5 {x.leaf:x} 0 {x.subleaf:x} 0 => {x.eax:x} {x.ebx:x} {x.ecx:x} {x.edx:x}\n"
            for x in d.leaves
        )
        for d in dumps
    )


def raw(dumps: tuple[Dumped, ...]) -> str:
    """As cpuid -r."""
    return "".join(
        f"CPU {d.number}:\n"
        + "".join(
            f"   0x{x.leaf:08x} 0x{x.subleaf:02x}: eax=0x{x.eax:08x} ebx=0x{x.ebx:08x}"
            f" ecx=0x{x.ecx:08x} edx=0x{x.edx:08x}\n"
            for x in d.leaves
        )
        for d in dumps
    )


def aida(dumps: tuple[Dumped, ...]) -> str:
    """As AIDA64's CPUID & MSR dump, which InstLatx64 collects."""
    return "".join(
        f"------[ Logical CPU #{d.number} ]------\n\nallcpu: Package 0 / Core 0: Valid\n\n"
        + "".join(
            f"CPUID {x.leaf:08X}: {x.eax:08X}-{x.ebx:08X}-{x.ecx:08X}-{x.edx:08X}"
            f" [SL {x.subleaf:02X}]\n"
            for x in d.leaves
        )
        + "\nMSR 0000001B: 0000-0000-FEE0-0900\n\n"
        for d in dumps
    )


def report(dumps: tuple[Dumped, ...]) -> str:
    """As the report of AIDA64."""
    return "".join(
        f"    CPUID Registers (CPU #{d.number}):\n"
        + "".join(
            f"      CPUID {x.leaf:08X}          "
            f"{x.eax:08X}-{x.ebx:08X}-{x.ecx:08X}-{x.edx:08X} [SL {x.subleaf:02X}]\n"
            for x in d.leaves
        )
        for d in dumps
    )


FORMS: tuple[Callable[[tuple[Dumped, ...]], str], ...] = (hwloc, raw, aida, report)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_real_processors(path: Path, golden: Golden) -> None:
    machine = cpuid_machine(path)
    assert parse_machine(format_machine(machine)) == machine
    golden(f"cpuid/{path.stem}.txt", "\n".join(cpu_lines(machine.cpu)) + "\n")
    assert json.loads(msgspec.json.encode(shown_processor(machine.cpu)))["vendor"]


def test_all_that_is_no_processor_is_unknown(golden: Golden) -> None:
    machine = cpuid_machine(DUMPS / "opteron-250.txt")
    golden("cpuid/opteron-250.json", format_machine(machine))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_form_says_the_same(path: Path, form: Callable[[tuple[Dumped, ...]], str]) -> None:
    dumps = read_dump(path)
    assert dumped(form(dumps)) == dumps


def test_a_folder_has_a_file_for_each_processor(tmp_path: Path) -> None:
    dumps = read_dump(DUMPS / "xeon-e5345.txt")
    for one in dumps:
        file = tmp_path / f"pu{one.number}"
        file.write_text("# mask e[abcd]x => e[abcd]x\n" + hwloc((one,)).split("\n", 1)[1])
    (tmp_path / "hwloc-cpuid-info").write_text("Architecture: x86\n")
    assert read_dump(tmp_path) == dumps


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MetaosError, match=r"no file pu0, pu1, \.\.\. in this folder"):
        read_dump(tmp_path)


def test_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    text = raw(read_dump(DUMPS / "opteron-250.txt")).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert len(read_dump(Path("-"))) == 2


def test_pasted_text() -> None:
    """Quoted, wrapped by a mail program, with CRLF and other text around."""
    dumps = read_dump(DUMPS / "opteron-250.txt")
    wrapped = raw(dumps).replace(" edx=", " \nedx=")
    quoted = "".join(f"> {line}\r\n" for line in f"$ sudo cpuid -r\n{wrapped}$ exit".split("\n"))
    assert dumped(quoted) == dumps


def test_subleaves_are_counted_where_no_line_says_them() -> None:
    text = aida(read_dump(DUMPS / "xeon-e5345.txt"))
    bare = "\n".join(line.partition(" [SL")[0] for line in text.split("\n"))
    assert dumped(bare) == read_dump(DUMPS / "xeon-e5345.txt")


def test_a_new_processor_begins_where_leaf_0_comes_again() -> None:
    text = aida(read_dump(DUMPS / "opteron-250.txt"))
    plain = "\n".join(line for line in text.split("\n") if line.startswith("CPUID"))
    assert [d.number for d in dumped(plain)] == [0, 1]


@pytest.mark.parametrize(
    ("name", "packages", "cores", "threads"),
    [
        ("opteron-250", 2, 2, 2),
        ("xeon-e5345", 2, 8, 8),
        ("xeon-x5550", 2, 8, 16),
        ("kaisheng-fc1081", 1, 8, 8),
    ],
)
def test_a_whole_machine_is_counted(name: str, packages: int, cores: int, threads: int) -> None:
    """The others of these files are cut to eight processors."""
    found = topology(cpu(name))
    assert (found.packages, found.cores, found.threads) == (packages, cores, threads)


@pytest.mark.parametrize(
    ("name", "cores", "threads", "at_most"),
    [
        ("epyc-9654", 96, 192, False),
        ("epyc-7451", 24, 48, False),
        ("opteron-6348", 12, 12, False),
        ("xeon-max-9460", 40, 80, False),
        ("xeon-6140", 18, 36, False),
        ("xeon-e5-2680v3", 12, 24, False),
        ("xeon-e5-2650", 8, 16, False),
        ("xeon-e5345", 4, 4, True),
        ("kaisheng-fc1081", 8, 8, False),
    ],
)
def test_one_processor_tells_of_its_package(
    name: str, cores: int, threads: int, at_most: bool
) -> None:
    one = msgspec.structs.replace(cpu(name), others=())
    assert topology(one) == Topology(1, None, cores, threads, at_most, ())


def test_descriptors_and_leaf_4_agree() -> None:
    """Leaf 2 of the processors that have both, without leaf 4, tells of the same caches."""
    for name in ("xeon-e5345", "xeon-x5550"):
        whole = answers(cpu(name))[0]

        def without(number: int, sub: int, whole: object = whole) -> CpuidLeaf | None:
            assert callable(whole)
            found = None if number == 4 else whole(number, sub)
            assert found is None or isinstance(found, CpuidLeaf)
            return found

        assert caches(without) == tuple(replace(x, sharing=0) for x in caches(whole))


def test_caches_of_an_old_amd_processor() -> None:
    assert caches(answers(cpu("opteron-250"))[0])[2] == Cache(2, "unified", 1 << 20, 16, 64)


def hybrid() -> Cpu:
    """Two performance cores of two threads, and four efficient cores without AVX-512."""
    base = {(x.leaf, x.subleaf): x for x in cpu("xeon-max-9460").leaves}
    seven = base[7, 0]
    dumps: list[Dumped] = []
    for apic, kind in [*((i, 0x40) for i in range(4)), *((8 + 2 * i, 0x20) for i in range(4))]:
        ebx = seven.ebx if kind == 0x40 else seven.ebx & ~0xD0230000
        own = [
            leaf(7, 0, seven.eax, ebx, seven.ecx, seven.edx | 1 << 15),
            leaf(0x1A, 0, kind << 24 | 1, 0, 0, 0),
            *(leaf(number, 0, 1, 2 if kind == 0x40 else 1, 0x100, apic) for number in (0xB, 0x1F)),
            *(leaf(number, 1, 5, 8, 0x201, apic) for number in (0xB, 0x1F)),
        ]
        leaves = base | {(x.leaf, x.subleaf): x for x in own}
        dumps.append(Dumped(len(dumps), tuple(leaves[key] for key in sorted(leaves))))
    return processors(tuple(dumps))


def test_a_hybrid_processor_has_what_all_its_cores_have() -> None:
    mixed = hybrid()
    assert topology(mixed).kinds == (("performance", 2), ("efficient", 4))
    assert (topology(mixed).cores, topology(mixed).threads) == (6, 8)
    first = msgspec.structs.replace(mixed, others=())
    assert "avx512f" in features(first) and "avx512f" not in features(mixed)
    assert features(mixed) < features(first)
    assert shown_processor(mixed).llvm_cpu == "x86-64-v3"
    assert shown_processor(first).llvm_cpu == "sapphirerapids"
    assert "2 performance, 4 efficient" in "\n".join(cpu_lines(mixed))
    assert "a hybrid processor, and this core is performance" in "\n".join(cpu_lines(first))


def test_a_feature_that_one_processor_lacks_is_not_used() -> None:
    two = cpu("xeon-e5-2680v3")
    seven = next(x for x in two.leaves if (x.leaf, x.subleaf) == (7, 0))
    lacking = msgspec.structs.replace(seven, ebx=seven.ebx & ~(1 << 8))
    last = two.others[-1]
    others = (*two.others[:-1], msgspec.structs.replace(last, leaves=(lacking,)))
    assert "bmi2" in cpu_features(two)
    assert "bmi2" not in cpu_features(msgspec.structs.replace(two, others=others))


def test_leaves_beyond_the_highest_are_no_answers() -> None:
    """Intel's processors repeat the highest leaf's registers there."""
    old = cpu("xeon-e5345")
    beyond = leaf(0x24, 0, *(0xFFFFFFFF,) * 4)
    more = msgspec.structs.replace(old, leaves=(*old.leaves[:-9], beyond, *old.leaves[-9:]))
    assert features(more) == features(old)


def test_identity() -> None:
    assert [identity(cpu(name)) for name in ("xeon-e5-2680v3", "epyc-9654")] == [
        identity(cpu("xeon-e5-2680v3")),
        identity(cpu("epyc-9654")),
    ]
    found = identity(cpu("epyc-9654"))
    assert (found.vendor, found.family, found.model, found.stepping) == ("AuthenticAMD", 25, 17, 1)
    found = identity(cpu("xeon-e5-2680v3"))
    assert (found.vendor, found.family, found.model, found.stepping) == ("GenuineIntel", 6, 63, 2)


def test_without_leaves_the_lines_say_so() -> None:
    bare = msgspec.structs.replace(cpu("opteron-250"), leaves=(), others=(), flags=("bmi1",))
    assert cpu_lines(bare) == [
        "processor  AMD Opteron(tm) Processor 250, 1 flags",
        "  code may use bmi",
    ]


GOOD = raw(read_dump(DUMPS / "opteron-250.txt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "dump.txt:1:1: error[E0821]: none of 1 lines has the answer to a CPUID leaf"),
        ("\nhello", "dump.txt:2:1: error[E0821]: none of 2 lines"),
        (GOOD.replace("ebx=0x68747541", "ebx=0x6874754l", 1), "dump.txt:2:40: error[E0821]: exp"),
        (GOOD.split("\n", 2)[2], "dump.txt:1:1: error[E0821]: the processor whose leaves begin"),
        (GOOD.replace("CPU 1:\n", "").replace("0x00000000 0x00", "0x00000001 0x00"),
         "dump.txt:3:1: error[E0822]: leaf 0x1 subleaf 0 has another answer"),
        ("CPUID 00000000: 0000000D-756E6547-6C65746E-49656E6", "dump.txt:1:44: error[E0821]"),
        ("1 0 0 0 0 => d 68747541 444d416x 69746e65", "dump.txt:1:25: error[E0821]: expected"),
    ],
)  # fmt: skip
def test_errors_name_line_and_column(text: str, message: str) -> None:
    with pytest.raises(MetaosError) as caught:
        dumped(text, "dump.txt")
    assert message in caught.value.render()


def test_what_is_looked_for_is_said() -> None:
    with pytest.raises(MetaosError) as caught:
        dumped("hello")
    assert "cpuid -r" in caught.value.hint and "AIDA64" in caught.value.hint


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 0xFFFFFFFF), st.integers(0, 63)),
        st.tuples(*[st.integers(0, 0xFFFFFFFF)] * 4),
        max_size=12,
    ),
    st.sampled_from(FORMS),
    st.integers(1, 3),
)
@settings(deadline=None, max_examples=80)
def test_any_leaves(
    table: dict[tuple[int, int], tuple[int, int, int, int]],
    form: Callable[[tuple[Dumped, ...]], str],
    count: int,
) -> None:
    """What is printed is read, and whatever it is can be shown and written."""
    table = {(0, 0): (0xFFFF, 1, 2, 3), (1, 0): (4, 5, 6, 7)} | table
    leaves = tuple(leaf(*key, *table[key]) for key in sorted(table))
    dumps = tuple(Dumped(number, leaves) for number in range(count))
    assert dumped(form(dumps)) == dumps
    found = processors(dumps)
    assert len(cpu_lines(found)) >= 3
    machine = msgspec.structs.replace(cpuid_machine(FILES[0]), cpu=found)
    assert isinstance(machine, Machine)
    assert parse_machine(format_machine(machine)) == machine
