//! The checksum of records: CRC-64 with the polynomial of ECMA-182, reflected, as xz has it.
//!
//! It is for memory that has lost or changed bits. That a record is whole after the power has gone does not rest on it:
//! see [`super`].

/// ECMA-182's polynomial, bits reversed.
const POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;

/// The remainder of each byte.
const TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The checksum of several pieces, as if they were one.
pub(super) fn checksum(pieces: &[&[u8]]) -> u64 {
    let bytes = pieces.iter().copied().flatten();
    !bytes.fold(u64::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        TABLE[usize::from(low ^ byte)] ^ crc >> 8
    })
}

#[cfg(test)]
mod tests {
    use super::checksum;

    /// The check value that catalogues of CRCs give for CRC-64/XZ.
    #[test]
    fn the_sum_is_that_of_xz() {
        assert_eq!(checksum(&[b"123456789"]), 0x995D_C9BB_DF19_39FA);
        assert_eq!(checksum(&[b"1234", b"", b"56789"]), 0x995D_C9BB_DF19_39FA);
        assert_eq!(checksum(&[]), 0);
    }
}
