//! Secrets that only one module may read.
//!
//! A kernel's secrets (of its disks, its network, its random numbers) lie in memory that all of the kernel can read. An
//! index that is one too large, a length that somebody else chose, and they are in a packet. Here they are in a region whose
//! key is closed to reads as well: an out-of-bounds read anywhere else stops at the first byte. Only the functions of a
//! [`Vault`] open it, to copy one secret out for one computation; nothing gives a secret to a caller.
//!
//! | file | what |
//! |---|---|
//! | `vault` | secrets, and what can be done with them |
//! | `hmac` | the computation |
//! | `error` | what can be refused |
//!
//! Nobody maps its pages by `kmap`, and the key is known to the vault alone. A secret is erased when it is removed, all of them
//! are when the vault is dropped, and what one was copied from is erased when it is put in.
//!
//! # What it does not do
//!
//! While a tag is computed, the secret is on the stack of the thread that computes it, and in its registers, which an interrupt
//! saves to a stack: all of that has key 0. It is for the time of a computation, and is then erased, but for saved registers,
//! which are overwritten when the stack is next used. Code that executes WRMSR or changes page tables is stopped by no
//! key, and neither are devices. And this is no defence against what a processor tells by its timing.

mod error;
mod hmac;
#[cfg(test)]
mod tests;
mod vault;

pub use error::{NoVault, VaultError};
pub use hmac::TAG_LEN;
pub use vault::{SecretId, Vault};
