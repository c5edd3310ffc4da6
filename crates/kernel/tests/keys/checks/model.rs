//! What the models share: the register taken apart without a shift, a register that counts, and numbers by chance.

use core::cell::Cell;

use pkeys_core::{KeyRegister, Pkey};
use pkeys_kernel::keys::PkruRegister;

/// The register key by key: AD and WD.
pub(crate) type Pairs = [(bool, bool); 16];

/// A register's pairs, digit by digit to base 4.
pub(crate) fn pairs(register: KeyRegister) -> Pairs {
    let mut rest = register.bits();
    core::array::from_fn(|_| {
        let digit = rest % 4;
        rest /= 4;
        (digit % 2 == 1, digit >= 2)
    })
}

/// The register with these pairs.
pub(crate) fn register(pairs: Pairs) -> KeyRegister {
    let bits = pairs.iter().rev().fold(0, |bits, &(ad, wd)| {
        bits * 4 + u32::from(ad) + 2 * u32::from(wd)
    });
    KeyRegister::from_bits(bits)
}

/// The pair of a rights argument: 0 to 3.
pub(crate) fn pair(rights: u32) -> (bool, bool) {
    [(false, false), (true, false), (false, true), (true, true)][rights as usize]
}

/// A key by a number below 16.
pub(crate) fn key(number: usize) -> Pkey {
    Pkey::all().nth(number).expect("a number below 16")
}

/// A register in memory that counts.
#[derive(Debug, Default)]
pub(crate) struct Register {
    value: Cell<u32>,
    writes: Cell<usize>,
}

impl Register {
    /// The register with this value.
    pub(crate) fn new(value: KeyRegister) -> Self {
        let register = Self::default();
        register.value.set(value.bits());
        register
    }

    /// What it has, key by key.
    pub(crate) fn pairs(&self) -> Pairs {
        pairs(self.read())
    }

    /// As user space does: uncounted.
    pub(crate) fn wrpkru(&self, value: KeyRegister) {
        self.value.set(value.bits());
    }

    /// How often the kernel wrote since the last question.
    pub(crate) fn take_writes(&self) -> usize {
        self.writes.take()
    }
}

impl PkruRegister for Register {
    fn read(&self) -> KeyRegister {
        KeyRegister::from_bits(self.value.get())
    }

    fn write(&self, pkru: KeyRegister) {
        self.writes.set(self.writes.get() + 1);
        self.value.set(pkru.bits());
    }
}

/// Numbers by chance, the same in each run.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The numbers of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits: splitmix64.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() >> 33).expect("31 bits") % end
    }

    /// One of these.
    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Any register.
    pub(crate) fn register(&mut self) -> KeyRegister {
        KeyRegister::from_bits(u32::try_from(self.bits() >> 32).expect("32 bits"))
    }

    /// Rights, 0 to 3.
    pub(crate) fn rights(&mut self) -> u32 {
        self.one_of(&[0, 1, 2, 3])
    }
}
