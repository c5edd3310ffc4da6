//! Size classes: in steps of 16 bytes up to 1 KiB, then four to each power of two, headers included.

/// The largest block, header included, that a span of many holds.
pub(super) const LARGEST_BYTES: usize = 1 << LARGEST_LOG;

const LARGEST_LOG: usize = 15;

/// Up to here classes are 16 bytes apart.
const FINE_BYTES: usize = 1 << FINE_LOG;

const FINE_LOG: usize = 10;

/// How many classes these are.
const FINE: usize = FINE_BYTES / 16;

/// A size class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Class(u8);

impl Class {
    /// How many there are.
    pub(super) const COUNT: usize = FINE + 4 * (LARGEST_LOG - FINE_LOG);

    /// The class of blocks of that length; `None` when they are too large for any.
    pub(super) fn of(all_bytes: usize) -> Option<Self> {
        let index = if all_bytes <= FINE_BYTES {
            all_bytes.max(32).div_ceil(16) - 1
        } else if all_bytes <= LARGEST_BYTES {
            // 2^log < all <= 2^(log + 1), in quarters of 2^log.
            let log = usize::BITS as usize - 1 - (all_bytes - 1).leading_zeros() as usize;
            let quarter = (all_bytes - (1 << log)).div_ceil(1 << (log - 2));
            FINE + 4 * (log - FINE_LOG) + quarter - 1
        } else {
            return None;
        };
        u8::try_from(index).ok().map(Self)
    }

    /// The class with that index.
    pub(super) fn from_index(index: usize) -> Option<Self> {
        if index >= Self::COUNT {
            return None;
        }
        u8::try_from(index).ok().map(Self)
    }

    /// Its index.
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The length of its blocks, header included.
    pub(super) fn bytes(self) -> usize {
        let index = self.index();
        if index < FINE {
            return (index + 1) * 16;
        }
        let (log, quarter) = (FINE_LOG + (index - FINE) / 4, (index - FINE) % 4 + 1);
        (1 << log) + (quarter << (log - 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_a_length_is_the_smallest_that_holds_it() {
        for len in 1..=LARGEST_BYTES {
            let class = Class::of(len).unwrap();
            assert!(
                class.bytes() >= len && class.bytes().is_multiple_of(16),
                "{len}"
            );
            if class.index() > 1 {
                let below = Class::from_index(class.index() - 1).unwrap();
                assert!(below.bytes() < len, "{len}");
            }
        }
        assert_eq!(Class::of(LARGEST_BYTES + 1), None);
        assert_eq!(Class::of(LARGEST_BYTES).unwrap().index(), Class::COUNT - 1);
        assert_eq!(Class::from_index(Class::COUNT), None);
    }
}
