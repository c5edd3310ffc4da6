//! Which key a mapping gets, against the cases of Linux's functions put down as a table: whatever the protection, the key
//! argument, the mapping, the allocation map and the register.

use pkeys_core::{AllocationState, KeyRegister, Pkey};
use pkeys_kernel::abi::Prot;
use pkeys_kernel::keys::{InitPkru, KeyedMapping, PkruRegister, SpaceKeys, ThreadKeys};

use super::model::{self, Register};

/// What a row says.
#[derive(Debug, Clone, Copy)]
enum Gives {
    Zero,
    Argument,
    ExecuteOnlyKey,
    MappingsKey,
}

/// Linux's `arch_override_mprotect_pkey`: the first row whose conditions all hold. A blank holds always.
const OVERRIDE: [(&str, Gives); 6] = [
    ("no_keys", Gives::Zero),
    ("pkey!=-1", Gives::Argument),
    ("prot==PROT_EXEC execute_only>0", Gives::ExecuteOnlyKey),
    ("prot!=PROT_EXEC vma_is_execute_only", Gives::Zero),
    ("prot!=PROT_EXEC", Gives::MappingsKey),
    ("prot==PROT_EXEC", Gives::MappingsKey),
];

/// Linux's part of `do_mmap`.
const MMAP: [(&str, Gives); 4] = [
    ("no_keys", Gives::Zero),
    ("prot!=PROT_EXEC", Gives::Zero),
    ("execute_only>0", Gives::ExecuteOnlyKey),
    ("", Gives::Zero),
];

/// One call and what surrounds it.
#[derive(Debug, Clone, Copy)]
struct Case {
    prot: u64,
    pkey: i32,
    mapping: (u64, usize),
    /// The bits of `pkey_allocation_map`.
    map: u16,
    /// `execute_only_pkey`.
    execute_only: i32,
    pkru: Option<KeyRegister>,
}

impl Case {
    fn new(map: u16, execute_only: i32, pkru: Option<KeyRegister>) -> Self {
        Self {
            prot: 0,
            pkey: -1,
            mapping: (0, 0),
            map,
            execute_only,
            pkru,
        }
    }

    fn check_protect(&self, space: &SpaceKeys) {
        let calls_for_execute_only = self.pkey == -1 && self.prot == 4;
        let expected = self.by(&OVERRIDE, calls_for_execute_only);
        self.assert_same(space, expected, |thread, register| {
            let prot = Prot::from_bits_retain(self.prot);
            space.key_for_protect(self.mapping(), prot, self.pkey, thread, register)
        });
    }

    fn is_taken(&self, number: u32) -> bool {
        self.map / 2_u16.pow(number) % 2 == 1
    }

    /// Linux's `execute_only_pkey`: its result, and what it leaves in the map and the register.
    fn execute_only_pkey(&self) -> (i32, Case) {
        let mut after = *self;
        let Some(pkru) = self.pkru else {
            return (0, after);
        };
        if self.execute_only == -1 {
            let free = (0..16).find(|pkey| !self.is_taken(*pkey));
            let Some(free) = free else {
                return (-1, after);
            };
            after.execute_only = free.cast_signed();
            after.map += 2_u16.pow(free);
        }
        let number = usize::try_from(after.execute_only).unwrap();
        let mut pairs = model::pairs(pkru);
        if self.execute_only == -1 || !pairs[number].0 {
            pairs[number] = (true, false);
        }
        after.pkru = Some(model::register(pairs));
        (after.execute_only, after)
    }

    /// What a table gives, and what is left.
    fn by(&self, table: &[(&str, Gives)], calls_for_execute_only: bool) -> (usize, Case) {
        let (execute_only, after) = if calls_for_execute_only {
            self.execute_only_pkey()
        } else {
            (-1, *self)
        };
        let holds = |condition: &str| match condition {
            "no_keys" => self.pkru.is_none(),
            "pkey!=-1" => self.pkey != -1,
            "prot==PROT_EXEC" => self.prot == 4,
            "prot!=PROT_EXEC" => self.prot != 4,
            "execute_only>0" => execute_only > 0,
            // The mapping's access bits are exactly the one for execution, and its key is the one set aside.
            "vma_is_execute_only" => {
                self.mapping.0 % 8 == 4 && usize::try_from(self.execute_only) == Ok(self.mapping.1)
            }
            other => panic!("no condition {other}"),
        };
        let (_, gives) = table
            .iter()
            .find(|(conditions, _)| conditions.split_whitespace().all(holds))
            .expect("a row for each case");
        let number = match gives {
            Gives::Zero => 0,
            Gives::Argument => usize::try_from(self.pkey).unwrap(),
            Gives::ExecuteOnlyKey => usize::try_from(execute_only).unwrap(),
            Gives::MappingsKey => self.mapping.1,
        };
        (number, after)
    }

    /// The space before the call, by the very calls that make it so.
    fn space(&self) -> SpaceKeys {
        let space = SpaceKeys::new();
        let aside = Register::default();
        let thread = ThreadKeys::new(InitPkru::DEFAULT);
        // Everything but the key that is to be set aside, then that one, and then away with what is to be free.
        while space.alloc(0, 0, &thread, Some(&aside)).is_ok() {}
        if self.execute_only >= 0 {
            space.free(self.execute_only).unwrap();
            space.key_for_map(Prot::EXEC, &thread, Some(&aside));
        }
        for number in 0..16_i32 {
            if !self.is_taken(number.cast_unsigned()) {
                space.free(number).unwrap();
            }
        }
        assert_eq!(space.state(), self.state());
        space
    }

    fn state(&self) -> AllocationState {
        let hidden = match self.execute_only {
            -1 => 0,
            pkey => 2_u32.pow(16 + pkey.cast_unsigned()),
        };
        AllocationState::from_bits(u32::from(self.map) + hidden).expect("a possible map")
    }

    fn mapping(&self) -> KeyedMapping {
        KeyedMapping {
            prot: Prot::from_bits_retain(self.mapping.0),
            pkey: model::key(self.mapping.1),
        }
    }

    /// Makes the call, and compares all that it gives and leaves.
    fn assert_same(
        &self,
        space: &SpaceKeys,
        expected: (usize, Case),
        call: impl FnOnce(&ThreadKeys, Option<&dyn PkruRegister>) -> Pkey,
    ) {
        let (number, after) = expected;
        let thread = ThreadKeys::new(InitPkru::DEFAULT);
        let register = self.pkru.map(Register::new);
        let got = call(
            &thread,
            register
                .as_ref()
                .map(|register| register as &dyn PkruRegister),
        );
        assert_eq!(got, model::key(number), "{self:?}");
        assert_eq!(
            register.map(|register| register.read()),
            after.pkru,
            "{self:?}"
        );
        assert_eq!(space.state(), after.state(), "{self:?}");
    }
}

/// Maps and execute-only keys: none yet, with few, many and all keys taken; key 0 free; each key set aside.
fn maps() -> Vec<(u16, i32)> {
    let none = [
        0x0001, 0x0003, 0x8001, 0x00FF, 0xFFFE, 0x7FFF, 0xFFFF, 0x0000,
    ]
    .map(|map| (map, -1));
    let aside = (0..16_i32).flat_map(|pkey| {
        let own = 2_u16.pow(pkey.cast_unsigned());
        [
            (own, pkey),
            (own | 1, pkey),
            (0xFFFF, pkey),
            (own | 0x1248, pkey),
        ]
    });
    none.into_iter().chain(aside).collect()
}

/// Every key the same two bits, and a register in which neighbours differ.
fn registers() -> Vec<Option<KeyRegister>> {
    let bits = [0, 0x5555_5555, 0xAAAA_AAAA, 0xFFFF_FFFF, 0x1B1B_1B1B];
    let some = bits.map(|bits| Some(KeyRegister::from_bits(bits)));
    some.into_iter().chain([None]).collect()
}

/// Protections that a call may have: R, W, X and `PROT_SEM`.
const PROTS: core::ops::Range<u64> = 0..16;

pub(crate) fn every_change_of_protection_agrees_with_linux() {
    for (map, execute_only) in maps() {
        let space = Case::new(map, execute_only, None).space();
        for pkru in registers() {
            let case = Case::new(map, execute_only, pkru);
            for prot in PROTS {
                for mapping in (0..8).flat_map(|prot| (0..16).map(move |pkey| (prot, pkey))) {
                    // An explicit key is honoured whatever it is: two of them beside -1.
                    for pkey in [-1, 0, 11] {
                        let case = Case {
                            prot,
                            pkey,
                            mapping,
                            ..case
                        };
                        case.check_protect(&space.fork());
                    }
                }
            }
        }
    }
}

pub(crate) fn a_new_mapping_agrees_with_linux() {
    for (map, execute_only) in maps() {
        let space = Case::new(map, execute_only, None).space();
        for pkru in registers() {
            for prot in PROTS {
                let case = Case {
                    prot,
                    ..Case::new(map, execute_only, pkru)
                };
                let space = space.fork();
                let expected = case.by(&MMAP, prot == 4);
                case.assert_same(&space, expected, |thread, register| {
                    space.key_for_map(Prot::from_bits_retain(prot), thread, register)
                });
            }
        }
    }
}
