//! What is known of a stray access, in one plain value: made in the fault handler, read by the report.

use core::fmt;

use pkeys_core::{Access, GrantCounts, KeyRegister, Mode, PageFaultErrorCode, Pkey, Rights};

use crate::domain::record::NAME_MAX_BYTES;
use crate::embed::Block;

/// An access to a domain's data by a thread without a window that allows it. A plain value without pointers into the
/// heap, so that a signal handler can make and read it.
#[derive(Clone, Copy)]
pub struct Stray {
    /// The address that was accessed.
    pub addr: usize,
    /// Read or write, from the page-fault error code.
    pub access: Access,
    /// Address of the instruction.
    pub pc: usize,
    /// First address of the region.
    pub region_start: usize,
    /// Length of the region in bytes.
    pub region_len_bytes: usize,
    /// The region's name: its element type, unless it was given one.
    pub region: &'static str,
    /// The block of an allocator that the address lies in, where the domain can tell.
    pub block: Option<Block>,
    /// What a thread without a window may do.
    pub closed: Rights,
    /// What the thread's register gave it for this domain when it faulted. `None` where no key protects the domain.
    pub rights_at_fault: Option<Rights>,
    /// The whole register when it faulted. `None` where no key protects the domain.
    pub register_at_fault: Option<KeyRegister>,
    /// The windows that the thread holds on the domain. Open ones beside a closed register mean a signal handler, or a
    /// `siglongjmp(3)` out of one.
    pub grants: GrantCounts,
    /// What the register tells of the thread's past.
    pub history: History,
    /// `si_code` of the signal.
    pub si_code: i32,
    /// `si_pkey` of the signal: the key of the page when the kernel looked, which may be another than at the fault.
    pub si_pkey: Option<Pkey>,
    /// The page-fault error code (SDM Vol. 3A 4.7).
    pub error_code: PageFaultErrorCode,
    /// The domain's mode.
    pub mode: Mode,
    /// Whether the access is let through.
    pub is_pardoned: bool,
    /// Kernel thread number, `gettid(2)`.
    pub tid: i32,
    /// Serial number of the domain in this process.
    pub domain_serial: u32,
    /// When the domain was made, in clock ticks since boot; compare with a thread's start time.
    pub(crate) domain_created_ticks: u64,
    /// The general registers that an unwinder starts from.
    pub(crate) registers: Registers,
    /// Whether the key is opened by gates around a library, not by windows of the program's own.
    pub(crate) has_gates: bool,
    pub(crate) name: [u8; NAME_MAX_BYTES],
    pub(crate) name_len: usize,
}

/// The registers that an unwinder starts from (System V ABI for x86-64: the callee-saved ones, stack and program
/// counter).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Registers {
    pub(crate) rip: u64,
    pub(crate) rsp: u64,
    pub(crate) rbp: u64,
    pub(crate) rbx: u64,
    pub(crate) r12: u64,
    pub(crate) r13: u64,
    pub(crate) r14: u64,
    pub(crate) r15: u64,
}

/// What a thread's register and grants tell of its past with the domain. The library closes a key with both bits, the
/// kernel starts threads and signal handlers with access-disable alone: the two can be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum History {
    /// The key was closed on this thread by the library: it has had a window, made the domain, or comes from a thread
    /// that did.
    Closed,
    /// The register is as the kernel starts it, and the thread never had a window on the domain: it is older than the
    /// domain, or in a signal handler.
    Untouched,
    /// The register is as the kernel starts it, although the thread has had a window on the domain: it is in a signal
    /// handler, or left one by `siglongjmp(3)`.
    SignalHandler,
    /// The thread has a window open, but one that allows less than it did.
    Window,
    /// No key protects the domain: `mprotect(2)` does, for all threads.
    Unknown,
}

impl Stray {
    /// The domain's name.
    #[must_use]
    pub fn domain(&self) -> &str {
        let bytes = self.name.get(..self.name_len).unwrap_or(&[]);
        // Torn only where the domain was being dropped at the time.
        core::str::from_utf8(bytes).unwrap_or("?")
    }

    /// The thread's stack pointer when it faulted.
    #[must_use]
    pub fn stack_pointer(&self) -> usize {
        // x86-64: an address has 64 bits.
        usize::try_from(self.registers.rsp).unwrap_or(0)
    }

    /// How far into the region the access went, in bytes.
    #[must_use]
    pub fn offset_bytes(&self) -> usize {
        self.addr.wrapping_sub(self.region_start)
    }
}

impl fmt::Debug for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stray")
            .field("domain", &self.domain())
            .field("region", &self.region)
            .field("offset_bytes", &self.offset_bytes())
            .field("access", &self.access)
            .field("pc", &format_args!("{:#x}", self.pc))
            .field("tid", &self.tid)
            .field("history", &self.history)
            .field("is_pardoned", &self.is_pardoned)
            .finish_non_exhaustive()
    }
}

/// What a domain's own function says of a stray access; see
/// [`DomainBuilder::on_stray`](crate::DomainBuilder::on_stray).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// As the domain's mode says.
    AsMode,
    /// Let it through, and count it.
    Pardon,
    /// It is no stray access after all: let it through, neither counted nor reported.
    Allow,
    /// Stop it: report, then the previous handler or death.
    Stop,
}

/// Judges a stray access, in the signal handler of the thread that strayed.
pub type VerdictFn = fn(&Stray) -> Verdict;
