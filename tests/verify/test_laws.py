"""Break every law on purpose and see it caught, with the law and the place named.

Each broken image is sealed again (lengths, hashes), so that nothing but the proof can tell.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest

from metaos.link.image import Image
from metaos.link.manifest import FileRange, PortRange
from metaos.verify import LAWS, Violation, verify
from metaos.verify.laws import follow
from tests.verify.handmade import (
    CODE_END,
    CURSOR,
    GUARD,
    HEAD,
    MEMORY,
    NEXT,
    PORT,
    ROOTS,
    SHADOW,
    STEADY,
    STRIDE,
    TABLE,
    WINDOW,
    assemble,
    change,
    handmade,
    patch,
    reseal,
    with_manifest,
)


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
    assert dict(report.phases) == {"guard": 29, "steady": 15}
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
        ("f4", "not on the list: hlt"),
        ("fb", "not on the list: sti"),
        ("0f30", "not on the list: wrmsr"),
        ("0f01f8", "not on the list: swapgs"),
        ("0f20d8", "control register"),
        ("0f22c0", "control register"),
        ("8ed8", "segment register"),
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
    violation = broken(
        patch(image, "steady", length - 4, target), 2, f"steady+{length - 5:#x}", "the jmp goes to"
    )
    assert f"{CODE_END - length + moved:#x}" in violation.message


def test_law_2_sees_a_jmp_of_another_form_at_the_end() -> None:
    image = handmade()
    length = image.manifest.phase("steady").code_length
    short = patch(image, "steady", length - 5, b"\x0f\x1f\x00\xeb\xfe")
    broken(short, 2, f"steady+{length - 2:#x}", "does not end in a five-byte jmp")


def test_law_2_sees_cr3_loaded_in_steady() -> None:
    image = handmade(steady_bytes=assemble("mov cr3, rax"))
    broken(image, 2, "steady+0x0", "the steady phase loads CR3")
    broken(image, 2, "steady+0x0", "no listed root")


def test_law_2_sees_a_second_load_of_cr3() -> None:
    image = handmade(guard="mov eax, 0x100000\nmov cr3, rax\n" + GUARD)
    broken(image, 2, "guard+0x5", "2 loads of CR3")
    broken(image, 2, "guard+0x5", "outside the linker's phase change")


def test_law_2_sees_a_start_phase_that_loads_no_cr3() -> None:
    broken(handmade(guard_tail=b"\x90"), 2, "guard+0x0", "0 loads of CR3")


def test_law_2_sees_cr3_loaded_from_elsewhere() -> None:
    tail = assemble(f"mov rax, qword ptr [{HEAD:#x}]\nmov cr3, rax")
    broken(handmade(guard_tail=tail), 2, "guard", "something that is no listed root")
    direct = assemble("mov eax, 0x104000\nmov cr3, rax")
    assert not [v for v in verify(handmade(guard_tail=direct)).violations if v.law == 2]


@pytest.mark.parametrize("root", [0x104008, 0x105000, 0, 0x200000])
def test_law_2_sees_an_unlisted_root_stored_to_next(root: int) -> None:
    guard = GUARD.replace(f"{ROOTS['steady']:#x}", f"{root:#x}")
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
    runs = msgspec.structs.replace(mappings[0], executable=True)
    executable_ram = with_manifest(image, mappings=(runs, *mappings[1:]))
    broken(executable_ram, 2, "page tables of guard", "executable and no code page")
    twice = with_manifest(image, mappings=(*mappings, mappings[0]))
    broken(twice, 2, "page tables of guard", "mapped twice")
    rows = [m for m in mappings if m.linear == 0x80000000]
    moved = tuple(m for m in mappings if m not in rows)
    broken(with_manifest(image, mappings=moved), 2, "page tables of guard", "rows.guard")


# Law 3: only what is there


@pytest.mark.parametrize(
    ("steady", "message"),
    [
        (f"mov dword ptr [{TABLE + 0x180:#x}], eax", "touches 0x200180"),
        (f"mov dword ptr [{TABLE + 0xFE:#x}], eax", "touches 0x2000fe"),
        (f"mov dword ptr [{WINDOW + 0x1000:#x}], eax", "touches 0x10001000"),
        (f"mov dword ptr [{WINDOW + 0x20000:#x}], eax", "touches 0x10020000"),
        ("mov eax, 0x80000000\nmov eax, dword ptr [rax]", "touches 0x80000000"),
        ("mov eax, 0xb8000\nmov word ptr [rax], cx", "touches 0xb8000"),
        ("mov dword ptr [rdi], eax", "cannot be told from the bytes"),
        (f"mov rdi, qword ptr [{TABLE:#x}]\nmov dword ptr [rdi], eax", "cannot be told"),
        ("mov dx, 0xcf8\nin eax, dx", "port 0xcf8"),
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
    broken(handmade(steady=gated.format("0x20000000")), 3, "steady+", "touches 0x20200000")
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
        (2, 0, WINDOW + 0x1000, "touches 0x10001000"),
        (1, 0, 0x60, "touches port 0x60"),
        (0, 2, PORT, "touches port 0x0"),
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
    ports = (PortRange(name="uart", base=0x3F8, length=8, device="com.0", phases=("guard",)),)
    manifest = image.manifest
    provenance = msgspec.structs.replace(manifest.provenance, ports=ports)
    broken(with_manifest(image, provenance=provenance), 3, "steady+", "touches port 0x3f8")
    window = msgspec.structs.replace(manifest.symbol("00:03.0.csr"), phases=("guard",))
    symbols = tuple(window if s.name == window.name else s for s in manifest.symbols)
    broken(with_manifest(image, symbols=symbols), 3, "steady+", "nothing declares")


# Law 4: the account and the manifest


def test_law_4_sees_gaps_overlaps_and_wrong_order() -> None:
    image = handmade()
    first, second, *rest = image.account
    shorter = msgspec.structs.replace(second, end=second.end - 1)
    longer = msgspec.structs.replace(second, end=second.end + 1)
    for account in (
        (first, *rest),
        (first, shorter, *rest),
        (first, longer, *rest),
        (second, first, *rest),
        (first, first, second, *rest),
    ):
        assert reseal(image, account=account).account != image.account
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
    account = list(image.account)
    account[1] = msgspec.structs.replace(account[1], **fields)
    broken(reseal(image, account=tuple(account)), 4, "file 0x1f4", message)


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
        ({"entry": 0x80000000}, "not guard's first instruction"),
        ({"roots": (0x100000, 0x104000, 0x108000)}, "the listed roots are not those"),
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
        ({"code_linear": 0x80000000}, "does not end at"),
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
    guard, steady = image.manifest.phases
    changed = msgspec.structs.replace(steady, **fields)
    broken(with_manifest(image, phases=(guard, changed)), 4, "manifest", message)


def test_law_4_sees_overlapping_places() -> None:
    image = handmade()
    symbols = image.manifest.symbols
    moved = msgspec.structs.replace(symbols[1], linear=TABLE + 0xFF, physical=TABLE + 0xFF)
    changed = with_manifest(image, symbols=(symbols[0], moved, *symbols[2:]))
    broken(changed, 4, "manifest", "overlap")


# Laws 5 and 7


def test_law_5_allows_baseline_instructions_only_before_the_guard_has_passed() -> None:
    bmi = bytes.fromhex("c4e2f1f7c2")  # shlx rax, rdx, rcx
    listed = ("+bmi2",)
    assert verify(handmade(steady_bytes=bmi, features=listed)).violations == ()
    broken(handmade(steady_bytes=bmi), 5, "steady+0x0", "needs the CPU feature bmi2")
    image = handmade(guard_tail=bmi + change(), features=listed)
    broken(image, 5, "guard+", "needs the CPU feature bmi2")


def test_law_7_wants_a_bound_for_every_repeated_string_instruction() -> None:
    unbounded = f"mov edi, {TABLE:#x}\nmov rcx, qword ptr [{HEAD:#x}]\nrep stosb byte ptr [rdi], al"
    broken(handmade(steady=unbounded), 7, "steady+", "nothing bounds the count")


def test_the_cursor_and_the_rows_are_where_the_tests_think_they_are() -> None:
    manifest = handmade().manifest
    assert manifest.symbol("rows.cursor").linear == CURSOR
    assert manifest.symbol("next").linear == NEXT
