//! The signal frame: `struct rt_sigframe`, which a handler finds on its stack.
//!
//! | offset | field |
//! |---|---|
//! | 0 | `pretcode`: where the handler returns to, `sa_restorer` |
//! | 8 | `uc_flags`, `uc_link` |
//! | 24 | `uc_stack` |
//! | 48 | `uc_mcontext`: r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, flags, segments, err, trapno, oldmask, cr2, pointer to the extended state |
//! | 304 | `uc_sigmask` |
//! | 312 | `siginfo_t`, with `SA_SIGINFO` |
//!
//! The extended state lies above, at a multiple of 64, and the frame at 8 below a multiple of 16, as after a call.
//!
//! Source: Linux `arch/x86/include/asm/sigframe.h`, `arch/x86/include/uapi/asm/sigcontext.h`, `ucontext.h`,
//! `arch/x86/kernel/signal.c` (`get_sigframe`), `signal_64.c`.

use crate::abi::words::{bytes_of, words_of};
use crate::signal::altstack::AltStack;
use crate::task::UserRegs;

/// The size of the frame.
pub const FRAME_LEN: u64 = 440;
/// Where `uc_flags` begins.
pub const UC_FLAGS: usize = 8;
/// Where `uc_stack` begins.
pub const UC_STACK: usize = 24;
/// Where `uc_mcontext` begins.
pub const MCONTEXT: usize = 48;
/// Where `uc_sigmask` begins.
pub const SIGMASK: usize = 304;
/// Where `siginfo_t` begins.
pub const SIGINFO: u64 = 312;
/// Where `ucontext_t` begins.
pub const UCONTEXT: u64 = 8;

/// How much of `uc_mcontext` is used: what is behind it is reserved, and not touched.
pub const MCONTEXT_LEN: usize = 192;
/// The frame up to there.
pub const HEAD_LEN: usize = MCONTEXT_LEN + 48;

/// The part below the stack pointer that a function may use without moving it.
const RED_ZONE: u64 = 128;

/// What a thread's last fault left behind; it stands in every frame afterwards, whatever its signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastFault {
    /// The error code.
    pub err: u64,
    /// The exception's number.
    pub trapno: u64,
    /// The address, for a page fault.
    pub cr2: u64,
}

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The frame, and the handler's stack pointer.
    pub frame: u64,
    /// The extended state.
    pub xstate: u64,
}

impl Place {
    /// Finds the place, or `None` if the frame would leave the alternate stack at its lower end.
    #[must_use]
    pub const fn find(sp: u64, altstack: &AltStack, wants: bool, xstate_len: u64) -> Option<Self> {
        let is_nested = altstack.is_in_use(sp);
        let mut top = sp.wrapping_sub(RED_ZONE);
        let is_entering = wants && altstack.is_free(top);
        if is_entering {
            top = altstack.top();
        }
        let xstate = top.wrapping_sub(xstate_len) & !63;
        let frame = (xstate.wrapping_sub(FRAME_LEN) & !15).wrapping_sub(8);
        if (is_nested || is_entering) && !altstack.contains(frame) {
            return None;
        }
        Some(Self { frame, xstate })
    }
}

/// The frame without `uc_sigmask` and `siginfo_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// `pretcode`.
    pub restorer: u64,
    /// `uc_flags`.
    pub uc_flags: u64,
    /// `uc_stack`.
    pub altstack: AltStack,
    /// The interrupted registers.
    pub regs: UserRegs,
    /// The last fault.
    pub fault: LastFault,
    /// The signals that were blocked.
    pub oldmask: u64,
    /// Where the extended state lies.
    pub xstate: u64,
}

impl Head {
    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; HEAD_LEN] {
        let [stack_start, stack_flags, stack_len] = words_of(&self.altstack.bytes());
        let regs = &self.regs;
        // GS and FS, between them, are not kept.
        let segments = u64::from(regs.cs) | u64::from(regs.ss) << 48;
        let words: [u64; HEAD_LEN / 8] = [
            self.restorer,
            self.uc_flags,
            0,
            stack_start,
            stack_flags,
            stack_len,
            regs.r8,
            regs.r9,
            regs.r10,
            regs.r11,
            regs.r12,
            regs.r13,
            regs.r14,
            regs.r15,
            regs.rdi,
            regs.rsi,
            regs.rbp,
            regs.rbx,
            regs.rdx,
            regs.rax,
            regs.rcx,
            regs.rsp,
            regs.rip,
            regs.rflags,
            segments,
            self.fault.err,
            self.fault.trapno,
            self.oldmask,
            self.fault.cr2,
            self.xstate,
        ];
        bytes_of(&words)
    }
}

/// What `rt_sigreturn(2)` finds in `uc_mcontext`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    words: [u64; MCONTEXT_LEN / 8],
}

impl Context {
    /// The structure in these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; MCONTEXT_LEN]) -> Self {
        Self {
            words: words_of(bytes),
        }
    }

    /// Puts the registers into place. Of the flags only those change that a program may set, and the segments get the
    /// user's privilege.
    pub const fn restore(&self, regs: &mut UserRegs) {
        let [
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
            rdi,
            rsi,
            rbp,
            rbx,
            rdx,
            rax,
            rcx,
            rsp,
            rip,
            rflags,
            segments,
            ..,
        ] = self.words;
        *regs = UserRegs {
            rax,
            rbx,
            rcx,
            rdx,
            rsi,
            rdi,
            rbp,
            rsp,
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
            rip,
            orig_rax: UserRegs::NO_CALL,
            cs: (segments & 0xFFFF) as u16 | 3,
            ss: (segments >> 48) as u16 | 3,
            ..*regs
        };
        regs.set_user_flags(rflags);
    }

    /// Where the extended state lies; 0 for nowhere.
    #[must_use]
    pub const fn xstate(&self) -> u64 {
        let [.., xstate] = self.words;
        xstate
    }
}

#[cfg(test)]
mod tests {
    use super::{Context, FRAME_LEN, HEAD_LEN, Head, LastFault, Place, SIGINFO, SIGMASK};
    use crate::signal::altstack::AltStack;
    use crate::task::UserRegs;

    const STACK: AltStack = AltStack {
        start: 0x10_0000,
        flags: 0,
        len: 0x4000,
    };

    #[test]
    fn a_frame_is_aligned_and_below_the_red_zone() {
        for sp in 0x7000_0000..0x7000_0100 {
            for xstate_len in [844, 2700] {
                let place = Place::find(sp, &AltStack::NONE, true, xstate_len).unwrap();
                assert_eq!(place.xstate % 64, 0);
                assert_eq!(place.frame % 16, 8);
                assert!(place.xstate + xstate_len <= sp - 128);
                assert!(place.xstate + xstate_len + 64 > sp - 128);
                assert!(place.frame + FRAME_LEN <= place.xstate);
            }
        }
    }

    #[test]
    fn the_alternate_stack_is_taken_from_its_top_and_never_left_at_its_end() {
        let on = |sp| Place::find(sp, &STACK, true, 844);
        let first = on(0x7000_0000).unwrap();
        assert_eq!(first.xstate, (0x10_4000 - 844) & !63);
        // On the stack already: further down.
        let second = on(first.frame).unwrap();
        assert!(second.xstate + 844 <= first.frame - 128);
        assert_eq!(on(0x10_0000 + 1400), None);
        // Without the flag the handler stays where the thread is, but never leaves the stack at its end.
        let off = Place::find(0x7000_0000, &STACK, false, 844).unwrap();
        assert!(off.frame > 0x6FFF_0000);
        assert_eq!(Place::find(0x10_0000 + 1400, &STACK, false, 844), None);
        // Too small for any frame.
        let small = AltStack { len: 1024, ..STACK };
        assert_eq!(Place::find(0x7000_0000, &small, true, 844), None);
    }

    #[test]
    fn every_register_has_linuxs_place() {
        let mut regs = UserRegs::new(17, 16);
        let names = [
            (1, &mut regs.r8),
            (2, &mut regs.r9),
            (3, &mut regs.r10),
            (4, &mut regs.r11),
            (5, &mut regs.r12),
            (6, &mut regs.r13),
            (7, &mut regs.r14),
            (8, &mut regs.r15),
            (9, &mut regs.rdi),
            (10, &mut regs.rsi),
            (11, &mut regs.rbp),
            (12, &mut regs.rbx),
            (13, &mut regs.rdx),
            (14, &mut regs.rax),
            (15, &mut regs.rcx),
        ];
        for (value, register) in names {
            *register = value;
        }
        let fault = LastFault {
            err: 19,
            trapno: 20,
            cr2: 22,
        };
        let head = Head {
            restorer: 100,
            uc_flags: 7,
            altstack: STACK,
            regs,
            fault,
            oldmask: 21,
            xstate: 23,
        };
        let bytes = head.bytes();
        let word =
            |offset: usize| u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap());
        assert_eq!([word(0), word(8), word(16)], [100, 7, 0]);
        assert_eq!([word(24), word(32), word(40)], [0x10_0000, 0, 0x4000]);
        for value in 1..=17 {
            assert_eq!(word(48 + 8 * (value - 1)), value as u64);
        }
        assert_eq!([word(48 + 136), word(48 + 144)], [0x202, 0x2B << 48 | 0x33]);
        for (at, value) in (200..240).step_by(8).zip([19, 20, 21, 22, 23]) {
            assert_eq!(word(at), value);
        }
        let context = Context::from_bytes(bytes[48..HEAD_LEN].try_into().unwrap());
        let mut back = UserRegs::default();
        context.restore(&mut back);
        assert_eq!(back, regs);
        assert_eq!(context.xstate(), 23);
        assert_eq!((SIGMASK, SIGINFO), (304, 312));
    }
}
