//! What a descriptor is: `fstat(2)`, `newfstatat(2)`, `statx(2)`.
//!
//! Of a file are known: its kind, its length, and a number by which it can be told from others. There are no times: they
//! are 0, and `statx` says that it does not know them.
//!
//! Source: Linux `fs/stat.c` (`cp_new_stat`, `vfs_fstatat`, `cp_statx`), `arch/x86/include/uapi/asm/stat.h`.

use crate::abi::Errno;
use crate::abi::files::{
    AT_EMPTY_PATH, AT_FDCWD, AT_NO_AUTOMOUNT, AT_STATX_SYNC_TYPE, AT_SYMLINK_NOFOLLOW, PATH_MAX,
};
use crate::files::File;
use crate::kernel::{Here, Kernel};
use crate::memory::layout::PAGE_SIZE;
use crate::platform::Platform;

/// The size of `struct stat`.
const STAT_LEN: usize = 144;
/// The size of `struct statx`.
const STATX_LEN: usize = 256;

const S_IFIFO: u32 = 0o010_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFREG: u32 = 0o100_000;
const S_IFSOCK: u32 = 0o140_000;

/// `STATX__RESERVED`.
const STATX_RESERVED: u32 = 0x8000_0000;
/// `STATX_TYPE`, `_MODE`, `_NLINK`, `_UID`, `_GID`, `_INO`, `_SIZE`, `_BLOCKS`: what is known.
const STATX_KNOWN: u32 = 0x71F;

/// The console: `/dev/console`.
const CONSOLE: (u64, u64) = (5, 1);

/// What is told of a file.
#[derive(Debug, Clone, Copy)]
struct Stat {
    mode: u32,
    len: u64,
    id: u64,
    /// Major and minor number of a device.
    device: (u64, u64),
}

impl<P: Platform> File<P> {
    fn stat(&self) -> Stat {
        let of = |mode, len, id| Stat {
            mode,
            len,
            id,
            device: (0, 0),
        };
        match self {
            Self::Console => Stat {
                device: CONSOLE,
                ..of(S_IFCHR | 0o600, 0, 0)
            },
            Self::Pipe { pipe, .. } => of(S_IFIFO | 0o600, 0, pipe.id),
            Self::Socket(socket) => of(S_IFSOCK | 0o777, 0, socket.incoming.id),
            Self::Memory(file) => of(S_IFREG | 0o777, file.object.len(), file.object.id()),
            Self::Text(_) => of(S_IFREG | 0o444, 0, 0),
            Self::Process(_) => of(S_IFREG | 0o600, 0, 0),
        }
    }
}

/// Puts numbers at their places.
struct Layout<const N: usize>([u8; N]);

impl<const N: usize> Layout<N> {
    fn put<const L: usize>(mut self, at: usize, bytes: [u8; L]) -> Self {
        if let Some(place) = self.0.get_mut(at..at + L) {
            place.copy_from_slice(&bytes);
        }
        self
    }

    fn u32(self, at: usize, number: u32) -> Self {
        self.put(at, number.to_le_bytes())
    }

    fn u64(self, at: usize, number: u64) -> Self {
        self.put(at, number.to_le_bytes())
    }
}

impl Stat {
    fn blocks(&self) -> u64 {
        self.len.div_ceil(512)
    }

    fn stat_bytes(&self, uid: u32) -> [u8; STAT_LEN] {
        let (major, minor) = self.device;
        Layout([0; STAT_LEN])
            .u64(8, self.id)
            .u64(16, 1)
            .u32(24, self.mode)
            .u32(28, uid)
            .u32(32, uid)
            .u64(40, major << 8 | minor)
            .u64(48, self.len)
            .u64(56, PAGE_SIZE)
            .u64(64, self.blocks())
            .0
    }

    fn statx_bytes(&self, uid: u32) -> [u8; STATX_LEN] {
        let (major, minor) = self.device;
        let half = |word: u64| (word & 0xFFFF_FFFF) as u32;
        Layout([0; STATX_LEN])
            .u32(0, STATX_KNOWN)
            .u32(4, half(PAGE_SIZE))
            .u32(16, 1)
            .u32(20, uid)
            .u32(24, uid)
            .u32(28, self.mode)
            .u64(32, self.id)
            .u64(40, self.len)
            .u64(48, self.blocks())
            .u32(128, half(major))
            .u32(132, half(minor))
            .0
    }
}

impl<P: Platform> Kernel<P> {
    /// `int fstat(int fd, struct stat *statbuf);`
    pub(crate) fn fstat(&self, here: &Here<'_, P>, fd: i32, at: u64) -> Result<u64, Errno> {
        let file = here.file(fd)?;
        here.write(at, &file.stat().stat_bytes(self.config.uid))?;
        Ok(0)
    }

    /// `int fstatat(int dirfd, const char *pathname, struct stat *statbuf, int flags);`
    pub(crate) fn fstatat(
        &self,
        here: &Here<'_, P>,
        fd: i32,
        path: u64,
        at: u64,
        flags: u32,
    ) -> Result<u64, Errno> {
        if flags & !(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0 {
            return Err(Errno::Invalid);
        }
        let stat = self.stat_of(here, fd, path, flags)?;
        here.write(at, &stat.stat_bytes(self.config.uid))?;
        Ok(0)
    }

    /// `int statx(int dirfd, const char *pathname, int flags, unsigned int mask, struct statx *statxbuf);`
    pub(crate) fn statx(
        &self,
        here: &Here<'_, P>,
        fd: i32,
        path: u64,
        [flags, mask]: [u32; 2],
        at: u64,
    ) -> Result<u64, Errno> {
        let is_both = flags & AT_STATX_SYNC_TYPE == AT_STATX_SYNC_TYPE;
        let known = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE;
        if mask & STATX_RESERVED != 0 || is_both || flags & !known != 0 {
            return Err(Errno::Invalid);
        }
        let stat = self.stat_of(here, fd, path, flags)?;
        here.write(at, &stat.statx_bytes(self.config.uid))?;
        Ok(0)
    }

    /// A descriptor, if the path is empty. There are no files that are not open.
    fn stat_of(&self, here: &Here<'_, P>, fd: i32, path: u64, flags: u32) -> Result<Stat, Errno> {
        let is_empty = if path == 0 && flags & AT_EMPTY_PATH != 0 {
            true
        } else {
            here.read_string(path, PATH_MAX, Errno::NameTooLong)?
                .is_empty()
        };
        if !is_empty || flags & AT_EMPTY_PATH == 0 || fd == AT_FDCWD {
            return Err(Errno::NoEntry);
        }
        Ok(here.file(fd)?.stat())
    }
}
