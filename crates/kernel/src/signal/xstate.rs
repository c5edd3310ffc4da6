//! The extended state (x87, SSE and what came later) of one thread, as it goes into signal frames and comes back.
//!
//! It is kept as an XSAVE area in the standard format with the software bytes of a signal frame around it, so that writing
//! a frame is one copy. PKRU is not kept in it: it is a part of the thread that is switched eagerly ([`crate::keys`]), and
//! its place in the area is filled when the area leaves the kernel.
//!
//! # PKRU in a frame
//!
//! When the area is written, PKRU in the register is 0 already, so that the frame can be written wherever it lies. The
//! value that belongs into the frame, the interrupted one, is put in afterwards, and bit 9 of `XSTATE_BV` is set: on a
//! processor that tracks initial states, XSAVE has just left it clear, as PKRU was 0, and a return from the handler would
//! load 0 instead of the value.
//!
//! # What comes back
//!
//! | the frame | PKRU after the return |
//! |---|---|
//! | is as it was | the interrupted value |
//! | has another value at PKRU's place | that value |
//! | has bit 9 of `XSTATE_BV` clear | 0 |
//! | has bit 9 of `sw_reserved.xfeatures` clear | 0 |
//! | has a wrong magic number or size: only x87 and SSE are restored, everything else gets its initial state | 0 |
//! | has no extended state (a null pointer) | the initial value of programs, `init_pkru` |
//! | cannot be read, or XRSTOR would refuse it | `init_pkru`, and SIGSEGV |
//!
//! Source: Linux 6.12 `arch/x86/kernel/fpu/signal.c` (`copy_fpstate_to_sigframe`, `check_xstate_in_sigframe`,
//! `__fpu_restore_sig`, `__restore_fpregs_from_user`: what is not restored is loaded from `init_fpstate`, in which PKRU
//! is in its initial state, 0; `fpu__restore_sig`), `arch/x86/kernel/fpu/core.c` (`fpu__clear_user_states`); SDM Vol. 1,
//! 13.8 (what XRSTOR refuses).

use alloc::boxed::Box;
use alloc::vec;

use pkeys_core::signal_frame::{
    EXTENDED_SIZE_OFFSET, MAGIC1, MAGIC1_OFFSET, MAGIC2, SW_RESERVED_END, XFEATURES_OFFSET,
    XSTATE_SIZE_OFFSET,
};
use pkeys_core::x86::XFEATURE_PKRU;
use pkeys_core::xsave::{HEADER_END, XCOMP_BV_OFFSET, XSTATE_BV_OFFSET};
use pkeys_core::{KeyRegister, XsaveLayout};

use crate::mutant::{self, Mutant};

/// x87 and SSE: components 0 and 1.
pub const XFEATURES_FPSSE: u64 = 3;
/// AVX: component 2, which shares MXCSR with SSE.
const XFEATURE_AVX: u64 = 4;
/// How long the second magic number is.
pub(crate) const MAGIC2_LEN: usize = 4;
/// Where MXCSR stands.
const MXCSR_OFFSET: usize = 24;

/// The extended state of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XstateConfig {
    /// Its size in the standard format: EBX of CPUID leaf 0xD, subleaf 0. A multiple of 8, at least 576.
    pub size: u32,
    /// Its components: XCR0.
    pub features: u64,
    /// Where PKRU is.
    pub layout: XsaveLayout,
    /// The bits that MXCSR may have.
    pub mxcsr_mask: u32,
    /// Whether XSAVE leaves bit 9 of `XSTATE_BV` clear when PKRU is 0: AMD does, Intel does not.
    pub tracks_init: bool,
}

impl XstateConfig {
    /// An Intel server processor with AVX-512: PKRU at 2,688, initial state not tracked.
    pub const INTEL: Self = Self {
        size: 2696,
        features: 0x2E7,
        layout: XsaveLayout { pkru_offset: 2688 },
        mxcsr_mask: 0xFFFF,
        tracks_init: false,
    };

    /// An AMD processor with AVX: PKRU at 832, initial state tracked.
    pub const AMD: Self = Self {
        size: 840,
        features: 0x207,
        layout: XsaveLayout { pkru_offset: 832 },
        mxcsr_mask: 0x2_FFFF,
        tracks_init: true,
    };

    /// Whether the numbers can be: what [`crate::kernel::Kernel::new`] asks for.
    #[must_use]
    pub const fn is_possible(&self) -> bool {
        let end = self.layout.pkru_offset.saturating_add(4);
        let has_place = self.layout.pkru_offset as usize >= HEADER_END && end <= self.size;
        self.size as usize >= HEADER_END
            && self.size.is_multiple_of(8)
            && self.size <= 1 << 16
            && self.features & XFEATURES_FPSSE == XFEATURES_FPSSE
            && (self.features & XFEATURE_PKRU == 0 || has_place)
    }

    /// The size in a signal frame, with the second magic number.
    #[must_use]
    pub const fn frame_len(&self) -> u64 {
        self.size as u64 + MAGIC2_LEN as u64
    }

    /// `XSTATE_BV` as XSAVE writes it, as far as PKRU is concerned: bit 9 or nothing.
    #[must_use]
    pub const fn pkru_bit(&self, pkru: KeyRegister) -> u64 {
        if self.tracks_init && pkru.bits() == 0 {
            0
        } else {
            self.features & XFEATURE_PKRU
        }
    }
}

impl Default for XstateConfig {
    fn default() -> Self {
        Self::INTEL
    }
}

/// Why a frame's extended state was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadState;

/// A thread's extended state.
#[derive(Debug, Clone)]
pub struct ExtendedState {
    /// The area and, behind it, the second magic number.
    area: Box<[u8]>,
}

impl ExtendedState {
    /// The initial state.
    #[must_use]
    pub fn new(config: &XstateConfig) -> Self {
        let size = config.size as usize;
        let mut state = Self {
            area: vec![0; size + MAGIC2_LEN].into_boxed_slice(),
        };
        state.put_u32(MAGIC1_OFFSET, MAGIC1);
        state.put_u32(EXTENDED_SIZE_OFFSET, config.size.saturating_add(4));
        state.put_u64(XFEATURES_OFFSET, config.features);
        state.put_u32(XSTATE_SIZE_OFFSET, config.size);
        state.put_u32(size, MAGIC2);
        state.clear();
        state
    }

    /// Goes back to the initial state: x87 control word 0x37F, MXCSR 0x1F80, else zeros.
    pub fn clear(&mut self) {
        if let Some(legacy) = self.area.get_mut(..MAGIC1_OFFSET) {
            legacy.fill(0);
        }
        let end = self.area.len().saturating_sub(MAGIC2_LEN);
        if let Some(rest) = self.area.get_mut(SW_RESERVED_END..end) {
            rest.fill(0);
        }
        self.put_u32(0, 0x37F);
        self.put_u32(MXCSR_OFFSET, 0x1F80);
    }

    /// The area, for the hook that saves and loads the registers.
    #[must_use]
    pub fn area_mut(&mut self) -> &mut [u8] {
        let end = self.area.len().saturating_sub(MAGIC2_LEN);
        self.area.get_mut(..end).unwrap_or_default()
    }

    /// The area.
    #[must_use]
    pub fn area(&self) -> &[u8] {
        let end = self.area.len().saturating_sub(MAGIC2_LEN);
        self.area.get(..end).unwrap_or_default()
    }

    /// What a signal frame has of it, with this PKRU in it. `live` is the register at the time of XSAVE.
    pub fn for_frame(
        &mut self,
        config: &XstateConfig,
        pkru: Option<KeyRegister>,
        live: KeyRegister,
    ) -> &[u8] {
        let mut features = self.features() & !XFEATURE_PKRU | XFEATURES_FPSSE;
        if let Some(pkru) = pkru {
            self.put_u32(config.layout.pkru_offset as usize, pkru.bits());
            // As XSAVE left the bit, and then as it has to be.
            features |= config.pkru_bit(live);
            features |= XFEATURE_PKRU;
        }
        self.put_u64(XSTATE_BV_OFFSET, features);
        &self.area
    }

    /// `XSTATE_BV` of the kept area.
    #[must_use]
    pub fn features(&self) -> u64 {
        get_u64(&self.area, XSTATE_BV_OFFSET)
    }

    /// Takes over a frame's extended state, of which the caller has read what [`Claim`] says; the rest is zeros. Gives
    /// PKRU as XRSTOR would load it.
    ///
    /// # Errors
    ///
    /// [`BadState`] for what XRSTOR or FXRSTOR refuses. Then the state is the initial one.
    pub fn restore(
        &mut self,
        config: &XstateConfig,
        claim: Claim,
        frame: &[u8],
    ) -> Result<KeyRegister, BadState> {
        let mxcsr = get_u32(frame, MXCSR_OFFSET);
        let features = get_u64(frame, XSTATE_BV_OFFSET);
        let rest = frame.get(XCOMP_BV_OFFSET..XCOMP_BV_OFFSET + 16);
        let is_good = match claim {
            Claim::Legacy => mxcsr & !config.mxcsr_mask == 0,
            Claim::Extended { features: wanted } => {
                let loads_mxcsr = wanted & (XFEATURES_FPSSE & !1 | XFEATURE_AVX) != 0;
                (!loads_mxcsr || mxcsr & !config.mxcsr_mask == 0)
                    && features & !config.features == 0
                    && rest.is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
            }
        };
        self.clear();
        if !is_good {
            return Err(BadState);
        }
        self.copy_from(frame, 0, MAGIC1_OFFSET);
        let Claim::Extended { features: wanted } = claim else {
            self.put_u64(XSTATE_BV_OFFSET, XFEATURES_FPSSE);
            return Ok(KeyRegister::ALL_OPEN);
        };
        self.copy_from(frame, HEADER_END, config.size as usize);
        let kept = features & wanted;
        self.put_u64(XSTATE_BV_OFFSET, kept & !XFEATURE_PKRU);
        Ok(self.take_pkru(config, kept))
    }

    /// Bit 9 of `XSTATE_BV` as XSAVE leaves it when the thread leaves its CPU. Only a tracer sees it.
    pub fn note_pkru(&mut self, config: &XstateConfig, pkru: KeyRegister) {
        let features = self.features() & !XFEATURE_PKRU | config.pkru_bit(pkru);
        self.put_u64(XSTATE_BV_OFFSET, features);
    }

    /// The area as a tracer sees it: with the thread's PKRU, and bit 9 of `XSTATE_BV` as XSAVE or a tracer has left it.
    #[must_use]
    pub fn for_tracer(&self, config: &XstateConfig, pkru: Option<KeyRegister>) -> Box<[u8]> {
        let mut copy = self.clone();
        if let Some(pkru) = pkru {
            copy.put_u32(config.layout.pkru_offset as usize, pkru.bits());
        }
        copy.area().into()
    }

    /// Takes over a whole area from a tracer. Gives PKRU as XRSTOR would load it.
    ///
    /// # Errors
    ///
    /// [`BadState`], and nothing has changed: for components that there are not, for the compacted format, for reserved
    /// bits of the header or of MXCSR.
    pub fn set_by_tracer(
        &mut self,
        config: &XstateConfig,
        area: &[u8],
    ) -> Result<KeyRegister, BadState> {
        let features = get_u64(area, XSTATE_BV_OFFSET);
        let rest = area.get(XCOMP_BV_OFFSET..HEADER_END).ok_or(BadState)?;
        let mxcsr = get_u32(area, MXCSR_OFFSET);
        let uses_mxcsr = features & (XFEATURES_FPSSE | XFEATURE_AVX) != 0;
        let is_bad = features & !config.features != 0
            || rest.iter().any(|byte| *byte != 0)
            || uses_mxcsr && mxcsr & !config.mxcsr_mask != 0;
        if is_bad {
            return Err(BadState);
        }
        self.clear();
        self.copy_from(area, 0, MAGIC1_OFFSET);
        self.copy_from(area, HEADER_END, config.size as usize);
        self.put_u64(XSTATE_BV_OFFSET, features);
        Ok(self.take_pkru(config, features))
    }

    /// PKRU as it stands in the area, which does not keep it, or 0 if the header says that it has none.
    fn take_pkru(&mut self, config: &XstateConfig, features: u64) -> KeyRegister {
        if config.features & XFEATURE_PKRU == 0 {
            return KeyRegister::ALL_OPEN;
        }
        let at = config.layout.pkru_offset as usize;
        let pkru = KeyRegister::from_bits(get_u32(&self.area, at));
        self.put_u32(at, 0);
        if features & XFEATURE_PKRU != 0 || mutant::is(Mutant::XstateBvIgnored) {
            pkru
        } else {
            KeyRegister::ALL_OPEN
        }
    }

    fn copy_from(&mut self, frame: &[u8], start: usize, end: usize) {
        if let (Some(to), Some(from)) = (self.area.get_mut(start..end), frame.get(start..end)) {
            to.copy_from_slice(from);
        }
    }

    fn put_u32(&mut self, offset: usize, value: u32) {
        if let Some(place) = self.area.get_mut(offset..offset + 4) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }

    fn put_u64(&mut self, offset: usize, value: u64) {
        if let Some(place) = self.area.get_mut(offset..offset + 8) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }
}

/// How much of a frame's extended state can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Only its first 512 bytes.
    Legacy,
    /// All of it.
    Extended {
        /// The components to restore.
        features: u64,
    },
}

impl Claim {
    /// What the software bytes claim, before the second magic number was looked at; with the offset where that has to be.
    #[must_use]
    pub fn of(start: &[u8], config: &XstateConfig) -> (Self, u32) {
        let xstate_size = get_u32(start, XSTATE_SIZE_OFFSET);
        let is_possible = get_u32(start, MAGIC1_OFFSET) == MAGIC1
            && xstate_size as usize >= HEADER_END
            && xstate_size <= config.size
            && xstate_size <= get_u32(start, EXTENDED_SIZE_OFFSET);
        if !is_possible {
            return (Self::Legacy, 0);
        }
        let features = get_u64(start, XFEATURES_OFFSET) & config.features;
        (Self::Extended { features }, xstate_size)
    }

    /// The claim once the second magic number was read.
    #[must_use]
    pub const fn checked(self, magic2: u32) -> Self {
        if magic2 == MAGIC2 { self } else { Self::Legacy }
    }
}

pub(crate) fn get_u16(bytes: &[u8], offset: usize) -> u16 {
    let chunk = bytes.get(offset..).and_then(<[u8]>::first_chunk);
    chunk.map_or(0, |chunk| u16::from_le_bytes(*chunk))
}

pub(crate) fn get_u32(bytes: &[u8], offset: usize) -> u32 {
    let chunk = bytes.get(offset..).and_then(<[u8]>::first_chunk);
    chunk.map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

pub(crate) fn get_u64(bytes: &[u8], offset: usize) -> u64 {
    let chunk = bytes.get(offset..).and_then(<[u8]>::first_chunk);
    chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use pkeys_core::{KeyRegister, SignalFrame};
    use std::vec::Vec;

    use super::{BadState, Claim, ExtendedState, XstateConfig};

    const PKRU: KeyRegister = KeyRegister::from_bits(0x1234_5670);

    fn frame(config: &XstateConfig) -> Vec<u8> {
        let mut state = ExtendedState::new(config);
        state
            .for_frame(config, Some(PKRU), KeyRegister::ALL_OPEN)
            .to_vec()
    }

    /// What `rt_sigreturn` makes of these bytes.
    fn restore(config: &XstateConfig, frame: &[u8]) -> Result<KeyRegister, BadState> {
        let (claim, magic2_at) = Claim::of(&frame[..576], config);
        let magic2 = super::get_u32(frame, magic2_at as usize);
        ExtendedState::new(config).restore(config, claim.checked(magic2), frame)
    }

    #[test]
    fn a_frame_is_well_formed_and_has_the_interrupted_pkru() {
        for config in [XstateConfig::INTEL, XstateConfig::AMD] {
            assert!(config.is_possible());
            let frame = frame(&config);
            assert_eq!(frame.len() as u64, config.frame_len());
            assert_eq!(SignalFrame::read_pkru(&frame, config.layout), Ok(PKRU));
            assert_eq!(restore(&config, &frame), Ok(PKRU));
            // Bit 9 is set although XSAVE left it clear.
            assert_eq!(super::get_u64(&frame, 512) & 0x200, 0x200);
        }
    }

    #[test]
    fn what_a_program_changed_decides_what_it_gets_back() {
        let config = XstateConfig::AMD;
        let good = frame(&config);
        let with = |at: usize, byte: u8| {
            let mut frame = good.clone();
            frame[at] = byte;
            restore(&config, &frame)
        };
        let zero = Ok(KeyRegister::ALL_OPEN);
        assert_eq!(with(832, 0x55), Ok(KeyRegister::from_bits(0x1234_5655)));
        // XSTATE_BV, the list of components, the two magic numbers, the sizes.
        for at in [513, 473, 464, 840, 468 + 1, 480, 481] {
            assert_eq!(with(at, 0), zero, "{at}");
        }
        // A component that there is not; XCOMP_BV; reserved bytes; MXCSR's reserved bits.
        for at in [514, 520, 527, 528, 535, 27] {
            assert_eq!(with(at, 0xFF), Err(BadState), "{at}");
        }
        // Behind bytes 23:8 of the header nothing is checked by XRSTOR.
        assert_eq!(with(536, 0xFF), Ok(PKRU));
    }

    #[test]
    fn impossible_processors_are_refused() {
        let good = XstateConfig::AMD;
        let no_sse = XstateConfig {
            features: 0x201,
            ..good
        };
        let odd = XstateConfig { size: 841, ..good };
        let short = XstateConfig { size: 832, ..good };
        for config in [no_sse, odd, short] {
            assert!(!config.is_possible(), "{config:?}");
        }
        assert!(
            XstateConfig {
                features: 3,
                ..short
            }
            .is_possible()
        );
    }
}
