"""LLVM's processor names: LLVM itself is asked what each has; no dump lacks what its name has."""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaos.emit.cpus import LEVELS, cpu_features, llvm_cpu, named, names
from metaos.emit.emit import _target
from metaos.emit.features import PLACES, features, needs_state
from metaos.emit.target import BASELINE, FEATURES
from metaos.probe.cpu import Identity
from metaos.probe.cpuid_machine import processors
from metaos.probe.cpuid_text import read_dump
from metaos.probe.machine import Cpu, CpuidLeaf, Origin, Processor

pytestmark = pytest.mark.long

DUMPS = sorted((Path(__file__).parents[1] / "data" / "cpuid").glob("*.txt"))
_NOT_TOLD = frozenset({"cx16", "sahf"})
"""LLVM leaves these out where it compares functions."""


@cache
def llvm_help() -> str:
    """What LLVM prints of the names that it knows."""
    with tempfile.TemporaryFile() as file:
        ctypes.CDLL(None).fflush(None)
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            _target().create_target_machine(cpu="help")
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        return file.read().decode()


@cache
def llvm_features(name: str) -> frozenset[str]:
    """The features that LLVM's processor `name` has: it inlines what needs no others."""
    known = sorted(PLACES)
    functions, attributes, calls = [], [], []
    for i, feature in enumerate(known):
        functions.append(
            f"define internal i32 @f{i}(i32 %x) #{i} {{\n%y = xor i32 %x, {i + 77}\nret i32 %y\n}}"
        )
        attributes.append(
            f'attributes #{i} = {{ "target-cpu"="generic"'
            f' "target-features"="-x87,-cx8,+{feature}" }}'
        )
        calls.append(f"%v{i} = call i32 @f{i}(i32 %{f'v{i - 1}' if i else 'x'})")
    last = len(known)
    functions.append(
        f"define i32 @all(i32 %x) #{last} {{\n" + "\n".join(calls) + f"\nret i32 %v{last - 1}\n}}"
    )
    attributes.append(f'attributes #{last} = {{ "target-cpu"="{name}" }}')
    module = llvm.parse_assembly("\n".join(functions + attributes))
    machine = _target().create_target_machine(cpu="x86-64")
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    left = {int(number) for number in re.findall(r"call .*@f(\d+)\(", str(module))}
    return frozenset(feature for i, feature in enumerate(known) if i not in left)


def test_llvm_knows_every_name() -> None:
    known = set(re.findall(r"^ +(\S+) +- Select the", llvm_help(), re.MULTILINE))
    assert set(names()) <= known


def test_llvm_knows_every_feature() -> None:
    known = set(re.findall(r"^ +(\S+) +- ", llvm_help(), re.MULTILINE))
    assert set(PLACES) <= known


@pytest.mark.parametrize("name", names())
def test_each_name_has_what_llvm_says(name: str) -> None:
    """But for MMX of some AMD processors, which this LLVM does not use."""
    ours, theirs = cpu_features(name) - _NOT_TOLD, llvm_features(name) - _NOT_TOLD
    assert theirs <= ours
    assert ours - theirs <= {"mmx"}


@pytest.mark.parametrize(
    ("name", "cpu"),
    [
        ("epyc-7451", "znver1"),
        ("epyc-9654", "znver4"),
        ("kaisheng-fc1081", "x86-64-v2"),
        ("opteron-250", "x86-64"),
        ("opteron-6348", "bdver2"),
        ("xeon-6140", "skylake-avx512"),
        ("xeon-e5-2650", "sandybridge"),
        ("xeon-e5-2680v3", "haswell"),
        ("xeon-e5345", "core2"),
        ("xeon-max-9460", "sapphirerapids"),
        ("xeon-x5550", "nehalem"),
    ],
)
def test_dumps_have_all_that_their_name_has(name: str, cpu: str) -> None:
    path = next(path for path in DUMPS if path.stem == name)
    found = processors(read_dump(path))
    assert llvm_cpu(found) == cpu
    assert llvm_features(cpu) - _NOT_TOLD <= features(found)
    assert cpu_features(cpu) <= features(found)


def test_every_dump_is_tested() -> None:
    assert len(DUMPS) == 11


def test_features_of_no_state_are_those_that_an_image_may_use() -> None:
    assert not any(needs_state(feature.name) for feature in FEATURES)
    off = {feature.removeprefix("-") for feature in BASELINE} & set(PLACES)
    assert all(needs_state(name) for name in off)


_REGISTERS = st.integers(0, 0xFFFFFFFF)
_ANSWERS = st.fixed_dictionaries(
    {
        key: st.tuples(*[_REGISTERS] * 4)
        for key in sorted({(p.leaf, p.subleaf) for p in PLACES.values()})
    }
)
_SIGNATURES = st.one_of(_REGISTERS, st.sampled_from([0x306F2, 0x806F8, 0xA10F11, 0x90672, 0x50654]))


def _cpu(vendor: str, table: dict[tuple[int, int], tuple[int, int, int, int]]) -> Cpu:
    def leaf(key: tuple[int, int]) -> CpuidLeaf:
        eax, ebx, ecx, edx = table[key]
        return CpuidLeaf(leaf=key[0], subleaf=key[1], eax=eax, ebx=ebx, ecx=ecx, edx=edx)

    leaves = tuple(map(leaf, sorted(table)))
    return Cpu(vendor=vendor, brand="", leaves=leaves, origin=Origin.CPUID)


@given(
    st.sampled_from(["GenuineIntel", "AuthenticAMD", "HygonGenuine", "Shanghai", ""]),
    _SIGNATURES,
    _ANSWERS,
    _ANSWERS,
    st.booleans(),
)
@settings(deadline=None, max_examples=200)
def test_no_name_has_more_than_the_bits_say(
    vendor: str,
    signature: int,
    first: dict[tuple[int, int], tuple[int, int, int, int]],
    second: dict[tuple[int, int], tuple[int, int, int, int]],
    full: bool,
) -> None:
    """Random bits; or nearly all of them, so that the rich names are reached."""
    if full:
        first = {key: tuple(~(r & r >> 3 & r >> 7) & 0xFFFFFFFF for r in regs)  # type: ignore[misc]
                 for key, regs in first.items()}  # fmt: skip
        second = first
    first = first | {(0, 0): (0x24, 0, 0, 0), (1, 0): (signature, *first[1, 0][1:])}
    both = _cpu(vendor, first)
    other = _cpu(vendor, second | {(0, 0): (0x24, 0, 0, 0)})
    both = msgspec.structs.replace(both, others=(Processor(number=1, leaves=other.leaves),))
    has = features(both)
    name = llvm_cpu(both)
    assert name in (*names(), "")
    if name:
        assert cpu_features(name) <= has
        assert llvm_features(name) - _NOT_TOLD <= has
    else:
        assert not cpu_features("x86-64") <= has
    for one in (both, other):
        assert has <= features(msgspec.structs.replace(one, others=()))


@pytest.mark.parametrize("name", names())
def test_every_name_can_be_chosen(name: str) -> None:
    """A processor with just what the name has gets it, if it is that processor."""
    has = cpu_features(name)
    families = [Identity(v, f, m, 0) for v in ("GenuineIntel", "AuthenticAMD")
                for f in range(5, 27) for m in (range(256) if f == 6 else (0,))]  # fmt: skip
    assert name in {named(who, has) for who in families} or name in LEVELS
