//! Repeated string instructions, run to their end elsewhere.
//!
//! A single-stepped `rep stos` traps after every element: a megabyte is a million traps and nine seconds. What one wants
//! is one trap at its end. The instruction cannot be patched, but it can be moved: string instructions name no
//! address of their own (RSI, RDI, RCX and the direction flag say everything), so a copy of the same instruction
//! followed by INT3 does the same work anywhere, can be interrupted and restarted anywhere, and stops when it is done.
//! This file holds such a copy of every form that compilers and C libraries use.

use core::arch::global_asm;

/// Bytes between two copies in the table.
const STRIDE_BYTES: usize = 8;

/// How many forms there are: two prefixes, five operations, four element sizes.
const NR_FORMS: usize = 2 * 5 * 4;

// The copies, in the order of `Form::index`. Operand-size prefix, repeat prefix, REX.W and opcode stand in the order
// that the SDM gives (Vol. 2A, 2.1 and 2.2.1). Each is followed by INT3 up to the next.
global_asm!(
    ".pushsection .text.pkeys_rep_string, \"ax\", @progbits",
    ".balign 8, 0xcc",
    ".globl pkeys_rep_string_table",
    ".hidden pkeys_rep_string_table",
    ".type pkeys_rep_string_table, @function",
    "pkeys_rep_string_table:",
    // 0xf2: REPNE. 0xf3: REP, REPE.
    ".irp prefix, 0xf2, 0xf3",
    // MOVS, CMPS, STOS, LODS, SCAS: the byte form; the others are one more.
    ".irp opcode, 0xa4, 0xa6, 0xaa, 0xac, 0xae",
    ".byte \\prefix, \\opcode",
    ".balign 8, 0xcc",
    ".byte 0x66, \\prefix, \\opcode + 1",
    ".balign 8, 0xcc",
    ".byte \\prefix, \\opcode + 1",
    ".balign 8, 0xcc",
    ".byte \\prefix, 0x48, \\opcode + 1",
    ".balign 8, 0xcc",
    ".endr",
    ".endr",
    ".size pkeys_rep_string_table, . - pkeys_rep_string_table",
    ".popsection",
);

unsafe extern "C" {
    fn pkeys_rep_string_table();
}

/// A repeated string instruction, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepString {
    form: usize,
    len_bytes: usize,
}

impl RepString {
    /// Decodes the instruction whose bytes `byte` gives; `None` when it is something else, or a form that the table does
    /// not have (a segment or address-size prefix). Asks for no byte beyond the opcode.
    pub fn decode(mut byte: impl FnMut(usize) -> u8) -> Option<Self> {
        let mut is_word = false;
        let mut repeat = None;
        let mut at = 0;
        let mut next = || {
            let value = byte(at);
            at += 1;
            value
        };
        // Four prefixes at most are useful; a fifth byte is no instruction of this kind.
        let mut value = next();
        for _ in 0..4 {
            match value {
                0x66 => is_word = true,
                0xF2 => repeat = Some(0),
                0xF3 => repeat = Some(1),
                _ => break,
            }
            value = next();
        }
        // REX stands last. Only its W bit means anything to a string instruction.
        let rex = (value & 0xF0 == 0x40).then_some(value);
        if rex.is_some() {
            value = next();
        }
        let operation = match value & 0xFE {
            0xA4 => 0,
            0xA6 => 1,
            0xAA => 2,
            0xAC => 3,
            0xAE => 4,
            _ => return None,
        };
        let is_wide = rex.is_some_and(|rex| rex & 0x08 != 0);
        let size = match (value & 1, is_wide, is_word) {
            (0, _, _) => 0,
            (_, true, _) => 3,
            (_, false, true) => 1,
            (_, false, false) => 2,
        };
        Some(Self {
            form: (repeat? * 5 + operation) * 4 + size,
            len_bytes: at,
        })
    }

    /// The length of the instruction as it was decoded, in bytes.
    #[must_use]
    pub const fn len_bytes(self) -> usize {
        self.len_bytes
    }

    /// Where the copy starts.
    #[must_use]
    pub fn copy_start(self) -> usize {
        table_start() + self.form * STRIDE_BYTES
    }

    /// Where the thread is when the copy is done and its INT3 has trapped.
    #[must_use]
    pub fn copy_done(self) -> usize {
        const LEN_BYTES: [usize; 4] = [2, 3, 2, 3];
        self.copy_start() + LEN_BYTES[self.form % 4] + 1
    }
}

fn table_start() -> usize {
    pkeys_rep_string_table as *const () as usize
}

/// Whether an address lies in the table of copies.
#[must_use]
pub fn is_copy(pc: usize) -> bool {
    pc.wrapping_sub(table_start()) < NR_FORMS * STRIDE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    /// Every form as an assembler writes it, with the REX prefix that changes nothing as well.
    fn forms() -> Vec<(Vec<u8>, usize)> {
        let mut forms = Vec::new();
        for (repeat, prefix) in [0xF2, 0xF3].into_iter().enumerate() {
            for (operation, opcode) in [0xA4, 0xA6, 0xAA, 0xAC, 0xAE].into_iter().enumerate() {
                let index = (repeat * 5 + operation) * 4;
                forms.push((std::vec![prefix, opcode], index));
                forms.push((std::vec![prefix, 0x40, opcode], index));
                forms.push((std::vec![0x66, prefix, opcode + 1], index + 1));
                forms.push((std::vec![prefix, 0x66, opcode + 1], index + 1));
                forms.push((std::vec![prefix, opcode + 1], index + 2));
                forms.push((std::vec![prefix, 0x48, opcode + 1], index + 3));
                forms.push((std::vec![0x66, prefix, 0x48, opcode + 1], index + 3));
            }
        }
        forms
    }

    #[test]
    fn every_form_is_decoded_from_its_own_bytes_alone() {
        for (bytes, form) in forms() {
            let decoded = RepString::decode(|at| bytes[at]);
            let len_bytes = bytes.len();
            assert_eq!(decoded, Some(RepString { form, len_bytes }), "{bytes:x?}");
        }
    }

    #[test]
    fn other_instructions_are_left_alone() {
        let others: [&[u8]; 9] = [
            &[0xA4],             // movsb without a prefix
            &[0xF3, 0x90],       // pause
            &[0xF3, 0x0F, 0x6F], // movdqu
            &[0x66, 0x89],       // mov r/m16
            &[0xF3, 0x6C],       // rep insb
            &[0x64, 0xF3],       // a segment prefix
            &[0x67, 0xF3],       // an address-size prefix
            &[0xC6],             // mov r/m8, imm8
            &[0x66, 0x66, 0x66, 0x66, 0x66],
        ];
        for bytes in others {
            let decoded = RepString::decode(|at| bytes[at]);
            assert_eq!(decoded, None, "{bytes:x?}");
        }
    }

    /// The copies are the canonical bytes of their form and end in INT3.
    #[test]
    fn the_table_holds_what_it_says() {
        for (bytes, form) in forms() {
            let is_canonical = bytes[0] == 0x66 || bytes.len() == 2 || bytes[1] == 0x48;
            if !is_canonical || (bytes[0] == 0x66 && bytes.len() == 4) {
                continue;
            }
            let decoded = RepString::decode(|at| bytes[at]).unwrap();
            assert!(is_copy(decoded.copy_start()) && is_copy(decoded.copy_done() - 1));
            let copy = core::ptr::with_exposed_provenance::<u8>(decoded.copy_start());
            // SAFETY: eight bytes of this program's own text for each form.
            let copy = unsafe { core::slice::from_raw_parts(copy, STRIDE_BYTES) };
            assert_eq!(&copy[..bytes.len()], bytes, "form {form}");
            assert!(copy[bytes.len()..].iter().all(|&byte| byte == 0xCC));
            assert_eq!(decoded.copy_done(), decoded.copy_start() + bytes.len() + 1);
        }
        assert!(!is_copy(table_start() - 1));
        assert!(!is_copy(table_start() + NR_FORMS * STRIDE_BYTES));
    }
}
