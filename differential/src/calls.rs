//! The steps that are one system call: its number and arguments.

use pkeys_kernel::abi::nr;

use crate::arena::{Arena, PAGE};
use crate::op::{Advice, Fixing, Mapping, Move, Op};

/// The system call that a step is.
pub(crate) fn system_call(arena: Arena, op: Op) -> (u64, [u64; 6]) {
    let at = |page: u8| arena.page(page);
    let len = |nr: u8| u64::from(nr) * PAGE;
    let key = |key: i8| i64::from(key).cast_unsigned();
    let (number, [a, b, c, d]) = match op {
        Op::Mmap {
            page,
            nr,
            prot,
            what,
            fixing,
        } => {
            let flags = what_flags(what) | fixing_flags(fixing);
            let args = [at(page), len(nr), prot.into(), flags, u64::MAX, 0];
            return (nr::MMAP, args);
        }
        Op::Mremap { page, nr, to, how } => {
            let (new_nr, flags) = match how {
                Move::Same => (nr, 3),
                Move::Growing => (nr + 1, 3),
                Move::Shrinking => (1, 3),
                Move::Leaving => (nr, 7),
                Move::InPlace => (nr + 1, 0),
                Move::Cut => (1, 0),
            };
            let args = [at(page), len(nr), len(new_nr), flags, at(to), 0];
            return (nr::MREMAP, args);
        }
        Op::Bad { defect, page } => return defect.call(at(page)),
        Op::Munmap { page, nr } => (nr::MUNMAP, [at(page), len(nr), 0, 0]),
        Op::Mprotect { page, nr, prot } => (nr::MPROTECT, [at(page), len(nr), prot.into(), 0]),
        Op::PkeyMprotect {
            page,
            nr,
            prot,
            key: pkey,
        } => (
            nr::PKEY_MPROTECT,
            [at(page), len(nr), prot.into(), key(pkey)],
        ),
        Op::PkeyAlloc { rights } => (nr::PKEY_ALLOC, [0, rights.into(), 0, 0]),
        Op::PkeyFree { key: pkey } => (nr::PKEY_FREE, [key(pkey), 0, 0, 0]),
        Op::Madvise { page, nr, advice } => {
            (nr::MADVISE, [at(page), len(nr), advice_number(advice), 0])
        }
        Op::Mseal { page, nr } => (nr::MSEAL, [at(page), len(nr), 0, 0]),
        // No other step is asked for.
        _ => (nr::GETPID, [0; 4]),
    };
    (number, [a, b, c, d, 0, 0])
}

/// `MAP_*` for what is mapped.
pub(crate) const fn what_flags(what: Mapping) -> u64 {
    match what {
        Mapping::Private => 0x22,
        Mapping::Shared => 0x21,
        Mapping::Populated => 0x8022,
        Mapping::NoReserve => 0x4022,
        Mapping::Stack => 0x2_0022,
        Mapping::SharedPopulated => 0x8021,
    }
}

/// `MAP_*` for where.
pub(crate) const fn fixing_flags(fixing: Fixing) -> u64 {
    match fixing {
        Fixing::Fixed => 0x10,
        Fixing::NoReplace => 0x10_0000,
    }
}

const fn advice_number(advice: Advice) -> u64 {
    match advice {
        Advice::Normal => 0,
        Advice::Random => 1,
        Advice::Sequential => 2,
        Advice::WillNeed => 3,
        Advice::DontNeed => 4,
        Advice::PopulateRead => 22,
        Advice::PopulateWrite => 23,
    }
}
