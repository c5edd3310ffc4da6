//! HMAC with SHA-256 (RFC 2104), over a key that is already filled up to a block.
//!
//! The crate `hmac` does the same, but leaves the block with the key in it on the stack. Here each copy of the key is erased,
//! and the hash erases its own state (`sha2`'s feature `zeroize`).

use core::hint::black_box;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The size of a block of SHA-256 in bytes.
pub(super) const BLOCK: usize = 64;
/// The size of a tag in bytes.
pub const TAG_LEN: usize = 32;

const INNER: u8 = 0x36;
const OUTER: u8 = 0x5C;

/// The tag of a message under a key, which is at most a block long and filled up with zeros.
pub(super) fn tag(key: &[u8; BLOCK], message: &[u8]) -> [u8; TAG_LEN] {
    let inner = start(key, INNER).chain_update(message).finalize();
    start(key, OUTER).chain_update(inner).finalize().into()
}

fn start(key: &[u8; BLOCK], pad: u8) -> Sha256 {
    // Filled in place: a value that is moved leaves a copy behind.
    let mut block = Zeroizing::new([pad; BLOCK]);
    for (byte, key) in block.iter_mut().zip(key) {
        *byte ^= key;
    }
    Sha256::new_with_prefix(block.as_slice())
}

/// Whether two tags are the same, in a time that does not tell where they differ.
pub(super) fn is_same(tag: &[u8; TAG_LEN], other: &[u8; TAG_LEN]) -> bool {
    let pairs = tag.iter().zip(other);
    let differing = pairs.fold(0, |all, (a, b)| black_box(all | (a ^ b)));
    differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &[u8], message: &[u8]) -> String {
        let mut block = [0; BLOCK];
        block[..key.len()].copy_from_slice(key);
        let tag = tag(&block, message);
        tag.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The cases of RFC 4231 whose keys are no longer than a block.
    #[test]
    fn tags_are_those_of_the_standard() {
        let counting: Vec<u8> = (1..=25).collect();
        let cases: [(&[u8], &[u8], &str); 4] = [
            (
                &[0x0B; 20],
                b"Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xAA; 20],
                &[0xDD; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                &counting,
                &[0xCD; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
        ];
        for (key, message, expected) in cases {
            assert_eq!(of(key, message), expected);
        }
    }

    #[test]
    fn tags_are_the_same_if_every_byte_is() {
        let tag = [7; TAG_LEN];
        assert!(is_same(&tag, &tag));
        for bit in 0..TAG_LEN * 8 {
            let mut other = tag;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_same(&tag, &other), "bit {bit}");
        }
    }
}
