//! The registers of interrupted code, as the entry code puts them on the stack.

use core::fmt;

/// All general registers, from the lowest address up. The return loads them, changed or not.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "registers")]
pub(crate) struct Frame {
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) r11: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rbp: u64,
    pub(crate) rbx: u64,
    pub(crate) rdx: u64,
    pub(crate) rcx: u64,
    pub(crate) rax: u64,
    /// Which exception or interrupt it was, or [`crate::trap::SYSCALL`].
    pub(crate) vector: u64,
    /// The error code, 0 where the exception has none.
    pub(crate) code: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

/// Four registers a line.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registers = [
            ("rax", self.rax),
            ("rbx", self.rbx),
            ("rcx", self.rcx),
            ("rdx", self.rdx),
            ("rsi", self.rsi),
            ("rdi", self.rdi),
            ("rbp", self.rbp),
            ("rsp", self.rsp),
            ("r8", self.r8),
            ("r9", self.r9),
            ("r10", self.r10),
            ("r11", self.r11),
            ("r12", self.r12),
            ("r13", self.r13),
            ("r14", self.r14),
            ("r15", self.r15),
        ];
        for (index, (name, value)) in registers.into_iter().enumerate() {
            let end = if index % 4 == 3 { '\n' } else { ' ' };
            write!(f, " {name:>3} {value:016x}{end}")?;
        }
        write!(
            f,
            " rip {:016x}  cs {:x}  ss {:x}  flags {:x}",
            self.rip, self.cs, self.ss, self.rflags
        )
    }
}
