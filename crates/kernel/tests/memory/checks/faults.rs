//! Faults: what the thread is told, and by how many look-ups.

use pkeys_kernel::hardware::{Cpu, HardwareFault};
use pkeys_kernel::keys::fault::Segv;
use pkeys_kernel::memory::FaultEnd;

use super::rig::*;

const MAPERR: Result<(), FaultEnd> = Err(FaultEnd::Segv(Segv::MAPERR));
const ACCERR: Result<(), FaultEnd> = Err(FaultEnd::Segv(Segv::ACCERR));

/// The fault that a CPU raises now, which nobody has looked at yet.
fn raise(user: &User<'_, '_>, addr: u64, is_write: bool) -> HardwareFault {
    let result = if is_write {
        user.cpu.user_write(addr, 1)
    } else {
        user.cpu.user_read(addr).map(drop)
    };
    result.unwrap_err().page_fault().unwrap()
}

pub(crate) fn every_protection_and_key_gives_the_same_with_and_without_a_page() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let key = user.pkey_alloc(0);
    let pkuerr = Err(FaultEnd::Segv(Segv::pkuerr(pkey(key))));
    for prot in [NONE, R, 2, RW, X, RX, 6, RWX] {
        for rights in 0..4_u32 {
            for is_present in [false, true] {
                user.set_pkru(0);
                let addr = user.map_pages(0, 1, RW, PRIVATE);
                if is_present {
                    assert_eq!(user.write(addr, 1), Ok(()));
                }
                assert_eq!(user.pkey_mprotect(addr, PAGE, prot, key), Ok(0));
                user.set_pkru(rights << (2 * key));
                let ad = rights & 1 != 0;
                let read = match prot {
                    _ if ad => pkuerr,
                    NONE => ACCERR,
                    _ => Ok(()),
                };
                let write = match prot & 2 {
                    _ if rights != 0 => pkuerr,
                    0 => ACCERR,
                    _ => Ok(()),
                };
                let fetch = if prot & 4 == 0 { ACCERR } else { Ok(()) };
                let text = (prot, rights, is_present);
                assert_eq!(user.fetch(addr).map(drop), fetch, "fetch {text:?}");
                assert_eq!(user.read(addr).map(drop), read, "read {text:?}");
                assert_eq!(user.write(addr, 1), write, "write {text:?}");
            }
        }
    }
    rig.end();
}

pub(crate) fn each_fault_looks_the_mapping_up_once() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let addr = user.map_pages(0, 2, RW, PRIVATE);
    let key = user.pkey_alloc(3);
    let mut expected = rig.space.nr_lookups();
    let mut fault = |result: Result<(), FaultEnd>, addr, is_write| {
        let fault = raise(&user, addr, is_write);
        assert_eq!(rig.space.page_fault(&user.caller(), fault), result);
        expected += 1;
        assert_eq!(rig.space.nr_lookups(), expected);
    };
    fault(Ok(()), addr, false);
    fault(Ok(()), addr, true);
    fault(MAPERR, addr + 2 * PAGE, false);
    assert_eq!(user.mprotect(addr, PAGE, R), Ok(0));
    fault(ACCERR, addr, true);
    assert_eq!(user.pkey_mprotect(addr, PAGE, RW, key), Ok(0));
    fault(Err(FaultEnd::Segv(Segv::pkuerr(pkey(key)))), addr, true);
    rig.end();
}

pub(crate) fn a_fault_is_answered_by_the_mapping_as_it_is_by_then() {
    let machine = machine(2);
    let rig = Rig::new(&machine);
    let (user, other) = (rig.on(0), rig.on(1));
    let addr = user.map_pages(0, 1, RW, PRIVATE);
    assert_eq!(user.write(addr, 1), Ok(()));
    let old = user.pkey_alloc(3);
    let new = user.pkey_alloc(3);
    assert_eq!(user.pkey_mprotect(addr, PAGE, RW, old), Ok(0));
    let raised = raise(&user, addr, true);
    assert!(raised.code.has_pkey_bit());

    // Another key by then: the newer one is named.
    assert_eq!(other.pkey_mprotect(addr, PAGE, RW, new), Ok(0));
    let told = rig.space.page_fault(&user.caller(), raised);
    assert_eq!(told, Err(FaultEnd::Segv(Segv::pkuerr(pkey(new)))));
    // A key by then that would let it through: the access was denied by one, and so it stays.
    assert_eq!(other.pkey_mprotect(addr, PAGE, RW, 0), Ok(0));
    let told = rig.space.page_fault(&user.caller(), raised);
    assert_eq!(told, Err(FaultEnd::Segv(Segv::pkuerr(pkey(0)))));
    // Nothing is there any more.
    assert_eq!(other.munmap(addr, PAGE), Ok(0));
    assert_eq!(rig.space.page_fault(&user.caller(), raised), MAPERR);

    // Brought in by another thread meanwhile, for reading and for writing.
    let addr = user.map_pages(0, 1, RW, PRIVATE);
    for is_write in [false, true] {
        let raised = raise(&user, addr, is_write);
        assert_eq!(other.write(addr, 9), Ok(()));
        assert_eq!(rig.space.page_fault(&user.caller(), raised), Ok(()));
        assert_eq!(user.read(addr), Ok(9));
        assert_eq!(user.madvise(addr, PAGE, 4), Ok(0));
    }
    rig.end();
}

pub(crate) fn addresses_outside_of_the_users_part_are_not_mapped() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let top = 0x7fff_ffff_f000;
    assert_eq!(
        user.mmap(top - PAGE, PAGE, RW, PRIVATE | FIXED),
        Ok(top - PAGE)
    );
    assert_eq!(user.write(top - 1, 1), Ok(()));
    assert_eq!(user.read(top).map(drop), MAPERR);
    for addr in [top, 1 << 63, u64::MAX] {
        for bits in [4, 5, 6, 7, 0x14, 0x15, 0x25] {
            let fault = HardwareFault {
                addr,
                code: pkeys_core::PageFaultErrorCode::from_bits(bits),
            };
            assert_eq!(
                rig.space.page_fault(&user.caller(), fault),
                MAPERR,
                "{addr:#x} {bits:#x}"
            );
        }
    }
    rig.end();
}

pub(crate) fn without_keys_every_mapping_has_key_0_and_no_fault_names_one() {
    let machine = machine(1);
    let cpu = machine.cpu(0);
    let mut controls = cpu.controls();
    controls.pke = false;
    cpu.set_controls(controls);
    assert!(!cpu.has_pku());
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let addr = user.map_pages(0, 1, X, PRIVATE);
    assert_eq!(rig.space.mapping(addr).unwrap().pkey, pkey(0));
    assert_eq!(user.read(addr), Ok(0), "execute-only needs keys");
    assert_eq!(user.mprotect(addr, PAGE, RW), Ok(0));
    assert_eq!(user.pkey_mprotect(addr, PAGE, R, 0), Ok(0));
    assert_eq!(
        user.pkey_mprotect(addr, PAGE, R, 1),
        Err(pkeys_kernel::abi::Errno::Invalid)
    );
    assert_eq!(user.write(addr, 1), ACCERR);
    rig.end();
}

pub(crate) fn execute_only_memory_runs_and_cannot_be_read() {
    let machine = machine(2);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    user.set_pkru(0);
    rig.on(1).set_pkru(0);
    for make in [0, 1] {
        let addr = if make == 0 {
            user.map_pages(0, 1, X, PRIVATE)
        } else {
            let addr = user.map_pages(4, 1, RWX, PRIVATE);
            assert_eq!(user.write(addr, 0xC3), Ok(()));
            assert_eq!(user.mprotect(addr, PAGE, X), Ok(0));
            addr
        };
        let key = rig.space.mapping(addr).unwrap().pkey;
        assert_eq!(key, pkey(1), "one key serves both");
        assert_eq!(user.fetch(addr), Ok(if make == 0 { 0 } else { 0xC3 }));
        let pkuerr = Err(FaultEnd::Segv(Segv::pkuerr(key)));
        assert_eq!(user.read(addr), pkuerr);
        // Only the thread that made it is kept out.
        assert!(rig.on(1).read(addr).is_ok());
        assert_eq!(user.mprotect(addr, PAGE, RX), Ok(0));
        assert_eq!(rig.space.mapping(addr).unwrap().pkey, pkey(0));
        assert!(user.read(addr).is_ok());
    }
    rig.end();
}

pub(crate) fn a_read_of_shared_memory_brings_in_what_is_near_whatever_comes_of_it() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let addr = user.map_pages(0, 2, RW, SHARED);
    assert_eq!(user.write(addr, 5), Ok(()));
    // The same memory once more, and room behind its end.
    let twin = addr + 64 * PAGE;
    for touched in [1, 3] {
        assert_eq!(user.mremap(addr, 0, 4 * PAGE, 3, twin), Ok(twin));
        assert!(user.cpu.user_read(twin).is_err());
        let result = user.read(twin + touched * PAGE);
        let is_behind = touched >= 2;
        assert_eq!(result, if is_behind { Err(FaultEnd::Bus) } else { Ok(0) });
        assert_eq!(user.cpu.user_read(twin), Ok(5), "after page {touched}");
        // What the object does not have yet stays away.
        assert_eq!(user.cpu.user_read(twin + PAGE).is_ok(), !is_behind);
        assert_eq!(user.munmap(addr + PAGE, PAGE), Ok(0));
        let fresh = user.map_pages(0, 2, RW, SHARED);
        assert_eq!(user.write(fresh, 5), Ok(()));
    }
    rig.end();
    assert_eq!(nr_frames(&machine), [0; 3]);
}
