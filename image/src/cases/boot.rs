//! Memory, exceptions, registers: what everything else stands on.

#![allow(unsafe_code, reason = "touches frames and faults on purpose")]

extern crate alloc;

use alloc::vec::Vec;

use super::{Case, Outcome, case, check, check_eq};
use crate::memory::frames;
use crate::memory::layout::{KERNEL, PAGE, Program, direct, to_usize};
use crate::trap::fixup::{try_copy, try_read, try_write};

pub(super) const CASES: &[Case] = &[
    case("frames-come-with-zeros", frames_come_with_zeros),
    case("the-heap-gives-back", heap_gives_back),
    case("pages-that-are-not-mapped-fault", unmapped_pages_fault),
    case("the-program-is-read-only", program_is_read_only),
    case("registers-survive-an-exception", registers_survive),
];

fn frames_come_with_zeros() -> Outcome {
    let before = frames::nr_free();
    for _ in 0..3 {
        let frame = frames::allocate(3, 2).ok_or("no frames")?;
        let words = direct::<u64>(frame);
        let nr = 3 * to_usize(PAGE) / 8;
        // SAFETY: just allocated.
        let words = unsafe { core::slice::from_raw_parts_mut(words, nr) };
        check!(
            words.iter().all(|&word| word == 0),
            "frame {frame:#x} has something in it"
        );
        words.fill(u64::MAX);
        frames::free(frame, 3);
    }
    check_eq!(frames::nr_free(), before, "free frames");
    Ok(())
}

fn low_byte(size: usize) -> u8 {
    size.to_le_bytes()[0]
}

fn heap_gives_back() -> Outcome {
    let run = || {
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for size in [1, 16, 17, 100, 2048, 2049, 5000, 100_000] {
            pieces.push(alloc::vec![low_byte(size); size]);
        }
        pieces
            .iter()
            .all(|piece| piece.iter().all(|&byte| byte == low_byte(piece.len())))
    };
    check!(run(), "pieces overlap");
    let before = frames::nr_free();
    for _ in 0..50 {
        check!(run(), "pieces overlap");
    }
    check_eq!(frames::nr_free(), before, "free frames");
    Ok(())
}

fn unmapped_pages_fault() -> Outcome {
    for addr in [0, 0x1000, KERNEL + (1 << 30)] {
        let fault = try_read(addr).err().ok_or("a read went through")?;
        check_eq!((fault.addr, fault.code.bits()), (addr, 0), "fault");
        // SAFETY: nothing is there.
        let fault = unsafe { try_write(addr, 1) }
            .err()
            .ok_or("a write went through")?;
        check_eq!((fault.addr, fault.code.bits()), (addr, 2), "fault");
    }
    let mut bytes = [1_u8; 100];
    let to = bytes.as_mut_ptr().addr() as u64;
    // SAFETY: to a buffer of this function.
    let copied = unsafe { try_copy(to, crate::memory::layout::STACKS + PAGE - 40, 100) };
    check!(
        copied.is_err_and(|(rest, _)| rest == 100),
        "a copy from an unmapped page went through"
    );
    Ok(())
}

fn program_is_read_only() -> Outcome {
    let program = Program::get();
    for addr in [program.text, program.read_only] {
        let value = try_read(addr).map_err(|_| "cannot read the program")?;
        // SAFETY: should it go through, it writes what is there.
        let fault = unsafe { try_write(addr, value) }
            .err()
            .ok_or("a write into the program went through")?;
        check_eq!(fault.code.bits(), 3, "error code");
    }
    Ok(())
}

/// Fills all registers, faults, and compares. What the fixup itself changes is left out.
fn registers_survive() -> Outcome {
    let wrong: u64;
    // SAFETY: the fault is at address 8, where nothing is; the fixup goes on behind. Registers are saved or declared.
    unsafe {
        core::arch::asm!(
            "push rbx",
            "push rbp",
            "mov r8, 8", "mov r9, 9", "mov r10, 10", "mov r11, 11", "mov r12, 12", "mov r13, 13", "mov r14, 14",
            "mov r15, 15", "mov rbx, 16", "mov rbp, 17", "mov rsi, 18", "mov rdi, 19", "mov rcx, 20",
            "movq xmm0, r8", "movq xmm15, r15",
            "std",
            "2: mov rax, [8]",
            "3:",
            ".pushsection .fixups, \"a\"", ".quad 2b, 3b", ".popsection",
            "pushfq",
            "cld",
            "pop rax",
            "not eax",
            "and eax, 0x400",
            "sub r8, 8", "sub r9, 9", "sub r10, 10", "sub r11, 11", "sub r12, 12", "sub r13, 13", "sub r14, 14",
            "sub r15, 15", "sub rbx, 16", "sub rbp, 17", "sub rsi, 18", "sub rdi, 19", "sub rcx, 20",
            "or rax, r8", "or rax, r9", "or rax, r10", "or rax, r11", "or rax, r12", "or rax, r13", "or rax, r14",
            "or rax, r15", "or rax, rbx", "or rax, rbp", "or rax, rsi", "or rax, rdi", "or rax, rcx",
            "movq rcx, xmm0", "sub rcx, 8", "or rax, rcx",
            "movq rcx, xmm15", "sub rcx, 15", "or rax, rcx",
            "pop rbp",
            "pop rbx",
            out("rax") wrong,
            out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _, out("xmm0") _, out("xmm15") _,
        );
    }
    check_eq!(wrong, 0, "differences");
    Ok(())
}
