//! Memory: address spaces with Linux's semantics, keys included.
//!
//! A [`Space`] is what a process maps: private and shared memory, of small and of huge pages. Every call takes its
//! arguments as the registers have them and answers as Linux 6.12 does, whatever is wrong with them and in whatever
//! combination. It runs over three things that a kernel brings: physical memory, a lock, and a CPU
//! ([`crate::hardware`], `lock_api`); a kernel with page tables of its own brings these as well ([`Tables`]).
//!
//! | file | what |
//! |---|---|
//! | `space` | the address space, its lock, and the CPUs that run it |
//! | `map`, `unmap`, `protect`, `remap`, `advise`, `brk` | the calls: `mmap`, `munmap`, `mprotect` and `pkey_mprotect`, `mremap`, `madvise` and `mseal`, `brk` |
//! | `fork` | a child's address space, private pages shared until somebody writes |
//! | `fault`, `bring_in`, `fault_around` | a page fault: what the thread is told, and how a page comes to be there |
//! | `user_access`, `remote` | accesses of the kernel: for the running thread, and for somebody else |
//! | `vma`, `vmas`, `gaps`, `merge` | mappings, their order, the room between them, and which neighbours are one |
//! | `object`, `pool` | what shared mappings map; frames, their owners, and the reserve of huge ones |
//! | `tables` | page tables, and the flush that every change of them leaves to be done |
//! | `view` | mappings as smaps shows them |
//! | `key_page` | the page on which user space reads the allocation map |
//! | `layout`, `caller` | the user's part of the addresses; who makes a call |
//!
//! # Where keys are
//!
//! A key is an attribute of a mapping, like its protection, and each of its leaves carries it. It is chosen in `map` and
//! `protect`, by [`crate::keys::SpaceKeys`]; it decides in `fault`, by [`crate::keys::fault::judge`], and in `remote` and
//! `advise` where the thread acts on its own memory without an access. Everything else moves it along.
//!
//! # Frames and TLBs
//!
//! Each leaf owns a share of its frame. A leaf that changes leaves a [`tables::Flush`], and what it owned lies in there: the
//! only way to it is to tell the TLBs of all CPUs that run the space. So no CPU reaches a frame that is somebody else's,
//! by type and not by care.
//!
//! # What is not here
//!
//! Nothing is backed by a disk, and nothing is swapped out. No stack growth by faults, no transparent huge pages, no
//! locked memory (`MAP_LOCKED` is ignored), no limits but the number of mappings. Memory for the library's own records
//! (mappings, lists) is `alloc`'s; what happens when that ends is for the kernel's allocator to say.
//!
//! Two things about huge pages are simpler than in Linux. A private page that both sides of a fork have is copied from
//! what the reserve has left, for the parent as for the child, and SIGBUS if nothing is left, where Linux takes the page
//! from the child. And a move of a part of a mapping loses no promised page, which it does in Linux.

mod advise;
mod bring_in;
mod brk;
mod caller;
mod contents;
mod fault;
mod fault_around;
mod fork;
mod gaps;
mod key_page;
pub mod layout;
mod map;
mod merge;
mod object;
mod place;
mod pool;
mod protect;
mod remap;
mod remote;
mod space;
pub mod tables;
mod unmap;
mod user_access;
mod view;
mod vma;
mod vmas;
mod wish;

pub use caller::Caller;
pub use fault::FaultEnd;
pub(crate) use object::Object;
pub use pool::{Pool, PoolSettings};
pub use space::Space;
pub use tables::{FourLevel, Tables};
pub use view::MappingView;
pub(crate) use wish::Backing;
