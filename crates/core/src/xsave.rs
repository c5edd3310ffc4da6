//! PKRU inside a saved processor state: the XSAVE area in its standard format.
//!
//! XSAVE writes the x87 and SSE state to bytes 0 to 511, a header to bytes 512 to 575, and each further component at
//! its own offset. PKRU is component 9. Its offset differs between processors (2688 on some, 832 on others), so it
//! comes from CPUID and is passed in as [`XsaveLayout`]; a constant for it writes into somebody's vector registers.
//!
//! The header decides before the value does. Bit 9 of `XSTATE_BV` says whether the area has a PKRU; where it is
//! clear, XRSTOR loads the initial value 0, all keys open, whatever stands at the offset. A processor may leave the
//! bit clear when PKRU is 0 at the time of the save. So a reader has to look at the bit, and a writer has to set it:
//! a value written without the bit is lost, on some processors only.
//!
//! In the compacted format the offset would be another one. It is refused; Linux uses it inside the kernel and never
//! in a signal frame. Neighbours: [`crate::signal_frame`] says how far a signal frame can be trusted.
//!
//! Source: SDM Vol. 1, 13.4 (areas and header), 13.5.7 (PKRU), 13.8 (XRSTOR).

use core::fmt;

use crate::register::KeyRegister;
use crate::x86::XFEATURE_PKRU;

/// Where `XSTATE_BV` begins: 8 bytes, a bit for each component that is not in its initial state.
pub const XSTATE_BV_OFFSET: usize = 512;

/// Where `XCOMP_BV` begins: 8 bytes, zero in the standard format; bit 63 means the compacted one.
pub const XCOMP_BV_OFFSET: usize = 520;

/// Where the header ends and further components may begin.
pub const HEADER_END: usize = 576;

/// Where this processor keeps PKRU in the standard format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct XsaveLayout {
    /// The offset in bytes: EBX of CPUID leaf 0xD, subleaf 9.
    pub pkru_offset: u32,
}

impl XsaveLayout {
    /// PKRU as XRSTOR would load it from this area: the value, or [`KeyRegister::ALL_OPEN`] where bit 9 of
    /// `XSTATE_BV` is clear.
    ///
    /// # Errors
    ///
    /// [`FrameError`] when the area is too short, in the compacted format, or the layout's offset lies in the header.
    pub fn read_pkru(self, area: &[u8]) -> Result<KeyRegister, FrameError> {
        let offset = self.check(area)?;
        let xstate_bv = u64::from_le_bytes(*read(area, XSTATE_BV_OFFSET)?);
        if xstate_bv & XFEATURE_PKRU == 0 {
            return Ok(KeyRegister::ALL_OPEN);
        }
        let bits = u32::from_le_bytes(*read(area, offset)?);
        Ok(KeyRegister::from_bits(bits))
    }

    /// Makes XRSTOR load this PKRU from the area: writes the four bytes of the value, and sets bit 9 of `XSTATE_BV`.
    /// No other bit changes.
    ///
    /// # Errors
    ///
    /// As [`XsaveLayout::read_pkru`]; then nothing was written.
    pub fn write_pkru(self, area: &mut [u8], pkru: KeyRegister) -> Result<(), FrameError> {
        let offset = self.check(area)?;
        *write(area, offset)? = pkru.bits().to_le_bytes();
        let xstate_bv = write(area, XSTATE_BV_OFFSET)?;
        *xstate_bv = (u64::from_le_bytes(*xstate_bv) | XFEATURE_PKRU).to_le_bytes();
        Ok(())
    }

    /// The offset of PKRU, after all that can be wrong was looked at.
    fn check(self, area: &[u8]) -> Result<usize, FrameError> {
        let pkru_offset = self.pkru_offset;
        let offset = pkru_offset as usize;
        if offset < HEADER_END {
            return Err(FrameError::OffsetInHeader { pkru_offset });
        }
        let xcomp_bv = u64::from_le_bytes(*read(area, XCOMP_BV_OFFSET)?);
        if xcomp_bv != 0 {
            return Err(FrameError::NotStandard { xcomp_bv });
        }
        read::<4>(area, offset)?;
        Ok(offset)
    }
}

/// The `N` bytes from an offset.
pub(crate) fn read<const N: usize>(area: &[u8], offset: usize) -> Result<&[u8; N], FrameError> {
    area.get(offset..)
        .and_then(<[u8]>::first_chunk)
        .ok_or(FrameError::TooShort {
            needed: offset.saturating_add(N),
            len: area.len(),
        })
}

/// The `N` bytes from an offset, to be changed.
fn write<const N: usize>(area: &mut [u8], offset: usize) -> Result<&mut [u8; N], FrameError> {
    let len = area.len();
    area.get_mut(offset..)
        .and_then(<[u8]>::first_chunk_mut)
        .ok_or(FrameError::TooShort {
            needed: offset.saturating_add(N),
            len,
        })
}

/// Why a saved state cannot be read or edited. Each is found before anything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes end too early.
    TooShort {
        /// How many bytes there would have to be.
        needed: usize,
        /// How many there are.
        len: usize,
    },
    /// The layout puts PKRU before the end of the header, where it never is.
    OffsetInHeader {
        /// The layout's offset in bytes.
        pkru_offset: u32,
    },
    /// The area is not in the standard format: `XCOMP_BV` is not zero.
    NotStandard {
        /// `XCOMP_BV`. Bit 63 is the compacted format.
        xcomp_bv: u64,
    },
    /// A signal frame without the first magic number: it has no extended state.
    NoMagic1 {
        /// What stands in its place.
        found: u32,
    },
    /// A signal frame without the second magic number: something else was written over its end.
    NoMagic2 {
        /// What stands in its place.
        found: u32,
    },
    /// A signal frame whose sizes cannot be.
    BadSize {
        /// The size of the XSAVE area in bytes, as the frame says.
        xstate_size: u32,
        /// The size with the second magic number in bytes, as the frame says.
        extended_size: u32,
    },
    /// A signal frame that has no place for PKRU.
    NoPkru {
        /// The components that the frame has place for, a bit each.
        xfeatures: u64,
    },
    /// The layout puts PKRU behind the end of the signal frame's XSAVE area.
    OffsetOutside {
        /// The layout's offset in bytes.
        pkru_offset: u32,
        /// The size of the XSAVE area in bytes, as the frame says.
        xstate_size: u32,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { needed, len } => {
                write!(f, "saved state of {len} bytes is shorter than {needed}")
            }
            Self::OffsetInHeader { pkru_offset } => {
                write!(f, "offset {pkru_offset} of PKRU lies in the XSAVE header")
            }
            Self::NotStandard { xcomp_bv } => {
                write!(
                    f,
                    "XSAVE area is not in the standard format: XCOMP_BV is {xcomp_bv:#x}"
                )
            }
            Self::NoMagic1 { found } => {
                write!(
                    f,
                    "signal frame has no extended state: found {found:#x} for the first magic number"
                )
            }
            Self::NoMagic2 { found } => {
                write!(
                    f,
                    "signal frame is damaged: found {found:#x} for the second magic number"
                )
            }
            Self::BadSize {
                xstate_size,
                extended_size,
            } => write!(
                f,
                "signal frame has impossible sizes: {xstate_size} bytes of state, {extended_size} in all"
            ),
            Self::NoPkru { xfeatures } => {
                write!(
                    f,
                    "signal frame has no place for PKRU: its components are {xfeatures:#x}"
                )
            }
            Self::OffsetOutside {
                pkru_offset,
                xstate_size,
            } => write!(
                f,
                "offset {pkru_offset} of PKRU lies outside the signal frame's {xstate_size} bytes of state"
            ),
        }
    }
}

impl core::error::Error for FrameError {}
