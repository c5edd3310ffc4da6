//! The registers of a thread in user mode, without the extended state.
//!
//! A kernel's entry code puts them here and loads them from here. The library reads and writes them: a system call has
//! its number and arguments in them, a signal handler starts with others than the interrupted code, a switch exchanges
//! them.
//!
//! The bases of FS and GS are among them, though few calls change them: a switch, `execve(2)` and `arch_prctl(2)`. Entry code
//! may leave them in the CPU and compare when it goes back. Where programs may change them by instructions of their own
//! (CR4.FSGSBASE), it has to read them when it comes.
//!
//! Source: System V ABI for x86-64, A.2.1 (system calls); Linux `arch/x86/include/asm/user_64.h`
//! (`struct user_regs_struct`), `arch/x86/entry/entry_64.S`.

/// The selector of the user's code segment, `__USER_CS`.
pub const USER_CS: u16 = 0x33;

/// The selector of the user's data segment, `__USER_DS`.
pub const USER_SS: u16 = 0x2B;

/// The size of `struct user_regs_struct`.
pub const USER_REGS_LEN: usize = 27 * 8;

/// Flags that a thread starts with: bit 1, which is always set, and interrupts enabled.
pub const RFLAGS_START: u64 = 0x202;

/// AC, RF, OF, DF, TF, SF, ZF, AF, PF, CF: the flags that a program may set as it likes.
pub const RFLAGS_USER: u64 = 0x5_0DD5;

/// DF, RF and TF, which are clear when a signal handler starts.
pub const RFLAGS_CLEAR_IN_HANDLER: u64 = 0x400 | 0x1_0000 | 0x100;

/// Registers of user mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "each is the register of its name")]
pub struct UserRegs {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub rflags: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    /// The number of the system call that is under way; `u64::MAX` outside of one.
    pub orig_rax: u64,
    pub cs: u16,
    pub ss: u16,
}

impl Default for UserRegs {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl UserRegs {
    /// `orig_rax` outside of a system call.
    pub const NO_CALL: u64 = u64::MAX;

    /// A program's first registers: an entry point, a stack, and zeros.
    #[must_use]
    pub const fn new(rip: u64, rsp: u64) -> Self {
        Self {
            rax: 0,
            rbx: 0,
            rcx: 0,
            rdx: 0,
            rsi: 0,
            rdi: 0,
            rbp: 0,
            rsp,
            r8: 0,
            r9: 0,
            r10: 0,
            r11: 0,
            r12: 0,
            r13: 0,
            r14: 0,
            r15: 0,
            rip,
            rflags: RFLAGS_START,
            fs_base: 0,
            gs_base: 0,
            orig_rax: Self::NO_CALL,
            cs: USER_CS,
            ss: USER_SS,
        }
    }

    /// The six arguments of a system call.
    #[must_use]
    pub const fn arguments(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }

    /// Takes over from another value what `rflags` may have from a program.
    pub const fn set_user_flags(&mut self, rflags: u64) {
        self.rflags = self.rflags & !RFLAGS_USER | rflags & RFLAGS_USER;
    }

    /// As `struct user_regs_struct`, which tracers see. Segments that are not kept read as 0.
    #[must_use]
    pub fn tracer_words(&self) -> [u64; USER_REGS_LEN / 8] {
        [
            self.r15,
            self.r14,
            self.r13,
            self.r12,
            self.rbp,
            self.rbx,
            self.r11,
            self.r10,
            self.r9,
            self.r8,
            self.rax,
            self.rcx,
            self.rdx,
            self.rsi,
            self.rdi,
            self.orig_rax,
            self.rip,
            u64::from(self.cs),
            self.rflags,
            self.rsp,
            u64::from(self.ss),
            self.fs_base,
            self.gs_base,
            0,
            0,
            0,
            0,
        ]
    }

    /// Changes one word of `struct user_regs_struct`, by its place. `false` says that the value cannot be: a segment other
    /// than the user's, or a base that is not the user's.
    #[must_use]
    pub const fn set_tracer_word(&mut self, place: usize, word: u64) -> bool {
        let register = match place {
            0 => &mut self.r15,
            1 => &mut self.r14,
            2 => &mut self.r13,
            3 => &mut self.r12,
            4 => &mut self.rbp,
            5 => &mut self.rbx,
            6 => &mut self.r11,
            7 => &mut self.r10,
            8 => &mut self.r9,
            9 => &mut self.r8,
            10 => &mut self.rax,
            11 => &mut self.rcx,
            12 => &mut self.rdx,
            13 => &mut self.rsi,
            14 => &mut self.rdi,
            15 => &mut self.orig_rax,
            16 => &mut self.rip,
            17 => return word == USER_CS as u64,
            18 => {
                self.set_user_flags(word);
                return true;
            }
            19 => &mut self.rsp,
            20 => return word == USER_SS as u64,
            21 | 22 if word >= crate::memory::layout::TASK_SIZE => return false,
            21 => &mut self.fs_base,
            22 => &mut self.gs_base,
            _ => return word == 0,
        };
        *register = word;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{RFLAGS_START, USER_REGS_LEN, UserRegs};

    #[test]
    fn a_tracer_sets_what_it_sees() {
        let mut regs = UserRegs::default();
        for place in 0..USER_REGS_LEN / 8 {
            let is_fixed = matches!(place, 17 | 18 | 20 | 23..);
            let word = 0x1000 + place as u64;
            assert_eq!(regs.set_tracer_word(place, word), !is_fixed || place == 18);
            if !is_fixed {
                assert_eq!(regs.tracer_words()[place], word);
            }
        }
        assert!(regs.set_tracer_word(17, 0x33) && regs.set_tracer_word(20, 0x2B));
        assert!(!regs.set_tracer_word(21, u64::MAX));
        assert!(regs.set_tracer_word(18, u64::MAX));
        assert_eq!(regs.rflags, RFLAGS_START | 0x5_0DD5);
    }
}
