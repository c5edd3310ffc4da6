// From exceptions, interrupts and SYSCALL to Rust, and back.
//
// Every way in ends with the same frame on the stack (trap/frame.rs): all general registers, the vector, the error code, and
// what IRETQ takes. Names in braces are filled in by trap/mod.rs.
//
// From user mode: the frame is at the top of the thread's kernel stack. GS is exchanged; the user's flags that would change
// how the kernel works are cleared; the user's XSAVE state goes to the thread's area, before compiled code uses a vector
// register. From the kernel: the frame is below the interrupted code's stack pointer (the kernel has no red zone), and the
// legacy part of the state, x87 and SSE, follows on the stack.

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

// With the frame on the kernel stack and the kernel's GS: from user mode.
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
  mov rdi, rsp
  xor ebp, ebp
  call {exception_main}
  // Falls through.

// With the frame on the stack: to user mode. Interrupts are kept out.
.global return_to_user
return_to_user:
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
  swapgs
  POP_REGISTERS
.global user_iret
user_iret:
  iretq

// The IRETQ above faults in the kernel, but with the user's GS, when what it shall load is no user code.
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
  mov rsp, gs:[{KERNEL_STACK}]
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
// stack pointer, or, where the stack pointer is the user's, the thread's kernel stack, which is empty then.
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
  mov rdi, gs:[{KERNEL_STACK}]
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
