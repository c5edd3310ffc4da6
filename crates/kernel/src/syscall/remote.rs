//! Another process's memory: `process_vm_readv(2)` and `process_vm_writev(2)`.
//!
//! The other side is accessed without its keys, and without the caller's: keys belong to a thread, and none runs there.
//! That is so even if the other process is the caller's own. The caller's side is accessed under its keys as ever. The
//! protection of a mapping counts on both sides.
//!
//! Source: Linux `mm/process_vm_access.c`; `arch/x86/include/asm/mmu_context.h` (`arch_vma_access_permitted`, `foreign`).

use alloc::vec;

use crate::abi::Errno;
use crate::files::PAGE_LEN;
use crate::kernel::{Here, Kernel};
use crate::memory::layout::{PAGE_SIZE, TASK_SIZE};
use crate::platform::{Platform, SpaceOf};
use crate::syscall::iovec::{self, Segment};
use crate::syscall::uaccess::count_or_fault;

/// The arguments of both calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RemoteArgs {
    pub(crate) pid: i32,
    pub(crate) local: u64,
    pub(crate) nr_local: u64,
    pub(crate) remote: u64,
    pub(crate) nr_remote: u64,
    pub(crate) flags: u64,
    /// Whether the other process is written to.
    pub(crate) is_write: bool,
}

impl<P: Platform> Kernel<P> {
    /// `ssize_t process_vm_readv(pid_t pid, const struct iovec *local_iov, unsigned long liovcnt, const struct iovec
    /// *remote_iov, unsigned long riovcnt, unsigned long flags);` and its counterpart.
    #[doc(alias = "process_vm_readv")]
    #[doc(alias = "process_vm_writev")]
    pub(crate) fn process_vm(&self, here: &Here<'_, P>, args: RemoteArgs) -> Result<u64, Errno> {
        if args.flags != 0 {
            return Err(Errno::Invalid);
        }
        let local = iovec::import(here, args.local, args.nr_local)?;
        let wanted: u64 = local.iter().map(|segment| segment.len).sum();
        if wanted == 0 {
            return Ok(0);
        }
        let remote = iovec::read(here, args.remote, args.nr_remote)?;
        if remote.iter().all(|segment| segment.len == 0) {
            return Ok(0);
        }
        let space = self.space_of(args.pid)?;
        count_or_fault(copy_all(
            here,
            &space,
            &local,
            &remote,
            wanted,
            args.is_write,
        ))
    }

    fn space_of(&self, id: i32) -> Result<alloc::sync::Arc<SpaceOf<P>>, Errno> {
        let process = {
            let tasks = self.tasks.lock();
            let pid = tasks.process_of(id).ok_or(Errno::NoProcess)?;
            let entry = tasks.processes.get(&pid).ok_or(Errno::NoProcess)?;
            alloc::sync::Arc::clone(&entry.process)
        };
        process.space().ok_or(Errno::NoProcess)
    }
}

/// Copies until one side ends or cannot be accessed. Gives how many bytes were copied.
fn copy_all<P: Platform>(
    here: &Here<'_, P>,
    space: &SpaceOf<P>,
    local: &[Segment],
    remote: &[Segment],
    wanted: u64,
    is_write: bool,
) -> u64 {
    let mut bytes = vec![0; PAGE_LEN];
    let mut done = 0;
    for segment in remote {
        let mut at = segment.base;
        let mut left = segment.len;
        while left > 0 && done < wanted {
            let page = PAGE_SIZE - at % PAGE_SIZE;
            let len = iovec::length(page.min(left).min(wanted - done));
            let bytes = bytes.get_mut(..len).unwrap_or_default();
            // The other side is looked up first, so that nothing is touched here if it is not there.
            let copied = if at >= TASK_SIZE {
                Err(0)
            } else if is_write {
                write_page(here, space, local, (at, done), bytes)
            } else {
                space
                    .read_remote(here.processor.cpu(), at, bytes, false)
                    .map_err(|_| 0)
                    .and_then(|()| iovec::scatter(here, local, done, bytes))
            };
            if let Err(copied) = copied {
                return done + copied as u64;
            }
            done += len as u64;
            at = at.wrapping_add(len as u64);
            left -= len as u64;
        }
    }
    done
}

/// A part of a page of the other process, from the caller's buffers. `Err` has how many bytes were copied.
fn write_page<P: Platform>(
    here: &Here<'_, P>,
    space: &SpaceOf<P>,
    local: &[Segment],
    (at, done): (u64, u64),
    bytes: &mut [u8],
) -> Result<(), usize> {
    let gathered = iovec::gather(here, local, done, bytes);
    let len = gathered.err().unwrap_or(bytes.len());
    let bytes = bytes.get(..len).unwrap_or_default();
    if space
        .write_remote(here.processor.cpu(), at, bytes, false)
        .is_err()
    {
        return Err(0);
    }
    gathered
}
