// Programs for the cases of ring 3, each a whole static ELF file: a header, one program header, and code. They run on Linux
// as well. Each ends with status 0, or with the number of the step (R15) that did not go as it should.

.section .rodata

.set EXIT_GROUP, 231
.set BASE, 0x400000

// The headers of a program of this name; its code follows, up to END_OF name.
.macro PROGRAM name
.balign 16
.global \name
\name:
  .byte 0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0
  .quad 0
  .short 2, 62
  .long 1
  .quad BASE + 120
  .quad 64
  .quad 0
  .long 0
  .short 64, 56, 1, 0, 0, 0
  .long 1, 5
  .quad 0, BASE, BASE
  .quad \name\()_end - \name, \name\()_end - \name
  .quad 0x1000
.endm

.macro END_OF name
.global \name\()_end
\name\()_end:
.endm

// A system call by its number; arguments are in registers already.
.macro CALL nr
  mov eax, \nr
  syscall
.endm

// Ends the program.
.macro END status
  mov edi, \status
  CALL EXIT_GROUP
  ud2
.endm

// To the label 9, which ends the program with the step's number, unless two operands are equal.
.macro WANT a, b
  cmp \a, \b
  jne 9f
.endm

.macro FAILED
9:
  END r15d
.endm

// Installs a handler for a signal: SA_SIGINFO and SA_RESTORER.
.macro HANDLE signo, handler, restorer
  sub rsp, 32
  lea rax, [rip + \handler]
  mov [rsp], rax
  mov qword ptr [rsp + 8], 0x04000004
  lea rax, [rip + \restorer]
  mov [rsp + 16], rax
  mov qword ptr [rsp + 24], 0
  mov edi, \signo
  mov rsi, rsp
  xor edx, edx
  mov r10d, 8
  CALL 13
  add rsp, 32
  test rax, rax
  jne 9f
.endm

// New private memory of some pages: its address in RAX.
.macro MAP pages
  xor edi, edi
  mov esi, \pages * 4096
  mov edx, 3
  mov r10d, 0x22
  mov r8, -1
  xor r9d, r9d
  CALL 9
  test rax, rax
  js 9f
.endm

// A new key, whose writes (2) or accesses (1) are disabled, in RAX; it becomes the key of the page at R12.
.macro KEY bits
  xor edi, edi
  mov esi, \bits
  CALL 330
  test rax, rax
  js 9f
  mov r13, rax
  mov rdi, r12
  mov esi, 4096
  mov edx, 3
  mov r10, r13
  CALL 329
  test rax, rax
  jne 9f
.endm

// Ends with one byte of the PKRU that it starts with: which, is the first letter of its first argument.
PROGRAM user_start
  mov rcx, [rsp + 16]
  movzx esi, byte ptr [rcx]
  xor ecx, ecx
  rdpkru
  lea ecx, [rsi - '0']
  shl ecx, 3
  shr eax, cl
  movzx edi, al
  CALL EXIT_GROUP
  ud2
END_OF user_start

// A key that allows reads stops a write. The handler is told what it was, has the PKRU that the program started with (EBP), and opens the key in its frame:
// in the XSAVE area, where CPUID says that PKRU is. Then the write is made, and the key is open.
PROGRAM user_keys
  xor ecx, ecx
  rdpkru
  mov ebp, eax
  mov r15d, 1
  HANDLE 11, user_keys_handler, user_keys_restorer
  MAP 1
  mov r12, rax
  mov qword ptr [r12], 0x71
  mov r15d, 2
  KEY 2
  mov r15d, 3
  WANT "qword ptr [r12]", 0x71
  xor r14d, r14d
  mov r15d, 4
  mov qword ptr [r12], 0x77
  mov r15d, 9
  WANT "qword ptr [r12]", 0x77
  WANT r14, 1
  xor ecx, ecx
  rdpkru
  mov ecx, r13d
  add ecx, ecx
  shr eax, cl
  mov r15d, 10
  test eax, 3
  jne 9f
  // Now AD, set by the program itself: a read is stopped, the handler opens the key once more.
  mov eax, 1
  shl eax, cl
  mov r14d, eax
  xor ecx, ecx
  rdpkru
  or eax, r14d
  wrpkru
  xor r14d, r14d
  mov r15d, 4
  mov rbx, [r12]
  mov r15d, 11
  WANT rbx, 0x77
  WANT r14, 1
  END 0
FAILED
// Changes R14 in its frame; R12, R13 and R15 are the interrupted code's.
user_keys_handler:
  WANT edi, 11
  mov r15d, 5
  WANT "dword ptr [rsi + 8]", 4
  WANT "dword ptr [rsi + 0x20]", r13d
  WANT "[rsi + 16]", r12
  mov r15d, 6
  xor ecx, ecx
  mov r8, rdx
  rdpkru
  WANT eax, ebp
  mov r15d, 7
  mov rdi, [r8 + 40 + 23 * 8]
  WANT "dword ptr [rdi + 464]", 0x46505853
  mov r15d, 8
  mov eax, 0xD
  mov ecx, 9
  cpuid
  test dword ptr [rdi + 512], 1 << 9
  je 9f
  mov ecx, r13d
  add ecx, ecx
  mov eax, 3
  shl eax, cl
  test [rdi + rbx], eax
  je 9f
  not eax
  and [rdi + rbx], eax
  inc qword ptr [r8 + 40 + 6 * 8]
  ret
user_keys_restorer:
  CALL 15
FAILED
END_OF user_keys

// The kernel copies under the program's PKRU: into a page that it may not write to, EFAULT; from it, 8 bytes; and never from
// the kernel's own addresses.
PROGRAM user_copies
  mov r15d, 1
  MAP 2
  mov r12, rax
  lea rdi, [r12 + 4096]
  xor esi, esi
  CALL 293
  test rax, rax
  jne 9f
  mov qword ptr [r12], 0x41
  KEY 2
  mov r15d, 2
  mov edi, [r12 + 4100]
  mov rsi, r12
  mov edx, 8
  CALL 1
  WANT rax, 8
  mov r15d, 3
  mov edi, [r12 + 4096]
  mov rsi, r12
  mov edx, 8
  CALL 0
  WANT rax, -14
  mov r15d, 4
  xor ecx, ecx
  xor edx, edx
  xor eax, eax
  wrpkru
  mov edi, [r12 + 4100]
  mov rsi, r12
  mov edx, 8
  CALL 1
  WANT rax, 8
  mov qword ptr [r12], 0
  mov edi, [r12 + 4096]
  mov rsi, r12
  mov edx, 8
  CALL 0
  WANT rax, 8
  WANT "qword ptr [r12]", 0x41
  mov r15d, 5
  mov edi, [r12 + 4100]
  mov rsi, 0xFFFF800000100000
  mov edx, 8
  CALL 1
  WANT rax, -14
  END 0
FAILED
END_OF user_copies

// Its number is the first letter of its first argument. Fills x87, vector registers and PKRU with it, then looks again and again
// whether all are as they were, with system calls in between and without, and after signals whose handler changes all of
// them.
PROGRAM user_state
  mov rax, [rsp + 16]
  movzx r12d, byte ptr [rax]
  mov r15d, 5
  HANDLE 10, user_state_handler, user_state_restorer
  movq xmm0, r12
  punpcklqdq xmm0, xmm0
  movdqa xmm7, xmm0
  movdqa xmm15, xmm0
  mov r13d, r12d
  shl r13d, 4
  mov eax, r13d
  xor ecx, ecx
  xor edx, edx
  wrpkru
  mov eax, 1
  cpuid
  mov ebx, ecx
  and ebx, 3 << 27
  cmp ebx, 3 << 27
  jne 1f
  vinsertf128 ymm7, ymm7, xmm0, 1
1:
  fninit
  push r12
  fild qword ptr [rsp]
  mov r14d, 30
2:
  mov ebp, 10000
3:
  mov r15d, 1
  movq rax, xmm0
  WANT rax, r12
  movq rax, xmm7
  WANT rax, r12
  psrldq xmm15, 8
  movq rax, xmm15
  punpcklqdq xmm15, xmm15
  WANT rax, r12
  mov r15d, 2
  xor ecx, ecx
  rdpkru
  WANT eax, r13d
  cmp ebx, 3 << 27
  jne 4f
  mov r15d, 3
  vextractf128 xmm1, ymm7, 1
  movq rax, xmm1
  WANT rax, r12
4:
  dec ebp
  jnz 3b
  CALL 24
  mov r15d, 6
  CALL 39
  mov rdi, rax
  mov esi, 10
  CALL 62
  test rax, rax
  jne 9f
  dec r14d
  jnz 2b
  mov r15d, 4
  fistp qword ptr [rsp]
  pop rax
  WANT rax, r12
  END 0
FAILED
user_state_handler:
  fninit
  fldpi
  pcmpeqd xmm0, xmm0
  pcmpeqd xmm7, xmm7
  pcmpeqd xmm15, xmm15
  cmp ebx, 3 << 27
  jne 5f
  vzeroall
5:
  xor eax, eax
  xor ecx, ecx
  xor edx, edx
  wrpkru
  ret
user_state_restorer:
  CALL 15
END_OF user_state

// Reads an address of the kernel.
PROGRAM user_stray
  mov rax, 0xFFFF800000100000
  mov rax, [rax]
  END 1
END_OF user_stray

// Jumps to an address that is none.
PROGRAM user_nowhere
  mov rax, 0x1000000000000000
  jmp rax
END_OF user_nowhere

// Exceptions that are signals. The handler leaves the code in R14 of its frame, and goes on at the address in R13.
PROGRAM user_exceptions
  mov r15d, 1
  HANDLE 8, user_exceptions_handler, user_exceptions_restorer
  HANDLE 4, user_exceptions_handler, user_exceptions_restorer
  HANDLE 5, user_exceptions_handler, user_exceptions_restorer
  HANDLE 7, user_exceptions_handler, user_exceptions_restorer
  HANDLE 11, user_exceptions_handler, user_exceptions_restorer
  mov r15d, 2
  lea r13, [rip + 1f]
  xor edx, edx
  xor eax, eax
  xor ecx, ecx
  div ecx
1:
  WANT r14, "8 << 16 | 1"
  mov r15d, 3
  lea r13, [rip + 1f]
  ud2
1:
  WANT r14, "4 << 16 | 2"
  mov r15d, 4
  lea r13, [rip + 1f]
  int3
1:
  WANT r14, "5 << 16 | 0x80"
  // One step: the flag is set by POPF, and cleared by the handler in its frame.
  mov r15d, 5
  lea r13, [rip + 1f]
  pushfq
  or qword ptr [rsp], 0x100
  popfq
  nop
1:
  WANT r14, "5 << 16 | 2"
  // An x87 division by zero that is not masked: told of at the next instruction. (QEMU raises none for SSE.)
  mov r15d, 6
  lea r13, [rip + 1f]
  fninit
  push 0x37B
  fldcw [rsp]
  fld1
  fldz
  fdivp
  fwait
1:
  fninit
  pop rax
  WANT r14, "8 << 16 | 3"
  // An address that is none.
  mov r15d, 7
  lea r13, [rip + 1f]
  mov rax, 0x1000000000000000
  mov rbx, [rax]
1:
  WANT r14, "11 << 16 | 0x80"
  END 0
FAILED
user_exceptions_handler:
  mov eax, edi
  shl eax, 16
  or eax, [rsi + 8]
  mov [rdx + 40 + 6 * 8], rax
  mov [rdx + 40 + 16 * 8], r13
  and qword ptr [rdx + 40 + 17 * 8], ~0x100
  ret
user_exceptions_restorer:
  CALL 15
END_OF user_exceptions

// Four threads add to one word and say when they are done; the first one waits for the others.
PROGRAM user_threads
  mov r15d, 1
  MAP 16
  mov r12, rax
  mov r13d, 3
1:
  mov eax, r13d
  shl eax, 14
  lea rsi, [r12 + rax + 0x4000]
  mov edi, 0x50F00
  xor edx, edx
  xor r10d, r10d
  xor r8d, r8d
  CALL 56
  test rax, rax
  js 9f
  je user_threads_other
  dec r13d
  jnz 1b
  call user_threads_add
2:
  mov eax, [r12 + 64]
  cmp eax, 4
  je 3f
  lea rdi, [r12 + 64]
  mov esi, 128
  mov edx, eax
  xor r10d, r10d
  CALL 202
  jmp 2b
3:
  mov r15d, 2
  WANT "qword ptr [r12]", 40000
  END 0
FAILED
user_threads_add:
  mov ebp, 10000
4:
  lock inc qword ptr [r12]
  test ebp, 1023
  jne 5f
  CALL 24
5:
  dec ebp
  jnz 4b
  lock inc dword ptr [r12 + 64]
  lea rdi, [r12 + 64]
  mov esi, 129
  mov edx, 9
  CALL 202
  ret
user_threads_other:
  call user_threads_add
  xor edi, edi
  CALL 60
  ud2
END_OF user_threads

// The kernel makes something of the word at an address and the number 1: FUTEX_OP_ADD (1) or FUTEX_OP_OR (2).
.macro WAKE_OP at, op
  lea rdi, [r12 + 64]
  mov esi, 128 | 5
  xor edx, edx
  xor r10d, r10d
  lea r8, [\at]
  mov r9d, \op << 28 | 1 << 12
  CALL 202
.endm

// Two threads add to one word, one by an instruction and one by the kernel: no addition is lost.
PROGRAM user_wake_op
  mov r15d, 1
  MAP 8
  mov r12, rax
  mov edi, 0x50F00
  lea rsi, [r12 + 0x8000]
  xor edx, edx
  xor r10d, r10d
  xor r8d, r8d
  CALL 56
  test rax, rax
  js 9f
  je user_wake_op_other
  // Until the other one runs.
1:
  CALL 24
  cmp dword ptr [r12 + 4], 0
  je 1b
  mov r15d, 2
  mov ebp, 20000
2:
  WAKE_OP r12, 1
  test rax, rax
  jne 9f
  dec ebp
  jnz 2b
  mov dword ptr [r12 + 8], 1
3:
  CALL 24
  mov eax, [r12 + 12]
  test eax, eax
  je 3b
  mov r15d, 3
  add eax, 20000
  WANT "dword ptr [r12]", eax
  // A page that nothing has touched is brought in.
  mov r15d, 4
  WAKE_OP r12 + 0x5000, 2
  test rax, rax
  jne 9f
  WANT "dword ptr [r12 + 0x5000]", 1
  // A key that allows reads stops the exchange: EFAULT.
  mov r15d, 5
  KEY 2
  mov r15d, 6
  WAKE_OP r12, 2
  WANT rax, -14
  END 0
FAILED
user_wake_op_other:
  xor ebp, ebp
4:
  lock inc dword ptr [r12]
  inc ebp
  mov dword ptr [r12 + 4], 1
  cmp dword ptr [r12 + 8], 0
  je 4b
  mov [r12 + 12], ebp
  xor edi, edi
  CALL 60
  ud2
END_OF user_wake_op

// Threads end with a lock in their list, 40 times, while another one changes the lock's bit FUTEX_WAITERS again and again: the
// kernel marks the lock, and leaves the bit as it is at that moment.
PROGRAM user_robust
  mov r15d, 1
  MAP 8
  mov r12, rax
  mov ebp, 40
1:
  mov r15d, 2
  mov qword ptr [r12 + 4], 0
  mov edi, 0x50F00
  lea rsi, [r12 + 0x8000]
  xor edx, edx
  xor r10d, r10d
  xor r8d, r8d
  CALL 56
  test rax, rax
  js 9f
  je user_robust_other
  // Until the other one has the lock.
2:
  CALL 24
  cmp dword ptr [r12 + 4], 0
  je 2b
  mov dword ptr [r12 + 8], 1
  xor ebx, ebx
3:
  lock xor dword ptr [r12], 1 << 31
  xor ebx, 1 << 31
  test dword ptr [r12], 1 << 30
  je 3b
  mov r15d, 3
  xor ebx, 1 << 30
  WANT "dword ptr [r12]", ebx
  dec ebp
  jnz 1b
  END 0
FAILED
// The head of the list is at 64, its one entry at 96, the lock's word at 0.
user_robust_other:
  CALL 186
  mov [r12], eax
  lea rdi, [r12 + 64]
  lea rax, [r12 + 96]
  mov [rdi], rax
  mov qword ptr [rdi + 8], -96
  mov qword ptr [rdi + 16], 0
  mov [rax], rdi
  mov esi, 24
  CALL 273
  test rax, rax
  jne 9b
  mov dword ptr [r12 + 4], 1
4:
  CALL 24
  cmp dword ptr [r12 + 8], 0
  je 4b
  xor edi, edi
  CALL 60
  ud2
END_OF user_robust

// One thread reads a page for ever; the other one takes the page away. From the return of that call on no read may go
// through, whatever the reader's TLB holds.
PROGRAM user_shoot_down
  mov r15d, 1
  HANDLE 11, user_shoot_down_handler, user_shoot_down_restorer
  MAP 8
  mov r12, rax
  mov dword ptr [r12 + 0x7000], 1
  mov edi, 0x50F00
  lea rsi, [r12 + 0x5000]
  xor edx, edx
  xor r10d, r10d
  xor r8d, r8d
  CALL 56
  test rax, rax
  js 9f
  je user_shoot_down_reader
  // Until the other one has read.
1:
  CALL 24
  cmp dword ptr [r12 + 4], 0
  je 1b
  mov r15d, 2
  lea rdi, [r12 + 0x7000]
  mov esi, 4096
  xor edx, edx
  CALL 10
  test rax, rax
  jne 9f
  mov dword ptr [r12], 1
2:
  CALL 24
  cmp dword ptr [r12 + 8], 0
  je 2b
  END 0
FAILED
user_shoot_down_reader:
  mov r15d, 3
3:
  mov ebx, [r12]
  mov eax, [r12 + 0x7000]
  mov dword ptr [r12 + 4], 1
  test ebx, ebx
  je 3b
  END 3
user_shoot_down_handler:
  cmp dword ptr [rsi + 8], 2
  jne 9f
  mov dword ptr [r12 + 8], 1
  xor edi, edi
  CALL 60
  ud2
FAILED
user_shoot_down_restorer:
  CALL 15
END_OF user_shoot_down

// A child runs for ever without a system call; its parent kills it and waits for it.
PROGRAM user_kill
  mov r15d, 1
  CALL 57
  test rax, rax
  js 9f
  je 1f
  mov r12, rax
  CALL 24
  mov r15d, 2
  mov rdi, r12
  mov esi, 9
  CALL 62
  test rax, rax
  jne 9f
  mov r15d, 3
  push 0
  mov rdi, r12
  mov rsi, rsp
  xor edx, edx
  xor r10d, r10d
  CALL 61
  WANT rax, r12
  WANT "dword ptr [rsp]", 9
  END 0
1:
  jmp 1b
FAILED
END_OF user_kill

// Sleeps for 10 ms, and looks at the clock before and after.
PROGRAM user_sleep
  mov r15d, 1
  sub rsp, 64
  mov edi, 1
  mov rsi, rsp
  CALL 228
  test rax, rax
  jne 9f
  mov r15d, 2
  mov qword ptr [rsp + 32], 0
  mov qword ptr [rsp + 40], 10000000
  lea rdi, [rsp + 32]
  xor esi, esi
  CALL 35
  test rax, rax
  jne 9f
  mov r15d, 3
  mov edi, 1
  lea rsi, [rsp + 16]
  CALL 228
  mov rax, [rsp + 16]
  sub rax, [rsp]
  imul rax, rax, 1000000000
  add rax, [rsp + 24]
  sub rax, [rsp + 8]
  cmp rax, 10000000
  jl 9f
  END 0
FAILED
END_OF user_sleep

// Maps memory and touches it until there is none.
PROGRAM user_hog
  mov r15d, 1
1:
  MAP 256
  lea rbx, [rax + 256 * 4096]
2:
  mov byte ptr [rax], 1
  add rax, 4096
  cmp rax, rbx
  jb 2b
  jmp 1b
FAILED
END_OF user_hog

.text
