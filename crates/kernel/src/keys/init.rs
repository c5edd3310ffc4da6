//! `init_pkru`: the register that programs and signal handlers start with.
//!
//! Linux takes it from the boot parameter `init_pkru=` and, at run time, from a file in debugfs. The file refuses a value
//! that closes key 0, which no program survives; the boot parameter does not. Here both are refused.
//!
//! Source: Linux `arch/x86/mm/pkeys.c` (`init_pkru_write_file`, `setup_init_pkru`), `lib/kstrtox.c` (`kstrtouint`).

use core::fmt;

use pkeys_core::{AccessBits, KeyRegister, Pkey};

/// A register to start with: one that leaves key 0 open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitPkru(KeyRegister);

impl InitPkru {
    /// Linux's default, 0x55555554: AD for every key but 0.
    pub const DEFAULT: Self = Self(KeyRegister::LINUX_INIT);

    /// The start value with these bits.
    ///
    /// # Errors
    ///
    /// [`InitPkruError::ClosesKeyZero`] if AD or WD of key 0 is set.
    pub const fn new(bits: u32) -> Result<Self, InitPkruError> {
        let register = KeyRegister::from_bits(bits);
        if register.get(Pkey::DEFAULT).bits() == AccessBits::UNRESTRICTED.bits() {
            Ok(Self(register))
        } else {
            Err(InitPkruError::ClosesKeyZero { bits })
        }
    }

    /// Reads a number as Linux does: hexadecimal behind `0x`, octal behind `0`, else decimal; one plus sign may come before
    /// it and one line feed after it.
    ///
    /// # Errors
    ///
    /// [`InitPkruError`] for what is no number of 32 bits, or one that closes key 0.
    pub fn parse(text: &str) -> Result<Self, InitPkruError> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_prefix('+').unwrap_or(text);
        let (digits, radix) = match text.as_bytes() {
            [b'0', b'x' | b'X', ..] => (&text[2..], 16),
            [b'0', _, ..] => (&text[1..], 8),
            _ => (text, 10),
        };
        // The standard library would take another sign here.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(InitPkruError::NotANumber);
        }
        u32::from_str_radix(digits, radix)
            .map_err(|_| InitPkruError::NotANumber)
            .and_then(Self::new)
    }

    /// The register.
    #[must_use]
    pub const fn register(self) -> KeyRegister {
        self.0
    }
}

impl Default for InitPkru {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why a value cannot be what programs start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitPkruError {
    /// It is not a number of 32 bits.
    NotANumber,
    /// It closes key 0, which is every page without another key: no program could start.
    ClosesKeyZero {
        /// The value.
        bits: u32,
    },
}

impl fmt::Display for InitPkruError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber => f.write_str("init_pkru is not a number of 32 bits"),
            Self::ClosesKeyZero { bits } => {
                write!(
                    f,
                    "init_pkru {bits:#010x} closes key 0: no program could start"
                )
            }
        }
    }
}

impl core::error::Error for InitPkruError {}

#[cfg(test)]
mod tests {
    use super::{InitPkru, InitPkruError};
    use std::string::ToString;

    #[test]
    fn numbers_are_read_as_linux_reads_them() {
        let table = [
            ("0x55555554", Ok(0x5555_5554)),
            ("0X0\n", Ok(0)),
            ("0", Ok(0)),
            ("4", Ok(4)),
            ("010", Ok(8)),
            ("0xfffffffc", Ok(0xFFFF_FFFC)),
            ("", Err(InitPkruError::NotANumber)),
            ("0x", Err(InitPkruError::NotANumber)),
            ("+4", Ok(4)),
            ("+0x10\n", Ok(16)),
            ("00", Ok(0)),
            ("037777777774", Ok(0xFFFF_FFFC)),
            ("4294967292", Ok(0xFFFF_FFFC)),
            ("4294967296", Err(InitPkruError::NotANumber)),
            ("\n", Err(InitPkruError::NotANumber)),
            ("4\n\n", Err(InitPkruError::NotANumber)),
            (" 4", Err(InitPkruError::NotANumber)),
            ("4 ", Err(InitPkruError::NotANumber)),
            ("++4", Err(InitPkruError::NotANumber)),
            ("0x+4", Err(InitPkruError::NotANumber)),
            ("08", Err(InitPkruError::NotANumber)),
            ("1f", Err(InitPkruError::NotANumber)),
            ("-4", Err(InitPkruError::NotANumber)),
            ("0x1fffffffc", Err(InitPkruError::NotANumber)),
            ("12z", Err(InitPkruError::NotANumber)),
            (
                "0x55555555",
                Err(InitPkruError::ClosesKeyZero { bits: 0x5555_5555 }),
            ),
            ("2", Err(InitPkruError::ClosesKeyZero { bits: 2 })),
        ];
        for (text, expected) in table {
            let found = InitPkru::parse(text).map(|init| init.register().bits());
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn the_error_names_the_value() {
        let error = InitPkru::new(3).unwrap_err();
        assert!(error.to_string().contains("0x00000003"));
    }
}
