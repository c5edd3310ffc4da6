//! The keys of subsystems that are always there: a table that is made when the kernel is compiled.
//!
//! A subsystem names its key in the table, and gets its number as a constant: [`Declared::key`] is evaluated by the
//! compiler, which refuses a name that is not in the table, a table with two of a name, and one with more than fifteen. So
//! the code that grants such a key has its number in the instruction, and there is no error to handle.

use pkeys_core::{PageState, Pkey, Rights};

use super::key::PksKey;

/// How many keys can be given out: all but key 0.
pub const NR_KEYS: usize = Pkey::COUNT - 1;

/// A key in the table that is made when the kernel is compiled.
#[derive(Debug, Clone, Copy)]
pub struct Declaration {
    /// Whose it is, for reports and errors.
    pub name: &'static str,
    /// What a context without a grant may do.
    pub closed: Rights,
    /// Which knob rules its pages. Shared pages have keys of their own, so that neither a pardon nor a mode for them opens
    /// any other.
    pub pages: PageState,
}

impl Declaration {
    /// A key without rights for contexts that hold no grant, on pages that are not shared.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            closed: Rights::NoAccess,
            pages: PageState::Stray,
        }
    }

    /// The same, for shared pages.
    #[must_use]
    pub const fn shared(name: &'static str) -> Self {
        Self {
            pages: PageState::Shared,
            ..Self::new(name)
        }
    }
}

/// The table that is made when the kernel is compiled. The first has key 1.
///
/// ```
/// use pkeys_kernel::pks::{Declaration, Declared, PksKey};
///
/// const KEYS: Declared<2> = Declared::new([Declaration::new("pmem"), Declaration::shared("kmap")]);
/// const PMEM: PksKey = KEYS.key("pmem");
/// # assert_eq!(PMEM.pkey().get(), 1);
/// ```
///
/// A name that is not in the table does not compile:
///
/// ```compile_fail,E0080
/// use pkeys_kernel::pks::{Declaration, Declared, PksKey};
///
/// const KEYS: Declared<2> = Declared::new([Declaration::new("pmem"), Declaration::shared("kmap")]);
/// const PMEM: PksKey = KEYS.key("dax");
/// # assert_eq!(PMEM.pkey().get(), 1);
/// ```
///
/// Neither does a table with two of a name:
///
/// ```compile_fail,E0080
/// use pkeys_kernel::pks::{Declaration, Declared, PksKey};
///
/// const KEYS: Declared<2> = Declared::new([Declaration::new("pmem"), Declaration::shared("pmem")]);
/// const PMEM: PksKey = KEYS.key("pmem");
/// # assert_eq!(PMEM.pkey().get(), 1);
/// ```
///
/// Nor one with sixteen, where fifteen are taken:
///
/// ```
/// # use pkeys_kernel::pks::{Declaration, Declared};
/// # macro_rules! table { ($($name:literal)*) => { Declared::new([$(Declaration::new($name)),*]) } }
/// const KEYS: Declared<15> = table!("a" "b" "c" "d" "e" "f" "g" "h" "i" "j" "k" "l" "m" "n" "o");
/// # assert_eq!(KEYS.key("o").pkey().get(), 15);
/// ```
///
/// ```compile_fail,E0080
/// # use pkeys_kernel::pks::{Declaration, Declared};
/// # macro_rules! table { ($($name:literal)*) => { Declared::new([$(Declaration::new($name)),*]) } }
/// const KEYS: Declared<16> = table!("a" "b" "c" "d" "e" "f" "g" "h" "i" "j" "k" "l" "m" "n" "o" "p");
/// # assert_eq!(KEYS.key("o").pkey().get(), 15);
/// ```
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

    /// What is declared at a place, from 0.
    pub(super) const fn at(&self, place: usize) -> Declaration {
        self.keys[place]
    }

    /// The key of a name.
    ///
    /// # Panics
    ///
    /// When it is not in the table: while compiling, if it is asked for in a constant.
    #[must_use]
    pub const fn key(&self, name: &str) -> PksKey {
        let mut at = 0;
        while at < N {
            if is_equal(self.keys[at].name, name)
                && let Ok(key) = PksKey::new(pkey_at(at))
            {
                return key;
            }
            at += 1;
        }
        panic!("no key of this name is declared")
    }
}

/// The key at a place of a table.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a table has fifteen places"
)]
pub(super) const fn pkey_at(place: usize) -> Pkey {
    Pkey::truncate(place as u32 + 1)
}

/// Comparison while compiling.
pub(super) const fn is_equal(a: &str, b: &str) -> bool {
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
