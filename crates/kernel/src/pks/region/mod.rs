//! Regions: ranges of the kernel's memory behind a key of their own.
//!
//! A kernel has memory that most of it has no business with: a device's that keeps what is written to it, secrets, tables
//! that one module works on. Such memory becomes a [`Region`]: its pages get a key that is closed to everybody, and the module
//! opens it for the accesses that it makes, to read or to write as the access is, and closes it behind them. A pointer
//! that went astray anywhere else in the kernel stops at the instruction that used it.
//!
//! | file | what |
//! |---|---|
//! | `owned` | a region and its guards: reading and writing |
//! | `memory` | the raw accesses, which the surrounding kernel makes |
//! | `regions` | all regions of a system: pages that get their key and lose it |
//! | `table` | where the regions are, read without a lock |
//! | `host` | what is needed of the surrounding kernel |
//! | `page`, `error` | pages by address; what can be refused |
//!
//! Pages of a region can be lent to code that does not own it, if the owner lets them: [`super::kmap`].
//!
//! # What it does not do
//!
//! A key has as many regions as its holder likes, and a grant opens all of them. While a guard is open, a pointer that went
//! astray *in the same context* reaches them too: so guards are held for an access, and not for a while. Devices that write
//! to memory by themselves (DMA) know nothing of keys. And an unprotected alias of the pages, such as another mapping of the
//! same frames, is unprotected: whoever makes a region of pages has to see to it that there is none.

mod error;
mod host;
mod memory;
mod owned;
mod page;
mod regions;
mod table;

pub use error::{AccessError, Lent, RegionError};
pub use host::Host;
pub use memory::KeyedMemory;
pub use owned::{ReadGuard, Region, WriteGuard};
pub use page::{NoPages, PAGE_LEN, Page, Pages};
pub(super) use regions::Change;
pub use regions::{Protected, Regions};
pub(super) use table::Found;
pub use table::{NR_REGIONS, Openers};
