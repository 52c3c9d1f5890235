"""The one text form of a `Program`, for goldens and `--dump ir`.

    program 00:03.0 steady
      %0 = load u8 [00:03.0.head]                     ; i8254x.pattern:57
      %1 = zext u64 %0                                ; i8254x.pattern:57
      %2 = load u8 acquire [00:03.0.rx+12 + %1]       ; i8254x.pattern:57
      store u8 release 0x0, [00:03.0.rx+12 + %1]      ; i8254x.pattern:58

Constants stand where they are used; every other result has a number, in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from metaos.ir.program import Op, Program

_REGISTERS = ("eax", "ebx", "ecx", "edx")
_COMMENT_COLUMN = 60


def render(program: Program) -> str:
    """Write `program` as lines of text, each ended by a newline."""
    lines = [f"program {program.device} {program.phase}"]
    for op, text in steps(program):
        line = f"  {text}"
        if op.span is not None:
            where = f"; {PurePosixPath(op.span.file).name}:{op.span.line}"
            line = f"{line.ljust(_COMMENT_COLUMN)} {where}"
        lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def steps(program: Program) -> Iterator[tuple[Op, str]]:
    """Each op that is no constant, with its text: "%1 = zext u64 %0"."""
    names: dict[Op, str] = {}
    results = 0
    for op in program.ops:
        if op.kind == "const":
            names[op] = _number(op.value)
            continue
        text = _step(op, names)
        if op.bits:
            names[op] = f"%{results}"
            results += 1
            text = f"{names[op]} = {text}"
        yield op, text


def _number(value: int) -> str:
    return str(value) if value < 10 else hex(value)


def _step(op: Op, names: dict[Op, str]) -> str:
    """One op without its result; an argument nobody defined shows as `?`."""
    args = [names.get(a, "?") for a in op.args]
    match op.kind:
        case "load":
            return f"load u{op.bits}{' acquire' if op.ordered else ''} {_place(op, args)}"
        case "store":
            width = f"u{op.args[0].bits}{' release' if op.ordered else ''}"
            return f"store {width} {args[0]}, {_place(op, args[1:])}"
        case "address":
            return f"address u64 {_place(op, args)}"
        case "cpuid":
            return f"cpuid.{_REGISTERS[op.value & 3]} {', '.join(args)}"
        case "out":
            return f"out u{op.args[1].bits} {', '.join(args)}"
        case "ins" | "outs":
            return f"{op.kind} u{op.value} {', '.join(args)}"
        case "eq" | "ne" | "ult" | "ule" | "carry":
            return f"{op.kind} u{op.args[0].bits} {', '.join(args)}"
    words = [op.kind, *([f"u{op.bits}"] if op.bits else []), *([", ".join(args)] if args else [])]
    return " ".join(words)


def _place(op: Op, indices: list[str]) -> str:
    return f"[{' + '.join([str(op.address), *indices])}]"
