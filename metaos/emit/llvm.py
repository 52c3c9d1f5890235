"""A `Program` to LLVM IR text: `module(program, features) -> str`.

No pass of LLVM's optimiser runs (they would delete a line that ends in `unreachable`);
selection and scheduling do. A gate's distance is opaque to LLVM, so that selects of it
stay conditional moves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llvmlite import ir
from llvmlite.ir import instructions

from metaos.errors import Span
from metaos.ir.program import ABSOLUTE, SHADOW, Op, Program

FUNCTION = "turn"
_TWO = {"add": "add", "sub": "sub", "mul": "mul", "and": "and_", "or": "or_", "xor": "xor",
        "shl": "shl", "lshr": "lshr", "udiv": "udiv"}  # fmt: skip
_COMPARE = {"eq": "==", "ne": "!=", "ult": "<", "ule": "<="}
_LETTER = {8: "b", 16: "w", 32: "l"}
_ACCUMULATOR = {8: "{al}", 16: "{ax}", 32: "{eax}"}


def _is_far(op: Op) -> bool:
    return op.kind == "const" and op.bits == 64 and op.value == SHADOW


def _int(bits: int) -> ir.IntType:
    return ir.IntType(bits)


def module(program: Program) -> str:
    """The LLVM IR of one program; its function is `turn`."""
    return str(_Emission(program).run())


class _Emission:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.module = ir.Module(name=f"{program.device}.{program.phase}")
        self.function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), ()), FUNCTION)
        self.function.calling_convention = "preserve_nonecc"  # all registers are free
        for attribute in ("naked", "noreturn", "nounwind"):
            self.function.attributes.add(attribute)
        self.b = ir.IRBuilder(self.function.append_basic_block(""))
        self.values: dict[Op, Any] = {}
        self.places: dict[str, Any] = {}
        self.pairs: dict[tuple[str, Op, Op], Any] = {}
        self.leaves: dict[tuple[Op, ...], Any] = {}
        self.far: Any = None
        self.bases = {
            base
            for op in program.ops
            if op.address is not None and op.address.symbol == ABSOLUTE
            for base in op.args
        }
        kinds = {(op.kind, *op.args[:2]) for op in program.ops if len(op.args) == 2}
        self.carries = {k[1:] for k in kinds if k[0] == "carry"}
        self.borrows = {k[1:] for k in kinds if k[0] == "ult" and ("sub", *k[1:]) in kinds}
        self.follows: dict[tuple[str, Op, Op], Any] = {}
        self.debug = _Debug(self.module, self.function)

    def run(self) -> ir.Module:
        if any(_is_far(op) for op in self.program.ops):
            self.far = self.opaque(ir.Constant(_int(64), SHADOW))
        for number, op in enumerate(self.program.ops, 1):
            self.b.debug_metadata = self.debug.location(op.span, number)
            self.values[op] = getattr(self, op.kind, self.two)(op)
        self.b.unreachable()
        return self.module

    def of(self, op: Op) -> Any:
        return self.values[op]

    # -- values

    def const(self, op: Op) -> Any:
        return ir.Constant(_int(op.bits), op.value)

    def opaque(self, value: Any) -> Any:
        """A 64-bit value LLVM knows nothing of, so that it does not join tests of a gate."""
        return self.b.asm(ir.FunctionType(_int(64), (_int(64),)), "", "=r,0", (value,), False)

    def two(self, op: Op) -> Any:
        a, b = (self.of(x) for x in op.args)
        if op.kind in _COMPARE:
            if op.kind == "ult" and op.args in self.borrows:
                return self.b.extract_value(self.overflow("usub", op), 1)
            return self.b.icmp_unsigned(_COMPARE[op.kind], a, b)
        if op.kind == "carry":
            return self.b.extract_value(self.overflow("uadd", op), 1)
        if op.kind == "add" and op.args in self.carries:
            return self.b.extract_value(self.overflow("uadd", op), 0)
        if op.kind == "sub" and op.args in self.borrows:
            return self.b.extract_value(self.overflow("usub", op), 0)
        return getattr(self.b, _TWO[op.kind])(a, b)

    def overflow(self, name: str, op: Op) -> Any:
        """One call gives both the result and its carry or borrow."""
        key = (name, op.args[0], op.args[1])
        if key not in self.pairs:
            bits = _int(op.args[0].bits)
            kind = ir.FunctionType(ir.LiteralStructType((bits, _int(1))), (bits, bits))
            call = self.module.declare_intrinsic(f"llvm.{name}.with.overflow", (bits,), kind)
            self.pairs[key] = self.b.call(call, [self.of(x) for x in op.args])
        return self.pairs[key]

    def mulh(self, op: Op) -> Any:
        wide = _int(2 * op.bits)
        a, b = (self.b.zext(self.of(x), wide) for x in op.args)
        high = self.b.lshr(self.b.mul(a, b), ir.Constant(wide, op.bits))
        return self.b.trunc(high, _int(op.bits))

    def select(self, op: Op) -> Any:
        c, a, b = op.args
        if _is_far(b):
            return self.opaque(self.b.select(self.of(c), self.of(a), self.far))
        if _is_far(a):
            return self.opaque(self.b.select(self.of(c), self.far, self.of(b)))
        return self.b.select(self.of(c), self.of(a), self.of(b))

    def zext(self, op: Op) -> Any:
        inner = op.args[0]
        if inner.kind == "trunc" and inner.bits == 1:  # one bit is masked, not extended
            wide, bits = self.of(inner.args[0]), inner.args[0].bits
            kept = self.b.and_(wide, ir.Constant(_int(bits), 1))
            if bits == op.bits:
                return kept
            return (self.b.zext if bits < op.bits else self.b.trunc)(kept, _int(op.bits))
        return self.b.zext(self.of(inner), _int(op.bits))

    def trunc(self, op: Op) -> Any:
        if op.bits == 1:  # a test of one bit, which can be made in memory
            inner, bit = op.args[0], 0
            if inner.kind == "lshr" and inner.args[1].kind == "const":
                inner, bit = inner.args[0], inner.args[1].value
            kept = self.b.and_(self.of(inner), ir.Constant(_int(inner.bits), 1 << bit))
            return self.b.icmp_unsigned("!=", kept, ir.Constant(_int(inner.bits), 0))
        return self.b.trunc(self.of(op.args[0]), _int(op.bits))

    def bswap(self, op: Op) -> Any:
        bits = _int(op.bits)
        kind = ir.FunctionType(bits, (bits,))
        call = self.module.declare_intrinsic("llvm.bswap", (bits,), kind)
        return self.b.call(call, [self.of(op.args[0])])

    # -- memory

    def place(self, symbol: str) -> Any:
        if symbol not in self.places:
            variable = ir.GlobalVariable(self.module, _int(8), symbol)
            variable.linkage = "external"
            variable.storage_class = "dso_local"
            self.places[symbol] = variable
        return self.places[symbol]

    def pointer(self, op: Op, index: tuple[Op, ...]) -> Any:
        assert op.address is not None
        total = None
        for one in index:
            total = self.of(one) if total is None else self.b.add(total, self.of(one))
        if op.address.symbol == ABSOLUTE:
            if op.address.offset:
                total = self.b.add(total, ir.Constant(_int(64), op.address.offset))
            return self.b.inttoptr(total, ir.PointerType())
        pointer = self.place(op.address.symbol)
        if op.address.offset:
            offset = ir.Constant(_int(64), op.address.offset)
            pointer = self.b.gep(pointer, [offset], source_etype=_int(8))
        if total is not None:
            pointer = self.b.gep(pointer, [total], source_etype=_int(8))
        return pointer

    def address(self, op: Op) -> Any:
        value = self.b.ptrtoint(self.pointer(op, op.args), _int(64))
        # One register for all accesses, whose offsets then take a byte instead of four.
        return self.opaque(value) if op.args or op in self.bases else value

    def load(self, op: Op) -> Any:
        pointer, kind = self.pointer(op, op.args), _int(op.bits)
        if op.ordered:
            return self.b.load_atomic(pointer, "acquire", op.bits // 8, typ=kind)
        return self.b.load(pointer, align=1, typ=kind)

    def store(self, op: Op) -> Any:
        value, pointer = self.of(op.args[0]), self.pointer(op, op.args[1:])
        # Not the builder's own store methods: they want a typed pointer.
        if op.ordered:
            align = op.args[0].bits // 8
            store = instructions.StoreAtomicInstr(self.b.block, value, pointer, "release", align)
        else:
            store = instructions.StoreInstr(self.b.block, value, pointer)
            store.align = 1
        self.b._insert(store)
        return store

    def fence(self, op: Op) -> Any:
        return self.b.asm(ir.FunctionType(ir.VoidType(), ()), "mfence", "~{memory}", (), True)

    def barrier(self, op: Op) -> Any:
        return self.b.asm(ir.FunctionType(ir.VoidType(), ()), "", "~{memory}", (), True)

    # -- ports and the rest of what only assembly says

    def asm(self, result: Any, text: str, constraints: str, args: list[Any]) -> Any:
        kind = ir.FunctionType(result, [a.type for a in args])
        return self.b.asm(kind, text, constraints, args, True)

    def port_in(self, op: Op) -> Any:
        text = f"in{_LETTER[op.bits]} %dx, %{_ACCUMULATOR[op.bits][1:-1]}"
        constraints = f"={_ACCUMULATOR[op.bits]},{{dx}},~{{memory}}"
        return self.asm(_int(op.bits), text, constraints, [self.of(op.args[0])])

    def out(self, op: Op) -> Any:
        port, value = op.args
        register = _ACCUMULATOR[value.bits]
        text = f"out{_LETTER[value.bits]} %{register[1:-1]}, %dx"
        args = [self.of(port), self.of(value)]
        return self.asm(ir.VoidType(), text, f"{{dx}},{register},~{{memory}}", args)

    def string(self, op: Op, text: str, pointer: str) -> Any:
        port, count, address = (self.of(x) for x in op.args)
        address = self.follows.get((op.kind, op.args[1], op.args[2]), address)
        both = ir.LiteralStructType((_int(64), _int(64)))
        constraints = f"={{{pointer}}},={{rcx}},{{dx}},0,1,~{{memory}}"
        moved = self.asm(both, f"rep {text}{_LETTER[op.value]}", constraints,
                         [port, address, count])  # fmt: skip
        self.follow(op, moved)
        return moved

    def follow(self, op: Op, moved: Any) -> None:
        """The place behind one item is where the pointer is then, if the item moved; if not, what
        is guarded alike does not move from there either."""
        count, place = op.args[1], op.args[2]
        single = count.kind == "zext" and count.args[0].bits == 1
        if not single or place.kind != "address" or place.args or place.address is None:
            return
        behind = replace(place.address, offset=place.address.offset + op.value // 8)
        for other in self.program.ops:
            if other.kind == "address" and other.address == behind and not other.args:
                self.follows[op.kind, count, other] = self.b.extract_value(moved, 0)

    def ins(self, op: Op) -> Any:
        return self.string(op, "ins", "rdi")

    def outs(self, op: Op) -> Any:
        return self.string(op, "outs", "rsi")

    def copy(self, op: Op) -> Any:
        to, source, count = (self.of(x) for x in op.args)
        three = ir.LiteralStructType((_int(64), _int(64), _int(64)))
        constraints = "={rdi},={rsi},={rcx},0,1,2,~{memory}"
        return self.asm(three, "rep movsq", constraints, [to, source, count])

    def fill(self, op: Op) -> Any:
        address, count = (self.of(x) for x in op.args)
        both = ir.LiteralStructType((_int(64), _int(64)))
        zero = ir.Constant(_int(64), 0)
        constraints = "={rdi},={rcx},{rax},0,1,~{memory}"
        return self.asm(both, "rep stosq", constraints, [zero, address, count])

    def rdtsc(self, op: Op) -> Any:
        kind = ir.FunctionType(_int(64), ())
        return self.b.call(self.module.declare_intrinsic("llvm.readcyclecounter", (), kind), ())

    def cpuid(self, op: Op) -> Any:
        if op.args not in self.leaves:
            four = ir.LiteralStructType([_int(32)] * 4)
            constraints = "={eax},={ebx},={ecx},={edx},0,2"
            args = [self.of(x) for x in op.args]
            self.leaves[op.args] = self.asm(four, "cpuid", constraints, args)
        return self.b.extract_value(self.leaves[op.args], op.value)


setattr(_Emission, "in", _Emission.port_in)  # the op's name is a Python keyword


class _Debug:
    """Debug metadata: one function, and a scope for each op, whose discriminator is its number.

    So every row of the line table names the op, and not its line alone.
    """

    def __init__(self, module: ir.Module, function: ir.Function) -> None:
        self.module = module
        flags = ((7, "Dwarf Version", 4), (2, "Debug Info Version", 3))
        for behaviour, name, value in flags:
            node = module.add_metadata((_int(32)(behaviour), name, _int(32)(value)))
            module.add_named_metadata("llvm.module.flags", node)
        own = self.file("generated")
        unit = module.add_debug_info(
            "DICompileUnit",
            {
                "language": ir.DIToken("DW_LANG_C99"),
                "file": own,
                "producer": "metaos",
                "isOptimized": True,
                "runtimeVersion": 0,
                "emissionKind": ir.DIToken("FullDebug"),
            },
            is_distinct=True,
        )
        module.add_named_metadata("llvm.dbg.cu", unit)
        types = module.add_debug_info("DISubroutineType", {"types": module.add_metadata(())})
        self.program = module.add_debug_info(
            "DISubprogram",
            {
                "name": FUNCTION,
                "file": own,
                "line": 0,
                "type": types,
                "unit": unit,
                "spFlags": ir.DIToken("DISPFlagDefinition | DISPFlagOptimized"),
            },
            is_distinct=True,
        )
        function.set_metadata("dbg", self.program)

    def file(self, name: str) -> Any:
        return self.module.add_debug_info("DIFile", {"filename": name, "directory": ""})

    def location(self, span: Span | None, op: int) -> Any:
        """The location of the `op`th op, counted from 1; line 0 where it has no span."""
        if span is None:
            return self.module.add_debug_info(
                "DILocation", {"line": 0, "column": 0, "scope": self.program}
            )
        column = min(span.column, 65535)
        scope = self.module.add_debug_info(
            "DILexicalBlockFile",
            {"scope": self.program, "file": self.file(span.file), "discriminator": op},
        )
        return self.module.add_debug_info(
            "DILocation", {"line": span.line, "column": column, "scope": scope}
        )
