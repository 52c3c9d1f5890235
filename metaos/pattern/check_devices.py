"""Checks of devices as wholes: their class's contract, what they match, who owns a buffer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from metaos.errors import Span
from metaos.pattern import syntax as s
from metaos.pattern.check_facts import initial_values
from metaos.pattern.check_steps import INIT
from metaos.pattern.names import ENTRIES
from metaos.pattern.patterns import Pattern, Patterns
from metaos.pattern.repeats import unrolled
from metaos.pattern.report import Report
from metaos.pattern.spell import spell, walk

Present = Callable[[Pattern], bool]


def learnt(pattern: Pattern, patterns: Patterns, report: Report) -> None:
    """What `learn` found is tested again on the machine that runs the image."""
    init = [q for q in pattern.of(s.Sequence) if q.name == INIT]
    tested = {
        (spell(row.condition.left), spell(row.condition.right))
        for row in walk(init[-1].rows if init else ())
        if isinstance(row, s.Expect | s.Await) and isinstance(row.condition, s.Binary)
    }
    for keep in (row for block in pattern.of(s.Learn) for row in block.rows):
        if not isinstance(keep, s.Keep) or _root(keep.value) not in pattern.registers:
            continue  # what is no register is refused elsewhere
        if (spell(keep.value), keep.name) not in tested:
            text = f"'{keep.name}' is learnt, and 'sequence {INIT}' does not test it again"
            hint = f'expect {spell(keep.value)} == {keep.name} else "..."'
            report.say("E0243", text, report.word(keep.span, keep.name), hint)


def _root(node: s.Expr) -> str:
    """The name that an expression is a part of."""
    while isinstance(node, s.Member | s.Index | s.Slice):
        node = node.of
    return node.text if isinstance(node, s.Name) else ""


def _steps(pattern: Pattern, *kinds: type) -> list[Any]:
    turn = pattern.one(s.Turn)
    return [x for x in walk(turn.steps) if isinstance(x, kinds)] if turn is not None else []


def _guards(name: str) -> Present:
    return lambda pattern: any(g.name == name for g in pattern.of(s.Guard))


CONTRACTS: Mapping[str, Mapping[str, Present]] = {
    "console": {
        "take text": lambda p: bool(_steps(p, s.Take)),
        "advance text": lambda p: bool(_steps(p, s.Advance)),
    },
    "clock": {"clock": lambda p: bool(p.of(s.Clock) or p.of(s.Measured))},
    "alarm": {"alarm": lambda p: bool(p.of(s.Alarm))},
    "config": {
        "access config": lambda p: bool(p.of(s.Access)),
        "guard present": _guards("present"),
        "guard absent": _guards("absent"),
        "guard placed": _guards("placed"),
        "guard folded": _guards("folded"),
        "guard sized": _guards("sized"),
    },
}
"""What a device of a class must say. A class that frames come `over` needs one offer."""

BELONGS: Mapping[type, tuple[str, str]] = {
    s.Take: ("console", "take text"),
    s.Advance: ("console", "advance text"),
    s.Clock: ("clock", "clock"),
    s.Measured: ("clock", "clock"),
    s.Access: ("config", "access config"),
    s.Guard: ("config", "guard"),
    s.Waker: ("interrupts", "wake"),
    s.Alarm: ("alarm", "alarm"),
    s.Lines: ("interrupts", "lines"),
}
"""What only devices of one class may say."""

SEQUENCES: Mapping[str, str] = {
    INIT: "",
    **dict.fromkeys(("attach", "started", "silence"), "config"),
    "route": "interrupts",
}
"""Sequences that are run, and the only class that has each; "" for all."""

GUARDS = ("present", "absent", "placed", "folded", "sized")


# ---- the class's contract -----------------------------------------------------------------


def contract(pattern: Pattern, patterns: Patterns, report: Report) -> None:
    """A device says what its class needs."""
    for what, present in CONTRACTS.get(pattern.class_name, {}).items():
        if not present(pattern):
            report.say(
                "E0240", f"'{pattern.name}' is a {pattern.class_name}, it needs '{what}'",
                pattern.span,
            )  # fmt: skip
    class_ = patterns.classes[pattern.class_name]
    offers = _steps(pattern, s.Offer)
    if class_.over and not offers:
        report.say(
            "E0240", f"'{pattern.name}' is a {pattern.class_name}, it needs a turn with "
            f"'offer {class_.over}'", pattern.span,
        )  # fmt: skip
    for extra in offers[1:] if class_.over else offers:
        text = f"a {pattern.class_name} offers one {class_.over} a turn"
        if not class_.over:
            text = f"a {pattern.class_name} offers no frames"
        report.say("E0241", text, _head(extra.span, "offer frame"))
    _class_states(pattern, class_, report)


def _class_states(pattern: Pattern, class_: s.ClassDef, report: Report) -> None:
    """What the class declares, every device of it sets before its turn."""
    for state in class_.items:
        if not isinstance(state, s.State) or state.count or state.initial is not None:
            continue
        own = pattern.named(s.State)[state.name]
        if own.bits != state.bits or own.count != state.count:
            text = f"'{state.name}' of class {class_.name} has {state.bits} bits"
            report.say("E0242", text, report.word(own.span, state.name))
            continue
        missing = (1 << state.bits) - 1 & ~_set_by_init(pattern, state)
        if missing:
            first = pattern.one(s.Sequence)
            at = first.span if first is not None and first.name == INIT else pattern.span
            report.say(
                "E0242", f"'{pattern.name}' leaves bits {_ranges(missing)} of '{state.name}' "
                f"unset", _head(at, "sequence init") if at is not pattern.span else at,
                f"every {class_.name} sets all {state.bits} bits of it in 'sequence {INIT}'",
            )  # fmt: skip


def _set_by_init(pattern: Pattern, state: s.State) -> int:
    """The bits of a state that `init` surely writes, as a mask."""
    mask = 0
    init = [q for q in pattern.of(s.Sequence) if q.name == INIT]
    for row in unrolled(_places(init[-1].rows)) if init else ():
        if not isinstance(row, s.Write) or row.guard is not None or row.given is not None:
            continue
        match row.target:
            case s.Index(of=s.Name(text=state.name), index=s.Number(value=bit)):
                mask |= 1 << min(max(bit, 0), 64)
            case s.Name(text=state.name):
                mask = (1 << state.bits) - 1
            case s.Slice(of=s.Name(text=state.name), high=s.Number(value=a), low=s.Number(value=b)):
                mask |= (1 << min(a, 64) + 1) - (1 << min(b, 64))
    return mask


def _places(rows: tuple[s.Row, ...]) -> tuple[s.Row, ...]:
    """The rows that write, with what they write left out: where is asked of each round."""
    found: list[s.Row] = []
    for row in rows:
        match row:
            case s.Repeat(body=body):
                found.append(replace(row, body=_places(body)))
            case s.Write(target=s.Name() | s.Slice() | s.Index(of=s.Name())):
                found.append(replace(row, value=s.Number(0, row.span)))
    return tuple(found)


def _ranges(mask: int) -> str:
    """Bit ranges of a mask, highest first: 47:32."""
    ranges = []
    while mask:
        low = (mask & -mask).bit_length() - 1
        size = (~(mask >> low) & (mask >> low) + 1).bit_length() - 1
        ranges.append(str(low) if size == 1 else f"{low + size - 1}:{low}")
        mask &= ~((1 << size) - 1 << low)
    return ", ".join(reversed(ranges))


def _head(span: Span, word: str) -> Span:
    return Span(span.file, span.line, span.column, span.column + len(word))


def belongs(pattern: Pattern, patterns: Patterns, report: Report) -> None:
    """Parts stand in devices of the class they are for; each sequence is one that is run."""
    for item in (*pattern.items, *_steps(pattern, s.Take, s.Advance)):
        wanted = BELONGS.get(type(item))
        if wanted is not None and pattern.class_name != wanted[0]:
            text = f"'{wanted[1]}' is for devices of class {wanted[0]}"
            report.say("E0241", text, _head(item.span, wanted[1].split()[0]))
        elif isinstance(item, s.Guard) and item.name not in GUARDS:
            hint = report.near(item.name, GUARDS)
            at = report.word(item.span, item.name)
            report.say("E0241", f"no guard is called '{item.name}'", at, hint)
        elif isinstance(item, s.Sequence):
            known = [n for n, of in SEQUENCES.items() if of in ("", pattern.class_name)]
            if item.name not in known:
                hint = report.near(item.name, known)
                at = report.word(item.span, item.name)
                report.say("E0241", f"sequence '{item.name}' is never run", at, hint)


# ---- matching -----------------------------------------------------------------------------

KEYS: Mapping[str, int] = {
    "vendor": 16,
    "device": 16,
    "class": 24,
    "revision": 8,
    "subsystem_vendor": 16,
    "subsystem_device": 16,
    "capability": 8,
}
"""Numbers of a PCI function that a match may name, and their bits.

A function has several capabilities; of each other key it has one value.
Source: PCI Local Bus Specification 3.0 §6.2, §6.7.
"""


def matching(pattern: Pattern, patterns: Patterns, report: Report) -> None:
    """A device matches something, and what it inherits does not forbid it."""
    found = pattern.of(s.Match)
    if not found:
        hint = "say what it is for: match pci vendor 0x... device 0x..."
        report.say(
            "E0230", f"'{pattern.name}' has no 'match', it serves nothing", pattern.span, hint
        )
        return
    said: dict[str, tuple[int, Span]] = {}
    for match in found:
        if match.entry is not None and (match.kind != "acpi" or match.name not in ENTRIES):
            text = f"'{match.kind} {match.name}' has no entries to match"
            hint = f"known are those of table {', '.join(ENTRIES)}"
            report.say("E0230", text, report.word(match.span, "entry"), hint)
        if _what(match) != _what(found[0]):
            text = f"nothing is {_thing(found[0])} and {_thing(match)}"
            report.say("E0230", text, match.span, f"the first is in {found[0].span}")
        for key, value in match.keys:
            _key(key, value, match, said, report)
    if found[0].kind == "pci" and not said and all(m.where is None for m in found):
        text = f"'{pattern.name}' would match every PCI function"
        report.say("E0230", text, found[0].span, f"name one of {', '.join(KEYS)}")


def _thing(match: s.Match) -> str:
    entry = "" if match.entry is None else f" entry {match.entry}"
    return f"{match.kind} {match.name}{entry}".strip()


def _what(match: s.Match) -> tuple[str, str, int | None]:
    return match.kind, match.name, match.entry


def _key(
    key: str, value: int, match: s.Match, said: dict[str, tuple[int, Span]], report: Report
) -> None:
    at = report.word(match.span, key)
    if key not in KEYS:
        report.say("E0232", f"a PCI function has no '{key}'", at, report.near(key, KEYS))
    elif value >> KEYS[key]:
        report.say("E0203", f"{value:#x} does not fit the {KEYS[key]} bits of '{key}'", at)
    elif key != "capability" and key in said and said[key][0] != value:
        text = f"no {key} is {said[key][0]:#06x} and {value:#06x}"
        report.say("E0230", text, at, f"the first is in {said[key][1]}")
    said.setdefault(key, (value, match.span))


def families(patterns: Patterns, report: Report) -> None:
    """A family is there for its members."""
    used = {d.parent for f in patterns.files for d in f.devices if d.kind == "member"}
    for pattern in patterns.devices.values():
        if pattern.abstract and pattern.name not in used:
            text = f"family '{pattern.name}' has no member, so it serves nothing"
            hint = f"write 'member NAME of {pattern.name}', or 'device' for 'family'"
            report.say("E0230", text, pattern.span, hint)


def equals(patterns: Patterns, report: Report) -> None:
    """No two patterns match by the same keys."""
    seen: dict[object, Pattern] = {}
    for pattern in patterns.devices.values():
        found = pattern.of(s.Match)
        if pattern.abstract or not found:
            continue
        keys = frozenset(pair for m in found for pair in m.keys)
        wheres = frozenset(spell(m.where) for m in found if m.where is not None)
        key = _what(found[0]), keys, wheres
        first = seen.setdefault(key, pattern)
        if first is not pattern and not _laid_over(first, pattern):
            report.say(
                "E0231", f"'{first.name}' and '{pattern.name}' match the same devices "
                f"({first.span})", pattern.span, "name one more id in one of them",
            )  # fmt: skip


def _laid_over(a: Pattern, b: Pattern) -> bool:
    """Whether one is an overlay of the other; what is wrong with that is said of the overlay."""
    return any(
        x.lineage[-1].kind == "overlay" and x.lineage[-1].parent == y.name
        for x, y in ((a, b), (b, a))
    )


# ---- buffers ------------------------------------------------------------------------------


def buffers(pattern: Pattern, patterns: Patterns, report: Report) -> None:
    """Every buffer begins with one owner, and swaps keep it so."""
    tables = {t.name: t for t in pattern.of(s.Table) if t.element_size}
    arrays = {x.name: x for x in pattern.of(s.State) if x.count}
    for name, table in tables.items():
        owners = [arrays[x] for x in dict.fromkeys(_indexing(pattern, name)) if x in arrays]
        seen: dict[int, str] = {}
        for array in owners:
            values = initial_values(array)
            if values is None:
                continue
            for number, value in enumerate(values):
                slot = f"{array.name}[{number}]"
                if value in seen:
                    at = array.initial.span if array.initial is not None else array.span
                    report.say(
                        "E0228", f"{slot} and {seen[value]} both own {name}[{value}]", at,
                        "begin with different numbers: i, i + 16",
                    )  # fmt: skip
                    break
                if table.elements is not None and value >= table.elements:
                    at = array.initial.span if array.initial is not None else array.span
                    text = f"{slot} begins as {value}, '{name}' has {table.elements} elements"
                    report.say("E0207", text, at)
                    break
                seen[value] = slot


def _indexing(pattern: Pattern, table: str) -> Iterator[str]:
    """The arrays whose elements choose an element of a table."""
    for node in walk(tuple(pattern.of(s.Turn))):
        match node:
            case s.Index(of=s.Name(text=name), index=s.Index(of=of)) if name == table:
                of = of.of if isinstance(of, s.Prime) else of
                if isinstance(of, s.Name):
                    yield of.text
            case s.Swap(left=s.Index(of=s.Name(text=a)), right=s.Index(of=s.Name(text=b))):
                names = set(_direct(pattern, table))
                if a in names or b in names:
                    yield from (a, b)


def _direct(pattern: Pattern, table: str) -> Iterator[str]:
    for node in walk(tuple(pattern.of(s.Turn))):
        match node:
            case s.Index(of=s.Name(text=name), index=s.Index(of=of)) if name == table:
                of = of.of if isinstance(of, s.Prime) else of
                if isinstance(of, s.Name):
                    yield of.text


CHECKS: tuple[Callable[[Pattern, Patterns, Report], None], ...] = (
    contract, belongs, buffers, learnt,
)  # fmt: skip
"""Besides `matching`, which is of a member what it says itself."""
