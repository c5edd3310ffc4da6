//! A kernel that has page tables, a lock and threads of its own, and takes the key parts only.
//!
//! Nothing of [`pkeys_kernel::memory`] is used. `own_page_tables/kernel.rs` is the kernel, with a page table of quite another
//! shape; this file tells what happens in it. What it asks the library for:
//!
//! | moment | function of `Kernel` | call |
//! |---|---|---|
//! | a page fault | `fault` | `fault::judge` |
//! | `mmap` | `map` | `SpaceKeys::key_for_map` |
//! | `pkey_mprotect`, `mprotect` | `protect` | `SpaceKeys::check`, `SpaceKeys::key_for_protect` |
//! | `pkey_alloc`, `pkey_free` | `alloc`, `free` | `SpaceKeys::alloc`, `SpaceKeys::free` |
//! | `pkey_get`, `pkey_set`, which take no lock | `get`, `set` | `get_set` |
//! | fork, execve, a switch of threads | `fork`, `exec`, `switch` | `SpaceKeys::fork`, `ThreadKeys` |
//!
//! `cargo run -p pkeys-kernel --example own_page_tables` tells it; a test does, too.

#[path = "own_page_tables/kernel.rs"]
mod kernel;

use core::fmt::Write as _;
use std::rc::Rc;

use pkeys_core::{Access, AccessBits, KeyRegister, Pkey};
use pkeys_kernel::abi::{Errno, Prot};
use pkeys_kernel::keys::fault::Segv;
use pkeys_kernel::keys::{PkruRegister, ThreadKeys, watchdog};

use kernel::{Kernel, Thread};

/// A page with a key of its own, the one behind it, which is never touched, and a page of code.
const LEDGER: u64 = 0x10;
const BEHIND: u64 = 0x11;
const CODE: u64 = 0x20;

/// The ledger's protection.
const DATA: Prot = Prot::READ.union(Prot::WRITE);

/// What happens to a ledger whose key one thread holds and another does not. Panics where it does not.
#[derive(Debug)]
struct Story {
    kernel: Kernel,
    clerk: Thread,
    pkey: Pkey,
    told: String,
}

/// Tells a line.
macro_rules! tell {
    ($story:expr, $($line:tt)*) => {
        _ = writeln!($story.told, $($line)*)
    };
}

impl Story {
    fn begin() -> Self {
        let kernel = Kernel::boot("0x55555554");
        let clerk = kernel.first_thread();
        kernel.map(&clerk, LEDGER..BEHIND + 1, DATA);
        let pkey = kernel.alloc(&clerk, 0).expect("the first key");
        let given = kernel.protect(&clerk, LEDGER, DATA, pkey.into());
        assert_eq!(given, Ok(pkey));
        assert_eq!(kernel.access(&clerk, LEDGER, Access::Write), Ok(1));
        Self {
            kernel,
            clerk,
            pkey,
            told: format!("the clerk has key {pkey} and writes the ledger\n"),
        }
    }

    /// A thread that was there before the key was allocated has no rights on it.
    fn a_stranger_writes(&mut self) {
        let kernel = &self.kernel;
        let stranger = Thread {
            space: Rc::clone(&self.clerk.space),
            keys: ThreadKeys::new(kernel.init),
        };
        kernel.switch(&self.clerk, &stranger);
        // The page behind was never touched; the key is looked at first all the same.
        for page in [LEDGER, BEHIND] {
            let segv = kernel
                .access(&stranger, page, Access::Write)
                .expect_err("a stray write");
            assert_eq!(segv, Segv::pkuerr(self.pkey));
            let (code, pkey) = (segv.code, self.pkey);
            tell!(self, "a stray write to page {page:#x}: {code}, key {pkey}");
        }
        let nowhere = kernel.access(&stranger, 0x99, Access::Read);
        assert_eq!(nowhere, Err(Segv::MAPERR));
        kernel.switch(&stranger, &self.clerk);
    }

    /// A plain `mprotect` changes what it says and not the key.
    fn the_ledger_is_closed(&mut self) {
        let (kernel, clerk, pkey) = (&self.kernel, &self.clerk, self.pkey);
        assert_eq!(kernel.protect(clerk, LEDGER, Prot::READ, -1), Ok(pkey));
        let segv = kernel
            .access(clerk, LEDGER, Access::Write)
            .expect_err("a write");
        assert_eq!(segv, Segv::ACCERR);
        assert_eq!(kernel.protect(clerk, LEDGER, DATA, -1), Ok(pkey));
        tell!(
            self,
            "mprotect to read only keeps key {pkey}; the clerk's own write: {}",
            segv.code
        );
    }

    /// Rights by calls that take no lock.
    fn rights_are_asked_for(&mut self) {
        let (kernel, clerk, pkey) = (&self.kernel, &self.clerk, self.pkey);
        {
            let _somebody_has_the_lock = clerk.space.lock();
            kernel.set(clerk, pkey, 2).expect("an allocated key");
            assert_eq!(kernel.get(clerk, pkey), Ok(AccessBits::DISABLE_WRITE));
        }
        let stray = kernel.access(clerk, LEDGER, Access::Write);
        assert_eq!(stray, Err(Segv::pkuerr(pkey)));
        assert_eq!(kernel.access(clerk, LEDGER, Access::Read), Ok(1));
        let unknown = kernel.get(clerk, Pkey::truncate(9));
        assert_eq!(unknown, Err(Errno::BadDescriptor));
        tell!(
            self,
            "pkey_set and pkey_get answer while the address space is locked"
        );
    }

    /// Exactly `PROT_EXEC` gets a key of its own.
    fn code_is_hidden(&mut self) {
        let (kernel, clerk) = (&self.kernel, &self.clerk);
        kernel.map(clerk, CODE..CODE + 1, Prot::EXEC);
        assert_eq!(kernel.access(clerk, CODE, Access::Fetch), Ok(0));
        let segv = kernel
            .access(clerk, CODE, Access::Read)
            .expect_err("a read");
        let pkey = segv.pkey.expect("a fault of a key");
        assert_eq!(kernel.get(clerk, pkey), Err(Errno::BadDescriptor));
        tell!(
            self,
            "code that can be run but not read has key {pkey}, which no call gives away"
        );
    }

    /// A child has the same keys and rights on a copy of the pages, until it executes a program.
    fn a_child_goes_its_own_way(&mut self) {
        let (kernel, clerk, pkey) = (&self.kernel, &self.clerk, self.pkey);
        let mut child = kernel.fork(clerk);
        kernel.switch(clerk, &child);
        assert_eq!(kernel.get(&child, pkey), Ok(AccessBits::DISABLE_WRITE));
        kernel.set(&child, pkey, 0).expect("allocated here, too");
        assert_eq!(kernel.access(&child, LEDGER, Access::Write), Ok(2));
        Kernel::free(&child, pkey).expect("the child's own");
        kernel.exec(&mut child);
        assert_eq!(kernel.get(&child, pkey), Err(Errno::BadDescriptor));
        assert_eq!(kernel.cpu.read(), kernel.init.register());
        kernel.switch(&child, clerk);
        assert_eq!(kernel.access(clerk, LEDGER, Access::Read), Ok(1));
        assert_eq!(kernel.get(clerk, pkey), Ok(AccessBits::DISABLE_WRITE));
        tell!(
            self,
            "a child wrote its copy, freed its key and became another program; here nothing changed"
        );
    }

    /// A program may write the register itself. A kernel that has the watchdog on does not leave it at that.
    fn a_register_is_corrupted(&mut self) {
        let (kernel, clerk) = (&self.kernel, &self.clerk);
        kernel.cpu.write(KeyRegister::ALL_OPEN);
        let findings = watchdog::Findings::default();
        let map = clerk.space.keys.map();
        let repair = watchdog::tick(map, &clerk.keys, &kernel.cpu, kernel.init, &findings);
        assert_eq!(kernel.get(clerk, self.pkey), Ok(AccessBits::DISABLE_WRITE));
        tell!(
            self,
            "a stray WRPKRU opened everything; the tick closed keys {} and {}",
            repair.changed,
            repair.unallocated
        );
    }
}

/// The whole story.
pub(crate) fn story() -> String {
    let mut story = Story::begin();
    story.a_stranger_writes();
    story.the_ledger_is_closed();
    story.rights_are_asked_for();
    story.code_is_hidden();
    story.a_child_goes_its_own_way();
    story.a_register_is_corrupted();
    story.told
}

/// Tells it.
pub(crate) fn main() {
    print!("{}", story());
}
