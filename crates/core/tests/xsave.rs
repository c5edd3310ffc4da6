//! Reading and editing PKRU in an XSAVE area, on areas that are laid down byte by byte.

use pkeys_core::{FrameError, KeyRegister, XsaveLayout};

/// The offsets of the two families of processors, and the first that is possible.
const OFFSETS: [u32; 3] = [2688, 832, 576];

fn layout(pkru_offset: u32) -> XsaveLayout {
    XsaveLayout { pkru_offset }
}

/// An area without any zero byte but in the header's reserved part, so that a stray write shows.
fn area(offset: u32, xstate_bv: u64, pkru: u32) -> Vec<u8> {
    let offset = offset as usize;
    let mut area: Vec<u8> = (0x80..=0xFF).cycle().take(offset + 8).collect();
    area[512..520].copy_from_slice(&xstate_bv.to_le_bytes());
    area[520..528].fill(0);
    area[offset..offset + 4].copy_from_slice(&pkru.to_le_bytes());
    area
}

const VALUES: [u32; 6] = [0, 1, 0x5555_5554, 0x1234_5678, 0x8000_0000, u32::MAX];

/// Every single component, none, all, and the usual ones.
fn components() -> impl Iterator<Item = u64> {
    (0..64)
        .map(|bit| 1 << bit)
        .chain([0, 0x3, 0x2E7, 0xE7, u64::MAX, !0x200])
}

#[test]
fn pkru_is_what_xrstor_would_load() {
    for offset in OFFSETS {
        for xstate_bv in components() {
            for pkru in VALUES {
                let has_pkru = xstate_bv / 512 % 2 == 1;
                let expected = if has_pkru { pkru } else { 0 };
                let read = layout(offset).read_pkru(&area(offset, xstate_bv, pkru));
                assert_eq!(read, Ok(KeyRegister::from_bits(expected)));
            }
        }
    }
}

#[test]
fn writing_sets_the_value_and_the_header_bit_and_nothing_else() {
    for offset in OFFSETS {
        for xstate_bv in components() {
            for pkru in VALUES {
                let mut edited = area(offset, xstate_bv, 0xDEAD_BEEF);
                let written = KeyRegister::from_bits(pkru);
                layout(offset).write_pkru(&mut edited, written).unwrap();
                assert_eq!(edited, area(offset, xstate_bv | 0x200, pkru));
                assert_eq!(layout(offset).read_pkru(&edited), Ok(written));
            }
        }
    }
}

/// The trap of processors that track the initial state: PKRU was 0 at the save, so its bit is clear.
#[test]
fn a_value_written_over_an_initial_state_is_not_lost() {
    let mut area = area(832, 0xE7, 0);
    let closed = KeyRegister::LINUX_INIT;
    assert_eq!(layout(832).read_pkru(&area), Ok(KeyRegister::ALL_OPEN));
    layout(832).write_pkru(&mut area, closed).unwrap();
    assert_eq!(area[513], 0x02);
    assert_eq!(layout(832).read_pkru(&area), Ok(closed));
}

/// Expects both functions to fail alike, and the writer to leave the bytes alone.
fn refuses(layout: XsaveLayout, area: &[u8], expected: FrameError) {
    assert_eq!(layout.read_pkru(area), Err(expected));
    let mut edited = area.to_vec();
    let result = layout.write_pkru(&mut edited, KeyRegister::from_bits(0xFFFF_FFFF));
    assert_eq!(result, Err(expected));
    assert_eq!(edited, area);
}

#[test]
fn every_length_that_is_too_short_is_refused() {
    for offset in OFFSETS {
        let whole = area(offset, 0x2E7, 0x5555_5554);
        let end = offset as usize + 4;
        for len in 0..whole.len() {
            let part = &whole[..len];
            if len >= end {
                assert!(layout(offset).read_pkru(part).is_ok(), "{len}");
                assert!(
                    layout(offset)
                        .write_pkru(&mut part.to_vec(), KeyRegister::ALL_OPEN)
                        .is_ok()
                );
            } else {
                let needed = if len < 528 { 528 } else { end };
                refuses(layout(offset), part, FrameError::TooShort { needed, len });
            }
        }
    }
}

#[test]
fn offsets_in_the_header_and_far_away_are_refused() {
    let whole = area(2688, 0x2E7, 0);
    for pkru_offset in (0..576).step_by(5).chain([512, 513, 575]) {
        refuses(
            XsaveLayout { pkru_offset },
            &whole,
            FrameError::OffsetInHeader { pkru_offset },
        );
    }
    for pkru_offset in [2693, 2696, 0x7FFF_FFFF, u32::MAX] {
        let needed = pkru_offset as usize + 4;
        let len = whole.len();
        refuses(
            XsaveLayout { pkru_offset },
            &whole,
            FrameError::TooShort { needed, len },
        );
    }
}

#[test]
fn anything_but_the_standard_format_is_refused() {
    for bit in 0..64 {
        let mut area = area(2688, 0x2E7, 0x5555_5554);
        area[520 + bit / 8] |= 1 << (bit % 8);
        let xcomp_bv = 1 << bit;
        refuses(layout(2688), &area, FrameError::NotStandard { xcomp_bv });
    }
    // The rest of the header does not matter.
    let mut area = area(2688, 0x2E7, 0x5555_5554);
    area[528..576].fill(0xFF);
    assert_eq!(layout(2688).read_pkru(&area), Ok(KeyRegister::LINUX_INIT));
}
