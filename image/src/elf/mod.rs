//! Programs that the kernel runs: static ELF files for Linux on x86-64.
//!
//! [`Elf::parse`] looks at a whole file once, and either names what is wrong with it ([`BadElf`]) or gives a value of which
//! nothing more need be checked: its segments lie in the file, in the user's part of the addresses and on pages of their
//! own, and its entry lies in one of them that is executable. Files come from outside and may be anything.
//!
//! | file | what |
//! |---|---|
//! | `file` | [`Elf`]: the checks, and what a loader asks for |
//! | `header` | the bytes of the file's header and of a program header |
//! | `segment` | [`Segment`]: one piece of memory |
//! | `error` | [`BadElf`] |
//! | `stack` | [`InitialStack`]: arguments, environment and auxiliary vector, as bytes |
//! | `auxv` | the numbers of the auxiliary vector |
//!
//! # How a program is loaded
//!
//! 1. `Elf::parse(file)`. A file of fixed addresses (`ET_EXEC`) goes there; one that is independent of its position
//!    (`ET_DYN`, a static PIE) goes to [`STATIC_PIE_BASE`] and relocates itself.
//! 2. For each of [`Elf::segments`]: `Space::mmap` of `pages`, private, anonymous and fixed, with the protection `prot`;
//!    then `Space::write_remote` of `data` at `data_at`, with force, since the pages may be without `PROT_WRITE`. The rest
//!    is zeros. A segment that can be written and executed is allowed; [`Elf::writable_code`] says that there is one.
//! 3. [`Elf::end`] is where the heap starts (`Space::set_brk_start`).
//! 4. A stack is mapped, executable only if [`Elf::wants_executable_stack`]. [`InitialStack::build`] gives its upper end as
//!    bytes, and the stack pointer; the bytes are written there.
//! 5. The program starts at [`Elf::entry`] with that stack pointer, and zeros in all other registers: in RDX above all,
//!    where the System V ABI has a function to be called at exit.
//!
//! # What is not there
//!
//! A program that names an interpreter (`PT_INTERP`) needs a dynamic loader and libraries, and is refused by that name.
//! Segments that share a page are refused, which Linux lets the later one win. Bytes of a segment's first and last page
//! that are not in its file range are zeros; on Linux they are what the file has there. Notes (`PT_GNU_PROPERTY`) are not
//! looked at, and addresses are not random.
//!
//! Source: System V ABI, chapters 4 and 5; its x86-64 supplement, 3.4.1; Linux 6.12 `fs/binfmt_elf.c`
//! (`load_elf_binary`, `create_elf_tables`); elf(5).

mod auxv;
mod error;
mod file;
mod header;
mod segment;
mod stack;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod sample;

pub use auxv::Aux;
pub use error::{BadElf, Name, Part};
pub use file::{Elf, STATIC_PIE_BASE};
pub use segment::Segment;
pub use stack::{Credentials, InitialStack, Stack, TooBig};
