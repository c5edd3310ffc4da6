//! Programs for the toy CPU, and how many stray accesses there are in them.

use pkeys_core::Access;
use pkeys_kernel::pks::PksKey;

use super::chance::Chance;
use super::system::{ONE, SHARED, THREE, TWO};
use super::toy::{Handlers, Instruction, Kind, PAGE, Toy};

/// Pages by their key: without, one, two, three, shared.
pub(crate) const KEYS: [Option<PksKey>; 5] =
    [None, Some(ONE), Some(TWO), Some(THREE), Some(SHARED)];

/// The page at a place of [`KEYS`].
pub(crate) fn page_at(place: usize) -> u64 {
    0x10_0000 + PAGE * place as u64
}

pub(crate) fn key_of(addr: u64) -> Option<PksKey> {
    let place = (addr - page_at(0)) / PAGE;
    KEYS[usize::try_from(place).unwrap()]
}

/// Instructions with their bytes. The addresses in the bytes mean nothing.
pub(crate) fn instruction(kind: Kind, chance: &mut Chance) -> Instruction {
    let choices: &[&'static [u8]] = match kind {
        Kind::Nop => &[&[0x90], &[0x0F, 0x1F, 0x00]],
        Kind::SetRcx(_) => &[&[0xB9, 0x9C, 0x9D, 0xCF, 0xFA]],
        // MOV, MOV DS, and VMOVDQU.
        Kind::Load(_) => &[&[0x8B, 0x00], &[0x8E, 0x18], &[0xC5, 0xFE, 0x6F, 0x00]],
        // MOV with and without SIB, SETL, MOV with a segment.
        Kind::Store(_) => &[
            &[0x48, 0x89, 0x9C, 0x24, 1, 2, 3, 4],
            &[0x88, 0x00],
            &[0x0F, 0x9C, 0x00],
            &[0x65, 0x48, 0x89, 0x00],
        ],
        Kind::Move(..) => &[&[0xA4]],
        Kind::RepStore(_) => &[&[0xF3, 0xAA], &[0xF2, 0xAA], &[0x67, 0xF3, 0xAA]],
        Kind::RepMove(..) => &[&[0xF3, 0xA4], &[0xF3, 0x48, 0xA5]],
        Kind::PushFlags => &[&[0x9C], &[0x48, 0x9C]],
        Kind::PushShortFlags => &[&[0x66, 0x9C]],
        Kind::PopFlags => &[&[0x9D]],
        Kind::Iret => &[&[0x48, 0xCF]],
        Kind::Sti => &[&[0xFB]],
        Kind::Cli => &[&[0xFA]],
        // Each form of an operand in memory.
        Kind::MovSs(_) => &[
            &[0x8E, 0x10],
            &[0x8E, 0x14, 0x24],
            &[0x8E, 0x50, 0x9C],
            &[0x8E, 0x54, 0x24, 0x9C],
            &[0x48, 0x8E, 0x90, 0x9C, 0x9C, 0x9C, 0x9C],
            &[0x8E, 0x94, 0x24, 0x9D, 0x9D, 0x9D, 0x9D],
            &[0x8E, 0x14, 0x25, 0xFA, 0xFA, 0xFA, 0xFA],
            &[0x65, 0x8E, 0x15, 0xFB, 0xFB, 0xFB, 0xFB],
        ],
    };
    let bytes = chance.of(choices);
    Instruction { kind, bytes }
}

fn random_kind(chance: &mut Chance) -> Kind {
    let addr =
        |chance: &mut Chance| page_at(chance.below(KEYS.len())) + 0x80 * chance.below(4) as u64;
    match chance.below(18) {
        0 => Kind::Nop,
        1 => Kind::SetRcx(chance.of(&[0, 1, 3, 63, 64, 65, 150])),
        2 => Kind::Load(addr(chance)),
        3..5 => Kind::Store(addr(chance)),
        5..7 => Kind::Move(addr(chance), addr(chance)),
        7 => Kind::RepStore(addr(chance)),
        8 => Kind::RepMove(addr(chance), addr(chance)),
        9..11 => Kind::PushFlags,
        11 => Kind::PushShortFlags,
        12 => Kind::PopFlags,
        13 => Kind::Iret,
        14..16 => Kind::MovSs(addr(chance)),
        16 => Kind::Sti,
        _ => Kind::Cli,
    }
}

/// A program by chance.
pub(crate) fn program(chance: &mut Chance) -> Vec<Instruction> {
    let len = 4 + chance.below(20);
    let mut kinds: Vec<_> = (0..len).map(|_| random_kind(chance)).collect();
    // Something is behind MOV SS, and it is not another: a processor holds off for the first of several only, and which
    // that is depends on where a fault comes in between.
    kinds.push(Kind::Nop);
    let is_mov_ss = |kind: &Kind| matches!(kind, Kind::MovSs(_));
    kinds.dedup_by(|next, before| is_mov_ss(next) && is_mov_ss(before));
    let with_bytes = |kind| instruction(kind, chance);
    kinds.into_iter().map(with_bytes).collect()
}

/// How many accesses are to be counted for one instruction: each that the context has no right to, once.
fn nr_strays(cpu: &Toy, kind: Kind, granted: Option<PksKey>) -> u64 {
    let mut held: Vec<(PksKey, Access)> = Vec::new();
    let mut nr_strays = 0;
    for (access, addr) in cpu.accesses(kind) {
        let Some(key) = key_of(addr) else {
            continue;
        };
        let has = |access| held.contains(&(key, access));
        if granted != Some(key) && !has(access) && !has(Access::Write) {
            held.push((key, access));
            nr_strays += 1;
        }
    }
    nr_strays
}

/// How many accesses of a program are to be counted for a thread with a grant on one key.
pub(crate) fn nr_strays_in(mut cpu: Toy, granted: Option<PksKey>) -> u64 {
    let mut counting = Counting {
        granted,
        nr_strays: 0,
        last: None,
    };
    cpu.run(&mut counting);
    counting.nr_strays
}

/// Counts strays along an undisturbed run.
struct Counting {
    granted: Option<PksKey>,
    nr_strays: u64,
    /// The instruction that is under way.
    last: Option<u64>,
}

impl Handlers for Counting {
    fn access(&mut self, _: &mut Toy, _: Access, _: u64) -> bool {
        true
    }
    fn debug_trap(&mut self, _: &mut Toy) {}
    fn boundary(&mut self, cpu: &mut Toy, _: bool) {
        // There are no jumps: the same place again is the same instruction.
        let rip = cpu.state.rip;
        if self.last.replace(rip) != Some(rip) {
            let kind = cpu.instruction().expect("an instruction").kind;
            self.nr_strays += nr_strays(cpu, kind, self.granted);
        }
    }
}
