"""Lark's tree of expressions to nodes."""

from __future__ import annotations

from typing import Any

from lark import v_args

from metaos.pattern import syntax as s
from metaos.pattern.nodes.located import LocatedNodes


@v_args(meta=True)
class ExpressionNodes(LocatedNodes):
    """What can stand where a value does."""

    def number(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Number(self.value(c[0]), self.span(meta))

    def string(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.String(c[0][1:-1], self.span(meta))

    def name(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Name(str(c[0]), self.span(meta))

    def member_of(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Member(c[0], str(c[1]), self.span(meta))

    def index(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Index(c[0], c[1], self.span(meta))

    def slice(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Slice(c[0], c[1], c[2], self.span(meta))

    def prime(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Prime(c[0], self.span(meta))

    def reference(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Reference(c[0], self.span(meta))

    def invert(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Unary("~", c[0], self.span(meta))

    def negate(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Unary("!", c[0], self.span(meta))

    def call(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Call(str(c[0]), tuple(c[1:]), self.span(meta))

    def record(self, meta: Any, c: list[Any]) -> s.Expr:
        return s.Record(tuple(c), self.span(meta))

    def record_field(self, meta: Any, c: list[Any]) -> s.RecordField:
        return s.RecordField(str(c[0]), c[1], self.span(meta))

    def chain(self, meta: Any, operator: str, c: list[Any]) -> s.Expr:
        left: s.Expr = c[0]
        for right in c[1:]:
            left = s.Binary(operator, left, right, self.span(meta))
        return left

    def or_(self, meta: Any, c: list[Any]) -> s.Expr:
        return self.chain(meta, "|", c)

    def xor_(self, meta: Any, c: list[Any]) -> s.Expr:
        return self.chain(meta, "^", c)

    def and_(self, meta: Any, c: list[Any]) -> s.Expr:
        return self.chain(meta, "&", c)

    def mul_(self, meta: Any, c: list[Any]) -> s.Expr:
        return self.chain(meta, "*", c)

    def mixed(self, meta: Any, c: list[Any]) -> s.Expr:
        left: s.Expr = c[0]
        for operator, right in zip(c[1::2], c[2::2], strict=True):
            if right is not None:
                left = s.Binary(str(operator), left, right, self.span(meta))
        return left

    comparison = shift = sum = mixed
