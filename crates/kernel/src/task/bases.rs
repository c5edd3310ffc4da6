//! The bases of FS and GS: `arch_prctl(2)`.
//!
//! A C library keeps its thread's own data where FS points. The bases belong to a thread as its other registers do
//! ([`UserRegs`]): a switch exchanges them, a child has its creator's unless `CLONE_SETTLS` says otherwise, a new program
//! starts with 0, and a signal changes nothing about them.
//!
//! What else Linux has under this call (shadow stacks, CPUID faults, permission for components of the extended state) is
//! not there: `EINVAL`, as for a number that means nothing.
//!
//! Source: Linux `arch/x86/kernel/process_64.c` (`do_arch_prctl_64`).

use crate::abi::Errno;
use crate::abi::task::{ARCH_GET_FS, ARCH_GET_GS, ARCH_SET_FS, ARCH_SET_GS};
use crate::kernel::{Here, Kernel};
use crate::memory::layout::TASK_SIZE;
use crate::platform::Platform;
use crate::task::UserRegs;

impl<P: Platform> Kernel<P> {
    /// `int arch_prctl(int op, unsigned long addr);`
    pub(crate) fn arch_prctl(
        &self,
        here: &Here<'_, P>,
        regs: &mut UserRegs,
        op: i32,
        addr: u64,
    ) -> Result<u64, Errno> {
        let base = match op {
            ARCH_SET_FS | ARCH_GET_FS => &mut regs.fs_base,
            ARCH_SET_GS | ARCH_GET_GS => &mut regs.gs_base,
            _ => return Err(Errno::Invalid),
        };
        if op == ARCH_GET_FS || op == ARCH_GET_GS {
            here.write(addr, &base.to_le_bytes())?;
        } else if addr >= TASK_SIZE {
            return Err(Errno::Perm);
        } else {
            *base = addr;
        }
        Ok(0)
    }
}
