//! `pkey_get` and `pkey_set` in user space, without a system call.
//!
//! The kernel maps a page into each address space that the program can only read. Its first word is the allocation map,
//! as [`pkeys_core::alloc_map`] lays it out: a key may be used if `word & !(word >> 16) & (1 << key)` is not zero. A
//! program that has found the page (by the call [`crate::abi::nr::PKEY_PAGE`]) needs two instructions on its register
//! and one load for what would else be a system call, with the same answers.
//!
//! The page is a mirror: the kernel changes its own word first, then the page's, both under the lock of the address
//! space. A reader may see the map of a moment ago, as it may with the call. It never sees one that was not.

use core::sync::atomic::{AtomicU32, Ordering};

use pkeys_core::alloc_map::Word;
use pkeys_core::{AccessBits, AllocationState, Pkey};

use crate::abi::Errno;
use crate::keys::PkruRegister;
use crate::keys::get_set::rights_of;

/// The beginning of the page, as user space sees it. The rest of its 4,096 bytes is zero.
#[derive(Debug)]
#[repr(C)]
pub struct KeyPage<W = AtomicU32> {
    /// The allocation map.
    pub map: W,
    /// The layout of this page: [`KeyPage::VERSION`].
    pub version: AtomicU32,
}

impl KeyPage {
    /// The layout that is described here.
    pub const VERSION: u32 = 1;

    /// The first bytes of a page that shows this state, as a kernel writes them.
    #[must_use]
    pub const fn bytes(state: AllocationState) -> [u8; 8] {
        let map = state.bits().to_le_bytes();
        let version = Self::VERSION.to_le_bytes();
        [
            map[0], map[1], map[2], map[3], version[0], version[1], version[2], version[3],
        ]
    }
}

/// As the system call [`super::get_set::pkey_get`].
///
/// # Errors
///
/// As the system call; [`Errno::NoSystemCall`] for a page of another layout, for which the call is to be made.
pub fn pkey_get<W: Word>(
    page: &KeyPage<W>,
    register: &impl PkruRegister,
    pkey: i32,
    flags: u64,
) -> Result<AccessBits, Errno> {
    if flags != 0 {
        return Err(Errno::Invalid);
    }
    let pkey = allocated(page, pkey)?;
    Ok(register.read().get(pkey))
}

/// As the system call [`super::get_set::pkey_set`], but for one thing: the kernel does not learn of it, so that with the
/// watchdog on, the next tick takes it back.
///
/// # Errors
///
/// As the system call; [`Errno::NoSystemCall`] for a page of another layout, for which the call is to be made.
pub fn pkey_set<W: Word>(
    page: &KeyPage<W>,
    register: &impl PkruRegister,
    pkey: i32,
    rights: u64,
    flags: u64,
) -> Result<(), Errno> {
    if flags != 0 {
        return Err(Errno::Invalid);
    }
    let bits = rights_of(rights)?;
    let pkey = allocated(page, pkey)?;
    register.write(register.read().with(pkey, bits));
    Ok(())
}

fn allocated<W: Word>(page: &KeyPage<W>, pkey: i32) -> Result<Pkey, Errno> {
    if page.version.load(Ordering::Relaxed) != KeyPage::VERSION {
        return Err(Errno::NoSystemCall);
    }
    let state =
        AllocationState::from_bits(page.map.load(Ordering::Acquire)).ok_or(Errno::NoSystemCall)?;
    let checked = Pkey::checked(pkey).map_err(|_| Errno::BadDescriptor)?;
    if state.is_allocated(pkey) {
        Ok(checked)
    } else {
        Err(Errno::BadDescriptor)
    }
}
