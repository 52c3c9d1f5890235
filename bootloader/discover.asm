; The discoverer: a BIOS boot image that reads the machine it runs on and prints what it
; found, line by line, then stops. docs/discoverer.md describes the lines.
;
;   nasm -f bin -o discover.img bootloader/discover.asm
;   nasm -f bin -DROWS='"rows.bin"' -o discover.img bootloader/discover.asm
;
; Each line goes to the first serial port the firmware found (BIOS INT 14h), and to the screen
; (BIOS INT 10h); or to QEMU's debug console alone, port 0xE9, which answers 0xE9 to a read
; where it exists. Without a serial port the screen waits after each page, for a key or half a
; minute. After the last line a key shows all once more, page by page.
;
; What it touches: BIOS services, PCI configuration space (mechanism 1), the memory that
; holds the ACPI tables, and the places its learn rows name. It knows no device.
;
; Sources: PCI Local Bus Specification 3.0 (chapter 6: configuration space, 6.2.5.1: sizing
; a base address register); Intel SDM volume 2A, CPUID; ACPI 6.4 §5.2 (RSDP, RSDT, XSDT) and
; §15.1 (INT 15h, E820h); IBM PC/AT BIOS for the data area and INT 10h, 13h, 14h, 15h, 16h.

        cpu     586
        bits    16
        org     0x7C00

FORMAT          equ 2                   ; version of the line format
MINIMUM         equ 516096              ; smaller disks hang SeaBIOS on AHCI (0 cylinders)
CHUNK           equ 16                  ; bytes shown in one line, which a screen's row holds
PAGE_TICKS      equ 546                 ; 30 s of the BIOS's clock, 18.2 Hz
SERIAL_PORT     equ 0x400               ; BIOS data area: port of the first serial port
CLOCK           equ 0x46C               ; ticks since midnight
LAST_ROW        equ 0x484               ; the screen's rows less one

CONFIG_ADDRESS  equ 0xCF8               ; PCI 3.0 §3.2.2.3.2
CONFIG_DATA     equ 0xCFC
DEBUG_CONSOLE   equ 0xE9

; A learn row is 16 bytes: the constants below are in metaos/probe/learn.py too.
ROW_PLACE       equ 0                   ; u32: port, config address or physical address
ROW_VALUE       equ 4                   ; u32
ROW_MASK        equ 8                   ; u32
ROW_KIND        equ 12                  ; u8: action << 4 | access; 0 ends the table
ROW_ID          equ 13                  ; u8: names the value a keep row prints
ROW_LIMIT       equ 14                  ; u16: milliseconds a wait row may take
ROW_SIZE        equ 16

ACTION_WRITE    equ 1                   ; place <- value
ACTION_MODIFY   equ 2                   ; place <- (place & ~mask) | value
ACTION_KEEP     equ 3                   ; print place & mask
ACTION_WAIT     equ 4                   ; until (place & mask) == value

ACCESS_PORT8    equ 0
ACCESS_PORT16   equ 1
ACCESS_PORT32   equ 2
ACCESS_CONFIG8  equ 3
ACCESS_CONFIG16 equ 4
ACCESS_CONFIG32 equ 5
ACCESS_MEMORY32 equ 6
ACCESS_MEMORY8  equ 7
ACCESS_MEMORY16 equ 8

; Variables, in low memory that the firmware leaves free.
        absolute 0x600
line:           resb 192                ; the line being made
config:         resb 256                ; one function's configuration space
chunk:          resb 64                 ; a copy of high memory, or an E820 entry
masks:          resd 7                  ; what BARs and ROM read after all ones
number:         resw 1                  ; of the next line
console:        resb 1                  ; 1 if the debug console answers
serial:         resb 1                  ; 1 if there is a serial port that takes what it is given
paging:         resb 1                  ; 1 if the screen waits after each page
left:           resb 1                  ; rows left on this page
page:           resw 1
bars:           resb 1                  ; base address registers of this header type
rom:            resb 1                  ; offset of the ROM's register, 0 if none
entry_size:     resb 1                  ; 4 in an RSDT, 8 in an XSDT
function:       resd 1                  ; 0x80000000 | bus << 16 | device << 11 | function << 8
leaf:           resd 1
subleaf:        resd 1
last_leaf:      resd 1
last_subleaf:   resd 1
answer:         resd 4                  ; eax, ebx, ecx, edx of the last CPUID
table:          resd 1                  ; address of the ACPI table in hand
table_end:      resd 1
entry:          resd 1                  ; address of the RSDT entry in hand
entries_end:    resd 1

        section .text
start:
        cli
        cld
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, 0x7C00
        jmp     0:.flat
.flat:
        sti
        mov     ah, 0x42                ; extended read; dl is the boot drive
        mov     si, packet
        int     0x13
        jnc     main
        mov     si, disk_failed
.letter:
        lodsb
        test    al, al
        jz      stop
        push    ax
        mov     ah, 0x0E
        xor     bx, bx
        int     0x10
        pop     ax
        mov     ah, 0x01
        xor     dx, dx
        int     0x14
        jmp     .letter
stop:
        cli
        hlt
        jmp     stop

packet:
        db      16, 0
        dw      SECTORS
        dw      body, 0
        dq      1
disk_failed:
        db      "metaos discoverer: the firmware cannot read the boot disk", 13, 10, 0

        ; Some firmware starts a stick as a disk only if an active partition is on it.
        times   446 - ($ - $$) db 0
        db      0x80, 0, 2, 0           ; active, from cylinder 0, head 0, sector 2
        db      0xDA, 0xFE, 0xFF, 0xFF  ; no file system; the end is beyond what CHS counts
        dd      1, MINIMUM / 512 - 1    ; first sector, how many
        times   510 - ($ - $$) db 0
        dw      0xAA55

; ---------------------------------------------------------------------------------------
body:
main:
        mov     ax, 0x2401              ; A20 on
        int     0x15
        mov     byte [paging], 0
        in      al, DEBUG_CONSOLE
        cmp     al, DEBUG_CONSOLE
        sete    [console]
        cmp     word [SERIAL_PORT], 0
        setne   [serial]
        je      .all
        mov     ax, 0x00E3              ; 9600 baud, 8 bits, no parity, 1 stop bit
        xor     dx, dx
        int     0x14
.all:
        mov     word [number], 0
        call    open_screen
        mov     si, tag_header
        call    begin
        mov     al, FORMAT
        call    put_hex8
        call    finish
        call    show_cpuid
        call    show_memory
        call    show_legacy
        call    show_pci
        call    show_acpi
        call    run_rows
        mov     si, tag_end
        call    begin
        mov     ax, [number]
        inc     ax                      ; this line counts
        call    put_hex16
        call    finish
        cmp     byte [console], 0
        jne     stop
        mov     si, at_end
        call    say
        cmp     byte [rows + ROW_KIND], 0
        jne     stop                    ; learn rows are run once
.wait:
        call    key_or_tick
        jz      .wait
        mov     byte [paging], 1
        jmp     .all

; --- the screen ------------------------------------------------------------------------

; Text mode with 50 rows, or what the firmware makes of that; a new first page.
open_screen:
        cmp     byte [console], 0
        jne     .done
        mov     ax, 0x0003
        int     0x10
        mov     ax, 0x1112              ; 8 x 8 font: 50 rows
        xor     bx, bx
        int     0x10
        mov     word [page], 0
        cmp     byte [serial], 0
        jne     new_page
        mov     byte [paging], 1
        jmp     new_page
.done:
        ret

new_page:
        inc     word [page]
        mov     al, [LAST_ROW]
        cmp     al, 24
        jae     .rows
        mov     al, 24
.rows:
        mov     [left], al              ; the last one is for what `say` says
        ret

; A row of the screen is written: wait if it was the page's last.
row_done:
        dec     byte [left]
        jnz     .done
        cmp     byte [paging], 0
        je      new_page
        mov     di, line
        mov     si, at_page
        call    put_text
        mov     ax, [page]
        call    put_hex16
        mov     al, 0
        stosb
        mov     si, line
        call    say
        mov     si, at_page_end
        call    say
        mov     ebx, [CLOCK]
.wait:
        call    key_or_tick
        jnz     .on
        mov     eax, [CLOCK]
        sub     eax, ebx
        cmp     eax, PAGE_TICKS
        jb      .wait
.on:
        mov     ax, 0x0600              ; clear the window, cursor to its top
        mov     bh, 7
        xor     cx, cx
        mov     dh, [LAST_ROW]
        mov     dl, 79
        int     0x10
        mov     ah, 2
        xor     bh, bh
        xor     dx, dx
        int     0x10
        jmp     new_page
.done:
        ret

; Take a key if there is one: ZF = 0. Else wait for an interrupt, such as the clock's: ZF = 1.
key_or_tick:
        mov     ah, 1
        int     0x16
        jz      .none
        xor     ah, ah
        int     0x16
        or      ah, 1
        ret
.none:
        sti
        hlt
        xor     ax, ax
        ret

; Put the zero-terminated text at si on the screen, with no line of it anywhere else.
say:
        lodsb
        test    al, al
        jz      .done
        call    put_screen
        jmp     say
.done:
        ret

put_screen:                             ; al; keeps all registers
        pusha
        mov     ah, 0x0E
        mov     bx, 7
        int     0x10
        popa
        ret

; --- lines: "NNNN tag fields*CCCC" -----------------------------------------------------

; Start a line: its number, then the text at si. Leaves di behind it.
begin:
        mov     di, line
        mov     ax, [number]
        call    put_hex16
        mov     al, ' '
        stosb
; Put the zero-terminated text at si.
put_text:
        lodsb
        test    al, al
        jz      .done
        stosb
        jmp     put_text
.done:
        ret

put_space_hex32:
        mov     byte [di], ' '
        inc     di
put_hex32:
        ror     eax, 16
        call    put_hex16
        ror     eax, 16
put_hex16:
        xchg    al, ah
        call    put_hex8
        xchg    al, ah
put_hex8:
        ror     al, 4
        call    put_digit
        ror     al, 4
put_digit:                              ; keeps all registers but di
        push    ax
        and     al, 15
        cmp     al, 10
        jb      .decimal
        add     al, 'a' - '0' - 10
.decimal:
        add     al, '0'
        stosb
        pop     ax
        ret

; Put cx bytes at si as hex digits.
put_bytes:
        lodsb
        call    put_hex8
        loop    put_bytes
        ret

; Put a space and "bus:device.function".
put_space_address:
        mov     byte [di], ' '
        inc     di
put_address:
        mov     eax, [function]
        push    ax
        shr     eax, 16
        call    put_hex8                ; bus
        mov     al, ':'
        stosb
        pop     ax
        push    ax
        shr     ax, 11
        call    put_hex8                ; device
        mov     al, '.'
        stosb
        pop     ax
        mov     al, ah
        and     al, 7
        jmp     put_digit               ; function

; End the line: "*", CRC-16/CCITT-FALSE of all before it, CR LF; send it.
finish:
        mov     si, line
        mov     dx, 0xFFFF
.byte:
        lodsb
        xor     dh, al
        mov     cx, 8
.bit:
        add     dx, dx
        jnc     .next
        xor     dx, 0x1021
.next:
        loop    .bit
        cmp     si, di
        jb      .byte
        mov     al, '*'
        stosb
        mov     ax, dx
        call    put_hex16
        mov     ax, 0x0A0D
        stosw
        inc     word [number]
        mov     si, line
.send:
        lodsb
        cmp     byte [console], 0
        je      .screen
        out     DEBUG_CONSOLE, al
        jmp     .sent
.screen:
        call    put_screen
        cmp     byte [serial], 0
        je      .sent
        mov     ah, 0x01
        xor     dx, dx
        int     0x14
        test    ah, 0x80                ; time out: nobody is at the other end
        jz      .sent
        mov     byte [serial], 0
        mov     byte [paging], 1
.sent:
        cmp     si, di
        jb      .send
        cmp     byte [console], 0
        jne     .done
        pushad
        call    row_done
        popad
.done:
        ret

; --- cpuid LEAF SUBLEAF EAX EBX ECX EDX ------------------------------------------------

show_cpuid:
        pushfd                          ; CPUID exists if EFLAGS.ID can be changed
        pop     eax
        mov     ecx, eax
        xor     eax, 1 << 21
        push    eax
        popfd
        pushfd
        pop     eax
        xor     eax, ecx
        test    eax, 1 << 21
        jz      .none
        xor     eax, eax
        call    .range
        mov     eax, 0x40000000         ; the hypervisor's
        call    .range
        mov     eax, 0x80000000
.range:                                 ; all leaves from eax on
        mov     [leaf], eax
        cpuid
        xor     ebx, ebx
        mov     edx, eax
        sub     edx, [leaf]
        cmp     edx, 0xFF               ; no such range: an arbitrary answer
        ja      .none
        mov     [last_leaf], eax
.leaf:
        call    show_leaf
        mov     eax, [leaf]
        inc     dword [leaf]
        cmp     eax, [last_leaf]
        jb      .leaf
.none:
        ret

; Show one leaf and those of its subleaves that mean something.
show_leaf:
        mov     dword [subleaf], 0
        call    ask_cpuid
        call    show_answer
        mov     si, subleaf_rules
.find:
        lodsd
        xchg    eax, ebx
        lodsw
        xchg    ax, bp                  ; how to go on
        cmp     ebx, [leaf]
        je      .go
        cmp     si, subleaf_rules_end
        jb      .find
        ret
.go:
        mov     dword [last_subleaf], 63
        cmp     bp, rule_count
        jne     .next
        mov     eax, [answer]
        cmp     eax, 63
        ja      .next
        mov     [last_subleaf], eax
.next:
        mov     eax, [subleaf]
        cmp     eax, [last_subleaf]
        jae     .done
        inc     dword [subleaf]
        call    ask_cpuid
        jmp     bp
rule_count:                             ; subleaf 0 says in eax which is the last
        call    show_answer
        jmp     show_leaf.next
rule_type:                              ; until eax[4:0], the kind, is 0
        test    byte [answer], 31
        jz      show_leaf.done
        jmp     rule_count
rule_level:                             ; until ecx[15:8], the kind of level, is 0
        cmp     byte [answer + 9], 0
        je      show_leaf.done
        jmp     rule_count
rule_sparse:                            ; those that are not all zeros
        mov     eax, [answer]
        or      eax, [answer + 4]
        or      eax, [answer + 8]
        or      eax, [answer + 12]
        jz      show_leaf.next
        jmp     rule_count
show_leaf.done:
        ret

ask_cpuid:
        mov     eax, [leaf]
        mov     ecx, [subleaf]
        cpuid
        mov     [answer], eax
        mov     [answer + 4], ebx
        mov     [answer + 8], ecx
        mov     [answer + 12], edx
        ret

show_answer:
        push    bp
        mov     si, tag_cpuid
        call    begin
        mov     eax, [leaf]
        call    put_hex32
        mov     eax, [subleaf]
        call    put_space_hex32
        mov     si, answer
        mov     cx, 4
.register:
        lodsd
        call    put_space_hex32
        loop    .register
        call    finish
        pop     bp
        ret

subleaf_rules:                          ; Intel SDM 2A and AMD APM 3, CPUID: leaf, rule
        %macro  subleaves 2
        dd      %1
        dw      %2
        %endmacro
        subleaves 0x00000004, rule_type
        subleaves 0x00000007, rule_count
        subleaves 0x0000000B, rule_level
        subleaves 0x0000000D, rule_sparse
        subleaves 0x0000000F, rule_sparse
        subleaves 0x00000010, rule_sparse
        subleaves 0x00000012, rule_sparse
        subleaves 0x00000014, rule_count
        subleaves 0x00000017, rule_count
        subleaves 0x00000018, rule_count
        subleaves 0x0000001B, rule_type
        subleaves 0x0000001D, rule_count
        subleaves 0x0000001E, rule_sparse
        subleaves 0x0000001F, rule_level
        subleaves 0x00000020, rule_sparse
        subleaves 0x00000023, rule_sparse
        subleaves 0x00000024, rule_count
        subleaves 0x8000001D, rule_type
        subleaves 0x80000020, rule_sparse
        subleaves 0x80000026, rule_level
subleaf_rules_end:

; --- e820 BASE LENGTH KIND ATTRIBUTES --------------------------------------------------

show_memory:
        xor     ebx, ebx
.entry:
        mov     di, chunk
        mov     dword [di + 20], 1      ; attributes, for firmware that gives 20 bytes
        mov     eax, 0xE820
        mov     edx, 'PAMS'             ; "SMAP"
        mov     ecx, 24
        int     0x15
        jc      .done
        cmp     eax, 'PAMS'
        jne     .done
        push    ebx
        mov     si, tag_memory
        call    begin
        mov     si, chunk
        call    put_hex64
        mov     al, ' '
        stosb
        call    put_hex64
        lodsd
        call    put_space_hex32
        lodsd
        call    put_space_hex32
        call    finish
        pop     ebx
        test    ebx, ebx                ; 0 after the last
        jnz     .entry
.done:
        ret

put_hex64:                              ; of 8 bytes at si
        mov     eax, [si + 4]
        call    put_hex32
        lodsd
        add     si, 4
        jmp     put_hex32

; --- com INDEX PORT, lpt INDEX PORT ----------------------------------------------------

show_legacy:
        mov     bx, 0x400               ; four words of serial, three of parallel ports
        mov     bp, tag_com
        mov     cx, 4
        call    .ports
        mov     bp, tag_lpt
        mov     cx, 3
.ports:
        xor     dx, dx
.port:
        cmp     word [bx], 0
        je      .next
        pusha
        mov     si, bp
        call    begin
        mov     al, dl
        call    put_hex8
        mov     al, ' '
        stosb
        mov     ax, [bx]
        call    put_hex16
        call    finish
        popa
.next:
        inc     dx
        inc     bx
        inc     bx
        loop    .port
        ret

; --- pci ADDRESS OFFSET BYTES, bars ADDRESS VALUE..., rom ADDRESS VALUE ----------------
; Every bus is looked at, so that further root buses are found too.

show_pci:
        mov     dword [function], 0x80000000
.look:
        xor     al, al
        call    config_read
        cmp     ax, 0xFFFF
        je      .absent
        call    show_function
        mov     eax, 0x100
        test    word [function], 0x700  ; only function 0 says whether there are others
        jnz     .step
        test    byte [config + 14], 0x80
        jnz     .step
        mov     ax, 0x800
        jmp     .step
.absent:
        mov     eax, 0x100
        test    word [function], 0x700
        jnz     .step
        mov     ax, 0x800
.step:
        add     [function], eax
        cmp     dword [function], 0x81000000
        jb      .look
        ret

show_function:
        xor     bx, bx
.read:
        mov     al, bl
        call    config_read
        mov     [config + bx], eax
        add     bl, 4
        jnz     .read
        call    size_bars
        xor     bx, bx
.line:
        push    bx
        mov     si, tag_pci
        call    begin
        call    put_address
        mov     al, ' '
        stosb
        mov     al, bl
        call    put_hex8
        mov     al, ' '
        stosb
        lea     si, [config + bx]
        mov     cx, CHUNK
        call    put_bytes
        call    finish
        pop     bx
        add     bl, CHUNK
        jnz     .line
        movzx   cx, [bars]
        jcxz    .done
        mov     si, tag_bars
        call    begin
        call    put_address
        mov     si, masks
.bar:
        lodsd
        call    put_space_hex32
        loop    .bar
        call    finish
        cmp     byte [rom], 0
        je      .done
        movzx   bx, [bars]
        shl     bx, 2
        push    dword [masks + bx]
        mov     si, tag_rom
        call    begin
        call    put_address
        pop     eax
        call    put_space_hex32
        call    finish
.done:
        ret

; Write all ones to each BAR and to the ROM's register, keep what they read, restore them.
; The function decodes neither memory nor ports meanwhile, and no interrupt comes between.
size_bars:
        mov     al, [config + 14]
        and     al, 0x7F
        mov     bx, 0x3006              ; header type 0: six BARs, ROM at 0x30
        jz      .known
        mov     bx, 0x3802              ; 1, bridge: two, ROM at 0x38
        cmp     al, 1
        je      .known
        mov     bx, 0x0001              ; 2, CardBus bridge: one, no ROM
        cmp     al, 2
        je      .known
        xor     bx, bx
.known:
        mov     [bars], bl
        mov     [rom], bh
        cli
        movzx   ecx, word [config + 4]
        and     cl, ~3                  ; COMMAND: no memory, no port decoding
        mov     al, 4                   ; zeros leave STATUS alone (write 1 to clear)
        call    config_write
        xor     di, di                  ; 4 * index
        movzx   bp, [bars]
        mov     bl, 0x10
.bar:
        test    bp, bp
        jz      .rom
        or      ecx, -1
        call    size_one
        add     bl, 4
        dec     bp
        jmp     .bar
.rom:
        mov     dword [masks + di], 0
        mov     bl, [rom]
        test    bl, bl
        jz      .restore
        mov     ecx, 0xFFFFF800         ; bit 0 would enable it
        call    size_one
.restore:
        movzx   ecx, word [config + 4]
        mov     al, 4
        call    config_write
        sti
        ret

; Size the register at offset bl with pattern ecx into [masks + di]; di += 4.
size_one:
        mov     al, bl
        call    config_write
        mov     al, bl
        call    config_read
        mov     [masks + di], eax
        add     di, 4
        movzx   si, bl
        mov     ecx, [config + si]
        mov     al, bl
        jmp     config_write

config_read:                            ; offset al -> eax
        movzx   eax, al
        or      eax, [function]
        mov     dx, CONFIG_ADDRESS
        out     dx, eax
        mov     dx, CONFIG_DATA
        in      eax, dx
        ret

config_write:                           ; offset al <- ecx
        movzx   eax, al
        or      eax, [function]
        mov     dx, CONFIG_ADDRESS
        out     dx, eax
        mov     dx, CONFIG_DATA
        mov     eax, ecx
        out     dx, eax
        ret

; --- acpi ADDRESS OFFSET BYTES ---------------------------------------------------------
; The RSDP, the RSDT or XSDT, and each table it names but SSDTs.

show_acpi:
        mov     bx, [0x40E]             ; the EBDA's segment; its first KiB, ACPI §5.2.5.1
        mov     bp, 0x400 / 16
        test    bx, bx
        jz      .rom
        call    find_rsdp
        je      .found
.rom:
        mov     bx, 0xE000
        mov     bp, 0x2000
        call    find_rsdp
        jne     .none
.found:
        movzx   eax, bx
        shl     eax, 4
        mov     [table], eax
        mov     esi, eax
        mov     ecx, 36
        call    copy_high
        mov     ecx, 20
        mov     byte [entry_size], 4
        mov     eax, [chunk + 16]       ; RsdtAddress
        cmp     byte [chunk + 15], 2    ; Revision
        jb      .show
        mov     ecx, 36
        mov     edx, [chunk + 24]       ; XsdtAddress
        test    edx, edx
        jz      .show
        cmp     dword [chunk + 28], 0
        jne     .show
        mov     byte [entry_size], 8
        mov     eax, edx
.show:
        push    eax
        call    show_bytes
        pop     eax
        call    show_table
        jc      .none
        mov     eax, [table]
        add     eax, 36
        mov     [entry], eax
        mov     eax, [table_end]
        mov     [entries_end], eax
.entry:
        mov     esi, [entry]
        movzx   ecx, byte [entry_size]
        lea     eax, [esi + ecx]
        cmp     eax, [entries_end]
        ja      .none
        mov     [entry], eax
        mov     dword [chunk + 4], 0
        call    copy_high
        mov     eax, [chunk]
        cmp     dword [chunk + 4], 0    ; beyond what 32 bits reach
        jne     .entry
        call    show_table
        jmp     .entry
.none:
        ret

; Look at bp paragraphs from segment bx on; ZF and bx = its segment if it is there.
find_rsdp:
        mov     es, bx
        cmp     dword [es:0], 'RSD '
        jne     .next
        cmp     dword [es:4], 'PTR '
        jne     .next
        xor     si, si
        xor     al, al
        mov     cx, 20
.sum:
        add     al, [es:si]
        inc     si
        loop    .sum
        test    al, al
        jz      .done
.next:
        inc     bx
        dec     bp
        jnz     find_rsdp
        inc     bp                      ; ZF = 0
.done:
        push    0
        pop     es
        ret

; Show the table at eax whole; CF if there is none or its length is absurd.
show_table:
        mov     [table], eax
        test    eax, eax
        jz      .none
        mov     esi, eax
        mov     ecx, 8
        call    copy_high
        cmp     dword [chunk], 'SSDT'   ; a program, as the DSDT is, and often a long one
        je      .none
        mov     ecx, [chunk + 4]        ; Length
        cmp     ecx, 36
        jb      .none
        cmp     ecx, 0x100000
        ja      .none
        call    show_bytes
        clc
        ret
.none:
        stc
        ret

; Show ecx bytes at [table].
show_bytes:
        mov     eax, [table]
        mov     [answer], eax
        add     ecx, eax
        mov     [table_end], ecx
.line:
        mov     esi, [answer]
        mov     ecx, [table_end]
        sub     ecx, esi
        jbe     .done
        cmp     ecx, CHUNK
        jbe     .copy
        mov     ecx, CHUNK
.copy:
        push    cx
        call    copy_high
        mov     si, tag_acpi
        call    begin
        mov     eax, [table]
        call    put_hex32
        neg     eax
        add     eax, [answer]
        call    put_space_hex32
        mov     al, ' '
        stosb
        pop     cx
        add     [answer], cx
        adc     word [answer + 2], 0
        mov     si, chunk
        call    put_bytes
        call    finish
        jmp     .line
.done:
        ret

; Copy ecx bytes from physical address esi to chunk.
copy_high:
        mov     edi, chunk
        call    reach
        a32 rep movsb
        jmp     leave_reach

; Give ds and es a limit of 4 GiB, with no interrupt until leave_reach. The code segment is
; not reloaded, so execution goes on as in real mode.
reach:
        cli
        push    eax
        lgdt    [descriptors]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        push    8
        pop     ds
        push    8
        pop     es
        and     al, ~1
        mov     cr0, eax
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        pop     eax
        ret

; Give the segments their 64 KiB limit back, so that firmware finds what it expects.
leave_reach:
        push    eax
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        push    16
        pop     ds
        push    16
        pop     es
        and     al, ~1
        mov     cr0, eax
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        pop     eax
        sti
        ret

        align   8
descriptors:                            ; the null descriptor's place holds the pointer
        dw      23
        dd      descriptors
        dw      0
        dq      0x008F92000000FFFF      ; 8: data, base 0, 4 GiB
        dq      0x000092000000FFFF      ; 16: data, base 0, 64 KiB

; --- learn ID VALUE, stuck ROW ID VALUE ------------------------------------------------

run_rows:
        mov     bp, rows
.row:
        mov     al, [bp + ROW_KIND]
        shr     al, 4
        jz      .done
        cmp     al, ACTION_KEEP
        je      .keep
        cmp     al, ACTION_WAIT
        je      .wait
        mov     ecx, [bp + ROW_VALUE]
        cmp     al, ACTION_WRITE
        je      .write
        call    read_place              ; modify
        mov     ecx, [bp + ROW_MASK]
        not     ecx
        and     ecx, eax
        or      ecx, [bp + ROW_VALUE]
.write:
        call    write_place
.next:
        add     bp, ROW_SIZE
        jmp     .row
.keep:
        call    read_masked
        push    eax
        mov     si, tag_learn
        call    begin
        mov     al, [bp + ROW_ID]
        call    put_hex8
        pop     eax
        call    put_space_hex32
        call    finish
        jmp     .next
.wait:
        mov     bx, [bp + ROW_LIMIT]
.again:
        call    read_masked
        cmp     eax, [bp + ROW_VALUE]
        je      .next
        test    bx, bx
        jz      .stuck
        call    pass_time
        sub     bx, ax
        jnc     .again
        xor     bx, bx                  ; look once more after the limit
        jmp     .again
.stuck:
        push    eax
        mov     si, tag_stuck
        call    begin
        mov     ax, bp
        sub     ax, rows
        shr     ax, 4
        call    put_hex16
        mov     al, ' '
        stosb
        mov     al, [bp + ROW_ID]
        call    put_hex8
        pop     eax
        call    put_space_hex32
        call    finish                  ; what follows relied on it: no more rows
.done:
        ret

; Let some time pass; ax = how many milliseconds.
pass_time:
        mov     ah, 0x86                ; BIOS: wait cx:dx microseconds
        xor     cx, cx
        mov     dx, 1000
        int     0x15
        mov     ax, 1
        jnc     .done
        mov     ax, [0x46C]             ; not there: until the next tick of 18.2 Hz
.tick:
        hlt
        cmp     ax, [0x46C]
        je      .tick
        mov     ax, 55
.done:
        ret

read_masked:
        call    read_place
        and     eax, [bp + ROW_MASK]
        ret

; Read the place of the row at bp into eax, zero-extended.
read_place:
        call    aim
        xor     eax, eax
        jmp     [.ways + si]
.ways:
        dw      .byte, .word, .dword, .byte, .word, .dword, .memory, .memory8, .memory16
.byte:
        in      al, dx
        ret
.word:
        in      ax, dx
        ret
.dword:
        in      eax, dx
        ret
.memory:
        mov     esi, [bp + ROW_PLACE]
        call    reach
        mov     eax, [esi]
        jmp     leave_reach
.memory8:
        mov     esi, [bp + ROW_PLACE]
        call    reach
        movzx   eax, byte [esi]
        jmp     leave_reach
.memory16:
        mov     esi, [bp + ROW_PLACE]
        call    reach
        movzx   eax, word [esi]
        jmp     leave_reach

; Write ecx to the place of the row at bp.
write_place:
        call    aim
        mov     eax, ecx
        jmp     [.ways + si]
.ways:
        dw      .byte, .word, .dword, .byte, .word, .dword, .memory, .memory8, .memory16
.byte:
        out     dx, al
        ret
.word:
        out     dx, ax
        ret
.dword:
        out     dx, eax
        ret
.memory:
        mov     esi, [bp + ROW_PLACE]
        call    reach
        mov     [esi], ecx
        jmp     leave_reach
.memory8:
        mov     esi, [bp + ROW_PLACE]
        call    reach
        mov     [esi], cl
        jmp     leave_reach
.memory16:
        mov     esi, [bp + ROW_PLACE]
        call    reach
        mov     [esi], cx
        jmp     leave_reach

; dx = the port of the row's place, selected first if it is configuration space;
; si = 2 * the row's access.
aim:
        movzx   si, byte [bp + ROW_KIND]
        and     si, 15
        mov     dx, [bp + ROW_PLACE]
        cmp     si, ACCESS_CONFIG8
        jb      .done
        cmp     si, ACCESS_CONFIG32
        ja      .done
        mov     eax, [bp + ROW_PLACE]
        or      eax, 0x80000000
        and     al, ~3
        mov     dx, CONFIG_ADDRESS
        out     dx, eax
        mov     dx, [bp + ROW_PLACE]
        and     dx, 3
        add     dx, CONFIG_DATA
.done:
        add     si, si
        ret

; ---------------------------------------------------------------------------------------
tag_header:     db "metaos-discoverer ", 0
tag_cpuid:      db "cpuid ", 0
tag_memory:     db "e820 ", 0
tag_com:        db "com ", 0
tag_lpt:        db "lpt ", 0
tag_pci:        db "pci ", 0
tag_bars:       db "bars ", 0
tag_rom:        db "rom ", 0
tag_acpi:       db "acpi ", 0
tag_learn:      db "learn ", 0
tag_stuck:      db "stuck ", 0
tag_end:        db "end ", 0
at_page:        db "-- page ", 0
at_page_end:    db ": take a photograph, then press a key; goes on by itself after 30 s", 0
at_end:         db "-- the end; a key shows it all again, page by page", 0

        align   ROW_SIZE
rows:
%ifdef ROWS
        incbin  ROWS
%endif
        times   ROW_SIZE db 0           ; the end row

SECTORS equ ($ - body + 511) / 512
%if SECTORS > 64
        %error "too many learn rows: the discoverer must end below 64 KiB"
%endif
        times   MINIMUM - ($ - $$) db 0
