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
