; boot.asm: from the BIOS to guard's map, for one image whose linker says what goes where.
;
; SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
;
; It knows no device: BIOS calls and the processor only. Sector 0 is loaded at 0x7C00 by the
; firmware; the rest of the image is read to 0x8000. Then, in 32-bit mode without paging:
; zero one region of RAM, copy the packed pieces, apply the fills (page tables, interrupt gates
; and RAM's initial values), and enter long mode with the image's own descriptor tables. It ends at
; guard's last instructions, which load CR3 with guard's own root: from guard's first
; instruction on, low memory is not mapped.
;
; The linker gives, as %defines, all in bytes and physical unless said otherwise:
;   SECTORS       sectors to read after the first
;   ZERO, BLOCKS  first byte to zero, and how many blocks of 128 bytes
;   PACKED        where the packed pieces lie after loading
;   STACK         initial stack pointer, in a RAM place
;   HANDOVER      linear address of guard's `mov eax, [next]; mov cr3, rax; jmp`
;   GDTR, IDTR    where the pointers to the image's own GDT and IDT lie
;   CODE, TASK    selectors in that GDT: 64-bit code, and the task-state segment
;   GUARD_PT      guard's page table for the code region, the third 2 MiB
;   ENTRY_1, 4..6 2 MiB page-directory entries that map `next` (0: not present)
;   DEPOSIT       RAM word for the memory size, in KiB above 1 MiB (may be absent)
;
; Sources: BIOS calls as in Ralf Brown's Interrupt List (INT 10h AH=00h and 0Eh, INT 13h
; AH=42h, INT 14h AH=00h and 01h, INT 15h AX=2401h and AX=E801h); processor modes as in the
; Intel SDM vol. 3A, 9.9.1 (protected mode) and 9.8.5 (IA-32e mode).

LOW_PAGE  equ 0x7C00 & ~0xFFF           ; the 4 KiB page that this sector lies in
BEYOND    equ 0x8000                    ; where sectors 1 and following go

bits 16
org 0x7C00

start:
        xor     ax, ax
        mov     ss, ax
        mov     sp, start
        mov     ds, ax
        cld
        mov     si, packet              ; DL is the boot drive since the firmware's jump
        mov     ah, 0x42                ; extended read
        int     0x13
        mov     si, no_disk
        jc      fail

        mov     si, no_cpu
        mov     eax, 0x80000000         ; greatest extended leaf
        cpuid
        cmp     eax, 0x80000000         ; a processor without any answers something less
        jbe     fail
        mov     eax, 0x80000001
        cpuid
        not     edx
        test    edx, 1 << 29 | 1 << 20  ; LM, NX
        jnz     fail

        mov     ax, 0x0003              ; 80x25 text, cleared
        int     0x10
        mov     ax, 0x2401              ; open the A20 gate; then look, whatever it says
        int     0x15
        mov     si, no_bios
        or      ax, -1
        mov     es, ax
        mov     [es:signature + 0x10], al ; linear 1 MiB + signature
        cmp     [signature], al         ; wrapped around?
        je      fail
        mov     ax, 0xE801              ; AX: KiB from 1 to 16 MiB, BX: 64 KiB units above
        int     0x15
        jc      fail

        cli
        lgdt    [gdt]
        mov     cx, 1                   ; CR0.PE; EM stays 0, for movaps
        lmsw    cx
        jmp     8:protected

; Print "MetaOS: " and the message at SI on screen and first serial port, then halt.
fail:
        push    si
        mov     ax, 0x00E3              ; 9600 8N1
        xor     bx, bx
        xor     dx, dx
        int     0x14
        mov     si, name
        call    print
        pop     si
        call    print
.halt:
        cli
        hlt
        jmp     .halt

print:
        lodsb
        test    al, al
        jz      .end
        mov     ah, 0x0E                ; teletype, page BH
        int     0x10
        mov     ah, 0x01                ; send, to port DX
        int     0x14
        jmp     print
.end:
        ret

bits 32
protected:
        mov     ecx, 16
        mov     ds, ecx
        mov     es, ecx
        mov     ss, ecx
%ifdef DEPOSIT
        movzx   ebp, ax
        movzx   ebx, bx
        shl     ebx, 6
        add     ebp, ebx
%endif
        mov     eax, 1 << 9 | 1 << 5    ; CR4.OSFXSR, PAE
        mov     cr4, eax
        cdq                             ; EDX = 0 for the fills' 16-bit steps

        mov     edi, ZERO
        mov     ecx, BLOCKS
        movaps  xmm0, [zeros]           ; not xorps: KVM's emulator has no xorps
.zero:                                  ; 12.8 bytes an instruction; rep stosd has 4
        movaps  [edi], xmm0
        movaps  [edi + 0x10], xmm0
        movaps  [edi + 0x20], xmm0
        movaps  [edi + 0x30], xmm0
        movaps  [edi + 0x40], xmm0
        movaps  [edi + 0x50], xmm0
        movaps  [edi + 0x60], xmm0
        movaps  [edi + 0x70], xmm0
        sub     edi, -0x80
        loop    .zero

        mov     esp, lists              ; the lists are popped
        mov     esi, PACKED
.piece:                                 ; {destination, length in dwords}, until length 0
        pop     edi
        pop     ecx
        jecxz   .fill
        rep movsd
        jmp     .piece

.fill:                                  ; {address, value, count:16, step:16, stride}, until count 0
        pop     edi
        pop     eax
        pop     cx
        pop     dx
        pop     ebx
        jecxz   .enter
.word:
        mov     [edi], eax
        add     eax, edx
        add     edi, ebx
        loop    .word
        jmp     .fill

.enter:
%ifdef DEPOSIT
        mov     [DEPOSIT], ebp
%endif
        mov     ecx, 0xC0000080         ; EFER
        mov     eax, 1 << 11 | 1 << 8   ; NXE, LME
        cdq
        wrmsr
        mov     eax, bootstrap
        mov     cr3, eax
        mov     esp, STACK
        lgdt    [GDTR]
        lidt    [IDTR]
        mov     eax, 1 << 31 | 1 << 4 | 1 ; CR0.PG, ET, PE
        mov     cr0, eax
        jmp     CODE:dword long_mode

bits 64
long_mode:
        mov     cl, TASK                ; ECX was EFER's number: the rest of CX is 0
        ltr     cx                      ; marks it busy: before WP
        bts     eax, 16                 ; CR0.WP
        mov     cr0, rax
        mov     eax, HANDOVER
        jmp     rax

no_disk db "disk read failed", 0
no_cpu  db "CPU lacks 64-bit mode or NX", 0
no_bios db "BIOS lacks A20 or memory size", 0
name    db 13, 10, "MetaOS: ", 0

packet  db 16, 0                        ; disk address packet
        dw      SECTORS, 0, BEYOND >> 4   ; a segment: up to 127 sectors fit
        dq      1

gdt:                                    ; its null entry holds the pointer to it
        dw      .end - gdt - 1
        dd      gdt
        dw      0
        dq      0x00CF9B000000FFFF      ; 8: 32-bit code, accessed
        dq      0x00CF93000000FFFF      ; 16: data, accessed
.end:

        align   16, db 0
zeros:
        times 510 - ($ - $$) db 0       ; 16 of them, at least
%if $ - zeros < 16
  %error "no room for 16 zeros"
%endif
signature:
        dw      0xAA55

; The page below is PML4, page-directory-pointer table, page directory and page table at
; once, walked only between `mov cr0` and guard's `mov cr3`. Entry 0 is itself, so: 7 maps
; this sector, 2 is guard's page table, one of the others is the 2 MiB page with `next`.
; The page's other entries are the lists; no address that leads to them is used.
bootstrap equ BEYOND
        dq      bootstrap | 0x23        ; present, writable, accessed
        dq      ENTRY_1
        dq      GUARD_PT | 0x23
        dq      0                       ; the slot below ENTRY_4 holds the frames
        dq      ENTRY_4
        dq      ENTRY_5
        dq      ENTRY_6
        dq      LOW_PAGE | 0x21         ; present, accessed
lists   equ BEYOND + ($ - $$) - 512
