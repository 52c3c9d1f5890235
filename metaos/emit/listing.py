"""What `--dump` shows of emitted code: every instruction with the pattern line it comes from.

    program 00:03.0 steady: 121 instructions, 664 bytes
      +0x000  41 ba 00 00 00 40  mov r10d, 0x40000000  ; (net/i8254x.pattern:99)
      +0x016  49 0f 44 ca        cmove rcx, r10        ; net/i8254x.pattern:100
      +0x033  8b b8 00 00 00 00  mov edi, [rax]        ; net/i8254x.pattern:101  00:03.0.rxb

The code has no address yet: behind the line are the symbols whose addresses the linker adds.
A line in parentheses was inferred: LLVM named none for these bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from capstone import CS_ARCH_X86, CS_MODE_64, Cs

from metaos.emit.code import Code
from metaos.errors import Span

_BYTES, _TEXT, _LLVM = 30, 44, 90
_DBG = re.compile(r", !dbg !(\d+)$")
_NODE = re.compile(
    r"^!(\d+) = (?:distinct )?!(DILocation|DILexicalBlockFile|DIFile)\((.*)\)$", re.M
)


def listing(code: Code) -> str:
    """The instructions of one program, each with bytes, text, line and symbols."""
    decoder = Cs(CS_ARCH_X86, CS_MODE_64)
    lines = []
    for offset, size, name, operands in decoder.disasm_lite(code.text, 0):
        raw = code.text[offset : offset + size].hex(" ")
        text = f"  +{offset:#05x}  {raw:<{_BYTES}} {f'{name} {operands}'.rstrip():<{_TEXT}}"
        notes = [_source(code, offset), *_symbols(code, offset, offset + size)]
        lines.append(f"{text} ; {'  '.join(notes)}".rstrip())
    head = f"program {code.device} {code.phase}: {len(lines)} instructions, {len(code.text)} bytes"
    return "".join(f"{line}\n" for line in (head, *lines))


def _source(code: Code, offset: int) -> str:
    line = next((x for x in code.lines if x.start <= offset < x.end), None)
    if line is None:
        return "no line"
    where = _where(line.span)
    return where if line.exact else f"({where})"


def _where(span: Span) -> str:
    return f"{span.file}:{span.line}"


def _symbols(code: Code, start: int, end: int) -> Iterator[str]:
    """What an instruction's relocations name; those relative to RIP count from its end."""
    for one in code.relocations:
        if start <= one.offset < end:
            behind = one.addend + (end - one.offset if one.kind.startswith("P") else 0)
            yield f"{one.symbol}{behind:+d}" if behind else one.symbol


def commented(module: str) -> str:
    """LLVM's text of a program, with the pattern line behind every instruction that names one.

    It stays LLVM's: what is added are comments.
    """
    nodes = {number: (kind, fields) for number, kind, fields in _NODE.findall(module)}
    lines = []
    for line in module.splitlines():
        named = _DBG.search(line)
        where = _located(nodes, named[1]) if named else ""
        lines.append(f"{line:<{_LLVM}} ; {where}" if where else line)
    return "\n".join(lines) + "\n"


def _located(nodes: dict[str, tuple[str, str]], number: str) -> str:
    """ "file:line" of a location; empty for one that LLVM is told is nobody's."""
    _, location = nodes.get(number, ("", ""))
    line, scope = _field(location, r"line: (\d+)"), _field(location, r"scope: !(\d+)")
    kind, block = nodes.get(scope, ("", ""))
    if kind != "DILexicalBlockFile":
        return ""
    _, file = nodes.get(_field(block, r"file: !(\d+)"), ("", ""))
    name = _field(file, r'filename: "([^"]*)"')
    return f"{name}:{line}"


def _field(fields: str, pattern: str) -> str:
    found = re.search(pattern, fields)
    return found[1] if found else ""
