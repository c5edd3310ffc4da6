// The functions that compiled code expects of a C library. The processor's string instructions do the work,
// eight bytes at a time where it is much.

.text
.global memcpy
memcpy:
  mov rax, rdi
  mov rcx, rdx
  shr rcx, 3
  rep movsq
  mov ecx, edx
  and ecx, 7
  rep movsb
  ret

.global memmove
memmove:
  mov rax, rdi
  mov rcx, rdx
  mov r8, rdi
  sub r8, rsi
  cmp r8, rdx
  jb 1f
  rep movsb
  ret
1:
  lea rdi, [rdi + rdx - 1]
  lea rsi, [rsi + rdx - 1]
  std
  rep movsb
  cld
  ret

.global memset
memset:
  mov r8, rdi
  movzx eax, sil
  movabs rcx, 0x0101010101010101
  imul rax, rcx
  mov rcx, rdx
  shr rcx, 3
  rep stosq
  mov ecx, edx
  and ecx, 7
  rep stosb
  mov rax, r8
  ret

.global memcmp
.global bcmp
memcmp:
bcmp:
  xor eax, eax
  mov rcx, rdx
  cmp rcx, rcx
  repe cmpsb
  je 1f
  movzx eax, byte ptr [rdi - 1]
  movzx ecx, byte ptr [rsi - 1]
  sub eax, ecx
1:
  ret

.global strlen
strlen:
  xor eax, eax
1:
  cmp byte ptr [rdi + rax], 0
  je 2f
  inc rax
  jmp 1b
2:
  ret
