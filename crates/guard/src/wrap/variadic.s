# execl(3), execlp(3), execle(3): arguments as a list. The first is in rdi, five more may be in registers, the rest is on the stack,
# above the return address. These routines make one array of the list and call Rust code with it.
#
# On entry rsp points to the return address. It is taken off, the five registers are pushed where it was and below, so that they
# lie right in front of the arguments on the stack, and it is kept beneath them. Where the call comes back, because nothing
# was executed, it is put where it came from. The unwind information says the same: CFA, and where the return address is.

    .macro LIST name, function
    .globl \name
    .hidden \name
    .type \name,@function
\name:
    .cfi_startproc
    pop rax
    .cfi_adjust_cfa_offset -8
    .cfi_register rip, rax
    push r9
    .cfi_adjust_cfa_offset 8
    push r8
    .cfi_adjust_cfa_offset 8
    push rcx
    .cfi_adjust_cfa_offset 8
    push rdx
    .cfi_adjust_cfa_offset 8
    push rsi
    .cfi_adjust_cfa_offset 8
    mov rsi, rsp
    push rax
    .cfi_adjust_cfa_offset 8
    .cfi_offset rip, -48
    call \function
    pop rcx
    .cfi_adjust_cfa_offset -8
    .cfi_register rip, rcx
    add rsp, 40
    .cfi_adjust_cfa_offset -40
    push rcx
    .cfi_adjust_cfa_offset 8
    .cfi_offset rip, -8
    ret
    .cfi_endproc
    .size \name, . - \name
    .endm

    .text
    LIST pkeys_guard_execl, {execl}
    LIST pkeys_guard_execlp, {execlp}
    LIST pkeys_guard_execle, {execle}
