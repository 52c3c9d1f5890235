"""Checks of data ports: what a stream is, and blocks that move between one and an element.

`move(typer, step)` gives the register of a `read ... into` or `write ... from`, if it is one.
"""

from __future__ import annotations

from metaos.pattern import kinds as k
from metaos.pattern import syntax as s
from metaos.pattern.report import Report
from metaos.pattern.spell import spell
from metaos.pattern.widths import Typer
from metaos.pattern.words import bits as bits_of


def streams(file: s.File, report: Report) -> None:
    """A stream is one register among ports, without an array: a string instruction moves it."""
    blocks = (i for d in file.devices for i in d.items if isinstance(i, s.Registers))
    for block in blocks:
        for register in block.registers:
            if register.stream and (block.space != "port" or register.count != 1):
                what = "an array" if block.space == "port" else f"a {block.space} register"
                text = f"a stream is one port, '{register.name}' is {what}"
                report.say("E0257", text, report.word(register.span, "stream"))


def move(typer: Typer, step: s.Move) -> k.Reg | None:
    """Check a block's port, its element and that it fits; its guard is the caller's."""
    port = typer.kind(step.register, use=False)
    if isinstance(port, k.Reg) and not port.node.stream:
        text = f"'{port.node.name}' is no stream, a block moves through one"
        hint = f"say so where it is declared: {port.node.name} {port.node.access} stream"
        typer.say("E0257", text, step.register.span, hint)
    elif not isinstance(port, k.Reg | k.Unknown):
        text = f"a block moves through a register, given '{spell(step.register)}'"
        typer.say("E0257", text, step.register.span)
    element = typer.kind(step.element, use=step.inward is False)
    if isinstance(element, k.Element) and element.table.at is not None:
        text = f"a block moves between a port and RAM, '{element.table.name}' is in a window"
        typer.say("E0257", text, step.element.span)
    elif not isinstance(element, k.Element | k.Unknown):
        text = f"a block fills an element of a table, given '{spell(step.element)}'"
        typer.say("E0206", text, step.element.span, "write buf[0]")
    count = typer.number(step.count)
    if isinstance(port, k.Reg) and isinstance(element, k.Element) and count is not None:
        _fits(typer, step, port.node.bits, element, count)
    return port if isinstance(port, k.Reg) else None


def _fits(typer: Typer, step: s.Move, width: int, element: k.Element, count: k.Num) -> None:
    """The most items that the count can say, by its type, fit in the element."""
    room = element.layout.size if element.layout is not None else element.table.element_size
    most = count.value if count.value is not None else min(count.top, (1 << count.bits) - 1)
    if 0 <= most * width <= 8 * room:
        return
    fit = 8 * room // width
    bits = (fit + 1).bit_length() - 1
    typer.say(
        "E0258", f"{most} items of {bits_of(width)} do not fit the {room} bytes of "
        f"'{element.table.name}'", step.count.span,
        f"at most {fit} do: a count of {bits_of(bits)} cannot say more" if bits else "",
    )  # fmt: skip
