//! From the boot loader to a kernel that has its memory: the first instructions, the command line, the memory map.

#![allow(
    unsafe_code,
    reason = "reads what the boot loader left in physical memory"
)]

use core::arch::global_asm;
use core::str;

use pkeys_image::options::BadOption;
use pkeys_image::start_info::{BadStartInfo, LEN, MODULE_LEN, RANGE_LEN, Range, StartInfo};

use crate::cpu::registers::{CR4_AT_BOOT, EFER_AT_BOOT};
use crate::exit::Status;
use crate::memory::layout::{DIRECT, LOWEST, Program, TRAMPOLINE, direct, physical, root_index};

/// The bytes of the stack that the first CPU begins on.
const STACK_LEN: usize = 64 << 10;

/// CR0.PG, CR0.WP, CR0.NE, CR0.MP and CR0.PE.
const CR0_SET: u32 = 1 << 31 | 1 << 16 | 1 << 5 | 1 << 1 | 1;
/// CR0.CD, CR0.NW and CR0.EM.
const CR0_CLEAR: u32 = 1 << 30 | 1 << 29 | 1 << 2;

global_asm!(
    include_str!("entry.s"),
    CR4 = const CR4_AT_BOOT,
    EFER = const EFER_AT_BOOT,
    CR0_SET = const CR0_SET,
    CR0_CLEAR = const CR0_CLEAR,
    STATUS = const Status::Refused as u32,
    TRAMPOLINE = const TRAMPOLINE,
    STACK_LEN = const STACK_LEN,
    DIRECT_SLOT = const root_index(DIRECT),
    options(att_syntax),
);

/// The boot tables map the first GiB, so that nothing above is looked at here.
const MAPPED: u64 = 1 << 30;

/// The longest command line, with its zero byte.
const MAX_LINE: usize = 4096;

/// The most ranges and modules that are looked at.
const MAX_ENTRIES: u64 = 64;

/// Copies bytes out of physical memory; zeros where it is not mapped.
fn read<const N: usize>(phys: u64) -> [u8; N] {
    if phys.saturating_add(N as u64) > MAPPED {
        return [0; N];
    }
    // SAFETY: mapped, as just checked, and bytes can be read at any address.
    unsafe { direct::<[u8; N]>(phys).read() }
}

/// What the boot loader left, read before any memory is given out.
#[derive(Debug)]
pub(crate) struct Loaded {
    info: StartInfo,
    line: [u8; MAX_LINE],
}

impl Loaded {
    /// Reads the start information at a physical address.
    pub(crate) fn read(start_info: u64) -> Result<Self, BadStartInfo> {
        let info = StartInfo::parse(&read::<LEN>(start_info))?;
        let line = if info.command_line == 0 {
            [0; MAX_LINE]
        } else {
            read(info.command_line)
        };
        Ok(Self { info, line })
    }

    /// The command line, up to its zero byte.
    pub(crate) fn command_line(&self) -> Result<&str, BadOption<'static>> {
        let end = self.line.iter().position(|&byte| byte == 0);
        let line = end.and_then(|end| self.line.get(..end));
        let line = line.ok_or(BadOption::TooLong { max: MAX_LINE - 1 })?;
        str::from_utf8(line).map_err(|_| BadOption::NotText)
    }

    /// The modules: files that came along.
    pub(crate) fn modules(&self) -> impl Iterator<Item = Range> + Clone {
        let list = self.info.modules;
        let nr = u64::from(self.info.nr_modules).min(MAX_ENTRIES);
        (0..nr).map(move |index| {
            Range::parse_module(&read::<MODULE_LEN>(list + index * MODULE_LEN as u64))
        })
    }

    /// The ranges of memory.
    pub(crate) fn memory(&self) -> impl Iterator<Item = Range> + Clone {
        let list = self.info.memory_map;
        let nr = u64::from(self.info.nr_ranges).min(MAX_ENTRIES);
        (0..nr).filter_map(move |index| {
            Range::parse_ram(&read::<RANGE_LEN>(list + index * RANGE_LEN as u64))
        })
    }

    /// The ranges that nobody uses: neither the firmware nor the kernel nor a module.
    pub(crate) fn free_memory(&self) -> impl Iterator<Item = (u64, u64)> {
        let end_of_program = physical(Program::get().end).max(LOWEST);
        let modules = self.modules();
        self.memory().flat_map(move |range| {
            let start = range.start.max(end_of_program);
            around(start, range.end, modules.clone())
        })
    }
}

/// The parts of a range before, between and behind modules, which are in any order.
fn around(
    start: u64,
    end: u64,
    modules: impl Iterator<Item = Range> + Clone,
) -> impl Iterator<Item = (u64, u64)> {
    let mut from = start;
    core::iter::from_fn(move || {
        while from < end {
            let next = modules
                .clone()
                .filter(|module| module.end > from && module.start < end)
                .min_by_key(|module| module.start);
            let (stop, resume) = next.map_or((end, end), |module| (module.start, module.end));
            let part = (from, stop);
            from = resume.max(from + 1);
            if part.0 < part.1 {
                return Some(part);
            }
        }
        None
    })
}
