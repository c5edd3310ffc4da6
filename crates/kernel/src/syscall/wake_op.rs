//! What `FUTEX_WAKE_OP` does with its second word: an operation and a comparison, packed into one argument.
//!
//! Source: Linux `kernel/futex/waitwake.c` (`futex_atomic_op_inuser`), `include/uapi/linux/futex.h`.

use crate::abi::Errno;

/// What `FUTEX_WAKE_OP` does with its second word, and what it asks of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct WakeOp {
    op: u32,
    argument: i32,
    comparison: u32,
    with: i32,
}

impl WakeOp {
    /// Takes the last argument of the call apart.
    pub(super) const fn decode(bits: u32) -> Self {
        // 12 bits with a sign.
        let argument = (bits << 8).cast_signed() >> 20;
        let is_shift = bits >> 31 != 0;
        Self {
            op: bits >> 28 & 7,
            argument: if is_shift {
                1 << (argument & 31)
            } else {
                argument
            },
            comparison: bits >> 24 & 0xF,
            with: (bits << 20).cast_signed() >> 20,
        }
    }

    /// Whether the operation is one instruction that writes (XCHG, XADD). The others read the word first, which brings in
    /// a page that cannot be written to.
    pub(super) const fn is_one_write(self) -> bool {
        self.op <= 1
    }

    /// The word's new value.
    pub(super) const fn apply(self, old: u32) -> Result<u32, Errno> {
        let argument = self.argument.cast_unsigned();
        Ok(match self.op {
            0 => argument,
            1 => old.wrapping_add(argument),
            2 => old | argument,
            3 => old & !argument,
            4 => old ^ argument,
            _ => return Err(Errno::NoSystemCall),
        })
    }

    /// Whether the word's old value is as asked for.
    pub(super) const fn compare(self, old: u32) -> Result<bool, Errno> {
        let old = old.cast_signed();
        Ok(match self.comparison {
            0 => old == self.with,
            1 => old != self.with,
            2 => old < self.with,
            3 => old <= self.with,
            4 => old > self.with,
            5 => old >= self.with,
            _ => return Err(Errno::NoSystemCall),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::WakeOp;
    use crate::abi::Errno;

    #[test]
    fn the_word_of_an_operation_is_taken_apart_as_linux_does() {
        // Operation, its argument, comparison, what with; the old value, the new one, whether it was as asked for.
        let table = [
            (0, 5, 0, 7, 7, 5, true),
            (1, -3, 1, 7, 7, 4, false),
            (2, 0x10, 2, -1, 0, 0x10, false),
            (3, 7, 3, 0, 0xFFFF_FFFF, 0xFFFF_FFF8, true),
            (4, 1, 4, -1, 0, 1, true),
            (8, 31, 5, 0, 0, 0x8000_0000, true),
            (9, -1, 0, 0, 0, 0x8000_0000, true),
        ];
        for (op, argument, comparison, with, old, new, is_as_asked) in table {
            let bits = |number: i32| number.cast_unsigned() & 0xFFF;
            let word = op << 28 | comparison << 24 | bits(argument) << 12 | bits(with);
            let op = WakeOp::decode(word);
            assert_eq!(op.apply(old), Ok(new), "{word:#x}");
            assert_eq!(op.compare(old), Ok(is_as_asked), "{word:#x}");
        }
        assert_eq!(WakeOp::decode(5 << 28).apply(0), Err(Errno::NoSystemCall));
        assert_eq!(WakeOp::decode(6 << 24).compare(0), Err(Errno::NoSystemCall));
    }
}
