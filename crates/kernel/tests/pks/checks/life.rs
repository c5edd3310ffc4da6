//! A naive model of a context's rights: a list of grants, and sets of bits.

use std::collections::BTreeSet;

use pkeys_core::{Access, KeyRegister, Knobs, Mode, PageState, Rights};
use pkeys_kernel::pks::{Callbacks, Context, Granted, Interrupted, KeyFault, PksKey};

use super::system::{CLOSED, ONE, SHARED, THREE, TWO};
use super::world::World;

pub(crate) const KEYS: [PksKey; 4] = [ONE, TWO, THREE, SHARED];

/// What the function of a key does. It stands in the address of the fault, so that the function finds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    Nothing,
    OpensReads,
    OpensAll,
    ClosesTwo,
    LeavesReads,
}

pub(crate) const MOODS: [Mood; 5] = [
    Mood::Nothing,
    Mood::OpensReads,
    Mood::OpensAll,
    Mood::ClosesTwo,
    Mood::LeavesReads,
];

fn callback(fault: &KeyFault, key: PksKey, interrupted: &Interrupted<'_>) -> bool {
    match MOODS[usize::try_from(fault.addr).unwrap()] {
        Mood::Nothing => false,
        Mood::OpensReads => {
            interrupted.open(key, Rights::ReadOnly);
            fault.code.access() == Access::Read
        }
        Mood::OpensAll => {
            interrupted.open(key, Rights::ReadWrite);
            true
        }
        Mood::ClosesTwo => {
            interrupted.close(TWO, Rights::NoAccess);
            false
        }
        Mood::LeavesReads => {
            interrupted.close(key, Rights::ReadOnly);
            false
        }
    }
}

pub(crate) const CALLBACKS: Callbacks = Callbacks::new(&[("moods", callback)]);

/// A bit of the register: which key's, and whether it is the one that reads need (AD) or the one that writes need beside
/// it (WD).
type Bit = (PksKey, bool);

fn ad(key: PksKey) -> Bit {
    (key, false)
}

fn wd(key: PksKey) -> Bit {
    (key, true)
}

/// The bits that an access needs clear.
pub(crate) fn needed(key: PksKey, access: Access) -> Vec<Bit> {
    match access {
        Access::Write => vec![ad(key), wd(key)],
        _ => vec![ad(key)],
    }
}

/// A fault that is being handled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stray {
    pub(crate) key: PksKey,
    pub(crate) access: Access,
    pub(crate) page: PageState,
    pub(crate) mood: Mood,
    pub(crate) rip: u64,
}

/// What the model knows of a context.
#[derive(Debug)]
pub(crate) struct Life<'w> {
    pub(crate) context: &'w Context,
    pub(crate) grants: Vec<Granted>,
    pub(crate) lent: BTreeSet<Bit>,
    pub(crate) denied: BTreeSet<Bit>,
    /// Of a fault's handler.
    pub(crate) handles: Option<Stray>,
}

impl<'w> Life<'w> {
    pub(crate) fn new(world: &'w World<'_>, handles: Option<Stray>) -> Self {
        Self {
            context: world.keep(Context::new()),
            grants: Vec::new(),
            lent: BTreeSet::new(),
            denied: BTreeSet::new(),
            handles,
        }
    }

    fn is_clear(&self, bit: Bit, knobs: Knobs) -> bool {
        let (key, is_wd) = bit;
        let mode = if key == SHARED {
            knobs.shared
        } else {
            knobs.stray
        };
        let is_granted = self.grants.iter().any(|granted| {
            let rights = granted.rights();
            let is_enough = !is_wd || rights == Rights::ReadWrite;
            granted.key() == key && is_enough && rights != Rights::NoAccess
        });
        (mode == Mode::Off || is_granted || self.lent.contains(&bit)) && !self.denied.contains(&bit)
    }

    pub(crate) fn may(&self, key: PksKey, access: Access, knobs: Knobs) -> bool {
        needed(key, access)
            .into_iter()
            .all(|bit| self.is_clear(bit, knobs))
    }

    pub(crate) fn register(&self, knobs: Knobs) -> KeyRegister {
        let mut bits = CLOSED;
        if knobs.stray == Mode::Off {
            // Keys that nobody has are stray ones.
            bits = 0b11_11_11_11_00;
        }
        for key in KEYS {
            for bit in [ad(key), wd(key)] {
                let place = 2 * u32::from(key.pkey().get()) + u32::from(bit.1);
                bits &= !(1 << place);
                bits |= u32::from(!self.is_clear(bit, knobs)) << place;
            }
        }
        KeyRegister::from_bits(bits)
    }

    pub(crate) fn lend(&mut self, bits: &[Bit]) {
        self.lent.extend(bits);
        self.denied.retain(|bit| !bits.contains(bit));
    }

    fn deny(&mut self, bits: &[Bit]) {
        self.denied.extend(bits);
        self.lent.retain(|bit| !bits.contains(bit));
    }

    pub(crate) fn end_pardons(&mut self) {
        self.lent.clear();
        self.denied.clear();
    }

    /// What the callback does, and whether that is the end of it.
    pub(crate) fn call_back(&mut self, stray: Stray) -> bool {
        let Stray {
            key, access, mood, ..
        } = stray;
        match mood {
            Mood::Nothing => return false,
            Mood::OpensReads => self.lend(&[ad(key)]),
            Mood::OpensAll => self.lend(&[ad(key), wd(key)]),
            Mood::ClosesTwo => self.deny(&[ad(TWO), wd(TWO)]),
            Mood::LeavesReads => self.deny(&[wd(key)]),
        }
        match mood {
            Mood::OpensReads => access == Access::Read,
            mood => mood == Mood::OpensAll,
        }
    }
}
