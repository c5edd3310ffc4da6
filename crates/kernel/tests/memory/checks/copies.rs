//! The kernel's own accesses: for the thread, for somebody else, and pages handed over without an access.

use pkeys_kernel::abi::Errno;

use super::rig::*;

const LEN: usize = 3 * PAGE as usize;

/// What makes a page bad, with a key if it needs one.
type Spoil = fn(&User<'_, '_>, u64, i32) -> Result<u64, Errno>;

pub(crate) fn a_copy_stops_at_the_byte_that_is_denied() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let caller = user.caller();
    let key = user.pkey_alloc(0);
    let closed = 1 << (2 * key);
    let read_only = 2 << (2 * key);
    // How the third page is made bad, the register then, and whether it is bad for reads as well.
    let ways: [(&str, Spoil, u32, bool); 5] = [
        ("unmapped", |user, at, _| user.munmap(at, PAGE), 0, true),
        (
            "no rights",
            |user, at, _| user.mprotect(at, PAGE, NONE),
            0,
            true,
        ),
        (
            "read-only",
            |user, at, _| user.mprotect(at, PAGE, R),
            0,
            false,
        ),
        (
            "closed",
            |user, at, key| user.pkey_mprotect(at, PAGE, RW, key),
            closed,
            true,
        ),
        (
            "key",
            |user, at, key| user.pkey_mprotect(at, PAGE, RW, key),
            read_only,
            false,
        ),
    ];
    for (name, spoil, pkru, is_bad_for_reads) in ways {
        for offset in [0, 1, PAGE - 1, PAGE, 2 * PAGE - 1, 2 * PAGE, 2 * PAGE + 5] {
            user.set_pkru(0);
            let start = user.map_pages(0, 3, RW, PRIVATE);
            assert_eq!(spoil(&user, start + 2 * PAGE, key), Ok(0));
            let addr = start + offset;
            user.set_pkru(pkru);
            let len = LEN - usize::try_from(offset).unwrap();
            let good = usize::try_from(2 * PAGE).unwrap().saturating_sub(LEN - len);
            let bytes: Vec<u8> = (0..len).map(|at| 1 + (at % 250) as u8).collect();
            let before = user.pkru();
            let written = rig.space.copy_to_user(&caller, addr, &bytes);
            assert_eq!(written, Err(len - good), "{name} {offset}");
            let mut back = vec![0xEE; len];
            let read = rig.space.copy_from_user(&caller, addr, &mut back);
            if is_bad_for_reads {
                assert_eq!(read, Err(len - good), "{name} {offset}");
                assert!(back[good..].iter().all(|byte| *byte == 0xEE));
            } else {
                assert_eq!(read, Ok(()), "{name} {offset}");
                assert!(back[good..].iter().all(|byte| *byte == 0));
            }
            assert_eq!(back[..good], bytes[..good], "{name} {offset}: to the byte");
            assert_eq!(user.pkru(), before, "PKRU is as it was");
        }
    }
    rig.end();
}

pub(crate) fn a_copy_brings_pages_in_and_ends_with_the_users_part() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let caller = user.caller();
    let top = 0x7fff_ffff_f000;
    let addr = user.mmap(top - PAGE, PAGE, RW, SHARED | FIXED).unwrap();
    let mut buffer = [1; 16];
    assert_eq!(rig.space.copy_from_user(&caller, addr, &mut buffer), Ok(()));
    assert_eq!(buffer, [0; 16]);
    assert_eq!(rig.space.copy_to_user(&caller, top - 16, &[7; 16]), Ok(()));
    assert_eq!(user.read(top - 1), Ok(7));
    // Not a byte of what leaves the user's part.
    for addr in [top - 15, top, 1 << 63, u64::MAX - 8, u64::MAX] {
        assert_eq!(
            rig.space.copy_to_user(&caller, addr, &[9; 16]),
            Err(16),
            "{addr:#x}"
        );
        assert_eq!(
            rig.space.copy_from_user(&caller, addr, &mut buffer),
            Err(16),
            "{addr:#x}"
        );
    }
    assert_eq!(user.read(top - 15), Ok(7));
    assert_eq!(rig.space.copy_to_user(&caller, top, &[]), Ok(()));
    rig.end();
}

pub(crate) fn somebody_else_goes_by_the_mapping_and_not_by_the_key() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let cpu = machine.cpu(0);
    let key = user.pkey_alloc(3);
    for (flags, is_private) in [(PRIVATE, true), (SHARED, false)] {
        for prot in [NONE, R, 2, RW, X, RX, 6, RWX] {
            let addr = user.map_pages(0, 2, RW, flags);
            assert_eq!(user.write(addr, 5), Ok(()));
            assert_eq!(user.pkey_mprotect(addr, 2 * PAGE, prot, key), Ok(0));
            // The second page is not there.
            for (page, byte) in [(0, 5), (1, 0)] {
                let at = addr + page * PAGE;
                let mut seen = [9];
                let read = |seen: &mut [u8], force| rig.space.read_remote(&cpu, at, seen, force);
                let is_readable = prot & 1 != 0;
                assert_eq!(read(&mut seen, false).is_ok(), is_readable, "{prot}");
                assert_eq!(read(&mut seen, true), Ok(()));
                assert_eq!(seen, [byte]);
                let write = |byte, force| rig.space.write_remote(&cpu, at, &[byte], force);
                let is_writable = prot & 2 != 0;
                assert_eq!(write(6, false).is_ok(), is_writable, "{prot}");
                assert_eq!(write(7, true).is_ok(), is_writable || is_private, "{prot}");
                assert_eq!(read(&mut seen, true), Ok(()));
                let written = if is_writable || is_private { 7 } else { byte };
                assert_eq!(seen, [written], "{prot}");
                assert!(user.write(at, 1).is_err(), "the program still cannot");
            }
            assert_eq!(rig.space.mapping(addr).unwrap().prot, prot_of(prot));
        }
    }
    rig.end();
    assert_eq!(nr_frames(&machine), [0; 3]);
}

pub(crate) fn somebody_else_stops_at_a_hole_to_the_byte() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let cpu = machine.cpu(0);
    let addr = user.map_pages(0, 2, RW, PRIVATE);
    for offset in [0, 1, PAGE - 1, PAGE, 2 * PAGE - 1, 2 * PAGE] {
        let at = addr + offset;
        let good = usize::try_from(2 * PAGE - offset).unwrap();
        let bytes = vec![3; LEN];
        assert_eq!(
            rig.space.write_remote(&cpu, at, &bytes, true),
            Err(LEN - good)
        );
        let mut back = vec![0xEE; LEN];
        assert_eq!(
            rig.space.read_remote(&cpu, at, &mut back, true),
            Err(LEN - good)
        );
        assert!(back[..good].iter().all(|byte| *byte == 3));
        assert!(back[good..].iter().all(|byte| *byte == 0xEE));
    }
    assert_eq!(
        rig.space.read_remote(&cpu, u64::MAX, &mut [0; 4], true),
        Err(4)
    );
    rig.end();
}

pub(crate) fn pages_that_are_handed_over_are_asked_for_their_key() {
    let machine = machine(1);
    let rig = Rig::new(&machine);
    let user = rig.on(0);
    let caller = user.caller();
    let key = user.pkey_alloc(0);
    let fault = Err(Errno::Fault);
    for is_present in [false, true] {
        for rights in 0..4 {
            user.set_pkru(0);
            let addr = user.map_pages(0, 1, RW, PRIVATE);
            if is_present {
                assert_eq!(user.write(addr, 1), Ok(()));
            }
            assert_eq!(user.pkey_mprotect(addr, PAGE, RW, key), Ok(0));
            user.set_pkru(rights << (2 * key));
            let read = if rights & 1 == 0 { Ok(()) } else { fault };
            let write = if rights == 0 { Ok(()) } else { fault };
            assert_eq!(rig.space.pin(&caller, addr, false), read);
            assert_eq!(rig.space.pin(&caller, addr, true), write);
        }
    }
    user.set_pkru(0);
    let addr = user.map_pages(0, 1, R, PRIVATE);
    assert_eq!(rig.space.pin(&caller, addr, true), fault);
    assert_eq!(rig.space.pin(&caller, addr + PAGE, false), fault);
    // A page with PROT_WRITE alone can be read on x86, once it is there.
    let addr = user.map_pages(0, 1, 2, PRIVATE);
    assert_eq!(rig.space.pin(&caller, addr, false), fault);
    assert_eq!(user.write(addr, 1), Ok(()));
    assert_eq!(rig.space.pin(&caller, addr, false), Ok(()));
    rig.end();
}
