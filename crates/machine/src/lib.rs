#![deny(unsafe_code)]
//! A software x86-64 machine, for tests of code that runs a machine.
//!
//! A kernel that forgets to flush a TLB works on most days. Emulators hide the mistake (QEMU drops its whole TLB at
//! every change of a key register), real processors show it once in a while. This machine shows it every time: its
//! TLBs keep all that the manual lets a processor keep, for as long as it lets it, and nothing else about it is left
//! to chance. It implements [`pkeys_kernel::hardware::PhysMemory`] and [`pkeys_kernel::hardware::Cpu`], so that the
//! kernel library runs on it as on hardware, and a test can see into every corner.
//!
//! | file | what |
//! |---|---|
//! | `machine` | the machine: CPUs that share memory |
//! | `cpu` | one CPU: its registers, and what a kernel does with them |
//! | `access` | accesses in user and supervisor mode, copies to and from user memory |
//! | `exception` | what they can raise |
//! | `paging` | the walk through the page tables |
//! | `permission` | what the page's rights, control registers and keys let through, and the error code if not |
//! | `tlb` | what a CPU remembers of its walks |
//! | `memory` | physical memory: sparse, limited, and strict about what was freed |
//! | `counters` | what a CPU did: flushes, loads of registers, walks |
//!
//! ```
//! use pkeys_core::{LeafSize, pte};
//! use pkeys_kernel::hardware::{Cpu, PhysMemory};
//! use pkeys_machine::Machine;
//!
//! let machine = Machine::new(2, 1 << 20);
//! let memory = machine.memory();
//! // One table of each level, and a page: the first entry of each points to the next.
//! let [root, pdpt, pd, pt, page] =
//!     core::array::from_fn(|_| memory.allocate(LeafSize::Size4K).unwrap());
//! for (table, next) in [(root, pdpt), (pdpt, pd), (pd, pt), (pt, page)] {
//!     memory.write_entry(table, next.0 | pte::PRESENT | pte::USER | 2);
//! }
//! let cpu = machine.cpu(0);
//! cpu.load_root(root);
//! cpu.user_write(0x123, 7).unwrap();
//! // The entry is gone, and the TLB does not know.
//! memory.write_entry(pt, 0);
//! assert_eq!(cpu.user_read(0x123), Ok(7));
//! cpu.invlpg(0x123);
//! assert!(cpu.user_read(0x123).is_err());
//! ```
//!
//! # What it does not do
//!
//! It executes no instructions: a test says which access is made, byte by byte. It has 4-level paging in 64-bit mode
//! with EFER.NXE set and nothing else: no 5-level paging, no PCIDs, no global pages, no memory types, no shadow stacks.
//! It makes no speculative accesses, so a translation is in a TLB only if an access needed it. It is used from one
//! thread of the host, and what several CPUs do happens one after the other. It says nothing about time.

mod access;
mod counters;
mod cpu;
mod exception;
mod machine;
mod memory;
mod paging;
mod permission;
mod tlb;

pub use counters::Counters;
pub use cpu::MachineCpu;
pub use exception::Exception;
pub use machine::Machine;
pub use memory::Memory;
pub use paging::{MAXPHYADDR, Mapping};
pub use permission::{Controls, PageRights, Request};
