//! `pkey_get` and `pkey_set`, the two calls that Linux planned and dropped, without a lock.
//!
//! Linux's draft read the allocation map as two bytes under no lock, and could see a map that never was; Linux then left
//! the calls out, and the C library reads and writes the register without asking whether the key is allocated. Here the
//! map is one atomic word: a call looks at it once, and what it sees is a value that the map has held. That the key may
//! be freed a moment later is so with a lock as well, once the call has returned.
//!
//! The order of checks is part of the interface: flags, then rights, then the key.

use core::hint::spin_loop;

use pkeys_core::alloc_map::Word;
use pkeys_core::{AccessBits, AllocationMap, Pkey};

use crate::abi::Errno;
use crate::keys::{PkruRegister, ThreadKeys};
use crate::mutant::{self, Mutant};

/// `int pkey_get(int pkey, unsigned long flags);`
///
/// The calling thread's rights on a key: `PKEY_DISABLE_ACCESS` and `PKEY_DISABLE_WRITE` as they stand in the register.
///
/// # Errors
///
/// In this order: [`Errno::Invalid`] for any flag; [`Errno::BadDescriptor`] for a key that is not allocated, is none, or
/// is the execute-only key, and for all of them on a CPU without keys (`register` is `None`).
pub fn pkey_get<W: Word>(
    map: &AllocationMap<W>,
    register: Option<&dyn PkruRegister>,
    pkey: i32,
    flags: u64,
) -> Result<AccessBits, Errno> {
    if flags != 0 {
        return Err(Errno::Invalid);
    }
    let register = register.ok_or(Errno::BadDescriptor)?;
    let pkey = allocated(map, pkey)?;
    Ok(register.read().get(pkey))
}

/// `int pkey_set(int pkey, unsigned long rights, unsigned long flags);`
///
/// Changes the calling thread's rights on a key, and those of no other key or thread.
///
/// # Errors
///
/// In this order: [`Errno::Invalid`] for any flag; [`Errno::Invalid`] for rights beyond `PKEY_DISABLE_ACCESS` and
/// `PKEY_DISABLE_WRITE`; [`Errno::BadDescriptor`] as [`pkey_get`].
pub fn pkey_set<W: Word>(
    map: &AllocationMap<W>,
    thread: &ThreadKeys,
    register: Option<&dyn PkruRegister>,
    pkey: i32,
    rights: u64,
    flags: u64,
) -> Result<(), Errno> {
    if flags != 0 {
        return Err(Errno::Invalid);
    }
    let bits = rights_of(rights)?;
    let register = register.ok_or(Errno::BadDescriptor)?;
    let pkey = allocated(map, pkey)?;
    thread.set(pkey, bits, register);
    Ok(())
}

/// Rights as the calls take them, an `unsigned long`: bits above 31 count.
pub(super) fn rights_of(argument: u64) -> Result<AccessBits, Errno> {
    let bits = u32::try_from(argument).ok();
    bits.and_then(AccessBits::from_bits).ok_or(Errno::Invalid)
}

/// The key, if the map has it, by one load.
fn allocated<W: Word>(map: &AllocationMap<W>, pkey: i32) -> Result<Pkey, Errno> {
    let checked = Pkey::checked(pkey).map_err(|_| Errno::BadDescriptor)?;
    let is_allocated = if mutant::is(Mutant::MapReadTwice) {
        // In this order, which is Linux's, a key that becomes the execute-only one meanwhile counts as allocated. The other
        // way round nobody could tell, since a key does not cease to be execute-only.
        let is_hidden = map.execute_only() == Some(checked);
        // Long enough for a test on real threads to come in between.
        (0..100).for_each(|_| spin_loop());
        map.snapshot().taken().contains(checked) && !is_hidden
    } else {
        map.is_allocated(pkey)
    };
    if is_allocated {
        Ok(checked)
    } else {
        Err(Errno::BadDescriptor)
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use pkeys_core::{AccessBits, AllocationMap, KeyRegister, Pkey};

    use super::{pkey_get, pkey_set};
    use crate::abi::Errno;
    use crate::keys::{InitPkru, PkruRegister, ThreadKeys};

    struct Register(Cell<KeyRegister>);

    impl PkruRegister for Register {
        fn read(&self) -> KeyRegister {
            self.0.get()
        }

        fn write(&self, pkru: KeyRegister) {
            self.0.set(pkru);
        }
    }

    fn start() -> (AllocationMap, ThreadKeys, Register) {
        let init = InitPkru::DEFAULT;
        (
            AllocationMap::new(),
            ThreadKeys::new(init),
            Register(Cell::new(init.register())),
        )
    }

    #[test]
    fn what_was_set_is_what_is_got_and_nothing_else_changes() {
        let (map, thread, register) = start();
        while map.allocate().is_some() {}
        for pkey in Pkey::all() {
            for rights in 0..4_u32 {
                let before = register.read();
                pkey_set(
                    &map,
                    &thread,
                    Some(&register),
                    pkey.into(),
                    rights.into(),
                    0,
                )
                .unwrap();
                assert_eq!(
                    pkey_get(&map, Some(&register), pkey.into(), 0),
                    Ok(AccessBits::truncate(rights))
                );
                for other in Pkey::all().filter(|other| *other != pkey) {
                    assert_eq!(register.read().get(other), before.get(other));
                }
            }
        }
    }

    #[test]
    fn flags_are_looked_at_first_then_rights_then_the_key() {
        let (map, thread, register) = start();
        let set =
            |pkey, rights, flags| pkey_set(&map, &thread, Some(&register), pkey, rights, flags);
        let get = |pkey, flags| pkey_get(&map, Some(&register), pkey, flags);
        let bad = Err(Errno::BadDescriptor);
        for pkey in [-1, -2, 1, 15, 16, 115, i32::MIN, i32::MAX] {
            assert_eq!(get(pkey, 1), Err(Errno::Invalid), "{pkey}");
            assert_eq!(get(pkey, 0).map(|_| ()), bad, "{pkey}");
            assert_eq!(set(pkey, 4, 0), Err(Errno::Invalid), "{pkey}");
            assert_eq!(set(pkey, 3, 1 << 63), Err(Errno::Invalid), "{pkey}");
            assert_eq!(set(pkey, 3, 0), bad, "{pkey}");
        }
        assert_eq!(set(0, 1 << 32, 0), Err(Errno::Invalid));
        assert_eq!(register.read(), KeyRegister::LINUX_INIT);
        let hidden = map.allocate_execute_only().unwrap();
        assert_eq!(get(hidden.into(), 0).map(|_| ()), bad);
        assert_eq!(set(hidden.into(), 0, 0), bad);
        assert_eq!(pkey_get(&map, None, 0, 0).map(|_| ()), bad);
        assert_eq!(pkey_set(&map, &thread, None, 0, 0, 0), bad);
    }
}
