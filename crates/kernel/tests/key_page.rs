//! The page on which user space reads the allocation map, in a real address space: after each call it shows what the kernel
//! has, it cannot be written to, and a child has its own.

use core::sync::atomic::AtomicU32;

use pkeys_core::{KeyRegister, PageFaultErrorCode};
use pkeys_kernel::abi::Errno;
use pkeys_kernel::hardware::{Cpu, HardwareFault};
use pkeys_kernel::keys::fault::Segv;
use pkeys_kernel::keys::user::{self, KeyPage};
use pkeys_kernel::keys::{InitPkru, ThreadKeys, get_set};
use pkeys_kernel::memory::{Caller, FaultEnd, Pool, PoolSettings, Space};
use pkeys_machine::{Controls, Machine, MachineCpu, Memory};

type TestSpace<'m> = Space<&'m Memory, spin::Mutex<()>>;

/// A thread on CPU 0.
struct User<'m> {
    cpu: MachineCpu<'m>,
    keys: ThreadKeys,
}

impl<'m> User<'m> {
    fn on(machine: &'m Machine, space: &TestSpace<'m>) -> Self {
        let cpu = machine.cpu(0);
        space.activate(&cpu);
        if cpu.has_pku() {
            cpu.write_pkru(KeyRegister::LINUX_INIT);
        }
        let keys = ThreadKeys::new(InitPkru::DEFAULT);
        Self { cpu, keys }
    }

    fn caller(&self) -> Caller<'_, MachineCpu<'m>> {
        Caller {
            cpu: &self.cpu,
            keys: &self.keys,
        }
    }

    /// The page as the program finds it in its memory.
    fn page(&self, space: &TestSpace<'m>, at: u64) -> KeyPage {
        let mut bytes = [0; 4096];
        space
            .copy_from_user(&self.caller(), at, &mut bytes)
            .expect("a page that can be read");
        let (beginning, rest) = bytes.split_at(8);
        assert!(rest.iter().all(|byte| *byte == 0));
        let word = |at: usize| {
            let word = beginning[at..at + 4].try_into();
            AtomicU32::new(u32::from_le_bytes(word.expect("four bytes")))
        };
        KeyPage {
            map: word(0),
            version: word(4),
        }
    }

    /// Whether page and calls say the same about every key.
    fn assert_same(&self, space: &TestSpace<'m>, at: u64) {
        let page = self.page(space, at);
        for pkey in -1..17 {
            assert_eq!(
                user::pkey_get(&page, &self.cpu, pkey, 0),
                get_set::pkey_get(space.keys().map(), Some(&self.cpu), pkey, 0),
                "{pkey}"
            );
        }
    }
}

fn new_space(machine: &Machine) -> TestSpace<'_> {
    let pool = Pool::new(machine.memory(), PoolSettings::default()).expect("a pool");
    Space::new(pool).expect("a space")
}

#[test]
fn the_page_shows_each_change_at_once() {
    let machine = Machine::new(1, 16 << 20);
    let space = new_space(&machine);
    let user = User::on(&machine, &space);
    let caller = user.caller();
    // What was allocated before there was a page is on it.
    space.pkey_alloc(&caller, 0, 0).unwrap();
    let at = space.map_key_page(&caller).unwrap();
    user.assert_same(&space, at);
    assert_eq!(space.map_key_page(&caller), Ok(at));
    space.pkey_alloc(&caller, 0, 2).unwrap();
    user.assert_same(&space, at);
    space.pkey_free(&caller, 1).unwrap();
    user.assert_same(&space, at);
    // Execute-only memory takes key 1, by mmap here and by mprotect in the child.
    let child = space.fork(&caller).unwrap();
    let code = space.mmap(&caller, 0, 4096, 4, 0x22, u64::MAX, 0).unwrap();
    assert_eq!(space.keys().state().execute_only().map(u8::from), Some(1));
    user.assert_same(&space, at);
    space.mprotect(&caller, code, 4096, 1).unwrap();
    user.assert_same(&space, at);

    let user = User::on(&machine, &child);
    let caller = user.caller();
    user.assert_same(&child, at);
    let page = child.mmap(&caller, 0, 4096, 3, 0x22, u64::MAX, 0).unwrap();
    child.mprotect(&caller, page, 4096, 4).unwrap();
    user.assert_same(&child, at);
    child.pkey_free(&caller, 2).unwrap();
    user.assert_same(&child, at);
    assert_eq!(child.map_key_page(&caller), Ok(at));
    // The parent's page did not change with it.
    let user = User::on(&machine, &space);
    assert!(space.keys().state().is_allocated(2));
    user.assert_same(&space, at);
}

#[test]
fn the_program_cannot_write_to_the_page() {
    let machine = Machine::new(1, 16 << 20);
    let space = new_space(&machine);
    let user = User::on(&machine, &space);
    let caller = user.caller();
    let at = space.map_key_page(&caller).unwrap();
    assert!(space.copy_to_user(&caller, at, &[0xFF]).is_err());
    let write = HardwareFault {
        addr: at,
        code: PageFaultErrorCode::from_bits(0x7),
    };
    let end = space.page_fault(&caller, write);
    assert_eq!(end, Err(FaultEnd::Segv(Segv::ACCERR)));
    for prot in [2, 3, 4, 5, 7] {
        let got = space.mprotect(&caller, at, 4096, prot);
        assert_eq!(got, Err(Errno::Access), "{prot}");
    }
    assert!(space.write_remote(&user.cpu, at, &[0xFF], true).is_err());
    user.assert_same(&space, at);
}

#[test]
fn without_keys_there_is_no_page() {
    let machine = Machine::new(1, 16 << 20);
    let space = new_space(&machine);
    let user = User::on(&machine, &space);
    let controls = user.cpu.controls();
    user.cpu.set_controls(Controls {
        pke: false,
        ..controls
    });
    assert_eq!(space.map_key_page(&user.caller()), Err(Errno::NoSystemCall));
}
