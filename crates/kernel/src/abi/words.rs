//! Structures of long words, as they lie in a program's memory.

/// The words of a structure. Those that the bytes do not reach are 0.
pub(crate) fn words_of<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let (chunks, _) = bytes.as_chunks();
    core::array::from_fn(|at| chunks.get(at).map_or(0, |chunk| u64::from_le_bytes(*chunk)))
}

/// The bytes of a structure. Those that the words do not reach are 0.
pub(crate) fn bytes_of<const LEN: usize>(words: &[u64]) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    let (places, _) = bytes.as_chunks_mut();
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{bytes_of, words_of};

    #[test]
    fn words_come_back_from_their_bytes() {
        let words = [0x0102_0304_0506_0708, u64::MAX];
        let bytes: [u8; 16] = bytes_of(&words);
        assert_eq!(bytes[..8], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(words_of(&bytes), words);
    }

    #[test]
    fn what_is_not_there_is_zero() {
        assert_eq!(words_of(&[0xFF; 15]), [u64::MAX, 0]);
        assert_eq!(
            bytes_of::<20>(&[u64::MAX, 1, 2]),
            [
                0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
            ]
        );
    }
}
