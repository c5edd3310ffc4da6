//! A stray access for tests, its record, and what there is to find out about it.

use pkeys_core::{
    Access, GrantCounts, KeyRegister, Mode, PageFaultErrorCode, Pkey, Rights, siginfo,
};

use crate::domain::record::NAME_MAX_BYTES;
use crate::embed::Block;
use crate::fault::report::clock::clock_ticks;
use crate::fault::report::finding::{Extent, Finding, Place};
use crate::fault::report::modules::{BuildId, Module};
use crate::fault::report::process::PageNow;
use crate::fault::report::record::Record;
use crate::fault::report::symbols::Function;
use crate::fault::stray::{History, Registers, Stray};

/// A stray write of this thread to domain `ledger`, region `orders`, by an instruction in this function.
pub(super) fn stray() -> Stray {
    // SAFETY: takes nothing.
    #[allow(unsafe_code, reason = "gettid(2)")]
    let tid = unsafe { libc::gettid() };
    let mut name = [0; NAME_MAX_BYTES];
    name[..6].copy_from_slice(b"ledger");
    let pc = (stray as fn() -> Stray as *const ()).addr() + 1;
    Stray {
        addr: 0x7f00_0000_1234,
        access: Access::Write,
        pc,
        region_start: 0x7f00_0000_0000,
        region_len_bytes: 0x20_0000,
        region: "orders",
        block: None,
        closed: Rights::ReadOnly,
        rights_at_fault: Some(Rights::NoAccess),
        register_at_fault: Some(KeyRegister::LINUX_INIT),
        grants: GrantCounts::EMPTY,
        history: History::Untouched,
        si_code: siginfo::SEGV_PKUERR,
        si_pkey: Pkey::new(3),
        error_code: PageFaultErrorCode::from_bits(0x27),
        mode: Mode::Strict,
        is_pardoned: false,
        tid,
        domain_serial: 1,
        // A second from now, so that every thread of the test is older.
        domain_created_ticks: clock_ticks() + 100,
        registers: Registers {
            rip: pc as u64,
            ..Registers::default()
        },
        has_gates: false,
        name,
        name_len: 6,
    }
}

/// A block that the access lies in.
pub(super) fn block() -> Block {
    Block::new(0x7f00_0000_1220, 64).with_origin("entry_new", "run with --share entry_new")
}

/// A program that is not there.
pub(super) fn module() -> Module {
    Module {
        start: 0x40_0000,
        end: 0x50_0000,
        bias: 0x40_0000,
        path: b"/opt/bin/ledgerd",
        build_id: BuildId::new(&[0xAB, 0x12, 0xCD]),
        eh_frame_hdr: None,
    }
}

/// The record of such an access by a thread `worker`, in that program.
pub(super) fn record() -> Record {
    let mut record = Record::new();
    record.stray = Some(Stray {
        pc: 0x40_5678,
        tid: 4242,
        ..stray()
    });
    record.sequence = 7;
    record.realtime_ns = 1_700_000_000_123_456_789;
    record.monotonic_ns = 55;
    record.pid = 4200;
    record.thread[..6].copy_from_slice(b"worker");
    record.module = Some(module());
    record
}

/// A function with a line.
pub(super) fn function(name: &str, file: &str, line: u32) -> Function {
    Function {
        name: Some(name.to_owned()),
        file: Some(file.to_owned()),
        line: Some(line),
        is_inlined: false,
    }
}

/// Two calls: one into which the standard library was inlined, and one of unknown code.
pub(super) fn finding(record: &Record) -> Finding<'_> {
    let inlined = function(
        "core::ptr::write",
        "/rustc/abc/library/core/src/ptr/mod.rs",
        1555,
    );
    let guilty = function(
        "ledgerd::audit::recount",
        "/home/a/ledgerd/src/audit.rs",
        41,
    );
    Finding {
        record,
        stray: record.stray.as_ref().unwrap(),
        places: vec![
            Place {
                pc: 0x40_5678,
                is_interrupted: true,
                module: Some(module()),
                functions: vec![
                    Function {
                        is_inlined: true,
                        ..inlined
                    },
                    guilty,
                ],
            },
            Place {
                pc: 0x7000,
                is_interrupted: false,
                module: None,
                functions: vec![Function::default()],
            },
        ],
        extent: Extent::Complete,
        is_thread_older: Some(true),
        page: PageNow {
            permissions: Some("rw-p".to_owned()),
            pkey: Some(3),
        },
    }
}
