"""What an example looks at with `then`: the device's places and the driver's."""

from __future__ import annotations

from metaos.fake.numbers import Misuse, Word, word
from metaos.fake.sight import Element, Scope, Seen, Sight
from metaos.fake.station import Station
from metaos.lower.clock import BEGUN, NOW
from metaos.pattern import kinds as k
from metaos.pattern import syntax as s


class Observer(Sight):
    """Sees the driver's tables and states by their names, and all that the device sees."""

    def __init__(self, station: Station, address: str) -> None:
        super().__init__(station.fakes[address], station.engine)
        self.station, self.plan = station, station.fakes[address].plan

    def name(self, node: s.Expr, text: str, scope: Scope) -> Seen:
        if text in self.plan.states:
            return self._state(node, text, 0)
        if text in self.plan.tables:
            return self._element(text, 0)
        if text == k.NOW:
            return word(self.station.place(NOW, 0, 8) - BEGUN, 64)
        return super().name(node, text, scope)

    def element(self, node: s.Expr, of: s.Expr, index: s.Expr, scope: Scope) -> Seen:
        text = of.text if isinstance(of, s.Name) else ""
        if text in self.plan.states and self.plan.states[text].count:
            return self._state(node, text, self.number(index, scope).number)
        if text in self.plan.tables:
            at = self.number(index, scope).number
            if not 0 <= at < self.plan.tables[text].count:
                raise Misuse(f"'{text}' has no element {at}", index.span)
            return self._element(text, at)
        return super().element(node, of, index, scope)

    def _element(self, text: str, at: int) -> Element:
        table = self.plan.tables[text]
        start = self.station.memory.linear(table.symbol) + table.offset
        return Element(start + at * table.stride, table.stride, table.layout)

    def _state(self, node: s.Expr, text: str, index: int) -> Word:
        state = self.plan.states[text]
        if state.symbol not in self.station.starts:
            raise Misuse(f"the driver does without '{text}'", node.span)
        if index >= max(1, state.count):
            raise Misuse(f"'{text}' has {state.count} elements, no {index}", node.span)
        held = self.station.place(state.symbol, index * state.stride, state.storage // 8)
        return word(held >> state.scale, state.bits)
