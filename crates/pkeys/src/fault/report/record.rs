//! What a handler notes of a stray access besides the access itself, and its two raw lines.
//!
//! A [`Record`] lies in memory that was set aside before, never on the handler's stack. The lines are composed without
//! `core::fmt`, by [`Line`]; every name in them has a limit, so that the longest line fits the record's buffer (a test
//! fills all of them).

use pkeys_core::{Access, Rights};

use crate::fault::report::clock;
use crate::fault::report::line::{Line, head, tail};
use crate::fault::report::modules::Module;
use crate::fault::stray::{History, Stray};

/// Room for one raw line. No more than a pipe takes in one piece, so that a record on a terminal is whole.
pub(super) const LINE_BYTES: usize = 4096;

/// How much of a region's name is written, in bytes.
const REGION_MAX_BYTES: usize = 192;

/// How much of a module's path is written, in bytes; its end says more than its start.
const PATH_MAX_BYTES: usize = 192;

/// The version of the JSON lines: it changes when a field goes or changes its meaning, not when one is added.
pub(super) const SCHEMA: u64 = 1;

/// One stray access, as the handler found it.
#[derive(Debug)]
pub(super) struct Record {
    /// The access; `None` only in a record that was never used.
    pub(super) stray: Option<Stray>,
    /// The record's number in this process, from 1.
    pub(super) sequence: u64,
    /// How many records could not be written, or not whole, so far.
    pub(super) lost: u64,
    pub(super) realtime_ns: u64,
    pub(super) monotonic_ns: u64,
    pub(super) pid: i32,
    /// The thread's name as the kernel has it, filled up with zeroes.
    pub(super) thread: [u8; THREAD_NAME_BYTES],
    /// The module that the guilty instruction is in.
    pub(super) module: Option<Module>,
}

/// `TASK_COMM_LEN` (`prctl(2)`, `PR_GET_NAME`).
const THREAD_NAME_BYTES: usize = 16;

impl Record {
    /// An unused one.
    pub(super) const fn new() -> Self {
        Self {
            stray: None,
            sequence: 0,
            lost: 0,
            realtime_ns: 0,
            monotonic_ns: 0,
            pid: 0,
            thread: [0; THREAD_NAME_BYTES],
            module: None,
        }
    }

    /// Notes the access, and who and when; for signal handlers. Number and losses are the caller's to note.
    #[allow(unsafe_code, reason = "getpid(2) and prctl(2)")]
    pub(super) fn fill(&mut self, stray: &Stray, module: Option<Module>) {
        self.stray = Some(*stray);
        self.module = module;
        self.realtime_ns = clock::realtime_ns();
        self.monotonic_ns = clock::monotonic_ns();
        // SAFETY: takes nothing.
        self.pid = unsafe { libc::getpid() };
        self.thread = [0; THREAD_NAME_BYTES];
        // SAFETY: the kernel writes at most 16 bytes.
        unsafe { libc::prctl(libc::PR_GET_NAME, self.thread.as_mut_ptr()) };
    }

    /// The thread's name, without what fills it up.
    pub(super) fn thread_name(&self) -> &[u8] {
        let len = self.thread.iter().position(|&byte| byte == 0);
        head(&self.thread, len.unwrap_or(THREAD_NAME_BYTES))
    }

    /// Where in its module the guilty instruction is.
    pub(super) fn module_offset(&self) -> Option<(&Module, usize)> {
        let module = self.module.as_ref()?;
        Some((module, self.stray.as_ref()?.pc.wrapping_sub(module.bias)))
    }

    /// The line for a terminal.
    pub(super) fn write_text(&self, line: &mut Line<'_>) {
        let Some(stray) = &self.stray else { return };
        line.text("pkeys: stray ").text(access_word(stray.access));
        line.text(" to domain ")
            .terminal_string(stray.domain().as_bytes());
        line.text(", region ")
            .terminal_string(head(stray.region.as_bytes(), REGION_MAX_BYTES));
        line.text(" + ").hex(stray.offset_bytes() as u64);
        line.text(" at ").hex(stray.addr as u64);
        write_block(stray, line);
        line.text(", by thread ").signed(stray.tid.into());
        line.text(" ").terminal_string(self.thread_name());
        line.text(" at ");
        match self.module_offset() {
            Some((module, offset)) => {
                line.terminal_name(tail(module.file_name(), PATH_MAX_BYTES));
                line.text("+").hex(offset as u64);
                let build_id = module.build_id.as_bytes();
                if !build_id.is_empty() {
                    line.text(" (build-id ").hex_bytes(build_id).text(")");
                }
            }
            None => _ = line.hex(stray.pc as u64),
        }
        line.text(if stray.is_pardoned {
            ": pardoned ("
        } else {
            ": stopped ("
        });
        line.text(stray.mode.name()).text(")");
        if self.lost > 0 {
            line.text(", ")
                .decimal(self.lost)
                .text(" records lost so far");
        }
        line.text("\n");
    }

    /// The line for the file.
    pub(super) fn write_json(&self, line: &mut Line<'_>) {
        let Some(stray) = &self.stray else { return };
        line.text("{\"schema\":").decimal(SCHEMA);
        line.text(",\"kind\":\"raw\",\"seq\":")
            .decimal(self.sequence);
        line.text(",\"lost\":").decimal(self.lost);
        line.text(",\"time_ns\":").decimal(self.realtime_ns);
        line.text(",\"monotonic_ns\":").decimal(self.monotonic_ns);
        line.text(",\"pid\":").signed(self.pid.into());
        line.text(",\"tid\":").signed(stray.tid.into());
        line.text(",\"thread\":").json_string(self.thread_name());
        line.text(",\"domain\":")
            .json_string(stray.domain().as_bytes());
        write_place(stray, line);
        self.write_code(stray, line);
        write_rights(stray, line);
        line.text("}\n");
    }

    fn write_code(&self, stray: &Stray, line: &mut Line<'_>) {
        line.text(",\"pc\":\"").hex(stray.pc as u64).text("\"");
        match self.module_offset() {
            Some((module, offset)) => {
                line.text(",\"module\":")
                    .json_string(tail(module.path, PATH_MAX_BYTES));
                line.text(",\"module_offset\":\"").hex(offset as u64);
                line.text("\",\"build_id\":\"")
                    .hex_bytes(module.build_id.as_bytes())
                    .text("\"");
            }
            None => _ = line.text(",\"module\":null,\"module_offset\":null,\"build_id\":null"),
        }
    }
}

fn write_place(stray: &Stray, line: &mut Line<'_>) {
    line.text(",\"region\":")
        .json_string(head(stray.region.as_bytes(), REGION_MAX_BYTES));
    line.text(",\"region_start\":\"")
        .hex(stray.region_start as u64);
    line.text("\",\"region_len\":")
        .decimal(stray.region_len_bytes as u64);
    line.text(",\"offset\":")
        .decimal(stray.offset_bytes() as u64);
    line.text(",\"addr\":\"").hex(stray.addr as u64);
    line.text("\",\"access\":\"")
        .text(access_word(stray.access))
        .text("\"");
    if let Some(block) = &stray.block {
        line.text(",\"block\":{\"start\":\"")
            .hex(block.start as u64);
        line.text("\",\"len\":").decimal(block.len_bytes as u64);
        line.text(",\"offset\":")
            .decimal(stray.addr.wrapping_sub(block.start) as u64);
        line.text(",\"origin\":")
            .json_string(head(block.origin.as_bytes(), REGION_MAX_BYTES));
        line.text(",\"advice\":")
            .json_string(head(block.advice.as_bytes(), REGION_MAX_BYTES));
        line.text("}");
    }
}

/// The block in words: how far into it, how long it is, and who asked for it.
fn write_block(stray: &Stray, line: &mut Line<'_>) {
    let Some(block) = &stray.block else { return };
    line.text(", byte ")
        .decimal(stray.addr.wrapping_sub(block.start) as u64);
    line.text(" of a block of ").decimal(block.len_bytes as u64);
    if !block.origin.is_empty() {
        line.text(" from ")
            .terminal_name(head(block.origin.as_bytes(), REGION_MAX_BYTES));
    }
}

fn write_rights(stray: &Stray, line: &mut Line<'_>) {
    match stray.rights_at_fault {
        Some(rights) => {
            _ = line
                .text(",\"rights_at_fault\":\"")
                .text(rights_words(rights))
                .text("\"")
        }
        None => _ = line.text(",\"rights_at_fault\":null"),
    }
    line.text(",\"closed\":\"")
        .text(rights_words(stray.closed))
        .text("\"");
    match stray.register_at_fault {
        Some(register) => {
            line.text(",\"register_at_fault\":\"")
                .hex(register.bits().into())
                .text("\"");
        }
        None => _ = line.text(",\"register_at_fault\":null"),
    }
    line.text(",\"windows\":{\"read\":")
        .decimal(stray.grants.reads().into());
    line.text(",\"write\":")
        .decimal(stray.grants.writes().into());
    line.text("},\"history\":\"")
        .text(history_words(stray.history));
    line.text("\",\"si_code\":").signed(stray.si_code.into());
    match stray.si_pkey {
        Some(pkey) => _ = line.text(",\"si_pkey\":").decimal(pkey.get().into()),
        None => _ = line.text(",\"si_pkey\":null"),
    }
    line.text(",\"error_code\":\"")
        .hex(stray.error_code.bits().into());
    line.text("\",\"mode\":\"").text(stray.mode.name());
    line.text("\",\"pardoned\":")
        .text(if stray.is_pardoned { "true" } else { "false" });
}

/// As [`Access`] displays.
pub(super) fn access_word(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::Fetch => "fetch",
    }
}

/// As [`Rights`] displays.
pub(super) fn rights_words(rights: Rights) -> &'static str {
    match rights {
        Rights::NoAccess => "no access",
        Rights::ReadOnly => "read only",
        Rights::ReadWrite => "read and write",
        _ => "others",
    }
}

/// The words of a history in a JSON line.
pub(super) fn history_words(history: History) -> &'static str {
    match history {
        History::Closed => "closed",
        History::Untouched => "untouched",
        History::SignalHandler => "signal handler",
        History::Window => "window",
        History::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::report::modules::{self, BuildId};
    use crate::fault::report::sample;
    use pkeys_core::{GrantCounts, KeyRegister, Mode, PageFaultErrorCode, Pkey};
    use serde_json::{Value, json};

    fn text(record: &Record) -> String {
        written(|line| record.write_text(line))
    }

    fn json(record: &Record) -> Value {
        let text = written(|line| record.write_json(line));
        assert!(
            text.ends_with('\n') && text.matches('\n').count() == 1,
            "{text}"
        );
        serde_json::from_str(&text).unwrap()
    }

    fn written(write: impl FnOnce(&mut Line<'_>)) -> String {
        let mut buffer = [0; LINE_BYTES];
        let mut line = Line::new(&mut buffer);
        write(&mut line);
        assert!(!line.is_cut());
        String::from_utf8(line.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn the_line_for_a_terminal_says_all() {
        assert_eq!(
            text(&sample::record()),
            "pkeys: stray write to domain \"ledger\", region \"orders\" + 0x1234 at 0x7f0000001234, by \
             thread 4242 \"worker\" at ledgerd+0x5678 (build-id ab12cd): stopped (strict)\n"
        );
    }

    #[test]
    fn a_pardon_a_loss_and_unknown_code_are_said() {
        let mut record = sample::record();
        record.module = None;
        record.lost = 3;
        let stray = record.stray.as_mut().unwrap();
        stray.is_pardoned = true;
        stray.mode = Mode::Relaxed;
        stray.access = Access::Read;
        let text = text(&record);
        assert!(text.starts_with("pkeys: stray read to domain"), "{text}");
        let end = "\"worker\" at 0x405678: pardoned (relaxed), 3 records lost so far\n";
        assert!(text.ends_with(end), "{text}");
    }

    /// The fields that the module's essay lists, and no others.
    #[test]
    fn the_json_line_has_the_documented_fields() {
        let expected = json!({
            "schema": 1,
            "kind": "raw",
            "seq": 7,
            "lost": 0,
            "time_ns": 1_700_000_000_123_456_789_u64,
            "monotonic_ns": 55,
            "pid": 4200,
            "tid": 4242,
            "thread": "worker",
            "domain": "ledger",
            "region": "orders",
            "region_start": "0x7f0000000000",
            "region_len": 0x20_0000,
            "offset": 0x1234,
            "addr": "0x7f0000001234",
            "access": "write",
            "pc": "0x405678",
            "module": "/opt/bin/ledgerd",
            "module_offset": "0x5678",
            "build_id": "ab12cd",
            "rights_at_fault": "no access",
            "closed": "read only",
            "register_at_fault": "0x55555554",
            "windows": { "read": 0, "write": 0 },
            "history": "untouched",
            "si_code": 4,
            "si_pkey": 3,
            "error_code": "0x27",
            "mode": "strict",
            "pardoned": false,
        });
        assert_eq!(json(&sample::record()), expected);
    }

    #[test]
    fn what_is_not_known_is_null() {
        let mut record = sample::record();
        record.module = None;
        let stray = record.stray.as_mut().unwrap();
        stray.rights_at_fault = None;
        stray.register_at_fault = None;
        stray.si_pkey = None;
        let json = json(&record);
        for field in [
            "module",
            "module_offset",
            "build_id",
            "rights_at_fault",
            "register_at_fault",
            "si_pkey",
        ] {
            assert_eq!(json[field], Value::Null, "{field}");
        }
    }

    /// Every name at its limit and of the characters that take most room, every number as long as it gets.
    #[test]
    fn the_longest_record_fits() {
        const NASTY: &str = match str::from_utf8(&[1; 1000]) {
            Ok(text) => text,
            Err(_) => "",
        };
        let mut record = sample::record();
        (record.sequence, record.lost) = (u64::MAX, u64::MAX);
        (record.realtime_ns, record.monotonic_ns) = (u64::MAX, u64::MAX);
        record.pid = i32::MIN;
        record.thread = [1; THREAD_NAME_BYTES];
        record.module = Some(Module {
            bias: 1,
            path: NASTY.as_bytes(),
            build_id: BuildId::new(&[0xFF; 64]),
            ..sample::module()
        });
        let stray = record.stray.as_mut().unwrap();
        stray.region = NASTY;
        stray.name = [1; _];
        stray.name_len = stray.name.len();
        (stray.addr, stray.pc) = (usize::MAX, 0);
        (stray.region_start, stray.region_len_bytes) = (usize::MAX, usize::MAX);
        (stray.tid, stray.si_code) = (i32::MIN, i32::MIN);
        stray.rights_at_fault = Some(Rights::ReadWrite);
        stray.closed = Rights::ReadWrite;
        stray.register_at_fault = Some(KeyRegister::from_bits(u32::MAX));
        stray.grants = GrantCounts::from_bits(u32::MAX);
        stray.history = History::SignalHandler;
        stray.si_pkey = Pkey::new(15);
        stray.error_code = PageFaultErrorCode::from_bits(u32::MAX);
        stray.mode = Mode::Relaxed;
        json(&record);
        text(&record);
    }

    #[test]
    fn the_words_are_those_that_core_displays() {
        for access in [Access::Read, Access::Write, Access::Fetch] {
            assert_eq!(access_word(access), access.to_string());
        }
        for rights in [Rights::NoAccess, Rights::ReadOnly, Rights::ReadWrite] {
            assert_eq!(rights_words(rights), rights.to_string());
        }
    }

    #[test]
    fn a_record_is_filled_with_who_and_when() {
        modules::refresh();
        let check = || {
            let stray = sample::stray();
            let mut record = Record::new();
            let before = clock::monotonic_ns();
            record.fill(&stray, modules::find(stray.pc));
            assert!((before..=clock::monotonic_ns()).contains(&record.monotonic_ns));
            assert_eq!(record.pid.unsigned_abs(), std::process::id());
            assert_eq!(record.thread_name(), b"a-name-of-15-by");
            let exe = std::env::current_exe().unwrap();
            let json = json(&record);
            assert_eq!(json["module"], exe.to_str().unwrap());
            assert!(!json["build_id"].as_str().unwrap().is_empty());
        };
        let thread = std::thread::Builder::new().name("a-name-of-15-bytes".to_owned());
        thread.spawn(check).unwrap().join().unwrap();
    }
}
