//! Memory behind a key that its owner alone opens: a device with a store on it, and secrets.

#![allow(unsafe_code, reason = "tries to write memory that it owns")]

extern crate alloc;

use alloc::format;

use pkeys_core::Access;
use pkeys_image::dax::{RegionDevice, Store};
use pkeys_image::secret::Vault;
use pkeys_kernel::pks::region::{Openers, Region};

use super::protocol::{agrees, is_closed};
use super::{Case, Outcome, case, check, check_eq};
use crate::keys::memory::{Frames, StoreFence};
use crate::keys::{DAX, REGIONS, VAULT};
use crate::memory::layout::PAGE;
use crate::trap::fixup::{try_read, try_write};

pub(super) const CASES: &[Case] = &[
    case("dax-read-grant-stops-a-write", read_grant),
    case("dax-store-keeps-and-finds-again", store),
    case("vault-is-read-by-its-owner-alone", vault),
];

const NR_PAGES: usize = 16;

fn read_grant() -> Outcome {
    let frames = Frames::allocate(NR_PAGES).ok_or("no frames")?;
    let addr = frames.addr();
    let region = Region::new(&REGIONS, frames, DAX, Openers::Owner);
    let mut region = region.map_err(|why| format!("{why:?}"))?;
    check!(try_read(addr).is_err(), "read without a grant");
    {
        let _guard = region.read();
        check!(try_read(addr).is_ok(), "not read with a grant for reading");
        // SAFETY: the memory is the case's own.
        let written = unsafe { try_write(addr, 1) };
        let fault = written.err().ok_or("written with a grant for reading")?;
        check!(
            fault.code.has_pkey_bit() && fault.code.access() == Access::Write,
            "stopped by {}",
            fault.code
        );
    }
    {
        let _guard = region.write();
        // SAFETY: as above.
        let written = unsafe { try_write(addr, 1) };
        check!(written.is_ok(), "not written with a grant for writing");
    }
    check!(try_read(addr).is_err(), "read after the grants");
    check!(is_closed() && agrees(), "open afterwards");
    Ok(())
}

fn store() -> Outcome {
    let frames = Frames::allocate(NR_PAGES).ok_or("no frames")?;
    let addr = frames.addr();
    let region = Region::new(&REGIONS, frames, DAX, Openers::Owner);
    let region = region.map_err(|why| format!("{why:?}"))?;
    let mut store =
        Store::format(RegionDevice::new(region, StoreFence)).map_err(|why| format!("{why:?}"))?;
    for number in 0..400_u32 {
        // Over and over, so that the log goes round.
        let (key, value) = (format!("key {}", number % 40), format!("value {number}"));
        let done = store.put(key.as_bytes(), value.as_bytes());
        done.map_err(|why| format!("{number}: {why:?}"))?;
        check!(is_closed(), "open behind a put");
    }
    let deleted = store.delete(b"key 7").map_err(|why| format!("{why:?}"))?;
    check!(deleted, "key 7 was there");
    let mut store = Store::open(store.into_device()).map_err(|why| format!("{why:?}"))?;
    for number in 0..40_u32 {
        let found = store.get(format!("key {number}").as_bytes());
        let found = found.map_err(|why| format!("{why:?}"))?;
        let expected = (number != 7).then(|| format!("value {}", 360 + number).into_bytes());
        check_eq!(found, expected, "key {number} after opening it anew");
    }
    store.compact().map_err(|why| format!("{why:?}"))?;
    check_eq!(store.keys().count(), 39, "keys after compaction");
    for page in 0..NR_PAGES as u64 {
        let read = try_read(addr + page * PAGE);
        check!(read.is_err(), "page {page} of the device is open");
    }
    check!(is_closed() && agrees(), "open afterwards");
    Ok(())
}

fn vault() -> Outcome {
    let frames = Frames::allocate(1).ok_or("no frame")?;
    let addr = frames.addr();
    let vault = Vault::new(&REGIONS, frames, VAULT);
    let mut vault = vault.map_err(|why| format!("{why:?}"))?;
    let mut secret = *b"a secret of the image";
    let id = vault
        .insert(&mut secret)
        .map_err(|why| format!("{why:?}"))?;
    check_eq!(secret, [0; 21], "what it was copied from");
    let tag = vault
        .sign(id, b"message")
        .map_err(|why| format!("{why:?}"))?;
    let is_right = vault.verify(id, b"message", &tag);
    check!(is_right.map_err(|why| format!("{why:?}"))?, "its own tag");
    let is_right = vault.verify(id, b"another", &tag);
    check!(
        !is_right.map_err(|why| format!("{why:?}"))?,
        "the tag of another message"
    );
    // A read that runs on from the page before, one word after the other.
    for at in (addr..addr + PAGE).step_by(8) {
        check!(try_read(at).is_err(), "the word at {at:#x} is read");
    }
    vault.remove(id).map_err(|why| format!("{why:?}"))?;
    check!(vault.sign(id, b"message").is_err(), "signed after removal");
    drop(vault);
    check!(is_closed() && agrees(), "open afterwards");
    Ok(())
}
