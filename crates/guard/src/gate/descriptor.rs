//! Descriptors: what a thunk stands for. The gates read them by offset (`gate.s`), and nobody can write them while the
//! program runs.

use core::sync::atomic::AtomicU64;

use cpp_demangle::{DemangleOptions, Symbol};

use crate::domain::Guarded;

/// Bytes between two descriptors.
pub(crate) const DESCRIPTOR_BYTES: usize = 64;

/// One descriptor; lives for ever.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Descriptor {
    /// The function that is called.
    pub(crate) target: usize,
    /// The routine that the thunk jumps to.
    pub(crate) entry: usize,
    /// The domain that is opened, or that asks for memory.
    pub(crate) domain: *const Guarded,
    /// Whether what is allocated in here belongs to the caller, in bit 0; positions of callbacks from bit 8.
    pub(crate) flags: u64,
    /// The function's name.
    pub(crate) name: &'static Name,
    /// Where calls are counted, with `--stats`; null otherwise.
    pub(crate) counter: *const Counter,
    /// The routine behind the one that wraps callbacks, or that lets the library's own calls pass.
    pub(crate) next: usize,
}

/// A name, and what a report advises.
#[derive(Debug)]
pub(crate) struct Name {
    /// The function's name, as the loader knows it.
    pub(crate) text: String,
    /// The same for people: of a function in C++, its name there without the types.
    pub(crate) shown: String,
    /// What to do where its allocations are written by the program.
    pub(crate) advice: String,
}

impl Name {
    /// Of an exported function.
    pub(crate) fn of_function(text: &str) -> Self {
        let shown = Symbol::new(text).ok().and_then(|symbol| {
            let options = DemangleOptions::new().no_params().no_return_type();
            symbol.demangle_with_options(&options).ok()
        });
        let shown = shown.unwrap_or_else(|| text.to_owned());
        Self {
            text: text.to_owned(),
            advice: format!("if the program owns what {shown} gives it, run with --share {text}"),
            shown,
        }
    }

    /// Of something that cannot be given as an option.
    pub(crate) fn of_internal(what: &str) -> Self {
        Self {
            text: what.to_owned(),
            shown: what.to_owned(),
            advice: String::new(),
        }
    }
}

/// A counter, and the routine behind the one that counts.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Counter {
    pub(crate) count: AtomicU64,
    pub(crate) next: usize,
}

/// Allocations belong to the caller.
pub(crate) const IS_SHARED: u64 = 1;

/// An entry that has no name: a constructor, a function that was left with libc.
pub(crate) const IS_INTERNAL: u64 = 2;

/// A callback of the program's: what is allocated in it is not the library's doing, but the keys are closed there anyway.
pub(crate) const IS_REVERSE: u64 = 4;

/// The bit of a callback at that argument, from 0.
pub(crate) const fn callback_bit(argument: u8) -> u64 {
    1 << (8 + argument)
}

/// The last argument that can be a callback.
pub(crate) const MAX_ARGUMENT: u8 = 39;

impl Descriptor {
    /// Whether allocations in here belong to the caller.
    pub(crate) fn is_shared(&self) -> bool {
        self.flags & IS_SHARED != 0
    }

    /// Whether it leads back to the program.
    pub(crate) fn is_reverse(&self) -> bool {
        self.flags & IS_REVERSE != 0
    }
}

const _: () = assert!(size_of::<Descriptor>() == DESCRIPTOR_BYTES);
const _: () = assert!(core::mem::offset_of!(Descriptor, entry) == 8);
const _: () = assert!(core::mem::offset_of!(Descriptor, domain) == 16);
const _: () = assert!(core::mem::offset_of!(Descriptor, counter) == 40);
const _: () = assert!(core::mem::offset_of!(Descriptor, next) == 48);
const _: () = assert!(core::mem::offset_of!(Counter, next) == 8);

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn names_of_cxx_are_shown_without_types() {
        for (text, shown) in [
            ("sqlite3_open", "sqlite3_open"),
            (
                "_ZN7leveldb2DB4OpenERKNS_7OptionsERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEPPS0_",
                "leveldb::DB::Open",
            ),
            (
                "_ZNK7leveldb6Status8ToStringEv",
                "leveldb::Status::ToString",
            ),
            ("_Z", "_Z"),
        ] {
            assert_eq!(Name::of_function(text).shown, shown);
        }
        let advice = Name::of_function("_ZN1a1bEv").advice;
        assert!(
            advice.contains("what a::b gives") && advice.ends_with("--share _ZN1a1bEv"),
            "{advice}"
        );
    }
}
