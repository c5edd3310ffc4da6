//! `ThreadKeys::set`: two bits of the register, and no others.

use pkeys_core::{AccessBits, KeyRegister};
use pkeys_kernel::keys::{InitPkru, PkruRegister, ThreadKeys};

use super::model::{self, Chance, Register};

/// Registers that have every pair of bits beside every other, and some more.
fn registers() -> impl Iterator<Item = KeyRegister> {
    // Every key the same; pairs in turn; then any.
    let same = (0..4_u32).map(|rights| model::register([model::pair(rights); 16]));
    let in_turn = (0..16_u32).map(|first| {
        model::register(core::array::from_fn(|key| {
            let of_this = if key % 2 == 0 { first / 4 } else { first % 4 };
            model::pair(of_this)
        }))
    });
    let mut chance = Chance::new(1);
    let any = (0..64).map(move |_| chance.register());
    same.chain(in_turn).chain(any)
}

pub(crate) fn every_key_with_all_rights_and_neighbours() {
    for before in registers() {
        for number in 0..16 {
            for rights in 0..4 {
                let thread = ThreadKeys::new(InitPkru::DEFAULT);
                let register = Register::new(before);
                thread.set(
                    model::key(number),
                    AccessBits::from_bits(rights).unwrap(),
                    &register,
                );
                let mut expected = model::pairs(before);
                expected[number] = model::pair(rights);
                assert_eq!(register.pairs(), expected, "{before}: {number}, {rights}");
                // What counts as given changes in the same place, from what was given before.
                let mut granted = model::pairs(KeyRegister::LINUX_INIT);
                granted[number] = model::pair(rights);
                assert_eq!(model::pairs(thread.granted()), granted);
            }
        }
    }
}

pub(crate) fn only_what_differs_is_written() {
    for before in registers() {
        for number in 0..16 {
            for rights in 0..4 {
                let thread = ThreadKeys::new(InitPkru::DEFAULT);
                let register = Register::new(before);
                let pkey = model::key(number);
                let bits = AccessBits::from_bits(rights).unwrap();
                thread.set(pkey, bits, &register);
                let differs = model::pairs(before)[number] != model::pair(rights);
                assert_eq!(register.take_writes(), usize::from(differs));
                thread.set(pkey, bits, &register);
                thread.load(register.read(), &register);
                assert_eq!(register.take_writes(), 0, "{before}: {number}, {rights}");
            }
        }
    }
}
