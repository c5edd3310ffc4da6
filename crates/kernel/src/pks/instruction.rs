//! What an instruction does to the flags, as far as stepping over it has to know.
//!
//! Only instructions of 64-bit mode that access data can be pardoned, and of these only the few that read or write the
//! flags as a whole, that are repeated, or that hold the trap off, need care. Those that have no operand in memory (STI,
//! CLI) come in through the back door: as the instruction behind one that holds the trap off.
//!
//! | instruction | opcode | what is special |
//! |---|---|---|
//! | PUSHF | 9C | stores the flags, with the trap flag that was not the program's |
//! | POPF, IRET | 9D, CF | load the flags: what is in the frame afterwards is the program's |
//! | STI, CLI | FB, FA | change IF, and nothing else |
//! | INS, OUTS, MOVS, CMPS, STOS, LODS, SCAS with REP | 6C-6F, A4-A7, AA-AF with F2 or F3 | trap after each iteration |
//! | MOV SS | 8E /2 | no trap until the next instruction is done |
//!
//! POP SS (17) does not exist in 64-bit mode, and LSS (0F B2) holds nothing off.
//!
//! Source: SDM Vol. 2 (the instructions; 2.1 and 2.2, instruction format), Vol. 3A 6.8.3 (MOV SS), Vol. 3B 17.3.1.4
//! (single-step exceptions).

/// What stepping over an instruction has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Nothing.
    Plain = 0,
    /// It has stored eight bytes of flags.
    PushesFlags = 1,
    /// It has stored two bytes of flags.
    PushesShortFlags = 2,
    /// All flags are what it has loaded.
    LoadsFlags = 3,
    /// The interrupt flag is what it has made it.
    ChangesIf = 4,
    /// It may have to be gone on with.
    Repeats = 5,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::Plain,
        Self::PushesFlags,
        Self::PushesShortFlags,
        Self::LoadsFlags,
        Self::ChangesIf,
        Self::Repeats,
    ];
}

/// An instruction that is to be stepped over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    /// What it is, or the next one is if the trap comes after that.
    pub(super) kind: Kind,
    /// Its own length, if the trap comes after the next one; else 0.
    pub(super) held_off_len: u8,
}

/// An instruction's first byte that is not a prefix.
struct Opcode<'a> {
    byte: u8,
    /// What follows.
    rest: &'a [u8],
    /// The length up to here.
    len: usize,
    is_repeated: bool,
    has_short_operands: bool,
}

/// The longest instruction.
const MAX_LEN: usize = 15;

impl<'a> Opcode<'a> {
    /// Reads over the prefixes. `None` if the code ends before the opcode.
    fn find(code: &'a [u8]) -> Option<Self> {
        let mut is_repeated = false;
        let mut has_short_operands = false;
        for (at, byte) in code.iter().enumerate().take(MAX_LEN) {
            match byte {
                0xF2 | 0xF3 => is_repeated = true,
                0x66 => has_short_operands = true,
                // The other legacy prefixes, and REX.
                0x26 | 0x2E | 0x36 | 0x3E | 0x64 | 0x65 | 0x67 | 0xF0 | 0x40..=0x4F => {}
                _ => {
                    return Some(Self {
                        byte: *byte,
                        rest: code.get(at + 1..)?,
                        len: at + 1,
                        is_repeated,
                        has_short_operands,
                    });
                }
            }
        }
        None
    }

    /// The same, for an instruction after which the trap comes.
    fn kind(&self) -> Kind {
        match self.byte {
            0x9C if self.has_short_operands => Kind::PushesShortFlags,
            0x9C => Kind::PushesFlags,
            0x9D | 0xCF => Kind::LoadsFlags,
            0xFA | 0xFB => Kind::ChangesIf,
            0x6C..=0x6F | 0xA4..=0xA7 | 0xAA..=0xAF if self.is_repeated => Kind::Repeats,
            _ => Kind::Plain,
        }
    }
}

impl Instruction {
    /// Takes the beginning of an instruction apart. `None` if there are too few bytes to say.
    pub(super) fn decode(code: &[u8]) -> Option<Self> {
        let opcode = Opcode::find(code)?;
        if opcode.byte != 0x8E {
            return Some(Self {
                kind: opcode.kind(),
                held_off_len: 0,
            });
        }
        let modrm = *opcode.rest.first()?;
        if modrm >> 3 & 7 != SS {
            return Some(Self {
                kind: Kind::Plain,
                held_off_len: 0,
            });
        }
        let len = opcode.len + operand_len(opcode.rest)?;
        let next = Opcode::find(code.get(len..)?)?;
        Some(Self {
            kind: next.kind(),
            held_off_len: u8::try_from(len).ok()?,
        })
    }
}

/// The number of SS in the reg field of MOV to a segment register.
const SS: u8 = 2;

/// The length of `ModRM`, SIB and displacement (SDM Vol. 2, tables 2-2 and 2-3).
fn operand_len(bytes: &[u8]) -> Option<usize> {
    let modrm = *bytes.first()?;
    let (mode, rm) = (modrm >> 6, modrm & 7);
    if mode == 3 {
        return Some(1);
    }
    let has_sib = rm == 4;
    let base = if has_sib { *bytes.get(1)? & 7 } else { rm };
    let displacement = match mode {
        // Without a base: RIP or nothing, and four bytes.
        0 if base == 5 => 4,
        0 => 0,
        1 => 1,
        _ => 4,
    };
    Some(1 + usize::from(has_sib) + displacement)
}
