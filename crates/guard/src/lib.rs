//! The audit library of `pkeys guard`: an unmodified library's heap behind a protection key, in an unmodified program.
//!
//! # How it works
//!
//! The loader of glibc lets an audit library decide what each call from one object to another is connected with (`rtld-audit(7)`).
//! This one decides so:
//!
//! * A call **into a guarded library** passes a gate (`gate`): it opens the library's key on the calling thread, calls, and
//!   closes it again. The gate works beside the stack, so that any function can be called through it without knowing its type.
//! * A guarded library's **allocations** come from a heap (`heap`) of its own, whose pages carry the key. Closed means read-only:
//!   the program may read what the library gives it, and a write by anything but the library stops at the guilty instruction.
//! * Calls that would spoil this, such as `sigaction(2)` for SIGSEGV or `pthread_create(3)` inside a callback, get wrappers (`wrap`).
//!
//! The loader does not ask about every kind of binding. Relocations of the other kinds are changed before it applies them
//! (`rewrite`), and so are the tables in the library whose entries others call: constructors, virtual functions (`tables`).
//!
//! What remains is told apart when it happens. Code of the library that runs with its key closed was entered past every gate,
//! and gets the key (`judge`, `caller`); everything else that writes has strayed, and is treated by the library `pkeys`: its policy,
//! its pardons, its reports, which here also name the block, and the function whose call allocated it.
//!
//! # Life of a guarded program
//!
//! 1. `pkeys guard` checks what it can check from outside, makes a trial start, and executes the program in its own place.
//! 2. `audit`: `la_version` reads the settings; domains and heaps are made, still without keys (`start`, `domain`).
//! 3. Objects are mapped; their relocations are changed (`elf`, `rewrite`); bindings are answered (`bind`).
//! 4. At the first gate, or before the program's own first instruction (`la_preinit`): keys, fault handlers and the reporter come.
//!    A step that fails ends the process with status 3.
//! 5. The program runs. Exceptions and long jumps leave gates by `unwind`, callbacks by a gate back (`callbacks`), children
//!    by `fork`.
//! 6. At its end `finish` says what was asked for.
//!
//! # What is not protected
//!
//! * **Memory that the library did not allocate** with `malloc` or `new` itself: what the C library allocates for it (`getline`,
//!   `fopen`), what the program's own allocator gives it, what it maps (unless `--mmap`), its variables (unless `--data`).
//! * **Anything while a gate is open** on the thread, callbacks included unless they are listed.
//! * **Writes by the kernel**: `read(2)` into a closed block gives EFAULT, and no report; `process_vm_writev(2)` passes the key by.
//! * **Programs** that are static, set-user-ID, or built on another C library than glibc. Objects in another namespace (`dlmopen(3)`).
//! * What **constructors** of libraries write before the first call into a guarded library: there is no key yet.
//! * The thread's pointer to its shadow stack. The stack itself and every thunk are out of the program's reach.
//!
//! With `--data`:
//!
//! * Exported variables that a program names and was not compiled with `-fPIC` for: the linker has put them into the program
//!   (`R_X86_64_COPY`), where they are nobody's but its own.
//! * Variables that the loader makes read-only after relocation and that share their last page with others: pages are whole.
//!
//! With `--mmap`:
//!
//! * Stacks, code, and memory with a robust mutex, from the moment at which the library locks it (`wrap/pages`). A robust mutex in
//!   the heap, or among variables under `--data`, is written by the C library and the kernel outside every gate: the first is
//!   reported as a stray, and the second fails, so that whoever waits for a dead owner waits for ever.
//! * What is mapped by `shmat(2)`, by a raw system call, or by another library on the guarded one's behalf.
//!
//! # Where a guarded program differs
//!
//! * **Functions that the library hands out by pointer**, in a structure or a table of its own, have no gate, but for virtual
//!   tables of C++. Code of the library that faults, or that has called the C or C++ library when that faults, is let in until the
//!   thread's next gate ends, and `--stats` counts it. It runs at the price of a fault; a fault in any other library is taken
//!   for a stray, whoever has called it.
//! * **Coroutines** (`swapcontext(3)` and its like) that are left inside a gate have to be gone on with on the same thread, the
//!   youngest first: the frames of gates are a stack of the thread's. In between the key stays open, as the
//!   register is no part of a context. One that comes back out of turn returns into the wrong frame.
//! * **16,383 gates** at most can be nested on a thread; one more ends the program with a line that says so.
//! * **Cancellation** inside a gate, in C without `-fexceptions`: a clean-up handler in the very function that made the call runs
//!   before the gate is left, as the C library jumps to it without asking the gate. It may write what the library may.
//! * **`longjmp(3)` by another name** than glibc's, out of a gate: a jump of the program's own in assembly leaves the gate's frame
//!   behind, and the key open, until an outer gate ends. `SS_AUTODISARM` hides the alternate stack from ours.
//! * **Threads** that the C library makes itself (`timer_create(2)` with `SIGEV_THREAD`, `mq_notify(3)`, `aio(7)`) start with what
//!   their creator has open; and so does a thread by a raw `clone(2)`.
//! * **A child of `vfork(2)`** shares its parent's memory and shadow stack: it has to execute or end, as it has without a guard.
//! * A library that was **unloaded** leaves its blocks behind, closed, and the thunks of its gates: somebody may hold either.
//! * **A signal handler** that runs while its thread binds a function for the first time waits until that is done.
#![deny(unsafe_code)]

pub mod nearest;
pub mod settings;

mod alloc;
mod audit;
mod bind;
mod callbacks;
mod caller;
mod domain;
mod elf;
mod finish;
mod fork;
mod gate;
mod heap;
mod judge;
mod learn;
mod map;
mod names;
mod quiet;
mod real;
mod refuse;
mod rewrite;
mod start;
mod tables;
mod unwind;
mod wrap;
