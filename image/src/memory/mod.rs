//! The kernel's own memory: where things are, which frames are free, the kernel's page tables, the heap.

mod copy;
pub(crate) mod frames;
mod heap;
pub(crate) mod kernel_tables;
pub(crate) mod layout;
mod patchwork;
pub(crate) mod stack;
