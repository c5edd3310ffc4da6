//! A pardon for one instruction: the instruction runs with the right that it lacked, and is trapped behind it.
//!
//! [`begin`] sets TF in the interrupted frame, so that the processor raises #DB after the instruction, and clears IF, so
//! that nothing else runs in the context before that. [`debug_trap`] puts both back and takes the right away. What the two
//! flags were is kept in the context, so that any number of threads, and handlers on top of them, are stepped at a time.
//!
//! An NMI may come in between. The processor clears TF for its handler, which runs in a context of its own; when it leaves,
//! the step goes on. If the handler itself strays, its context has a step of its own.
//!
//! What is not as simple as that:
//!
//! * **The same instruction faults again** on a second page of a second key. The step goes on with one right more; the
//!   program's flags are the ones kept at first, not those in the frame.
//! * **It faults for another reason**: a page that is to be brought in, an address that has a fixup. That handler must
//!   find the flags that the program had, may let interrupts in, sleep, and come back on another CPU, or not come back at
//!   all. So the step is called off: [`call_off`]. If the instruction is tried again, its key fault is known, and is not
//!   counted or told once more.
//! * **PUSHF** stores the flags that we set. The image on the stack is to be put right: [`PushedFlags`].
//! * **POPF, IRET** load the flags, so that those in the frame are the program's, and stay.
//! * **REP** strings trap after each iteration, with the instruction pointer where it was. The step goes on, but not for
//!   ever, as interrupts wait: after [`MAX_ITERATIONS`] it ends, interrupts are taken, and the next iteration is a fault that
//!   is known.
//! * **MOV SS** holds the trap off until the next instruction is done, so that the right is there for two, and what is
//!   special about an instruction may be so about the second. (Of several MOV SS in a row, the first holds off.) A
//!   processor or an emulator that does not hold it off is told from one that does by the instruction pointer.
//! * **The program's own TF** was set, by a debugger: then the trap is the debugger's as well, and is to be handed on.
//!
//! Source: SDM Vol. 3A, 6.8.3 (MOV SS), 6.9 (priorities: traps on the previous instruction before NMIs), Vol. 3B, 17.3.1.4
//! (single-step exceptions).

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use pkeys_core::{KeySet, Rights};

use super::context::Context;
use super::grant::{grant, revoke};
use super::instruction::{Instruction, Kind};
use super::key::PksKey;
use super::register::PksCpu;
use crate::mutant::{self, Mutant};

/// RFLAGS.TF: trap after the instruction.
const TF: u64 = 1 << 8;
/// RFLAGS.IF: interrupts are let in.
const IF: u64 = 1 << 9;
/// RFLAGS.RF and VM, which PUSHF stores as 0.
const NOT_PUSHED: u64 = 1 << 16 | 1 << 17;

/// So many iterations of a repeated instruction are stepped with interrupts kept out.
pub const MAX_ITERATIONS: u32 = 64;

/// The registers of interrupted code, in the frame that the exception has left and the return will load.
pub trait StepFrame {
    /// The instruction at which the code goes on.
    fn rip(&self) -> u64;
    /// The stack.
    fn rsp(&self) -> u64;
    /// The flags.
    fn rflags(&self) -> u64;
    /// Changes the flags that the code goes on with.
    fn set_rflags(&mut self, rflags: u64);
}

/// The step that a context is in, if any.
///
/// Changed only by handlers of the context's own exceptions.
#[derive(Debug)]
pub(super) struct StepCell {
    /// The instruction.
    rip: AtomicU64,
    /// A [`Step`] in one word; 0 for none.
    step: AtomicU64,
    /// An instruction whose step was ended before its time, 0 for none.
    resumed: AtomicU64,
    /// The bits of the register that were clear for that.
    resumed_with: AtomicU32,
}

impl StepCell {
    pub(super) const fn new() -> Self {
        Self {
            rip: AtomicU64::new(0),
            step: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            resumed_with: AtomicU32::new(0),
        }
    }

    /// Whether a fault at this instruction is one that was pardoned already, for a step that has ended before its time.
    /// `bits` are those of the register that the access needs clear. A fault at another instruction says that this one is
    /// done, or was given up.
    pub(super) fn is_resumed(&self, rip: u64, bits: u32) -> bool {
        if self.resumed.load(Relaxed) == rip {
            bits & !self.resumed_with.load(Relaxed) == 0
        } else {
            self.forget();
            false
        }
    }

    /// A step has ended before its time.
    fn resume(&self, bits: u32) {
        let rip = self.rip.load(Relaxed);
        let is_same = self.resumed.load(Relaxed) == rip;
        let before = if is_same {
            self.resumed_with.load(Relaxed)
        } else {
            0
        };
        self.resumed_with.store(before | bits, Relaxed);
        self.resumed.store(rip, Relaxed);
    }

    /// Nothing is left to be known of the instruction.
    pub(super) fn forget(&self) {
        self.resumed.store(0, Relaxed);
        self.resumed_with.store(0, Relaxed);
    }

    fn get(&self) -> Option<Step> {
        Step::unpack(self.step.load(Relaxed))
    }

    fn set(&self, step: Option<Step>) {
        self.step.store(step.map_or(0, Step::pack), Relaxed);
    }
}

/// What is kept of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// TF and IF as the program had them.
    own: u64,
    instruction: Instruction,
    nr_iterations: u32,
}

/// In a word: there is a step.
const IS_STEP: u64 = 1;

impl Step {
    fn pack(self) -> u64 {
        let Instruction { kind, held_off_len } = self.instruction;
        let bytes = u64::from(kind as u8) << 16 | u64::from(held_off_len) << 24;
        IS_STEP | self.own | bytes | u64::from(self.nr_iterations) << 32
    }

    fn unpack(word: u64) -> Option<Self> {
        let [_, _, kind, held_off_len, iterations @ ..] = word.to_le_bytes();
        let kind = Kind::ALL.into_iter().find(|each| *each as u8 == kind)?;
        (word & IS_STEP != 0).then_some(Self {
            own: word & (TF | IF),
            instruction: Instruction { kind, held_off_len },
            nr_iterations: u32::from_le_bytes(iterations),
        })
    }

    /// Puts the program's own flags back.
    fn restore(self, frame: &mut impl StepFrame, flags: u64) {
        frame.set_rflags(frame.rflags() & !flags | self.own & flags);
    }
}

impl Context {
    /// Whether the context is at an instruction that it was pardoned for.
    #[must_use]
    #[inline]
    pub fn is_stepped(&self) -> bool {
        self.step.step.load(Relaxed) != 0
    }
}

/// Begins a step over the instruction at which a context has faulted, or goes on with the one that it is in. Whatever
/// rights are to go with it are the caller's to lend. `false` if the code is too short to say what the instruction is.
pub(super) fn begin(context: &Context, frame: &mut impl StepFrame, code: &[u8]) -> bool {
    let cell = &context.step;
    let before = cell.get();
    if before.is_some() && cell.rip.load(Relaxed) == frame.rip() {
        return true;
    }
    let Some(instruction) = Instruction::decode(code) else {
        call_off(context, frame);
        return false;
    };
    // The instruction behind one that holds the trap off has faulted: the first one is done.
    context.end_step();
    let own = match before {
        Some(step) if !mutant::is(Mutant::PksStepKeepsOurFlags) => step.own,
        _ => frame.rflags() & (TF | IF),
    };
    cell.rip.store(frame.rip(), Relaxed);
    cell.set(Some(Step {
        own,
        instruction,
        nr_iterations: 0,
    }));
    frame.set_rflags(frame.rflags() & !IF | TF);
    true
}

/// What is left to do when a step has been trapped.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub struct Stepped {
    /// The trap is the program's own as well.
    pub is_own: bool,
    /// Flags on the stack that are to be put right.
    pub pushed: Option<PushedFlags>,
}

/// The handler of #DB, with DR6.BS set: the instruction that a context was pardoned for is done, or an iteration of it.
///
/// `None` if the context is in no step: the trap has another cause.
pub fn debug_trap(interrupted: &Context, frame: &mut impl StepFrame) -> Option<Stepped> {
    let cell = &interrupted.step;
    let step = cell.get()?;
    let rip = cell.rip.load(Relaxed);
    let is_own = step.own & TF != 0;
    let Instruction { kind, held_off_len } = step.instruction;
    // Where the trap was not held off, nothing is known of the instruction that is done but that it loads SS.
    let was_held_off = held_off_len != 0 && frame.rip() != rip.wrapping_add(held_off_len.into());
    let kind = if held_off_len == 0 || was_held_off {
        kind
    } else {
        Kind::Plain
    };
    let goes_on = kind == Kind::Repeats
        && held_off_len == 0
        && frame.rip() == rip
        && !mutant::is(Mutant::PksStepEndsRep);
    let is_last = step.nr_iterations.saturating_add(1) >= MAX_ITERATIONS;
    if goes_on && (!is_last || mutant::is(Mutant::PksStepNeverEndsRep)) {
        cell.set(Some(Step {
            nr_iterations: step.nr_iterations.wrapping_add(1),
            ..step
        }));
        return Some(Stepped {
            is_own,
            pushed: None,
        });
    }
    if goes_on {
        cell.resume(interrupted.stepped());
    } else {
        cell.forget();
    }
    step.restore(frame, flags_to_restore(kind));
    let pushed = PushedFlags::of(kind, interrupted, frame);
    cell.set(None);
    interrupted.end_step();
    Some(Stepped { is_own, pushed })
}

/// The flags that an instruction has left as we had set them.
fn flags_to_restore(kind: Kind) -> u64 {
    match kind {
        Kind::LoadsFlags if !mutant::is(Mutant::PksStepUndoesPopf) => 0,
        Kind::ChangesIf => TF,
        _ => TF | IF,
    }
}

/// The handler of any other exception, but not of an NMI or a machine check: if the interrupted context is in a step, it is
/// in it no longer. To be called before the handler looks at the frame's flags; not for a key fault, which is judged first.
pub fn call_off(interrupted: &Context, frame: &mut impl StepFrame) {
    let cell = &interrupted.step;
    let Some(step) = cell.get() else {
        return;
    };
    if mutant::is(Mutant::PksStepNotCalledOff) {
        return;
    }
    if frame.rip() == cell.rip.load(Relaxed) {
        cell.resume(interrupted.stepped());
    }
    step.restore(frame, TF | IF);
    cell.set(None);
    interrupted.end_step();
}

/// An image of the flags on a stack, which an instruction has stored while it was stepped.
#[must_use = "the program will load our flags"]
#[derive(Debug, PartialEq, Eq)]
pub struct PushedFlags {
    addr: u64,
    rflags: u64,
    len_bytes: usize,
    /// The keys that the instruction could write to.
    keys: KeySet,
}

impl PushedFlags {
    fn of(kind: Kind, context: &Context, frame: &impl StepFrame) -> Option<Self> {
        let len_bytes = match kind {
            _ if mutant::is(Mutant::PksStepLeavesPushf) => return None,
            Kind::PushesFlags => 8,
            Kind::PushesShortFlags => 2,
            _ => return None,
        };
        Some(Self {
            addr: frame.rsp(),
            rflags: frame.rflags() & !NOT_PUSHED,
            len_bytes,
            keys: context.writable(),
        })
    }

    /// Has a function store what the program would have stored, at the address given, in a context (the #DB handler's) that
    /// may for that time write where the instruction could.
    pub fn store(self, cpu: &impl PksCpu, store: impl FnOnce(u64, &[u8])) {
        let bytes = self.rflags.to_le_bytes();
        let bytes = bytes.get(..self.len_bytes).unwrap_or_default();
        let mut keys = PksKey::all().filter(|key| self.keys.contains(key.pkey()));
        let grants: [_; 15] =
            core::array::from_fn(|_| Some(grant(cpu, keys.next()?, Rights::ReadWrite)));
        store(self.addr, bytes);
        for granted in grants.into_iter().flatten() {
            revoke(cpu, granted);
        }
    }
}
