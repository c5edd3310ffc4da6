//! What cases start from: pages, keys, rights.
//!
//! Pages are named by their number in the arena; every case has a process of its own, so that they are all free.

use crate::bytes;
use crate::calls::{self, ANONYMOUS, FIXED, PAGE, PRIVATE, RW};
use crate::case::{Mismatch, Verdict};
use crate::check::{allowed, gives, value};
use crate::system::System;

/// What a fixture's pages contain at their first byte.
pub const BYTE: u8 = 0x5A;
/// RET.
pub const RET: u8 = 0xC3;

/// A page with a key.
#[derive(Debug, Clone, Copy)]
pub struct Keyed {
    /// Its address.
    pub page: u64,
    /// The key, which is allocated.
    pub key: u64,
}

/// The address of a page of the arena.
pub fn at(sys: &dyn System, page: u64) -> u64 {
    sys.arena().start + page * PAGE
}

/// Maps private anonymous pages, never touched; their address.
///
/// # Errors
///
/// The call failed.
pub fn map(sys: &mut dyn System, page: u64, pages: u64, prot: u64) -> Result<u64, Mismatch> {
    let addr = at(sys, page);
    let flags = PRIVATE | ANONYMOUS | FIXED;
    value(
        "mmap of private anonymous pages",
        calls::mmap(sys, addr, pages * PAGE, prot, flags, -1),
    )
}

/// Maps a page that can be read and written, and writes [`BYTE`] to it.
///
/// # Errors
///
/// Some step failed.
pub fn touched(sys: &mut dyn System, page: u64) -> Result<u64, Mismatch> {
    let addr = map(sys, page, 1, RW)?;
    allowed("a write to a new page", sys.write(addr, BYTE))?;
    Ok(addr)
}

/// Allocates a key that this thread may do anything with.
///
/// # Errors
///
/// There was none.
pub fn open_key(sys: &mut dyn System) -> Result<u64, Mismatch> {
    value("pkey_alloc(0, 0)", calls::pkey_alloc(sys, 0, 0))
}

/// Gives a page a protection and a key.
///
/// # Errors
///
/// The call failed.
pub fn tag(sys: &mut dyn System, addr: u64, prot: u64, key: u64) -> Verdict {
    gives(
        format_args!("pkey_mprotect({addr:#x}, one page, {prot}, {key})"),
        0,
        calls::pkey_mprotect(sys, addr, PAGE, prot, key.cast_signed()),
    )
}

/// Page 0 of the arena with a key of its own, present, with [`BYTE`] in it; this thread may read and write it.
///
/// # Errors
///
/// Some step failed.
pub fn keyed(sys: &mut dyn System) -> Result<Keyed, Mismatch> {
    let page = touched(sys, 0)?;
    let key = open_key(sys)?;
    tag(sys, page, RW, key)?;
    Ok(Keyed { page, key })
}

/// The same, never touched.
///
/// # Errors
///
/// Some step failed.
pub fn keyed_absent(sys: &mut dyn System) -> Result<Keyed, Mismatch> {
    let page = map(sys, 0, 1, RW)?;
    let key = open_key(sys)?;
    tag(sys, page, RW, key)?;
    Ok(Keyed { page, key })
}

/// A page that holds a RET, with this protection at last.
///
/// # Errors
///
/// Some step failed.
pub fn code(sys: &mut dyn System, page: u64, prot: u64) -> Result<u64, Mismatch> {
    let addr = map(sys, page, 1, RW)?;
    allowed("a write to a new page", sys.write(addr, RET))?;
    gives(
        "mprotect of a new page",
        0,
        calls::mprotect(sys, addr, PAGE, prot),
    )?;
    Ok(addr)
}

/// The register with the two bits of one key replaced.
#[must_use]
pub const fn with_rights(pkru: u32, key: u64, rights: u64) -> u32 {
    let shift = 2 * (key & 15);
    (pkru & !(3 << shift)) | (((rights & 3) as u32) << shift)
}

/// The two bits of one key.
#[must_use]
pub const fn rights(pkru: u32, key: u64) -> u64 {
    ((pkru >> (2 * (key & 15))) & 3) as u64
}

/// Sets the two bits of one key in this thread's register.
pub fn set_rights(sys: &mut dyn System, key: u64, rights: u64) {
    let pkru = sys.rdpkru();
    sys.wrpkru(with_rights(pkru, key, rights));
}

/// The key on the page's line in smaps.
///
/// # Errors
///
/// There is no mapping, or no line.
pub fn key_of(sys: &mut dyn System, addr: u64) -> Result<u64, Mismatch> {
    match sys.smaps(addr) {
        Some((_, Some(key))) => Ok(key.into()),
        other => Err(crate::check::mismatch(
            format_args!("the key of {addr:#x} in smaps"),
            "a number",
            format_args!("{other:?}"),
        )),
    }
}

/// Asserts protection and key of a page, as smaps shows them.
///
/// # Errors
///
/// They are others.
pub fn is_tagged(sys: &mut dyn System, what: &str, addr: u64, prot: u64, key: u64) -> Verdict {
    let expected = u32::try_from(prot).ok().zip(u32::try_from(key).ok());
    let found = sys.smaps(addr);
    crate::check::equal(
        format_args!("{what}: protection and key of {addr:#x} in smaps"),
        expected.map(|(prot, key)| (prot, Some(key))),
        found,
    )
}

/// Writes numbers of eight bytes to this thread's scratch memory, from an offset; the address of the first.
///
/// # Errors
///
/// A write failed.
pub fn put_words(sys: &mut dyn System, offset: u64, words: &[u64]) -> Result<u64, Mismatch> {
    let start = sys.scratch().start + offset;
    for (addr, word) in (start..).step_by(8).zip(words) {
        allowed(
            "a write to scratch memory",
            bytes::put_u64(sys, addr, *word),
        )?;
    }
    Ok(start)
}

/// A pipe: the end for reading and the end for writing.
///
/// # Errors
///
/// The call failed.
pub fn pipe(sys: &mut dyn System) -> Result<[u64; 2], Mismatch> {
    calls::pipe(sys)
        .map_err(|errno| crate::check::mismatch("pipe2", 0, crate::check::answer(errno)))
}
