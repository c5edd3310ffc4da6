//! Fields of an operation, packed into one word.
//!
//! A peer is asked to run a task with one number as its argument, and after `execve(2)` nothing else reaches it. So an
//! operation has to fit into 64 bits. Each field says how many it needs; [`Packer`] puts them side by side, the first
//! lowest, and [`Unpacker`] takes them out again in the same order.

/// A value with a fixed number of bits.
pub trait Field: Sized {
    /// How many bits it needs.
    const BITS: u32;

    /// Its bits; none above [`Field::BITS`].
    fn to_bits(self) -> u64;

    /// The value with these bits, if there is one.
    fn from_bits(bits: u64) -> Option<Self>;

    /// The value as it is written in a program.
    fn code(&self) -> String;
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Field for $integer {
            const BITS: u32 = <$integer>::BITS;

            fn to_bits(self) -> u64 {
                u64::from(self)
            }

            fn from_bits(bits: u64) -> Option<Self> {
                bits.try_into().ok()
            }

            fn code(&self) -> String {
                if <$integer>::BITS == 32 { format!("{self:#x}") } else { self.to_string() }
            }
        }
    )*};
}

integers!(u8, u16, u32);

impl Field for i8 {
    const BITS: u32 = 8;

    fn to_bits(self) -> u64 {
        u64::from(self.cast_unsigned())
    }

    fn from_bits(bits: u64) -> Option<Self> {
        u8::try_from(bits).ok().map(u8::cast_signed)
    }

    fn code(&self) -> String {
        self.to_string()
    }
}

/// Puts fields side by side.
#[derive(Debug, Default)]
pub struct Packer {
    word: u64,
    used: u32,
}

impl Packer {
    /// Adds a field above the ones before.
    ///
    /// # Panics
    ///
    /// When the word is full: an operation with too many fields, which the first test of its kind finds.
    pub fn put<F: Field>(&mut self, field: F) {
        assert!(
            self.used + F::BITS <= u64::BITS,
            "the fields fit into a word"
        );
        self.word |= field.to_bits() << self.used;
        self.used += F::BITS;
    }

    /// All fields.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.word
    }
}

/// Takes fields out again.
#[derive(Debug)]
pub struct Unpacker(u64);

impl Unpacker {
    /// The fields of a word.
    #[must_use]
    pub const fn new(word: u64) -> Self {
        Self(word)
    }

    /// The lowest field of what is left; `None` if it has no value with these bits.
    pub fn take<F: Field>(&mut self) -> Option<F> {
        let bits = self.0 & (u64::MAX >> (u64::BITS - F::BITS));
        self.0 = self.0.checked_shr(F::BITS).unwrap_or(0);
        F::from_bits(bits)
    }

    /// Whether nothing but zeros is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

/// Declares an enumeration without fields that is a [`Field`], with the list of its values.
macro_rules! choices {
    ($($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$value),*];
        }

        impl $crate::field::Field for $name {
            const BITS: u32 = u64::BITS - (Self::ALL.len() as u64 - 1).leading_zeros();

            fn to_bits(self) -> u64 {
                self as u64
            }

            fn from_bits(bits: u64) -> Option<Self> {
                Self::ALL.get(usize::try_from(bits).ok()?).copied()
            }

            fn code(&self) -> String {
                format!("{}::{self:?}", stringify!($name))
            }
        }
    )*};
}

pub(crate) use choices;

#[cfg(test)]
mod tests {
    use super::{Field, Packer, Unpacker};

    #[expect(unreachable_pub, reason = "the macro makes public types")]
    mod examples {
        choices! {
        /// Three.
        Three { A, B, C }
        /// Sixteen and one.
        Many { M0, M1, M2, M3, M4, M5, M6, M7, M8, M9, M10, M11, M12, M13, M14, M15, M16 }
        }
    }

    use examples::{Many, Three};

    #[test]
    fn choices_take_the_bits_they_need() {
        assert_eq!(Three::BITS, 2);
        assert_eq!(Many::BITS, 5);
        assert_eq!(Three::from_bits(3), None);
        for value in Many::ALL {
            assert_eq!(Many::from_bits(value.to_bits()), Some(*value));
        }
    }

    #[test]
    fn fields_come_out_as_they_went_in() {
        let mut packer = Packer::default();
        packer.put(Three::C);
        packer.put(-3_i8);
        packer.put(0xDEAD_BEEF_u32);
        packer.put(Many::M16);
        packer.put(0x1FF_u16);
        let mut unpacker = Unpacker::new(packer.word());
        assert_eq!(unpacker.take(), Some(Three::C));
        assert_eq!(unpacker.take(), Some(-3_i8));
        assert_eq!(unpacker.take(), Some(0xDEAD_BEEF_u32));
        assert_eq!(unpacker.take(), Some(Many::M16));
        assert_eq!(unpacker.take(), Some(0x1FF_u16));
        assert!(unpacker.is_empty());
    }

    #[test]
    fn values_are_written_as_in_a_program() {
        assert_eq!(Three::B.code(), "Three::B");
        assert_eq!((-3_i8).code(), "-3");
        assert_eq!(0xDEAD_BEEF_u32.code(), "0xdeadbeef");
    }

    #[test]
    #[should_panic(expected = "fit into a word")]
    fn more_than_a_word_is_refused() {
        let mut packer = Packer::default();
        packer.put(0_u32);
        packer.put(0_u32);
        packer.put(Three::A);
    }
}
