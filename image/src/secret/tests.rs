//! Who can read a secret: nobody but the vault.

use pkeys_core::{Access, PageFaultErrorCode, Rights};
use pkeys_kernel::pks::kmap::{HashedMarks, Kmap, SharedKeys};
use pkeys_kernel::pks::region::{Page, RegionError};

use super::*;
use crate::test_machine::{Bench, CATALOGUE, Lock, MachineMemory, STORE, ThisKernel};

type TestVault = Vault<'static, ThisKernel, Lock, MachineMemory>;

const READ_STOPPED: u32 = PageFaultErrorCode::P | PageFaultErrorCode::PK;
const SECRET: [u8; 20] = [0x5E; 20];

/// A vault in the second page of three.
fn vault(bench: &'static Bench) -> TestVault {
    Vault::new(bench.regions(), bench.memory(1, 1), STORE).unwrap()
}

/// Somebody copies from the first page on, and was told a length that is too large.
fn copies_too_much(bench: &Bench, from: usize, len_bytes: usize) -> (Vec<u8>, Option<u32>) {
    let mut copied = Vec::new();
    for at in from..from + len_bytes {
        let mut byte = 0;
        match bench.access(at, Access::Read, &mut byte) {
            Ok(()) => copied.push(byte),
            Err(code) => return (copied, Some(code.bits())),
        }
    }
    (copied, None)
}

#[test]
fn an_out_of_bounds_read_stops_before_the_secret() {
    let bench = Bench::new(3);
    let mut vault = vault(bench);
    let mut secret = SECRET;
    let id = vault.insert(&mut secret).unwrap();
    assert_eq!(secret, [0; 20]);
    assert_eq!(bench.bytes(1, 1)[..20], SECRET);
    let (copied, stopped) = copies_too_much(bench, 4000, 200);
    assert_eq!((copied.len(), stopped), (96, Some(READ_STOPPED)));
    // From behind as well, and byte by byte.
    for at in 4096..8192 {
        let error = bench.access(at, Access::Read, &mut 0).unwrap_err();
        assert_eq!(error.bits(), READ_STOPPED, "{at}");
    }
    assert_eq!(bench.access(8192, Access::Read, &mut 0), Ok(()));
    // Without the vault's key it would have been copied.
    drop(vault);
    let (copied, stopped) = copies_too_much(bench, 4000, 200);
    assert_eq!((copied.len(), stopped), (200, None));
    let _ = id;
}

#[test]
fn only_the_copy_itself_has_the_key_open() {
    let bench = Bench::new(2);
    let mut vault = vault(bench);
    let id = vault.insert(&mut SECRET.clone()).unwrap();
    bench.log.take();
    vault.sign(id, b"message").unwrap();
    assert_eq!(bench.log.take(), [("read", Rights::ReadOnly)]);
    assert_eq!(bench.rights(), Rights::NoAccess);
    vault.remove(id).unwrap();
    assert_eq!(bench.log.take(), [("write", Rights::ReadWrite)]);
    assert_eq!(bench.rights(), Rights::NoAccess);
}

/// A handler that interrupts the vault while it is open reads nothing.
#[test]
fn a_handler_finds_the_vault_closed() {
    let bench = Bench::new(2);
    let region = bench.region(1, 1);
    let guard = region.read();
    bench.interrupt(|| {
        let error = bench.access(4096, Access::Read, &mut 0).unwrap_err();
        assert_eq!(error.bits(), READ_STOPPED);
    });
    assert_eq!(bench.access(4096, Access::Read, &mut 0), Ok(()));
    drop(guard);
}

#[test]
fn nobody_maps_the_vault() {
    let bench = Bench::new(2);
    let regions = bench.regions();
    let vault = Vault::new(regions, bench.memory(1, 1), STORE).unwrap();
    let kmap = Kmap::new(regions, SharedKeys::default(), HashedMarks::<4>::new());
    let page = Page::containing(0xFFFF_8880_0000_1000);
    assert!(kmap.kmap_local_page(page, Rights::ReadOnly).is_err());
    assert!(kmap.kmap(page).is_err());
    assert!(bench.access(4096, Access::Read, &mut 0).is_err());
    drop(vault);
    assert!(kmap.kmap_local_page(page, Rights::ReadOnly).is_ok());
}

#[test]
fn a_tag_is_verified_by_the_secret_that_made_it() {
    let bench = Bench::new(2);
    let mut vault = vault(bench);
    let first = vault.insert(&mut SECRET.clone()).unwrap();
    let second = vault.insert(&mut [7; 64]).unwrap();
    let tag = vault.sign(first, b"message").unwrap();
    assert_eq!(vault.verify(first, b"message", &tag), Ok(true));
    assert_eq!(vault.verify(second, b"message", &tag), Ok(false));
    assert_eq!(vault.verify(first, b"massage", &tag), Ok(false));
    let mut other = tag;
    other[31] ^= 1;
    assert_eq!(vault.verify(first, b"message", &other), Ok(false));
    // "Jefe" of RFC 4231, through the vault's memory and back.
    let jefe = vault.insert(&mut b"Jefe".to_owned()).unwrap();
    let tag = vault.sign(jefe, b"what do ya want for nothing?").unwrap();
    assert_eq!(tag[..4], [0x5B, 0xDC, 0xC1, 0x46]);
}

#[test]
fn what_is_removed_is_erased_and_void() {
    let bench = Bench::new(2);
    let mut vault = vault(bench);
    let id = vault.insert(&mut SECRET.clone()).unwrap();
    let kept = vault.insert(&mut [9; 3]).unwrap();
    vault.remove(id).unwrap();
    assert_eq!(bench.bytes(1, 1)[..64], [0; 64]);
    assert_eq!(bench.bytes(1, 1)[64..67], [9; 3]);
    assert_eq!(vault.sign(id, b""), Err(VaultError::NoSuchSecret));
    assert_eq!(vault.remove(id), Err(VaultError::NoSuchSecret));
    // Its place is taken anew, and it is void all the same.
    let again = vault.insert(&mut [1; 4]).unwrap();
    assert_ne!(again, id);
    assert_eq!(vault.sign(id, b""), Err(VaultError::NoSuchSecret));
    assert!(vault.sign(again, b"").is_ok() && vault.sign(kept, b"").is_ok());
    assert_eq!(format!("{vault:?}"), "Vault { nr_secrets: 2, .. }");
}

#[test]
fn a_vault_that_is_dropped_leaves_nothing() {
    let bench = Bench::new(2);
    let mut vault = vault(bench);
    for byte in 1..=10 {
        vault.insert(&mut [byte; 64]).unwrap();
    }
    assert!(bench.bytes(1, 1).iter().any(|byte| *byte != 0));
    drop(vault);
    assert_eq!(bench.bytes(1, 1), [0; 4096]);
}

/// Also what stood in the memory before it was a vault.
#[test]
fn a_new_vault_is_empty() {
    let bench = Bench::new(2);
    bench.access(4100, Access::Write, &mut 7).unwrap();
    let vault = vault(bench);
    assert_eq!(bench.bytes(1, 1), [0; 4096]);
    assert_eq!(vault.nr_places(), 64);
}

#[test]
fn what_is_no_secret_is_refused_and_erased() {
    let bench = Bench::new(2);
    let mut vault = vault(bench);
    for len_bytes in [0, 65, 1000] {
        let mut secret = vec![3; len_bytes];
        let error = vault.insert(&mut secret).unwrap_err();
        assert_eq!(error, VaultError::BadSecret { len_bytes });
        let told = format!("secrets have 1 to 64 bytes, this has {len_bytes}");
        assert_eq!(error.to_string(), told);
        assert_eq!(secret, vec![0; len_bytes]);
    }
    for _ in 0..64 {
        vault.insert(&mut [1]).unwrap();
    }
    let mut secret = SECRET;
    let error = vault.insert(&mut secret).unwrap_err();
    assert_eq!(error, VaultError::Full { nr_secrets: 64 });
    assert_eq!(
        error.to_string(),
        "there are 64 secrets, and room for no more"
    );
    assert_eq!(secret, [0; 20]);
}

#[test]
fn a_key_that_everybody_may_read_makes_no_vault() {
    let bench = Bench::new(2);
    let error = Vault::new(bench.regions(), bench.memory(1, 1), CATALOGUE).unwrap_err();
    assert_eq!(error, NoVault::Readable { key: CATALOGUE });
    assert_eq!(error.to_string(), "everybody may read the pages of key 2");
    let regions = bench.regions();
    let _vault = Vault::new(regions, bench.memory(0, 2), STORE).unwrap();
    let error = Vault::new(regions, bench.memory(1, 1), STORE).unwrap_err();
    assert!(matches!(
        error,
        NoVault::Region(RegionError::Overlap { .. })
    ));
}
