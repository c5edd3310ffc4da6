//! Call frame information: from a function's registers to its caller's (DWARF 5, section 6.4).
//!
//! It is `.eh_frame`, taken from memory, where the program's own exceptions look for it: it is there for libraries whose
//! file is gone, and for the `[vdso]`. The copy is kept for the next report.

use std::collections::BTreeMap;

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, Encoding, Evaluation, EvaluationResult,
    LittleEndian, ParsedEhFrameHdr, Register, RegisterRule, UnwindContext, UnwindExpression,
    UnwindSection as _, UnwindTableRow, Value, X86_64,
};

use crate::fault::report::image::{Image, Reader};
use crate::fault::report::memory;
use crate::fault::report::modules::{BuildId, Module};
use crate::fault::report::stack::Stack;

/// How many operations an expression may take; real ones take about ten.
const MAX_OPERATIONS: u32 = 1000;

/// The registers of a frame as far as they are known, by their DWARF numbers (System V ABI for x86-64, 3.36): 16 is the
/// program counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Frame([Option<u64>; 17]);

impl Frame {
    /// The frame with one register set.
    pub(super) fn with(mut self, register: Register, value: Option<u64>) -> Self {
        if let Some(slot) = self.0.get_mut(usize::from(register.0)) {
            *slot = value;
        }
        self
    }

    /// A register's value, if it is known.
    pub(super) fn get(&self, register: Register) -> Option<u64> {
        *self.0.get(usize::from(register.0))?
    }
}

/// What the information says of a frame's caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, on the stack"
)]
pub(super) enum Caller {
    /// There is one, with these registers.
    Frame(Frame),
    /// The frame is the first of its thread.
    None,
}

/// The unwind information that has been read.
#[derive(Default)]
pub(super) struct Tables {
    /// By where a module is and which build it is. `None` for one without the information.
    eh_frames: BTreeMap<(usize, BuildId), Option<Table>>,
}

/// One module's `.eh_frame`, with its index.
struct Table {
    index: ParsedEhFrameHdr<Reader>,
    eh_frame: EhFrame<Reader>,
    bases: BaseAddresses,
}

impl Tables {
    /// The caller of a frame in a module. `addr` is an address within the instruction that the frame is at. `None` where
    /// the module says nothing of it, or nothing that can be followed.
    pub(super) fn caller(
        &mut self,
        module: &Module,
        addr: u64,
        frame: &Frame,
        stack: &Stack,
    ) -> Option<Caller> {
        let table = self
            .eh_frames
            .entry((module.start, module.build_id))
            .or_insert_with(|| Table::read(module))
            .as_ref()?;
        let Table {
            index,
            eh_frame,
            bases,
        } = table;
        let cie = EhFrame::cie_from_offset;
        let entry = index
            .table()?
            .fde_for_address(eh_frame, bases, addr, cie)
            .ok()?;
        let mut context = UnwindContext::new();
        let row = entry
            .unwind_info_for_address(eh_frame, bases, &mut context, addr)
            .ok()?;
        Rules {
            eh_frame,
            encoding: entry.cie().encoding(),
            frame,
            stack,
        }
        .caller(row)
    }
}

impl Table {
    fn read(module: &Module) -> Option<Self> {
        let place = module.eh_frame_hdr?;
        let bases = BaseAddresses::default().set_eh_frame_hdr(place.addr as u64);
        let index = memory::read_exact(place.addr, place.len_bytes)?;
        let index = EhFrameHdr::from(Reader::new(Image::owned(index), LittleEndian));
        let index = index.parse(&bases, 8).ok()?;
        let start = usize::try_from(index.eh_frame_ptr().direct().ok()?).ok()?;
        // Its end is not stated; entries are found through the index, so that what follows it does no harm.
        let eh_frame = memory::read_exact(start, place.segment_end.checked_sub(start)?)?;
        let mut eh_frame = EhFrame::from(Reader::new(Image::owned(eh_frame), LittleEndian));
        eh_frame.set_address_size(8);
        Some(Self {
            index,
            eh_frame,
            bases: bases.set_eh_frame(start as u64),
        })
    }
}

/// One row of the table, about to be applied to a frame.
struct Rules<'a> {
    eh_frame: &'a EhFrame<Reader>,
    encoding: Encoding,
    frame: &'a Frame,
    stack: &'a Stack,
}

impl Rules<'_> {
    fn caller(&self, row: &UnwindTableRow<usize>) -> Option<Caller> {
        if matches!(
            row.register(X86_64::RA),
            None | Some(RegisterRule::Undefined)
        ) {
            return Some(Caller::None);
        }
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                self.frame.get(*register)?.wrapping_add_signed(*offset)
            }
            CfaRule::Expression(expression) => self.evaluate(expression, None)?,
        };
        let mut caller = Frame::default();
        for number in 0..=X86_64::RA.0 {
            let register = Register(number);
            caller = caller.with(
                register,
                self.register(register, row.register(register), cfa),
            );
        }
        // The canonical frame address is the stack pointer before the call, unless a rule says otherwise.
        let stack_pointer = caller.get(X86_64::RSP).unwrap_or(cfa);
        caller.get(X86_64::RA)?;
        Some(Caller::Frame(caller.with(X86_64::RSP, Some(stack_pointer))))
    }

    fn register(
        &self,
        register: Register,
        rule: Option<RegisterRule<usize>>,
        cfa: u64,
    ) -> Option<u64> {
        match rule {
            // The ABI's default: these are the caller's, and nobody has touched them.
            None if is_preserved(register) => self.frame.get(register),
            None | Some(RegisterRule::Undefined | RegisterRule::Architectural) => None,
            Some(RegisterRule::SameValue) => self.frame.get(register),
            Some(RegisterRule::Offset(offset)) => self.stack.word(cfa.wrapping_add_signed(offset)),
            Some(RegisterRule::ValOffset(offset)) => Some(cfa.wrapping_add_signed(offset)),
            Some(RegisterRule::Register(other)) => self.frame.get(other),
            Some(RegisterRule::Expression(place)) => {
                self.stack.word(self.evaluate(&place, Some(cfa))?)
            }
            Some(RegisterRule::ValExpression(value)) => self.evaluate(&value, Some(cfa)),
            Some(RegisterRule::Constant(value)) => Some(value),
        }
    }

    /// The value of a DWARF expression, which for a register starts from the canonical frame address.
    fn evaluate(&self, expression: &UnwindExpression<usize>, start: Option<u64>) -> Option<u64> {
        let expression = expression.get(self.eh_frame).ok()?;
        let mut evaluation: Evaluation<Reader> = expression.evaluation(self.encoding);
        evaluation.set_max_iterations(MAX_OPERATIONS);
        if let Some(start) = start {
            evaluation.set_initial_value(start);
        }
        let mut result = evaluation.evaluate().ok()?;
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = Value::Generic(self.frame.get(register)?);
                    evaluation.resume_with_register(value).ok()?
                }
                EvaluationResult::RequiresMemory {
                    address, size: 8, ..
                } => {
                    let value = Value::Generic(self.stack.word(address)?);
                    evaluation.resume_with_memory(value).ok()?
                }
                _ => return None,
            };
        }
        evaluation.value_result()?.to_u64(u64::MAX).ok()
    }
}

/// Whether a function gives the register back as it found it (System V ABI for x86-64, 3.2.1).
fn is_preserved(register: Register) -> bool {
    matches!(
        register,
        X86_64::RBX | X86_64::RBP | X86_64::R12 | X86_64::R13 | X86_64::R14 | X86_64::R15
    )
}
