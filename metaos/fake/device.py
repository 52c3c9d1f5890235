"""A device as its pattern's `fake` blocks say: registers, numbers of its own, rules.

    device = FakeDevice(plan, bus, mac)
    device.write("csr", 0x100, 32, 2)     # the driver writes: the rules of that register
    device.arrive(frame)                  # a frame comes
    device.sent                           # what went out

Nothing here knows a device: offsets, widths and effects are the pattern's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from metaos.fake.numbers import Misuse, Word, bits
from metaos.fake.sight import Bus, Element, Scope, Sight, Stored
from metaos.lower.plan import DevicePlan, RegisterPlan
from metaos.pattern import syntax as s
from metaos.pattern.check_places import READABLE, WRITABLE
from metaos.pattern.spell import spell

PACE = "rdtsc"
"""The number of a fake that says how fast the processor counts."""
MAX_ACTS = 20_000
"""How often a device may act by itself at once, before it is taken to never end."""


@dataclass(frozen=True, slots=True)
class Port:
    """A place that the driver reaches: register `name`, element `index`."""

    name: str
    index: int
    plan: RegisterPlan


class FakeDevice:
    """One device. `mac` is its own address, the first byte in the lowest bits."""

    def __init__(
        self, plan: DevicePlan, bus: Bus, mac: int, given: Mapping[str, int] | None = None
    ) -> None:
        self.plan, self.bus = plan, bus
        fakes = plan.pattern.fakes
        self.rules = tuple(rule for fake in fakes for rule in fake.rules)
        self.tables = {t.name: t for fake in fakes for t in fake.tables}
        self.nodes = {x.name: x for fake in fakes for x in fake.states}
        self.mac = mac
        self.sent: list[bytes] = []
        self.shown = bytearray()
        self.accesses = 0
        self.asks = False
        """Whether it interrupts now."""
        self.asked = 0
        """How often it has begun to."""
        self.meanwhile: dict[int, Callable[[], object]] = {}
        """What happens before the access of a number."""
        self._ports = _ports(plan)
        self.registers: dict[str, list[int]] = {}
        self.states = {name: _initial(node) for name, node in self.nodes.items()}
        for name, value in (given or {}).items():
            if name in self.states:
                self.states[name] = [value] * len(self.states[name])
        self.sight = Sight(self, bus)
        self._reset()
        for name, value in (given or {}).items():
            of, _, field = name.partition(".")
            if of in self.registers:
                self._set_register(of, 0, field, value)

    @property
    def pace(self) -> int:
        """By how much the processor's counter goes on from turn to turn, if this says so."""
        return self.states.get(PACE, [0])[0]

    # ---- what the driver does

    def read(self, symbol: str, offset: int, width: int) -> int | None:
        """The driver reads; None where no register is."""
        ports = self._find(symbol, offset, width, READABLE)
        for port in ports:
            self._on("read", port.name, Scope(index=Word(port.index, 16)))
        if not ports:
            return None
        port, held = ports[0], self.registers[ports[0].name]
        value = held[port.index]
        if port.plan.node.access == "rc":
            held[port.index] = 0
        self._settle()
        return value

    def write(self, symbol: str, offset: int, width: int, value: int) -> bool:
        """The driver writes; False where no register is."""
        ports = self._find(symbol, offset, width, WRITABLE)
        for port in ports:
            node, held = port.plan.node, self.registers[port.name]
            was = held[port.index]
            after = {"rw1c": was & ~value, "w1c": was & ~value, "rw1s": was | value}
            held[port.index] = after.get(node.access, value)
            wrote = Stored(node, value), Stored(node, was), Word(port.index, 16)
            self._on("write", port.name, Scope(*wrote))
        if ports:
            self._settle()
        return bool(ports)

    def arrive(self, frame: bytes) -> bool:
        """A frame comes; False if no rule takes it."""
        scope = Scope(frame=frame)
        for rule in self.rules:
            if rule.event == "frame" and self._holds(rule.guard, scope):
                self._acts(rule.acts, scope)
                self._settle()
                return True
        return False

    def look(self, node: s.Expr) -> int:
        """A register is read by what a row calls it; of a field the whole register."""
        port = self._called(node.of if isinstance(node, s.Member) else node)
        found = self.read(port.plan.symbol, _offset(port), port.plan.bits)
        assert found is not None
        return found

    def put(self, node: s.Expr, value: s.Expr) -> None:
        """A row writes a register."""
        port = self._called(node)
        if isinstance(value, s.Record):
            number = self.sight.record(value, port.plan.node.fields, Scope())
        else:
            number = self.sight.number(value, Scope()).number
        self.write(port.plan.symbol, _offset(port), port.plan.bits, number)

    def _called(self, node: s.Expr) -> Port:
        index = 0
        if isinstance(node, s.Index):
            index = self.sight.number(node.index, Scope()).number
            node = node.of
        name = node.text if isinstance(node, s.Name) else ""
        if name not in self.plan.registers:
            raise Misuse(f"'{spell(node)}' is no register", node.span)
        return Port(name, index, self.plan.registers[name])

    def _find(
        self, symbol: str, offset: int, width: int, kinds: frozenset[str]
    ) -> tuple[Port, ...]:
        """The registers at a place that can be accessed so; several may be names for one."""
        self.accesses += 1
        self.meanwhile.pop(self.accesses, _nothing)()
        what = "read" if kinds is READABLE else "written"
        there = self._ports.get((symbol, offset), ())
        names = " and ".join(f"'{p.plan.node.name}'" for p in there)
        allowed = tuple(p for p in there if p.plan.node.access in kinds)
        if there and not allowed:
            raise Misuse(f"{names}, {there[0].plan.node.access}, is {what}")
        found = tuple(p for p in allowed if self._selected(p.plan.node))
        if allowed and not found:
            raise Misuse(f"{names} is {what} while its page is not selected")
        wrong = next((p for p in found if p.plan.bits != width), None)
        if wrong is not None:
            text = f"'{wrong.plan.node.name}' has {wrong.plan.bits} bits"
            raise Misuse(f"{text} and is {what} as {width}")
        return found

    def _selected(self, node: s.Register) -> bool:
        if node.page is None:
            return True
        register, name, wanted = node.page
        field = next(f for f in self.plan.registers[register].node.fields if f.name == name)
        held = Word(self.registers[register][0], 64)
        return bits(held, field.high, field.low).number == wanted

    # ---- what the device does

    def _reset(self) -> None:
        for plan in self.plan.registers.values():
            self.registers[plan.node.name] = [0] * plan.node.count
        for rule in self.rules:
            if rule.event == "reset":
                self._acts(rule.acts, Scope())

    def _on(self, event: str, name: str, scope: Scope) -> None:
        for rule in self.rules:
            mine = rule.event == event and _named(rule.register) == name
            if mine and self._holds(rule.guard, scope):
                self._acts(rule.acts, scope)

    def _settle(self) -> None:
        """The device acts by itself until nothing makes it act."""
        alone = [rule for rule in self.rules if rule.event == "itself"]
        for _ in range(MAX_ACTS):
            self._ask()
            rule = next((r for r in alone if self._holds(r.guard, Scope())), None)
            if rule is None:
                return
            self._acts(rule.acts, Scope())
        text = f"the device acts {MAX_ACTS} times and does not come to rest"
        raise Misuse(text, alone[0].span)

    def _ask(self) -> None:
        """See whether it interrupts: a line that it holds, or messages as that begins."""
        lines = (rule for rule in self.rules if rule.event == "interrupt")
        asks = any(self._holds(rule.guard, Scope()) for rule in lines)
        self.asked += asks and not self.asks
        self.asks = asks

    def _holds(self, guard: s.Expr | None, scope: Scope) -> bool:
        return guard is None or bool(self.sight.number(guard, scope).number)

    def _acts(self, acts: tuple[s.Act, ...], scope: Scope) -> None:
        for act in acts:
            match act:
                case s.Let():
                    scope = scope.named(act.name, self.sight.value(act.value, scope))
                case s.Write() if self._holds(act.guard, scope):
                    self._write(act.target, act.value, scope)
                case s.When() if self._holds(act.guard, scope):
                    self._acts(cast("tuple[s.Act, ...]", act.body), scope)
                case s.Expect() if not self._holds(act.condition, scope):
                    raise Misuse(act.message, act.span)
                case s.Put():
                    self._put(act, scope)
                case s.Send():
                    self._send(act, scope)
                case s.Show():
                    self.shown.append(self.sight.number(act.value, scope).number & 0xFF)
                case s.Reset():
                    self._reset()

    def _put(self, act: s.Put, scope: Scope) -> None:
        start = self.sight.number(act.start, scope).number if act.start is not None else 0
        data = scope.frame[start:]
        if act.length is not None:
            data = data[: self.sight.number(act.length, scope).number]
        own, at = self._place(act.place, scope)
        if not own:
            self.bus.write(at, data)
            return
        held = self.states[own]
        if at + len(data) > len(held):
            raise Misuse(f"{len(data)} bytes at {own}[{at}], which has {len(held)}", act.span)
        held[at : at + len(data)] = data

    def _send(self, act: s.Send, scope: Scope) -> None:
        length = self.sight.number(act.length, scope).number
        own, at = self._place(act.place, scope)
        if not length or length > 1 << 16:
            raise Misuse(f"a frame of {length} bytes is sent", act.span)
        if not own:
            self.sent.append(self.bus.read(at, length))
            return
        held = self.states[own]
        if at + length > len(held):
            raise Misuse(f"{length} bytes at {own}[{at}], which has {len(held)}", act.span)
        self.sent.append(bytes(x & 0xFF for x in held[at : at + length]))

    def _place(self, node: s.Expr, scope: Scope) -> tuple[str, int]:
        """A number of the device's own and its index, or "" and an address in RAM."""
        match node:
            case s.Index(of=s.Name(text=text), index=index) if text in self.states:
                return text, self.sight.index(text, index, scope)
        found = self.sight.value(node, scope)
        if isinstance(found, Element):
            return "", found.address
        return "", self.sight.cut(found, node).number

    # ---- writing

    def _write(self, target: s.Expr, node: s.Expr, scope: Scope) -> None:
        field = ""
        if isinstance(target, s.Member):
            field = target.name
            target = target.of
        index: s.Expr | None = None
        high, low = 0, -1
        if isinstance(target, s.Slice):
            high = self.sight.number(target.high, scope).number
            low = self.sight.number(target.low, scope).number
            target = target.of
        of = target
        if isinstance(target, s.Index):
            of, index = target.of, target.index
        name = of.text if isinstance(of, s.Name) else ""
        if name in self.tables:
            self._write_element(target, field, node, scope)
            return
        at = self.sight.index(name, index, scope) if index is not None else 0
        if name in self.states:
            if low < 0:
                high, low = self.nodes[name].bits - 1, 0
            number = self.sight.number(node, scope).number
            self.states[name][at] = _merged(self.states[name][at], high, low, number)
            return
        if name not in self.registers or low >= 0:
            raise Misuse(f"'{spell(target)}' cannot be written by the device", node.span)
        fields = self.plan.registers[name].node.fields
        if isinstance(node, s.Record):
            self._set_register(name, at, "", self.sight.record(node, fields, scope))
        else:
            self._set_register(name, at, field, self.sight.number(node, scope).number)

    def _set_register(self, name: str, at: int, field: str, value: int) -> None:
        register = self.plan.registers[name]
        high, low = register.bits - 1, 0
        for one in register.node.fields if field else ():
            if one.name == field:
                high, low = one.high, one.low
        held = self.registers[name]
        held[at] = _merged(held[at], high, low, value)

    def _write_element(self, target: s.Expr, field: str, node: s.Expr, scope: Scope) -> None:
        found = self.sight.value(target, scope)
        if not isinstance(found, Element) or found.layout is None:
            raise Misuse(f"'{spell(target)}' has no fields", node.span)
        if isinstance(node, s.Record):
            value = self.sight.record(node, found.layout.fields, scope)
            self.bus.write(found.address, value.to_bytes(found.size, "little"))
            return
        one = found.layout.field(field)
        if one is None:
            raise Misuse(f"an element is written whole, or a field of it: '{spell(target)}'")
        value = self.sight.number(node, scope).number & _ones(one.bits)
        first, last = one.low // 8, one.high // 8 + 1  # its own bytes, no others
        held = int.from_bytes(self.bus.read(found.address + first, last - first), "little")
        shift = one.low - 8 * first
        held = held & ~(_ones(one.bits) << shift) | value << shift
        self.bus.write(found.address + first, held.to_bytes(last - first, "little"))


def _nothing() -> None:
    pass


def _ones(count: int) -> int:
    return (1 << count) - 1


def _merged(held: int, high: int, low: int, value: int) -> int:
    """`held` with bits `high` to `low` replaced."""
    mask = _ones(high - low + 1) << low
    return held & ~mask | value << low & mask


def _named(register: s.Expr | None) -> str:
    return register.text if isinstance(register, s.Name) else ""


def _ports(plan: DevicePlan) -> dict[tuple[str, int], tuple[Port, ...]]:
    """Registers by where the driver reaches them: the window's symbol, or "" for ports."""
    found: dict[tuple[str, int], tuple[Port, ...]] = {}
    for name, register in plan.registers.items():
        if register.space == "config":
            continue
        for index in range(register.node.count):
            port = Port(name, index, register)
            place = register.symbol, _offset(port)
            found[place] = (*found.get(place, ()), port)
    return found


def _offset(port: Port) -> int:
    return port.plan.number + port.index * port.plan.bits // 8


def _initial(node: s.State) -> list[int]:
    value = node.initial.value if isinstance(node.initial, s.Number) else 0
    return [value] * max(1, node.count)
