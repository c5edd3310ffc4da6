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
//! * `swapcontext(3)` out of a gate: a coroutine that is left inside a gate and resumed on another thread.
//! * The thread's pointer to its shadow stack. The stack itself and every thunk are out of the program's reach.
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
