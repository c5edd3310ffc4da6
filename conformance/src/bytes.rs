//! Numbers and structures in a test program's memory, byte by byte through [`System`].
//!
//! What system calls read and write is laid out here by hand, little-endian, so that it is the same on every ground.

use crate::system::{Signal, System};

/// Writes bytes from an address.
///
/// # Errors
///
/// The signal that a byte got; those before it are written.
pub fn put(sys: &mut dyn System, addr: u64, bytes: &[u8]) -> Result<(), Signal> {
    (addr..)
        .zip(bytes)
        .try_for_each(|(addr, byte)| sys.write(addr, *byte))
}

/// Reads bytes from an address.
///
/// # Errors
///
/// The signal that a byte got.
pub fn get<const N: usize>(sys: &mut dyn System, addr: u64) -> Result<[u8; N], Signal> {
    let mut bytes = [0; N];
    for (addr, byte) in (addr..).zip(&mut bytes) {
        *byte = sys.read(addr)?;
    }
    Ok(bytes)
}

/// Writes a number of eight bytes.
///
/// # Errors
///
/// As [`put`].
pub fn put_u64(sys: &mut dyn System, addr: u64, value: u64) -> Result<(), Signal> {
    put(sys, addr, &value.to_le_bytes())
}

/// Reads a number of eight bytes.
///
/// # Errors
///
/// As [`get`].
pub fn get_u64(sys: &mut dyn System, addr: u64) -> Result<u64, Signal> {
    get(sys, addr).map(u64::from_le_bytes)
}

/// Writes a number of four bytes.
///
/// # Errors
///
/// As [`put`].
pub fn put_u32(sys: &mut dyn System, addr: u64, value: u32) -> Result<(), Signal> {
    put(sys, addr, &value.to_le_bytes())
}

/// Reads a number of four bytes.
///
/// # Errors
///
/// As [`get`].
pub fn get_u32(sys: &mut dyn System, addr: u64) -> Result<u32, Signal> {
    get(sys, addr).map(u32::from_le_bytes)
}

/// Writes a `struct iovec`: where, and how many bytes.
///
/// # Errors
///
/// As [`put`].
pub fn put_iovec(sys: &mut dyn System, at: u64, base: u64, len: u64) -> Result<(), Signal> {
    put_u64(sys, at, base)?;
    put_u64(sys, at + 8, len)
}
