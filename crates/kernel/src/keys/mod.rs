//! The key parts, for any kernel: what an address space and a thread have to know about protection keys.
//!
//! Nothing here knows page tables, mappings, threads or locks. A kernel that has all of these takes the values and calls
//! their functions at the right moments:
//!
//! | moment | call |
//! |---|---|
//! | an address space is made, forked | [`SpaceKeys::new`], [`SpaceKeys::fork`] |
//! | `pkey_alloc`, `pkey_free` | [`SpaceKeys::alloc`], [`SpaceKeys::free`] |
//! | `mprotect`, `pkey_mprotect`, `mmap` choose a key | [`SpaceKeys::check`], [`SpaceKeys::key_for_protect`], [`SpaceKeys::key_for_map`] |
//! | a page fault on a user address | [`fault::judge`] |
//! | a thread is made, switched to, executes a program, enters and leaves a handler | [`ThreadKeys`] |
//! | `pkey_get`, `pkey_set` | [`get_set`] |
//! | the same in user space, without a system call | [`user`] |
//! | a timer tick | [`watchdog::tick`] |
//! | `init_pkru=` | [`InitPkru`] |
//!
//! Locks: changes of the allocation map and the tagging of pages happen under one lock of the address space, which is the
//! caller's; else `pkey_mprotect` could give pages a key that is freed between its check and its work. Readers of the map
//! need no lock.

pub mod fault;
pub mod get_set;
mod init;
mod register;
mod space;
mod thread;
pub mod user;
pub mod watchdog;

pub use init::{InitPkru, InitPkruError};
pub use register::PkruRegister;
pub use space::{KeyedMapping, SpaceKeys};
pub use thread::ThreadKeys;
