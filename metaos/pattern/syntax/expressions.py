"""Expressions: shared by all blocks; what a name means is decided where it is used."""

from __future__ import annotations

from dataclasses import dataclass

from metaos.errors import Span


@dataclass(frozen=True, slots=True)
class Number:
    """An integer; `10.0.2.15` is the 32-bit number whose first byte is 10."""

    value: int
    span: Span


@dataclass(frozen=True, slots=True)
class String:
    value: str
    span: Span


@dataclass(frozen=True, slots=True)
class Name:
    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Member:
    """`of.name`: a register's field, a state of a class, a service's field."""

    of: Expr
    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Index:
    """`of[index]`: an element of a table, a register of an array, one bit of a number."""

    of: Expr
    index: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Slice:
    """`of[high:low]`: bits, both ends included."""

    of: Expr
    high: Expr
    low: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Prime:
    """`of'`: the new value of a state, after this turn's writes so far."""

    of: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Reference:
    """`&of`: the address of a table or of its element."""

    of: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Unary:
    """`operator` is ~ (all bits) or ! (truth)."""

    operator: str
    operand: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Binary:
    """`operator` is one of + - * & | ^ << >> == != < <=."""

    operator: str
    left: Expr
    right: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class RecordField:
    """`name = value`; without a value, a flag set (1 bit) or the value of that name."""

    name: str
    value: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class Record:
    """`{ a = 1, FLAG }`: fields of a layout or a register, the others 0."""

    fields: tuple[RecordField, ...]
    span: Span


Expr = (
    Number | String | Name | Member | Index | Slice | Prime | Reference | Unary | Binary
    | Call | Record
)  # fmt: skip
