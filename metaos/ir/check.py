"""Prove a `Program` well-formed; runs between stages, so a stage's mistake stops there.

`check(program)` holds the table of `Op`: what each kind takes and gives. `check_pruned`
additionally demands that nothing without an effect is left unused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from metaos.errors import MetaosError, Problem
from metaos.ir.build import ACCESS, PORT_ACCESS, prune
from metaos.ir.evaluate import ARITHMETIC, COMPARISONS, ones
from metaos.ir.program import Op, Program


@dataclass(frozen=True, slots=True)
class Shape:
    """What ops of a kind look like.

    `args` is their number, -1 for any; `address` says if they name a place; `ordered` is
    the flag they must have, None for either; `value` the values they may have, None for
    any; `widths` gives what is wrong with the widths.
    """

    args: int
    widths: Callable[[Op], Iterator[str]]
    address: bool = False
    ordered: bool | None = False
    value: Callable[[Op], bool] = lambda op: op.value == 0


def check(program: Program) -> None:
    """Check every op of `program` against its kind and its arguments against their order.

    Raises MetaosError with one problem per fault.
    """
    problems = []
    defined: set[Op] = set()
    for number, op in enumerate(program.ops):
        for fault in (*_faults(op), *_undefined(op, defined)):
            problems.append(Problem("E0902", f"op {number}, {op.kind}: {fault}", op.span))
        if op in defined:
            problems.append(Problem("E0902", f"op {number}, {op.kind}: stands twice", op.span))
        defined.add(op)
    _stop(program, problems)


def check_pruned(program: Program) -> None:
    """Demand that every pure op and every plain load of `program` is used.

    Raises MetaosError with one problem per unused op.
    """
    kept = set(prune(program.ops))
    unused = [(n, op) for n, op in enumerate(program.ops) if op not in kept]
    _stop(program, [Problem("E0903", f"op {n}, {op.kind}: is unused", op.span) for n, op in unused])


def _stop(program: Program, problems: list[Problem]) -> None:
    if problems:
        raise MetaosError(
            f"ill-formed program of {program.device}, phase {program.phase}: this is a fault "
            "of metaos, not of the pattern",
            problems=problems,
        )


def _undefined(op: Op, defined: set[Op]) -> Iterator[str]:
    for number, arg in enumerate(op.args):
        if arg not in defined:
            yield f"argument {number} ({arg.kind}) is not defined before"
        if arg.bits == 0:
            yield f"argument {number} ({arg.kind}) has no result"


def _faults(op: Op) -> Iterator[str]:
    shape = SHAPES.get(op.kind)
    if shape is None:
        yield "no such kind"
        return
    if (op.address is not None) != shape.address:
        yield "needs an address" if shape.address else "takes no address"
    if op.address is not None and not op.address.symbol:
        yield "its address has no symbol"
    if shape.ordered is not None and op.ordered != shape.ordered:
        yield "must be ordered" if shape.ordered else "cannot be ordered"
    if not shape.value(op):
        yield f"cannot have the value {op.value}"
    if shape.args not in (-1, len(op.args)):
        yield f"takes {shape.args} arguments, not {len(op.args)}"
        return
    yield from shape.widths(op)


def _want(name: str, bits: int, *allowed: int) -> Iterator[str]:
    if bits not in allowed:
        yield f"{name} has {bits} bits, not {' or '.join(map(str, allowed))}"


def _some(op: Op) -> Iterator[str]:
    if not 1 <= op.bits <= 64:
        yield f"its result has {op.bits} bits, not 1 to 64"


def _two(op: Op) -> Iterator[str]:
    yield from _some(op)
    a, b = op.args
    yield from _want("the second argument", b.bits, a.bits)
    if op.kind in COMPARISONS:
        yield from _want("the result", op.bits, 1)
    else:
        yield from _want("the result", op.bits, a.bits)
    if op.kind in ("shl", "lshr") and b.kind == "const" and b.value >= op.bits:
        yield f"shifts {op.bits} bits by {b.value}"
    if op.kind == "udiv" and not _never_0(b):
        yield "its divisor may be 0"


def _never_0(op: Op) -> bool:
    """Whether it is seen of a number that it is not 0: a constant, or one with a bit set."""
    return any(x.kind == "const" and x.value for x in (op, *(op.args if op.kind == "or" else ())))


def _select(op: Op) -> Iterator[str]:
    yield from _some(op)
    condition, a, b = op.args
    yield from _want("the condition", condition.bits, 1)
    yield from _want("the first choice", a.bits, op.bits)
    yield from _want("the second choice", b.bits, op.bits)


def _widen(op: Op) -> Iterator[str]:
    yield from _some(op)
    if op.bits <= op.args[0].bits:
        yield f"{op.args[0].bits} bits do not widen to {op.bits}"


def _narrow(op: Op) -> Iterator[str]:
    yield from _some(op)
    if op.bits >= op.args[0].bits:
        yield f"{op.args[0].bits} bits do not narrow to {op.bits}"


def _bswap(op: Op) -> Iterator[str]:
    yield from _want("the result", op.bits, 16, 32, 64)
    yield from _want("the argument", op.args[0].bits, op.bits)


def _indices(indices: tuple[Op, ...]) -> Iterator[str]:
    for number, index in enumerate(indices):
        yield from _want(f"index {number}", index.bits, 64)


def _address(op: Op) -> Iterator[str]:
    yield from _want("the result", op.bits, 64)
    yield from _indices(op.args)


def _memory(what: str, bits: int, ordered: bool) -> Iterator[str]:
    yield from _want(what, bits, *(ACCESS if ordered else range(8, 65, 8)))


def _load(op: Op) -> Iterator[str]:
    yield from _memory("the result", op.bits, op.ordered)
    yield from _indices(op.args)


def _store(op: Op) -> Iterator[str]:
    yield from _want("the result", op.bits, 0)
    if not op.args:
        yield "takes a value"
        return
    yield from _memory("the value", op.args[0].bits, op.ordered)
    yield from _indices(op.args[1:])


def _in(op: Op) -> Iterator[str]:
    yield from _want("the port", op.args[0].bits, 16)
    yield from _want("the result", op.bits, *PORT_ACCESS)


def _out(op: Op) -> Iterator[str]:
    yield from _want("the result", op.bits, 0)
    yield from _want("the port", op.args[0].bits, 16)
    yield from _want("the value", op.args[1].bits, *PORT_ACCESS)


def _string(op: Op) -> Iterator[str]:
    yield from _want("the result", op.bits, 0)
    port, count, address = op.args
    yield from _want("the port", port.bits, 16)
    yield from _want("the count", count.bits, 64)
    yield from _want("the memory address", address.bits, 64)


def _cpuid(op: Op) -> Iterator[str]:
    for name, bits in zip(
        ("the result", "the leaf", "the subleaf"),
        (op.bits, *(a.bits for a in op.args)),
        strict=True,
    ):
        yield from _want(name, bits, 32)


def _counted(op: Op) -> Iterator[str]:
    yield from _want("the result", op.bits, 64)


def _fill(op: Op) -> Iterator[str]:
    yield from _want("the result", op.bits, 0)
    for name, arg in zip(("the address", "the count"), op.args, strict=True):
        yield from _want(name, arg.bits, 64)


def _copy(op: Op) -> Iterator[str]:
    yield from _want("the result", op.bits, 0)
    for name, arg in zip(("where to", "where from", "the count"), op.args, strict=True):
        yield from _want(name, arg.bits, 64)


def _nothing(op: Op) -> Iterator[str]:
    yield from _want("the result", op.bits, 0)


def _unit(op: Op) -> bool:
    return op.value in PORT_ACCESS


SHAPES: dict[str, Shape] = {
    "const": Shape(0, _some, value=lambda op: 0 <= op.value <= ones(op.bits)),
    "address": Shape(-1, _address, address=True),
    **{kind: Shape(2, _two) for kind in sorted(ARITHMETIC | COMPARISONS)},
    "select": Shape(3, _select),
    "zext": Shape(1, _widen),
    "trunc": Shape(1, _narrow),
    "bswap": Shape(1, _bswap),
    "load": Shape(-1, _load, address=True, ordered=None),
    "store": Shape(-1, _store, address=True, ordered=None),
    "in": Shape(1, _in, ordered=True),
    "out": Shape(2, _out, ordered=True),
    "ins": Shape(3, _string, ordered=True, value=_unit),
    "outs": Shape(3, _string, ordered=True, value=_unit),
    "cpuid": Shape(2, _cpuid, value=lambda op: 0 <= op.value <= 3),
    "rdtsc": Shape(0, _counted, ordered=True),
    "copy": Shape(3, _copy, ordered=True),
    "fill": Shape(2, _fill, ordered=None),
    "fence": Shape(0, _nothing, ordered=True),
    "barrier": Shape(0, _nothing, ordered=True),
}
