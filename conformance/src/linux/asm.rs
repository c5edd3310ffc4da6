//! The instructions of a test program, at addresses that the signal handler knows.
//!
//! A handler that steps over a fault has to know where the instruction ends. Here each instruction that may fault stands
//! alone in a stub between two labels, and the handler compares the interrupted RIP with the first of them
//! ([`Point::at`]). By convention a stub answers in RAX: the handler puts [`FAULTED`] there and lets the stub go on at the
//! second label.
//!
//! * A fault in the fetch of a called address has that address in RIP, not one of ours. The stubs for calls keep the
//!   target in RDI and their own second label in R15; nothing on the stack has to be read to recognise them, so they are
//!   recognised on a stack that cannot be read as well.
//! * [`bare`] is one block from WRPKRU to WRPKRU: the act between them is a jump to a stub that uses registers only. What
//!   the act needs is loaded before, what came of it is stored after.
//! * The handler's entry opens every key before it touches its stack, which may be of a key that the kernel's initial PKRU
//!   denies, and leaves them open until `rt_sigreturn(2)` has read the frame. What PKRU was at first is an argument.
//!
//! No stub and no block says `nomem`, `readonly` or `pure`: each may change what memory can be touched.
//!
//! Source: SDM Vol. 2 (RDPKRU, WRPKRU, XRSTOR); System V ABI for x86-64, 3.2 (registers), A.2.1 (system calls).
#![allow(
    unsafe_code,
    reason = "the instructions of test programs, as functions"
)]

use core::arch::{asm, global_asm};
use core::ffi::{c_int, c_void};

use crate::system::{Act, Raw};

/// What a stub has in RAX when the handler stepped over its instruction. No byte, and not what a call leaves there.
pub(super) const FAULTED: u64 = u64::MAX;

global_asm!(
    r#"
    .pushsection .text.pkeys_conform, "ax", @progbits
    .p2align 4
    .globl pkeys_conform_read, pkeys_conform_read_at, pkeys_conform_read_end
pkeys_conform_read:
pkeys_conform_read_at:
    movzx eax, byte ptr [rdi]
pkeys_conform_read_end:
    ret

    .p2align 4
    .globl pkeys_conform_write, pkeys_conform_write_at, pkeys_conform_write_end
pkeys_conform_write:
    xor eax, eax
pkeys_conform_write_at:
    mov byte ptr [rdi], sil
pkeys_conform_write_end:
    ret

    .p2align 4
    .globl pkeys_conform_call, pkeys_conform_call_at, pkeys_conform_call_end
pkeys_conform_call:
    push r15
    xor eax, eax
    lea r15, [rip + pkeys_conform_call_end]
pkeys_conform_call_at:
    call rdi
pkeys_conform_call_end:
    pop r15
    ret

    // rdi: a Block. rbx: the same, over the act. r12d: PKRU before. r13: the stack before. r14: the act. r15: the system
    // call's number. rbp: its third argument, whose register WRPKRU needs.
    .p2align 4
    .globl pkeys_conform_bare
pkeys_conform_bare:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov rbx, rdi
    xor ecx, ecx
    rdpkru
    mov r12d, eax
    mov r13, rsp
    mov r14, [rbx + 8]
    mov r15, [rbx + 24]
    mov rdi, [rbx + 32]
    mov rsi, [rbx + 40]
    mov rbp, [rbx + 48]
    mov r10, [rbx + 56]
    mov r8, [rbx + 64]
    mov r9, [rbx + 72]
    mov rdx, [rbx + 16]
    test rdx, rdx
    cmovnz rsp, rdx
    mov eax, [rbx]
    xor ecx, ecx
    xor edx, edx
    wrpkru
    jmp r14

    .globl pkeys_conform_bare_read, pkeys_conform_bare_read_end
pkeys_conform_bare_read:
    movzx eax, byte ptr [rdi]
pkeys_conform_bare_read_end:
    jmp 2f

    .globl pkeys_conform_bare_write, pkeys_conform_bare_write_at, pkeys_conform_bare_write_end
pkeys_conform_bare_write:
    xor eax, eax
pkeys_conform_bare_write_at:
    mov byte ptr [rdi], sil
pkeys_conform_bare_write_end:
    jmp 2f

    .globl pkeys_conform_bare_call, pkeys_conform_bare_call_at, pkeys_conform_bare_call_end
pkeys_conform_bare_call:
    xor eax, eax
    lea r15, [rip + pkeys_conform_bare_call_end]
pkeys_conform_bare_call_at:
    call rdi
pkeys_conform_bare_call_end:
    jmp 2f

    .globl pkeys_conform_bare_syscall
pkeys_conform_bare_syscall:
    mov rdx, rbp
    mov rax, r15
    syscall
2:
    mov r15, rax
    xor ecx, ecx
    rdpkru
    mov r14d, eax
    mov eax, r12d
    xor ecx, ecx
    xor edx, edx
    wrpkru
    mov rsp, r13
    mov [rbx + 80], r15
    mov [rbx + 4], r14d
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

    // A signal handler: edi signo, rsi siginfo, rdx ucontext. Goes on in on_signal with PKRU as the fourth argument.
    .p2align 4
    .globl pkeys_conform_handler
pkeys_conform_handler:
    mov r8, rdx
    xor ecx, ecx
    rdpkru
    mov r9d, eax
    xor eax, eax
    wrpkru
    mov rdx, r8
    mov ecx, r9d
    jmp {on_signal}
    .popsection
    "#,
    on_signal = sym super::handler::on_signal,
);

/// What [`bare`] is told and what it answers. The offsets stand in the assembly.
#[repr(C)]
struct Block {
    pkru: u32,
    pkru_after: u32,
    act: *const u8,
    stack: u64,
    nr: u64,
    args: [u64; 6],
    result: u64,
}

const _: () = {
    assert!(core::mem::offset_of!(Block, pkru_after) == 4);
    assert!(core::mem::offset_of!(Block, act) == 8);
    assert!(core::mem::offset_of!(Block, stack) == 16);
    assert!(core::mem::offset_of!(Block, nr) == 24);
    assert!(core::mem::offset_of!(Block, args) == 32);
    assert!(core::mem::offset_of!(Block, result) == 80);
};

unsafe extern "C" {
    fn pkeys_conform_read(addr: u64) -> u64;
    fn pkeys_conform_write(addr: u64, value: u8) -> u64;
    fn pkeys_conform_call(addr: u64) -> u64;
    fn pkeys_conform_bare(block: *mut Block);
    fn pkeys_conform_handler(signo: c_int, info: *mut libc::siginfo_t, context: *mut c_void);

    static pkeys_conform_read_at: u8;
    static pkeys_conform_read_end: u8;
    static pkeys_conform_write_at: u8;
    static pkeys_conform_write_end: u8;
    static pkeys_conform_call_at: u8;
    static pkeys_conform_call_end: u8;
    static pkeys_conform_bare_read: u8;
    static pkeys_conform_bare_read_end: u8;
    static pkeys_conform_bare_write: u8;
    static pkeys_conform_bare_write_at: u8;
    static pkeys_conform_bare_write_end: u8;
    static pkeys_conform_bare_call: u8;
    static pkeys_conform_bare_call_at: u8;
    static pkeys_conform_bare_call_end: u8;
    static pkeys_conform_bare_syscall: u8;
}

/// An instruction that may fault: where it begins, and where the stub goes on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    at: *const u8,
    end: *const u8,
    /// What the instruction had pushed before it faulted, in bytes.
    pub(super) pushed: u64,
}

impl Point {
    /// The instruction that a fault interrupted, by RIP, RDI and R15; `None` where it is none of ours.
    pub(super) fn at(rip: u64, rdi: u64, r15: u64) -> Option<Self> {
        const POINTS: [Point; 6] = [
            Point::new(
                &raw const pkeys_conform_read_at,
                &raw const pkeys_conform_read_end,
            ),
            Point::new(
                &raw const pkeys_conform_write_at,
                &raw const pkeys_conform_write_end,
            ),
            Point::new(
                &raw const pkeys_conform_call_at,
                &raw const pkeys_conform_call_end,
            ),
            Point::new(
                &raw const pkeys_conform_bare_read,
                &raw const pkeys_conform_bare_read_end,
            ),
            Point::new(
                &raw const pkeys_conform_bare_write_at,
                &raw const pkeys_conform_bare_write_end,
            ),
            Point::new(
                &raw const pkeys_conform_bare_call_at,
                &raw const pkeys_conform_bare_call_end,
            ),
        ];
        let is_call = |point: &Self| rip == rdi && point.end.addr() as u64 == r15;
        let inside = POINTS
            .into_iter()
            .find(|point| point.at.addr() as u64 == rip);
        inside.or_else(|| {
            let call = [POINTS[2], POINTS[5]].into_iter().find(is_call)?;
            // The call is done, its return address pushed; what faulted is the fetch behind it.
            Some(Self { pushed: 8, ..call })
        })
    }

    /// Where the stub goes on.
    pub(super) fn end(self) -> u64 {
        self.end.addr() as u64
    }

    const fn new(at: *const u8, end: *const u8) -> Self {
        Self { at, end, pushed: 0 }
    }
}

/// The handler's entry, for `rt_sigaction(2)`.
pub(super) fn handler() -> usize {
    (pkeys_conform_handler as *const ()).addr()
}

/// Reads a byte: it, or [`FAULTED`].
///
/// # Safety
///
/// 1. The handler is installed, and the calling thread has its state.
#[inline]
pub(super) unsafe fn read(addr: u64) -> u64 {
    // SAFETY: reading has no effect on what the compiler knows; a fault is stepped over by the handler (1).
    unsafe { pkeys_conform_read(addr) }
}

/// Writes a byte: 0, or [`FAULTED`].
///
/// # Safety
///
/// 1. As for [`read`].
/// 2. The program's own memory is not at `addr`, but for what it lends to test programs.
#[inline]
pub(super) unsafe fn write(addr: u64, value: u8) -> u64 {
    // SAFETY: a fault is stepped over by the handler (1); no Rust object is changed (2).
    unsafe { pkeys_conform_write(addr, value) }
}

/// Calls an address: 0, or [`FAULTED`].
///
/// # Safety
///
/// 1. As for [`read`].
/// 2. Whatever can be fetched at `addr` is a RET.
#[inline]
pub(super) unsafe fn call(addr: u64) -> u64 {
    // SAFETY: the callee returns at once (2), or is never reached (1).
    unsafe { pkeys_conform_call(addr) }
}

/// A system call, answered as the kernel does: the value, or the error number negated.
///
/// # Safety
///
/// 1. It changes no memory that Rust code relies on.
#[inline]
pub(super) unsafe fn syscall(nr: u64, args: [u64; 6]) -> Raw {
    let result: Raw;
    // SAFETY: the kernel's calling convention; it keeps all registers but RAX, RCX and R11. The default memory clobber
    // stays, as the call may read, write or unmap anything that the caller lends it (1).
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") nr => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// An XSAVE area of nothing: `XSTATE_BV` and `XCOMP_BV` are zero.
#[repr(C, align(64))]
struct EmptyArea([u8; 576]);

/// XRSTOR of PKRU alone from an area that has none: the initial value, all keys open (SDM Vol. 1, 13.8.1).
pub(super) fn xrstor_initial_pkru() {
    static AREA: EmptyArea = EmptyArea([0; 576]);
    // SAFETY: the area is aligned and its header valid; of the components asked for, which is PKRU, it has none, so that
    // nothing else is loaded. All keys open takes nothing away.
    unsafe {
        asm!(
            "xrstor [{area}]",
            area = in(reg) &raw const AREA.0,
            in("eax") 1 << 9,
            in("edx") 0,
            options(nostack, preserves_flags),
        );
    }
}

/// Does an act with this PKRU, and on this stack if it is not 0. Gives RAX behind the act and PKRU there.
///
/// # Safety
///
/// 1. Those of [`read`], [`write`], [`call`] and [`syscall`], whichever the act is.
#[inline]
pub(super) unsafe fn bare(pkru: u32, stack: u64, act: BareAct) -> (u64, u32) {
    let mut block = Block {
        pkru,
        pkru_after: 0,
        act: act.label,
        stack,
        nr: act.nr,
        args: act.args,
        result: 0,
    };
    // SAFETY: the block is laid out as the assembly reads it, and the act is what the caller answers for (1). PKRU and
    // the stack pointer are put back before anything else runs.
    unsafe { pkeys_conform_bare(&raw mut block) };
    (block.result, block.pkru_after)
}

/// An [`Act`] as registers.
#[derive(Debug, Clone, Copy)]
pub(super) struct BareAct {
    label: *const u8,
    nr: u64,
    args: [u64; 6],
}

impl BareAct {
    /// The registers for an act; `raise` is what [`Act::Raise`] stands for.
    pub(super) fn new(act: Act, raise: impl FnOnce(i32) -> [u64; 6]) -> Self {
        let access = |label, addr, value| Self {
            label,
            nr: 0,
            args: [addr, value, 0, 0, 0, 0],
        };
        let syscall = |nr, args| Self {
            label: &raw const pkeys_conform_bare_syscall,
            nr,
            args,
        };
        match act {
            Act::Read(addr) => access(&raw const pkeys_conform_bare_read, addr, 0),
            Act::Write(addr, value) => {
                access(&raw const pkeys_conform_bare_write, addr, value.into())
            }
            Act::Call(addr) => access(&raw const pkeys_conform_bare_call, addr, 0),
            Act::Syscall(nr, args) => syscall(nr, args),
            Act::Raise(signo) => syscall(libc::SYS_tgkill.unsigned_abs(), raise(signo)),
        }
    }
}
