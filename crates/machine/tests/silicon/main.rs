//! The machine against a real processor, where there is one with protection keys.
//!
//! Pages of every protection and every key are mapped in this process and, alike, in the machine's page tables. Then
//! each access is made on both, under each value of the key's two bits, with the other keys open and closed: by this
//! program with one instruction, and by the kernel for this program with `read(2)` and `write(2)`. What has to agree is
//! whether there is a fault, at which address, and the error code to the last bit (`REG_ERR` in the signal frame);
//! `si_code` has to be what follows from the code. PKRU is changed thousands of times and no TLB is ever flushed,
//! so the test also shows that both heed the register on pages that they know.
//!
//! It cannot show what takes a kernel to try: supervisor pages and PKRS, CR0.WP, reserved bits, and what a TLB keeps.
//! Without keys everything is skipped; `PKEYS_TEST_FORCE=1` makes that a failure.
#![allow(
    clippy::unwrap_used,
    clippy::multiple_unsafe_ops_per_block,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test: what goes wrong ends it"
)]

#[path = "../common/mod.rs"]
mod common;
mod pages;
mod processor;

use std::process::ExitCode;
use std::sync::Arc;

use common::{P, PLENTY, Tables, U, W, XD};
use libtest_mimic::{Arguments, Failed, Trial};
use pages::{Keys, Pages, Protection};
use pkeys_core::{Access, KeyRegister, LeafSize};
use pkeys_kernel::hardware::Cpu;
use pkeys_machine::{Exception, Machine, MachineCpu};
use processor::{Processor, Signal};

const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Fetch];

/// What a trial is run with.
type Subject = (Processor, Arc<Keys>);

/// A trial, on pages of one size.
type Body = fn(&Subject, LeafSize);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let is_forced = std::env::var_os("PKEYS_TEST_FORCE").is_some_and(|value| value == "1");
    let subject = Processor::probe().and_then(|processor| Ok((processor, Arc::new(Keys::all()?))));
    let keys_missing = subject.as_ref().err().cloned();
    let huge_missing = keys_missing.clone().or_else(|| Pages::huge_pages().err());
    let mut trials = Vec::new();
    for (size, in_words) in [(LeafSize::Size4K, "4_kib"), (LeafSize::Size2M, "2_mib")] {
        let missing = match size {
            LeafSize::Size4K => &keys_missing,
            _ => &huge_missing,
        };
        let bodies = [
            ("instructions", instructions as Body),
            ("kernel_copies", kernel_copies),
        ];
        for (what, body) in bodies {
            let (subject, missing) = (subject.clone(), missing.clone());
            let is_ignored = missing.is_some() && !is_forced;
            let run = move || match (&subject, missing) {
                (Ok(subject), None) => {
                    body(subject, size);
                    Ok(())
                }
                (_, why) => Err(Failed::from(why.unwrap_or_default())),
            };
            let name = format!("{what}_on_{in_words}_pages");
            trials.push(Trial::test(name, run).with_ignored_flag(is_ignored));
        }
    }
    if let Some(missing) = &huge_missing {
        eprintln!("machine against silicon, skipped in whole or in part: {missing}");
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Calls `compare` for every key, protection and value of the register, with an address of pages that are set up alike
/// on both sides; gives how many calls that were.
fn with_all(
    (_, keys): &Subject,
    size: LeafSize,
    compare: &mut dyn FnMut(MachineCpu<'_>, u64, KeyRegister, Protection),
) -> usize {
    let machine = Machine::new(1, PLENTY);
    let tables = Tables::new(&machine);
    let cpu = machine.cpu(0);
    cpu.load_root(tables.root);
    let pages: Vec<Pages> = Protection::ALL.iter().map(|_| Pages::new(size)).collect();
    let mut nr_calls = 0;
    for &pkey in keys.numbers() {
        for (pages, &protection) in pages.iter().zip(Protection::ALL) {
            pages.protect(protection, pkey);
            let flags = match protection {
                Protection::None => 0,
                Protection::Read => P | U | XD,
                Protection::ReadWrite => P | U | W | XD,
                Protection::ReadExecute => P | U,
                Protection::All => P | U | W,
            };
            tables.map(pages.addr(), size, flags, pkey);
            cpu.invlpg(pages.addr());
            for pkru in registers(pkey) {
                compare(cpu, pages.addr(), pkru, protection);
                nr_calls += 1;
            }
        }
    }
    nr_calls
}

/// The four values of a key's bits, with the other keys open and with them closed; key 0, where the program is, is open.
fn registers(pkey: u8) -> impl Iterator<Item = KeyRegister> {
    let others = !3 & !(3 << (2 * pkey));
    (0..8_u32).map(move |n| {
        let background = if n & 4 == 0 { 0 } else { others };
        KeyRegister::from_bits((n & 3) << (2 * pkey) | background)
    })
}

/// Reads, writes and fetches of this program.
fn instructions(subject: &Subject, size: LeafSize) {
    let processor = subject.0;
    let (mut passed, mut faulted) = (0, 0);
    let nr_calls = with_all(subject, size, &mut |cpu, page, pkru, protection| {
        for access in ACCESSES {
            // The first byte is the RET that a fetch finds; at both ends of the page.
            for addr in [page, page + size.bytes() - 1] {
                cpu.write_pkru(pkru);
                let mut byte = processor::RET;
                let result = cpu.access(pkeys_core::Privilege::User, access, addr, &mut byte);
                let real = processor.access(access, addr, pkru);
                let case = format!("{access} {addr:#x}, {protection:?}, PKRU {pkru}");
                match (result, real) {
                    (Ok(()), Ok(())) => passed += 1,
                    (Err(Exception::PageFault(fault)), Err(signal)) => {
                        faulted += 1;
                        assert_same_fault(fault.addr, fault.code.bits(), signal, &case);
                    }
                    other => panic!("{case}: {other:x?}"),
                }
            }
        }
    });
    assert_eq!(nr_calls, 15 * 5 * 8);
    assert_eq!(passed + faulted, nr_calls * 3 * 2);
    // Of the 8 registers 4 let a read pass and 2 a write. Reads: 4 protections of 5 let them; writes and fetches: 2.
    assert_eq!(passed, 15 * 2 * (4 * 4 + 2 * 2 + 2 * 8));
}

fn assert_same_fault(addr: u64, code: u32, signal: Signal, case: &str) {
    assert_eq!(u64::from(code), signal.err, "{case}: {signal:x?}");
    assert_eq!(
        (signal.addr, signal.cr2, signal.trapno),
        (addr, addr, 14),
        "{case}"
    );
    // Without P it is the kernel's decision, which may look at the key of a page that is not there.
    if code & 1 != 0 {
        let si_code = if code & 0x20 != 0 { 4 } else { 2 };
        assert_eq!(signal.si_code, si_code, "{case}");
    }
}

/// The kernel's accesses to this program's memory.
fn kernel_copies(subject: &Subject, size: LeafSize) {
    let processor = subject.0;
    let (mut passed, mut refused) = (0, 0);
    let mut pipe = processor::Pipe::new();
    let nr_calls = with_all(subject, size, &mut |cpu, page, pkru, protection| {
        for addr in [page + 1, page + size.bytes() - 2] {
            cpu.write_pkru(pkru);
            let mut bytes = [0; 2];
            let results = [
                cpu.read_user(addr, &mut bytes[..1]).is_ok(),
                cpu.write_user(addr, &[0]).is_ok(),
            ];
            let real = [
                processor.under(pkru, || pipe.write_from(addr)),
                processor.under(pkru, || pipe.read_to(addr)),
            ];
            assert_eq!(results, real, "{addr:#x}, {protection:?}, PKRU {pkru}");
            passed += results.iter().filter(|is_ok| **is_ok).count();
            refused += results.iter().filter(|is_ok| !**is_ok).count();
        }
    });
    assert_eq!(nr_calls, 15 * 5 * 8);
    assert_eq!(passed, 15 * 2 * (4 * 4 + 2 * 2));
    assert_eq!(passed + refused, nr_calls * 2 * 2);
}
