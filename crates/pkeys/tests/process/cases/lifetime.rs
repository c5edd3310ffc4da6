//! Nothing leaks: keys, mappings and threads are as before when domains and regions are gone.

use pkeys::{Domain, Region, Rights};

use crate::case::{Case, builder, domain, smaps};

pub(crate) const CASES: &[Case] = &[
    Case::new("a_thousand_domains_in_a_row", in_a_row),
    Case::new("regions_come_and_go", regions),
    Case::new("a_region_outlives_its_domain", outlives),
    Case::new(
        "read_only_keys_are_used_again_for_their_like",
        read_only_keys,
    )
    .keys(),
    Case::new("secrets_are_zeroed_and_stay_out_of_children", secrets),
    Case::new("huge_regions_are_aligned", aligned),
];

fn nr_mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count()
}

fn nr_free_keys() -> usize {
    let keys: Vec<_> = core::iter::from_fn(|| pkeys::Key::alloc(Rights::NoAccess).ok()).collect();
    for key in &keys {
        // SAFETY: never used.
        unsafe { key.free() }.unwrap();
    }
    keys.len()
}

fn in_a_row() {
    drop(domain("first"));
    let (mappings, keys) = (nr_mappings(), nr_free_keys());
    for _ in 0..1000 {
        let domain = domain("ledger");
        let mut rows = domain.map::<u64>(10).unwrap();
        rows.write().unwrap()[0] = 1;
    }
    assert_eq!(nr_free_keys(), keys);
    // The reporting thread may have got memory of its own meanwhile: a few mappings, not a thousand.
    assert!(
        nr_mappings() <= mappings + 8,
        "{} {mappings}",
        nr_mappings()
    );
}

/// Many regions in a domain, made and dropped in a scattered order, each holding its own contents.
fn regions() {
    let domain = domain("ledger");
    let mappings = nr_mappings();
    let mut live: Vec<(u64, Region<u64>)> = Vec::new();
    let mut seed = 1_u64;
    for round in 0..500 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if seed >> 62 == 0 && !live.is_empty() {
            let at = (seed >> 32) as usize % live.len();
            let (mark, region) = live.swap_remove(at);
            assert_eq!(region.read().unwrap()[0], mark);
        } else {
            let mut region = domain.map::<u64>(1 + (seed >> 50) as usize).unwrap();
            region.write().unwrap()[0] = round;
            live.push((round, region));
        }
    }
    for (mark, region) in live.drain(..) {
        assert_eq!(region.read().unwrap()[0], mark);
    }
    // Neighbours may have been merged into one mapping and be apart now: not more than a few.
    assert!(
        nr_mappings() <= mappings + 4,
        "{} {mappings}",
        nr_mappings()
    );
}

fn outlives() {
    let domain = domain("ledger");
    let pkey = domain.pkey();
    let mut rows = domain.map::<u64>(10).unwrap();
    drop(domain);
    rows.write().unwrap()[0] = 1;
    assert_eq!(rows.read().unwrap()[0], 1);
    let next = Domain::builder("next")
        .without_keys(pkeys::WithoutKeys::Mprotect)
        .create()
        .unwrap();
    assert!(next.pkey() != pkey || pkey.is_none());
}

/// Threads that read a read-only domain may be left able to read its key: a domain closed to all access never gets it.
fn read_only_keys() {
    let keys = nr_free_keys();
    let read_only = builder("readable")
        .closed(Rights::ReadOnly)
        .create()
        .unwrap();
    let pkey = read_only.pkey();
    drop(read_only);
    let closed = domain("closed");
    assert_ne!(closed.pkey(), pkey);
    let again = builder("readable")
        .closed(Rights::ReadOnly)
        .create()
        .unwrap();
    assert_eq!(again.pkey(), pkey);
    drop((closed, again));
    assert_eq!(
        nr_free_keys(),
        keys - 1,
        "one key is kept for read-only domains"
    );
}

fn secrets() {
    let domain = domain("vault");
    let mut secret = domain.map_secret::<[u8; 32]>(1).unwrap();
    secret.write().unwrap()[0] = [0xA5; 32];
    // SAFETY: one thread of ours; the child looks and exits.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let is_empty = secret.read().unwrap()[0] == [0; 32];
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!is_empty)) };
    }
    let mut status = 0;
    // SAFETY: waits for the child.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(status, 0, "the child finds zeros");
    assert_eq!(secret.read().unwrap()[0], [0xA5; 32]);
    assert!(
        vm_flags(secret.as_ptr().addr()).contains("dd"),
        "left out of dumps"
    );
}

/// The flags of the mapping that contains an address.
fn vm_flags(addr: usize) -> String {
    smaps(addr, "VmFlags:").unwrap()
}

fn aligned() {
    let domain = domain("ledger");
    for len in [1, 4096, 2 << 20, (2 << 20) + 1, 9 << 20] {
        let region = domain.map::<u8>(len).unwrap();
        assert_eq!(region.as_ptr().addr() % (2 << 20), 0, "{len}");
        assert_eq!(region.len(), len);
    }
    let huge = domain.map::<u8>(4 << 20).unwrap();
    assert!(
        vm_flags(huge.as_ptr().addr()).contains("hg"),
        "huge pages are asked for"
    );
}
