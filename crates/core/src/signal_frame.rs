//! How far the saved state in a Linux signal frame can be trusted.
//!
//! A handler gets a pointer to the interrupted thread's saved state (`uc_mcontext.fpregs`) without a length. What is
//! certain is the old part of 512 bytes. Its last 48 are not used by the processor, and there the kernel says what
//! follows:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 464 | 4 | `magic1`, 0x46505853: there is an extended state |
//! | 468 | 4 | `extended_size`: all of it, the second magic number included |
//! | 472 | 8 | `xfeatures`: components that have a place |
//! | 480 | 4 | `xstate_size`: the XSAVE area |
//! | `xstate_size` | 4 | magic2, 0x46505845: the area was not cut short |
//!
//! So a handler reads the frame in two steps: [`SignalFrame::len_bytes`] over the first [`SW_RESERVED_END`] bytes
//! says how many may be touched, [`SignalFrame::parse`] over that many checks the rest. The kernel makes the same
//! checks in `rt_sigreturn(2)`; a frame that fails them is restored without its extended state, so that an edit of
//! PKRU in it would be lost.
//!
//! Source: Linux `arch/x86/include/uapi/asm/sigcontext.h`, `arch/x86/kernel/fpu/signal.c`.

use crate::register::KeyRegister;
use crate::x86::XFEATURE_PKRU;
use crate::xsave::{FrameError, HEADER_END, XsaveLayout, read};

/// How many bytes from the frame's beginning have to be readable before anything is known about it.
pub const SW_RESERVED_END: usize = 512;

/// Where `magic1` begins.
pub const MAGIC1_OFFSET: usize = 464;
/// Where `extended_size` begins.
pub const EXTENDED_SIZE_OFFSET: usize = 468;
/// Where `xfeatures` begins.
pub const XFEATURES_OFFSET: usize = 472;
/// Where `xstate_size` begins.
pub const XSTATE_SIZE_OFFSET: usize = 480;

/// The first magic number: there is an extended state.
pub const MAGIC1: u32 = 0x4650_5853;
/// The second magic number, directly behind the XSAVE area.
pub const MAGIC2: u32 = 0x4650_5845;

/// How long the second magic number is, in bytes.
const MAGIC2_LEN: u32 = 4;

/// No processor has an XSAVE area nearly as large (with AMX it is 11,008 bytes). A frame that claims more is not
/// followed, as its length would be taken for memory that may be read.
const XSTATE_SIZE_MAX: u32 = 64 * 1024;

/// What a signal frame says about itself, if [`SignalFrame::parse`] found it good.
///
/// It does not hold the bytes. The functions that read and edit them check the whole frame each time, so that what was
/// found about one frame is never believed of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SignalFrame {
    /// The size of the XSAVE area in bytes, without the second magic number.
    pub xstate_size: u32,
    /// The components that have a place in the area, a bit each.
    pub xfeatures: u64,
}

impl SignalFrame {
    /// How many bytes from the frame's beginning belong to it, the second magic number included.
    ///
    /// # Errors
    ///
    /// [`FrameError::NoMagic1`] for a frame without an extended state, [`FrameError::BadSize`] for one whose sizes
    /// contradict each other or reason.
    pub fn len_bytes(start: &[u8; SW_RESERVED_END]) -> Result<usize, FrameError> {
        let xstate_size = xstate_size(start)?;
        Ok(xstate_size as usize + MAGIC2_LEN as usize)
    }

    /// Checks a whole frame: both magic numbers, its sizes, and that PKRU has a place in it where the layout says.
    ///
    /// # Errors
    ///
    /// [`FrameError`] with what was found first.
    pub fn parse(frame: &[u8], layout: XsaveLayout) -> Result<Self, FrameError> {
        let xstate_size = xstate_size(read(frame, 0)?)?;
        let found = u32::from_le_bytes(*read(frame, xstate_size as usize)?);
        if found != MAGIC2 {
            return Err(FrameError::NoMagic2 { found });
        }
        let xfeatures = u64::from_le_bytes(*read(frame, XFEATURES_OFFSET)?);
        if xfeatures & XFEATURE_PKRU == 0 {
            return Err(FrameError::NoPkru { xfeatures });
        }
        let pkru_offset = layout.pkru_offset;
        if (pkru_offset as usize) < HEADER_END {
            return Err(FrameError::OffsetInHeader { pkru_offset });
        }
        if xstate_size.saturating_sub(4) < pkru_offset {
            return Err(FrameError::OffsetOutside {
                pkru_offset,
                xstate_size,
            });
        }
        // What is left is the format, which reading checks.
        layout.read_pkru(frame)?;
        Ok(Self {
            xstate_size,
            xfeatures,
        })
    }

    /// The PKRU of the interrupted thread, which it gets back when the handler returns.
    ///
    /// # Errors
    ///
    /// As [`SignalFrame::parse`].
    pub fn read_pkru(frame: &[u8], layout: XsaveLayout) -> Result<KeyRegister, FrameError> {
        Self::parse(frame, layout)?;
        layout.read_pkru(frame)
    }

    /// Changes the PKRU that the interrupted thread gets when the handler returns, and no other bit of its state.
    ///
    /// # Errors
    ///
    /// As [`SignalFrame::parse`]; then nothing was written.
    pub fn write_pkru(
        frame: &mut [u8],
        layout: XsaveLayout,
        pkru: KeyRegister,
    ) -> Result<(), FrameError> {
        Self::parse(frame, layout)?;
        layout.write_pkru(frame, pkru)
    }
}

/// The size of the XSAVE area by the software-reserved bytes, if they can be believed.
fn xstate_size(start: &[u8; SW_RESERVED_END]) -> Result<u32, FrameError> {
    let word = |offset| Ok(u32::from_le_bytes(*read(start, offset)?));
    let found = word(MAGIC1_OFFSET)?;
    if found != MAGIC1 {
        return Err(FrameError::NoMagic1 { found });
    }
    let xstate_size = word(XSTATE_SIZE_OFFSET)?;
    let extended_size = word(EXTENDED_SIZE_OFFSET)?;
    // In a 32-bit process `extended_size` also counts an older area in front, so that it may be larger than the sum.
    let is_possible = xstate_size as usize >= HEADER_END
        && xstate_size <= XSTATE_SIZE_MAX
        && extended_size >= xstate_size + MAGIC2_LEN;
    if is_possible {
        Ok(xstate_size)
    } else {
        Err(FrameError::BadSize {
            xstate_size,
            extended_size,
        })
    }
}
