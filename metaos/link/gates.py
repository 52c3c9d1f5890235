"""Interrupts and exceptions: one page with the descriptor tables and the exceptions' code.

The page is mapped in every phase at the start of the code region, read-only and executable:

    TRAP      the trap: a straight line from any exception to the report phase
    IDTR      the limit and address of the IDT, as `lidt` reads them
    TSS       the task-state segment, of which IST1 alone is used: the stack's end
    GDT       its unused entry 0 holds its own limit and address; TASK; CODE + 8 * vector
    IDT       a gate for each exception, and behind them one for each interrupt

Every gate takes IST1 as its stack and leaves interrupts off. An exception's gate has a code
selector of its own, so that CS tells which one it was: no stub and no branch. An interrupt's gate
is steady's first instruction: a turn begins, and nothing ever returns from an interrupt.

Source: Intel SDM vol. 3A, 3.4.5 (segment descriptors), 6.14 (64-bit gates, interrupt stack
table), 7.2.3 and 7.7 (the TSS and its descriptor).
"""

from __future__ import annotations

from dataclasses import dataclass

from metaos.link.manifest import Gates
from metaos.link.phases import assemble
from metaos.link.progressions import Progression

TRAP_MOST = 0x50
IDTR, TSS, GDT, IDT = 0x50, 0x58, 0xC0, 0x400
TSS_SIZE, IST1 = 0x68, 0x24
TASK, CODE = 0x08, 0x100
"""Selectors: the TSS, and 64-bit code; an exception's is `CODE` + 8 * vector."""
EXCEPTIONS = 32
"""Vectors 0 to 31 are the processor's own. Source: Intel SDM vol. 3A, 6.2."""
MOST_INTERRUPTS = (4096 - IDT) // 16 - EXCEPTIONS
"""As many gates as the page has room for: vectors 32 to 191."""
_CODE_HIGH = 0x00209B00
"""Present, 64-bit, execute/read, accessed."""
_TASK_HIGH = 0x8900
_GATE = 0x8E01 << 16
"""Present, 64-bit interrupt gate, IST1: the upper half of a selector's word."""
_SELECTORS = CODE // 8 + EXCEPTIONS


@dataclass(frozen=True, slots=True)
class Entries:
    """Where exceptions and interrupts go to: linear addresses, and roots."""

    steady: int
    report: int
    steady_root: int
    report_root: int
    next_place: int
    fault: int
    stack_end: int


def trap_code(gates: Gates, to: Entries) -> bytes:
    """Exception to report: its vector, RIP and CR2 into the fault, and the text for its phase.

    RIP lies 40 bytes below the stack's end, with or without an error code (Intel SDM vol. 3A,
    6.14.2). The text is steady's if CR3 is.
    """
    code = assemble(
        f"""
        mov edi, {to.fault}
        mov eax, cs
        shr eax, 3
        sub eax, {CODE // 8}
        mov dword ptr [rdi + {gates.found}], eax
        mov rax, cr2
        mov dword ptr [rdi + {gates.wanted}], eax
        mov eax, dword ptr [rdi + {to.stack_end - 40 - to.fault}]
        mov dword ptr [rdi + {gates.place}], eax
        mov rax, cr3
        cmp eax, {to.steady_root}
        mov eax, {gates.elsewhere}
        mov ecx, {gates.in_steady}
        cmove eax, ecx
        mov dword ptr [rdi + {gates.site}], eax
        mov eax, {to.report_root}
        mov dword ptr [rdi + {to.next_place - to.fault}], eax
        mov cr3, rax
        """
    )
    distance = to.report - (gates.linear + len(code) + 5)
    return code + b"\xe9" + distance.to_bytes(4, "little", signed=True)


def system_bytes(gates: Gates, to: Entries) -> bytes:
    """The page up to the GDT's entry for the TSS: what is not alike again and again."""
    trap = trap_code(gates, to)
    assert len(trap) <= TRAP_MOST, f"the trap has {len(trap)} bytes"
    tss, gdt, idt = (gates.linear + offset for offset in (TSS, GDT, IDT))
    limit = 16 * (EXCEPTIONS + gates.interrupts) - 1
    task = (TSS_SIZE - 1) | (tss & 0xFFFFFF) << 16 | _TASK_HIGH << 32 | (tss >> 24) << 56
    parts = (
        (0, trap),
        (IDTR, _pointer(limit, idt)),
        (TSS + IST1, to.stack_end.to_bytes(8, "little")),
        (GDT, _pointer(8 * _SELECTORS - 1, gdt)),
        (GDT + TASK, task.to_bytes(8, "little")),
    )
    page = bytearray(GDT + TASK + 16)
    for at, data in parts:
        page[at : at + len(data)] = data
    return bytes(page)


def _pointer(limit: int, address: int) -> bytes:
    return limit.to_bytes(2, "little") + address.to_bytes(4, "little")


def gate_fills(gates: Gates, to: Entries) -> tuple[Progression, ...]:
    """The rest of the page: code descriptors and gates, as words that the loader repeats.

    The trap lies at a multiple of 64 KiB, so the low half of its gates' offset is 0, and one word
    has selector, IST and type: it counts up by the selector.
    """
    assert gates.linear & 0xFFFF == 0
    page, idt = gates.physical, gates.physical + IDT
    interrupts = idt + 16 * EXCEPTIONS
    fills = [
        Progression(page + GDT + CODE + 4, EXCEPTIONS, 8, _CODE_HIGH, 0),
        Progression(idt + 2, EXCEPTIONS, 16, _GATE | CODE, 8),
        Progression(idt + 6, EXCEPTIONS, 16, gates.linear >> 16, 0),
    ]
    if gates.interrupts:
        low, high = to.steady & 0xFFFF, to.steady >> 16
        fills += [
            Progression(interrupts, gates.interrupts, 16, CODE << 16 | low, 0),
            Progression(interrupts + 4, gates.interrupts, 16, high << 16 | _GATE >> 16, 0),
        ]
    return tuple(fills)
