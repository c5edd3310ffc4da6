//! The register itself, against the layout that core says it has.

use pkeys::Pkey;
use pkeys_arch::Pku;
use pkeys_core::{AccessBits, KeyRegister};

use crate::case::Case;

pub(crate) const CASES: &[Case] = &[
    Case::new("what_is_written_to_the_register_is_read", written_is_read).keys(),
    Case::new(
        "a_process_starts_with_the_kernels_initial_register",
        initial,
    )
    .keys(),
];

/// Every key but 0 and every pair of bits. No page of this process carries a key.
fn written_is_read() {
    let (pku, _) = Pku::probe().unwrap();
    let before = pku.read();
    for pkey in Pkey::all().filter(|&pkey| pkey != Pkey::DEFAULT) {
        for bits in 0..4 {
            let want = before.with(pkey, AccessBits::truncate(bits));
            // SAFETY: key 0 keeps its bits; no page carries any other key.
            unsafe { pku.write(want) };
            assert_eq!(pku.read(), want);
        }
    }
}

fn initial() {
    let (pku, layout) = Pku::probe().unwrap();
    assert_eq!(pku.read(), KeyRegister::LINUX_INIT);
    // The legacy area and the header come first in any saved state.
    assert!(layout.pkru_offset >= 576, "{layout:?}");
}
