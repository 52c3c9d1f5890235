"""Law 2, interrupts: every gate leads to the trap or to steady's first instruction.

The page of descriptor tables is made again, from the manifest's addresses, as the linker makes it,
and compared with what the loader leaves in RAM: no other gate, no other code, no other stack.
What the trap stores is constants, RIP, CR2 and a vector, and it ends under report's root.
"""

from __future__ import annotations

from collections.abc import Iterator

from metaos.link.gates import (
    IDT,
    IDTR,
    MOST_INTERRUPTS,
    Entries,
    gate_fills,
    system_bytes,
    trap_code,
)
from metaos.link.image import Image
from metaos.link.layout import GATES_LINEAR, PAGE, STACK
from metaos.link.manifest import Gates, Manifest
from metaos.verify.decode import Ledger, Line
from metaos.verify.report import Violation
from metaos.verify.tables import Memory

LAW = 2
_WORDS = 4


def check_gates(image: Image, memory: Memory) -> tuple[Violation, ...]:
    """Every way in which the page in RAM is not the one that the manifest describes."""
    place = f"descriptor tables at {image.manifest.gates.linear:#x}"
    return tuple(Violation(LAW, place, message) for message in _wrong(image.manifest, memory))


def check_sleep(line: Line, gates: Gates, book: Ledger) -> Iterator[Violation]:
    """A phase lets interrupts in where it sleeps: steady, right before its last `jmp`.

    Interrupts are let in behind the instruction after `sti`, so none comes between it and the
    `hlt`, and what is pending ends the `hlt` at once (Intel SDM vol. 2B, STI).
    """
    sleeps = line.name == "steady" and gates.interrupts > 0
    found = [step for step in line.steps if step.mnemonic in ("sti", "hlt")]
    wanted = line.steps[-3:-1] if sleeps else ()
    if tuple(found) != tuple(wanted) or [step.mnemonic for step in wanted] not in (
        ["sti", "hlt"] if sleeps else [],
    ):
        at = found[0].offset if found else 0
        what = "does not sleep by `sti; hlt` before its jmp" if sleeps else "lets interrupts in"
        source = book.span(line.file_offset(at))
        yield Violation(LAW, line.place(at), f"{line.name} {what}", source)


def _wrong(manifest: Manifest, memory: Memory) -> Iterator[str]:
    objection = _objection(manifest)
    if objection:
        yield objection
        return
    gates, to = manifest.gates, entries(manifest)
    wanted = bytearray(PAGE)
    start = system_bytes(gates, to)
    wanted[: len(start)] = start
    for fill in gate_fills(gates, to):
        for address, word in fill.words():
            at = address - gates.physical
            wanted[at : at + 4] = word.to_bytes(4, "little")
    found = memory.get(gates.physical, bytes(PAGE))
    differ = [at for at in range(PAGE) if found[at] != wanted[at]]
    if differ:
        yield f"{_part(differ[0], len(trap_code(gates, to)))} is not what the manifest describes"


def _objection(manifest: Manifest) -> str:
    """Why the page cannot even be made again; empty if it can."""
    gates = manifest.gates
    if gates.linear != GATES_LINEAR or gates.physical % PAGE:
        return f"they lie at {gates.linear:#x}, physical {gates.physical:#x}"
    if not 0 <= gates.interrupts <= MOST_INTERRUPTS:
        return f"{gates.interrupts} interrupts, at most {MOST_INTERRUPTS}"
    names = {symbol.name: symbol for symbol in manifest.symbols}
    fault, stack = names.get(gates.fault), names.get(STACK)
    offsets = (gates.place, gates.wanted, gates.found, gates.site)
    if fault is None or fault.kind != "place" or len({at // _WORDS for at in offsets}) != _WORDS:
        return f"the place '{gates.fault}' of an exception is none"
    if any(at % _WORDS or not 0 <= at <= fault.size - _WORDS for at in offsets):
        return f"an exception writes beside '{gates.fault}'"
    if stack is None or (stack.linear + stack.size) % 16:
        return "there is no stack"
    if not any(phase.name == "report" for phase in manifest.phases):
        return "there is no report phase"
    if any(not 0 <= site < 1 << 31 for site in (gates.in_steady, gates.elsewhere)):
        return "the exceptions' texts are none"
    return ""


def entries(manifest: Manifest) -> Entries:
    """Where the gates and the trap lead to, by the manifest."""
    steady, report = manifest.phase("steady"), manifest.phase("report")
    stack = manifest.symbol(STACK)
    return Entries(
        steady=steady.code_linear,
        report=report.code_linear,
        steady_root=steady.root,
        report_root=report.root,
        next_place=manifest.symbol(manifest.next).linear,
        fault=manifest.symbol(manifest.gates.fault).linear,
        stack_end=stack.linear + stack.size,
    )


def _part(at: int, trap: int) -> str:
    what = "the trap" if at < trap else "a gate" if at >= IDT else "a descriptor"
    return f"{what if at < trap or at >= IDTR else 'a byte'} at +{at:#x}"
