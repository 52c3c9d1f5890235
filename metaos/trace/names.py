"""What lies at an address, in the words of the patterns: tables' fields, states, registers.

names.changed(0x200108, 16, 0, 98)      # (("00:03.0.rx[0].length", "0", "98"),)
names.find("rx[0].length", card)        # Target(memory 0x200108, bits 15:0)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from metaos.errors import Exit, MetaosError, did_you_mean
from metaos.ir.evaluate import ones
from metaos.ir.program import SHADOW
from metaos.link.image import Image
from metaos.lower.lower import Lowered
from metaos.lower.plan import DevicePlan, RegisterPlan, StatePlan, TablePlan
from metaos.lower.rows import config_address
from metaos.pattern import syntax as s
from metaos.trace.bench import Bench, Bits, Register
from metaos.verify.memory import Atlas

_CONFIG = re.compile(
    r"([0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])\.config\[(0x[0-9a-fA-F]{1,2}|\d{1,3})\]"
)
_BEHIND = re.compile(r"(?:\[(\d+)\])?(?:\.(\w+))?")


@dataclass(frozen=True, slots=True)
class Target:
    """Bits of a place that a person names. `scale` is how a state's number is kept; `ram` says
    that the place is RAM and no register."""

    place: Register
    low: int
    bits: int
    scale: int = 0
    ram: bool = False

    def of(self, value: int) -> Bits:
        """These bits set to a number, counted from the place's first byte."""
        return Bits(value << self.scale << self.low, ones(self.bits + self.scale) << self.low)


@dataclass(frozen=True)
class Names:
    """The places of one phase and the devices that declare them."""

    atlas: Atlas
    plans: Mapping[str, DevicePlan]
    symbols: Mapping[str, int]
    ports: Mapping[int, str]
    frame: range = range(0)
    """The addresses of the frame that a turn is about; they are named from its first byte."""

    # From an address to a name

    def place(self, address: int, bits: int) -> str:
        """The name of what an access of so many bits touches; its address if it has none."""
        located = self.atlas.find(address, max(bits // 8, 1))
        if located is None:
            return f"{address:#x}"
        if located.shadow:
            return f"nothing (shadow of {self.place(address - SHADOW, bits)})"
        if address in self.frame:
            return f"frame{_plus(address - self.frame.start)}"
        register = self._register(located.symbol.name, located.offset)
        return register or self._named(located.symbol.name, located.offset)

    def port(self, number: int) -> str:
        """A register among the ports; those of different pages share a number."""
        owner = self.ports.get(number, "")
        plan = self.plans.get(owner)
        found = [r.node.name for r in plan.registers.values() if r.space == "port"
                 and r.number == number] if plan else []  # fmt: skip
        name = "/".join(dict.fromkeys(found))
        return f"{owner}.{name}" if name else f"port {number:#x}"

    def shadowed(self, address: int, bits: int) -> bool:
        """Whether an access goes to scratch, because its gate is closed."""
        located = self.atlas.find(address, max(bits // 8, 1))
        return located is not None and located.shadow

    def is_window(self, address: int) -> bool:
        located = self.atlas.find(address, 1)
        return located is not None and located.symbol.kind == "window"

    def changed(
        self, address: int, bits: int, before: int, after: int
    ) -> Iterator[tuple[str, str, str]]:
        """Each field or number that a store to RAM changed: name, before, after."""
        located = self.atlas.find(address, max(bits // 8, 1))
        parts = []
        if located is not None and address not in self.frame:
            parts = list(self._fields(located.symbol.name, located.offset, bits))
        found = [
            (
                name,
                _scaled(before >> low & ones(width), scale),
                _scaled(after >> low & ones(width), scale),
            )
            for name, low, width, scale in parts
            if (before ^ after) >> low & ones(width)
        ]
        if not found:
            was, now = (self.value(address, bits, x) for x in (before, after))
            found = [(self.place(address, bits), was, now)]
        # Where one field lies over others, a part of it says no more than they do.
        yield from [one for one in found if not one[0].endswith("]")] or found

    def value(self, address: int, bits: int, value: int) -> str:
        """What was read, as the pattern counts it."""
        located = self.atlas.find(address, max(bits // 8, 1))
        state = self._state(located.symbol.name) if located and not located.shadow else None
        if address in self.frame:
            return value.to_bytes(bits // 8, "little").hex(" ")
        return _scaled(value, state.scale if state is not None else 0)

    def _named(self, symbol: str, offset: int) -> str:
        table = self._table(symbol, offset)
        if table is not None:
            index, rest = divmod(offset - table.offset, table.stride)
            behind = _plus(rest)
            if table.layout is not None and rest < table.layout.size:
                fields = [f.name for f in table.layout.fields if f.low // 8 == rest]
                behind = f".{'/'.join(fields)}" if fields else behind
            return f"{_device(symbol)}.{table.name}[{index}]{behind}"
        state = self._state(symbol)
        if state is not None and state.count:
            return f"{symbol}[{offset // state.stride}]{_plus(offset % state.stride)}"
        return symbol + _plus(offset)

    def _fields(self, symbol: str, offset: int, bits: int) -> Iterator[tuple[str, int, int, int]]:
        """Name, lowest bit, width and scale of what lies in an access, bits counted from it."""
        table, state = self._table(symbol, offset), self._state(symbol)
        if state is not None:
            yield self._named(symbol, offset), 0, bits, state.scale
        if table is None or table.layout is None:
            return
        index, rest = divmod(offset - table.offset, table.stride)
        for field in table.layout.fields if rest < table.layout.size else ():
            low, high = field.low - 8 * rest, field.high - 8 * rest
            if low < bits and high >= 0:
                start, end = max(low, 0), min(high, bits - 1)
                part = "" if (start, end) == (low, high) else f"[{end - low}:{start - low}]"
                name = f"{_device(symbol)}.{table.name}[{index}].{field.name}{part}"
                yield name, start, end - start + 1, 0

    def _table(self, symbol: str, offset: int) -> TablePlan | None:
        """The table there; of several, the one inside the others."""
        plan = self.plans.get(_device(symbol))
        found = [
            t
            for t in (plan.tables.values() if plan else ())
            if t.symbol == symbol and 0 <= offset - t.offset < t.count * t.stride
        ]
        return min(found, key=lambda t: t.count * t.stride, default=None)

    def _state(self, symbol: str) -> StatePlan | None:
        plan = self.plans.get(_device(symbol))
        return next((x for x in (plan.states.values() if plan else ()) if x.symbol == symbol), None)

    def _register(self, symbol: str, offset: int) -> str:
        plan = self.plans.get(_device(symbol))
        for register in plan.registers.values() if plan else ():
            if (register.space, register.symbol, register.number) == ("mmio", symbol, offset):
                return f"{_device(symbol)}.{register.node.name}"
        return ""

    # From a name to its bits

    def find(self, name: str, card: str) -> Target:
        """What a person calls `rx[0].DD`, `head`, `STATUS.LU`, `00:03.0.head`, `00:03.0.config[4]`.

        Raises:
            MetaosError: there is no such place, or it has no such field or element.
        """
        configured = _CONFIG.fullmatch(name)
        if configured is not None:
            place = config_address(configured[1]) | int(configured[2], 0) & 0xFC
            return Target(("config", place), 0, 32)
        device = next((d for d in self.plans if name.startswith(f"{d}.")), card)
        plan = self.plans.get(device)
        rest = name.removeprefix(f"{device}.")
        known = [] if plan is None else [*plan.tables, *plan.states, *plan.registers]
        word = next((k for k in sorted(known, key=len, reverse=True) if _begins(rest, k)), "")
        parts = _BEHIND.fullmatch(rest.removeprefix(word))
        if plan is None or not word or parts is None:
            hint = did_you_mean(re.split(r"[\[.]", rest)[0], known)
            raise _wrong(f"'{name}' is no table, state or register of {device}", hint)
        index, field = int(parts[1] or 0), parts[2] or ""
        if word in plan.registers:
            return self._register_target(plan.registers[word], name, field)
        if word in plan.states:
            return self._state_target(plan.states[word], name, index)
        return self._table_target(plan.tables[word], name, index, field)

    def _register_target(self, plan: RegisterPlan, name: str, field: str) -> Target:
        at = plan.number + (self.symbols[plan.symbol] if plan.symbol else 0)
        if plan.space not in ("mmio", "port"):
            raise _wrong(f"'{name}' is in configuration space", "as in 00:03.0.config[0x04]=...")
        space = "port" if plan.space == "port" else "memory"
        if not field:
            return Target((space, at), 0, plan.bits)
        found = _field(plan.node.fields, name, field)
        return Target((space, at), found.low, found.bits)

    def _state_target(self, plan: StatePlan, name: str, index: int) -> Target:
        if plan.symbol not in self.symbols:
            raise _wrong(f"'{name}' is folded into the code: it has no place")
        if index >= max(plan.count, 1):
            raise _wrong(f"'{name}': there are {max(plan.count, 1)}")
        at = self.symbols[plan.symbol] + index * plan.stride
        return Target(("memory", at), 0, plan.bits, plan.scale, ram=True)

    def _table_target(self, plan: TablePlan, name: str, index: int, field: str) -> Target:
        if index >= plan.count:
            raise _wrong(f"'{name}': '{plan.name}' has {plan.count} elements, from 0")
        at = self.symbols[plan.symbol] + plan.offset + index * plan.stride
        fields = plan.layout.fields if plan.layout is not None else ()
        if not field:
            raise _wrong(f"'{name}': name a field", did_you_mean("", [f.name for f in fields]))
        found = _field(fields, name, field)
        byte = found.low // 8
        return Target(("memory", at + byte), found.low - 8 * byte, found.bits, ram=not plan.window)


def names_of(lowered: Lowered, image: Image, bench: Bench) -> Names:
    """The names of the places and ports of a bench's phase."""
    ports = {
        port: part.device
        for part in image.manifest.provenance.ports
        for port in range(part.base, part.base + part.length)
    }
    plans = {plan.address: plan for plan in lowered.plans}
    return Names(bench.atlas, plans, bench.symbols, ports)


def _field(fields: tuple[s.Field, ...], name: str, field: str) -> s.Field:
    found = next((f for f in fields if f.name == field), None)
    if found is None:
        raise _wrong(f"'{name}': no field '{field}'", did_you_mean(field, [f.name for f in fields]))
    return found


def _begins(rest: str, word: str) -> bool:
    return rest == word or (rest.startswith(word) and rest[len(word)] in "[.")


def _device(symbol: str) -> str:
    """The device in "00:03.0.rx" and "com0.banner.at"."""
    head, dot, behind = symbol.partition(".")
    if ":" in head and dot:
        return f"{head}.{behind.partition('.')[0]}"
    return head


def _plus(offset: int) -> str:
    return f"+{offset}" if offset else ""


def _number(value: int) -> str:
    return str(value) if value < 10 else f"{value:#x}"


def _scaled(value: int, scale: int) -> str:
    if not scale or not value:
        return _number(value)
    return f"{_number(value >> scale)} (kept as {_number(value)})"


def _wrong(message: str, hint: str = "") -> MetaosError:
    return MetaosError(message, hint=hint, exit_code=Exit.USAGE)
