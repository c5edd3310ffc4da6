//! Memory: address spaces with Linux's semantics, keys included.

mod advise;
mod bring_in;
mod caller;
mod fault;
mod fault_around;
mod fork;
mod key_page;
pub mod layout;
mod map;
mod merge;
mod object;
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

pub use caller::Caller;
pub use fault::FaultEnd;
pub use pool::{Pool, PoolSettings};
pub use space::Space;
pub use tables::{FourLevel, Tables};
pub use view::MappingView;
