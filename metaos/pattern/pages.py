"""Which page a register's field selects, known at each access because the line is straight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metaos.pattern import syntax as s

Page = tuple[str, str]
"""A register and its field that selects what lies at an offset."""


@dataclass(frozen=True, slots=True)
class Selected:
    """What a field is, None if that cannot be told, and the line that made it so."""

    value: int | None
    line: int


Pages = Mapping[Page, Selected]


def merged(one: Pages, other: Pages) -> dict[Page, Selected]:
    """What is known after either of two ways; `other` is the later one."""
    found: dict[Page, Selected] = {}
    for page in {*one, *other}:
        a, b = one.get(page), other.get(page)
        if a is not None and b is not None and a.value == b.value:
            found[page] = b
        else:
            found[page] = Selected(None, (b or a or Selected(None, 0)).line)
    return found


def turned(pages: Pages, page: Page, now: Selected, always: bool) -> dict[Page, Selected]:
    """After a write that sets a field, or may set it."""
    before = pages.get(page)
    if not always and (before is None or before.value != now.value):
        now = Selected(None, now.line)
    return {**pages, page: now}


def selects(part: s.Field, value: s.Expr) -> int | None:
    """What a field becomes when its register is written whole; None if not known."""
    match value:
        case s.Number(value=number):
            return number >> part.low & ((1 << part.bits) - 1)
        case s.Record(fields=fields):
            said = next((f for f in fields if f.name == part.name), None)
            if said is None:
                return 0
            if said.value is None:
                return 1
            return said.value.value if isinstance(said.value, s.Number) else None
    return None


def unreachable(register: s.Register, pages: Pages) -> str:
    """Why a register is not there now; empty if it is."""
    if register.page is None:
        return ""
    name, part, wanted = register.page
    now = pages.get((name, part))
    if now is not None and now.value == wanted:
        return ""
    said = f"{name}.{part}"
    if now is None:
        is_now = "is not known"
    elif now.value is None:
        is_now = f"is not known: line {now.line} may have set it"
    else:
        is_now = f"is {now.value} since line {now.line}"
    return f"'{register.name}' is there when {said} == {wanted}; here {said} {is_now}"
