// Programs for ring 3, position independent: copied to a page of their own. System calls: 1 logs RDI, 2 adds one at RDI, 24 yields, 60 ends.

.section .rodata

// RDI: a page whose key allows reads. Logs what it reads, and PKRU; writes, which faults once; closes the key by itself
// and reads, which faults again; logs.
.global user_keys
user_keys:
  mov r12, rdi
  mov rdi, [r12]
  mov eax, 1
  syscall
  xor ecx, ecx
  rdpkru
  mov edi, eax
  mov eax, 1
  syscall
  mov qword ptr [r12], 0x77
  mov rdi, [r12]
  mov eax, 1
  syscall
  xor ecx, ecx
  xor edx, edx
  mov eax, 1 << 14
  wrpkru
  mov rdi, [r12]
  mov eax, 1
  syscall
  mov eax, 60
  syscall
  ud2
.global user_keys_end
user_keys_end:

// RDI: a number. Fills every vector register and PKRU with it, then looks again and again whether all are as they were, with
// system calls in between and without. Logs 0, or what was found.
.global user_state
user_state:
  mov r12, rdi
  movq xmm0, rdi
  punpcklqdq xmm0, xmm0
  movdqa xmm7, xmm0
  movdqa xmm15, xmm0
  mov r13d, edi
  shl r13d, 4
  mov eax, r13d
  xor ecx, ecx
  xor edx, edx
  wrpkru
  fninit
  push r12
  fild qword ptr [rsp]
  mov r14d, 40
1:
  mov r15d, 20000
2:
  movq rax, xmm0
  cmp rax, r12
  jne 9f
  movq rax, xmm7
  cmp rax, r12
  jne 9f
  psrldq xmm15, 8
  movq rax, xmm15
  punpcklqdq xmm15, xmm15
  cmp rax, r12
  jne 9f
  xor ecx, ecx
  rdpkru
  cmp eax, r13d
  jne 8f
  dec r15d
  jnz 2b
  mov eax, 24
  syscall
  dec r14d
  jnz 1b
  fistp qword ptr [rsp]
  pop rax
  cmp rax, r12
  jne 9f
  xor eax, eax
  jmp 9f
8:
  or rax, 1 << 30
9:
  mov rdi, rax
  mov eax, 1
  syscall
  mov eax, 60
  syscall
  ud2
.global user_state_end
user_state_end:

// RDI: a page whose key allows reads. Has the kernel add one to its first word, which the key stops; opens the key and does it
// again; then to a word of the kernel. Logs each answer, and the word.
.global user_calls
user_calls:
  mov r12, rdi
  mov r13d, 2
1:
  mov rdi, r12
  mov eax, 2
  syscall
  mov rdi, rax
  mov eax, 1
  syscall
  xor ecx, ecx
  xor edx, edx
  xor eax, eax
  wrpkru
  dec r13d
  jnz 1b
  mov rdi, [r12]
  mov eax, 1
  syscall
  mov rdi, 0xFFFF800000100000
  mov eax, 2
  syscall
  mov rdi, rax
  mov eax, 1
  syscall
  mov eax, 60
  syscall
  ud2
.global user_calls_end
user_calls_end:

// RDI: an address of the kernel. Reads it.
.global user_stray
user_stray:
  mov rax, [rdi]
  ud2
.global user_stray_end
user_stray_end:

.text
