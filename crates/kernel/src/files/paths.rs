//! The few names that there are: `open(2)`, `openat(2)`, `readlink(2)`, `getcwd(2)`.
//!
//! There is no file system. A program finds its own descriptors, mappings, memory and program under `/proc/self`, and
//! nothing else: `ENOENT`. It is in no directory, as a program of Linux is whose directory was removed.
//!
//! Source: Linux `fs/open.c`, `fs/namei.c`, `fs/stat.c` (`do_readlinkat`), `fs/proc/base.c`.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::abi::Errno;
use crate::abi::files::{AT_FDCWD, PATH_MAX};
use crate::abi::task::{O_ACCMODE, O_CLOEXEC, O_LARGEFILE, O_NONBLOCK};
use crate::files::{File, Files, MemoryFile, ProcessMemory, Text};
use crate::kernel::{Here, Kernel};
use crate::memory::Object;
use crate::platform::Platform;

/// Where the descriptors of a process have names.
const DESCRIPTORS: &[u8] = b"/proc/self/fd/";
/// What a process can read about itself.
const MAPS: &[u8] = b"/proc/self/maps";
const SMAPS: &[u8] = b"/proc/self/smaps";
const MEMORY: &[u8] = b"/proc/self/mem";
const PROGRAM: &[u8] = b"/proc/self/exe";

impl<P: Platform> Kernel<P> {
    /// `int open(const char *pathname, int flags);`
    pub(crate) fn open(&self, here: &Here<'_, P>, path: u64, flags: u32) -> Result<u64, Errno> {
        self.openat(here, AT_FDCWD, path, flags)
    }

    /// `int openat(int dirfd, const char *pathname, int flags);`
    pub(crate) fn openat(
        &self,
        here: &Here<'_, P>,
        folder: i32,
        path: u64,
        flags: u32,
    ) -> Result<u64, Errno> {
        if flags & !(O_ACCMODE | O_NONBLOCK | O_LARGEFILE | O_CLOEXEC) != 0 {
            return Err(Errno::Invalid);
        }
        let path = here.read_string(path, PATH_MAX, Errno::NameTooLong)?;
        let numbers = here.numbers();
        let process = here.running.thread.process();
        process.files.lock().lowest_free(numbers)?;
        check_folder(here, folder, &path)?;
        let file = self.named(here, &path, flags & O_ACCMODE)?;
        here.add_file(file, flags & O_CLOEXEC != 0)
    }

    /// What a path leads to, opened.
    fn named(&self, here: &Here<'_, P>, path: &[u8], mode: u32) -> Result<File<P>, Errno> {
        let space = &here.running.space;
        // 0, 1 and 2 become 1, 2 and 3: a bit for reading and one for writing.
        let rights = (mode + 1) & O_ACCMODE;
        let (is_readable, is_writable) = (rights & 1 != 0, rights & 2 != 0);
        match path {
            MAPS | SMAPS if is_writable => Err(Errno::Access),
            MAPS | SMAPS => Ok(File::Text(Arc::new(Text::of_mappings(
                space,
                path == SMAPS,
            )))),
            MEMORY => {
                let memory = ProcessMemory::new(space, is_readable, is_writable);
                Ok(File::Process(Arc::new(memory)))
            }
            _ => {
                let files = here.running.thread.process().files.lock();
                let object = object_of(&files, path).ok_or(Errno::NoEntry)?.reopen();
                Ok(MemoryFile::opening(object, [is_readable, is_writable]))
            }
        }
    }

    /// `ssize_t readlinkat(int dirfd, const char *pathname, char *buf, size_t bufsiz);`
    pub(crate) fn readlinkat(
        &self,
        here: &Here<'_, P>,
        folder: i32,
        path: u64,
        buf: u64,
        len: i32,
    ) -> Result<u64, Errno> {
        let len = usize::try_from(len).ok().filter(|len| *len > 0);
        let len = len.ok_or(Errno::Invalid)?;
        let path = here.read_string(path, PATH_MAX, Errno::NameTooLong)?;
        check_folder(here, folder, &path)?;
        let process = here.running.thread.process();
        let target = match path.as_slice() {
            PROGRAM => process.inherited.lock().program.clone(),
            // What is there is no link.
            MAPS | SMAPS | MEMORY => return Err(Errno::Invalid),
            _ => Vec::new(),
        };
        let target = target.get(..len).unwrap_or(&target);
        if target.is_empty() {
            return Err(Errno::NoEntry);
        }
        here.write(buf, target)?;
        Ok(target.len() as u64)
    }

    /// `char *getcwd(char *buf, size_t size);`
    pub(crate) const fn getcwd(&self) -> Result<u64, Errno> {
        Err(Errno::NoEntry)
    }

    /// The path of a program to be executed: `/proc/self/exe` is the process's own.
    pub(crate) fn program_path(&self, here: &Here<'_, P>, path: Vec<u8>) -> Vec<u8> {
        let own = here
            .running
            .thread
            .process()
            .inherited
            .lock()
            .program
            .clone();
        if path == PROGRAM && !own.is_empty() {
            own
        } else {
            path
        }
    }
}

/// A path that does not begin at the root begins in a folder, and there is none.
fn check_folder<P: Platform>(here: &Here<'_, P>, folder: i32, path: &[u8]) -> Result<(), Errno> {
    if path.is_empty() {
        return Err(Errno::NoEntry);
    }
    if folder == AT_FDCWD || path.first() == Some(&b'/') {
        return Ok(());
    }
    here.file(folder)?;
    Err(Errno::NotDirectory)
}

/// The file in memory that a path leads to.
fn object_of<P: Platform>(files: &Files<P>, path: &[u8]) -> Option<Object<P::Memory, P::Lock>> {
    match files.get(descriptor(path)?) {
        Ok(File::Memory(file)) => Some(file.object.clone()),
        _ => None,
    }
}

/// The descriptor that a path names.
fn descriptor(path: &[u8]) -> Option<i32> {
    let digits = path.strip_prefix(DESCRIPTORS)?;
    let is_canonical = digits.iter().all(u8::is_ascii_digit)
        && (digits.len() == 1 || digits.first() != Some(&b'0'));
    let digits = core::str::from_utf8(digits).ok()?;
    digits.parse().ok().filter(|_| is_canonical)
}

#[cfg(test)]
mod tests {
    use super::descriptor;

    #[test]
    fn only_plain_numbers_name_descriptors() {
        assert_eq!(descriptor(b"/proc/self/fd/0"), Some(0));
        assert_eq!(descriptor(b"/proc/self/fd/1023"), Some(1023));
        for path in [
            "",
            "/proc/self/fd/",
            "/proc/self/fd/03",
            "/proc/self/fd/+3",
            "/proc/self/fd/-1",
            "/proc/self/fd/3/",
            "/proc/self/fd/4294967296",
            "/proc/1/fd/3",
            "3",
        ] {
            assert_eq!(descriptor(path.as_bytes()), None, "{path}");
        }
    }
}
