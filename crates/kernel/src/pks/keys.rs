//! Which supervisor key is whose: a table made when the kernel is compiled, and keys given out at run time.
//!
//! A subsystem that is always there names its key in the table, and gets its number as a constant: [`Declared::key`] is
//! evaluated by the compiler, which refuses a name that is not in the table, a table with two of a name, and one with
//! more than fifteen. What comes and goes (a device, a module) asks [`Keys::allocate`]; when there is none left, the error
//! says who holds them. A key with pages is not given back: its number would be handed out while pages carry it.
//!
//! The closed rights of all keys together are one register, which every context starts with: [`Keys::closed`]. Key 0 is
//! every page without another key, the kernel's stacks and code among them; it is open, in every table, and is refused
//! wherever a key is asked for.
//!
//! A fault handler may need the table while anybody holds its lock, so it does not take it: what it needs, the closed
//! rights and the callback, stands in atomics. Callbacks are functions that the kernel was compiled with, in a list; a key
//! has a place in the list.

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use lock_api::{Mutex, RawMutex};
use pkeys_core::{KeyRegister, Pkey, Rights};

/// How many keys can be given out: all but key 0.
pub const NR_KEYS: usize = Pkey::COUNT - 1;

/// A key in the table that is made when the kernel is compiled.
#[derive(Debug, Clone, Copy)]
pub struct Declaration {
    /// Whose it is, for reports and errors.
    pub name: &'static str,
    /// What a context without a grant may do.
    pub closed: Rights,
}

/// The table that is made when the kernel is compiled. The first has key 1.
#[derive(Debug, Clone, Copy)]
pub struct Declared<const N: usize> {
    keys: [Declaration; N],
}

impl<const N: usize> Declared<N> {
    /// Checks a table.
    ///
    /// # Panics
    ///
    /// When there are more than fifteen, two have one name, or one has no name: while compiling, if the table is a
    /// constant.
    #[must_use]
    pub const fn new(keys: [Declaration; N]) -> Self {
        assert!(N <= NR_KEYS, "there are fifteen keys");
        let mut at = 0;
        while at < N {
            assert!(!keys[at].name.is_empty(), "a key without a name");
            let mut before = 0;
            while before < at {
                assert!(
                    !is_equal(keys[before].name, keys[at].name),
                    "two keys have one name"
                );
                before += 1;
            }
            at += 1;
        }
        Self { keys }
    }

    /// The key of a name.
    ///
    /// # Panics
    ///
    /// When it is not in the table: while compiling, if it is asked for in a constant.
    #[must_use]
    pub const fn key(&self, name: &str) -> Pkey {
        let mut at = 0;
        while at < N {
            if is_equal(self.keys[at].name, name) {
                return Pkey::truncate(number(at));
            }
            at += 1;
        }
        panic!("no key of this name is declared")
    }
}

/// The number of the key at a place of a table.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a table has fifteen places"
)]
const fn number(at: usize) -> u32 {
    at as u32 + 1
}

/// Comparison while compiling.
const fn is_equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Who has a key, and how many pages carry it.
#[derive(Debug, Clone, Copy)]
struct Holder {
    name: &'static str,
    nr_pages: usize,
    is_declared: bool,
}

/// The supervisor keys of a system.
#[derive(Debug)]
pub struct Keys<L: RawMutex> {
    holders: Mutex<L, [Option<Holder>; Pkey::COUNT]>,
    closed: AtomicU32,
    callbacks: [AtomicU8; Pkey::COUNT],
}

/// What a key has for a callback when it has none.
const NO_CALLBACK: u8 = u8::MAX;

impl<L: RawMutex> Keys<L> {
    /// The keys of a table; the others are free, and closed.
    #[must_use]
    pub fn new<const N: usize>(declared: &Declared<N>) -> Self {
        let mut holders = [None; Pkey::COUNT];
        let mut closed = ALL_CLOSED;
        for (pkey, declaration) in Pkey::all().skip(1).zip(&declared.keys) {
            holders[pkey.index()] = Some(Holder {
                name: declaration.name,
                nr_pages: 0,
                is_declared: true,
            });
            closed = closed.with(pkey, declaration.closed.access_bits());
        }
        Self {
            holders: Mutex::new(holders),
            closed: AtomicU32::new(closed.bits()),
            callbacks: [const { AtomicU8::new(NO_CALLBACK) }; Pkey::COUNT],
        }
    }

    /// What a context without a grant has in its register.
    #[must_use]
    #[inline]
    pub fn closed(&self) -> KeyRegister {
        KeyRegister::from_bits(self.closed.load(Ordering::Relaxed))
    }

    /// Gives out the lowest free key. Every CPU has to load its register anew before pages get the key, unless the closed
    /// rights are no access, which free keys have: [`super::refresh`].
    ///
    /// # Errors
    ///
    /// [`Exhausted`], which names the holders.
    pub fn allocate(&self, name: &'static str, closed: Rights) -> Result<Pkey, Exhausted> {
        let mut holders = self.holders.lock();
        let free = Pkey::all()
            .skip(1)
            .find(|pkey| holders[pkey.index()].is_none());
        let Some(pkey) = free else {
            let name_of = |holder: &Option<Holder>| holder.map_or("", |holder| holder.name);
            let names = holders.iter().skip(1).map(name_of).collect();
            return Err(Exhausted { holders: names });
        };
        holders[pkey.index()] = Some(Holder {
            name,
            nr_pages: 0,
            is_declared: false,
        });
        self.set_closed(pkey, closed);
        Ok(pkey)
    }

    /// Takes a key back. It is closed from then on.
    ///
    /// # Errors
    ///
    /// [`ReleaseError`] for key 0, a key of the table, one that is free, and one that pages carry.
    pub fn release(&self, pkey: Pkey) -> Result<(), ReleaseError> {
        let mut holders = self.holders.lock();
        if pkey == Pkey::DEFAULT {
            return Err(ReleaseError::KeyZero);
        }
        match holders[pkey.index()] {
            None => Err(ReleaseError::Free { pkey }),
            Some(Holder {
                name,
                is_declared: true,
                ..
            }) => Err(ReleaseError::Declared { pkey, name }),
            Some(Holder { name, nr_pages, .. }) if nr_pages > 0 => Err(ReleaseError::InUse {
                pkey,
                name,
                nr_pages,
            }),
            Some(_) => {
                holders[pkey.index()] = None;
                self.callbacks[pkey.index()].store(NO_CALLBACK, Ordering::Relaxed);
                self.set_closed(pkey, Rights::NoAccess);
                Ok(())
            }
        }
    }

    /// Counts pages that get a key, or lose it (a negative number).
    ///
    /// # Errors
    ///
    /// [`ReleaseError`] for key 0 and for a free key: no page may get these.
    pub fn count_pages(&self, pkey: Pkey, change: isize) -> Result<(), ReleaseError> {
        let mut holders = self.holders.lock();
        if pkey == Pkey::DEFAULT {
            return Err(ReleaseError::KeyZero);
        }
        let holder = holders[pkey.index()]
            .as_mut()
            .ok_or(ReleaseError::Free { pkey })?;
        holder.nr_pages = holder.nr_pages.saturating_add_signed(change);
        Ok(())
    }

    /// Whose a key is, if it is anybody's.
    #[must_use]
    pub fn name(&self, pkey: Pkey) -> Option<&'static str> {
        self.holders.lock()[pkey.index()].map(|holder| holder.name)
    }

    fn set_closed(&self, pkey: Pkey, rights: Rights) {
        // Under the lock, so that no other change comes in between.
        let closed = self.closed().with(pkey, rights.access_bits());
        self.closed.store(closed.bits(), Ordering::Relaxed);
    }
}

/// Every key but key 0 closed.
const ALL_CLOSED: KeyRegister = KeyRegister::from_bits(!KeyRegister::mask(Pkey::DEFAULT));

/// There is no key left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// Who has the keys, from key 1 on.
    pub holders: Vec<&'static str>,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all supervisor keys are taken: ")?;
        for (pkey, name) in (1..).zip(&self.holders) {
            let separator = if pkey == 1 { "" } else { ", " };
            write!(f, "{separator}{pkey} by {name}")?;
        }
        Ok(())
    }
}

impl core::error::Error for Exhausted {}

/// Why a key cannot be given back, or pages not be counted for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Key 0 is every page without another key.
    KeyZero,
    /// Nobody has the key.
    Free {
        /// The key.
        pkey: Pkey,
    },
    /// The key is in the table that the kernel was compiled with.
    Declared {
        /// The key.
        pkey: Pkey,
        /// Whose it is.
        name: &'static str,
    },
    /// Pages carry the key.
    InUse {
        /// The key.
        pkey: Pkey,
        /// Whose it is.
        name: &'static str,
        /// How many pages.
        nr_pages: usize,
    },
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyZero => f.write_str("key 0 is every page without another key"),
            Self::Free { pkey } => write!(f, "supervisor key {pkey} is free"),
            Self::Declared { pkey, name } => {
                write!(f, "supervisor key {pkey} was declared for {name}")
            }
            Self::InUse {
                pkey,
                name,
                nr_pages,
            } => write!(f, "supervisor key {pkey} of {name} is on {nr_pages} pages"),
        }
    }
}

impl core::error::Error for ReleaseError {}
