//! The extended state and PKRU, back from a frame: the second half of `rt_sigreturn(2)`.
//!
//! How much of it is believed, and what PKRU is then, stands in [`crate::signal::xstate`]. Where it fails, the extended
//! state and PKRU are as at the start of a handler, and SIGSEGV follows.
//!
//! Source: Linux 6.12 `arch/x86/kernel/fpu/signal.c` (`fpu__restore_sig`, `check_xstate_in_sigframe`,
//! `restore_fpregs_from_user`).

use alloc::vec;
use alloc::vec::Vec;

use pkeys_core::KeyRegister;
use pkeys_core::signal_frame::SW_RESERVED_END;
use pkeys_core::xsave::{HEADER_END, XSTATE_BV_OFFSET};

use crate::kernel::{Here, Kernel};
use crate::memory::layout::is_user_range;
use crate::mutant::{self, Mutant};
use crate::platform::Platform;
use crate::signal::sigreturn::BadFrame;
use crate::signal::xstate::{Claim, MAGIC2_LEN, XFEATURES_FPSSE, get_u32, get_u64};

impl<P: Platform> Kernel<P> {
    /// Takes over the extended state at an address, 0 for none, and PKRU with it.
    pub(super) fn restore_extended_state(
        &self,
        here: &Here<'_, P>,
        at: u64,
    ) -> Result<(), BadFrame> {
        let init = self.config.init_pkru.register();
        let thread = &here.running.thread;
        let (pkru, result) = match self.take_extended_state(here, at) {
            Ok(Some(_)) if mutant::is(Mutant::FramePkruIgnored) => {
                (KeyRegister::from_bits(thread.last_interrupted()), Ok(()))
            }
            Ok(found) => (found.unwrap_or(init), Ok(())),
            Err(bad) => {
                thread.xstate.lock().clear();
                (init, Err(bad))
            }
        };
        self.platform
            .load_xstate(here.processor.cpu(), thread.xstate.lock().area());
        if let Some(register) = here.register() {
            thread.keys().load(pkru, register);
        }
        result
    }

    /// Makes the state at an address the thread's. Gives PKRU as XRSTOR would load it; `None` if there is no state.
    fn take_extended_state(
        &self,
        here: &Here<'_, P>,
        at: u64,
    ) -> Result<Option<KeyRegister>, BadFrame> {
        let thread = &here.running.thread;
        if at == 0 {
            thread.xstate.lock().clear();
            return Ok(None);
        }
        let (claim, bytes) = self.read_extended_state(here, at)?;
        let pkru = thread
            .xstate
            .lock()
            .restore(&self.config.xstate, claim, &bytes)
            .map_err(|_| BadFrame)?;
        Ok(Some(pkru))
    }

    /// Reads as much of the extended state as it claims to be.
    fn read_extended_state(
        &self,
        here: &Here<'_, P>,
        at: u64,
    ) -> Result<(Claim, Vec<u8>), BadFrame> {
        let config = &self.config.xstate;
        if !is_user_range(at, config.frame_len()) {
            return Err(BadFrame);
        }
        let mut bytes = vec![0; config.size as usize + MAGIC2_LEN];
        // Mostly all of it can be read at once. Where it cannot, less may do.
        let is_whole = here.read_into(at, &mut bytes).is_ok();
        if !is_whole {
            bytes.fill(0);
            read_part(here, at, &mut bytes, 0, SW_RESERVED_END)?;
        }
        let (mut claim, magic2_at) = Claim::of(&bytes, config);
        if claim != Claim::Legacy {
            let magic2 = if is_whole {
                get_u32(&bytes, magic2_at as usize)
            } else {
                here.read_u32(at + u64::from(magic2_at))?
            };
            claim = claim.checked(magic2);
        }
        // FXRSTOR wants 16, XRSTOR 64.
        let alignment = if claim == Claim::Legacy { 16 } else { 64 };
        if !at.is_multiple_of(alignment) {
            return Err(BadFrame);
        }
        if let Claim::Extended { features } = claim
            && !is_whole
        {
            read_part(here, at, &mut bytes, SW_RESERVED_END, HEADER_END)?;
            if goes_beyond_header(&bytes, features) {
                read_part(here, at, &mut bytes, HEADER_END, config.size as usize)?;
            }
        }
        Ok((claim, bytes))
    }
}

fn read_part<P: Platform>(
    here: &Here<'_, P>,
    at: u64,
    bytes: &mut [u8],
    start: usize,
    end: usize,
) -> Result<(), BadFrame> {
    let part = bytes.get_mut(start..end).ok_or(BadFrame)?;
    Ok(here.read_into(at + start as u64, part)?)
}

/// Whether anything behind the header is restored, if these components are wanted.
fn goes_beyond_header(bytes: &[u8], wanted: u64) -> bool {
    let features = get_u64(bytes, XSTATE_BV_OFFSET) & wanted & !XFEATURES_FPSSE;
    features != 0 || mutant::is(Mutant::XstateBvIgnored)
}
