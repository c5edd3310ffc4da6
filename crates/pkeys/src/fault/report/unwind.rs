//! The call chain of a stopped thread, from its registers and a copy of its stack.
//!
//! Each step asks the module's call frame information. Code without any is passed by the frame pointer, if it kept one.
//! The frame that the kernel pushes for a signal handler is known by the instructions that return from it, so
//! that the chain goes on below a handler; musl describes that frame in no other way.

use gimli::{Register, X86_64};

use crate::fault::report::cfi::{Caller, Frame, Tables};
use crate::fault::report::memory;
use crate::fault::report::modules::{self, Module};
use crate::fault::report::stack::Stack;
use crate::fault::stray::Registers;

/// How many frames are followed.
const MAX_FRAMES: usize = 128;

/// `mov $15, %rax; syscall`: `rt_sigreturn(2)`, where a signal handler returns to.
const SIGRETURN: [u8; 9] = [0x48, 0xC7, 0xC0, 0x0F, 0, 0, 0, 0x0F, 0x05];

/// Where the registers lie in the `ucontext_t` that the stack pointer shows there, in bytes (`asm/ucontext.h`).
const SAVED_OFFSET: u64 = 40;

/// Their order, by DWARF number (`struct sigcontext_64`, `asm/sigcontext.h`).
const SAVED: [u16; 17] = [8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16];

/// A thread's calls, innermost first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) calls: Vec<Call>,
    /// Whether the last one is where the thread began.
    pub(super) is_complete: bool,
}

/// One place where the thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    /// The address where it goes on.
    pub(super) pc: u64,
    /// Whether a signal handler interrupted it here: the instruction at `pc` has not run. So it is with the first of a chain.
    pub(super) is_interrupted: bool,
}

impl Call {
    /// An address within the instruction that the call is at: a return address is behind it.
    pub(super) fn addr(self) -> u64 {
        self.pc - u64::from(!self.is_interrupted)
    }
}

/// Follows the calls of a thread that stopped with these registers.
pub(super) fn unwind(
    registers: &Registers,
    stack: &Stack,
    modules: &[Module],
    tables: &mut Tables,
) -> Chain {
    let mut chain = Chain::default();
    let mut frame = first(registers);
    let mut is_interrupted = true;
    while let Some(pc) = frame.get(X86_64::RA).filter(|&pc| pc != 0) {
        if chain.calls.len() == MAX_FRAMES {
            return chain;
        }
        if !is_interrupted && is_sigreturn(pc) {
            let Some(interrupted) = interrupted(&frame, stack) else {
                return chain;
            };
            frame = interrupted;
            is_interrupted = true;
            continue;
        }
        let call = Call { pc, is_interrupted };
        chain.calls.push(call);
        let module = usize::try_from(call.addr())
            .ok()
            .and_then(|addr| modules::find_in(modules, addr));
        let described = module.and_then(|module| tables.caller(module, call.addr(), &frame, stack));
        let caller = match described {
            Some(Caller::None) => break,
            Some(Caller::Frame(caller)) => Some(caller),
            None => by_frame_pointer(&frame, stack, modules),
        };
        match caller.filter(|caller| is_above(caller, &frame)) {
            Some(caller) => frame = caller,
            None => return chain,
        }
        is_interrupted = false;
    }
    chain.is_complete = true;
    chain
}

fn first(registers: &Registers) -> Frame {
    let Registers {
        rip,
        rsp,
        rbp,
        rbx,
        r12,
        r13,
        r14,
        r15,
    } = *registers;
    [
        (X86_64::RA, rip),
        (X86_64::RSP, rsp),
        (X86_64::RBP, rbp),
        (X86_64::RBX, rbx),
        (X86_64::R12, r12),
        (X86_64::R13, r13),
        (X86_64::R14, r14),
        (X86_64::R15, r15),
    ]
    .into_iter()
    .fold(Frame::default(), |frame, (register, value)| {
        frame.with(register, Some(value))
    })
}

fn is_sigreturn(pc: u64) -> bool {
    let mut code = [0; SIGRETURN.len()];
    usize::try_from(pc).is_ok_and(|pc| memory::read(pc, &mut code) == code.len())
        && code == SIGRETURN
}

/// The frame that a signal handler interrupted: the handler has returned, so that the stack pointer shows what the kernel
/// pushed.
fn interrupted(frame: &Frame, stack: &Stack) -> Option<Frame> {
    let saved = frame.get(X86_64::RSP)?.wrapping_add(SAVED_OFFSET);
    let mut interrupted = Frame::default();
    for (index, number) in (0..).zip(SAVED) {
        let value = stack.word(saved.wrapping_add(8 * index))?;
        interrupted = interrupted.with(Register(number), Some(value));
    }
    Some(interrupted)
}

/// The caller by the chain of frame pointers, where it leads into code.
fn by_frame_pointer(frame: &Frame, stack: &Stack, modules: &[Module]) -> Option<Frame> {
    let frame_pointer = frame.get(X86_64::RBP)?;
    let pc = stack.word(frame_pointer.checked_add(8)?)?;
    modules::find_in(modules, usize::try_from(pc).ok()?)?;
    Some(
        Frame::default()
            .with(X86_64::RA, Some(pc))
            .with(X86_64::RSP, frame_pointer.checked_add(16))
            .with(X86_64::RBP, stack.word(frame_pointer)),
    )
}

/// Whether a caller's frame lies above its callee's, as it must: else the chain might go round in circles.
fn is_above(caller: &Frame, callee: &Frame) -> bool {
    caller.get(X86_64::RSP) > callee.get(X86_64::RSP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::report::maps;
    use core::ffi::{c_int, c_void};
    use core::mem::MaybeUninit;
    use core::ptr;

    fn look() -> Vec<Module> {
        modules::of(&maps::read().unwrap())
    }

    /// Some code of this program, as a return address into it.
    fn code() -> u64 {
        (look as fn() -> Vec<Module> as *const ()).addr() as u64 + 1
    }

    fn addr_of<T>(value: &T) -> u64 {
        ptr::from_ref(value).addr() as u64
    }

    /// Code that was made at run time has no unwind information; this one keeps its frame pointer.
    #[test]
    fn unknown_code_is_passed_by_its_frame_pointer() {
        let mut frames = [0_u64; 4];
        // Each has the caller's frame pointer and the return address. The second is the last.
        frames[0] = addr_of(&frames[2]);
        frames[1] = code();
        let registers = Registers {
            rip: addr_of(&frames),
            rsp: addr_of(&frames),
            rbp: addr_of(&frames),
            ..Registers::default()
        };
        let stack = Stack::copy(registers.rsp);
        let chain = unwind(&registers, &stack, &look(), &mut Tables::default());
        let [first, second, ..] = chain.calls[..] else {
            panic!("{chain:?}")
        };
        assert_eq!(
            first,
            Call {
                pc: registers.rip,
                is_interrupted: true
            }
        );
        assert_eq!(
            second,
            Call {
                pc: code(),
                is_interrupted: false
            }
        );
    }

    #[test]
    fn a_frame_pointer_that_leads_nowhere_ends_the_chain() {
        for rbp in [0, 8, u64::MAX] {
            let registers = Registers {
                rip: 4096,
                rbp,
                ..Registers::default()
            };
            let chain = unwind(&registers, &Stack::copy(0), &look(), &mut Tables::default());
            assert_eq!(chain.calls.len(), 1);
            assert!(!chain.is_complete);
        }
    }

    #[test]
    fn a_chain_that_goes_round_ends() {
        let mut frame = [0_u64; 2];
        frame[0] = addr_of(&frame);
        frame[1] = addr_of(&frame);
        let rbp = addr_of(&frame);
        let mut module = look()[0];
        // A module without unwind information, which the return address is in.
        (module.start, module.end, module.eh_frame_hdr) = (0, usize::MAX, None);
        let registers = Registers {
            rip: rbp,
            rbp,
            ..Registers::default()
        };
        let chain = unwind(
            &registers,
            &Stack::copy(rbp),
            &[module],
            &mut Tables::default(),
        );
        assert_eq!(
            chain.calls.len(),
            2,
            "the second frame is not above the first"
        );
    }

    /// Where a handler returns to, as the C library told the kernel (`rt_sigaction(2)`).
    #[expect(clippy::multiple_unsafe_ops_per_block, reason = "a test")]
    #[allow(unsafe_code, reason = "sigaction(2)")]
    fn restorer() -> u64 {
        extern "C" fn handler(_: c_int) {}
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: a handler that does nothing, for a signal that nobody sends; the kernel's structure is four words long.
        unsafe {
            (*action.as_mut_ptr()).sa_sigaction = handler as *const () as usize;
            assert_eq!(
                libc::sigaction(libc::SIGURG, action.as_ptr(), ptr::null_mut()),
                0
            );
            let mut words = [0_u64; 4];
            let result = libc::syscall(
                libc::SYS_rt_sigaction,
                libc::SIGURG,
                ptr::null::<c_void>(),
                words.as_mut_ptr(),
                8,
            );
            assert_eq!(result, 0);
            words[2]
        }
    }

    /// glibc describes the frame of a signal handler in call frame information too, by expressions: both must agree.
    #[test]
    fn a_handlers_frame_is_what_its_description_says() {
        let pc = restorer();
        assert!(is_sigreturn(pc));
        assert!(!is_sigreturn(code()) && !is_sigreturn(8));
        let context: Vec<u64> = (0..64).map(|n| 1000 + n).collect();
        let frame = Frame::default()
            .with(X86_64::RA, Some(pc))
            .with(X86_64::RSP, Some(context.as_ptr().addr() as u64));
        let stack = Stack::copy(context.as_ptr().addr() as u64);
        let by_layout = interrupted(&frame, &stack).unwrap();
        let modules = look();
        let module = modules::find_in(&modules, usize::try_from(pc).unwrap()).unwrap();
        let described = Tables::default().caller(module, pc - 1, &frame, &stack);
        // musl describes nothing.
        if let Some(described) = described {
            assert_eq!(described, Caller::Frame(by_layout));
        }
        assert_eq!(by_layout.get(X86_64::RA), Some(1000 + 5 + 16));
    }
}
