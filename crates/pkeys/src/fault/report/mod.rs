//! Reports of stray accesses: where they go, and what they say.
//!
//! A report comes in two parts. The **raw record** is written by the signal handler of the thread that strayed, before anything
//! else: one line on standard error, and one line of JSON where a file was named ([`append_to`], or the variable
//! `PKEYS_REPORT`). It cannot fail for want of memory or a lock. The **report** proper, with functions, files and
//! lines, is made by a thread of this library while the thread that strayed waits, at most as long as [`wait_at_most`] says.
//! Should that thread hold a lock which the report needs, such as the allocator's, the raw record is what remains.
//!
//! # The JSON lines
//!
//! Every line is an object. `schema` is 1 and changes when a field goes or changes its meaning; fields may be added. `kind` is
//! `"raw"` or `"report"`; the two lines of a stray access have the same `pid` and `seq`. Addresses are strings in
//! hexadecimal. A `raw` line has
//!
//! | field | what |
//! |---|---|
//! | `seq`, `lost` | number of the record in its process; how many could not be written, or not whole, before it |
//! | `time_ns`, `monotonic_ns` | when: since 1970 (UTC), and on the monotonic clock |
//! | `pid`, `tid`, `thread` | who: process, thread, name of the thread |
//! | `domain`, `region`, `region_start`, `region_len`, `offset`, `addr`, `access` | where, and `"read"` or `"write"` |
//! | `block` | only where the domain has an allocator that tells ([`Block`](crate::embed::Block)): `start`, `len`, `offset`, `origin`, `advice` |
//! | `pc`, `module`, `module_offset`, `build_id` | the instruction; the offset is the address that the module's file states; `null` in code of no known module |
//! | `rights_at_fault`, `register_at_fault`, `closed`, `windows` | what the thread could do and what PKRU held, `null` without a key; what a thread without a window may do; how many windows it held |
//! | `history` | `"closed"`, `"untouched"`, `"signal handler"`, `"window"` or `"unknown"`: see [`History`](crate::History) |
//! | `si_code`, `si_pkey`, `error_code` | what the kernel and the CPU said |
//! | `mode`, `pardoned` | the domain's mode, and whether the access was let through |
//!
//! and a `report` line repeats what is needed to read it alone, the block included, and adds
//!
//! | field | what |
//! |---|---|
//! | `frames` | innermost first: `pc`, `module`, `offset`, `function`, `file`, `line`, `inlined`, `interrupted` (by a signal) |
//! | `unwound` | `"complete"`, `"partial"`, or `"not at all"` where the thread had stopped waiting |
//! | `thread_older_than_domain` | `null` where both began within a hundredth of a second |
//! | `in_signal_handler` | `null` where the calls were not followed far enough to tell |
//! | `now` | `permissions` and `pkey` of the page after the fault; others may have changed them since |
//!
//! # Limits
//!
//! * Sixteen threads can be in a report at a time; records beyond that are counted in `lost`.
//! * Compressed, split (`.dwo`) and alternate (`.gnu_debugaltlink`) debug information is not read; such code is named by its
//!   symbols. A file that was replaced since it was loaded is told by its build-id and not used; one without a build-id is
//!   taken as it is.
//! * A library that was loaded since the last domain was made has no module in the raw record; the report knows it.
//! * Code without unwind information and without frame pointers ends the call chain.
//! * In a child of `fork(2)` there are raw records only, until it makes a domain.
//!
//! # Where things are
//!
//! Handlers: `channel` (the way out), `slot` (the hand-over), `record` and `line` (the raw text), `output` and `outlets`
//! (writing it), `clock`, `errno`, `futex`. The reporter: `reporter` (the thread), `finding` (what it finds out), `modules`,
//! `maps`, `memory`, `process` (from `/proc`), `stack`, `cfi`, `unwind` (the calls), `image`, `symbols` (their names),
//! `calls`, `render`, `json` (the text). `config` is what a program sets.

mod calls;
mod cfi;
mod channel;
mod clock;
mod config;
mod errno;
mod finding;
mod futex;
mod image;
mod json;
mod line;
mod maps;
mod memory;
mod modules;
mod outlets;
mod output;
mod process;
mod record;
mod render;
mod reporter;
mod slot;
mod stack;
mod symbols;
mod unwind;

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

pub(crate) use clock::clock_ticks;
pub(crate) use config::{ForkLock, emit, forget, lock_for_fork, start};
pub use config::{ReportError, StartError, append_to, to_terminal, wait_at_most};
pub(crate) use modules::refresh as refresh_modules;
