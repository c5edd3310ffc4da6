//! `fault::judge` and `fault::permits` for every error code, protection, key and pair of bits, against Linux's two
//! functions one after the other: the one that says whether there is an error, and the one that names it.

use pkeys_core::{Access, KeyRegister, PageFaultErrorCode, SegvCode};
use pkeys_kernel::abi::Prot;
use pkeys_kernel::keys::KeyedMapping;
use pkeys_kernel::keys::fault::{self, Segv, Verdict};

use super::model;

/// A fault as Linux sees it.
struct Case {
    /// The bits of the error code, each by its number.
    code: [bool; 16],
    /// `VM_READ`, `VM_WRITE`, `VM_EXEC`.
    vm: [bool; 3],
    /// AD and WD of the mapping's key, if the CPU has keys.
    pair: Option<(bool, bool)>,
}

impl Case {
    /// `arch_vma_access_permitted`, of an access that is not foreign.
    fn is_permitted(&self) -> bool {
        let (is_write, is_fetch) = (self.code[1], self.code[4]);
        let (ad, wd) = self.pair.unwrap_or((false, false));
        is_fetch || !(ad || is_write && wd)
    }

    /// `access_error`: the first line that holds.
    fn is_error(&self) -> bool {
        let [present, write, _, _, _, pk, shadow, ..] = self.code;
        let table = [
            (pk, true),
            (self.code[15], true),
            (!self.is_permitted(), true),
            // There are no mappings for shadow stacks.
            (shadow, true),
            (write, !self.vm[1]),
            (present, true),
            (true, self.vm == [false; 3]),
        ];
        table.into_iter().find(|(holds, _)| *holds).unwrap().1
    }

    /// `bad_area_access_from_pkeys`.
    fn is_from_keys(&self) -> bool {
        self.pair.is_some() && (self.code[5] || !self.is_permitted())
    }
}

/// The lowest bits, by division.
fn bits_of(mut rest: u32) -> [bool; 16] {
    core::array::from_fn(|_| {
        let bit = rest % 2 == 1;
        rest /= 2;
        bit
    })
}

pub(crate) fn every_fault_agrees_with_linux() {
    // The low eight bits, with and without SGX; an unknown bit changes nothing.
    let codes = (0..0x80_u32).flat_map(|low| [low, low | 0x8000, low | 0x100]);
    for bits in codes {
        for vm in 0..8_u64 {
            for number in 0..16 {
                for pair in (0..4).map(|rights| Some(model::pair(rights))).chain([None]) {
                    let case = Case {
                        code: bits_of(bits),
                        vm: [vm % 2 == 1, vm / 2 % 2 == 1, vm / 4 == 1],
                        pair,
                    };
                    let expected = match (case.is_error(), case.is_from_keys()) {
                        (false, _) => Verdict::BringIn,
                        (true, true) => Verdict::Signal(Segv {
                            code: SegvCode::PkuErr,
                            pkey: Some(model::key(number)),
                        }),
                        (true, false) => Verdict::Signal(Segv {
                            code: SegvCode::AccErr,
                            pkey: None,
                        }),
                    };
                    let mapping = KeyedMapping {
                        prot: Prot::from_bits_retain(vm),
                        pkey: model::key(number),
                    };
                    let code = PageFaultErrorCode::from_bits(bits);
                    let pkru = pair.map(|pair| among_opposites(number, pair));
                    let got = fault::judge(mapping, code, pkru);
                    assert_eq!(got, expected, "{code:?} {mapping:?} {pkru:?}");
                }
            }
        }
    }
}

/// A register in which every other key has the opposite bits, so that to look at one of them shows.
fn among_opposites(number: usize, (ad, wd): (bool, bool)) -> KeyRegister {
    let mut pairs = [(!ad, !wd); 16];
    pairs[number] = (ad, wd);
    model::register(pairs)
}

pub(crate) fn every_access_agrees_with_the_register() {
    for number in 0..16 {
        for rights in 0..4 {
            let (ad, wd) = model::pair(rights);
            let pkru = Some(among_opposites(number, (ad, wd)));
            let permits = |access| fault::permits(model::key(number), access, pkru);
            assert_eq!(permits(Access::Read), !ad);
            assert_eq!(permits(Access::Write), !ad && !wd);
            assert!(permits(Access::Fetch), "a fetch is never denied");
        }
        // A CPU without keys, and an access by somebody else.
        for access in [Access::Read, Access::Write, Access::Fetch] {
            assert!(fault::permits(model::key(number), access, None));
        }
    }
}
