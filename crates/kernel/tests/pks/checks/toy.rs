//! A CPU with few instructions: those that a step has to be careful about.
//!
//! It knows the trap flag, interrupts and what holds them off, faults, and PKRS, as far as a single-stepped kernel meets
//! them. What the world around it does at each exception is behind [`Handlers`], so that the same program runs undisturbed
//! and under pardons. Its instructions have their real bytes, but it does not decode them: that is left to who is tested.
//!
//! Source: SDM Vol. 3A, 6.8.3, 6.9; Vol. 3B, 17.3.1.4.

use std::collections::BTreeMap;

use pkeys_core::Access;
use pkeys_kernel::pks::StepFrame;

pub(crate) const TF: u64 = 1 << 8;
pub(crate) const IF: u64 = 1 << 9;
pub(crate) const RF: u64 = 1 << 16;
/// What POPF and IRET take from the stack: CF, PF, ZF, TF, IF.
const LOADED: u64 = 0x45 | TF | IF;

pub(crate) const PAGE: u64 = 0x1000;

/// An instruction, and where it accesses memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Nop,
    SetRcx(u64),
    Load(u64),
    Store(u64),
    /// Memory to memory, one byte.
    Move(u64, u64),
    RepStore(u64),
    RepMove(u64, u64),
    PushFlags,
    PushShortFlags,
    PopFlags,
    Iret,
    MovSs(u64),
    Sti,
    Cli,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Instruction {
    pub(crate) kind: Kind,
    pub(crate) bytes: &'static [u8],
}

/// The registers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct State {
    pub(crate) rip: u64,
    pub(crate) rsp: u64,
    pub(crate) rflags: u64,
    pub(crate) rcx: u64,
}

impl StepFrame for State {
    fn rip(&self) -> u64 {
        self.rip
    }
    fn rsp(&self) -> u64 {
        self.rsp
    }
    fn rflags(&self) -> u64 {
        self.rflags
    }
    fn set_rflags(&mut self, rflags: u64) {
        self.rflags = rflags;
    }
}

/// Memory, byte by byte; what was never written is 0.
pub(crate) type Bytes = BTreeMap<u64, u8>;

/// What is around the CPU.
pub(crate) trait Handlers {
    /// Whether an access passes. If not, the handler of the fault runs, on the registers given, and the instruction starts
    /// over.
    fn access(&mut self, cpu: &mut Toy, access: Access, addr: u64) -> bool;
    /// #DB, with DR6.BS.
    fn debug_trap(&mut self, cpu: &mut Toy);
    /// Between two instructions, or iterations. Maskable interrupts may come if the second says so.
    fn boundary(&mut self, cpu: &mut Toy, is_let_in: bool);
}

/// The CPU and its memory.
#[derive(Debug, Clone)]
pub(crate) struct Toy {
    pub(crate) state: State,
    pub(crate) memory: Bytes,
    /// Whether a trap waits for the instruction behind MOV SS.
    pub(crate) holds_off: bool,
    /// How many instructions and iterations are done.
    pub(crate) nr_done: usize,
    program: Vec<(u64, Instruction)>,
    end: u64,
}

/// Where the program begins.
pub(crate) const CODE: u64 = 0xFFFF_8000_0000_0000;

impl Toy {
    pub(crate) fn new(program: &[Instruction], state: State, memory: Bytes) -> Self {
        let mut end = CODE;
        let place = |instruction: &Instruction| {
            let at = end;
            end += instruction.bytes.len() as u64;
            (at, *instruction)
        };
        let program = program.iter().map(place).collect();
        Self {
            state: State { rip: CODE, ..state },
            memory,
            holds_off: true,
            nr_done: 0,
            program,
            end,
        }
    }

    /// The instruction that is next.
    pub(crate) fn instruction(&self) -> Option<Instruction> {
        let at = self
            .program
            .binary_search_by_key(&self.state.rip, |(at, _)| *at);
        at.ok().map(|place| self.program[place].1)
    }

    /// The bytes from the next instruction on, as many as a fault handler may ask for.
    pub(crate) fn code(&self) -> Vec<u8> {
        let from = self.program.iter().filter(|(at, _)| *at >= self.state.rip);
        let bytes = from.flat_map(|(_, instruction)| instruction.bytes);
        bytes.copied().chain([0x90; 4]).take(20).collect()
    }

    pub(crate) fn run(&mut self, handlers: &mut impl Handlers) {
        let mut is_shadowed = false;
        while self.state.rip != self.end {
            let is_let_in = self.state.rflags & IF != 0 && !is_shadowed;
            handlers.boundary(self, is_let_in);
            let instruction = self.instruction().expect("the program goes on");
            let had_trap_flag = self.state.rflags & TF != 0;
            let had_if = self.state.rflags & IF != 0;
            if !self.execute(instruction, handlers) {
                is_shadowed = false;
                continue;
            }
            let is_mov_ss = matches!(instruction.kind, Kind::MovSs(_)) && self.holds_off;
            is_shadowed = is_mov_ss || (instruction.kind == Kind::Sti && !had_if);
            if had_trap_flag && !is_mov_ss {
                is_shadowed = false;
                handlers.debug_trap(self);
            }
        }
    }

    /// Executes an instruction, or one iteration. `false` if it has faulted.
    fn execute(&mut self, instruction: Instruction, handlers: &mut impl Handlers) -> bool {
        let Instruction { kind, bytes } = instruction;
        let before = self.state;
        for (access, addr) in self.accesses(kind) {
            self.state = before;
            if !handlers.access(self, access, addr) {
                return false;
            }
        }
        let is_repeated = matches!(kind, Kind::RepStore(_) | Kind::RepMove(..));
        if is_repeated && self.state.rcx > 0 {
            self.state.rcx -= 1;
        }
        let goes_on = is_repeated && self.state.rcx > 0;
        if goes_on {
            self.state.rflags |= RF;
        } else {
            self.state.rip += bytes.len() as u64;
            self.state.rflags &= !RF;
        }
        self.have_effect(kind, before);
        self.nr_done += 1;
        true
    }

    /// What an instruction touches, in order.
    pub(crate) fn accesses(&self, kind: Kind) -> Vec<(Access, u64)> {
        let State { rsp, rcx, .. } = self.state;
        match kind {
            Kind::RepStore(_) | Kind::RepMove(..) if rcx == 0 => vec![],
            Kind::Nop | Kind::SetRcx(_) | Kind::Sti | Kind::Cli => vec![],
            Kind::Load(addr) | Kind::MovSs(addr) => vec![(Access::Read, addr)],
            Kind::Store(addr) | Kind::RepStore(addr) => vec![(Access::Write, addr)],
            Kind::Move(from, to) | Kind::RepMove(from, to) => {
                vec![(Access::Read, from), (Access::Write, to)]
            }
            Kind::PushFlags => vec![(Access::Write, rsp - 8)],
            Kind::PushShortFlags => vec![(Access::Write, rsp - 2)],
            Kind::PopFlags | Kind::Iret => vec![(Access::Read, rsp)],
        }
    }

    fn have_effect(&mut self, kind: Kind, before: State) {
        let State {
            rsp, rflags, rcx, ..
        } = before;
        // PUSHF stores RF and VM as 0.
        let image = (rflags & !(1 << 16 | 1 << 17)).to_le_bytes();
        match kind {
            Kind::Nop | Kind::Load(_) | Kind::MovSs(_) => {}
            Kind::SetRcx(count) => self.state.rcx = count,
            Kind::Store(addr) => self.store(addr, &[0x55]),
            Kind::Move(from, to) => self.store(to, &[self.byte(from).wrapping_add(1)]),
            Kind::RepStore(_) | Kind::RepMove(..) if rcx == 0 => {}
            Kind::RepStore(addr) => self.store(addr + rcx % 8, &[0x66]),
            Kind::RepMove(from, to) => self.store(to + rcx % 8, &[self.byte(from) ^ 0x77]),
            Kind::PushFlags => {
                self.state.rsp -= 8;
                self.store(rsp - 8, &image);
            }
            Kind::PushShortFlags => {
                self.state.rsp -= 2;
                self.store(rsp - 2, &image[..2]);
            }
            Kind::PopFlags => {
                self.state.rsp += 8;
                self.state.rflags = self.word(rsp) & LOADED | 2;
            }
            Kind::Iret => {
                self.state.rsp += 40;
                self.state.rflags = self.word(rsp + 16) & LOADED | 2;
            }
            Kind::Sti => self.state.rflags |= IF,
            Kind::Cli => self.state.rflags &= !IF,
        }
    }

    fn byte(&self, addr: u64) -> u8 {
        self.memory.get(&addr).copied().unwrap_or(0)
    }

    fn word(&self, addr: u64) -> u64 {
        u64::from_le_bytes(core::array::from_fn(|at| self.byte(addr + at as u64)))
    }

    pub(crate) fn store(&mut self, addr: u64, bytes: &[u8]) {
        for (at, byte) in (addr..).zip(bytes) {
            self.memory.insert(at, *byte);
        }
    }
}
