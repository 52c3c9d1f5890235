"""Lark's tree of registers, layouts, tables and states to nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lark import v_args

from metaos.errors import Span
from metaos.pattern import syntax as s
from metaos.pattern.nodes.located import LocatedNodes

MAX_BITS = 8 * 65_536


@v_args(meta=True)
class PlaceNodes(LocatedNodes):
    """What has an address, and the fields of it."""

    def dotted(self, meta: Any, c: list[Any]) -> tuple[str, Span]:
        return ".".join(map(str, c)), self.span(meta)

    def cite(self, meta: Any, c: list[Any]) -> s.Cite:
        return s.Cite(str(c[0]), str(c[1]), self.span(meta))

    def bit_range(self, meta: Any, c: list[Any]) -> tuple[int, int]:
        high = self.value(c[0])
        low = self.value(c[1]) if c[1] is not None else high
        if low > high:
            raise self.error("E0004", f"bits {high}:{low} run backwards", self.span(meta))
        if high >= MAX_BITS:
            raise self.error("E0009", f"bit {high} is beyond every record", self.span(meta))
        return high, low

    def field(self, meta: Any, c: list[Any]) -> s.Field:
        high, low = c[0]
        return s.Field(str(c[1]), high, low, self.span(meta))

    placed_field = field

    def listed_field(self, meta: Any, c: list[Any]) -> tuple[str, int, Span]:
        return str(c[0]), self.width(c[1]), self.span(meta)

    def register(self, meta: Any, c: list[Any]) -> s.Register:
        offset, name, count, access, own, stream, page, bit, value, cite, _text, *fields = c
        paged = (str(page), str(bit), self.value(value)) if page is not None else None
        fields = [f for f in fields if f is not None]
        length = self.value(count) if count is not None else 1
        return s.Register(
            self.value(offset), str(name), length, str(access), paged, cite,
            tuple(fields), self.span(meta), self.value(own) if own is not None else -1,
            stream is not None,
        )  # fmt: skip

    def registers(self, meta: Any, c: list[Any]) -> s.Registers:
        name, at, space, bits, *rest = c
        width = self.value(bits)
        rows = tuple(
            replace(r, bits=width) if r.bits < 0 else r for r in rest if isinstance(r, s.Register)
        )
        return s.Registers(str(name), at, str(space), width, rows, self.span(meta))

    def layout(self, meta: Any, c: list[Any]) -> s.Layout:
        name, size, order, *rows = c
        placed = [r for r in rows if isinstance(r, s.Field)]
        listed = [r for r in rows if not isinstance(r, s.Field)]
        span = self.span(meta)
        if order == "big" and not placed:
            placed = list(_placed(listed, self.value(size)))
            total = sum(bits for _, bits, _ in listed)
            if total != self.value(size) * 8:
                raise self.error(
                    "E0005", f"the fields of '{name}' make {total} bits, its size "
                    f"{self.value(size)} bytes {self.value(size) * 8}", span,
                )  # fmt: skip
        elif listed or order == "big":
            raise self.error(
                "E0006", "a little-endian layout places each field ('15:0 length'), a "
                "big-endian one lists them in wire order ('length u16')", span,
            )  # fmt: skip
        return s.Layout(str(name), self.value(size), str(order), tuple(placed), span)

    def element_bytes(self, meta: Any, c: list[Any]) -> tuple[str, int]:
        return str(c[1] or ""), self.value(c[0])

    def element_layout(self, meta: Any, c: list[Any]) -> tuple[str, int]:
        return str(c[0]), 0

    def table(self, meta: Any, c: list[Any]) -> s.Table:
        name, count, (layout, size), align, at, initial = c
        alignment = self.value(align) if align is not None else 1
        return s.Table(str(name), count, size, layout, alignment, at, initial, self.span(meta))

    def state_name(self, meta: Any, c: list[Any]) -> tuple[str, int, Span]:
        return str(c[0]), self.value(c[1]) if c[1] is not None else 0, self.span(meta)

    def state(self, meta: Any, c: list[Any]) -> tuple[s.State, ...]:
        *names, width, unit, initial = c
        fact = unit[0] if unit is not None else ""
        bits = self.width(width)
        return tuple(s.State(n, count, bits, initial, at, fact) for n, count, at in names)


def _placed(rows: list[tuple[str, int, Span]], size: int) -> tuple[s.Field, ...]:
    """Fields listed in wire order, with the bit numbers of a big-endian record."""
    fields, top = [], size * 8
    for name, bits, span in rows:
        fields.append(s.Field(name, top - 1, top - bits, span))
        top -= bits
    return tuple(fields)
