# The gates. `gate/mod.rs` tells how they are reached and what they keep; every routine is explained here.
#
# A gate is entered by a jump from a thunk with r11 = the address of a descriptor:
#     +0 the function to call   +8 this gate   +16 the domain   +24 flags   +32 name   +40 counter
# and with everything else as the caller left it: arguments in registers and on the stack, the return address on top. r10 and r11 are the
# only registers that the System V ABI lets it change on the way in (r10 is the static chain pointer of languages that
# have one; no such function is exported by a library). On the way out rcx, rsi, rdi, r8 to r11 are free: no result is in them.
#
# A domain: +0 keep (the bits of the register that are not the guard's)   +4 open (what the guard's bits become inside).
# A frame of the shadow stack, 64 bytes:
#     +0 return address   +8 the caller's rbx   +16 rsp at the call   +24 descriptor   +32 PKRU before

# ---- The thread's variables: +0 next free frame of its shadow stack (0: none yet), +8 whether a pardon left a key open.
# Initial-exec, so that no function has to be called to reach them. Nothing else is in thread-local storage by choice: an
# audit library gets some 1600 bytes.
    .section .tbss,"awT",@nobits
    .p2align 3
    .hidden pkeys_guard_thread
    .type pkeys_guard_thread,@object
    .size pkeys_guard_thread,16
pkeys_guard_thread:
    .zero 16

    .text

# ---- fn thread_variables() -> *mut [usize; 2]: the address of the thread's variables.
    .globl pkeys_guard_thread_variables
    .hidden pkeys_guard_thread_variables
    .type pkeys_guard_thread_variables,@function
pkeys_guard_thread_variables:
    .cfi_startproc
    mov rax, qword ptr fs:[0]
    add rax, qword ptr [rip + pkeys_guard_thread@GOTTPOFF]
    ret
    .cfi_endproc
    .size pkeys_guard_thread_variables, . - pkeys_guard_thread_variables

# ---- Saves and restores all general registers that may hold an argument, around a call of Rust code; vectors.s keeps the others. rsp must be anything; rbx is
# kept by the callee. The caller has pushed nothing that is looked for through rsp in between.
    .macro SAVE_ARGUMENTS
    push rax
    push rcx
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push rbp
    mov rbp, rsp
    and rsp, -16
    .endm
    .macro RESTORE_ARGUMENTS
    mov rsp, rbp
    pop rbp
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    .endm

# ---- The first gate of a thread: makes its shadow stack and gives its first frame in rbx.
    .p2align 4
    .type pkeys_guard_first,@function
pkeys_guard_first:
    SAVE_ARGUMENTS
    call {new_shadow_stack}
    mov rbx, rax
    RESTORE_ARGUMENTS
    ret
    .size pkeys_guard_first, . - pkeys_guard_first

# ---- rbx = the next frame, the caller's rbx on the stack, r10 = the offset of the thread's variables. The frame is not claimed yet.
    .macro FIND_FRAME
    push rbx
    mov r10, qword ptr [rip + pkeys_guard_thread@GOTTPOFF]
    mov rbx, qword ptr fs:[r10]
    test rbx, rbx
    jz 7f
8:
    .endm

# ---- What FIND_FRAME jumps to for the first gate of a thread; stands behind the gate's last instruction.
    .macro FIRST_FRAME
7:  call pkeys_guard_first
    jmp 8b
    .endm

# ---- Claims the frame that rbx points to. It is claimed before it is filled for good: a signal handler that comes in between may pass
# a gate itself, and must find its frame above this one. Such a handler may also jump out (siglongjmp), and what it gives up then
# is told by the frame's stack pointer and register: a gate with keys fills these two before it claims the frame, and again
# afterwards, as a handler that came before may have used the frame. It never lies there with what an earlier call left in it.
    .macro CLAIM
    add qword ptr fs:[r10], 64
    .endm

# ---- Moves what lies on the stack above the arguments into the frame; the stack then is as the callee must find it.
    .macro FILL
    pop qword ptr [rbx+8]
    pop qword ptr [rbx]
    mov qword ptr [rbx+16], rsp
    mov qword ptr [rbx+24], r11
    .endm

# ---- Gives the frame up and returns to the caller. rsp is where it was at the call, so that the return address goes to the slot
# that it came from, and the processor's return-stack predictor stays paired. The frame is read before it is given up. No flag
# is changed.
    .macro UNWIND_FRAME
    push qword ptr [rbx]
    mov rdi, rbx
    mov rbx, qword ptr [rbx+8]
    mov rsi, qword ptr [rip + pkeys_guard_thread@GOTTPOFF]
    mov qword ptr fs:[rsi], rdi
    .endm

# ---- The call itself, with what an unwinder must know of it. The return address is not on the stack but in the frame, which rbx
# points to; rbx is preserved by the callee, so the unwinder has it. CFA = rsp + 8 is no address of this function's: it only has to
# differ from the caller's CFA, or libgcc takes the two for one frame and aborts in its second phase. The caller's rsp is
# stated outright instead (rsp itself), the return address is at [rbx], the caller's rbx at [rbx+8]. The personality routine (0x9b:
# indirect, relative, four bytes) gives the frame and the rights back when an exception passes.
    .macro CALL
    .cfi_startproc
    .cfi_personality 0x9b, pkeys_guard_personality_pointer
    .cfi_def_cfa rsp, 8
    .cfi_escape 0x16, 7, 2, 0x77, 0x00
    .cfi_escape 0x10, 16, 2, 0x73, 0x00
    .cfi_escape 0x10, 3, 2, 0x73, 0x08
    call qword ptr [r11]
    nop
    .cfi_endproc
    .endm

# ---- Brings back the guard's bits of PKRU as the frame has them, and leaves the other keys as they are now: the function may have
# called somebody who has keys, and opened or closed them. So the register is read again. It is not written where nothing of the guard's
# would change, as in a gate within a gate of the same library. rax and rdx hold results and are kept in r8 and r9. RDPKRU and
# WRPKRU want ecx = 0, and WRPKRU edx = 0, which RDPKRU leaves behind. The bits that differ are exchanged by one XOR.
    .macro RESTORE_RIGHTS
    mov r8, rax
    mov r9, rdx
    mov r10d, dword ptr [rbx+32]
    xor ecx, ecx
    rdpkru
    xor r10d, eax
    and r10d, dword ptr [rip + {own}]
    UNWIND_FRAME
    jz 6f
    xor eax, r10d
    wrpkru
6:  mov rax, r8
    mov rdx, r9
    ret
    .endm

# ---- The gate into a guarded library. Opens the library's key and the shadow stack's, closes every other guarded key, calls, and
# brings back what was. rax, rcx, rdx and the register's old value wait on the stack until the shadow stack is open. Where all is
# as it should be already, the register is not written.
    .globl pkeys_guard_gate
    .hidden pkeys_guard_gate
    .p2align 6
    .type pkeys_guard_gate,@function
pkeys_guard_gate:
    FIND_FRAME
    push rax
    push rcx
    push rdx
    xor ecx, ecx
    rdpkru
    cmp qword ptr fs:[r10+8], 0
    jne 3f
2:  push rax
    mov rcx, qword ptr [r11+16]
    and eax, dword ptr [rcx]
    or eax, dword ptr [rcx+4]
    xor ecx, ecx
    cmp eax, dword ptr [rsp]
    je 4f
    wrpkru
4:  pop rax
    lea rdx, [rsp+40]
    mov dword ptr [rbx+32], eax
    mov qword ptr [rbx+16], rdx
    CLAIM
    mov dword ptr [rbx+32], eax
    pop rdx
    pop rcx
    pop rax
    FILL
    CALL
    RESTORE_RIGHTS
    # A pardon has left a key open until the next gate ends: what the frame brings back is closed. Not so in a gate within a
    # gate, whose caller may be a guarded library that needs its key: there the shadow stack is open.
3:  mov qword ptr fs:[r10+8], 0
    test eax, dword ptr [rip + {shadow}]
    jz 2b
    or eax, dword ptr [rip + {closed}]
    jmp 2b
    FIRST_FRAME
    .size pkeys_guard_gate, . - pkeys_guard_gate

# ---- In front of the gate of an entry in the library's own tables, such as a virtual function. The library itself calls these too:
# where its domain is open already, the call goes on as if there were no gate.
    .globl pkeys_guard_own
    .hidden pkeys_guard_own
    .p2align 5
    .type pkeys_guard_own,@function
pkeys_guard_own:
    push rax
    push rcx
    push rdx
    xor ecx, ecx
    rdpkru
    mov r10, qword ptr [r11+16]
    mov ecx, dword ptr [r10]
    and ecx, eax
    or ecx, dword ptr [r10+4]
    cmp ecx, eax
    pop rdx
    pop rcx
    pop rax
    je 1f
    jmp qword ptr [r11+48]
1:  jmp qword ptr [r11]
    .size pkeys_guard_own, . - pkeys_guard_own

# ---- The gate back: from a guarded library to a callback of the program. Closes every guarded key. Where the shadow stack is closed
# already, the callback was not called by a guarded library, and there is nothing to do. The frame is filled before the keys are
# closed: the shadow stack is open until then.
    .globl pkeys_guard_reverse
    .hidden pkeys_guard_reverse
    .p2align 6
    .type pkeys_guard_reverse,@function
pkeys_guard_reverse:
    push rax
    push rcx
    push rdx
    xor ecx, ecx
    rdpkru
    test eax, dword ptr [rip + {shadow}]
    jnz 5f
    FIND_FRAME
    # On the stack: rbx, rdx, rcx, rax, the return address; behind it the callee's arguments.
    lea rdx, [rsp+40]
    mov dword ptr [rbx+32], eax
    mov qword ptr [rbx+16], rdx
    CLAIM
    mov dword ptr [rbx+32], eax
    mov qword ptr [rbx+16], rdx
    mov qword ptr [rbx+24], r11
    pop qword ptr [rbx+8]
    mov rdx, qword ptr [rsp+24]
    mov qword ptr [rbx], rdx
    xor edx, edx
    or eax, dword ptr [rip + {closed}]
    wrpkru
    pop rdx
    pop rcx
    pop rax
    lea rsp, [rsp+8]
    CALL
    RESTORE_RIGHTS
5:  pop rdx
    pop rcx
    pop rax
    jmp qword ptr [r11]
    FIRST_FRAME
    .size pkeys_guard_reverse, . - pkeys_guard_reverse

# ---- Both gates without keys: the frames are kept, the register is not touched. For tests, for measurements, and for mode off.
    .globl pkeys_guard_bare_gate
    .hidden pkeys_guard_bare_gate
    .p2align 6
    .type pkeys_guard_bare_gate,@function
pkeys_guard_bare_gate:
    FIND_FRAME
    CLAIM
    FILL
    CALL
    mov r8, rdx
    UNWIND_FRAME
    mov rdx, r8
    ret
    FIRST_FRAME
    .size pkeys_guard_bare_gate, . - pkeys_guard_bare_gate

# ---- The gate into a library whose heap is closed by mprotect(2), for a figure. Rust code opens it before the call and closes it
# after; what may hold a result is kept across that: rax, rdx, xmm0, xmm1. No function that returns a long double is called there.
    .globl pkeys_guard_mprotect_gate
    .hidden pkeys_guard_mprotect_gate
    .type pkeys_guard_mprotect_gate,@function
pkeys_guard_mprotect_gate:
    FIND_FRAME
    CLAIM
    SAVE_ARGUMENTS
    call {open_by_mprotect}
    RESTORE_ARGUMENTS
    FILL
    CALL
    push rax
    push rdx
    sub rsp, 32
    movups [rsp], xmm0
    movups [rsp+16], xmm1
    call {close_by_mprotect}
    movups xmm0, [rsp]
    movups xmm1, [rsp+16]
    add rsp, 32
    pop rdx
    pop rax
    mov r8, rdx
    UNWIND_FRAME
    mov rdx, r8
    ret
    FIRST_FRAME
    .size pkeys_guard_mprotect_gate, . - pkeys_guard_mprotect_gate

# ---- In front of a gate: counts the call, for --stats. The counter has a place of its own, the descriptor cannot be written.
    .globl pkeys_guard_counted
    .hidden pkeys_guard_counted
    .type pkeys_guard_counted,@function
pkeys_guard_counted:
    mov r10, qword ptr [r11+40]
    lock inc qword ptr [r10]
    jmp qword ptr [r10+8]
    .size pkeys_guard_counted, . - pkeys_guard_counted

# ---- In front of a gate of a function that takes callbacks: Rust code replaces the function pointers among the arguments.
# fn wrap_callbacks(descriptor, registers: rdi rsi rdx rcx r8 r9, stack arguments)
    .globl pkeys_guard_callbacks
    .hidden pkeys_guard_callbacks
    .type pkeys_guard_callbacks,@function
pkeys_guard_callbacks:
    push rax
    push r11
    push r9
    push r8
    push rcx
    push rdx
    push rsi
    push rdi
    mov rdi, r11
    mov rsi, rsp
    lea rdx, [rsp+72]
    push rbp
    mov rbp, rsp
    and rsp, -16
    call {wrap_callbacks}
    mov rsp, rbp
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop r8
    pop r9
    pop r11
    pop rax
    jmp qword ptr [r11+48]
    .size pkeys_guard_callbacks, . - pkeys_guard_callbacks

# ---- In front of a function of the domain's allocator: hands the domain over as fourth argument. None of them has more than three.
    .globl pkeys_guard_with_domain
    .hidden pkeys_guard_with_domain
    .type pkeys_guard_with_domain,@function
pkeys_guard_with_domain:
    mov rcx, qword ptr [r11+16]
    jmp qword ptr [r11]
    .size pkeys_guard_with_domain, . - pkeys_guard_with_domain

# ---- In front of longjmp(3) and its kin: gives up the frames that the jump leaves behind. rdi = jmp_buf, which is passed on with
# everything else. The stack is aligned for the call: one return address and two registers are on it.
    .globl pkeys_guard_longjmp
    .hidden pkeys_guard_longjmp
    .type pkeys_guard_longjmp,@function
pkeys_guard_longjmp:
    push rdi
    push rsi
    push r11
    call {before_longjmp}
    pop r11
    pop rsi
    pop rdi
    jmp qword ptr [r11]
    .size pkeys_guard_longjmp, . - pkeys_guard_longjmp

# ---- Where the unwind information finds the personality routine: a pointer in data, as the code must not be relocated.
    .section .data.rel.ro,"aw",@progbits
    .p2align 3
    .hidden pkeys_guard_personality_pointer
pkeys_guard_personality_pointer:
    .quad {personality}
    .text
