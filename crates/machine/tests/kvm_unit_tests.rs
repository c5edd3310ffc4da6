//! The truth table of kvm-unit-tests' `x86/pks.c` and `x86/pku.c`: a row for each line that they report, with page
//! tables in the machine's memory. All accesses are made at CPL 0.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test: what goes wrong ends it"
)]

mod common;

use common::{P, PLENTY, U, W, fault, one_cpu, register};
use pkeys_core::{Access, LeafSize, Privilege, x86};
use pkeys_kernel::hardware::Cpu;
use pkeys_machine::{Controls, Machine};

const AD: u32 = 1;
const WD: u32 = 2;
const ADDR: u64 = 0x20_0000;

/// Which of the two programs.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Program {
    Pks,
    Pku,
}

/// Access, user page, bits of the key, CR0.WP; the error code of the fault, if there is one, in `pks.c` and in `pku.c`.
type Row = (Access, bool, u32, bool, Option<u32>, Option<u32>);

const TABLE: [Row; 7] = [
    (Access::Write, false, AD, true, Some(0x23), None),
    (Access::Write, false, AD, false, Some(0x23), None),
    (Access::Write, false, WD, true, Some(0x23), None),
    (Access::Write, false, WD, false, None, None),
    (Access::Write, true, WD, false, None, None),
    (Access::Write, true, WD, true, None, Some(0x23)),
    (Access::Read, true, AD, true, None, Some(0x21)),
];

#[test]
fn all_fourteen_rows_hold_with_every_key() {
    for pkey in 1..16 {
        for (number, (access, is_user, bits, wp, in_pks, in_pku)) in TABLE.into_iter().enumerate() {
            for (program, code) in [(Program::Pks, in_pks), (Program::Pku, in_pku)] {
                let machine = Machine::new(1, PLENTY);
                let (cpu, tables) = one_cpu(&machine);
                let user = if is_user { U } else { 0 };
                tables.map(ADDR, LeafSize::Size4K, P | W | user, pkey);
                cpu.set_controls(Controls {
                    wp,
                    pke: true,
                    pks: program == Program::Pks,
                    smep: false,
                    smap: false,
                });
                match program {
                    Program::Pks => {
                        let pkrs = register(pkey, bits).bits().into();
                        cpu.write_msr(x86::PKRS_MSR, pkrs).unwrap();
                    }
                    Program::Pku => cpu.write_pkru(register(pkey, bits)),
                }
                let mut byte = 1;
                let result = cpu.access(Privilege::Supervisor, access, ADDR, &mut byte);
                let expected = code.map_or(Ok(()), |code| Err(fault(ADDR, code)));
                assert_eq!(result, expected, "{program:?}, row {number}, key {pkey}");
            }
        }
    }
}
