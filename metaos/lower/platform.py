"""Rows that no one device's `init` is, and what guard asks of functions and memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from metaos.emit.target import CpuFeature
from metaos.link.parts import Window
from metaos.lower.attach import attached, config_rows, owned, silenced, started, used_bars
from metaos.lower.decoders import BRIDGE, Placed, decoders, layout, word
from metaos.lower.folded import folded, numbers_in, places_written
from metaos.lower.known import fail
from metaos.lower.measure import measuring
from metaos.lower.plan import DevicePlan
from metaos.lower.row import FULL, Cell, Row
from metaos.lower.rows import RowLowering, config_address
from metaos.lower.stepper import PLATFORM
from metaos.lower.text import Texts
from metaos.lower.work import GENERATED, MEMORY, MEMORY_NEEDED, Work
from metaos.match.facts import number
from metaos.match.routes import router_of, wire_of
from metaos.pattern import syntax as s
from metaos.pattern.kinds import REGISTERS
from metaos.pattern.spell import walk
from metaos.probe.machine import Function
from metaos.told import facts_of

MIB = 1 << 20
Members = tuple[Mapping[str, int], ...]


def sequence_rows(
    work: Work,
    device: DevicePlan,
    name: str,
    names: Mapping[str, int] | None = None,
    lists: Mapping[str, tuple[Mapping[str, int], ...]] | None = None,
) -> list[Row]:
    sequence = device.pattern.named(s.Sequence).get(name)
    if sequence is None:
        return []
    function = device.device.function
    config = config_address(function.address) if function is not None else None
    lowering = RowLowering(device, work.texts, names or {}, lists or {}, config)
    return lowering.lower(sequence.rows)


def init_rows(work: Work) -> list[Row]:
    consoles = work.consoles()
    rows: list[Row] = []
    for device in work.plans:
        if device in consoles:
            rows += _route(work, device)
            continue
        rows += attached(work, device)
        rows += _route(work, device)
        rows += sequence_rows(work, device, "init")
        rows += measuring(device, work.texts)
        rows += started(work, device)
    return [*rows, *silenced(work)]


def _route(work: Work, device: DevicePlan) -> list[Row]:
    """The rows by which an interrupt controller leads a device's line to the processor."""
    bound = work.bindings.bindings
    binding = next(b for b in bound if b.device.address == device.address)
    wire, router = wire_of(binding, bound), router_of(binding, bound)
    if wire is None or router is None or device.address not in work.sleep.wakers:
        return []
    rule = next(p for p in work.plans if p.address == router.device.address)
    lines = rule.pattern.one(s.Lines)
    assert lines is not None
    index = wire.line - number(lines.first, rule.device, rule.facts.values)
    count = number(lines.count, rule.device, rule.facts.values)
    if index >= count:
        own = f"{rule.address} has {count} from {wire.line - index} on"
        text = f"{device.address} has interrupt line {wire.line}, and {own}"
        raise fail(lines.span, "E0475", text, "is the machine file this machine's? probe again")
    names = {"line.index": index, "line.edge": wire.edge, "line.low": wire.low}
    rows = sequence_rows(work, rule, "route", names)
    return [owned(row, device.address) for row in rows]


def function_guards(work: Work) -> list[Row]:
    """What config space must show: all functions, none besides, and what each decodes.

    Sizes come last, since they are read by writing: by then every function is known.
    """
    functions = work.functions
    pins = _pins(work)
    rows: list[Row] = []

    def add(name: str, address: str, names: Mapping[str, int], **lists: Members) -> None:
        rows.extend(_guard(work, name, address, names, **lists))

    for function in functions:
        add("present", function.address, _identity(function, function.address in pins))
    for address in free_slots(functions):
        add("absent", address, {})
    ours = [Placed(p.address, bar) for p in work.plans for bar in used_bars(p)]
    consoles = {p.address for p in work.consoles()}
    known = tuple(decoders(functions, ours, consoles))
    for one in known:
        add("placed", one.address, {}, fixed=one.fixed, apart=one.apart)
    for one in known:
        add("sized", one.address, {"function.pauses": int(one.pauses)}, sized=one.sized)
    return rows


def folded_guards(work: Work, init: Iterable[Row]) -> list[Row]:
    """What config space must show besides, since the image was made from it.

    All else is lowered by now; `init` are the rows of the start that follows.
    """
    init = tuple(init)
    words = folded(numbers_in(work, init), work.functions, places_written(init))
    return [row for a, some in words.items() for row in _guard(work, "folded", a, folded=some)]


def _guard(
    work: Work,
    name: str,
    address: str,
    names: Mapping[str, int] | None = None,
    **lists: Members,
) -> list[Row]:
    """The rows of a guard of the config space's rule, for one function."""
    return config_rows(work, s.Guard, name, address, names, lists, (f"functions.{address}",))


def _identity(function: Function, pin: bool) -> dict[str, int]:
    """The words by which a function is recognised."""
    bridges = layout(function) == BRIDGE
    return {
        "function.id": function.device << 16 | function.vendor,
        "function.class_revision": function.class_code << 8 | function.revision,
        "function.subsystem": function.subsystem_device << 16 | function.subsystem_vendor,
        "function.has_subsystem": int(layout(function) == 0),
        "function.alone": int(function.address.endswith(".0") and not _of_several(function)),
        "function.pin": int(pin),
        "function.route": function.interrupt_pin << 8 | function.interrupt_line,
        "function.bridges": int(bridges),
        "function.buses": word(function, 0x18) & 0xFFFFFF if bridges else 0,
    }


def _pins(work: Work) -> set[str]:
    """The functions that wake the processor by an interrupt pin."""
    wakes = [(p, p.pattern.one(s.Interrupt)) for p in work.plans if work.sleep.halt]
    return {p.address for p, how in wakes if how is not None and how.kind == "pin"}


def free_slots(functions: tuple[Function, ...]) -> tuple[str, ...]:
    """Where a function could be that is not there: slots of all buses, those behind bridges
    with nothing on them too, and the other functions of multi-function devices.

    Source: PCI Local Bus Specification 3.0 §3.2.2.3.4.
    """
    present = {f.address for f in functions}
    many = {f.address[:5] for f in functions if f.address.endswith(".0") and _of_several(f)}
    free = []
    for bus in sorted({f.address[:2] for f in functions} | set(_buses_behind(functions))):
        for slot in (f"{bus}:{device:02x}" for device in range(32)):
            numbers = range(8) if slot in many else range(1)
            free += [a for n in numbers if (a := f"{slot}.{n}") not in present]
    return tuple(free)


def _of_several(function: Function) -> bool:
    """Header type bit 7: the device may have more functions. Source: PCI 3.0 §6.2.1."""
    return bool(function.header_type & 0x80)


def _buses_behind(functions: tuple[Function, ...]) -> Iterator[str]:
    """The secondary bus of every bridge: header type 1, config byte 0x19; 0 before firmware.

    Source: PCI-to-PCI Bridge Architecture Specification 1.2 §3.2.5.4.
    """
    for function in functions:
        bus = function.config[2 * 0x19 : 2 * 0x19 + 2]
        if function.header_type & 0x7F == 1 and bus != "00":
            yield bus


_LACKS = "this CPU lacks {name}, which the image was made for; probe and build again"
_LITTLE, _MUCH = (
    f"memory changed: expected {what}, found {{found:x8}}; probe and build again"
    for what in (
        "{wanted:x8} KiB above 1 MiB or more",
        "less than {wanted:x8} KiB above 1 MiB",
    )
)
_OTHER = (
    "CPUID leaf {leaf:08x} {register} changed: expected {{wanted:x8}}, found {{found:x8}}; "
    "probe and build again"
)
SAID = (_LACKS, _LITTLE, _MUCH)
"""What guard says of the machine itself, whatever devices it has."""


def feature_row(feature: CpuFeature, texts: Texts) -> Row:
    site = texts.add(_LACKS.format(name=feature.name), {}, PLATFORM, GENERATED)
    bit = 1 << feature.bit
    return Row(
        f"cpuid{feature.register}.test",
        Cell(feature.leaf),
        Cell(bit),
        bit,
        0,
        site,
        PLATFORM,
        GENERATED,
        (feature.fact,),
    )


def processor_guards(work: Work) -> list[Row]:
    """What CPUID must still say, since a rule that was taken looked at it."""
    return [row for plan in work.plans for row in _looked_at(plan, work.texts)]


def _looked_at(plan: DevicePlan, texts: Texts) -> Iterator[Row]:
    """A row for each register of CPUID that a rule names, of the bits that it names."""
    nodes = tuple(walk(plan.pattern.items))
    masks = {
        id(node.left): node.right.value
        for node in nodes
        if isinstance(node, s.Binary) and node.operator == "&" and isinstance(node.right, s.Number)
    }
    for node in nodes:
        match node:
            case s.Index(of=s.Member(of=s.Name(text="cpuid"), name=name), index=index):
                leaf = number(index, plan.device, plan.facts.values)
                said = number(node, plan.device, plan.facts.values)
                mask = masks.get(id(node), FULL)
                text = _OTHER.format(leaf=leaf, register=name)
                site = texts.add(text, {}, plan.address, node.span)
                kind, wanted = f"cpuid{REGISTERS.index(name)}.test", Cell(said & mask)
                at, facts = plan.address, facts_of(said)
                yield Row(kind, Cell(leaf), wanted, mask, 0, site, at, node.span, facts)


def memory_rows(windows: Iterable[Window], texts: Texts) -> tuple[Row, ...]:
    """The RAM that the image uses is there, and ends before the windows that it places."""
    more = _memory_row("mem32.test", Cell(0, MEMORY_NEEDED), _LITTLE, texts)
    above = [w.physical for w in windows if MIB <= w.physical < 1 << 32]
    if not above:
        return (more,)
    least = (min(above) - MIB) // 1024
    placed = facts_of(*above)  # all of them decide which is the lowest
    return more, _memory_row("mem32.unlike", Cell(least), _MUCH, texts, placed)


def _memory_row(
    kind: str, value: Cell, text: str, texts: Texts, because: tuple[str, ...] = ()
) -> Row:
    site = texts.add(text, {}, PLATFORM, GENERATED)
    place = Cell(0, MEMORY)
    return Row(kind, place, value, 1 << 31, 0, site, PLATFORM, GENERATED, ("memory", *because))
