//! The page on which programs read the allocation map.

use core::sync::atomic::{AtomicU32, Ordering};

use pkeys_core::AllocationState;
use pkeys_kernel::abi::Errno;
use pkeys_kernel::keys::fault::Segv;
use pkeys_kernel::keys::user::KeyPage;
use pkeys_kernel::memory::FaultEnd;

use super::rig::*;

/// The map as a program reads it, byte by byte.
fn shown(user: &User<'_, '_>, addr: u64) -> AllocationState {
    let word = |at: u64| {
        let bytes = core::array::from_fn(|byte| user.read(addr + at + byte as u64).unwrap());
        u32::from_le_bytes(bytes)
    };
    assert_eq!(word(4), KeyPage::VERSION);
    AllocationState::from_bits(word(0)).unwrap()
}

pub(crate) fn the_page_shows_every_change_of_the_map() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let before = user.pkey_alloc(0);
    let page = rig.space.map_key_page(&user.caller()).unwrap();
    let check = || {
        assert_eq!(shown(&user, page), rig.space.keys().state());
        rig.space.keys().state()
    };
    assert!(check().is_allocated(before));
    let key = user.pkey_alloc(1);
    assert!(check().is_allocated(key));
    assert_eq!(rig.space.pkey_free(&user.caller(), key), Ok(0));
    assert!(!check().is_allocated(key));
    let addr = user.map_pages(0, 1, RW, PRIVATE);
    assert_eq!(user.mprotect(addr, PAGE, X), Ok(0));
    assert!(check().execute_only().is_some());
    // By mmap, too, and although the call fails.
    let child = rig.fork().unwrap();
    drop(child);
    rig.end();

    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let page = rig.space.map_key_page(&user.caller()).unwrap();
    assert_eq!(user.mmap(PAGE, PAGE, X, PRIVATE | FIXED), Err(Errno::Perm));
    assert!(rig.space.keys().state().execute_only().is_some());
    assert_eq!(shown(&user, page), rig.space.keys().state());
    rig.end();
    assert_eq!(nr_frames(&machine), [0; 3]);
}

pub(crate) fn nobody_writes_to_the_page() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let page = rig.space.map_key_page(&user.caller()).unwrap();
    assert_eq!(user.write(page, 1), Err(FaultEnd::Segv(Segv::ACCERR)));
    for prot in [2, RW, X, RX, RWX] {
        assert_eq!(
            user.mprotect(page, PAGE, prot),
            Err(Errno::Access),
            "{prot}"
        );
    }
    let cpu = machine.cpu(0);
    assert_eq!(rig.space.write_remote(&cpu, page, &[1], true), Err(1));
    assert_eq!(rig.space.pin(&user.caller(), page, true), Err(Errno::Fault));
    assert_eq!(rig.space.copy_to_user(&user.caller(), page, &[1]), Err(1));
    assert_eq!(user.madvise(page, PAGE, 23), Err(Errno::Invalid));
    assert_eq!(user.mprotect(page, PAGE, R), Ok(0));
    assert_eq!(shown(&user, page), rig.space.keys().state());
    rig.end();
}

pub(crate) fn there_is_one_page_wherever_it_goes() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let page = rig.space.map_key_page(&user.caller()).unwrap();
    assert_eq!(rig.space.map_key_page(&user.caller()), Ok(page));
    let to = ARENA;
    assert_eq!(user.mremap(page, PAGE, PAGE, 3, to), Ok(to));
    assert_eq!(rig.space.map_key_page(&user.caller()), Ok(to));
    assert_eq!(
        user.mremap(to, PAGE, 2 * PAGE, 1, 0),
        Err(Errno::Fault),
        "it does not grow"
    );
    assert_eq!(user.munmap(to, PAGE), Ok(0));
    let key = user.pkey_alloc(0);
    let again = rig.space.map_key_page(&user.caller()).unwrap();
    assert!(shown(&user, again).is_allocated(key));
    rig.end();
    assert_eq!(nr_frames(&machine), [0; 3]);
}

pub(crate) fn a_child_has_a_page_of_its_own() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let page = rig.space.map_key_page(&user.caller()).unwrap();
    let child = rig.fork().unwrap();
    let cpu = machine.cpu(0);
    let child_state = || {
        let mut bytes = [0; 8];
        child.read_remote(&cpu, page, &mut bytes, false).unwrap();
        assert_eq!(bytes, KeyPage::bytes(child.keys().state()));
        child.keys().state()
    };
    assert_eq!(child_state(), rig.space.keys().state());
    let key = user.pkey_alloc(0);
    assert!(!child_state().is_allocated(key));
    assert!(shown(&user, page).is_allocated(key));
    let caller = user.caller();
    assert_eq!(child.pkey_alloc(&caller, 0, 0), Ok(1));
    assert_eq!(child.pkey_free(&caller, 0), Ok(0));
    assert!(!child_state().is_allocated(0));
    assert!(shown(&user, page).is_allocated(0));
    drop(child);
    rig.end();
    assert_eq!(nr_frames(&machine), [0; 3]);
}

pub(crate) fn the_layout_is_the_one_that_user_space_has() {
    let state = AllocationState::from_bits(0x0004_0007).unwrap();
    let page = KeyPage {
        map: AtomicU32::new(state.bits()),
        version: AtomicU32::new(KeyPage::VERSION),
    };
    assert_eq!(core::mem::offset_of!(KeyPage, map), 0);
    assert_eq!(core::mem::offset_of!(KeyPage, version), 4);
    let bytes = KeyPage::bytes(state);
    assert_eq!(bytes[..4], page.map.load(Ordering::Relaxed).to_le_bytes());
    assert_eq!(
        bytes[4..],
        page.version.load(Ordering::Relaxed).to_le_bytes()
    );
}
