//! A CPU as the kernel library sees it: its registers, its copies to and from user memory, its counters.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test: what goes wrong ends it"
)]

mod common;

use common::{P, PLENTY, SIZES, U, W, fault, one_cpu, register};
use pkeys_core::{Access, KeyRegister, LeafSize, Privilege, x86};
use pkeys_kernel::hardware::{Cpu, HardwareFault, PhysAddr, PhysMemory, UserAccessFault};
use pkeys_machine::{Controls, Counters, Exception, Machine};

const ADDR: u64 = 0x4000_0000;

fn stopped(copied: usize, addr: u64, code: u32) -> Result<(), UserAccessFault> {
    Err(UserAccessFault {
        copied,
        fault: HardwareFault {
            addr,
            code: code.into(),
        },
    })
}

/// At every offset and of every length around the border of two pages, the second of which may be missing.
#[test]
fn copies_stop_at_the_first_byte_that_is_denied() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    let first = tables.map(ADDR, LeafSize::Size4K, P | U | W, 0);
    let border = ADDR + 4096;
    for has_second in [false, true] {
        if has_second {
            tables.map(border, LeafSize::Size4K, P | U | W, 0);
        }
        for before in 0..9_u64 {
            for len in 0..20 {
                let start = border - before;
                let bytes: Vec<u8> = (1..=len as u8).collect();
                let mut seen = vec![0; len];
                let expected = |code| {
                    if has_second || len <= before as usize {
                        Ok(())
                    } else {
                        stopped(before as usize, border, code)
                    }
                };
                assert_eq!(cpu.write_user(start, &bytes), expected(2));
                assert_eq!(cpu.read_user(start, &mut seen), expected(0));
                let copied = if expected(0).is_ok() {
                    len
                } else {
                    before as usize
                };
                assert_eq!(seen[..copied], bytes[..copied]);
                assert!(seen[copied..].iter().all(|&byte| byte == 0));
            }
        }
    }
    // The last copy put the numbers from 1 on behind `border - 8`: the eighth is the page's last byte.
    let last = PhysAddr(first.0 + 4095);
    let mut byte = [0];
    machine.memory().read(last, &mut byte);
    assert_eq!(byte, [8]);
}

/// In pages of all sizes, and over several of them.
#[test]
fn copies_go_through_pages_of_every_size() {
    let mut addr = ADDR;
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    for size in SIZES {
        addr += 2 << 30;
        tables.map(addr, size, P | U | W, 0);
        tables.map(addr + size.bytes(), size, P | U | W, 0);
        let bytes: Vec<u8> = (0..9000_u32).map(|n| (n % 253) as u8).collect();
        let len = bytes.len().min(2 * 4096 - 10).min(size.bytes() as usize);
        let start = addr + size.bytes() - len as u64 / 2;
        let mut seen = vec![0; len];
        cpu.write_user(start, &bytes[..len]).unwrap();
        cpu.read_user(start, &mut seen).unwrap();
        assert_eq!(seen, bytes[..len]);
        for n in [0, len / 2 - 1, len / 2, len - 1] {
            assert_eq!(cpu.user_read(start + n as u64), Ok(bytes[n]));
        }
    }
}

/// The user's PKRU rules the kernel's copies; SMAP and PKRS do not; the code is that of supervisor mode.
#[test]
fn copies_heed_pkru_and_pages() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    cpu.set_controls(Controls {
        pks: true,
        ..Controls::LINUX
    });
    cpu.write_msr(x86::PKRS_MSR, 0xFFFF_FFFF).unwrap();
    tables.map(ADDR, LeafSize::Size4K, P | U | W, 4);
    let read_only = ADDR + 4096;
    tables.map(read_only, LeafSize::Size4K, P | U, 0);
    let mut byte = [0];
    for (bits, read, write) in [(0, 0, 0), (1, 0x21, 0x23), (2, 0, 0x23), (3, 0x21, 0x23)] {
        cpu.write_pkru(register(4, bits));
        let expected = |code| {
            if code == 0 {
                Ok(())
            } else {
                stopped(0, ADDR, code)
            }
        };
        assert_eq!(cpu.read_user(ADDR, &mut byte), expected(read));
        assert_eq!(cpu.write_user(ADDR, &[1]), expected(write));
    }
    assert_eq!(cpu.read_user(read_only, &mut byte), Ok(()));
    assert_eq!(cpu.write_user(read_only, &[1]), stopped(0, read_only, 3));
    assert!(!cpu.ac(), "AC is as it was");
    let result = cpu.access(Privilege::Supervisor, Access::Read, read_only, &mut byte[0]);
    assert_eq!(result, Err(fault(read_only, 1)), "SMAP is on otherwise");
}

/// The comparison with the end of user memory, which kernels make before they copy.
#[test]
fn copies_do_not_reach_supervisor_pages() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    let page = tables.map(ADDR, LeafSize::Size4K, P | W, 0);
    machine.memory().write(page, &[9; 8]);
    let mut bytes = [0; 8];
    assert_eq!(cpu.read_user(ADDR, &mut bytes), stopped(0, ADDR, 1));
    assert_eq!(cpu.write_user(ADDR, &[1; 8]), stopped(0, ADDR, 3));
    assert_eq!(bytes, [0; 8]);
    let mut byte = 0;
    cpu.access(Privilege::Supervisor, Access::Read, ADDR, &mut byte)
        .unwrap();
    assert_eq!(byte, 9);
    for addr in [0x8000_0000_0000, u64::MAX] {
        assert_eq!(cpu.read_user(addr, &mut bytes), stopped(0, addr, 0));
        assert_eq!(cpu.write_user(addr, &[1; 8]), stopped(0, addr, 2));
    }
    assert_eq!(cpu.read_user(0x8000_0000_0000, &mut []), Ok(()));
}

/// A stale entry serves copies as it serves user mode.
#[test]
fn copies_use_the_tlb() {
    let machine = Machine::new(1, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    tables.map(ADDR, LeafSize::Size4K, P | U | W, 0);
    cpu.user_write(ADDR, 5).unwrap();
    machine
        .memory()
        .write_entry(tables.leaf(ADDR, LeafSize::Size4K), 0);
    let mut byte = [0];
    assert_eq!(cpu.read_user(ADDR, &mut byte), Ok(()));
    assert_eq!(byte, [5]);
    cpu.invlpg(ADDR);
    assert_eq!(cpu.read_user(ADDR, &mut byte), stopped(0, ADDR, 0));
}

#[test]
fn registers_belong_to_their_cpu() {
    let machine = Machine::new(2, PLENTY);
    let [zero, one] = [0, 1].map(|number| machine.cpu(number));
    assert_eq!([zero.id(), one.id()], [0, 1]);
    zero.write_pkru(KeyRegister::LINUX_INIT);
    assert_eq!(zero.read_pkru(), KeyRegister::LINUX_INIT);
    assert_eq!(machine.cpu(0).read_pkru(), KeyRegister::LINUX_INIT);
    assert_eq!(one.read_pkru(), KeyRegister::ALL_OPEN);
    one.set_controls(Controls {
        pke: false,
        ..Controls::LINUX
    });
    assert_eq!([zero.has_pku(), one.has_pku()], [true, false]);
}

#[test]
fn pkrs_takes_32_bits_and_no_other_msr_exists() {
    let machine = Machine::new(1, PLENTY);
    let cpu = machine.cpu(0);
    assert_eq!(cpu.read_msr(0x6E1), Ok(0));
    for value in [1, 0x5555_5554, 0xFFFF_FFFF] {
        cpu.write_msr(0x6E1, value).unwrap();
        assert_eq!(cpu.read_msr(0x6E1), Ok(value));
    }
    for bit in 32..64 {
        let result = cpu.write_msr(0x6E1, 1 << bit | 1);
        assert_eq!(result, Err(Exception::GeneralProtection));
    }
    assert_eq!(
        cpu.read_msr(0x6E1),
        Ok(0xFFFF_FFFF),
        "a refused value leaves the old one"
    );
    for number in [0, 0x6E0, 0x6E2, 0xC000_0080] {
        assert_eq!(cpu.read_msr(number), Err(Exception::GeneralProtection));
        assert_eq!(cpu.write_msr(number, 0), Err(Exception::GeneralProtection));
    }
}

#[test]
#[should_panic(expected = "WRPKRU with CR4.PKE clear")]
fn pkru_cannot_be_written_without_keys() {
    let machine = Machine::new(1, PLENTY);
    machine.cpu(0).set_controls(Controls {
        pke: false,
        ..Controls::LINUX
    });
    machine.cpu(0).write_pkru(KeyRegister::ALL_OPEN);
}

#[test]
#[should_panic(expected = "RDPKRU with CR4.PKE clear")]
fn pkru_cannot_be_read_without_keys() {
    let machine = Machine::new(1, PLENTY);
    machine.cpu(0).set_controls(Controls {
        pke: false,
        ..Controls::LINUX
    });
    let _ = machine.cpu(0).read_pkru();
}

#[test]
#[should_panic(expected = "no page tables loaded")]
fn an_access_before_page_tables_are_loaded_is_a_defect() {
    let _ = Machine::new(1, PLENTY).cpu(0).user_read(0);
}

/// Everything that is counted, once.
#[test]
fn what_is_done_is_counted() {
    let machine = Machine::new(2, PLENTY);
    let (cpu, tables) = one_cpu(&machine);
    tables.map(ADDR, LeafSize::Size4K, P | U | W, 0);
    let before = cpu.counters();
    cpu.write_pkru(KeyRegister::ALL_OPEN);
    cpu.write_pkru(KeyRegister::ALL_OPEN);
    cpu.write_msr(x86::PKRS_MSR, 0).unwrap();
    cpu.load_root(tables.root);
    cpu.invlpg(ADDR);
    // A walk for the read, and one for the first write; then none.
    for _ in 0..3 {
        cpu.user_read(ADDR).unwrap();
        cpu.user_write(ADDR, 1).unwrap();
    }
    cpu.user_read(0).unwrap_err();
    let expected = Counters {
        pkru_writes: 2,
        msr_writes: 1,
        root_loads: 1,
        invlpgs: 1,
        walks: 3,
        ..Counters::default()
    };
    assert_eq!(cpu.counters() - before, expected);
    assert_eq!(machine.cpu(1).counters(), Counters::default());
}

#[test]
fn exceptions_read_as_sentences() {
    let page_fault = fault(0x1000, 0x27);
    assert_eq!(
        page_fault.to_string(),
        "page fault at 0x1000: user write, page present, protection key"
    );
    assert_eq!(
        Exception::GeneralProtection.to_string(),
        "general protection"
    );
    assert_eq!(Exception::GeneralProtection.page_fault(), None);
    assert_eq!(page_fault.page_fault().unwrap().addr, 0x1000);
}
