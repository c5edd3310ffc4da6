//! The system calls of the catalogue, by number, with their arguments in the order of the manual pages.
//!
//! Numbers and constants are those of x86-64 (Linux `arch/x86/entry/syscalls/syscall_64.tbl`,
//! `include/uapi/asm-generic/mman-common.h`).

use core::ops::Range;

use crate::bytes;
use crate::system::{Raw, System};

/// A small page, in bytes.
pub const PAGE: u64 = 4096;
/// A page of 2 MiB, in bytes.
pub const HUGE: u64 = 2 << 20;

/// `PROT_NONE`.
pub const NONE: u64 = 0;
/// `PROT_READ`.
pub const R: u64 = 1;
/// `PROT_WRITE`.
pub const W: u64 = 2;
/// `PROT_READ | PROT_WRITE`.
pub const RW: u64 = 3;
/// `PROT_EXEC`.
pub const X: u64 = 4;
/// `PROT_READ | PROT_EXEC`.
pub const RX: u64 = 5;
/// `PROT_READ | PROT_WRITE | PROT_EXEC`.
pub const RWX: u64 = 7;
/// `PROT_SEM`, which x86 accepts and ignores.
pub const SEM: u64 = 8;
/// `PROT_GROWSDOWN`.
pub const GROWSDOWN: u64 = 0x0100_0000;
/// `PROT_GROWSUP`.
pub const GROWSUP: u64 = 0x0200_0000;

/// `MAP_SHARED`.
pub const SHARED: u64 = 1;
/// `MAP_PRIVATE`.
pub const PRIVATE: u64 = 2;
/// `MAP_FIXED`.
pub const FIXED: u64 = 0x10;
/// `MAP_ANONYMOUS`.
pub const ANONYMOUS: u64 = 0x20;
/// `MAP_GROWSDOWN`.
pub const MAP_GROWSDOWN: u64 = 0x100;
/// `MAP_POPULATE`.
pub const POPULATE: u64 = 0x8000;
/// `MAP_HUGETLB`, with 2 MiB as the size.
pub const HUGETLB: u64 = 0x4_0000 | 21 << 26;

/// `MREMAP_MAYMOVE`.
pub const MAYMOVE: u64 = 1;
/// `MREMAP_FIXED`.
pub const MREMAP_FIXED: u64 = 2;
/// `MREMAP_DONTUNMAP`.
pub const DONTUNMAP: u64 = 4;

/// `MADV_DONTNEED`.
pub const MADV_DONTNEED: u64 = 4;
/// `MADV_HUGEPAGE`.
pub const MADV_HUGEPAGE: u64 = 14;
/// `MADV_POPULATE_READ`.
pub const MADV_POPULATE_READ: u64 = 22;
/// `MADV_POPULATE_WRITE`.
pub const MADV_POPULATE_WRITE: u64 = 23;

/// `PKEY_DISABLE_ACCESS`.
pub const DISABLE_ACCESS: u64 = 1;
/// `PKEY_DISABLE_WRITE`.
pub const DISABLE_WRITE: u64 = 2;

/// `pkey_alloc(2)`: flags, initial rights.
pub fn pkey_alloc(sys: &mut dyn System, flags: u64, rights: u64) -> Raw {
    sys.syscall(330, [flags, rights, 0, 0, 0, 0])
}

/// `pkey_free(2)`.
pub fn pkey_free(sys: &mut dyn System, key: i64) -> Raw {
    sys.syscall(331, [key.cast_unsigned(), 0, 0, 0, 0, 0])
}

/// `pkey_mprotect(2)`: address, length, protection, key.
pub fn pkey_mprotect(sys: &mut dyn System, addr: u64, len: u64, prot: u64, key: i64) -> Raw {
    sys.syscall(329, [addr, len, prot, key.cast_unsigned(), 0, 0])
}

/// `mprotect(2)`: address, length, protection.
pub fn mprotect(sys: &mut dyn System, addr: u64, len: u64, prot: u64) -> Raw {
    sys.syscall(10, [addr, len, prot, 0, 0, 0])
}

/// `mmap(2)`: address, length, protection, flags, descriptor (-1 for none); the offset is 0.
pub fn mmap(sys: &mut dyn System, addr: u64, len: u64, prot: u64, flags: u64, fd: i64) -> Raw {
    sys.syscall(9, [addr, len, prot, flags, fd.cast_unsigned(), 0])
}

/// `mmap(2)` of one page of 2 MiB, private or with further flags.
pub fn mmap_hugetlb(sys: &mut dyn System, addr: u64, flags: u64) -> Raw {
    let kind = if flags & SHARED == 0 { PRIVATE } else { 0 };
    mmap(
        sys,
        addr,
        HUGE,
        RW,
        HUGETLB | ANONYMOUS | FIXED | kind | flags,
        -1,
    )
}

/// `munmap(2)`.
pub fn munmap(sys: &mut dyn System, addr: u64, len: u64) -> Raw {
    sys.syscall(11, [addr, len, 0, 0, 0, 0])
}

/// `mremap(2)`: address, length, new length, flags, new address.
pub fn mremap(sys: &mut dyn System, addr: u64, len: u64, new: u64, flags: u64, to: u64) -> Raw {
    sys.syscall(25, [addr, len, new, flags, to, 0])
}

/// `madvise(2)`.
pub fn madvise(sys: &mut dyn System, addr: u64, len: u64, advice: u64) -> Raw {
    sys.syscall(28, [addr, len, advice, 0, 0, 0])
}

/// `mseal(2)`: address, length, flags.
pub fn mseal(sys: &mut dyn System, addr: u64, len: u64, flags: u64) -> Raw {
    sys.syscall(462, [addr, len, flags, 0, 0, 0])
}

/// `read(2)`.
pub fn read(sys: &mut dyn System, fd: u64, addr: u64, len: u64) -> Raw {
    sys.syscall(0, [fd, addr, len, 0, 0, 0])
}

/// `write(2)`.
pub fn write(sys: &mut dyn System, fd: u64, addr: u64, len: u64) -> Raw {
    sys.syscall(1, [fd, addr, len, 0, 0, 0])
}

/// `close(2)`.
pub fn close(sys: &mut dyn System, fd: u64) -> Raw {
    sys.syscall(3, [fd, 0, 0, 0, 0, 0])
}

/// `pipe2(2)`: the end for reading and the end for writing.
///
/// # Errors
///
/// What the call answered.
pub fn pipe(sys: &mut dyn System) -> Result<[u64; 2], Raw> {
    let at = sys.scratch().start;
    // O_NONBLOCK: a case that is wrong about a pipe does not hang.
    match sys.syscall(293, [at, 0o4000, 0, 0, 0, 0]) {
        0 => {
            let end = |sys: &mut dyn System, at| bytes::get_u32(sys, at).map_err(|_| -14);
            Ok([end(sys, at)?.into(), end(sys, at + 4)?.into()])
        }
        other => Err(other),
    }
}

/// `memfd_create(2)`, with a name of one letter.
pub fn memfd(sys: &mut dyn System) -> Raw {
    let at = sys.scratch().start;
    match bytes::put(sys, at, b"m\0") {
        Ok(()) => sys.syscall(319, [at, 0, 0, 0, 0, 0]),
        Err(_) => -14,
    }
}

/// `ftruncate(2)`.
pub fn ftruncate(sys: &mut dyn System, fd: u64, len: u64) -> Raw {
    sys.syscall(77, [fd, len, 0, 0, 0, 0])
}

/// `vmsplice(2)` of one range into a pipe; the `struct iovec` lies at `iovec`.
pub fn vmsplice(sys: &mut dyn System, fd: u64, iovec: u64) -> Raw {
    sys.syscall(278, [fd, iovec, 1, 0, 0, 0])
}

/// `futex(2)`: address, operation, value, timeout or second value, second address, third value.
pub fn futex(sys: &mut dyn System, addr: u64, op: u64, rest: [u64; 4]) -> Raw {
    sys.syscall(202, [addr, op, rest[0], rest[1], rest[2], rest[3]])
}

/// `process_vm_readv(2)` of one range: process, where to, where from. The structures lie in the second page of the
/// scratch memory.
pub fn process_vm_readv(sys: &mut dyn System, pid: u64, to: Range<u64>, from: Range<u64>) -> Raw {
    process_vm(sys, 310, pid, to, from)
}

/// `process_vm_writev(2)` of one range: process, where from, where to.
pub fn process_vm_writev(sys: &mut dyn System, pid: u64, from: Range<u64>, to: Range<u64>) -> Raw {
    process_vm(sys, 311, pid, from, to)
}

fn process_vm(
    sys: &mut dyn System,
    nr: u64,
    pid: u64,
    local: Range<u64>,
    remote: Range<u64>,
) -> Raw {
    let at = sys.scratch().start + PAGE;
    let put = |sys: &mut dyn System, at, range: Range<u64>| {
        bytes::put_iovec(sys, at, range.start, range.end - range.start).map_err(|_| -14)
    };
    match put(sys, at, local).and_then(|()| put(sys, at + 16, remote)) {
        Ok(()) => sys.syscall(nr, [pid, at, 1, at + 16, 1, 0]),
        Err(errno) => errno,
    }
}

/// `rt_sigprocmask(2)`: blocks or unblocks one signal.
pub fn set_blocked(sys: &mut dyn System, signo: u32, is_blocked: bool) -> Raw {
    let at = sys.scratch().start;
    // SIG_BLOCK is 0, SIG_UNBLOCK 1; bit 0 of the set is signal 1.
    match bytes::put_u64(sys, at, 1 << (signo - 1)) {
        Ok(()) => sys.syscall(14, [u64::from(!is_blocked), at, 0, 8, 0, 0]),
        Err(_) => -14,
    }
}
