"""Parts made anew for each `use`: `expand(items, say) -> items` without parts, uses and `run`.

    part queue(index)
      state next : u16 = 0
    use rx = queue(0)            # declares `rx.next`

Inside the part its own names mean those of the use, and a parameter means its argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from metaos.errors import Span, did_you_mean
from metaos.pattern import syntax as s

Say = Callable[[str, str, Span, str], None]


def expand(items: tuple[s.Item, ...], say: Say) -> tuple[s.Item, ...]:
    """The items with every `use` replaced by what its part declares.

    `say(code, message, span, hint)` is told of parts that do not exist or do not fit.
    """
    parts = {i.name: i for i in items if isinstance(i, s.Part)}
    made: list[s.Item] = []
    blocks: dict[str, tuple[s.Row, ...]] = {}
    renamed: dict[str, frozenset[str]] = {}
    used: set[str] = set()
    for item in items:
        if isinstance(item, s.Part):
            continue
        if not isinstance(item, s.Use):
            made.append(item)
            continue
        used.add(item.part)
        part = parts.get(item.part)
        if part is None:
            say("E0201", f"no part '{item.part}'", item.span, did_you_mean(item.part, parts))
        elif len(item.arguments) != len(part.parameters):
            wanted = ", ".join(part.parameters)
            text = f"part '{part.name}' takes {len(part.parameters)} arguments ({wanted})"
            say("E0208", f"{text}, given {len(item.arguments)}", item.span, "")
        else:
            own = tuple(_instance(part, item))
            sequences = [x for x in own if isinstance(x, s.Sequence)]
            blocks |= {x.name: x.rows for x in sequences}
            renamed[item.name] = _declared(part)
            made += [x for x in own if not isinstance(x, s.Sequence)]
    for name, part in parts.items():
        if name not in used:
            say("E0226", f"part '{name}' is never used", part.span, "take it out, or use it")
    if not renamed:
        return tuple(made)
    runs = _Runs(blocks, say)
    outer = tuple(runs.inlined(_qualified(x, renamed)) for x in made)
    runs.demand_all_run()
    return outer


class _Runs:
    """Puts the rows of a part's sequence where `run` names it."""

    def __init__(self, blocks: Mapping[str, tuple[s.Row, ...]], say: Say) -> None:
        self.blocks, self.say, self.done = blocks, say, set[str]()

    def inlined(self, item: Any) -> Any:
        if not isinstance(item, s.Sequence | s.Guard):
            return item
        return replace(item, rows=tuple(self.rows(item.rows)))

    def rows(self, rows: tuple[s.Row, ...]) -> Iterator[s.Row]:
        for row in rows:
            if isinstance(row, s.Each | s.Repeat):
                yield replace(row, body=tuple(self.rows(row.body)))
                continue
            if not isinstance(row, s.Run):
                yield row
                continue
            found = self.blocks.get(row.name)
            self.done.add(row.name)
            if found is None:
                hint = did_you_mean(row.name, self.blocks)
                self.say("E0201", f"no sequence '{row.name}' of a part", row.span, hint)
            yield from found or ()

    def demand_all_run(self) -> None:
        for name in self.blocks.keys() - self.done:
            rows = self.blocks[name]
            if rows:
                text, hint = f"sequence '{name}' is never run", f"run {name}"
                self.say("E0241", text, rows[0].span, hint)


def _declared(part: s.Part) -> frozenset[str]:
    """The names that a part gives to what it declares."""
    found: set[str] = set()
    for item in part.items:
        match item:
            case s.Registers(registers=registers):
                found |= {item.name, *(r.name for r in registers)}
            case s.Learn(rows=rows):
                found |= {r.name for r in rows if isinstance(r, s.Keep)}
            case s.Fact(name=name) | s.Table(name=name) | s.State(name=name):
                found.add(name)
            case s.Sequence(name=name):
                found.add(name)
    return frozenset(found)


def _instance(part: s.Part, use: s.Use) -> Iterator[s.Item]:
    names: dict[str, s.Expr] = dict(zip(part.parameters, use.arguments, strict=True))
    for name in _declared(part):
        names[name] = s.Name(f"{use.name}.{name}", use.span)
    for item in part.items:
        yield _named(replaced(item, names), names)


def _named(item: Any, names: Mapping[str, s.Expr]) -> Any:
    """A declaration under its new name."""

    def new(name: str) -> str:
        found = names.get(name)
        return found.text if isinstance(found, s.Name) else name

    match item:
        case s.Registers(registers=registers):
            inside = tuple(
                replace(r, name=new(r.name), page=r.page and (new(r.page[0]), *r.page[1:]))
                for r in registers
            )
            return replace(item, name=new(item.name), registers=inside)
        case s.Learn(rows=rows):
            kept = (replace(r, name=new(r.name)) if isinstance(r, s.Keep) else r for r in rows)
            return replace(item, rows=tuple(kept))
        case s.Demand():
            return item
    return replace(item, name=new(item.name))


def replaced(node: Any, names: Mapping[str, s.Expr]) -> Any:
    """The node with names replaced by expressions; each keeps its own place."""
    if isinstance(node, tuple):
        return tuple(replaced(x, names) for x in node)
    if isinstance(node, s.Name):
        found = names.get(node.text)
        return replace(found, span=node.span) if found is not None else node
    return changed(node, lambda inner: replaced(inner, names))


def _qualified(node: Any, uses: Mapping[str, frozenset[str]]) -> Any:
    """`rx.next` as the one name that it is."""
    match node:
        case s.Member(of=s.Name(text=use), name=name) if name in uses.get(use, ()):
            return s.Name(f"{use}.{name}", node.span)
    return changed(node, lambda inner: _qualified(inner, uses))


def changed(node: Any, change: Callable[[Any], Any]) -> Any:
    """The node with every node directly inside it changed."""
    if isinstance(node, tuple):
        return tuple(changed(x, change) if isinstance(x, tuple) else _leaf(x, change) for x in node)
    if not is_dataclass(node) or isinstance(node, Span):
        return node
    made = {}
    for field in fields(node):
        old = getattr(node, field.name)
        new = changed(old, change) if isinstance(old, tuple) else _leaf(old, change)
        if new is not old:
            made[field.name] = new
    return replace(node, **made) if made else node  # type: ignore[type-var]


def _leaf(node: Any, change: Callable[[Any], Any]) -> Any:
    return change(node) if is_dataclass(node) and not isinstance(node, Span) else node
