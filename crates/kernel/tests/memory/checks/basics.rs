//! The life of a mapping.

use pkeys_core::SegvCode;
use pkeys_kernel::keys::fault::Segv;
use pkeys_kernel::memory::FaultEnd;

use super::rig::*;

const MAPERR: FaultEnd = FaultEnd::Segv(Segv::MAPERR);
const ACCERR: FaultEnd = FaultEnd::Segv(Segv::ACCERR);

pub(crate) fn mapped_memory_is_zero_and_keeps_what_is_written() {
    let machine = machine(1);
    for flags in [PRIVATE, SHARED] {
        let rig = Rig::new(&machine);
        let user = rig.on(0);
        let addr = user.map_pages(0, 3, RW, flags);
        assert_eq!(user.read(addr), Ok(0));
        assert_eq!(user.write(addr + 1, 7), Ok(()));
        assert_eq!(user.write(addr + PAGE, 8), Ok(()));
        assert_eq!(user.read(addr + 1), Ok(7));
        assert_eq!(user.read(addr + PAGE), Ok(8));
        assert_eq!(user.read(addr + 2 * PAGE), Ok(0));
        assert_eq!(user.read(addr + 3 * PAGE), Err(MAPERR));
        assert_eq!(user.fetch(addr), Err(ACCERR));
        assert_eq!(user.mprotect(addr, PAGE, R), Ok(0));
        assert_eq!(user.write(addr, 1), Err(ACCERR));
        assert_eq!(user.read(addr + 1), Ok(7));
        assert_eq!(user.mprotect(addr, PAGE, NONE), Ok(0));
        assert_eq!(user.read(addr + 1), Err(ACCERR));
        assert_eq!(user.mprotect(addr, PAGE, RWX), Ok(0));
        assert_eq!(user.fetch(addr + 1), Ok(7));
        assert_eq!(user.munmap(addr, 3 * PAGE), Ok(0));
        assert_eq!(user.read(addr + 1), Err(MAPERR));
        rig.end();
        assert_eq!(nr_frames(&machine), [0; 3]);
    }
}

pub(crate) fn a_key_denies_what_the_register_says() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let addr = user.map_pages(0, 2, RWX, PRIVATE);
    let key = user.pkey_alloc(0);
    assert_eq!(user.pkey_mprotect(addr, PAGE, RWX, key), Ok(0));
    let pkuerr = Err(FaultEnd::Segv(Segv::pkuerr(pkey(key))));
    // Before the page is there, and with it.
    for _ in 0..2 {
        user.set_pkru(0x5555_5555 & !3);
        assert_eq!(user.read(addr), pkuerr);
        assert_eq!(user.write(addr, 1).map(|()| 0), pkuerr);
        assert_eq!(user.fetch(addr), Ok(0));
        user.set_pkru(2 << (2 * key));
        assert_eq!(user.read(addr), Ok(0));
        assert_eq!(user.write(addr, 1).map(|()| 0), pkuerr);
        assert_eq!(user.write(addr + PAGE, 1), Ok(()));
        user.set_pkru(0);
        assert_eq!(user.write(addr, 0), Ok(()));
    }
    assert_eq!(Segv::pkuerr(pkey(key)).code, SegvCode::PkuErr);
    rig.end();
}
