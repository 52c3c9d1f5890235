"""LLVM's name for a processor: one whose every feature the processor has.

    llvm_cpu(machine.cpu)  ->  "haswell"

The tables are LLVM 22's; tests/emit/test_cpus.py asks LLVM for each name's features and
compares. Which family and model is which processor: Intel SDM vol. 4, table 2-1; AMD's
revision guides.
"""

from __future__ import annotations

from typing import Final

from metaos.emit.features import features
from metaos.probe.cpu import Identity, identity
from metaos.probe.machine import Cpu

_ADDED: Final[dict[str, tuple[str, str]]] = {
    "x86-64": ("", "64bit cmov cx8 fxsr mmx sse sse2 x87"),
    "x86-64-v2": ("x86-64", "crc32 cx16 popcnt sahf sse3 sse4.1 sse4.2 ssse3"),
    "x86-64-v3": ("x86-64-v2", "avx avx2 bmi bmi2 f16c fma lzcnt movbe xsave"),
    "x86-64-v4": ("x86-64-v3", "avx512bw avx512cd avx512dq avx512f avx512vl"),
    "nocona": ("x86-64", "cx16 sse3"),
    "core2": ("nocona", "sahf ssse3"),
    "penryn": ("core2", "sse4.1"),
    "nehalem": ("x86-64-v2", ""),
    "westmere": ("nehalem", "pclmul"),
    "sandybridge": ("westmere", "avx xsave xsaveopt"),
    "ivybridge": ("sandybridge", "f16c fsgsbase rdrnd"),
    "haswell": ("ivybridge", "avx2 bmi bmi2 fma invpcid lzcnt movbe"),
    "broadwell": ("haswell", "adx prfchw rdseed"),
    "skylake": ("broadwell", "aes clflushopt xsavec xsaves"),
    "skylake-avx512": (
        "skylake",
        "avx512bw avx512cd avx512dq avx512f avx512vl clwb pku",
    ),
    "cascadelake": ("skylake-avx512", "avx512vnni"),
    "cooperlake": ("cascadelake", "avx512bf16"),
    "cannonlake": (
        "skylake",
        "avx512bw avx512cd avx512dq avx512f avx512ifma avx512vbmi avx512vl pku sha",
    ),
    "icelake-client": (
        "cannonlake",
        "avx512bitalg avx512vbmi2 avx512vnni avx512vpopcntdq gfni rdpid vaes vpclmulqdq",
    ),
    "icelake-server": ("icelake-client", "clwb pconfig wbnoinvd"),
    "rocketlake": ("icelake-client", ""),
    "tigerlake": ("icelake-client", "avx512vp2intersect clwb movdir64b movdiri shstk"),
    "sapphirerapids": (
        "icelake-server",
        "amx-bf16 amx-int8 amx-tile avx512bf16 avx512fp16 avxvnni cldemote enqcmd movdir64b"
        " movdiri ptwrite serialize shstk tsxldtrk uintr waitpkg",
    ),
    "emeraldrapids": ("sapphirerapids", ""),
    "graniterapids": ("sapphirerapids", "amx-fp16 prefetchi"),
    "graniterapids-d": ("graniterapids", "amx-complex"),
    "diamondrapids": (
        "graniterapids-d",
        "amx-avx512 amx-fp8 amx-movrs amx-tf32 avx10.1 avx10.2 avxifma avxneconvert avxvnniint16"
        " avxvnniint8 ccmp cmpccxadd egpr movrs ndd nf ppx push2pop2 sha512 sm3 sm4 zu",
    ),
    "bonnell": ("core2", "movbe"),
    "silvermont": ("westmere", "movbe prfchw rdrnd"),
    "goldmont": (
        "silvermont",
        "aes clflushopt fsgsbase rdseed sha xsave xsavec xsaveopt xsaves",
    ),
    "goldmont-plus": ("goldmont", "ptwrite rdpid"),
    "tremont": ("goldmont-plus", "clwb gfni"),
    "alderlake": (
        "skylake",
        "avxvnni clwb gfni hreset kl movdir64b movdiri pconfig pku ptwrite rdpid serialize sha"
        " shstk vaes vpclmulqdq waitpkg widekl",
    ),
    "gracemont": ("alderlake", ""),
    "raptorlake": ("alderlake", ""),
    "meteorlake": ("alderlake", ""),
    "arrowlake": ("alderlake", "avxifma avxneconvert avxvnniint8 cmpccxadd enqcmd uintr"),
    "arrowlake-s": ("arrowlake", "avxvnniint16 sha512 sm3 sm4"),
    "lunarlake": ("arrowlake-s", ""),
    "pantherlake": (
        "skylake",
        "avxifma avxneconvert avxvnni avxvnniint16 avxvnniint8 clwb cmpccxadd enqcmd gfni hreset"
        " movdir64b movdiri pconfig pku ptwrite rdpid serialize sha sha512 shstk sm3 sm4 uintr"
        " vaes vpclmulqdq waitpkg",
    ),
    "wildcatlake": ("pantherlake", ""),
    "novalake": (
        "pantherlake",
        "avx10.1 avx10.2 avx512bf16 avx512bitalg avx512bw avx512cd avx512dq avx512f avx512fp16"
        " avx512ifma avx512vbmi avx512vbmi2 avx512vl avx512vnni avx512vpopcntdq ccmp egpr movrs"
        " ndd nf ppx prefetchi push2pop2 zu",
    ),
    "sierraforest": ("arrowlake", "cldemote"),
    "grandridge": ("sierraforest", ""),
    "clearwaterforest": ("pantherlake", "cldemote prefetchi usermsr"),
    "knl": (
        "x86-64-v3",
        "adx aes avx512cd avx512f fsgsbase pclmul prfchw rdrnd rdseed xsaveopt",
    ),
    "knm": ("knl", "avx512vpopcntdq"),
    "k8": ("x86-64", "prfchw"),
    "k8-sse3": ("k8", "cx16 sse3"),
    "amdfam10": ("k8-sse3", "lzcnt popcnt sahf sse4a"),
    "btver1": ("amdfam10", "ssse3"),
    "btver2": (
        "btver1",
        "aes avx bmi crc32 f16c movbe pclmul sse4.1 sse4.2 xsave xsaveopt",
    ),
    "bdver1": (
        "amdfam10",
        "aes avx crc32 fma4 lwp pclmul sse4.1 sse4.2 ssse3 xop xsave",
    ),
    "bdver2": ("bdver1", "bmi f16c fma tbm"),
    "bdver3": ("bdver2", "fsgsbase xsaveopt"),
    "bdver4": ("bdver3", "avx2 bmi2 movbe mwaitx rdrnd"),
    "znver1": (
        "btver2",
        "adx avx2 bmi2 clflushopt clzero fma fsgsbase mwaitx rdrnd rdseed sha xsavec xsaves",
    ),
    "znver2": ("znver1", "clwb rdpid rdpru wbnoinvd"),
    "znver3": ("znver2", "invpcid pku vaes vpclmulqdq"),
    "znver4": (
        "znver3",
        "avx512bf16 avx512bitalg avx512bw avx512cd avx512dq avx512f avx512ifma avx512vbmi"
        " avx512vbmi2 avx512vl avx512vnni avx512vpopcntdq gfni shstk",
    ),
    "znver5": ("znver4", "avx512vp2intersect avxvnni movdir64b movdiri prefetchi"),
}
"""Each name's features: those of another name, and more."""

LEVELS: Final = ("x86-64-v4", "x86-64-v3", "x86-64-v2", "x86-64")
"""What a processor without a name of its own may be. Source: System V ABI AMD64 §3.1.1."""

_INTEL_6: Final[dict[str, tuple[int, ...]]] = {
    "core2": (0x0F, 0x16),
    "penryn": (0x17, 0x1D),
    "nehalem": (0x1A, 0x1E, 0x1F, 0x2E),
    "westmere": (0x25, 0x2C, 0x2F),
    "sandybridge": (0x2A, 0x2D),
    "ivybridge": (0x3A, 0x3E),
    "haswell": (0x3C, 0x3F, 0x45, 0x46),
    "broadwell": (0x3D, 0x47, 0x4F, 0x56),
    "skylake": (0x4E, 0x5E, 0x8E, 0x9E, 0xA5, 0xA6),
    "cooperlake cascadelake skylake-avx512": (0x55,),
    "cannonlake": (0x66,),
    "icelake-client": (0x7D, 0x7E),
    "icelake-server": (0x6A, 0x6C),
    "rocketlake": (0xA7,),
    "tigerlake": (0x8C, 0x8D),
    "sapphirerapids": (0x8F,),
    "emeraldrapids": (0xCF,),
    "graniterapids": (0xAD,),
    "graniterapids-d": (0xAE,),
    "bonnell": (0x1C, 0x26, 0x27, 0x35, 0x36),
    "silvermont": (0x37, 0x4A, 0x4C, 0x4D, 0x5A, 0x5D),
    "goldmont": (0x5C, 0x5F),
    "goldmont-plus": (0x7A,),
    "tremont": (0x86, 0x8A, 0x96, 0x9C),
    "alderlake": (0x97, 0x9A),
    "gracemont": (0xBE,),
    "raptorlake": (0xB7, 0xBA, 0xBF),
    "meteorlake": (0xAA, 0xAC),
    "arrowlake": (0xB5, 0xC5),
    "arrowlake-s": (0xC6,),
    "lunarlake": (0xBD,),
    "pantherlake": (0xCC,),
    "wildcatlake": (0xD5,),
    "sierraforest": (0xAF,),
    "grandridge": (0xB6,),
    "clearwaterforest": (0xDD,),
    "knl": (0x57,),
    "knm": (0x85,),
}
_FAMILIES: Final[dict[tuple[str, int], str]] = {
    ("GenuineIntel", 0x0F): "nocona",
    ("GenuineIntel", 0x12): "novalake",
    ("GenuineIntel", 0x13): "diamondrapids",
    ("AuthenticAMD", 0x0F): "k8-sse3 k8",
    ("AuthenticAMD", 0x10): "amdfam10",
    ("AuthenticAMD", 0x11): "k8-sse3",
    ("AuthenticAMD", 0x12): "amdfam10",
    ("AuthenticAMD", 0x14): "btver1",
    ("AuthenticAMD", 0x15): "bdver4 bdver3 bdver2 bdver1",
    ("AuthenticAMD", 0x16): "btver2",
    ("AuthenticAMD", 0x17): "znver2 znver1",
    ("AuthenticAMD", 0x19): "znver4 znver3",
    ("AuthenticAMD", 0x1A): "znver5",
    ("HygonGenuine", 0x18): "znver1",
}
"""The names of a family's processors, richest first: the features tell which it is."""


def llvm_cpu(cpu: Cpu) -> str:
    """The name of the processor if it has all that LLVM thinks it has, else of a level.

    Empty where it has not even what every 64-bit processor has.
    """
    return named(identity(cpu), features(cpu))


def named(who: Identity, has: frozenset[str]) -> str:
    """The same from what identifies the processor and from its features."""
    names = (*_candidates(who), *LEVELS)
    return next((name for name in names if cpu_features(name) <= has), "")


def cpu_features(name: str) -> frozenset[str]:
    """The features that LLVM's processor `name` has."""
    origin, added = _ADDED[name]
    return frozenset(added.split()) | (cpu_features(origin) if origin else frozenset())


def names() -> tuple[str, ...]:
    """Every name that `llvm_cpu` may give."""
    return tuple(_ADDED)


def _candidates(who: Identity) -> tuple[str, ...]:
    if (who.vendor, who.family) == ("GenuineIntel", 6):
        found = (name for name, models in _INTEL_6.items() if who.model in models)
        return tuple(next(found, "").split())
    return tuple(_FAMILIES.get((who.vendor, who.family), "").split())
