"""Break every law on purpose and see it caught, with the law and the place named.

Each broken image is sealed again (lengths, hashes), so that nothing but the proof can tell.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest

from metaos.link.image import Image
from metaos.link.layout import CODE_END
from metaos.link.lists import FILL_LENGTH, PIECE_LENGTH, PIECES_END, read_lists
from metaos.link.loader import FIXED
from metaos.link.manifest import FileRange, PortRange
from metaos.link.phases import CHANGE_LENGTH, JMP_LENGTH
from metaos.link.progressions import Progression
from metaos.verify import LAWS, Violation, verify
from metaos.verify.laws import follow
from tests.verify.handmade import (
    BYTES,
    CURSOR,
    GUARD,
    GUARD_TURN,
    HEAD,
    MEMORY,
    NEXT,
    PORT,
    ROOTS,
    ROWS,
    SHADOW,
    STEADY,
    STEADY_TURN,
    STRIDE,
    TABLE,
    UART,
    WINDOW,
    assemble,
    handmade,
    overwrite,
    patch,
    reseal,
    with_manifest,
)

pytestmark = pytest.mark.long


def broken(image: Image, law: int, place: str, message: str) -> Violation:
    """The first violation of `law` that names `place` and says `message`."""
    found = verify(image).violations
    for violation in found:
        if violation.law == law and place in violation.place and message in violation.message:
            return violation
    raise AssertionError(f"law {law} at {place} ({message}) not among {[str(v) for v in found]}")


def test_the_unbroken_image_holds_every_law() -> None:
    report = verify(handmade())
    assert report.violations == ()
    turns = dict(report.phases)
    assert (turns["guard"], turns["steady"]) == (GUARD_TURN, STEADY_TURN)
    assert (report.transfers.conditional, report.transfers.indirect, report.transfers.calls) == (
        0,
        0,
        0,
    )


def test_the_table_numbers_the_laws_and_says_how_each_is_proved() -> None:
    assert [law.number for law in LAWS] == [1, 2, 3, 4, 5, 6, 7]
    assert all(law.checks or law.elsewhere for law in LAWS)


# Law 2: control flow

FIVE = "nop dword ptr [rax + rax]"  # 0f 1f 04 00: room to smuggle something into


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("7400", "control transfer: je"),
        ("0f8400000000", "control transfer: je"),
        ("e200", "control transfer: loop"),
        ("e000", "control transfer: loopne"),
        ("e300", "control transfer: jrcxz"),
        ("67e300", "control transfer: jecxz"),
        ("eb00", "control transfer: jmp"),
        ("ffe0", "control transfer: jmp rax"),
        ("ff2500000000", "control transfer: jmp"),
        ("e800000000", "control transfer: call"),
        ("ffd0", "control transfer: call rax"),
        ("c3", "control transfer: ret"),
        ("f3c3", "ret"),
        ("48cf", "control transfer: iretq"),
        ("cd80", "control transfer: int"),
        ("cc", "control transfer: int3"),
        ("f1", "control transfer: int1"),
        ("0f05", "control transfer: syscall"),
        ("0f34", "sysenter"),
        ("c7f800000000", "xbegin"),
        ("0f0b", "ud2"),
        ("50", "not on the list: push"),
        ("f4", "lets interrupts in"),
        ("fb", "lets interrupts in"),
        ("0f30", "not on the list: wrmsr"),
        ("0f01f8", "not on the list: swapgs"),
        ("0f20d8", "'mov reg, cr3' is no privileged instruction"),
        ("0f22c0", "'mov cr0, reg' is no privileged instruction"),
        ("8ed8", "'mov ds, reg' is no privileged instruction"),
        ("4889c4", "changes the stack pointer"),
        ("65488b00", "prefix 65"),
        ("f0480108", "prefix f0"),
        ("678b00", "prefix 67"),
        ("f30f6f00", "not on the list: movdqu"),
        ("fd", "not on the list: std"),
        ("480fab0425", "bit string"),
        ("06", "no instruction: 06"),
    ],
)
def test_law_2_refuses_every_way_out_of_the_straight_line(raw: str, message: str) -> None:
    code = bytes.fromhex(raw)
    if raw == "480fab0425":
        code += struct.pack("<I", TABLE)
    image = handmade(steady_bytes=assemble("xor eax, eax") + code + b"\x90" * 8)
    violation = broken(image, 2, "steady+0x2 ", message)
    assert violation.span is not None and violation.span.file == "net/card.pattern"


def test_law_2_sees_a_jcc_smuggled_over_existing_bytes() -> None:
    image = handmade(steady="xor eax, eax\n" + FIVE + "\n" + STEADY)
    assert verify(image).violations == ()
    smuggled = patch(image, "steady", 2, bytes.fromhex("75fe9090"))
    broken(smuggled, 2, "steady+0x2 (linear", "control transfer: jne")
    assert verify(smuggled).transfers.conditional == 1


def test_law_2_sees_calls_and_indirect_jumps_counted() -> None:
    image = handmade(steady_bytes=bytes.fromhex("e800000000ffe0c3"))
    counted = verify(image).transfers
    assert (counted.conditional, counted.indirect, counted.calls) == (0, 2, 1)


@pytest.mark.parametrize("moved", [1, -1, 5, 1000])
def test_law_2_sees_a_moved_jmp_target(moved: int) -> None:
    image = handmade()
    length = image.manifest.phase("steady").code_length
    target = struct.pack("<i", -length + moved)
    place = f"steady+{length - JMP_LENGTH:#x}"
    violation = broken(patch(image, "steady", -4, target), 2, place, "the jmp goes to")
    assert f"{CODE_END - length + moved:#x}" in violation.message


def test_law_2_sees_a_jmp_of_another_form_at_the_end() -> None:
    image = handmade()
    length = image.manifest.phase("steady").code_length
    short = patch(image, "steady", -5, b"\x0f\x1f\x00\xeb\xfe")
    broken(short, 2, f"steady+{length - 2:#x}", "does not end in a five-byte jmp")


def test_law_2_sees_cr3_loaded_in_steady() -> None:
    image = handmade(steady_bytes=assemble("mov cr3, rax"))
    broken(image, 2, "steady+0x0", "the steady phase loads CR3")
    broken(image, 2, "steady+0x0", "no listed root")


def test_law_2_sees_a_second_load_of_cr3() -> None:
    image = handmade(guard=f"mov eax, {ROOTS['guard']:#x}\nmov cr3, rax\n" + GUARD)
    broken(image, 2, "guard+0x5", "2 loads of CR3")
    broken(image, 2, "guard+0x5", "outside the linker's phase change")


LOAD_LENGTH = CHANGE_LENGTH - JMP_LENGTH - len(assemble("mov cr3, rax"))


def with_load(image: Image, text: str) -> Image:
    """The image whose guard takes CR3's value from elsewhere than from `next`."""
    at = CODE_END - CHANGE_LENGTH
    code = assemble(text, at).ljust(LOAD_LENGTH, b"\x90")
    assert len(code) == LOAD_LENGTH
    return patch(image, "guard", -CHANGE_LENGTH, code)


def test_law_2_sees_a_start_phase_that_loads_no_cr3() -> None:
    image = patch(handmade(), "guard", -CHANGE_LENGTH, b"\x90" * (CHANGE_LENGTH - JMP_LENGTH))
    broken(image, 2, "guard+0x0", "0 loads of CR3")


def test_law_2_sees_cr3_loaded_from_elsewhere() -> None:
    moved = with_load(handmade(), f"mov eax, {HEAD:#x}\nmov eax, dword ptr [rax]")
    broken(moved, 2, "guard", "which is no listed root")
    assert verify(with_load(handmade(), f"mov eax, {ROOTS['wipe']:#x}")).violations == ()


@pytest.mark.parametrize("root", [ROOTS["wipe"] + 8, ROOTS["wipe"] + 0x1000, 0, 0x200000])
def test_law_2_sees_an_unlisted_root_stored_to_next(root: int) -> None:
    guard = GUARD.replace(f"{ROOTS['wipe']:#x}", f"{root:#x}")
    broken(handmade(guard), 2, "guard+", "stores to next what may be no listed root")


def test_law_2_sees_next_written_in_part_or_from_memory() -> None:
    broken(handmade(f"mov word ptr [{NEXT:#x}], 0"), 2, "guard+0x0", "stores to next")
    broken(
        handmade(f"mov rax, qword ptr [{TABLE:#x}]\nmov qword ptr [{NEXT:#x}], rax"),
        2,
        "guard",
        "stores to next",
    )
    broken(handmade(f"add dword ptr [{NEXT:#x}], 0x1000"), 2, "guard+0x0", "stores to next")


def test_law_2_sees_page_tables_that_do_not_protect_the_code() -> None:
    image = handmade()
    mappings = image.manifest.mappings

    def changed(**fields: Any) -> Image:
        new = [
            msgspec.structs.replace(m, **fields) if m.executable and m.phases == ("steady",) else m
            for m in mappings
        ]
        return with_manifest(image, mappings=tuple(new))

    broken(changed(writable=True), 2, "page tables of steady", "writable and executable")
    broken(changed(physical=0x130000), 2, "page tables of steady", "no code page of the phase")
    broken(changed(executable=False), 2, "page tables of steady", "is not mapped")
    runs = tuple(
        msgspec.structs.replace(m, executable=True) if m.linear == 0x200000 else m for m in mappings
    )
    executable_ram = with_manifest(image, mappings=runs)
    broken(executable_ram, 2, "page tables of guard", "executable and no code page")
    twice = with_manifest(image, mappings=(*mappings, mappings[-1], mappings[-2], mappings[-3]))
    broken(twice, 2, "page tables of guard", "mapped twice")
    moved = tuple(m for m in mappings if m.linear != ROWS)
    broken(with_manifest(image, mappings=moved), 2, "page tables of guard", "rows.guard")


def word_list(image: Image) -> list[tuple[int, Progression]]:
    """The loader's fills and where each stands in the file."""
    pieces, fills = read_lists(image.loaded)
    at = FIXED + PIECE_LENGTH * len(pieces) + len(PIECES_END)
    return [(at + FILL_LENGTH * i, fill) for i, fill in enumerate(fills)]


def test_law_2_walks_the_tables_that_the_loader_writes() -> None:
    """Each word of the tables changed on its own is seen: as a page, a right or a place."""
    image = handmade()
    seen = 0
    for at, fill in word_list(image):
        for flipped in (1, 1 << 12, 1 << 31):
            value = struct.pack("<I", fill.value ^ flipped)
            report = verify(overwrite(image, at + 4, value))
            assert any(v.law == 2 for v in report.violations), (fill, flipped)
            seen += 1
    assert seen > 20


def test_law_2_sees_code_made_writable_or_data_executable_by_one_bit() -> None:
    image = handmade()
    tables = {m.linear: m for m in image.manifest.mappings if m.phases == ("steady",)}
    code = next(m for m in tables.values() if m.executable)
    entry = next(
        (at, fill)
        for at, fill in word_list(image)
        for _, value in fill.words()
        if value & 0xFFFFF000 == code.physical and fill.stride and not value & 2
    )
    changed = overwrite(image, entry[0] + 4, struct.pack("<I", entry[1].value | 2))
    broken(changed, 2, "page tables of", "mapped otherwise than the manifest lists it")
    broken(changed, 2, "page tables of", "makes the code or table at")


def test_law_2_sees_code_that_the_loader_puts_elsewhere() -> None:
    image = handmade()
    pieces, _ = read_lists(image.loaded)
    tables, code = pieces[:2]
    moved = struct.pack("<I", code.destination + 0x40)
    changed = overwrite(image, FIXED + PIECE_LENGTH, moved)
    broken(changed, 2, "page tables of", "does not put the phase")
    moved = struct.pack("<I", tables.destination + 0x40)
    broken(overwrite(image, FIXED, moved), 2, "descriptor tables", "the trap at +0x0")


def test_law_2_wants_the_first_root_to_be_guards() -> None:
    image = handmade()
    at, fill = next(item for item in word_list(image) if NEXT in dict(item[1].words()))
    changed = overwrite(image, at + 4, struct.pack("<I", fill.value + 0x1000))
    broken(changed, 2, f"next at {NEXT:#x}", "does not begin with guard's root")


# Law 3: only what is there


@pytest.mark.parametrize(
    ("steady", "message"),
    [
        (f"mov dword ptr [{TABLE + 0x180:#x}], eax", f"touches {TABLE + 0x180:#x}"),
        (f"mov dword ptr [{BYTES + 5:#x}], eax", f"touches {BYTES + 5:#x}"),
        (f"mov dword ptr [{WINDOW + 0x1000:#x}], eax", f"touches {WINDOW + 0x1000:#x}"),
        (f"mov dword ptr [{WINDOW + 0x20000:#x}], eax", f"touches {WINDOW + 0x20000:#x}"),
        (f"mov eax, {ROWS:#x}\nmov eax, dword ptr [rax]", f"touches {ROWS:#x}"),
        ("mov eax, 0xb8000\nmov word ptr [rax], cx", "touches 0xb8000"),
        ("mov dword ptr [rdi], eax", "cannot be told from the bytes"),
        (f"mov rdi, qword ptr [{TABLE:#x}]\nmov dword ptr [rdi], eax", "cannot be told"),
        ("mov dx, 0xcf0\nin eax, dx", "port 0xcf0"),
        ("in al, 0x60", "port 0x60"),
        ("mov edx, 0x3fc\nout dx, ax\nmov edx, 0x3ff\nout dx, ax", "port 0x3ff"),
        ("out dx, al", "port cannot be told"),
        (
            f"mov edi, {TABLE:#x}\nmov ecx, 33\nxor eax, eax\nrep stosq qword ptr [rdi], rax",
            "may leave its place",
        ),
        (f"mov edi, {TABLE:#x}\nrep stosb byte ptr [rdi], al", "may leave its place"),
    ],
)
def test_law_3_refuses_operands_that_nothing_declares(steady: str, message: str) -> None:
    violation = broken(handmade(steady=steady), 3, "steady+", message)
    assert violation.span is not None


def test_law_3_lets_a_gate_choose_between_a_place_and_its_shadow_only() -> None:
    gated = f"mov ecx, {{}}\nxor edx, edx\ncmp eax, 1\ncmove ecx, edx\nmov [rcx + {TABLE:#x}], eax"
    assert verify(handmade(steady=gated.format(hex(SHADOW)))).violations == ()
    broken(
        handmade(steady=gated.format("0x20000000")),
        3,
        "steady+",
        f"touches {TABLE + 0x20000000:#x}",
    )
    # Two gates added for one open path: -2^30 and 2 * 2^30 fault, and are let through.
    pair = f"""
        xor ecx, ecx
        mov edx, {SHADOW:#x}
        cmp eax, 1
        cmove ecx, edx
        xor esi, esi
        cmp eax, 2
        cmove esi, edx
        mov dword ptr [rcx + rsi + {TABLE - SHADOW:#x}], eax
    """
    assert verify(handmade(steady=pair)).violations == ()


@pytest.mark.parametrize(
    ("row", "field", "value", "message"),
    [
        (0, 0, 0xB8000, "touches 0xb8000"),
        (2, 0, WINDOW + 0x1000, f"touches {WINDOW + 0x1000:#x}"),
        (1, 0, 0x60, "touches port 0x60"),
        (0, 2, PORT, f"touches port {WINDOW & 0xFFFF:#x}"),
        (1, 2, MEMORY, "touches 0x3f8"),
    ],
)
def test_law_3_reads_the_places_that_rows_hold(
    row: int, field: int, value: int, message: str
) -> None:
    image = handmade()
    assert follow(image).phases[0].walked.rows == 3
    rows = image.manifest.symbol("rows.guard").file[0]
    loaded = bytearray(image.loaded)
    struct.pack_into("<I", loaded, rows.start + row * STRIDE + 4 * field, value)
    broken(reseal(image, loaded=bytes(loaded)), 3, "guard+", message)


@pytest.mark.parametrize("stride", [1, 8, 24, 36])
def test_law_3_sees_a_cursor_that_leaves_the_rows(stride: int) -> None:
    guard = GUARD.replace(f"add eax, {STRIDE}", f"add eax, {stride}")
    assert verify(handmade(guard)).violations or stride == 36  # one row, then done


def test_law_3_refuses_a_write_to_read_only_data() -> None:
    guard = GUARD + "mov dword ptr [rbx], eax\n"
    broken(handmade(guard), 3, "guard+", "writes to read-only data")


def test_law_3_knows_which_phase_may_use_what() -> None:
    image = handmade()
    ports = (PortRange(name="uart", base=0x2F8, length=8, device=UART, phases=("guard",)),)
    manifest = image.manifest
    provenance = msgspec.structs.replace(manifest.provenance, ports=ports)
    broken(with_manifest(image, provenance=provenance), 3, "steady+", "touches port 0x2f8")
    window = msgspec.structs.replace(manifest.symbol("00:03.0.csr"), phases=("guard",))
    symbols = tuple(window if s.name == window.name else s for s in manifest.symbols)
    broken(with_manifest(image, symbols=symbols), 3, "steady+", "nothing declares")


# Law 4: the account and the manifest


def code_entry(image: Image, phase: str) -> int:
    """The number of the account's entry for a phase's generated code."""
    return next(i for i, e in enumerate(image.account) if e.kind == "code" and e.phase == phase)


def test_law_4_sees_gaps_overlaps_and_wrong_order() -> None:
    image = handmade()
    at = code_entry(image, "guard")
    first, second, rest = image.account[:at], image.account[at], image.account[at + 1 :]
    shorter = msgspec.structs.replace(second, end=second.end - 1)
    longer = msgspec.structs.replace(second, end=second.end + 1)
    for account in (
        (*first, *rest),
        (*first, shorter, *rest),
        (*first, longer, *rest),
        (second, *first, *rest),
        (*first, second, second, *rest),
    ):
        broken(reseal(image, account=account), 4, "file 0x", "not covered exactly once")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"file": ""}, "without a pattern's file and line"),
        ({"line": 0}, "without a pattern's file and line"),
        ({"device": ""}, "without a device"),
        ({"device": "00:05.0"}, "which the manifest does not list"),
        ({"kind": ""}, "no kind"),
        ({"kind": "padding"}, "padding holds something"),
        ({"kind": "row"}, "code of guard is accounted as row"),
        ({"kind": "loader"}, "code of guard is accounted as loader"),
        ({"kind": "trailer"}, "would be loaded"),
    ],
)
def test_law_4_sees_a_changed_account(fields: dict[str, object], message: str) -> None:
    image = handmade()
    account, at = list(image.account), code_entry(image, "guard")
    account[at] = msgspec.structs.replace(account[at], **fields)
    place = f"file {account[at].start:#x} to"
    broken(reseal(image, account=tuple(account)), 4, place, message)


def test_law_4_sees_data_accounted_as_code() -> None:
    image = handmade()
    account = tuple(
        msgspec.structs.replace(e, kind="code") if e.kind == "row" else e for e in image.account
    )
    broken(reseal(image, account=account), 4, "file 0x", "data of rows.guard is accounted as code")


def test_law_4_sees_something_hidden_in_the_padding() -> None:
    image = handmade()
    loaded = image.loaded[:-1] + b"\x90"
    broken(reseal(image, loaded=loaded), 4, "file 0x", "padding holds something")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loaded_bytes": 1 << 40}, "loaded bytes are not in"),
        ({"entry": ROWS}, "not guard's first instruction"),
        ({"roots": (0x100000, 0x104000)}, "the listed roots are not those"),
        ({"next": "nowhere"}, "is not declared"),
        ({"phases": ()}, "there is no phase"),
        ({"loader": FileRange(start=0, end=1 << 30)}, "are not loaded"),
    ],
)
def test_law_4_sees_a_manifest_that_does_not_fit_its_file(
    fields: dict[str, object], message: str
) -> None:
    broken(with_manifest(handmade(), **fields), 4, "manifest", message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"code_length": 4}, "4 bytes of code"),
        ({"code_length": 60}, "does not end at"),
        ({"code_linear": ROWS}, "does not end at"),
        ({"code_file": (FileRange(start=500, end=501),)}, "file ranges hold 1 bytes"),
        ({"code_file": (FileRange(start=900, end=1 << 50),)}, "are not loaded"),
        ({"code_pages": ()}, "0 code pages listed"),
        ({"name": "idle"}, "no such phase"),
    ],
)
def test_law_4_sees_a_phase_that_is_not_in_the_file(
    fields: dict[str, object], message: str
) -> None:
    image = handmade()
    *others, steady = image.manifest.phases
    changed = msgspec.structs.replace(steady, **fields)
    broken(with_manifest(image, phases=(*others, changed)), 4, "manifest", message)


def test_law_4_sees_overlapping_places() -> None:
    image = handmade()
    symbols = image.manifest.symbols
    moved = tuple(
        msgspec.structs.replace(s, linear=TABLE + 0xFF) if s.linear == HEAD else s for s in symbols
    )
    broken(with_manifest(image, symbols=moved), 4, "manifest", "overlap")


# Laws 5 and 7


def test_law_5_allows_baseline_instructions_only_before_the_guard_has_passed() -> None:
    bmi = bytes.fromhex("c4e2f1f7c2")  # shlx rax, rdx, rcx
    listed = ("+bmi2",)
    assert verify(handmade(steady_bytes=bmi, features=listed)).violations == ()
    broken(handmade(steady_bytes=bmi), 5, "steady+0x0", "needs the CPU feature bmi2")
    image = handmade(guard_bytes=bmi, features=listed)
    broken(image, 5, "guard+0x0", "needs the CPU feature bmi2")


def test_law_7_wants_a_bound_for_every_repeated_string_instruction() -> None:
    unbounded = f"mov edi, {TABLE:#x}\nmov rcx, qword ptr [{HEAD:#x}]\nrep stosb byte ptr [rdi], al"
    broken(handmade(steady=unbounded), 7, "steady+", "nothing bounds the count")


def test_the_cursor_and_the_rows_are_where_the_tests_think_they_are() -> None:
    manifest = handmade().manifest
    assert manifest.symbol("rows.cursor").linear == CURSOR
    assert manifest.symbol("next").linear == NEXT
