// From exceptions, interrupts and SYSCALL to Rust, and back.
//
// Every way in ends with the same frame on the stack (trap/frame.rs): all general registers, the vector, the error code, and
// what IRETQ takes. Names in braces are filled in by trap/mod.rs.
//
// From user mode: the frame is at the top of the CPU's entry stack. GS is exchanged; the user's flags that would change how
// the kernel works are cleared; the user's XSAVE state goes to the CPU's area, before compiled code uses a vector register.
// Then run_user returns to who called it, on another stack: what user mode does is, to the kernel, one call. From the
// kernel: the frame is below the interrupted code's stack pointer (the kernel has no red zone), and the legacy part of the
// state, x87 and SSE, follows on the stack.

.text

// One entry a vector, STUB_LEN bytes apart. The processor pushes an error code for some; for the others a zero is pushed.
.align 16
.global exception_stubs
exception_stubs:
.set vector, 0
.rept 256
  .align {STUB_LEN}
  .if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
  .else
    push 0
  .endif
  push vector
  .if vector == 2 || vector == 8 || vector == 18
    jmp own_stack_entry
  .else
    jmp exception_entry
  .endif
  .set vector, vector + 1
.endr

.macro PUSH_REGISTERS
  push rax
  push rcx
  push rdx
  push rbx
  push rbp
  push rsi
  push rdi
  push r8
  push r9
  push r10
  push r11
  push r12
  push r13
  push r14
  push r15
.endm

.macro POP_REGISTERS
  pop r15
  pop r14
  pop r13
  pop r12
  pop r11
  pop r10
  pop r9
  pop r8
  pop rdi
  pop rsi
  pop rbp
  pop rbx
  pop rdx
  pop rcx
  pop rax
  add rsp, 16
.endm

// Clears DF and AC, and with them every other flag; interrupts are kept out already.
.macro CLEAR_FLAGS
  push 2
  popfq
.endm

.align 16
exception_entry:
  PUSH_REGISTERS
  CLEAR_FLAGS
  test byte ptr [rsp + {CS}], 3
  jz kernel_entered
  swapgs
  // Falls through.

// With the frame on the entry stack and the kernel's GS: from user mode. The frame's address is what run_user returns.
user_entered:
  mov rcx, gs:[{USER_STATE}]
  mov rax, gs:[{SWITCHED}]
  xor edx, edx
  test eax, eax
  jz 1f
  xsave64 [rcx]
  jmp 2f
1:
  fxsave64 [rcx]
2:
  push {MXCSR}
  ldmxcsr [rsp]
  add rsp, 8
  mov rax, rsp
  mov rsp, gs:[{RUN_STACK}]
  pop r15
  pop r14
  pop r13
  pop r12
  pop rbp
  pop rbx
  ret

// run_user(frame: *mut Frame in RDI) -> *mut Frame: to user mode with the registers of the frame, which is at the top of the
// entry stack; returns when the program comes back into the kernel, with the frame that it leaves. Interrupts are kept out,
// at the call and at the return. From the change of RSP to IRETQ what lies below the frame is free for handlers.
.global run_user
run_user:
  push rbx
  push rbp
  push r12
  push r13
  push r14
  push r15
  mov gs:[{RUN_STACK}], rsp
  mov rcx, gs:[{USER_STATE}]
  mov rax, gs:[{SWITCHED}]
  xor edx, edx
  test eax, eax
  jz 1f
  xrstor64 [rcx]
  jmp 2f
1:
  fxrstor64 [rcx]
2:
  mov rsp, rdi
  swapgs
  POP_REGISTERS
.global user_iret
user_iret:
  iretq

// The IRETQ above would fault in the kernel, but with the user's GS. It is given nothing that it refuses; should it
// nevertheless, that is reported as a defect of the kernel.
kernel_entered:
  lea rax, [rip + user_iret]
  cmp [rsp + {RIP}], rax
  jne 1f
  swapgs
1:
  mov rdi, rsp
  mov rbx, rsp
  sub rsp, 512
  and rsp, -16
  fxsave64 [rsp]
  call {exception_main}
  fxrstor64 [rsp]
  mov rsp, rbx
  POP_REGISTERS
  iretq

// SYSCALL: RCX is the user's RIP, R11 its flags; the stack pointer is still the user's. Interrupts are kept out and the flags
// are clear by SFMASK.
.align 16
.global syscall_entry
syscall_entry:
  swapgs
  mov gs:[{USER_STACK}], rsp
  mov rsp, gs:[{ENTRY_STACK}]
  push {USER_DATA}
  push gs:[{USER_STACK}]
  push r11
  push {USER_CODE}
  push rcx
  push 0
  push {SYSCALL}
  PUSH_REGISTERS
  jmp user_entered

// NMI, double fault, machine check: on a stack of their own, since the stack pointer may be anything. They come at any
// moment, also between SYSCALL and SWAPGS, so that the code segment does not tell whose GS is loaded; the base of GS does: the
// kernel's is in the upper half of the addresses, where a program cannot set it.
//
// The own stack holds one frame: a second NMI would overwrite it, and NMIs come again after the first IRETQ, for which a page
// fault in the handler suffices. So an NMI's frame moves on to the stack of what it interrupted: the kernel's, below its
// stack pointer, or, where the stack pointer is the user's, the CPU's entry stack, on which nothing is needed then.
.align 16
own_stack_entry:
  PUSH_REGISTERS
  CLEAR_FLAGS
  mov ecx, {GS_BASE}
  rdmsr
  xor r12d, r12d
  test edx, edx
  js 1f
  swapgs
  inc r12d
1:
  cmp qword ptr [rsp + {VECTOR}], {NMI}
  jne 3f
  mov rdi, gs:[{ENTRY_STACK}]
  test byte ptr [rsp + {CS}], 3
  jnz 2f
  mov rax, [rsp + {RSP}]
  test rax, rax
  cmovs rdi, rax
2:
  sub rdi, {FRAME_LEN}
  and rdi, -16
  mov rsi, rsp
  mov rsp, rdi
  mov ecx, {FRAME_LEN} / 8
  rep movsq
3:
  mov rdi, rsp
  mov rbx, rsp
  sub rsp, 512
  and rsp, -16
  fxsave64 [rsp]
  push {MXCSR}
  ldmxcsr [rsp]
  add rsp, 8
  call {exception_main}
  fxrstor64 [rsp]
  mov rsp, rbx
  test r12d, r12d
  jz 4f
  swapgs
4:
  POP_REGISTERS
  iretq
