// From one thread's stack to another's.

.text
// switch_stacks(save: *mut u64 in RDI, load: u64 in RSI): the registers that a function keeps go to the stack, the stack
// pointer to *save; then the same the other way round from `load`. Returns in the other thread.
.global switch_stacks
switch_stacks:
  push rbx
  push rbp
  push r12
  push r13
  push r14
  push r15
  mov [rdi], rsp
  mov rsp, rsi
  pop r15
  pop r14
  pop r13
  pop r12
  pop rbp
  pop rbx
  ret

// Where a new thread's first switch returns to.
.global thread_start
thread_start:
  xor ebp, ebp
  call {thread_main}
  ud2

// enter_user(frame: *const Frame in RDI, top: u64 in RSI): puts a frame at the top of the thread's kernel stack, as an entry
// from user mode would, and returns to user mode through it. Interrupts are kept out. The frame is on the same stack, further
// down, perhaps by less than its length: so it is copied from its end, and the stack pointer stays below it meanwhile.
.global enter_user
enter_user:
  lea rax, [rsi - {FRAME_LEN}]
  lea rsi, [rdi + {FRAME_LEN} - 8]
  lea rdi, [rax + {FRAME_LEN} - 8]
  mov ecx, {FRAME_LEN} / 8
  std
  rep movsq
  cld
  mov rsp, rax
  jmp return_to_user
