//! Register sets: `PTRACE_GETREGSET` and `PTRACE_SETREGSET`.
//!
//! `NT_X86_XSTATE` is an XSAVE area in the standard format, with the software bytes of a signal frame. PKRU in it:
//!
//! * Reading shows the thread's value, whatever the area held before.
//! * Writing sets it to what stands there if bit 9 of `XSTATE_BV` is set, and to 0 if it is clear, as XRSTOR would.
//! * Only a whole area can be written: a shorter one gives `EFAULT`, and nothing has changed. A length that is no multiple
//!   of 8 gives `EINVAL`, and a longer one is cut.
//!
//! Source: Linux `kernel/ptrace.c` (`ptrace_regset`), `arch/x86/kernel/fpu/regset.c` (`xstateregs_get`,
//! `xstateregs_set`), `arch/x86/kernel/fpu/xstate.c` (`__copy_xstate_to_uabi_buf`, `copy_uabi_to_xstate`).

use alloc::vec;

use crate::abi::Errno;
use crate::abi::task::{NT_PRSTATUS, NT_X86_XSTATE, PTRACE_GETREGSET};
use crate::hardware::Cpu;
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;
use crate::syscall::iovec::Segment;
use crate::task::regs::USER_REGS_LEN;
use crate::task::thread::Thread;

/// Where `iov_len` begins.
const IOV_LEN: u64 = 8;

impl<P: Platform> Kernel<P> {
    /// One register set of a stopped thread, to or from the buffer that the `struct iovec` at `data` describes.
    pub(super) fn register_set(
        &self,
        here: &Here<'_, P>,
        thread: &Thread<P>,
        request: u64,
        set: u64,
        data: u64,
    ) -> Result<u64, Errno> {
        let Segment { base, len: given } = Segment::read(here, data)?;
        let size = match set & 0xFFFF_FFFF {
            NT_PRSTATUS => USER_REGS_LEN,
            NT_X86_XSTATE => self.config.xstate.size as usize,
            _ => return Err(Errno::Invalid),
        };
        if given % 8 != 0 {
            return Err(Errno::Invalid);
        }
        let len = usize::try_from(given).unwrap_or(size).min(size);
        match (request == PTRACE_GETREGSET, set & 0xFFFF_FFFF) {
            (true, NT_PRSTATUS) => {
                let words = thread.regs.lock().tracer_words();
                let bytes: vec::Vec<u8> =
                    words.iter().flat_map(|word| word.to_le_bytes()).collect();
                here.write(base, bytes.get(..len).unwrap_or_default())?;
            }
            (true, _) => self.get_xstate(here, thread, base, len)?,
            (false, NT_PRSTATUS) => set_regs(here, thread, base, len)?,
            (false, _) => self.set_xstate(here, thread, base, len)?,
        }
        here.write(data.wrapping_add(IOV_LEN), &len.to_le_bytes())?;
        Ok(0)
    }

    fn get_xstate(
        &self,
        here: &Here<'_, P>,
        thread: &Thread<P>,
        base: u64,
        len: usize,
    ) -> Result<(), Errno> {
        let pkru = here
            .processor
            .cpu()
            .has_pku()
            .then(|| thread.keys().saved());
        let bytes = thread.xstate.lock().for_tracer(&self.config.xstate, pkru);
        here.write(base, bytes.get(..len).unwrap_or_default())
    }

    fn set_xstate(
        &self,
        here: &Here<'_, P>,
        thread: &Thread<P>,
        base: u64,
        len: usize,
    ) -> Result<(), Errno> {
        if len != self.config.xstate.size as usize {
            return Err(Errno::Fault);
        }
        let mut bytes = vec![0; len];
        here.read_into(base, &mut bytes)?;
        let pkru = thread
            .xstate
            .lock()
            .set_by_tracer(&self.config.xstate, &bytes)
            .map_err(|_| Errno::Invalid)?;
        if here.processor.cpu().has_pku() {
            thread.keys().set_saved(pkru);
        }
        Ok(())
    }
}

/// Sets as many general registers as were given; what comes before a word that cannot be stays set.
fn set_regs<P: Platform>(
    here: &Here<'_, P>,
    thread: &Thread<P>,
    base: u64,
    len: usize,
) -> Result<(), Errno> {
    let mut bytes = vec![0; len];
    here.read_into(base, &mut bytes)?;
    let (words, _) = bytes.as_chunks::<8>();
    let mut regs = thread.regs.lock();
    for (place, word) in words.iter().enumerate() {
        if !regs.set_tracer_word(place, u64::from_le_bytes(*word)) {
            return Err(Errno::Io);
        }
    }
    Ok(())
}
