//! Linux signal frames, laid down byte by byte: good ones, every one with one thing wrong, and random damage.

use pkeys_core::signal_frame::SW_RESERVED_END;
use pkeys_core::{FrameError, KeyRegister, SignalFrame, XsaveLayout};

/// What a frame consists of, so that a test can change one thing.
#[derive(Clone, Copy)]
struct Parts {
    magic1: u32,
    extended_size: u32,
    xfeatures: u64,
    xstate_size: u32,
    xstate_bv: u64,
    xcomp_bv: u64,
    pkru_offset: u32,
    pkru: u32,
    magic2: u32,
}

/// A frame as Linux writes it on a processor with AVX-512.
const GOOD: Parts = Parts {
    magic1: 0x4650_5853,
    extended_size: 2700,
    xfeatures: 0x2E7,
    xstate_size: 2696,
    xstate_bv: 0x203,
    xcomp_bv: 0,
    pkru_offset: 2688,
    pkru: 0x5555_5550,
    magic2: 0x4650_5845,
};

/// The smaller frame of a processor without it.
const SMALL: Parts = Parts {
    extended_size: 844,
    xfeatures: 0x207,
    xstate_size: 840,
    pkru_offset: 832,
    ..GOOD
};

impl Parts {
    fn layout(self) -> XsaveLayout {
        XsaveLayout {
            pkru_offset: self.pkru_offset,
        }
    }

    /// The frame with some bytes of other things behind it.
    fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0xA5; 2800];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(464, &self.magic1.to_le_bytes());
        put(468, &self.extended_size.to_le_bytes());
        put(472, &self.xfeatures.to_le_bytes());
        put(480, &self.xstate_size.to_le_bytes());
        put(512, &self.xstate_bv.to_le_bytes());
        put(520, &self.xcomp_bv.to_le_bytes());
        if self.pkru_offset < 2700 {
            put(self.pkru_offset as usize, &self.pkru.to_le_bytes());
        }
        if self.xstate_size < 2700 {
            put(self.xstate_size as usize, &self.magic2.to_le_bytes());
        }
        bytes
    }
}

fn start(bytes: &[u8]) -> &[u8; SW_RESERVED_END] {
    bytes.first_chunk().expect("every frame here is longer")
}

/// What a handler does: looks at the first 512 bytes, then at as many as they say.
fn in_two_steps(bytes: &[u8], layout: XsaveLayout) -> Result<(usize, SignalFrame), FrameError> {
    let len_bytes = SignalFrame::len_bytes(start(bytes))?;
    let frame = bytes.get(..len_bytes).unwrap_or(bytes);
    Ok((len_bytes, SignalFrame::parse(frame, layout)?))
}

#[test]
fn good_frames_are_found_read_and_edited() {
    for parts in [GOOD, SMALL] {
        let mut bytes = parts.bytes();
        let layout = parts.layout();
        let (len_bytes, frame) = in_two_steps(&bytes, layout).unwrap();
        assert_eq!(len_bytes, parts.xstate_size as usize + 4);
        assert_eq!(frame.xstate_size, parts.xstate_size);
        assert_eq!(frame.xfeatures, parts.xfeatures);
        let read = SignalFrame::read_pkru(&bytes[..len_bytes], layout);
        assert_eq!(read, Ok(KeyRegister::from_bits(parts.pkru)));
        for pkru in [0, 0x5555_5554, 0xFFFF_FFFF] {
            let value = KeyRegister::from_bits(pkru);
            SignalFrame::write_pkru(&mut bytes[..len_bytes], layout, value).unwrap();
            assert_eq!(bytes, Parts { pkru, ..parts }.bytes());
            assert_eq!(SignalFrame::read_pkru(&bytes, layout), Ok(value));
        }
    }
}

#[test]
fn a_frame_saved_in_the_initial_state_reads_as_open_and_keeps_what_is_written() {
    let parts = Parts {
        xstate_bv: 0x3,
        ..SMALL
    };
    let mut bytes = parts.bytes();
    let open = SignalFrame::read_pkru(&bytes, parts.layout());
    assert_eq!(open, Ok(KeyRegister::ALL_OPEN));
    SignalFrame::write_pkru(&mut bytes, parts.layout(), KeyRegister::LINUX_INIT).unwrap();
    let edited = Parts {
        xstate_bv: 0x203,
        pkru: 0x5555_5554,
        ..parts
    };
    assert_eq!(bytes, edited.bytes());
}

/// Expects all functions to find the same fault, and the writer to leave the bytes alone.
fn refuses(parts: Parts, bytes: &[u8], expected: FrameError) {
    let layout = parts.layout();
    assert_eq!(SignalFrame::parse(bytes, layout), Err(expected));
    assert_eq!(SignalFrame::read_pkru(bytes, layout), Err(expected));
    let mut edited = bytes.to_vec();
    let result = SignalFrame::write_pkru(&mut edited, layout, KeyRegister::from_bits(0xFFFF_FFFF));
    assert_eq!(result, Err(expected));
    assert_eq!(edited, bytes);
}

#[test]
fn one_wrong_bit_of_a_magic_number_is_enough() {
    for bit in 0..32 {
        let found = GOOD.magic1 ^ 1 << bit;
        let parts = Parts {
            magic1: found,
            ..GOOD
        };
        let bytes = parts.bytes();
        refuses(parts, &bytes, FrameError::NoMagic1 { found });
        assert_eq!(
            SignalFrame::len_bytes(start(&bytes)),
            Err(FrameError::NoMagic1 { found })
        );

        let found = GOOD.magic2 ^ 1 << bit;
        let parts = Parts {
            magic2: found,
            ..GOOD
        };
        refuses(parts, &parts.bytes(), FrameError::NoMagic2 { found });
        // The first 512 bytes do not show the second number.
        assert!(SignalFrame::len_bytes(start(&parts.bytes())).is_ok());
    }
}

#[test]
fn sizes_are_believed_only_where_they_can_be() {
    // Size of the state, size in all, possible.
    let table = [
        (576, 580, true),
        (575, 579, false),
        (575, 10_000, false),
        (0, 0, false),
        (0, u32::MAX, false),
        (2696, 2700, true),
        (2696, 2699, false),
        (2696, 2696, false),
        (2696, 2812, true),
        (11_008, 11_012, true),
        (65_536, 65_540, true),
        (65_537, 65_541, false),
        (u32::MAX, u32::MAX, false),
        (u32::MAX - 3, 0, false),
    ];
    for (xstate_size, extended_size, is_possible) in table {
        let parts = Parts {
            xstate_size,
            extended_size,
            ..GOOD
        };
        let expected = if is_possible {
            Ok(xstate_size as usize + 4)
        } else {
            Err(FrameError::BadSize {
                xstate_size,
                extended_size,
            })
        };
        let bytes = parts.bytes();
        let len_bytes = SignalFrame::len_bytes(start(&bytes));
        assert_eq!(len_bytes, expected);
        if let Err(error) = expected {
            refuses(parts, &bytes, error);
        }
    }
}

#[test]
fn pkru_must_have_a_place() {
    for xfeatures in [0, 0xE7, !0x200] {
        let parts = Parts { xfeatures, ..GOOD };
        refuses(parts, &parts.bytes(), FrameError::NoPkru { xfeatures });
    }
    for pkru_offset in [0, 464, 512, 575] {
        let parts = Parts {
            pkru_offset,
            ..GOOD
        };
        refuses(
            parts,
            &GOOD.bytes(),
            FrameError::OffsetInHeader { pkru_offset },
        );
    }
    for pkru_offset in [2693, 2696, 2700, u32::MAX - 3, u32::MAX] {
        let parts = Parts {
            pkru_offset,
            ..GOOD
        };
        let xstate_size = 2696;
        refuses(
            parts,
            &GOOD.bytes(),
            FrameError::OffsetOutside {
                pkru_offset,
                xstate_size,
            },
        );
    }
    // The last offset that lies inside.
    let last = Parts {
        pkru_offset: 2692,
        ..GOOD
    };
    assert!(SignalFrame::parse(&last.bytes(), last.layout()).is_ok());
}

#[test]
fn the_compacted_format_is_refused() {
    let xcomp_bv = 1 << 63 | 0x203;
    let parts = Parts { xcomp_bv, ..GOOD };
    refuses(parts, &parts.bytes(), FrameError::NotStandard { xcomp_bv });
}

#[test]
fn every_length_that_is_too_short_is_refused() {
    let whole = SMALL.bytes();
    for len in 0..844 {
        let needed = if len < 512 { 512 } else { 844 };
        refuses(SMALL, &whole[..len], FrameError::TooShort { needed, len });
    }
    assert!(SignalFrame::parse(&whole[..844], SMALL.layout()).is_ok());
}

/// Bits flipped at random in what is checked: whatever is accepted has all that makes a frame good, and an edit of
/// it changes the bytes of PKRU and of its header bit alone.
#[test]
fn damage_is_refused_or_harmless() {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 1).unwrap()
    };
    let checked: Vec<usize> = (464..484).chain(512..528).chain(832..844).collect();
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..200_000 {
        let mut bytes = SMALL.bytes();
        bytes.truncate(1000);
        for _ in 0..1 + next() % 3 {
            bytes[checked[next() % checked.len()]] ^= 1 << (next() % 8);
        }
        let before = bytes.clone();
        let value = KeyRegister::from_bits(0x0F0F_0F0F);
        if SignalFrame::write_pkru(&mut bytes, SMALL.layout(), value).is_ok() {
            accepted += 1;
            assert_eq!(before[464..468], *b"SXPF");
            assert_eq!(before[473] & 2, 2);
            let xstate_size = u32::from_le_bytes(*before[480..].first_chunk().unwrap()) as usize;
            assert_eq!(before[xstate_size..xstate_size + 4], *b"EXPF");
            assert!(xstate_size >= 836);
            assert_eq!(before[520..528], [0; 8]);
            let mut expected = before;
            expected[832..836].fill(0x0F);
            expected[513] |= 2;
            assert_eq!(bytes, expected);
        } else {
            refused += 1;
            assert_eq!(bytes, before);
        }
    }
    assert!(accepted > 1000 && refused > 1000);
}

#[test]
fn errors_say_what_was_found() {
    let parts = Parts { magic1: 7, ..GOOD };
    let error = SignalFrame::parse(&parts.bytes(), parts.layout()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "signal frame has no extended state: found 0x7 for the first magic number"
    );
    let error = SignalFrame::parse(&[], GOOD.layout()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "saved state of 0 bytes is shorter than 512"
    );
}
