//! Every access under every setting, against a second formulation of the manual's sections 4.6 and 4.7 that is written
//! as the manual is: a list of permissions, and a list of what each bit of the error code means.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test: what goes wrong ends it"
)]

mod common;

use common::{A, D, P, PLENTY, SIZES, Tables, U, W, XD, entry, fault, register};
use pkeys_core::{Access, KeyRegister, LeafSize, Privilege, x86};
use pkeys_kernel::hardware::{Cpu, PhysAddr, PhysMemory};
use pkeys_machine::{Controls, Machine, MachineCpu};

const ADDR: u64 = 0x1234_4000_0000;
const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Fetch];

/// One access and its surroundings, as bits: field number n of `Case::get` is bit n.
#[derive(Clone, Copy)]
struct Case(u32);

/// How many settings there are besides access, key and size.
const NR_SETTINGS: u32 = 1 << 14;

impl Case {
    fn get(self, number: u32) -> bool {
        self.0 >> number & 1 == 1
    }
    fn cpl3(self) -> bool {
        self.get(0)
    }
    fn user_address(self) -> bool {
        self.get(1)
    }
    fn rw(self) -> bool {
        self.get(2)
    }
    fn xd(self) -> bool {
        self.get(3)
    }
    fn wp(self) -> bool {
        self.get(4)
    }
    fn pke(self) -> bool {
        self.get(5)
    }
    fn pks(self) -> bool {
        self.get(6)
    }
    fn smep(self) -> bool {
        self.get(7)
    }
    fn smap(self) -> bool {
        self.get(8)
    }
    fn ac(self) -> bool {
        self.get(9)
    }
    /// AD and WD in PKRU.
    fn pkru(self) -> (bool, bool) {
        (self.get(10), self.get(11))
    }
    /// AD and WD in PKRS.
    fn pkrs(self) -> (bool, bool) {
        (self.get(12), self.get(13))
    }

    /// Section 4.6.2: which data accesses the key permits.
    fn key_permits(self, is_write: bool) -> bool {
        let (is_on, (ad, wd)) = if self.user_address() {
            (self.pke(), self.pkru())
        } else {
            (self.pks(), self.pkrs())
        };
        let stops_writes = wd && (self.cpl3() || self.wp());
        !is_on || !(ad || is_write && stops_writes)
    }

    /// Section 4.6.1, sentence by sentence.
    fn is_permitted(self, access: Access) -> bool {
        let ac_allows = !self.smap() || self.ac();
        if !self.cpl3() {
            match (access, self.user_address()) {
                // Data may be read from any supervisor-mode address with a key that permits it.
                (Access::Read, false) => self.key_permits(false),
                // From user-mode addresses only if SMAP is clear, or AC is set; and with the key.
                (Access::Read, true) => ac_allows && self.key_permits(false),
                (Access::Write, false) if !self.wp() => self.key_permits(true),
                (Access::Write, false) => self.rw() && self.key_permits(true),
                (Access::Write, true) if !self.wp() => ac_allows && self.key_permits(true),
                (Access::Write, true) => self.rw() && ac_allows && self.key_permits(true),
                (Access::Fetch, false) => !self.xd(),
                (Access::Fetch, true) => !self.smep() && !self.xd(),
            }
        } else if self.user_address() {
            match access {
                Access::Read => self.key_permits(false),
                Access::Write => self.rw() && self.key_permits(true),
                Access::Fetch => !self.xd(),
            }
        } else {
            false
        }
    }

    /// Section 4.7, for a page that is present: 0 if there is no fault.
    fn error_code(self, access: Access) -> u32 {
        if self.is_permitted(access) {
            return 0;
        }
        let is_data = access != Access::Fetch;
        let bits = [
            true,
            access == Access::Write,
            self.cpl3(),
            false,
            !is_data,
            is_data && !self.key_permits(access == Access::Write),
        ];
        let place = |(number, bit): (u32, bool)| u32::from(bit) << number;
        (0..).zip(bits).map(place).sum()
    }

    /// Puts the case's registers into a CPU.
    fn apply(self, cpu: MachineCpu<'_>, pkey: u8) {
        cpu.set_controls(OPEN);
        cpu.write_pkru(register(pkey, self.0 >> 10 & 3));
        let pkrs = register(pkey, self.0 >> 12 & 3).bits().into();
        cpu.write_msr(x86::PKRS_MSR, pkrs).unwrap();
        cpu.set_ac(self.ac());
        cpu.set_controls(Controls {
            wp: self.wp(),
            pke: self.pke(),
            pks: self.pks(),
            smep: self.smep(),
            smap: self.smap(),
        });
    }

    fn mode(self) -> Privilege {
        if self.cpl3() {
            Privilege::User
        } else {
            Privilege::Supervisor
        }
    }
}

/// Settings under which supervisor mode may do everything but fetch from XD pages. PKE is set so that PKRU can be
/// written, but PKRU has to be open.
const OPEN: Controls = Controls {
    wp: false,
    pke: true,
    pks: false,
    smep: true,
    smap: false,
};

/// Leaves a translation in the TLB: a clean one, or a dirty one.
fn warm(cpu: MachineCpu<'_>, access: Access) {
    cpu.set_controls(OPEN);
    cpu.write_pkru(KeyRegister::ALL_OPEN);
    cpu.access(Privilege::Supervisor, access, ADDR, &mut 0)
        .unwrap();
}

/// All settings, for one size of pages: with an empty TLB, with a clean and with a dirty entry in it. In the leaf, the
/// flags A and D are as the access leaves them.
fn check_all(size: LeafSize) {
    let machine = Machine::new(1, PLENTY);
    let cpu = machine.cpu(0);
    let memory = machine.memory();
    let tables = Tables::new(&machine);
    let page = tables.map(ADDR, size, P, 0);
    let leaf = tables.leaf(ADDR, size);
    let mut faults = [0_u32; 64];
    for setting in 0..NR_SETTINGS {
        let case = Case(setting);
        let pkey = (setting.wrapping_mul(0x9E37_79B9) >> 28) as u8;
        let [u, w, xd] = [(case.user_address(), U), (case.rw(), W), (case.xd(), XD)]
            .map(|(is_set, bit)| if is_set { bit } else { 0 });
        let clean = entry(page, size, P | u | w | xd, pkey);
        for access in ACCESSES {
            let code = case.error_code(access);
            faults[code as usize] += 1;
            let expected = if code == 0 {
                Ok(())
            } else {
                Err(fault(ADDR, code))
            };
            for before in [None, Some(Access::Read), Some(Access::Write)] {
                memory.write_entry(leaf, clean);
                cpu.load_root(tables.root);
                if let Some(before) = before {
                    warm(cpu, before);
                }
                case.apply(cpu, pkey);
                // SMEP on its way from clear to set drops the TLB; OPEN has it set, so the entry is still there.
                assert_eq!(cpu.tlb_len(), usize::from(before.is_some()));
                let result = cpu.access(case.mode(), access, ADDR, &mut 0);
                assert_eq!(
                    result, expected,
                    "setting {setting:#x} {access} {size}, {before:?} before"
                );
                let mut flags = 0;
                if before.is_some() || result.is_ok() {
                    flags |= A;
                }
                if before == Some(Access::Write) || access == Access::Write && result.is_ok() {
                    flags |= D;
                }
                assert_eq!(memory.read_entry(leaf), clean | flags);
                assert_eq!(cpu.tlb_len(), usize::from(result.is_ok()));
            }
        }
    }
    // Each kind of fault there is, and no other: reads 1, writes 3, fetches 0x11; from user mode 4 more; the key 0x20.
    let kinds: Vec<usize> = (0..64).filter(|&code| faults[code] != 0).collect();
    assert_eq!(kinds, [0, 1, 3, 5, 7, 0x11, 0x15, 0x21, 0x23, 0x25, 0x27]);
}

#[test]
fn every_setting_agrees_with_the_manual_on_4_kib_pages() {
    check_all(LeafSize::Size4K);
}

#[test]
fn every_setting_agrees_with_the_manual_on_2_mib_pages() {
    check_all(LeafSize::Size2M);
}

#[test]
fn every_setting_agrees_with_the_manual_on_1_gib_pages() {
    check_all(LeafSize::Size1G);
}

/// All 16 keys against all pairs of bits of all keys: the register's other bits do not matter.
#[test]
fn every_key_is_ruled_by_its_own_bits() {
    for size in SIZES {
        let machine = Machine::new(1, PLENTY);
        let (cpu, tables) = common::one_cpu(&machine);
        let page = tables.map(ADDR, size, P | U | W, 0);
        let leaf = tables.leaf(ADDR, size);
        for pkey in 0..16 {
            machine
                .memory()
                .write_entry(leaf, entry(page, size, P | U | W, pkey));
            cpu.load_root(tables.root);
            for closed in 0..16 {
                for bits in 0..4 {
                    for inverted in [false, true] {
                        let mask = register(closed, 3).bits();
                        let others = if inverted { !mask } else { 0 };
                        let pkru = register(closed, bits).bits() | others;
                        cpu.write_pkru(KeyRegister::from_bits(pkru));
                        let mine = pkru >> (2 * pkey) & 3;
                        let read = if mine & 1 == 0 {
                            Ok(0)
                        } else {
                            Err(fault(ADDR, 0x25))
                        };
                        let write = if mine == 0 {
                            Ok(())
                        } else {
                            Err(fault(ADDR, 0x27))
                        };
                        assert_eq!(cpu.user_read(ADDR), read);
                        assert_eq!(cpu.user_write(ADDR, 0), write);
                        assert_eq!(cpu.user_fetch(ADDR), Ok(0));
                    }
                }
            }
        }
    }
}

/// U/S, R/W and XD in every combination over the levels. U/S and R/W count if they are set in all, XD if in any.
#[test]
fn rights_are_combined_over_the_levels() {
    for size in SIZES {
        let machine = Machine::new(1, PLENTY);
        let (cpu, tables) = common::one_cpu(&machine);
        tables.map(ADDR, size, P, 3);
        let path = tables.path(ADDR, size);
        let bare: Vec<u64> = path
            .iter()
            .map(|&at| machine.memory().read_entry(at) & !(U | W | XD))
            .collect();
        for bits in 0..1_u32 << (3 * path.len()) {
            let (mut user, mut writable, mut executable) = (true, true, true);
            for (level, (&at, &bare)) in path.iter().zip(&bare).enumerate() {
                let [u, w, xd] = [0, 1, 2].map(|n| bits >> (3 * level + n) & 1 == 1);
                user &= u;
                writable &= w;
                executable &= !xd;
                let flags =
                    [(u, U), (w, W), (xd, XD)].map(|(is_set, bit)| if is_set { bit } else { 0 });
                machine
                    .memory()
                    .write_entry(at, flags.iter().fold(bare, |entry, flag| entry | flag));
            }
            cpu.load_root(tables.root);
            let expect = |is_allowed: bool, code| {
                if is_allowed {
                    Ok(0)
                } else {
                    Err(fault(ADDR, code))
                }
            };
            assert_eq!(cpu.user_read(ADDR), expect(user, 5), "{bits:#x}");
            let write = cpu.user_write(ADDR, 0).map(|()| 0);
            assert_eq!(write, expect(user && writable, 7), "{bits:#x}");
            assert_eq!(
                cpu.user_fetch(ADDR),
                expect(user && executable, 0x15),
                "{bits:#x}"
            );
        }
    }
}

/// A key in an entry that is not a leaf means nothing.
#[test]
fn keys_of_upper_entries_are_ignored() {
    for size in SIZES {
        let machine = Machine::new(1, PLENTY);
        let (cpu, tables) = common::one_cpu(&machine);
        tables.map(ADDR, size, P | U | W, 5);
        let path = tables.path(ADDR, size);
        for &at in &path[..path.len() - 1] {
            let entry = machine.memory().read_entry(at);
            machine.memory().write_entry(at, entry | 0xA << 59);
        }
        cpu.write_pkru(KeyRegister::from_bits(!(3 << 10)));
        assert_eq!(cpu.user_write(ADDR, 1), Ok(()));
        cpu.write_pkru(register(5, 1));
        assert_eq!(cpu.user_read(ADDR), Err(fault(ADDR, 0x25)));
    }
}

/// The accessed flag is set on the way, as far as the walk comes.
#[test]
fn upper_entries_are_marked_accessed() {
    for size in SIZES {
        let machine = Machine::new(1, PLENTY);
        let (cpu, tables) = common::one_cpu(&machine);
        tables.map(ADDR, size, P | W, 0);
        let path = tables.path(ADDR, size);
        let flags = |at: PhysAddr| machine.memory().read_entry(at) & (A | D);
        let (leaf, upper) = path.split_last().unwrap();
        assert_eq!(cpu.user_read(ADDR), Err(fault(ADDR, 5)));
        assert!(upper.iter().all(|&at| flags(at) == A));
        assert_eq!(flags(*leaf), 0);
        let mut byte = 0;
        cpu.access(Privilege::Supervisor, Access::Write, ADDR, &mut byte)
            .unwrap();
        assert!(upper.iter().all(|&at| flags(at) == A));
        assert_eq!(flags(*leaf), A | D);
    }
}
