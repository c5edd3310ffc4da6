# Rust code that is called on the way into a gate. An argument may be in a vector register as a whole, 256 or 512 bits wide. The Rust
# code leaves the upper halves alone, but what it calls of its C library does not: memcpy(3) ends with VZEROUPPER. So all
# of it is saved around the call: what XSAVE calls SSE, AVX and the three parts of AVX-512 (0xE6; SDM Vol. 1, 13.1).
#
# The area has 2688 bytes in the standard format and is aligned to 64. Its header, 64 bytes at 512, has to be zero: XSAVE writes
# only the bits of its first word that it was asked for.

    .macro KEEP_VECTORS name, function
    .globl \name
    .hidden \name
    .type \name,@function
\name:
    .cfi_startproc
    push rbp
    .cfi_adjust_cfa_offset 8
    .cfi_offset rbp, -16
    mov rbp, rsp
    .cfi_def_cfa_register rbp
    sub rsp, 2688
    and rsp, -64
    mov r10, rdx
    xor eax, eax
    .irp at, 512, 520, 528, 536, 544, 552, 560, 568
    mov qword ptr [rsp + \at], rax
    .endr
    mov eax, 0xE6
    xor edx, edx
    xsave [rsp]
    mov rdx, r10
    call \function
    mov r10, rax
    mov eax, 0xE6
    xor edx, edx
    xrstor [rsp]
    mov rax, r10
    mov rsp, rbp
    pop rbp
    .cfi_def_cfa rsp, 8
    ret
    .cfi_endproc
    .size \name, . - \name
    .endm

    .text
    KEEP_VECTORS pkeys_guard_new_shadow_stack, {new_shadow_stack}
    KEEP_VECTORS pkeys_guard_wrap_callbacks, {wrap_callbacks}
